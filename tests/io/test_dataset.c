/* The dataset store: what goes in comes out, the same bytes every time, and nothing false is believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/memory.h"
#include "io/dataset_priv.h"
#include "io/io_flows.h"
#include "io/io_folder.h"

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

static char *const labels_of_test[] = {"chat", "video", "näme"}, *const macros_of_test[] = {"a", "", "c"},
                   *const prompts_of_test[] = {"pixelated network data, type-0", "p1", ""},
                   *const files_of_test[] = {"one.pcap", "two/three.pcap"}, *const runs_of_test[] = {"r0", "r1"};

static dataset_tables tables_of_test(void) {
    dataset_tables t = {.nlabels = 3, .nfiles = 2, .nruns = 2, .config = "seed: 1\n", .frames = 77};
    t.label = (char **)labels_of_test;
    t.macro = (char **)macros_of_test;
    t.prompt = (char **)prompts_of_test;
    t.file = (char **)files_of_test;
    t.run = (char **)runs_of_test;
    t.skipped[SKIP_IPV6] = 5;
    t.skipped[SKIP_CUT] = 1;
    return t;
}

static void make_flow(uint64_t number, uint32_t max_packets, flow *f) {
    assert_int_equal(io_flow(number, max_packets, f), ST_OK);
    f->label = (int32_t)(number % 4) - 1;
    f->file = (uint32_t)(number % 2);
    f->run = (int32_t)(number % 3) - 1;
}

static void write_flows(const char *path, uint64_t from, uint64_t to, uint32_t max_packets, int compress, int threads) {
    dataset_tables t = tables_of_test();
    dataset *d = NULL;
    assert_int_equal(dataset_create(&d, path, &t, compress), ST_OK);
    assert_int_equal(dataset_set_threads(d, threads), ST_OK);
    for (uint64_t i = from; i < to; i++) {
        flow f;
        make_flow(i, max_packets, &f);
        assert_int_equal(dataset_append(d, &f), ST_OK);
        flow_clear(&f);
    }
    assert_int_equal(dataset_commit(&d), ST_OK);
    assert_null(d);
}

static char *in_folder(const char *name) {
    return text_format("%s/%s", folder, name);
}

static void check_flow_at(dataset *d, size_t i, uint64_t number, uint32_t max_packets, flow *got) {
    flow want;
    make_flow(number, max_packets, &want);
    if (dataset_read(d, i, 0, got) != ST_OK)
        fail_msg("%s", status_message());
    assert_true(io_flows_equal(&want, got));
    flow_clear(&want);
}

static void test_round_trip(void **state) {
    enum { FLOWS = 40000, MOST = 9 }; /* more than one chunk of flows, packets and header bytes */
    char *path = in_folder("round.h5");
    write_flows(path, 0, FLOWS, MOST, 1, 1);
    dataset *d = NULL;
    assert_int_equal(dataset_open(&d, path), ST_OK);
    assert_int_equal(dataset_nflows(d), FLOWS);
    assert_true(dataset_npackets(d) > PACKETS_PER_CHUNK);
    const dataset_tables *t = dataset_get_tables(d);
    assert_int_equal(t->nlabels, 3);
    assert_string_equal(t->label[2], "näme");
    assert_string_equal(t->macro[1], "");
    assert_string_equal(t->prompt[0], "pixelated network data, type-0");
    assert_string_equal(t->file[1], "two/three.pcap");
    assert_string_equal(t->sha256[0], "");
    assert_string_equal(t->run[1], "r1");
    assert_string_equal(t->config, "seed: 1\n");
    assert_int_equal(t->frames, 77);
    assert_int_equal(t->skipped[SKIP_IPV6], 5);
    assert_int_equal(t->skipped[SKIP_CUT], 1);
    assert_int_equal(t->skipped[SKIP_LINK], 0);
    flow f;
    flow_init(&f);
    for (size_t i = 0; i < FLOWS; i++)
        check_flow_at(d, i, i, MOST, &f);
    for (size_t i = FLOWS; i-- > 0; i -= i > 3000 ? 3000 : 0) /* backwards too */
        check_flow_at(d, i, i, MOST, &f);
    dataset_flow_info(d, 5, &(flow){.label = 0});
    size_t longest = 0;
    while (f.npackets < 4)
        assert_int_equal(dataset_read(d, longest++, 0, &f), ST_OK);
    assert_int_equal(dataset_read(d, longest - 1, 3, &f), ST_OK);
    assert_int_equal(f.npackets, 3);
    flow_clear(&f);
    dataset_close(&d);
    free(path);
}

static void test_long_flow(void **state) {
    enum { MOST = 200000 };
    char *path = in_folder("long.h5");
    write_flows(path, 0, 3, MOST, 1, 1);
    dataset *d = NULL;
    flow f;
    flow_init(&f);
    assert_int_equal(dataset_open(&d, path), ST_OK);
    for (size_t i = 0; i < 3; i++)
        check_flow_at(d, i, i, MOST, &f);
    flow_clear(&f);
    dataset_close(&d);
    free(path);
}

static void test_empty(void **state) {
    char *path = in_folder("empty.h5");
    write_flows(path, 0, 0, 1, 1, 1);
    dataset *d = NULL;
    assert_int_equal(dataset_open(&d, path), ST_OK);
    assert_int_equal(dataset_nflows(d), 0);
    assert_int_equal(dataset_npackets(d), 0);
    dataset_close(&d);

    dataset_tables none = {.nlabels = 0};
    assert_int_equal(dataset_create(&d, path, &none, 0), ST_OK);
    assert_int_equal(dataset_commit(&d), ST_OK);
    assert_int_equal(dataset_open(&d, path), ST_OK);
    assert_int_equal(dataset_get_tables(d)->nlabels, 0);
    assert_string_equal(dataset_get_tables(d)->config, "");
    dataset_close(&d);
    free(path);
}

/* The same bytes for a second run, and for any number of threads. */
static void test_same_bytes(void **state) {
    enum { FLOWS = 30000, MOST = 9 };
    static const struct {
        const char *name;
        int compress, threads;
    } runs[] = {{"again.h5", 1, 1}, {"threads2.h5", 1, 2}, {"threads5.h5", 1, 5}};
    char *first = in_folder("first.h5");
    write_flows(first, 0, FLOWS, MOST, 1, 1);
    usleep(1100000); /* HDF5's times have a resolution of one second */
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        char *path = in_folder(runs[i].name);
        write_flows(path, 0, FLOWS, MOST, runs[i].compress, runs[i].threads);
        assert_true(io_same_bytes(first, path));
        free(path);
    }
    free(first);
}

static void test_append_refuses(void **state) {
    static const struct {
        const char *what;
        status want;
    } cases[] = {{"no packets", ST_RANGE}, {"label", ST_RANGE},   {"file", ST_RANGE},
                 {"run", ST_RANGE},        {"header", ST_FORMAT}, {"direction", ST_FORMAT}};
    char *path = in_folder("refuse.h5");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dataset_tables t = tables_of_test();
        dataset *d = NULL;
        flow f;
        make_flow(1, 5, &f);
        size_t n = f.npackets;
        switch (i) {
        case 0:
            f.npackets = 0;
            break;
        case 1:
            f.label = 3;
            break;
        case 2:
            f.file = 2;
            break;
        case 3:
            f.run = -2;
            break;
        case 4:
            f.packets[n - 1].header[0] = 0x4f;
            break;
        default:
            f.packets[0].dir = 2;
        }
        assert_int_equal(dataset_create(&d, path, &t, 1), ST_OK);
        if (dataset_append(d, &f) != cases[i].want)
            fail_msg("%s: %s", cases[i].what, status_message());
        f.npackets = n;
        flow_clear(&f);
        dataset_abandon(&d);
        assert_false(file_exists(path));
    }
    free(path);
}

/* --- both IP versions, and the schema's first version --- */

/* A flow of IPv6, with extension headers in some of its packets. */
static void make_ipv6_flow(uint64_t number, flow *f) {
    rng r = rng_make(8, number, RNG_TEST);
    flow_init(f);
    for (int i = 0; i < 4; i++) {
        packet p = {.time_ns = i, .frame = (uint32_t)i, .dir = i % 2};
        unsigned nip = 40, proto = number % 2 ? PROTO_UDP : PROTO_ICMPV6;
        p.header[0] = 0x60;
        p.header[6] = (uint8_t)proto;
        p.header[7] = 64;
        for (unsigned side = 0; side < 2; side++) {
            put32(p.header + 8 + 16 * side, 0x20010db8);
            put32(p.header + 20 + 16 * side, (uint32_t)number * 2 + (side == p.dir));
        }
        if (i == 2) { /* the longest there is */
            p.header[6] = 60;
            p.header[40] = (uint8_t)proto;
            p.header[41] = 17;
            nip = 184;
        }
        p.header[nip] = proto == PROTO_UDP ? 1 : 128;
        p.nheader = (uint8_t)(nip + 8);
        p.wire_len = p.nheader + rng_below(&r, 100);
        put16(p.header + 4, p.wire_len - 40);
        if (proto == PROTO_UDP && p.dir)
            put32(p.header + nip, 0x00000100);
        if (i == 0)
            f->key = flow_key_of(&p);
        assert_int_equal(flow_add(f, &p), ST_OK);
    }
}

static void test_ipv6(void **state) {
    char *path = in_folder("six.h5");
    dataset_tables t = tables_of_test();
    dataset *d = NULL;
    flow want, got;
    flow_init(&got);
    assert_int_equal(dataset_create(&d, path, &t, 1), ST_OK);
    for (uint64_t i = 0; i < 100; i++) {
        make_ipv6_flow(i, &want);
        assert_int_equal(dataset_append(d, &want), ST_OK);
        flow_clear(&want);
        make_flow(i, 3, &want);
        assert_int_equal(dataset_append(d, &want), ST_OK);
        flow_clear(&want);
    }
    assert_int_equal(dataset_commit(&d), ST_OK);
    assert_int_equal(dataset_open(&d, path), ST_OK);
    for (uint64_t i = 0; i < 100; i++) {
        make_ipv6_flow(i, &want);
        if (dataset_read(d, 2 * i, 0, &got) != ST_OK)
            fail_msg("%s", status_message());
        assert_true(io_flows_equal(&want, &got) && got.key.ipv6);
        flow_clear(&want);
        check_flow_at(d, 2 * i + 1, i, 3, &got);
    }
    flow_clear(&got);
    dataset_close(&d);
    free(path);
}

static void set_u64(hid_t file, const char *name, uint64_t value) {
    H5Adelete(file, name);
    assert_int_equal(h5_write_u64_attribute("test", file, name, value), ST_OK);
}

/* Turn a dataset of IPv4 flows into what version 1 was: addresses as numbers, no IP version. */
static void to_version_1(const char *path, size_t nflows) {
    dataset *d = NULL;
    flow f;
    uint32_t *addr = calloc(nflows, 2 * sizeof *addr);
    hsize_t dims[2] = {nflows, 2};
    assert_non_null(addr);
    assert_int_equal(dataset_open(&d, path), ST_OK);
    for (size_t i = 0; i < nflows; i++) {
        dataset_flow_info(d, i, &f);
        addr[2 * i] = (uint32_t)f.key.addr[0];
        addr[2 * i + 1] = (uint32_t)f.key.addr[1];
    }
    dataset_close(&d);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), space = H5Screate_simple(2, dims, NULL);
    assert_true(file >= 0);
    H5Ldelete(file, "flow/addr", H5P_DEFAULT);
    H5Ldelete(file, "flow/ip_version", H5P_DEFAULT);
    hid_t set = H5Dcreate2(file, "flow/addr", H5T_STD_U32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Dwrite(set, H5T_STD_U32LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, addr) >= 0);
    H5Dclose(set);
    H5Sclose(space);
    set_u64(file, "version", 1);
    assert_true(H5Fclose(file) >= 0);
    free(addr);
}

static void test_version_1(void **state) {
    enum { FLOWS = 300 };
    char *old = in_folder("old.h5");
    dataset *d = NULL;
    flow f;
    flow_init(&f);
    write_flows(old, 0, FLOWS, 5, 1, 1);
    to_version_1(old, FLOWS);
    assert_int_equal(dataset_open(&d, old), ST_OK);
    for (size_t i = 0; i < FLOWS; i++)
        check_flow_at(d, i, i, 5, &f);
    dataset_close(&d);
    flow_clear(&f);
    free(old);
}

/* --- damage --- */

typedef struct damage {
    const char *what, *want; /* part of the message */
    void (*edit)(hid_t file);
} damage;

/* Shorten a column by one. */
static void shorten(hid_t file, const char *name) {
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(set);
    hsize_t dims[2] = {0, 0};
    H5Sget_simple_extent_dims(space, dims, NULL);
    dims[0]--;
    assert_true(H5Dset_extent(set, dims) >= 0);
    H5Sclose(space);
    H5Dclose(set);
}

/* Write one number into a column. */
static void poke(hid_t file, const char *name, hsize_t at, int64_t value) {
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(set), memory = H5Screate(H5S_SCALAR);
    hsize_t one = 1;
    H5Sselect_hyperslab(space, H5S_SELECT_SET, &at, NULL, &one, NULL);
    assert_true(H5Dwrite(set, H5T_STD_I64LE, memory, space, H5P_DEFAULT, &value) >= 0);
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(set);
}

static void extend(hid_t file, const char *name, hsize_t n) {
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    assert_true(H5Dset_extent(set, &n) >= 0);
    H5Dclose(set);
}

static void edit_time(hid_t f) {
    shorten(f, "packet/wire_len");
}
static void edit_header(hid_t f) {
    shorten(f, "packet/header");
}
static void edit_label_column(hid_t f) {
    shorten(f, "flow/label");
}
static void edit_npackets(hid_t f) {
    shorten(f, "flow/npackets");
}
static void edit_count(hid_t f) {
    poke(f, "flow/npackets", 2, 1 << 30);
}
static void edit_count_zero(hid_t f) {
    poke(f, "flow/npackets", 1, 0);
}
static void edit_count_more(hid_t f) {
    poke(f, "flow/npackets", 0, 1);
}
static void edit_label(hid_t f) {
    poke(f, "flow/label", 3, 3);
}
static void edit_label_negative(hid_t f) {
    poke(f, "flow/label", 3, -2);
}
static void edit_file(hid_t f) {
    poke(f, "flow/file", 3, 99);
}
static void edit_run(hid_t f) {
    poke(f, "flow/run", 3, 2);
}
static void edit_proto(hid_t f) {
    poke(f, "flow/proto", 3, 50);
}
static void edit_nheader(hid_t f) {
    poke(f, "packet/nheader", 3, PACKET_HEADER_MAX + 1);
}
static void edit_nheader_zero(hid_t f) {
    poke(f, "packet/nheader", 3, 0);
}
static void edit_ip_version(hid_t f) {
    poke(f, "flow/ip_version", 3, 5);
}
static void edit_ip_version_proto(hid_t f) {
    poke(f, "flow/proto", 3, PROTO_ICMPV6);
}
static void edit_address(hid_t f) {
    hid_t set = H5Dopen2(f, "flow/addr", H5P_DEFAULT);
    uint8_t all[50 * 32];
    assert_true(H5Dread(set, H5T_STD_U8LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, all) >= 0);
    all[3 * 32 + 16 + 11] = 1;
    assert_true(H5Dwrite(set, H5T_STD_U8LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, all) >= 0);
    H5Dclose(set);
}
static void edit_version(hid_t f) {
    set_u64(f, "version", DATASET_VERSION + 1);
}
static void edit_complete(hid_t f) {
    H5Adelete(f, "complete");
}
static void edit_complete_zero(hid_t f) {
    set_u64(f, "complete", 0);
}
static void edit_schema(hid_t f) {
    H5Adelete(f, "schema");
}
static void edit_missing(hid_t f) {
    H5Ldelete(f, "packet/dir", H5P_DEFAULT);
}
static void edit_missing_table(hid_t f) {
    H5Ldelete(f, "table/macro", H5P_DEFAULT);
    assert_int_equal(h5_write_texts("test", f, "table/macro", 1, (char *[]){"x"}), ST_OK);
}
static void edit_reason(hid_t f) {
    H5Ldelete(f, "skip/reason", H5P_DEFAULT);
    assert_int_equal(h5_write_texts("test", f, "skip/reason", 1, (char *[]){"boredom"}), ST_OK);
}
static void edit_type(hid_t f) {
    hsize_t n = 50;
    hid_t space = H5Screate_simple(1, &n, NULL);
    H5Ldelete(f, "flow/run", H5P_DEFAULT);
    H5Dclose(H5Dcreate2(f, "flow/run", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
}
static void edit_claims(hid_t f) {
    extend(f, "packet/time", (hsize_t)1 << 44);
    extend(f, "packet/wire_len", (hsize_t)1 << 44);
}

static const damage damages[] = {
    {"wire_len one shorter", "/packet/wire_len has", edit_time},
    {"header one shorter", "bytes of header", edit_header},
    {"label one shorter", "/flow/label has", edit_label_column},
    {"npackets one shorter", "/flow/label has", edit_npackets},
    {"flow of 2^30 packets", "flow 2 claims", edit_count},
    {"flow of no packets", "flow 1 claims 0 packets", edit_count_zero},
    {"counts do not add up", "packets", edit_count_more},
    {"label 3 of 3", "flow 3 has label 3", edit_label},
    {"label -2", "flow 3 has label -2", edit_label_negative},
    {"file 99", "flow 3 has file 99", edit_file},
    {"run 2 of 2", "flow 3 has run 2", edit_run},
    {"protocol 50", "flow 3 has protocol 50", edit_proto},
    {"header of 193 bytes", "packet 3 claims 193 bytes", edit_nheader},
    {"IP version 5", "flow 3 is of IP version 5", edit_ip_version},
    {"ICMPv6 in IPv4", "flow 3 has protocol 58", edit_ip_version_proto},
    {"long IPv4 address", "flow 3 is IPv4 and has", edit_address},
    {"header of 0 bytes", "packet 3 claims 0 bytes", edit_nheader_zero},
    {"newer version", "newer version", edit_version},
    {"no complete", "incomplete", edit_complete},
    {"complete = 0", "incomplete", edit_complete_zero},
    {"no schema", "no dataset of nd", edit_schema},
    {"column missing", "HDF5", edit_missing},
    {"one macro for three labels", "/table/macro has 1", edit_missing_table},
    {"unknown reason", "reasons", edit_reason},
    {"column of floats", "/flow/run has not the type", edit_type},
    {"2^44 packets claimed", "more than is stored", edit_claims},
};

static void copy_file(const char *from, const char *to) {
    char *bytes;
    size_t n;
    assert_int_equal(file_read(from, 1 << 30, &bytes, &n), ST_OK);
    assert_int_equal(file_write(to, bytes, n), ST_OK);
    free(bytes);
}

static void test_damaged(void **state) {
    char *good = in_folder("good.h5"), *bad = in_folder("bad.h5");
    write_flows(good, 0, 50, 5, 1, 1);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        copy_file(good, bad);
        hid_t file = H5Fopen(bad, H5F_ACC_RDWR, H5P_DEFAULT);
        assert_true(file >= 0);
        damages[i].edit(file);
        assert_true(H5Fclose(file) >= 0);
        dataset *d = NULL;
        status st = dataset_open(&d, bad);
        if (st != ST_FORMAT || strstr(status_message(), damages[i].want) == NULL ||
            strstr(status_message(), "bad.h5") == NULL)
            fail_msg("%s: %s: %s", damages[i].what, status_name(st), status_message());
        assert_null(d);
    }
    free(good);
    free(bad);
}

/* Header bytes that packet.h's views would read wrongly: found when the packet is read, and named. */
static void test_damaged_packet(void **state) {
    static const struct {
        const char *what;
        hsize_t at; /* byte of the first header */
        int64_t value;
    } cases[] = {
        {"IHL 15", 0, 0x4f}, {"IHL 0", 0, 0x40}, {"IHL 6", 0, 0x46}, {"TCP in place of UDP", 9, 6}, {"IPv6", 0, 0x65}};
    char *good = in_folder("good.h5"), *bad = in_folder("bad.h5");
    write_flows(good, 0, 50, 5, 1, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        copy_file(good, bad);
        hid_t file = H5Fopen(bad, H5F_ACC_RDWR, H5P_DEFAULT);
        poke(file, "packet/header", cases[i].at, cases[i].value);
        assert_true(H5Fclose(file) >= 0);
        dataset *d = NULL;
        flow f;
        flow_init(&f);
        assert_int_equal(dataset_open(&d, bad), ST_OK);
        if (dataset_read(d, 0, 0, &f) != ST_FORMAT || strstr(status_message(), "flow 0, packet 0") == NULL)
            fail_msg("%s: %s", cases[i].what, status_message());
        assert_int_equal(dataset_read(d, 7, 0, &f), ST_OK); /* the others are as good as before */
        dataset_close(&d);
        flow_clear(&f);
    }
    free(good);
    free(bad);
}

/* A file cut anywhere, or with any byte of its metadata changed, gives an error or the same content; never a crash. */
static void test_cut_and_flipped(void **state) {
    char *good = in_folder("small.h5"), *bad = in_folder("smallbad.h5"), *bytes;
    size_t n;
    write_flows(good, 0, 3, 3, 1, 1);
    assert_int_equal(file_read(good, 1 << 24, &bytes, &n), ST_OK);
    rng r = rng_make(3, 0, RNG_TEST);
    for (int i = 0; i < 300; i++) {
        size_t at = rng_below(&r, (uint32_t)n), length = i % 2 == 0 ? at : n;
        char *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, bytes, n);
        copy[at] ^= (char)(1 << rng_below(&r, 8));
        FILE *out = fopen(bad, "wb");
        assert_non_null(out);
        assert_int_equal(fwrite(copy, 1, length, out), length);
        fclose(out);
        free(copy);
        dataset *d = NULL;
        status st = dataset_open(&d, bad);
        flow f;
        flow_init(&f);
        for (size_t k = 0; st == ST_OK && k < dataset_nflows(d); k++)
            st = dataset_read(d, k, 0, &f);
        if (length < n)
            assert_int_not_equal(st, ST_OK);
        flow_clear(&f);
        dataset_close(&d);
    }
    free(bytes);
    free(good);
    free(bad);
}

static void test_not_a_dataset(void **state) {
    char *path = in_folder("text.h5");
    dataset *d = NULL;
    assert_int_equal(file_write(path, "hello", 5), ST_OK);
    assert_int_equal(dataset_open(&d, path), ST_FORMAT);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(dataset_open(&d, path), ST_IO);
    assert_int_equal(dataset_create(&d, "/nonexistent/x.h5", &(dataset_tables){.nlabels = 0}, 1), ST_IO);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_long_flow),
        cmocka_unit_test(test_empty),          cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_append_refuses), cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_version_1),      cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_damaged_packet), cmocka_unit_test(test_cut_and_flipped),
        cmocka_unit_test(test_not_a_dataset),
    };
    return cmocka_run_group_tests_name("io.dataset", tests, make_folder, remove_folder);
}
