/* A program that ends in the way its first argument names; finish.sh looks at what it prints and at its exit code. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "dist/comm.h"
#include "dist/comm_priv.h"

static status wait_in_barrier(comm *c) {
    TRY(comm_barrier(c));
    return FAIL(ST_IO, "the barrier let go");
}

static status body(comm *c, const char *how, bool last) {
    if (strcmp(how, "good") == 0)
        return comm_barrier(c);
    if (strcmp(how, "agreed") == 0) /* an error on the last rank, agreed on before a collective */
        return comm_agree(c, last ? FAIL(ST_FORMAT, "bad capture") : ST_OK);
    if (strcmp(how, "unagreed") == 0) /* the same, brought straight to the end */
        return last ? FAIL(ST_FORMAT, "bad capture") : ST_OK;
    if (strcmp(how, "alone") == 0) /* the others wait in a collective that the last rank never enters */
        return last ? FAIL(ST_FORMAT, "bad capture") : wait_in_barrier(c);
    if (strcmp(how, "comm") == 0) /* a rank that lost its peers must not wait for them */
        return last ? FAIL(ST_COMM, "peer lost") : wait_in_barrier(c);
    if (strcmp(how, "unclosed") == 0) { /* an error leaves the work counter open */
        work *w;
        uint64_t item;
        TRY(work_open(c, 100, &w));
        TRY(work_next(w, &item));
        TRY(comm_agree(c, last ? FAIL(ST_FORMAT, "bad capture") : ST_OK));
        return work_close(&w);
    }
    if (strcmp(how, "stopped") == 0)
        return FAIL(ST_STOPPED, "stopped after step 7");
    if (strcmp(how, "killed") == 0) {
        if (last)
            abort();
        return wait_in_barrier(c);
    }
    return FAIL(ST_USAGE, "no case '%s'", how);
}

int main(int argc, char **argv) {
    comm *c = NULL;
    const char *how = argc > 1 ? argv[1] : "";
    status st = ST_OK;
    if (strcmp(how, "early") == 0) /* all ranks, before message passing has begun */
        return comm_finish(&c, FAIL(ST_USAGE, "unknown key 'x'"));
    st = comm_open(&c);
    if (st == ST_OK) {
        log_setup(argv[0], comm_rank(c), comm_size(c), false);
        comm_set_limits(c, 1 << 20, 1);
        st = body(c, how, comm_rank(c) == comm_size(c) - 1);
    }
    return comm_finish(&c, st);
}
