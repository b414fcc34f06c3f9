/* Chunks on their way into an HDF5 file: shuffled and deflated by worker threads, written in the order they came.
 *
 * The file gets the same bytes for any number of threads. Filters are HDF5's own shuffle and deflate, applied here so
 * that they can run beside each other; HDF5 is called by the owning thread only. */
#ifndef ND_IO_CHUNK_QUEUE_H
#define ND_IO_CHUNK_QUEUE_H

#include <hdf5.h>
#include "base/status.h"

typedef struct chunk_queue chunk_queue;

/* threads <= 1: no workers, chunks are done by the caller. chunk_max: bytes of the largest chunk. */
status chunk_queue_new(chunk_queue **q, const char *path, int threads, size_t chunk_max);
/* Take a copy of a whole chunk (nbytes) of elements of `size` bytes that belongs at `offset` (2 numbers) of `set`.
 * level 0 stores it as it is. Errors may be those of chunks put earlier. */
status chunk_queue_put(chunk_queue *q, hid_t set, const hsize_t offset[2], const void *bytes, size_t nbytes,
                       size_t size, int level);
/* Wait for and write everything put so far. */
status chunk_queue_flush(chunk_queue *q);
void chunk_queue_free(chunk_queue **q);

/* Add the filters that this file's chunks are written with to creation properties. */
status chunk_filters(const char *path, hid_t properties, int level);

#endif
