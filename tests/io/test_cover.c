/* Everything that is decoded goes through capture, flows and dataset unchanged: each packet of the dataset has the
 * header bytes, time and wire length that its frame has, and no frame is lost. Made-up frames of every link type in
 * pcap and pcapng, and all shared captures, the hostile ones included. */
#include "io/io_test.h"
#include "io/capture.h"
#include "io/convert.h"
#include "io/encode.h"
#include "packet/frames.h"

#include "io/io_shared.h"

static comm *alone;

static int set_up(void **state) {
    return make_folder(state) || comm_open(&alone) != ST_OK;
}

static int tear_down(void **state) {
    int failed = remove_folder(state);
    return comm_finish(&alone, ST_OK) != 0 || failed;
}

/* Encode the captures below a folder, and open the dataset. */
static dataset *encode(const char *captures) {
    dataset *d = NULL;
    experiment *e = NULL;
    bool help;
    char *out = text_format("out=%s/out", folder), *from = text_format("data.captures=%s", captures),
         *result = text_format("%s/out/dataset.h5", folder);
    char *argv[] = {
        (char *)"test", out, from, (char *)"data.labels=", (char *)"quiet=yes", (char *)"encode.memory=64k"};
    assert_int_equal(experiment_load(6, argv, PROGRAM_ENCODE, "", &e, &help), ST_OK);
    if (encode_run(e, alone) != ST_OK || dataset_open(&d, result) != ST_OK)
        fail_msg("%s", status_message());
    experiment_free(&e);
    free(out);
    free(from);
    free(result);
    return d;
}

/* --- comparison --- */

typedef struct found {
    packet *packets; /* by frame; nheader 0: not in the dataset */
    size_t n;
} found;

static void collect(dataset *d, found *files) {
    flow f;
    flow_init(&f);
    for (size_t i = 0; i < dataset_nflows(d); i++) {
        if (dataset_read(d, i, 0, &f) != ST_OK)
            fail_msg("%s", status_message());
        found *to = &files[f.file];
        for (size_t k = 0; k < f.npackets; k++) {
            const packet *p = &f.packets[k];
            flow_key key = flow_key_of(p), want = p->dir ? flow_key_reverse(&f.key) : f.key;
            assert_true(flow_key_equal(&key, &want));
            if (p->frame >= to->n) {
                to->packets = realloc(to->packets, (p->frame + 1u) * sizeof *p);
                assert_non_null(to->packets);
                memset(to->packets + to->n, 0, (p->frame + 1u - to->n) * sizeof *p);
                to->n = p->frame + 1u;
            }
            assert_int_equal(to->packets[p->frame].nheader, 0); /* no frame twice */
            to->packets[p->frame] = *p;
        }
    }
    flow_clear(&f);
}

static void compare_file(const char *path, const found *have, uint64_t skipped[SKIP_COUNT], uint64_t *frames) {
    capture *c = NULL;
    capture_record r;
    bool end;
    packet want;
    if (capture_open(&c, path) != ST_OK) {
        assert_int_equal(have->n, 0);
        return;
    }
    for (uint32_t frame = 0;; frame++, ++*frames) {
        assert_int_equal(capture_next(c, &r, &end), ST_OK);
        if (end)
            break;
        packet_skip skip = packet_decode(r.link_type, r.bytes, r.caplen, r.wire_len, &want);
        skipped[skip]++;
        if (skip != SKIP_NONE) {
            assert_true(frame >= have->n || have->packets[frame].nheader == 0);
            continue;
        }
        assert_true(frame < have->n);
        const packet *got = &have->packets[frame];
        if (got->time_ns != r.time_ns || got->wire_len != want.wire_len || got->nheader != want.nheader ||
            memcmp(got->header, want.header, want.nheader) != 0)
            fail_msg("%s: frame %u differs", path, frame);
    }
    capture_close(&c);
}

/* The dataset of a folder's captures against their frames; returns how many packets of each IP version there are. */
static void check_folder(const char *captures, uint64_t packets[2]) {
    dataset *d = encode(captures);
    const dataset_tables *t = dataset_get_tables(d);
    found *files = calloc(t->nfiles, sizeof *files);
    uint64_t skipped[SKIP_COUNT] = {0}, frames = 0;
    assert_non_null(files);
    collect(d, files);
    packets[0] = packets[1] = 0;
    for (size_t i = 0; i < t->nfiles; i++) {
        char *path = text_format("%s/%s", captures, t->file[i]);
        compare_file(path, &files[i], skipped, &frames);
        for (size_t k = 0; k < files[i].n; k++)
            if (files[i].packets[k].nheader > 0)
                packets[packet_is_ipv6(&files[i].packets[k])]++;
        free(files[i].packets);
        free(path);
    }
    assert_int_equal(frames, t->frames);
    assert_int_equal(skipped[SKIP_NONE], dataset_npackets(d));
    for (int i = 1; i < SKIP_COUNT; i++)
        assert_int_equal(skipped[i], t->skipped[i]);
    print_message("%llu packets of IPv4 and %llu of IPv6 from %llu frames\n", (unsigned long long)packets[0],
                  (unsigned long long)packets[1], (unsigned long long)frames);
    free(files);
    dataset_close(&d);
}

/* --- made-up frames --- */

typedef enum marking { NOTHING, ETHER_TYPE, PPP_PROTOCOL, FAMILY } marking;

/* A link header; where it says which IP follows, and how. */
typedef struct link_layer {
    int link_type;
    size_t nbytes;
    const char *bytes;
    marking how;
    size_t at;
} link_layer;

#define MACS "\2\0\0\0\0\1\2\0\0\0\0\2"
#define SNAP "\xaa\xaa\3\0\0\0\0\0"
#define DOT11 "\x08\1\0\0" MACS "\2\0\0\0\0\3\x10\0"
#define LAYER(type, text, how, at)                                                                                     \
    { type, sizeof text - 1, text, how, at }

static const link_layer layers[] = {
    LAYER(1, MACS "\0\0", ETHER_TYPE, 12),
    LAYER(1, MACS "\x81\0\0\5\0\0", ETHER_TYPE, 16),
    LAYER(1, MACS "\x88\xa8\0\5\x81\0\0\6\0\0", ETHER_TYPE, 20),
    LAYER(1, MACS "\x88\x64\x11\0\0\1\0\x1e\0\0", PPP_PROTOCOL, 20),
    LAYER(1, MACS "\0\x24" SNAP, ETHER_TYPE, 20),
    LAYER(0, "\0\0\0\0", FAMILY, 0),
    LAYER(9, "\xff\3\0\0", PPP_PROTOCOL, 2),
    LAYER(12, "", NOTHING, 0),
    LAYER(14, "", NOTHING, 0),
    LAYER(101, "", NOTHING, 0),
    LAYER(105, DOT11 SNAP, ETHER_TYPE, 30),
    LAYER(108, "\0\0\0\0", FAMILY, 3),
    LAYER(113, "\0\0\0\1\0\6\2\0\0\0\0\1\0\0\0\0", ETHER_TYPE, 14),
    LAYER(127, "\0\0\x08\0\0\0\0\0" DOT11 SNAP, ETHER_TYPE, 38),
    LAYER(228, "", NOTHING, 0),
    LAYER(229, "", NOTHING, 0),
    LAYER(276, "\0\0\0\0\0\0\0\1\0\1\0\6\2\0\0\0\0\1\0\0", ETHER_TYPE, 0),
};
enum { LAYERS = sizeof layers / sizeof layers[0], FRAMES = 120 };

/* A frame with random headers of either IP version, cut somewhere behind them: its bytes on the wire. */
static size_t make_frame(rng *r, const link_layer *l, uint8_t *frame, size_t *caplen) {
    packet p = rng_below(r, 2) ? random_packet(r) : random_ipv6_packet(r, true);
    bool ipv6 = packet_is_ipv6(&p);
    memcpy(frame, l->bytes, l->nbytes);
    if (l->how == ETHER_TYPE)
        put16(frame + l->at, ipv6 ? 0x86dd : 0x0800);
    else if (l->how == PPP_PROTOCOL)
        put16(frame + l->at, ipv6 ? 0x0057 : 0x0021);
    else if (l->how == FAMILY)
        frame[l->at] = ipv6 ? 10 : 2;
    memcpy(frame + l->nbytes, p.header, p.nheader);
    memset(frame + l->nbytes + p.nheader, 0x5a, p.wire_len - p.nheader);
    *caplen = l->nbytes + p.nheader + rng_below(r, p.wire_len - p.nheader + 1);
    return l->nbytes + p.wire_len + rng_below(r, 5);
}

static void put_word(FILE *to, uint32_t value) {
    assert_int_equal(fwrite(&value, sizeof value, 1, to), 1);
}

static FILE *create(const char *captures, const char *name) {
    char *path = text_format("%s/%s", captures, name);
    FILE *to = fopen(path, "wb");
    assert_non_null(to);
    free(path);
    return to;
}

/* One pcap a link layer, and one pcapng in which each is an interface; so every frame is there twice. */
static void write_captures(const char *captures) {
    static uint8_t frame[4096];
    rng r = rng_make(3, 0, RNG_TEST);
    FILE *pcap[LAYERS], *ng = create(captures, "all.pcapng");
    const uint32_t section[7] = {0x0a0d0d0a, 28, 0x1a2b3c4d, 1, UINT32_MAX, UINT32_MAX, 28};
    assert_int_equal(fwrite(section, sizeof section, 1, ng), 1);
    for (size_t i = 0; i < LAYERS; i++) {
        char *name = text_format("%zu.pcap", i);
        const uint32_t header[6] = {0xa1b23c4d, 2 | 4 << 16, 0, 0, 65535, (uint32_t)layers[i].link_type};
        const uint32_t interface[8] = {1, 32, (uint32_t)layers[i].link_type, 0, 9 | 1 << 16, 9, 0, 32};
        pcap[i] = create(captures, name);
        assert_int_equal(fwrite(header, sizeof header, 1, pcap[i]), 1);
        assert_int_equal(fwrite(interface, sizeof interface, 1, ng), 1);
        free(name);
    }
    for (size_t n = 0; n < FRAMES * LAYERS; n++) {
        size_t i = n % LAYERS, caplen, wire = make_frame(&r, &layers[i], frame, &caplen), padded = (caplen + 3) / 4 * 4;
        uint64_t time = 1700000000000000000 + n * 12345;
        const uint32_t record[4] = {(uint32_t)(time / 1000000000), (uint32_t)(time % 1000000000), (uint32_t)caplen,
                                    (uint32_t)wire};
        const uint32_t block[7] = {6,
                                   (uint32_t)padded + 32,
                                   (uint32_t)i,
                                   (uint32_t)(time >> 32),
                                   (uint32_t)time,
                                   (uint32_t)caplen,
                                   (uint32_t)wire};
        assert_int_equal(fwrite(record, sizeof record, 1, pcap[i]), 1);
        assert_int_equal(fwrite(frame, 1, caplen, pcap[i]), caplen);
        assert_int_equal(fwrite(block, sizeof block, 1, ng), 1);
        memset(frame + caplen, 0, padded - caplen);
        assert_int_equal(fwrite(frame, 1, padded, ng), padded);
        put_word(ng, (uint32_t)padded + 32);
    }
    for (size_t i = 0; i < LAYERS; i++)
        assert_int_equal(fclose(pcap[i]), 0);
    assert_int_equal(fclose(ng), 0);
}

static void test_every_link_type(void **state) {
    char *captures = text_format("%s/captures", folder);
    uint64_t packets[2];
    assert_int_equal(file_make_folders(captures), ST_OK);
    write_captures(captures);
    check_folder(captures, packets);
    assert_int_equal(packets[0] + packets[1], 2 * FRAMES * LAYERS);
    assert_true(packets[0] > FRAMES * LAYERS / 2 && packets[1] > FRAMES * LAYERS / 2);
    free(captures);
}

/* The text of both forms, from a capture and back: the packets that the form holds, in their order. */
static void check_text(const nprint_form *form, const char *captures, size_t least) {
    char *input = text_format("%s/all.pcapng", captures),
         *csv = text_format("%s/all.pcapng.%s.csv", folder, form->name), *back = text_format("%s/back.h5", folder);
    dataset *d = NULL;
    capture *c = NULL;
    found have = {.n = 0};
    assert_int_equal(export_nprint(form, input, folder, 0), ST_OK);
    if (import_nprint(1, &csv, back) != ST_OK)
        fail_msg("%s", status_message());
    assert_int_equal(dataset_open(&d, back), ST_OK);
    collect(d, &have);
    assert_int_equal(dataset_npackets(d), have.n); /* no row was skipped */
    assert_int_equal(capture_open(&c, input), ST_OK);
    for (size_t row = 0;;) {
        capture_record r;
        packet want;
        bool end;
        const char *why;
        assert_int_equal(capture_next(c, &r, &end), ST_OK);
        if (end) {
            assert_int_equal(row, have.n);
            break;
        }
        if (packet_decode(r.link_type, r.bytes, r.caplen, r.wire_len, &want) != SKIP_NONE ||
            !nprint_form_holds(form, &want, &why))
            continue;
        assert_true(row < have.n);
        assert_same_headers(&have.packets[row++], &want);
    }
    print_message("%s: %zu rows there and back\n", form->name, have.n);
    assert_true(have.n > least);
    capture_close(&c);
    dataset_close(&d);
    free(have.packets);
    free(input);
    free(csv);
    free(back);
}

static void test_text(void **state) {
    char *captures = text_format("%s/captures", folder);
    assert_int_equal(file_make_folders(captures), ST_OK);
    write_captures(captures);
    check_text(&nprint_ipv4_form, captures, FRAMES * LAYERS / 3);
    check_text(&nprint_ipv6_form, captures, FRAMES * LAYERS / 2);
    free(captures);
}

static void check_shared(const char *name, uint64_t ipv4, uint64_t ipv6) {
    char *captures = io_shared(name);
    uint64_t packets[2];
    if (captures == NULL)
        skip();
    check_folder(captures, packets);
    assert_true(packets[0] >= ipv4 && packets[1] >= ipv6);
    free(captures);
}

static void test_shared_captures(void **state) {
    check_shared("data/captures/pcap", 31594, 4000);
}

static void test_hostile_captures(void **state) {
    check_shared("data/captures/hostile", 4000, 40);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_link_type),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_shared_captures),
        cmocka_unit_test(test_hostile_captures),
    };
    return cmocka_run_group_tests_name("io.cover", tests, set_up, tear_down);
}
