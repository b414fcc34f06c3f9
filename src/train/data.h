/* The flows that one run learns from, read once and encoded into rows of cells.
 *
 * Every rank holds all of them (about rows * (cells + 12) bytes a flow), so that any rank can make any sample. A few
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
    size_t rows, cells; /* of a flow, L and C */
    size_t nflows;
    int8_t *row_cells; /* (nflows, rows, cells) */
    uint8_t *control;  /* (nflows, rows, CONTROL_WIDTH) of 0 and 1 */
    int32_t *label;    /* -1 = none */
    uint64_t hash;     /* of all of the above: equal on all ranks, and across a resume */

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
status data_open(data **d, const experiment *e, const layout *l, size_t rows);
void data_close(data **d);

#endif
