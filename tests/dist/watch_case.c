/* Ranks that call in step, until one of them is away: watch.sh stops it from outside, or it computes for ever.
 * usage: watch_case HOW LIMIT FOLDER; each rank writes its process number into FOLDER/RANK. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "dist/comm.h"

enum { STEPS = 150, SUM = 1000 };

static status note_process(const char *folder, int rank) {
    char *path = text_format("%s/%d", folder, rank), *text = text_format("%ld\n", (long)getpid());
    status st = file_write(path, text, strlen(text));
    free(path);
    free(text);
    return st;
}

static status work_alone(comm *c, double seconds) {
    if (comm_rank(c) == comm_size(c) - 1)
        usleep((useconds_t)(seconds * 1e6));
    return comm_barrier(c);
}

static status steps(comm *c) {
    static float x[SUM];
    for (uint64_t step = 1; step <= STEPS; step++) {
        comm_set_step(c, step);
        TRY(comm_sum_start(c, x, SUM));
        usleep(10000);
        TRY(comm_sum_wait(c));
    }
    return ST_OK;
}

static status items(comm *c) {
    work *w;
    TRY(work_open(c, 100000, &w));
    for (uint64_t item = 0; item < 100000;) {
        TRY(work_next(w, &item));
        usleep(5000);
    }
    return work_close(&w);
}

static status body(comm *c, const char *how, double limit) {
    if (strcmp(how, "steps") == 0)
        return steps(c);
    if (strcmp(how, "items") == 0)
        return items(c);
    if (strcmp(how, "busy") == 0) /* alive and at work: waited for */
        return work_alone(c, 3 * limit);
    if (strcmp(how, "late") == 0) { /* the same where all work at one pace */
        comm_set_in_step(c, true);
        return work_alone(c, 20 * limit);
    }
    if (strcmp(how, "end") == 0) /* stopped while the others wait at the end of the program */
        return comm_rank(c) == comm_size(c) - 1 ? (usleep(1500000), ST_OK) : ST_OK;
    if (strcmp(how, "astray") == 0) /* ranks in calls that do not belong together: all are there */
        return comm_rank(c) == 0 ? comm_barrier(c) : comm_broadcast(c, &limit, sizeof limit, comm_rank(c) == 1 ? 2 : 1);
    return FAIL(ST_USAGE, "no case '%s'", how);
}

int main(int argc, char **argv) {
    comm *c = NULL;
    if (argc != 4)
        return 2;
    status st = comm_open(&c);
    if (st == ST_OK) {
        log_setup("watch_case", comm_rank(c), comm_size(c), false);
        st = comm_watch(c, atof(argv[2]));
    }
    if (st == ST_OK)
        st = comm_agree(c, note_process(argv[3], comm_rank(c)));
    if (st == ST_OK)
        st = body(c, argv[1], atof(argv[2]));
    return comm_finish(&c, st);
}
