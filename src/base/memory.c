/* Checked allocation, and a bump arena of 64-byte aligned blocks. */
#include "base/memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

/* n * size rounded up to the alignment, at least one unit; false if that does not fit. */
static bool rounded_product(size_t n, size_t size, size_t *nbytes) {
    size_t product;
    if (__builtin_mul_overflow(n, size, &product) || product > PTRDIFF_MAX - ALIGNMENT)
        return false;
    if (product == 0)
        product = 1;
    *nbytes = (product + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return true;
}

status memory_new(size_t n, size_t size, void *out) {
    void *block = NULL;
    memcpy(out, &block, sizeof block);
    size_t nbytes;
    if (!rounded_product(n, size, &nbytes))
        return FAIL(ST_MEMORY, "cannot allocate %zu elements of %zu bytes: the size overflows", n, size);
    block = aligned_alloc(ALIGNMENT, nbytes);
    if (!block)
        return FAIL(ST_MEMORY, "cannot allocate %zu elements of %zu bytes", n, size);
    memset(block, 0, nbytes);
    memcpy(out, &block, sizeof block);
    return ST_OK;
}

void memory_free(void *pointer) {
    void *block;
    memcpy(&block, pointer, sizeof block);
    free(block);
    block = NULL;
    memcpy(pointer, &block, sizeof block);
}

status memory_grow(void *array, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity)
        return ST_OK;
    size_t n = *capacity < 8 ? 8 : *capacity;
    while (n < need) {
        size_t step = n / 2;
        n = step > SIZE_MAX - n ? need : n + step;
    }
    size_t nbytes;
    if (__builtin_mul_overflow(n, size, &nbytes) || nbytes > PTRDIFF_MAX)
        return FAIL(ST_MEMORY, "cannot grow an array to %zu elements of %zu bytes: the size overflows", need, size);
    void *old, *grown;
    memcpy(&old, array, sizeof old);
    grown = realloc(old, nbytes);
    if (!grown)
        return FAIL(ST_MEMORY, "cannot grow an array to %zu elements of %zu bytes", need, size);
    memcpy(array, &grown, sizeof grown);
    *capacity = n;
    return ST_OK;
}

/* The header fills one alignment unit, so that what follows is aligned. */
typedef struct arena_block {
    _Alignas(ALIGNMENT) struct arena_block *next;
    size_t capacity, used;
} arena_block;

struct arena {
    arena_block *blocks; /* the newest first; only the newest has room */
    size_t block_nbytes, taken, peak;
};

static arena_block *block_new(size_t capacity) {
    size_t nbytes;
    if (capacity > PTRDIFF_MAX - sizeof(arena_block) || !rounded_product(capacity + sizeof(arena_block), 1, &nbytes))
        return NULL;
    arena_block *block = aligned_alloc(ALIGNMENT, nbytes);
    if (block)
        *block = (arena_block){.capacity = nbytes - sizeof *block};
    return block;
}

static void blocks_free(arena_block *block) {
    while (block) {
        arena_block *next = block->next;
        free(block);
        block = next;
    }
}

status arena_new(arena **a, size_t block_nbytes) {
    TRY(NEW(1, a));
    (*a)->block_nbytes = block_nbytes;
    return ST_OK;
}

void *arena_take(arena *a, size_t nbytes) {
    size_t rounded;
    if (!rounded_product(nbytes, 1, &rounded))
        return NULL;
    arena_block *block = a->blocks;
    if (!block || block->capacity - block->used < rounded) {
        block = block_new(rounded > a->block_nbytes ? rounded : a->block_nbytes);
        if (!block)
            return NULL;
        block->next = a->blocks;
        a->blocks = block;
    }
    char *start = (char *)(block + 1) + block->used;
    block->used += rounded;
    a->taken += rounded;
    if (a->taken > a->peak)
        a->peak = a->taken;
    return start;
}

void arena_reset(arena *a) {
    a->taken = 0;
    if (!a->blocks)
        return;
    if (!a->blocks->next) {
        a->blocks->used = 0;
        return;
    }
    /* One block that holds the whole peak: the next pass makes no allocation. If it cannot be had, the next pass
     * grows by blocks again. */
    blocks_free(a->blocks);
    a->blocks = block_new(a->peak);
}

size_t arena_peak(const arena *a) {
    return a->peak;
}

void arena_free(arena **a) {
    if (!*a)
        return;
    blocks_free((*a)->blocks);
    memory_free(a);
}
