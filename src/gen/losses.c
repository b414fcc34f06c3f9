/* What happens to TCP segments between their sender and the observer, at the rates that a class shows.
 *
 * One segment in several hundred of the training flows comes twice, late or not at all. A model that predicts the
 * likeliest row makes next to none of that, so it is drawn, segment by segment:
 *   again   lost behind the observer: it is sent again after a retransmission timeout (RFC 6298: at least 200 ms in
 *           today's stacks, one second by the letter), before the packet that acknowledges it;
 *   late    overtaken by later ones, or lost before the observer: it comes as much later as such segments of the class
 *           do, and until then the other side repeats its acknowledgement (RFC 5681 3.2, with blocks by RFC 2018);
 *   unseen  missed by the observer: it is not there, but acknowledged. */
#include "gen/gen_priv.h"

#include <string.h>
#include "base/memory.h"
#include "packet/tcp_options.h"

enum {
    HOLES = 16,
    FARTHEST = 1 << 24, /* beyond it a number is another connection's */
    LATE_PACKETS = 64,  /* between the segment that comes first and the late one */
    LEAST = 64,         /* smaller segments are left: their message may need them in order */
    KEPT = 2,           /* segments of each side that begin its stream */
    SACK_BYTES = 12     /* one block, with two NOPs */
};
static const int64_t TIMEOUT_LEAST_NS = 200000000, TIMEOUT_MOST_NS = 400000000, BEFORE_NS = 1000;

static uint32_t segment_start(const packet *p) {
    return get32(packet_l4(p) + 4);
}

static uint32_t segment_end(const packet *p) {
    return segment_start(p) + packet_payload(p);
}

static unsigned tcp_flags(const packet *p) {
    return packet_l4(p)[13];
}

static bool is_data(const packet *p) {
    return packet_proto(p) == PROTO_TCP && packet_payload(p) > 0 && !(tcp_flags(p) & (TCP_SYN | TCP_RST));
}

/* Does the packet acknowledge something beyond this number? */
static bool acknowledges(const packet *p, uint32_t beyond) {
    return packet_proto(p) == PROTO_TCP && tcp_flags(p) & TCP_ACK &&
           get32(packet_l4(p) + 8) - beyond - 1 < (uint32_t)FARTHEST;
}

/* ---- Counting ---- */

typedef struct hole {
    uint32_t from, to;
    int64_t since;
} hole;

/* One side of a flow as the observer sees it. */
typedef struct side {
    bool seen, known;
    uint32_t end; /* of what was seen, where known */
    unsigned nholes;
    hole holes[HOLES];
} side;

static void remove_hole(side *s, unsigned i) {
    memmove(s->holes + i, s->holes + i + 1, (--s->nholes - i) * sizeof *s->holes);
}

static void count_late(class_losses *c, int64_t delay) {
    if (c->ndelays < CLASS_DELAYS)
        c->delays[c->ndelays++] = delay;
    c->nlate++;
}

static void count_segment(class_losses *c, side *s, const packet *p) {
    uint32_t start = segment_start(p), end = segment_end(p), ahead = start - s->end;
    c->nsegments++;
    if (!s->known || ahead < FARTHEST) {
        if (s->known && ahead > 0 && s->nholes < HOLES)
            s->holes[s->nholes++] = (hole){s->end, start, p->time_ns};
        s->known = true;
        s->end = end;
        return;
    }
    if ((int32_t)(end - s->end) > 0) { /* some of it is new */
        s->end = end;
        return;
    }
    for (unsigned i = 0; i < s->nholes; i++) {
        hole *h = &s->holes[i];
        if (start != h->from)
            continue;
        count_late(c, p->time_ns - h->since);
        h->from = end;
        if ((int32_t)(h->to - end) <= 0)
            remove_hole(s, i);
        return;
    }
    c->nagain++;
}

/* What is acknowledged and did not come has passed by: it will not come any more. */
static void count_acknowledged(class_losses *c, side *s, uint32_t ack) {
    for (unsigned i = s->nholes; i-- > 0;)
        if (ack - s->holes[i].to < FARTHEST) {
            c->nunseen++;
            remove_hole(s, i);
        }
}

void losses_count(class_losses *c, const flow *f) {
    side sides[2];
    memset(sides, 0, sizeof sides);
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        side *s = &sides[p->dir];
        if (packet_proto(p) != PROTO_TCP)
            continue;
        s->seen = true;
        if (tcp_flags(p) & TCP_SYN)
            *s = (side){.seen = true, .known = true, .end = segment_start(p) + 1};
        else if (is_data(p))
            count_segment(c, s, p);
        if (tcp_flags(p) & TCP_ACK && !(tcp_flags(p) & TCP_RST))
            count_acknowledged(c, &sides[!p->dir], get32(packet_l4(p) + 8));
    }
    for (unsigned d = 0; d < 2; d++)
        if (!sides[!d].seen)
            c->nunseen += sides[d].nholes;
}

/* ---- Drawing ---- */

/* Votes belong to packets by number. */
typedef struct flow_draft {
    flow *f;
    packet_votes **votes;
    size_t *capacity;
    bool blocks; /* both SYNs permit selective acknowledgement */
} flow_draft;

static void take_out(flow_draft *d, size_t at) {
    size_t n = --d->f->npackets - at;
    memmove(d->f->packets + at, d->f->packets + at + 1, n * sizeof *d->f->packets);
    memmove(*d->votes + at, *d->votes + at + 1, n * sizeof **d->votes);
}

static status put_in(flow_draft *d, size_t at, const packet *p, packet_votes votes) {
    flow *f = d->f;
    packet copy = *p;
    TRY(memory_grow(d->votes, d->capacity, f->npackets + 1, sizeof **d->votes));
    TRY(flow_add(f, &copy)); /* makes room */
    size_t n = f->npackets - 1 - at;
    memmove(f->packets + at + 1, f->packets + at, n * sizeof *f->packets);
    memmove(*d->votes + at + 1, *d->votes + at, n * sizeof **d->votes);
    f->packets[at] = copy;
    (*d->votes)[at] = votes;
    return ST_OK;
}

static void delay_from(flow *f, size_t first, int64_t by) {
    for (size_t k = first; k < f->npackets; k++)
        f->packets[k].time_ns += by;
}

/* The first packet of the other side after i that acknowledges all of it; npackets where there is none. */
static size_t acknowledged_at(const flow *f, size_t i) {
    const packet *p = &f->packets[i];
    for (size_t k = i + 1; k < f->npackets; k++)
        if (f->packets[k].dir != p->dir && acknowledges(&f->packets[k], segment_end(p) - 1))
            return tcp_flags(&f->packets[k]) & TCP_RST ? f->npackets : k;
    return f->npackets;
}

static void put_total(packet *p, unsigned total) {
    if (packet_is_ipv6(p))
        put16(p->header + 4, total - 40);
    else
        put16(p->header + 2, total);
    p->wire_len = total;
}

/* What the sender of `lost` would write now: its latest header with the lost segment's number, flags and length. */
static packet sent_again(const packet *latest, const packet *lost, rng *r) {
    packet p = *latest;
    uint8_t *l4 = p.header + packet_ip_nheader(&p);
    memcpy(l4 + 4, packet_l4(lost) + 4, 4);
    l4[13] = (uint8_t)((tcp_flags(lost) & ~(unsigned)TCP_FIN) | TCP_ACK);
    put_total(&p, p.nheader + packet_payload(lost));
    if (!packet_is_ipv6(&p) && get16(p.header + 4) != 0)
        put16(p.header + 4, 1 + rng_below(r, 65535));
    return p;
}

static size_t latest_before(const flow *f, size_t i, size_t at) {
    size_t latest = i;
    for (size_t k = i + 1; k < at; k++)
        if (f->packets[k].dir == f->packets[i].dir && packet_proto(&f->packets[k]) == PROTO_TCP)
            latest = k;
    return latest;
}

/* A copy of segment i comes a timeout later, and what acknowledges it as much later still. *i moves to the copy. */
static status draw_again(flow_draft *d, size_t *i, rng *r) {
    flow *f = d->f;
    size_t at = acknowledged_at(f, *i);
    if (at == f->npackets)
        return ST_OK;
    size_t latest = latest_before(f, *i, at);
    packet p = sent_again(&f->packets[latest], &f->packets[*i], r);
    int64_t trip = f->packets[at].time_ns - f->packets[*i].time_ns;
    p.time_ns = f->packets[at - 1].time_ns + TIMEOUT_LEAST_NS +
                (int64_t)((double)(TIMEOUT_MOST_NS - TIMEOUT_LEAST_NS) * rng_uniform(r));
    delay_from(f, at, p.time_ns + (trip > 0 ? trip : 0) - f->packets[at].time_ns);
    *i = at;
    return put_in(d, at, &p, (*d->votes)[latest]);
}

/* The next segment of i's side, which starts where i ends; 0 where something else comes before: i's acknowledgement, a
 * segment elsewhere in the stream. */
static size_t follower(const flow *f, size_t i) {
    const packet *p = &f->packets[i];
    for (size_t k = i + 1; k < f->npackets && k - i < LATE_PACKETS / 2; k++) {
        const packet *next = &f->packets[k];
        if (next->dir == p->dir)
            return is_data(next) && packet_payload(next) >= LEAST && segment_start(next) == segment_end(p) ? k : 0;
        if (packet_proto(next) != PROTO_TCP || tcp_flags(next) & (TCP_SYN | TCP_RST) ||
            acknowledges(next, segment_start(p)))
            return 0;
    }
    return 0;
}

/* Can packet k not come before segment p? It answers it, or resets. */
static bool needs(const packet *k, const packet *p) {
    if (packet_proto(k) != PROTO_TCP || tcp_flags(k) & (TCP_SYN | TCP_RST))
        return true;
    return k->dir != p->dir && (packet_payload(k) > 0 || tcp_flags(k) & TCP_FIN) && acknowledges(k, segment_start(p));
}

/* Make the acknowledgement one of what came before `missing`; left to right came behind it. */
static void repeat_acknowledgement(packet *p, uint32_t missing, uint32_t left, uint32_t right, bool blocks) {
    uint8_t *l4 = p->header + packet_ip_nheader(p);
    unsigned noptions = (l4[12] >> 4) * 4u - 20;
    put32(l4 + 8, missing);
    if (!blocks || noptions + SACK_BYTES > TCP_OPTIONS_MAX || p->nheader + SACK_BYTES > PACKET_HEADER_MAX)
        return;
    uint8_t *block = p->header + p->nheader;
    static const uint8_t head[] = {TCP_OPTION_NOP, TCP_OPTION_NOP, TCP_OPTION_SACK, 10};
    memcpy(block, head, sizeof head);
    put32(block + 4, left);
    put32(block + 8, right);
    l4[12] = (uint8_t)(l4[12] + (SACK_BYTES / 4 << 4));
    p->nheader = (uint8_t)(p->nheader + SACK_BYTES);
    put_total(p, packet_total_len(p) + SACK_BYTES);
}

/* Segment i comes behind its follower, by a delay of the class. *i moves to where it comes. */
static status draw_late(flow_draft *d, const class_losses *c, size_t *i, rng *r) {
    flow *f = d->f;
    const packet lost = f->packets[*i];
    int64_t delay = c->delays[rng_below(r, (uint32_t)c->ndelays)];
    size_t first = follower(f, *i), at = first + 1;
    if (first == 0)
        return ST_OK;
    int64_t due = f->packets[first].time_ns + (delay > 0 ? delay : BEFORE_NS);
    while (at < f->npackets && at - first < LATE_PACKETS && f->packets[at].time_ns < due &&
           !needs(&f->packets[at], &lost))
        at++;
    size_t latest = latest_before(f, *i, at);
    packet p = sent_again(&f->packets[latest], &lost, r);
    p.time_ns = due;
    if (at < f->npackets && f->packets[at].time_ns <= due)
        delay_from(f, at, due + BEFORE_NS - f->packets[at].time_ns);
    uint32_t right = segment_end(&lost);
    for (size_t k = first; k < at; k++) {
        packet *between = &f->packets[k];
        if (between->dir == lost.dir)
            right = (int32_t)(segment_end(between) - right) > 0 ? segment_end(between) : right;
        else if (acknowledges(between, segment_start(&lost)))
            repeat_acknowledgement(between, segment_start(&lost), segment_end(&lost), right, d->blocks);
    }
    packet_votes votes = (*d->votes)[latest];
    take_out(d, *i);
    *i = at - 1;
    return put_in(d, at - 1, &p, votes);
}

/* Segment i is not there, where the other side, if it was captured, acknowledges it and its own goes on behind it. */
static void draw_unseen(flow_draft *d, size_t i, const bool seen[2]) {
    const flow *f = d->f;
    const packet *p = &f->packets[i];
    bool acknowledged = !seen[!p->dir], goes_on = false;
    for (size_t k = i + 1; k < f->npackets && k - i < LATE_PACKETS && !(acknowledged && goes_on); k++) {
        const packet *next = &f->packets[k];
        if (packet_proto(next) != PROTO_TCP || tcp_flags(next) & (TCP_SYN | TCP_RST))
            return;
        if (next->dir != p->dir)
            acknowledged |= acknowledges(next, segment_end(p) - 1);
        else if (segment_start(next) == segment_end(p))
            goes_on = true;
        else
            return;
    }
    if (acknowledged && goes_on)
        take_out(d, i);
}

static bool permits_blocks(const packet *syn) {
    const uint8_t *l4 = packet_l4(syn);
    unsigned noptions = (l4[12] >> 4) * 4u - 20, at = 0;
    tcp_option o;
    if (noptions > TCP_OPTIONS_MAX || packet_ip_nheader(syn) + 20 + noptions > syn->nheader)
        return false;
    while (tcp_option_next(l4 + 20, noptions, &at, &o) > 0)
        if (o.kind == TCP_OPTION_SACK_PERMITTED)
            return true;
    return false;
}

status losses_add(const class_losses *c, rng *r, flow *f, packet_votes **votes, size_t *capacity) {
    flow_draft d = {.f = f, .votes = votes, .capacity = capacity};
    bool seen[2] = {false, false}, permitted[2] = {false, false};
    unsigned nsegments[2] = {0, 0};
    if (f->key.proto != PROTO_TCP || c->nsegments == 0)
        return ST_OK;
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        seen[p->dir] = true;
        if (packet_proto(p) == PROTO_TCP && tcp_flags(p) & TCP_SYN)
            permitted[p->dir] = permits_blocks(p);
    }
    d.blocks = permitted[0] && permitted[1];
    double n = (double)c->nsegments;
    double again = (double)c->nagain / n, late = again + (double)c->nlate / n, unseen = late + (double)c->nunseen / n;
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        if (!is_data(p))
            continue;
        bool first = nsegments[p->dir]++ < KEPT,
             whole = !first && packet_payload(p) >= LEAST && !(tcp_flags(p) & TCP_FIN);
        double draw = rng_uniform(r);
        if (draw < again)
            TRY(draw_again(&d, &i, r));
        else if (draw < late && whole && c->ndelays > 0)
            TRY(draw_late(&d, c, &i, r));
        else if (draw >= late && draw < unseen && whole)
            draw_unseen(&d, i, seen);
    }
    return ST_OK;
}
