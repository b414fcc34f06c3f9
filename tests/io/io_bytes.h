/* Capture files put together byte by byte. */
#ifndef ND_TESTS_IO_BYTES_H
#define ND_TESTS_IO_BYTES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

typedef struct bytes {
    uint8_t data[1 << 16];
    size_t n;
} bytes;

static inline void add32(bytes *b, uint32_t v, bool big) {
    if (big)
        v = __builtin_bswap32(v);
    memcpy(b->data + b->n, &v, 4);
    b->n += 4;
}

static inline void add16(bytes *b, unsigned v, bool big) {
    uint16_t w = (uint16_t)(big ? __builtin_bswap16((uint16_t)v) : v);
    memcpy(b->data + b->n, &w, 2);
    b->n += 2;
}

static inline void save(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

#endif
