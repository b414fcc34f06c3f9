/* Two controls that any measure has to tell from real flows.
 *
 * random: one flow for each synthetic flow, of its label and length; every header bit is random, but for the protocol
 * (TCP, UDP or ICMP), the header lengths (5 to 15 words) and a version that is not 6, without which there would be no
 * fields to look at.
 *
 * marginal: for each synthetic flow one whose length, directions, gaps and header fields are each drawn by itself from
 * the training flows of its class. So every field has its right distribution, and nothing fits anything else: lengths,
 * checksums, numbers, not even the length of a header its options (which are cut, or filled with zeros). The protocol
 * is drawn first, transport fields from packets of that protocol. Fields are those of nPrint, so packets of IPv6 lend
 * nothing, and a class without training flows of IPv4 has none. */
#include "eval/world_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/memory.h"
#include "packet/nprint.h"

static void finish_flow(flow *f) {
    f->key = flow_key_of(&f->packets[0]);
}

/* ---- random ---- */

static packet random_packet(rng *r) {
    static const uint8_t protocols[] = {PROTO_TCP, PROTO_UDP, PROTO_ICMP};
    packet p = {0};
    uint8_t protocol = protocols[rng_below(r, 3)];
    for (unsigned i = 0; i < PACKET_HEADER_MAX; i++)
        p.header[i] = (uint8_t)rng_u32(r);
    unsigned ip_words = 5 + rng_below(r, 11), tcp_words = 5 + rng_below(r, 11), nip = 4 * ip_words;
    p.header[0] = (uint8_t)((packet_is_ipv6(&p) ? 0x40 : p.header[0] & 0xf0) | ip_words);
    p.header[9] = protocol;
    if (protocol == PROTO_TCP)
        p.header[nip + 12] = (uint8_t)(tcp_words << 4 | (p.header[nip + 12] & 0x0f));
    p.nheader = (uint8_t)(nip + (protocol == PROTO_TCP ? 4 * tcp_words : 8));
    memset(p.header + p.nheader, 0, PACKET_HEADER_MAX - p.nheader);
    p.wire_len = packet_total_len(&p);
    return p;
}

static status random_flow(const eval_world *w, size_t i, flow *f) {
    rng r = rng_make((uint64_t)w->e->seed, i, RNG_RANDOM);
    int64_t time = 0;
    for (size_t k = 0; k < w->synthetic.flows[i].f.npackets; k++) {
        packet p = random_packet(&r);
        p.frame = (uint32_t)k;
        p.dir = k ? (uint8_t)rng_below(&r, 2) : 0;
        time += k ? (int64_t)(1e3 * pow(10, 7 * rng_uniform(&r))) : 0; /* 1 us to 10 s, log-uniform */
        p.time_ns = time;
        TRY(flow_add(f, &p));
    }
    finish_flow(f);
    return ST_OK;
}

/* ---- marginal ---- */

typedef struct pool {
    size_t n, capacity;
    const packet **packets;
} pool;

/* Of one class. */
typedef struct class_values {
    pool all, tcp, udp, icmp;
    size_t nlengths, lengths_capacity, ngaps, gaps_capacity;
    size_t *lengths;
    int64_t *gaps;
} class_values;

static status pool_add(pool *to, const packet *p) {
    TRY(memory_grow(&to->packets, &to->capacity, to->n + 1, sizeof *to->packets));
    to->packets[to->n++] = p;
    return ST_OK;
}

static pool *pool_of(class_values *v, unsigned protocol) {
    return protocol == PROTO_TCP ? &v->tcp : protocol == PROTO_UDP ? &v->udp : &v->icmp;
}

static status values_add(class_values *v, const flow *f) {
    TRY(memory_grow(&v->lengths, &v->lengths_capacity, v->nlengths + 1, sizeof *v->lengths));
    v->lengths[v->nlengths++] = f->npackets;
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        if (packet_is_ipv6(p))
            continue;
        TRY(pool_add(&v->all, p));
        TRY(pool_add(pool_of(v, packet_proto(p)), p));
        if (i == 0)
            continue;
        TRY(memory_grow(&v->gaps, &v->gaps_capacity, v->ngaps + 1, sizeof *v->gaps));
        v->gaps[v->ngaps++] = packet_gap(p - 1, p);
    }
    return ST_OK;
}

static void values_clear(class_values *v) {
    free(v->all.packets);
    free(v->tcp.packets);
    free(v->udp.packets);
    free(v->icmp.packets);
    free(v->lengths);
    free(v->gaps);
}

static const packet *draw(const pool *from, rng *r) {
    return from->packets[rng_below(r, (uint32_t)from->n)];
}

/* Bits first .. first + n - 1 of one header into another; what the first does not have is zero. */
static void copy_bits(uint8_t *to, const uint8_t *from, size_t from_nbytes, unsigned first, unsigned n) {
    for (unsigned b = first; b < first + n; b++) {
        unsigned mask = 0x80u >> b % 8;
        bool one = b / 8 < from_nbytes && (from[b / 8] & mask);
        to[b / 8] = (uint8_t)(one ? to[b / 8] | mask : to[b / 8] & ~mask);
    }
}

/* Where a field's header begins in the nPrint row. */
static unsigned block_of(const nprint_field *field) {
    return field->first < NPRINT_TCP    ? 0
           : field->first < NPRINT_UDP  ? NPRINT_TCP
           : field->first < NPRINT_ICMP ? NPRINT_UDP
                                        : NPRINT_ICMP;
}

static packet marginal_packet(class_values *v, rng *r) {
    packet p = {0};
    uint8_t ip[60] = {0}, l4[60] = {0};
    unsigned protocol = packet_proto(draw(&v->all, r));
    unsigned wanted = protocol == PROTO_TCP ? NPRINT_TCP : protocol == PROTO_UDP ? NPRINT_UDP : NPRINT_ICMP;
    for (size_t i = 0; i < nprint_nfields; i++) {
        const nprint_field *field = &nprint_fields[i];
        unsigned block = block_of(field);
        if (block != 0 && block != wanted)
            continue;
        const packet *from = draw(block ? pool_of(v, protocol) : &v->all, r);
        unsigned nip = packet_ip_nheader(from), first = field->first - block;
        if (block)
            copy_bits(l4, from->header + nip, from->nheader - nip, first, field->nbits);
        else
            copy_bits(ip, from->header, nip, first, field->nbits);
    }
    ip[9] = (uint8_t)protocol;
    unsigned nip = (ip[0] & 15u) * 4u, nl4 = protocol == PROTO_TCP ? (l4[12] >> 4) * 4u : 8;
    memcpy(p.header, ip, nip);
    memcpy(p.header + nip, l4, nl4);
    p.nheader = (uint8_t)(nip + nl4);
    p.wire_len = packet_total_len(&p);
    p.dir = draw(&v->all, r)->dir;
    return p;
}

static status marginal_flow(class_values *v, rng *r, flow *f) {
    size_t n = v->lengths[rng_below(r, (uint32_t)v->nlengths)];
    int64_t time = 0;
    for (size_t k = 0; k < n; k++) {
        packet p = marginal_packet(v, r);
        int64_t gap = k && v->ngaps ? v->gaps[rng_below(r, (uint32_t)v->ngaps)] : 0;
        if (__builtin_add_overflow(time, gap, &time))
            time = gap < 0 ? INT64_MIN : INT64_MAX;
        p.time_ns = time;
        p.frame = (uint32_t)k;
        if (k == 0)
            p.dir = 0;
        TRY(flow_add(f, &p));
    }
    finish_flow(f);
    return ST_OK;
}

/* ---- both ---- */

static status make_controls(eval_world *w, class_values *values) {
    status st = ST_OK;
    flow f;
    flow_init(&f);
    for (size_t i = 0; i < w->train.n && !st; i++)
        if (w->train.flows[i].f.label >= 0)
            st = values_add(&values[w->train.flows[i].f.label], &w->train.flows[i].f);
    for (size_t i = 0; i < w->synthetic.n && !st; i++) {
        int32_t label = w->synthetic.flows[i].f.label;
        st = random_flow(w, i, &f);
        if (!st)
            st = set_take(&w->random, &f, label, w->window);
        if (st || label < 0 || values[label].all.n == 0)
            continue;
        rng r = rng_make((uint64_t)w->e->seed, i, RNG_MARGINAL);
        st = marginal_flow(&values[label], &r, &f);
        if (!st)
            st = set_take(&w->marginal, &f, label, w->window);
    }
    flow_clear(&f);
    return st;
}

status world_make_controls(eval_world *w) {
    class_values *values = NULL;
    status st = NEW(w->nlabels + 1, &values);
    if (!st)
        st = make_controls(w, values);
    for (size_t l = 0; values && l < w->nlabels; l++)
        values_clear(&values[l]);
    memory_free(&values);
    return st;
}
