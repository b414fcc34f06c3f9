/* Columns of the last dimension: cut some out, or put two tensors side by side. */
#include <string.h>
#include "nn/nn_priv.h"

/* rows x width elements from one row pitch to another. */
static void copy_block(size_t rows, size_t width, const float *from, size_t from_pitch, float *to, size_t to_pitch) {
    for (size_t r = 0; r < rows; r++)
        memcpy(to + r * to_pitch, from + r * from_pitch, width * sizeof *to);
}

static void add_block(nn *s, size_t rows, size_t width, const float *from, size_t from_pitch, float *to,
                      size_t to_pitch) {
    for (size_t r = 0; r < rows; r++)
        s->backend->add(1, width, to + r * to_pitch, from + r * from_pitch, to + r * to_pitch);
}

typedef struct columns_node {
    node head;
    tensor *x, *y; /* y: concat */
    size_t first;
} columns_node;

static status columns_back(nn *s, node *self) {
    columns_node *n = (columns_node *)self;
    size_t pitch = tensor_last(n->x), width = tensor_last(self->out);
    bool add;
    float *dx = nn_grad(s, n->x, &add);
    if (dx == NULL)
        return s->failed;
    if (!add)
        memset(dx, 0, n->x->n * sizeof *dx);
    add_block(s, tensor_rows(n->x), width, self->out->grad, width, dx + n->first, pitch);
    return ST_OK;
}

tensor *op_columns(nn *s, tensor *x, size_t first, size_t n) {
    if (!nn_ok(s, x))
        return NULL;
    size_t pitch = tensor_last(x);
    NN_REQUIRE(s, n > 0 && first < pitch && n <= pitch - first, "columns %zu .. %zu of %zu", first, first + n, pitch);
    size_t dim[4] = {x->dim[0], x->dim[1], x->dim[2], x->dim[3]};
    dim[x->ndim - 1] = n;
    tensor *out = nn_new(s, x->ndim, dim);
    if (out == NULL)
        return NULL;
    copy_block(tensor_rows(x), n, x->data + first, pitch, out->data, n);
    if (x->needs_grad) {
        columns_node *c = nn_record(s, sizeof *c, out, columns_back);
        if (c == NULL)
            return NULL;
        c->x = x;
        c->first = first;
    }
    return out;
}

static status deliver_columns(nn *s, const tensor *out, size_t first, tensor *x) {
    if (!x->needs_grad)
        return ST_OK;
    size_t width = tensor_last(x), pitch = tensor_last(out);
    bool add;
    float *dx = nn_grad(s, x, &add);
    if (dx == NULL)
        return s->failed;
    if (add)
        add_block(s, tensor_rows(x), width, out->grad + first, pitch, dx, width);
    else
        copy_block(tensor_rows(x), width, out->grad + first, pitch, dx, width);
    return ST_OK;
}

static status concat_back(nn *s, node *self) {
    columns_node *n = (columns_node *)self;
    TRY(deliver_columns(s, self->out, 0, n->x));
    return deliver_columns(s, self->out, tensor_last(n->x), n->y);
}

tensor *op_concat(nn *s, tensor *x, tensor *y) {
    if (!nn_ok(s, x) || !nn_ok(s, y))
        return NULL;
    char text[2][64];
    NN_REQUIRE(s, x->ndim == y->ndim && memcmp(x->dim, y->dim, sizeof x->dim[0] * (size_t)(x->ndim - 1)) == 0,
               "%s beside %s", tensor_shape_text(x, text[0]), tensor_shape_text(y, text[1]));
    size_t a = tensor_last(x), b = tensor_last(y);
    size_t dim[4] = {x->dim[0], x->dim[1], x->dim[2], x->dim[3]};
    dim[x->ndim - 1] = a + b;
    tensor *out = nn_new(s, x->ndim, dim);
    if (out == NULL)
        return NULL;
    copy_block(tensor_rows(x), a, x->data, a, out->data, a + b);
    copy_block(tensor_rows(y), b, y->data, b, out->data + a, a + b);
    if (x->needs_grad || y->needs_grad) {
        columns_node *c = nn_record(s, sizeof *c, out, concat_back);
        if (c == NULL)
            return NULL;
        c->x = x;
        c->y = y;
    }
    return out;
}
