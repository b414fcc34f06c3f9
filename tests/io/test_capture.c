/* Capture files: what the writer writes is read back, damaged and hostile files give their good records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <pcap/pcap.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>
#include <cmocka.h>
#include "io/capture.h"
#include "io/csv.h"
#include "io/io_flows.h"
#include "io/io_folder.h"
#include "io/io_shared.h"

static char *folder;

static int make_folder(void **state) {
    folder = io_folder();
    return folder == NULL;
}

static int remove_folder(void **state) {
    status st = file_remove_tree(folder);
    free(folder);
    return st != ST_OK;
}

static char *in_folder(const char *name) {
    return text_format("%s/%s", folder, name);
}

/* --- bytes of capture files --- */

typedef struct bytes {
    uint8_t data[1 << 16];
    size_t n;
} bytes;

static void add32(bytes *b, uint32_t v, bool big) {
    if (big)
        v = __builtin_bswap32(v);
    memcpy(b->data + b->n, &v, 4);
    b->n += 4;
}

static void add16(bytes *b, unsigned v, bool big) {
    uint16_t w = (uint16_t)(big ? __builtin_bswap16((uint16_t)v) : v);
    memcpy(b->data + b->n, &w, 2);
    b->n += 2;
}

static void add_file_header(bytes *b, uint32_t magic, bool big, uint32_t link_type) {
    add32(b, magic, big);
    add16(b, 2, big);
    add16(b, 4, big);
    add32(b, 0, big);
    add32(b, 0, big);
    add32(b, 65535, big);
    add32(b, link_type, big);
}

static void add_record(bytes *b, bool big, uint32_t seconds, uint32_t fraction, uint32_t len, size_t caplen) {
    add32(b, seconds, big);
    add32(b, fraction, big);
    add32(b, (uint32_t)caplen, big);
    add32(b, len, big);
    memset(b->data + b->n, 0x55, caplen);
    b->n += caplen;
}

static void save(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* --- reading --- */

/* Number of records of a capture, which is closed; *damage (may be NULL) is a copy, or NULL. */
static size_t count_open(capture *c, char **damage) {
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

static size_t count_records(const char *path, char **damage) {
    capture *c = NULL;
    assert_int_equal(capture_open(&c, path), ST_OK);
    return count_open(c, damage);
}

static void test_times(void **state) {
    static const struct {
        const char *what;
        uint32_t magic;
        bool big;
        uint32_t seconds, fraction;
        int64_t time_ns;
    } cases[] = {
        {"microseconds", 0xa1b2c3d4, false, 1700000000, 123456, 1700000000123456000},
        {"microseconds, big-endian", 0xa1b2c3d4, true, 1700000000, 123456, 1700000000123456000},
        {"nanoseconds", 0xa1b23c4d, false, 1700000000, 123456789, 1700000000123456789},
        {"nanoseconds, big-endian", 0xa1b23c4d, true, 1700000000, 123456789, 1700000000123456789},
        {"the epoch", 0xa1b2c3d4, false, 0, 0, 0},
        {"year 2106", 0xa1b2c3d4, false, 0xfffffff0u, 1, 4294967280000001000},
        {"microseconds beyond a second", 0xa1b2c3d4, false, 10, 1500000, 11500000000},
        {"microseconds 2^32 - 1", 0xa1b2c3d4, false, 10, UINT32_MAX, 10000000000 + 4294967295000},
        {"nanoseconds 2^32 - 1", 0xa1b23c4d, false, 10, UINT32_MAX, 10000000000 + 4294967295},
    };
    char *path = in_folder("time.pcap");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static bytes b;
        b.n = 0;
        add_file_header(&b, cases[i].magic, cases[i].big, 1);
        add_record(&b, cases[i].big, cases[i].seconds, cases[i].fraction, 5, 10);
        save(path, b.data, b.n);
        capture *c = NULL;
        capture_record r;
        bool end;
        assert_int_equal(capture_open(&c, path), ST_OK);
        assert_int_equal(capture_next(c, &r, &end), ST_OK);
        assert_false(end);
        if (r.time_ns != cases[i].time_ns)
            fail_msg("%s: %lld", cases[i].what, (long long)r.time_ns);
        assert_int_equal(r.caplen, 10);
        assert_int_equal(r.wire_len, 10); /* the record says 5 */
        capture_close(&c);
    }
    free(path);
}

static void test_gzip(void **state) {
    static bytes b;
    b.n = 0;
    add_file_header(&b, 0xa1b2c3d4, false, 1);
    rng r = rng_make(1, 0, RNG_TEST);
    for (int i = 0; i < 100; i++) {
        add_record(&b, false, (uint32_t)i, 0, 60, 60);
        for (size_t k = b.n - 60; k < b.n; k++)
            b.data[k] = (uint8_t)rng_u32(&r); /* does not compress */
    }
    char *path = in_folder("x.pcap.gz"), *damage;
    gzFile gz = gzopen(path, "wb");
    assert_int_equal(gzwrite(gz, b.data, (unsigned)b.n), b.n);
    assert_int_equal(gzclose(gz), Z_OK);
    assert_int_equal(count_records(path, &damage), 100);
    assert_null(damage);

    /* The name does not decide. */
    char *plain = in_folder("plain.pcap.gz"), *hidden = in_folder("hidden.pcap"), *packed;
    size_t n;
    save(plain, b.data, b.n);
    assert_int_equal(count_records(plain, &damage), 100);
    assert_int_equal(file_read(path, 1 << 20, &packed, &n), ST_OK);
    save(hidden, packed, n);
    assert_int_equal(count_records(hidden, &damage), 100);

    /* Two members, as of `cat a.gz b.gz`, and bytes behind them that are none. */
    char *twice = malloc(2 * n + 4);
    assert_non_null(twice);
    memcpy(twice, packed, n);
    memset(twice + n, 0, 4);
    save(hidden, twice, n + 4);
    assert_int_equal(count_records(hidden, &damage), 100);
    assert_null(damage);
    memcpy(twice + n, packed, n);
    memset(twice + 2 * n, 0, 4);
    save(hidden, twice, 2 * n + 4); /* the second file header is no record */
    assert_true(count_records(hidden, &damage) >= 100);
    free(damage);
    free(twice);

    /* Cut, and with a wrong check sum at its end: what was unpacked counts, and the damage is named. */
    save(hidden, packed, n / 2);
    assert_true(count_records(hidden, &damage) < 100);
    assert_non_null(strstr(damage, "gzip"));
    free(damage);
    save(hidden, packed, n - 8);
    assert_int_equal(count_records(hidden, &damage), 100);
    assert_non_null(damage);
    free(damage);
    packed[n - 6] ^= 1;
    save(hidden, packed, n);
    assert_int_equal(count_records(hidden, &damage), 100);
    assert_non_null(strstr(damage, "after record 100: gzip"));
    free(damage);
    free(packed);
    free(path);
    free(plain);
    free(hidden);
}

static void test_not_there(void **state) {
    capture *c = NULL;
    char *path = in_folder("none.pcap");
    assert_int_equal(capture_open(&c, path), ST_IO);
    assert_non_null(strstr(status_message(), "none.pcap"));
    assert_int_equal(capture_open(&c, folder), ST_IO);
    save(path, "", 0);
    assert_int_equal(capture_open(&c, path), ST_FORMAT);
    save(path, "\x1f", 1);
    assert_int_equal(capture_open(&c, path), ST_FORMAT);
    save(path, "\x1f\x8b", 2);
    assert_int_equal(capture_open(&c, path), ST_FORMAT);
    save(path, "hello world, this is no capture", 31);
    assert_int_equal(capture_open(&c, path), ST_FORMAT);
    assert_null(c);
    free(path);
}

/* Versions and record headers that are seldom seen. */
static void test_old_pcap(void **state) {
    static const struct {
        const char *what;
        uint32_t magic, caplen, len;
        unsigned major, minor;
        status st;
    } cases[] = {
        {"2.2: lengths the other way round", 0xa1b2c3d4, 60, 30, 2, 2, ST_OK},
        {"2.3: lengths as now", 0xa1b2c3d4, 30, 60, 2, 3, ST_OK},
        {"2.3: lengths the other way round", 0xa1b2c3d4, 60, 30, 2, 3, ST_OK},
        {"Kuznetzov's", 0xa1b2cd34, 30, 60, 2, 4, ST_OK},
        {"2.5", 0xa1b2c3d4, 30, 60, 2, 5, ST_FORMAT},
        {"1.4", 0xa1b2c3d4, 30, 60, 1, 4, ST_FORMAT},
    };
    char *path = in_folder("old.pcap");
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        static bytes b;
        bool big = i % 2;
        b.n = 0;
        add32(&b, cases[i / 2].magic, big);
        add16(&b, cases[i / 2].major, big);
        add16(&b, cases[i / 2].minor, big);
        for (int k = 0; k < 4; k++)
            add32(&b, k == 3 ? 1 : 0, big); /* a snap length of 0 is none */
        for (int k = 0; k < 2; k++) {
            add32(&b, 10, big);
            add32(&b, 5, big);
            add32(&b, cases[i / 2].caplen, big);
            add32(&b, cases[i / 2].len, big);
            if (cases[i / 2].magic == 0xa1b2cd34)
                add32(&b, 7, big), add32(&b, 8, big);
            memset(b.data + b.n, 0x55, 30);
            b.n += 30;
        }
        save(path, b.data, b.n);
        capture *c = NULL;
        capture_record r;
        bool end;
        if (capture_open(&c, path) != cases[i / 2].st)
            fail_msg("%s: %s", cases[i / 2].what, status_message());
        for (int k = 0; k < 2 && c != NULL; k++) {
            assert_int_equal(capture_next(c, &r, &end), ST_OK);
            if (end || r.caplen != 30 || r.wire_len != 60 || r.bytes[29] != 0x55 || r.time_ns != 10000005000)
                fail_msg("%s: record %d", cases[i / 2].what, k);
        }
        capture_close(&c);
    }
    free(path);
}

/* --- pcapng --- */

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

/* --- the same as libpcap --- */

static void check_same_as_libpcap(const char *path, size_t *nframes) {
    char why[PCAP_ERRBUF_SIZE];
    capture *c = NULL;
    capture_record r;
    struct pcap_pkthdr *h;
    const u_char *data;
    bool end;
    pcap_t *p = pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, why);
    if (p == NULL)
        fail_msg("%s: %s", path, why);
    assert_int_equal(capture_open(&c, path), ST_OK);
    for (; pcap_next_ex(p, &h, &data) == 1; ++*nframes) {
        assert_int_equal(capture_next(c, &r, &end), ST_OK);
        if (end || r.caplen != h->caplen || r.wire_len != h->len || memcmp(r.bytes, data, r.caplen) != 0 ||
            r.time_ns != (int64_t)h->ts.tv_sec * 1000000000 + h->ts.tv_usec)
            fail_msg("%s: record %zu differs", path, *nframes);
    }
    assert_int_equal(capture_next(c, &r, &end), ST_OK);
    assert_true(end);
    assert_null(capture_damage(c));
    pcap_close(p);
    capture_close(&c);
}

static void test_same_as_libpcap(void **state) {
    char *captures = io_shared("data/captures/pcap");
    text_list files = {.n = 0};
    size_t nframes = 0;
    if (captures == NULL)
        skip();
    assert_int_equal(capture_list(&(text_list){1, &captures}, &files), ST_OK);
    for (size_t i = 0; i < files.n; i++)
        check_same_as_libpcap(files.item[i], &nframes);
    print_message("%zu frames of %zu captures as libpcap reads them\n", nframes, files.n);
    assert_true(nframes > 30000);
    text_list_clear(&files);
    free(captures);
}

/* --- hostile files --- */

static const char *column(const csv *c, char *const *names, size_t n, const char *name) {
    for (size_t i = 0; i < n && i < c->nfields; i++)
        if (strcmp(names[i], name) == 0)
            return c->field[i];
    fail_msg("no column %s", name);
    return "";
}

typedef void visit(const char *path, const csv *row, char *const *names, size_t nnames);

/* Every row of the manifest with the path of its file; false if the folder is absent. */
static bool for_hostile(visit *f) {
    char *manifest = io_shared("data/captures/hostile/manifest.csv"), *text, *names[64];
    size_t nbytes, nnames = 0, nrows = 0;
    bool end;
    if (manifest == NULL)
        return false;
    assert_int_equal(file_read(manifest, 1 << 20, &text, &nbytes), ST_OK);
    csv c;
    csv_open(&c, manifest, text, nbytes);
    assert_int_equal(csv_next(&c, &end), ST_OK);
    for (; nnames < c.nfields && nnames < 64; nnames++)
        names[nnames] = c.field[nnames];
    for (; assert_int_equal(csv_next(&c, &end), ST_OK), !end; nrows++) {
        char *path = text_format("%.*s/%s", (int)(strrchr(manifest, '/') - manifest), manifest,
                                 column(&c, names, nnames, "file"));
        f(path, &c, names, nnames);
        free(path);
    }
    assert_true(nrows > 100);
    csv_close(&c);
    free(text);
    free(manifest);
    return true;
}

/* Files that libpcap refuses or leaves early, and nd does not. */
static const struct {
    const char *file, *outcome, *why;
    size_t nrecords;
} known_differences[] = {
    {"gzipped.pcap.gz", "eof", "gzip is unpacked", 8},
    {"ng_two_interfaces_mixed.pcapng", "eof", "link types may differ", 8},
    {"real_many_interfaces-1.pcapng", "eof", "link types may differ", 64},
    {"real_ldap.pcapng", "eof", "link types may differ", 25},
    {"ng_two_sections_endian.pcapng", "eof", "each section has its own byte order", 2},
    {"ng_bad_interface_id.pcapng", "read-error", "the records behind a bad one are kept", 2},
    {"ng_caplen_beyond_block.pcapng", "read-error", "the records behind a bad one are kept", 2},
    {"ng_no_idb.pcapng", "read-error", "opened, and its record is bad", 0},
    {"ng_shb_only.pcapng", "eof", "no packet is no damage", 0},
};

static void check_against_libpcap(const char *path, const csv *row, char *const *names, size_t nnames) {
    const char *outcome = column(row, names, nnames, "libpcap"), *file = column(row, names, nnames, "file");
    size_t expected = strtoul(column(row, names, nnames, "libpcap_packets"), NULL, 10);
    char *damage = NULL;
    for (size_t i = 0; i < sizeof known_differences / sizeof *known_differences; i++)
        if (strcmp(file, known_differences[i].file) == 0) {
            outcome = known_differences[i].outcome;
            expected = known_differences[i].nrecords;
        }
    if (strcmp(outcome, "open-error") == 0) {
        capture *c = NULL;
        if (capture_open(&c, path) != ST_FORMAT || strstr(status_message(), path) == NULL)
            fail_msg("%s: opened, or: %s", path, status_message());
        return;
    }
    size_t n = count_records(path, &damage);
    if (n != expected || (damage != NULL) != (strcmp(outcome, "read-error") == 0))
        fail_msg("%s: %zu records of %zu, damage %s", path, n, expected, damage != NULL ? damage : "none");
    free(damage);
}

static void test_hostile(void **state) {
    if (!for_hostile(check_against_libpcap))
        skip();
}

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum { CUT_EVERY = 2048 };
static size_t ncuts, nlengths; /* made, and all that there are */

/* The file cut at every length, a large one as far as its share of the time allows: never more records than before
 * the cut, never a crash. */
static void check_cuts(const char *path, const csv *row, char *const *names, size_t nnames) {
    const double limit = 0.15, began = seconds_now();
    char *text;
    size_t n, most = SIZE_MAX, step = 1, done = 0;
    assert_int_equal(file_read(path, 1 << 24, &text, &n), ST_OK);
    int fd = memfd_create("cut", 0);
    assert_int_equal(write(fd, text, n), n);
    free(text);
    char *cut = text_format("/proc/self/fd/%d", fd);
    nlengths += n;
    for (size_t length = n; length-- > 0; length -= step - 1 < length ? step - 1 : length, done++) {
        double used = seconds_now() - began;
        if (n > CUT_EVERY && done > 100) /* the longest take the longest: what is left takes half as long each */
            step =
                (size_t)(0.5 * used / (double)done * (double)length / (used < limit ? limit - used : 1e-3 * limit)) + 1;
        assert_int_equal(ftruncate(fd, (off_t)length), 0);
        capture *c = NULL;
        if (capture_open(&c, cut) != ST_OK)
            continue;
        size_t records = count_open(c, NULL);
        if (records > most)
            fail_msg("%s cut to %zu bytes: %zu records, %zu in a longer cut", path, length, records, most);
        most = records;
    }
    ncuts += done;
    close(fd);
    free(cut);
}

static void test_hostile_cut(void **state) {
    if (!for_hostile(check_cuts))
        skip();
    print_message("%zu of %zu lengths\n", ncuts, nlengths);
    assert_true(ncuts > 10000);
}

/* --- lists --- */

static void test_list(void **state) {
    static const char *const files[] = {"b.pcap", "a.PCAPNG", "deep/er/c.cap.gz", "deep/d.pcap.gz", "deep/notes.txt"};
    char *root = in_folder("list");
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *path = text_format("%s/%s", root, files[i]), *parent = text_copy(path);
        *strrchr(parent, '/') = '\0';
        assert_int_equal(file_make_folders(parent), ST_OK);
        save(path, "x", 1);
        free(path);
        free(parent);
    }
    char *link = text_format("%s/deep/circle", root), *again = text_format("%s/zzz.pcap", root),
         *original = text_format("%s/b.pcap", root);
    assert_int_equal(symlink(root, link), 0);
    assert_int_equal(symlink(original, again), 0);
    free(link);

    static const struct {
        const char *entries[3], *names[5];
    } cases[] = {
        {{""}, {"a.PCAPNG", "b.pcap", "deep/d.pcap.gz", "deep/er/c.cap.gz"}},
        {{"b.pcap"}, {"b.pcap"}},
        {{"b.pcap", "b.pcap", "zzz.pcap"}, {"b.pcap"}},
        {{"zzz.pcap"}, {"zzz.pcap"}},
        {{"deep/*.gz"}, {"d.pcap.gz"}},
        {{"*/er/*.gz", "b.pcap"}, {"b.pcap", "deep/er/c.cap.gz"}},
        {{"d*p/er"}, {"deep/er/c.cap.gz"}},  /* a folder found by a pattern */
        {{"deep/notes.txt"}, {"notes.txt"}}, /* named by the user: taken as it is */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        text_list entries = {.n = 0}, paths = {.n = 0}, names = {.n = 0};
        for (int k = 0; k < 3 && cases[i].entries[k] != NULL; k++) {
            char *entry = text_format("%s/%s", root, cases[i].entries[k]);
            assert_int_equal(text_list_add(&entries, entry), ST_OK);
            free(entry);
        }
        if (capture_list_names(&entries, &paths, &names) != ST_OK)
            fail_msg("case %zu: %s", i, status_message());
        assert_int_equal(paths.n, names.n);
        size_t n = 0;
        for (; n < 5 && cases[i].names[n] != NULL; n++) {
            assert_true(n < names.n);
            assert_string_equal(names.item[n], cases[i].names[n]);
            assert_true(file_exists(paths.item[n]));
        }
        assert_int_equal(names.n, n);
        text_list_clear(&entries);
        text_list_clear(&paths);
        text_list_clear(&names);
    }

    static const char *const nothing[] = {"none.pcap", "*.none", "empty"};
    char *empty = text_format("%s/empty", root);
    assert_int_equal(file_make_folders(empty), ST_OK);
    for (size_t i = 0; i < sizeof nothing / sizeof nothing[0]; i++) {
        text_list entries = {.n = 0}, paths = {.n = 0};
        char *entry = text_format("%s/%s", root, nothing[i]);
        assert_int_equal(text_list_add(&entries, entry), ST_OK);
        assert_int_equal(capture_list(&entries, &paths), ST_IO);
        assert_non_null(strstr(status_message(), nothing[i]));
        text_list_clear(&entries);
        text_list_clear(&paths);
        free(entry);
    }
    free(empty);
    free(again);
    free(original);
    free(root);
}

/* --- writing --- */

static void test_write(void **state) {
    static const struct {
        int link_type;
        bool truncate;
        uint32_t snap_len;
    } cases[] = {{1, false, 0}, {101, false, 0}, {1, true, 0}, {101, true, 0}, {1, false, 100}, {101, false, 30}};
    char *path = in_folder("written.pcap");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        capture_writer *w = NULL;
        flow f;
        assert_int_equal(io_flow(11, 40, &f), ST_OK);
        assert_int_equal(capture_create(&w, path, cases[i].link_type, cases[i].snap_len), ST_OK);
        for (size_t k = 0; k < f.npackets; k++)
            assert_int_equal(capture_write(w, &f.packets[k], cases[i].truncate), ST_OK);
        assert_int_equal(capture_commit(&w), ST_OK);
        assert_null(w);

        capture *c = NULL;
        capture_record r;
        bool end;
        size_t nlink = cases[i].link_type == 1 ? 14 : 0;
        assert_int_equal(capture_open(&c, path), ST_OK);
        for (size_t k = 0; k < f.npackets; k++) {
            const packet *p = &f.packets[k];
            packet got;
            assert_int_equal(capture_next(c, &r, &end), ST_OK);
            assert_false(end);
            assert_int_equal(r.time_ns, p->time_ns);
            assert_int_equal(r.wire_len, nlink + packet_total_len(p));
            size_t caplen = cases[i].truncate ? nlink + p->nheader : r.wire_len;
            if (cases[i].snap_len > 0 && caplen > cases[i].snap_len)
                caplen = cases[i].snap_len;
            assert_int_equal(r.caplen, caplen);
            for (size_t b = nlink + p->nheader; b < caplen; b++)
                assert_int_equal(r.bytes[b], 0);
            if (nlink > 0)
                assert_int_equal(r.bytes[0] & 3, 2); /* local, unicast */
            if (caplen < nlink + p->nheader)
                continue;
            assert_int_equal(packet_decode(capture_link_type(c), r.bytes, r.caplen, r.wire_len, &got), SKIP_NONE);
            assert_int_equal(got.nheader, p->nheader);
            assert_memory_equal(got.header, p->header, p->nheader);
            assert_int_equal(got.wire_len, p->wire_len);
        }
        assert_int_equal(capture_next(c, &r, &end), ST_OK);
        assert_true(end);
        assert_null(capture_damage(c));
        capture_close(&c);
        flow_clear(&f);
    }
    free(path);
}

/* Payload bytes as given, and the Ethernet type and addresses of either IP version. */
static void test_write_payload(void **state) {
    static const uint8_t payload[] = "behind the headers";
    enum { BYTES = sizeof payload };
    char *path = in_folder("payload.pcap");
    capture_writer *w = NULL;
    capture *c = NULL;
    packet p[2] = {io_packet(PROTO_UDP, 0xc0000201, 0xc6336402, 3, 4, BYTES), {.nheader = 48, .time_ns = 5}};
    uint8_t *h = p[1].header;
    h[0] = 0x60;
    put16(h + 4, 8 + BYTES);
    h[6] = PROTO_UDP;
    put32(h + 20, 0x01020304); /* the ends of the addresses */
    put32(h + 36, 0x05060708);
    put16(h + 44, 8 + BYTES);
    p[1].wire_len = 48 + BYTES;
    assert_int_equal(capture_create(&w, path, 1, 0), ST_OK);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(capture_write_payload(w, &p[i], payload, false), ST_OK);
    assert_int_equal(capture_commit(&w), ST_OK);
    assert_int_equal(capture_open(&c, path), ST_OK);
    static const char *const links[] = {"\2\0\xc6\x33\x64\2\2\0\xc0\0\2\1\x08\0", "\2\0\5\6\7\x08\2\0\1\2\3\4\x86\xdd"};
    for (size_t i = 0; i < 2; i++) {
        capture_record r;
        bool end;
        assert_int_equal(capture_next(c, &r, &end), ST_OK);
        assert_false(end);
        assert_int_equal(r.caplen, 14u + p[i].nheader + BYTES);
        assert_memory_equal(r.bytes, links[i], 14);
        assert_memory_equal(r.bytes + 14, p[i].header, p[i].nheader);
        assert_memory_equal(r.bytes + 14 + p[i].nheader, payload, BYTES);
    }
    capture_close(&c);
    free(path);
}

static void test_write_extremes(void **state) {
    char *path = in_folder("extremes.pcap"), *damage;
    capture_writer *w = NULL;
    assert_int_equal(capture_create(&w, path, 113, 0), ST_RANGE);
    assert_int_equal(capture_create(&w, path, 1, 0), ST_OK);
    packet p = io_packet(PROTO_UDP, 1, 2, 3, 4, 65535 - 28); /* the longest there is */
    assert_int_equal(capture_write(w, &p, false), ST_OK);
    put16(p.header + 2, 20); /* total length below the headers: the headers are what there is */
    assert_int_equal(capture_write(w, &p, false), ST_OK);
    p.time_ns = (int64_t)UINT32_MAX * 1000000000 + 999999999;
    assert_int_equal(capture_write(w, &p, false), ST_OK);
    p.time_ns = ((int64_t)UINT32_MAX + 1) * 1000000000;
    assert_int_equal(capture_write(w, &p, false), ST_RANGE);
    p.time_ns = -1;
    assert_int_equal(capture_write(w, &p, false), ST_RANGE);
    assert_false(file_exists(path));
    assert_int_equal(capture_commit(&w), ST_OK);
    assert_int_equal(count_records(path, &damage), 3);
    assert_null(damage);

    assert_int_equal(unlink(path), 0);
    assert_int_equal(capture_create(&w, path, 1, 0), ST_OK);
    capture_abandon(&w);
    assert_null(w);
    assert_false(file_exists(path));
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times),          cmocka_unit_test(test_gzip),
        cmocka_unit_test(test_not_there),      cmocka_unit_test(test_old_pcap),
        cmocka_unit_test(test_ng_times),       cmocka_unit_test(test_ng_blocks),
        cmocka_unit_test(test_ng_damage),      cmocka_unit_test(test_same_as_libpcap),
        cmocka_unit_test(test_hostile),        cmocka_unit_test(test_hostile_cut),
        cmocka_unit_test(test_list),           cmocka_unit_test(test_write),
        cmocka_unit_test(test_write_payload),  cmocka_unit_test(test_write_extremes),
    };
    return cmocka_run_group_tests_name("io.capture", tests, make_folder, remove_folder);
}
