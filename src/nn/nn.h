/* The engine: tensors, a define-by-run tape, about twenty operations with forward and backward.
 *
 * Dimension letters everywhere: N batch, T tokens, C channels, H heads, D head size, K inputs, M outputs. A tensor is
 * row-major float32; (N, T, C) and (N * T, C) are the same memory.
 *
 * A session (nn) owns the step's memory and the tape. Between nn_begin and the next nn_begin every tensor made by an
 * operation lives in the session's arena. Operations on NULL return NULL, and the first failure is kept: a model is
 * written without checks and asks nn_status once, at the end (or gets it from nn_backward).
 *
 * A session is used by one thread at a time; several sessions may run side by side in threads, sharing parameters that
 * nobody writes. With threads = 1 results do not depend on how many sessions run. */
#ifndef ND_NN_NN_H
#define ND_NN_NN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

/* ---- Parameters ---- */

typedef struct param {
    char *name;
    int ndim;
    size_t dim[4], n;
    float *data; /* n */
    float *grad; /* n, NULL while frozen or before params_seal */
    bool frozen;
    uint64_t version; /* raised by whoever writes data: packed copies are refreshed */
    uint64_t noted;   /* the step that noted its first use, see nn_on_gradient */
} param;

typedef struct params {
    size_t n, capacity;
    param **item;
    size_t ntrained; /* floats of all parameters that are not frozen, after params_seal */
    float *grads;    /* their gradients, one block in the order of item (for exchange, clipping) */
} params;

void params_init(params *p);
/* Add a zeroed parameter. The name must be new. Returned pointer stays valid. */
status params_add(params *p, const char *name, int ndim, const size_t *dim, param **out);
param *params_find(const params *p, const char *name);
/* Allocate one gradient block for all parameters that are not frozen now. Call again after freezing has changed. */
status params_seal(params *p);
void params_zero_grad(params *p);
void params_touch(params *p); /* version++ on all */
void params_free(params *p);

/* Initial values: normal with the given deviation, or uniform Xavier for (M, K), from (seed, name). */
void param_init_normal(param *w, uint64_t seed, float deviation);
void param_init_xavier(param *w, uint64_t seed, float gain);
void param_init_constant(param *w, float value);

/* ---- Session and tape ---- */

typedef struct tensor {
    int ndim;
    size_t dim[4], n;
    float *data;
    float *grad; /* of leaves: filled by nn_backward; in between: only while it runs */
    bool needs_grad;
} tensor;

typedef struct nn nn;

typedef struct nn_options {
    int threads; /* OpenMP threads of this session's operations, >= 1 */
} nn_options;

status nn_open(nn **s, const nn_options *o);
void nn_close(nn **s);
/* Start a step: forget all tensors of the last one. record = keep the tape for nn_backward. */
void nn_begin(nn *s, bool record);
status nn_status(const nn *s);
/* Gradients of loss (one element): added to param.grad of every parameter that is not frozen, and stored in tensor.grad
 * of leaves made by nn_input_grad. Gradients in between are given back as soon as they are used up. Once per step. */
status nn_backward(nn *s, tensor *loss);
/* nn_backward calls done(context, w), on its thread, as soon as the gradient of w is complete: no later node of the
 * tape adds to it, and it may be sent off while backward goes on. Once for each parameter that the step used. NULL: no
 * calls. Between steps. */
void nn_on_gradient(nn *s, void (*done)(void *context, const param *w), void *context);
/* Most bytes a step of this session has held. */
size_t nn_peak_nbytes(const nn *s);

/* Give memory back within a step that does not record: between nn_scope_begin and nn_scope_end tensors come and go, and
 * only `keep` stays (possibly moved: use the returned pointer). A recording step keeps everything and returns keep.
 * Wrap every block of a model in one scope: its temporaries then stay in the cache instead of filling new memory. */
size_t nn_scope_begin(nn *s);
tensor *nn_scope_end(nn *s, size_t scope, tensor *keep);

/* Leaf with a copy of data (NULL: zeros). */
tensor *nn_input(nn *s, int ndim, const size_t *dim, const float *data);
/* Leaf whose gradient is wanted (tests, inputs under study). */
tensor *nn_input_grad(nn *s, int ndim, const size_t *dim, const float *data);
/* The parameter as a tensor (shares its memory). */
tensor *nn_param(nn *s, param *p);
/* Same memory, other shape (same number of elements). */
tensor *nn_view(nn *s, tensor *x, int ndim, const size_t *dim);

/* ---- Operations (file of the same name in ops/) ---- */

/* y (..., M) = x (..., K) W^T + b, W (M, K), b (M) or NULL. */
tensor *op_linear(nn *s, tensor *x, param *w, param *b);
tensor *op_add(nn *s, tensor *x, tensor *y); /* same shape */
/* x (N, T, C) + y: y of (C), (T, C) (every sample) or (N, C) given as (N, 1, C) (every token). */
tensor *op_add_broadcast(nn *s, tensor *x, tensor *y);
tensor *op_scale(nn *s, tensor *x, float factor);
tensor *op_axpy(nn *s, tensor *y, float factor, tensor *x); /* y + factor * x */
tensor *op_mul(nn *s, tensor *x, tensor *y);                /* same shape */
tensor *op_gelu(nn *s, tensor *x);                          /* tanh form */
tensor *op_quick_gelu(nn *s, tensor *x);                    /* x * sigmoid(1.702 x), CLIP */
tensor *op_silu(nn *s, tensor *x);
/* Over the last dimension; gain and bias (C) or NULL. */
tensor *op_layernorm(nn *s, tensor *x, param *gain, param *bias, float epsilon);
/* layernorm(x) * (1 + scale) + shift without affine parameters; x (N, T, C), shift and scale (N, C). */
tensor *op_layernorm_modulate(nn *s, tensor *x, tensor *shift, tensor *scale, float epsilon);
/* x + gate * y; x, y (N, T, C), gate (N, C). */
tensor *op_gate_add(nn *s, tensor *x, tensor *gate, tensor *y);
/* Multi-head attention: qkv (N, T, 3C), heads H with C = H * D; softmax(q k^T / sqrt(D)) v.
 * causal: token t sees tokens <= t. */
tensor *op_attention(nn *s, tensor *qkv, size_t heads, bool causal);
/* Rows of table (V, C) for ids (n): (n, C). */
tensor *op_embedding(nn *s, param *table, const int32_t *ids, size_t n);
/* x (R, C): rows index[0..n-1] -> (n, C); an index may repeat. */
tensor *op_rows(nn *s, tensor *x, const int32_t *index, size_t n);
/* Columns first .. first+n-1 of the last dimension. */
tensor *op_columns(nn *s, tensor *x, size_t first, size_t n);
/* Concatenation along the last dimension. */
tensor *op_concat(nn *s, tensor *x, tensor *y);
/* mean over elements of weight * (x - target)^2; weight NULL = 1, else per element. */
tensor *op_mse(nn *s, tensor *x, const float *target, const float *weight);
tensor *op_sum(nn *s, tensor *x); /* one element */

/* ---- Optimiser ---- */

typedef struct adamw {
    float beta1, beta2, epsilon, weight_decay;
    uint64_t step;
    float *m, *v; /* ntrained each, in the order of the gradient block */
    size_t n;
} adamw;

status adamw_new(adamw *o, const params *p, float beta1, float beta2, float weight_decay);
/* One step (decoupled weight decay, on parameters of two or more dimensions only). Raises versions. */
void adamw_step(adamw *o, params *p, float learning_rate);
void adamw_free(adamw *o);
/* Scale the gradients so that their norm is at most limit; returns the norm before. Deterministic order. */
float params_clip_grad(params *p, float limit);

#endif
