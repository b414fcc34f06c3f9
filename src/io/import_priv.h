/* Reading nPrint text, apart from the dataset that it goes into. */
#ifndef ND_IO_IMPORT_PRIV_H
#define ND_IO_IMPORT_PRIV_H

#include <stdio.h>
#include "packet/flow.h"
#include "packet/nprint.h"

typedef struct import_rows {
    const nprint_form *form; /* of the input read last */
    uint64_t nrows;          /* over all inputs: the time of a row */
    uint64_t skipped[SKIP_COUNT];
} import_rows;

/* The packets of a text, assembled into flows. ST_FORMAT, with path and line, for what is no such text. */
status import_read_rows(const char *path, FILE *f, import_rows *r, flow_table *flows);

#endif
