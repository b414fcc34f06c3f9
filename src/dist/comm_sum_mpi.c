/* Sums of floats over the ranks of an MPI job: in rank order, in a fixed tree, and in the background.
 *
 * MPI_Allreduce is not used: its order of additions may depend on the number of ranks, the size of the message and the
 * algorithm that the library picks that day. Here a piece is exchanged (each rank gets its part from all), added in a
 * known order, and collected again: 2 (size - 1) / size of the piece is sent by every rank, as in a ring, and all ranks
 * hold the same bytes.
 *
 * Background sums are done by threads: MPI makes no progress by itself, and a thread that sleeps between looks lets the
 * computation have the processor. */
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/progress.h"
#include "dist/comm_mpi_priv.h"

enum { LOOKS_BEFORE_SLEEP = 20, SHORTEST_SLEEP = 20000, LONGEST_SLEEP = 200000, SLICE = 100000 }; /* nanoseconds */

/* Of n floats of x, added in rank order; or, with leaves, of those at `at` of blocks in a fixed tree, into x. */
typedef struct sum_job {
    float *x;
    size_t n;
    uint64_t nleaves;
    float *const *block;
    size_t at;
} sum_job;

/* Two at a time: while one adds or waits for an answer, the other's messages keep the link busy. */
enum { LANES = 2 };

typedef struct lane {
    mpi_exchange exchange;
    pthread_t thread;
    bool running;
    comm *c;
    size_t next; /* its next job: a lane does every LANES-th, the same ones on all ranks */
} lane;

struct mpi_background {
    size_t piece_nbytes;
    lane lane[LANES];
    pthread_mutex_t mutex;
    pthread_cond_t change;
    bool stop;
    sum_job *job;
    size_t ndone, njobs, capacity;
    int code;  /* MPI's first failure */
    int nbusy; /* lanes at work */
    double busy_since, busy, waited;
};

status mpi_exchange_open(mpi_exchange *e, MPI_Comm ranks, int size) {
    e->ranks = ranks;
    TRY(NEW((size_t)size, &e->counts));
    TRY(NEW((size_t)size, &e->places));
    TRY(NEW((size_t)size, &e->my_counts));
    return NEW((size_t)size, &e->my_places);
}

static void close_tree(mpi_tree *t) {
    memory_free(&t->nodes);
    memory_free(&t->counts);
    memory_free(&t->places);
    memory_free(&t->packed);
    t->nleaves = 0;
}

void mpi_exchange_close(mpi_exchange *e) {
    close_tree(&e->tree);
    memory_free(&e->counts);
    memory_free(&e->places);
    memory_free(&e->my_counts);
    memory_free(&e->my_places);
    memory_free(&e->parts);
    e->parts_nbytes = 0;
}

/* Room for one piece from all ranks together. All need it, but one may not get it. */
static status make_room(comm *c, mpi_exchange *e, size_t need) {
    if (e->parts_nbytes >= need)
        return ST_OK;
    memory_free(&e->parts);
    e->parts_nbytes = 0;
    TRY(comm_agree(c, NEW(need, &e->parts)));
    e->parts_nbytes = need;
    return ST_OK;
}

/* Wait asleep, at first for short times: small messages are there soon, and large ones need many looks. */
static int finish(MPI_Request *request) {
    long sleep = SHORTEST_SLEEP;
    for (int looks = 0;; looks++) {
        int done = 0, code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS || done)
            return code;
        if (looks < LOOKS_BEFORE_SLEEP)
            continue;
        nanosleep(&(struct timespec){.tv_nsec = sleep}, NULL);
        sleep = 2 * sleep < LONGEST_SLEEP ? 2 * sleep : LONGEST_SLEEP;
    }
}

/* Shares of a piece of n elements: rank r adds the elements from places[r], counts[r] of them. */
static void share_out(mpi_exchange *e, int size, size_t n) {
    size_t share = n / (size_t)size, more = n % (size_t)size, place = 0;
    for (int r = 0; r < size; r++) {
        e->counts[r] = (int)(share + ((size_t)r < more));
        e->places[r] = (int)place;
        place += (size_t)e->counts[r];
    }
}

/* The parts in `from`, by to_counts and to_places for each rank, go to e->parts by my_counts and my_places. */
static int exchange_parts(mpi_exchange *e, const void *from, const int *to_counts, const int *to_places,
                          MPI_Datatype type) {
    MPI_Request request;
    if (!e->sleeps)
        return MPI_Alltoallv(from, to_counts, to_places, type, e->parts, e->my_counts, e->my_places, type, e->ranks);
    int code = MPI_Ialltoallv(from, to_counts, to_places, type, e->parts, e->my_counts, e->my_places, type, e->ranks,
                              &request);
    return code != MPI_SUCCESS ? code : finish(&request);
}

static int collect_sums(mpi_exchange *e, void *x, MPI_Datatype type) {
    MPI_Request request;
    if (!e->sleeps)
        return MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, x, e->counts, e->places, type, e->ranks);
    int code = MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, x, e->counts, e->places, type, e->ranks, &request);
    return code != MPI_SUCCESS ? code : finish(&request);
}

/* ---- In rank order ---- */

/* sum[i] = part 0 [i] + part 1 [i] + ..., in this order. */
static void add_parts_f32(const float *parts, int nparts, size_t n, float *sum) {
    memcpy(sum, parts, n * sizeof *sum);
    for (int p = 1; p < nparts; p++)
        for (size_t i = 0; i < n; i++)
            sum[i] += parts[(size_t)p * n + i];
}

static void add_parts_f64(const double *parts, int nparts, size_t n, double *sum) {
    memcpy(sum, parts, n * sizeof *sum);
    for (int p = 1; p < nparts; p++)
        for (size_t i = 0; i < n; i++)
            sum[i] += parts[(size_t)p * n + i];
}

/* One piece of n elements. Returns MPI's code. */
static int sum_piece(mpi_exchange *e, int rank, int size, char *x, size_t n, size_t element_nbytes) {
    MPI_Datatype type = element_nbytes == sizeof(float) ? MPI_FLOAT : MPI_DOUBLE;
    share_out(e, size, n);
    int mine = e->counts[rank];
    for (int r = 0; r < size; r++) {
        e->my_counts[r] = mine;
        e->my_places[r] = r * mine;
    }
    int code = exchange_parts(e, x, e->counts, e->places, type);
    if (code != MPI_SUCCESS)
        return code;
    void *sum = x + (size_t)e->places[rank] * element_nbytes;
    if (mine > 0 && type == MPI_FLOAT)
        add_parts_f32((const float *)e->parts, size, (size_t)mine, sum);
    else if (mine > 0)
        add_parts_f64((const double *)e->parts, size, (size_t)mine, sum);
    return collect_sums(e, x, type);
}

static size_t parts_room(const comm *c, size_t element_nbytes) {
    return c->piece_nbytes + (size_t)c->size * element_nbytes;
}

status mpi_sum_in_rank_order(comm *c, char *x, size_t n, size_t element_nbytes) {
    mpi_exchange *e = &((mpi_state *)c->state)->exchange;
    size_t piece = c->piece_nbytes / element_nbytes;
    ASSERT(piece > 0 && c->piece_nbytes <= INT_MAX / 2);
    TRY(make_room(c, e, parts_room(c, element_nbytes)));
    for (size_t at = 0; at < n; at += piece)
        TRY_MPI(
            c, "sum over ranks",
            sum_piece(e, c->rank, c->size, x + at * element_nbytes, n - at < piece ? n - at : piece, element_nbytes));
    return ST_OK;
}

/* ---- In a fixed tree ---- */

/* Shares are exchanged as above, but a rank sends its share of each of its nodes, and the sums follow the tree. */
static void pack_shares(mpi_exchange *e, int size, size_t nblocks, float *const *block, size_t at) {
    mpi_tree *t = &e->tree;
    float *to = t->packed;
    for (int r = 0; r < size; r++) {
        t->counts[r] = (int)((size_t)e->counts[r] * nblocks);
        t->places[r] = (int)(to - t->packed);
        for (size_t b = 0; b < nblocks; b++) {
            memcpy(to, block[b] + at + e->places[r], (size_t)e->counts[r] * sizeof *to);
            to += e->counts[r];
        }
    }
}

/* parts: a block of n floats for every node, from left to right. The sum is left in the first. */
static void add_tree(const mpi_tree *t, int size, float *parts, size_t n) {
    tree_stack stack = {.nleaves = t->nleaves};
    float *held[TREE_DEPTH];
    for (int r = 0; r < size; r++)
        for (size_t k = 0; k < t->nodes[r].n; k++, parts += n) {
            size_t top = stack.n;
            held[top] = parts;
            for (size_t merges = tree_push(&stack, t->nodes[r].node[k]); merges > 0; merges--, top--)
                for (size_t i = 0; i < n; i++)
                    held[top - 1][i] += held[top][i];
        }
}

/* One piece: n elements from `at`. Returns MPI's code. */
static int sum_tree_piece(mpi_exchange *e, int rank, int size, float *const *block, size_t at, size_t n, float *sum) {
    mpi_tree *t = &e->tree;
    share_out(e, size, n);
    pack_shares(e, size, t->nodes[rank].n, block, at);
    int place = 0;
    for (int r = 0; r < size; r++) {
        e->my_counts[r] = e->counts[rank] * (int)t->nodes[r].n;
        e->my_places[r] = place;
        place += e->my_counts[r];
    }
    int code = exchange_parts(e, t->packed, t->counts, t->places, MPI_FLOAT);
    if (code != MPI_SUCCESS)
        return code;
    add_tree(t, size, (float *)e->parts, (size_t)e->counts[rank]);
    memcpy(sum + at + e->places[rank], e->parts, (size_t)e->counts[rank] * sizeof *sum);
    return collect_sums(e, sum + at, MPI_FLOAT);
}

/* Local. nparts: nodes of all ranks together. */
static status make_tree(const comm *c, mpi_tree *t, uint64_t nleaves, size_t *nparts) {
    size_t most = 0;
    *nparts = 0;
    close_tree(t);
    TRY(NEW((size_t)c->size, &t->nodes));
    TRY(NEW((size_t)c->size, &t->counts));
    TRY(NEW((size_t)c->size, &t->places));
    for (int r = 0; r < c->size; r++) {
        uint64_t first, end;
        tree_share(nleaves, r, c->size, &first, &end);
        tree_nodes(nleaves, first, end, &t->nodes[r]);
        *nparts += t->nodes[r].n;
        most = t->nodes[r].n > most ? t->nodes[r].n : most;
    }
    /* Pieces so small that what a rank sends and gets fits its buffers. */
    t->piece = c->piece_nbytes / sizeof(float) / most;
    t->piece = t->piece > 0 ? t->piece : 1;
    return NEW(most * t->piece, &t->packed);
}

/* Collective; while no sum is under way in e. */
static status prepare_tree(comm *c, mpi_exchange *e, uint64_t nleaves) {
    size_t nparts;
    if (e->tree.nleaves == nleaves)
        return ST_OK;
    TRY(comm_agree(c, make_tree(c, &e->tree, nleaves, &nparts)));
    TRY(make_room(c, e, nparts * (e->tree.piece / (size_t)c->size + 1) * sizeof(float)));
    e->tree.nleaves = nleaves;
    return ST_OK;
}

/* ---- In the background ---- */

/* In pieces. Returns MPI's code. */
static int do_job(mpi_exchange *e, size_t piece_nbytes, int rank, int size, sum_job job) {
    size_t piece = job.nleaves > 0 ? e->tree.piece : piece_nbytes / sizeof(float);
    for (size_t done = 0; done < job.n; done += piece) {
        size_t n = job.n - done < piece ? job.n - done : piece;
        int code = job.nleaves > 0 ? sum_tree_piece(e, rank, size, job.block, job.at + done, n, job.x)
                                   : sum_piece(e, rank, size, (char *)(job.x + done), n, sizeof(float));
        if (code != MPI_SUCCESS)
            return code;
    }
    return MPI_SUCCESS;
}

/* This thread works for microseconds at a time, on a processor that computes. With a short slice the scheduler (EEVDF,
 * from Linux 6.12; without effect before) lets it in when it wakes, instead of when the other's slice of milliseconds
 * ends: measured, an exchange in 55 ms instead of 140. */
static void ask_for_short_slices(void) {
#if defined(SYS_sched_getattr) && defined(SYS_sched_setattr)
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } wanted = {.size = sizeof wanted};
    if (syscall(SYS_sched_getattr, 0, &wanted, sizeof wanted, 0) == 0) {
        wanted.runtime = SLICE;
        (void)syscall(SYS_sched_setattr, 0, &wanted, 0);
    }
#endif
    (void)prctl(PR_SET_TIMERSLACK, 1000); /* sleep as long as asked, not 50 microseconds more */
}

/* Time in which at least one lane is at work. With the mutex held. */
static void count_busy(mpi_background *b, int change) {
    double now = time_seconds();
    if (b->nbusy > 0)
        b->busy += now - b->busy_since;
    b->busy_since = now;
    b->nbusy += change;
}

static void *do_jobs(void *argument) {
    lane *l = argument;
    mpi_background *b = ((mpi_state *)l->c->state)->background;
    int rank = l->c->rank, size = l->c->size;
    ask_for_short_slices();
    pthread_mutex_lock(&b->mutex);
    for (;;) {
        while (l->next >= b->njobs && !b->stop)
            pthread_cond_wait(&b->change, &b->mutex);
        if (b->stop)
            break;
        sum_job job = b->job[l->next];
        int code = b->code;
        count_busy(b, 1);
        pthread_mutex_unlock(&b->mutex);
        if (code == MPI_SUCCESS) /* else the sums are lost anyway */
            code = do_job(&l->exchange, b->piece_nbytes, rank, size, job);
        pthread_mutex_lock(&b->mutex);
        count_busy(b, -1);
        b->code = b->code == MPI_SUCCESS ? code : b->code;
        l->next += LANES;
        b->ndone++;
        pthread_cond_broadcast(&b->change);
    }
    pthread_mutex_unlock(&b->mutex);
    return NULL;
}

static status start_thread(lane *l) {
    sigset_t all, before;
    sigfillset(&all); /* signals are for the main thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&l->thread, NULL, do_jobs, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    l->running = error == 0;
    return error == 0 ? ST_OK : FAIL(ST_LIBRARY, "no thread for background sums: %s", strerror(error));
}

static void free_background(mpi_state *s) {
    for (int i = 0; i < LANES; i++)
        mpi_exchange_close(&s->background->lane[i].exchange);
    free(s->background->job);
    pthread_mutex_destroy(&s->background->mutex);
    pthread_cond_destroy(&s->background->change);
    memory_free(&s->background);
}

static status open_lane(comm *c, lane *l, size_t number) {
    MPI_Comm ranks;
    l->c = c;
    l->next = number;
    l->exchange.sleeps = true;
    TRY_MPI(c, "background sums", MPI_Comm_dup(((mpi_state *)c->state)->work, &ranks));
    TRY(comm_agree(c, mpi_exchange_open(&l->exchange, ranks, c->size)));
    TRY(make_room(c, &l->exchange, parts_room(c, sizeof(float))));
    return comm_agree(c, start_thread(l));
}

/* Collective: at the first background sum. What fails is cleared away at the end. */
static status open_background(comm *c) {
    mpi_background *b = NULL;
    status st = comm_agree(c, NEW(1, &b));
    if (st != ST_OK) {
        memory_free(&b);
        return st;
    }
    ((mpi_state *)c->state)->background = b;
    b->piece_nbytes = c->piece_nbytes;
    pthread_mutex_init(&b->mutex, NULL);
    pthread_cond_init(&b->change, NULL);
    for (size_t i = 0; i < LANES; i++)
        TRY(open_lane(c, &b->lane[i], i));
    return ST_OK;
}

/* Where threads must not call MPI the sum is done at once. */
static status sum_here(comm *c, sum_job job) {
    mpi_exchange *e = &((mpi_state *)c->state)->exchange;
    if (job.nleaves == 0)
        return mpi_sum_in_rank_order(c, (char *)job.x, job.n, sizeof *job.x);
    TRY(prepare_tree(c, e, job.nleaves));
    TRY_MPI(c, "sum in a fixed tree", do_job(e, c->piece_nbytes, c->rank, c->size, job));
    return ST_OK;
}

/* Another tree than before: its arrays are made while no lane is at work. */
static status prepare_lanes(comm *c, mpi_background *b, uint64_t nleaves) {
    if (b->lane[LANES - 1].exchange.tree.nleaves == nleaves)
        return ST_OK;
    TRY(mpi_sum_wait(c));
    for (int i = 0; i < LANES; i++)
        TRY(prepare_tree(c, &b->lane[i].exchange, nleaves));
    return ST_OK;
}

static status start_sum(comm *c, sum_job job) {
    mpi_state *s = c->state;
    if (s->background == NULL) {
        bool none;
        TRY(comm_any(c, !s->any_thread, &none));
        if (none)
            return sum_here(c, job);
        TRY(open_background(c));
    }
    mpi_background *b = s->background;
    if (job.nleaves > 0)
        TRY(prepare_lanes(c, b, job.nleaves));
    pthread_mutex_lock(&b->mutex);
    status st = memory_grow(&b->job, &b->capacity, b->njobs + 1, sizeof *b->job);
    if (st == ST_OK)
        b->job[b->njobs++] = job;
    pthread_cond_broadcast(&b->change);
    pthread_mutex_unlock(&b->mutex);
    if (st == ST_OK)
        return ST_OK;
    c->broken = true; /* the other ranks have begun a sum in which this one is not */
    return FAIL(ST_COMM, "no memory to note a sum in the background");
}

status mpi_sum_start(comm *c, float *x, size_t n) {
    return start_sum(c, (sum_job){.x = x, .n = n});
}

status mpi_sum_tree_start(comm *c, uint64_t nleaves, float *const *block, size_t at, size_t n, float *sum) {
    return start_sum(c, (sum_job){.x = sum, .n = n, .nleaves = nleaves, .block = block, .at = at});
}

status mpi_sum_wait(comm *c) {
    mpi_background *b = ((mpi_state *)c->state)->background;
    if (b == NULL)
        return ST_OK;
    double started = time_seconds();
    pthread_mutex_lock(&b->mutex);
    while (b->ndone < b->njobs)
        pthread_cond_wait(&b->change, &b->mutex);
    b->ndone = b->njobs = 0;
    for (size_t i = 0; i < LANES; i++)
        b->lane[i].next = i;
    int code = b->code;
    b->waited += time_seconds() - started;
    pthread_mutex_unlock(&b->mutex);
    TRY_MPI(c, "background sum", code);
    return ST_OK;
}

void mpi_sum_seconds(const comm *c, double *busy, double *waited) {
    mpi_background *b = ((mpi_state *)c->state)->background;
    if (b == NULL)
        return;
    pthread_mutex_lock(&b->mutex);
    count_busy(b, 0);
    *busy = b->busy;
    *waited = b->waited;
    pthread_mutex_unlock(&b->mutex);
}

void mpi_background_close(comm *c) {
    mpi_state *s = c->state;
    mpi_background *b = s->background;
    if (b == NULL)
        return;
    pthread_mutex_lock(&b->mutex);
    bool idle = b->ndone == b->njobs;
    b->stop = true;
    pthread_cond_broadcast(&b->change);
    pthread_mutex_unlock(&b->mutex);
    if (c->broken && !idle) {
        /* They may never come back from a lost peer; the process is about to end, and what they use stays. */
        s->background = NULL;
        return;
    }
    for (int i = 0; i < LANES; i++) {
        lane *l = &b->lane[i];
        if (l->running)
            pthread_join(l->thread, NULL);
        if (l->running && !c->broken)
            MPI_Comm_free(&l->exchange.ranks);
    }
    free_background(s);
}
