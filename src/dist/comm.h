/* Communicator: one process, or the ranks of an MPI job, behind one interface.
 *
 * Calls are collective unless said otherwise: every rank makes them in the same order with matching sizes. Data calls
 * move counts above 2^31 in pieces. After ST_COMM the communicator is unusable and the job must end. */
#ifndef ND_DIST_COMM_H
#define ND_DIST_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

typedef struct comm comm;

/* Start message passing (MPI_Init_thread where the program runs under mpirun or srun; otherwise one process). */
status comm_open(comm **c);
/* The same, with a limit (deadline.h; 0: none) for the time from here until comm_watch, and for the end of message
 * passing in comm_finish: a rank that is stopped there holds up all others. */
status comm_open_within(comm **c, double seconds);
int comm_rank(const comm *c); /* local */
int comm_size(const comm *c); /* local */
/* Ranks that share this node (its memory: what a device is chosen by), and this one's number among them. Local. */
int comm_node_rank(const comm *c);
int comm_node_size(const comm *c);
/* Threads this rank should use: wanted, or (wanted 0) its share of the processors that it may run on: those of the node
 * divided by its ranks, or the rank's own where the launcher bound it. At least 1. Local. */
int comm_threads(const comm *c, int64_t wanted);

/* Agree on success: ST_OK if every rank passes ST_OK, else on all ranks the status and message of the lowest rank that
 * failed (message prefixed with its rank). A failure goes before ST_STOPPED. */
status comm_agree(comm *c, status st);
/* *any on all ranks: whether `mine` is true on at least one. So all ranks stop together when one was told to. */
status comm_any(comm *c, bool mine, bool *any);

status comm_barrier(comm *c);
/* x (n floats) summed / averaged over all ranks, in place, in rank order (same bytes on every rank). */
status comm_sum_f32(comm *c, float *x, size_t n);
status comm_mean_f32(comm *c, float *x, size_t n);
/* The same, in the background: start returns at once where the message layer allows it, and x may not be touched before
 * comm_sum_wait, which waits for all sums that were started. Sums are started in the same order with the same sizes on
 * all ranks; other calls may come in between. */
status comm_sum_start(comm *c, float *x, size_t n);
status comm_sum_wait(comm *c);
/* Seconds that the background sums took so far, and those that comm_sum_wait stood still for them. Local. */
void comm_sum_seconds(const comm *c, double *busy, double *waited);
/* In the background as well, and waited for by comm_sum_wait: elements at .. at + n of the sum of nleaves blocks in a
 * fixed tree (tree.h), whatever the number of ranks. This rank passes the blocks of tree_nodes of its tree_share, and
 * may find these elements overwritten; every rank gets the sum. Needs a leaf for each rank. */
status comm_sum_tree_start(comm *c, uint64_t nleaves, float *const *block, size_t at, size_t n, float *sum);
status comm_sum_f64(comm *c, double *x, size_t n);
status comm_sum_u64(comm *c, uint64_t *x, size_t n);
status comm_max_u64(comm *c, uint64_t *x, size_t n);
status comm_broadcast(comm *c, void *bytes, size_t nbytes, int root);
/* Every rank's bytes, one after another in rank order, on root (malloc, a NUL after them, caller frees); NULL
 * elsewhere. sizes (comm_size entries, caller's) is filled on root. */
status comm_gather(comm *c, const void *bytes, size_t nbytes, int root, char **all, size_t *sizes);

/* ST_USAGE where a rank's text is not rank 0's: the message names the rank, `what` and the first line that differs. */
status comm_check_same(comm *c, const char *what, const char *text);

/* From now on a thread watches that calls end. When one takes longer than `seconds` (0: never), it prints one message
 * with rank, host, step and call and which ranks have not come, and ends the job with exit code 1. A rank that gives a
 * sign of life and computes is waited for; one that gives none (stopped, cut off) is not, nor is a call that all ranks
 * have entered. */
status comm_watch(comm *c, double seconds);
/* in_step: ranks do the same work at the same pace now, so one that lets the others wait longer than the limit ends the
 * job although it computes. Local; all ranks say the same. */
void comm_set_in_step(comm *c, bool in_step);
/* The step, for the message. Local. */
void comm_set_step(comm *c, uint64_t step);

/* End of the program: agree, print the job's one error message if there is one, stop message passing, return the exit
 * code. With *c NULL (an error before comm_open) the ranks of a job still print one message. A rank that comes here
 * with an error while others do not follow within seconds, or with ST_COMM, prints its message and ends all by
 * MPI_Abort. */
int comm_finish(comm **c, status st);

/* Numbered work handed out dynamically: each item 0..n-1 to exactly one caller, in rising order per rank. Ranks
 * need not be in step between open and close. */
typedef struct work work;
status work_open(comm *c, uint64_t nitems, work **w);
/* Local. *item == nitems says that nothing is left. Not for several threads at once. */
status work_next(work *w, uint64_t *item);
/* Collective; waits for all ranks, which need not have taken everything. */
status work_close(work **w);

#endif
