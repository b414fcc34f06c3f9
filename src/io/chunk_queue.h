/* Chunks on their way into an HDF5 file: shuffled and deflated by worker threads, handed on in the order they came.
 *
 * A chunk gets the same bytes for any number of threads. Filters are HDF5's own shuffle and deflate, applied here so
 * that they can run beside each other, by libdeflate or, packet headers at level 1, by column_deflate.c: any reader of
 * deflate takes their streams. */
#ifndef ND_IO_CHUNK_QUEUE_H
#define ND_IO_CHUNK_QUEUE_H

#include <hdf5.h>
#include "base/status.h"

typedef struct chunk_queue chunk_queue;

/* Which chunk it is: elements start .. start + n - 1 of a column (n falls short of a whole chunk at the column's end),
 * and when it was complete: number of the packet that completed it, UINT64_MAX at the end of the dataset. */
typedef struct chunk_place {
    int column;
    uint64_t start, n, completed;
} chunk_place;

/* What becomes of a finished chunk; called by the owning thread. mask: filters of HDF5's pipeline that were not
 * applied. */
typedef status chunk_sink(void *data, const chunk_place *place, uint32_t mask, const void *bytes, size_t nbytes);

/* threads <= 1: no workers, chunks are done by the caller. chunk_max: bytes of the largest chunk. */
status chunk_queue_new(chunk_queue **q, const char *path, int threads, size_t chunk_max, chunk_sink *take, void *data);
/* What the bytes are: numbers of `size` bytes, or packet headers, which begin at start[0 .. nstarts - 1]. */
typedef struct chunk_content {
    size_t size;
    const uint32_t *start; /* NULL: numbers */
    size_t nstarts;
} chunk_content;

/* Take a copy of a whole chunk (nbytes). level 0 stores it as it is. Errors may be those of chunks put earlier. */
status chunk_queue_put(chunk_queue *q, const chunk_place *place, const void *bytes, size_t nbytes,
                       const chunk_content *content, int level);
/* Wait for and hand on everything put so far. */
status chunk_queue_flush(chunk_queue *q);
void chunk_queue_free(chunk_queue **q);

/* Add the filters that this file's chunks are written with to creation properties. */
status chunk_filters(const char *path, hid_t properties, int level);

#endif
