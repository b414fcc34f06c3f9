/* Session and tape: tensors live in step memory, nodes form a list that nn_backward walks from newest to oldest.
 *
 * A tensor's gradient appears when the first consumer delivers it, and its buffer is recycled once its producer has
 * read it, so the backward pass holds only the gradients of the moment. Views deliver to the tensor whose memory they
 * share. */
#include "nn/nn_priv.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/memory.h"

enum { WORK_PER_THREAD = 16384 };

status nn_open(nn **out, const nn_options *o) {
    *out = NULL;
    if (o->threads < 1 || o->threads > 1024)
        return FAIL(ST_RANGE, "threads = %d is not in 1 .. 1024", o->threads);
    nn *s;
    TRY(NEW(1, &s));
    s->threads = o->threads;
    status st = nn_use_backend(s, backend_cpu());
    if (st != ST_OK) {
        nn_close(&s);
        return st;
    }
    *out = s;
    return ST_OK;
}

status nn_use_backend(nn *s, const backend *b) {
    if (s->backend_state != NULL)
        s->backend->close(s->backend_state);
    s->backend_state = NULL;
    s->backend = b;
    return b->open(&s->backend_state);
}

void nn_close(nn **s) {
    if (*s == NULL)
        return;
    if ((*s)->backend_state != NULL)
        (*s)->backend->close((*s)->backend_state);
    step_free(&(*s)->memory);
    memory_free(s);
}

void nn_begin(nn *s, bool record) {
    step_reset(&s->memory);
    s->tape = NULL;
    s->uses = NULL;
    s->record = record;
    if (s->on_gradient != NULL) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        s->stamp = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    }
    s->done_back = false;
    s->failed = ST_OK;
    s->message[0] = '\0';
}

status nn_status(const nn *s) {
    if (s->failed != ST_OK)
        status_set_message(s->message);
    return s->failed;
}

size_t nn_peak_nbytes(const nn *s) {
    return s->memory.peak;
}

void *nn_fail(nn *s, status st) {
    if (s->failed == ST_OK) {
        s->failed = st;
        snprintf(s->message, sizeof s->message, "%s", status_message());
    }
    return NULL;
}

bool nn_ok(nn *s, const tensor *x) {
    if (s->failed == ST_OK && x == NULL)
        nn_fail(s, FAIL(ST_RANGE, "operation on a missing tensor"));
    return s->failed == ST_OK;
}

int nn_threads_for(const nn *s, size_t n) {
    size_t most = n / WORK_PER_THREAD + 1;
    return most < (size_t)s->threads ? (int)most : s->threads;
}

/* ---- Tensors ---- */

bool tensor_same_shape(const tensor *x, const tensor *y) {
    return x->ndim == y->ndim && memcmp(x->dim, y->dim, sizeof x->dim[0] * (size_t)x->ndim) == 0;
}

const char *tensor_shape_text(const tensor *x, char text[64]) {
    size_t used = 0;
    for (int i = 0; i < x->ndim && used < 56; i++)
        used += (size_t)snprintf(text + used, 64 - used, "%s%zu", i == 0 ? "(" : ", ", x->dim[i]);
    snprintf(used < 62 ? text + used : text + 62, 2, ")");
    return text;
}

void *nn_take(nn *s, size_t count, size_t size) {
    size_t nbytes;
    void *p = __builtin_mul_overflow(count, size, &nbytes) ? NULL : step_take(&s->memory, nbytes);
    if (p == NULL)
        return nn_fail(s, FAIL(ST_MEMORY, "no memory for %zu elements of %zu bytes in a step", count, size));
    return p;
}

/* The tensor without memory for its elements. */
static tensor_priv *new_bare(nn *s, int ndim, const size_t *dim, tensor_kind kind) {
    NN_REQUIRE(s, ndim >= 1 && ndim <= 4, "a tensor of %d dimensions", ndim);
    size_t n = 1;
    for (int i = 0; i < ndim; i++)
        NN_REQUIRE(s, dim[i] > 0 && !__builtin_mul_overflow(n, dim[i], &n), "dimension %d of a tensor is %zu", i,
                   dim[i]);
    tensor_priv *x = nn_take(s, 1, sizeof *x);
    if (x == NULL)
        return NULL;
    *x = (tensor_priv){.t = {.ndim = ndim, .n = n}, .kind = kind};
    memcpy(x->t.dim, dim, sizeof *dim * (size_t)ndim);
    return x;
}

static tensor *new_filled(nn *s, int ndim, const size_t *dim, tensor_kind kind) {
    tensor_priv *x = new_bare(s, ndim, dim, kind);
    if (x == NULL || (x->t.data = nn_take(s, x->t.n, sizeof(float))) == NULL)
        return NULL;
    return &x->t;
}

tensor *nn_new(nn *s, int ndim, const size_t *dim) {
    return new_filled(s, ndim, dim, TENSOR_RESULT);
}

tensor *nn_new_like(nn *s, const tensor *x) {
    return nn_new(s, x->ndim, x->dim);
}

tensor *nn_input(nn *s, int ndim, const size_t *dim, const float *data) {
    if (s->failed != ST_OK)
        return NULL;
    tensor *x = new_filled(s, ndim, dim, TENSOR_LEAF);
    if (x == NULL)
        return NULL;
    if (data != NULL)
        memcpy(x->data, data, x->n * sizeof *data);
    else
        memset(x->data, 0, x->n * sizeof *data);
    return x;
}

/* The tape's node of a leaf comes last of all that use it: what no consumer has reached is zero. */
static status leaf_back(nn *s, node *self) {
    tensor *x = self->out;
    if (x->grad == NULL) {
        if ((x->grad = nn_take(s, x->n, sizeof *x->grad)) == NULL)
            return s->failed;
        memset(x->grad, 0, x->n * sizeof *x->grad);
    }
    return ST_OK;
}

tensor *nn_input_grad(nn *s, int ndim, const size_t *dim, const float *data) {
    tensor *x = nn_input(s, ndim, dim, data);
    if (x == NULL || (s->record && nn_record(s, sizeof(node), x, leaf_back) == NULL))
        return NULL;
    return x;
}

tensor *nn_param(nn *s, param *p) {
    if (s->failed != ST_OK)
        return NULL;
    tensor_priv *x = new_bare(s, p->ndim, p->dim, TENSOR_PARAM);
    if (x == NULL)
        return NULL;
    x->t.data = p->data;
    if (param_wants_grad(s, p)) {
        nn_note_use(s, p); /* whatever adds to it comes later on the tape */
        x->t.needs_grad = true;
        x->t.grad = p->grad;
    }
    return &x->t;
}

static tensor_priv *owner(tensor *x) {
    tensor_priv *p = (tensor_priv *)x;
    return p->base != NULL ? p->base : p;
}

tensor *nn_view(nn *s, tensor *x, int ndim, const size_t *dim) {
    if (!nn_ok(s, x))
        return NULL;
    tensor_priv *v = new_bare(s, ndim, dim, TENSOR_VIEW);
    if (v == NULL)
        return NULL;
    char text[2][64];
    NN_REQUIRE(s, v->t.n == x->n, "%s seen as %s", tensor_shape_text(x, text[0]), tensor_shape_text(&v->t, text[1]));
    v->t.data = x->data;
    v->t.needs_grad = x->needs_grad;
    v->base = owner(x);
    return &v->t;
}

/* ---- Scopes ---- */

size_t nn_scope_begin(nn *s) {
    return step_mark(&s->memory);
}

tensor *nn_scope_end(nn *s, size_t scope, tensor *keep) {
    if (s->record || !nn_ok(s, keep))
        return keep;
    tensor_priv copy = *(tensor_priv *)keep; /* its own place may be given back now */
    bool inside = step_is_above(&s->memory, scope, keep->data);
    float *moved = step_rewind(&s->memory, scope, inside ? keep->data : NULL, keep->n * sizeof(float));
    if (inside)
        copy.t.data = moved;
    copy.base = NULL;
    if (copy.kind == TENSOR_VIEW)
        copy.kind = TENSOR_RESULT;
    tensor_priv *description = nn_take(s, 1, sizeof *description);
    if (description == NULL)
        return NULL;
    *description = copy;
    return &description->t;
}

/* ---- Tape ---- */

void *nn_record(nn *s, size_t nbytes, tensor *out, status (*back)(nn *, node *)) {
    node *n = nn_take(s, 1, nbytes);
    if (n == NULL)
        return NULL;
    memset(n, 0, nbytes);
    *n = (node){.older = s->tape, .out = out, .back = back};
    s->tape = n;
    out->needs_grad = true;
    return n;
}

void nn_on_gradient(nn *s, void (*done)(void *context, const param *w), void *context) {
    s->on_gradient = done;
    s->on_gradient_context = context;
}

void nn_note_use(nn *s, param *w) {
    if (s->on_gradient == NULL || !param_wants_grad(s, w) || w->noted == s->stamp)
        return;
    first_use *u = nn_take(s, 1, sizeof *u);
    if (u == NULL)
        return;
    *u = (first_use){.older = s->uses, .w = w, .below = s->tape};
    s->uses = u;
    w->noted = s->stamp;
}

static float *buffer_of(nn *s, size_t n) {
    float *p = step_take_buffer(&s->memory, n * sizeof(float));
    if (p == NULL)
        nn_fail(s, FAIL(ST_MEMORY, "no memory for a gradient of %zu elements", n));
    return p;
}

float *nn_scratch(nn *s, size_t n) {
    return buffer_of(s, n);
}

void nn_drop(nn *s, float *scratch) {
    step_recycle(&s->memory, scratch);
}

float *nn_grad(nn *s, tensor *x, bool *add) {
    tensor_priv *p = owner(x);
    *add = p->t.grad != NULL;
    if (p->t.grad == NULL)
        p->t.grad = buffer_of(s, p->t.n);
    return p->t.grad;
}

status nn_pass_grad(nn *s, tensor *out, tensor *x) {
    if (!x->needs_grad)
        return ST_OK;
    tensor_priv *p = owner(x);
    if (p->t.grad == NULL) {
        p->t.grad = out->grad;
        out->grad = NULL;
    } else {
        s->backend->add(nn_threads_for(s, x->n), x->n, p->t.grad, out->grad, p->t.grad);
    }
    return ST_OK;
}

/* Backward has come down to `n`, which has not run: parameters first used above it are complete. */
static void tell_complete(nn *s, const node *n) {
    for (; s->uses != NULL && s->uses->below == n; s->uses = s->uses->older)
        s->on_gradient(s->on_gradient_context, s->uses->w);
}

static status walk(nn *s) {
    for (node *n = s->tape; n != NULL; n = n->older) {
        tensor_priv *out = (tensor_priv *)n->out;
        tell_complete(s, n);
        if (out->t.grad == NULL && out->kind != TENSOR_LEAF)
            continue; /* the loss does not depend on it */
        TRY(n->back(s, n));
        if (out->t.grad != NULL && out->kind == TENSOR_RESULT) {
            step_recycle(&s->memory, out->t.grad);
            out->t.grad = NULL;
        }
    }
    tell_complete(s, NULL);
    return ST_OK;
}

status nn_backward(nn *s, tensor *loss) {
    if (!nn_ok(s, loss))
        return nn_status(s);
    if (!s->record || s->done_back || loss->n != 1) {
        nn_fail(s, FAIL(ST_RANGE,
                        "backward needs a recording step, one element and is done once (record %d, done %d, "
                        "elements %zu)",
                        s->record, s->done_back, loss->n));
        return s->failed;
    }
    s->done_back = true;
    if (!loss->needs_grad)
        return ST_OK;
    bool add;
    float *g = nn_grad(s, loss, &add);
    if (g == NULL)
        return s->failed;
    *g = add ? *g + 1 : 1; /* add: the loss itself is a parameter */
    status st = walk(s);
    if (st != ST_OK)
        nn_fail(s, st);
    return st;
}
