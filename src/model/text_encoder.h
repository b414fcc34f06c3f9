/* CLIP's text transformer (Radford et al. 2021; parameters named as in transformers' CLIPTextModel).
 *
 * Token + position embedding, pre-norm blocks with causal attention and quick GELU, a final layer norm. A text is
 * pooled at its first end token. */
#ifndef ND_MODEL_TEXT_ENCODER_H
#define ND_MODEL_TEXT_ENCODER_H

#include "model/build.h"
#include "nn/nn.h"

typedef struct text_config {
    size_t vocabulary, width, layers, heads, inner, tokens;
} text_config;

typedef struct text_block {
    param *norm1_gain, *norm1_bias, *norm2_gain, *norm2_bias;
    param *q, *q_bias, *k, *k_bias, *v, *v_bias, *out, *out_bias;
    param *fc1, *fc1_bias, *fc2, *fc2_bias;
} text_block;

typedef struct text_encoder {
    text_config config;
    param *token, *position, *final_gain, *final_bias;
    text_block *blocks; /* config.layers, owned */
} text_encoder;

/* Add the parameters (prefix and file are the builder's). On error, free e all the same. */
status text_encoder_build(text_encoder *e, const text_config *config, builder *b);
/* Fresh weights. Token embeddings get enough spread that prompts of tokens never trained stay apart. */
void text_encoder_init(text_encoder *e, uint64_t seed);
void text_encoder_free(text_encoder *e); /* not the parameters */

/* ids (N, T) -> states after the final norm (N, T, C). T is at most config.tokens. */
tensor *text_encoder_states(nn *s, const text_encoder *e, size_t n, size_t ntokens, const int32_t *ids);
/* The states at the first end token after the start of each text (at its last token where there is none): (N, C). */
tensor *text_encoder_pooled(nn *s, const text_encoder *e, size_t n, size_t ntokens, const int32_t *ids, int32_t end_id);

#endif
