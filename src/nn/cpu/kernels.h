/* The kernels of one level, declared for cpu_table.c. Their meaning is in backend.h. */
#ifndef ND_NN_CPU_KERNELS_H
#define ND_NN_CPU_KERNELS_H

#include "nn/backend.h"
#include "nn/cpu/vec.h"

void KERNEL(add)(int threads, size_t n, const float *x, const float *y, float *out);
void KERNEL(axpy)(int threads, size_t n, float factor, const float *x, const float *y, float *out);
void KERNEL(scale)(int threads, size_t n, float factor, const float *x, bool add, float *out);
void KERNEL(multiply)(int threads, size_t n, const float *x, const float *y, bool add, float *out);
void KERNEL(activate)(int threads, activation kind, size_t n, const float *x, float *out);
void KERNEL(activate_back)(int threads, activation kind, size_t n, const float *x, const float *dy, bool add,
                           float *dx);
void KERNEL(add_rows)(int threads, size_t groups, size_t rows, size_t c, const float *x, const float *y, float *out);
void KERNEL(sum_rows)(int threads, size_t groups, size_t rows, size_t c, const float *x, bool add, float *out);
void KERNEL(gate_add)(int threads, size_t groups, size_t rows, size_t c, const float *x, const float *gate,
                      const float *y, float *out);
void KERNEL(gate_add_back)(int threads, size_t groups, size_t rows, size_t c, const float *dout, const float *gate,
                           const float *y, bool add_dgate, float *dgate, bool add_dy, float *dy);
void KERNEL(norm)(norm_shape s, const float *x, const float *gain, const float *shift, float *mean, float *rstd,
                  float *out);
size_t KERNEL(norm_back_scratch)(norm_shape s);
void KERNEL(norm_back)(norm_shape s, const float *x, const float *gain, const float *mean, const float *rstd,
                       const float *dy, bool add_dx, float *dx, bool add_dgain, float *dgain, bool add_dshift,
                       float *dshift, float *scratch);
size_t KERNEL(attention_scratch)(attention_shape s, bool back);
void KERNEL(attend)(attention_shape s, const float *qkv, float *out, float *logsum, float *scratch);
void KERNEL(attend_back)(attention_shape s, const float *qkv, const float *out, const float *logsum, const float *dout,
                         bool add, float *dqkv, float *scratch);
double KERNEL(sum)(int threads, size_t n, const float *x);
double KERNEL(sum_squares)(int threads, size_t n, const float *x);
double KERNEL(squared_error)(int threads, size_t n, const float *x, const float *target, const float *weight, float *d);
void KERNEL(adamw)(size_t n, adamw_factors f, const float *g, float *m, float *v, float *p);

#endif
