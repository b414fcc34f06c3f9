/* Labels of flows: a CSV with a header line; columns found by name.
 *
 * file (path as in the captures' folder; compared by its trailing path components), label (or micro), macro, run
 * (default: the file's name), and either proto, src, sport, dst, dport or filter (a BPF expression that is run on a
 * flow's first frame). Where a row has both, the 5-tuple counts; a row with neither labels every flow of its file that
 * no other row labels. Addresses are of either IP version. ICMP and ICMPv6 rows: sport = echo identifier, dport = 0.
 * Columns of other names are ignored. docs/labels.md is the reference. Local. */
#ifndef ND_IO_LABELS_H
#define ND_IO_LABELS_H

#include "io/capture.h"
#include "packet/flow.h"

typedef struct labels labels;
status labels_open(labels **l, const char *path); /* path "" or NULL: no labels, every flow is unlabelled */
/* Forget the rows that are about none of these captures, and with them the labels and runs that only they have. A
 * capture without rows becomes a run of its own, named as its file. ST_FORMAT where a labels file has no row left.
 * Once.
 */
status labels_keep(labels *l, const text_list *captures);
size_t labels_count(const labels *l);
const char *labels_name(const labels *l, size_t i);  /* sorted by name */
const char *labels_macro(const labels *l, size_t i); /* "" where not given */
size_t labels_nruns(const labels *l);
const char *labels_run(const labels *l, size_t i); /* sorted by name */
size_t labels_nlines(const labels *l);             /* the line on which the last row begins; 0 without rows */

/* Rows that labelled no flow, in the order of lines. taken: by line (0 .. labels_nlines), not 0 where flows took their
 * label from the row that begins there. A row is not among them whose 5-tuple also stands in a row of its file that was
 * taken. *rows: malloc, also after an error; caller frees; the texts are l's. */
typedef struct unused_row {
    size_t line;
    const char *file, *label;
} unused_row;
status labels_unused(const labels *l, const uint64_t *taken, size_t *n, unused_row **rows);

/* The rows that concern one capture; filters are compiled for link_type (LINKTYPE_; -1: not yet). l must outlive it.
 * ST_FORMAT, with its row, for a bad filter or a flow that has two labels. Records of other link types are matched too,
 * but by no filter that has no meaning there. One thread at a time. */
typedef struct label_matcher label_matcher;
typedef struct flow_label {
    int32_t label; /* -1: none */
    int32_t run;   /* without a label: the one that all rows of the capture share, -1 where there is no such run */
    uint32_t line; /* of the row, 0 without a label */
} flow_label;
status label_matcher_new(label_matcher **m, const labels *l, const char *capture_path, int link_type);
/* Of the flow whose first packet is the given record. */
flow_label label_match(const label_matcher *m, const flow_key *key, const capture_record *first);
/* Does the result depend on the record and not on the key alone? */
bool label_matcher_reads_frames(const label_matcher *m);
void label_matcher_free(label_matcher **m);
void labels_free(labels **l);

#endif
