/* Pictures: flows there and back, and files that are none. */
#include "io/io_test.h"
#include <zlib.h>
#include "io/io_flows.h"
#include "io/png_image.h"
#include "packet/nprint.h"

static char *path;

static int make_path(void **state) {
    int failed = make_folder(state);
    path = in_folder("x.png");
    return failed;
}

static int free_path(void **state) {
    free(path);
    return remove_folder(state);
}

static void check_same_headers(const flow *a, const flow *b, size_t n) {
    assert_int_equal(b->npackets, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(a->packets[i].nheader, b->packets[i].nheader);
        assert_memory_equal(a->packets[i].header, b->packets[i].header, a->packets[i].nheader);
        assert_int_equal(a->packets[i].dir, b->packets[i].dir);
    }
}

/* The flow as one of IPv6: the same transport headers between other addresses. */
static void to_ipv6(flow *f) {
    for (size_t i = 0; i < f->npackets; i++) {
        packet *p = &f->packets[i], q = *p;
        memset(q.header, 0, 40);
        q.header[0] = 0x60;
        put16(q.header + 4, packet_total_len(p) - 20u);
        q.header[6] = (uint8_t)packet_proto(p);
        q.header[23 + 16 * !p->dir] = 1;
        memcpy(q.header + 40, p->header + 20, p->nheader - 20u);
        q.nheader = (uint8_t)(p->nheader + 20);
        *p = q;
    }
    f->key = flow_key_of(&f->packets[0]);
}

static void test_round_trip(void **state) {
    static const struct {
        const nprint_form *form;
        uint32_t most;
        bool ipv6;
    } cases[] = {{&nprint_ipv4_form, 1, false},  {&nprint_ipv4_form, 20, false},  {&nprint_ipv4_form, 1400, false},
                 {&nprint_ipv6_form, 20, false}, {&nprint_ipv6_form, 1400, true}, {&nprint_ipv6_form, 1, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        flow f, back;
        image m, read;
        uint64_t number = 50 + i;
        assert_int_equal(io_flow(number, cases[i].most, &f), ST_OK);
        while (cases[i].ipv6 && f.key.proto == PROTO_ICMP) { /* which IPv6 has not */
            flow_clear(&f);
            assert_int_equal(io_flow(++number, cases[i].most, &f), ST_OK);
        }
        if (cases[i].ipv6)
            to_ipv6(&f);
        assert_int_equal(flow_image(cases[i].form, &f, &m), ST_OK);
        assert_int_equal(m.width, cases[i].form == &nprint_ipv4_form ? 1088 : 1408);
        assert_int_equal(m.height, 1024);
        assert_int_equal(image_write(path, &m), ST_OK);
        assert_int_equal(image_read(path, &read), ST_OK);
        assert_int_equal(read.width, m.width);
        assert_int_equal(read.height, m.height);
        assert_memory_equal(read.rgb, m.rgb, m.width * m.height * 3);

        /* Colours that were bent a little, as by a lossy step, still give the bits. */
        for (size_t k = 0; k < m.width * m.height * 3; k++)
            read.rgb[k] = (uint8_t)(read.rgb[k] > 200 ? read.rgb[k] - 40 : read.rgb[k] + 40);
        flow_init(&back);
        assert_int_equal(flow_from_image(&read, &back), ST_OK);
        check_same_headers(&f, &back, f.npackets < FLOW_IMAGE_ROWS ? f.npackets : FLOW_IMAGE_ROWS);
        flow_clear(&f);
        flow_clear(&back);
        image_clear(&m);
        image_clear(&read);
    }
}

static void test_not_a_flow(void **state) {
    image m;
    flow f;
    flow_init(&f);
    assert_int_equal(image_new(&m, 1087, 4, 128), ST_OK);
    assert_int_equal(flow_from_image(&m, &f), ST_FORMAT);
    image_clear(&m);
    assert_int_equal(image_new(&m, 1088, 4, 128), ST_OK);
    assert_int_equal(flow_from_image(&m, &f), ST_FORMAT); /* no packet */
    m.rgb[1] = 255;
    m.rgb[0] = m.rgb[2] = 0; /* one set bit is no header */
    assert_int_equal(flow_from_image(&m, &f), ST_FORMAT);
    assert_non_null(strstr(status_message(), "row 0"));
    image_clear(&m);
    assert_null(m.rgb);
    assert_int_equal(image_new(&m, 0, 4, 128), ST_RANGE);
    assert_int_equal(image_new(&m, (size_t)1 << 40, (size_t)1 << 40, 128), ST_RANGE);
    flow_clear(&f);
}

/* --- PNG files byte by byte --- */

static void add32(uint8_t **to, uint32_t v) {
    put32(*to, v);
    *to += 4;
}

static void add_chunk(uint8_t **to, const char *type, const void *data, size_t n, bool right) {
    add32(to, (uint32_t)n);
    uint8_t *start = *to;
    memcpy(start, type, 4);
    memcpy(start + 4, data, n);
    *to += 4 + n;
    add32(to, (uint32_t)crc32(0, start, (uInt)(4 + n)) ^ (right ? 0 : 1));
}

/* A PNG of the given header whose picture data are `raw`. Returns its size. */
static size_t make_png(uint8_t *file, uint32_t width, uint32_t height, int depth, int colour, const void *raw,
                       size_t nraw, bool right) {
    uint8_t *to = file, header[13] = {0}, packed[4096];
    static const uint8_t palette[6] = {10, 20, 30, 40, 50, 60};
    uLongf npacked = sizeof packed;
    memcpy(to, "\211PNG\r\n\032\n", 8);
    to += 8;
    put32(header, width);
    put32(header + 4, height);
    header[8] = (uint8_t)depth;
    header[9] = (uint8_t)colour;
    add_chunk(&to, "IHDR", header, 13, true);
    if (colour == 3)
        add_chunk(&to, "PLTE", palette, 6, true);
    assert_int_equal(compress2(packed, &npacked, raw, nraw, 1), Z_OK);
    add_chunk(&to, "IDAT", packed, npacked, right);
    add_chunk(&to, "IEND", "", 0, true);
    return (size_t)(to - file);
}

static void test_other_kinds(void **state) {
    static const struct {
        int depth, colour;
        uint8_t raw[16];
        size_t nraw;
        uint8_t rgb[3]; /* of the first pixel; width 2, height 1 */
    } cases[] = {
        {8, 0, {0, 77, 1}, 3, {77, 77, 77}},
        {1, 0, {0, 0x80}, 2, {255, 255, 255}},
        {8, 3, {0, 1, 0}, 3, {40, 50, 60}},
        {8, 2, {0, 1, 2, 3, 4, 5, 6}, 7, {1, 2, 3}},
        {8, 6, {0, 1, 2, 3, 255, 4, 5, 6, 255}, 9, {1, 2, 3}},
        {8, 6, {0, 1, 2, 3, 0, 4, 5, 6, 0}, 9, {0, 0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t file[8192];
        image m;
        save(path, file, make_png(file, 2, 1, cases[i].depth, cases[i].colour, cases[i].raw, cases[i].nraw, true));
        if (image_read(path, &m) != ST_OK)
            fail_msg("case %zu: %s", i, status_message());
        assert_int_equal(m.width, 2);
        assert_int_equal(m.height, 1);
        assert_memory_equal(m.rgb, cases[i].rgb, 3);
        image_clear(&m);
    }
}

static void test_hostile(void **state) {
    static const uint8_t raw[7] = {0, 1, 2, 3, 4, 5, 6};
    static const struct {
        const char *what;
        uint32_t width, height;
        int depth, colour;
        bool right;
        status want;
    } cases[] = {
        {"no pixels", 0, 0, 8, 2, true, ST_FORMAT},
        {"2^31 pixels wide", 0x80000000u, 1, 8, 2, true, ST_FORMAT},
        {"a gigapixel", 32768, 32768, 8, 2, true, ST_RANGE},
        {"just too many pixels", 8192, 8193, 8, 2, true, ST_RANGE},
        {"more rows than data", 2, 100, 8, 2, true, ST_FORMAT},
        {"wider than the data", 100, 1, 8, 2, true, ST_FORMAT},
        {"depth 7", 2, 1, 7, 2, true, ST_FORMAT},
        {"colour type 5", 2, 1, 8, 5, true, ST_FORMAT},
        {"wrong check sum", 2, 1, 8, 2, false, ST_FORMAT},
    };
    uint8_t file[8192];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        image m;
        save(path, file,
             make_png(file, cases[i].width, cases[i].height, cases[i].depth, cases[i].colour, raw, sizeof raw,
                      cases[i].right));
        status st = image_read(path, &m);
        if (st != cases[i].want || strstr(status_message(), path) == NULL)
            fail_msg("%s: %s: %s", cases[i].what, status_name(st), status_message());
        assert_null(m.rgb);
    }
    image m;
    size_t n = make_png(file, 2, 1, 8, 2, raw, sizeof raw, true);
    for (size_t length = 0; length < n - 12; length++) { /* the picture is complete before its last chunk */
        save(path, file, length);
        if (image_read(path, &m) != ST_FORMAT)
            fail_msg("cut to %zu of %zu bytes was read", length, n);
    }
    for (size_t at = 0; at < n; at++) /* one byte changed: an error or a picture, no crash */
        for (int bit = 0; bit < 8; bit += 3) {
            file[at] ^= (uint8_t)(1 << bit);
            save(path, file, n);
            if (image_read(path, &m) == ST_OK)
                image_clear(&m);
            file[at] ^= (uint8_t)(1 << bit);
        }
    unlink(path);
    assert_int_equal(image_read(path, &m), ST_IO);
    assert_int_equal(image_read(folder, &m), ST_FORMAT);
}

static void test_write_fails(void **state) {
    image m;
    assert_int_equal(image_new(&m, 4, 4, 0), ST_OK);
    assert_int_equal(image_write("/nonexistent/x.png", &m), ST_IO);
    image_clear(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_not_a_flow),  cmocka_unit_test(test_other_kinds),
        cmocka_unit_test(test_hostile),    cmocka_unit_test(test_write_fails),
    };
    return cmocka_run_group_tests_name("io.png_image", tests, make_path, free_path);
}
