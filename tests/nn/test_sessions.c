/* Same inputs, same thread count, same bytes: alone, beside others, inside an OpenMP region, in whatever order sessions
 * of other thread counts came before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>
#include "base/memory.h"
#include "base/rng.h"
#include "base/stop.h"
#include "nn/mini.h"
#include "nn/nn_priv.h"

enum { STEPS = 4, WORKERS = 2, OUTPUTS = MINI_SAMPLES * MINI_TOKENS * MINI_CELLS };

typedef struct result {
    int threads;
    status st;
    size_t ngrads;
    float output[OUTPUTS]; /* of a forward pass with packed weights, after training */
    float loss[STEPS];
    float *grads; /* of the last step */
} result;

/* A few training steps and a forward pass of a fresh model in a fresh session. No cmocka inside: runs in threads. */
static status run(mini *m, result *r) {
    nn *s;
    TRY(nn_open(&s, &(nn_options){.threads = r->threads}));
    adamw o;
    status st = adamw_new(&o, &m->set, 0.9f, 0.99f, 0.01f);
    for (int i = 0; i < STEPS && st == ST_OK; i++) {
        nn_begin(s, true);
        params_zero_grad(&m->set);
        tensor *loss = mini_loss(s, m);
        st = nn_backward(s, loss);
        if (st == ST_OK)
            r->loss[i] = loss->data[0];
        memcpy(r->grads, m->set.grads, r->ngrads * sizeof *r->grads);
        params_clip_grad(&m->set, 1);
        adamw_step(&o, &m->set, 1e-3f);
    }
    nn_begin(s, false);
    tensor *y = mini_forward(s, m, true);
    if (y != NULL)
        memcpy(r->output, y->data, sizeof r->output);
    adamw_free(&o);
    nn_close(&s);
    return y == NULL ? ST_LIBRARY : st;
}

typedef struct worker {
    mini m;
    result r;
} worker;

static void prepare(worker *w, int threads) {
    *w = (worker){0};
    mini_make(&w->m);
    w->r.threads = threads;
    w->r.ngrads = w->m.set.ntrained;
    assert_int_equal(NEW(w->r.ngrads, &w->r.grads), ST_OK);
}

static void *work(void *arg) {
    worker *w = arg;
    w->r.st = run(&w->m, &w->r);
    return NULL;
}

static void finish(worker *w, const worker *want, const char *how) {
    assert_int_equal(w->r.st, ST_OK);
    if (want != NULL) {
        if (memcmp(w->r.loss, want->r.loss, sizeof w->r.loss) != 0)
            fail_msg("%s: losses differ", how);
        if (memcmp(w->r.output, want->r.output, sizeof w->r.output) != 0)
            fail_msg("%s: outputs differ", how);
        if (memcmp(w->r.grads, want->r.grads, w->r.ngrads * sizeof(float)) != 0)
            fail_msg("%s: gradients differ", how);
    }
    mini_free(&w->m);
    memory_free(&w->r.grads);
}

static void test_one_thread(void **state) {
    static worker alone, other, pair[WORKERS];
    omp_set_num_threads(2);
    prepare(&alone, 1);
    work(&alone);
    assert_true(alone.r.loss[STEPS - 1] < alone.r.loss[0]);
    assert_int_equal(omp_get_max_threads(), 2); /* the caller's setting is left as it was */

    for (int i = 0; i < WORKERS; i++)
        prepare(&pair[i], 1);
    pthread_t thread[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, &pair[i]), 0);
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        finish(&pair[i], &alone, "two sessions in threads");
    }

    for (int i = 0; i < WORKERS; i++)
        prepare(&pair[i], 1);
#pragma omp parallel for num_threads(WORKERS)
    for (int i = 0; i < WORKERS; i++)
        work(&pair[i]);
    for (int i = 0; i < WORKERS; i++)
        finish(&pair[i], &alone, "two sessions in an OpenMP region");

    /* A session with two threads has put its primitives of the same shapes into the library's cache. */
    prepare(&other, 2);
    work(&other);
    finish(&other, NULL, "");
    prepare(&other, 1);
    work(&other);
    finish(&other, &alone, "after a session with two threads");
    finish(&alone, NULL, "");
}

/* Two sessions reading the same parameters at the same time. */
static void *sample(void *arg) {
    worker *w = arg;
    nn *s;
    w->r.st = nn_open(&s, &(nn_options){.threads = 1});
    for (int i = 0; i < 5 && w->r.st == ST_OK; i++) {
        nn_begin(s, false);
        tensor *y = mini_forward(s, &w->m, true);
        w->r.st = nn_status(s);
        if (y != NULL)
            memcpy(w->r.output, y->data, sizeof w->r.output);
    }
    nn_close(&s);
    return NULL;
}

static void test_shared_parameters(void **state) {
    static worker w[WORKERS];
    pthread_t thread[WORKERS];
    prepare(&w[0], 1);
    w[1] = w[0];
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, sample, &w[i]), 0);
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(w[0].r.st, ST_OK);
    assert_int_equal(w[1].r.st, ST_OK);
    assert_memory_equal(w[0].r.output, w[1].r.output, sizeof w[0].r.output);
    finish(&w[0], NULL, "");
}

static void test_two_threads(void **state) {
    static worker first, again;
    prepare(&first, 2);
    work(&first);
    for (int i = 0; i < 3; i++) {
        prepare(&again, 2);
        work(&again);
        finish(&again, &first, "two threads, again");
    }
    finish(&first, NULL, "");
}

/* Long sums that two threads may want to share: dW of few outputs over many rows, column sums, norms. */
static void test_two_threads_large(void **state) {
    enum { ROWS = 4099, K = 40, M = 24 };
    const backend *b = backend_cpu();
    float *x, *dy, *dw[2], *db[2];
    assert_int_equal(NEW(ROWS * K, &x), ST_OK);
    assert_int_equal(NEW(ROWS * M, &dy), ST_OK);
    rng r = rng_make(1, 1, RNG_TEST);
    rng_normal(&r, x, ROWS * K);
    rng_normal(&r, dy, ROWS * M);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(NEW(M * K, &dw[i]), ST_OK);
        assert_int_equal(NEW(M, &db[i]), ST_OK);
    }
    for (int again = 0; again < 20; again++) {
        int i = again > 0;
        memset(dw[i], 0, M * K * sizeof(float));
        assert_int_equal(b->linear_dw((linear_shape){.rows = ROWS, .k = K, .m = M, .threads = 2}, dy, x, dw[i]), ST_OK);
        b->sum_rows(2, 1, ROWS, M, dy, false, db[i]);
        if (i == 1) {
            assert_memory_equal(dw[0], dw[1], M * K * sizeof(float));
            assert_memory_equal(db[0], db[1], M * sizeof(float));
        }
    }
    b->sum_rows(1, 1, ROWS, M, dy, false, db[1]); /* whole columns to one thread: the count does not even matter */
    assert_memory_equal(db[0], db[1], M * sizeof(float));
    assert_true(b->sum_squares(1, ROWS * K, x) == b->sum_squares(2, ROWS * K, x));
    for (int i = 0; i < 2; i++) {
        memory_free(&dw[i]);
        memory_free(&db[i]);
    }
    memory_free(&x);
    memory_free(&dy);
}

/* ---- Signals ---- */

static void *ask_to_stop(void *arg) {
    const atomic_bool *done = arg;
    while (!atomic_load(done)) {
        kill(getpid(), SIGUSR1);
        usleep(50);
    }
    return NULL;
}

/* A request to stop, however often it comes, leaves the product that is running alone. With a signal handler this test
 * dies of a broken heap within a second: see base/stop.c. */
static void test_signals(void **state) {
    enum { ROWS = 64, K = 32, M = 387 };
    const backend *b = backend_cpu();
    const linear_shape shape = {.rows = ROWS, .k = K, .m = M, .threads = 1};
    float *dy, *w, *dx[2];
    assert_int_equal(NEW(ROWS * M, &dy), ST_OK);
    assert_int_equal(NEW(M * K, &w), ST_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(NEW(ROWS * K, &dx[i]), ST_OK);
    rng r = rng_make(2, 1, RNG_TEST);
    rng_normal(&r, dy, ROWS * M);
    rng_normal(&r, w, M * K);
    assert_int_equal(b->linear_dx(shape, dy, w, false, dx[0]), ST_OK);

    assert_false(stop_requested());
    atomic_bool done = false;
    pthread_t sender;
    assert_int_equal(pthread_create(&sender, NULL, ask_to_stop, &done), 0);
    for (int i = 0; i < 50000; i++) {
        assert_int_equal(b->linear_dx(shape, dy, w, false, dx[1]), ST_OK);
        if (i % 100 == 0)
            assert_memory_equal(dx[0], dx[1], ROWS * K * sizeof(float));
    }
    assert_true(stop_requested());
    atomic_store(&done, true);
    pthread_join(sender, NULL);
    for (int i = 0; i < 2; i++)
        memory_free(&dx[i]);
    memory_free(&w);
    memory_free(&dy);
}

/* ---- Packed copies follow the parameter ---- */

static float product_of(nn *s, param *w) {
    const float ones[2] = {1, 1};
    nn_begin(s, false);
    tensor *y = op_linear(s, nn_input(s, 2, (size_t[2]){1, 2}, ones), w, NULL);
    assert_non_null(y);
    return y->data[0];
}

static void test_packed_weights(void **state) {
    nn *s;
    assert_int_equal(nn_open(&s, &(nn_options){.threads = 1}), ST_OK);
    for (int i = 1; i < 50; i++) { /* freed and made again, most likely in the same place */
        params set;
        param *w;
        params_init(&set);
        assert_int_equal(params_add(&set, "w", 2, (size_t[2]){3, 2}, &w), ST_OK);
        param_init_constant(w, (float)i);
        assert_true(product_of(s, w) == 2 * (float)i);
        w->data[0] = 100;
        w->version++;
        assert_true(product_of(s, w) == 100 + (float)i);
        params_free(&set);
    }
    nn_close(&s);
}

int main(void) {
    stop_install(); /* before the first thread */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_thread),     cmocka_unit_test(test_shared_parameters),
        cmocka_unit_test(test_two_threads),    cmocka_unit_test(test_two_threads_large),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_packed_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
