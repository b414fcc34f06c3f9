/* The watchdog of an MPI job: a thread of each rank that ends the job when a call does not end.
 *
 * Every rank's thread tells two monitors a few times within the limit how many collective calls its rank has entered
 * and whether it is in one. A process that is stopped or cut off falls silent; one that computes does not. So the
 * monitors can say who is missing. They are rank 0 and the first rank on another host (the last, where there is one
 * host), because one may be missing itself, and all that run beside it. The others know nobody, and act only on ranks
 * in step, a while later, so that one message is printed and not many. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "dist/comm_mpi_priv.h"

enum { MONITORS = 2, HOST_NBYTES = 64, NAMED = 8, TAG_BEAT = 1 };

typedef struct beat {
    uint64_t calls, inside, step;
} beat;

typedef struct peer {
    beat last;
    double heard; /* when */
} peer;

struct mpi_watch {
    comm *c;
    MPI_Comm ranks;
    double limit, tick, started;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t change;
    bool runs, stop;
    bool talks; /* messages from threads are allowed */
    int monitor[MONITORS];
    char (*host)[HOST_NBYTES]; /* of each rank */
    peer *peers;               /* monitors: of each rank */
    beat sent;
    MPI_Request sending[MONITORS]; /* the latest beat, still on its way */
};

static beat own_beat(comm *c) {
    return (beat){atomic_load(&c->calls), atomic_load(&c->operation) != NULL, atomic_load(&c->step)};
}

static bool beats_are_gone(mpi_watch *w) {
    bool all_gone = true;
    for (int m = 0; m < MONITORS; m++) {
        int gone = 1;
        if (w->sending[m] != MPI_REQUEST_NULL)
            (void)MPI_Test(&w->sending[m], &gone, MPI_STATUS_IGNORE);
        all_gone = all_gone && gone;
    }
    return all_gone;
}

/* A receiver that is stopped takes nothing: then the beat before is still on its way, and this one is left out. */
static void send_beats(mpi_watch *w) {
    if (!beats_are_gone(w))
        return;
    w->sent = own_beat(w->c);
    for (int m = 0; m < MONITORS; m++)
        if (w->monitor[m] != w->c->rank)
            (void)MPI_Isend(&w->sent, (int)sizeof w->sent, MPI_BYTE, w->monitor[m], TAG_BEAT, w->ranks, &w->sending[m]);
}

static void hear_beats(mpi_watch *w) {
    for (int found = 1; found;) {
        MPI_Status from;
        beat b;
        if (MPI_Iprobe(MPI_ANY_SOURCE, TAG_BEAT, w->ranks, &found, &from) != MPI_SUCCESS || !found)
            return;
        if (MPI_Recv(&b, (int)sizeof b, MPI_BYTE, from.MPI_SOURCE, TAG_BEAT, w->ranks, &from) != MPI_SUCCESS)
            return;
        w->peers[from.MPI_SOURCE] = (peer){b, time_seconds()};
    }
}

/* What a monitor knows about a rank that has not come to the call that this one waits in. */
typedef enum whereabouts { ARRIVED, BUSY, SILENT } whereabouts;

static whereabouts look_at(const mpi_watch *w, int rank, double now) {
    const peer *p = &w->peers[rank];
    double heard = p->heard > w->started ? p->heard : w->started;
    if (now - heard > 0.5 * w->limit)
        return SILENT;
    return p->last.calls >= atomic_load(&w->c->calls) ? ARRIVED : BUSY;
}

static void name_missing(const mpi_watch *w, double now, FILE *to) {
    int named = 0, missing = 0;
    for (int r = 0; r < w->c->size; r++) {
        whereabouts where = r == w->c->rank ? ARRIVED : look_at(w, r, now);
        if (where == ARRIVED)
            continue;
        missing++;
        if (named++ >= NAMED)
            continue;
        fprintf(to, "%s rank %d on %s (", missing == 1 ? "; not there:" : ",", r, w->host[r]);
        if (where == BUSY)
            fprintf(to, "alive, %s)", w->peers[r].last.inside ? "in an earlier call" : "computing");
        else if (w->peers[r].heard > 0)
            fprintf(to, "no sign of life for %.1f s)", now - w->peers[r].heard);
        else
            fprintf(to, "never heard of)");
    }
    if (missing > NAMED)
        fprintf(to, " and %d more", missing - NAMED);
    if (missing == 0)
        fprintf(to, "; all ranks are alive and there: the network, or a fault of this program");
}

static void end_job(mpi_watch *w, const char *operation, double waited) {
    char text[2048] = "";
    FILE *to = fmemopen(text, sizeof text - 1, "w");
    double now = time_seconds();
    if (to != NULL) {
        fprintf(to, "rank %d on %s: step %llu: %s has not ended for %.1f s (comm.timeout %g)", w->c->rank,
                w->host[w->c->rank], (unsigned long long)atomic_load(&w->c->step), operation, waited, w->limit);
        if (w->peers != NULL)
            name_missing(w, now, to);
        fprintf(to, "; the job is ended");
        fclose(to);
    }
    log_error(text);
    MPI_Abort(MPI_COMM_WORLD, 1);
    _exit(1);
}

/* Monitors know whom they wait for; the others leave it to them for a while. */
static bool is_due(const mpi_watch *w, double waited, double now) {
    if (w->peers == NULL)
        return atomic_load(&w->c->in_step) &&
               waited > 1.25 * w->limit + 2 * w->tick + 0.1 * (w->c->rank < 50 ? w->c->rank : 50);
    if (waited <= w->limit + (w->c->rank > 0 ? 2 * w->tick : 0))
        return false;
    bool busy = false;
    for (int r = 0; r < w->c->size; r++) {
        whereabouts where = r == w->c->rank ? ARRIVED : look_at(w, r, now);
        if (where == SILENT)
            return true;
        busy = busy || where == BUSY;
    }
    return !busy || atomic_load(&w->c->in_step);
}

static void look(mpi_watch *w) {
    comm *c = w->c;
    if (w->talks) {
        send_beats(w);
        if (w->peers != NULL)
            hear_beats(w);
    }
    double now = time_seconds(), since = 1e-9 * (double)atomic_load(&c->since);
    const char *operation = atomic_load(&c->operation);
    /* Entered again while this was read: then it is no old call. */
    if (operation != NULL && since == 1e-9 * (double)atomic_load(&c->since) && is_due(w, now - since, now))
        end_job(w, operation, now - since);
}

static void *watch(void *argument) {
    mpi_watch *w = argument;
    pthread_mutex_lock(&w->mutex);
    while (!w->stop) {
        pthread_mutex_unlock(&w->mutex);
        look(w);
        pthread_mutex_lock(&w->mutex);
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        long nanoseconds = until.tv_nsec + (long)(w->tick * 1e9);
        until.tv_sec += nanoseconds / 1000000000;
        until.tv_nsec = nanoseconds % 1000000000;
        if (!w->stop)
            pthread_cond_timedwait(&w->change, &w->mutex, &until);
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

static status start_thread(mpi_watch *w) {
    sigset_t all, before;
    pthread_condattr_t clock;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&w->change, &clock);
    pthread_condattr_destroy(&clock);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&w->thread, NULL, watch, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    w->runs = error == 0;
    if (w->runs)
        return ST_OK;
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->change);
    return FAIL(ST_LIBRARY, "no thread for the watchdog: %s", strerror(error));
}

static void stop_thread(mpi_watch *w) {
    pthread_mutex_lock(&w->mutex);
    w->stop = true;
    pthread_cond_broadcast(&w->change);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->change);
    w->runs = false;
}

static void free_watch(mpi_watch **w) {
    if (*w == NULL)
        return;
    memory_free(&(*w)->host);
    memory_free(&(*w)->peers);
    memory_free(w);
}

static status make_watch(comm *c, mpi_watch **out) {
    TRY(NEW(1, out));
    return memory_new((size_t)c->size, HOST_NBYTES, &(*out)->host);
}

static void choose_monitors(mpi_watch *w) {
    int second = 1;
    while (second + 1 < w->c->size && strcmp(w->host[second], w->host[0]) == 0)
        second++;
    w->monitor[0] = 0;
    w->monitor[1] = second;
}

static bool is_monitor(const mpi_watch *w) {
    return w->c->rank == w->monitor[0] || w->c->rank == w->monitor[1];
}

status mpi_watch_open(comm *c, double seconds) {
    mpi_state *s = c->state;
    mpi_watch *w = NULL;
    char host[HOST_NBYTES] = "?";
    status st;
    mpi_watch_close(s);
    TRY_TO(fail, comm_agree(c, make_watch(c, &w)));
    w->c = c;
    w->limit = seconds;
    w->tick = seconds / 10 < 1 ? seconds / 10 : 1;
    w->tick = w->tick > 0.02 ? w->tick : 0.02;
    w->sending[0] = w->sending[1] = MPI_REQUEST_NULL;
    gethostname(host, sizeof host - 1);
    int code = MPI_Allgather(host, HOST_NBYTES, MPI_CHAR, w->host, HOST_NBYTES, MPI_CHAR, s->work);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_dup(s->work, &w->ranks);
    if (code != MPI_SUCCESS) {
        st = mpi_failed(c, "watchdog", code, __FILE__, __LINE__);
        goto fail;
    }
    bool none;
    TRY_TO(fail, comm_any(c, !s->any_thread, &none));
    w->talks = !none; /* else nobody is heard: the limit alone counts */
    choose_monitors(w);
    TRY_TO(fail, comm_agree(c, w->talks && is_monitor(w) ? NEW((size_t)c->size, &w->peers) : ST_OK));
    w->started = time_seconds();
    TRY_TO(fail, comm_agree(c, start_thread(w)));
    s->watch = w;
    return ST_OK;
fail:
    if (w == NULL || !w->runs) {
        free_watch(&w);
        return st;
    }
    s->watch = w; /* started here, but not everywhere */
    mpi_watch_close(s);
    return st;
}

void mpi_watch_close(mpi_state *s) {
    mpi_watch *w = s->watch;
    if (w == NULL)
        return;
    stop_thread(w);
    s->watch = NULL;
    if (beats_are_gone(w))
        free_watch(&w);
    /* else MPI may still read what it sends: it stays until the process ends */
}
