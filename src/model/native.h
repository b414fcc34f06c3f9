/* The packet transformer: one token per packet (DiT, Peebles and Xie 2023; shared modulation as in PixArt-alpha).
 * Letters: N flows, L packets, C cells, d width. */
#ifndef ND_MODEL_NATIVE_H
#define ND_MODEL_NATIVE_H

#include "model/build.h"
#include "model/lora.h"
#include "model/model.h"

enum { TIME_FEATURES = 128, LAYERS_MAX = 256, LORA_RANK_MAX = 1024 };

typedef struct native_block {
    param *table; /* (6, d): shift, scale, gate of attention, then of the MLP; added to the shared modulation */
    linear qkv, out, fc1, fc2;
} native_block;

typedef struct native {
    linear input, control, time1, time2, text;
    linear modulation, final_modulation, output; /* d -> 6d, d -> 2d, d -> C */
    param *position, *null_text;                 /* (L, d), (W) */
    native_block *blocks;
    size_t nblocks;
} native;

/* A trainable copy of the first blocks beside a frozen base (Zhang et al. 2023). */
typedef struct controlnet {
    linear input, control; /* C -> d, CONTROL_WIDTH -> d */
    param *position;
    native_block *blocks; /* nblocks */
    linear *zero;         /* nblocks of d -> d: what block i adds to the base after its block i */
    size_t nblocks;
} controlnet;

status native_build(native *t, const model_config *c, builder *b);
void native_init(native *t, uint64_t seed);
void native_free(native *t); /* not the parameters */
/* Every linear layer, in the order of their parameters; NULL at the end. */
linear *native_linear(native *t, size_t i);

status controlnet_build(controlnet *k, const model_config *c, size_t nblocks, builder *b);
/* Copy of the base, with zero where it gives its residuals out. */
void controlnet_init(controlnet *k, const native *base);
void controlnet_free(controlnet *k);
size_t controlnet_nblocks(const model_config *c); /* of a new one: half of the base's, at least one */

/* One block's parameters under "blocks.<i>."; one block forward. modulation: (N, 6d), before the table. */
status native_block_build(native_block *k, size_t d, size_t i, builder *b);
tensor *native_block_forward(nn *s, const native_block *k, size_t heads, tensor *x, tensor *modulation);
status linear_build(linear *l, size_t m, size_t k, bool bias, builder *b, const char *name);

/* x: rows (N, L, C); modulation as the base's. residual[i] (N, L, d), i < k->nblocks. */
void controlnet_forward(nn *s, const controlnet *k, size_t heads, tensor *x, tensor *control, tensor *modulation,
                        tensor **residual);
/* k: NULL without ControlNet. */
tensor *native_forward(nn *s, const native *t, const controlnet *k, const model_config *c, const model_input *in);

#endif
