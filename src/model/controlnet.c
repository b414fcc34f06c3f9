/* ControlNet for the packet transformer (Zhang et al. 2023): a trainable copy of the first blocks reads the whole
 * control signal, and zero-initialised layers add what it says to the frozen base. Time and prompt reach it through the
 * base's modulation. */
#include <stdio.h>
#include <string.h>
#include "base/memory.h"
#include "model/native.h"

size_t controlnet_nblocks(const model_config *c) {
    return c->layers / 2 > 0 ? c->layers / 2 : 1;
}

status controlnet_build(controlnet *k, const model_config *c, size_t nblocks, builder *b) {
    size_t d = c->width;
    *k = (controlnet){.nblocks = nblocks};
    TRY(NEW(nblocks, &k->blocks));
    TRY(NEW(nblocks, &k->zero));
    TRY(linear_build(&k->input, d, c->cells, true, b, "input"));
    TRY(build_param(b, &k->position, c->packets, d, "position.weight"));
    TRY(linear_build(&k->control, d, CONTROL_WIDTH, false, b, "control"));
    for (size_t i = 0; i < nblocks; i++) {
        char name[32];
        snprintf(name, sizeof name, "zero.%zu", i);
        TRY(native_block_build(&k->blocks[i], d, i, b));
        TRY(linear_build(&k->zero[i], d, d, true, b, name));
    }
    return ST_OK;
}

static void copy_param(param *to, const param *from) {
    ASSERT(to->n == from->n);
    memcpy(to->data, from->data, from->n * sizeof *from->data);
    to->version++;
}

static void copy_linear(linear *to, const linear *from) {
    copy_param(to->w, from->w);
    copy_param(to->b, from->b);
}

void controlnet_init(controlnet *k, const native *base) {
    copy_linear(&k->input, &base->input);
    copy_param(k->control.w, base->control.w); /* as random as at its start for what the base does not read */
    copy_param(k->position, base->position);
    for (size_t i = 0; i < k->nblocks; i++) {
        const native_block *from = &base->blocks[i];
        copy_param(k->blocks[i].table, from->table);
        copy_linear(&k->blocks[i].qkv, &from->qkv);
        copy_linear(&k->blocks[i].out, &from->out);
        copy_linear(&k->blocks[i].fc1, &from->fc1);
        copy_linear(&k->blocks[i].fc2, &from->fc2);
    }
}

void controlnet_free(controlnet *k) {
    memory_free(&k->blocks);
    memory_free(&k->zero);
}

void controlnet_forward(nn *s, const controlnet *k, size_t heads, tensor *rows, tensor *control, tensor *modulation,
                        tensor **residual) {
    tensor *x = op_add_broadcast(s, linear_apply(s, &k->input, rows), nn_param(s, k->position));
    x = op_add(s, x, linear_apply(s, &k->control, control));
    for (size_t i = 0; i < k->nblocks; i++) {
        x = native_block_forward(s, &k->blocks[i], heads, x, modulation);
        residual[i] = linear_apply(s, &k->zero[i], x);
    }
}
