/* The packet transformer on the tape. */
#include "model/native.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"

static const float epsilon = 1e-6f; /* of the layer norms, as in DiT */
static const float first_gate = 0.3f;
static const float control_gain = 4; /* two dozen inputs, mostly 0, beside hundreds of noisy cells */

enum { MODULATIONS = 6, BASE_LINEARS = 8, BLOCK_LINEARS = 4 };

/* ---- Parameters ---- */

status linear_build(linear *l, size_t m, size_t k, bool bias, builder *b, const char *name) {
    TRY(build_param(b, &l->w, m, k, "%s.weight", name));
    return bias ? build_param(b, &l->b, m, 0, "%s.bias", name) : ST_OK;
}

status native_block_build(native_block *k, size_t d, size_t i, builder *b) {
    char *name[BLOCK_LINEARS];
    static const char *const part[BLOCK_LINEARS] = {"qkv", "out", "fc1", "fc2"};
    for (size_t j = 0; j < BLOCK_LINEARS; j++)
        name[j] = text_format("blocks.%zu.%s", i, part[j]);
    status st;
    TRY_TO(done, build_param(b, &k->table, MODULATIONS, d, "blocks.%zu.table", i));
    TRY_TO(done, linear_build(&k->qkv, 3 * d, d, true, b, name[0]));
    TRY_TO(done, linear_build(&k->out, d, d, true, b, name[1]));
    TRY_TO(done, linear_build(&k->fc1, 4 * d, d, true, b, name[2]));
    TRY_TO(done, linear_build(&k->fc2, d, 4 * d, true, b, name[3]));
done:
    for (size_t j = 0; j < BLOCK_LINEARS; j++)
        free(name[j]);
    return st;
}

status native_build(native *t, const model_config *c, builder *b) {
    size_t d = c->width;
    *t = (native){.nblocks = c->layers};
    TRY(NEW(c->layers, &t->blocks));
    TRY(linear_build(&t->input, d, c->cells, true, b, "input"));
    TRY(build_param(b, &t->position, c->packets, d, "position.weight"));
    TRY(linear_build(&t->control, d, CONTROL_WIDTH, false, b, "control"));
    TRY(linear_build(&t->time1, d, TIME_FEATURES, true, b, "time.linear_1"));
    TRY(linear_build(&t->time2, d, d, true, b, "time.linear_2"));
    TRY(linear_build(&t->text, d, c->text_width, true, b, "text"));
    TRY(build_param(b, &t->null_text, c->text_width, 0, "null_text"));
    TRY(linear_build(&t->modulation, MODULATIONS * d, d, true, b, "modulation"));
    for (size_t i = 0; i < c->layers; i++)
        TRY(native_block_build(&t->blocks[i], d, i, b));
    TRY(linear_build(&t->final_modulation, 2 * d, d, true, b, "final_modulation"));
    return linear_build(&t->output, c->cells, d, true, b, "output");
}

linear *native_linear(native *t, size_t i) {
    linear *const base[BASE_LINEARS] = {&t->input,      &t->control,          &t->time1, &t->time2, &t->text,
                                        &t->modulation, &t->final_modulation, &t->output};
    if (i < BASE_LINEARS)
        return base[i];
    native_block *k = &t->blocks[(i - BASE_LINEARS) / BLOCK_LINEARS];
    if (k >= t->blocks + t->nblocks)
        return NULL;
    return (linear *const[BLOCK_LINEARS]){&k->qkv, &k->out, &k->fc1, &k->fc2}[(i - BASE_LINEARS) % BLOCK_LINEARS];
}

/* The output and the final modulation start at zero, so that training starts at the prediction 0; the gates start
 * open a little, or the blocks' first gradients would be zero as well. */
void native_init(native *t, uint64_t seed) {
    linear *l;
    for (size_t i = 0; (l = native_linear(t, i)); i++)
        param_init_xavier(l->w, seed, 1);
    param_init_xavier(t->control.w, seed, control_gain);
    param_init_normal(t->modulation.w, seed, 0.02f);
    param_init_constant(t->final_modulation.w, 0);
    param_init_constant(t->output.w, 0);
    param_init_normal(t->position, seed, 0.1f);
    for (size_t i = 0; i < t->nblocks; i++) {
        param *table = t->blocks[i].table;
        size_t d = table->dim[1];
        for (size_t k = 0; k < d; k++)
            table->data[2 * d + k] = table->data[5 * d + k] = first_gate;
        table->version++;
    }
}

void native_free(native *t) {
    linear *l;
    for (size_t i = 0; t->blocks && (l = native_linear(t, i)); i++)
        memory_free(&l->plain);
    memory_free(&t->blocks);
}

/* ---- Forward ---- */

tensor *native_block_forward(nn *s, const native_block *k, size_t heads, tensor *x, tensor *modulation) {
    size_t scope = nn_scope_begin(s), n6d = k->table->n, d = n6d / MODULATIONS;
    if (!x || !modulation)
        return NULL;
    size_t n = x->dim[0];
    tensor *table = nn_view(s, nn_param(s, k->table), 1, &n6d);
    tensor *all = op_add_broadcast(s, nn_view(s, modulation, 3, (size_t[]){n, 1, n6d}), table);
    tensor *part[MODULATIONS]; /* (N, d) each */
    all = nn_view(s, all, 2, (size_t[]){n, n6d});
    for (size_t i = 0; i < MODULATIONS; i++)
        part[i] = op_columns(s, all, i * d, d);
    tensor *h = op_layernorm_modulate(s, x, part[0], part[1], epsilon); /* (N, L, d) */
    h = op_attention(s, linear_apply(s, &k->qkv, h), heads, false);
    x = op_gate_add(s, x, part[2], linear_apply(s, &k->out, h));
    h = op_layernorm_modulate(s, x, part[3], part[4], epsilon);
    h = op_gelu(s, linear_apply(s, &k->fc1, h)); /* (N, L, 4d) */
    x = op_gate_add(s, x, part[5], linear_apply(s, &k->fc2, h));
    return nn_scope_end(s, scope, x);
}

/* Sinusoidal features of 1000 t (N, TIME_FEATURES), cosines first; frequencies 1 to 1/10000. */
static tensor *time_features(nn *s, size_t n, const float *t) {
    tensor *f = nn_input(s, 2, (size_t[]){n, TIME_FEATURES}, NULL);
    for (size_t i = 0; f && i < n; i++)
        for (size_t k = 0; k < TIME_FEATURES / 2; k++) {
            double angle = 1000.0 * (double)t[i] * exp(-log(10000.0) * (double)k / (TIME_FEATURES / 2));
            f->data[i * TIME_FEATURES + k] = (float)cos(angle);
            f->data[i * TIME_FEATURES + TIME_FEATURES / 2 + k] = (float)sin(angle);
        }
    return f;
}

/* silu(time + text): (N, d). */
static tensor *condition(nn *s, const native *t, const model_input *in) {
    tensor *time = op_silu(s, linear_apply(s, &t->time1, time_features(s, in->n, in->t)));
    time = linear_apply(s, &t->time2, time);
    return op_silu(s, op_add(s, time, linear_apply(s, &t->text, in->text)));
}

/* The part of the signal that the base reads: all of it, or only the frame. */
static tensor *base_control(nn *s, const model_config *c, const model_input *in) {
    tensor *x = nn_input(s, 3, (size_t[]){in->n, c->packets, CONTROL_WIDTH}, NULL);
    for (size_t i = 0; x && i < x->n; i++)
        if (c->control == CONTROL_FULL || !control_is_shape(i % CONTROL_WIDTH))
            x->data[i] = in->control[i];
    return x;
}

tensor *native_forward(nn *s, const native *t, const controlnet *k, const model_config *c, const model_input *in) {
    size_t heads = c->width / c->head, d = c->width;
    size_t signal[] = {in->n, c->packets, CONTROL_WIDTH};
    tensor *residual[LAYERS_MAX];
    tensor *rows = nn_input(s, 3, (size_t[]){in->n, c->packets, c->cells}, in->x);
    tensor *seen = condition(s, t, in);
    tensor *modulation = linear_apply(s, &t->modulation, seen); /* (N, 6d) */
    if (k)
        controlnet_forward(s, k, heads, rows, nn_input(s, 3, signal, in->control), modulation, residual);
    tensor *x = op_add_broadcast(s, linear_apply(s, &t->input, rows), nn_param(s, t->position)); /* (N, L, d) */
    if (in->control)
        x = op_add(s, x, linear_apply(s, &t->control, base_control(s, c, in)));
    for (size_t i = 0; i < t->nblocks; i++) {
        x = native_block_forward(s, &t->blocks[i], heads, x, modulation);
        if (k && i < k->nblocks)
            x = op_add(s, x, residual[i]);
    }
    tensor *last = linear_apply(s, &t->final_modulation, seen); /* (N, 2d) */
    x = op_layernorm_modulate(s, x, op_columns(s, last, 0, d), op_columns(s, last, d, d), epsilon);
    return linear_apply(s, &t->output, x); /* (N, L, C) */
}
