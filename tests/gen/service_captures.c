/* service_captures CAPTURE made|whole <PORTS: conversations with a service on every port that a line of standard input
 * names ("tcp 3306"), as ndgen would repair and write them under that gen.payload: for each of many payload sizes a
 * flow, TCP with its handshake, in which both sides send two messages. The client's port is 39999. Prints how many
 * packets there are. */
#include <stdio.h>
#include <string.h>
#include "gen/gen_priv.h"
#include "packet/payload.h"
#include "packet/repair.h"

enum { CLIENT_PORT = 39999, MESSAGES = 4 };
static const unsigned sizes[] = {1,  2,  3,  4,  5,  6,  7,   8,   9,   11,  12,  16,   20,
                                 24, 25, 32, 40, 48, 64, 100, 128, 200, 257, 512, 1025, 1400};
enum { SIZES = sizeof sizes / sizeof *sizes };

static packet make_packet(unsigned proto, uint32_t number, unsigned dir, unsigned port, unsigned payload) {
    unsigned nheader = proto == PROTO_TCP ? 40 : 28;
    packet p = {.nheader = (uint8_t)nheader, .dir = (uint8_t)dir, .wire_len = nheader + payload};
    uint8_t *h = p.header, *l4 = h + 20;
    h[0] = 0x45;
    put16(h + 2, nheader + payload);
    h[6] = 0x40;
    h[8] = 64;
    h[9] = (uint8_t)proto;
    put32(h + (dir ? 16 : 12), 0x0a000000 + number);
    put32(h + (dir ? 12 : 16), 0x0b000000 + number);
    put16(l4 + (dir ? 2 : 0), CLIENT_PORT);
    put16(l4 + (dir ? 0 : 2), port);
    if (proto == PROTO_UDP)
        put16(l4 + 4, 8 + payload);
    return p;
}

/* The next segment of side dir: seq of both sides goes on. */
static packet make_segment(uint32_t seq[2], uint32_t number, unsigned dir, unsigned port, unsigned flags, unsigned n) {
    packet p = make_packet(PROTO_TCP, number, dir, port, n);
    uint8_t *l4 = p.header + 20;
    put32(l4 + 4, seq[dir]);
    put32(l4 + 8, flags & TCP_ACK ? seq[!dir] : 0);
    l4[12] = 0x50;
    l4[13] = (uint8_t)flags;
    put16(l4 + 14, 65000);
    seq[dir] += n + ((flags & TCP_SYN) != 0);
    return p;
}

static status make_flow(flow *f, unsigned proto, uint32_t number, unsigned port, unsigned n) {
    static const unsigned handshake[] = {TCP_SYN, TCP_SYN | TCP_ACK, TCP_ACK};
    uint32_t seq[2] = {1000, 50000};
    f->npackets = 0;
    for (unsigned i = 0; proto == PROTO_TCP && i < 3; i++) {
        packet p = make_segment(seq, number, i % 2, port, handshake[i], 0);
        TRY(flow_add(f, &p));
    }
    for (unsigned i = 0; i < MESSAGES; i++) {
        packet p = proto == PROTO_TCP ? make_segment(seq, number, i % 2, port, TCP_ACK | TCP_PSH, n)
                                      : make_packet(proto, number, i % 2, port, n);
        TRY(flow_add(f, &p));
    }
    for (size_t i = 0; i < f->npackets; i++)
        f->packets[i].time_ns = (1700000000 + (int64_t)number) * 1000000000 + (int64_t)i * 1000000;
    checksum_fill_flow(f);
    repair_counts repaired = {.flows = 0};
    return repair_flow(f, NULL, &repaired); /* sizes below a protocol's smallest message are raised */
}

static status write_flow(capture_writer *w, const experiment *e, const flow *f) {
    static uint8_t payload[PAYLOAD_MAX];
    for (size_t i = 0; i < f->npackets; i++) {
        payload_make(f, i, payload, packet_payload(&f->packets[i]));
        TRY(capture_write_payload(w, &f->packets[i], payload, outputs_truncate(e, &f->packets[i])));
    }
    return ST_OK;
}

static status write_all(const char *path, const experiment *e, size_t *npackets) {
    capture_writer *w = NULL;
    flow f;
    char proto[4];
    unsigned port;
    uint32_t number = 0;
    flow_init(&f);
    status st = capture_create(&w, path, 101, 0);
    while (!st && scanf("%3s %u", proto, &port) == 2)
        for (unsigned s = 0; s < SIZES && !st; s++) {
            st = make_flow(&f, strcmp(proto, "tcp") == 0 ? PROTO_TCP : PROTO_UDP, ++number, port, sizes[s]);
            if (!st)
                st = write_flow(w, e, &f);
            *npackets += f.npackets;
        }
    if (!st)
        st = capture_commit(&w);
    capture_abandon(&w);
    flow_clear(&f);
    return st;
}

int main(int argc, char **argv) {
    experiment e = {0};
    if (argc != 3)
        return 2;
    e.gen.payload = strcmp(argv[2], "whole") == 0 ? PAYLOAD_WHOLE : PAYLOAD_MADE;
    size_t npackets = 0;
    status st = write_all(argv[1], &e, &npackets);
    if (st)
        fprintf(stderr, "%s\n", status_message());
    else
        printf("%zu\n", npackets);
    return st ? 1 : 0;
}
