/* Comma-separated text (RFC 4180: quotes, doubled quotes, line breaks inside quotes; LF or CRLF). Local. */
#ifndef ND_IO_CSV_H
#define ND_IO_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include "base/status.h"

typedef struct csv {
    const char *path; /* for messages */
    char *next, *end; /* what is left; the text is changed in place */
    size_t line;      /* of the next record, from 1 */
    size_t record_line;
    size_t nfields, capacity;
    char **field; /* of the record last read */
} csv;

/* text: nbytes and a NUL after them; stays the caller's and must outlive the fields. A byte order mark is skipped. */
void csv_open(csv *c, const char *path, char *text, size_t nbytes);
/* The next record that is not an empty line; *end where there is none. ST_FORMAT names file and line. */
status csv_next(csv *c, bool *end);
void csv_close(csv *c);

#endif
