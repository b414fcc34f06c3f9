/* What the tests of src/io share: cmocka with its headers, a folder of the test program, file comparisons. */
#ifndef ND_TESTS_IO_TEST_H
#define ND_TESTS_IO_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/file.h"

static char *folder; /* a fresh one under TMPDIR */

static inline int make_folder(void **state) {
    const char *base = getenv("TMPDIR");
    folder = text_format("%s/nd-io-XXXXXX", base != NULL ? base : "/tmp");
    return mkdtemp(folder) == NULL;
}

static inline int remove_folder(void **state) {
    status st = file_remove_tree(folder);
    free(folder);
    return st != ST_OK;
}

/* Caller frees. */
static inline char *in_folder(const char *name) {
    return text_format("%s/%s", folder, name);
}

static inline void save(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
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
