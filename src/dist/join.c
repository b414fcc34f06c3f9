/* What all ranks must have in common before they begin. See join.h. */
#include "dist/join.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"

static const double CLOCK_SECONDS = 60; /* files and logs of nodes this far apart mislead */
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

typedef struct clock_report {
    double ahead; /* seconds ahead of rank 0 */
    char host[64];
} clock_report;

static double wall_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void warn_of_clocks(const clock_report *all, int n) {
    for (int r = 1; r < n; r++)
        if (fabs(all[r].ahead) > CLOCK_SECONDS)
            log_warn(
                "the clock of rank %d on %s is %.0f s %s that of rank 0 on %s: times of files and logs will not agree",
                r, all[r].host, fabs(all[r].ahead), all[r].ahead > 0 ? "ahead of" : "behind", all[0].host);
}

/* Off by no more than a message takes. */
static status check_clocks(comm *c) {
    clock_report mine = {0};
    char *all = NULL;
    size_t *sizes = NULL;
    status st;
    TRY_TO(end, comm_agree(c, NEW((size_t)comm_size(c), &sizes)));
    TRY_TO(end, comm_barrier(c));
    double now = wall_seconds();
    TRY_TO(end, comm_broadcast(c, &now, sizeof now, 0));
    mine.ahead = wall_seconds() - now;
    gethostname(mine.host, sizeof mine.host - 1);
    TRY_TO(end, comm_gather(c, &mine, sizeof mine, 0, &all, sizes));
    if (all != NULL)
        warn_of_clocks((const clock_report *)all, comm_size(c));
end:
    free(all);
    memory_free(&sizes);
    return st;
}

status comm_join(comm *c, const experiment *e) {
    if (comm_size(c) == 1)
        return ST_OK;
    TRY(comm_watch(c, e->comm.timeout));
    TRY(check_configuration(c, e));
    TRY(check_build(c));
    return check_clocks(c);
}
