/* Inside the variation part: bit differences between flows of one label, and figures of a variant. */
#ifndef ND_EVAL_VARIATION_PRIV_H
#define ND_EVAL_VARIATION_PRIV_H

#include "eval/eval_priv.h"
#include "packet/check.h"

/* ---- variation_bits.c ---- */

/* Fields of the nPrint row, first to last by name, that are reported as one. */
typedef struct variation_group {
    const char *title, *first, *last;
} variation_group;
extern const variation_group variation_groups[];
extern const size_t variation_ngroups;

enum { VARIATION_PAIRS = 100, VARIATION_PACKETS = 32 };

/* Sums over pairs of flows: the share of differing bits, of those that either flow has. */
typedef struct variation_bits {
    double pairs, share; /* pairs in which either flow has such bits */
} variation_bits;

/* Local. Up to VARIATION_PAIRS pairs of different flows of a label are compared packet by packet over the longer flow's
 * first packets (at most VARIATION_PACKETS). r: (variation_ngroups + 1), added to; the last is all bits. */
status variation_bits_measure(const eval_world *w, const eval_set *set, size_t label, variation_bits *r);

/* ---- variation_figures.c ---- */

/* What real flows show: per label, the held-out flows' histograms and the training flows' usual direction. */
typedef struct variation_real {
    size_t nlabels;
    histograms *held_out; /* (nlabels) */
    double *direction[2]; /* (nlabels, VARIATION_PACKETS) training packets at that place with each direction */
} variation_real;

/* All doubles, so that ranks exchange them as one block. */
typedef struct variation_figures {
    double flows;
    double rows, rows_valid;        /* by the row rules of check.h */
    double labels, jsd[HISTOGRAMS]; /* mean over labels with flows here and in held out */
    double placed, usual;           /* packets where training flows say a direction; those that have it */
} variation_figures;

/* Local. */
status variation_real_open(const eval_world *w, variation_real *x);
void variation_real_close(variation_real *x);
/* Local. */
status variation_figures_measure(const variation_real *x, const eval_set *set, variation_figures *r);
/* Local. Flows of a dataset, labels by name, cut to the world's window; labels that the world lacks become -1. */
status variation_read(const eval_world *w, const char *path, eval_set *set);
void variation_clear(eval_set *set);

#endif
