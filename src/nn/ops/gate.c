/* Gated residual of a diffusion transformer block: x + gate * y, one gate per sample and channel. */
#include "nn/nn_priv.h"

typedef struct gate_node {
    node head;
    tensor *x, *gate, *y;
} gate_node;

static status gate_back(nn *s, node *self) {
    gate_node *n = (gate_node *)self;
    const tensor *x = n->x;
    bool add_gate = false, add_y = false;
    float *dgate = NULL, *dy = NULL;
    if (n->gate->needs_grad && (dgate = nn_grad(s, n->gate, &add_gate)) == NULL)
        return s->failed;
    if (n->y->needs_grad && (dy = nn_grad(s, n->y, &add_y)) == NULL)
        return s->failed;
    s->backend->gate_add_back(nn_threads_for(s, x->n), x->dim[0], x->dim[1], x->dim[2], self->out->grad, n->gate->data,
                              n->y->data, add_gate, dgate, add_y, dy);
    return nn_pass_grad(s, self->out, n->x);
}

tensor *op_gate_add(nn *s, tensor *x, tensor *gate, tensor *y) {
    if (!nn_ok(s, x) || !nn_ok(s, gate) || !nn_ok(s, y))
        return NULL;
    char text[3][64];
    NN_REQUIRE(s,
               x->ndim == 3 && tensor_same_shape(x, y) && gate->dim[0] == x->dim[0] && tensor_last(gate) == x->dim[2] &&
                   gate->n == x->dim[0] * x->dim[2],
               "%s + %s * %s", tensor_shape_text(x, text[0]), tensor_shape_text(gate, text[1]),
               tensor_shape_text(y, text[2]));
    tensor *out = nn_new_like(s, x);
    if (out == NULL)
        return NULL;
    s->backend->gate_add(nn_threads_for(s, x->n), x->dim[0], x->dim[1], x->dim[2], x->data, gate->data, y->data,
                         out->data);
    if (x->needs_grad || gate->needs_grad || y->needs_grad) {
        gate_node *n = nn_record(s, sizeof *n, out, gate_back);
        if (n == NULL)
            return NULL;
        n->x = x;
        n->gate = gate;
        n->y = y;
    }
    return out;
}
