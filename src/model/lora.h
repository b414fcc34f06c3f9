/* A linear layer that may carry a LoRA pair (Hu et al. 2021): y = x W^T + b + scale * (x A^T) B^T.
 *
 * While the pair is merged into W it is skipped, and the plain W is kept beside it. */
#ifndef ND_MODEL_LORA_H
#define ND_MODEL_LORA_H

#include "nn/nn.h"

typedef struct linear {
    param *w, *b;     /* (M, K), (M) or NULL */
    param *down, *up; /* A (r, K), B (M, r); NULL without LoRA */
    float scale;      /* alpha / r, times the strength asked for */
    float *plain;     /* W before the merge, owned; NULL while the pair is apart */
} linear;

tensor *linear_apply(nn *s, const linear *l, tensor *x);
status linear_merge(linear *l);
void linear_unmerge(linear *l);

#endif
