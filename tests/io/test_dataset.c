/* The dataset store: what goes in comes out, the same bytes every time. */
#include "io/io_test.h"
#include "base/memory.h"
#include "io/io_dataset.h"

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

/* Tables that no reader would take are refused before anything is written. */
static void test_large_tables(void **state) {
    enum { LONG = 40 << 20 };
    char *path = in_folder("large.h5"), *name = malloc(LONG + 1);
    assert_non_null(name);
    memset(name, 'x', LONG);
    name[LONG] = '\0';
    char *files[] = {"a", name};
    dataset *d = NULL;
    for (size_t n = 1; n <= 2; n++) {
        dataset_tables t = {.nfiles = n, .file = files + 2 - n};
        assert_int_equal(dataset_create(&d, path, &t, 1), n == 1 ? ST_OK : ST_RANGE);
        assert_int_equal(n == 1 ? dataset_commit(&d) : ST_OK, ST_OK);
    }
    assert_non_null(strstr(status_message(), "the 2 texts of table/file"));
    assert_int_equal(dataset_open(&d, path), ST_OK);
    dataset_close(&d);
    assert_int_equal(unlink(path), 0);
    free(name);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_long_flow),      cmocka_unit_test(test_empty),
        cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_append_refuses), cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_version_1),  cmocka_unit_test(test_large_tables),
    };
    return cmocka_run_group_tests_name("io.dataset", tests, make_folder, remove_folder);
}
