/* Rows of the relative layout into packets. Any signs are allowed: what the row cannot say wrongly is derived, and what
 * it says beyond the state (a boundary that does not exist, options that make no list, modes that exclude each other)
 * becomes the likeliest that can be. */
#include <string.h>
#include "packet/relative_priv.h"

/* ---- A row as the model had it ---- */

typedef struct decoder {
    relative_state state;
    const flow_plan *plan;
    uint16_t port[2];
    bool peer_absent;
    float sure[2][VOTE_COUNT]; /* of what a direction keeps from packet to packet */
    float sure_ports;
    int8_t row[RELATIVE_CELLS]; /* vacant cells by the model's leaning, no two modes that exclude each other */
} decoder;

/* Of two modes that exclude each other the likelier. */
static void choose_mode(int8_t *row, const float *soft, unsigned first, unsigned second) {
    unsigned a = relative_fields[first].first, b = relative_fields[second].first;
    if (row[a] > 0 && row[b] > 0)
        row[soft[b] > soft[a] ? a : b] = -1;
}

static const int8_t *settle_row(decoder *d, const int8_t *cells, const float *soft) {
    if (soft == NULL)
        return cells;
    for (size_t c = 0; c < RELATIVE_CELLS; c++)
        d->row[c] = cells[c] != 0 ? cells[c] : soft[c] > 0 ? 1 : -1;
    choose_mode(d->row, soft, REL_TCP, REL_ICMP);
    choose_mode(d->row, soft, REL_ID_SAME, REL_ID_NEXT);
    choose_mode(d->row, soft, REL_ICMP_SEQ_NEXT, REL_ICMP_SEQ_SAME);
    return d->row;
}

/* The first row's "no responder" against every other row's direction: it holds where all of them being wrong is the
 * likelier. */
static bool peer_is_absent(const int8_t *cells, const float *soft, size_t nexist) {
    unsigned absent = relative_fields[REL_PEER_ABSENT].first, direction = relative_fields[REL_DIRECTION].first;
    if (nexist == 0 || cells[absent] <= 0)
        return false;
    float against = 0, weight = soft != NULL ? soft[absent] : 1;
    for (size_t i = 1; i < nexist && against < weight; i++)
        if (cells[i * RELATIVE_CELLS + direction] > 0)
            against += soft != NULL ? soft[i * RELATIVE_CELLS + direction] : 1;
    return against < weight;
}

/* ---- Votes ---- */

static float least_sure(const float *soft, unsigned field) {
    float least = 1;
    for (unsigned b = 0; b < relative_fields[field].nbits; b++) {
        float x = soft[relative_fields[field].first + b];
        x = x < 0 ? -x : x;
        least = x < least ? x : least;
    }
    return least;
}

static float lesser(float a, float b) {
    return a < b ? a : b;
}

/* A value that is as the direction's previous is as sure as that. */
static void vote_kept(float *sure, const int8_t *row, const float *soft, unsigned same, unsigned value) {
    float mode = least_sure(soft, same);
    *sure = lesser(mode, rel_get(row, same) ? *sure : least_sure(soft, value));
}

static void vote_responder(decoder *d, const int8_t *row, const float *soft) {
    static const uint8_t field[VOTE_COUNT] = {
        [VOTE_TTL] = REL_RESPONDER_TTL, [VOTE_TOS] = REL_RESPONDER_TOS, [VOTE_IP_FLAGS] = REL_RESPONDER_IP_FLAGS};
    for (unsigned v = 0; v < VOTE_COUNT; v++) {
        d->sure[0][v] = d->sure[1][v] = 1;
        if (field[v] != 0 && !rel_get(row, REL_PEER_ABSENT))
            d->sure[1][v] = least_sure(soft, field[v]);
    }
    d->sure_ports = lesser(least_sure(soft, REL_SERVICE_FIRST),
                           lesser(least_sure(soft, REL_SERVICE_PORT), least_sure(soft, REL_CLIENT_PORT)));
}

static void vote(decoder *d, size_t i, unsigned dir, const int8_t *row, const float *soft, packet_votes *votes) {
    float *sure = d->sure[dir], *weight = votes->weight;
    if (soft == NULL) {
        for (unsigned v = 0; v < VOTE_COUNT; v++)
            weight[v] = 1;
        return;
    }
    if (i == 0)
        vote_responder(d, row, soft);
    vote_kept(&sure[VOTE_TTL], row, soft, REL_TTL_SAME, REL_TTL);
    vote_kept(&sure[VOTE_TOS], row, soft, REL_TOS_SAME, REL_TOS);
    if (!rel_get(row, REL_IPV6))
        vote_kept(&sure[VOTE_IP_FLAGS], row, soft, REL_IP_FLAGS_SAME, REL_IP_FLAGS);
    weight[VOTE_TTL] = sure[VOTE_TTL];
    weight[VOTE_TOS] = sure[VOTE_TOS];
    weight[VOTE_IP_FLAGS] = sure[VOTE_IP_FLAGS];
    weight[VOTE_PROTO] = lesser(least_sure(soft, REL_TCP), least_sure(soft, REL_IPV6));
    if (!rel_get(row, REL_TCP))
        weight[VOTE_PROTO] = lesser(weight[VOTE_PROTO], least_sure(soft, REL_ICMP));
    weight[VOTE_ADDRESSES] = i == 0 || d->peer_absent ? 1 : least_sure(soft, REL_DIRECTION);
    weight[VOTE_PORTS] = lesser(weight[VOTE_ADDRESSES], d->sure_ports);
}

/* ---- Fields ---- */

static void decode_ip(const relative_direction *dir, const int8_t *row, bool ipv6, uint8_t *h) {
    unsigned tos = rel_get(row, REL_TOS_SAME) ? dir->tos : rel_get(row, REL_TOS);
    unsigned ttl = rel_get(row, REL_TTL_SAME) ? dir->ttl : rel_get(row, REL_TTL);
    if (ipv6) {
        put16(h, 0x6000 | tos << 4);
        h[7] = (uint8_t)ttl;
        return;
    }
    unsigned id = dir->ip_id, flags = rel_get(row, REL_IP_FLAGS_SAME) ? dir->ip_flags : rel_get(row, REL_IP_FLAGS);
    if (rel_get(row, REL_ID_SAME))
        id = dir->started ? dir->ip_id : 0;
    else
        id += rel_get(row, REL_ID_NEXT) ? 1 : rel_get(row, REL_ID_STEP);
    h[0] = 0x40;
    h[1] = (uint8_t)tos;
    put16(h + 4, id & 0xffff);
    h[6] = (uint8_t)(flags << 5);
    h[8] = (uint8_t)ttl;
}

static uint32_t decode_number(const connection_side *s, const int8_t *row, const float *soft, unsigned index_field,
                              unsigned step_field) {
    if (rel_get(row, index_field) == NUMBER_ESCAPE)
        return s->next + (uint32_t)layout_step(rel_get(row, step_field), 32);
    unsigned known = s->nboundaries + 1;
    return connection_number(s, relative_below(row, soft, index_field, known < NUMBER_ESCAPE ? known : NUMBER_ESCAPE));
}

/* Returns the header's length. */
static unsigned decode_tcp(const decoder *d, unsigned dir, const int8_t *row, const float *soft, relative_escape *e,
                           uint8_t *l4) {
    const relative_state *s = &d->state;
    unsigned flags = rel_get(row, REL_TCP_FLAGS);
    bool acks = flags & TCP_ACK;
    uint32_t ack = acks ? decode_number(&s->side[!dir], row, soft, REL_ACK_INDEX, REL_ACK_STEP) : 0;
    tcp_option_list list = {.nbytes = 0};
    relative_decode_options(s, dir, acks, ack, row, soft, e, &list);
    put32(l4 + 4, decode_number(&s->side[dir], row, soft, REL_SEQ_INDEX, REL_SEQ_STEP));
    put32(l4 + 8, ack);
    put16(l4 + 12, (20 + list.nbytes) / 4 << 12 | flags);
    put16(l4 + 14, rel_get(row, REL_WINDOW_SAME) ? s->dir[dir].window : rel_get(row, REL_WINDOW));
    memcpy(l4 + 20, list.bytes, list.nbytes);
    return 20 + list.nbytes;
}

static void decode_icmp(const decoder *d, unsigned dir, bool ipv6, const int8_t *row, uint8_t *l4) {
    const connection_echo *e = &d->state.echo;
    unsigned type = rel_get(row, REL_ICMP_TYPE), step = rel_get(row, REL_ICMP_STEP);
    int echo = relative_echo(ipv6, type);
    l4[0] = (uint8_t)type;
    l4[1] = (uint8_t)rel_get(row, REL_ICMP_CODE);
    if (echo < 0) {
        put16(l4 + 4, rel_get(row, REL_ICMP_WORD));
        put16(l4 + 6, step);
        return;
    }
    uint16_t number = connection_echo_expected(e, (unsigned)echo, dir);
    if (!rel_get(row, REL_ICMP_SEQ_NEXT)) {
        if (rel_get(row, REL_ICMP_SEQ_SAME))
            number = echo == ICMP_ECHO_REQUEST ? e->last_request : e->last_reply;
        else
            number = (uint16_t)(number + step);
    }
    put16(l4 + 4, d->plan->icmp_id);
    put16(l4 + 6, number);
}

/* ---- A packet ---- */

static void put_addresses(const flow_plan *plan, packet *p) {
    bool ipv6 = packet_is_ipv6(p);
    for (unsigned side = 0; side < 2; side++) {
        unsigned of = side != p->dir;
        ip_address_put(ipv6 ? plan->addr6[of] : plan->addr[of], p->header + packet_address_at(p, side),
                       packet_naddress(p));
    }
}

/* Options or extension headers, and the transport header behind them; false where the extension headers do not lead to
 * it. The fixed IP header is there. */
static bool join_headers(packet *p, relative_view *v, const relative_items *x, unsigned nextension, const uint8_t *l4) {
    uint8_t *h = p->header;
    unsigned fixed = v->ipv6 ? 40 : 20, proto;
    v->nip = fixed + nextension;
    if (v->nip + v->nl4 > PACKET_HEADER_MAX)
        return false;
    p->nheader = (uint8_t)(v->nip + v->nl4);
    memcpy(h + fixed, x->extension, nextension);
    memcpy(h + v->nip, l4, v->nl4);
    memset(h + p->nheader, 0, (size_t)PACKET_HEADER_MAX - p->nheader);
    if (!v->ipv6) {
        h[0] = (uint8_t)(0x40 | v->nip / 4);
        h[9] = (uint8_t)v->proto;
        return true;
    }
    h[6] = nextension > 0 ? x->next_header : (uint8_t)v->proto;
    return packet_walk_ipv6(h, p->nheader, &proto) == v->nip && proto == v->proto;
}

/* What follows from the rest, or what the escape says instead. */
static void put_items(const relative_state *s, const relative_view *v, const relative_items *x, unsigned payload,
                      packet *p) {
    for (relative_item item = ITEM_END + 1; item < ITEM_EXTENSION; item++)
        if (item_applies(item, v, p))
            item_set(item, v, p, x->set >> item & 1 ? x->value[item] : item_expected(item, v, s, payload, p));
}

static void put_checksum(const relative_view *v, bool none, packet *p) {
    unsigned kept = v->ipv6 ? 0 : get16(p->header + 10);
    checksum_fill(p, none);
    if (!v->ipv6) /* an item may have made it a wrong one */
        put16(p->header + 10, kept);
}

static void decode_packet(decoder *d, const int8_t *row, const float *soft, packet *p) {
    uint8_t l4[60] = {0};
    bool tcp = rel_get(row, REL_TCP), icmp = !tcp && rel_get(row, REL_ICMP);
    relative_view v = {.ipv6 = rel_get(row, REL_IPV6), .nl4 = 8};
    v.proto = tcp ? PROTO_TCP : !icmp ? PROTO_UDP : v.ipv6 ? PROTO_ICMPV6 : PROTO_ICMP;
    relative_escape e;
    relative_items items;
    escape_load(&e, row);
    decode_ip(&d->state.dir[p->dir], row, v.ipv6, p->header);
    put_addresses(d->plan, p);
    if (tcp)
        v.nl4 = decode_tcp(d, p->dir, row, soft, &e, l4);
    else if (icmp)
        decode_icmp(d, p->dir, v.ipv6, row, l4);
    if (!icmp) {
        put16(l4, d->port[p->dir]);
        put16(l4 + 2, d->port[!p->dir]);
    }
    escape_get_items(&e, v.ipv6, &items);
    if (!join_headers(p, &v, &items, items.nextension, l4))
        join_headers(p, &v, &items, 0, l4);
    unsigned payload = rel_get(row, REL_PAYLOAD), most = 65535u + (v.ipv6 ? 40 : 0) - p->nheader;
    put_items(&d->state, &v, &items, payload < most ? payload : most, p);
    put_checksum(&v, v.proto == PROTO_UDP && rel_get(row, REL_UDP_NO_CHECKSUM), p);
    relative_pass(&d->state, p);
}

static void decode_ports(decoder *d, const int8_t *row) {
    if (!rel_get(row, REL_TCP) && rel_get(row, REL_ICMP))
        return;
    bool service_first = rel_get(row, REL_SERVICE_FIRST);
    d->port[!service_first] = (uint16_t)rel_get(row, REL_SERVICE_PORT);
    d->port[service_first] = (uint16_t)rel_get(row, REL_CLIENT_PORT);
}

/* After the first packet, whose values stand for those of a responder that there should not be. */
static void decode_responder(decoder *d, const int8_t *row) {
    relative_direction *responder = &d->state.dir[1], *initiator = &d->state.dir[0];
    bool absent = rel_get(row, REL_PEER_ABSENT);
    responder->tos = absent ? initiator->tos : (uint8_t)rel_get(row, REL_RESPONDER_TOS);
    responder->ttl = absent ? initiator->ttl : (uint8_t)rel_get(row, REL_RESPONDER_TTL);
    if (!rel_get(row, REL_IPV6))
        responder->ip_flags = absent ? initiator->ip_flags : (uint8_t)rel_get(row, REL_RESPONDER_IP_FLAGS);
}

status relative_decode(const int8_t *cells, const float *soft, size_t nexist, const flow_plan *plan, flow *f,
                       packet_votes *votes) {
    decoder d = {.plan = plan, .peer_absent = peer_is_absent(cells, soft, nexist)};
    int64_t time_ns = plan->start_ns;
    f->npackets = 0;
    f->label = f->run = -1;
    f->file = 0;
    f->key = (flow_key){.proto = 0};
    relative_start(&d.state, plan);
    for (size_t i = 0; i < nexist; i++) {
        const float *soft_row = soft != NULL ? soft + i * RELATIVE_CELLS : NULL;
        const int8_t *row = settle_row(&d, cells + i * RELATIVE_CELLS, soft_row);
        packet p = {.frame = (uint32_t)i, .dir = i > 0 && !d.peer_absent && rel_get(row, REL_DIRECTION)};
        if (i == 0)
            decode_ports(&d, row);
        else
            time_ns += layout_gap_ns(rel_get(row, REL_GAP));
        p.time_ns = time_ns;
        decode_packet(&d, row, soft_row, &p);
        if (i == 0)
            decode_responder(&d, row);
        if (votes != NULL)
            vote(&d, i, p.dir, row, soft_row, &votes[i]);
        TRY(flow_add(f, &p));
    }
    if (f->npackets > 0)
        f->key = flow_key_of(&f->packets[0]);
    return ST_OK;
}
