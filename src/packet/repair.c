/* Repair of a flow: what its packets agree on first, then each packet in order, bottom up.
 *
 * Nothing is drawn: the same flow always gives the same result, and repairing that changes nothing. */
#include <string.h>
#include "packet/payload.h"
#include "packet/repair.h"
#include "packet/repair_priv.h"

enum { IP_CHECKSUM_AT = 10, TICK_NS = 1000 };
/* Times stay where adding to them cannot overflow. */
static const int64_t LATEST_NS = INT64_MAX / 2;

static unsigned transport_checksum_at(unsigned proto) {
    return proto == PROTO_TCP ? 16 : proto == PROTO_UDP ? 6 : 2;
}

/* Bits of two headers side by side, but for the two bytes at `except`; what only one of them has counts as changed. */
static void count_bits(const uint8_t *a, unsigned na, const uint8_t *b, unsigned nb, unsigned except, uint64_t *bits,
                       uint64_t *changed) {
    unsigned shorter = na < nb ? na : nb, longer = na < nb ? nb : na;
    for (unsigned i = 0; i < longer; i++) {
        if (i == except || i == except + 1)
            continue;
        *bits += 8;
        *changed += i < shorter ? (unsigned)__builtin_popcount(a[i] ^ b[i]) : 8;
    }
}

static void count_packet(const packet *before, const packet *after, repair_counts *counts) {
    unsigned na = packet_ip_nheader(before), nb = packet_ip_nheader(after);
    uint64_t changed = 0;
    if (na < 20 || na > before->nheader)
        na = 20;
    count_bits(before->header, na, after->header, nb, IP_CHECKSUM_AT, &counts->bits, &changed);
    count_bits(before->header + na, before->nheader - na, after->header + nb, after->nheader - nb,
               transport_checksum_at(packet_proto(after)), &counts->bits, &changed);
    counts->bits_changed += changed;
    counts->packets_changed += changed > 0;
}

/* Put the parts together, lengths included; checksums come last, for they count the payload. */
static void assemble(const repair_packet *x, packet *p) {
    memset(p->header, 0, sizeof p->header);
    memcpy(p->header, x->ip, x->nip);
    memcpy(p->header + x->nip, x->l4, x->nl4);
    p->nheader = (uint8_t)(x->nip + x->nl4);
    put16(p->header + 2, p->nheader + x->payload);
    p->wire_len = p->nheader + x->payload;
}

/* Packets without so much as an IP header go; the first that is left is of direction 0. */
static uint64_t drop_hopeless(flow *f) {
    size_t kept = 0;
    for (size_t i = 0; i < f->npackets; i++)
        if (f->packets[i].nheader >= 20 && f->packets[i].nheader <= PACKET_HEADER_MAX)
            f->packets[kept++] = f->packets[i];
    uint64_t dropped = f->npackets - kept;
    f->npackets = kept;
    bool turn = kept > 0 && f->packets[0].dir != 0;
    for (size_t i = 0; i < kept; i++)
        f->packets[i].dir = (f->packets[i].dir != 0) != turn;
    return dropped;
}

static void repair_time(const flow *f, size_t i) {
    packet *p = &f->packets[i];
    if (p->time_ns < 0)
        p->time_ns = 0;
    if (p->time_ns > LATEST_NS)
        p->time_ns = LATEST_NS;
    if (i > 0 && p->time_ns <= p[-1].time_ns)
        p->time_ns = p[-1].time_ns + TICK_NS;
}

status repair_flow(flow *f, const packet_votes *votes, repair_counts *counts) {
    (void)votes;
    repair_counts here = {.flows = 1, .packets = f->npackets};
    repair_flow_facts facts;
    repair_tcp_state tcp;
    size_t cursor[2] = {0, 0};
    connection_echo echo;
    here.packets_dropped = drop_hopeless(f);
    if (f->npackets > 0)
        repair_survey(f, &facts);
    memset(&tcp, 0, sizeof tcp);
    connection_echo_start(&echo, 1);
    for (size_t i = 0; i < f->npackets; i++) {
        packet *p = &f->packets[i];
        const packet before = *p;
        repair_packet x;
        repair_take(p, &facts, &x);
        if (facts.proto == PROTO_TCP) {
            repair_look_ahead(f, i, cursor, &x);
            repair_tcp(&tcp, &facts, i, p->dir, &x);
        } else if (facts.proto == PROTO_UDP) {
            repair_udp(&facts, p->dir, &x);
        } else {
            repair_icmp(&echo, &facts, p->dir, &x);
        }
        assemble(&x, p);
        repair_time(f, i);
        count_packet(&before, p, &here);
    }
    checksum_fill_flow(f);
    if (f->npackets > 0)
        f->key = flow_key_of(&f->packets[0]);
    if (counts != NULL) {
        counts->flows += here.flows;
        counts->packets += here.packets;
        counts->packets_changed += here.packets_changed;
        counts->bits += here.bits;
        counts->bits_changed += here.bits_changed;
        counts->packets_dropped += here.packets_dropped;
    }
    return ST_OK;
}
