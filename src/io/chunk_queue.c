/* Ring of chunk jobs between the owning thread and deflating workers. See chunk_queue.h.
 *
 * The owner fills the slot at `tail` and hands on finished slots from `head` on, so the file order is the order of
 * puts. One mutex guards the states; a chunk is some hundred kilobytes, so the lock is taken rarely. */
#include <libdeflate.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/memory.h"
#include "io/chunk_queue.h"
#include "io/h5_util.h"
#include "io/column_deflate.h"

enum { SLOTS_PER_THREAD = 2, THREADS_MAX = 64 };
enum { FILTER_SHUFFLE_SKIPPED = 1, FILTER_DEFLATE_SKIPPED = 2 }; /* bits of HDF5's filter mask, in pipeline order */

typedef enum slot_state { SLOT_FREE, SLOT_FILLED, SLOT_TAKEN, SLOT_DONE } slot_state;

typedef struct slot {
    slot_state state;
    chunk_place place;
    int level;
    size_t nbytes, size;
    uint32_t *start; /* of headers */
    size_t nstarts, start_capacity;
    column_deflater *columns;
    uint8_t *raw, *shuffled, *deflated;
    const uint8_t *stored; /* one of the three */
    size_t nstored;
    uint32_t mask;
    struct libdeflate_compressor *compressor; /* of compressor_level */
    int compressor_level;
    bool failed;
} slot;

struct chunk_queue {
    const char *path;
    chunk_sink *take;
    void *data;
    size_t bound; /* of deflated */
    size_t nslots, head, count;
    slot *slots;
    int nthreads;
    pthread_t thread[THREADS_MAX];
    pthread_mutex_t lock;
    pthread_cond_t filled, done;
    bool stop;
};

/* HDF5's shuffle: first all first bytes of the elements, then all second bytes, ... */
static void shuffle(const uint8_t *from, size_t n, size_t size, uint8_t *to) {
    for (size_t b = 0; b < size; b++)
        for (size_t i = 0; i < n; i++)
            to[b * n + i] = from[i * size + b];
}

static size_t deflate_bytes(slot *s, const uint8_t *source, size_t bound) {
    if (s->compressor == NULL || s->compressor_level != s->level) {
        libdeflate_free_compressor(s->compressor);
        s->compressor = libdeflate_alloc_compressor(s->level);
        s->compressor_level = s->level;
    }
    s->failed = s->compressor == NULL;
    return s->failed ? 0 : libdeflate_zlib_compress(s->compressor, source, s->nbytes, s->deflated, bound);
}

/* Level 1 knows what headers and times are like. */
static size_t deflate_quickly(slot *s, const uint8_t *source) {
    s->failed = s->columns == NULL && column_deflater_new(&s->columns) != ST_OK;
    if (s->failed)
        return 0;
    return s->nstarts > 0 ? deflate_headers(s->columns, source, s->nbytes, s->start, s->nstarts, s->deflated, s->nbytes)
                          : deflate_runs(s->columns, source, s->nbytes, s->deflated, s->nbytes);
}

static void do_job(slot *s, size_t bound) {
    s->stored = s->raw;
    s->nstored = s->nbytes;
    s->mask = FILTER_SHUFFLE_SKIPPED | FILTER_DEFLATE_SKIPPED;
    if (s->level == 0)
        return;
    const uint8_t *source = s->raw;
    if (s->size > 1) {
        shuffle(s->raw, s->nbytes / s->size, s->size, s->shuffled);
        source = s->shuffled;
    }
    bool known = s->level == 1 && (s->nstarts > 0 || s->size == sizeof(int64_t));
    size_t n = known ? deflate_quickly(s, source) : deflate_bytes(s, source, bound);
    if (n > 0 && n < s->nbytes) {
        s->stored = s->deflated;
        s->nstored = n;
        s->mask = 0;
    }
}

static void *worker(void *data) {
    chunk_queue *q = data;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        slot *s = NULL;
        for (size_t i = 0; i < q->count && s == NULL; i++) {
            slot *next = &q->slots[(q->head + i) % q->nslots];
            if (next->state == SLOT_FILLED)
                s = next;
        }
        if (s == NULL && q->stop)
            break;
        if (s == NULL) {
            pthread_cond_wait(&q->filled, &q->lock);
            continue;
        }
        s->state = SLOT_TAKEN;
        pthread_mutex_unlock(&q->lock);
        do_job(s, q->bound);
        pthread_mutex_lock(&q->lock);
        s->state = SLOT_DONE;
        pthread_cond_signal(&q->done);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

status chunk_queue_new(chunk_queue **out, const char *path, int threads, size_t chunk_max, chunk_sink *take,
                       void *data) {
    chunk_queue *q = NULL;
    *out = NULL;
    TRY(NEW(1, &q));
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->filled, NULL);
    pthread_cond_init(&q->done, NULL);
    threads = threads <= 1 ? 0 : threads < THREADS_MAX ? threads : THREADS_MAX;
    q->path = path;
    q->take = take;
    q->data = data;
    q->bound = libdeflate_zlib_compress_bound(NULL, chunk_max);
    status st = NEW(threads > 0 ? (size_t)threads * SLOTS_PER_THREAD : 1, &q->slots);
    q->nslots = threads > 0 ? (size_t)threads * SLOTS_PER_THREAD : 1;
    for (size_t i = 0; i < q->nslots && st == ST_OK; i++) {
        slot *s = &q->slots[i];
        if ((st = NEW(chunk_max + COLUMN_DEFLATE_SLACK, &s->raw)) == ST_OK &&
            (st = NEW(chunk_max + COLUMN_DEFLATE_SLACK, &s->shuffled)) == ST_OK)
            st = NEW(q->bound, &s->deflated);
    }
    for (int i = 0; i < threads && st == ST_OK; i++) {
        int failed = pthread_create(&q->thread[i], NULL, worker, q);
        if (failed != 0)
            st = FAIL(ST_LIBRARY, "%s: a thread could not be started: %s", path, strerror(failed));
        else
            q->nthreads++;
    }
    if (st != ST_OK)
        chunk_queue_free(&q);
    *out = q;
    return st;
}

/* Hand on the oldest chunk, waiting for its worker. */
static status hand_on(chunk_queue *q) {
    slot *s = &q->slots[q->head];
    if (q->nthreads > 0) {
        pthread_mutex_lock(&q->lock);
        while (s->state != SLOT_DONE)
            pthread_cond_wait(&q->done, &q->lock);
        pthread_mutex_unlock(&q->lock);
    }
    if (s->failed)
        return FAIL(ST_MEMORY, "%s: no memory to deflate a chunk", q->path);
    TRY(q->take(q->data, &s->place, s->mask, s->stored, s->nstored));
    pthread_mutex_lock(&q->lock);
    s->state = SLOT_FREE;
    q->head = (q->head + 1) % q->nslots;
    q->count--;
    pthread_mutex_unlock(&q->lock);
    return ST_OK;
}

status chunk_queue_put(chunk_queue *q, const chunk_place *place, const void *bytes, size_t nbytes,
                       const chunk_content *content, int level) {
    if (q->count == q->nslots)
        TRY(hand_on(q));
    slot *s = &q->slots[(q->head + q->count) % q->nslots];
    s->place = *place;
    s->level = level;
    s->nbytes = nbytes;
    s->size = content->size;
    TRY(memory_grow(&s->start, &s->start_capacity, content->nstarts, sizeof *s->start));
    s->nstarts = content->nstarts;
    if (s->nstarts > 0)
        memcpy(s->start, content->start, s->nstarts * sizeof *s->start);
    memcpy(s->raw, bytes, nbytes);
    if (q->nthreads == 0) {
        do_job(s, q->bound);
        s->state = SLOT_DONE;
        q->count++;
        return hand_on(q);
    }
    pthread_mutex_lock(&q->lock);
    s->state = SLOT_FILLED;
    q->count++;
    pthread_cond_signal(&q->filled);
    pthread_mutex_unlock(&q->lock);
    return ST_OK;
}

status chunk_queue_flush(chunk_queue *q) {
    while (q->count > 0)
        TRY(hand_on(q));
    return ST_OK;
}

void chunk_queue_free(chunk_queue **out) {
    chunk_queue *q = *out;
    if (q == NULL)
        return;
    pthread_mutex_lock(&q->lock);
    q->stop = true;
    pthread_cond_broadcast(&q->filled);
    pthread_mutex_unlock(&q->lock);
    for (int i = 0; i < q->nthreads; i++)
        pthread_join(q->thread[i], NULL);
    for (size_t i = 0; q->slots != NULL && i < q->nslots; i++) {
        memory_free(&q->slots[i].raw);
        memory_free(&q->slots[i].shuffled);
        memory_free(&q->slots[i].deflated);
        column_deflater_free(&q->slots[i].columns);
        free(q->slots[i].start);
        libdeflate_free_compressor(q->slots[i].compressor);
    }
    memory_free(&q->slots);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->filled);
    pthread_cond_destroy(&q->done);
    memory_free(out);
}

status chunk_filters(const char *path, hid_t properties, int level) {
    TRY_H5(ST_LIBRARY, path, H5Pset_shuffle(properties));
    TRY_H5(ST_LIBRARY, path, H5Pset_deflate(properties, (unsigned)level));
    return ST_OK;
}
