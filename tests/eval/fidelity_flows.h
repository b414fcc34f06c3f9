/* Made-up flows of two classes, worlds of them and their controls, for the tests of fidelity. */
#ifndef ND_TESTS_EVAL_FIDELITY_FLOWS_H
#define ND_TESTS_EVAL_FIDELITY_FLOWS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "eval/fidelity_priv.h"

static comm *everyone; /* of all tests; opened by main where they need it */

/* ---- flows ---- */

enum { WEB, VOICE, CLASSES };
static char *const class_names[CLASSES] = {"web", "voice"};
enum { WINDOW = 12 };

static inline packet ip_packet(unsigned proto, unsigned nheader, unsigned npayload, uint32_t from, uint32_t to) {
    packet p = {.nheader = (uint8_t)nheader};
    p.header[0] = 0x45;
    put16(p.header + 2, nheader + npayload);
    p.header[8] = 64;
    p.header[9] = (uint8_t)proto;
    put32(p.header + 12, from);
    put32(p.header + 16, to);
    p.wire_len = nheader + npayload;
    return p;
}

static inline packet tcp_packet(unsigned dir, uint32_t seq, unsigned flags, unsigned npayload) {
    packet p = ip_packet(PROTO_TCP, 40, npayload, dir ? 2 : 1, dir ? 1 : 2);
    p.dir = (uint8_t)dir;
    put16(p.header + 20, dir ? 443 : 40000);
    put16(p.header + 22, dir ? 40000 : 443);
    put32(p.header + 24, seq);
    p.header[32] = 0x50;
    p.header[33] = (uint8_t)flags;
    put16(p.header + 34, 1000);
    return p;
}

static inline void add_packet(flow *f, packet p, double gap) {
    p.time_ns = f->npackets ? f->packets[f->npackets - 1].time_ns + (int64_t)(gap * 1e9) : 1000000000;
    assert_int_equal(flow_add(f, &p), ST_OK);
}

/* One client of a few, one TCP conversation or one constant stream. */
static inline void make_flow(flow *f, int label, rng *r) {
    uint32_t client = 0xc6336401 + rng_below(r, 4), seq[2] = {rng_u32(r), rng_u32(r)};
    unsigned port = 32768 + rng_below(r, 16);
    flow_init(f);
    f->label = label;
    for (unsigned i = 0; i < 6 + rng_below(r, 6); i++) {
        unsigned dir = label == WEB ? rng_below(r, 2) : 0, npayload = label == WEB ? 100 * rng_below(r, 14) : 160;
        packet p = tcp_packet(dir, seq[dir], i == 0 ? TCP_SYN : TCP_ACK, npayload);
        seq[dir] += npayload + (i == 0);
        if (label == VOICE) {
            p = ip_packet(PROTO_UDP, 28, npayload, client, 2);
            put16(p.header + 24, 8 + npayload);
        }
        put32(p.header + (dir ? 16 : 12), client);
        put16(p.header + (dir ? 22 : 20), port);
        put16(p.header + (dir ? 20 : 22), label == WEB ? 443 : 5004);
        put16(p.header + 4, rng_below(r, 64));
        checksum_fill(&p, false);
        add_packet(f, p, label == WEB ? 0.001 * (1 + rng_below(r, 50)) : 0.02);
    }
}

/* ---- worlds ---- */

static inline void set_add(eval_set *s, flow *f, size_t window) {
    eval_flow e = {.f = *f, .packets = f->npackets};
    for (size_t i = 0; i < f->npackets; i++)
        e.bytes += packet_total_len(&f->packets[i]);
    e.duration = (double)(f->packets[f->npackets - 1].time_ns - f->packets[0].time_ns) / 1e9;
    e.f.npackets = f->npackets < window ? f->npackets : window;
    assert_int_equal(memory_grow(&s->flows, &s->capacity, s->n + 1, sizeof *s->flows), ST_OK);
    s->flows[s->n++] = e;
}

static inline void set_clear(eval_set *s) {
    for (size_t i = 0; i < s->n; i++)
        flow_clear(&s->flows[i].f);
    free(s->flows);
    *s = (eval_set){.name = s->name};
}

static inline eval_world world_make(char *const *label, size_t nlabels) {
    return (eval_world){.c = everyone, .window = WINDOW, .label = (char **)label, .nlabels = nlabels};
}

static inline void world_clear(eval_world *w) {
    eval_set *const sets[] = {&w->train, &w->held_out, &w->synthetic, &w->raw, &w->random, &w->marginal};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        set_clear(sets[i]);
}

static inline void fill(eval_set *s, size_t web, size_t voice, uint64_t seed) {
    for (size_t i = 0; i < web + voice; i++) {
        rng r = rng_make(seed, i, RNG_TEST);
        flow f;
        make_flow(&f, i < web ? WEB : VOICE, &r);
        set_add(s, &f, WINDOW);
    }
}

/* A packet of a random flow of the class. */
static inline const packet *draw(const eval_set *from, int label, rng *r) {
    for (;;) {
        const flow *f = &from->flows[rng_below(r, (uint32_t)from->n)].f;
        if (f->label == label)
            return &f->packets[rng_below(r, (uint32_t)f->npackets)];
    }
}

/* Every field from another packet of the class, where both have it: lengths and protocol stay. */
static inline packet mix_fields(const packet *p, const eval_set *from, int label, rng *r) {
    int8_t bits[NPRINT_COLUMNS], other[NPRINT_COLUMNS];
    packet mixed = *p;
    nprint_encode(p, bits);
    for (size_t i = 0; i < nprint_nfields; i++) {
        const nprint_field *field = &nprint_fields[i];
        nprint_encode(draw(from, label, r), other);
        bool usable =
            strcmp(field->name, "ipv4_hl") && strcmp(field->name, "tcp_doff") && strcmp(field->name, "ipv4_proto");
        for (unsigned k = 0; k < field->nbits; k++)
            usable = usable && (bits[field->first + k] < 0) == (other[field->first + k] < 0);
        if (usable)
            memcpy(bits + field->first, other + field->first, field->nbits);
    }
    assert_int_equal(nprint_decode(bits, &mixed), ST_OK);
    return mixed;
}

static inline packet random_packet(const packet *p, rng *r) {
    static const uint8_t protocols[] = {PROTO_ICMP, PROTO_TCP, PROTO_UDP};
    packet q = *p;
    for (unsigned i = 0; i < PACKET_HEADER_MAX; i++)
        q.header[i] = (uint8_t)rng_u32(r);
    q.header[9] = protocols[rng_below(r, 3)];
    q.nheader = PACKET_HEADER_MAX;
    return q;
}

/* Both controls, shaped as the synthetic flows. */
static inline void make_controls(eval_world *w) {
    for (size_t i = 0; i < w->synthetic.n; i++) {
        const flow *shape = &w->synthetic.flows[i].f;
        rng r = rng_make(99, i, RNG_TEST);
        flow mixed = *shape, random = *shape;
        mixed.packets = random.packets = NULL;
        mixed.npackets = mixed.capacity = random.npackets = random.capacity = 0;
        for (size_t k = 0; k < shape->npackets; k++) {
            packet p = mix_fields(draw(&w->train, shape->label, &r), &w->train, shape->label, &r);
            packet q = random_packet(&shape->packets[k], &r);
            p.dir = q.dir = shape->packets[k].dir;
            add_packet(&mixed, p, 0.01);
            add_packet(&random, q, rng_uniform(&r) * 1000);
        }
        set_add(&w->marginal, &mixed, w->window);
        set_add(&w->random, &random, w->window);
    }
}

static inline size_t field_number(const char *name) {
    size_t i = 0;
    while (strcmp(nprint_fields[i].name, name))
        i++;
    return i;
}

#endif
