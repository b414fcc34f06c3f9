/* Values of single configuration keys: lists and maps of text, parsing with ranges, printing as YAML. */
#include "base/config_priv.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

const char *text_map_get(const text_map *m, const char *key) {
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->key[i], key) == 0)
            return m->value[i];
    return NULL;
}

status text_map_set(text_map *m, const char *key, const char *value) {
    for (size_t i = 0; i < m->n; i++) {
        if (strcmp(m->key[i], key) == 0) {
            free(m->value[i]);
            m->value[i] = text_copy(value);
            return ST_OK;
        }
    }
    char **keys = realloc(m->key, (m->n + 1) * sizeof *keys);
    if (!keys)
        return FAIL(ST_MEMORY, "no memory for a map of %zu entries", m->n + 1);
    m->key = keys;
    char **values = realloc(m->value, (m->n + 1) * sizeof *values);
    if (!values)
        return FAIL(ST_MEMORY, "no memory for a map of %zu entries", m->n + 1);
    m->value = values;
    m->key[m->n] = text_copy(key);
    m->value[m->n] = text_copy(value);
    m->n++;
    return ST_OK;
}

void text_map_clear(text_map *m) {
    for (size_t i = 0; i < m->n; i++) {
        free(m->key[i]);
        free(m->value[i]);
    }
    free(m->key);
    free(m->value);
    *m = (text_map){0};
}

bool text_list_has(const text_list *l, const char *item) {
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->item[i], item) == 0)
            return true;
    return false;
}

status text_list_add(text_list *l, const char *item) {
    char **items = realloc(l->item, (l->n + 1) * sizeof *items);
    if (!items)
        return FAIL(ST_MEMORY, "no memory for a list of %zu items", l->n + 1);
    l->item = items;
    l->item[l->n++] = text_copy(item);
    return ST_OK;
}

void text_list_clear(text_list *l) {
    for (size_t i = 0; i < l->n; i++)
        free(l->item[i]);
    free(l->item);
    *l = (text_list){0};
}

status text_to_int(const char *text, const char *what, int64_t min, int64_t max, int64_t *out) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    bool starts_well = (text[0] >= '0' && text[0] <= '9') || text[0] == '-' || text[0] == '+';
    if (!starts_well || end == text || *end)
        return FAIL(ST_USAGE, "%s: '%s' is not a whole number", what, text);
    if (errno == ERANGE || value < min || value > max)
        return FAIL(ST_USAGE, "%s: %s is outside %lld to %lld", what, text, (long long)min, (long long)max);
    *out = value;
    return ST_OK;
}

status text_to_real(const char *text, const char *what, double min, double max, double *out) {
    char *end;
    double value = strtod(text, &end);
    /* strtod also takes leading space, hexadecimal, "inf" and "nan"; a configuration has no use for them. */
    if (!text[0] || text[strspn(text, "0123456789+-.eE")] || end == text || *end)
        return FAIL(ST_USAGE, "%s: '%s' is not a number", what, text);
    if (!isfinite(value) || value < min || value > max)
        return FAIL(ST_USAGE, "%s: %s is outside %g to %g", what, text, min, max);
    *out = value;
    return ST_OK;
}

/* The table's bounds are doubles; 0 and 0 mean none. */
static void int_bounds(const config_key *key, int64_t *min, int64_t *max) {
    bool bounded = key->min != 0 || key->max != 0;
    *min = !bounded || key->min <= -0x1p63 ? INT64_MIN : (int64_t)key->min;
    *max = !bounded || key->max >= 0x1p63 ? INT64_MAX : (int64_t)key->max;
}

static status parse_size(const char *text, const char *what, int64_t min, int64_t max, int64_t *out) {
    static const struct {
        const char *suffix;
        int shift;
    } unit[] = {{"", 0}, {"k", 10}, {"K", 10}, {"M", 20}, {"G", 30}};
    size_t ndigits = strspn(text, "0123456789");
    int shift = -1;
    for (size_t i = 0; i < sizeof unit / sizeof unit[0]; i++)
        if (strcmp(text + ndigits, unit[i].suffix) == 0)
            shift = unit[i].shift;
    if (ndigits == 0 || shift < 0)
        return FAIL(ST_USAGE, "%s: '%s' is not a size (digits, then k, M or G)", what, text);
    char *digits = text_format("%.*s", (int)(ndigits < 32 ? ndigits : 32), text);
    int64_t value = 0;
    status st = text_to_int(digits, what, 0, INT64_MAX, &value);
    free(digits);
    TRY(st);
    if (value > INT64_MAX >> shift || value << shift < min || value << shift > max)
        return FAIL(ST_USAGE, "%s: %s is outside %lld to %lld bytes", what, text, (long long)min, (long long)max);
    *out = value << shift;
    return ST_OK;
}

static status parse_bool(const char *text, const char *what, bool *out) {
    bool yes = strcmp(text, "yes") == 0 || strcmp(text, "true") == 0;
    bool no = strcmp(text, "no") == 0 || strcmp(text, "false") == 0;
    if (!yes && !no)
        return FAIL(ST_USAGE, "%s: '%s' is neither yes nor no", what, text);
    *out = yes;
    return ST_OK;
}

static status parse_choice(const char *text, const char *what, const char *choices, int *out) {
    size_t n = strlen(text);
    int index = 0;
    for (const char *choice = choices; *choice; index++) {
        size_t length = strcspn(choice, "|");
        if (length == n && strncmp(choice, text, n) == 0) {
            *out = index;
            return ST_OK;
        }
        choice += length + (choice[length] == '|');
    }
    return FAIL(ST_USAGE, "%s: '%s' is none of %s", what, text, choices);
}

/* Copies from *text up to an unescaped character of `ends` (or the end); a backslash takes the next one as it is.
 * *text is left at the end character. Caller frees. */
static char *take_until(const char **text, const char *ends) {
    char *part = text_copy(*text), *to = part;
    const char *from = *text;
    for (; *from && !strchr(ends, *from); from++) {
        if (*from == '\\' && from[1])
            from++;
        *to++ = *from;
    }
    *to = 0;
    *text = from;
    return part;
}

status text_list_parse(const char *text, text_list *list) {
    if (!*text)
        return ST_OK;
    for (;; text++) {
        char *item = take_until(&text, ",");
        status st = text_list_add(list, item);
        free(item);
        TRY(st);
        if (!*text)
            return ST_OK;
    }
}

char *text_list_join(const text_list *list) {
    size_t nbytes = 1;
    for (size_t i = 0; i < list->n; i++)
        nbytes += 2 * strlen(list->item[i]) + 1;
    char *text = text_format("%*s", (int)nbytes, ""), *to = text; /* room for all */
    for (size_t i = 0; i < list->n; i++) {
        if (i > 0)
            *to++ = ',';
        for (const char *from = list->item[i]; *from; *to++ = *from++)
            if (*from == ',' || *from == '\\')
                *to++ = '\\';
    }
    *to = 0;
    return text;
}

static status parse_map(const char *text, const char *what, text_map *map) {
    if (!*text)
        return ST_OK;
    const char *whole = text;
    for (;; text++) {
        char *name = take_until(&text, ",:");
        if (*text != ':' || !*name) {
            free(name);
            return FAIL(ST_USAGE, "%s: '%s' is not of the form a:1,b:2", what, whole);
        }
        text++;
        char *value = take_until(&text, ",");
        status st = text_map_get(map, name) ? FAIL(ST_USAGE, "%s: '%s' is given twice", what, name)
                                            : text_map_set(map, name, value);
        free(name);
        free(value);
        TRY(st);
        if (!*text)
            return ST_OK;
    }
}

static status copy_list(const text_list *from, text_list *to) {
    for (size_t i = 0; i < from->n; i++)
        TRY(text_list_add(to, from->item[i]));
    return ST_OK;
}

static status copy_map(const text_map *from, text_map *to) {
    for (size_t i = 0; i < from->n; i++)
        TRY(text_map_set(to, from->key[i], from->value[i]));
    return ST_OK;
}

static status set_list(const config_given *given, const char *what, text_list *target) {
    if (given->form == FORM_MAP)
        return FAIL(ST_USAGE, "%s: a list is wanted, not a map", what);
    text_list list = {0};
    status st = given->form == FORM_LIST ? copy_list(&given->list, &list) : text_list_parse(given->scalar, &list);
    if (st != ST_OK) {
        text_list_clear(&list);
        return st;
    }
    text_list_clear(target);
    *target = list;
    return ST_OK;
}

static status set_map(const config_given *given, const char *what, text_map *target) {
    if (given->form == FORM_LIST)
        return FAIL(ST_USAGE, "%s: a map is wanted, not a list", what);
    text_map map = {0};
    status st = given->form == FORM_MAP ? copy_map(&given->map, &map) : parse_map(given->scalar, what, &map);
    if (st != ST_OK) {
        text_map_clear(&map);
        return st;
    }
    text_map_clear(target);
    *target = map;
    return ST_OK;
}

static status set_scalar(const config_key *key, void *target, const char *text, const char *what) {
    int64_t min, max;
    int_bounds(key, &min, &max);
    bool bounded = key->min != 0 || key->max != 0;
    switch (key->type) {
    case CONFIG_BOOL:
        return parse_bool(text, what, target);
    case CONFIG_INT:
        return text_to_int(text, what, min, max, target);
    case CONFIG_SIZE:
        return parse_size(text, what, min, max, target);
    case CONFIG_REAL:
        return text_to_real(text, what, bounded ? key->min : -HUGE_VAL, bounded ? key->max : HUGE_VAL, target);
    case CONFIG_CHOICE:
        return parse_choice(text, what, key->choices, target);
    case CONFIG_TEXT: {
        char **place = target;
        char *copy = text_copy(text);
        free(*place);
        *place = copy;
        return ST_OK;
    }
    case CONFIG_LIST:
    case CONFIG_MAP:
        break;
    }
    ASSERT(!"a scalar type");
    return ST_OK;
}

status config_value_set(const config_key *key, void *target, const config_given *given, const char *where) {
    char *what = text_format("%s: %s", where, key->name);
    status st;
    if (key->type == CONFIG_LIST)
        st = set_list(given, what, target);
    else if (key->type == CONFIG_MAP)
        st = set_map(given, what, target);
    else if (given->form != FORM_SCALAR)
        st = FAIL(ST_USAGE, "%s: one value is wanted, not a %s", what, given->form == FORM_LIST ? "list" : "map");
    else
        st = set_scalar(key, target, given->scalar, what);
    free(what);
    return st;
}

void config_value_clear(const config_key *key, void *target) {
    if (key->type == CONFIG_TEXT) {
        char **text = target;
        free(*text);
        *text = NULL;
    } else if (key->type == CONFIG_LIST) {
        text_list_clear(target);
    } else if (key->type == CONFIG_MAP) {
        text_map_clear(target);
    }
}

/* Next code point of *text, or -1 where the bytes are not UTF-8 (RFC 3629: shortest form, no surrogates). */
static long next_code_point(const unsigned char **text) {
    static const long least[5] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *s = *text;
    int n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    if (n == 0)
        return -1;
    long point = n == 1 ? s[0] : s[0] & (0x7f >> n);
    for (int i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return -1;
        point = point << 6 | (s[i] & 0x3f);
    }
    if (point < least[n] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
        return -1;
    *text += n;
    return point;
}

bool text_is_utf8(const char *text) {
    const unsigned char *at = (const unsigned char *)text;
    while (*at)
        if (next_code_point(&at) < 0)
            return false;
    return true;
}

/* A double-quoted YAML scalar. Characters that YAML does not take raw, and the Unicode line ends that it would fold,
 * are written as escapes. */
static void print_quoted(const char *text, FILE *to) {
    const unsigned char *at = (const unsigned char *)text;
    fputc('"', to);
    while (*at) {
        const unsigned char *start = at;
        long point = next_code_point(&at);
        if (point < 0) { /* texts are checked on their way in */
            fputc('?', to);
            at++;
        } else if (point == '"' || point == '\\') {
            fprintf(to, "\\%c", (int)point);
        } else if (point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x2028 || point == 0x2029 ||
                   point == 0xfeff || point == 0xfffe || point == 0xffff) {
            fprintf(to, "\\u%04lX", (unsigned long)point);
        } else {
            fwrite(start, 1, (size_t)(at - start), to);
        }
    }
    fputc('"', to);
}

/* The shortest decimal that reads back as the same double. */
static void print_real(double value, FILE *to) {
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    fputs(text, to);
}

static void print_choice(const char *choices, int index, FILE *to) {
    for (; index > 0 && *choices; index--) {
        choices += strcspn(choices, "|");
        choices += *choices == '|';
    }
    fwrite(choices, 1, strcspn(choices, "|"), to);
}

static void print_list(const text_list *list, int indent, const char *comment, FILE *to) {
    fprintf(to, "%s  # %s\n", list->n ? "" : " []", comment);
    for (size_t i = 0; i < list->n; i++) {
        fprintf(to, "%*s- ", indent, "");
        print_quoted(list->item[i], to);
        fputc('\n', to);
    }
}

static void print_map(const text_map *map, int indent, const char *comment, FILE *to) {
    fprintf(to, "%s  # %s\n", map->n ? "" : " {}", comment);
    for (size_t i = 0; i < map->n; i++) {
        fprintf(to, "%*s", indent, "");
        print_quoted(map->key[i], to);
        fputs(": ", to);
        print_quoted(map->value[i], to);
        fputc('\n', to);
    }
}

void config_value_print(const config_key *key, const void *target, int indent, const char *comment, FILE *to) {
    if (key->type == CONFIG_LIST) {
        print_list(target, indent, comment, to);
        return;
    }
    if (key->type == CONFIG_MAP) {
        print_map(target, indent, comment, to);
        return;
    }
    fputc(' ', to);
    switch (key->type) {
    case CONFIG_BOOL:
        fputs(*(const bool *)target ? "true" : "false", to);
        break;
    case CONFIG_INT:
    case CONFIG_SIZE:
        fprintf(to, "%lld", (long long)*(const int64_t *)target);
        break;
    case CONFIG_REAL:
        print_real(*(const double *)target, to);
        break;
    case CONFIG_CHOICE:
        print_choice(key->choices, *(const int *)target, to);
        break;
    case CONFIG_TEXT:
        print_quoted(*(char *const *)target, to);
        break;
    case CONFIG_LIST:
    case CONFIG_MAP:
        break;
    }
    fprintf(to, "  # %s\n", comment);
}
