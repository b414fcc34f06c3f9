/* Activations. Each is x * sigmoid(a(x)):
 *   silu        a = x
 *   quick gelu  a = 1.702 x
 *   gelu        a = 2 sqrt(2 / pi) (x + 0.044715 x^3), because (1 + tanh(u)) / 2 = sigmoid(2 u) (Hendrycks, Gimpel
 * 2016) with derivative s + x s (1 - s) a'(x). */
#include "nn/cpu/kernels.h"

INLINE vec inner(activation kind, vec x) {
    switch (kind) {
    case ACT_GELU:
        return x * (x * x * 0.0713548162726f + 1.59576912160573f);
    case ACT_QUICK_GELU:
        return x * 1.702f;
    default:
        return x;
    }
}

INLINE vec inner_slope(activation kind, vec x) {
    switch (kind) {
    case ACT_GELU:
        return x * x * (3 * 0.0713548162726f) + 1.59576912160573f;
    case ACT_QUICK_GELU:
        return vec_set(1.702f);
    default:
        return vec_set(1);
    }
}

INLINE vec sigmoid(vec a) {
    return 1.0f / (1.0f + vec_exp(-a));
}

INLINE vec value(activation kind, vec x) {
    return x / (1.0f + vec_exp(-inner(kind, x)));
}

INLINE vec slope(activation kind, vec x) {
    vec s = sigmoid(inner(kind, x));
    return s + x * inner_slope(kind, x) * (s - s * s);
}

INLINE void forward(activation kind, range r, const float *x, float *out) {
    size_t i = r.first;
    for (; i + LANES <= r.last; i += LANES)
        vec_store(out + i, value(kind, vec_load(x + i)));
    if (i < r.last)
        vec_store_some(out + i, value(kind, vec_load_some(x + i, r.last - i)), r.last - i);
}

void KERNEL(activate)(int threads, activation kind, size_t n, const float *x, float *out) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++) {
        range r = range_of(n, threads, t);
        if (kind == ACT_GELU)
            forward(ACT_GELU, r, x, out);
        else if (kind == ACT_QUICK_GELU)
            forward(ACT_QUICK_GELU, r, x, out);
        else
            forward(ACT_SILU, r, x, out);
    }
}

INLINE void backward(activation kind, range r, const float *x, const float *dy, bool add, float *dx) {
    for (size_t i = r.first; i < r.last; i += LANES) {
        size_t n = r.last - i < LANES ? r.last - i : LANES;
        vec d = vec_load_n(dy + i, n) * slope(kind, vec_load_n(x + i, n));
        vec_store_n(dx + i, add ? vec_load_n(dx + i, n) + d : d, n);
    }
}

void KERNEL(activate_back)(int threads, activation kind, size_t n, const float *x, const float *dy, bool add,
                           float *dx) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++) {
        range r = range_of(n, threads, t);
        if (kind == ACT_GELU)
            backward(ACT_GELU, r, x, dy, add, dx);
        else if (kind == ACT_QUICK_GELU)
            backward(ACT_QUICK_GELU, r, x, dy, add, dx);
        else
            backward(ACT_SILU, r, x, dy, add, dx);
    }
}
