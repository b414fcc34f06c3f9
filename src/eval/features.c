/* Bits and statistics of flows as rows for classifiers, and the choice of columns. */
#include "eval/features.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/memory.h"
#include "packet/nprint.h"

const char *const feature_kind_names[FEATURE_KINDS] = {"all bits", "bits", "statistics"};

/* Fields that tell one session from another without saying anything of the service. */
static const char *const session_fields[] = {"ipv4_id",   "ipv4_cksum", "ipv4_src",   "ipv4_dst",  "tcp_sprt",
                                             "tcp_dprt",  "tcp_seq",    "tcp_ackn",   "tcp_cksum", "udp_sport",
                                             "udp_dport", "udp_cksum",  "icmp_cksum", "icmp_roh"};

enum { SESSION_FIELDS = sizeof session_fields / sizeof *session_fields };

bool features_name_session(size_t field) {
    for (size_t i = 0; i < SESSION_FIELDS; i++)
        if (!strcmp(nprint_fields[field].name, session_fields[i]))
            return true;
    return false;
}

static void find_session_fields(nprint_field found[SESSION_FIELDS]) {
    size_t n = 0;
    for (size_t f = 0; f < nprint_nfields; f++)
        if (features_name_session(f))
            found[n++] = nprint_fields[f];
    ASSERT(n == SESSION_FIELDS);
}

/* Zero the values of timestamps (RFC 7323) and selective acknowledgements (RFC 2018); kinds and lengths stay. A list
 * that does not parse is left alone from there on. */
static void blank_option_values(packet *p) {
    enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_SACK = 5, OPTION_TIMESTAMPS = 8 };
    if (packet_proto(p) != PROTO_TCP)
        return;
    size_t tcp = packet_ip_nheader(p), end = tcp + (p->header[tcp + 12] >> 4) * 4u;
    for (size_t i = tcp + 20; i < end && p->header[i] != OPTION_END;) {
        if (p->header[i] == OPTION_NOP) {
            i++;
            continue;
        }
        size_t nbytes = i + 1 < end ? p->header[i + 1] : 0;
        if (nbytes < 2 || i + nbytes > end)
            return;
        if (p->header[i] == OPTION_SACK || p->header[i] == OPTION_TIMESTAMPS)
            memset(p->header + i + 2, 0, nbytes - 2);
        i += nbytes;
    }
}

/* hidden: n fields to vacate, 0 = every bit is kept. */
static void bits_of(size_t packets, const flow *f, const nprint_field *hidden, size_t n, int8_t *row) {
    for (size_t i = 0; i < packets; i++, row += NPRINT_COLUMNS) {
        if (i >= f->npackets) {
            memset(row, -1, NPRINT_COLUMNS);
            continue;
        }
        packet p = f->packets[i];
        if (n > 0)
            blank_option_values(&p);
        nprint_encode(&p, row);
        for (size_t k = 0; k < n; k++)
            memset(row + hidden[k].first, -1, hidden[k].nbits);
    }
}

/* In the order in which statistics_of writes them. */
static const char *const statistic_names[] = {
    "packets out", "packets in",   "bytes out",    "bytes in",     "duration",     "size mean out",
    "size sd out", "size min out", "size max out", "size mean in", "size sd in",   "size min in",
    "size max in", "gap mean",     "gap sd",       "gap min",      "gap max",      "gap mean out",
    "gap sd out",  "gap min out",  "gap max out",  "gap mean in",  "gap sd in",    "gap min in",
    "gap max in",  "FIN packets",  "SYN packets",  "RST packets",  "PSH packets",  "ACK packets",
    "URG packets", "ECE packets",  "CWR packets",  "protocol TCP", "protocol UDP", "protocol ICMP",
};
enum { STATISTICS = sizeof statistic_names / sizeof *statistic_names };

typedef struct moments {
    double n, mean, squares, min, max; /* squares: of differences from the mean */
} moments;

/* Updated as Welford does (Technometrics 4(3), 1962): gaps of a steady clock are large and alike, and a difference of
 * their sums of squares would be noise. */
static void moments_add(moments *m, double x) {
    double off = x - m->mean;
    m->min = m->n == 0 || x < m->min ? x : m->min;
    m->max = m->n == 0 || x > m->max ? x : m->max;
    m->n++;
    m->mean += off / m->n;
    m->squares += off * (x - m->mean);
}

/* Mean, standard deviation, least and greatest as four columns. */
static float *moments_put(const moments *m, float *row) {
    *row++ = (float)log1p(m->mean);
    *row++ = (float)log1p(m->n > 0 ? sqrt(m->squares / m->n) : 0);
    *row++ = (float)log1p(m->min);
    *row++ = (float)log1p(m->max);
    return row;
}

static void statistics_of(const flow *f, float *row) {
    enum { BOTH = 2 };
    moments size[2] = {{0}}, gap[3] = {{0}};
    double flags[8] = {0}, protocols[3] = {0}, bytes[2] = {0};
    const packet *latest[2] = {NULL, NULL};
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        unsigned dir = p->dir & 1u, proto = packet_proto(p);
        if (i > 0) /* a clock that goes back counts as no gap; microseconds */
            moments_add(&gap[BOTH], fmax(0, (double)packet_gap(p - 1, p) / 1e3));
        if (latest[dir])
            moments_add(&gap[dir], fmax(0, (double)packet_gap(latest[dir], p) / 1e3));
        latest[dir] = p;
        moments_add(&size[dir], packet_total_len(p));
        bytes[dir] += packet_total_len(p);
        for (unsigned k = 0; k < 8 && proto == PROTO_TCP; k++)
            flags[k] += packet_l4(p)[13] >> k & 1;
        protocols[0] += proto == PROTO_TCP;
        protocols[1] += proto == PROTO_UDP;
        protocols[2] += packet_is_icmp(p);
    }
    int64_t span = f->npackets > 0 ? packet_gap(&f->packets[0], &f->packets[f->npackets - 1]) : 0;
    const double totals[] = {size[0].n, size[1].n, bytes[0], bytes[1], fmax(0, (double)span / 1e3)};
    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++)
        *row++ = (float)log1p(totals[i]);
    for (unsigned i = 0; i < 2; i++)
        row = moments_put(&size[i], row);
    row = moments_put(&gap[BOTH], row);
    for (unsigned i = 0; i < 2; i++)
        row = moments_put(&gap[i], row);
    for (unsigned k = 0; k < 8; k++)
        *row++ = (float)log1p(flags[k]);
    for (unsigned k = 0; k < 3; k++)
        *row++ = f->npackets > 0 ? (float)(protocols[k] / (double)f->npackets) : 0;
}

status features_make(feature_kind kind, size_t packets, const eval_flow *const *flows, size_t n, feature_table *t) {
    nprint_field hidden[SESSION_FIELDS] = {{0}};
    *t = (feature_table){.kind = kind, .nrows = n};
    find_session_fields(hidden);
    t->ncolumns = kind == FEATURE_STATISTICS ? (size_t)STATISTICS : packets * NPRINT_COLUMNS;
    if (kind == FEATURE_STATISTICS)
        TRY(NEW(n * t->ncolumns, &t->numbers));
    else
        TRY(NEW(n * t->ncolumns, &t->bits));
    for (size_t i = 0; i < n; i++) {
        if (t->bits)
            bits_of(packets, &flows[i]->f, hidden, kind == FEATURE_BITS ? SESSION_FIELDS : 0,
                    t->bits + i * t->ncolumns);
        else
            statistics_of(&flows[i]->f, t->numbers + i * t->ncolumns);
    }
    return ST_OK;
}

void features_clear(feature_table *t) {
    memory_free(&t->bits);
    memory_free(&t->numbers);
    *t = (feature_table){0};
}

/* A column's values boiled down to one number: equal columns have equal keys, others differ but for a chance of 2^-62.
 * Constant columns get key 0. */
typedef struct column_key {
    uint64_t key;
    size_t column;
} column_key;

static int by_key(const void *a, const void *b) {
    const column_key *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->column > y->column) - (x->column < y->column);
}

/* Keys are sums of values times a random number a row, so one pass over the rows serves all columns. */
__attribute__((target_clones("avx2", "default"))) static void key_row(const int8_t *row, size_t n, uint64_t factor,
                                                                      column_key *keys) {
    for (size_t c = 0; c < n; c++)
        keys[c].key += factor * (uint64_t)(int64_t)row[c];
}

static void key_columns(const feature_table *t, column_key *keys) {
    rng r = rng_make(0, 0, RNG_INIT);
    uint64_t all = 0;
    for (size_t c = 0; c < t->ncolumns; c++)
        keys[c] = (column_key){.column = c};
    for (size_t i = 0; i < t->nrows; i++) {
        uint64_t factor = rng_u64(&r) | 1;
        all += factor;
        if (t->bits) {
            key_row(t->bits + i * t->ncolumns, t->ncolumns, factor, keys);
            continue;
        }
        for (size_t c = 0; c < t->ncolumns; c++) {
            uint32_t word;
            memcpy(&word, &t->numbers[i * t->ncolumns + c], sizeof word);
            keys[c].key += factor * word;
        }
    }
    for (size_t c = 0; c < t->ncolumns && t->nrows > 0; c++) {
        uint64_t value;
        uint32_t word = 0;
        if (t->numbers)
            memcpy(&word, &t->numbers[c], sizeof word);
        value = t->bits ? (uint64_t)(int64_t)t->bits[c] : word;
        if (keys[c].key == all * value) /* what a column full of its first value has */
            keys[c].key = 0;
    }
}

typedef struct ranked_column {
    double information;
    size_t column;
} ranked_column;

static int by_information(const void *a, const void *b) {
    const ranked_column *x = a, *y = b;
    if (x->information != y->information)
        return x->information > y->information ? -1 : 1;
    return (x->column > y->column) - (x->column < y->column);
}

static int by_column(const void *a, const void *b) {
    const size_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double plogp(double n) {
    return n > 0 ? n * log(n) : 0;
}

/* Keep the `limit` columns that say most of the class: counts of (class, value) a column, then mutual information up to
 * terms that all columns share. */
static status keep_informative(const feature_table *t, const int *classes, size_t nclasses, size_t limit,
                               size_t *columns, size_t *n) {
    uint32_t *counts = NULL; /* (nclasses, 3, *n) */
    ranked_column *ranked = NULL;
    status st = NEW(nclasses * 3 * *n, &counts);
    if (!st)
        st = NEW(*n, &ranked);
    for (size_t i = 0; i < t->nrows && !st; i++) {
        const int8_t *row = t->bits + i * t->ncolumns;
        uint32_t *to = counts + (size_t)classes[i] * 3 * *n;
        for (size_t c = 0; c < *n; c++)
            to[(size_t)(row[columns[c]] + 1) * *n + c]++;
    }
    for (size_t c = 0; c < *n && !st; c++) {
        double information = 0;
        for (size_t v = 0; v < 3; v++) {
            double all = 0;
            for (size_t k = 0; k < nclasses; k++) {
                double count = counts[(k * 3 + v) * *n + c];
                all += count;
                information += plogp(count);
            }
            information -= plogp(all);
        }
        ranked[c] = (ranked_column){information, columns[c]};
    }
    if (!st) {
        qsort(ranked, *n, sizeof *ranked, by_information);
        for (size_t c = 0; c < limit; c++)
            columns[c] = ranked[c].column;
        *n = limit;
        qsort(columns, *n, sizeof *columns, by_column);
    }
    memory_free(&counts);
    memory_free(&ranked);
    return st;
}

status features_choose(const feature_table *train, const int *classes, size_t nclasses, size_t limit, size_t **columns,
                       size_t *n) {
    column_key *keys = NULL;
    *columns = NULL;
    *n = 0;
    TRY(NEW(train->ncolumns, &keys));
    status st = NEW(train->ncolumns, columns);
    if (!st) {
        key_columns(train, keys);
        qsort(keys, train->ncolumns, sizeof *keys, by_key);
        for (size_t c = 0; c < train->ncolumns; c++)
            if (keys[c].key != 0 && (c == 0 || keys[c].key != keys[c - 1].key))
                (*columns)[(*n)++] = keys[c].column;
        qsort(*columns, *n, sizeof **columns, by_column);
        if (train->bits && *n > limit)
            st = keep_informative(train, classes, nclasses, limit, *columns, n);
    }
    if (st)
        memory_free(columns);
    memory_free(&keys);
    return st;
}

status features_gather(const feature_table *t, const size_t *columns, size_t n, float **x) {
    TRY(NEW(t->nrows * n, x));
    for (size_t i = 0; i < t->nrows; i++) {
        float *to = *x + i * n;
        for (size_t c = 0; c < n; c++)
            to[c] = t->bits ? (float)t->bits[i * t->ncolumns + columns[c]] : t->numbers[i * t->ncolumns + columns[c]];
    }
    return ST_OK;
}

size_t features_nfields(feature_kind kind) {
    return kind == FEATURE_STATISTICS ? (size_t)STATISTICS : nprint_nfields;
}

size_t features_field(feature_kind kind, size_t column) {
    if (kind == FEATURE_STATISTICS)
        return column;
    size_t field = 0;
    column %= NPRINT_COLUMNS;
    while (column >= (size_t)nprint_fields[field].first + nprint_fields[field].nbits)
        field++;
    return field;
}

const char *features_field_name(feature_kind kind, size_t field) {
    return kind == FEATURE_STATISTICS ? statistic_names[field] : nprint_fields[field].name;
}
