/* Matrix products with oneDNN: a matmul primitive with fused bias for the forward pass, its sgemm for the two backward
 * products (it adds to the output itself and was the fastest at the shapes of small transformers).
 *
 * A session keeps one plan (primitive and memory objects) per shape, and packed copies of weights per (parameter,
 * version, layout). oneDNN takes its thread count from OpenMP's per-thread setting, which is set around every call and
 * put back; its global primitive cache is keyed by that count too, so a session with one thread gets the same code
 * whatever runs beside it. */
#include <omp.h>
#include <stdlib.h>
#include "base/memory.h"
#include "nn/cpu/dnnl_shim.h"
#include "nn/cpu/product.h"

enum { MOST_PLANS = 128 };

#define TRY_DNNL(expression)                                                                                           \
    do {                                                                                                               \
        dnnl_status_t dnnl_status_ = (expression);                                                                     \
        if (dnnl_status_ != dnnl_success)                                                                              \
            return FAIL(dnnl_status_ == dnnl_out_of_memory ? ST_MEMORY : ST_LIBRARY, "oneDNN: %s: %s", #expression,    \
                        dnnl_status2str(dnnl_status_));                                                                \
    } while (0)

typedef struct plan {
    linear_shape shape;
    bool bias, packed; /* packed: the library chose the layout of the weights */
    dnnl_primitive_t primitive;
    dnnl_memory_t src, weights, bias_memory, dst, scratch;
    shim_md weights_md;
    size_t scratch_nbytes;
    bool same_layout; /* the library chose the plain one */
} plan;

typedef struct packed_weights {
    const void *key;
    uint64_t version;
    shim_md md;
    float *data;
} packed_weights;

typedef struct products {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    plan plan[MOST_PLANS];
    size_t nplans, oldest;
    packed_weights *packed;
    size_t npacked, capacity;
    void *scratch;
    size_t scratch_nbytes;
} products;

/* OpenMP's setting for this thread, changed for one call. */
static int threads_enter(int threads) {
    int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    return before;
}

static void threads_leave(int before) {
    omp_set_num_threads(before);
}

static status open_engine(products *p) {
    TRY_DNNL(dnnl_engine_create(&p->engine, dnnl_cpu, 0));
    TRY_DNNL(dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags));
    return ST_OK;
}

status product_open(void **state) {
    products *p;
    TRY(NEW(1, &p));
    status st = open_engine(p);
    if (st != ST_OK) {
        product_close(p);
        return st;
    }
    *state = p;
    return ST_OK;
}

static void memory_drop(dnnl_memory_t *memory) {
    if (*memory != NULL)
        dnnl_memory_destroy(*memory);
    *memory = NULL;
}

static void plan_free(plan *p) {
    if (p->primitive != NULL)
        dnnl_primitive_destroy(p->primitive);
    memory_drop(&p->src);
    memory_drop(&p->weights);
    memory_drop(&p->bias_memory);
    memory_drop(&p->dst);
    memory_drop(&p->scratch);
    shim_md_free(&p->weights_md);
    *p = (plan){0};
}

void product_close(void *state) {
    products *p = state;
    for (size_t i = 0; i < p->nplans; i++)
        plan_free(&p->plan[i]);
    for (size_t i = 0; i < p->npacked; i++) {
        shim_md_free(&p->packed[i].md);
        memory_free(&p->packed[i].data);
    }
    free(p->packed);
    memory_free(&p->scratch);
    if (p->stream != NULL)
        dnnl_stream_destroy(p->stream);
    if (p->engine != NULL)
        dnnl_engine_destroy(p->engine);
    memory_free(&p);
}

/* ---- Plans ---- */

typedef struct descriptors {
    shim_md src, plain, any, bias, dst, scratch;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t pd;
} descriptors;

static void descriptors_free(descriptors *d) {
    shim_md_free(&d->src);
    shim_md_free(&d->plain);
    shim_md_free(&d->any);
    shim_md_free(&d->bias);
    shim_md_free(&d->dst);
    shim_md_free(&d->scratch);
    if (d->attr != NULL)
        dnnl_primitive_attr_destroy(d->attr);
    if (d->pd != NULL)
        dnnl_primitive_desc_destroy(d->pd);
}

/* The weights (M, K) are the second factor (K, M) read by columns. */
static status plan_fill(products *p, plan *n, descriptors *d) {
    dnnl_dim_t rows = (dnnl_dim_t)n->shape.rows, k = (dnnl_dim_t)n->shape.k, m = (dnnl_dim_t)n->shape.m;
    TRY_DNNL(shim_md_new(&d->src, rows, k, dnnl_ab));
    TRY_DNNL(shim_md_new(&d->plain, k, m, dnnl_ba));
    TRY_DNNL(shim_md_new(&d->any, k, m, dnnl_format_tag_any));
    TRY_DNNL(shim_md_new(&d->bias, 1, m, dnnl_ab));
    TRY_DNNL(shim_md_new(&d->dst, rows, m, dnnl_ab));
    TRY_DNNL(dnnl_primitive_attr_create(&d->attr));
    TRY_DNNL(dnnl_primitive_attr_set_scratchpad_mode(d->attr, dnnl_scratchpad_mode_user));
    TRY_DNNL(shim_matmul_desc(&d->pd, p->engine, d->src, n->packed ? d->any : d->plain, n->bias ? &d->bias : NULL,
                              d->dst, d->attr));
    TRY_DNNL(dnnl_primitive_create(&n->primitive, d->pd));
    TRY_DNNL(shim_md_of(d->pd, dnnl_query_weights_md, &n->weights_md));
    TRY_DNNL(shim_md_of(d->pd, dnnl_query_scratchpad_md, &d->scratch));
    n->same_layout = shim_md_equal(n->weights_md, d->plain);
    n->scratch_nbytes = shim_md_nbytes(d->scratch);
    TRY_DNNL(shim_memory_new(&n->src, d->src, p->engine));
    TRY_DNNL(shim_memory_new(&n->weights, n->weights_md, p->engine));
    TRY_DNNL(shim_memory_new(&n->dst, d->dst, p->engine));
    TRY_DNNL(shim_memory_new(&n->scratch, d->scratch, p->engine));
    if (n->bias)
        TRY_DNNL(shim_memory_new(&n->bias_memory, d->bias, p->engine));
    return ST_OK;
}

static bool same_shape(linear_shape a, linear_shape b) {
    return a.rows == b.rows && a.k == b.k && a.m == b.m && a.threads == b.threads;
}

static status plan_get(products *p, linear_shape shape, bool bias, bool packed, plan **out) {
    for (size_t i = 0; i < p->nplans; i++) {
        plan *n = &p->plan[i];
        if (same_shape(n->shape, shape) && n->bias == bias && n->packed == packed) {
            *out = n;
            return ST_OK;
        }
    }
    plan made = {.shape = shape, .bias = bias, .packed = packed};
    descriptors d = {0};
    status st = plan_fill(p, &made, &d);
    descriptors_free(&d);
    if (st != ST_OK) {
        plan_free(&made);
        return st;
    }
    plan *slot = p->nplans < MOST_PLANS ? &p->plan[p->nplans++] : &p->plan[p->oldest++ % MOST_PLANS];
    plan_free(slot);
    *slot = made;
    *out = slot;
    return ST_OK;
}

static status grow_scratch(products *p, size_t nbytes) {
    if (nbytes <= p->scratch_nbytes)
        return ST_OK;
    memory_free(&p->scratch);
    p->scratch_nbytes = 0;
    TRY(memory_new(nbytes, 1, &p->scratch));
    p->scratch_nbytes = nbytes;
    return ST_OK;
}

/* ---- Packed weights ---- */

typedef struct reorder {
    shim_md plain;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t primitive;
    dnnl_memory_t from, to;
} reorder;

static status reorder_run(products *p, reorder *r, const plan *n, const float *w, float *to) {
    TRY_DNNL(shim_md_new(&r->plain, (dnnl_dim_t)n->shape.k, (dnnl_dim_t)n->shape.m, dnnl_ba));
    TRY_DNNL(shim_reorder_desc(&r->pd, p->engine, r->plain, n->weights_md));
    TRY_DNNL(dnnl_primitive_create(&r->primitive, r->pd));
    TRY_DNNL(shim_memory_new(&r->from, r->plain, p->engine));
    TRY_DNNL(shim_memory_new(&r->to, n->weights_md, p->engine));
    TRY_DNNL(dnnl_memory_set_data_handle(r->from, (void *)w));
    TRY_DNNL(dnnl_memory_set_data_handle(r->to, to));
    dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, r->from}, {DNNL_ARG_TO, r->to}};
    TRY_DNNL(dnnl_primitive_execute(r->primitive, p->stream, 2, args));
    TRY_DNNL(dnnl_stream_wait(p->stream));
    return ST_OK;
}

static status pack(products *p, const plan *n, const float *w, float *to) {
    reorder r = {0};
    status st = reorder_run(p, &r, n, w, to);
    memory_drop(&r.from);
    memory_drop(&r.to);
    if (r.primitive != NULL)
        dnnl_primitive_destroy(r.primitive);
    if (r.pd != NULL)
        dnnl_primitive_desc_destroy(r.pd);
    shim_md_free(&r.plain);
    return st;
}

/* An entry with memory, marked as out of date. */
static status packed_add(products *p, const plan *n, const void *key, uint64_t version, packed_weights **out) {
    TRY(memory_grow(&p->packed, &p->capacity, p->npacked + 1, sizeof *p->packed));
    packed_weights *e = &p->packed[p->npacked];
    *e = (packed_weights){.key = key, .version = version - 1};
    TRY(memory_new(shim_md_nbytes(n->weights_md), 1, &e->data));
    p->npacked++; /* from here on product_close owns it */
    TRY_DNNL(shim_md_copy(&e->md, n->weights_md));
    *out = e;
    return ST_OK;
}

/* An entry of this key and layout with an older version is packed again in its place. */
static status packed_get(products *p, const plan *n, const float *w, const void *key, uint64_t version,
                         const float **out) {
    packed_weights *e = NULL;
    for (size_t i = 0; i < p->npacked && e == NULL; i++)
        if (p->packed[i].key == key && shim_md_equal(p->packed[i].md, n->weights_md))
            e = &p->packed[i];
    if (e == NULL)
        TRY(packed_add(p, n, key, version, &e));
    if (e->version != version) {
        TRY(pack(p, n, w, e->data));
        e->version = version;
    }
    *out = e->data;
    return ST_OK;
}

/* ---- The backend's three products ---- */

static status linear_run(products *p, linear_shape s, const float *x, const float *w, const float *b, const void *key,
                         uint64_t version, float *y) {
    plan *n;
    TRY(plan_get(p, s, b != NULL, key != NULL, &n));
    TRY(grow_scratch(p, n->scratch_nbytes));
    if (key != NULL && !n->same_layout)
        TRY(packed_get(p, n, w, key, version, &w));
    TRY_DNNL(dnnl_memory_set_data_handle(n->src, (void *)x));
    TRY_DNNL(dnnl_memory_set_data_handle(n->weights, (void *)w));
    TRY_DNNL(dnnl_memory_set_data_handle(n->dst, y));
    TRY_DNNL(dnnl_memory_set_data_handle(n->scratch, p->scratch));
    dnnl_exec_arg_t args[5] = {{DNNL_ARG_SRC, n->src},
                               {DNNL_ARG_WEIGHTS, n->weights},
                               {DNNL_ARG_DST, n->dst},
                               {DNNL_ARG_SCRATCHPAD, n->scratch},
                               {DNNL_ARG_BIAS, n->bias_memory}};
    if (b != NULL)
        TRY_DNNL(dnnl_memory_set_data_handle(n->bias_memory, (void *)b));
    TRY_DNNL(dnnl_primitive_execute(n->primitive, p->stream, b != NULL ? 5 : 4, args));
    TRY_DNNL(dnnl_stream_wait(p->stream));
    return ST_OK;
}

status product_linear(void *state, linear_shape s, const float *x, const float *w, const float *b, const void *key,
                      uint64_t version, float *y) {
    int before = threads_enter(s.threads);
    status st = linear_run(state, s, x, w, b, key, version, y);
    threads_leave(before);
    return st;
}

/* C (rows, columns) = A B + beta C in row-major order; at: A is stored transposed. */
static status gemm(int threads, bool at, size_t rows, size_t columns, size_t k, const float *a, const float *b,
                   float beta, float *c) {
    int before = threads_enter(threads);
    dnnl_status_t st = dnnl_sgemm(at ? 'T' : 'N', 'N', (dnnl_dim_t)rows, (dnnl_dim_t)columns, (dnnl_dim_t)k, 1.0f, a,
                                  (dnnl_dim_t)(at ? rows : k), b, (dnnl_dim_t)columns, beta, c, (dnnl_dim_t)columns);
    threads_leave(before);
    TRY_DNNL(st);
    return ST_OK;
}

status product_linear_dx(linear_shape s, const float *dy, const float *w, bool add, float *dx) {
    return gemm(s.threads, false, s.rows, s.k, s.m, dy, w, add ? 1 : 0, dx);
}

status product_linear_dw(linear_shape s, const float *dy, const float *x, float *dw) {
    return gemm(s.threads, true, s.m, s.k, s.rows, dy, x, 1, dw);
}
