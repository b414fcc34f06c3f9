/* Linear layer: y = x W^T + b. Backward: dx = dy W, dW += dy^T x, db += column sums of dy.
 *
 * Weights that nobody trains are multiplied from a packed copy, made once per version. Trained ones change every step;
 * packing them again costs as much as it saves, so they are used as they lie. */
#include "nn/nn_priv.h"

typedef struct linear_node {
    node head;
    tensor *x;
    param *w, *b;
    linear_shape shape;
} linear_node;

static status linear_back(nn *s, node *self) {
    linear_node *n = (linear_node *)self;
    const float *dy = self->out->grad;
    const linear_shape *p = &n->shape;
    if (param_wants_grad(s, n->w))
        TRY(s->backend->linear_dw(*p, dy, n->x->data, n->w->grad));
    if (param_wants_grad(s, n->b))
        s->backend->sum_rows(nn_threads_for(s, self->out->n), 1, p->rows, p->m, dy, true, n->b->grad);
    if (!n->x->needs_grad)
        return ST_OK;
    bool add;
    float *dx = nn_grad(s, n->x, &add);
    if (dx == NULL)
        return s->failed;
    return s->backend->linear_dx(*p, dy, n->w->data, add, dx);
}

tensor *op_linear(nn *s, tensor *x, param *w, param *b) {
    if (!nn_ok(s, x))
        return NULL;
    char text[64];
    NN_REQUIRE(s, w->ndim == 2 && w->dim[1] == tensor_last(x), "linear %s (%zu, %zu) on %s", w->name, w->dim[0],
               w->dim[1], tensor_shape_text(x, text));
    NN_REQUIRE(s, b == NULL || b->n == w->dim[0], "linear %s with %zu outputs, bias of %zu", w->name, w->dim[0],
               b == NULL ? 0 : b->n);
    size_t dim[4] = {x->dim[0], x->dim[1], x->dim[2], x->dim[3]};
    dim[x->ndim - 1] = w->dim[0];
    tensor *y = nn_new(s, x->ndim, dim);
    if (y == NULL)
        return NULL;
    linear_shape shape = {.rows = tensor_rows(x), .k = w->dim[1], .m = w->dim[0], .threads = s->threads};
    bool pack = !s->record || w->frozen;
    status st = s->backend->linear(s->backend_state, shape, x->data, w->data, b == NULL ? NULL : b->data,
                                   pack ? w : NULL, w->version, y->data);
    if (st != ST_OK)
        return nn_fail(s, st);
    if (x->needs_grad || param_wants_grad(s, w) || param_wants_grad(s, b)) {
        nn_note_use(s, w);
        nn_note_use(s, b);
        linear_node *n = nn_record(s, sizeof *n, y, linear_back);
        if (n == NULL)
            return NULL;
        n->x = x;
        n->w = w;
        n->b = b;
        n->shape = shape;
    }
    return y;
}
