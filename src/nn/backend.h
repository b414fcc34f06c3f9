/* A backend: the table of functions through which every operation calls.
 *
 * All arrays are float32, row-major, without gaps. `threads` is the number of OpenMP threads; a reduction is cut into
 * pieces by (shape, threads) only, so the same call gives the same bytes. `add` = add to the output instead of
 * overwriting it. Output last; NULL outputs (where noted) are not computed. */
#ifndef ND_NN_BACKEND_H
#define ND_NN_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

typedef enum activation { ACT_GELU, ACT_QUICK_GELU, ACT_SILU } activation;

/* Which matrices a linear layer multiplies. x (rows, K), w (M, K), y (rows, M). */
typedef struct linear_shape {
    size_t rows, k, m;
    int threads;
} linear_shape;

/* Layer norm over rows of c elements: out = (x - mean) * rstd * (gain_offset + gain[g]) + shift[g], where g is the
 * row's group and gain, shift are (groups, c) or NULL (0). Plain: one group, offset 0 (or 1 without gain). */
typedef struct norm_shape {
    size_t groups, rows, c; /* rows per group */
    float epsilon, gain_offset;
    int threads;
} norm_shape;

/* q, k, v of sample n, token t, head h: qkv[(n * tokens + t) * 3 * heads * d + {0, 1, 2} * heads * d + h * d]. */
typedef struct attention_shape {
    size_t samples, tokens, heads, d;
    bool causal;
    int threads;
} attention_shape;

typedef struct adamw_factors {
    float beta1, beta2, epsilon;
    float decay; /* parameter *= decay first */
    float rate;  /* learning rate over the first moment's bias correction */
    float root;  /* 1 / sqrt of the second moment's bias correction */
} adamw_factors;

typedef struct backend {
    const char *name;

    /* Matrix products. The state holds primitives and packed weights; one per session. */
    status (*open)(void **state);
    void (*close)(void *state);
    /* y = x w^T + b (b may be NULL). key, version: identity of w for a packed copy, or key NULL: w as it lies. */
    status (*linear)(void *state, linear_shape s, const float *x, const float *w, const float *b, const void *key,
                     uint64_t version, float *y);
    status (*linear_dx)(linear_shape s, const float *dy, const float *w, bool add, float *dx);
    status (*linear_dw)(linear_shape s, const float *dy, const float *x, float *dw); /* always adds */

    void (*add)(int threads, size_t n, const float *x, const float *y, float *out);
    void (*axpy)(int threads, size_t n, float factor, const float *x, const float *y, float *out); /* y + factor * x */
    void (*scale)(int threads, size_t n, float factor, const float *x, bool add, float *out);
    void (*multiply)(int threads, size_t n, const float *x, const float *y, bool add, float *out);
    void (*activate)(int threads, activation kind, size_t n, const float *x, float *out);
    void (*activate_back)(int threads, activation kind, size_t n, const float *x, const float *dy, bool add, float *dx);

    /* x (groups, rows, c), y (groups, c): out = x + y in every row. */
    void (*add_rows)(int threads, size_t groups, size_t rows, size_t c, const float *x, const float *y, float *out);
    /* x (groups, rows, c): sum over rows -> (groups, c). */
    void (*sum_rows)(int threads, size_t groups, size_t rows, size_t c, const float *x, bool add, float *out);
    /* out = x + gate * y; x, y (groups, rows, c), gate (groups, c). */
    void (*gate_add)(int threads, size_t groups, size_t rows, size_t c, const float *x, const float *gate,
                     const float *y, float *out);
    /* dgate (groups, c) = or += sum over rows of dout * y; dy = or += dout * gate. Both may be NULL. */
    void (*gate_add_back)(int threads, size_t groups, size_t rows, size_t c, const float *dout, const float *gate,
                          const float *y, bool add_dgate, float *dgate, bool add_dy, float *dy);

    void (*norm)(norm_shape s, const float *x, const float *gain, const float *shift, float *mean, float *rstd,
                 float *out);
    size_t (*norm_back_scratch)(norm_shape s); /* floats */
    /* dx, dgain, dshift may be NULL. */
    void (*norm_back)(norm_shape s, const float *x, const float *gain, const float *mean, const float *rstd,
                      const float *dy, bool add_dx, float *dx, bool add_dgain, float *dgain, bool add_dshift,
                      float *dshift, float *scratch);

    size_t (*attention_scratch)(attention_shape s, bool back); /* floats */
    /* out (samples, tokens, heads * d); logsum (samples, heads, tokens): log of the sum of exp of the scores. */
    void (*attend)(attention_shape s, const float *qkv, float *out, float *logsum, float *scratch);
    void (*attend_back)(attention_shape s, const float *qkv, const float *out, const float *logsum, const float *dout,
                        bool add, float *dqkv, float *scratch);

    double (*sum)(int threads, size_t n, const float *x);
    double (*sum_squares)(int threads, size_t n, const float *x);
    /* d = weight * (x - target) (weight NULL = 1); returns the sum of weight * (x - target)^2. */
    double (*squared_error)(int threads, size_t n, const float *x, const float *target, const float *weight, float *d);
    void (*adamw)(size_t n, adamw_factors f, const float *g, float *m, float *v, float *p);
} backend;

/* The processor's best: levels are 0 (baseline), 1 (AVX2 + FMA), 2 (AVX-512). NULL if this processor lacks the level.
 */
const backend *backend_cpu(void);
const backend *backend_cpu_level(int level);

#endif
