/* Captures -> dataset, over all ranks. Work items are (capture, slice by flow hash), handed out dynamically; each item
 * becomes a part file; rank 0 joins the parts in item order, so the result does not depend on the number of ranks. */
#ifndef ND_IO_ENCODE_H
#define ND_IO_ENCODE_H

#include "base/experiment.h"
#include "dist/comm.h"
#include "io/dataset.h"
#include "io/labels.h"

/* Collective. Prints flows per label, skipped frames by reason and damaged captures when done. The parts lie in a
 * folder beside the dataset (DATASET.parts) that all ranks must see; it is gone afterwards, also after an error. */
status encode_run(const experiment *e, comm *c);

/* One work item: the flows of a capture whose hash falls into slice number `slice` of nslices. */
typedef struct encode_item {
    const char *capture;
    uint32_t file; /* index in the file table */
    uint64_t slice, nslices;
} encode_item;

typedef struct encode_options {
    const labels *labels; /* after labels_keep */
    int64_t timeout_ns;   /* 0 = never */
    bool unlabelled;      /* keep flows without a label */
    int compress;
} encode_options;

typedef struct encode_counts {
    uint64_t frames, skipped[SKIP_COUNT]; /* of the whole capture, whatever the slice */
    uint64_t *flows, *packets;            /* caller's, labels + 1 entries: added to; the last is "no label" */
    char *damage;                         /* malloc, NULL if the capture was whole; caller frees */
} encode_counts;

/* Read one capture and write its flows of one slice to `part`. A file that is no capture gives an empty part and its
 * damage; one that cannot be read is an error. Local. */
status encode_part(const encode_item *item, const encode_options *o, const dataset_tables *tables, const char *part,
                   encode_counts *counts);

#endif
