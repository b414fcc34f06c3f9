/* The MPI layer: start and end, agreement, broadcast, gathering. MPI standard 3.1. */
#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "base/config.h"
#include "base/memory.h"
#include "base/progress.h"
#include "dist/comm_mpi_priv.h"

static mpi_state *state_of(comm *c) {
    return c->state;
}

status mpi_failed(comm *c, const char *operation, int code, const char *file, int line) {
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int n = 0;
    MPI_Error_string(code, text, &n);
    c->broken = true;
    return status_fail(ST_COMM, file, line, "%s: %s", operation, text);
}

static status mpi_least(comm *c, int key, int *least_key) {
    TRY_MPI(c, "agreement", MPI_Allreduce(&key, least_key, 1, MPI_INT, MPI_MIN, state_of(c)->work));
    return ST_OK;
}

static status mpi_least_at_end(comm *c, int key, double seconds, int *least_key, bool *late) {
    MPI_Request request;
    double started = time_seconds();
    *late = false;
    TRY_MPI(c, "last agreement", MPI_Iallreduce(&key, least_key, 1, MPI_INT, MPI_MIN, state_of(c)->end, &request));
    for (;;) {
        int done = 0;
        TRY_MPI(c, "last agreement", MPI_Test(&request, &done, MPI_STATUS_IGNORE));
        if (done)
            return ST_OK;
        if (seconds >= 0 && time_seconds() - started > seconds) {
            *late = true;
            return ST_OK;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static status mpi_barrier(comm *c) {
    TRY_MPI(c, "barrier", MPI_Barrier(state_of(c)->work));
    return ST_OK;
}

static status mpi_broadcast(comm *c, void *bytes, size_t nbytes, int root) {
    char *at = bytes;
    while (nbytes > 0) {
        size_t n = nbytes < c->piece_nbytes ? nbytes : c->piece_nbytes;
        TRY_MPI(c, "broadcast", MPI_Bcast(at, (int)n, MPI_BYTE, root, state_of(c)->work));
        at += n;
        nbytes -= n;
    }
    return ST_OK;
}

/* Whole numbers: any order of additions gives the same result. */
static status reduce_whole(comm *c, uint64_t *x, size_t n, MPI_Op operation) {
    size_t piece = c->piece_nbytes / sizeof *x;
    for (size_t at = 0; at < n; at += piece) {
        size_t m = n - at < piece ? n - at : piece;
        TRY_MPI(c, "sum of counts",
                MPI_Allreduce(MPI_IN_PLACE, x + at, (int)m, MPI_UINT64_T, operation, state_of(c)->work));
    }
    return ST_OK;
}

static status mpi_reduce(comm *c, void *x, size_t n, comm_reduction reduction) {
    switch (reduction) {
    case SUM_F32:
        return mpi_sum_in_rank_order(c, x, n, sizeof(float));
    case SUM_F64:
        return mpi_sum_in_rank_order(c, x, n, sizeof(double));
    case SUM_U64:
        return reduce_whole(c, x, n, MPI_SUM);
    case MAX_U64:
        return reduce_whole(c, x, n, MPI_MAX);
    }
    ASSERT(!"a reduction");
    return ST_OK;
}

static status mpi_gather_sizes(comm *c, uint64_t nbytes, int root, uint64_t *sizes) {
    TRY_MPI(c, "gathering of sizes",
            MPI_Gather(&nbytes, 1, MPI_UINT64_T, sizes, 1, MPI_UINT64_T, root, state_of(c)->work));
    return ST_OK;
}

/* In pieces and one rank after the other: MPI_Gatherv counts in int, and root's memory is the bottleneck anyway. */
static status mpi_gather_bytes(comm *c, const void *bytes, size_t nbytes, int root, char *all, const uint64_t *sizes) {
    MPI_Comm ranks = state_of(c)->work;
    if (c->rank != root) {
        for (size_t at = 0; at < nbytes; at += c->piece_nbytes) {
            size_t n = nbytes - at < c->piece_nbytes ? nbytes - at : c->piece_nbytes;
            TRY_MPI(c, "gathering", MPI_Send((const char *)bytes + at, (int)n, MPI_BYTE, root, 0, ranks));
        }
        return ST_OK;
    }
    for (int r = 0; r < c->size; r++) {
        if (r == root && nbytes > 0)
            memcpy(all, bytes, nbytes);
        for (size_t at = 0; r != root && at < sizes[r]; at += c->piece_nbytes) {
            size_t n = sizes[r] - at < c->piece_nbytes ? sizes[r] - at : c->piece_nbytes;
            TRY_MPI(c, "gathering", MPI_Recv(all + at, (int)n, MPI_BYTE, r, 0, ranks, MPI_STATUS_IGNORE));
        }
        all += sizes[r];
    }
    return ST_OK;
}

static void mpi_abort(comm *c, int exit_code) {
    MPI_Abort(MPI_COMM_WORLD, exit_code);
}

static void mpi_close(comm *c) {
    mpi_state *s = state_of(c);
    mpi_watch_close(s);
    mpi_background_close(c);
    if (!c->broken) {
        mpi_counters_abandon(s);
        if (s->work != MPI_COMM_NULL)
            MPI_Comm_free(&s->work);
        if (s->end != MPI_COMM_NULL)
            MPI_Comm_free(&s->end);
        MPI_Finalize();
    }
    mpi_exchange_close(&s->exchange);
    memory_free(&c->state);
}

/* This rank's share of its processors: those that it may use, divided by the ranks of the node that may use some of
 * them too. So both an unbound job (all ranks on all cores) and a bound one (each on its own) fill the node once. */
static status share_processors(comm *c, MPI_Comm node) {
    cpu_set_t mine;
    if (sched_getaffinity(0, sizeof mine, &mine) != 0)
        CPU_ZERO(&mine);
    cpu_set_t *sets = NULL;
    TRY(NEW((size_t)c->node_size, &sets));
    int code = MPI_Allgather(&mine, sizeof mine, MPI_BYTE, sets, sizeof mine, MPI_BYTE, node);
    int sharers = 0;
    for (int r = 0; code == MPI_SUCCESS && r < c->node_size; r++) {
        cpu_set_t both;
        CPU_AND(&both, &mine, &sets[r]);
        sharers += CPU_COUNT(&both) > 0;
    }
    memory_free(&sets);
    TRY_MPI(c, "look at the node", code);
    c->processors /= sharers > 0 ? sharers : c->node_size;
    return ST_OK;
}

static status look_at_node(comm *c) {
    MPI_Comm node;
    TRY_MPI(c, "look at the node",
            MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL, &node));
    TRY_MPI(c, "look at the node", MPI_Comm_rank(node, &c->node_rank));
    TRY_MPI(c, "look at the node", MPI_Comm_size(node, &c->node_size));
    status st = share_processors(c, node);
    if (!c->broken)
        MPI_Comm_free(&node);
    return st;
}

static int note_plugin(struct dl_phdr_info *object, size_t nbytes, void *names) {
    if (strstr(object->dlpi_name, "/mca_pmix_") != NULL)
        (void)text_list_add(names, object->dlpi_name);
    return 0;
}

/* MPI_Finalize of Open MPI 4.1 unloads the plugin that talks to the launcher before it ends the thread that runs the
 * plugin's callbacks. The news that another rank has left already, with an exit code other than 0, then calls code that
 * is gone: seen as SIGSEGV in one of some hundred jobs that end with an error beside much load. So it stays loaded. */
static void keep_plugin(void) {
    text_list names = {0};
    dl_iterate_phdr(note_plugin, &names);
    for (size_t i = 0; i < names.n; i++)
        (void)dlopen(names.item[i], RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    text_list_clear(&names);
}

static status start_mpi(comm *c) {
    mpi_state *s = state_of(c);
    int provided = MPI_THREAD_SINGLE, started = 0;
    TRY_MPI(c, "start", MPI_Initialized(&started));
    if (started)
        return FAIL(ST_COMM, "message passing was started before; one communicator a program");
    TRY_MPI(c, "start", MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided));
    keep_plugin();
    TRY_MPI(c, "start", MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    TRY_MPI(c, "start", MPI_Comm_rank(MPI_COMM_WORLD, &c->rank));
    TRY_MPI(c, "start", MPI_Comm_size(MPI_COMM_WORLD, &c->size));
    if (provided < MPI_THREAD_FUNNELED)
        return FAIL(ST_COMM, "this MPI library cannot be used by a program with threads");
    s->any_thread = provided == MPI_THREAD_MULTIPLE;
    TRY_MPI(c, "start", MPI_Comm_dup(MPI_COMM_WORLD, &s->work));
    TRY_MPI(c, "start", MPI_Comm_dup(MPI_COMM_WORLD, &s->end));
    TRY(mpi_exchange_open(&s->exchange, s->work, c->size));
    return look_at_node(c);
}

static const comm_layer mpi_layer = {
    .least = mpi_least,
    .least_at_end = mpi_least_at_end,
    .barrier = mpi_barrier,
    .reduce = mpi_reduce,
    .sum_start = mpi_sum_start,
    .sum_tree_start = mpi_sum_tree_start,
    .sum_wait = mpi_sum_wait,
    .sum_seconds = mpi_sum_seconds,
    .watch = mpi_watch_open,
    .broadcast = mpi_broadcast,
    .gather_sizes = mpi_gather_sizes,
    .gather_bytes = mpi_gather_bytes,
    .counter_open = mpi_counter_open,
    .counter_next = mpi_counter_next,
    .counter_close = mpi_counter_close,
    .abort = mpi_abort,
    .close = mpi_close,
};

status comm_mpi_open(comm *c) {
    mpi_state *s = NULL;
    TRY(NEW(1, &s));
    s->work = s->end = MPI_COMM_NULL;
    c->state = s;
    c->layer = &mpi_layer;
    return start_mpi(c);
}
