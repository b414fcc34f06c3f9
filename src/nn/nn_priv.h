/* Inside the engine: session, tape, and what every operation uses.
 *
 * An operation (1) checks its inputs with nn_ok and shapes with NN_REQUIRE, (2) makes its output with nn_new, (3) calls
 * the backend, (4) where the output needs a gradient, puts a node on the tape. A node's backward reads out->grad and
 * delivers with nn_grad (fresh or adding) or nn_pass_grad (hand the buffer itself on). */
#ifndef ND_NN_NN_PRIV_H
#define ND_NN_NN_PRIV_H

#include "nn/backend.h"
#include "nn/nn.h"
#include "nn/step_memory.h"

typedef enum tensor_kind { TENSOR_RESULT, TENSOR_LEAF, TENSOR_PARAM, TENSOR_VIEW } tensor_kind;

/* What stands behind every tensor the session gives out. */
typedef struct tensor_priv {
    tensor t; /* first: a tensor * is a tensor_priv * */
    tensor_kind kind;
    struct tensor_priv *base; /* of a view: whose memory, never itself a view */
} tensor_priv;

typedef struct node {
    struct node *older;
    tensor *out;
    status (*back)(nn *s, struct node *self); /* called only if out has a gradient */
} node;

/* The first use of a parameter in a step: backward is done with it when it has come down to the node `below`. */
typedef struct first_use {
    struct first_use *older;
    const param *w;
    const node *below;
} first_use;

struct nn {
    const backend *backend;
    void *backend_state;
    int threads;
    bool record, done_back;
    step_memory memory;
    node *tape;      /* newest first */
    first_use *uses; /* newest first */
    uint64_t stamp;  /* of this step, for param.noted */
    void (*on_gradient)(void *context, const param *w);
    void *on_gradient_context;
    status failed;
    char message[512];
};

/* For tests: use this backend from now on (between steps). */
status nn_use_backend(nn *s, const backend *b);

/* True if the session has not failed and x is there; a missing x without a failure is one. */
bool nn_ok(nn *s, const tensor *x);
/* Keep the first failure and its message; returns NULL for `return nn_fail(...)`. */
void *nn_fail(nn *s, status st);
#define NN_REQUIRE(s, condition, ...)                                                                                  \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            return nn_fail((s), FAIL(ST_RANGE, __VA_ARGS__));                                                          \
    } while (0)

/* A result without data set; NULL after recording a failure. */
tensor *nn_new(nn *s, int ndim, const size_t *dim);
tensor *nn_new_like(nn *s, const tensor *x);
/* Step memory, not zeroed; NULL after recording a failure. */
void *nn_take(nn *s, size_t count, size_t size);
/* Put a node of nbytes (a struct that starts with node) on the tape; out needs a gradient from now on. NULL on failure.
 */
void *nn_record(nn *s, size_t nbytes, tensor *out, status (*back)(nn *, node *));

/* Before the node of an operation that adds to the gradient of w (or NULL) is recorded. */
void nn_note_use(nn *s, param *w);

/* Inside back: where to put the gradient of x; *add says whether something is there already. NULL: memory is out. */
float *nn_grad(nn *s, tensor *x, bool *add);
/* Inside back, last: the gradient of x is the gradient of out, unchanged. Moves the buffer or adds. */
status nn_pass_grad(nn *s, tensor *out, tensor *x);
/* Inside back: scratch memory; give it back with nn_drop. */
float *nn_scratch(nn *s, size_t n);
void nn_drop(nn *s, float *scratch);

static inline size_t tensor_last(const tensor *x) {
    return x->dim[x->ndim - 1];
}
static inline size_t tensor_rows(const tensor *x) {
    return x->n / x->dim[x->ndim - 1];
}
bool tensor_same_shape(const tensor *x, const tensor *y);
/* "(2, 3, 4)", for messages. */
const char *tensor_shape_text(const tensor *x, char text[64]);

/* Threads for n elements of work: small pieces stay on one. */
int nn_threads_for(const nn *s, size_t n);

/* The memory and gradient of w as plain pointers, with or without being on the tape. */
static inline bool param_wants_grad(const nn *s, const param *w) {
    return s->record && w != NULL && !w->frozen && w->grad != NULL;
}

#endif
