/* Rows by number: embedding (rows of a parameter) and rows (rows of a tensor). Backward adds each row's gradient to the
 * row it came from, in the order of the numbers, so repeated numbers add up the same way every time. */
#include <string.h>
#include "nn/nn_priv.h"

typedef struct gather_node {
    node head;
    tensor *x;    /* rows */
    param *table; /* embedding */
    int32_t *index;
    size_t n, c;
} gather_node;

static status gather_back(nn *s, node *self) {
    gather_node *n = (gather_node *)self;
    bool add = true;
    float *dx = n->table != NULL ? n->table->grad : nn_grad(s, n->x, &add);
    if (dx == NULL)
        return s->failed;
    if (!add)
        memset(dx, 0, n->x->n * sizeof *dx);
    for (size_t i = 0; i < n->n; i++) {
        float *row = dx + (size_t)n->index[i] * n->c;
        s->backend->add(1, n->c, row, self->out->grad + i * n->c, row);
    }
    return ST_OK;
}

static tensor *gather(nn *s, const float *from, size_t nrows, size_t c, const int32_t *index, size_t n, tensor *x,
                      param *table) {
    tensor *out = nn_new(s, 2, (size_t[2]){n, c});
    if (out == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        NN_REQUIRE(s, index[i] >= 0 && (size_t)index[i] < nrows, "number %zu is %d, there are %zu rows", i, index[i],
                   nrows);
        memcpy(out->data + i * c, from + (size_t)index[i] * c, c * sizeof *from);
    }
    if (table != NULL ? param_wants_grad(s, table) : x->needs_grad) {
        nn_note_use(s, table);
        gather_node *g = nn_record(s, sizeof *g, out, gather_back);
        int32_t *copy = nn_take(s, n, sizeof *copy);
        if (g == NULL || copy == NULL)
            return NULL;
        memcpy(copy, index, n * sizeof *copy);
        g->x = x;
        g->table = table;
        g->index = copy;
        g->n = n;
        g->c = c;
    }
    return out;
}

tensor *op_embedding(nn *s, param *table, const int32_t *ids, size_t n) {
    if (s->failed != ST_OK)
        return NULL;
    NN_REQUIRE(s, table->ndim == 2, "embedding %s has %d dimensions", table->name, table->ndim);
    return gather(s, table->data, table->dim[0], table->dim[1], ids, n, NULL, table);
}

tensor *op_rows(nn *s, tensor *x, const int32_t *index, size_t n) {
    if (!nn_ok(s, x))
        return NULL;
    NN_REQUIRE(s, x->ndim == 2, "rows of a tensor of %d dimensions", x->ndim);
    return gather(s, x->data, x->dim[0], x->dim[1], index, n, x, NULL);
}
