/* Utility on planted flows whose answer is known, and the same results for any number of ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "dist/comm_priv.h"
#include "eval/utility_priv.h"

enum { LABELS = 4, PER_LABEL = 24, HELD_OUT = 16 };

/* What of a flow depends on its class. */
typedef enum plant { PLANT_TTL, PLANT_PORT, PLANT_NOTHING } plant;

typedef struct planted_world {
    experiment e;
    eval_world w;
    char *labels[LABELS], *macros[2];
    int macro_of[LABELS];
} planted_world;

static comm alone = {.size = 1, .node_size = 1, .processors = 1};

/* UDP, three packets that alternate; four bits of the IP-ID are noise. code: the value that is planted. */
static void add_flow(eval_set *s, int label, unsigned code, plant what, rng *r) {
    assert_int_equal(memory_grow(&s->flows, &s->capacity, s->n + 1, sizeof *s->flows), ST_OK);
    eval_flow *f = &s->flows[s->n++];
    *f = (eval_flow){.packets = 3, .bytes = 120, .duration = 2e-3};
    flow_init(&f->f);
    f->f.label = label;
    for (unsigned i = 0; i < 3; i++) {
        packet p = {.time_ns = i * 1000000, .wire_len = 40, .dir = i & 1, .nheader = 28, .header = {0x45}};
        put16(p.header + 2, 40);
        put16(p.header + 4, rng_u32(r) & 0xf);
        p.header[8] = (uint8_t)(what == PLANT_TTL ? 16 * code + 15 : 64);
        p.header[9] = PROTO_UDP;
        put16(p.header + (i & 1 ? 20 : 22), what == PLANT_PORT ? 1000 + 17 * code : 53);
        put16(p.header + (i & 1 ? 22 : 20), 40000);
        put16(p.header + 24, 20);
        assert_int_equal(flow_add(&f->f, &p), ST_OK);
    }
}

/* shift: synthetic flows of label l carry the value of label l + shift. */
static void world_make(planted_world *p, plant what, unsigned shift, comm *c) {
    static const char *const labels[LABELS] = {"a", "b", "c", "d"};
    rng r = rng_make(1, 1, RNG_TEST);
    *p = (planted_world){.macros = {(char *)"ab", (char *)"cd"}, .macro_of = {0, 0, 1, 1}};
    p->e.seed = 1;
    p->e.eval.packets = 3;
    p->e.eval.seeds = 2;
    p->e.eval.trees = 100;
    for (size_t l = 0; l < LABELS; l++)
        p->labels[l] = (char *)labels[l];
    p->w = (eval_world){.e = &p->e,
                        .c = c,
                        .window = 3,
                        .nlabels = LABELS,
                        .label = p->labels,
                        .nmacros = 2,
                        .macro = p->macros,
                        .macro_of = p->macro_of};
    for (unsigned i = 0; i < LABELS * PER_LABEL; i++) {
        unsigned l = i % LABELS;
        add_flow(&p->w.train, (int)l, l, what, &r);
        add_flow(&p->w.synthetic, (int)l, (l + shift) % LABELS, what, &r);
        if (i < LABELS * HELD_OUT)
            add_flow(&p->w.held_out, (int)l, l, what, &r);
        if (l != 3) /* the control misses a class */
            add_flow(&p->w.marginal, (int)l, l, what, &r);
    }
}

static void set_clear(eval_set *s) {
    for (size_t i = 0; i < s->n; i++)
        flow_clear(&s->flows[i].f);
    free(s->flows);
    *s = (eval_set){0};
}

static void world_clear(planted_world *p) {
    set_clear(&p->w.train);
    set_clear(&p->w.held_out);
    set_clear(&p->w.synthetic);
    set_clear(&p->w.marginal);
}

static void run(planted_world *p, utility_classes *c, utility_results *x) {
    assert_int_equal(utility_classes_make(&p->w, c), ST_OK);
    status st = utility_run(&p->w, c, x);
    if (st)
        fail_msg("%s", status_message());
}

static double mean(const utility_score *s, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        assert_float_equal(s[i].tried, 1, 0);
        sum += s[i].accuracy / (double)n;
    }
    return sum;
}

static double cross(const utility_results *x, utility_pair p, feature_kind k, utility_labelling l, classifier_kind m) {
    return mean(utility_cross(x, p, k, l, m), x->nseeds);
}

/* The TTL tells the class everywhere: all is right but for the control that misses a class. */
static void separable_classes(void **state) {
    planted_world p;
    utility_classes c;
    utility_results x;
    world_make(&p, PLANT_TTL, 0, &alone);
    run(&p, &c, &x);
    assert_int_equal(c.n[MICRO], 4);
    assert_int_equal(c.n[MACRO], 2);
    for (utility_labelling l = MICRO; l < LABELLINGS; l++)
        for (classifier_kind m = RANDOM_FOREST; m < CLASSIFIER_KINDS; m++) {
            assert_float_equal(cross(&x, REAL_REAL, FEATURE_BITS, l, m), 1, 0);
            assert_float_equal(cross(&x, SYNTHETIC_REAL, FEATURE_BITS, l, m), 1, 0);
            assert_float_equal(cross(&x, REAL_SYNTHETIC, FEATURE_BITS, l, m), 1, 0);
            assert_float_equal(cross(&x, SEEN_REAL, FEATURE_BITS, l, m), 1, 0);
            assert_float_equal(utility_cross(&x, RANDOM_REAL, FEATURE_BITS, l, m)[0].tried, 0, 0); /* no such flows */
        }
    for (classifier_kind m = RANDOM_FOREST; m < CLASSIFIER_KINDS; m++)
        assert_float_equal(cross(&x, MARGINAL_REAL, FEATURE_BITS, MICRO, m), 0.75, 0);
    for (size_t k = 0; k < 2; k++) {
        assert_float_equal(utility_filled(&x, k, true, 0)[k], 1, 0);
        assert_float_equal(utility_whole(&x, 1)[k], 1, 0);
    }
    const double *confusion = utility_confusion(&x, LEARNT_SYNTHETIC);
    for (size_t i = 0; i < 16; i++) {
        double expected = i % 5 == 0 ? 2 * HELD_OUT : 0; /* both seeds, on the diagonal */
        assert_float_equal(confusion[i], expected, 0);
    }
    utility_results_clear(&x);
    utility_classes_clear(&c);
    world_clear(&p);
}

/* Synthetic flows with the value of the next class: worth nothing, and the more of them the worse. */
static void synthetic_flows_that_mislead(void **state) {
    planted_world p;
    utility_classes c;
    utility_results x;
    world_make(&p, PLANT_TTL, 1, &alone);
    run(&p, &c, &x);
    assert_float_equal(cross(&x, REAL_REAL, FEATURE_BITS, MICRO, RANDOM_FOREST), 1, 0);
    assert_float_equal(cross(&x, SYNTHETIC_REAL, FEATURE_BITS, MICRO, RANDOM_FOREST), 0, 0);
    assert_float_equal(cross(&x, REAL_SYNTHETIC, FEATURE_BITS, MICRO, RANDOM_FOREST), 0, 0);
    assert_float_equal(mean(utility_mixed(&x, 0, MICRO), 2), 1, 0);
    assert_float_equal(mean(utility_mixed(&x, 1, MICRO), 2), 1, 0); /* one in four cannot outvote three */
    assert_float_equal(mean(utility_mixed(&x, 3, MICRO), 2), 0, 0);
    assert_float_equal(mean(utility_mixed(&x, 4, MICRO), 2), 0, 0);
    utility_results_clear(&x);
    utility_classes_clear(&c);
    world_clear(&p);
}

/* Only ports tell the class: known with all bits, unknown without those that name a session, unknown by statistics. */
static void a_leak_through_ports(void **state) {
    planted_world p;
    utility_classes c;
    utility_results x;
    world_make(&p, PLANT_PORT, 0, &alone);
    run(&p, &c, &x);
    for (classifier_kind m = RANDOM_FOREST; m < CLASSIFIER_KINDS; m++) {
        double known = cross(&x, REAL_REAL, FEATURE_ALL_BITS, MICRO, m);
        if (known < (m == SVM ? 0.9 : 1))
            fail_msg("%s: %.3f", classifier_names[m], known);
        assert_float_equal(cross(&x, REAL_REAL, FEATURE_BITS, MICRO, m), 0.25, 0); /* one answer to everything */
        assert_float_equal(cross(&x, REAL_REAL, FEATURE_STATISTICS, MACRO, m), 0.5, 0);
    }
    utility_results_clear(&x);
    utility_classes_clear(&c);
    world_clear(&p);
}

static void nothing_to_learn(void **state) {
    planted_world p;
    utility_classes c;
    utility_results x;
    world_make(&p, PLANT_NOTHING, 0, &alone);
    run(&p, &c, &x);
    for (classifier_kind m = RANDOM_FOREST; m < CLASSIFIER_KINDS; m++) /* IP-IDs are noise; 64 tries a seed */
        assert_float_equal(cross(&x, REAL_REAL, FEATURE_ALL_BITS, MICRO, m), 0.25, 0.16);
    utility_results_clear(&x);
    utility_classes_clear(&c);
    world_clear(&p);
}

/* Labels with too few flows are left out; with less than two labels there are no figures, and no failure. */
static void too_few_flows(void **state) {
    planted_world p;
    utility_classes c;
    report *r;
    char *limit[] = {(char *)"utility.real_real.rf.micro>=1"};
    world_make(&p, PLANT_TTL, 0, &alone);
    for (size_t i = 0; i < p.w.synthetic.n; i++) /* 3 of label 1 stay */
        if (p.w.synthetic.flows[i].f.label == 1 && i >= 12)
            p.w.synthetic.flows[i].f.label = -1;
    assert_int_equal(utility_classes_make(&p.w, &c), ST_OK);
    assert_int_equal(c.n[MICRO], 3);
    assert_int_equal(c.want[1], 0);
    assert_int_equal(c.count[2][1], 3);
    utility_classes_clear(&c);
    assert_int_equal(report_new(&r, "left out"), ST_OK);
    assert_int_equal(part_utility(&p.w, r), ST_OK);
    assert_int_equal(report_check(r, 1, limit), ST_OK);
    report_free(&r);

    for (size_t left = 1; left + 1 > 0; left--) { /* one label, none */
        for (size_t i = 0; i < p.w.synthetic.n; i++)
            if (p.w.synthetic.flows[i].f.label >= (int)left)
                p.w.synthetic.flows[i].f.label = -1;
        assert_int_equal(report_new(&r, "too few"), ST_OK);
        assert_int_equal(part_utility(&p.w, r), ST_OK);
        assert_int_equal(report_check(r, 1, limit), ST_USAGE); /* no such figure */
        report_free(&r);
    }
    world_clear(&p);
}

/* Flows without packets will do: only labels are counted. */
static void add_labelled(eval_set *s, int label, size_t n) {
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(memory_grow(&s->flows, &s->capacity, s->n + 1, sizeof *s->flows), ST_OK);
        s->flows[s->n] = (eval_flow){0};
        flow_init(&s->flows[s->n].f);
        s->flows[s->n++].f.label = label;
    }
}

/* A test set is cut down by its own numbers: how many flows were generated changes nothing for held-out ones, and the
 * quarter of the training runs that is put aside is bounded too. */
static void large_sets(void **state) {
    static const struct {
        size_t train[2], held_out[2], synthetic[2], want_held_out[2], want_synthetic[2], want_seen[2];
        double largest;
    } rows[] = {
        {{40, 40}, {10, 400}, {40, 40}, {10, 400}, {40, 40}, {10, 10}, 400 / 410.0},
        {{40, 40}, {10, 400}, {9000, 40}, {10, 400}, {896, 3}, {10, 10}, 400 / 410.0},
        {{40, 40}, {900, 900}, {9000, 40}, {450, 450}, {896, 3}, {10, 10}, 0.5},
        {{40000, 8000}, {10, 400}, {40, 40}, {10, 400}, {40, 40}, {750, 150}, 400 / 410.0},
        {{4, 4}, {4, 4}, {4, 4}, {4, 4}, {4, 4}, {1, 1}, 0.5},
        {{4, 4}, {3, 40}, {4, 4}, {0, 40}, {0, 4}, {0, 1}, 1},
        {{4, 4}, {3, 3}, {4, 4}, {0, 0}, {0, 0}, {0, 0}, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        planted_world p = {.macros = {(char *)"ab"}};
        utility_classes c;
        p.labels[0] = (char *)"a";
        p.labels[1] = (char *)"b";
        p.w = (eval_world){.e = &p.e,
                           .c = &alone,
                           .nlabels = 2,
                           .label = p.labels,
                           .nmacros = 1,
                           .macro = p.macros,
                           .macro_of = p.macro_of};
        for (int l = 0; l < 2; l++) {
            add_labelled(&p.w.train, l, rows[i].train[l]);
            add_labelled(&p.w.held_out, l, rows[i].held_out[l]);
            add_labelled(&p.w.synthetic, l, rows[i].synthetic[l]);
        }
        assert_int_equal(utility_classes_make(&p.w, &c), ST_OK);
        for (size_t l = 0; l < 2; l++) {
            assert_int_equal(c.want_test[TEST_HELD_OUT][l], rows[i].want_held_out[l]);
            assert_int_equal(c.want_test[TEST_SYNTHETIC][l], rows[i].want_synthetic[l]);
            assert_int_equal(c.want_test[TEST_SEEN][l], rows[i].want_seen[l]);
        }
        assert_float_equal(utility_largest_share(&c, MICRO), rows[i].largest, 1e-12);
        assert_float_equal(utility_largest_share(&c, MACRO), rows[i].largest > 0, 0);
        utility_classes_clear(&c);
        world_clear(&p);
    }
}

/* Draws of one item are disjoint where their ranges are, and of another item in another order. */
static void draws(void **state) {
    planted_world p;
    utility_classes c;
    flow_list a = {0}, b = {0}, other = {0}, again = {0};
    const size_t ten[LABELS] = {10, 10, 10, 10}, many[LABELS] = {100, 0, 0, 0};
    world_make(&p, PLANT_TTL, 0, &alone);
    assert_int_equal(utility_classes_make(&p.w, &c), ST_OK);
    assert_int_equal(flow_list_draw(&a, &p.w.train, &c, NULL, ten, 1, 7), ST_OK);
    assert_int_equal(flow_list_draw(&again, &p.w.train, &c, NULL, ten, 1, 7), ST_OK);
    assert_int_equal(flow_list_draw(&other, &p.w.train, &c, NULL, ten, 1, 8), ST_OK);
    assert_int_equal(flow_list_draw(&b, &p.w.train, &c, ten, many, 1, 7), ST_OK);
    assert_int_equal(a.n, 40);
    assert_int_equal(b.n, PER_LABEL - 10);
    assert_memory_equal(a.flow, again.flow, a.n * sizeof *a.flow);
    assert_true(memcmp(a.flow, other.flow, a.n * sizeof *a.flow) != 0);
    for (size_t i = 0; i < a.n; i++)
        for (size_t k = 0; k < b.n; k++)
            assert_ptr_not_equal(a.flow[i], b.flow[k]);
    flow_list_clear(&a);
    flow_list_clear(&b);
    flow_list_clear(&other);
    flow_list_clear(&again);
    utility_classes_clear(&c);
    world_clear(&p);
}

static void any_number_of_ranks(void **state) {
    planted_world p;
    utility_classes c;
    utility_results mine, shared;
    world_make(&p, PLANT_NOTHING, 1, &alone); /* noise: results are no round numbers */
    run(&p, &c, &mine);
    utility_classes_clear(&c);
    p.w.c = *state;
    run(&p, &c, &shared);
    assert_int_equal(mine.n, shared.n);
    assert_memory_equal(mine.all, shared.all, mine.n * sizeof *mine.all);
    utility_results_clear(&mine);
    utility_results_clear(&shared);
    utility_classes_clear(&c);
    world_clear(&p);
}

int main(void) {
    comm *c = NULL;
    if (comm_open(&c))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(separable_classes),
        cmocka_unit_test(synthetic_flows_that_mislead),
        cmocka_unit_test(a_leak_through_ports),
        cmocka_unit_test(nothing_to_learn),
        cmocka_unit_test(too_few_flows),
        cmocka_unit_test(large_sets),
        cmocka_unit_test(draws),
        cmocka_unit_test_prestate(any_number_of_ranks, c),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    int code = comm_finish(&c, ST_OK);
    return failed ? failed : code;
}
