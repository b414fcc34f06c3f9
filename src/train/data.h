/* The flows that one run learns from, read once and encoded into rows of cells.
 *
 * Every rank holds all of them, so that any rank can make any sample. A row is kept as the signs of its cells, one bit
 * each, and the packet's shape (82 bytes in the relative layout): which cells are vacant follows from the signs. A few
 * flows of every label are kept out of the gradient for validation; which ones depends on the flows alone. */
#ifndef ND_TRAIN_DATA_H
#define ND_TRAIN_DATA_H

#include "base/experiment.h"
#include "packet/control.h"
#include "packet/layout.h"

/* The flows of one label (or of none: label -1) that enter the gradient, and how often they are drawn. */
typedef struct data_group {
    int32_t label;
    size_t n, nvalidate;
    size_t *flow; /* n numbers of flows, then nvalidate of flows kept for validation */
} data_group;

enum { DATA_REASONS = 16 };

/* Flows of the dataset that this run does not use, by reason. */
typedef struct data_left {
    size_t holdout, excluded, empty;
    size_t nreasons;
    const char *reason[DATA_REASONS]; /* the layout's words */
    size_t refused[DATA_REASONS];
} data_left;

typedef struct data {
    const layout *layout;
    size_t rows, context; /* of a window, L and how many are given in one that is not the first */
    size_t cells;         /* of a row, C */
    size_t nflows;
    size_t *first;        /* (nflows + 1) where a flow's rows begin in the two arrays below */
    size_t *npackets;     /* of the whole flow; where it is longer than data.max_packets only so many are kept */
    uint8_t *signs;       /* (first[nflows], data_row_nbytes) +1 as 1, first cell in the highest bit */
    packet_shape *shapes; /* (first[nflows]) */
    int32_t *label;       /* -1 = none */
    uint64_t hash;        /* of flows, label names and prompts: equal on all ranks, and across a resume */

    size_t nlabels; /* of the dataset's table */
    char **label_name, **prompt;

    /* Labelled flows by label, and the unlabelled ones. A label is drawn with probability weight / sum of weights:
     * weight = sqrt(n), which gives each of its n flows 1 / sqrt(n). */
    size_t ngroups;
    data_group *group;
    double *weight;
    data_group unlabelled;
    double unlabelled_share; /* of a batch: their share among all flows, at most a quarter */

    size_t nvalidate;
    size_t *validate; /* flow numbers */
    data_left left;
} data;

/* Read the flows of e's dataset that the run of e->train.mode learns from. Local; every rank reads the same.
 * ST_IO without a dataset, ST_USAGE where the configuration names a label or run that the dataset does not have, or
 * where no flow is left to learn from. */
status data_open(data **d, const experiment *e, const layout *l, size_t rows, size_t context);
void data_close(data **d);

static inline size_t data_row_nbytes(const data *d) {
    return (d->cells + 7) / 8;
}
/* The window of flow i that begins with row `first`, 0 or at least one row before the last `context` ones: its rows
 * (L, C) as the layout encodes them, and its control signal (L, CONTROL_WIDTH). Returns how many of its rows are given.
 * scratch: 2 C bytes. */
size_t data_window(const data *d, size_t i, size_t first, float *cells, float *control, uint8_t *scratch);
/* How many windows generation would make of the flow, and the largest `first` that a later one may have (0 where the
 * first shows it all). */
size_t data_nwindows(const data *d, size_t i);
size_t data_last_window(const data *d, size_t i);

#endif
