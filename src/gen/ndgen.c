/* ndgen: model weights -> synthetic captures and a dataset of them. */
#include "base/log.h"
#include "base/stop.h"
#include "dist/join.h"
#include "gen/gen.h"

int main(int argc, char **argv) {
    experiment *e = NULL;
    comm *c = NULL;
    bool help = false;
    stop_install();
    status st = experiment_load(argc, argv, PROGRAM_GEN, "generate synthetic flows with a trained model", &e, &help);
    if (help)
        return 0;
    if (!st)
        st = comm_open_within(&c, e->comm.timeout);
    if (!st) {
        log_setup("ndgen", comm_rank(c), comm_size(c), e->quiet);
        st = comm_join(c, e);
        if (st == ST_OK)
            st = gen_run(e, c);
    }
    experiment_free(&e);
    return comm_finish(&c, st);
}
