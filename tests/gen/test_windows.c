/* Flows longer than the model's window: one learnt by heart comes out whole, across all its windows; conversations are
 * drawn at full length; and what is learnt of them is part of the run's identity. */
#include "train/train_test.h"
#include "gen/gen_priv.h"
#include "train/train.h"
#include "train/train_flows.h"

enum { ROWS = 8, CONTEXT = 3, REQUESTS = 8, PACKETS = 6 + 3 * REQUESTS, FLOWS = 5 };

static comm *world;
static char *folder;

/* A dataset of one flow of the first label, a conversation of 30 packets. */
static void make_dataset(const char *path) {
    flow f;
    conversation c = {.f = &f, .r = rng_make(3, 0, RNG_TEST), .proto = PROTO_TCP, .ttl = 57, .window = 64240};
    dataset *d = NULL;
    flow_init(&f);
    f.label = f.run = 0;
    for (unsigned dir = 0; dir < 2; dir++) {
        c.addr[dir] = dir ? 0xc0000201 : 0x0a000001;
        c.port[dir] = dir ? 443 : 40000;
        c.seq[dir] = 1000 + dir;
        c.id[dir] = 7 + dir;
    }
    assert_ok(say_tcp(&c, REQUESTS));
    f.key = flow_key_of(&f.packets[0]);
    assert_ok(train_dataset_create(path, &d));
    assert_ok(dataset_append(d, &f));
    flow_clear(&f);
    assert_ok(dataset_commit(&d));
}

static int open_all(void **state) {
    (void)state;
    assert_ok(comm_open(&world));
    folder = new_folder();
    char *path = text_format("%s/dataset.h5", folder);
    make_dataset(path);
    free(path);
    return 0;
}

static int close_all(void **state) {
    (void)state;
    drop_folder(folder);
    return comm_finish(&world, ST_OK);
}

/* Everything that generation needs, of an experiment in the folder. */
typedef struct generation {
    experiment *e;
    dataset *real;
    classes *classes;
    plan *plan;
} generation;

static generation open_generation(const char *const *more) {
    generation g = {0};
    bool help;
    char *out = text_format("out=%s", folder), *argv[8] = {(char *)"ndgen", out, (char *)"gen.flows=web:5"};
    int argc = 3;
    for (; *more != NULL; more++)
        argv[argc++] = (char *)*more;
    assert_ok(experiment_load(argc, argv, PROGRAM_GEN, "", &g.e, &help));
    free(out);
    assert_ok(dataset_open(&g.real, g.e->data.dataset));
    assert_ok(classes_open(&g.classes, g.e->data.dataset, g.e, (size_t)g.e->data.max_packets));
    assert_ok(plan_make(&g.plan, g.e, dataset_get_tables(g.real), g.classes, &(text_list){0}));
    return g;
}

static void close_generation(generation *g) {
    plan_free(&g->plan);
    classes_close(&g->classes);
    dataset_close(&g->real);
    experiment_free(&g->e);
}

/* Cells that a row which is the same everywhere in the flow gets wrong at best. */
static size_t constant_errors(const int8_t *rows, size_t ncells, size_t first, size_t end) {
    size_t errors = 0;
    for (size_t c = 0; c < ncells; c++) {
        int balance = 0;
        for (size_t row = 0; row < PACKETS; row++)
            balance += rows[row * ncells + c];
        for (size_t row = first; row < end; row++)
            errors += rows[row * ncells + c] * (balance < 0 ? -1 : 1) < 0;
    }
    return errors;
}

/* Trained on one flow alone, so that only the frame and the given rows tell the windows apart, the model must make that
 * flow again, row by row, with at most a third of the errors of a constant row: 2500 steps on 128 rows of width 96
 * take some ten seconds. */
static void one_flow_is_made_again(void **state) {
    (void)state;
    experiment *e =
        tiny_experiment(folder, (const char *const[]){"model.width=96", "train.base.steps=2500", "train.batch=16",
                                                      "train.base.learning_rate=3e-3", "train.validate_share=0",
                                                      "train.drop_prompt=0", "train.drop_control=0", NULL});
    assert_ok(train_run(e, world));
    experiment_free(&e);

    generation g = open_generation((const char *const[]){"gen.control=none", "gen.batch=5", "gen.steps=10", NULL});
    studio s;
    worker w;
    finisher made;
    batch_rows b;
    flow f;
    int8_t *rows = calloc(PACKETS, layout_relative.ncells);
    flow_init(&f);
    assert_ok(dataset_read(g.real, 0, 0, &f));
    assert_ok(layout_relative.encode(&f, PACKETS, rows));
    assert_ok(studio_open(&s, g.e, g.plan, g.classes, dataset_get_tables(g.real), g.e->model.dir));
    assert_ok(worker_open(&w, &s));
    assert_ok(batch_rows_open(&b, &s));
    finisher_open(&made);
    assert_ok(studio_sample(&s, &w, 0, &b));
    assert_int_equal(b.n, FLOWS);
    assert_int_equal(b.first[FLOWS], FLOWS * PACKETS);
    for (size_t first = 0; first < PACKETS; first += ROWS - CONTEXT) {
        size_t wrong = 0, end = first + ROWS - CONTEXT < PACKETS ? first + ROWS - CONTEXT : PACKETS;
        for (size_t k = 0; k < FLOWS; k++)
            for (size_t c = first * s.cells; c < end * s.cells; c++)
                wrong += rows[c] * b.cells[k * PACKETS * s.cells + c] < 0;
        size_t constant = FLOWS * constant_errors(rows, s.cells, first, end);
        if (3 * wrong > constant)
            fail_msg("rows from %zu on: %zu cells are wrong, %zu in a constant row", first, wrong, constant);
    }
    for (size_t k = 0; k < FLOWS; k++) {
        assert_ok(studio_finish(&s, &made, &b, k, k));
        assert_int_equal(made.clean.npackets, PACKETS);
        assert_true(packet_l4(&made.clean.packets[0])[13] & TCP_SYN);
        assert_true(packet_l4(&made.clean.packets[PACKETS - 2])[13] & TCP_FIN);
    }
    finisher_close(&made);
    batch_rows_close(&b);
    worker_close(&w);
    studio_close(&s);
    flow_clear(&f);
    free(rows);
    close_generation(&g);
}

/* Real and sampled conversations are as long as the training flow; a cap cuts the rows and not the length that the
 * rows are told. */
static void conversations_are_whole(void **state) {
    (void)state;
    static const struct {
        const char *cap;
        size_t n;
    } table[] = {{"data.max_packets=1024", PACKETS}, {"data.max_packets=12", 12}};
    for (size_t i = 0; i < 2; i++) {
        generation g = open_generation((const char *const[]){table[i].cap, NULL});
        packet_shape shapes[PACKETS];
        for (uint64_t k = 0; k < 20; k++)
            for (int real = 0; real < 2; real++) {
                size_t npackets = 0;
                rng r = rng_make(1, k, RNG_TEST);
                assert_int_equal(classes_draw(g.classes, 0, real, &r, shapes, &npackets), table[i].n);
                assert_int_equal(npackets, PACKETS);
                /* The beginning is known by its place, and so is the end. */
                assert_int_equal(shapes[0], packet_shape_make(0, 0, TCP_SYN));
                assert_int_equal(shapes[1], packet_shape_make(1, 0, TCP_SYN));
                for (size_t p = 2; p < table[i].n; p++) {
                    bool fin = p == PACKETS - 3 || p == PACKETS - 2;
                    assert_int_equal(shapes[p] >> 1 & 3, fin ? 2 : 0); /* FIN, SYN */
                }
            }
        close_generation(&g);
    }
}

/* Whatever of the training flows determines the generated ones makes another run. */
static void identity_tells_what_was_learnt(void **state) {
    (void)state;
    generation g = open_generation((const char *const[]){NULL});
    class_info *k = &g.classes->info[0];
    identity before, after;
    assert_true(k->services[0].port == 443 && k->services[0].client == 40000 && k->services[0].lead == 1);
    assert_ok(identity_make(g.e, g.plan, g.classes, dataset_get_tables(g.real), &before));
    for (int i = 0; i < 8; i++) {
        k->services[0].port += i == 1;
        k->losses.nagain += i == 2;
        k->flows[0].npackets += i == 3;
        k->shapes[3] ^= i == 4;
        k->gaps[1][0] += i == 5;
        k->services[0].client += i == 6;
        k->services[0].lead += i == 7;
        assert_ok(identity_make(g.e, g.plan, g.classes, dataset_get_tables(g.real), &after));
        if ((memcmp(before.digest, after.digest, sizeof before.digest) == 0) != (i == 0))
            fail_msg("change %d", i);
        identity_clear(&before);
        before = after;
    }
    identity_clear(&before);
    close_generation(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_flow_is_made_again),
        cmocka_unit_test(conversations_are_whole),
        cmocka_unit_test(identity_tells_what_was_learnt),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
