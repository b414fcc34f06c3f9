/* Inside the configuration: values on their way from a source to their target.
 *
 * config.c owns the table and the command line, config_yaml.c walks a YAML file, config_value.c parses and prints the
 * values of single keys. */
#ifndef ND_BASE_CONFIG_PRIV_H
#define ND_BASE_CONFIG_PRIV_H

#include "base/config.h"

typedef enum config_source { FROM_DEFAULT, FROM_FILE, FROM_COMMAND_LINE } config_source;

typedef struct config_origin {
    config_source source;
    long line; /* of the file, from 1; FROM_FILE only */
} config_origin;

struct config {
    const config_key *keys;
    size_t nkeys;
    void *target;
    config_origin *origin; /* nkeys */
    char *path;            /* of the YAML file, or NULL */
};

/* What a source gives for a key: a scalar in the syntax of key=value, or a list or map of its own. */
typedef enum config_form { FORM_SCALAR, FORM_LIST, FORM_MAP } config_form;
typedef struct config_given {
    config_form form;
    const char *scalar;
    text_list list;
    text_map map;
} config_given;

/* The place of a name in the table: the key itself, or a map key and the name of one of its entries. */
typedef struct config_place {
    size_t key;        /* index; nkeys where there is none */
    const char *entry; /* inside `name`, or NULL */
} config_place;

config_place config_find(const config *c, const char *name);
/* Some key's name begins with `name` and a dot. */
bool config_is_section(const config *c, const char *name);
/* "file:line" or "command line" in front of messages; caller frees. */
char *config_where(const config *c, config_origin from);
/* Set the key (or the entry of a map key) that `name` means. Unknown names fail with the nearest known one. */
status config_assign(config *c, const char *name, const config_given *given, config_origin from);
status config_unknown(const config *c, const char *name, config_origin from);

/* Read a whole YAML file into c. */
status config_read_yaml(config *c);

/* Parse and store one value in its target; what was there is freed. `where` begins the message. */
status config_value_set(const config_key *key, void *target, const config_given *given, const char *where);
void config_value_clear(const config_key *key, void *target);
/* Print as YAML: the rest of the line after "name:", the comment, and further lines for lists and maps. */
void config_value_print(const config_key *key, const void *target, int indent, const char *comment, FILE *to);

status text_map_set(text_map *m, const char *key, const char *value);
void text_map_clear(text_map *m);
/* Well-formed UTF-8 (RFC 3629), which is all that YAML can carry. */
bool text_is_utf8(const char *text);

#endif
