/* nn_on_gradient: a gradient that is announced is complete, each once, and before the end of the backward pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>
#include "nn/mini.h"
#include "nn/nn_priv.h"

/* What was announced: in which order, and a copy of the gradient at that moment. */
typedef struct heard {
    size_t n;
    const param *w[64];
    float *copy[64];
} heard;

static void hear(void *context, const param *w) {
    heard *h = context;
    assert_true(h->n < 64);
    h->w[h->n] = w;
    h->copy[h->n] = malloc(w->n * sizeof(float));
    memcpy(h->copy[h->n++], w->grad, w->n * sizeof(float));
}

static size_t place(const heard *h, const param *w) {
    size_t found = 0, at = 0;
    for (size_t i = 0; i < h->n; i++)
        if (h->w[i] == w) {
            at = i;
            found++;
        }
    if (found != 1)
        fail_msg("%s was announced %zu times", w->name, found);
    return at;
}

static void forget(heard *h) {
    while (h->n > 0)
        free(h->copy[--h->n]);
}

static void test_whole_model(void **state) {
    mini m;
    nn *s;
    heard h = {0};
    mini_make(&m);
    assert_int_equal(nn_open(&s, &(nn_options){.threads = 1}), ST_OK);
    m.block[0].up->frozen = true;
    assert_int_equal(params_seal(&m.set), ST_OK);
    nn_on_gradient(s, hear, &h);
    for (int step = 0; step < 3; step++) {
        params_zero_grad(&m.set);
        nn_begin(s, true);
        tensor *loss = mini_loss(s, &m);
        assert_int_equal(h.n, 0);
        assert_int_equal(nn_backward(s, loss), ST_OK);
        assert_int_equal(h.n, m.set.n - 1);
        for (size_t i = 0; i < m.set.n; i++)
            if (!m.set.item[i]->frozen)
                assert_memory_equal(h.copy[place(&h, m.set.item[i])], m.set.item[i]->grad,
                                    m.set.item[i]->n * sizeof(float));
        /* Backward: the end of the network first. */
        assert_true(place(&h, m.last) < place(&h, m.block[1].qkv));
        assert_true(place(&h, m.block[1].qkv) < place(&h, m.block[0].down));
        assert_true(place(&h, m.block[0].qkv) < place(&h, m.in));
        forget(&h);
    }
    /* No calls once it is taken back. */
    nn_on_gradient(s, NULL, NULL);
    nn_begin(s, true);
    assert_int_equal(nn_backward(s, mini_loss(s, &m)), ST_OK);
    assert_int_equal(h.n, 0);
    nn_close(&s);
    mini_free(&m);
}

/* A weight that serves twice is complete after its first use; one that the loss does not depend on comes with zeros; one
 * that was not used does not come. */
static void test_shared_and_aside(void **state) {
    static const size_t square[2] = {2, 2};
    static const float four[4] = {1, -2, 3, 0.5f};
    nn *s;
    params set;
    param *shared, *between, *aside, *unused;
    heard h = {0};
    params_init(&set);
    assert_int_equal(params_add(&set, "shared", 2, square, &shared), ST_OK);
    assert_int_equal(params_add(&set, "between", 2, square, &between), ST_OK);
    assert_int_equal(params_add(&set, "aside", 2, square, &aside), ST_OK);
    assert_int_equal(params_add(&set, "unused", 2, square, &unused), ST_OK);
    for (size_t i = 0; i < set.n; i++)
        memcpy(set.item[i]->data, four, sizeof four);
    assert_int_equal(params_seal(&set), ST_OK);
    assert_int_equal(nn_open(&s, &(nn_options){.threads = 1}), ST_OK);
    nn_on_gradient(s, hear, &h);
    nn_begin(s, true);
    tensor *x = nn_input(s, 2, square, four);
    tensor *y = op_linear(s, x, shared, NULL);
    y = op_linear(s, y, between, NULL);
    assert_non_null(op_linear(s, y, aside, NULL));
    y = op_linear(s, op_add(s, y, nn_param(s, shared)), shared, NULL);
    assert_int_equal(nn_backward(s, op_sum(s, y)), ST_OK);
    assert_int_equal(h.n, 3);
    assert_true(place(&h, aside) < place(&h, between) && place(&h, between) < place(&h, shared));
    for (size_t i = 0; i < h.n; i++)
        assert_memory_equal(h.copy[i], h.w[i]->grad, sizeof four);
    assert_memory_equal(aside->grad, (float[4]){0}, sizeof four);
    assert_true(shared->grad[0] != 0);
    forget(&h);
    nn_close(&s);
    params_free(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole_model), cmocka_unit_test(test_shared_and_aside)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
