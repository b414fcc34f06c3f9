/* x (N, T, C) + y, where y is the same for every row of a group: (C) for all rows, (T, C) for every sample, (N, 1, C)
 * for every token. All three are x seen as (groups, rows, columns) and y as (groups, columns). */
#include "nn/nn_priv.h"

typedef struct broadcast_node {
    node head;
    tensor *x, *y;
    size_t groups, rows, columns;
} broadcast_node;

static status broadcast_back(nn *s, node *self) {
    broadcast_node *n = (broadcast_node *)self;
    if (n->y->needs_grad) {
        bool add;
        float *dy = nn_grad(s, n->y, &add);
        if (dy == NULL)
            return s->failed;
        s->backend->sum_rows(nn_threads_for(s, n->x->n), n->groups, n->rows, n->columns, self->out->grad, add, dy);
    }
    return nn_pass_grad(s, self->out, n->x);
}

/* How y lies along x; false if it does not. */
static bool match(const tensor *x, const tensor *y, broadcast_node *n) {
    size_t c = tensor_last(x);
    if (y->n == c && tensor_last(y) == c) {
        *n = (broadcast_node){.groups = 1, .rows = x->n / c, .columns = c};
        return true;
    }
    if (x->ndim != 3)
        return false;
    if (y->ndim == 2 && y->dim[0] == x->dim[1] && y->dim[1] == c) {
        *n = (broadcast_node){.groups = 1, .rows = x->dim[0], .columns = x->dim[1] * c};
        return true;
    }
    if (y->ndim == 3 && y->dim[0] == x->dim[0] && y->dim[1] == 1 && y->dim[2] == c) {
        *n = (broadcast_node){.groups = x->dim[0], .rows = x->dim[1], .columns = c};
        return true;
    }
    return false;
}

tensor *op_add_broadcast(nn *s, tensor *x, tensor *y) {
    if (!nn_ok(s, x) || !nn_ok(s, y))
        return NULL;
    char text[2][64];
    broadcast_node form;
    NN_REQUIRE(s, match(x, y, &form), "%s + %s in every row", tensor_shape_text(x, text[0]),
               tensor_shape_text(y, text[1]));
    tensor *out = nn_new_like(s, x);
    if (out == NULL)
        return NULL;
    s->backend->add_rows(nn_threads_for(s, x->n), form.groups, form.rows, form.columns, x->data, y->data, out->data);
    if (x->needs_grad || y->needs_grad) {
        broadcast_node *n = nn_record(s, sizeof *n, out, broadcast_back);
        if (n == NULL)
            return NULL;
        form.head = n->head;
        form.x = x;
        form.y = y;
        *n = form;
    }
    return out;
}
