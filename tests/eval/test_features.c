/* Features against the codec, against hand-counted flows and against a plain search for columns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "eval/features.h"
#include "packet/nprint.h"

/* A TCP packet of 32 header bytes with timestamps, every other field random. */
static packet tcp_packet(rng *r, uint8_t dir, int64_t time_ns, unsigned total) {
    packet p = {.time_ns = time_ns, .wire_len = total, .dir = dir, .nheader = 52};
    for (size_t i = 0; i < p.nheader; i++)
        p.header[i] = (uint8_t)rng_u32(r);
    p.header[0] = 0x45;
    put16(p.header + 2, total);
    p.header[9] = PROTO_TCP;
    p.header[32] = 0x80;
    const uint8_t options[] = {1, 1, 8, 10};
    memcpy(p.header + 40, options, sizeof options);
    return p;
}

static void make(feature_kind kind, size_t packets, const eval_flow *f, size_t n, feature_table *t) {
    const eval_flow *flows[64];
    assert_true(n <= 64);
    for (size_t i = 0; i < n; i++)
        flows[i] = &f[i];
    assert_int_equal(features_make(kind, packets, flows, n, t), ST_OK);
}

static void bits_are_the_codecs(void **state) {
    rng r = rng_make(1, 1, RNG_TEST);
    int8_t expected[NPRINT_COLUMNS];
    feature_table t;
    eval_flow f = {0};
    for (unsigned i = 0; i < 3; i++) {
        packet p = tcp_packet(&r, i & 1, i, 60);
        assert_int_equal(flow_add(&f.f, &p), ST_OK);
    }
    make(FEATURE_ALL_BITS, 4, &f, 1, &t);
    assert_int_equal(t.ncolumns, 4 * NPRINT_COLUMNS);
    for (unsigned i = 0; i < 3; i++) {
        nprint_encode(&f.f.packets[i], expected);
        assert_memory_equal(t.bits + i * NPRINT_COLUMNS, expected, sizeof expected);
    }
    memset(expected, -1, sizeof expected); /* the packet that the flow does not have */
    assert_memory_equal(t.bits + 3 * NPRINT_COLUMNS, expected, sizeof expected);
    features_clear(&t);
    flow_clear(&f.f);
}

/* Two packets that differ in nothing but what names a session have the same bits; one more difference shows. */
static void session_bits_are_hidden(void **state) {
    static const struct {
        const char *name;
        size_t byte, nbytes; /* of the header */
        bool hidden;
    } rows[] = {
        {"TOS", 1, 1, false},          {"IP-ID", 4, 2, true},
        {"TTL", 8, 1, false},          {"IP checksum", 10, 2, true},
        {"addresses", 12, 8, true},    {"ports", 20, 4, true},
        {"sequence", 24, 4, true},     {"acknowledgement", 28, 4, true},
        {"flags", 33, 1, false},       {"window", 34, 2, false},
        {"TCP checksum", 36, 2, true}, {"urgent pointer", 38, 2, false},
        {"timestamps", 44, 8, true},
    };
    rng r = rng_make(2, 1, RNG_TEST);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        eval_flow f[2];
        memset(f, 0, sizeof f);
        packet p = tcp_packet(&r, 0, 0, 60), q = p;
        for (size_t k = 0; k < rows[i].nbytes; k++)
            q.header[rows[i].byte + k] ^= 0xff;
        assert_int_equal(flow_add(&f[0].f, &p), ST_OK);
        assert_int_equal(flow_add(&f[1].f, &q), ST_OK);
        for (feature_kind kind = FEATURE_ALL_BITS; kind <= FEATURE_BITS; kind++) {
            feature_table t;
            make(kind, 1, f, 2, &t);
            bool same = !memcmp(t.bits, t.bits + t.ncolumns, t.ncolumns);
            if (same != (kind == FEATURE_BITS && rows[i].hidden))
                fail_msg("%s in %s", rows[i].name, feature_kind_names[kind]);
            features_clear(&t);
        }
        flow_clear(&f[0].f);
        flow_clear(&f[1].f);
    }
}

/* Any bytes, also option lists that do not parse: values stay in -1..1 and statistics stay finite. */
static void any_bytes_are_taken(void **state) {
    rng r = rng_make(3, 1, RNG_TEST);
    for (unsigned round = 0; round < 3000; round++) {
        eval_flow f = {0};
        for (unsigned i = rng_below(&r, 4); i > 0; i--) {
            packet p = {.time_ns = (int64_t)rng_u64(&r) / 4, .dir = (uint8_t)rng_u32(&r), .nheader = 120};
            for (size_t k = 0; k < sizeof p.header; k++)
                p.header[k] = (uint8_t)rng_u32(&r);
            p.header[9] = round % 2 ? PROTO_TCP : p.header[9];
            assert_int_equal(flow_add(&f.f, &p), ST_OK);
        }
        for (feature_kind kind = FEATURE_ALL_BITS; kind < FEATURE_KINDS; kind++) {
            feature_table t;
            make(kind, 3, &f, 1, &t);
            for (size_t c = 0; c < t.ncolumns; c++)
                assert_true(t.bits ? t.bits[c] >= -1 && t.bits[c] <= 1 : isfinite(t.numbers[c]) != 0);
            features_clear(&t);
        }
        flow_clear(&f.f);
    }
}

static float statistic(const feature_table *t, const char *name) {
    for (size_t c = 0; c < t->ncolumns; c++)
        if (!strcmp(features_field_name(FEATURE_STATISTICS, c), name))
            return t->numbers[c];
    fail_msg("no statistic %s", name);
    return 0;
}

/* Out 60 and 100 bytes at 0 and 3 ms, in 40 bytes at 1 ms. */
static void statistics_by_hand(void **state) {
    static const struct {
        const char *name;
        double expected; /* before log(1 + x); times in microseconds */
    } rows[] = {
        {"packets out", 2},    {"packets in", 1},     {"bytes out", 160},  {"bytes in", 40},
        {"duration", 3000},    {"size mean out", 80}, {"size sd out", 20}, {"size min out", 60},
        {"size max out", 100}, {"size mean in", 40},  {"size sd in", 0},   {"gap mean", 1500},
        {"gap sd", 500},       {"gap min", 1000},     {"gap max", 2000},   {"gap mean out", 3000},
        {"gap min out", 3000}, {"gap max in", 0},     {"SYN packets", 2},  {"ACK packets", 1},
        {"FIN packets", 0},
    };
    rng r = rng_make(4, 1, RNG_TEST);
    eval_flow f = {0};
    feature_table t;
    packet p[3] = {tcp_packet(&r, 0, 1000000000, 60), tcp_packet(&r, 1, 1001000000, 40),
                   tcp_packet(&r, 0, 1003000000, 100)};
    const uint8_t flags[3] = {TCP_SYN, TCP_SYN | TCP_ACK, 0};
    for (unsigned i = 0; i < 3; i++) {
        p[i].header[33] = flags[i];
        assert_int_equal(flow_add(&f.f, &p[i]), ST_OK);
    }
    make(FEATURE_STATISTICS, 1, &f, 1, &t);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_float_equal(statistic(&t, rows[i].name), log1p(rows[i].expected), 1e-5);
    assert_float_equal(statistic(&t, "protocol TCP"), 1, 0);
    assert_float_equal(statistic(&t, "protocol UDP"), 0, 0);
    features_clear(&t);
    flow_clear(&f.f);
}

/* A packet every 60 seconds, nearly: no deviation, however large the gaps. */
static void steady_gaps_do_not_deviate(void **state) {
    static const char *const names[] = {"gap sd", "gap sd out", "gap sd in", "size sd out"};
    rng r = rng_make(7, 1, RNG_TEST);
    eval_flow f = {0};
    feature_table t;
    for (unsigned i = 0; i < 31; i++) {
        packet p = tcp_packet(&r, i & 1, (int64_t)i * 59999999001, 60);
        assert_int_equal(flow_add(&f.f, &p), ST_OK);
    }
    make(FEATURE_STATISTICS, 1, &f, 1, &t);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (statistic(&t, names[i]) > 1e-6f)
            fail_msg("%s is %g", names[i], (double)statistic(&t, names[i]));
    assert_float_equal(statistic(&t, "gap mean"), log1p(59999999), 1e-5);
    features_clear(&t);
    flow_clear(&f.f);
}

static bool equal_columns(const feature_table *t, size_t a, size_t b) {
    for (size_t i = 0; i < t->nrows; i++)
        if (t->bits[i * t->ncolumns + a] != t->bits[i * t->ncolumns + b])
            return false;
    return true;
}

static bool constant_column(const feature_table *t, size_t c) {
    for (size_t i = 1; i < t->nrows; i++)
        if (t->bits[i * t->ncolumns + c] != t->bits[c])
            return false;
    return true;
}

/* Few rows make many equal and constant columns: the same are kept as by comparing all with all. */
static void columns_against_plain_search(void **state) {
    enum { ROWS = 4, COLUMNS = 120 };
    int8_t bits[ROWS * COLUMNS];
    const int classes[ROWS] = {0, 1, 0, 1};
    rng r = rng_make(5, 1, RNG_TEST);
    for (unsigned round = 0; round < 50; round++) {
        feature_table t = {.nrows = ROWS, .ncolumns = COLUMNS, .bits = bits};
        size_t *columns, n, k = 0;
        for (size_t i = 0; i < ROWS * COLUMNS; i++)
            bits[i] = (int8_t)((int)rng_below(&r, 3) - 1);
        assert_int_equal(features_choose(&t, classes, 2, COLUMNS, &columns, &n), ST_OK);
        for (size_t c = 0; c < COLUMNS; c++) {
            bool kept = !constant_column(&t, c);
            for (size_t b = 0; b < c && kept; b++)
                kept = !equal_columns(&t, b, c);
            if (!kept)
                continue;
            assert_true(k < n);
            assert_int_equal(columns[k++], c);
        }
        assert_int_equal(k, n);
        memory_free(&columns);
    }
}

/* Of many random columns, the ones that follow the class are kept, whatever values they use for it. */
static void informative_columns_are_kept(void **state) {
    enum { ROWS = 60, COLUMNS = 200 };
    static const size_t planted[] = {7, 90, 199};
    int8_t bits[ROWS * COLUMNS];
    int classes[ROWS];
    rng r = rng_make(6, 1, RNG_TEST);
    feature_table t = {.nrows = ROWS, .ncolumns = COLUMNS, .bits = bits};
    for (size_t i = 0; i < ROWS; i++) {
        classes[i] = (int)rng_below(&r, 3);
        for (size_t c = 0; c < COLUMNS; c++)
            bits[i * COLUMNS + c] = (int8_t)((int)rng_below(&r, 3) - 1);
        bits[i * COLUMNS + 7] = (int8_t)(classes[i] - 1);
        bits[i * COLUMNS + 90] = classes[i] == 0 ? 1 : classes[i] == 1 ? -1 : 0;
        bits[i * COLUMNS + 199] = (int8_t)(1 - classes[i]);
    }
    size_t *columns, n;
    float *x;
    assert_int_equal(features_choose(&t, classes, 3, 3, &columns, &n), ST_OK);
    assert_int_equal(n, 3);
    assert_memory_equal(columns, planted, sizeof planted);
    assert_int_equal(features_gather(&t, columns, n, &x), ST_OK);
    for (size_t i = 0; i < ROWS; i++)
        assert_float_equal(x[i * 3], classes[i] - 1, 0);
    memory_free(&x);
    memory_free(&columns);
}

static void fields_have_names(void **state) {
    assert_string_equal(features_field_name(FEATURE_BITS, features_field(FEATURE_BITS, NPRINT_COLUMNS + 64)),
                        "ipv4_ttl");
    assert_string_equal(features_field_name(FEATURE_BITS, features_field(FEATURE_BITS, 3 * NPRINT_COLUMNS - 1)),
                        "icmp_roh");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_are_the_codecs),          cmocka_unit_test(session_bits_are_hidden),
        cmocka_unit_test(any_bytes_are_taken),          cmocka_unit_test(statistics_by_hand),
        cmocka_unit_test(steady_gaps_do_not_deviate),   cmocka_unit_test(columns_against_plain_search),
        cmocka_unit_test(informative_columns_are_kept), cmocka_unit_test(fields_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
