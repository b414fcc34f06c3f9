/* What all ranks must have in common before they begin. See join.h. */
#include "dist/join.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

enum { TEXT_MAX = 1 << 24 };

/* The line of `text` at `at`, without what an empty comment leaves at its end. */
static int line_length(const char *at) {
    size_t n = strcspn(at, "\n");
    while (n > 0 && (at[n - 1] == ' ' || at[n - 1] == '#'))
        n--;
    return n < 200 ? (int)n : 200;
}

static status compare_lines(const char *what, const char *mine, const char *first) {
    while (*mine != '\0' || *first != '\0') {
        size_t n = strcspn(mine, "\n"), m = strcspn(first, "\n");
        if (n != m || memcmp(mine, first, n) != 0)
            return FAIL(ST_USAGE, "another %s than rank 0: '%.*s', there '%.*s'", what, line_length(mine), mine,
                        line_length(first), first);
        mine += n + (mine[n] == '\n');
        first += m + (first[m] == '\n');
    }
    return ST_OK;
}

status comm_check_same(comm *c, const char *what, const char *text) {
    uint64_t n = strlen(text);
    char *first = NULL;
    status st;
    if (comm_size(c) == 1)
        return ST_OK;
    TRY(comm_broadcast(c, &n, sizeof n, 0));
    st = n < TEXT_MAX ? NEW(n + 1, &first) : FAIL(ST_RANGE, "%s of %llu bytes", what, (unsigned long long)n);
    TRY_TO(end, comm_agree(c, st));
    if (comm_rank(c) == 0)
        memcpy(first, text, n);
    TRY_TO(end, comm_broadcast(c, first, n, 0));
    st = comm_agree(c, compare_lines(what, text, first));
end:
    memory_free(&first);
    return st;
}

static status check_configuration(comm *c, const experiment *e) {
    char *values = config_values(e->config);
    status st = comm_agree(c, values != NULL ? ST_OK : FAIL(ST_MEMORY, "no memory for the configuration"));
    if (st == ST_OK)
        st = comm_check_same(c, "configuration", values);
    free(values);
    return st;
}

/* Nodes may find different installations under one name. */
static status check_build(comm *c) {
    char mine[65] = "", first[65];
    TRY(comm_agree(c, file_sha256("/proc/self/exe", mine)));
    memcpy(first, mine, sizeof first);
    TRY(comm_broadcast(c, first, sizeof first, 0));
    status st = ST_OK;
    if (strcmp(mine, first) != 0) {
        char path[256] = "?", host[65] = "?";
        ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
        path[n > 0 ? n : 0] = '\0';
        gethostname(host, sizeof host - 1);
        st = FAIL(ST_USAGE, "another build of the program than rank 0: %s on %s (sha256 %.12s, there %.12s)", path,
                  host, mine, first);
    }
    return comm_agree(c, st);
}

static double wall_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Times of files and logs made by ranks whose clocks disagree mislead. Rank 0 looks at its clock between two looks of
 * every other rank at its own, so that a rank that was held up is not taken for one with a wrong clock. */
static status check_clocks(comm *c, double limit) {
    struct {
        double seconds;
        char host[64];
    } first = {0};
    TRY(comm_barrier(c));
    double before = wall_seconds();
    TRY(comm_barrier(c));
    first.seconds = wall_seconds();
    gethostname(first.host, sizeof first.host - 1);
    TRY(comm_broadcast(c, &first, sizeof first, 0));
    double after = wall_seconds(), ahead = 0;
    if (before > first.seconds)
        ahead = before - first.seconds;
    else if (after < first.seconds)
        ahead = after - first.seconds;
    uint64_t nbeyond = fabs(ahead) > limit, nothers = (uint64_t)comm_size(c) - 1;
    status st = ST_OK;
    TRY(comm_sum_u64(c, &nbeyond, 1));
    if (fabs(ahead) > limit) {
        char host[64] = "";
        gethostname(host, sizeof host - 1);
        st = FAIL(ST_RANGE,
                  "the clock on %s is %.0f s %s that of rank 0 on %s; %llu of the %llu ranks beside it are more than "
                  "%g s off%s: set the clocks (NTP), or raise comm.clock_limit (0 = any)",
                  host, fabs(ahead), ahead > 0 ? "ahead of" : "behind", first.host, (unsigned long long)nbeyond,
                  (unsigned long long)nothers, limit,
                  nothers > 1 && nbeyond == nothers ? ", so that of rank 0 may be the wrong one" : "");
    }
    return comm_agree(c, st);
}

status comm_join(comm *c, const experiment *e) {
    TRY(comm_watch(c, e->comm.timeout)); /* also for one rank: it calls off the deadline of the start */
    if (comm_size(c) == 1)
        return ST_OK;
    TRY(check_configuration(c, e));
    TRY(check_build(c));
    return e->comm.clock_limit > 0 ? check_clocks(c, e->comm.clock_limit) : ST_OK;
}
