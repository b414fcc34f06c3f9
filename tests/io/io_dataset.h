/* Datasets of the flows of io_flows.h, with tables of their own. */
#ifndef ND_TESTS_IO_DATASET_H
#define ND_TESTS_IO_DATASET_H

#include "io/dataset_priv.h"
#include "io/io_flows.h"
#include "io/io_test.h"

static char *const labels_of_test[] = {"chat", "video", "näme"}, *const macros_of_test[] = {"a", "", "c"},
                   *const prompts_of_test[] = {"pixelated network data, type-0", "p1", ""},
                   *const files_of_test[] = {"one.pcap", "two/three.pcap"}, *const runs_of_test[] = {"r0", "r1"};

static inline dataset_tables tables_of_test(void) {
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

static inline void make_flow(uint64_t number, uint32_t max_packets, flow *f) {
    assert_int_equal(io_flow(number, max_packets, f), ST_OK);
    f->label = (int32_t)(number % 4) - 1;
    f->file = (uint32_t)(number % 2);
    f->run = (int32_t)(number % 3) - 1;
}

static inline void write_flows(const char *path, uint64_t from, uint64_t to, uint32_t max_packets, int compress,
                               int threads) {
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

static inline void check_flow_at(dataset *d, size_t i, uint64_t number, uint32_t max_packets, flow *got) {
    flow want;
    make_flow(number, max_packets, &want);
    if (dataset_read(d, i, 0, got) != ST_OK)
        fail_msg("%s", status_message());
    assert_true(io_flows_equal(&want, got));
    flow_clear(&want);
}

static inline void set_u64(hid_t file, const char *name, uint64_t value) {
    H5Adelete(file, name);
    assert_int_equal(h5_write_u64_attribute("test", file, name, value), ST_OK);
}

#endif
