/* CLIP's text transformer on the tape. */
#include "model/text_encoder.h"

#include <math.h>
#include "base/memory.h"

static const float epsilon = 1e-5f;

static status build_affine(builder *b, param **weight, param **bias, size_t rows, size_t columns, size_t layer,
                           const char *name) {
    TRY(build_param(b, weight, rows, columns, "text_model.encoder.layers.%zu.%s.weight", layer, name));
    return build_param(b, bias, rows, 0, "text_model.encoder.layers.%zu.%s.bias", layer, name);
}

static status build_block(text_block *k, const text_config *c, builder *b, size_t i) {
    size_t d = c->width;
    TRY(build_affine(b, &k->k, &k->k_bias, d, d, i, "self_attn.k_proj"));
    TRY(build_affine(b, &k->v, &k->v_bias, d, d, i, "self_attn.v_proj"));
    TRY(build_affine(b, &k->q, &k->q_bias, d, d, i, "self_attn.q_proj"));
    TRY(build_affine(b, &k->out, &k->out_bias, d, d, i, "self_attn.out_proj"));
    TRY(build_affine(b, &k->norm1_gain, &k->norm1_bias, d, 0, i, "layer_norm1"));
    TRY(build_affine(b, &k->fc1, &k->fc1_bias, c->inner, d, i, "mlp.fc1"));
    TRY(build_affine(b, &k->fc2, &k->fc2_bias, d, c->inner, i, "mlp.fc2"));
    return build_affine(b, &k->norm2_gain, &k->norm2_bias, d, 0, i, "layer_norm2");
}

status text_encoder_build(text_encoder *e, const text_config *c, builder *b) {
    *e = (text_encoder){.config = *c};
    TRY(NEW(c->layers, &e->blocks));
    TRY(build_param(b, &e->token, c->vocabulary, c->width, "text_model.embeddings.token_embedding.weight"));
    TRY(build_param(b, &e->position, c->tokens, c->width, "text_model.embeddings.position_embedding.weight"));
    for (size_t i = 0; i < c->layers; i++)
        TRY(build_block(&e->blocks[i], c, b, i));
    TRY(build_param(b, &e->final_gain, c->width, 0, "text_model.final_layer_norm.weight"));
    return build_param(b, &e->final_bias, c->width, 0, "text_model.final_layer_norm.bias");
}

void text_encoder_free(text_encoder *e) {
    memory_free(&e->blocks);
}

/* CLIP's deviations, but for two things. Attention sees tokens after a layer norm, so what counts of an embedding is
 * its direction; a deviation of 0.1 (not 0.02) holds against the positions and against what the blocks add, and still
 * keeps the end token's own part, the same in every prompt, below what it gathers from the others. Queries and keys
 * start at half, so that attention starts nearly even and passes over no token: prompts that differ in one digit
 * differ. */
void text_encoder_init(text_encoder *e, uint64_t seed) {
    const text_config *c = &e->config;
    float d = (float)c->width, depth = (float)c->layers;
    param_init_normal(e->token, seed, 0.1f);
    param_init_normal(e->position, seed, 0.02f);
    for (size_t i = 0; i < c->layers; i++) {
        text_block *k = &e->blocks[i];
        param_init_normal(k->q, seed, 0.5f / sqrtf(d));
        param_init_normal(k->k, seed, 0.5f / sqrtf(d));
        param_init_normal(k->v, seed, 1 / sqrtf(d));
        param_init_normal(k->out, seed, 1 / sqrtf(d));
        param_init_normal(k->fc1, seed, 1 / sqrtf(2 * d));
        param_init_normal(k->fc2, seed, 1 / sqrtf(2 * d * depth));
        param_init_constant(k->norm1_gain, 1);
        param_init_constant(k->norm2_gain, 1);
    }
    param_init_constant(e->final_gain, 1);
}

static tensor *block_forward(nn *s, const text_block *k, size_t heads, tensor *x) {
    tensor *h = op_layernorm(s, x, k->norm1_gain, k->norm1_bias, epsilon); /* (N, T, C) */
    tensor *qk = op_concat(s, op_linear(s, h, k->q, k->q_bias), op_linear(s, h, k->k, k->k_bias));
    tensor *qkv = op_concat(s, qk, op_linear(s, h, k->v, k->v_bias)); /* (N, T, 3C) */
    x = op_add(s, x, op_linear(s, op_attention(s, qkv, heads, true), k->out, k->out_bias));
    h = op_layernorm(s, x, k->norm2_gain, k->norm2_bias, epsilon);
    h = op_quick_gelu(s, op_linear(s, h, k->fc1, k->fc1_bias)); /* (N, T, inner) */
    return op_add(s, x, op_linear(s, h, k->fc2, k->fc2_bias));
}

tensor *text_encoder_states(nn *s, const text_encoder *e, size_t n, size_t ntokens, const int32_t *ids) {
    const text_config *c = &e->config;
    ASSERT(ntokens <= c->tokens);
    tensor *x = op_embedding(s, e->token, ids, n * ntokens);
    x = nn_view(s, x, 3, (size_t[]){n, ntokens, c->width}); /* (N, T, C) */
    tensor *position = nn_param(s, e->position);            /* (c->tokens, C) */
    if (ntokens < c->tokens) {
        tensor *all = nn_view(s, position, 2, (size_t[]){1, c->tokens * c->width});
        position = nn_view(s, op_columns(s, all, 0, ntokens * c->width), 2, (size_t[]){ntokens, c->width});
    }
    x = op_add_broadcast(s, x, position);
    for (size_t i = 0; i < c->layers; i++)
        x = block_forward(s, &e->blocks[i], c->heads, x);
    return op_layernorm(s, x, e->final_gain, e->final_bias, epsilon);
}

tensor *text_encoder_pooled(nn *s, const text_encoder *e, size_t n, size_t ntokens, const int32_t *ids,
                            int32_t end_id) {
    tensor *x = text_encoder_states(s, e, n, ntokens, ids);
    tensor *hold = nn_input(s, 1, &n, NULL); /* row numbers live as long as the step: in the session's own memory */
    if (!x || !hold)
        return NULL;
    int32_t *row = (int32_t *)(void *)hold->data;
    for (size_t i = 0; i < n; i++) {
        size_t end = 1;
        while (end < ntokens - 1 && ids[i * ntokens + end] != end_id)
            end++;
        row[i] = (int32_t)(i * ntokens + end);
    }
    return op_rows(s, nn_view(s, x, 2, (size_t[]){n * ntokens, e->config.width}), row, n);
}
