/* Configuration: one table of keys serves YAML, key=value arguments, --help and the saved effective values.
 *
 * A key's full name is dotted (`train.lora.rank`); in YAML the dots are nested maps. Values are checked against type
 * and range and read to the end of the string; sizes take k, M, G (powers of 1024). An unknown key is an error that
 * names file, line and the nearest known key. */
#ifndef ND_BASE_CONFIG_H
#define ND_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "base/status.h"

typedef struct text_list {
    size_t n;
    char **item;
} text_list;

typedef struct text_map { /* in the order of the file */
    size_t n;
    char **key, **value;
} text_map;

typedef enum config_type {
    CONFIG_BOOL,   /* bool: true, false, yes, no */
    CONFIG_INT,    /* int64_t */
    CONFIG_REAL,   /* double */
    CONFIG_SIZE,   /* int64_t, with k, M, G */
    CONFIG_TEXT,   /* char *, owned by the configuration */
    CONFIG_CHOICE, /* int: index into the '|'-separated choices */
    CONFIG_LIST,   /* text_list; in key=value: comma-separated, \, for a comma inside an item */
    CONFIG_MAP     /* text_map; in key=value: a:1,b:2, or KEY.a=1 to set one entry and keep the others */
} config_type;

typedef struct config_key {
    const char *name;
    config_type type;
    size_t offset; /* of the target in the caller's struct */
    double min, max;
    const char *choices;  /* CONFIG_CHOICE: "a|b|c" */
    const char *fallback; /* default, in the syntax of key=value */
    unsigned programs;    /* bit mask: which programs read it (--help shows those) */
    const char *help;
} config_key;

typedef struct config config;

/* Fill `target` from defaults, then the YAML file (path may be NULL), then the n overrides ("key=value").
 * The config keeps the table, target, and what was set where; text, lists and maps in target are owned by it. The
 * caller may replace them by others from malloc, and must keep target until config_free. An empty value in YAML leaves
 * the default. */
status config_load(config **c, const config_key *keys, size_t nkeys, void *target, const char *path, size_t n,
                   char *const *overrides);
/* The effective values as YAML that loads again, each with a comment saying where it came from. Caller frees. */
char *config_effective(const config *c);
/* The same without comments and sections, a line a value (lists and maps more): for comparing. Caller frees. */
char *config_values(const config *c);
/* The keys whose programs mask meets `program`, as help text. */
void config_help(const config_key *keys, size_t nkeys, unsigned program, FILE *to);
void config_free(config **c);

/* Value of `key` in a map, or NULL. */
const char *text_map_get(const text_map *m, const char *key);
bool text_list_has(const text_list *l, const char *item);
status text_list_add(text_list *l, const char *item); /* copies item */
void text_list_clear(text_list *l);
/* A list as one text and back: commas between the items, a backslash before a comma or backslash inside of one. join:
 * caller frees. parse appends. */
char *text_list_join(const text_list *l);
status text_list_parse(const char *text, text_list *l);
/* How far na characters are from nb others (optimal string alignment): the fewest that are inserted, deleted, replaced
 * or swapped with their neighbour. Longer texts are compared by their first 64. */
size_t text_distance(const char *a, size_t na, const char *b, size_t nb);
/* Parse helpers, to the end of the string, with range; ST_USAGE naming `what`. */
status text_to_int(const char *text, const char *what, int64_t min, int64_t max, int64_t *out);
status text_to_real(const char *text, const char *what, double min, double max, double *out);

#endif
