/* Gaps in what was seen of a TCP conversation (see check_priv.h). */
#include "packet/check_priv.h"

/* TCP segment number k of the flow; false where it is none, or opens or resets a connection. */
static bool segment_at(const packets_behind *b, size_t k, tcp_segment *g) {
    const packet *p = &b->f->packets[k];
    header_view v = b->views != NULL ? b->views[k] : header_view_of(p, b->ipv6);
    if (v.l4 == NULL || v.proto != PROTO_TCP)
        return false;
    *g = (tcp_segment){.dir = v.dir,
                       .seq = get32(v.l4 + 4),
                       .ack = get32(v.l4 + 8),
                       .flags = get16(v.l4 + 12) & 0xfffu,
                       .payload = v.total > v.nheader ? v.total - v.nheader : 0};
    return tcp_is_plain(g);
}

static size_t last_looked_at(const packets_behind *b) {
    return b->f->npackets - b->number > GAP_PACKETS ? b->number + GAP_PACKETS : b->f->npackets;
}

bool gap_before_segment(const packets_behind *b, const tcp_segment *g, uint32_t expected, bool peer_seen) {
    uint32_t gap = g->seq - expected;
    bool goes_on = false, acknowledged = !peer_seen, last = true;
    if (!tcp_is_plain(g) || gap == 0 || gap > GAP_BYTES)
        return false;
    for (size_t k = b->number + 1; k < last_looked_at(b); k++) {
        tcp_segment next;
        if (!segment_at(b, k, &next))
            continue;
        if (next.dir != g->dir) {
            acknowledged |= next.flags & TCP_ACK && next.ack - g->seq <= GAP_BYTES;
            continue;
        }
        if (next.seq == expected && next.payload > 0 && !(next.flags & TCP_FIN))
            return true;
        if (last)
            goes_on = next.seq - g->seq <= GAP_BYTES;
        last = false;
    }
    return acknowledged && (goes_on || (last && peer_seen));
}

bool gap_before_ack(const packets_behind *b, const tcp_segment *g, uint32_t expected) {
    uint32_t gap = g->ack - expected;
    if (!tcp_is_plain(g) || gap == 0 || gap > GAP_BYTES)
        return false;
    for (size_t k = b->number + 1; k < last_looked_at(b); k++) {
        tcp_segment next;
        if (segment_at(b, k, &next) && next.dir != g->dir)
            return next.seq - g->ack <= GAP_BYTES;
    }
    return false;
}
