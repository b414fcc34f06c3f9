/* ndencode: captures -> dataset, and dataset or captures <-> other forms. */
#include <stdlib.h>
#include <string.h>
#include "base/experiment.h"
#include "base/log.h"
#include "base/stop.h"
#include "dist/join.h"
#include "io/convert.h"
#include "io/encode.h"

static const char summary[] =
    "Turn captures (pcap, pcapng, also gzip-compressed) and flow labels into one dataset, on any number of ranks.\n"
    "\n"
    "Other uses, each on one process:\n"
    "  ndencode --info DATASET\n"
    "  ndencode --export nprint|nprint-v6|png|png-v6 DATASET_OR_CAPTURE FOLDER [--limit N]\n"
    "  ndencode --import nprint|png INPUT... OUT.h5";

int main(int argc, char **argv) {
    experiment *e = NULL;
    comm *c = NULL;
    bool help = false;
    if (convert_wanted(argc, argv)) {
        log_setup("ndencode", 0, 1, false);
        return comm_finish(&c, convert_run(argc, argv));
    }
    stop_install();
    status st = experiment_load(argc, argv, PROGRAM_ENCODE, summary, &e, &help);
    if (help)
        return 0;
    if (st == ST_OK)
        st = comm_open_within(&c, e->comm.timeout);
    if (st == ST_OK) {
        log_setup("ndencode", comm_rank(c), comm_size(c), e->quiet);
        st = comm_join(c, e);
        if (st == ST_OK)
            st = encode_run(e, c);
    }
    int code = comm_finish(&c, st);
    experiment_free(&e);
    return code;
}
