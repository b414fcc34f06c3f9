/* Repair of TCP segments against the state machine of RFC 9293.
 *
 * In order: what kind of segment this can be here (SYN, SYN-ACK, RST or any other), then its numbers, then FIN and
 * payload, then options. Each step keeps what the packet says where the connection allows it. */
#include <string.h>
#include "packet/repair_priv.h"

enum { WINDOW_DEFAULT = 65535, NEAR = 1 << 24 };
enum { NS = 256, ECN = TCP_ECE | TCP_CWR | NS };

typedef enum segment_kind { SEGMENT_SYN, SEGMENT_SYN_ACK, SEGMENT_RST, SEGMENT_OTHER } segment_kind;

/* A segment as numbers, before and after. */
typedef struct segment {
    uint32_t seq, ack;
    unsigned flags; /* 12 bits */
    uint16_t window;
} segment;

static segment segment_read(const repair_packet *x) {
    if (!x->whole) /* came as something else: an acknowledgement, with data if it had some */
        return (segment){.flags = TCP_ACK | (x->payload > 0 ? TCP_PSH : 0)};
    return (segment){.seq = get32(x->l4 + 4),
                     .ack = get32(x->l4 + 8),
                     .flags = get16(x->l4 + 12) & 0xfffu,
                     .window = get16(x->l4 + 14)};
}

/* A SYN only opens, and may be repeated until its side says something else. Where both sides are there and the flow
 * starts with a SYN, the other side's first packet is the SYN-ACK (or refuses with RST), and until then side 0 can only
 * repeat its SYN, and then side 1 its SYN-ACK until that is acknowledged. A RST is believed where its side says nothing
 * else afterwards, and before the connection stands, the other side neither. */
static segment_kind kind_of(const repair_tcp_state *t, const repair_flow_facts *facts, size_t number, unsigned dir,
                            unsigned flags) {
    const repair_tcp_side *own = &t->side[dir], *peer = &t->side[!dir];
    bool syn = flags & TCP_SYN, standing = !t->handshake || t->side[0].going;
    bool rst =
        flags & TCP_RST && !syn && facts->last_going[dir] <= number && (standing || facts->last_going[!dir] <= number);
    if (number == 0)
        return syn ? (flags & TCP_ACK ? SEGMENT_SYN_ACK : SEGMENT_SYN) : rst ? SEGMENT_RST : SEGMENT_OTHER;
    if (rst)
        return SEGMENT_RST;
    if (t->handshake && dir == 0 && !peer->opened)
        return SEGMENT_SYN;
    if (t->handshake && dir == 1 && !peer->going)
        return SEGMENT_SYN_ACK;
    if (syn && own->opened && !own->going)
        return own->acked ? SEGMENT_SYN_ACK : SEGMENT_SYN;
    return SEGMENT_OTHER;
}

/* The boundary nearest below a number that is none itself, as an index. */
static unsigned index_below(const connection_side *s, uint32_t number) {
    for (unsigned i = 0; i < s->nboundaries; i++)
        if ((int32_t)(s->boundary[i] - number) <= 0)
            return i + 1;
    return 0;
}

/* The number of a SYN belongs to it alone: what else would start there starts one later. */
static uint32_t past_syn(const repair_tcp_side *opener, const connection_side *now, uint32_t number) {
    if (!opener->opened || number != opener->isn)
        return number;
    return connection_index(now, number + 1) >= 0 ? number + 1 : now->next;
}

/* The number that stands to `now` as `number`, a boundary of that index, stood to `was`. */
static uint32_t moved(const repair_tcp_state *t, unsigned dir, uint32_t number, unsigned index) {
    const connection_side *now = &t->now.side[dir];
    const repair_tcp_side *side = &t->side[dir];
    uint32_t same = number + side->shift;
    if (index == 0)
        return now->next;
    return past_syn(side, now, connection_index(now, same) >= 0 ? same : connection_number(now, index));
}

/* A RST may repeat the number of the SYN. */
static uint32_t new_seq(const repair_tcp_state *t, unsigned dir, const repair_packet *x, const segment *s, bool rst) {
    const connection_side *was = &t->was.side[dir], *now = &t->now.side[dir];
    int index = connection_index(was, s->seq);
    if (rst && index > 0 && t->side[dir].opened && connection_number(now, (unsigned)index) == t->side[dir].isn)
        return t->side[dir].isn;
    if (index >= 0)
        return moved(t, dir, s->seq, (unsigned)index);
    if (now->nboundaries > 0 && connection_keep_alive(was, s->seq, x->payload, s->flags))
        return past_syn(&t->side[dir], now, now->next - 1);
    return now->next;
}

/* An acknowledgement never leads the peer and, but on a repeated segment, never falls back. */
static uint32_t new_ack(const repair_tcp_state *t, const repair_flow_facts *facts, unsigned dir, const repair_packet *x,
                        const segment *s, bool repeated) {
    const connection_side *was = &t->was.side[!dir], *now = &t->now.side[!dir];
    const repair_tcp_side *own = &t->side[dir];
    bool meant = x->whole && s->flags & TCP_ACK;
    uint32_t ack = now->next;
    if (meant && !facts->seen[!dir]) {
        if (connection_ahead(now, s->ack) || connection_index(now, s->ack) >= 0)
            ack = s->ack;
    } else if (meant) {
        int index = connection_index(was, s->ack);
        if (index < 0)
            index = connection_ahead(was, s->ack) ? 0 : (int)index_below(was, s->ack);
        ack = moved(t, !dir, s->ack, (unsigned)index);
    }
    if (own->acked && !repeated && (int32_t)(ack - own->highest_ack) < 0)
        ack = connection_index(now, own->highest_ack) >= 0 ? own->highest_ack : now->next;
    return ack;
}

/* Payload and FIN that fit the numbers: nothing beyond the own FIN, one FIN, old data only as a whole. */
static void settle_end(const connection_side *now, repair_packet *x, segment *s) {
    bool repeated = s->seq != now->next;
    if (repeated && !now->fin && (s->flags & TCP_FIN || (int32_t)(s->seq + x->payload - now->next) > 0))
        s->seq = now->next;
    if (connection_after_fin(now, s->seq, x->payload))
        x->payload = 0;
    if (now->fin && s->seq + x->payload + 1 != now->after_fin)
        s->flags &= ~(unsigned)TCP_FIN;
}

static void settle_open(repair_tcp_state *t, segment_kind kind, unsigned dir, segment *s) {
    const repair_tcp_side *own = &t->side[dir];
    s->flags = TCP_SYN | (kind == SEGMENT_SYN_ACK ? TCP_ACK : 0) | (s->flags & ECN);
    if (own->opened)
        s->seq = own->isn;
    else if (t->now.known[dir])
        s->seq = t->now.side[dir].next;
    if (s->window == 0)
        s->window = WINDOW_DEFAULT;
}

/* A window does not shrink (RFC 9293 3.8.6): it can only be shut at or beyond the right edge offered before. */
static void settle_window(repair_tcp_state *t, unsigned dir, segment_kind kind, segment *s) {
    repair_tcp_side *own = &t->side[dir];
    if (kind == SEGMENT_RST || !(s->flags & TCP_ACK))
        return;
    if (s->window == 0 && own->acked && own->window != 0 && (int32_t)(own->edge - s->ack) > 0)
        s->window = own->window;
    bool scaled = !(s->flags & TCP_SYN) && own->window_scale && t->side[!dir].window_scale;
    uint32_t edge = s->ack + ((uint32_t)s->window << (scaled ? own->scale : 0));
    if (!own->acked || (int32_t)(edge - own->edge) > 0)
        own->edge = edge;
}

static void write_segment(const repair_flow_facts *facts, unsigned dir, const segment *s, unsigned urgent,
                          const tcp_option_list *options, repair_packet *x) {
    memset(x->l4, 0, sizeof x->l4);
    put16(x->l4, facts->port[dir]);
    put16(x->l4 + 2, facts->port[!dir]);
    put32(x->l4 + 4, s->seq);
    put32(x->l4 + 8, s->ack);
    put16(x->l4 + 12, (20 + options->nbytes) / 4 << 12 | s->flags);
    put16(x->l4 + 14, s->window);
    put16(x->l4 + 18, s->flags & TCP_URG ? urgent : 0);
    memcpy(x->l4 + 20, options->bytes, options->nbytes);
}

/* Is `number`, which nothing so far led to, borne out by the side's next segment? Else it is a wrong bit, not a gap in
 * the capture, and to follow it would make repetitions of all that comes after. */
static bool confirmed(const repair_packet *x, unsigned dir, uint32_t number) {
    return x->follows[dir] && x->following_seq[dir] - number <= NEAR;
}

/* Let the packet as it came pass by `was`. */
static void pass_was(connection *was, const repair_flow_facts *facts, unsigned dir, const repair_packet *x,
                     const segment *s, unsigned npayload) {
    connection_side *own = &was->side[dir], *peer = &was->side[!dir];
    unsigned flags = s->flags & TCP_SYN ? s->flags & ~(unsigned)TCP_FIN : s->flags; /* both: one is wrong */
    bool follow = connection_index(own, s->seq) >= 0 || (!connection_ahead(own, s->seq) && !(flags & TCP_SYN));
    if (connection_index(own, s->seq) < 0 && !connection_keep_alive(own, s->seq, npayload, flags) &&
        confirmed(x, dir, s->seq)) {
        follow = true;
        if (s->seq - own->next > NEAR && own->next - s->seq > NEAR)
            connection_start(own, s->seq, 0);
        else if (!connection_ahead(own, s->seq)) /* an earlier length was wrong */
            connection_rewind(own, s->seq);
    }
    if (follow)
        connection_sent(own, s->seq, npayload, flags);
    if (s->flags & TCP_ACK &&
        (!connection_ahead(peer, s->ack) || s->ack == peer->next || !facts->seen[!dir] || confirmed(x, !dir, s->ack)))
        connection_acked(peer, s->ack);
}

/* Flags of a segment that is neither SYN nor RST. */
static unsigned plain_flags(unsigned flags, unsigned urgent) {
    flags = (flags & (TCP_FIN | TCP_PSH | TCP_URG | ECN)) | TCP_ACK;
    return urgent == 0 ? flags & ~(unsigned)TCP_URG : flags;
}

void repair_tcp(repair_tcp_state *t, const repair_flow_facts *facts, size_t number, unsigned dir, repair_packet *x) {
    repair_tcp_side *own = &t->side[dir];
    const segment old = segment_read(x);
    const unsigned old_payload = x->payload, urgent = get16(x->l4 + 18), offset = (x->l4[12] >> 4) * 4u;
    unsigned noptions = !x->whole ? 0 : (offset >= 20 && offset <= x->nl4 ? offset : x->nl4) - 20;
    uint8_t list[TCP_OPTIONS_MAX];
    memcpy(list, x->l4 + 20, noptions);
    segment s = old;
    if (x->whole)
        connection_meet(&t->was, dir, old.seq, old.ack, old.flags);

    segment_kind kind = kind_of(t, facts, number, dir, old.flags);
    if (number == 0)
        t->handshake = kind == SEGMENT_SYN && facts->seen[1];
    if (kind != SEGMENT_OTHER)
        x->payload = 0;
    if (kind == SEGMENT_SYN || kind == SEGMENT_SYN_ACK)
        settle_open(t, kind, dir, &s);
    else if (kind == SEGMENT_RST)
        s.flags = old.flags & (TCP_RST | TCP_ACK);
    else
        s.flags = plain_flags(old.flags, urgent);
    /* A window that came as nothing, or that is shut while the other side goes on as if it were not. */
    if (!x->whole || (s.window == 0 && kind == SEGMENT_OTHER && x->peer_goes_on))
        s.window = own->window != 0 ? own->window : WINDOW_DEFAULT;

    /* A side that the other has not acknowledged yet starts where its first packet says. */
    if (kind != SEGMENT_SYN && kind != SEGMENT_SYN_ACK && t->now.known[dir])
        s.seq = x->whole ? new_seq(t, dir, x, &old, kind == SEGMENT_RST) : t->now.side[dir].next;
    connection_meet(&t->now, dir, s.seq, s.ack, s.flags);
    connection_side *now = &t->now.side[dir];
    bool repeated = s.seq != now->next;
    if (kind == SEGMENT_OTHER) {
        if (!repeated)
            x->payload = repair_service_payload(facts, x->payload);
        x->nl4 = 20 + (noptions + 3) / 4 * 4; /* at most */
        if (x->payload > repair_largest_payload(x))
            x->payload = repair_largest_payload(x);
        settle_end(now, x, &s);
        repeated = s.seq != now->next;
    }
    if (kind == SEGMENT_SYN_ACK && own->opened && connection_index(&t->now.side[!dir], own->open_ack) >= 0)
        s.ack = own->open_ack;
    else if (kind == SEGMENT_SYN_ACK && t->handshake)
        s.ack = past_syn(&t->side[!dir], &t->now.side[!dir], t->side[!dir].isn);
    else
        s.ack = s.flags & TCP_ACK ? new_ack(t, facts, dir, x, &old, repeated) : 0;

    settle_window(t, dir, kind, &s);
    if (x->whole && !repeated)
        own->shift = s.seq - old.seq;
    tcp_option_list options;
    repair_tcp_options(t, facts, dir, s.flags, s.ack, list, noptions, &options);
    if (x->whole)
        pass_was(&t->was, facts, dir, x, &old, old_payload);
    connection_pass(&t->now, dir, s.seq, s.ack, x->payload, s.flags);

    if (kind == SEGMENT_SYN || kind == SEGMENT_SYN_ACK) {
        own->isn = s.seq;
        own->open_ack = s.ack;
        own->opened = true;
    } else if (kind == SEGMENT_OTHER) {
        own->going = true;
    }
    if (s.flags & TCP_ACK && (!own->acked || (int32_t)(s.ack - own->highest_ack) > 0)) {
        own->highest_ack = s.ack;
        own->acked = true;
    }
    own->window = s.window;
    x->nl4 = 20 + options.nbytes;
    write_segment(facts, dir, &s, urgent, &options, x);
}
