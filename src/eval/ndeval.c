/* ndeval: a synthetic dataset against the real one. */
#include "base/log.h"
#include "dist/join.h"
#include "eval/eval.h"

int main(int argc, char **argv) {
    experiment *e = NULL;
    comm *c = NULL;
    bool help = false;
    status st = experiment_load(argc, argv, PROGRAM_EVAL, "compare synthetic flows with real ones", &e, &help);
    if (help)
        return 0;
    if (!st)
        st = comm_open_within(&c, e->comm.timeout);
    if (!st) {
        log_setup("ndeval", comm_rank(c), comm_size(c), e->quiet);
        st = comm_join(c, e);
        if (st == ST_OK)
            st = eval_run(e, c);
    }
    experiment_free(&e);
    return comm_finish(&c, st);
}
