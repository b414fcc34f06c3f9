/* Activations. All three are x times a sigmoid, so only x is kept and the backward pass computes the sigmoid again. */
#include "nn/nn_priv.h"

typedef struct activation_node {
    node head;
    tensor *x;
    activation kind;
} activation_node;

static status activation_back(nn *s, node *self) {
    activation_node *n = (activation_node *)self;
    bool add;
    float *dx = nn_grad(s, n->x, &add);
    if (dx == NULL)
        return s->failed;
    s->backend->activate_back(nn_threads_for(s, n->x->n), n->kind, n->x->n, n->x->data, self->out->grad, add, dx);
    return ST_OK;
}

static tensor *activate(nn *s, tensor *x, activation kind) {
    if (!nn_ok(s, x))
        return NULL;
    tensor *out = nn_new_like(s, x);
    if (out == NULL)
        return NULL;
    s->backend->activate(nn_threads_for(s, x->n), kind, x->n, x->data, out->data);
    if (x->needs_grad) {
        activation_node *n = nn_record(s, sizeof *n, out, activation_back);
        if (n == NULL)
            return NULL;
        n->x = x;
        n->kind = kind;
    }
    return out;
}

tensor *op_gelu(nn *s, tensor *x) {
    return activate(s, x, ACT_GELU);
}

tensor *op_quick_gelu(nn *s, tensor *x) {
    return activate(s, x, ACT_QUICK_GELU);
}

tensor *op_silu(nn *s, tensor *x) {
    return activate(s, x, ACT_SILU);
}
