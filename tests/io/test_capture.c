/* Reading capture files: classic pcap, gzip, the same as libpcap; damaged and hostile files give their good records. */
#include "io/io_test.h"
#include <pcap/pcap.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <zlib.h>
#include "io/capture.h"
#include "io/csv.h"
#include "io/io_bytes.h"
#include "io/io_flows.h"
#include "io/io_shared.h"

/* --- bytes of capture files --- */

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

/* --- reading --- */

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times),           cmocka_unit_test(test_gzip),
        cmocka_unit_test(test_not_there),       cmocka_unit_test(test_old_pcap),
        cmocka_unit_test(test_same_as_libpcap), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_hostile_cut),
    };
    return cmocka_run_group_tests_name("io.capture", tests, make_folder, remove_folder);
}
