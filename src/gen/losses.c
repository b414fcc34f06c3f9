/* Retransmissions at the rate that a class shows.
 *
 * One segment in several hundred of the training flows comes twice. A model that predicts the likeliest row makes next
 * to none of them, so they are drawn: a data segment counts as lost behind the observer and is sent again after a
 * retransmission timeout (RFC 6298: at least 200 ms in today's stacks, one second by the letter), before the packet
 * that acknowledges it, which comes as much later, as does all that follows. */
#include "gen/gen_priv.h"

#include <string.h>
#include "base/memory.h"

static const int64_t TIMEOUT_LEAST_NS = 200000000, TIMEOUT_MOST_NS = 400000000;

static uint32_t segment_end(const packet *p) {
    return get32(packet_l4(p) + 4) + packet_payload(p);
}

static bool is_data(const packet *p) {
    return packet_proto(p) == PROTO_TCP && packet_payload(p) > 0 && !(packet_l4(p)[13] & (TCP_SYN | TCP_RST));
}

void losses_count(class_info *k, const flow *f) {
    bool known[2] = {false, false};
    uint32_t end[2] = {0, 0};
    if (f->key.proto != PROTO_TCP)
        return;
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        if (!is_data(p))
            continue;
        bool again = known[p->dir] && (int32_t)(segment_end(p) - end[p->dir]) <= 0;
        k->nsegments++;
        k->nagain += again;
        if (!again)
            end[p->dir] = segment_end(p);
        known[p->dir] = true;
    }
}

/* The first packet of the other side after i that acknowledges all of it; npackets where there is none. */
static size_t acknowledged_at(const flow *f, size_t i) {
    const packet *p = &f->packets[i];
    for (size_t k = i + 1; k < f->npackets; k++) {
        const uint8_t *l4 = packet_l4(&f->packets[k]);
        if (packet_proto(&f->packets[k]) == PROTO_TCP && f->packets[k].dir != p->dir && l4[13] & TCP_ACK &&
            (int32_t)(get32(l4 + 8) - segment_end(p)) >= 0)
            return l4[13] & TCP_RST ? f->npackets : k;
    }
    return f->npackets;
}

/* What the sender of `lost` would write now: its latest header with the lost segment's number, flags and length. */
static packet sent_again(const packet *latest, const packet *lost, rng *r) {
    packet p = *latest;
    uint8_t *l4 = p.header + packet_ip_nheader(&p);
    const uint8_t *was = packet_l4(lost);
    unsigned payload = packet_payload(lost), total = p.nheader + payload;
    memcpy(l4 + 4, was + 4, 4);
    l4[13] = (uint8_t)((was[13] & ~TCP_FIN) | TCP_ACK);
    if (packet_is_ipv6(&p)) {
        put16(p.header + 4, total - 40);
    } else {
        put16(p.header + 2, total);
        if (get16(p.header + 4) != 0)
            put16(p.header + 4, 1 + rng_below(r, 65535));
    }
    p.wire_len = total;
    return p;
}

/* Put a copy of segment i before packet `at`, with its timeout. */
static status send_again(flow *f, packet_votes *votes, size_t i, size_t at, rng *r) {
    size_t latest = i;
    for (size_t k = i + 1; k < at; k++)
        if (f->packets[k].dir == f->packets[i].dir)
            latest = k;
    packet p = sent_again(&f->packets[latest], &f->packets[i], r);
    int64_t trip = f->packets[at].time_ns - f->packets[i].time_ns;
    p.time_ns = f->packets[at - 1].time_ns + TIMEOUT_LEAST_NS +
                (int64_t)((double)(TIMEOUT_MOST_NS - TIMEOUT_LEAST_NS) * rng_uniform(r));
    int64_t later = p.time_ns + (trip > 0 ? trip : 0) - f->packets[at].time_ns;
    TRY(flow_add(f, &p)); /* makes room */
    memmove(f->packets + at + 1, f->packets + at, (f->npackets - 1 - at) * sizeof *f->packets);
    memmove(votes + at + 1, votes + at, (f->npackets - 1 - at) * sizeof *votes);
    f->packets[at] = p;
    votes[at] = votes[latest];
    for (size_t k = at + 1; k < f->npackets; k++)
        f->packets[k].time_ns += later;
    return ST_OK;
}

status losses_add(const class_info *k, rng *r, flow *f, packet_votes **votes, size_t *capacity) {
    if (f->key.proto != PROTO_TCP || k->nsegments == 0)
        return ST_OK;
    double rate = (double)k->nagain / (double)k->nsegments;
    for (size_t i = 0; i < f->npackets; i++) {
        if (!is_data(&f->packets[i]) || rng_uniform(r) >= rate)
            continue;
        size_t at = acknowledged_at(f, i);
        if (at == f->npackets)
            continue;
        TRY(memory_grow(votes, capacity, f->npackets + 1, sizeof **votes));
        TRY(send_again(f, *votes, i, at, r));
        i = at; /* a retransmission is not lost again */
    }
    return ST_OK;
}
