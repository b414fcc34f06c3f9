/* Streams of column_deflate.c are what zlib unpacks to the same bytes, whatever the bytes are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <zlib.h>
#include "io/column_deflate.h"
#include "io/io_flows.h"

enum { MOST = 1 << 20 };

typedef struct input {
    uint8_t *bytes; /* MOST and the slack */
    size_t nbytes, nstarts;
    uint32_t *start;
} input;

static input new_input(void) {
    input in = {.bytes = calloc(MOST + COLUMN_DEFLATE_SLACK, 1), .start = calloc(MOST, sizeof *in.start)};
    assert_true(in.bytes != NULL && in.start != NULL);
    return in;
}

static void free_input(input *in) {
    free(in->bytes);
    free(in->start);
}

/* Length of the stream; 0 where it would be longer than the bytes. */
static size_t check(column_deflater *h, const input *in, bool headers) {
    uint8_t *stream = malloc(in->nbytes + 16), *back = malloc(in->nbytes + 1);
    assert_true(stream != NULL && back != NULL);
    size_t n = headers ? deflate_headers(h, in->bytes, in->nbytes, in->start, in->nstarts, stream, in->nbytes)
                       : deflate_runs(h, in->bytes, in->nbytes, stream, in->nbytes);
    assert_true(n <= in->nbytes);
    uLongf nback = in->nbytes;
    if (n > 0) {
        assert_int_equal(uncompress(back, &nback, stream, n), Z_OK);
        assert_int_equal(nback, in->nbytes);
        assert_memory_equal(back, in->bytes, in->nbytes);
    }
    free(stream);
    free(back);
    return n;
}

static void add_header(input *in, const uint8_t *bytes, size_t n) {
    if (n > MOST - in->nbytes)
        n = MOST - in->nbytes;
    in->start[in->nstarts++] = (uint32_t)in->nbytes;
    memcpy(in->bytes + in->nbytes, bytes, n);
    in->nbytes += n;
}

/* Packets of made flows, as a dataset has them: much shorter than zlib makes them at its fastest. */
static void test_headers(void **state) {
    column_deflater *h = NULL;
    input in = new_input();
    assert_int_equal(column_deflater_new(&h), ST_OK);
    in.nbytes = 13; /* the end of another header */
    for (uint64_t i = 0; in.nbytes < MOST; i++) {
        flow f;
        assert_int_equal(io_flow(i, 200, &f), ST_OK);
        for (size_t k = 0; k < f.npackets && in.nbytes < MOST; k++)
            add_header(&in, f.packets[k].header, f.packets[k].nheader);
        flow_clear(&f);
    }
    size_t n = check(h, &in, true);
    uLongf fast = compressBound(MOST);
    uint8_t *stream = malloc(fast);
    assert_non_null(stream);
    assert_int_equal(compress2(stream, &fast, in.bytes, MOST, 1), Z_OK);
    assert_true(n > 0 && n < fast);
    free(stream);
    free_input(&in);
    column_deflater_free(&h);
}

/* Lengths and kinds of bytes at the edges; the encoder is used again and again. */
static void test_edges(void **state) {
    static const size_t lengths[] = {0, 1, 2, 3, 7, 63, 64, 65, 257, 258, 259, 261, 517, 70000, MOST};
    column_deflater *h = NULL;
    input in = new_input();
    assert_int_equal(column_deflater_new(&h), ST_OK);
    rng r = rng_make(7, 1, RNG_TEST);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        for (unsigned kind = 0; kind < 5; kind++) {
            in.nbytes = lengths[i];
            in.nstarts = 0;
            for (size_t k = 0; k < in.nbytes; k++)
                in.bytes[k] = (uint8_t)(kind == 0   ? 0
                                        : kind == 1 ? rng_below(&r, 256)
                                        : kind == 2 ? (rng_below(&r, 20) == 0) * rng_below(&r, 256)
                                        : kind == 3 ? (k / 4096 % 2) * rng_below(&r, 256)
                                                    : rng_below(&r, 2));
            for (size_t at = rng_below(&r, 30); at < in.nbytes; at += 1 + rng_below(&r, 190))
                in.start[in.nstarts++] = (uint32_t)at;
            size_t runs = check(h, &in, false), headers = check(h, &in, true);
            if (in.nbytes >= 70000 && kind != 1)
                assert_true(runs > 0 && headers > 0);
            if (in.nbytes >= 70000 && kind == 1) /* random bytes do not shrink */
                assert_true(runs == 0 && headers == 0);
        }
    free_input(&in);
    column_deflater_free(&h);
}

/* Very uneven counts of literals, for which Huffman codes would be longer than deflate allows. */
static void test_long_codes(void **state) {
    column_deflater *h = NULL;
    input in = new_input();
    assert_int_equal(column_deflater_new(&h), ST_OK);
    uint64_t a = 1, b = 1;
    for (unsigned symbol = 0; in.nbytes + a < 60000; symbol++) { /* Fibonacci: one bit more a symbol */
        for (uint64_t k = 0; k < a; k++)
            in.bytes[in.nbytes++] = (uint8_t)(symbol * 7 + 1);
        uint64_t next = a + b;
        a = b;
        b = next;
    }
    rng r = rng_make(7, 2, RNG_TEST);
    for (size_t k = in.nbytes; k > 1; k--) { /* shuffled, so that there are few runs */
        size_t other = rng_below(&r, (uint32_t)k);
        uint8_t x = in.bytes[k - 1];
        in.bytes[k - 1] = in.bytes[other];
        in.bytes[other] = x;
    }
    assert_true(check(h, &in, false) > 0);
    free_input(&in);
    column_deflater_free(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_long_codes),
    };
    return cmocka_run_group_tests_name("io.column_deflate", tests, NULL, NULL);
}
