/* What the capture writer writes is read back: link types, snap lengths, payload, the longest packets and times. */
#include "io/io_bytes.h"
#include "io/io_flows.h"

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
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_write_payload),
        cmocka_unit_test(test_write_extremes),
    };
    return cmocka_run_group_tests_name("io.capture_write", tests, make_folder, remove_folder);
}
