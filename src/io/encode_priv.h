/* The plan of a run of ndencode and its report. */
#ifndef ND_IO_ENCODE_PRIV_H
#define ND_IO_ENCODE_PRIV_H

#include "io/encode.h"

typedef struct encode_plan {
    text_list captures, names; /* path of each, and what it is called in the dataset */
    uint64_t *nbytes;          /* of each; gzip-compressed ones count four times */
    size_t nitems;
    encode_item *items; /* by file, then by slice: the order of the dataset */
    size_t *order;      /* of work: largest first */
} encode_plan;

/* Collective: rank 0 looks, all get the same plan. */
status encode_plan_make(encode_plan *p, const experiment *e, comm *c);
void encode_plan_clear(encode_plan *p);
/* Bytes that an item stands for. */
uint64_t encode_item_nbytes(const encode_plan *p, size_t item);

/* What a run found, summed over all ranks. */
typedef struct encode_totals {
    uint64_t frames, skipped[SKIP_COUNT];
    uint64_t *flows, *packets; /* labels + 1 */
    uint64_t *sha256;          /* 4 words a file */
    char **damage;             /* a file's, or NULL; on rank 0 */
} encode_totals;

/* The result on stdout. */
void encode_report(const char *path, const dataset_tables *t, const encode_totals *totals);
void encode_report_plan(const encode_plan *p, const dataset_tables *t, const char *path);
void encode_print_labels(const dataset_tables *t, const uint64_t *flows, const uint64_t *packets);
void encode_print_skips(const uint64_t skipped[SKIP_COUNT]);

#endif
