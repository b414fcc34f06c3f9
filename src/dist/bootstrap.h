/* Hand rank 0's bytes to all ranks before they have another way to talk: what a device library needs to begin (NCCL's
 * unique id). The bytes are opaque.
 *
 * Three ways, chosen by `how`: "mpi" (broadcast), "tcp://HOST:PORT" (rank 0 listens there, the others connect),
 * "file:///FOLDER/NAME" (on a file system that all see). The last two need no MPI: rank and size come from anywhere. */
#ifndef ND_DIST_BOOTSTRAP_H
#define ND_DIST_BOOTSTRAP_H

#include "dist/comm.h"

enum { BOOTSTRAP_MAX = 4096 };

/* bytes (nbytes, at most BOOTSTRAP_MAX) go from rank 0 to all. Collective. `how` NULL: $ND_BOOTSTRAP, else mpi. ST_COMM
 * naming what is missing after `seconds`. Ranks that failed do not tell the others: agree afterwards. */
status comm_bootstrap(comm *c, const char *how, double seconds, void *bytes, size_t nbytes);
/* The same between processes that know their numbers and nothing else; `how` must not be mpi. */
status bootstrap_share(const char *how, int rank, int size, double seconds, void *bytes, size_t nbytes);

#endif
