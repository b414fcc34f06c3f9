/* Element by element: add, scale, axpy, mul. */
#include <string.h>
#include "nn/nn_priv.h"

typedef struct pair_node {
    node head;
    tensor *x, *y;
    float factor;
} pair_node;

static tensor *record_pair(nn *s, tensor *out, tensor *x, tensor *y, float factor, status (*back)(nn *, node *)) {
    if (!x->needs_grad && (y == NULL || !y->needs_grad))
        return out;
    pair_node *n = nn_record(s, sizeof *n, out, back);
    if (n == NULL)
        return NULL;
    n->x = x;
    n->y = y;
    n->factor = factor;
    return out;
}

/* The output for two inputs of one shape. */
static tensor *new_pair(nn *s, tensor *x, tensor *y, const char *what) {
    if (!nn_ok(s, x) || !nn_ok(s, y))
        return NULL;
    char text[2][64];
    NN_REQUIRE(s, tensor_same_shape(x, y), "%s of %s and %s", what, tensor_shape_text(x, text[0]),
               tensor_shape_text(y, text[1]));
    return nn_new_like(s, x);
}

/* factor * gradient of out, into x. */
static status deliver_scaled(nn *s, const tensor *out, float factor, tensor *x) {
    if (!x->needs_grad)
        return ST_OK;
    bool add;
    float *dx = nn_grad(s, x, &add);
    if (dx == NULL)
        return s->failed;
    s->backend->scale(nn_threads_for(s, x->n), x->n, factor, out->grad, add, dx);
    return ST_OK;
}

/* y takes its share first: passing on to x gives the buffer away. */
static status axpy_back(nn *s, node *self) {
    pair_node *n = (pair_node *)self;
    TRY(deliver_scaled(s, self->out, n->factor, n->x));
    return nn_pass_grad(s, self->out, n->y);
}

tensor *op_add(nn *s, tensor *x, tensor *y) {
    tensor *out = new_pair(s, x, y, "add");
    if (out == NULL)
        return NULL;
    s->backend->add(nn_threads_for(s, x->n), x->n, x->data, y->data, out->data);
    return record_pair(s, out, y, x, 1, axpy_back);
}

tensor *op_axpy(nn *s, tensor *y, float factor, tensor *x) {
    tensor *out = new_pair(s, y, x, "axpy");
    if (out == NULL)
        return NULL;
    s->backend->axpy(nn_threads_for(s, x->n), x->n, factor, x->data, y->data, out->data);
    return record_pair(s, out, x, y, factor, axpy_back);
}

static status scale_back(nn *s, node *self) {
    pair_node *n = (pair_node *)self;
    return deliver_scaled(s, self->out, n->factor, n->x);
}

tensor *op_scale(nn *s, tensor *x, float factor) {
    if (!nn_ok(s, x))
        return NULL;
    tensor *out = nn_new_like(s, x);
    if (out == NULL)
        return NULL;
    s->backend->scale(nn_threads_for(s, x->n), x->n, factor, x->data, false, out->data);
    return record_pair(s, out, x, NULL, factor, scale_back);
}

static status deliver_product(nn *s, const tensor *out, const tensor *other, tensor *x) {
    if (!x->needs_grad)
        return ST_OK;
    bool add;
    float *dx = nn_grad(s, x, &add);
    if (dx == NULL)
        return s->failed;
    s->backend->multiply(nn_threads_for(s, x->n), x->n, out->grad, other->data, add, dx);
    return ST_OK;
}

static status mul_back(nn *s, node *self) {
    pair_node *n = (pair_node *)self;
    TRY(deliver_product(s, self->out, n->y, n->x));
    return deliver_product(s, self->out, n->x, n->y);
}

tensor *op_mul(nn *s, tensor *x, tensor *y) {
    tensor *out = new_pair(s, x, y, "mul");
    if (out == NULL)
        return NULL;
    s->backend->multiply(nn_threads_for(s, x->n), x->n, x->data, y->data, false, out->data);
    return record_pair(s, out, x, y, 1, mul_back);
}
