/* Memorisation: what distances see, that planted copies and leaks are found, and that none are where there are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <unistd.h>

#include "base/memory.h"
#include "eval/memory_priv.h"
#include "eval/neighbour.h"
#include "eval/parts.h"
#include "io/capture.h"
#include "memory_flows.h"
#include "packet/nprint.h"

static comm *world_comm(void **state) {
    return *state;
}

static unsigned row_differs(const packet *a, const packet *b) {
    neighbour_row x, y;
    unsigned n = 0;
    neighbour_pack(a, 0, &x);
    neighbour_pack(b, 0, &y);
    for (size_t k = 0; k < NEIGHBOUR_ROW_WORDS; k++)
        n += (unsigned)__builtin_popcountll((x.value[k] ^ y.value[k]) | (x.present[k] ^ y.present[k]));
    return n;
}

/* Bytes of the header that may be turned over unseen; all others must show with each of their bits. */
static void masks_leave_out_identifiers_only(void **state) {
    static const struct {
        unsigned first, last;
    } hidden[] = {
        {4, 5},                     /* IP-ID */
        {10, 19},                   /* checksum, addresses */
        {L4, L4 + 1},               /* the client's port */
        {L4 + 4, L4 + 11},          /* sequence, acknowledgement */
        {L4 + 16, L4 + 17},         /* checksum */
        {L4 + 24, MADE_HEADER - 1}, /* timestamp values */
    };
    static const unsigned structure[] = {0, 9, L4 + 12, L4 + 20, L4 + 21, L4 + 22, L4 + 23}; /* change what follows */
    rng r = rng_make(1, 0, RNG_TEST);
    flow_key key = {.proto = PROTO_TCP, .addr = {1, 2}, .port = {40000, 443}};
    packet p = make_packet(&r, 0, 5, &key);
    for (unsigned at = 0; at < MADE_HEADER; at++) {
        bool is_hidden = false, is_structure = false;
        for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
            is_hidden |= at >= hidden[i].first && at <= hidden[i].last;
        for (size_t i = 0; i < sizeof structure / sizeof *structure; i++)
            is_structure |= at == structure[i];
        packet q = p;
        q.header[at] ^= 0xff;
        if (!is_structure)
            assert_int_equal(row_differs(&p, &q), is_hidden ? 0 : 8);
    }
    packet back = p;
    back.dir = 1; /* now the destination port is the client's: two ports become vacant, two appear */
    assert_int_equal(row_differs(&p, &back), 32);
}

static void selective_acknowledgements_are_left_out(void **state) {
    rng r = rng_make(2, 0, RNG_TEST);
    flow_key key = {.proto = PROTO_TCP, .addr = {1, 2}, .port = {40000, 443}};
    packet p = make_packet(&r, 0, 5, &key);
    memcpy(p.header + L4 + 20, (const uint8_t[]){1, 1, 5, 10}, 4);
    packet q = p;
    q.header[L4 + 26] ^= 0xff;
    assert_int_equal(row_differs(&p, &q), 0);
    p.header[L4 + 22] = q.header[L4 + 22] = 3; /* another kind: its data are looked at */
    assert_int_equal(row_differs(&p, &q), 8);
}

static void any_bytes_can_be_packed(void **state) {
    rng r = rng_make(3, 0, RNG_TEST);
    for (unsigned round = 0; round < 20000; round++) {
        packet *p = calloc(1, sizeof *p);
        for (size_t i = 0; i < PACKET_HEADER_MAX; i++)
            p->header[i] = (uint8_t)rng_u32(&r);
        p->header[9] = (const uint8_t[]){PROTO_TCP, PROTO_UDP, PROTO_ICMP, 99}[round % 4];
        p->nheader = (uint8_t)rng_u32(&r);
        neighbour_row row;
        neighbour_pack(p, round & 1, &row);
        for (size_t k = 0; k < NEIGHBOUR_ROW_WORDS; k++)
            assert_true((row.value[k] & ~row.present[k]) == 0);
        free(p);
    }
}

static void all_ways_count_the_same(void **state) {
    enum { WORDS = 40, STRIDE = 48 };
    uint64_t a[2 * STRIDE], b[2 * STRIDE];
    rng r = rng_make(4, 0, RNG_TEST);
    for (unsigned round = 0; round < 200; round++) {
        uint64_t differ = 0, vacancy = 0;
        for (size_t i = 0; i < 2 * STRIDE; i++) {
            a[i] = rng_u64(&r);
            b[i] = round ? rng_u64(&r) : ~a[i]; /* first every bit */
        }
        for (size_t i = 0; i < WORDS; i++) {
            vacancy += (uint64_t)__builtin_popcountll(a[STRIDE + i] ^ b[STRIDE + i]);
            differ += (uint64_t)__builtin_popcountll((a[i] ^ b[i]) | (a[STRIDE + i] ^ b[STRIDE + i]));
        }
        bool usable;
        neighbour_count *way;
        size_t tried = 0;
        for (size_t i = 0; (way = neighbour_way(i, &usable)); i++) {
            uint64_t v;
            if (!usable)
                continue;
            tried++;
            assert_true(way(a, b, WORDS, STRIDE, &v) == differ);
            assert_true(v == vacancy);
        }
        assert_true(tried >= 1);
    }
}

/* The definition, on nPrint's bits: columns left out by name, the client's port by direction, option values by place
 * (every made flow's timestamps lie in option bytes 4 to 11). */
static double distance_by_definition(const flow *a, const flow *b) {
    static const char *const out[] = {"ipv4_id", "ipv4_cksum", "ipv4_src", "ipv4_dst",
                                      "tcp_seq", "tcp_ackn",   "tcp_cksum"};
    double differ = 0, either = 0;
    for (size_t i = 0; i < WINDOW; i++) {
        int8_t x[2][NPRINT_COLUMNS];
        const flow *f[2] = {a, b};
        for (size_t k = 0; k < 2; k++) {
            memset(x[k], -1, sizeof x[k]);
            if (i >= f[k]->npackets)
                continue;
            const packet *p = &f[k]->packets[i];
            nprint_encode(p, x[k]);
            memset(x[k] + NPRINT_TCP + (p->dir ? 16 : 0), -1, 16);
            memset(x[k] + 640 + 32, -1, 64);
            for (size_t n = 0; n < nprint_nfields; n++)
                for (size_t o = 0; o < sizeof out / sizeof *out; o++)
                    if (!strcmp(nprint_fields[n].name, out[o]))
                        memset(x[k] + nprint_fields[n].first, -1, nprint_fields[n].nbits);
        }
        for (size_t c = 0; c < NPRINT_COLUMNS; c++) {
            differ += x[0][c] != x[1][c];
            either += x[0][c] >= 0 || x[1][c] >= 0;
        }
    }
    return differ / either;
}

static void distances_are_those_of_the_definition(void **state) {
    made_world m;
    make_world(&m, 12, 5, world_comm(state));
    const eval_set *sets[] = {&m.w.synthetic, &m.w.train};
    neighbours *x = NULL;
    float one[12], all[12][12];
    uint32_t number[12];
    assert_int_equal(neighbours_new(&x, 2, sets, WINDOW), ST_OK);
    for (uint32_t i = 0; i < 12; i++)
        number[i] = i;
    neighbours_distances(x, 0, 12, number, 1, all[0]);
    for (uint32_t i = 0; i < 12; i++) {
        neighbours_distances(x, 0, 1, &i, 1, one);
        for (size_t k = 0; k < 12; k++) {
            double expected = distance_by_definition(&m.w.synthetic.flows[i].f, &m.w.train.flows[k].f);
            assert_float_equal(one[k], expected, 1e-6);
            assert_true(one[k] == all[i][k]);
        }
    }
    neighbours_free(&x);
    clear_world(&m);
}

/* Known values of the interval (Newcombe 1998, table I: 81/263, and 0/10 by hand: z^2 / (n + z^2)). */
static void the_interval_is_wilsons(void **state) {
    double low, high, p = 81.0 / 263;
    memory_interval(p, 0, 263, &low, &high);
    assert_float_equal(low, 0.2553, 5e-5);
    assert_float_equal(high, 0.3662, 5e-5);
    memory_interval(0, 0, 10, &low, &high);
    assert_float_equal(low, 0, 1e-12);
    assert_float_equal(high, 3.841459 / 13.841459, 1e-6);
    double wide_low, wide_high;
    memory_interval(p, 4 * p * (1 - p) / 263, 263, &wide_low, &wide_high); /* four times the binomial variance */
    memory_interval(p, 0, 263.0 / 4, &low, &high);
    assert_float_equal(wide_low, low, 1e-12);
    assert_float_equal(wide_high, high, 1e-12);
}

/* Flows drawn like the real ones: 95 % of intervals should hold 0.5. Of 40 at least 34: fewer has probability 0.005
 * where coverage is 95 %. */
static void fresh_flows_are_no_closer_to_train(void **state) {
    unsigned held = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        made_world m;
        memory_near *r;
        bool sampled[QUERY_COUNT];
        make_world(&m, 40, seed, world_comm(state));
        assert_int_equal(memory_near_measure(&m.w, &r, sampled), ST_OK);
        const memory_near *all = &r[3];
        assert_true(all->compared == 40 && all->identical == 0 && all->near == 0);
        assert_true(all->low <= all->closer && all->closer <= all->high);
        held += all->low <= 0.5 && all->high >= 0.5;
        memory_free(&r);
        clear_world(&m);
    }
    assert_in_range(held, 34, 40);
}

static void planted_copies_are_found(void **state) {
    made_world m;
    memory_near *r;
    bool sampled[QUERY_COUNT];
    make_world(&m, 60, 6, world_comm(state));
    for (size_t i = 0; i < 30; i++) { /* 20 whole copies, 10 that differ in one bit */
        eval_flow *to = &m.w.synthetic.flows[i];
        flow_clear(&to->f);
        make_copy(to, &m.w.train.flows[i], &m.r, 3);
        if (i >= 20)
            to->f.packets[3].header[8] ^= 1;
    }
    assert_int_equal(memory_near_measure(&m.w, &r, sampled), ST_OK);
    const memory_near *all = &r[3], *held_out = &r[4 + 3], *train = &r[8 + 3];
    assert_true(all->queries == 60 && all->identical == 20 && all->near == 30);
    assert_true(all->longer == 60 && all->longer_identical == 20 && all->longer_near == 30);
    assert_true(all->closer > 0.6 && all->low > 0.5);
    assert_true(r[0].identical == 10 && r[1].identical == 10 && r[2].queries == 0); /* alpha, beta, no label */
    assert_true(held_out->identical == 0 && train->identical == 0);
    assert_false(sampled[QUERY_SYNTHETIC]);
    memory_free(&r);

    /* A training flow that is there twice is a copy of the rest of train. */
    flow_clear(&m.w.train.flows[59].f);
    make_copy(&m.w.train.flows[59], &m.w.train.flows[57], &m.r, 1);
    assert_int_equal(memory_near_measure(&m.w, &r, sampled), ST_OK);
    assert_true(r[8 + 3].identical == 2);
    memory_free(&r);
    clear_world(&m);
}

static void sides_of_unequal_size_are_matched(void **state) {
    made_world m;
    memory_near *r;
    bool sampled[QUERY_COUNT];
    make_world(&m, 80, 7, world_comm(state));
    while (m.w.held_out.n > 16) /* without matching, train would nearly always be nearer */
        flow_clear(&m.w.held_out.flows[--m.w.held_out.n].f);
    assert_int_equal(memory_near_measure(&m.w, &r, sampled), ST_OK);
    assert_true(r[3].low <= 0.5 && r[3].high >= 0.5);
    memory_free(&r);
    while (m.w.held_out.n > 0)
        flow_clear(&m.w.held_out.flows[--m.w.held_out.n].f);
    assert_int_equal(memory_near_measure(&m.w, &r, sampled), ST_OK);
    assert_true(r[3].compared == 0 && r[3].queries == 80 && r[4 + 3].queries == 0);
    memory_free(&r);
    clear_world(&m);
}

static void equal_beginnings_are_counted(void **state) {
    made_world m;
    memory_begin *r;
    make_world(&m, 20, 8, world_comm(state));
    for (size_t i = 0; i < 3; i++) { /* copies: one whole, one of 9 packets, one of 4 */
        eval_flow *to = &m.w.synthetic.flows[i];
        flow_clear(&to->f);
        make_copy(to, &m.w.train.flows[i], &m.r, 3);
        for (size_t k = i == 1 ? 9 : i == 2 ? 4 : 32; k < to->f.npackets; k++)
            put16(to->f.packets[k].header + 2, 60000);
    }
    eval_flow *to = &m.w.synthetic.flows[3]; /* of a held-out flow */
    flow_clear(&to->f);
    make_copy(to, &m.w.held_out.flows[3], &m.r, 3);
    assert_int_equal(memory_begin_measure(&m.w, &r), ST_OK);
    const memory_begin *all = &r[3], *train = &r[8 + 3];
    const double as_train[BEGIN_COUNT] = {3, 2, m.w.train.flows[0].f.npackets >= 12, 1};
    for (size_t n = 0; n < BEGIN_COUNT; n++) {
        assert_true(all->as_train[n] == as_train[n]);
        assert_true(all->as_held_out[n] == (n != 2 || to->f.npackets >= 12));
        assert_true(train->as_train[n] == 0);
        assert_true(all->flows[n] == r[0].flows[n] + r[1].flows[n]);
    }
    assert_true(all->flows[0] == 20 && all->flows[3] == 20);
    memory_free(&r);
    clear_world(&m);
}

static void leaks_are_found_and_only_they(void **state) {
    made_world m;
    memory_leak leak[LEAK_COUNT];
    make_world(&m, 30, 9, world_comm(state));
    assert_int_equal(memory_leak_measure(&m.w, leak), ST_OK);
    assert_true(leak[LEAK_ADDRESSES].shared == 0 && leak[LEAK_ADDRESSES].real > 0);
    assert_true(leak[LEAK_TIMESTAMPS].shared == 0 && leak[LEAK_TIMESTAMPS].synthetic > 0);
    assert_true(leak[LEAK_TIMESTAMPS].chance > 0 && leak[LEAK_TIMESTAMPS].chance < 0.01);
    assert_true(leak[LEAK_PORT_RUNS].shared == 0 && leak[LEAK_PORT_RUNS].real > 0);

    flow *f = &m.w.synthetic.flows[4].f;
    const flow *of = &m.w.held_out.flows[2].f;
    put32(f->packets[2].header + 12, of->key.addr[0]);
    put32(f->packets[3].header + L4 + 24, get32(of->packets[5].header + L4 + 24));
    put32(f->packets[0].header + L4 + 4, get32(of->packets[0].header + L4 + 4));
    m.w.synthetic.flows[5].f.key.addr[1] = 0xc0000201; /* 192.0.2.1 on both sides identifies nobody */
    m.w.train.flows[5].f.key.addr[1] = 0xc0000201;
    for (size_t i = 0; i < 3; i++)
        m.w.synthetic.flows[10 + i].f.key.port[0] = m.w.train.flows[20 + i].f.key.port[0];
    assert_int_equal(memory_leak_measure(&m.w, leak), ST_OK);
    assert_true(leak[LEAK_ADDRESSES].shared == 1 && leak[LEAK_RESERVED].shared == 1);
    assert_true(leak[LEAK_TIMESTAMPS].shared == 1 && leak[LEAK_FIRST_SEQUENCE].shared == 1);
    assert_true(leak[LEAK_PORTS].shared >= 3 && leak[LEAK_PORT_RUNS].shared == 1);
    char text[48];
    uint32_t a = of->key.addr[0];
    snprintf(text, sizeof text, "%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
    assert_string_equal(leak[LEAK_ADDRESSES].example, text);
    clear_world(&m);
}

static void macs_are_judged(void **state) {
    char folder[] = "/tmp/nd-memory-XXXXXX";
    memory_macs macs;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(memory_macs_scan(folder, &macs), ST_OK);
    assert_true(macs.captures == 0);
    assert_int_equal(memory_macs_scan(NULL, &macs), ST_OK);

    rng r = rng_make(10, 0, RNG_TEST);
    eval_flow f;
    make_flow(&f, &r, 0, 6, 3);
    char *path = text_format("%s/a.pcap", folder), *foreign = text_format("%s/b.pcap", folder);
    capture_writer *w = NULL;
    assert_int_equal(capture_create(&w, path, 1, 65535), ST_OK);
    for (size_t i = 0; i < f.f.npackets; i++)
        assert_int_equal(capture_write(w, &f.f.packets[i], true), ST_OK);
    assert_int_equal(capture_commit(&w), ST_OK);
    assert_int_equal(memory_macs_scan(folder, &macs), ST_OK);
    assert_true(macs.captures == 1 && macs.frames == 6 && macs.addresses == 2 && macs.global == 0);

    /* One frame from a maker's address, little-endian pcap. */
    static const uint8_t bytes[24 + 16 + 14] = {
        0xd4,        0xc3,     0xb2,      0xa1,      2,           0,           4,           0,           [16] = 0xff,
        [17] = 0xff, [20] = 1, [32] = 14, [36] = 14, [40] = 0x02, [46] = 0x00, [47] = 0x1b, [48] = 0x21, [52] = 0x08};
    assert_int_equal(file_write(foreign, bytes, sizeof bytes), ST_OK);
    assert_int_equal(memory_macs_scan(folder, &macs), ST_OK);
    assert_true(macs.captures == 2 && macs.frames == 7 && macs.addresses == 4 && macs.global == 1);
    flow_clear(&f.f);
    free(path);
    free(foreign);
    assert_int_equal(file_remove_tree(folder), ST_OK);
}

static void the_part_fills_the_report(void **state) {
    made_world m;
    report *r = NULL;
    char *good[] = {"leak.addresses<=0", "memory.copies<=0.1", "memory.near_copies<=0.1", "memory.closer_to_train<=0.9",
                    "leak.timestamps<=0"};
    char *bad[] = {"memory.copies>=0.5"};
    make_world(&m, 20, 11, world_comm(state));
    flow_clear(&m.w.synthetic.flows[0].f);
    make_copy(&m.w.synthetic.flows[0], &m.w.train.flows[0], &m.r, 3);
    assert_int_equal(report_new(&r, "test"), ST_OK);
    assert_int_equal(part_memory(&m.w, r), ST_OK);
    assert_int_equal(report_status(r), ST_OK);
    assert_int_equal(report_check(r, sizeof good / sizeof *good, good), ST_OK);
    assert_int_equal(report_check(r, 1, bad), ST_RANGE);
    report_free(&r);
    clear_world(&m);

    made_world empty; /* nothing anywhere: cells say so, nothing divides by zero */
    make_world(&empty, 0, 12, world_comm(state));
    assert_int_equal(report_new(&r, "test"), ST_OK);
    assert_int_equal(part_memory(&empty.w, r), ST_OK);
    report_free(&r);
    clear_world(&empty);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_leave_out_identifiers_only),
        cmocka_unit_test(selective_acknowledgements_are_left_out),
        cmocka_unit_test(any_bytes_can_be_packed),
        cmocka_unit_test(all_ways_count_the_same),
        cmocka_unit_test(distances_are_those_of_the_definition),
        cmocka_unit_test(the_interval_is_wilsons),
        cmocka_unit_test(fresh_flows_are_no_closer_to_train),
        cmocka_unit_test(planted_copies_are_found),
        cmocka_unit_test(sides_of_unequal_size_are_matched),
        cmocka_unit_test(equal_beginnings_are_counted),
        cmocka_unit_test(leaks_are_found_and_only_they),
        cmocka_unit_test(macs_are_judged),
        cmocka_unit_test(the_part_fills_the_report),
    };
    return cmocka_run_group_tests(tests, open_comm, close_comm);
}
