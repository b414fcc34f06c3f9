/* Inside the MPI layer: its state, its errors, and the work counter (comm_counter_mpi.c). */
#ifndef ND_DIST_COMM_MPI_PRIV_H
#define ND_DIST_COMM_MPI_PRIV_H

#include <mpi.h>

#include "dist/comm_priv.h"

typedef struct mpi_counter mpi_counter;

typedef struct mpi_state {
    MPI_Comm work, end; /* copies of the world: for all calls, and for the last agreement alone */
    int *counts, *places, *my_counts, *my_places; /* size entries each, for exchanges of parts */
    char *parts;                                  /* parts_nbytes: the same part from every rank */
    size_t parts_nbytes;
    bool any_thread;       /* MPI_THREAD_MULTIPLE was granted */
    mpi_counter *counters; /* those that are open */
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

#endif
