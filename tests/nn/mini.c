/* The small model: see mini.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/memory.h"
#include "base/rng.h"
#include "nn/mini.h"

static param *weight(mini *m, const char *name, size_t layer, size_t a, size_t b) {
    char full[64];
    param *w;
    snprintf(full, sizeof full, "%s.%zu", name, layer);
    assert_int_equal(params_add(&m->set, full, b == 0 ? 1 : 2, (size_t[2]){a, b}, &w), ST_OK);
    param_init_normal(w, 7, 0.15f);
    return w;
}

static float *values(uint64_t item, size_t n) {
    float *x;
    assert_int_equal(NEW(n, &x), ST_OK);
    rng r = rng_make(3, item, RNG_TEST);
    rng_normal(&r, x, n);
    return x;
}

void mini_make(mini *m) {
    *m = (mini){0};
    params_init(&m->set);
    const size_t c = MINI_WIDTH;
    m->in = weight(m, "in", 0, c, MINI_CELLS);
    m->in_bias = weight(m, "in.bias", 0, c, 0);
    m->position = weight(m, "position", 0, MINI_TOKENS, c);
    m->words = weight(m, "words", 0, 11, c);
    m->condition = weight(m, "condition", 0, 6 * c, c);
    m->gain = weight(m, "gain", 0, c, 0);
    m->last = weight(m, "last", 0, MINI_CELLS, c);
    for (size_t i = 0; i < MINI_BLOCKS; i++)
        m->block[i] = (mini_block){.table = weight(m, "table", i, 1, 6 * c),
                                   .qkv = weight(m, "qkv", i, 3 * c, c),
                                   .qkv_bias = weight(m, "qkv.bias", i, 3 * c, 0),
                                   .out = weight(m, "out", i, c, c),
                                   .up = weight(m, "up", i, 4 * c, c),
                                   .up_bias = weight(m, "up.bias", i, 4 * c, 0),
                                   .down = weight(m, "down", i, c, 4 * c)};
    assert_int_equal(params_seal(&m->set), ST_OK);
    m->rows = values(1, MINI_SAMPLES * MINI_TOKENS * MINI_CELLS);
    m->target = values(2, MINI_SAMPLES * MINI_TOKENS * MINI_CELLS);
}

void mini_free(mini *m) {
    params_free(&m->set);
    memory_free(&m->rows);
    memory_free(&m->target);
}

static tensor *block_forward(nn *s, const mini_block *b, tensor *x, tensor *condition) {
    tensor *all = op_add_broadcast(s, condition, nn_view(s, nn_param(s, b->table), 1, (size_t[1]){6 * MINI_WIDTH}));
    tensor *part[6];
    for (size_t i = 0; i < 6; i++)
        part[i] = op_columns(s, all, i * MINI_WIDTH, MINI_WIDTH);
    tensor *h = op_layernorm_modulate(s, x, part[0], part[1], 1e-6f);
    h = op_attention(s, op_linear(s, h, b->qkv, b->qkv_bias), MINI_HEADS, false);
    x = op_gate_add(s, x, part[2], op_linear(s, h, b->out, NULL));
    h = op_layernorm_modulate(s, x, part[3], part[4], 1e-6f);
    h = op_gelu(s, op_linear(s, h, b->up, b->up_bias));
    return op_gate_add(s, x, part[5], op_linear(s, h, b->down, NULL));
}

tensor *mini_forward(nn *s, mini *m, bool scoped) {
    static const int32_t ids[MINI_SAMPLES] = {3, 10, 3, 0, 7}; /* the others have word 0 */
    tensor *x = nn_input(s, 3, (size_t[3]){MINI_SAMPLES, MINI_TOKENS, MINI_CELLS}, m->rows);
    tensor *condition = op_linear(s, op_silu(s, op_embedding(s, m->words, ids, MINI_SAMPLES)), m->condition, NULL);
    x = op_add_broadcast(s, op_linear(s, x, m->in, m->in_bias), nn_param(s, m->position));
    for (size_t i = 0; i < MINI_BLOCKS; i++) {
        size_t scope = scoped ? nn_scope_begin(s) : 0;
        x = block_forward(s, &m->block[i], x, condition);
        if (scoped)
            x = nn_scope_end(s, scope, x);
    }
    return op_linear(s, op_layernorm(s, x, m->gain, NULL, 1e-5f), m->last, NULL);
}

tensor *mini_loss(nn *s, mini *m) {
    return op_mse(s, mini_forward(s, m, false), m->target, NULL);
}
