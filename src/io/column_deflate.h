/* Deflate for columns of a known nature: zlib streams (RFC 1950, 1951) that any reader takes, made by an encoder that
 * need not search for matches. Local. */
#ifndef ND_IO_COLUMN_DEFLATE_H
#define ND_IO_COLUMN_DEFLATE_H

#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

/* Bytes that must be readable behind the input. */
enum { COLUMN_DEFLATE_SLACK = 64 };

typedef struct column_deflater column_deflater;
status column_deflater_new(column_deflater **h);
/* Headers begin at start[0] < start[1] < ... < nbytes; what lies before the first is the end of another. The length of
 * the stream, 0 where it would have more than `room` bytes. */
size_t deflate_headers(column_deflater *h, const uint8_t *bytes, size_t nbytes, const uint32_t *start, size_t nstarts,
                       uint8_t *stream, size_t room);
/* The same for shuffled numbers that hardly repeat (times): only runs of one byte are matches. */
size_t deflate_runs(column_deflater *h, const uint8_t *bytes, size_t nbytes, uint8_t *stream, size_t room);
void column_deflater_free(column_deflater **h);

#endif
