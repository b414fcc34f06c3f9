/* Memory: checked allocation and a bump arena.
 *
 * Allocation sizes are given as count and element size, and the product is checked. */
#ifndef ND_BASE_MEMORY_H
#define ND_BASE_MEMORY_H

#include <stddef.h>
#include "base/status.h"

/* Allocate n zeroed elements of `size` bytes into *out (64-byte aligned; free with memory_free). n may be 0: a valid pointer. */
status memory_new(size_t n, size_t size, void *out);
/* Free *(void **)pointer and set it to NULL. NULL inside is fine. */
void memory_free(void *pointer);
/* Grow *array (elements of `size` bytes, from realloc; free with free()) so that `need` elements fit; *capacity is updated. */
status memory_grow(void *array, size_t *capacity, size_t need, size_t size);

#define NEW(n, pointer) memory_new((n), sizeof **(pointer), (pointer))

/* Bump allocator: grows by blocks, freed at once. */
typedef struct arena arena;
status arena_new(arena **a, size_t block_nbytes);
/* 64-byte aligned, not zeroed. NULL when memory is out. */
void *arena_take(arena *a, size_t nbytes);
/* Forget all; the blocks are kept for reuse (merged into one after the first pass). */
void arena_reset(arena *a);
size_t arena_peak(const arena *a);
void arena_free(arena **a);

#endif
