/* The work counter of an MPI job: a thread of rank 0 answers requests for the next number.
 *
 * MPI's one-sided calls look made for this, but without hardware for them (TCP) the request waits until rank 0 enters
 * MPI by itself: measured, ranks idled for as long as rank 0 computed, several items in a row. The thread sleeps
 * between looks, so it costs no processor, and a request waits a millisecond at most.
 *
 * Where the library does not allow calls from several threads, items are dealt out in turn: rank, rank + size, ... */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "base/log.h"
#include "base/memory.h"
#include "dist/comm_mpi_priv.h"

enum { TAG_REQUEST = 1, TAG_ANSWER, TAG_DONE };
enum { LOOKS_BEFORE_SLEEP = 200, SLEEP_NANOSECONDS = 500000 };

struct mpi_counter {
    mpi_counter *next_open;
    MPI_Comm ranks; /* of this counter alone, so that messages of two counters do not mix */
    bool dealt;     /* no thread: numbers are dealt out in turn */
    uint64_t turn;  /* dealt: how many were taken here */
    int nclients;   /* rank 0: ranks that ask by message */
    bool is_server; /* rank 0: the thread runs */
    pthread_t server;
    atomic_uint_fast64_t value; /* rank 0: the next number */
    atomic_bool abandoned;
};

/* One message, if there is one. */
static int serve_one(mpi_counter *k, int *found, int *ndone) {
    MPI_Status message;
    int code = MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, k->ranks, found, &message);
    if (code != MPI_SUCCESS || !*found)
        return code;
    code = MPI_Recv(NULL, 0, MPI_BYTE, message.MPI_SOURCE, message.MPI_TAG, k->ranks, MPI_STATUS_IGNORE);
    if (message.MPI_TAG == TAG_DONE)
        ++*ndone;
    if (code != MPI_SUCCESS || message.MPI_TAG != TAG_REQUEST)
        return code;
    uint64_t value = atomic_fetch_add(&k->value, 1);
    return MPI_Send(&value, 1, MPI_UINT64_T, message.MPI_SOURCE, TAG_ANSWER, k->ranks);
}

static void *serve(void *argument) {
    mpi_counter *k = argument;
    int ndone = 0, looks = 0;
    while (ndone < k->nclients && !atomic_load(&k->abandoned)) {
        int found = 0;
        if (serve_one(k, &found, &ndone) != MPI_SUCCESS) {
            /* Nobody calls this thread who could pass an error on, and the others would wait for ever. */
            log_error("rank 0: the work counter lost its peers");
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
        looks = found ? 0 : looks + 1;
        if (looks > LOOKS_BEFORE_SLEEP)
            nanosleep(&(struct timespec){.tv_nsec = SLEEP_NANOSECONDS}, NULL);
    }
    return NULL;
}

/* Signals ask the main thread to stop; this one does not take them. */
static status start_server(mpi_counter *k) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&k->server, NULL, serve, k);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return FAIL(ST_LIBRARY, "no thread for the work counter can be started");
    k->is_server = true;
    return ST_OK;
}

static void stop_server(mpi_counter *k) {
    if (k->is_server)
        pthread_join(k->server, NULL);
    k->is_server = false;
}

static void forget(mpi_state *s, mpi_counter *k) {
    mpi_counter **at = &s->counters;
    while (*at != k)
        at = &(*at)->next_open;
    *at = k->next_open;
    memory_free(&k);
}

static void abandon(mpi_state *s, mpi_counter *k) {
    atomic_store(&k->abandoned, true);
    stop_server(k);
    forget(s, k);
}

status mpi_counter_open(comm *c, void **counter) {
    mpi_state *s = c->state;
    mpi_counter *k = NULL;
    status st;
    *counter = NULL;
    st = comm_agree(c, NEW(1, &k));
    if (st != ST_OK) {
        memory_free(&k);
        return st;
    }
    *k = (mpi_counter){.next_open = s->counters, .ranks = MPI_COMM_NULL, .nclients = c->size - 1};
    s->counters = k;
    bool any_dealt;
    TRY_TO(fail, comm_any(c, !s->any_thread, &any_dealt));
    k->dealt = any_dealt;
    if (!k->dealt) {
        int code = MPI_Comm_dup(s->work, &k->ranks);
        if (code != MPI_SUCCESS) {
            st = mpi_failed(c, "work counter", code, __FILE__, __LINE__);
            goto fail;
        }
        TRY_TO(fail, comm_agree(c, c->rank == 0 ? start_server(k) : ST_OK));
    }
    *counter = k;
    return ST_OK;
fail:
    abandon(s, k);
    return st;
}

status mpi_counter_next(comm *c, void *counter, uint64_t *value) {
    mpi_counter *k = counter;
    if (k->dealt) {
        *value = (uint64_t)c->rank + (uint64_t)c->size * k->turn++;
    } else if (c->rank == 0) {
        *value = atomic_fetch_add(&k->value, 1);
    } else {
        TRY_MPI(c, "next work item", MPI_Send(NULL, 0, MPI_BYTE, 0, TAG_REQUEST, k->ranks));
        TRY_MPI(c, "next work item", MPI_Recv(value, 1, MPI_UINT64_T, 0, TAG_ANSWER, k->ranks, MPI_STATUS_IGNORE));
    }
    return ST_OK;
}

status mpi_counter_close(comm *c, void **counter) {
    mpi_counter *k = *counter;
    int code = MPI_SUCCESS;
    if (!k->dealt && c->rank != 0)
        code = MPI_Send(NULL, 0, MPI_BYTE, 0, TAG_DONE, k->ranks);
    stop_server(k);
    if (code == MPI_SUCCESS && !k->dealt)
        code = MPI_Comm_free(&k->ranks);
    forget(c->state, k);
    *counter = NULL;
    TRY_MPI(c, "end of work", code);
    return ST_OK;
}

void mpi_counters_abandon(mpi_state *s) {
    while (s->counters)
        abandon(s, s->counters);
}
