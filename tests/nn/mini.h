/* A small diffusion transformer for tests that need a whole model: every kind of operation, forward and backward. */
#ifndef ND_TESTS_NN_MINI_H
#define ND_TESTS_NN_MINI_H

#include "nn/nn.h"

enum { MINI_SAMPLES = 29, MINI_TOKENS = 13, MINI_CELLS = 21, MINI_WIDTH = 48, MINI_HEADS = 3, MINI_BLOCKS = 2 };

typedef struct mini_block {
    param *table, *qkv, *qkv_bias, *out, *up, *up_bias, *down;
} mini_block;

typedef struct mini {
    params set;
    param *in, *in_bias, *position, *words, *condition, *gain, *last;
    mini_block block[MINI_BLOCKS];
    float *rows, *target;
} mini;

void mini_make(mini *m);
void mini_free(mini *m);
/* Output rows (N, T, cells); scoped: one nn_scope per block. */
tensor *mini_forward(nn *s, mini *m, bool scoped);
/* One step on the tape: loss, or NULL. */
tensor *mini_loss(nn *s, mini *m);

#endif
