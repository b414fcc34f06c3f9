/* What classifiers see of a flow: the nPrint bits of its first packets, or statistics as a flow exporter keeps them.
 *
 * Bits are 1, 0 and -1 (vacant; so is every bit of a packet that the flow does not have), 1088 a packet. Statistics are
 * numbers over the flow's packets in memory; counts, bytes and times as log(1 + x), so that no scale rules. */
#ifndef ND_EVAL_FEATURES_H
#define ND_EVAL_FEATURES_H

#include "eval/world.h"

typedef enum feature_kind {
    FEATURE_ALL_BITS,   /* every bit */
    FEATURE_BITS,       /* without what names the session rather than the service; see features_make */
    FEATURE_STATISTICS, /* no address and no port among them */
    FEATURE_KINDS
} feature_kind;

extern const char *const feature_kind_names[FEATURE_KINDS];

/* Row by row; one of the two pointers is set. Owned. */
typedef struct feature_table {
    feature_kind kind;
    size_t nrows, ncolumns;
    int8_t *bits;   /* (nrows, ncolumns) */
    float *numbers; /* (nrows, ncolumns) */
} feature_table;

/* Is this field of the nPrint row an address, port, checksum, IP-ID, sequence or acknowledgement number, or ICMP's rest
 * of header (echo identifier and number)? They tell one session from another and say nothing of the service. */
bool features_name_session(size_t field);

/* Features of n flows, from the first `packets` packets of each (statistics: of all packets in memory). In FEATURE_BITS
 * the fields that name a session are vacant, and the values of TCP timestamps and selective acknowledgements are zero
 * bits: their place in the options moves, so no fixed column could be dropped for them. */
status features_make(feature_kind kind, size_t packets, const eval_flow *const *flows, size_t n, feature_table *t);
void features_clear(feature_table *t);

/* Columns worth learning from, by the training rows alone: constant ones are dropped, of equal ones the first is kept,
 * and of what is left the `limit` with the most mutual information with the class (bits only). Ascending; *columns is
 * for memory_free. classes: of each row, 0..nclasses-1. */
status features_choose(const feature_table *train, const int *classes, size_t nclasses, size_t limit, size_t **columns,
                       size_t *n);
/* The chosen columns as x (nrows, n), caller's for memory_free. */
status features_gather(const feature_table *t, const size_t *columns, size_t n, float **x);

/* Header fields as nprint_fields counts them; statistics: the column itself. */
size_t features_field(feature_kind kind, size_t column);
size_t features_nfields(feature_kind kind);
const char *features_field_name(feature_kind kind, size_t field);

#endif
