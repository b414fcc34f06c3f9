/* Repair of TCP option lists: what parses stays in its place, what cannot be right here goes.
 *
 * MSS, window scale and SACK-permitted belong to SYNs (RFC 9293 3.1, 7323, 2018). Where the whole handshake was seen,
 * an option is in use only if both SYNs had it. Time stamps do not run back, and echo one that the peer sent (RFC
 * 7323). SACK blocks lie above the acknowledgement and within what was sent, but for a first one that reports a
 * duplicate (RFC 2883). Options of other kinds go: whether their contents are right cannot be told. A list without a
 * fault is kept byte by byte. */
#include <string.h>
#include "packet/repair_priv.h"

enum { MSS_DEFAULT = 1460 };
/* Steps of a time stamp clock beyond 2^24 ticks (hours) are wrong numbers, not waiting; nor does a reordered packet
 * fall back by more than 2^16. */
enum { STAMP_FARTHEST = 1 << 24, STAMP_REORDERED = 1 << 16, BLOCK_FARTHEST = 1 << 30 };

typedef struct option_context {
    repair_tcp_state *t;
    const repair_flow_facts *facts;
    unsigned dir, flags;
    uint32_t ack;
} option_context;

static bool agreed(const option_context *c, bool mine, bool theirs) {
    const repair_tcp_side *own = &c->t->side[c->dir], *peer = &c->t->side[!c->dir];
    if (!c->t->handshake)
        return true;
    if (c->flags & TCP_SYN)
        return !(c->flags & TCP_ACK) || theirs; /* the answer offers what the question did */
    return !(own->opened && peer->opened) || (mine && theirs);
}

static bool belongs(const option_context *c, unsigned kind) {
    const repair_tcp_side *own = &c->t->side[c->dir], *peer = &c->t->side[!c->dir];
    bool syn = c->flags & TCP_SYN, rst = c->flags & TCP_RST;
    switch (kind) {
    case TCP_OPTION_NOP:
        return true;
    case TCP_OPTION_MSS:
        return syn;
    case TCP_OPTION_WINDOW_SCALE:
        return syn && agreed(c, own->window_scale, peer->window_scale);
    case TCP_OPTION_SACK_PERMITTED:
        return syn && agreed(c, own->sack_permitted, peer->sack_permitted);
    case TCP_OPTION_SACK:
        return !syn && !rst && agreed(c, own->sack_permitted, peer->sack_permitted);
    case TCP_OPTION_TIMESTAMPS:
        return agreed(c, own->timestamps, peer->timestamps);
    default:
        return false;
    }
}

/* The clock as it came plus an offset that grows where it ran back or leapt, so that one wrong value leaves the later
 * steps as they are. */
static uint32_t new_tsval(repair_tcp_side *own, const connection_side *now, uint32_t tsval) {
    uint32_t candidate = tsval + own->tsval_offset;
    if (!own->stamped)
        return candidate;
    uint32_t last = now->stamp[0], ahead = candidate - last, behind = last - candidate;
    if (ahead <= STAMP_FARTHEST)
        return candidate;
    if (behind > STAMP_REORDERED)
        own->tsval_offset += last - candidate;
    return last;
}

static uint32_t new_tsecr(const option_context *c, uint32_t tsecr) {
    const repair_tcp_side *peer = &c->t->side[!c->dir];
    const connection_side *now = &c->t->now.side[!c->dir];
    if (c->flags & TCP_SYN && !(c->flags & TCP_ACK))
        return 0;
    if (!peer->stamped) /* the capture may have missed what is echoed */
        return tsecr;
    uint32_t candidate = tsecr + peer->tsval_offset;
    return connection_stamp_index(now, candidate) >= 0 ? candidate : now->stamp[0];
}

static void repair_stamps(const option_context *c, const uint8_t *data, uint8_t *out) {
    repair_tcp_side *own = &c->t->side[c->dir];
    connection_side *now = &c->t->now.side[c->dir];
    uint32_t tsval = new_tsval(own, now, get32(data));
    if (own->stamped)
        connection_stamped(now, tsval);
    else
        now->stamp[0] = tsval; /* in the place of the 0 that the side started with */
    own->stamped = true;
    put32(out, tsval);
    put32(out + 4, new_tsecr(c, get32(data + 4)));
}

static bool blocks_right(const option_context *c, const uint32_t *edges, unsigned nblocks) {
    const connection_side *peer = &c->t->now.side[!c->dir];
    for (unsigned i = 0; i < nblocks; i++) {
        uint32_t left = edges[2 * i], right = edges[2 * i + 1];
        if (right - left == 0 || right - left > BLOCK_FARTHEST)
            return false;
        bool above = left - c->ack - 1 < BLOCK_FARTHEST && right - c->ack <= BLOCK_FARTHEST &&
                     (!c->facts->seen[!c->dir] || (int32_t)(peer->next - right) >= 0);
        bool duplicate = i == 0 && c->ack - right < BLOCK_FARTHEST && c->ack - left <= BLOCK_FARTHEST;
        if (!above && !duplicate)
            return false;
    }
    return true;
}

/* Number of blocks written to edges. */
static unsigned repair_blocks(const option_context *c, const uint8_t *data, unsigned nblocks,
                              uint32_t edges[2 * SACK_BLOCKS]) {
    const connection_side *now = &c->t->now.side[!c->dir];
    for (unsigned i = 0; i < 2 * nblocks; i++)
        edges[i] = get32(data + 4 * i) + c->t->side[!c->dir].shift;
    if (blocks_right(c, edges, nblocks))
        return nblocks;
    return connection_sack(now, c->ack, nblocks, edges);
}

/* Append one option; false where it went or changed its size. */
static bool keep_option(const option_context *c, const tcp_option *o, const uint8_t *list, tcp_option_list *out) {
    const uint8_t *data = list + o->at + 2;
    uint32_t edges[2 * SACK_BLOCKS];
    unsigned nbytes = o->nbytes, nblocks = 0;
    if (!belongs(c, o->kind))
        return false;
    if (o->kind == TCP_OPTION_SACK) {
        nblocks = repair_blocks(c, data, o->nbytes / 8, edges);
        if (nblocks == 0)
            return false;
        nbytes = 2 + 8 * nblocks;
    }
    uint8_t *to = tcp_option_add(out, o->kind, nbytes);
    if (to == NULL)
        return false;
    switch (o->kind) {
    case TCP_OPTION_MSS:
        put16(to, get16(data) != 0 ? get16(data) : MSS_DEFAULT);
        break;
    case TCP_OPTION_WINDOW_SCALE:
        *to = data[0] < WINDOW_SCALE_MAX ? data[0] : WINDOW_SCALE_MAX;
        break;
    case TCP_OPTION_TIMESTAMPS:
        repair_stamps(c, data, to);
        break;
    case TCP_OPTION_SACK:
        for (unsigned i = 0; i < 2 * nblocks; i++)
            put32(to + 4 * i, edges[i]);
        break;
    }
    return nbytes == o->nbytes;
}

/* A SYN without MSS gets one in front, where there is room: its own of an earlier SYN, or the peer's. */
static void offer_mss(const repair_tcp_side *own, const repair_tcp_side *peer, tcp_option_list *list) {
    unsigned at = 0;
    tcp_option o;
    tcp_option_list longer = {.nbytes = 0};
    while (tcp_option_next(list->bytes, list->nbytes, &at, &o) > 0)
        if (o.kind == TCP_OPTION_MSS)
            return;
    if (list->nbytes + 4 > TCP_OPTIONS_MAX)
        return;
    put16(tcp_option_add(&longer, TCP_OPTION_MSS, 4), own->mss != 0    ? own->mss
                                                      : peer->mss != 0 ? peer->mss
                                                                       : MSS_DEFAULT);
    memcpy(longer.bytes + 4, list->bytes, list->nbytes);
    longer.nbytes += list->nbytes;
    *list = longer;
}

static void note_offers(repair_tcp_side *own, const tcp_option_list *out) {
    unsigned at = 0;
    tcp_option o;
    own->timestamps = own->window_scale = own->sack_permitted = false;
    while (tcp_option_next(out->bytes, out->nbytes, &at, &o) > 0) {
        if (o.kind == TCP_OPTION_MSS)
            own->mss = get16(out->bytes + o.at + 2);
        own->timestamps |= o.kind == TCP_OPTION_TIMESTAMPS;
        if (o.kind == TCP_OPTION_WINDOW_SCALE) {
            own->window_scale = true;
            own->scale = out->bytes[o.at + 2];
        }
        own->sack_permitted |= o.kind == TCP_OPTION_SACK_PERMITTED;
    }
}

/* The list without its NOPs and padding: where an option went, their alignment means nothing any more. */
static void close_up(tcp_option_list *list) {
    tcp_option_list closed = {.nbytes = 0};
    unsigned at = 0;
    tcp_option o;
    while (tcp_option_next(list->bytes, list->nbytes, &at, &o) > 0 && o.kind != TCP_OPTION_EOL)
        if (o.kind != TCP_OPTION_NOP)
            memcpy(tcp_option_add(&closed, o.kind, o.nbytes), list->bytes + o.at + 2, o.nbytes - 2);
    *list = closed;
}

void repair_tcp_options(repair_tcp_state *t, const repair_flow_facts *facts, unsigned dir, unsigned flags, uint32_t ack,
                        const uint8_t *list, unsigned nbytes, tcp_option_list *out) {
    const option_context c = {.t = t, .facts = facts, .dir = dir, .flags = flags, .ack = ack};
    unsigned at = 0, seen = 0, nops = 0;
    bool whole = true, ended = false;
    tcp_option o;
    int found;
    *out = (tcp_option_list){.nbytes = 0};
    while ((found = tcp_option_next(list, nbytes, &at, &o)) > 0) {
        if (ended || o.kind == TCP_OPTION_EOL) { /* padding: zeros, as far as the list went */
            ended = true;
            whole = whole && o.kind == TCP_OPTION_EOL;
            if (whole)
                tcp_option_add(out, TCP_OPTION_EOL, 1);
            continue;
        }
        nops = o.kind == TCP_OPTION_NOP ? nops + 1 : 0;
        bool twice = o.kind != TCP_OPTION_NOP && o.kind < 32 && seen >> o.kind & 1;
        seen |= o.kind < 32 ? 1u << o.kind : 0;
        /* Four NOPs in a row are what a router leaves of an option that it removed. */
        if (twice || nops == 4 || !keep_option(&c, &o, list, out))
            whole = false;
    }
    if (!whole || found < 0 || nbytes % 4 != 0)
        close_up(out);
    tcp_option_pad(out);
    if (flags & TCP_SYN && !(flags & TCP_ACK))
        offer_mss(&t->side[dir], &t->side[!dir], out);
    if (flags & TCP_SYN)
        note_offers(&t->side[dir], out);
}
