/* Layer normalisation over the last dimension (Ba et al. 2016), plain with gain and bias, or modulated per sample as in
 * a diffusion transformer: layernorm(x) * (1 + scale) + shift. The backward pass keeps x, mean and 1 / deviation. */
#include "nn/nn_priv.h"

typedef struct norm_node {
    node head;
    norm_shape shape;
    tensor *x;
    tensor *scale, *shift; /* modulated */
    param *gain, *bias;    /* plain */
    float *mean, *rstd;    /* one per row */
} norm_node;

typedef struct target {
    float *grad;
    bool add;
} target;

static status open_target(nn *s, tensor *x, const param *w, target *t) {
    *t = (target){0};
    if (param_wants_grad(s, w))
        *t = (target){.grad = w->grad, .add = true};
    else if (x != NULL && x->needs_grad && (t->grad = nn_grad(s, x, &t->add)) == NULL)
        return s->failed;
    return ST_OK;
}

static status norm_back(nn *s, node *self) {
    norm_node *n = (norm_node *)self;
    const float *gain = n->scale != NULL ? n->scale->data : n->gain != NULL ? n->gain->data : NULL;
    target dx, dgain, dshift;
    TRY(open_target(s, n->x, NULL, &dx));
    TRY(open_target(s, n->scale, n->gain, &dgain));
    TRY(open_target(s, n->shift, n->bias, &dshift));
    float *scratch = nn_scratch(s, s->backend->norm_back_scratch(n->shape));
    if (scratch == NULL)
        return s->failed;
    s->backend->norm_back(n->shape, n->x->data, gain, n->mean, n->rstd, self->out->grad, dx.add, dx.grad, dgain.add,
                          dgain.grad, dshift.add, dshift.grad, scratch);
    nn_drop(s, scratch);
    return ST_OK;
}

/* form holds everything but head, mean and rstd. */
static tensor *normalise(nn *s, norm_node form, const float *gain, const float *shift, bool wanted) {
    tensor *out = nn_new_like(s, form.x);
    if (out == NULL)
        return NULL;
    if (wanted) {
        size_t rows = form.shape.groups * form.shape.rows;
        form.mean = nn_take(s, rows, sizeof(float));
        form.rstd = nn_take(s, rows, sizeof(float));
        norm_node *n = nn_record(s, sizeof *n, out, norm_back);
        if (form.mean == NULL || form.rstd == NULL || n == NULL)
            return NULL;
        form.head = n->head;
        *n = form;
    }
    s->backend->norm(form.shape, form.x->data, gain, shift, form.mean, form.rstd, out->data);
    return out;
}

tensor *op_layernorm(nn *s, tensor *x, param *gain, param *bias, float epsilon) {
    if (!nn_ok(s, x))
        return NULL;
    size_t c = tensor_last(x);
    NN_REQUIRE(s, (gain == NULL || gain->n == c) && (bias == NULL || bias->n == c),
               "layer norm over %zu with a gain of %zu and a bias of %zu", c, gain == NULL ? c : gain->n,
               bias == NULL ? c : bias->n);
    norm_node form = {
        .shape = {.groups = 1, .rows = x->n / c, .c = c, .epsilon = epsilon, .threads = nn_threads_for(s, x->n)},
        .x = x,
        .gain = gain,
        .bias = bias};
    form.shape.gain_offset = gain == NULL ? 1 : 0;
    bool wanted = x->needs_grad || param_wants_grad(s, gain) || param_wants_grad(s, bias);
    nn_note_use(s, gain);
    nn_note_use(s, bias);
    return normalise(s, form, gain == NULL ? NULL : gain->data, bias == NULL ? NULL : bias->data, wanted);
}

tensor *op_layernorm_modulate(nn *s, tensor *x, tensor *shift, tensor *scale, float epsilon) {
    if (!nn_ok(s, x) || !nn_ok(s, shift) || !nn_ok(s, scale))
        return NULL;
    char text[3][64];
    NN_REQUIRE(s,
               x->ndim == 3 && shift->n == x->dim[0] * x->dim[2] && tensor_last(shift) == x->dim[2] &&
                   scale->n == shift->n && tensor_last(scale) == x->dim[2],
               "layer norm of %s with shift %s and scale %s", tensor_shape_text(x, text[0]),
               tensor_shape_text(shift, text[1]), tensor_shape_text(scale, text[2]));
    norm_node form = {.shape = {.groups = x->dim[0],
                                .rows = x->dim[1],
                                .c = x->dim[2],
                                .epsilon = epsilon,
                                .gain_offset = 1,
                                .threads = nn_threads_for(s, x->n)},
                      .x = x,
                      .scale = scale,
                      .shift = shift};
    return normalise(s, form, scale->data, shift->data, x->needs_grad || shift->needs_grad || scale->needs_grad);
}
