/* ndtrain: train the base model, a ControlNet or a LoRA on a dataset. */
#include "base/log.h"
#include "base/stop.h"
#include "dist/join.h"
#include "train/train.h"

int main(int argc, char **argv) {
    static const char summary[] =
        "Train the base model, a ControlNet or a LoRA (train.mode) on the flows of a dataset.";
    experiment *e = NULL;
    comm *c = NULL;
    bool help;
    stop_install();
    status st = experiment_load(argc, argv, PROGRAM_TRAIN, summary, &e, &help);
    if (st == ST_OK && help)
        return 0;
    if (st == ST_OK)
        st = comm_open_within(&c, e->comm.timeout);
    if (st == ST_OK) {
        log_setup("ndtrain", comm_rank(c), comm_size(c), e->quiet);
        st = comm_join(c, e);
        if (st == ST_OK)
            st = train_run(e, c);
    }
    experiment_free(&e);
    return comm_finish(&c, st);
}
