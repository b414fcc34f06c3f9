/* What reading labels and matching flows share. */
#ifndef ND_IO_LABELS_PRIV_H
#define ND_IO_LABELS_PRIV_H

#include "io/labels.h"

typedef enum label_kind {
    LABEL_BY_KEY,
    LABEL_BY_FILTER,
    LABEL_WHOLE_FILE,
} label_kind;

typedef struct label_row {
    uint32_t line;
    const char *file, *label, *macro, *run; /* in labels.text */
    label_kind kind;
    flow_key key;
    const char *filter;
    int32_t label_index, run_index;
} label_row;

struct labels {
    char *path, *text;
    size_t nlines;
    size_t nrows, row_capacity;
    label_row *rows; /* by file, then by line */
    size_t nalone;   /* captures without a row; each is a run of its own */
    char **alone;
    size_t nlabels, nruns;
    const char **label, **macro, **run;
};

/* Index of a run by name, -1 if there is no such run. */
int32_t labels_find_run(const labels *l, const char *name);
/* In either direction. */
bool label_same_flow(const flow_key *a, const flow_key *b);
/* Do the components of the shorter path end the longer one? */
bool label_path_matches(const char *a, const char *b);
/* Does `earlier` name a file of the series that `later` goes on with: STEM-NUMBER.pcap in the same folder, as ndgen
 * calls what does not fit into one file? *number: its own. */
bool label_path_continues(const char *earlier, const char *later, uint64_t *number);

#endif
