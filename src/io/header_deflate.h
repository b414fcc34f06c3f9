/* Deflate for the column of packet headers: a zlib stream (RFC 1950, 1951) that any reader takes, made by an encoder
 * that knows where headers begin. Local. */
#ifndef ND_IO_HEADER_DEFLATE_H
#define ND_IO_HEADER_DEFLATE_H

#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

/* Bytes that must be readable behind the input. */
enum { HEADER_DEFLATE_SLACK = 64 };

typedef struct header_deflater header_deflater;
status header_deflater_new(header_deflater **h);
/* Headers begin at start[0] < start[1] < ... < nbytes; what lies before the first is the end of another. The length of
 * the stream, 0 where it would have more than `room` bytes. */
size_t header_deflate(header_deflater *h, const uint8_t *bytes, size_t nbytes, const uint32_t *start, size_t nstarts,
                      uint8_t *stream, size_t room);
void header_deflater_free(header_deflater **h);

#endif
