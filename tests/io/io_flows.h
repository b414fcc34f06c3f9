/* Flows made for tests: well-formed headers whose fields come from a counter-based stream, so that every run sees the
 * same ones. */
#ifndef ND_TESTS_IO_FLOWS_H
#define ND_TESTS_IO_FLOWS_H

#include <string.h>
#include "base/rng.h"
#include "packet/flow.h"

/* Headers of one packet of `proto` between a and b (host order), with the port pair and a payload length. */
static inline packet io_packet(unsigned proto, uint32_t a, uint32_t b, unsigned sport, unsigned dport,
                               unsigned payload) {
    packet p = {.header = {0}};
    unsigned nl4 = proto == PROTO_TCP ? 20 : 8;
    p.nheader = (uint8_t)(20 + nl4);
    uint8_t *ip = p.header, *l4 = p.header + 20;
    ip[0] = 0x45;
    put16(ip + 2, p.nheader + payload);
    ip[6] = 0x40;
    ip[8] = 64;
    ip[9] = (uint8_t)proto;
    put32(ip + 12, a);
    put32(ip + 16, b);
    if (proto == PROTO_ICMP) {
        l4[0] = 8;
        put16(l4 + 4, sport);
    } else {
        put16(l4, sport);
        put16(l4 + 2, dport);
    }
    if (proto == PROTO_UDP)
        put16(l4 + 4, 8 + payload);
    if (proto == PROTO_TCP) {
        l4[12] = 5 << 4;
        l4[13] = TCP_ACK;
        put16(l4 + 14, 64240);
    }
    checksum_fill(&p, false);
    p.wire_len = p.nheader + payload;
    return p;
}

/* Flow number `number` of a stream: 1 to max_packets packets of one protocol, both directions. Caller clears. */
static inline status io_flow(uint64_t number, uint32_t max_packets, flow *f) {
    static const unsigned protocols[3] = {PROTO_TCP, PROTO_UDP, PROTO_ICMP};
    rng r = rng_make(7, number, RNG_TEST);
    unsigned proto = protocols[rng_below(&r, 3)];
    uint32_t client = 0x0a000000u + rng_below(&r, 60000), server = 0xc0000200u + rng_below(&r, 200);
    unsigned sport = 1024 + rng_below(&r, 60000), dport = proto == PROTO_ICMP ? 0 : 443;
    uint32_t n = 1 + rng_below(&r, max_packets);
    int64_t time = 1700000000000000000 + (int64_t)rng_below(&r, 1000000000);
    flow_init(f);
    for (uint32_t i = 0; i < n; i++) {
        bool back = i > 0 && proto != PROTO_ICMP && rng_below(&r, 2) == 1;
        packet p = io_packet(proto, back ? server : client, back ? client : server, back ? dport : sport,
                             back ? sport : dport, rng_below(&r, 1400));
        p.dir = back;
        p.frame = i * 3;
        p.time_ns = time += rng_below(&r, 1000000);
        if (i == 0)
            f->key = flow_key_of(&p);
        TRY(flow_add(f, &p));
    }
    return ST_OK;
}

static inline bool io_flows_equal(const flow *a, const flow *b) {
    if (!flow_key_equal(&a->key, &b->key) || a->label != b->label || a->run != b->run || a->file != b->file ||
        a->npackets != b->npackets)
        return false;
    for (size_t i = 0; i < a->npackets; i++) {
        const packet *x = &a->packets[i], *y = &b->packets[i];
        if (x->time_ns != y->time_ns || x->wire_len != y->wire_len || x->frame != y->frame || x->dir != y->dir ||
            x->nheader != y->nheader || memcmp(x->header, y->header, x->nheader) != 0)
            return false;
    }
    return true;
}

#endif
