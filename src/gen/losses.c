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
    ACK_PACKETS = 1024, /* within which a segment is acknowledged */
    LATE_PACKETS = 64,  /* between the segment that comes first and the late one */
    LEAST = 64,         /* smaller segments are left: their message may need them in order */
    KEPT = 2,           /* segments of each side that begin its stream */
    SACK_BYTES = 12     /* one block, with two NOPs */
};
static const int64_t TIMEOUT_LEAST_NS = 200000000, TIMEOUT_MOST_NS = 400000000, BEFORE_NS = 1000;
static const int64_t DELAY_MOST_NS = 60000000000; /* no timeout need be longer (RFC 6298 2.5) */

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

/* Where its first option of this kind stands in the header; 0 where there is none. */
static unsigned option_at(const packet *p, unsigned kind) {
    unsigned nip = packet_ip_nheader(p), at = 0;
    tcp_option o;
    if (packet_proto(p) != PROTO_TCP)
        return 0;
    unsigned noptions = (packet_l4(p)[12] >> 4) * 4u - 20;
    if (noptions > TCP_OPTIONS_MAX || nip + 20 + noptions > p->nheader)
        return 0;
    while (tcp_option_next(packet_l4(p) + 20, noptions, &at, &o) > 0) {
        if (o.kind == kind)
            return nip + 20 + o.at;
        if (o.kind == TCP_OPTION_EOL)
            break;
    }
    return 0;
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

static void count_late(class_losses *c, int64_t since, int64_t time) {
    /* As unsigned numbers the difference of any two times fits. */
    uint64_t delay = time > since ? (uint64_t)time - (uint64_t)since : 0;
    if (c->ndelays < CLASS_DELAYS)
        c->delays[c->ndelays++] = delay < (uint64_t)DELAY_MOST_NS ? (int64_t)delay : DELAY_MOST_NS;
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
        hole *h = &s->holes[i], rest = {end, h->to, h->since};
        if (start - h->from >= h->to - h->from)
            continue;
        count_late(c, h->since, p->time_ns);
        h->to = start; /* what is below it misses still, */
        if (h->from == start)
            remove_hole(s, i);
        if ((int32_t)(rest.to - end) > 0 && s->nholes < HOLES) /* and what is above */
            s->holes[s->nholes++] = rest;
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
    bool seen[2], permits[2]; /* sides that are there, whose SYN permits selective acknowledgement */
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

/* The first packet of the other side after i that acknowledges all of it; npackets where none near it does, or one of
 * the sides resets before. */
static size_t acknowledged_at(const flow *f, size_t i) {
    const packet *p = &f->packets[i];
    for (size_t k = i + 1; k < f->npackets && k - i < ACK_PACKETS; k++) {
        const packet *next = &f->packets[k];
        if (packet_proto(next) == PROTO_TCP && tcp_flags(next) & (TCP_SYN | TCP_RST))
            break;
        if (next->dir != p->dir && acknowledges(next, segment_end(p) - 1))
            return k;
    }
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

/* The latest segment of the side before packet `at`; `at` where there is none. */
static size_t latest_before(const flow *f, unsigned dir, size_t at) {
    for (size_t k = at; k-- > 0;)
        if (f->packets[k].dir == dir && packet_proto(&f->packets[k]) == PROTO_TCP)
            return k;
    return at;
}

/* A copy of segment i comes a timeout later, and what acknowledges it as much later still. *i moves to the copy. */
static status draw_again(flow_draft *d, size_t *i, rng *r) {
    flow *f = d->f;
    size_t at = acknowledged_at(f, *i), latest = latest_before(f, f->packets[*i].dir, at);
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

/* Can packet k not come before segment p? It answers it, has blocks of its own, or resets. */
static bool needs(const packet *k, const packet *p) {
    if (packet_proto(k) != PROTO_TCP || tcp_flags(k) & (TCP_SYN | TCP_RST))
        return true;
    return k->dir != p->dir && acknowledges(k, segment_start(p)) &&
           (packet_payload(k) > 0 || tcp_flags(k) & TCP_FIN || option_at(k, TCP_OPTION_SACK) > 0);
}

/* Packets `first` to `end` that echo the time stamp of `lost`, which does not come before them, echo that of `other`
 * instead (where both have one): of what came before it, or of what came late in its place. */
static void replace_echoes(flow *f, size_t first, size_t end, const packet *lost, const packet *other) {
    unsigned was = option_at(lost, TCP_OPTION_TIMESTAMPS), now = option_at(other, TCP_OPTION_TIMESTAMPS);
    if (was == 0 || now == 0)
        return;
    uint32_t stamp = get32(lost->header + was + 2);
    for (size_t k = first; k < end; k++) {
        packet *p = &f->packets[k];
        unsigned at = p->dir != lost->dir ? option_at(p, TCP_OPTION_TIMESTAMPS) : 0;
        if (at == 0)
            continue;
        uint8_t *echo = p->header + at + 6;
        if ((int32_t)(get32(echo) - stamp) > 0)
            return; /* later ones have come */
        if (get32(echo) == stamp)
            memcpy(echo, other->header + now + 2, 4);
    }
}

static void replace_echoes_before(flow *f, size_t i, size_t end) {
    size_t before = latest_before(f, f->packets[i].dir, i);
    if (before < i)
        replace_echoes(f, i + 1, end, &f->packets[i], &f->packets[before]);
}

/* Make the acknowledgement one of what came before `missing`; left to right came behind it. previous: the packet of its
 * side before it: one that acknowledges as much has the same window, or the second would be an update of that. */
static void repeat_acknowledgement(packet *p, const packet *previous, uint32_t missing, uint32_t left, uint32_t right,
                                   bool blocks) {
    uint8_t *l4 = p->header + packet_ip_nheader(p);
    unsigned noptions = (l4[12] >> 4) * 4u - 20;
    put32(l4 + 8, missing);
    if (!(tcp_flags(previous) & TCP_SYN) && get32(packet_l4(previous) + 8) == missing)
        memcpy(l4 + 14, packet_l4(previous) + 14, 2);
    if (!blocks || option_at(p, TCP_OPTION_EOL) > 0 || noptions + SACK_BYTES > TCP_OPTIONS_MAX ||
        packet_ip_nheader(p) + 20 + noptions != p->nheader || p->nheader + SACK_BYTES > PACKET_HEADER_MAX)
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
    int64_t due = f->packets[first].time_ns + (delay > 0 ? delay : BEFORE_NS);
    while (at < f->npackets && at - first < LATE_PACKETS && f->packets[at].time_ns < due &&
           !needs(&f->packets[at], &lost))
        at++;
    size_t latest = latest_before(f, f->packets[*i].dir, at);
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
            repeat_acknowledgement(between, &f->packets[latest_before(f, !lost.dir, k)], segment_start(&lost),
                                   segment_end(&lost), right, d->permits[0] && d->permits[1]);
    }
    replace_echoes_before(f, *i, at);
    replace_echoes(f, at, f->npackets, &lost, &p);
    packet_votes votes = (*d->votes)[latest];
    take_out(d, *i);
    *i = at - 1;
    return put_in(d, at - 1, &p, votes);
}

/* May segment i be unseen? The other side, if it was captured, acknowledges it, and its own goes on behind it. */
static bool is_missed(const flow *f, size_t i, const bool seen[2]) {
    const packet *p = &f->packets[i];
    bool acknowledged = !seen[!p->dir], goes_on = false;
    for (size_t k = i + 1; k < f->npackets && k - i < LATE_PACKETS && !(acknowledged && goes_on); k++) {
        const packet *next = &f->packets[k];
        if (packet_proto(next) != PROTO_TCP || tcp_flags(next) & (TCP_SYN | TCP_RST))
            return false;
        if (next->dir != p->dir)
            acknowledged |= acknowledges(next, segment_end(p) - 1);
        else if (segment_start(next) == segment_end(p))
            goes_on = true;
        else
            return false;
    }
    return acknowledged && goes_on;
}

enum { AGAIN = 1, LATE = 2, UNSEEN = 4 };

/* What can happen to segment i, the nth with data of its side. */
static unsigned fates(const flow_draft *d, size_t i, unsigned nth) {
    const packet *p = &d->f->packets[i];
    unsigned can = d->seen[!p->dir] && acknowledged_at(d->f, i) < d->f->npackets ? AGAIN : 0;
    if (nth < KEPT || packet_payload(p) < LEAST || tcp_flags(p) & TCP_FIN)
        return can;
    return can | (follower(d->f, i) > 0 ? LATE : 0) | (is_missed(d->f, i, d->seen) ? UNSEEN : 0);
}

/* How likely is it for those to which it can happen, so that n of nall do on average? */
static double chance(uint64_t n, uint64_t nall, size_t nsegments, size_t ncan) {
    double mean = (double)n / (double)nall * (double)nsegments;
    return ncan == 0 ? 0 : mean < 0.5 * (double)ncan ? mean / (double)ncan : 0.5;
}

static void survey(flow_draft *d) {
    for (size_t i = 0; i < d->f->npackets; i++) {
        const packet *p = &d->f->packets[i];
        d->seen[p->dir] = true;
        if (packet_proto(p) == PROTO_TCP && tcp_flags(p) & TCP_SYN)
            d->permits[p->dir] = option_at(p, TCP_OPTION_SACK_PERMITTED) > 0;
    }
}

status losses_add(const class_losses *c, rng *r, flow *f, packet_votes **votes, size_t *capacity) {
    flow_draft d = {.f = f, .votes = votes, .capacity = capacity};
    size_t nsegments = 0, nagain = 0, nlate = 0, nunseen = 0;
    unsigned nth[2] = {0, 0};
    if (f->key.proto != PROTO_TCP || c->nagain + c->nlate + c->nunseen == 0)
        return ST_OK;
    survey(&d);
    for (size_t i = 0; i < f->npackets; i++)
        if (is_data(&f->packets[i])) {
            unsigned can = fates(&d, i, nth[f->packets[i].dir]++);
            nsegments++;
            nagain += (can & AGAIN) != 0;
            nlate += (can & LATE) != 0;
            nunseen += (can & UNSEEN) != 0;
        }
    double again = chance(c->nagain, c->nsegments, nsegments, nagain);
    double late = chance(c->nlate, c->nsegments, nsegments, nlate);
    double unseen = chance(c->nunseen, c->nsegments, nsegments, nunseen);
    memset(nth, 0, sizeof nth);
    for (size_t i = 0; i < f->npackets; i++) {
        if (!is_data(&f->packets[i]))
            continue;
        unsigned can = fates(&d, i, nth[f->packets[i].dir]++);
        bool is_again = rng_uniform(r) < again, is_late = rng_uniform(r) < late, is_unseen = rng_uniform(r) < unseen;
        if (is_again && can & AGAIN)
            TRY(draw_again(&d, &i, r));
        else if (is_late && can & LATE)
            TRY(draw_late(&d, c, &i, r));
        else if (is_unseen && can & UNSEEN) {
            replace_echoes_before(f, i, f->npackets);
            take_out(&d, i);
        }
    }
    return ST_OK;
}
