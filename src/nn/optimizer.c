/* AdamW (Loshchilov and Hutter 2019) and gradient clipping, over the gradient block of a parameter set. */
#include <math.h>
#include "base/memory.h"
#include "nn/backend.h"
#include "nn/nn.h"

status adamw_new(adamw *o, const params *p, float beta1, float beta2, float weight_decay) {
    *o = (adamw){.beta1 = beta1, .beta2 = beta2, .epsilon = 1e-8f, .weight_decay = weight_decay, .n = p->ntrained};
    status st = NEW(o->n, &o->m);
    if (st == ST_OK)
        st = NEW(o->n, &o->v);
    if (st != ST_OK)
        adamw_free(o);
    return st;
}

void adamw_step(adamw *o, params *p, float learning_rate) {
    ASSERT(o->n == p->ntrained);
    o->step++;
    adamw_factors f = {
        .beta1 = o->beta1,
        .beta2 = o->beta2,
        .epsilon = o->epsilon,
        .rate = (float)(learning_rate / (1 - pow(o->beta1, (double)o->step))),
        .root = (float)(1 / sqrt(1 - pow(o->beta2, (double)o->step))),
    };
    for (size_t i = 0; i < p->n; i++) {
        param *w = p->item[i];
        if (w->grad == NULL || w->frozen)
            continue;
        size_t at = (size_t)(w->grad - p->grads);
        f.decay = w->ndim >= 2 ? 1 - learning_rate * o->weight_decay : 1;
        backend_cpu()->adamw(w->n, f, w->grad, o->m + at, o->v + at, w->data);
        w->version++;
    }
}

void adamw_free(adamw *o) {
    memory_free(&o->m);
    memory_free(&o->v);
    o->n = 0;
}

float params_clip_grad(params *p, float limit) {
    const backend *b = backend_cpu();
    double norm = sqrt(b->sum_squares(1, p->ntrained, p->grads));
    if (isfinite(norm) && norm > limit)
        b->scale(1, p->ntrained, (float)(limit / norm), p->grads, false, p->grads);
    return (float)norm;
}
