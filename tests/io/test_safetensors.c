/* safetensors: round trip, the narrow types, and files that lie. */
#include "io/io_test.h"
#include <math.h>
#include "io/safetensors.h"

static char *path;

static int make_path(void **state) {
    int failed = make_folder(state);
    path = in_folder("x.safetensors");
    return failed;
}

static int free_path(void **state) {
    free(path);
    return remove_folder(state);
}

static const float weights[6] = {1.5f, -2, 0, 3e30f, -1e-40f, 7}, scalar[1] = {42}, bias[3] = {0.1f, 0.2f, 0.3f};

static const safetensor three[4] = {{"layer.weight", 2, {2, 3}, weights},
                                    {"scale", 0, {0}, scalar},
                                    {"empty", 2, {4, 0}, weights},
                                    {"layer.bias", 1, {3}, bias}};

static void test_round_trip(void **state) {
    char *keys[] = {"format", "ünïcode"}, *values[] = {"nd", "\"quoted\"\n"};
    text_map metadata = {2, keys, values};
    assert_int_equal(safetensors_write(path, three, 4, &metadata), ST_OK);
    safetensors *s = NULL;
    assert_int_equal(safetensors_open(&s, path), ST_OK);
    assert_int_equal(safetensors_count(s), 4);
    const safetensor *w = safetensors_find(s, "layer.weight");
    assert_non_null(w);
    assert_int_equal(w->ndim, 2);
    assert_int_equal(w->dim[0], 2);
    assert_int_equal(w->dim[1], 3);
    assert_memory_equal(w->data, weights, sizeof weights);
    assert_memory_equal(safetensors_find(s, "layer.bias")->data, bias, sizeof bias);
    assert_int_equal(safetensors_find(s, "scale")->ndim, 0);
    assert_memory_equal(safetensors_find(s, "scale")->data, scalar, sizeof scalar);
    assert_int_equal(safetensors_find(s, "empty")->dim[1], 0);
    assert_null(safetensors_find(s, "layer"));
    assert_string_equal(safetensors_metadata(s, "format"), "nd");
    assert_string_equal(safetensors_metadata(s, "ünïcode"), "\"quoted\"\n");
    assert_null(safetensors_metadata(s, "none"));
    assert_string_equal(safetensors_get(s, 0)->name, "layer.weight"); /* in the order written */
    safetensors_close(&s);
    assert_null(s);
}

static void test_data_is_aligned(void **state) {
    char *bytes;
    size_t n;
    uint64_t nheader;
    assert_int_equal(safetensors_write(path, three, 4, NULL), ST_OK);
    assert_int_equal(file_read(path, 1 << 20, &bytes, &n), ST_OK);
    memcpy(&nheader, bytes, 8);
    assert_int_equal(nheader % 8, 0);
    assert_int_equal(n, 8 + nheader + 10 * sizeof(float));
    free(bytes);
}

static void test_refuses_to_write(void **state) {
    const safetensor twice[2] = {{"a", 1, {1}, scalar}, {"a", 1, {1}, scalar}};
    const safetensor not_utf8[1] = {{"\xff\xfe", 1, {1}, scalar}};
    unlink(path);
    assert_int_equal(safetensors_write(path, twice, 2, NULL), ST_FORMAT);
    assert_int_equal(safetensors_write(path, not_utf8, 1, NULL), ST_FORMAT);
    assert_false(file_exists(path));
    assert_int_equal(safetensors_write("/nonexistent/x", three, 4, NULL), ST_IO);
}

/* A file of this header length, header text and data. */
static void write_raw(const char *header, uint64_t nheader, const void *data, size_t nbytes) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(&nheader, 1, 8, f);
    fwrite(header, 1, strlen(header), f);
    fwrite(data, 1, nbytes, f);
    assert_int_equal(fclose(f), 0);
}

static void test_narrow_types(void **state) {
    static const struct {
        const char *dtype;
        uint16_t bits;
        float value;
    } cases[] = {{"F16", 0x0000, 0},
                 {"F16", 0x8000, -0.0f},
                 {"F16", 0x3c00, 1},
                 {"F16", 0xc000, -2},
                 {"F16", 0x7bff, 65504},
                 {"F16", 0x0001, 0x1p-24f},
                 {"F16", 0x83ff, -0x1.ff8p-15f},
                 {"F16", 0x0400, 0x1p-14f},
                 {"F16", 0x3555, 0x1.554p-2f},
                 {"F16", 0x7c00, INFINITY},
                 {"F16", 0xfc00, -INFINITY},
                 {"BF16", 0x3f80, 1},
                 {"BF16", 0xc040, -3},
                 {"BF16", 0x0001, 0x1p-133f},
                 {"BF16", 0x7f80, INFINITY}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint16_t data[3] = {0x3c00, cases[i].bits, 0x4000};
        char *header = text_format("{\"x\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,6]}}", cases[i].dtype);
        write_raw(header, strlen(header), data, sizeof data);
        free(header);
        safetensors *s = NULL;
        assert_int_equal(safetensors_open(&s, path), ST_OK);
        float got = safetensors_find(s, "x")->data[1];
        if (memcmp(&got, &cases[i].value, sizeof got) != 0)
            fail_msg("%s %04x: %a instead of %a", cases[i].dtype, cases[i].bits, (double)got, (double)cases[i].value);
        assert_true(safetensors_find(s, "x")->data[2] == 2.0f); /* 0x4000 is 2 in both */
        safetensors_close(&s);
    }
    write_raw("{\"n\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 54, "\x01\x7e", 2);
    safetensors *s = NULL;
    assert_int_equal(safetensors_open(&s, path), ST_OK);
    assert_true(isnan(safetensors_find(s, "n")->data[0]));
    safetensors_close(&s);
}

/* Integer tensors (position numbers of published text encoders) are checked and left out. */
static void test_other_types_left_out(void **state) {
    const char *header = "{\"ids\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,16]},"
                         "\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[16,20]}}";
    uint8_t data[20] = {0};
    write_raw(header, strlen(header), data, sizeof data);
    safetensors *s = NULL;
    assert_int_equal(safetensors_open(&s, path), ST_OK);
    assert_int_equal(safetensors_count(s), 1);
    assert_null(safetensors_find(s, "ids"));
    safetensors_close(&s);
}

/* A header of one F32 tensor, or two. */
#define TENSOR(name, shape, offsets) "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define ONE(shape, offsets) "{" TENSOR("a", shape, offsets) "}"
#define TWO(shape, offsets, name, shape2, offsets2)                                                                    \
    "{" TENSOR("a", shape, offsets) "," TENSOR(name, shape2, offsets2) "}"

static void test_lies(void **state) {
    static const struct {
        const char *what, *header;
        uint64_t nheader; /* 0 = the text's length */
        size_t ndata;
    } cases[] = {
        {"no JSON", "hello", 0, 0},
        {"a list", "[1]", 0, 0},
        {"a number", "7", 0, 0},
        {"cut JSON", "{\"a\":{", 0, 0},
        {"garbage after the JSON", "{}x", 0, 0},
        {"NUL in the header", "{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 0, 4},
        {"header longer than the file", "{}", 3, 0},
        {"header length 2^63", "{}", (uint64_t)1 << 63, 0},
        {"header length 2^64-1", "{}", UINT64_MAX, 0},
        {"header length just over the limit", "{}", 100000001, 0},
        {"entry is a number", "{\"a\":1}", 0, 0},
        {"no shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 0, 4},
        {"no offsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 0, 4},
        {"one offset", ONE("[1]", "[0]"), 0, 4},
        {"no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 0, 4},
        {"unknown dtype", "{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", 0, 4},
        {"negative dimension", ONE("[-1]", "[0,4]"), 0, 4},
        {"fractional dimension", ONE("[1.0]", "[0,4]"), 0, 4},
        {"nine dimensions", ONE("[1,1,1,1,1,1,1,1,1]", "[0,4]"), 0, 4},
        {"shape overflows", ONE("[4294967296,4294967296,4]", "[0,0]"), 0, 0},
        {"bytes overflow", ONE("[4611686018427387904]", "[0,0]"), 0, 0},
        {"number too big for JSON", ONE("[99999999999999999999]", "[0,0]"), 0, 0},
        {"shape larger than the offsets", ONE("[2]", "[0,4]"), 0, 4},
        {"offsets past the end", ONE("[2]", "[0,8]"), 0, 4},
        {"offsets backwards", ONE("[0]", "[4,0]"), 0, 4},
        {"negative offset", ONE("[2]", "[-4,4]"), 0, 4},
        {"overlap", TWO("[2]", "[0,8]", "b", "[2]", "[4,12]"), 0, 12},
        {"hole", TWO("[1]", "[0,4]", "b", "[1]", "[8,12]"), 0, 12},
        {"data behind the last", ONE("[1]", "[0,4]"), 0, 8},
        {"the same name twice", TWO("[1]", "[0,4]", "a", "[1]", "[4,8]"), 0, 8},
        {"metadata is a list", "{\"__metadata__\":[]}", 0, 0},
        {"metadata of numbers", "{\"__metadata__\":{\"a\":1}}", 0, 0},
    };
    static const uint8_t data[16];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_raw(cases[i].header, cases[i].nheader ? cases[i].nheader : strlen(cases[i].header), data, cases[i].ndata);
        safetensors *s = NULL;
        status st = safetensors_open(&s, path);
        if ((st != ST_FORMAT && st != ST_RANGE) || strstr(status_message(), path) == NULL)
            fail_msg("%s: %s: %s", cases[i].what, status_name(st), status_message());
        assert_null(s);
    }
}

static void test_deep_header(void **state) {
    char *header = malloc(100001);
    assert_non_null(header);
    memset(header, '[', 100000);
    header[100000] = '\0';
    write_raw(header, 100000, "", 0);
    safetensors *s = NULL;
    assert_int_equal(safetensors_open(&s, path), ST_FORMAT);
    free(header);
}

static void test_cut_at_every_length(void **state) {
    char *bytes;
    size_t n;
    assert_int_equal(safetensors_write(path, three, 4, NULL), ST_OK);
    assert_int_equal(file_read(path, 1 << 20, &bytes, &n), ST_OK);
    for (size_t length = 0; length < n; length++) {
        assert_int_equal(file_write(path, bytes, length), ST_OK);
        safetensors *s = NULL;
        if (safetensors_open(&s, path) != ST_FORMAT)
            fail_msg("cut to %zu of %zu bytes: %s", length, n, status_message());
    }
    free(bytes);
}

static void test_missing(void **state) {
    safetensors *s = NULL;
    unlink(path);
    assert_int_equal(safetensors_open(&s, path), ST_IO);
    assert_int_equal(safetensors_open(&s, folder), ST_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_data_is_aligned),
        cmocka_unit_test(test_refuses_to_write),
        cmocka_unit_test(test_narrow_types),
        cmocka_unit_test(test_other_types_left_out),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_deep_header),
        cmocka_unit_test(test_cut_at_every_length),
        cmocka_unit_test(test_missing),
    };
    return cmocka_run_group_tests_name("io.safetensors", tests, make_path, free_path);
}
