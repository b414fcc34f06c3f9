/* Conversations written by hand: one line a packet. */
#ifndef ND_TESTS_PACKET_SEGMENTS_H
#define ND_TESTS_PACKET_SEGMENTS_H

#include "captured.h"
#include "packet/payload.h"

/* Numbers are relative to each side's initial sequence number, in the first packet too. */
typedef struct line {
    uint8_t dir;
    uint8_t flags;
    uint32_t seq, ack;
    unsigned payload;
    const char *options; /* of noptions bytes */
    unsigned noptions;
} line;

enum { ISN_0 = 0xffffff00u, ISN_1 = 1000 }; /* side 0's numbers wrap soon */
#define OPTIONS(text) text, sizeof text - 1

static inline packet line_packet(const line *l, size_t number) {
    packet p = {.dir = l->dir, .nheader = (uint8_t)(40 + l->noptions), .time_ns = (int64_t)(number + 1) * 1000000};
    uint8_t *h = p.header, *l4 = h + 20;
    uint32_t own = l->dir ? ISN_1 : ISN_0, peer = l->dir ? ISN_0 : ISN_1;
    h[0] = 0x45;
    put16(h + 2, p.nheader + l->payload);
    put16(h + 4, (unsigned)number + 1);
    h[8] = l->dir ? 57 : 64;
    h[9] = PROTO_TCP;
    put32(h + (l->dir ? 16 : 12), 0xc6336401);
    put32(h + (l->dir ? 12 : 16), 0xc0000201);
    put16(l4 + (l->dir ? 2 : 0), 50000);
    put16(l4 + (l->dir ? 0 : 2), 443);
    put32(l4 + 4, own + l->seq);
    put32(l4 + 8, l->flags & TCP_ACK ? peer + l->ack : 0);
    put16(l4 + 12, (p.nheader / 4u - 5) << 12 | l->flags);
    put16(l4 + 14, 1000);
    if (l->noptions > 0)
        memcpy(l4 + 20, l->options, l->noptions);
    p.wire_len = p.nheader + l->payload;
    checksum_fill(&p, false);
    return p;
}

static inline void lines_flow(const line *lines, size_t n, flow *f) {
    flow_init(f);
    for (size_t i = 0; i < n; i++) {
        packet p = line_packet(&lines[i], i);
        assert_int_equal(flow_add(f, &p), ST_OK);
    }
    checksum_fill_flow(f);
    f->key = flow_key_of(&f->packets[0]);
}

enum { S = TCP_SYN, A = TCP_ACK, F = TCP_FIN, R = TCP_RST, P = TCP_PSH };

/* A whole conversation without a fault: handshake, data both ways with a delayed acknowledgement, a retransmission, a
 * keep-alive, and both FINs. */
#define TS(a, b) "\1\1\x08\x0a\0\0\0" a "\0\0\0" b
static const line whole_lines[] = {
    {0, S, 0, 0, 0, OPTIONS("\2\4\5\xb4\4\2\x08\x0a\0\0\0\1\0\0\0\0\1\3\3\7")},
    {1, S | A, 0, 1, 0, OPTIONS("\2\4\5\x78\4\2\x08\x0a\0\0\0\x41\0\0\0\1\1\3\3\7")},
    {0, A, 1, 1, 0, OPTIONS(TS("\2", "\x41"))},
    {0, A | P, 1, 1, 300, OPTIONS(TS("\2", "\x41"))},
    {1, A, 1, 301, 0, OPTIONS(TS("\x42", "\2"))},
    {1, A, 1, 301, 1400, OPTIONS(TS("\x43", "\2"))},
    {1, A | P, 1401, 301, 600, OPTIONS(TS("\x43", "\2"))},
    {0, A, 301, 1401, 0, OPTIONS(TS("\3", "\x43"))},
    {1, A | P, 1401, 301, 600, OPTIONS(TS("\x44", "\3"))},
    {0, A, 301, 2001, 0, OPTIONS(TS("\4", "\x44"))},
    {0, A, 300, 2001, 0, OPTIONS(TS("\5", "\x44"))},
    {1, A, 2001, 301, 0, OPTIONS(TS("\x45", "\5"))},
    {0, A | F, 301, 2001, 0, OPTIONS(TS("\6", "\x45"))},
    {1, A | F, 2001, 302, 0, OPTIONS(TS("\x46", "\6"))},
    {0, A, 302, 2002, 0, OPTIONS(TS("\7", "\x46"))},
};
enum { WHOLE = sizeof whole_lines / sizeof *whole_lines };

#endif
