/* A folder of its own for a test, and file comparisons. */
#ifndef ND_TESTS_IO_FOLDER_H
#define ND_TESTS_IO_FOLDER_H

#include <stdlib.h>
#include <string.h>
#include "base/file.h"

/* malloc'ed path of a fresh folder under TMPDIR. */
static inline char *io_folder(void) {
    const char *base = getenv("TMPDIR");
    char *path = text_format("%s/nd-io-XXXXXX", base != NULL ? base : "/tmp");
    return mkdtemp(path);
}

static inline bool io_same_bytes(const char *a, const char *b) {
    char *x = NULL, *y = NULL;
    size_t nx = 0, ny = 0;
    bool same = file_read(a, 1 << 30, &x, &nx) == ST_OK && file_read(b, 1 << 30, &y, &ny) == ST_OK && nx == ny &&
                memcmp(x, y, nx) == 0;
    free(x);
    free(y);
    return same;
}

#endif
