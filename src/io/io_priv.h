/* What the files of src/io share among themselves. */
#ifndef ND_IO_PRIV_H
#define ND_IO_PRIV_H

#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

/* Files are written from memory as it lies there: little-endian integers and IEEE 754 floats. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "src/io stores little-endian memory as it is");

#endif
