/* The memory of one step: a bump allocator with marks, and a free list for buffers that die early.
 *
 * The first step grows block by block; the next reset joins the blocks into one of the size that was needed, so that
 * from then on a step neither calls malloc nor touches a fresh page. Gradients of activations come and go during the
 * backward pass; step_recycle hands their buffers to the next one while they are still in the cache. */
#ifndef ND_NN_STEP_MEMORY_H
#define ND_NN_STEP_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

typedef struct step_block {
    char *data;
    size_t nbytes;
} step_block;

typedef struct step_memory {
    step_block *block;
    size_t nblocks, capacity;
    size_t current, used; /* block being filled, bytes used of it */
    size_t total, peak;   /* bytes taken since the reset, and the most ever */
    void *recycled;       /* list of buffers from step_recycle */
} step_memory;

/* 64-byte aligned, not zeroed; NULL when memory is out. */
void *step_take(step_memory *m, size_t nbytes);
/* The same, from a recycled buffer of this size if there is one. Only buffers from here may be recycled. */
void *step_take_buffer(step_memory *m, size_t nbytes);
void step_recycle(step_memory *m, void *buffer);
size_t step_mark(const step_memory *m);
bool step_is_above(const step_memory *m, size_t mark, const void *p);
/* Give back everything taken since the mark, except nbytes at keep (NULL: nothing), which move to the mark: the new
 * place is returned. Not while recycled buffers lie above the mark. */
void *step_rewind(step_memory *m, size_t mark, void *keep, size_t nbytes);
void step_reset(step_memory *m);
void step_free(step_memory *m);

#endif
