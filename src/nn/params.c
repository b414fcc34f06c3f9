/* Parameters: named arrays, one gradient block for all that are trained, initial values from (seed, name). */
#include <math.h>
#include <string.h>
#include <time.h>
#include <stdlib.h>
#include "base/memory.h"
#include "base/rng.h"
#include "nn/nn.h"

void params_init(params *p) {
    *p = (params){0};
}

param *params_find(const params *p, const char *name) {
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->item[i]->name, name) == 0)
            return p->item[i];
    return NULL;
}

static void param_free(param **w) {
    if (*w == NULL)
        return;
    free((*w)->name);
    memory_free(&(*w)->data);
    memory_free(w);
}

/* Sessions know a packed copy by (parameter, version). A parameter made where a freed one lay must not look like it, so
 * versions start from the clock instead of 0. The value never reaches a result. */
static uint64_t first_version(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return ((uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec) << 16;
}

static status fill_param(param *w, const char *name, int ndim, const size_t *dim) {
    w->ndim = ndim;
    w->n = 1;
    w->version = first_version();
    for (int i = 0; i < ndim; i++) {
        w->dim[i] = dim[i];
        if (dim[i] == 0 || __builtin_mul_overflow(w->n, dim[i], &w->n))
            return FAIL(ST_RANGE, "parameter %s: dimension %d is %zu", name, i, dim[i]);
    }
    if ((w->name = strdup(name)) == NULL)
        return FAIL(ST_MEMORY, "parameter %s: no memory for its name", name);
    return NEW(w->n, &w->data);
}

status params_add(params *p, const char *name, int ndim, const size_t *dim, param **out) {
    if (params_find(p, name) != NULL)
        return FAIL(ST_RANGE, "parameter %s exists already", name);
    if (ndim < 1 || ndim > 4)
        return FAIL(ST_RANGE, "parameter %s: %d dimensions", name, ndim);
    TRY(memory_grow(&p->item, &p->capacity, p->n + 1, sizeof *p->item));
    param *w;
    TRY(NEW(1, &w));
    status st = fill_param(w, name, ndim, dim);
    if (st != ST_OK) {
        param_free(&w);
        return st;
    }
    p->item[p->n++] = w;
    *out = w;
    return ST_OK;
}

status params_seal(params *p) {
    size_t ntrained = 0;
    for (size_t i = 0; i < p->n; i++) {
        p->item[i]->grad = NULL;
        ntrained += p->item[i]->frozen ? 0 : p->item[i]->n;
    }
    memory_free(&p->grads);
    p->ntrained = 0;
    TRY(NEW(ntrained, &p->grads));
    p->ntrained = ntrained;
    float *at = p->grads;
    for (size_t i = 0; i < p->n; i++)
        if (!p->item[i]->frozen) {
            p->item[i]->grad = at;
            at += p->item[i]->n;
        }
    return ST_OK;
}

void params_zero_grad(params *p) {
    if (p->ntrained > 0)
        memset(p->grads, 0, p->ntrained * sizeof *p->grads);
}

void params_touch(params *p) {
    for (size_t i = 0; i < p->n; i++)
        p->item[i]->version++;
}

void params_free(params *p) {
    for (size_t i = 0; i < p->n; i++)
        param_free(&p->item[i]);
    free(p->item);
    memory_free(&p->grads);
    *p = (params){0};
}

/* ---- Initial values ---- */

/* FNV-1a, 64 bits (Fowler, Noll, Vo). */
static uint64_t name_hash(const char *name) {
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name != '\0'; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    return h;
}

void param_init_normal(param *w, uint64_t seed, float deviation) {
    rng r = rng_make(seed, name_hash(w->name), RNG_INIT);
    rng_normal(&r, w->data, w->n);
    for (size_t i = 0; i < w->n; i++)
        w->data[i] *= deviation;
    w->version++;
}

/* Glorot and Bengio 2010: uniform in +-gain sqrt(6 / (inputs + outputs)); further dimensions count as inputs. */
void param_init_xavier(param *w, uint64_t seed, float gain) {
    rng r = rng_make(seed, name_hash(w->name), RNG_INIT);
    double fan = (double)w->dim[0] + (double)(w->n / w->dim[0]);
    double limit = gain * sqrt(6.0 / fan);
    for (size_t i = 0; i < w->n; i++)
        w->data[i] = (float)(limit * (2 * rng_uniform(&r) - 1));
    w->version++;
}

void param_init_constant(param *w, float value) {
    for (size_t i = 0; i < w->n; i++)
        w->data[i] = value;
    w->version++;
}
