/* Inside the MPI layer: its state, its errors, sums (comm_sum_mpi.c), the work counter (comm_counter_mpi.c), the
 * watchdog (comm_watch_mpi.c). */
#ifndef ND_DIST_COMM_MPI_PRIV_H
#define ND_DIST_COMM_MPI_PRIV_H

#include <mpi.h>

#include "dist/comm_priv.h"
#include "dist/tree.h"

typedef struct mpi_counter mpi_counter;
typedef struct mpi_background mpi_background;
typedef struct mpi_watch mpi_watch;

/* What a sum of nleaves blocks in a fixed tree needs besides. */
typedef struct mpi_tree {
    uint64_t nleaves;  /* 0: not made yet */
    tree_stack *nodes; /* of each rank */
    size_t piece;      /* elements that are summed at once */
    float *packed;     /* of this rank's nodes, cut into shares */
    int *counts, *places;
} mpi_tree;

/* What an exchange of parts needs: one for the calls of the program, one for each thread of background sums. */
typedef struct mpi_exchange {
    MPI_Comm ranks;
    int *counts, *places, *my_counts, *my_places; /* size entries each */
    char *parts;                                  /* parts_nbytes: the same part from every rank */
    size_t parts_nbytes;
    bool sleeps; /* wait for messages asleep: the processor is needed elsewhere */
    mpi_tree tree;
} mpi_exchange;

typedef struct mpi_state {
    MPI_Comm work, end; /* copies of the world: for all calls, and for the last agreement alone */
    mpi_exchange exchange;
    bool any_thread;            /* MPI_THREAD_MULTIPLE was granted */
    mpi_counter *counters;      /* those that are open */
    mpi_background *background; /* NULL before the first background sum */
    mpi_watch *watch;           /* NULL: nobody watches */
} mpi_state;

/* Marks c as broken and records MPI's own text. Use through TRY_MPI. */
status mpi_failed(comm *c, const char *operation, int code, const char *file, int line);

#define TRY_MPI(c, operation, call)                                                                                    \
    do {                                                                                                               \
        int try_code_ = (call);                                                                                        \
        if (try_code_ != MPI_SUCCESS)                                                                                  \
            return mpi_failed((c), (operation), try_code_, __FILE__, __LINE__);                                        \
    } while (0)

status mpi_counter_open(comm *c, void **counter);
status mpi_counter_next(comm *c, void *counter, uint64_t *value);
status mpi_counter_close(comm *c, void **counter);
/* End the threads of counters that an error left open. Local. */
void mpi_counters_abandon(mpi_state *s);

/* Arrays for exchanges among `size` ranks. */
status mpi_exchange_open(mpi_exchange *e, MPI_Comm ranks, int size);
void mpi_exchange_close(mpi_exchange *e);
status mpi_sum_in_rank_order(comm *c, char *x, size_t n, size_t element_nbytes);
status mpi_sum_start(comm *c, float *x, size_t n);
status mpi_sum_tree_start(comm *c, uint64_t nleaves, float *const *block, size_t at, size_t n, float *sum);
status mpi_sum_wait(comm *c);
void mpi_sum_seconds(const comm *c, double *busy, double *waited);
/* End the thread of background sums; what it was at is waited for unless c is broken. Local. */
void mpi_background_close(comm *c);

status mpi_watch_open(comm *c, double seconds);
void mpi_watch_close(mpi_state *s);

#endif
