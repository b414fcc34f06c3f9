/* Multi-head attention on packed q, k, v (Vaswani et al. 2017): softmax(q k^T / sqrt(D)) v for every sample and head.
 *
 * The backward pass computes the probabilities again from the scores and the kept log of their sum (as in Dao et al.
 * 2022), so memory does not grow with the square of T. */
#include "nn/nn_priv.h"

typedef struct attention_node {
    node head;
    attention_shape shape;
    tensor *qkv;
    float *logsum; /* (N, H, T) */
} attention_node;

static status attention_back(nn *s, node *self) {
    attention_node *n = (attention_node *)self;
    bool add;
    float *dqkv = nn_grad(s, n->qkv, &add);
    if (dqkv == NULL)
        return s->failed;
    float *scratch = nn_scratch(s, s->backend->attention_scratch(n->shape, true));
    if (scratch == NULL)
        return s->failed;
    s->backend->attend_back(n->shape, n->qkv->data, self->out->data, n->logsum, self->out->grad, add, dqkv, scratch);
    nn_drop(s, scratch);
    return ST_OK;
}

tensor *op_attention(nn *s, tensor *qkv, size_t heads, bool causal) {
    if (!nn_ok(s, qkv))
        return NULL;
    char text[64];
    NN_REQUIRE(s, qkv->ndim == 3 && heads > 0 && qkv->dim[2] % (3 * heads) == 0, "attention with %zu heads on %s",
               heads, tensor_shape_text(qkv, text));
    size_t dim[3] = {qkv->dim[0], qkv->dim[1], qkv->dim[2] / 3};
    attention_shape shape = {.samples = dim[0],
                             .tokens = dim[1],
                             .heads = heads,
                             .d = dim[2] / heads,
                             .causal = causal,
                             .threads = nn_threads_for(s, qkv->n)};
    tensor *out = nn_new(s, 3, dim);
    float *logsum = out == NULL ? NULL : nn_take(s, dim[0] * heads * dim[1], sizeof *logsum);
    if (logsum == NULL)
        return NULL;
    if (qkv->needs_grad) {
        attention_node *n = nn_record(s, sizeof *n, out, attention_back);
        if (n == NULL)
            return NULL;
        n->shape = shape;
        n->qkv = qkv;
        n->logsum = logsum;
    }
    size_t mark = step_mark(&s->memory);
    float *scratch = nn_take(s, s->backend->attention_scratch(shape, false), sizeof *scratch);
    if (scratch == NULL)
        return NULL;
    s->backend->attend(shape, qkv->data, out->data, logsum, scratch);
    step_rewind(&s->memory, mark, NULL, 0);
    return out;
}
