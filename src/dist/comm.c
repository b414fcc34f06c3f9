/* Communicator: what is the same for every message layer, and the one-process case.
 *
 * A program that nobody launched must run as one process without any launcher's libraries coming to life, so the
 * environment decides whether message passing is started at all. */
#include "dist/comm.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "dist/comm_priv.h"
#include "dist/deadline.h"

enum { PIECE_NBYTES = 4 << 20 };
static const double FINISH_SECONDS = 10;

static long environment_number(const char *name) {
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : 0;
}

/* Started by mpirun, or by srun with a PMI that Open MPI can talk to. SLURM_PROCID alone says nothing: a batch script
 * has it too. */
static bool is_launched(void) {
    return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK") || getenv("PMI_RANK");
}

/* How many processes the launcher started, as far as the environment tells; 1 if it does not. Without this check the
 * tasks of an `srun` without PMIx would all believe that they are alone and write the same files. */
static long launched_size(void) {
    static const char *const by_launcher[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
    for (size_t i = 0; i < sizeof by_launcher / sizeof by_launcher[0]; i++)
        if (getenv(by_launcher[i]))
            return environment_number(by_launcher[i]);
    long tasks = environment_number("SLURM_STEP_NUM_TASKS");
    return tasks > 1 ? tasks : 1;
}

static int own_processors(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN); /* more processors than cpu_set_t has bits */
    return n > 0 && n < INT_MAX ? (int)n : 1;
}

status comm_open(comm **out) {
    return comm_open_within(out, 0);
}

status comm_open_within(comm **out, double seconds) {
    status st = ST_OK;
    comm *c = NULL;
    *out = NULL;
    TRY(NEW(1, &c));
    *c = (comm){.size = 1,
                .node_size = 1,
                .processors = own_processors(),
                .piece_nbytes = PIECE_NBYTES,
                .finish_seconds = FINISH_SECONDS,
                .limit = seconds};
    if (is_launched() && seconds > 0)
        TRY_TO(fail, deadline_begin(&c->start, seconds, "the start of message passing"));
#ifdef ND_HAVE_MPI
    if (is_launched())
        TRY_TO(fail, comm_mpi_open(c));
#endif
    if (launched_size() > 1 && c->size == 1) {
        st = FAIL(ST_COMM, "%ld processes were started, but this one cannot reach the others%s", launched_size(),
                  is_launched() ? ": this build and the launcher do not fit together" : " (srun needs --mpi=pmix)");
        goto fail;
    }
    *out = c;
    return ST_OK;
fail:
    /* Not in step with the others any more: leaving without a farewell makes the launcher end them. */
    c->broken = true;
    if (c->layer)
        c->layer->close(c);
    deadline_end(&c->start);
    memory_free(&c);
    return st;
}

void comm_set_limits(comm *c, size_t piece_nbytes, double finish_seconds) {
    c->piece_nbytes = piece_nbytes;
    c->finish_seconds = finish_seconds;
}

int comm_rank(const comm *c) {
    return c->rank;
}

int comm_size(const comm *c) {
    return c->size;
}

int comm_node_rank(const comm *c) {
    return c->node_rank;
}

int comm_node_size(const comm *c) {
    return c->node_size;
}

int comm_threads(const comm *c, int64_t wanted) {
    if (wanted > 0)
        return wanted < INT_MAX ? (int)wanted : INT_MAX;
    return c->processors > 1 ? c->processors : 1;
}

/* Every call that sends begins with this: after a failure the layer is not touched again. */
static status check_usable(const comm *c) {
    if (c->broken)
        return FAIL(ST_COMM, "message passing failed before");
    return ST_OK;
}

static uint64_t nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void comm_enter(comm *c, const char *operation, bool collective) {
    if (c->depth++ > 0)
        return;
    atomic_store(&c->since, nanoseconds());
    if (collective)
        atomic_fetch_add(&c->calls, 1);
    atomic_store(&c->operation, operation);
}

status comm_leave(comm *c, status st) {
    if (--c->depth == 0)
        atomic_store(&c->operation, NULL);
    return st;
}

status comm_watch(comm *c, double seconds) {
    status st = ST_OK;
    if (c->size > 1 && seconds > 0)
        st = check_usable(c) == ST_OK ? c->layer->watch(c, seconds) : ST_COMM;
    deadline_end(&c->start);
    return st;
}

void comm_set_in_step(comm *c, bool in_step) {
    atomic_store(&c->in_step, in_step);
}

void comm_set_step(comm *c, uint64_t step) {
    atomic_store(&c->step, step);
}

/* An order over (status, rank): failures by rank, then stops by rank, then success. */
static int agreement_key(const comm *c, status st) {
    return st == ST_OK ? 2 * c->size : st == ST_STOPPED ? c->size + c->rank : c->rank;
}

/* All ranks take over status and message of the rank with the least key. */
static status take_over(comm *c, status st, int key) {
    struct {
        int32_t st;
        char message[COMM_MESSAGE_NBYTES];
    } notice = {.st = (int32_t)st};
    int root = key % c->size;
    if (root == c->rank) {
        const char *message = *status_message() ? status_message() : status_name(st);
        if (strcmp(message, c->agreed) == 0)
            snprintf(notice.message, sizeof notice.message, "%s", message);
        else
            snprintf(notice.message, sizeof notice.message, "rank %d: %s", c->rank, message);
    }
    TRY(c->layer->broadcast(c, &notice, sizeof notice, root));
    notice.message[sizeof notice.message - 1] = 0;
    status_set_message(notice.message);
    snprintf(c->agreed, sizeof c->agreed, "%s", status_message());
    return (status)notice.st;
}

status comm_agree(comm *c, status st) {
    if (c->size == 1)
        return st;
    TRY(check_usable(c));
    int key;
    comm_enter(c, "agreement", true);
    status sent = c->layer->least(c, agreement_key(c, st), &key);
    if (sent == ST_OK && key != 2 * c->size)
        sent = take_over(c, st, key);
    return comm_leave(c, sent);
}

status comm_any(comm *c, bool mine, bool *any) {
    *any = mine;
    if (c->size == 1)
        return ST_OK;
    TRY(check_usable(c));
    int key = 1;
    comm_enter(c, "agreement to stop", true);
    status st = comm_leave(c, c->layer->least(c, mine ? 0 : 1, &key));
    *any = key == 0;
    return st;
}

status comm_barrier(comm *c) {
    if (c->size == 1)
        return ST_OK;
    TRY(check_usable(c));
    comm_enter(c, "barrier", true);
    return comm_leave(c, c->layer->barrier(c));
}

static status reduce(comm *c, void *x, size_t n, comm_reduction reduction) {
    if (c->size == 1 || n == 0)
        return ST_OK;
    TRY(check_usable(c));
    comm_enter(c, "sum over ranks", true);
    return comm_leave(c, c->layer->reduce(c, x, n, reduction));
}

status comm_sum_f32(comm *c, float *x, size_t n) {
    return reduce(c, x, n, SUM_F32);
}

status comm_mean_f32(comm *c, float *x, size_t n) {
    TRY(reduce(c, x, n, SUM_F32));
    if (c->size > 1)
        for (size_t i = 0; i < n; i++)
            x[i] /= (float)c->size;
    return ST_OK;
}

status comm_sum_start(comm *c, float *x, size_t n) {
    if (c->size == 1 || n == 0)
        return ST_OK;
    TRY(check_usable(c));
    return c->layer->sum_start(c, x, n);
}

status comm_sum_tree_start(comm *c, uint64_t nleaves, float *const *block, size_t at, size_t n, float *sum) {
    ASSERT(nleaves >= (uint64_t)c->size);
    if (n == 0)
        return ST_OK;
    if (c->size == 1) {
        memcpy(sum + at, block[0] + at, n * sizeof *sum);
        return ST_OK;
    }
    TRY(check_usable(c));
    return c->layer->sum_tree_start(c, nleaves, block, at, n, sum);
}

status comm_sum_wait(comm *c) {
    if (c->size == 1)
        return ST_OK;
    TRY(check_usable(c));
    comm_enter(c, "exchange of gradients", true);
    return comm_leave(c, c->layer->sum_wait(c));
}

void comm_sum_seconds(const comm *c, double *busy, double *waited) {
    *busy = *waited = 0;
    if (c->size > 1)
        c->layer->sum_seconds(c, busy, waited);
}

status comm_sum_f64(comm *c, double *x, size_t n) {
    return reduce(c, x, n, SUM_F64);
}

status comm_sum_u64(comm *c, uint64_t *x, size_t n) {
    return reduce(c, x, n, SUM_U64);
}

status comm_max_u64(comm *c, uint64_t *x, size_t n) {
    return reduce(c, x, n, MAX_U64);
}

status comm_broadcast(comm *c, void *bytes, size_t nbytes, int root) {
    ASSERT(root >= 0 && root < c->size);
    if (c->size == 1 || nbytes == 0)
        return ST_OK;
    TRY(check_usable(c));
    comm_enter(c, "broadcast", true);
    return comm_leave(c, c->layer->broadcast(c, bytes, nbytes, root));
}

/* Room for the sum of sizes and a NUL. */
static status gather_room(const uint64_t *sizes64, int n, char **all, size_t *sizes) {
    size_t total = 0;
    for (int i = 0; i < n; i++) {
        if (__builtin_add_overflow(total, sizes64[i], &total) || total >= PTRDIFF_MAX)
            return FAIL(ST_MEMORY, "the bytes of all ranks together overflow");
        sizes[i] = sizes64[i];
    }
    *all = malloc(total + 1);
    if (!*all)
        return FAIL(ST_MEMORY, "no memory to gather %zu bytes", total);
    (*all)[total] = 0;
    return ST_OK;
}

static status gather_many(comm *c, const void *bytes, size_t nbytes, int root, char **all, size_t *sizes) {
    status st = ST_OK;
    uint64_t *sizes64 = NULL;
    TRY_TO(end, comm_agree(c, NEW((size_t)c->size, &sizes64)));
    TRY_TO(end, c->layer->gather_sizes(c, nbytes, root, sizes64));
    if (c->rank == root)
        st = gather_room(sizes64, c->size, all, sizes);
    TRY_TO(end, comm_agree(c, st));
    TRY_TO(end, c->layer->gather_bytes(c, bytes, nbytes, root, *all, sizes64));
end:
    memory_free(&sizes64);
    if (st != ST_OK) {
        free(*all);
        *all = NULL;
    }
    return st;
}

status comm_gather(comm *c, const void *bytes, size_t nbytes, int root, char **all, size_t *sizes) {
    ASSERT(root >= 0 && root < c->size);
    *all = NULL;
    if (c->size > 1) {
        TRY(check_usable(c));
        comm_enter(c, "gathering", true);
        return comm_leave(c, gather_many(c, bytes, nbytes, root, all, sizes));
    }
    uint64_t size = nbytes;
    TRY(gather_room(&size, 1, all, sizes));
    if (nbytes)
        memcpy(*all, bytes, nbytes);
    return ST_OK;
}

/* The agreement at the end, which must not hang: ranks that failed wait a while for the others, then end the job.
 * *alone is set where this rank has to print its own message and abort. */
static status agree_at_end(comm *c, status st, bool *alone) {
    bool shared = strcmp(status_message(), c->agreed) == 0; /* all ranks come here with this error */
    *alone = c->broken || (st == ST_COMM && !shared);
    if (*alone)
        return st;
    bool failed = st != ST_OK && st != ST_STOPPED, late = false;
    char message[COMM_MESSAGE_NBYTES];
    int key;
    snprintf(message, sizeof message, "%s", status_message());
    comm_enter(c, "last agreement", true);
    status sent =
        comm_leave(c, c->layer->least_at_end(c, agreement_key(c, st), failed ? c->finish_seconds : -1, &key, &late));
    if (sent != ST_OK || late) {
        *alone = true;
        if (failed) /* that the others are gone is not what went wrong */
            status_set_message(message);
        return failed ? st : sent;
    }
    if (key == 2 * c->size)
        return ST_OK;
    sent = take_over(c, st, key);
    *alone = c->broken;
    return sent;
}

static void print_end(const comm *c, status st, bool alone) {
    if (st == ST_OK || (c && c->rank != 0 && !alone))
        return;
    char message[COMM_MESSAGE_NBYTES];
    const char *text = *status_message() ? status_message() : status_name(st);
    bool names_rank = !c || c->size == 1 || strcmp(text, c->agreed) == 0;
    if (names_rank)
        snprintf(message, sizeof message, "%s", text);
    else
        snprintf(message, sizeof message, "rank %d: %s", c->rank, text);
    if (st == ST_STOPPED)
        log_job("%s", message);
    else
        log_error(message);
}

/* Results that did not reach standard output are no success. */
static status flush_results(void) {
    if (fflush(stdout) != 0 || ferror(stdout))
        return FAIL(ST_IO, "standard output: writing failed: %s", strerror(errno));
    return ST_OK;
}

int comm_finish(comm **out, status st) {
    comm *c = *out;
    if (st == ST_OK)
        st = flush_results();
    /* An error before comm_open: start message passing only to print one message instead of one a rank. */
    if (!c && st != ST_OK && st != ST_COMM && is_launched()) {
        char message[COMM_MESSAGE_NBYTES];
        snprintf(message, sizeof message, "%s", status_message());
        if (comm_open(&c) != ST_OK)
            c = NULL;
        status_set_message(message);
    }
    bool alone = false;
    if (c && c->size > 1)
        st = agree_at_end(c, st, &alone);
    print_end(c, st, alone);
    if (c && c->layer) {
        deadline *end = NULL;
        if (alone)
            c->layer->abort(c, status_exit_code(st));
        if (c->limit > 0 && c->size > 1 && deadline_begin(&end, c->limit, "the end of message passing") != ST_OK)
            log_warn("%s", status_message());
        c->layer->close(c);
        deadline_end(&end);
    }
    if (c)
        deadline_end(&c->start);
    memory_free(&c);
    *out = NULL;
    return status_exit_code(st);
}

struct work {
    comm *c;
    void *counter; /* the layer's; NULL in one process */
    uint64_t n, next;
};

status work_open(comm *c, uint64_t nitems, work **out) {
    work *w = NULL;
    *out = NULL;
    status st = comm_agree(c, NEW(1, &w));
    if (st == ST_OK)
        *w = (work){.c = c, .n = nitems};
    if (st == ST_OK && c->size > 1) {
        comm_enter(c, "opening of shared work", true);
        st = comm_leave(c, c->layer->counter_open(c, &w->counter));
    }
    if (st != ST_OK)
        memory_free(&w);
    *out = w;
    return st;
}

status work_next(work *w, uint64_t *item) {
    *item = w->n;
    if (w->next == w->n)
        return ST_OK;
    uint64_t value = w->next;
    if (w->counter) {
        TRY(check_usable(w->c));
        comm_enter(w->c, "next work item", false);
        TRY(comm_leave(w->c, w->c->layer->counter_next(w->c, w->counter, &value)));
    }
    if (value >= w->n) {
        w->next = w->n; /* nothing is left: rank 0 need not be asked again */
        return ST_OK;
    }
    w->next = value + 1;
    *item = value;
    return ST_OK;
}

status work_close(work **w) {
    if (!*w)
        return ST_OK;
    status st = ST_OK;
    if ((*w)->counter) {
        st = check_usable((*w)->c);
        if (st == ST_OK) {
            comm_enter((*w)->c, "end of shared work", true);
            st = comm_leave((*w)->c, (*w)->c->layer->counter_close((*w)->c, &(*w)->counter));
        }
    }
    memory_free(w);
    return st;
}
