/* What the files of src/io share among themselves. */
#ifndef ND_IO_PRIV_H
#define ND_IO_PRIV_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/status.h"

/* The last component of a path. */
static inline const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Files are written from memory as it lies there: little-endian integers and IEEE 754 floats. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "src/io stores little-endian memory as it is");

#endif
