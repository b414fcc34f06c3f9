/* Step memory: see step_memory.h. Under AddressSanitizer everything not taken is poisoned, with a gap after each piece,
 * so that a kernel that writes past its output is caught although it stays inside the block. */
#include "nn/step_memory.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/memory.h"
#include "base/status.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
enum { GAP = 64 };
#define POISON(p, n) __asan_poison_memory_region((p), (n))
#define UNPOISON(p, n) __asan_unpoison_memory_region((p), (n))
#else
enum { GAP = 0 };
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { LINE = 64, HUGE_PAGE = 2 << 20, FIRST_BLOCK = 8 << 20, MARK_BITS = 40 };

typedef struct buffer_head {
    size_t nbytes;
    struct buffer_head *next;
    char pad[LINE - sizeof(size_t) - sizeof(void *)];
} buffer_head;

static size_t round_up(size_t n, size_t unit) {
    return (n + unit - 1) / unit * unit;
}

static int add_block(step_memory *m, size_t nbytes) {
    if (memory_grow(&m->block, &m->capacity, m->nblocks + 1, sizeof *m->block) != ST_OK)
        return -1;
    nbytes = round_up(nbytes, HUGE_PAGE);
    char *data = aligned_alloc(HUGE_PAGE, nbytes);
    if (data == NULL)
        return -1;
    (void)madvise(data, nbytes, MADV_HUGEPAGE); /* fewer TLB misses where the kernel allows it; refusing is fine */
    POISON(data, nbytes);
    m->block[m->nblocks++] = (step_block){.data = data, .nbytes = nbytes};
    return 0;
}

void *step_take(step_memory *m, size_t nbytes) {
    if (nbytes > ((size_t)1 << MARK_BITS) / 2)
        return NULL;
    size_t need = round_up(nbytes, LINE) + GAP;
    while (m->current < m->nblocks && m->used + need > m->block[m->current].nbytes) {
        m->current++;
        m->used = 0;
    }
    if (m->current == m->nblocks) {
        size_t grow = m->total > FIRST_BLOCK ? m->total / 2 : FIRST_BLOCK;
        if (add_block(m, need > grow ? need : grow) != 0)
            return NULL;
    }
    char *p = m->block[m->current].data + m->used;
    m->used += need;
    m->total += need;
    if (m->total > m->peak)
        m->peak = m->total;
    UNPOISON(p, nbytes);
    return p;
}

void *step_take_buffer(step_memory *m, size_t nbytes) {
    buffer_head **link = (buffer_head **)&m->recycled;
    for (buffer_head *b = *link; b != NULL; link = &b->next, b = b->next)
        if (b->nbytes == nbytes) {
            *link = b->next;
            UNPOISON(b + 1, nbytes);
            return b + 1;
        }
    buffer_head *b = nbytes < SIZE_MAX - sizeof *b ? step_take(m, sizeof *b + nbytes) : NULL;
    if (b == NULL)
        return NULL;
    b->nbytes = nbytes;
    return b + 1;
}

void step_recycle(step_memory *m, void *buffer) {
    buffer_head *b = (buffer_head *)buffer - 1;
    b->next = m->recycled;
    m->recycled = b;
    POISON(b + 1, b->nbytes);
}

/* A mark is the block's number and the bytes used of it. The total is not part of it: step_rewind counts back. */
size_t step_mark(const step_memory *m) {
    return m->current << MARK_BITS | m->used;
}

bool step_is_above(const step_memory *m, size_t mark, const void *p) {
    size_t block = mark >> MARK_BITS, used = mark & (((size_t)1 << MARK_BITS) - 1);
    for (size_t i = block; i < m->nblocks; i++) {
        uintptr_t first = (uintptr_t)m->block[i].data, at = (uintptr_t)p;
        if (at >= first + (i == block ? used : 0) && at < first + m->block[i].nbytes)
            return true;
    }
    return false;
}

void *step_rewind(step_memory *m, size_t mark, void *keep, size_t nbytes) {
    size_t block = mark >> MARK_BITS, used = mark & (((size_t)1 << MARK_BITS) - 1);
    ASSERT(block < m->current || (block == m->current && used <= m->used));
    for (size_t i = block; i <= m->current && i < m->nblocks; i++) {
        size_t taken = (i == m->current ? m->used : m->block[i].nbytes) - (i == block ? used : 0);
        m->total -= m->total < taken ? m->total : taken;
    }
    m->current = block;
    m->used = used;
    void *moved = NULL;
    if (keep != NULL) { /* it lay at or above the mark, so it fits again; the two places may overlap */
        moved = step_take(m, nbytes);
        memmove(moved, keep, nbytes);
    }
    for (size_t i = m->current; i < m->nblocks; i++) {
        size_t first = i == m->current ? m->used : 0;
        POISON(m->block[i].data + first, m->block[i].nbytes - first);
    }
    return moved;
}

void step_reset(step_memory *m) {
    if (m->nblocks > 1) {
        size_t sum = 0;
        for (size_t i = 0; i < m->nblocks; i++) {
            UNPOISON(m->block[i].data, m->block[i].nbytes);
            free(m->block[i].data);
            sum += m->block[i].nbytes;
        }
        m->nblocks = 0;
        /* Blocks end in unused tails, so their sum always fits the same step. If the one large piece cannot be had,
         * the next step grows by small ones again. */
        (void)add_block(m, sum);
    } else if (m->nblocks == 1) {
        POISON(m->block[0].data, m->block[0].nbytes);
    }
    m->current = m->used = m->total = 0;
    m->recycled = NULL;
}

void step_free(step_memory *m) {
    for (size_t i = 0; i < m->nblocks; i++) {
        UNPOISON(m->block[i].data, m->block[i].nbytes);
        free(m->block[i].data);
    }
    free(m->block);
    *m = (step_memory){0};
}
