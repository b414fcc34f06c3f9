/* Element-wise kernels: one pass over memory each, no reduction, so the number of threads cannot change the result. */
#include "nn/cpu/kernels.h"

/* One operation on vectors a, b (b unused by some) with the old output c (read only where add is true). */
typedef enum pass { PASS_ADD, PASS_AXPY, PASS_SCALE, PASS_MULTIPLY } pass;

INLINE vec pass_value(pass p, float factor, vec a, vec b) {
    switch (p) {
    case PASS_ADD:
        return a + b;
    case PASS_AXPY:
        return a * factor + b;
    case PASS_SCALE:
        return a * factor;
    default:
        return a * b;
    }
}

INLINE void pass_range(pass p, range r, float factor, const float *x, const float *y, bool add, float *out) {
    size_t i = r.first;
    for (; i + LANES <= r.last; i += LANES) {
        vec v = pass_value(p, factor, vec_load(x + i), y != NULL ? vec_load(y + i) : vec_set(0));
        vec_store(out + i, add ? vec_load(out + i) + v : v);
    }
    if (i < r.last) {
        size_t n = r.last - i;
        vec v = pass_value(p, factor, vec_load_some(x + i, n), y != NULL ? vec_load_some(y + i, n) : vec_set(0));
        vec_store_some(out + i, add ? vec_load_some(out + i, n) + v : v, n);
    }
}

void KERNEL(add)(int threads, size_t n, const float *x, const float *y, float *out) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++)
        pass_range(PASS_ADD, range_of(n, threads, t), 0, x, y, false, out);
}

void KERNEL(axpy)(int threads, size_t n, float factor, const float *x, const float *y, float *out) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++)
        pass_range(PASS_AXPY, range_of(n, threads, t), factor, x, y, false, out);
}

void KERNEL(scale)(int threads, size_t n, float factor, const float *x, bool add, float *out) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++) {
        range r = range_of(n, threads, t);
        if (add)
            pass_range(PASS_SCALE, r, factor, x, NULL, true, out);
        else
            pass_range(PASS_SCALE, r, factor, x, NULL, false, out);
    }
}

void KERNEL(multiply)(int threads, size_t n, const float *x, const float *y, bool add, float *out) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++) {
        range r = range_of(n, threads, t);
        if (add)
            pass_range(PASS_MULTIPLY, r, 0, x, y, true, out);
        else
            pass_range(PASS_MULTIPLY, r, 0, x, y, false, out);
    }
}

/* AdamW on one parameter's elements. */
INLINE void adamw_vec(size_t n, const adamw_factors *f, const float *g, float *m, float *v, float *p) {
    vec gv = vec_load_n(g, n);
    vec mv = vec_load_n(m, n) * f->beta1 + gv * (1 - f->beta1);
    vec vv = vec_load_n(v, n) * f->beta2 + gv * gv * (1 - f->beta2);
    vec_store_n(m, mv, n);
    vec_store_n(v, vv, n);
    vec_store_n(p, vec_load_n(p, n) * f->decay - mv * f->rate / (vec_sqrt(vv) * f->root + f->epsilon), n);
}

void KERNEL(adamw)(size_t n, adamw_factors f, const float *g, float *m, float *v, float *p) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        adamw_vec(LANES, &f, g + i, m + i, v + i, p + i);
    if (i < n)
        adamw_vec(n - i, &f, g + i, m + i, v + i, p + i);
}
