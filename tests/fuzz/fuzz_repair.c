/* Repair: any rows of any layout, or any header bytes, make a flow; repaired it passes every rule of check.h, checksums
 * included, its times increase, its directions stay, and a second repair changes nothing.
 *
 * First byte: what the rest is. Rows: one bit a cell. Headers: a byte of length, a byte of direction and time, the
 * header. Segments: four bytes each, whose numbers lie near those of the segments before. Votes come from the bytes
 * too.
 */
#include <string.h>
#include "fuzz/fuzz.h"
#include "packet/check.h"
#include "packet/layout.h"
#include "packet/repair.h"

enum { FUZZ_PACKETS = 24 };

static void broken(const flow *f, size_t i, const char *what) {
    fprintf(stderr, "packet %zu of %zu: %s\n", i, f->npackets, what);
    abort();
}

static void read_rows(const layout *l, const uint8_t *data, size_t size, flow *f, packet_votes *votes) {
    size_t nrows = 1 + size * 8 / l->ncells;
    if (nrows > FUZZ_PACKETS)
        nrows = FUZZ_PACKETS;
    int8_t *cells = malloc(nrows * l->ncells);
    flow_plan plan = {.addr = {0xc0000201, 0xc6336401}, .isn = {0xfffffff0, 7}, .ip_id = {1, 65535}, .icmp_id = 9};
    FUZZ_CHECK(cells != NULL);
    for (size_t i = 0; i < nrows * l->ncells; i++)
        cells[i] = i / 8 < size && data[i / 8] >> i % 8 & 1 ? 1 : -1;
    FUZZ_CHECK(l->decode(cells, NULL, nrows, &plan, f, votes) == ST_OK);
    free(cells);
}

static void read_headers(const uint8_t *data, size_t size, flow *f) {
    int64_t time_ns = 1000;
    for (size_t at = 0; at + 2 <= size && f->npackets < FUZZ_PACKETS;) {
        packet p = {.nheader = data[at], .dir = data[at + 1] & 1};
        size_t n = p.nheader < PACKET_HEADER_MAX ? p.nheader : PACKET_HEADER_MAX;
        n = n < size - at - 2 ? n : size - at - 2;
        time_ns += (int64_t)(data[at + 1] >> 1) * 20000000 - 100000000;
        p.time_ns = time_ns;
        memcpy(p.header, data + at + 2, n);
        FUZZ_CHECK(flow_add(f, &p) == ST_OK);
        at += 2 + n;
    }
}

/* Direction and flags; how far the number, and the acknowledgement, are from what is expected; payload. */
static void read_segments(const uint8_t *data, size_t size, flow *f) {
    uint32_t next[2] = {0xffffff80u, 1000};
    for (size_t at = 0; at + 4 <= size && f->npackets < FUZZ_PACKETS; at += 4) {
        unsigned dir = data[at] >> 7, flags = data[at] & 0x3f;
        packet p = {.nheader = 40, .dir = (uint8_t)dir, .time_ns = (int64_t)(f->npackets + 1) * 100000000};
        uint8_t *h = p.header, *l4 = h + 20;
        uint32_t seq = next[dir] + (uint32_t)(int8_t)data[at + 1], end = seq + data[at + 3] + (flags & 1);
        h[0] = 0x45;
        put16(h + 2, 40u + data[at + 3]);
        put16(h + 4, (unsigned)f->npackets);
        h[8] = 64;
        h[9] = PROTO_TCP;
        h[12 + 4 * dir] = 10;
        h[16 - 4 * dir] = 11;
        l4[2 * dir + 1] = 80;
        put16(l4 + 2 - 2 * dir, 50000);
        put32(l4 + 4, seq);
        put32(l4 + 8, next[!dir] + (uint32_t)(int8_t)data[at + 2]);
        l4[12] = 0x50;
        l4[13] = (uint8_t)flags;
        put16(l4 + 14, 1000);
        if ((int32_t)(end - next[dir]) > 0)
            next[dir] = end;
        FUZZ_CHECK(flow_add(f, &p) == ST_OK);
    }
}

static void assert_right(const flow *f) {
    uint32_t failed[FUZZ_PACKETS];
    check_counts c = {.flows = 0};
    check_flow(f, CHECK_PAYLOAD_MADE, &c, failed);
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        for (int r = 0; r < CHECK_COUNT; r++)
            if (failed[i] >> r & 1)
                broken(f, i, check_rules[r].name);
        if (i > 0 && p->time_ns <= p[-1].time_ns)
            broken(f, i, "times do not increase");
        if (p->wire_len != packet_total_len(p) || p->dir > 1 || (i == 0 && p->dir != 0))
            broken(f, i, "length or direction");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    packet once[FUZZ_PACKETS];
    packet_votes votes[FUZZ_PACKETS];
    repair_counts second = {.flows = 0};
    check_counts before = {.flows = 0};
    flow f;
    if (size < 2)
        return 0;
    flow_init(&f);
    memset(votes, 0, sizeof votes);
    static const layout *const layouts[] = {&layout_relative, &layout_nprint, &layout_nprint_v6};
    unsigned kind = data[0] < 128 ? data[0] % 5 : 5;
    if (kind < 3)
        read_rows(layouts[kind], data + 1, size - 1, &f, votes);
    else if (kind == 5)
        read_segments(data + 1, size - 1, &f);
    else
        read_headers(data + 1, size - 1, &f);
    for (size_t i = 0; i < FUZZ_PACKETS; i++)
        for (unsigned v = 0; v < VOTE_COUNT; v++)
            votes[i].weight[v] = (float)data[(i * VOTE_COUNT + v) % size] / 255;
    check_flow(&f, CHECK_PAYLOAD_MADE, &before, NULL); /* whatever it says, it looks at nothing that is not there */
    FUZZ_CHECK(repair_flow(&f, kind == 4 ? NULL : votes, NULL) == ST_OK);
    assert_right(&f);
    size_t n = f.npackets;
    if (n > 0)
        memcpy(once, f.packets, n * sizeof *once);
    FUZZ_CHECK(repair_flow(&f, NULL, &second) == ST_OK);
    if (f.npackets != n || second.packets_changed + second.bits_changed + second.packets_dropped > 0)
        broken(&f, 0, "a second repair changes it");
    for (size_t i = 0; i < n; i++)
        if (memcmp(&once[i], &f.packets[i], sizeof once[i]) != 0)
            broken(&f, i, "a second repair changes it");
    flow_clear(&f);
    return 0;
}
