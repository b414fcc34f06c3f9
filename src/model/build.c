/* Parameters of a model's parts: fresh, from a safetensors file, and back into one. */
#include "model/build.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"

status build_begin(builder *b, params *into, const char *prefix, const safetensors *from, const char *path) {
    *b = (builder){.into = into, .prefix = prefix, .from = from, .path = path};
    return from ? NEW(safetensors_count(from), &b->found) : ST_OK;
}

static void shape_text(int ndim, const size_t *dim, char text[128]) {
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < ndim && used < 100; i++)
        used += (size_t)snprintf(text + used, 128 - used, "%s%zu", i ? ", " : "", dim[i]);
}

/* Weights that are no numbers would not stop sampling: every cell would come out as a valid bit. */
static status check_finite(const builder *b, const safetensor *t) {
    size_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->dim[i];
    for (size_t i = 0; i < n; i++)
        if (!isfinite(t->data[i]))
            return FAIL(ST_FORMAT, "%s: tensor %s: value %zu is %f", b->path, t->name, i, t->data[i]);
    return ST_OK;
}

/* The tensor of the file, or an error that names it. */
static status find_tensor(builder *b, const char *name, int ndim, const size_t *dim, const safetensor **out) {
    const safetensor *t = safetensors_find(b->from, name);
    if (!t)
        return FAIL(ST_FORMAT, "%s: tensor %s is missing", b->path, name);
    if (t->ndim != ndim || memcmp(t->dim, dim, (size_t)ndim * sizeof *dim) != 0) {
        char has[128], wanted[128];
        shape_text(t->ndim, t->dim, has);
        shape_text(ndim, dim, wanted);
        return FAIL(ST_FORMAT, "%s: tensor %s has shape (%s), the configuration says (%s)", b->path, name, has, wanted);
    }
    TRY(check_finite(b, t));
    b->found[b->nfound++] = t;
    *out = t;
    return ST_OK;
}

static status add_named(builder *b, param **out, int ndim, const size_t *dim, const char *full_name) {
    const safetensor *t = NULL;
    if (b->from)
        TRY(find_tensor(b, full_name + strlen(b->prefix), ndim, dim, &t));
    if (!b->into)
        return ST_OK;
    TRY(params_add(b->into, full_name, ndim, dim, out));
    if (t)
        memcpy((*out)->data, t->data, (*out)->n * sizeof(float));
    return ST_OK;
}

status build_param(builder *b, param **out, size_t rows, size_t columns, const char *format, ...) {
    char name[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    ASSERT(length > 0 && (size_t)length < sizeof name);
    char *full_name = text_format("%s%s", b->prefix, name);
    status st = add_named(b, out, columns ? 2 : 1, (size_t[]){rows, columns}, full_name);
    free(full_name);
    return st;
}

static bool was_found(const builder *b, const safetensor *t) {
    for (size_t i = 0; i < b->nfound; i++)
        if (b->found[i] == t)
            return true;
    return false;
}

status build_end(builder *b, status st) {
    size_t n = b->from ? safetensors_count(b->from) : 0;
    for (size_t i = 0; st == ST_OK && b->nfound < n && i < n; i++)
        if (!was_found(b, safetensors_get(b->from, i)))
            st = FAIL(ST_FORMAT, "%s: tensor %s is unknown", b->path, safetensors_get(b->from, i)->name);
    memory_free(&b->found);
    return st;
}

status build_save(const char *path, param *const *item, size_t n, const char *prefix, const text_map *metadata,
                  const float *(*alternative)(const void *user, const param *p), const void *user) {
    safetensor *tensors = NULL;
    TRY(NEW(n, &tensors));
    for (size_t i = 0; i < n; i++) {
        const param *p = item[i];
        ASSERT(strncmp(p->name, prefix, strlen(prefix)) == 0);
        const float *other = alternative ? alternative(user, p) : NULL;
        tensors[i] = (safetensor){.name = p->name + strlen(prefix), .ndim = p->ndim, .data = other ? other : p->data};
        memcpy(tensors[i].dim, p->dim, (size_t)p->ndim * sizeof *p->dim);
    }
    status st = safetensors_write(path, tensors, n, metadata);
    memory_free(&tensors);
    return st;
}
