/* How the parts of a model add their parameters: the same code makes fresh ones and loads them from a file.
 *
 * With a file, a parameter is added only after its tensor was found there with the right shape, so that a hostile
 * configuration cannot ask for more memory than its weights file is long. */
#ifndef ND_MODEL_BUILD_H
#define ND_MODEL_BUILD_H

#include "base/status.h"
#include "io/safetensors.h"
#include "nn/nn.h"

typedef struct builder {
    params *into;            /* NULL: only look whether the file has all that is asked for */
    const char *prefix;      /* of the parameters' names in memory; the file's tensors do not have it */
    const safetensors *from; /* NULL: fresh, zero */
    const char *path;        /* of that file, for messages */
    size_t nfound;
    const safetensor **found; /* tensors asked for so far */
} builder;

status build_begin(builder *b, params *into, const char *prefix, const safetensors *from, const char *path);
/* Add "PREFIX<name>" of shape (rows, columns), or (rows) where columns is 0. */
status build_param(builder *b, param **out, size_t rows, size_t columns, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* Ends what build_begin began, whatever became of it: st is the status so far. If it is ST_OK, every tensor of the file
 * must have been asked for. */
status build_end(builder *b, status st);

/* Write the n parameters without `prefix`, in order. metadata may be NULL. Where alternative is not NULL,
 * alternative(user, p) gives the numbers to store in place of p->data (NULL: p->data). */
status build_save(const char *path, param *const *item, size_t n, const char *prefix, const text_map *metadata,
                  const float *(*alternative)(const void *user, const param *p), const void *user);

#endif
