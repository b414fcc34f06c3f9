/* The plan: requests become numbered flows, batches partition them, address pairs never meet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "gen/gen_priv.h"

/* An experiment of the given overrides, three labels and one training flow each. */
typedef struct world {
    experiment *e;
    dataset_tables tables;
    classes classes;
    class_info info[3];
    class_flow flows[3];
    plan *plan;
    status st;
} world;

static char *names[] = {(char *)"a", (char *)"b", (char *)"c"};

static void world_open(world *w, int n, const char *const *settings) {
    char *argv[16] = {(char *)"test"};
    bool help;
    for (int i = 0; i < n; i++)
        argv[1 + i] = (char *)settings[i];
    memset(w, 0, sizeof *w);
    assert_int_equal(experiment_load(1 + n, argv, PROGRAM_GEN, "", &w->e, &help), ST_OK);
    w->tables = (dataset_tables){.nlabels = 3, .label = names, .macro = names, .prompt = names};
    for (int i = 0; i < 3; i++) {
        w->flows[i] = (class_flow){.n = 1};
        w->info[i] = (class_info){.nflows = (size_t)i + 1, .flows = &w->flows[i]};
    }
    w->classes = (classes){.nlabels = 3, .info = w->info, .nrows = 8};
    text_list lora = {0};
    w->st = plan_make(&w->plan, w->e, &w->tables, &w->classes, &lora);
}

static void world_close(world *w) {
    plan_free(&w->plan);
    experiment_free(&w->e);
}

static void batches_partition_the_flows(void **state) {
    const char *settings[] = {"gen.flows=a:5,c:33,b:16", "gen.batch=16"};
    world w;
    world_open(&w, 2, settings);
    assert_int_equal(w.st, ST_OK);
    assert_int_equal(w.plan->nflows, 54);
    uint64_t next = 0;
    for (uint64_t b = 0; b < w.plan->nbatches; b++) {
        uint64_t first;
        size_t n;
        const plan_label *l = plan_batch(w.plan, b, &first, &n);
        assert_int_equal(first, next);
        assert_in_range(n, 1, 16);
        for (size_t i = 0; i < n; i++)
            assert_ptr_equal(plan_flow(w.plan, first + i), l); /* a batch has one label */
        next = first + n;
    }
    assert_int_equal(next, 54);
    world_close(&w);
}

static void total_is_shared_exactly(void **state) {
    const struct {
        const char *mix;
        uint64_t n[3];
    } rows[] = {{"gen.mix=a:1,b:1,c:1", {33, 34, 33}},
                {"gen.mix=a:3,c:1", {75, 0, 25}},
                {"gen.rate=2", {17, 33, 50}},
                {"gen.flows=a:10,b:30", {25, 75, 0}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *settings[] = {"gen.total=100", rows[i].mix};
        world w;
        world_open(&w, 2, settings);
        assert_int_equal(w.st, ST_OK);
        assert_int_equal(w.plan->nflows, 100);
        for (size_t l = 0; l < w.plan->nlabels; l++)
            assert_int_equal(w.plan->labels[l].n, rows[i].n[w.plan->labels[l].label]);
        world_close(&w);
    }
}

static int pair_order(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void address_pairs_are_unique(void **state) {
    const char *settings[] = {"gen.flows=a:900,b:500,c:1", "gen.clients=198.51.100.0/25", "gen.servers=192.0.2.0/27"};
    world w;
    world_open(&w, 3, settings);
    assert_int_equal(w.st, ST_OK);
    uint64_t *pairs = calloc(w.plan->nflows, sizeof *pairs);
    for (uint64_t i = 0; i < w.plan->nflows; i++) {
        flow_plan p = {0}, again = {0};
        plan_initial(w.plan, i, &p);
        plan_initial(w.plan, i, &again);
        assert_memory_equal(&p, &again, sizeof p);
        assert_in_range(p.addr[0], 0xc6336401u, 0xc633647eu);
        assert_in_range(p.addr[1], 0xc0000201u, 0xc000021eu);
        assert_int_not_equal(p.ip_id[0], 0);
        pairs[i] = (uint64_t)p.addr[0] << 32 | p.addr[1];
    }
    qsort(pairs, w.plan->nflows, sizeof *pairs, pair_order);
    for (uint64_t i = 1; i < w.plan->nflows; i++)
        assert_int_not_equal(pairs[i], pairs[i - 1]);
    free(pairs);
    world_close(&w);
}

static void bad_requests_are_named(void **state) {
    const struct {
        const char *setting, *word;
    } rows[] = {
        {"gen.rate=3", "nothing to generate"},     {"gen.flows=x:3", "no label \"x\""}, {"gen.flows=a:three", "three"},
        {"gen.flows=a:99999999", "address pairs"}, {"gen.mix=q:1", "no label \"q\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        world w;
        world_open(&w, 1, &rows[i].setting);
        assert_int_equal(w.st, ST_USAGE);
        assert_non_null(strstr(status_message(), rows[i].word));
        world_close(&w);
    }
    const struct {
        const char *setting, *word;
    } more[] = {{"gen.clients=300.1.1.1/8", "300.1.1.1/8"},
                {"gen.clients=192.0.2.128/25", "overlap"},
                {"gen.rate=1e-6", "after 2106"}};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        const char *settings[] = {"gen.flows=a:3000", more[i].setting};
        world w;
        world_open(&w, 2, settings);
        assert_int_equal(w.st, ST_USAGE);
        assert_non_null(strstr(status_message(), more[i].word));
        world_close(&w);
    }
}

static void templates_are_read(void **state) {
    packet_shape shapes[8];
    size_t n;
    assert_int_equal(shape_parse("S> S< > P517> 1400<", "t", shapes, 8, &n), ST_OK);
    assert_int_equal(n, 5);
    assert_int_equal(shapes[1], packet_shape_make(1, 0, TCP_SYN));
    assert_int_equal(shapes[3], packet_shape_make(0, 517, TCP_PSH | TCP_ACK));
    assert_int_equal(shapes[4], packet_shape_make(1, 1400, 0));
    const char *const bad[] = {"", "S", "X>", "S> 70000<", "> > > > > > > > >"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(shape_parse(bad[i], "t", shapes, 8, &n), ST_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_partition_the_flows), cmocka_unit_test(total_is_shared_exactly),
        cmocka_unit_test(address_pairs_are_unique),    cmocka_unit_test(bad_requests_are_named),
        cmocka_unit_test(templates_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
