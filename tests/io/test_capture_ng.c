/* pcapng files made block by block: times, interfaces, sections, damage. */
#include "io/io_test.h"
#include "io/io_bytes.h"
#include "io/capture.h"

/* A block of a body; the length of the whole twice. */
static void add_block(bytes *b, bool big, uint32_t type, const bytes *body) {
    size_t padded = (body->n + 3) / 4 * 4;
    add32(b, type, big);
    add32(b, (uint32_t)padded + 12, big);
    memcpy(b->data + b->n, body->data, body->n);
    memset(b->data + b->n + body->n, 0, padded - body->n);
    b->n += padded;
    add32(b, (uint32_t)padded + 12, big);
}

static void add_section(bytes *b, bool big, unsigned major) {
    static bytes body;
    body.n = 0;
    add32(&body, 0x1a2b3c4d, big);
    add16(&body, major, big);
    add16(&body, 0, big);
    add32(&body, UINT32_MAX, big);
    add32(&body, UINT32_MAX, big);
    add_block(b, big, 0x0a0d0d0a, &body);
}

/* resolution < 0: no option; offset 0: none. */
static void add_interface(bytes *b, bool big, unsigned link_type, uint32_t snap_len, int resolution, int64_t offset) {
    static bytes body;
    body.n = 0;
    add16(&body, link_type, big);
    add16(&body, 0, big);
    add32(&body, snap_len, big);
    add16(&body, 2, big); /* if_name, which is passed over */
    add16(&body, 3, big);
    memcpy(body.data + body.n, "eth", 4);
    body.n += 4;
    if (resolution >= 0) {
        add16(&body, 9, big);
        add16(&body, 1, big);
        memset(body.data + body.n, 0, 4);
        body.data[body.n] = (uint8_t)resolution;
        body.n += 4;
    }
    if (offset != 0) {
        add16(&body, 14, big);
        add16(&body, 8, big);
        uint64_t value = big ? __builtin_bswap64((uint64_t)offset) : (uint64_t)offset;
        memcpy(body.data + body.n, &value, 8);
        body.n += 8;
    }
    add32(&body, 0, big);
    add_block(b, big, 1, &body);
}

enum { BLOCK_ENHANCED = 6, BLOCK_OBSOLETE = 2, BLOCK_SIMPLE = 3 };

/* A packet block of n bytes, each `fill`. */
static void add_packet(bytes *b, bool big, unsigned type, unsigned interface, uint64_t units, uint32_t len, size_t n,
                       int fill) {
    static bytes body;
    body.n = 0;
    if (type == BLOCK_ENHANCED)
        add32(&body, interface, big);
    if (type == BLOCK_OBSOLETE)
        add16(&body, interface, big), add16(&body, 9, big);
    if (type != BLOCK_SIMPLE) {
        add32(&body, (uint32_t)(units >> 32), big);
        add32(&body, (uint32_t)units, big);
        add32(&body, (uint32_t)n, big);
    }
    add32(&body, len, big);
    memset(body.data + body.n, fill, n);
    body.n += n;
    add_block(b, big, type, &body);
}

/* Every record of the bytes must be in `want`, whose last link type is -1. */
typedef struct ng_record {
    int link_type;
    size_t caplen, wire_len;
    int64_t time_ns;
} ng_record;

static void check_records(const char *what, const bytes *b, const ng_record *want, const char *damage) {
    char *path = in_folder("made.pcapng");
    capture *c = NULL;
    capture_record r;
    bool end;
    save(path, b->data, b->n);
    if (capture_open(&c, path) != ST_OK)
        fail_msg("%s: %s", what, status_message());
    for (size_t i = 0;; i++) {
        assert_int_equal(capture_next(c, &r, &end), ST_OK);
        if (end != (want[i].link_type < 0))
            fail_msg("%s: end at record %zu: %d", what, i, end);
        if (end)
            break;
        if (r.link_type != want[i].link_type || r.caplen != want[i].caplen || r.wire_len != want[i].wire_len ||
            r.time_ns != want[i].time_ns)
            fail_msg("%s: record %zu: link type %d, %zu of %zu bytes at %lld", what, i, r.link_type, r.caplen,
                     r.wire_len, (long long)r.time_ns);
        for (size_t k = 0; k < r.caplen; k++)
            assert_int_equal(r.bytes[k], 0x40 + (int)i);
    }
    const char *got = capture_damage(c);
    if ((damage == NULL) != (got == NULL) || (damage != NULL && strstr(got, damage) == NULL))
        fail_msg("%s: damage %s", what, got != NULL ? got : "none");
    capture_close(&c);
    free(path);
}

static void test_ng_times(void **state) {
    static const struct {
        int resolution;
        int64_t offset;
        uint64_t units;
        int64_t time_ns;
    } cases[] = {
        {-1, 0, 1700000000123456, 1700000000123456000},
        {6, 0, 1700000000123456, 1700000000123456000},
        {9, 0, 1700000000123456789, 1700000000123456789},
        {0, 0, 1700000000, 1700000000000000000},
        {3, -1000, 1700000000123, 1699999000123000000},
        {9, 1700000000, 5, 1700000000000000005},
        {12, 0, 1700000000123456789, 1700000000123456},
        {19, 0, UINT64_MAX, 1844674407},
        {127, 0, UINT64_MAX, 0},
        {0x80 | 10, 0, 1700000000ull << 10 | 512, 1700000000500000000},
        {0x80 | 32, 0, 1700000000ull << 32 | 1u << 31, 1700000000500000000},
        {0x80 | 63, 0, 1ull << 63 | 1ull << 62, 1500000000},
        {0x80 | 64, 7, UINT64_MAX, 7999999999},
        {0x80 | 127, 0, UINT64_MAX, 0},
        {0x80, 0, 12, 12000000000},
        {0, 0, UINT64_MAX, INT64_MAX},
        {9, 0, UINT64_MAX, INT64_MAX},
        {6, INT64_MAX, 0, INT64_MAX},
        {6, INT64_MIN, 1, INT64_MIN},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        static bytes b;
        bool big = i % 2;
        b.n = 0;
        add_section(&b, big, 1);
        add_interface(&b, big, 1, 0, cases[i / 2].resolution, cases[i / 2].offset);
        add_packet(&b, big, BLOCK_ENHANCED, 0, cases[i / 2].units, 10, 10, 0x40);
        const ng_record want[] = {{1, 10, 10, cases[i / 2].time_ns}, {.link_type = -1}};
        char *what =
            text_format("resolution %d, %llu units", cases[i / 2].resolution, (unsigned long long)cases[i / 2].units);
        check_records(what, &b, want, NULL);
        free(what);
    }
}

static void test_ng_blocks(void **state) {
    static bytes b, body;
    for (int round = 0; round < 4; round++) { /* byte orders of the two sections */
        bool one = round & 1, two = round & 2;
        b.n = 0;
        add_section(&b, one, 1);
        body.n = 0;
        add_block(&b, one, 4, &body); /* no names */
        add_interface(&b, one, 1, 0, -1, 0);
        add_packet(&b, one, BLOCK_ENHANCED, 0, 1, 70, 61, 0x40);
        add_interface(&b, one, 101, 20, 9, 0);
        add_packet(&b, one, BLOCK_ENHANCED, 1, 2, 40, 40, 0x41); /* beyond the snap length: kept */
        add_packet(&b, one, BLOCK_OBSOLETE, 1, 3, 0, 40, 0x42);
        body.n = 5000;
        memset(body.data, 0xee, body.n);
        add_block(&b, one, 0x80000bad, &body);
        add_packet(&b, one, BLOCK_SIMPLE, 0, 0, 33, 33, 0x43);
        add_section(&b, two, 1); /* forgets the interfaces */
        add_interface(&b, two, 113, 10, 0, 0);
        add_packet(&b, two, BLOCK_SIMPLE, 0, 0, 33, 10, 0x44);
        add_packet(&b, two, BLOCK_ENHANCED, 0, 9, 33, 10, 0x45);
        const ng_record want[] = {{1, 61, 70, 1000}, {101, 40, 40, 2},          {101, 40, 40, 3}, {1, 33, 33, 0},
                                  {113, 10, 33, 0},  {113, 10, 33, 9000000000}, {.link_type = -1}};
        check_records("blocks", &b, want, NULL);
    }
}

/* Bad content is left out, and what comes behind it is kept; bad bounds end the file. */
static void test_ng_damage(void **state) {
    static const struct {
        const char *what, *damage;
        size_t at; /* byte to change in the second of three packet blocks; its length and trailer are at 4 and 40 */
        uint8_t value;
        bool goes_on;
    } cases[] = {
        {"no such interface", "after record 1: a packet of interface 1 of 1", 8, 1, true},
        {"longer than its block", "after record 1: a packet of 9 bytes in a block with room for 8", 20, 9, true},
        {"unknown type", NULL, 0, 77, true},
        {"too short for a packet", "a block that does not end with its length", 4, 28, false},
        {"below the least length", "after record 1: a block of 8 bytes", 4, 8, false},
        {"length of zero", "a block of 0 bytes", 4, 0, false},
        {"wrong trailer", "after record 1: a block that does not end with its length", 36, 1, false},
        {"too long for the file", "after record 1: the file ends inside a block: 80 of ", 6, 1, false},
        {"longer than any block", "more than 16777216", 7, 2, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static bytes b;
        b.n = 0;
        add_section(&b, false, 1);
        add_interface(&b, false, 1, 0, -1, 0);
        add_packet(&b, false, BLOCK_ENHANCED, 0, 1, 8, 8, 0x40);
        size_t second = b.n;
        add_packet(&b, false, BLOCK_ENHANCED, 0, 1, 8, 8, 0x99);
        assert_int_equal(b.n - second, 40);
        add_packet(&b, false, BLOCK_ENHANCED, 0, 1, 8, 8, 0x41);
        b.data[second + cases[i].at] = cases[i].value;
        const ng_record want[] = {{1, 8, 8, 1000}, {cases[i].goes_on ? 1 : -1, 8, 8, 1000}, {.link_type = -1}};
        check_records(cases[i].what, &b, want, cases[i].damage);
    }
    static bytes b; /* a length that leaves the padding out, as some write it */
    b.n = 0;
    add_section(&b, false, 1);
    add_interface(&b, false, 1, 0, -1, 0);
    size_t first = b.n;
    add_packet(&b, false, BLOCK_ENHANCED, 0, 1, 7, 7, 0x40);
    b.data[first + 4] = b.data[first + 36] = 39;
    const ng_record want[] = {{1, 7, 7, 1000}, {.link_type = -1}};
    check_records("length without padding", &b, want, NULL);

    char *path = in_folder("version.pcapng");
    capture *c = NULL;
    b.n = 0;
    add_section(&b, true, 2);
    save(path, b.data, b.n);
    assert_int_equal(capture_open(&c, path), ST_FORMAT);
    assert_non_null(strstr(status_message(), "version 2.0"));
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ng_times),
        cmocka_unit_test(test_ng_blocks),
        cmocka_unit_test(test_ng_damage),
    };
    return cmocka_run_group_tests_name("io.capture_ng", tests, make_folder, remove_folder);
}
