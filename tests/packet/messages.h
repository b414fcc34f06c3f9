/* Packets of a service's conversation, and their payload. */
#ifndef ND_TESTS_PACKET_MESSAGES_H
#define ND_TESTS_PACKET_MESSAGES_H

#include "packet/payload.h"
#include "segments.h"

enum { CLIENT_PORT = 50000 };

/* A datagram or segment of the conversation between CLIENT_PORT and port; dir 0 is the client's. */
static inline packet message(unsigned proto, unsigned dir, unsigned port, uint32_t seq, unsigned payload) {
    line l = {(uint8_t)dir, A | P, seq, 1, payload, NULL, 0};
    packet p = line_packet(&l, 0);
    uint8_t *l4 = p.header + 20;
    put16(l4 + (dir ? 0 : 2), port);
    if (proto != PROTO_TCP) {
        p.header[9] = (uint8_t)proto;
        p.nheader = 28;
        put16(p.header + 2, 28 + payload);
        put16(l4 + 4, 8 + payload);
        put16(l4 + 6, 1);
    }
    p.wire_len = p.nheader + payload;
    return p;
}

static inline packet icmp(unsigned dir, unsigned type, unsigned payload) {
    packet p = message(PROTO_ICMP, dir, 0, 0, payload);
    memset(p.header + 20, 0, 8);
    p.header[20] = (uint8_t)type;
    return p;
}

static inline void add(flow *f, packet p) {
    assert_int_equal(flow_add(f, &p), ST_OK);
}

/* All payload bytes of packet i, in a block of their size so that AddressSanitizer sees a write beyond; the caller
 * frees. */
static inline uint8_t *payload_of(const flow *f, size_t i, size_t *n) {
    *n = packet_payload(&f->packets[i]);
    uint8_t *bytes = malloc(*n + (*n == 0));
    assert_non_null(bytes);
    memset(bytes, 0xee, *n); /* every byte must be written */
    payload_make(f, i, bytes, *n);
    return bytes;
}

#endif
