/* Inside the communicator: what comm.c keeps, and the table of functions behind which a message layer stands.
 *
 * A communicator without a layer is one process: nothing is sent. */
#ifndef ND_DIST_COMM_PRIV_H
#define ND_DIST_COMM_PRIV_H

#include <stdatomic.h>

#include "dist/comm.h"

enum { COMM_MESSAGE_NBYTES = 2048 };

typedef enum comm_reduction { SUM_F32, SUM_F64, SUM_U64, MAX_U64 } comm_reduction;

typedef struct comm_layer comm_layer;

struct comm {
    const comm_layer *layer; /* NULL: one process */
    void *state;             /* the layer's */
    int rank, size, node_rank, node_size;
    int processors;                   /* this rank's share of the processors of the node */
    bool broken;                      /* after ST_COMM: no more messages */
    double limit;                     /* seconds for start and end; 0 = none */
    struct deadline *start;           /* until comm_watch */
    size_t piece_nbytes;              /* largest message */
    double finish_seconds;            /* how long a rank with an error waits for the others at the end */
    char agreed[COMM_MESSAGE_NBYTES]; /* the latest message agreed on: it names its rank already */

    /* What the calling thread is at, for the watchdog. */
    int depth;                         /* calls within calls: the outermost one counts */
    _Atomic(const char *) operation;   /* NULL: in no call */
    atomic_uint_fast64_t since, calls; /* nanoseconds of the monotonic clock; collective calls entered so far */
    atomic_uint_fast64_t step;
    atomic_bool in_step;
};

/* Around every call that waits for others. */
void comm_enter(comm *c, const char *operation, bool collective);
status comm_leave(comm *c, status st);

/* Collective unless said otherwise; each fails with ST_COMM. */
struct comm_layer {
    /* Least key over all ranks, and the rank that has it (the lowest of several). */
    status (*least)(comm *c, int key, int *least_key);
    /* The same on a channel of its own, for the end: gives up after `seconds` (< 0: never) with *late set. */
    status (*least_at_end)(comm *c, int key, double seconds, int *least_key, bool *late);
    status (*barrier)(comm *c);
    status (*reduce)(comm *c, void *x, size_t n, comm_reduction reduction);
    /* In the background, in the order of the calls; wait is for all. */
    status (*sum_start)(comm *c, float *x, size_t n);
    status (*sum_tree_start)(comm *c, uint64_t nleaves, float *const *block, size_t at, size_t n, float *sum);
    status (*sum_wait)(comm *c);
    void (*sum_seconds)(const comm *c, double *busy, double *waited); /* local */
    status (*watch)(comm *c, double seconds);
    status (*broadcast)(comm *c, void *bytes, size_t nbytes, int root);
    /* sizes: on root, from every rank; then the bytes themselves into `all` of root, in rank order. */
    status (*gather_sizes)(comm *c, uint64_t nbytes, int root, uint64_t *sizes);
    status (*gather_bytes)(comm *c, const void *bytes, size_t nbytes, int root, char *all, const uint64_t *sizes);
    status (*counter_open)(comm *c, void **counter);
    status (*counter_next)(comm *c, void *counter, uint64_t *value); /* local */
    status (*counter_close)(comm *c, void **counter);
    void (*abort)(comm *c, int exit_code); /* local; ends the job */
    void (*close)(comm *c);
};

/* Fill c from a started MPI job. */
status comm_mpi_open(comm *c);

/* For tests: message size and patience. Local; the size must be the same on all ranks and hold one element. */
void comm_set_limits(comm *c, size_t piece_nbytes, double finish_seconds);

#endif
