/* A lock on an output: one attempt at a time works on it, and an attempt that lost it can tell.
 *
 * The lock is a file with the holder's host, process, start and a token of its own, made by link(2) (all or nothing,
 * also on NFS) with flock(2) on it. The kernel lets go of the flock when the holder dies, so what a killed run leaves
 * is taken over at once. A lock of the same Slurm job with a lower restart count is taken over although it is held:
 * that attempt was cut off and requeued, and may wake up again. So before it writes something, a holder asks
 * lock_check. */
#ifndef ND_BASE_LOCK_H
#define ND_BASE_LOCK_H

#include "base/status.h"

typedef struct lock lock;

/* Local. ST_IO naming the holder where another attempt is at work. Folders on the way must be there. */
status lock_take(const char *path, lock **l);
/* ST_IO naming the new holder where the lock is no longer this attempt's. NULL is nobody's lock and passes. Any thread.
 */
status lock_check(const lock *l);
/* "host-pid-number" of this attempt, fit for a file name. */
const char *lock_token(const lock *l);
/* Remove the file if it is still this attempt's. */
void lock_release(lock **l);

#endif
