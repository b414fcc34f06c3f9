/* Capture files put together byte by byte, and read to their end. */
#ifndef ND_TESTS_IO_BYTES_H
#define ND_TESTS_IO_BYTES_H

#include <stdbool.h>
#include "io/capture.h"
#include "io/io_test.h"

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

/* Number of records of a capture, which is closed; *damage (may be NULL) is a copy, or NULL. */
static inline size_t count_open(capture *c, char **damage) {
    capture_record r;
    bool end = false;
    size_t n = 0;
    packet p;
    for (; assert_int_equal(capture_next(c, &r, &end), ST_OK), !end; n++) {
        assert_true(r.wire_len >= r.caplen);
        packet_decode(r.link_type, r.bytes, r.caplen, r.wire_len, &p);
    }
    assert_int_equal(capture_next(c, &r, &end), ST_OK); /* the end stays the end */
    assert_true(end);
    if (damage != NULL)
        *damage = capture_damage(c) != NULL ? text_copy(capture_damage(c)) : NULL;
    capture_close(&c);
    assert_null(c);
    return n;
}

static inline size_t count_records(const char *path, char **damage) {
    capture *c = NULL;
    assert_int_equal(capture_open(&c, path), ST_OK);
    return count_open(c, damage);
}

#endif
