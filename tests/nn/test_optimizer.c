/* Parameters, AdamW against its definition in double, clipping, and a small training run with a known end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/rng.h"
#include "nn/nn.h"

static param *add(params *set, const char *name, int ndim, size_t a, size_t b) {
    param *w;
    assert_int_equal(params_add(set, name, ndim, (size_t[2]){a, b}, &w), ST_OK);
    return w;
}

static void test_params(void **state) {
    params set;
    params_init(&set);
    param *a = add(&set, "a", 2, 3, 5), *b = add(&set, "b", 1, 7, 0), *c = add(&set, "c", 2, 2, 2), *none;
    assert_int_equal(params_add(&set, "b", 1, (size_t[1]){7}, &none), ST_RANGE);
    assert_non_null(strstr(status_message(), "b exists"));
    assert_int_equal(params_add(&set, "d", 2, (size_t[2]){3, 0}, &none), ST_RANGE);
    assert_int_equal(params_add(&set, "d", 5, (size_t[4]){1, 1, 1, 1}, &none), ST_RANGE);
    assert_int_equal(set.n, 3);
    assert_ptr_equal(params_find(&set, "c"), c);
    assert_null(params_find(&set, "d"));
    for (size_t i = 0; i < a->n; i++)
        assert_true(a->data[i] == 0);
    b->frozen = true;
    assert_int_equal(params_seal(&set), ST_OK);
    assert_int_equal(set.ntrained, 19);
    assert_ptr_equal(a->grad, set.grads);
    assert_null(b->grad);
    assert_ptr_equal(c->grad, set.grads + 15);
    b->frozen = false;
    a->frozen = true;
    assert_int_equal(params_seal(&set), ST_OK);
    assert_int_equal(set.ntrained, 11);
    assert_null(a->grad);
    assert_ptr_equal(b->grad, set.grads);
    uint64_t version = c->version;
    params_touch(&set);
    assert_true(c->version == version + 1);
    params_free(&set);
    assert_int_equal(set.n, 0);
}

static void test_initial_values(void **state) {
    enum { M = 200, K = 300 };
    params one, two;
    params_init(&one);
    params_init(&two);
    param *a = add(&one, "a", 2, M, K), *b = add(&one, "b", 2, M, K), *a2 = add(&two, "a", 2, M, K);
    param_init_normal(a, 5, 0.5f);
    param_init_normal(b, 5, 0.5f);
    param_init_normal(a2, 5, 0.5f);
    assert_memory_equal(a->data, a2->data, a->n * sizeof(float)); /* a function of seed and name */
    assert_memory_not_equal(a->data, b->data, a->n * sizeof(float));
    param_init_normal(a2, 6, 0.5f);
    assert_memory_not_equal(a->data, a2->data, a->n * sizeof(float));
    double sum = 0, square = 0, limit = sqrt(6.0 / (M + K)), most = 0;
    for (size_t i = 0; i < a->n; i++) {
        sum += a->data[i];
        square += (double)a->data[i] * a->data[i];
    }
    /* n = 60000: the mean deviates by 0.5 / sqrt(n) = 0.002, the variance by 0.25 sqrt(2 / n) = 0.0014; five times that
     */
    assert_true(fabs(sum / M / K) < 0.0102);
    assert_true(fabs(square / M / K - 0.25) < 0.0072);
    uint64_t version = a->version;
    param_init_xavier(a, 5, 1);
    assert_true(a->version > version);
    for (size_t i = 0; i < a->n; i++)
        most = fmax(most, fabs(a->data[i]));
    assert_true(most <= limit && most > 0.999 * limit); /* of 60000, one in the last thousandth: certain to e^-60 */
    param_init_constant(a, 2);
    assert_true(a->data[0] == 2 && a->data[a->n - 1] == 2);
    params_free(&one);
    params_free(&two);
}

/* Two steps with changing gradients. Each stored value passes through at most eight float operations per step, errors
 * of 2^-24 relative each; parameters stay below 2. */
static void test_adamw(void **state) {
    enum { N = 37 };
    const double beta1 = 0.9f, beta2 = 0.99f, decay = 0.1f, rate[2] = {0.01f, 0.003f};
    params set;
    params_init(&set);
    param *frozen = add(&set, "frozen", 2, 2, 2), *matrix = add(&set, "matrix", 2, 1, N),
          *row = add(&set, "row", 1, N, 0);
    frozen->frozen = true;
    param_init_constant(frozen, 3);
    assert_int_equal(params_seal(&set), ST_OK);
    param *of[2] = {matrix, row};
    double x[2][N], m[2][N] = {{0}}, v[2][N] = {{0}};
    for (int p = 0; p < 2; p++)
        for (int i = 0; i < N; i++)
            x[p][i] = of[p]->data[i] = (float)sin(i + p);
    adamw o;
    assert_int_equal(adamw_new(&o, &set, (float)beta1, (float)beta2, (float)decay), ST_OK);
    uint64_t version[2] = {matrix->version, frozen->version};
    for (int step = 1; step <= 2; step++) {
        for (int p = 0; p < 2; p++)
            for (int i = 0; i < N; i++) {
                double g = of[p]->grad[i] = (float)cos(3 * i + 5 * p + 7 * step) * (i % 3 == 0 ? 1e-3f : 1);
                m[p][i] = beta1 * m[p][i] + (1 - beta1) * g;
                v[p][i] = beta2 * v[p][i] + (1 - beta2) * g * g;
                x[p][i] -= p == 0 ? rate[step - 1] * decay * x[p][i] : 0;
                x[p][i] -= rate[step - 1] * (m[p][i] / (1 - pow(beta1, step))) /
                           (sqrt(v[p][i] / (1 - pow(beta2, step))) + 1e-8);
            }
        adamw_step(&o, &set, (float)rate[step - 1]);
        for (int p = 0; p < 2; p++)
            for (int i = 0; i < N; i++)
                if (!(fabs(of[p]->data[i] - x[p][i]) <= step * 8 * 2 * ldexp(1, -24)))
                    fail_msg("step %d, parameter %d [%d]: %.9g, not %.9g", step, p, i, of[p]->data[i], x[p][i]);
    }
    assert_true(matrix->version == version[0] + 2 && frozen->version == version[1]);
    assert_true(frozen->data[0] == 3 && o.step == 2);
    adamw_free(&o);
    params_free(&set);
}

static void test_clip(void **state) {
    params set;
    params_init(&set);
    param *a = add(&set, "a", 1, 3, 0), *b = add(&set, "b", 1, 2, 0);
    assert_int_equal(params_seal(&set), ST_OK);
    const float g[5] = {1, -2, 4, 2, 12}; /* norm 13 */
    memcpy(set.grads, g, sizeof g);
    assert_true(params_clip_grad(&set, 13) == 13);
    assert_memory_equal(set.grads, g, sizeof g); /* not above the limit: untouched */
    assert_true(params_clip_grad(&set, 6.5f) == 13);
    assert_true(a->grad[1] == -1 && b->grad[1] == 6);
    a->grad[0] = NAN;
    assert_true(isnan(params_clip_grad(&set, 1)));
    assert_true(b->grad[1] == 6); /* not a number: nothing scaled */
    params_free(&set);
}

/* Fit y = x A^T + b where every x comes twice, with targets one above and one below: the best loss is 1 exactly. */
static void test_fit(void **state) {
    enum { ROWS = 64, K = 5, M = 3 };
    float x[ROWS * K], target[ROWS * M], a[M * K];
    rng r = rng_make(1, 1, RNG_TEST);
    rng_normal(&r, x, ROWS / 2 * K);
    rng_normal(&r, a, M * K);
    memcpy(x + ROWS / 2 * K, x, ROWS / 2 * K * sizeof *x);
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < M; j++) {
            target[i * M + j] = (i < ROWS / 2 ? 1 : -1) + (float)j;
            for (size_t k = 0; k < K; k++)
                target[i * M + j] += x[i * K + k] * a[j * K + k];
        }
    params set;
    params_init(&set);
    param *w = add(&set, "w", 2, M, K), *b = add(&set, "b", 1, M, 0);
    param_init_xavier(w, 1, 1);
    assert_int_equal(params_seal(&set), ST_OK);
    adamw o;
    nn *s;
    assert_int_equal(adamw_new(&o, &set, 0.9f, 0.99f, 0), ST_OK);
    assert_int_equal(nn_open(&s, &(nn_options){.threads = 1}), ST_OK);
    float loss = 0;
    for (int step = 0; step < 600; step++) {
        nn_begin(s, true);
        params_zero_grad(&set);
        tensor *f = op_mse(s, op_linear(s, nn_input(s, 2, (size_t[2]){ROWS, K}, x), w, b), target, NULL);
        assert_int_equal(nn_backward(s, f), ST_OK);
        loss = f->data[0];
        adamw_step(&o, &set, step < 400 ? 0.05f : 0.05f * (float)(600 - step) / 200);
    }
    /* The distance to the optimum enters squared: at 0.001 in every parameter it adds 6 * 1e-6. */
    assert_true(loss > 1 - 1e-5 && loss < 1 + 1e-5);
    for (size_t i = 0; i < M * K; i++)
        assert_true(fabsf(w->data[i] - a[i]) < 1e-3f);
    for (size_t j = 0; j < M; j++)
        assert_true(fabsf(b->data[j] - (float)j) < 1e-3f);
    nn_close(&s);
    adamw_free(&o);
    params_free(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_params), cmocka_unit_test(test_initial_values),
        cmocka_unit_test(test_adamw),  cmocka_unit_test(test_clip),
        cmocka_unit_test(test_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
