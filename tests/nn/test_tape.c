/* Session and tape: shared inputs, views, frozen parameters, scopes, failures, memory of the steady state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>
#include "nn/mini.h"
#include "nn/nn_priv.h"

static nn *open_session(void) {
    nn *s;
    assert_int_equal(nn_open(&s, &(nn_options){.threads = 1}), ST_OK);
    return s;
}

static const float four[4] = {1, -2, 3, 0.5f}; /* small integers and halves: all sums below are exact */

static tensor *leaf(nn *s) {
    return nn_input_grad(s, 2, (size_t[2]){2, 2}, four);
}

static void assert_floats(const float *got, const float *want, size_t n) {
    assert_non_null(got);
    for (size_t i = 0; i < n; i++)
        if (got[i] != want[i])
            fail_msg("element %zu is %g, not %g", i, got[i], want[i]);
}

static void test_shared_input(void **state) {
    nn *s = open_session();
    nn_begin(s, true);
    tensor *x = leaf(s);
    tensor *square = op_mul(s, x, x), *twice = op_add(s, x, x); /* f = sum(x^2 + 2x + 3x - x / 2) */
    tensor *f = op_add(s, square, op_axpy(s, twice, 3, x));
    f = op_add(s, f, op_scale(s, x, -0.5f));
    assert_int_equal(nn_backward(s, op_sum(s, f)), ST_OK);
    const float want[4] = {2 * 1 + 4.5f, 2 * -2 + 4.5f, 2 * 3 + 4.5f, 2 * 0.5f + 4.5f};
    assert_floats(x->grad, want, 4);
    nn_close(&s);
}

static void test_view(void **state) {
    nn *s = open_session();
    nn_begin(s, true);
    tensor *x = leaf(s);
    tensor *flat = nn_view(s, x, 1, (size_t[1]){4}), *again = nn_view(s, flat, 3, (size_t[3]){2, 1, 2});
    assert_ptr_equal(again->data, x->data);
    /* The gradient arrives through the tensor itself, a view of it, a view of the view, and a view of a result. */
    tensor *cube = op_mul(s, x, nn_view(s, op_mul(s, flat, flat), 2, x->dim));
    tensor *f = op_add(s, cube, nn_view(s, again, 2, x->dim));
    assert_int_equal(nn_backward(s, op_sum(s, f)), ST_OK);
    const float want[4] = {3 + 1, 12 + 1, 27 + 1, 0.75f + 1};
    assert_floats(x->grad, want, 4);
    nn_close(&s);
}

static void test_unreached_leaf(void **state) {
    nn *s = open_session();
    nn_begin(s, true);
    tensor *x = leaf(s), *y = leaf(s);
    tensor *aside = op_mul(s, y, y);
    assert_non_null(aside);
    assert_int_equal(nn_backward(s, op_sum(s, x)), ST_OK);
    assert_floats(x->grad, (float[4]){1, 1, 1, 1}, 4);
    assert_floats(y->grad, (float[4]){0, 0, 0, 0}, 4);
    nn_close(&s);
}

static void make_pair(params *set, param **w, param **b) {
    params_init(set);
    assert_int_equal(params_add(set, "w", 2, (size_t[2]){2, 2}, w), ST_OK);
    assert_int_equal(params_add(set, "b", 1, (size_t[1]){2}, b), ST_OK);
    memcpy((*w)->data, four, sizeof four);
}

static void test_frozen(void **state) {
    nn *s = open_session();
    params set;
    param *w, *b;
    make_pair(&set, &w, &b);
    w->frozen = true;
    assert_int_equal(params_seal(&set), ST_OK);
    assert_null(w->grad);
    assert_int_equal(set.ntrained, 2);
    nn_begin(s, true);
    tensor *x = leaf(s);
    assert_int_equal(nn_backward(s, op_sum(s, op_linear(s, op_linear(s, x, w, b), w, NULL))), ST_OK);
    /* d sum / d hidden = (column sums of w) = (4, -1.5) for each row; times w for x. */
    assert_floats(b->grad, (float[2]){8, -3}, 2);
    assert_floats(x->grad, (float[4]){-0.5f, -8.75f, -0.5f, -8.75f}, 4);

    b->frozen = true; /* nothing is trained: nothing is recorded */
    assert_int_equal(params_seal(&set), ST_OK);
    nn_begin(s, true);
    tensor *y = op_gelu(s, op_linear(s, nn_input(s, 2, (size_t[2]){2, 2}, four), w, b));
    assert_false(y->needs_grad);
    assert_null(s->tape);
    assert_int_equal(nn_backward(s, op_sum(s, y)), ST_OK);
    nn_close(&s);
    params_free(&set);
}

static void test_gradients_add_up(void **state) {
    nn *s = open_session();
    params set;
    param *w, *b;
    make_pair(&set, &w, &b);
    assert_int_equal(params_seal(&set), ST_OK);
    for (int step = 1; step <= 2; step++) {
        nn_begin(s, true);
        tensor *x = nn_input(s, 2, (size_t[2]){2, 2}, four);
        tensor *y = op_add(s, op_linear(s, x, w, b), op_linear(s, x, w, NULL)); /* w twice on one tape */
        assert_int_equal(nn_backward(s, op_sum(s, y)), ST_OK);
        const float f = 2.0f * (float)step;
        assert_floats(w->grad, (float[4]){4 * f, -1.5f * f, 4 * f, -1.5f * f}, 4);
        assert_floats(b->grad, (float[2]){f, f}, 2);
    }
    params_zero_grad(&set);
    assert_floats(w->grad, (float[4]){0}, 4);
    nn_close(&s);
    params_free(&set);
}

/* ---- Failures ---- */

static tensor *fail_nothing(nn *s, tensor *x, param *w) {
    return op_gelu(s, NULL);
}
static tensor *fail_add(nn *s, tensor *x, param *w) {
    return op_add(s, x, nn_input(s, 1, (size_t[1]){4}, NULL));
}
static tensor *fail_linear(nn *s, tensor *x, param *w) {
    return op_linear(s, nn_input(s, 2, (size_t[2]){2, 3}, NULL), w, NULL);
}
static tensor *fail_bias(nn *s, tensor *x, param *w) {
    return op_linear(s, x, w, w);
}
static tensor *fail_view(nn *s, tensor *x, param *w) {
    return nn_view(s, x, 2, (size_t[2]){3, 2});
}
static tensor *fail_zero(nn *s, tensor *x, param *w) {
    return nn_input(s, 2, (size_t[2]){0, 2}, NULL);
}
static tensor *fail_huge(nn *s, tensor *x, param *w) {
    return nn_input(s, 2, (size_t[2]){(size_t)1 << 40, (size_t)1 << 40}, NULL);
}
static tensor *fail_large(nn *s, tensor *x, param *w) {
    return nn_input(s, 2, (size_t[2]){(size_t)1 << 30, (size_t)1 << 30}, NULL);
}
static tensor *fail_broadcast(nn *s, tensor *x, param *w) {
    return op_add_broadcast(s, x, nn_input(s, 1, (size_t[1]){3}, NULL));
}
static tensor *fail_norm(nn *s, tensor *x, param *w) {
    return op_layernorm(s, x, w, NULL, 1e-5f);
}
static tensor *fail_modulate(nn *s, tensor *x, param *w) {
    return op_layernorm_modulate(s, x, x, x, 1e-5f);
}
static tensor *fail_gate(nn *s, tensor *x, param *w) {
    return op_gate_add(s, x, x, x);
}
static tensor *fail_heads(nn *s, tensor *x, param *w) {
    return op_attention(s, nn_input(s, 3, (size_t[3]){1, 1, 12}, NULL), 3, false);
}
static tensor *fail_id(nn *s, tensor *x, param *w) {
    return op_embedding(s, w, (int32_t[2]){1, 2}, 2);
}
static tensor *fail_negative(nn *s, tensor *x, param *w) {
    return op_rows(s, x, (int32_t[1]){-1}, 1);
}
static tensor *fail_columns(nn *s, tensor *x, param *w) {
    return op_columns(s, x, 1, 2);
}
static tensor *fail_concat(nn *s, tensor *x, param *w) {
    return op_concat(s, x, nn_input(s, 2, (size_t[2]){3, 2}, NULL));
}

static void test_failures(void **state) {
    static const struct {
        const char *message; /* part of it */
        tensor *(*make)(nn *s, tensor *x, param *w);
        status st;
    } rows[] = {
        {"missing tensor", fail_nothing, ST_RANGE},
        {"add of (2, 2) and (4)", fail_add, ST_RANGE},
        {"linear w (2, 2) on (2, 3)", fail_linear, ST_RANGE},
        {"bias of 4", fail_bias, ST_RANGE},
        {"(2, 2) seen as (3, 2)", fail_view, ST_RANGE},
        {"dimension 0 of a tensor is 0", fail_zero, ST_RANGE},
        {"dimension 1 of a tensor", fail_huge, ST_RANGE},
        {"no memory", fail_large, ST_MEMORY},
        {"(2, 2) + (3) in every row", fail_broadcast, ST_RANGE},
        {"gain of 4", fail_norm, ST_RANGE},
        {"layer norm of (2, 2) with shift", fail_modulate, ST_RANGE},
        {"(2, 2) + (2, 2) * (2, 2)", fail_gate, ST_RANGE},
        {"attention with 3 heads on (1, 1, 12)", fail_heads, ST_RANGE},
        {"number 1 is 2, there are 2 rows", fail_id, ST_RANGE},
        {"number 0 is -1", fail_negative, ST_RANGE},
        {"columns 1 .. 3 of 2", fail_columns, ST_RANGE},
        {"(2, 2) beside (3, 2)", fail_concat, ST_RANGE},
    };
    nn *s = open_session();
    params set;
    param *w, *b;
    make_pair(&set, &w, &b);
    assert_int_equal(params_seal(&set), ST_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nn_begin(s, true);
        tensor *x = leaf(s), *bad = rows[i].make(s, x, w);
        assert_null(bad);
        /* everything after returns NULL, whatever its inputs */
        assert_null(op_add(s, x, x));
        assert_null(op_linear(s, bad, w, b));
        assert_null(op_embedding(s, w, (int32_t[1]){0}, 1));
        assert_null(nn_param(s, w));
        assert_null(nn_input(s, 1, (size_t[1]){1}, NULL));
        assert_null(nn_scope_end(s, nn_scope_begin(s), NULL));
        status_set_message("something later");
        assert_int_equal(nn_backward(s, op_sum(s, bad)), rows[i].st);
        assert_int_equal(nn_status(s), rows[i].st);
        if (strstr(status_message(), rows[i].message) == NULL)
            fail_msg("row %zu: \"%s\" does not hold \"%s\"", i, status_message(), rows[i].message);
        nn_begin(s, true); /* and a new step forgets it */
        assert_int_equal(nn_status(s), ST_OK);
        assert_int_equal(nn_backward(s, op_sum(s, leaf(s))), ST_OK);
    }
    nn_close(&s);
    params_free(&set);
}

static void test_backward_misuse(void **state) {
    nn *s = open_session();
    nn_begin(s, true);
    tensor *x = leaf(s), *f = op_sum(s, x);
    assert_int_equal(nn_backward(s, f), ST_OK);
    assert_int_equal(nn_backward(s, f), ST_RANGE); /* twice */
    nn_begin(s, false);
    assert_int_equal(nn_backward(s, op_sum(s, leaf(s))), ST_RANGE); /* without recording */
    nn_begin(s, true);
    assert_int_equal(nn_backward(s, leaf(s)), ST_RANGE); /* four elements */
    nn *none;
    assert_int_equal(nn_open(&none, &(nn_options){.threads = 0}), ST_RANGE);
    assert_null(none);
    nn_close(&none);
    nn_close(&s);
    assert_null(s);
}

/* ---- Memory ---- */

static void test_scopes(void **state) {
    mini m;
    mini_make(&m);
    nn *plain = open_session(), *scoped = open_session();
    nn_begin(plain, false);
    tensor *want = mini_forward(plain, &m, false);
    assert_non_null(want);
    for (int step = 0; step < 2; step++) { /* growing, then in one block */
        nn_begin(scoped, false);
        tensor *got = mini_forward(scoped, &m, true);
        assert_non_null(got);
        assert_memory_equal(got->data, want->data, want->n * sizeof(float));
    }
    if (nn_peak_nbytes(scoped) >= nn_peak_nbytes(plain) * 3 / 4) /* two blocks, of which one at a time */
        fail_msg("%zu bytes with scopes, %zu without", nn_peak_nbytes(scoped), nn_peak_nbytes(plain));

    nn_begin(scoped, false);
    tensor *outside = leaf(scoped); /* kept tensor from before the scope; kept view of one made inside */
    size_t scope = nn_scope_begin(scoped);
    assert_non_null(op_mul(scoped, outside, outside));
    assert_floats(nn_scope_end(scoped, scope, outside)->data, four, 4);
    scope = nn_scope_begin(scoped);
    tensor *view = nn_view(scoped, op_add(scoped, outside, outside), 1, (size_t[1]){4});
    view = nn_scope_end(scoped, scope, view);
    tensor *other = op_scale(scoped, outside, 5);
    assert_non_null(other);
    assert_int_equal(view->ndim, 1);
    assert_floats(view->data, (float[4]){2, -4, 6, 1}, 4);

    nn_begin(scoped, true); /* recording: no effect */
    tensor *x = leaf(scoped);
    scope = nn_scope_begin(scoped);
    tensor *square = op_mul(scoped, x, x);
    assert_ptr_equal(nn_scope_end(scoped, scope, square), square);
    assert_int_equal(nn_backward(scoped, op_sum(scoped, square)), ST_OK);
    assert_floats(x->grad, (float[4]){2, -4, 6, 1}, 4);
    nn_close(&plain);
    nn_close(&scoped);
    mini_free(&m);
}

static void test_steady_state(void **state) {
    mini m;
    mini_make(&m);
    nn *s = open_session();
    const char *block = NULL;
    size_t peak = 0;
    for (int step = 0; step < 6; step++) {
        nn_begin(s, true);
        assert_int_equal(nn_backward(s, mini_loss(s, &m)), ST_OK);
        if (step == 1) {
            block = s->memory.block[0].data;
            peak = nn_peak_nbytes(s);
        }
        if (step > 1) { /* one block, always the same, no more used */
            assert_int_equal(s->memory.nblocks, 1);
            assert_ptr_equal(s->memory.block[0].data, block);
            assert_int_equal(nn_peak_nbytes(s), peak);
        }
    }
    nn_close(&s);
    mini_free(&m);
}

static void test_step_memory(void **state) {
    step_memory m = {0};
    char *a = step_take(&m, 100);
    size_t mark = step_mark(&m);
    char *b = step_take(&m, (size_t)20 << 20); /* does not fit the first block */
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(m.nblocks, 2);
    assert_false(step_is_above(&m, mark, a));
    assert_true(step_is_above(&m, mark, b));
    memset(a, 1, 100);
    b[0] = 2;
    b[999] = 3;
    char *moved = step_rewind(&m, mark, b, 1000);
    assert_int_equal(moved[0], 2);
    assert_int_equal(moved[999], 3);
    assert_true(a[99] == 1 && m.current == 0);
    assert_true((uintptr_t)a % 64 == 0 && (uintptr_t)moved % 64 == 0);
    assert_null(step_take(&m, SIZE_MAX));
    void *first = step_take_buffer(&m, 4096), *second = step_take_buffer(&m, 8192);
    step_recycle(&m, first);
    assert_ptr_not_equal(step_take_buffer(&m, 8192), first);
    assert_ptr_equal(step_take_buffer(&m, 4096), first);
    step_recycle(&m, second);
    step_reset(&m);
    assert_int_equal(m.nblocks, 1);
    assert_true(m.block[0].nbytes >= (size_t)20 << 20);
    assert_ptr_equal(step_take(&m, (size_t)20 << 20), m.block[0].data);
    step_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_input),     cmocka_unit_test(test_view),
        cmocka_unit_test(test_unreached_leaf),   cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_gradients_add_up), cmocka_unit_test(test_failures),
        cmocka_unit_test(test_backward_misuse),  cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_steady_state),     cmocka_unit_test(test_step_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
