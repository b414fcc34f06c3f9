/* Writes checkpoints in the background: a copy is taken at once, a thread puts it on disk, training goes on.
 *
 * Local; of rank 0. One write is under way at a time: writer_start waits for the one before. What fails is kept and
 * told by writer_status, so that the next step of all ranks can end with it. */
#ifndef ND_TRAIN_WRITER_H
#define ND_TRAIN_WRITER_H

#include "train/checkpoint.h"

typedef struct writer writer;

/* Room for the copies, as large as the blocks of k (with the best weights where k has them). */
status writer_new(const checkpoint *k, const char *folder, writer **w);
/* Copy k, with the weights of k->p, and write it. k->p, run and lock must outlive the write. */
void writer_start(writer *w, const checkpoint *k);
bool writer_is_busy(writer *w);
/* ST_OK while all is well so far, else what failed. */
status writer_status(writer *w);
/* Until nothing is under way; what failed. */
status writer_wait(writer *w);
void writer_free(writer **w); /* waits */

#endif
