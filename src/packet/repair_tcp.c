/* Repair of TCP segments against the state machine of RFC 9293.
 *
 * In order: what kind of segment this can be here (RST, SYN, SYN-ACK or any other), then its numbers, FIN and payload,
 * window, options. Each rule keeps what the packet says where the connection allows it. */
#include <string.h>
#include "packet/repair_priv.h"

enum { WINDOW_DEFAULT = 65535, NEAR = 1 << 24 };

/* PSH needs data or a FIN, and an urgent pointer URG. */
static void put_flags(repair_draft *x, unsigned flags) {
    if (flags & (TCP_SYN | TCP_RST) || (x->payload == 0 && !(flags & TCP_FIN)))
        flags &= ~(unsigned)TCP_PSH;
    if (flags & (TCP_SYN | TCP_RST))
        flags &= ~(unsigned)TCP_URG;
    put16(x->l4 + 12, (get16(x->l4 + 12) & 0xf000u) | flags);
    if (!(flags & TCP_URG))
        put16(x->l4 + 18, 0);
}

static bool is_tcp(const repair_run *r) {
    return r->facts.proto == PROTO_TCP;
}

void repair_tcp_segment(const repair_draft *x, tcp_segment *g) {
    *g = (tcp_segment){.dir = x->dir,
                       .seq = get32(x->l4 + 4),
                       .ack = get32(x->l4 + 8),
                       .flags = draft_flags(x),
                       .window = get16(x->l4 + 14),
                       .urgent = get16(x->l4 + 18),
                       .payload = x->payload,
                       .time_ns = x->time_ns};
    tcp_offers_read(x->l4 + 20, x->nl4 - 20, &g->options);
}

/* A packet that came as something else: an acknowledgement, with data if it had some. */
void repair_tcp_blank(repair_draft *x) {
    memset(x->l4, 0, sizeof x->l4);
    x->nl4 = 20;
    put16(x->l4 + 12, 5 << 12 | TCP_ACK | (x->payload > 0 ? TCP_PSH : 0));
}

void repair_tcp_begin(repair_run *r, repair_draft *x) {
    repair_look_ahead(r, x);
    if (!x->whole)
        return;
    x->came = (repair_came){get32(x->l4 + 4), get32(x->l4 + 8), draft_flags(x), x->payload};
    connection_meet(&r->was, x->dir, x->came.seq, x->came.ack, x->came.flags);
}

/* SYN goes before RST, RST before FIN; anything else has ACK. */
void repair_flags(repair_run *r, repair_draft *x) {
    if (!is_tcp(r) || !x->whole)
        return;
    unsigned flags = draft_flags(x);
    if (flags & TCP_SYN)
        flags &= ~(unsigned)(TCP_FIN | TCP_RST);
    else if (flags & TCP_RST)
        flags &= ~(unsigned)TCP_FIN;
    else
        flags |= TCP_ACK;
    put_flags(x, flags);
}

void repair_reserved(repair_run *r, repair_draft *x) {
    if (!is_tcp(r) || !x->whole)
        return;
    unsigned flags = draft_flags(x) & ~(unsigned)TCP_RESERVED;
    put_flags(x, get16(x->l4 + 18) == 0 ? flags & ~(unsigned)TCP_URG : flags);
}

/* A RST is believed where its side says nothing else afterwards, and the other side only what can have been on its way;
 * before the connection stands, not even that. */
static bool believed(const repair_run *r, const repair_draft *x) {
    const repair_facts *facts = &r->facts;
    bool standing = !r->now.handshake || r->now.side[0].going, other_goes_on = facts->last_going[!x->dir] > x->number;
    if (facts->last_going[x->dir] > x->number)
        return false;
    return !other_goes_on || (standing && facts->last_going_ns[!x->dir] - x->time_ns <= TCP_FLIGHT_NS);
}

void repair_reset(repair_run *r, repair_draft *x) {
    if (!is_tcp(r) || !(draft_flags(x) & TCP_RST))
        return;
    if (!believed(r, x)) {
        put_flags(x, (draft_flags(x) & ~(unsigned)TCP_RST) | TCP_ACK);
        return;
    }
    x->kind = SEGMENT_RST;
    x->payload = 0;
    x->refuses = tcp_refuses(&r->now, x->dir);
    put_flags(x, (draft_flags(x) & (TCP_RST | TCP_ACK)) | (x->refuses ? TCP_ACK : 0));
    if (x->refuses) {
        put32(x->l4 + 4, 0);
        put32(x->l4 + 8, r->now.side[!x->dir].isn + 1);
    }
}

/* Both sides opened at once: this one's SYN acknowledges nothing, and the other answers it in the next packet. */
static bool simultaneous(const repair_run *r, const repair_draft *x) {
    return x->dir == 1 && x->came.ack == 0 && x->follows[0] && r->cursor[0] == x->number + 1 &&
           (x->following_flags[0] & (TCP_SYN | TCP_ACK | TCP_RST)) == (TCP_SYN | TCP_ACK);
}

/* A SYN only opens, and may be repeated until its side says something else. Where both sides are there and the flow
 * starts with a SYN, the other side's first packet is the SYN-ACK (or refuses with RST), and until then side 0 can only
 * repeat its SYN, and then side 1 its SYN-ACK until that is acknowledged. */
static segment_kind kind_of(const repair_run *r, const repair_draft *x) {
    const tcp_state *t = &r->now;
    const tcp_side *own = &t->side[x->dir], *peer = &t->side[!x->dir];
    unsigned flags = draft_flags(x);
    bool syn = flags & TCP_SYN, ack = flags & TCP_ACK;
    segment_kind as_said = ack ? SEGMENT_SYN_ACK : SEGMENT_SYN;
    if (!t->started)
        return syn ? as_said : SEGMENT_OTHER;
    if (tcp_may_talk(t, x->dir)) {
        if (!syn || own->going || (!own->opened && peer->going))
            return SEGMENT_OTHER;
        if ((own->reset || peer->reset) && !own->answered && !ack) /* it would open another connection */
            return SEGMENT_OTHER;
        if (!own->opened)
            return as_said;
        if (t->handshake && connection_index(&t->connection.side[!x->dir], peer->isn + 1) < 0)
            return SEGMENT_OTHER;
        return own->answered || (ack && peer->opened) ? SEGMENT_SYN_ACK : SEGMENT_SYN;
    }
    if (!peer->opened)
        return SEGMENT_SYN;
    if (!own->answered && syn && !ack && x->whole && (own->opened || simultaneous(r, x)))
        return SEGMENT_SYN;
    return SEGMENT_SYN_ACK;
}

void repair_handshake(repair_run *r, repair_draft *x) {
    if (!is_tcp(r) || x->kind == SEGMENT_RST)
        return;
    x->kind = kind_of(r, x);
    unsigned flags = draft_flags(x);
    if (x->kind == SEGMENT_OTHER) {
        put_flags(x, (flags & ~(unsigned)TCP_SYN) | TCP_ACK);
        return;
    }
    x->payload = 0;
    put_flags(x, TCP_SYN | (x->kind == SEGMENT_SYN_ACK ? TCP_ACK : 0) | (flags & TCP_ECN));
    if (r->now.side[x->dir].opened)
        put32(x->l4 + 4, r->now.side[x->dir].isn);
    else if (r->now.connection.known[x->dir])
        put32(x->l4 + 4, r->now.connection.side[x->dir].next);
}

/* The boundary nearest below a number that is none itself, as an index. */
static unsigned index_below(const connection_side *s, uint32_t number) {
    for (unsigned i = 0; i < s->nboundaries; i++)
        if ((int32_t)(s->boundary[i] - number) <= 0)
            return i + 1;
    return 0;
}

/* The number of a SYN belongs to it alone: what else would start there starts one later. */
static uint32_t past_syn(const tcp_side *opener, const connection_side *now, uint32_t number) {
    if (!opener->opened || number != opener->isn)
        return number;
    return connection_index(now, number + 1) >= 0 ? number + 1 : now->next;
}

/* The number that stands to `now` as `number`, a boundary of that index, stood to `was`. */
static uint32_t moved(const repair_run *r, unsigned dir, uint32_t number, unsigned index) {
    const connection_side *now = &r->now.connection.side[dir];
    uint32_t same = number + r->side[dir].shift;
    if (index == 0)
        return now->next;
    return past_syn(&r->now.side[dir], now, connection_index(now, same) >= 0 ? same : connection_number(now, index));
}

/* The packet as it came, where its numbers may leave a gap. */
static bool may_leave_gap(const repair_run *r, const repair_draft *x, tcp_segment *came, packets_behind *behind) {
    *came = (tcp_segment){.dir = x->dir, .seq = x->came.seq, .ack = x->came.ack, .flags = x->came.flags};
    *behind = (packets_behind){.f = r->f, .number = x->number, .views = r->views};
    return r->keep_gaps && x->kind == SEGMENT_OTHER;
}

static bool leaves_gap(const repair_run *r, const repair_draft *x) {
    tcp_segment came;
    packets_behind behind;
    return may_leave_gap(r, x, &came, &behind) && !r->now.connection.side[x->dir].fin &&
           gap_before_segment(&behind, &came, r->was.side[x->dir].next, r->facts.seen[!x->dir]);
}

static bool acknowledges_gap(const repair_run *r, const repair_draft *x) {
    tcp_segment came;
    packets_behind behind;
    return may_leave_gap(r, x, &came, &behind) && gap_before_ack(&behind, &came, r->was.side[!x->dir].next);
}

static void note_gap(repair_run *r, uint32_t expected, bool ack) {
    r->gaps[r->ngaps++] = (repair_gap){.number = r->nkept, .expected = expected, .ack = ack};
}

/* A RST and a probe may repeat the number of the SYN. */
static uint32_t new_seq(repair_run *r, repair_draft *x) {
    unsigned dir = x->dir;
    const connection_side *was = &r->was.side[dir], *now = &r->now.connection.side[dir];
    const tcp_side *own = &r->now.side[dir];
    int index = connection_index(was, x->came.seq);
    if (x->kind == SEGMENT_RST && index > 0 && own->opened && connection_number(now, (unsigned)index) == own->isn)
        return own->isn;
    if (x->kind == SEGMENT_OTHER && x->payload == 0 && own->opened && now->next - 1 == own->isn &&
        connection_keep_alive(was, x->came.seq, 0, x->came.flags))
        return own->isn; /* a probe before any data */
    if (index >= 0)
        return moved(r, dir, x->came.seq, (unsigned)index);
    if (now->nboundaries > 0 && connection_keep_alive(was, x->came.seq, x->payload, x->came.flags))
        return past_syn(own, now, now->next - 1);
    x->gap_seq = leaves_gap(r, x);
    if (!x->gap_seq)
        return now->next;
    note_gap(r, now->next, false);
    return now->next + (x->came.seq - was->next);
}

/* A side that the other has not acknowledged yet starts where its first packet says. */
void repair_seq(repair_run *r, repair_draft *x) {
    tcp_segment g;
    if (!is_tcp(r))
        return;
    bool opens = x->kind == SEGMENT_SYN || x->kind == SEGMENT_SYN_ACK;
    if (!opens && !x->refuses && r->now.connection.known[x->dir])
        put32(x->l4 + 4, x->whole ? new_seq(r, x) : r->now.connection.side[x->dir].next);
    repair_tcp_segment(x, &g);
    tcp_state_meet(&r->now, &g);
}

/* New data of a service are no shorter than its smallest message. */
static void fit_payload(const repair_run *r, repair_draft *x, bool is_new) {
    if (is_new)
        x->payload = repair_service_payload(&r->facts, x->payload);
    if (x->payload > repair_largest_payload(x))
        x->payload = repair_largest_payload(x);
}

void repair_service(repair_run *r, repair_draft *x) {
    if (!is_tcp(r) || x->kind != SEGMENT_OTHER)
        return;
    fit_payload(r, x, get32(x->l4 + 4) == r->now.connection.side[x->dir].next || x->gap_seq);
}

/* A FIN behind which its side sends new data twice is a wrong bit; new data once may be one themselves. */
static bool closes(const repair_run *r, const repair_draft *x) {
    enum { LOOK_AHEAD = 256 };
    size_t npackets = r->f->npackets;
    uint32_t number = x->came.seq + x->came.payload;
    size_t last = npackets - x->number > LOOK_AHEAD ? x->number + LOOK_AHEAD : npackets;
    unsigned nsent = 0;
    for (size_t k = x->number + 1; k < last && nsent < 2; k++) {
        const header_view *v = &r->views[k];
        if (v->dir != x->dir || v->l4 == NULL || v->proto != PROTO_TCP || v->total <= v->nheader)
            continue;
        uint32_t ahead = get32(v->l4 + 4) - number;
        nsent += ahead <= NEAR && (ahead > 0 || v->total - v->nheader > 1); /* one byte there is a probe's */
    }
    return nsent < 2;
}

/* Nothing beyond the own FIN, one FIN, and that behind all data. */
void repair_fin(repair_run *r, repair_draft *x) {
    const connection_side *now = &r->now.connection.side[x->dir];
    if (!is_tcp(r) || x->kind != SEGMENT_OTHER)
        return;
    uint32_t seq = get32(x->l4 + 4);
    unsigned flags = draft_flags(x);
    if (!now->fin && flags & TCP_FIN && !closes(r, x))
        flags &= ~(unsigned)TCP_FIN;
    if (!now->fin && flags & TCP_FIN && (int32_t)(seq + x->payload - now->next) < 0) {
        seq = now->next;
        fit_payload(r, x, true);
    }
    if (connection_after_fin(now, seq, x->payload))
        x->payload = 0;
    if (now->fin && seq + x->payload + 1 != now->after_fin)
        flags &= ~(unsigned)TCP_FIN;
    put32(x->l4 + 4, seq);
    put_flags(x, flags);
}

/* An acknowledgement leads the peer only over a gap, and falls back only to a boundary that it names: ACKs overtake
 * each other. */
static uint32_t new_ack(repair_run *r, repair_draft *x) {
    unsigned dir = x->dir;
    const connection_side *was = &r->was.side[!dir], *now = &r->now.connection.side[!dir];
    const tcp_side *own = &r->now.side[dir];
    bool meant = x->whole && x->came.flags & TCP_ACK;
    bool repeated = get32(x->l4 + 4) != r->now.connection.side[dir].next, named = false;
    uint32_t ack = now->next;
    if (meant && !r->facts.seen[!dir]) {
        if (connection_ahead(now, x->came.ack) || connection_index(now, x->came.ack) >= 0)
            ack = x->came.ack;
    } else if (meant) {
        int index = connection_index(was, x->came.ack);
        named = index >= 0 && connection_index(now, x->came.ack + r->side[!dir].shift) >= 0;
        x->gap_ack = index < 0 && acknowledges_gap(r, x);
        if (x->gap_ack) {
            note_gap(r, now->next, true);
            return now->next + (x->came.ack - was->next);
        }
        if (index < 0)
            index = connection_ahead(was, x->came.ack) ? 0 : (int)index_below(was, x->came.ack);
        ack = moved(r, !dir, x->came.ack, (unsigned)index);
    }
    if (own->acked && !repeated && !named && (int32_t)(ack - own->highest_ack) < 0)
        ack = connection_index(now, own->highest_ack) >= 0 ? own->highest_ack : now->next;
    return ack;
}

void repair_ack(repair_run *r, repair_draft *x) {
    if (!is_tcp(r) || x->refuses)
        return;
    const tcp_side *own = &r->now.side[x->dir], *peer = &r->now.side[!x->dir];
    uint32_t ack;
    if (!(draft_flags(x) & TCP_ACK))
        ack = 0;
    else if (x->kind == SEGMENT_SYN_ACK && r->now.handshake)
        ack = peer->isn + 1;
    else if (x->kind == SEGMENT_SYN_ACK && own->opened && own->answered &&
             connection_index(&r->now.connection.side[!x->dir], own->open_ack) >= 0)
        ack = own->open_ack;
    else
        ack = new_ack(r, x);
    put32(x->l4 + 8, ack);
}

/* A window that came as nothing, that is shut while the other side goes on as if it were not, or taken back below what
 * was offered. */
void repair_window(repair_run *r, repair_draft *x) {
    if (!is_tcp(r))
        return;
    const tcp_side *own = &r->now.side[x->dir];
    uint32_t ack = get32(x->l4 + 8);
    bool rst = x->kind == SEGMENT_RST, shut = get16(x->l4 + 14) == 0;
    bool offered = draft_flags(x) & TCP_ACK && own->acked && own->window != 0 && (int32_t)(own->edge - ack) > 0;
    if (!x->whole || (shut && !rst && (draft_flags(x) & TCP_SYN || x->peer_goes_on || offered)))
        put16(x->l4 + 14, own->window != 0 ? own->window : WINDOW_DEFAULT);
}

/* What says nothing new, and was not asked for, goes. */
void repair_repeat(repair_run *r, repair_draft *x) {
    tcp_segment g;
    if (!is_tcp(r))
        return;
    repair_tcp_segment(x, &g);
    x->drop = !tcp_repeat_holds(&r->now, &g);
}

/* Is `number`, which nothing so far led to, borne out by the side's next segment? Else it is a wrong bit, not a gap in
 * the capture, and to follow it would make repetitions of all that comes after. */
static bool confirmed(const repair_draft *x, unsigned dir, uint32_t number) {
    return x->follows[dir] && x->following_seq[dir] - number <= NEAR;
}

/* Let the packet as it came pass by `was`. */
static void pass_was(repair_run *r, const repair_draft *x) {
    const repair_came *c = &x->came;
    unsigned dir = x->dir;
    connection_side *own = &r->was.side[dir], *peer = &r->was.side[!dir];
    unsigned flags = c->flags & TCP_SYN ? c->flags & ~(unsigned)TCP_FIN : c->flags; /* both: one is wrong */
    bool follow = connection_index(own, c->seq) >= 0 || (!connection_ahead(own, c->seq) && !(flags & TCP_SYN));
    if (connection_index(own, c->seq) < 0 && !connection_keep_alive(own, c->seq, c->payload, flags) &&
        (x->gap_seq || confirmed(x, dir, c->seq))) {
        follow = true;
        if (c->seq - own->next > NEAR && own->next - c->seq > NEAR)
            connection_start(own, c->seq, 0);
        else if (!connection_ahead(own, c->seq)) /* an earlier length was wrong */
            connection_rewind(own, c->seq);
    }
    if (follow)
        connection_sent(own, c->seq, c->payload, flags);
    if (c->flags & TCP_ACK && (!connection_ahead(peer, c->ack) || c->ack == peer->next || !r->facts.seen[!dir] ||
                               x->gap_ack || confirmed(x, !dir, c->ack)))
        connection_acked(peer, c->ack);
}

void repair_tcp_pass(repair_run *r, const repair_draft *x) {
    tcp_segment g;
    repair_tcp_segment(x, &g);
    if (x->whole && !x->drop && !x->refuses && (x->gap_seq || g.seq == r->now.connection.side[x->dir].next))
        r->side[x->dir].shift = g.seq - x->came.seq;
    if (x->gap_ack)
        r->side[!x->dir].shift = g.ack - x->came.ack;
    if (x->whole)
        pass_was(r, x);
    if (!x->drop)
        tcp_state_pass(&r->now, &g);
}

void repair_look_ahead(repair_run *r, repair_draft *x) {
    const header_view *views = r->views;
    size_t npackets = r->f->npackets;
    for (unsigned d = 0; d < 2; d++) {
        size_t *c = &r->cursor[d];
        if (*c <= x->number)
            *c = x->number + 1;
        while (*c < npackets && (views[*c].dir != d || views[*c].l4 == NULL || views[*c].proto != PROTO_TCP))
            ++*c;
        x->follows[d] = *c < npackets;
        if (x->follows[d]) {
            x->following_seq[d] = get32(views[*c].l4 + 4);
            x->following_flags[d] = views[*c].l4[13];
        }
    }
    for (size_t k = x->number + 1; k < npackets && views[k].dir != x->dir && !x->peer_goes_on; k++) {
        const header_view *v = &views[k];
        unsigned payload = v->h != NULL && v->total > v->nheader ? v->total - v->nheader : 0;
        x->peer_goes_on = payload > 1 || repair_service_payload(&r->facts, payload) > 1; /* one byte may be a probe */
    }
}

/* The side is at `number`; is that ahead of where it was? */
static bool advances(uint32_t end[2], bool known[2], unsigned dir, uint32_t number) {
    bool ahead = known[dir] && number - end[dir] - 1 < GAP_BYTES;
    if (ahead || !known[dir])
        end[dir] = number;
    known[dir] = true;
    return ahead;
}

bool repair_runs_ahead(const repair_run *r) {
    uint32_t end[2] = {0, 0};
    bool known[2] = {false, false}, ahead = false;
    for (size_t i = 0; i < r->f->npackets && !ahead; i++) {
        const header_view *v = &r->views[i];
        if (v->l4 == NULL || v->proto != PROTO_TCP)
            continue;
        unsigned flags = v->l4[13], payload = v->total > v->nheader ? v->total - v->nheader : 0;
        uint32_t seq = get32(v->l4 + 4);
        ahead =
            advances(end, known, v->dir, seq) || (flags & TCP_ACK && advances(end, known, !v->dir, get32(v->l4 + 8)));
        advances(end, known, v->dir, seq + payload + !!(flags & TCP_SYN) + !!(flags & TCP_FIN));
    }
    return ahead;
}

bool repair_gaps_hold(const repair_run *r) {
    bool hold = true;
    for (size_t i = 0; i < r->ngaps && hold; i++) {
        const repair_gap *gap = &r->gaps[i];
        const packet *p = &r->f->packets[gap->number];
        packets_behind behind = {.f = r->f, .number = gap->number, .ipv6 = r->facts.ipv6};
        header_view v = header_view_of(p, r->facts.ipv6);
        tcp_segment g = {.dir = v.dir, .seq = get32(v.l4 + 4), .ack = get32(v.l4 + 8), .flags = v.l4[13]};
        hold = gap->ack ? gap_before_ack(&behind, &g, gap->expected)
                        : gap_before_segment(&behind, &g, gap->expected, r->facts.seen[!v.dir]);
    }
    return hold;
}
