/* What holds for every layout: its table, presence, decoding of any cells; the inter-arrival code; the nprint layout on
 * the shared captures. */
#include "captured.h"
#include "packet/layout_priv.h"
#include "packet/relative_priv.h"

static const layout *const layouts[] = {&layout_relative, &layout_nprint, &layout_nprint_v6};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static void test_table(void **state) {
    assert_null(layout_find("image"));
    assert_null(layout_find(""));
    for (size_t i = 0; i < LAYOUTS; i++) {
        const layout *l = layouts[i];
        assert_ptr_equal(layout_find(l->name), l);
        assert_non_null(strstr(layout_names(), l->name));
        size_t next = 0;
        for (size_t k = 0; k < l->nfields; k++) { /* the fields tile the row, and their names differ */
            assert_int_equal(l->fields[k].first, next);
            next += l->fields[k].nbits;
            for (size_t j = 0; j < k; j++)
                assert_string_not_equal(l->fields[j].name, l->fields[k].name);
        }
        assert_int_equal(next, l->ncells);
        assert_string_equal(l->fields[0].name, "valid");
        assert_int_equal(l->fields[0].nbits, 1);
    }
}

static void test_gap_code(void **state) {
    int64_t last = 0;
    for (uint32_t step = 0; step < 512; step++) {
        uint32_t code = step ^ step >> 1;
        int64_t ns = layout_gap_ns(code);
        assert_true(ns >= 1000 && ns % 1000 == 0 && ns >= last);
        if (step > 0)
            assert_int_equal(__builtin_popcount(code ^ ((step - 1) ^ (step - 1) >> 1)), 1);
        if (step >= 80) /* from 31 us on every step has its own time */
            assert_int_equal(layout_gap_code(ns), code);
        last = ns;
    }
    /* round(16 log2(1 + us)) by hand: us, step */
    static const int64_t known[][2] = {{0, 0},      {1, 16},        {2, 25},          {3, 32},
                                       {1000, 159}, {1000000, 319}, {4095999999, 511}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_int_equal(layout_gap_code(known[i][0] * 1000 + 999), known[i][1] ^ known[i][1] >> 1);
    assert_int_equal(layout_gap_code(-5), 0);
    assert_int_equal(layout_gap_code(INT64_MIN), 0);
    assert_int_equal(layout_gap_code(INT64_MAX), 511 ^ 511 >> 1);
    for (int64_t us = 16; us < 4000000000; us += us / 7) { /* half a step: 2^(1/32) - 1 = 2.2 %, and rounding to 1 us */
        double ratio = (double)(layout_gap_ns(layout_gap_code(us * 1000)) / 1000 + 1) / (double)(us + 1);
        assert_true(ratio > 0.978 - 0.5 / (double)us && ratio < 1.0222 + 0.5 / (double)us);
    }
}

static void test_steps(void **state) {
    static const int32_t steps[] = {
        0, 1, -1, 1000, -1000, (1 << 20) - 1, -(1 << 20) + 1, INT32_MAX, INT32_MIN + 1, INT32_MIN};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        assert_int_equal(layout_step(layout_sign_magnitude(steps[i], 32), 32), steps[i]);
        int32_t clipped = steps[i] > 0xfffff ? 0xfffff : steps[i] < -0xfffff ? -0xfffff : steps[i];
        assert_int_equal(layout_step(layout_sign_magnitude(steps[i], 21), 21), clipped);
    }
    assert_int_equal(layout_step(1u << 20, 21), 0); /* minus 0 */
}

/* Any signs decode into packets with consistent headers; what presence() rules out does not matter. */
static void decode_random(const layout *l, uint64_t item) {
    enum { ROWS = 16 };
    rng r = rng_make(5, item, RNG_TEST);
    int8_t *cells = malloc(2 * ROWS * l->ncells), *masked = cells + ROWS * l->ncells;
    uint8_t *mask = malloc(l->ncells);
    assert_true(cells != NULL && mask != NULL);
    flow_plan plan = {.addr = {rng_u32(&r), rng_u32(&r)},
                      .addr6 = {rng_u32(&r), rng_u32(&r)},
                      .isn = {rng_u32(&r), rng_u32(&r)},
                      .start_ns = 5};
    size_t nrows = rng_below(&r, ROWS + 1);
    random_cells(&r, cells, ROWS * l->ncells);
    for (size_t i = 0; i < nrows; i++) {
        cells[i * l->ncells] = 1;
        l->presence(cells + i * l->ncells, i, mask);
        for (size_t c = 0; c < l->ncells; c++) {
            assert_true(mask[c] <= 1);
            masked[i * l->ncells + c] = mask[c] ? cells[i * l->ncells + c] : 0;
        }
    }
    flow a, b;
    flow_init(&a);
    flow_init(&b);
    assert_int_equal(l->decode(cells, NULL, nrows, &plan, &a, NULL), ST_OK);
    assert_int_equal(l->decode(masked, NULL, nrows, &plan, &b, NULL), ST_OK);
    assert_int_equal(a.npackets, nrows);
    assert_int_equal(b.npackets, nrows);
    for (size_t i = 0; i < nrows; i++) {
        const packet *p = &a.packets[i];
        assert_memory_equal(p, &b.packets[i], sizeof *p);
        unsigned nip = packet_ip_nheader(p), proto = packet_proto(p);
        unsigned nl4 = proto == PROTO_TCP ? (packet_l4(p)[12] >> 4) * 4u : 8;
        assert_true(p->dir <= 1 && packet_has_shape(p));
        assert_int_equal(p->nheader, nip + nl4);
        assert_int_equal(p->time_ns >= (i > 0 ? p[-1].time_ns + 1000 : 5), 1);
        bool escape = l == &layout_relative && rel_get(cells + i * l->ncells, REL_ESCAPE);
        assert_true(escape || p->wire_len >= p->nheader);
        if (l == &layout_relative && !escape) {
            bool ipv6 = packet_is_ipv6(p);
            assert_int_equal(nip, ipv6 ? 40 : 20);
            assert_true(packet_total_len(p) >= p->nheader && p->wire_len == packet_total_len(p));
            assert_true(ipv6 || checksum_ipv4(p) == get16(p->header + 10));
        }
    }
    flow_clear(&a);
    flow_clear(&b);
    free(cells);
    free(mask);
}

static void test_any_cells(void **state) {
    for (size_t i = 0; i < LAYOUTS; i++)
        for (uint64_t item = 0; item < 1500; item++)
            decode_random(layouts[i], item);
}

static void test_refuses(void **state) {
    for (size_t i = 0; i < LAYOUTS; i++) {
        flow f;
        const char *why = NULL;
        int8_t cells[4096];
        flow_init(&f);
        assert_false(layouts[i]->accepts(&f, &why));
        assert_non_null(why);
        assert_int_equal(layouts[i]->encode(&f, 1, cells), ST_RANGE);
        packet p = {.nheader = 28, .header = {0x45, 0, 0, 28, [9] = 47}}; /* GRE */
        assert_int_equal(flow_add(&f, &p), ST_OK);
        assert_false(layouts[i]->accepts(&f, &why));
        assert_int_equal(layouts[i]->encode(&f, 1, cells), ST_RANGE);
        flow_clear(&f);
    }
}

typedef struct tally {
    const layout *l;
    uint64_t flows, ipv6, accepted, packets;
} tally;

/* Of the nprint layouts: does a flow have nothing that they have no columns for? */
static bool is_covered(const layout *l, const flow *f) {
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        if (packet_is_ipv6(p) && (l == &layout_nprint || packet_ip_nheader(p) != 40 || packet_is_icmp(p)))
            return false;
    }
    return true;
}

static void nprint_round_trip(const char *file, flow *f, void *user) {
    tally *t = user;
    const layout *l = t->l;
    const char *why = NULL;
    t->flows++;
    if (l->accepts(f, &why) != is_covered(l, f))
        fail_msg("%s: a flow of %zu packets is %s", file, f->npackets, why != NULL ? why : "accepted");
    if (why != NULL)
        return;
    t->accepted++;
    t->ipv6 += f->key.ipv6;
    size_t n = f->npackets < 40 ? f->npackets : 40, nrows = n + 1;
    int8_t *cells = malloc(nrows * l->ncells);
    uint8_t *mask = malloc(l->ncells);
    assert_true(cells != NULL && mask != NULL);
    assert_int_equal(l->encode(f, nrows, cells), ST_OK);
    for (size_t i = 0; i < nrows; i++) {
        l->presence(cells + i * l->ncells, i, mask);
        for (size_t c = 0; c < l->ncells; c++)
            assert_int_equal(cells[i * l->ncells + c] != 0, mask[c]);
    }
    flow_plan plan;
    flow back;
    flow_init(&back);
    l->plan_of(f, &plan);
    assert_int_equal(l->decode(cells, NULL, n, &plan, &back, NULL), ST_OK);
    assert_true(flow_key_equal(&back.key, &f->key));
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(back.packets[i].nheader, f->packets[i].nheader);
        assert_memory_equal(back.packets[i].header, f->packets[i].header, f->packets[i].nheader);
        assert_int_equal(back.packets[i].dir, f->packets[i].dir);
    }
    t->packets += n;
    flow_clear(&back);
    free(cells);
    free(mask);
}

static void test_nprint_captures(void **state) {
    for (size_t i = 1; i < LAYOUTS; i++) {
        tally t = {.l = layouts[i]};
        captured_flows("data/captures/pcap", nprint_round_trip, &t);
        print_message("%s: %llu of %llu flows (%llu of IPv6), %llu packets, every header byte equal\n",
                      layouts[i]->name, (unsigned long long)t.accepted, (unsigned long long)t.flows,
                      (unsigned long long)t.ipv6, (unsigned long long)t.packets);
        assert_true(t.accepted > 1000 && (t.ipv6 > 50) == (layouts[i] == &layout_nprint_v6));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),   cmocka_unit_test(test_gap_code),  cmocka_unit_test(test_steps),
        cmocka_unit_test(test_refuses), cmocka_unit_test(test_any_cells), cmocka_unit_test(test_nprint_captures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
