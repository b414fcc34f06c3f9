/* Records of batches: what is written is read back; a file cut at any length or damaged at any byte gives the records
 * that are whole, and nothing else; shares of the batches. */
#include "train/train_test.h"
#include "base/memory.h"
#include "gen/gen_priv.h"

enum { NBATCHES = 3, NFLOWS = 2 };

static comm *world;
static const identity ours = {.text = (char *)"ours\n", .digest = {1, 2, 3}};

static int open_world(void **state) {
    *state = NULL;
    assert_ok(comm_open(&world));
    return 0;
}

static int close_world(void **state) {
    (void)state;
    return comm_finish(&world, ST_OK);
}

/* Flow k of batch b: k + 1 + b packets, whose bytes say where they belong. */
static void make_flow(uint64_t b, size_t k, bool raw, flow *f) {
    f->npackets = 0;
    f->key = (flow_key){.proto = PROTO_TCP, .ipv6 = k == 1, .port = {(uint16_t)(1000 + b), 443}};
    f->key.addr[0] = (ip_address)0x20010db8 << 96 | k;
    f->key.addr[1] = 0xc0000201 + b;
    for (size_t i = 0; i < k + 1 + b; i++) {
        packet p = {.time_ns = (int64_t)(1000 * b + 10 * k + i), .wire_len = (uint32_t)(60 + i), .frame = (uint32_t)i};
        p.dir = i % 2;
        p.nheader = (uint8_t)(i == 0 ? PACKET_HEADER_MAX : 40 + i);
        memset(p.header, (int)(16 * b + 4 * k + i + (raw ? 128 : 0)), p.nheader);
        assert_ok(flow_add(f, &p));
    }
}

static void assert_same_flow(const flow *a, const flow *b) {
    assert_true(flow_key_equal(&a->key, &b->key));
    assert_int_equal(a->npackets, b->npackets);
    assert_memory_equal(a->packets, b->packets, a->npackets * sizeof *a->packets);
}

/* One file with a record of each batch; *ends: where each ends. */
static void write_file(const char *folder, uint64_t ends[NBATCHES]) {
    item_writer w;
    item it = {0};
    flow clean, raw;
    bool first;
    flow_init(&clean);
    flow_init(&raw);
    assert_ok(identity_claim(&ours, folder, &first));
    item_writer_open(&w, folder, 0);
    for (uint64_t b = 0; b < NBATCHES; b++) {
        uint64_t offset;
        repair_counts repaired = {.packets = 100 + b};
        assert_ok(item_begin(&it, b, NFLOWS));
        for (size_t k = 0; k < NFLOWS; k++) {
            make_flow(b, k, false, &clean);
            make_flow(b, k, true, &raw);
            assert_ok(item_add(&it, k, &clean, &raw));
        }
        item_end(&it, &ours, &repaired);
        assert_ok(item_write(&w, &it, &offset));
        assert_int_equal(offset, b == 0 ? 0 : ends[b - 1]);
        ends[b] = w.nbytes;
    }
    assert_ok(item_writer_close(&w));
    item_clear(&it);
    flow_clear(&clean);
    flow_clear(&raw);
}

/* Without waiting for the disk. */
static void rewrite(const char *path, const char *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Bit b: the folder has a record of batch b. All that are there must be what was written. */
static unsigned look(const char *folder, const identity *id, const char *share) {
    shard s;
    item_index index = {0};
    item_reader r;
    item it = {0};
    uint64_t *missing = NULL, nmissing;
    unsigned there = 0;
    flow got, want;
    flow_init(&got);
    flow_init(&want);
    assert_ok(shard_parse(share, &s));
    assert_ok(items_scan(world, folder, id, &s, NBATCHES, &index, &missing, &nmissing));
    item_reader_open(&r, folder, &index, id);
    for (uint64_t b = 0; b < NBATCHES; b++) {
        repair_counts repaired;
        if (index.place[b].file == ITEM_NONE)
            continue;
        there |= 1u << b;
        assert_ok(item_read(&r, b, &it));
        assert_int_equal(it.nflows, NFLOWS);
        item_get_repaired(&it, &repaired);
        assert_int_equal(repaired.packets, 100 + b);
        for (size_t k = 0; k < NFLOWS; k++)
            for (int raw = 0; raw < 2; raw++) {
                make_flow(b, k, raw, &want);
                assert_ok(item_get_flow(&it, k, raw, &got));
                assert_same_flow(&got, &want);
            }
        assert_ok(item_read_heads(&r, b, &it));
        item_flow head;
        item_get_head(&it, 1, &head);
        assert_int_equal(head.start_ns, 1000 * b + 10);
        assert_int_equal(head.head.npackets, 2 + b);
        assert_true(flow_key_equal(&head.head.key, &want.key));
    }
    unsigned wanted = 0;
    for (uint64_t i = 0; i < nmissing; i++)
        assert_false(there >> missing[i] & 1);
    for (uint64_t b = 0; b < NBATCHES; b++)
        wanted += shard_has(&s, b) && !(there >> b & 1);
    assert_int_equal(nmissing, wanted);
    item_reader_close(&r);
    item_index_clear(&index);
    memory_free(&missing);
    item_clear(&it);
    flow_clear(&got);
    flow_clear(&want);
    return there;
}

/* The one file of records in the folder. */
static char *only_file(const char *folder) {
    text_list files = {0};
    assert_ok(items_list(folder, &files));
    assert_int_equal(files.n, 1);
    char *path = text_format("%s/%s", folder, files.item[0]);
    text_list_clear(&files);
    return path;
}

static void whole_records_are_found(void **state) {
    (void)state;
    uint64_t ends[NBATCHES];
    char *folder = new_folder(), *bytes = NULL;
    write_file(folder, ends);
    assert_int_equal(look(folder, &ours, ""), 7);
    assert_int_equal(look(folder, &ours, "0/2"), 7);
    assert_int_equal(look(folder, &ours, "1/2"), 5); /* only its own are looked for */
    assert_int_equal(look(folder, &ours, "2/2"), 2);
    assert_int_equal(look(folder, &(identity){.text = (char *)"", .digest = {9}}, ""), 0);

    char *path = only_file(folder);
    size_t n;
    assert_ok(file_read(path, 1 << 20, &bytes, &n));
    assert_int_equal(n, ends[NBATCHES - 1]);
    for (size_t cut = 0; cut <= n; cut += cut < ends[0] ? 1 : 7) {
        rewrite(path, bytes, cut);
        unsigned want = (cut >= ends[0]) | (cut >= ends[1]) << 1 | (cut >= ends[2]) << 2;
        assert_int_equal(look(folder, &ours, ""), want);
    }
    /* A changed byte of the second record costs that one, and the third where its place is lost. */
    for (size_t at = ends[0]; at < ends[1]; at += 3) {
        bytes[at] ^= 0x41;
        rewrite(path, bytes, n);
        unsigned there = look(folder, &ours, "");
        assert_true(there == 5 || there == 1);
        bytes[at] ^= 0x41;
    }
    free(bytes);
    free(path);
    drop_folder(folder);
}

/* A record that changes after it was found is not taken for what it was. */
static void a_change_is_noticed(void **state) {
    (void)state;
    uint64_t ends[NBATCHES], *missing = NULL, nmissing;
    char *folder = new_folder(), *bytes = NULL;
    shard all;
    item_index index = {0};
    item_reader r;
    item it = {0};
    size_t n;
    write_file(folder, ends);
    assert_ok(shard_parse("", &all));
    assert_ok(items_scan(world, folder, &ours, &all, NBATCHES, &index, &missing, &nmissing));
    char *path = only_file(folder);
    assert_ok(file_read(path, 1 << 20, &bytes, &n));
    bytes[ends[1] - 10] ^= 1;
    rewrite(path, bytes, n);
    item_reader_open(&r, folder, &index, &ours);
    assert_ok(item_read(&r, 0, &it));
    assert_fails(item_read(&r, 1, &it), ST_FORMAT, "batch 1 has changed");
    item_reader_close(&r);
    item_clear(&it);
    item_index_clear(&index);
    memory_free(&missing);
    free(bytes);
    free(path);
    drop_folder(folder);
}

/* More files than may be open at once, read in two orders. */
static void files_take_turns(void **state) {
    (void)state;
    enum { NFILES = ITEM_FILES_OPEN + 16 };
    char *folder = new_folder();
    uint64_t *missing = NULL, nmissing;
    shard all;
    item_index index = {0};
    item_reader r;
    item it = {0};
    flow f;
    bool first;
    flow_init(&f);
    assert_ok(identity_claim(&ours, folder, &first));
    for (uint64_t b = 0; b < NFILES; b++) {
        item_writer w;
        uint64_t offset;
        item_writer_open(&w, folder, 0);
        make_flow(b, 0, false, &f);
        assert_ok(item_begin(&it, b, 1));
        assert_ok(item_add(&it, 0, &f, &f));
        item_end(&it, &ours, &(repair_counts){.packets = b});
        assert_ok(item_write(&w, &it, &offset));
        item_writer_abandon(&w);
    }
    assert_ok(shard_parse("", &all));
    assert_ok(items_scan(world, folder, &ours, &all, NFILES, &index, &missing, &nmissing));
    assert_int_equal(nmissing, 0);
    assert_int_equal(index.files.n, NFILES);
    item_reader_open(&r, folder, &index, &ours);
    for (uint64_t i = 0; i < 2 * NFILES; i++) {
        uint64_t b = i < NFILES ? i : i * 7 % NFILES;
        item_flow head;
        assert_ok(item_read(&r, b, &it));
        item_get_head(&it, 0, &head);
        assert_int_equal(head.head.npackets, 1 + b);
        assert_true(r.nopen <= ITEM_FILES_OPEN);
    }
    assert_int_equal(r.nopen, ITEM_FILES_OPEN);
    item_reader_close(&r);
    item_index_clear(&index);
    memory_free(&missing);
    item_clear(&it);
    flow_clear(&f);
    drop_folder(folder);
}

static void folders_have_one_identity(void **state) {
    (void)state;
    char *folder = new_folder();
    identity first = {.text = (char *)"a: 1\n  b: 2\n"}, other = {.text = (char *)"a: 1\n  b: 3\n"},
             longer = {.text = (char *)"a: 1\n  b: 2\nc: 4\n"};
    bool began;
    assert_ok(identity_claim(&first, folder, &began));
    assert_true(began);
    assert_ok(identity_claim(&first, folder, &began));
    assert_false(began);
    assert_fails(identity_claim(&other, folder, &began), ST_USAGE, "\"b: 2\" there, \"b: 3\" now");
    assert_false(began);
    assert_fails(identity_claim(&longer, folder, &began), ST_USAGE, "\"\" there, \"c: 4\" now");
    drop_folder(folder);
}

static void shares_partition_the_batches(void **state) {
    (void)state;
    static const char *const wrong[] = {"3", "4/3", "-1/3", "1/0", "/3", "1/", "a/b", "1/2/3"};
    shard s[3], bad;
    assert_ok(shard_parse("1/3", &s[0]));
    assert_ok(shard_parse("2/3", &s[1]));
    assert_ok(shard_parse("3/3", &s[2]));
    for (uint64_t b = 0; b < 20; b++)
        assert_int_equal(shard_has(&s[0], b) + shard_has(&s[1], b) + shard_has(&s[2], b), 1);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (shard_parse(wrong[i], &bad) != ST_USAGE)
            fail_msg("\"%s\" was taken", wrong[i]);
}

/* Numbered files of one capture are never those of another label. */
static void separators_tell_labels_apart(void **state) {
    (void)state;
    char *labels[] = {"web", "web-0002", "all-0001", "web--0003", "dns-2"};
    dataset_tables t = {.nlabels = 5, .label = labels};
    assert_string_equal(outputs_separator(&t, "web"), "---");
    assert_string_equal(outputs_separator(&t, "all"), "--");
    assert_string_equal(outputs_separator(&t, "dns"), "-");
    char *name = capture_series_name("web", "-", 1, 1);
    assert_string_equal(name, "web.pcap");
    free(name);
    name = capture_series_name("web", "-", 2, 1);
    assert_string_equal(name, "web-0001.pcap");
    free(name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_records_are_found),
        cmocka_unit_test(a_change_is_noticed),
        cmocka_unit_test(files_take_turns),
        cmocka_unit_test(folders_have_one_identity),
        cmocka_unit_test(shares_partition_the_batches),
        cmocka_unit_test(separators_tell_labels_apart),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
