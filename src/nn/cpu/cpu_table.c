/* The table of one level of processor: its kernels, and the matrix products that all levels share. */
#include "nn/cpu/kernels.h"
#include "nn/cpu/product.h"

extern const backend KERNEL(cpu_backend);

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const backend KERNEL(cpu_backend) = {
    .name = "cpu " TEXT(ND_LEVEL),
    .open = product_open,
    .close = product_close,
    .linear = product_linear,
    .linear_dx = product_linear_dx,
    .linear_dw = product_linear_dw,
    .add = KERNEL(add),
    .axpy = KERNEL(axpy),
    .scale = KERNEL(scale),
    .multiply = KERNEL(multiply),
    .activate = KERNEL(activate),
    .activate_back = KERNEL(activate_back),
    .add_rows = KERNEL(add_rows),
    .sum_rows = KERNEL(sum_rows),
    .gate_add = KERNEL(gate_add),
    .gate_add_back = KERNEL(gate_add_back),
    .norm = KERNEL(norm),
    .norm_back_scratch = KERNEL(norm_back_scratch),
    .norm_back = KERNEL(norm_back),
    .attention_scratch = KERNEL(attention_scratch),
    .attend = KERNEL(attend),
    .attend_back = KERNEL(attend_back),
    .sum = KERNEL(sum),
    .sum_squares = KERNEL(sum_squares),
    .squared_error = KERNEL(squared_error),
    .adamw = KERNEL(adamw),
};
