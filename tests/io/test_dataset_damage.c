/* Nothing false in a dataset is believed: columns that contradict each other, cut files, flipped bits. */
#include "io/io_dataset.h"
#include "io/io_test.h"

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

/* A table of one text. */
static void replace_texts(hid_t file, const char *name) {
    H5Ldelete(file, name, H5P_DEFAULT);
    assert_int_equal(h5_write_texts("test", file, name, 1, (char *[]){"x"}), ST_OK);
}

/* The other half of an address that only IPv6 has. */
static void lengthen_address(hid_t file) {
    hid_t set = H5Dopen2(file, "flow/addr", H5P_DEFAULT);
    uint8_t all[50 * 32];
    assert_true(H5Dread(set, H5T_STD_U8LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, all) >= 0);
    all[3 * 32 + 16 + 11] = 1;
    assert_true(H5Dwrite(set, H5T_STD_U8LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, all) >= 0);
    H5Dclose(set);
}

static void change_type(hid_t file, const char *name) {
    hsize_t n = 50;
    hid_t space = H5Screate_simple(1, &n, NULL);
    H5Ldelete(file, name, H5P_DEFAULT);
    H5Dclose(H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
}

typedef enum edit { SHORTEN, POKE, ADDRESS, NUMBER, NO_ATTRIBUTE, NO_COLUMN, TEXTS, TYPE, EXTEND } edit;

static const struct {
    const char *what, *want; /* part of the message */
    edit edit;
    const char *name; /* of a column, a table or an attribute */
    hsize_t at;
    int64_t value;
} damages[] = {
    {"wire_len one shorter", "/packet/wire_len has", SHORTEN, "packet/wire_len", 0, 0},
    {"header one shorter", "bytes of header", SHORTEN, "packet/header", 0, 0},
    {"label one shorter", "/flow/label has", SHORTEN, "flow/label", 0, 0},
    {"npackets one shorter", "/flow/label has", SHORTEN, "flow/npackets", 0, 0},
    {"flow of 2^30 packets", "flow 2 claims", POKE, "flow/npackets", 2, 1 << 30},
    {"flow of no packets", "flow 1 claims 0 packets", POKE, "flow/npackets", 1, 0},
    {"counts do not add up", "packets", POKE, "flow/npackets", 0, 1},
    {"label 3 of 3", "flow 3 has label 3", POKE, "flow/label", 3, 3},
    {"label -2", "flow 3 has label -2", POKE, "flow/label", 3, -2},
    {"file 99", "flow 3 has file 99", POKE, "flow/file", 3, 99},
    {"run 2 of 2", "flow 3 has run 2", POKE, "flow/run", 3, 2},
    {"protocol 50", "flow 3 has protocol 50", POKE, "flow/proto", 3, 50},
    {"ICMPv6 in IPv4", "flow 3 has protocol 58", POKE, "flow/proto", 3, PROTO_ICMPV6},
    {"IP version 5", "flow 3 is of IP version 5", POKE, "flow/ip_version", 3, 5},
    {"long IPv4 address", "flow 3 is IPv4 and has", ADDRESS, "flow/addr", 0, 0},
    {"header of 193 bytes", "packet 3 claims 193 bytes", POKE, "packet/nheader", 3, PACKET_HEADER_MAX + 1},
    {"header of 0 bytes", "packet 3 claims 0 bytes", POKE, "packet/nheader", 3, 0},
    {"newer version", "newer version", NUMBER, "version", 0, DATASET_VERSION + 1},
    {"no complete", "incomplete", NO_ATTRIBUTE, "complete", 0, 0},
    {"complete = 0", "incomplete", NUMBER, "complete", 0, 0},
    {"no schema", "no dataset of nd", NO_ATTRIBUTE, "schema", 0, 0},
    {"column missing", "HDF5", NO_COLUMN, "packet/dir", 0, 0},
    {"one macro for three labels", "/table/macro has 1", TEXTS, "table/macro", 0, 0},
    {"unknown reason", "reasons", TEXTS, "skip/reason", 0, 0},
    {"column of floats", "/flow/run has not the type", TYPE, "flow/run", 0, 0},
    {"2^44 packets claimed", "more than is stored", EXTEND, "packet/time", (hsize_t)1 << 44, 0},
};

static void do_damage(hid_t file, size_t i) {
    const char *name = damages[i].name;
    switch (damages[i].edit) {
    case SHORTEN:
        shorten(file, name);
        break;
    case POKE:
        poke(file, name, damages[i].at, damages[i].value);
        break;
    case ADDRESS:
        lengthen_address(file);
        break;
    case NUMBER:
        set_u64(file, name, (uint64_t)damages[i].value);
        break;
    case NO_ATTRIBUTE:
        assert_true(H5Adelete(file, name) >= 0);
        break;
    case NO_COLUMN:
        assert_true(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
        break;
    case TEXTS:
        replace_texts(file, name);
        break;
    case TYPE:
        change_type(file, name);
        break;
    case EXTEND:
        extend(file, name, damages[i].at);
        break;
    }
}

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
        do_damage(file, i);
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
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_damaged_packet),
        cmocka_unit_test(test_cut_and_flipped),
        cmocka_unit_test(test_not_a_dataset),
    };
    return cmocka_run_group_tests_name("io.dataset_damage", tests, make_folder, remove_folder);
}
