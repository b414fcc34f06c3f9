/* Captures -> dataset, over all ranks.
 *
 * Each capture is read once. One whose packets fit into memory becomes one part; a larger one is spread over partition
 * files by a hash of the flow, and every partition becomes a part (Grace partitioning, Kitsuregawa et al. 1983). Ranks
 * take captures and partitions from one list. Then the flows of all parts are merged by (file, first packet): ranks
 * take stretches of the dataset, fill and deflate its chunks, and write them where rank 0 has made room. So the result
 * depends neither on the number of ranks and threads nor on how much memory they have. */
#ifndef ND_IO_ENCODE_H
#define ND_IO_ENCODE_H

#include "base/experiment.h"
#include "dist/comm.h"
#include "io/dataset.h"
#include "io/labels.h"

/* Collective. Prints flows per label, skipped frames by reason and damaged captures when done. The parts lie in a
 * folder beside the dataset (DATASET.parts) that all ranks must see. It is gone after success, and after an error that
 * running again will not cure; what a killed run finished is used by the next. */
status encode_run(const experiment *e, comm *c);

typedef struct encode_options {
    const labels *labels; /* after labels_keep */
    int64_t timeout_ns;   /* 0 = never */
    bool unlabelled;      /* keep flows without a label */
    uint64_t memory;      /* bytes for packets and flows */
    uint64_t keep;        /* of them, what a part that stays in memory takes less than; 0: none stays */
    const char *folder;   /* of the parts */
    uint64_t attempt;     /* a number that no other run has */
} encode_options;

struct encode_mark;
typedef struct assembler assembler;
/* Read a capture: one part, or at most npartitions (at least 1) raw partitions where memory does not hold it; weight:
 * about how many bytes of records it has. A file that is no capture gives an empty part and its damage; one that cannot
 * be read is an error. *m is new. *kept is the part where it stays in memory (in fewer than o->keep bytes), else NULL.
 * Local.
 */
status encode_pass(const char *path, uint32_t file, uint64_t weight, uint64_t npartitions, const encode_options *o,
                   struct encode_mark *m, assembler **kept);
/* Make the part of one raw partition, and remove that. m->part and what follows it in the struct are filled. */
status encode_partition(const char *path, uint32_t file, uint64_t partition, int link_type, const encode_options *o,
                        struct encode_mark *m);

#endif
