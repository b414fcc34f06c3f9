/* Flows made up for the tests of memorisation and variation: TCP with timestamps, drawn from one distribution. */
#ifndef ND_TESTS_EVAL_MEMORY_FLOWS_H
#define ND_TESTS_EVAL_MEMORY_FLOWS_H

#include <stdlib.h>
#include <string.h>
#include "base/experiment.h"
#include "base/file.h"
#include "eval/world.h"

enum { L4 = 20, MADE_HEADER = 52, WINDOW = 32 };

/* A packet whose shape (length, flags, window) is drawn; identifiers are drawn too. */
static inline packet make_packet(rng *r, unsigned dir, size_t i, const flow_key *k) {
    static const uint8_t flags[] = {TCP_ACK, TCP_ACK | TCP_PSH, TCP_ACK | TCP_FIN};
    packet p = {.dir = (uint8_t)dir, .nheader = MADE_HEADER, .time_ns = (int64_t)i * 1000000, .frame = (uint32_t)i};
    uint8_t *h = p.header, *tcp = h + L4;
    unsigned total = MADE_HEADER + rng_below(r, 1400);
    h[0] = 0x45;
    put16(h + 2, total);
    put16(h + 4, rng_below(r, 65536));
    h[6] = 0x40;
    h[8] = dir ? 53 : 64;
    h[9] = PROTO_TCP;
    put32(h + 12, k->addr[dir]);
    put32(h + 16, k->addr[!dir]);
    put16(tcp, k->port[dir]);
    put16(tcp + 2, k->port[!dir]);
    put32(tcp + 4, rng_u32(r));
    put32(tcp + 8, rng_u32(r));
    tcp[12] = 0x80;
    tcp[13] = i == 0 ? TCP_SYN : i == 1 ? TCP_SYN | TCP_ACK : flags[rng_below(r, 3)];
    put16(tcp + 14, rng_below(r, 65536));
    memcpy(tcp + 20, (const uint8_t[]){1, 1, 8, 10}, 4);
    put32(tcp + 24, rng_u32(r) | 1);
    put32(tcp + 28, rng_u32(r));
    p.wire_len = total;
    checksum_fill(&p, false);
    return p;
}

/* net: third byte of the client's address 10.1.net.x and the server's 10.2.net.x. */
static inline void make_flow(eval_flow *out, rng *r, int32_t label, size_t npackets, unsigned net) {
    flow *f = &out->f;
    flow_init(f);
    f->label = label;
    f->key = (flow_key){.proto = PROTO_TCP,
                        .addr = {0x0a010000u | net << 8 | (1 + rng_below(r, 250)), 0x0a020001u | net << 8},
                        .port = {(uint16_t)(32768 + rng_below(r, 28000)), 443}};
    for (size_t i = 0; i < npackets; i++) {
        packet p = make_packet(r, i < 2 ? (unsigned)i : rng_below(r, 2), i, &f->key);
        if (flow_add(f, &p))
            abort();
    }
    out->packets = npackets;
}

/* The same flow with other identifiers: what a copying model gives. */
static inline void make_copy(eval_flow *out, const eval_flow *of, rng *r, unsigned net) {
    make_flow(out, r, of->f.label, 0, net);
    for (size_t i = 0; i < of->f.npackets; i++) {
        packet p = of->f.packets[i], fresh = make_packet(r, p.dir, i, &out->f.key);
        memcpy(p.header + 4, fresh.header + 4, 2);
        memcpy(p.header + 10, fresh.header + 10, 10);
        memcpy(p.header + L4 + (p.dir ? 2 : 0), fresh.header + L4 + (p.dir ? 2 : 0), 2); /* the client's port */
        memcpy(p.header + L4 + 4, fresh.header + L4 + 4, 8);
        memcpy(p.header + L4 + 16, fresh.header + L4 + 16, 2);
        memcpy(p.header + L4 + 24, fresh.header + L4 + 24, 8);
        if (flow_add(&out->f, &p))
            abort();
    }
}

static inline void make_set(eval_set *s, size_t n, rng *r, int32_t nlabels, unsigned net) {
    s->flows = calloc(n + 1, sizeof *s->flows);
    for (s->n = 0; s->n < n; s->n++)
        make_flow(&s->flows[s->n], r, (int32_t)(s->n % (size_t)nlabels), 10 + rng_below(r, 12), net);
}

static inline void clear_set(eval_set *s) {
    for (size_t i = 0; i < s->n; i++)
        flow_clear(&s->flows[i].f);
    free(s->flows);
    *s = (eval_set){0};
}

typedef struct made_world {
    eval_world w;
    experiment e;
    char *label[2];
    rng r;
} made_world;

/* n flows in each of train (net 1), held out (net 2) and synthetic (net 3); two labels. */
static inline void make_world(made_world *m, size_t n, uint64_t seed, comm *c) {
    memset(m, 0, sizeof *m);
    m->e.seed = (int64_t)seed;
    m->label[0] = "alpha";
    m->label[1] = "beta";
    m->w = (eval_world){.e = &m->e, .c = c, .window = WINDOW, .nlabels = 2, .label = m->label};
    m->r = rng_make(seed, 0, RNG_TEST);
    make_set(&m->w.train, n, &m->r, 2, 1);
    make_set(&m->w.held_out, n, &m->r, 2, 2);
    make_set(&m->w.synthetic, n, &m->r, 2, 3);
}

/* Group set-up and tear-down: *state is the communicator of the made worlds. */
static inline int open_comm(void **state) {
    comm *c = NULL;
    status st = comm_open(&c);
    *state = c;
    return st != ST_OK;
}

static inline int close_comm(void **state) {
    comm *c = *state;
    return comm_finish(&c, ST_OK);
}

static inline void clear_world(made_world *m) {
    clear_set(&m->w.train);
    clear_set(&m->w.held_out);
    clear_set(&m->w.synthetic);
}

#endif
