/* Reading the labels file. See labels.h. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/csv.h"
#include "io/io_priv.h"
#include "io/labels_priv.h"

enum { FILE_MAX = 1 << 30 };

typedef enum field {
    FIELD_FILE,
    FIELD_LABEL,
    FIELD_MACRO,
    FIELD_RUN,
    FIELD_PROTO,
    FIELD_SRC,
    FIELD_SPORT,
    FIELD_DST,
    FIELD_DPORT,
    FIELD_FILTER,
    FIELD_COUNT
} field;

static const struct {
    const char *name;
    field field;
} columns[] = {{"file", FIELD_FILE}, {"label", FIELD_LABEL}, {"micro", FIELD_LABEL},  {"macro", FIELD_MACRO},
               {"run", FIELD_RUN},   {"proto", FIELD_PROTO}, {"src", FIELD_SRC},      {"sport", FIELD_SPORT},
               {"dst", FIELD_DST},   {"dport", FIELD_DPORT}, {"filter", FIELD_FILTER}};

/* Which CSV column each field is in. */
static status find_columns(const csv *c, size_t at[FIELD_COUNT]) {
    for (int f = 0; f < FIELD_COUNT; f++)
        at[f] = SIZE_MAX;
    for (size_t i = 0; i < c->nfields; i++)
        for (size_t k = 0; k < sizeof columns / sizeof columns[0]; k++)
            if (strcmp(c->field[i], columns[k].name) == 0) {
                if (at[columns[k].field] != SIZE_MAX)
                    return FAIL(ST_FORMAT, "%s:%zu: column '%s' is there twice (label and micro are one)", c->path,
                                c->record_line, c->field[i]);
                at[columns[k].field] = i;
            }
    if (at[FIELD_FILE] == SIZE_MAX || at[FIELD_LABEL] == SIZE_MAX)
        return FAIL(ST_FORMAT, "%s:%zu: columns file and label (or micro) are needed", c->path, c->record_line);
    bool any = false, all = true;
    for (int f = FIELD_PROTO; f <= FIELD_DPORT; f++) {
        any = any || at[f] != SIZE_MAX;
        all = all && at[f] != SIZE_MAX;
    }
    if (any && !all)
        return FAIL(ST_FORMAT, "%s:%zu: columns proto, src, sport, dst and dport are only of use together", c->path,
                    c->record_line);
    return ST_OK;
}

/* Text of a field in the current record, "" where its column is missing. */
static const char *text_of(const csv *c, const size_t at[FIELD_COUNT], field f) {
    return at[f] < c->nfields ? c->field[at[f]] : "";
}

static status parse_port(const csv *c, const char *text, const char *what, uint16_t *port) {
    int64_t value = 0;
    if (text_to_int(text, what, 0, 65535, &value) != ST_OK)
        return FAIL(ST_FORMAT, "%s:%zu: %s '%s' is no number from 0 to 65535", c->path, c->record_line, what, text);
    *port = (uint16_t)value;
    return ST_OK;
}

static status parse_proto(const csv *c, const char *text, uint8_t *proto) {
    static const struct {
        const char *name, *number;
        uint8_t proto;
    } known[] = {{"tcp", "6", PROTO_TCP},       {"udp", "17", PROTO_UDP},       {"icmp", "1", PROTO_ICMP},
                 {"icmp6", "58", PROTO_ICMPV6}, {"icmpv6", "58", PROTO_ICMPV6}, {"ipv6-icmp", "58", PROTO_ICMPV6}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcasecmp(text, known[i].name) == 0 || strcmp(text, known[i].number) == 0) {
            *proto = known[i].proto;
            return ST_OK;
        }
    return FAIL(ST_FORMAT, "%s:%zu: protocol '%s' is none of tcp, udp, icmp, icmp6", c->path, c->record_line, text);
}

static status parse_address(const csv *c, const char *text, const char *what, bool *ipv6, ip_address *address) {
    uint8_t bytes[16];
    *ipv6 = strchr(text, ':') != NULL;
    if (inet_pton(*ipv6 ? AF_INET6 : AF_INET, text, bytes) != 1)
        return FAIL(ST_FORMAT, "%s:%zu: %s '%s' is no IP address", c->path, c->record_line, what, text);
    *address = ip_address_get(bytes, *ipv6 ? 16 : 4);
    return ST_OK;
}

static status parse_addresses(const csv *c, const char *src, const char *dst, flow_key *key) {
    bool ipv6;
    TRY(parse_address(c, src, "src", &key->ipv6, &key->addr[0]));
    TRY(parse_address(c, dst, "dst", &ipv6, &key->addr[1]));
    if (ipv6 != key->ipv6)
        return FAIL(ST_FORMAT, "%s:%zu: src '%s' and dst '%s' are of different IP versions", c->path, c->record_line,
                    src, dst);
    if (key->proto == (ipv6 ? PROTO_ICMP : PROTO_ICMPV6))
        return FAIL(ST_FORMAT, "%s:%zu: protocol %s between addresses of IPv%d", c->path, c->record_line,
                    ipv6 ? "icmp" : "icmp6", ipv6 ? 6 : 4);
    return ST_OK;
}

static status parse_key(const csv *c, const size_t at[FIELD_COUNT], label_row *row) {
    row->kind = LABEL_BY_KEY;
    TRY(parse_proto(c, text_of(c, at, FIELD_PROTO), &row->key.proto));
    TRY(parse_addresses(c, text_of(c, at, FIELD_SRC), text_of(c, at, FIELD_DST), &row->key));
    bool icmp = row->key.proto == PROTO_ICMP || row->key.proto == PROTO_ICMPV6;
    const char *sport = text_of(c, at, FIELD_SPORT), *dport = text_of(c, at, FIELD_DPORT);
    TRY(parse_port(c, icmp && sport[0] == '\0' ? "0" : sport, "sport", &row->key.port[0]));
    TRY(parse_port(c, icmp && dport[0] == '\0' ? "0" : dport, "dport", &row->key.port[1]));
    if (icmp && row->key.port[1] != 0)
        return FAIL(ST_FORMAT, "%s:%zu: dport of an ICMP flow is 0", c->path, c->record_line);
    return ST_OK;
}

static status parse_row(const csv *c, const size_t at[FIELD_COUNT], size_t ncolumns, label_row *row) {
    if (c->nfields != ncolumns)
        return FAIL(ST_FORMAT, "%s:%zu: %zu fields where the header line has %zu", c->path, c->record_line, c->nfields,
                    ncolumns);
    *row = (label_row){.line = (uint32_t)c->record_line, /* FILE_MAX is below 2^32 */
                       .file = text_of(c, at, FIELD_FILE),
                       .label = text_of(c, at, FIELD_LABEL),
                       .macro = text_of(c, at, FIELD_MACRO),
                       .run = text_of(c, at, FIELD_RUN),
                       .filter = text_of(c, at, FIELD_FILTER)};
    if (base_name(row->file)[0] == '\0' || row->label[0] == '\0')
        return FAIL(ST_FORMAT, "%s:%zu: file and label must not be empty", c->path, c->record_line);
    if (row->run[0] == '\0')
        row->run = base_name(row->file);
    bool any = false;
    for (int f = FIELD_PROTO; f <= FIELD_DPORT; f++)
        any = any || text_of(c, at, (field)f)[0] != '\0';
    if (any)
        return parse_key(c, at, row);
    row->kind = row->filter[0] != '\0' ? LABEL_BY_FILTER : LABEL_WHOLE_FILE;
    return ST_OK;
}

static status read_rows(labels *l, size_t nbytes) {
    csv c;
    bool end;
    size_t at[FIELD_COUNT];
    csv_open(&c, l->path, l->text, nbytes);
    status st = csv_next(&c, &end);
    if (st == ST_OK && end)
        st = FAIL(ST_FORMAT, "%s: empty: a header line is needed", l->path);
    if (st == ST_OK)
        st = find_columns(&c, at);
    size_t ncolumns = c.nfields;
    while (st == ST_OK) {
        st = csv_next(&c, &end);
        if (st != ST_OK || end)
            break;
        st = memory_grow(&l->rows, &l->row_capacity, l->nrows + 1, sizeof *l->rows);
        if (st == ST_OK)
            st = parse_row(&c, at, ncolumns, &l->rows[l->nrows]);
        if (st == ST_OK)
            l->nlines = l->rows[l->nrows++].line;
    }
    csv_close(&c);
    return st;
}

bool label_same_flow(const flow_key *a, const flow_key *b) {
    flow_key reverse = flow_key_reverse(b);
    return flow_key_equal(a, b) || flow_key_equal(a, &reverse);
}

static int compare_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sort texts and drop repetitions; returns how many are left. */
static size_t sort_unique(const char **texts, size_t n) {
    size_t kept = 0;
    qsort(texts, n, sizeof *texts, compare_text);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || strcmp(texts[kept - 1], texts[i]) != 0)
            texts[kept++] = texts[i];
    return kept;
}

static int32_t index_of(const char *const *texts, size_t n, const char *text) {
    const char *const *found = bsearch(&text, texts, n, sizeof *texts, compare_text);
    return found != NULL ? (int32_t)(found - texts) : -1;
}

/* Tables of names from the rows, and the rows' indices into them. */
static status index_rows(labels *l) {
    memory_free(&l->label);
    memory_free(&l->macro);
    memory_free(&l->run);
    TRY(NEW(l->nrows, &l->label));
    TRY(NEW(l->nrows, &l->macro));
    TRY(NEW(l->nrows + l->nalone, &l->run));
    if (l->nrows + l->nalone > INT32_MAX)
        return FAIL(ST_RANGE, "%s: more than %d rows and captures", l->path, INT32_MAX);
    for (size_t i = 0; i < l->nrows; i++) {
        l->label[i] = l->rows[i].label;
        l->run[i] = l->rows[i].run;
    }
    l->nlabels = sort_unique(l->label, l->nrows);
    for (size_t i = 0; i < l->nalone; i++)
        l->run[l->nrows + i] = l->alone[i];
    l->nruns = sort_unique(l->run, l->nrows + l->nalone);
    for (size_t i = 0; i < l->nrows; i++) {
        label_row *row = &l->rows[i];
        row->run_index = index_of(l->run, l->nruns, row->run);
        row->label_index = index_of(l->label, l->nlabels, row->label);
        const char **macro = &l->macro[row->label_index];
        if (*macro == NULL || (*macro)[0] == '\0')
            *macro = row->macro;
        else if (row->macro[0] != '\0' && strcmp(*macro, row->macro) != 0)
            return FAIL(ST_FORMAT, "%s:%u: label '%s' has macro '%s' here and '%s' elsewhere", l->path, row->line,
                        row->label, row->macro, *macro);
    }
    return ST_OK;
}

static int compare_rows(const void *a, const void *b) {
    const label_row *x = a, *y = b;
    int order = strcmp(x->file, y->file);
    return order != 0 ? order : x->line < y->line ? -1 : x->line > y->line;
}

status labels_open(labels **out, const char *path) {
    status st = ST_OK;
    labels *l = NULL;
    size_t nbytes = 0;
    *out = NULL;
    TRY(NEW(1, &l));
    l->path = text_copy(path != NULL ? path : "");
    if (l->path[0] != '\0') {
        TRY_TO(failed, file_read(path, FILE_MAX, &l->text, &nbytes));
        TRY_TO(failed, read_rows(l, nbytes));
        if (l->nrows > 0)
            qsort(l->rows, l->nrows, sizeof *l->rows, compare_rows);
    }
    TRY_TO(failed, index_rows(l));
    *out = l;
    return ST_OK;
failed:
    labels_free(&l);
    return st;
}

/* The last component before *end that is neither empty nor ".", moving *end to its start; false if there is none. */
static bool previous_component(const char *path, size_t *end, const char **text, size_t *n) {
    while (*end > 0) {
        size_t stop = *end, start = stop;
        while (start > 0 && path[start - 1] != '/')
            start--;
        *text = path + start;
        *n = stop - start;
        *end = start > 0 ? start - 1 : 0;
        if (*n > 0 && !(*n == 1 && **text == '.'))
            return true;
    }
    return false;
}

/* Are the components before these ends the same as far as both go? *n: how many there are. */
static bool same_components(const char *a, size_t end_a, const char *b, size_t end_b, size_t *n) {
    const char *text_a, *text_b;
    size_t na, nb;
    for (*n = 0;; ++*n) {
        if (!previous_component(a, &end_a, &text_a, &na) || !previous_component(b, &end_b, &text_b, &nb))
            return true;
        if (na != nb || memcmp(text_a, text_b, na) != 0)
            return false;
    }
}

bool label_path_matches(const char *a, const char *b) {
    size_t n;
    return same_components(a, strlen(a), b, strlen(b), &n) && n > 0;
}

/* A last component STEM-NUMBER.pcap, the number of four digits or more; *end: where the component begins. */
static bool series_file(const char *path, size_t *end, const char **name, size_t *nstem, uint64_t *number) {
    static const char suffix[] = ".pcap";
    enum { SUFFIX = sizeof suffix - 1, DIGITS_LEAST = 4, DIGITS_MOST = 18 };
    size_t n, ndigits = 0;
    *end = strlen(path);
    if (!previous_component(path, end, name, &n) || n < SUFFIX || memcmp(*name + n - SUFFIX, suffix, SUFFIX) != 0)
        return false;
    n -= SUFFIX;
    while (ndigits < n && (*name)[n - ndigits - 1] >= '0' && (*name)[n - ndigits - 1] <= '9')
        ndigits++;
    *nstem = n - ndigits;
    *number = strtoull(*name + *nstem, NULL, 10);
    return ndigits >= DIGITS_LEAST && ndigits <= DIGITS_MOST && *nstem > 1 && (*name)[*nstem - 1] == '-';
}

bool label_path_continues(const char *earlier, const char *later, uint64_t *number) {
    const char *name_a, *name_b;
    size_t end_a, end_b, nstem_a, nstem_b, n;
    uint64_t later_number;
    return series_file(earlier, &end_a, &name_a, &nstem_a, number) &&
           series_file(later, &end_b, &name_b, &nstem_b, &later_number) && *number < later_number &&
           nstem_a == nstem_b && memcmp(name_a, name_b, nstem_a) == 0 &&
           same_components(earlier, end_a, later, end_b, &n);
}

/* Mark the captures that the file of a row names; false if it names none. */
static bool mark_captures(const char *file, const text_list *captures, bool *has_rows) {
    bool any = false;
    for (size_t k = 0; k < captures->n; k++)
        if (label_path_matches(file, captures->item[k]))
            any = has_rows[k] = true;
    return any;
}

static status add_alone(labels *l, const text_list *captures, const bool *has_rows) {
    l->alone = calloc(captures->n + 1, sizeof *l->alone);
    if (l->alone == NULL)
        return FAIL(ST_MEMORY, "no memory for %zu captures", captures->n);
    for (size_t k = 0; k < captures->n; k++)
        if (!has_rows[k])
            l->alone[l->nalone++] = text_copy(base_name(captures->item[k]));
    return ST_OK;
}

status labels_keep(labels *l, const text_list *captures) {
    size_t kept = 0, before = l->nrows;
    bool *has_rows = NULL;
    ASSERT(l->alone == NULL);
    TRY(NEW(captures->n, &has_rows));
    for (size_t i = 0; i < before;) {
        const char *file = l->rows[i].file;
        bool wanted = mark_captures(file, captures, has_rows);
        for (; i < before && strcmp(l->rows[i].file, file) == 0; i++) {
            if (wanted)
                l->rows[kept++] = l->rows[i];
        }
    }
    l->nrows = kept;
    status st = add_alone(l, captures, has_rows);
    memory_free(&has_rows);
    TRY(st);
    if (l->path[0] != '\0' && kept == 0)
        return FAIL(ST_FORMAT, "%s: none of its %zu rows is about a flow of the given captures", l->path, before);
    return index_rows(l);
}

int32_t labels_find_run(const labels *l, const char *name) {
    return index_of(l->run, l->nruns, name);
}

size_t labels_count(const labels *l) {
    return l->nlabels;
}

const char *labels_name(const labels *l, size_t i) {
    ASSERT(i < l->nlabels);
    return l->label[i];
}

const char *labels_macro(const labels *l, size_t i) {
    ASSERT(i < l->nlabels);
    return l->macro[i];
}

size_t labels_nruns(const labels *l) {
    return l->nruns;
}

const char *labels_run(const labels *l, size_t i) {
    ASSERT(i < l->nruns);
    return l->run[i];
}

size_t labels_nlines(const labels *l) {
    return l->nlines;
}

void labels_free(labels **out) {
    labels *l = *out;
    if (l == NULL)
        return;
    free(l->path);
    free(l->text);
    free(l->rows);
    for (size_t i = 0; i < l->nalone; i++)
        free(l->alone[i]);
    free(l->alone);
    memory_free(&l->label);
    memory_free(&l->macro);
    memory_free(&l->run);
    memory_free(out);
}
