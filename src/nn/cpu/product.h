/* Matrix products with oneDNN, in the form of the backend's table. */
#ifndef ND_NN_CPU_PRODUCT_H
#define ND_NN_CPU_PRODUCT_H

#include "nn/backend.h"

status product_open(void **state);
void product_close(void *state);
status product_linear(void *state, linear_shape s, const float *x, const float *w, const float *b, const void *key,
                      uint64_t version, float *y);
status product_linear_dx(linear_shape s, const float *dy, const float *w, bool add, float *dx);
status product_linear_dw(linear_shape s, const float *dy, const float *x, float *dw);

#endif
