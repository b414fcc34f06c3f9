/* Gaps: numbers that run ahead of what was seen stay where what follows bears them out, and close where nothing does.
 * Flows with packets that were overtaken, came late, twice or not at all, and a few wrong numbers and flags beside. */
#include "base/rng.h"
#include "repaired.h"

#define L(...)                                                                                                         \
    { __VA_ARGS__, NULL, 0 }
#define OPEN {0, S, 0, 0, 0, OPTIONS("\2\4\5\xb4")}, {1, S | A, 0, 1, 0, OPTIONS("\2\4\5\xb4")}, L(0, A, 1, 1, 0)

/* closed: the number (or acknowledgement) of that line afterwards, where line 0 says nothing. */
typedef struct scene {
    const char *name;
    size_t n;
    line lines[10];
    size_t changed;
    uint32_t seq, ack;
} scene;

static const scene scenes[] = {
    {"overtaken", 6, {OPEN, L(1, A, 101, 1, 50), L(1, A, 1, 1, 100), L(0, A, 1, 151, 0)}, 0, 0, 0},
    {"lost before the observer, and sent again",
     10,
     {OPEN, L(1, A, 1, 1, 100), L(1, A, 201, 1, 100), L(0, A, 1, 101, 0), L(1, A, 301, 1, 100), L(0, A, 1, 101, 0),
      L(1, A, 101, 1, 100), L(0, A, 1, 401, 0)},
     0,
     0,
     0},
    {"two lost, and sent again one by one",
     7,
     {OPEN, L(1, A, 201, 1, 100), L(1, A, 1, 1, 100), L(1, A, 101, 1, 100), L(0, A, 1, 301, 0)},
     0,
     0,
     0},
    {"passed unseen, and acknowledged",
     6,
     {OPEN, L(1, A, 101, 1, 50), L(1, A, 151, 1, 9), L(0, A, 1, 160, 0)},
     0,
     0,
     0},
    {"a FIN behind what passed unseen",
     6,
     {OPEN, L(1, A, 1, 1, 9), L(1, A | F, 101, 1, 0), L(0, A, 1, 102, 0)},
     0,
     0,
     0},
    {"acknowledged before its side goes on",
     6,
     {OPEN, L(0, A, 1, 200, 0), L(1, A, 200, 1, 9), L(0, A, 1, 209, 0)},
     0,
     0,
     0},
    {"one direction",
     5,
     {L(0, A, 1, 1, 5), L(0, A, 6, 1, 5), L(0, A, 90, 1, 5), L(0, A, 95, 1, 5), L(0, A, 200, 1, 0)},
     4,
     100,
     1},
    {"not acknowledged", 6, {OPEN, L(1, A, 101, 1, 50), L(1, A, 151, 1, 9), L(0, A, 1, 1, 7)}, 3, 1, 1},
    {"its side goes on below it", 6, {OPEN, L(1, A, 101, 1, 50), L(1, A, 51, 1, 200), L(0, A, 1, 251, 0)}, 3, 1, 1},
    {"farther than a window",
     6,
     {OPEN, L(1, A, 1 << 25, 1, 50), L(1, A, (1 << 25) + 50, 1, 9), L(0, A, 1, (1 << 25) + 59, 0)},
     3,
     1,
     1},
    {"an acknowledgement of what never comes",
     6,
     {OPEN, L(1, A, 1, 1, 9), L(0, A, 1, 200, 0), L(1, A, 10, 1, 9)},
     4,
     1,
     10},
    {"behind the own FIN",
     7,
     {OPEN, L(1, A | F, 1, 1, 9), L(0, A, 1, 11, 5), L(1, A, 60, 6, 0), L(0, A, 6, 60, 0)},
     5,
     11,
     6},
};

static void test_scenes(void **state) {
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        const scene *x = &scenes[i];
        flow f;
        check_counts before = {.flows = 0};
        lines_flow(x->lines, x->n, &f);
        check_flow(&f, CHECK_PAYLOAD_UNKNOWN, &before, NULL);
        if (before.flows_pass != (x->changed == 0))
            fail_msg("%s: %s the rules", x->name, before.flows_pass ? "passes" : "fails");
        repair_counts c = repair_twice(&f, x->name, i);
        if ((c.packets_changed + c.packets_dropped == 0) != (x->changed == 0))
            fail_msg("%s: %llu packets changed", x->name, (unsigned long long)c.packets_changed);
        if (x->changed > 0) {
            const uint8_t *l4 = packet_l4(&f.packets[x->changed]);
            bool side = x->lines[x->changed].dir;
            uint32_t seq = get32(l4 + 4) - (side ? ISN_1 : ISN_0), ack = get32(l4 + 8) - (side ? ISN_0 : ISN_1);
            if (seq != x->seq || ack != x->ack)
                fail_msg("%s: number %u and acknowledgement %u", x->name, seq, ack);
        }
        flow_clear(&f);
    }
}

/* What the rules say holds where a gap is as far from what fills it as they look, and no farther. */
static void test_distance(void **state) {
    for (size_t between = 95; between <= 105; between++) {
        flow f;
        check_counts c = {.flows = 0};
        flow_init(&f);
        line open[] = {OPEN, L(1, A, 101, 1, 10)};
        for (size_t i = 0; i < 4 + between + 1; i++) {
            line x = i < 4              ? open[i]
                     : i == 4 + between ? (line)L(1, A, 1, 1, 100)
                                        : (line)L(0, A | P, 1 + 5 * (uint32_t)(i - 4), 1, 5);
            packet p = line_packet(&x, i);
            assert_int_equal(flow_add(&f, &p), ST_OK);
        }
        checksum_fill_flow(&f);
        check_flow(&f, CHECK_PAYLOAD_MADE, &c, NULL);
        assert_int_equal(c.failed[CHECK_SEQ] == 0, between + 1 <= 99);
        repair_counts repaired = repair_twice(&f, "distance", between);
        assert_int_equal(repaired.packets_changed == 0, between + 1 <= 99);
        flow_clear(&f);
    }
}

/* However many there are: a long flow in which every other segment passed unseen comes back as it was. */
static void test_many(void **state) {
    enum { ROUNDS = 5000 };
    static const line open[] = {OPEN};
    flow f;
    check_counts c = {.flows = 0};
    flow_init(&f);
    for (size_t i = 0; i < 3 + 2 * ROUNDS; i++) {
        uint32_t k = i < 3 ? 0 : (uint32_t)(i - 3) / 2;
        line x = i < 3 ? open[i] : i % 2 ? (line)L(1, A, 101 + 200 * k, 1, 100) : (line)L(0, A, 1, 201 + 200 * k, 0);
        packet p = line_packet(&x, i);
        assert_int_equal(flow_add(&f, &p), ST_OK);
    }
    checksum_fill_flow(&f);
    check_flow(&f, CHECK_PAYLOAD_MADE, &c, NULL);
    assert_int_equal(c.rows_pass, c.rows);
    repair_counts repaired = repair_twice(&f, "many", 0);
    assert_int_equal(repaired.packets_changed + repaired.packets_dropped, 0);
    flow_clear(&f);
}

typedef struct talk {
    size_t n;
    line lines[96];
} talk;

/* A conversation of up to 80 packets without a fault but for what comes after a FIN. */
static void random_talk(rng *r, talk *t) {
    static const unsigned sizes[] = {0, 0, 1, 10, 1000};
    uint32_t next[2] = {1, 1}, acked[2] = {1, 1};
    size_t n = 4 + rng_below(r, 76);
    static const line open[] = {OPEN};
    t->n = rng_below(r, 4) > 0 ? 3 : 0;
    memcpy(t->lines, open, sizeof open);
    while (t->n < n) {
        uint8_t d = (uint8_t)rng_below(r, 2);
        unsigned size = sizes[acked[d] != next[!d] ? rng_below(r, 5) : 2 + rng_below(r, 3)];
        bool fin = t->n + 3 > n && rng_below(r, 2);
        acked[d] = next[!d];
        t->lines[t->n++] = (line){d, (uint8_t)(A | (fin ? F : 0)), next[d], acked[d], size, NULL, 0};
        next[d] += size + fin;
    }
}

static void swap_lines(talk *t, size_t i, size_t k) {
    line x = t->lines[i];
    t->lines[i] = t->lines[k];
    t->lines[k] = x;
}

/* What happens between two hosts and an observer, and what a model gets wrong. */
static void disturb(rng *r, talk *t) {
    static const int32_t steps[] = {1, -1, 10, -10, 1000, -1000, 70000};
    size_t i = rng_below(r, (uint32_t)t->n);
    line *x = &t->lines[i];
    switch (rng_below(r, 7)) {
    case 0: /* unseen */
        memmove(x, x + 1, (--t->n - i) * sizeof *x);
        break;
    case 1:
        swap_lines(t, i, i + 1 < t->n ? i + 1 : i);
        break;
    case 2: /* late */
        for (size_t late = 1 + rng_below(r, 12); late > 0 && i + 1 < t->n; late--, i++)
            swap_lines(t, i, i + 1);
        break;
    case 3: /* twice */
        if (t->n < sizeof t->lines / sizeof *t->lines)
            t->lines[t->n++] = *x;
        break;
    case 4:
        x->seq += (uint32_t)steps[rng_below(r, 7)];
        break;
    case 5:
        x->ack += (uint32_t)steps[rng_below(r, 7)];
        break;
    default:
        x->flags ^= (uint8_t)(1u << rng_below(r, 5));
        break;
    }
}

static void test_random(void **state) {
    enum { FLOWS = 40000 };
    size_t nright = 0, nkept = 0;
    for (uint64_t item = 0; item < FLOWS; item++) {
        rng r = rng_make(11, item, RNG_TEST);
        talk t;
        flow f;
        check_counts before = {.flows = 0};
        random_talk(&r, &t);
        for (uint32_t n = rng_below(&r, 5); n > 0 && t.n > 1; n--)
            disturb(&r, &t);
        lines_flow(t.lines, t.n, &f);
        check_flow(&f, CHECK_PAYLOAD_UNKNOWN, &before, NULL);
        repair_counts c = repair_twice(&f, "talk", item);
        nright += before.flows_pass > 0 && before.failed[CHECK_TIME] == 0;
        nkept += before.flows_pass > 0 && c.packets_changed + c.packets_dropped == 0;
        flow_clear(&f);
    }
    print_message("%zu of %d flows pass the rules, %zu of them come back as they were\n", nright, FLOWS, nkept);
    assert_true(nright > FLOWS / 8);
    assert_true(nkept * 100 >= nright * 99);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scenes),
        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests_name("packet.repair_gaps", tests, NULL, NULL);
}
