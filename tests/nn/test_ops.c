/* Every operation against its plain reference: forward values, and gradients of sum(out * r), r random.
 *
 * Gradients of the reference come from central differences in double: with step h = 1e-4 the truncation error is about
 * h^2 / 6 times a third derivative of order 1, 2e-9, and rounding 1e-16 * |f| / h, below 1e-9 for |f| < 1000; both are
 * far below the float tolerance.
 *
 * Tolerance: all inputs are standard normal. A float sum of n such terms has partial sums of about sqrt(n) and makes n
 * rounding errors of at most 2^-24 of them, of random sign: deviation below 2^-24 n. The table's `terms` is the length
 * of the longest sum in forward or backward (for chains of products, of all its sums together); the tolerance is six
 * deviations, with at least 8 terms for the few operations of an element-wise formula (the exponential is good to two
 * units in the last place). An element left out or counted twice changes the result by about 1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/memory.h"
#include "base/rng.h"
#include "nn/nn_priv.h"
#include "nn/ref.h"

enum { MOST_PROBES = 24 };

typedef enum input_role { ROLE_TENSOR, ROLE_PARAM, ROLE_CONSTANT } input_role;

typedef struct input {
    input_role role;
    int ndim;
    size_t dim[4];
} input;

typedef struct bound {
    tensor *t[4];
    param *p[4];
    float *value[4];
} bound;

typedef struct op_kind {
    const char *name;
    ref_function *ref;
    tensor *(*apply)(nn *s, const size_t z[5], const bound *b);
    int (*inputs)(const size_t z[5], input in[4]);
} op_kind;

typedef struct op_case {
    const op_kind *kind;
    size_t size[5], terms;
} op_case;

/* ---- Kinds ---- */

static int in_linear(const size_t z[5], input in[4]) {
    in[0] = (input){ROLE_TENSOR, 2, {z[0], z[1]}};
    in[1] = (input){ROLE_PARAM, 2, {z[2], z[1]}};
    in[2] = (input){ROLE_PARAM, 1, {z[2]}};
    return 3;
}
static int in_linear_plain(const size_t z[5], input in[4]) {
    in_linear(z, in);
    return 2;
}
static int in_one(const size_t z[5], input in[4]) {
    in[0] = (input){ROLE_TENSOR, 2, {z[0], z[1]}};
    return 1;
}
static int in_two(const size_t z[5], input in[4]) {
    in[0] = in[1] = (input){ROLE_TENSOR, 2, {z[0], z[1]}};
    return 2;
}
static int in_all(const size_t z[5], input in[4]) {
    in[0] = (input){ROLE_TENSOR, 3, {z[0], z[1], z[2]}};
    in[1] = (input){ROLE_TENSOR, 1, {z[2]}};
    return 2;
}
static int in_sample(const size_t z[5], input in[4]) {
    in_all(z, in);
    in[1] = (input){ROLE_TENSOR, 2, {z[1], z[2]}};
    return 2;
}
static int in_token(const size_t z[5], input in[4]) {
    in_all(z, in);
    in[1] = (input){ROLE_TENSOR, 3, {z[0], 1, z[2]}};
    return 2;
}
static int in_layernorm(const size_t z[5], input in[4]) {
    in[0] = (input){ROLE_TENSOR, 2, {z[0], z[1]}};
    in[1] = in[2] = (input){ROLE_PARAM, 1, {z[1]}};
    return 3;
}
static int in_modulate(const size_t z[5], input in[4]) {
    in[0] = (input){ROLE_TENSOR, 3, {z[0], z[1], z[2]}};
    in[1] = in[2] = (input){ROLE_TENSOR, 2, {z[0], z[2]}};
    return 3;
}
static int in_gate(const size_t z[5], input in[4]) {
    in_modulate(z, in);
    in[2] = in[0];
    return 3;
}
static int in_attention(const size_t z[5], input in[4]) {
    in[0] = (input){ROLE_TENSOR, 3, {z[0], z[1], 3 * z[2] * z[3]}};
    return 1;
}
static int in_rows(const size_t z[5], input in[4]) {
    in[0] = (input){ROLE_TENSOR, 2, {z[2], z[1]}};
    return 1;
}
static int in_embedding(const size_t z[5], input in[4]) {
    in[0] = (input){ROLE_PARAM, 2, {z[2], z[1]}};
    return 1;
}
static int in_concat(const size_t z[5], input in[4]) {
    in[0] = (input){ROLE_TENSOR, 2, {z[0], z[1]}};
    in[1] = (input){ROLE_TENSOR, 2, {z[0], z[2]}};
    return 2;
}
static int in_mse(const size_t z[5], input in[4]) {
    in_two(z, in);
    in[1].role = ROLE_CONSTANT;
    in[2] = in[1];
    return 3;
}

static tensor *do_linear(nn *s, const size_t z[5], const bound *b) {
    return op_linear(s, b->t[0], b->p[1], b->p[2]);
}
static tensor *do_add(nn *s, const size_t z[5], const bound *b) {
    return op_add(s, b->t[0], b->t[1]);
}
static tensor *do_axpy(nn *s, const size_t z[5], const bound *b) {
    return op_axpy(s, b->t[0], (float)REF_FACTOR, b->t[1]);
}
static tensor *do_scale(nn *s, const size_t z[5], const bound *b) {
    return op_scale(s, b->t[0], (float)REF_FACTOR);
}
static tensor *do_mul(nn *s, const size_t z[5], const bound *b) {
    return op_mul(s, b->t[0], b->t[1]);
}
static tensor *do_gelu(nn *s, const size_t z[5], const bound *b) {
    return op_gelu(s, b->t[0]);
}
static tensor *do_quick_gelu(nn *s, const size_t z[5], const bound *b) {
    return op_quick_gelu(s, b->t[0]);
}
static tensor *do_silu(nn *s, const size_t z[5], const bound *b) {
    return op_silu(s, b->t[0]);
}
static tensor *do_broadcast(nn *s, const size_t z[5], const bound *b) {
    return op_add_broadcast(s, b->t[0], b->t[1]);
}
static tensor *do_layernorm(nn *s, const size_t z[5], const bound *b) {
    return op_layernorm(s, b->t[0], b->p[1], b->p[2], (float)REF_EPSILON);
}
static tensor *do_modulate(nn *s, const size_t z[5], const bound *b) {
    return op_layernorm_modulate(s, b->t[0], b->t[1], b->t[2], (float)REF_EPSILON);
}
static tensor *do_gate(nn *s, const size_t z[5], const bound *b) {
    return op_gate_add(s, b->t[0], b->t[1], b->t[2]);
}
static tensor *do_attention(nn *s, const size_t z[5], const bound *b) {
    return op_attention(s, b->t[0], z[2], false);
}
static tensor *do_causal(nn *s, const size_t z[5], const bound *b) {
    return op_attention(s, b->t[0], z[2], true);
}
static tensor *do_gather(nn *s, const size_t z[5], const bound *b) {
    int32_t index[64];
    assert_true(z[0] <= 64);
    for (size_t i = 0; i < z[0]; i++)
        index[i] = (int32_t)ref_index(i, z[2]);
    return b->p[0] != NULL ? op_embedding(s, b->p[0], index, z[0]) : op_rows(s, b->t[0], index, z[0]);
}
static tensor *do_columns(nn *s, const size_t z[5], const bound *b) {
    return op_columns(s, b->t[0], z[2], z[3]);
}
static tensor *do_concat(nn *s, const size_t z[5], const bound *b) {
    return op_concat(s, b->t[0], b->t[1]);
}
static tensor *do_mse(nn *s, const size_t z[5], const bound *b) {
    return op_mse(s, b->t[0], b->value[1], NULL);
}
static tensor *do_mse_weighted(nn *s, const size_t z[5], const bound *b) {
    return op_mse(s, b->t[0], b->value[1], b->value[2]);
}
static tensor *do_sum(nn *s, const size_t z[5], const bound *b) {
    return op_sum(s, b->t[0]);
}

static const op_kind linear = {"linear", ref_linear, do_linear, in_linear},
                     linear_plain = {"linear without bias", ref_linear_plain, do_linear, in_linear_plain},
                     add = {"add", ref_add, do_add, in_two}, axpy = {"axpy", ref_axpy, do_axpy, in_two},
                     scale = {"scale", ref_scale, do_scale, in_one}, mul = {"mul", ref_mul, do_mul, in_two},
                     gelu = {"gelu", ref_gelu, do_gelu, in_one},
                     quick_gelu = {"quick gelu", ref_quick_gelu, do_quick_gelu, in_one},
                     silu = {"silu", ref_silu, do_silu, in_one},
                     add_all = {"add (C)", ref_add_all, do_broadcast, in_all},
                     add_sample = {"add (T, C)", ref_add_sample, do_broadcast, in_sample},
                     add_token = {"add (N, 1, C)", ref_add_token, do_broadcast, in_token},
                     layernorm = {"layer norm", ref_layernorm, do_layernorm, in_layernorm},
                     layernorm_plain = {"layer norm without gain", ref_layernorm_plain, do_layernorm, in_one},
                     modulate = {"layer norm modulated", ref_modulate, do_modulate, in_modulate},
                     gate = {"gate", ref_gate, do_gate, in_gate},
                     attention = {"attention", ref_attention, do_attention, in_attention},
                     causal = {"causal attention", ref_attention_causal, do_causal, in_attention},
                     embedding = {"embedding", ref_embedding, do_gather, in_embedding},
                     rows = {"rows", ref_rows, do_gather, in_rows},
                     columns = {"columns", ref_columns, do_columns, in_one},
                     concat = {"concat", ref_concat, do_concat, in_concat}, mse = {"mse", ref_mse, do_mse, in_mse},
                     mse_weighted = {"mse weighted", ref_mse_weighted, do_mse_weighted, in_mse},
                     sum = {"sum", ref_sum, do_sum, in_one};

/* Sizes as in ref.c. Large rows are big enough for two threads (more than 16384 elements). */
static const op_case cases[] = {
    {&linear, {1, 1, 1}, 8},
    {&linear, {7, 5, 3}, 8},
    {&linear, {33, 48, 17}, 48},
    {&linear, {32, 64, 1152}, 1152},
    {&linear, {300, 293, 96}, 300},
    {&linear_plain, {9, 12, 40}, 40},
    {&add, {3, 37}, 8},
    {&add, {130, 257}, 8},
    {&axpy, {5, 1}, 8},
    {&axpy, {130, 257}, 8},
    {&scale, {1, 19}, 8},
    {&scale, {130, 257}, 8},
    {&mul, {4, 16}, 8},
    {&mul, {130, 257}, 8},
    {&gelu, {3, 7}, 8},
    {&gelu, {130, 257}, 8},
    {&quick_gelu, {2, 33}, 8},
    {&quick_gelu, {130, 257}, 8},
    {&silu, {1, 1}, 8},
    {&silu, {130, 257}, 8},
    {&add_all, {1, 1, 5}, 8},
    {&add_all, {3, 4, 37}, 12},
    {&add_all, {5, 60, 120}, 300},
    {&add_sample, {2, 1, 16}, 8},
    {&add_sample, {3, 7, 35}, 8},
    {&add_sample, {12, 31, 64}, 12},
    {&add_token, {1, 9, 20}, 9},
    {&add_token, {4, 3, 100}, 8},
    {&add_token, {2, 70, 130}, 70},
    {&layernorm, {1, 1}, 8 * 317}, /* one element has no variance: 1 / sqrt(epsilon) = 316 amplifies rounding */
    {&layernorm, {5, 7}, 14},
    {&layernorm, {9, 64}, 128},
    {&layernorm, {170, 100}, 370},
    {&layernorm_plain, {6, 96}, 192},
    {&modulate, {1, 1, 16}, 32},
    {&modulate, {3, 5, 37}, 80},
    {&modulate, {2, 7, 96}, 200},
    {&modulate, {1, 180, 100}, 380},
    {&gate, {1, 1, 3}, 8},
    {&gate, {3, 5, 37}, 8},
    {&gate, {2, 70, 130}, 70},
    {&gate, {1, 90, 200}, 90},
    {&attention, {1, 1, 1, 8}, 16},
    {&attention, {2, 3, 2, 5}, 16},
    {&attention, {1, 17, 3, 24}, 48},
    {&attention, {4, 32, 2, 32}, 128},
    {&attention, {1, 71, 2, 40}, 160},
    {&attention, {1, 130, 1, 64}, 260},
    {&causal, {1, 1, 2, 8}, 16},
    {&causal, {2, 19, 2, 16}, 48},
    {&causal, {1, 77, 4, 32}, 160},
    {&embedding, {1, 1, 1}, 8},
    {&embedding, {20, 37, 7}, 20},
    {&embedding, {64, 40, 300}, 64},
    {&rows, {9, 16, 4}, 9},
    {&rows, {13, 35, 100}, 13},
    {&columns, {3, 9, 2, 4}, 8},
    {&columns, {6, 64, 48, 16}, 8},
    {&concat, {4, 3, 17}, 8},
    {&concat, {1, 64, 1}, 8},
    {&mse, {3, 7}, 21},
    {&mse, {130, 257}, 64},
    {&mse_weighted, {5, 33}, 64},
    {&mse_weighted, {130, 257}, 64},
    {&sum, {1, 1}, 8},
    {&sum, {130, 257}, 2048},
};

/* ---- One case: the reference once, then every backend and thread count ---- */

typedef struct probe {
    int which; /* input */
    size_t i;
    double value;
} probe;

typedef struct work {
    input in[4];
    int nin;
    size_t n[4], nout, nprobes;
    double *x[4], *out, *weight; /* inputs, output, r */
    float *x32[4], *weight32;
    probe probe[4 * MOST_PROBES];
    params set;
} work;

static double *normals(rng *r, size_t n, float **as_float) {
    double *x;
    assert_int_equal(NEW(n, &x), ST_OK);
    assert_int_equal(memory_new(n, sizeof(float), as_float), ST_OK);
    rng_normal(r, *as_float, n);
    for (size_t i = 0; i < n; i++)
        x[i] = (*as_float)[i];
    return x;
}

static double objective(const op_case *c, work *w, double *out) {
    c->kind->ref(c->size, (const double *const *)w->x, out);
    double f = 0;
    for (size_t i = 0; i < w->nout; i++)
        f += out[i] * w->weight[i];
    return f;
}

static double difference(const op_case *c, work *w, int which, size_t i, double *out) {
    const double h = 1e-4;
    double x = w->x[which][i];
    w->x[which][i] = x + h;
    double above = objective(c, w, out);
    w->x[which][i] = x - h;
    double below = objective(c, w, out);
    w->x[which][i] = x;
    return (above - below) / (2 * h);
}

static void make_inputs(const op_case *c, work *w, rng *r) {
    params_init(&w->set);
    w->nin = c->kind->inputs(c->size, w->in);
    for (int k = 0; k < w->nin; k++) {
        w->n[k] = 1;
        for (int i = 0; i < w->in[k].ndim; i++)
            w->n[k] *= w->in[k].dim[i];
        w->x[k] = normals(r, w->n[k], &w->x32[k]);
        param *p;
        const char *name[4] = {"a", "b", "c", "d"};
        if (w->in[k].role != ROLE_PARAM)
            continue;
        assert_int_equal(params_add(&w->set, name[k], w->in[k].ndim, w->in[k].dim, &p), ST_OK);
        memcpy(p->data, w->x32[k], w->n[k] * sizeof(float));
    }
    assert_int_equal(params_seal(&w->set), ST_OK);
}

/* The shape of the output is asked of the engine; everything else comes from the reference. */
static void make_expectations(const op_case *c, work *w, rng *r, size_t nout) {
    w->nout = nout;
    w->weight = normals(r, nout, &w->weight32);
    double *scratch;
    assert_int_equal(NEW(nout, &w->out), ST_OK);
    assert_int_equal(NEW(nout, &scratch), ST_OK);
    objective(c, w, w->out);
    for (int k = 0; k < w->nin; k++) { /* all elements, or some spread over the whole */
        size_t probes = w->n[k] < MOST_PROBES ? w->n[k] : MOST_PROBES;
        for (size_t j = 0; j < probes && w->in[k].role != ROLE_CONSTANT; j++) {
            size_t i = j * (w->n[k] - 1) / (probes > 1 ? probes - 1 : 1);
            w->probe[w->nprobes++] = (probe){.which = k, .i = i, .value = difference(c, w, k, i, scratch)};
        }
    }
    memory_free(&scratch);
}

static void work_free(work *w) {
    params_free(&w->set);
    memory_free(&w->out);
    memory_free(&w->weight);
    memory_free(&w->weight32);
    for (int k = 0; k < w->nin; k++) {
        memory_free(&w->x[k]);
        memory_free(&w->x32[k]);
    }
}

static void check(const op_case *c, const backend *b, int threads, const char *what, int which, size_t i, double got,
                  double want) {
    double tolerance = 6 * ldexp(1, -24) * (double)c->terms;
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%s (%zu, %zu, %zu, %zu) %s, %d threads: %s %d [%zu] is %.9g, not %.9g (tolerance %.2g)",
                 c->kind->name, c->size[0], c->size[1], c->size[2], c->size[3], b->name, threads, what, which, i, got,
                 want, tolerance);
}

static void bind(nn *s, work *w, bound *b) {
    *b = (bound){0};
    size_t used = 0;
    for (int k = 0; k < w->nin; k++) {
        b->value[k] = w->x32[k];
        if (w->in[k].role == ROLE_TENSOR)
            b->t[k] = nn_input_grad(s, w->in[k].ndim, w->in[k].dim, w->x32[k]);
        else if (w->in[k].role == ROLE_PARAM)
            b->p[k] = w->set.item[used++];
    }
}

static tensor *apply(const op_case *c, work *w, nn *s, bool record, bound *in) {
    nn_begin(s, record);
    params_zero_grad(&w->set);
    bind(s, w, in);
    tensor *y = c->kind->apply(s, c->size, in);
    if (y == NULL)
        fail_msg("%s: %s", c->kind->name, nn_status(s) == ST_OK ? "no result" : status_message());
    return y;
}

/* shared: the inputs are also summed into the loss, so that the operation finds a gradient of 1 there and must add. */
static void run_step(const op_case *c, work *w, nn *s, int threads, bool shared, rng *r) {
    bound in;
    tensor *y = apply(c, w, s, true, &in);
    if (w->out == NULL)
        make_expectations(c, w, r, y->n);
    tensor *loss = op_sum(s, op_mul(s, y, nn_input(s, y->ndim, y->dim, w->weight32)));
    for (int k = 0; k < w->nin && shared; k++)
        if (in.t[k] != NULL)
            loss = op_add(s, loss, op_sum(s, in.t[k]));
    assert_int_equal(nn_backward(s, loss), ST_OK);
    for (size_t i = 0; i < w->nout; i++)
        check(c, s->backend, threads, "output", 0, i, y->data[i], w->out[i]);
    for (size_t j = 0; j < w->nprobes; j++) {
        const probe *p = &w->probe[j];
        const float *grad = in.p[p->which] != NULL ? in.p[p->which]->grad : in.t[p->which]->grad;
        assert_non_null(grad);
        check(c, s->backend, threads, shared ? "gradient added to input" : "gradient of input", p->which, p->i,
              grad[p->i], p->value + (shared && in.t[p->which] != NULL ? 1 : 0));
    }
}

/* Without recording, linear layers use packed weights. */
static void run_forward(const op_case *c, work *w, nn *s, int threads) {
    bound in;
    tensor *y = apply(c, w, s, false, &in);
    for (size_t i = 0; i < w->nout; i++)
        check(c, s->backend, threads, "output without recording", 0, i, y->data[i], w->out[i]);
}

static void run_case(const op_case *c) {
    work w = {0};
    rng r = rng_make(1, (uint64_t)(c - cases), RNG_TEST);
    make_inputs(c, &w, &r);
    for (int level = 0; level <= 2; level++)
        for (int threads = 1; threads <= 2 && backend_cpu_level(level) != NULL; threads++) {
            nn *s;
            assert_int_equal(nn_open(&s, &(nn_options){.threads = threads}), ST_OK);
            assert_int_equal(nn_use_backend(s, backend_cpu_level(level)), ST_OK);
            run_step(c, &w, s, threads, false, &r);
            run_step(c, &w, s, threads, true, &r);
            run_forward(c, &w, s, threads);
            nn_close(&s);
        }
    work_free(&w);
}

static void test_all(void **state) {
    for (int level = 0; level <= 2; level++)
        if (backend_cpu_level(level) == NULL)
            print_message("this processor lacks level %d: not tested\n", level);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        run_case(&cases[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
