/* ndencode's run on one process: every flow of the captures is in the dataset, with its label and run, and nothing
 * else. */
#include "io/io_test.h"
#include "io/encode.h"
#include "io/io_captures.h"

static comm *alone;

static int set_up(void **state) {
    return make_folder(state) || io_make_captures(folder) != ST_OK || comm_open(&alone) != ST_OK;
}

static int tear_down(void **state) {
    int failed = remove_folder(state);
    return comm_finish(&alone, ST_OK) != 0 || failed;
}

/* Run with these extra settings on the folder's captures, or on one of them. */
static status encode_with(const char *input, const char *labels_file, const char *const *settings) {
    char *argv[12] = {"test", text_format("out=%s/out", folder), text_format("data.captures=%s/%s", folder, input),
                      text_format("data.labels=%s%s", labels_file[0] != '\0' ? folder : "", labels_file), "quiet=yes"};
    int argc = 5;
    experiment *e = NULL;
    bool help;
    for (; *settings != NULL; settings++)
        argv[argc++] = (char *)*settings;
    status st = experiment_load(argc, argv, PROGRAM_ENCODE, "", &e, &help);
    if (st == ST_OK)
        st = encode_run(e, alone);
    experiment_free(&e);
    for (int i = 1; i < 4; i++)
        free(argv[i]);
    return st;
}

#define SETTINGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static dataset *open_result(void) {
    dataset *d = NULL;
    char *path = text_format("%s/out/dataset.h5", folder), *parts = text_format("%s/out/dataset.parts", folder),
         *saved = text_format("%s/out/dataset.yaml", folder);
    if (dataset_open(&d, path) != ST_OK)
        fail_msg("%s", status_message());
    assert_false(file_exists(parts));
    assert_true(file_exists(saved));
    free(path);
    free(parts);
    free(saved);
    return d;
}

/* The flow of the dataset with this key, -1 if there is none. */
static int64_t find(const dataset *d, const flow_key *key) {
    flow f;
    for (size_t i = 0; i < dataset_nflows(d); i++) {
        dataset_flow_info(d, i, &f);
        if (flow_key_equal(&f.key, key))
            return (int64_t)i;
    }
    return -1;
}

/* Flow `number` of the stream is in the dataset under this label (NULL: none) and run. */
static void check_flow_in(dataset *d, uint64_t number, const char *label, const char *run, const char *file) {
    const dataset_tables *t = dataset_get_tables(d);
    flow want, got;
    assert_int_equal(io_flow(number, IO_MOST, &want), ST_OK);
    int64_t at = find(d, &want.key);
    assert_true(at >= 0);
    flow_init(&got);
    assert_int_equal(dataset_read(d, (size_t)at, 0, &got), ST_OK);
    assert_int_equal(got.npackets, want.npackets);
    for (size_t k = 0; k < want.npackets; k++) {
        const packet *a = &want.packets[k], *b = &got.packets[k];
        assert_int_equal(a->time_ns, b->time_ns);
        assert_int_equal(a->wire_len, b->wire_len);
        assert_int_equal(a->dir, b->dir);
        assert_int_equal(a->nheader, b->nheader);
        assert_memory_equal(a->header, b->header, a->nheader);
        assert_true(k == 0 || b->frame > got.packets[k - 1].frame);
    }
    assert_string_equal(got.label >= 0 ? t->label[got.label] : "", label != NULL ? label : "");
    assert_string_equal(t->run[got.run], run);
    assert_string_equal(t->file[got.file], file);
    flow_clear(&want);
    flow_clear(&got);
}

static void check_everything(dataset *d) {
    const dataset_tables *t = dataset_get_tables(d);
    static const char *const names[] = {"all-b", "five", "tcp", "three"},
                             *const macros[] = {"whole", "number", "", "number"},
                             *const runs[] = {"a.pcap", "cut.pcap", "lab"},
                             *const files[] = {"a.pcap", "cut.pcap", "deep/b.pcap.gz"};
    assert_int_equal(t->nlabels, 4); /* not "unused": its capture is not here */
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(t->label[i], names[i]);
        assert_string_equal(t->macro[i], macros[i]);
    }
    assert_string_equal(t->prompt[0], "pixelated network data, type-0");
    assert_string_equal(t->prompt[3], "a prompt, with a comma");
    assert_int_equal(t->nruns, 3);
    assert_int_equal(t->nfiles, 3);
    for (size_t i = 0; i < 3; i++) {
        char hex[65], *path = text_format("%s/captures/%s", folder, files[i]);
        assert_string_equal(t->run[i], runs[i]);
        assert_string_equal(t->file[i], files[i]);
        assert_int_equal(file_sha256(path, hex), ST_OK);
        assert_string_equal(t->sha256[i], hex);
        free(path);
    }
    for (int i = 0; i < SKIP_COUNT; i++)
        assert_int_equal(t->skipped[i], i == SKIP_NOT_IP ? IO_NOT_IP : i == SKIP_IP_BAD ? IO_IP_BAD : 0);
    assert_int_equal(t->frames, dataset_npackets(d) + IO_NOT_IP + IO_IP_BAD);
    for (uint64_t i = 0; i < IO_NA; i++)
        check_flow_in(d, i, io_label(i), "a.pcap", "a.pcap");
    for (uint64_t i = IO_NA; i < IO_NA + IO_NB; i++)
        check_flow_in(d, i, "all-b", "lab", "deep/b.pcap.gz");
    size_t in_cut = dataset_nflows(d) - IO_NA - IO_NB;
    assert_true(in_cut == IO_NCUT || in_cut == IO_NCUT - 1); /* the last record may have been a flow of its own */
}

/* The file has the bytes that one writer gives the same flows in the same order. */
static void check_bytes(dataset *d) {
    char *made = text_format("%s/out/dataset.h5", folder), *again = text_format("%s/again.h5", folder);
    dataset *to = NULL;
    flow f;
    flow_init(&f);
    assert_int_equal(dataset_create(&to, again, dataset_get_tables(d), 1), ST_OK);
    for (size_t i = 0; i < dataset_nflows(d); i++) {
        assert_int_equal(dataset_read(d, i, 0, &f), ST_OK);
        assert_int_equal(dataset_append(to, &f), ST_OK);
    }
    assert_int_equal(dataset_commit(&to), ST_OK);
    assert_true(io_same_bytes(made, again));
    flow_clear(&f);
    free(made);
    free(again);
}

static void test_all(void **state) {
    static const char *const memories[] = {"encode.memory=256M", "encode.memory=256k", "encode.memory=300000"};
    for (size_t i = 0; i < sizeof memories / sizeof memories[0]; i++) {
        if (encode_with("captures", "/labels.csv",
                        SETTINGS(memories[i], "data.prompts=three:a prompt\\, with a comma")) != ST_OK)
            fail_msg("%s", status_message());
        dataset *d = open_result();
        check_everything(d);
        check_bytes(d);
        dataset_close(&d);
    }
}

static void test_unlabelled(void **state) {
    assert_int_equal(encode_with("captures/a.pcap", "/labels.csv", SETTINGS("encode.unlabelled=no")), ST_OK);
    dataset *d = open_result();
    size_t want = 0;
    for (uint64_t i = 0; i < IO_NA; i++)
        want += io_label(i) != NULL;
    assert_int_equal(dataset_nflows(d), want);
    assert_int_equal(dataset_get_tables(d)->nlabels, 2);
    dataset_close(&d);

    assert_int_equal(encode_with("captures", "", SETTINGS(NULL)), ST_OK); /* no labels at all */
    d = open_result();
    assert_int_equal(dataset_get_tables(d)->nlabels, 0);
    check_flow_in(d, 0, NULL, "a.pcap", "a.pcap");
    check_flow_in(d, IO_NA, NULL, "b.pcap.gz", "deep/b.pcap.gz");
    dataset_close(&d);
}

static void test_timeout(void **state) {
    /* Gaps within a flow are at most 1 ms. */
    assert_int_equal(encode_with("captures/a.pcap", "", SETTINGS("encode.timeout=0.002")), ST_OK);
    dataset *d = open_result();
    assert_int_equal(dataset_nflows(d), IO_NA);
    dataset_close(&d);
    assert_int_equal(encode_with("captures/a.pcap", "", SETTINGS("encode.timeout=0.0005")), ST_OK);
    d = open_result();
    assert_true(dataset_nflows(d) > IO_NA);
    dataset_close(&d);
}

static void write_text(const char *name, const char *text) {
    char *path = text_format("%s/%s", folder, name);
    assert_int_equal(file_write(path, text, strlen(text)), ST_OK);
    free(path);
}

static void test_errors(void **state) {
    static const struct {
        const char *what, *capture, *labels, *text, *want;
        status st;
    } cases[] = {
        {"missing capture", "none.pcap", "", NULL, "none.pcap", ST_IO},
        {"missing labels", "captures", "/none.csv", NULL, "none.csv", ST_IO},
        {"labels of other captures", "captures", "/l.csv", "file,label\nx.pcap,y\n", "none of its 1 rows", ST_FORMAT},
        {"label without flows", "captures", "/l.csv",
         "file,label,filter\na.pcap,y,tcp\na.pcap,ghost,tcp port 1\nx.pcap,fine,\n", "match no flow for label ghost",
         ST_FORMAT},
        {"two labels without flows", "captures", "/l.csv",
         "file,label,filter\na.pcap,ghost,tcp port 1\na.pcap,spirit,tcp port 2\n", "for labels ghost, spirit",
         ST_FORMAT},
        {"bad filter", "captures", "/l.csv", "file,label,filter\na.pcap,y,no such thing here\n", ":2: filter",
         ST_FORMAT},
        {"no capture", "labels.csv", "", NULL, "no capture could be read: labels.csv: ", ST_FORMAT},
        {"no packet", "strange.pcap", "", NULL, "none of the 10 frames gave a packet: skipped for not_ip 7, ip_bad 3",
         ST_FORMAT},
        {"no frame", "none_in.pcap", "", NULL, "none_in.pcap holds no frame", ST_FORMAT},
    };
    char *parts = text_format("%s/out/dataset.parts", folder), *result = text_format("%s/out/dataset.h5", folder);
    char *empty = text_format("%s/none_in.pcap", folder), *strange = text_format("%s/strange.pcap", folder);
    assert_int_equal(io_write_flows(empty, 1, 0, 0), ST_OK);
    assert_int_equal(io_write_flows(strange, 1, 0, 0), ST_OK);
    assert_int_equal(io_append_frames(strange), ST_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (cases[i].text != NULL)
            write_text("l.csv", cases[i].text);
        unlink(result);
        status st = encode_with(cases[i].capture, cases[i].labels, SETTINGS(NULL));
        if (st != cases[i].st || strstr(status_message(), cases[i].want) == NULL)
            fail_msg("%s: %s: %s", cases[i].what, status_name(st), status_message());
        assert_false(file_exists(parts));
        assert_false(file_exists(result));
    }
    assert_int_equal(encode_with("captures", "", SETTINGS("encode.unlabelled=no")), ST_FORMAT);
    assert_non_null(strstr(status_message(), "no flow has a label"));
    free(parts);
    free(empty);
    free(strange);
    free(result);
}

static void test_dry_run(void **state) {
    char *result = text_format("%s/dry", folder), *setting = text_format("out=%s", result);
    assert_int_equal(encode_with("captures", "/labels.csv", SETTINGS("dry_run=yes", setting)), ST_OK);
    assert_false(file_exists(result));
    free(result);
    free(setting);
}

/* A file that is no capture among others is damage, not the end. */
static void test_damaged_capture(void **state) {
    write_text("captures/empty.pcap", "");
    assert_int_equal(encode_with("captures", "/labels.csv", SETTINGS("data.prompts=three:a prompt\\, with a comma")),
                     ST_OK);
    dataset *d = open_result();
    assert_int_equal(dataset_get_tables(d)->nfiles, 4);
    check_flow_in(d, 0, "three", "a.pcap", "a.pcap");
    dataset_close(&d);
    char *path = text_format("%s/captures/empty.pcap", folder);
    assert_int_equal(unlink(path), 0);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),    cmocka_unit_test(test_unlabelled), cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_errors), cmocka_unit_test(test_dry_run),    cmocka_unit_test(test_damaged_capture),
    };
    return cmocka_run_group_tests_name("io.encode", tests, set_up, tear_down);
}
