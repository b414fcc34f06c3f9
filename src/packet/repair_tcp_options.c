/* Repair of TCP option lists: what parses stays in its place, what cannot be right here goes.
 *
 * MSS, window scale and SACK-permitted belong to SYNs (RFC 9293 3.1, 7323, 2018), and where the whole handshake was
 * seen, an option is in use only if both SYNs had it. Time stamps do not run back, and echo one that the peer sent.
 * SACK blocks lie above the acknowledgement and within what was sent, but for a first one that reports a duplicate.
 * Options of other kinds go: whether their contents are right cannot be told. A list without a fault is kept byte by
 * byte. */
#include <string.h>
#include "packet/repair_priv.h"

enum { MSS_DEFAULT = 1460 };
/* Steps of a time stamp clock beyond 2^24 ticks (hours) are wrong numbers, not waiting; nor does a reordered packet
 * fall back by more than 2^16. */
enum { STAMP_FARTHEST = 1 << 24, STAMP_REORDERED = 1 << 16 };

static void list_of(const repair_draft *x, tcp_option_list *list) {
    list->nbytes = x->nl4 - 20;
    memcpy(list->bytes, x->l4 + 20, list->nbytes);
}

static void put_list(repair_draft *x, const tcp_option_list *list) {
    memset(x->l4 + 20, 0, TCP_OPTIONS_MAX);
    memcpy(x->l4 + 20, list->bytes, list->nbytes);
    x->nl4 = 20 + list->nbytes;
    x->l4[12] = (uint8_t)((x->l4[12] & 15) | x->nl4 / 4 << 4);
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

/* Options that come once more, four NOPs in a row and anything behind the end but zeros go; false where the list does
 * not parse. */
static bool tidy(tcp_option_list *list) {
    tcp_option_list kept = {.nbytes = 0};
    unsigned at = 0, nops = 0, end = list->nbytes;
    uint32_t seen = 0;
    bool whole = true;
    tcp_option o;
    int found;
    while ((found = tcp_option_next(list->bytes, list->nbytes, &at, &o)) > 0 && o.kind != TCP_OPTION_EOL) {
        nops = o.kind == TCP_OPTION_NOP ? nops + 1 : 0;
        uint32_t bit = o.kind != TCP_OPTION_NOP && o.kind < 32 ? 1u << o.kind : 0;
        if (nops == 4 || seen & bit) {
            whole = false;
            continue;
        }
        seen |= bit;
        memcpy(kept.bytes + kept.nbytes, list->bytes + o.at, o.nbytes);
        kept.nbytes += o.nbytes;
    }
    if (found > 0)
        end = o.at;
    for (unsigned i = end; i < list->nbytes; i++)
        whole = whole && list->bytes[i] == 0;
    if (found >= 0 && !whole) {
        close_up(&kept);
        tcp_option_pad(&kept);
        *list = kept;
    }
    return found >= 0;
}

void repair_options(repair_run *r, repair_draft *x) {
    if (r->facts.proto != PROTO_TCP || !x->whole)
        return;
    unsigned offset = (x->l4[12] >> 4) * 4u, nl4 = offset >= 20 && offset <= x->nl4 ? offset : x->nl4;
    tcp_option_list list, nearest;
    memset(x->l4 + nl4, 0, sizeof x->l4 - nl4);
    x->nl4 = (nl4 + 3) / 4 * 4;
    list_of(x, &list);
    if (!tidy(&list)) {
        repair_tcp_grammar(list.bytes, list.nbytes, draft_flags(x), &nearest);
        list = nearest;
    }
    put_list(x, &list);
}

/* A SYN offers its MSS, in front: its own of an earlier SYN, or the peer's. */
static void offer_mss(const tcp_side *own, const tcp_side *peer, tcp_option_list *list) {
    tcp_offers offers;
    tcp_option_list longer = {.nbytes = 0};
    tcp_offers_read(list->bytes, list->nbytes, &offers);
    if (tcp_offers_has(&offers, TCP_OPTION_MSS))
        return;
    if (list->nbytes + 4 > TCP_OPTIONS_MAX)
        close_up(list);
    put16(tcp_option_add(&longer, TCP_OPTION_MSS, 4), own->mss != 0    ? own->mss
                                                      : peer->mss != 0 ? peer->mss
                                                                       : MSS_DEFAULT);
    memcpy(longer.bytes + 4, list->bytes, list->nbytes);
    longer.nbytes += list->nbytes;
    tcp_option_pad(&longer);
    *list = longer;
}

void repair_negotiated(repair_run *r, repair_draft *x) {
    if (r->facts.proto != PROTO_TCP)
        return;
    unsigned at = 0, flags = draft_flags(x);
    tcp_option_list list, kept = {.nbytes = 0};
    tcp_option o;
    bool whole = true;
    list_of(x, &list);
    while (tcp_option_next(list.bytes, list.nbytes, &at, &o) > 0) {
        uint8_t *data = list.bytes + o.at + 2;
        if (o.kind > TCP_OPTION_NOP && !tcp_option_belongs(&r->now, x->dir, flags, o.kind)) {
            whole = false;
            continue;
        }
        if (o.kind == TCP_OPTION_MSS && get16(data) == 0)
            put16(data, MSS_DEFAULT);
        if (o.kind == TCP_OPTION_WINDOW_SCALE && *data > WINDOW_SCALE_MAX)
            *data = WINDOW_SCALE_MAX;
        memcpy(kept.bytes + kept.nbytes, list.bytes + o.at, o.nbytes);
        kept.nbytes += o.nbytes;
    }
    if (!whole)
        close_up(&kept);
    tcp_option_pad(&kept);
    if (flags & TCP_SYN && !(flags & TCP_ACK))
        offer_mss(&r->now.side[x->dir], &r->now.side[!x->dir], &kept);
    put_list(x, &kept);
}

/* Offset of an option of this kind in the transport header, 0: none. */
static unsigned find_option(const repair_draft *x, unsigned kind, tcp_option *o) {
    unsigned at = 0;
    while (tcp_option_next(x->l4 + 20, x->nl4 - 20, &at, o) > 0 && o->kind != TCP_OPTION_EOL)
        if (o->kind == kind)
            return 20 + o->at;
    return 0;
}

/* The clock as it came plus an offset that grows where it ran back or leapt, so that one wrong value leaves the later
 * steps as they are. */
static uint32_t new_tsval(const tcp_side *own, repair_side *side, const connection_side *now, uint32_t tsval) {
    uint32_t candidate = tsval + side->tsval_offset;
    if (!own->stamped)
        return candidate;
    uint32_t last = now->stamp[0], ahead = candidate - last, behind = last - candidate;
    if (ahead <= STAMP_FARTHEST)
        return candidate;
    if (behind > STAMP_REORDERED)
        side->tsval_offset += last - candidate;
    return last;
}

static uint32_t new_tsecr(const repair_run *r, const repair_draft *x, uint32_t tsecr) {
    const connection_side *now = &r->now.connection.side[!x->dir];
    if ((draft_flags(x) & (TCP_SYN | TCP_ACK)) == TCP_SYN)
        return 0;
    if (!r->now.side[!x->dir].stamped) /* the capture may have missed what is echoed */
        return tsecr;
    uint32_t candidate = tsecr + r->side[!x->dir].tsval_offset;
    return connection_stamp_index(now, candidate) >= 0 ? candidate : now->stamp[0];
}

void repair_timestamps(repair_run *r, repair_draft *x) {
    tcp_option o;
    unsigned at = r->facts.proto == PROTO_TCP ? find_option(x, TCP_OPTION_TIMESTAMPS, &o) : 0;
    if (at == 0)
        return;
    uint8_t *data = x->l4 + at + 2;
    put32(data, new_tsval(&r->now.side[x->dir], &r->side[x->dir], &r->now.connection.side[x->dir], get32(data)));
    put32(data + 4, new_tsecr(r, x, get32(data + 4)));
}

/* The option with other blocks, or without any. */
static void replace_blocks(repair_draft *x, const uint32_t *edges, unsigned nblocks) {
    tcp_option_list list, to = {.nbytes = 0};
    tcp_option o;
    unsigned at = 0;
    list_of(x, &list);
    while (tcp_option_next(list.bytes, list.nbytes, &at, &o) > 0 && o.kind != TCP_OPTION_EOL) {
        unsigned nbytes = o.kind == TCP_OPTION_SACK ? 2 + 8 * nblocks : o.nbytes;
        if (o.kind == TCP_OPTION_NOP || nbytes == 2)
            continue;
        uint8_t *data = tcp_option_add(&to, o.kind, nbytes);
        for (unsigned i = 0; o.kind == TCP_OPTION_SACK && i < 2 * nblocks; i++)
            put32(data + 4 * i, edges[i]);
        if (o.kind != TCP_OPTION_SACK)
            memcpy(data, list.bytes + o.at + 2, nbytes - 2);
    }
    tcp_option_pad(&to);
    put_list(x, &to);
}

void repair_sack(repair_run *r, repair_draft *x) {
    tcp_option o;
    tcp_segment g;
    unsigned at = r->facts.proto == PROTO_TCP ? find_option(x, TCP_OPTION_SACK, &o) : 0;
    if (at == 0)
        return;
    uint8_t *data = x->l4 + at + 2;
    repair_tcp_segment(x, &g);
    for (unsigned i = 0; i < 2 * g.options.nblocks; i++)
        g.options.edges[i] += r->side[!x->dir].shift;
    unsigned n = g.options.nblocks;
    if (!tcp_sack_holds(&r->now, &g))
        n = connection_sack(&r->now.connection.side[!x->dir], g.ack, n, g.options.edges);
    if (n != g.options.nblocks) {
        replace_blocks(x, g.options.edges, n);
        return;
    }
    for (unsigned i = 0; i < 2 * n; i++)
        put32(data + 4 * i, g.options.edges[i]);
}
