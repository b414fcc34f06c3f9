/* Plain references in double for the engine's operations: one loop nest each, no blocking, no fusion.
 *
 * size holds up to five sizes whose meaning is the operation's (see test_ops.c); in the inputs, row-major. */
#ifndef ND_TESTS_NN_REF_H
#define ND_TESTS_NN_REF_H

#include <stddef.h>

typedef void ref_function(const size_t size[5], const double *const in[4], double *out);

ref_function ref_linear, ref_linear_plain, ref_add, ref_axpy, ref_scale, ref_mul, ref_gelu, ref_quick_gelu, ref_silu,
    ref_add_all, ref_add_sample, ref_add_token, ref_layernorm, ref_layernorm_plain, ref_modulate, ref_gate,
    ref_attention, ref_attention_causal, ref_embedding, ref_rows, ref_columns, ref_concat, ref_mse, ref_mse_weighted,
    ref_sum;

/* The numbers that ref_embedding and ref_rows (and their tests) use: number i of rows among n; some repeat. */
size_t ref_index(size_t i, size_t n);
#define REF_EPSILON 1e-5
#define REF_FACTOR 0.75

#endif
