/* TCP's rules (see tcp_rules_priv.h). */
#include <string.h>
#include "packet/tcp_rules_priv.h"

enum { BLOCK_FARTHEST = 1 << 30 };

void tcp_offers_read(const uint8_t *list, unsigned nbytes, tcp_offers *o) {
    unsigned at = 0;
    tcp_option found;
    int more;
    *o = (tcp_offers){.parses = true};
    while ((more = tcp_option_next(list, nbytes, &at, &found)) > 0 && found.kind != TCP_OPTION_EOL) {
        const uint8_t *data = list + found.at + 2;
        if (found.kind == TCP_OPTION_NOP)
            continue;
        bool known = found.kind <= TCP_OPTION_SACK || found.kind == TCP_OPTION_TIMESTAMPS;
        if (!known) {
            o->others = true;
            continue;
        }
        if (tcp_offers_has(o, found.kind)) {
            o->repeated = true;
            continue;
        }
        o->kinds |= 1u << found.kind;
        if (found.kind == TCP_OPTION_MSS)
            o->mss = get16(data);
        if (found.kind == TCP_OPTION_WINDOW_SCALE)
            o->scale = *data;
        if (found.kind == TCP_OPTION_TIMESTAMPS) {
            o->tsval = get32(data);
            o->tsecr = get32(data + 4);
        }
        if (found.kind == TCP_OPTION_SACK) {
            o->nblocks = found.nbytes / 8;
            for (unsigned i = 0; i < 2 * o->nblocks; i++)
                o->edges[i] = get32(data + 4 * i);
        }
    }
    o->parses = more >= 0;
}

void tcp_state_start(tcp_state *t, const bool seen[2]) {
    memset(t, 0, sizeof *t);
    t->seen[0] = seen[0];
    t->seen[1] = seen[1];
}

void tcp_state_meet(tcp_state *t, const tcp_segment *g) {
    if (!t->started)
        t->handshake = (g->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN && t->seen[!g->dir];
    t->started = true;
    connection_meet(&t->connection, g->dir, g->seq, g->ack, g->flags);
}

/* Both ends of the connection offered this option, as far as was seen. */
static bool both_offer(const tcp_state *t, unsigned kind) {
    return t->side[0].offers >> kind & t->side[1].offers >> kind & 1;
}

static void pass_ack(tcp_state *t, const tcp_segment *g) {
    tcp_side *own = &t->side[g->dir];
    bool scaled = !tcp_is_syn(g) && both_offer(t, TCP_OPTION_WINDOW_SCALE);
    uint32_t edge = g->ack + ((uint32_t)g->window << (scaled ? own->scale : 0));
    if (!own->acked || (int32_t)(edge - own->edge) > 0)
        own->edge = edge;
    if (!own->acked || (int32_t)(g->ack - own->highest_ack) > 0) {
        own->highest_ack = g->ack;
        own->provoked = 0;
    } else if (g->payload == 0 && own->provoked > 0 && tcp_is_plain(g)) {
        own->provoked--;
    }
    own->acked = true;
}

void tcp_state_pass(tcp_state *t, const tcp_segment *g) {
    tcp_side *own = &t->side[g->dir], *peer = &t->side[!g->dir];
    connection_side *line = &t->connection.side[g->dir];
    bool probe = connection_keep_alive(line, g->seq, g->payload, g->flags);
    if (probe || tcp_is_syn(g) || (g->payload > 0 && g->seq != line->next))
        peer->provoked++;
    if (tcp_offers_has(&g->options, TCP_OPTION_TIMESTAMPS)) {
        if (own->stamped)
            connection_stamped(line, g->options.tsval);
        else
            line->stamp[0] = g->options.tsval; /* in the place of the 0 that the side started with */
        own->stamped = true;
    }
    if (g->flags & TCP_ACK && !(g->flags & TCP_RST))
        pass_ack(t, g);
    if (g->flags & TCP_RST) {
        if (!own->reset)
            own->reset_ns = g->time_ns;
        own->reset = true;
    } else if (tcp_is_syn(g)) {
        own->opened = true;
        own->answered = g->flags & TCP_ACK;
        own->isn = g->seq;
        own->open_ack = g->ack;
        own->offers = g->options.kinds;
        own->scale = g->options.scale < WINDOW_SCALE_MAX ? g->options.scale : WINDOW_SCALE_MAX; /* RFC 7323 2.3 */
        if (g->options.mss != 0)
            own->mss = g->options.mss;
    } else {
        own->going = true;
        if (g->window > own->widest)
            own->widest = g->window;
    }
    if (!(g->flags & TCP_RST))
        own->window = g->window;
    connection_pass(&t->connection, g->dir, g->seq, g->ack, g->payload, g->flags);
}

bool tcp_flags_hold(const tcp_segment *g) {
    unsigned flags = g->flags;
    if (flags & TCP_PSH && g->payload == 0 && !(flags & (TCP_FIN | TCP_RST)))
        return false;
    if (flags & TCP_SYN)
        return !(flags & (TCP_FIN | TCP_RST));
    if (flags & TCP_RST)
        return !(flags & TCP_FIN);
    return flags & TCP_ACK;
}

bool tcp_reserved_hold(const tcp_segment *g) {
    return !(g->flags & TCP_RESERVED) && (g->urgent != 0) == !!(g->flags & TCP_URG);
}

bool tcp_may_talk(const tcp_state *t, unsigned dir) {
    const tcp_side *own = &t->side[dir], *peer = &t->side[!dir];
    if (!t->handshake)
        return true;
    return own->opened && peer->opened && (peer->answered || (own->answered && peer->going));
}

/* A SYN opens, and may be repeated until its side says something else; data wait for the other side's answer. Both may
 * open at once (RFC 9293 3.5, figure 7). */
bool tcp_handshake_holds(const tcp_state *t, const tcp_segment *g) {
    const tcp_side *own = &t->side[g->dir], *peer = &t->side[!g->dir];
    bool answer = g->flags & TCP_ACK;
    if (g->flags & TCP_RST)
        return true;
    if (tcp_is_syn(g) && !answer && (own->reset || peer->reset)) /* it opens another connection */
        return false;
    if (!tcp_is_syn(g))
        return tcp_may_talk(t, g->dir);
    if (own->going || g->payload > 0 || (own->opened ? g->seq != own->isn || (own->answered && !answer) : peer->going))
        return false;
    return !answer || !t->handshake || (peer->opened && g->ack == peer->isn + 1);
}

bool tcp_refuses(const tcp_state *t, unsigned dir) {
    const tcp_side *own = &t->side[dir], *peer = &t->side[!dir];
    return t->handshake && !own->opened && !own->going && peer->opened && !peer->going;
}

/* A side that reset says nothing else, and the other stops when the RST reaches it. A RST that refuses a SYN has number
 * 0 and acknowledges it. */
bool tcp_reset_holds(const tcp_state *t, const tcp_segment *g) {
    const tcp_side *own = &t->side[g->dir], *peer = &t->side[!g->dir];
    if (g->flags & TCP_RST)
        return !tcp_refuses(t, g->dir) || (g->flags & TCP_ACK && g->seq == 0 && g->ack == peer->isn + 1);
    return !own->reset && (!peer->reset || g->time_ns - peer->reset_ns <= TCP_FLIGHT_NS);
}

bool tcp_seq_holds(const tcp_state *t, const tcp_segment *g) {
    const connection_side *own = &t->connection.side[g->dir];
    if (g->flags & TCP_RST && tcp_refuses(t, g->dir))
        return true; /* its number is 0 */
    return connection_index(own, g->seq) >= 0 || connection_keep_alive(own, g->seq, g->payload, g->flags);
}

/* A side that was never captured may have sent anything. */
bool tcp_ack_holds(const tcp_state *t, const tcp_segment *g) {
    const connection_side *peer = &t->connection.side[!g->dir];
    return connection_index(peer, g->ack) >= 0 || (!t->seen[!g->dir] && connection_ahead(peer, g->ack));
}

bool tcp_fin_holds(const tcp_state *t, const tcp_segment *g) {
    const connection_side *own = &t->connection.side[g->dir];
    if (g->flags & TCP_RST)
        return true;
    if (g->flags & TCP_FIN && own->fin && g->seq + g->payload + 1 != own->after_fin)
        return false;
    if (g->flags & TCP_FIN && !own->fin && (int32_t)(g->seq + g->payload - own->next) < 0)
        return false; /* data beyond it were sent before */
    return !connection_after_fin(own, g->seq, g->payload);
}

/* The window of a repeated acknowledgement: an update is worth a segment from one MSS or half of the widest window on
 * (RFC 9293 3.8.6.2.2). It opens because data were read, so by no more than was received, and not beyond the buffer
 * that was shown before. */
static bool is_update(const tcp_state *t, const tcp_segment *g) {
    const tcp_side *own = &t->side[g->dir];
    if (g->window <= own->window)
        return false;
    if (own->window == 0)
        return true;
    if (g->window > own->widest)
        return false;
    if (!own->opened || !t->side[!g->dir].opened)
        return true; /* scale and MSS are not known */
    unsigned scale = both_offer(t, TCP_OPTION_WINDOW_SCALE) ? own->scale : 0, mss = own->mss != 0 ? own->mss : 536;
    unsigned step = g->window - own->window;
    uint64_t opened = (uint64_t)step << scale, received = g->ack - t->side[!g->dir].isn;
    return opened <= received && (opened >= mss || 2 * step >= own->widest);
}

/* An acknowledgement without data says something new, or answers something: lost or repeated segments, a probe. */
bool tcp_repeat_holds(const tcp_state *t, const tcp_segment *g) {
    const tcp_side *own = &t->side[g->dir];
    const connection_side *line = &t->connection.side[g->dir], *peer = &t->connection.side[!g->dir];
    if (!tcp_is_plain(g) || g->flags & TCP_FIN || g->payload > 0 || !t->seen[!g->dir] || g->options.nblocks > 0)
        return true;
    if (!own->acked || own->provoked > 0 || g->seq != line->next || g->ack != own->highest_ack || g->ack != peer->next)
        return true;
    return is_update(t, g);
}

/* A window that was offered is not taken back down to nothing (RFC 9293 3.8.6), and into a shut one goes a probe at
 * most (3.8.6.1). */
bool tcp_window_holds(const tcp_state *t, const tcp_segment *g) {
    const tcp_side *own = &t->side[g->dir], *peer = &t->side[!g->dir];
    if (g->flags & TCP_RST)
        return true;
    if (g->flags & TCP_ACK && g->window == 0 && own->acked && own->window != 0 && (int32_t)(own->edge - g->ack) > 0)
        return false;
    return !(g->payload > 1 && !peer->reset && peer->acked && peer->window == 0 && t->seen[!g->dir] &&
             (int32_t)(g->seq + g->payload - peer->edge) > 1);
}

bool tcp_option_belongs(const tcp_state *t, unsigned dir, unsigned flags, unsigned kind) {
    bool syn = flags & TCP_SYN, answer = syn && flags & TCP_ACK, rst = flags & TCP_RST;
    unsigned offer = kind == TCP_OPTION_SACK ? TCP_OPTION_SACK_PERMITTED : kind;
    if (kind > TCP_OPTION_TIMESTAMPS)
        return false;
    bool agreed = true; /* where the whole handshake was seen, an option is in use only if both SYNs had it */
    if (t->handshake && answer)
        agreed = t->side[!dir].offers >> offer & 1;
    else if (t->handshake && !syn && t->side[0].opened && t->side[1].opened)
        agreed = both_offer(t, offer);
    switch (kind) {
    case TCP_OPTION_MSS:
        return syn;
    case TCP_OPTION_WINDOW_SCALE:
    case TCP_OPTION_SACK_PERMITTED:
        return syn && agreed;
    case TCP_OPTION_SACK:
        return !syn && !rst && agreed;
    case TCP_OPTION_TIMESTAMPS:
        return agreed;
    default:
        return false;
    }
}

bool tcp_negotiated_hold(const tcp_state *t, const tcp_segment *g) {
    const tcp_offers *o = &g->options;
    for (unsigned kind = TCP_OPTION_MSS; kind <= TCP_OPTION_TIMESTAMPS; kind++)
        if (tcp_offers_has(o, kind) && !tcp_option_belongs(t, g->dir, g->flags, kind))
            return false;
    if (o->repeated || o->scale > WINDOW_SCALE_MAX)
        return false;
    if (!tcp_offers_has(o, TCP_OPTION_MSS)) /* an opening SYN should have one, RFC 9293 3.7.1 */
        return (g->flags & (TCP_SYN | TCP_ACK)) != TCP_SYN;
    return o->mss != 0;
}

/* TSval never runs back (PAWS, RFC 7323 5); TSecr is one that the peer sent, 0 on the first SYN. */
bool tcp_stamps_hold(const tcp_state *t, const tcp_segment *g) {
    const connection_side *own = &t->connection.side[g->dir], *peer = &t->connection.side[!g->dir];
    if (t->side[g->dir].stamped && (int32_t)(g->options.tsval - own->stamp[0]) < 0)
        return false;
    if (tcp_is_syn(g) && !(g->flags & TCP_ACK))
        return g->options.tsecr == 0;
    return !(g->flags & TCP_ACK) || !t->side[!g->dir].stamped || connection_stamp_index(peer, g->options.tsecr) >= 0;
}

/* Blocks lie above the acknowledgement and within what was sent, but for a first one that reports a duplicate (RFC
 * 2883). */
bool tcp_sack_holds(const tcp_state *t, const tcp_segment *g) {
    const connection_side *peer = &t->connection.side[!g->dir];
    for (unsigned i = 0; i < g->options.nblocks; i++) {
        uint32_t left = g->options.edges[2 * i], right = g->options.edges[2 * i + 1];
        if (right - left == 0 || right - left > BLOCK_FARTHEST)
            return false;
        bool above = left - g->ack - 1 < BLOCK_FARTHEST && right - g->ack <= BLOCK_FARTHEST &&
                     (!t->seen[!g->dir] || (int32_t)(peer->next - right) >= 0);
        bool duplicate = i == 0 && g->ack - right < BLOCK_FARTHEST && g->ack - left <= BLOCK_FARTHEST;
        if (!above && !duplicate)
            return false;
    }
    return true;
}
