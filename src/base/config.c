/* Configuration: the table, the order default < file < command line, and what is printed of it. */
#include "base/config_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

static void *target_of(const config *c, size_t key) {
    return (char *)c->target + c->keys[key].offset;
}

config_place config_find(const config *c, const char *name) {
    for (size_t i = 0; i < c->nkeys; i++) {
        size_t n = strlen(c->keys[i].name);
        if (strncmp(c->keys[i].name, name, n) != 0)
            continue;
        if (!name[n])
            return (config_place){.key = i};
        if (c->keys[i].type == CONFIG_MAP && name[n] == '.' && name[n + 1])
            return (config_place){.key = i, .entry = name + n + 1};
    }
    return (config_place){.key = c->nkeys};
}

bool config_is_section(const config *c, const char *name) {
    size_t n = strlen(name);
    for (size_t i = 0; i < c->nkeys; i++)
        if (strncmp(c->keys[i].name, name, n) == 0 && c->keys[i].name[n] == '.')
            return true;
    return false;
}

char *config_where(const config *c, config_origin from) {
    switch (from.source) {
    case FROM_FILE:
        return text_format("%s:%ld", c->path, from.line);
    case FROM_COMMAND_LINE:
        return text_copy("command line");
    case FROM_DEFAULT:
        break;
    }
    return text_copy("default");
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

enum { NAME_LIMIT = 64 }; /* longer names are compared by their first part */

size_t text_distance(const char *a, size_t na, const char *b, size_t nb) {
    size_t row[3][NAME_LIMIT + 1];
    na = least(na, NAME_LIMIT);
    nb = least(nb, NAME_LIMIT);
    for (size_t j = 0; j <= nb; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *now = row[i % 3], *before = row[(i + 2) % 3], *earlier = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            now[j] = least(least(before[j], now[j - 1]) + 1, before[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], earlier[j - 2] + 1);
        }
    }
    return row[na % 3][nb];
}

typedef struct suggestion {
    const char *text;
    size_t length, distance;
} suggestion;

static void suggest(suggestion *best, const char *text, size_t length, size_t distance) {
    if (distance < best->distance)
        *best = (suggestion){text, length, distance};
}

/* The nearest key or section. A key is also near by its last part, so that `rank` finds `train.lora.rank`. */
static suggestion nearest(const config *c, const char *name) {
    size_t n = strlen(name);
    suggestion best = {.distance = n / 3 + 2};
    for (size_t i = 0; i < c->nkeys; i++) {
        const char *key = c->keys[i].name;
        size_t length = strlen(key);
        suggest(&best, key, length, text_distance(name, n, key, length));
        for (const char *dot = strchr(key, '.'); dot; dot = strchr(dot + 1, '.')) {
            suggest(&best, key, (size_t)(dot - key), text_distance(name, n, key, (size_t)(dot - key)));
            suggest(&best, key, length, text_distance(name, n, dot + 1, strlen(dot + 1)) + 1);
        }
    }
    return best;
}

status config_unknown(const config *c, const char *name, config_origin from) {
    suggestion near = nearest(c, name);
    char *where = config_where(c, from);
    status st = near.text ? FAIL(ST_USAGE, "%s: unknown key '%s'; did you mean '%.*s'?", where, name, (int)near.length,
                                 near.text)
                          : FAIL(ST_USAGE, "%s: unknown key '%s' (--help lists the keys)", where, name);
    free(where);
    return st;
}

static bool given_is_utf8(const config_given *given) {
    /* Lists and maps come from libyaml, which has checked them. */
    return given->form != FORM_SCALAR || text_is_utf8(given->scalar);
}

static status assign_entry(config *c, size_t key, const char *entry, const config_given *given, const char *where) {
    text_map *map = target_of(c, key);
    if (given->form != FORM_SCALAR)
        return FAIL(ST_USAGE, "%s: %s.%s: one value is wanted", where, c->keys[key].name, entry);
    return text_map_set(map, entry, given->scalar);
}

/* `data.prompts.a` and `data.prompts.b` may both be given by dotted names. */
static bool is_new_entry(const config *c, config_place place) {
    return place.entry && !text_map_get(target_of(c, place.key), place.entry);
}

status config_assign(config *c, const char *name, const config_given *given, config_origin from) {
    config_place place = config_find(c, name);
    if (place.key == c->nkeys)
        return config_unknown(c, name, from);
    const config_key *key = &c->keys[place.key];
    config_origin *origin = &c->origin[place.key];
    char *where = config_where(c, from);
    status st;
    if (!text_is_utf8(name) || !given_is_utf8(given))
        st = FAIL(ST_USAGE, "%s: %s: not UTF-8", where, key->name);
    else if (from.source == FROM_FILE && origin->source == FROM_FILE && !is_new_entry(c, place))
        st = FAIL(ST_USAGE, "%s: %s was given before, in line %ld", where, key->name, origin->line);
    else if (place.entry)
        st = assign_entry(c, place.key, place.entry, given, where);
    else
        st = config_value_set(key, target_of(c, place.key), given, where);
    free(where);
    if (st == ST_OK)
        *origin = from;
    return st;
}

static status assign_override(config *c, const char *argument) {
    const char *equals = strchr(argument, '=');
    if (!equals || equals == argument)
        return FAIL(ST_USAGE, "command line: '%s' is not of the form key=value", argument);
    char *name = text_format("%.*s", (int)(equals - argument), argument);
    config_given given = {.form = FORM_SCALAR, .scalar = equals + 1};
    config_origin from = {.source = FROM_COMMAND_LINE};
    status st = ST_OK;
    if (config_find(c, name).key == c->nkeys && config_is_section(c, name))
        st = FAIL(ST_USAGE, "command line: '%s' is a section; name one of its keys", name);
    else
        st = config_assign(c, name, &given, from);
    free(name);
    return st;
}

static status assign_defaults(config *c) {
    for (size_t i = 0; i < c->nkeys; i++) {
        config_given given = {.form = FORM_SCALAR, .scalar = c->keys[i].fallback ? c->keys[i].fallback : ""};
        TRY(config_value_set(&c->keys[i], target_of(c, i), &given, "default"));
    }
    return ST_OK;
}

status config_load(config **out, const config_key *keys, size_t nkeys, void *target, const char *path, size_t n,
                   char *const *overrides) {
    status st = ST_OK;
    config *c = NULL;
    *out = NULL;
    TRY(NEW(1, &c));
    *c = (config){.keys = keys, .nkeys = nkeys, .target = target, .path = path ? text_copy(path) : NULL};
    /* The targets may hold anything before: from here on they are ours. */
    for (size_t i = 0; i < nkeys; i++) {
        void *place = target_of(c, i);
        if (keys[i].type == CONFIG_TEXT)
            *(char **)place = NULL;
        else if (keys[i].type == CONFIG_LIST)
            *(text_list *)place = (text_list){0};
        else if (keys[i].type == CONFIG_MAP)
            *(text_map *)place = (text_map){0};
    }
    TRY_TO(fail, NEW(nkeys, &c->origin));
    TRY_TO(fail, assign_defaults(c));
    if (path)
        TRY_TO(fail, config_read_yaml(c));
    for (size_t i = 0; i < n; i++)
        TRY_TO(fail, assign_override(c, overrides[i]));
    *out = c;
    return ST_OK;
fail:
    config_free(&c);
    return st;
}

void config_free(config **c) {
    if (!*c)
        return;
    for (size_t i = 0; i < (*c)->nkeys; i++)
        config_value_clear(&(*c)->keys[i], target_of(*c, i));
    free((*c)->path);
    memory_free(&(*c)->origin);
    memory_free(c);
}

/* Comments hold file names, and those may hold anything. */
static void make_comment(char *text) {
    if (!text_is_utf8(text)) {
        strcpy(text, "?");
        return;
    }
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

/* Open the sections of `name` that `before` did not open. Returns the indent of the key itself. */
static int print_sections(const char *name, const char *before, const char **last, FILE *to) {
    int depth = 0;
    bool same = true;
    const char *part = name;
    for (const char *dot = strchr(part, '.'); dot; dot = strchr(part, '.'), depth++) {
        size_t n = (size_t)(dot - name) + 1;
        same = same && strncmp(name, before, n) == 0;
        if (!same)
            fprintf(to, "%*s%.*s:\n", 4 * depth, "", (int)(dot - part), part);
        part = dot + 1;
    }
    *last = part;
    return 4 * depth;
}

static void print_effective(const config *c, FILE *to) {
    const char *before = "";
    for (size_t i = 0; i < c->nkeys; i++) {
        const char *last;
        char *comment = config_where(c, c->origin[i]);
        make_comment(comment);
        int indent = print_sections(c->keys[i].name, before, &last, to);
        fprintf(to, "%*s%s:", indent, "", last);
        config_value_print(&c->keys[i], target_of(c, i), indent + 4, comment, to);
        free(comment);
        before = c->keys[i].name;
    }
}

static void print_values(const config *c, FILE *to) {
    for (size_t i = 0; i < c->nkeys; i++) {
        fprintf(to, "%s:", c->keys[i].name);
        config_value_print(&c->keys[i], target_of(c, i), 4, "", to);
    }
}

static char *printed(const config *c, void (*print)(const config *, FILE *)) {
    char *text = NULL;
    size_t nbytes = 0;
    FILE *to = open_memstream(&text, &nbytes);
    if (!to)
        return NULL;
    print(c, to);
    bool failed = ferror(to);
    if (fclose(to) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}

char *config_effective(const config *c) {
    return printed(c, print_effective);
}

char *config_values(const config *c) {
    return printed(c, print_values);
}

static const char *type_word(const config_key *key) {
    static const char *const word[] = {
        [CONFIG_BOOL] = "yes|no", [CONFIG_INT] = "N",   [CONFIG_REAL] = "X",      [CONFIG_SIZE] = "SIZE",
        [CONFIG_TEXT] = "TEXT",   [CONFIG_CHOICE] = "", [CONFIG_LIST] = "A,B,..", [CONFIG_MAP] = "A:X,B:Y,..",
    };
    return key->type == CONFIG_CHOICE ? key->choices : word[key->type];
}

static void print_notes(const config_key *key, FILE *to) {
    bool has_default = key->fallback && *key->fallback;
    bool has_range = (key->min != 0 || key->max != 0) &&
                     (key->type == CONFIG_INT || key->type == CONFIG_REAL || key->type == CONFIG_SIZE);
    if (has_range)
        fprintf(to, " [%.10g to %.10g", key->min, key->max);
    if (has_default)
        fprintf(to, "%s%s", has_range ? "; " : " [", key->fallback);
    if (has_range || has_default)
        fputc(']', to);
}

void config_help(const config_key *keys, size_t nkeys, unsigned program, FILE *to) {
    for (size_t i = 0; i < nkeys; i++) {
        if (!(keys[i].programs & program))
            continue;
        char *left = text_format("%s=%s", keys[i].name, type_word(&keys[i]));
        fprintf(to, "  %-38s %s", left, keys[i].help);
        print_notes(&keys[i], to);
        fputc('\n', to);
        free(left);
    }
}
