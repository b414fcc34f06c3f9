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

/* The rows that concern one capture; filters are compiled for link_type (LINKTYPE_; -1: not yet). l must outlive it.
 * ST_FORMAT, with its row, for a bad filter or a flow that has two labels. Records of other link types are matched too,
 * but by no filter that has no meaning there. One thread at a time. */
typedef struct label_matcher label_matcher;
status label_matcher_new(label_matcher **m, const labels *l, const char *capture_path, int link_type);
/* Label (and run) of the flow whose first packet is the given record. Without a label: -1, and the run that all rows of
 * this capture share, -1 where there is no such run. */
void label_match(const label_matcher *m, const flow_key *key, const capture_record *first, int32_t *label,
                 int32_t *run);
/* Does the result depend on the record and not on the key alone? */
bool label_matcher_reads_frames(const label_matcher *m);
void label_matcher_free(label_matcher **m);
void labels_free(labels **l);

#endif
