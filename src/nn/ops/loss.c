/* Numbers to minimise: weighted mean squared error and plain sum. Sums are taken in double, in fixed pieces. */
#include "nn/nn_priv.h"

typedef struct loss_node {
    node head;
    tensor *x;
    float *d; /* mse: weight * (x - target); the target itself is not kept */
} loss_node;

static tensor *new_loss(nn *s, tensor *x, float *d, status (*back)(nn *, node *)) {
    tensor *out = nn_new(s, 1, (size_t[1]){1});
    if (out == NULL || !x->needs_grad)
        return out;
    loss_node *n = nn_record(s, sizeof *n, out, back);
    if (n == NULL)
        return NULL;
    n->x = x;
    n->d = d;
    return out;
}

static status mse_back(nn *s, node *self) {
    loss_node *n = (loss_node *)self;
    bool add;
    float *dx = nn_grad(s, n->x, &add);
    if (dx == NULL)
        return s->failed;
    float factor = (float)(2.0 * self->out->grad[0] / (double)n->x->n);
    s->backend->scale(nn_threads_for(s, n->x->n), n->x->n, factor, n->d, add, dx);
    return ST_OK;
}

tensor *op_mse(nn *s, tensor *x, const float *target, const float *weight) {
    if (!nn_ok(s, x))
        return NULL;
    float *d = NULL;
    if (x->needs_grad && (d = nn_take(s, x->n, sizeof *d)) == NULL)
        return NULL;
    tensor *out = new_loss(s, x, d, mse_back);
    if (out == NULL)
        return NULL;
    double sum = s->backend->squared_error(nn_threads_for(s, x->n), x->n, x->data, target, weight, d);
    out->data[0] = (float)(sum / (double)x->n);
    return out;
}

static status sum_back(nn *s, node *self) {
    loss_node *n = (loss_node *)self;
    bool add;
    float *dx = nn_grad(s, n->x, &add);
    if (dx == NULL)
        return s->failed;
    for (size_t i = 0; i < n->x->n; i++)
        dx[i] = (add ? dx[i] : 0) + self->out->grad[0];
    return ST_OK;
}

tensor *op_sum(nn *s, tensor *x) {
    if (!nn_ok(s, x))
        return NULL;
    tensor *out = new_loss(s, x, NULL, sum_back);
    if (out == NULL)
        return NULL;
    out->data[0] = (float)s->backend->sum(nn_threads_for(s, x->n), x->n, x->data);
    return out;
}
