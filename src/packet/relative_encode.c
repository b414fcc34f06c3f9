/* A flow's packets into rows of the relative layout. */
#include <string.h>
#include "packet/relative_priv.h"

static void encode_ip(relative_direction *dir, const packet *p, int8_t *row) {
    const uint8_t *h = p->header;
    uint8_t flags = h[6] >> 6;
    uint16_t id = get16(h + 4);
    bool same = id == (dir->started ? dir->ip_id : 0), next = id == (uint16_t)(dir->ip_id + 1);
    rel_put(row, REL_PAYLOAD, packet_payload(p));
    rel_put(row, REL_TOS_SAME, h[1] == dir->tos);
    rel_put(row, REL_TOS, h[1]);
    rel_put(row, REL_IP_FLAGS_SAME, flags == dir->ip_flags);
    rel_put(row, REL_IP_FLAGS, flags);
    rel_put(row, REL_TTL_SAME, h[8] == dir->ttl);
    rel_put(row, REL_TTL, h[8]);
    rel_put(row, REL_ID_SAME, same);
    rel_put(row, REL_ID_NEXT, !same && next);
    rel_put(row, REL_ID_STEP, (uint16_t)(id - dir->ip_id));
    dir->tos = h[1];
    dir->ip_flags = flags;
    dir->ttl = h[8];
    dir->ip_id = id;
    dir->started = true;
}

/* Constants of the responder stand in the first row, so that the model need not know in which row it comes first. Where
 * it never comes they are the initiator's. */
static void encode_responder(relative_direction *responder, const flow *f, int8_t *row) {
    const uint8_t *h = f->packets[0].header;
    for (size_t i = 0; i < f->npackets; i++) {
        if (f->packets[i].dir != 0) {
            h = f->packets[i].header;
            break;
        }
    }
    responder->tos = h[1];
    responder->ip_flags = h[6] >> 6;
    responder->ttl = h[8];
    rel_put(row, REL_RESPONDER_TOS, responder->tos);
    rel_put(row, REL_RESPONDER_IP_FLAGS, responder->ip_flags);
    rel_put(row, REL_RESPONDER_TTL, responder->ttl);
}

static void encode_ports(const uint8_t *l4, int8_t *row) {
    unsigned from = get16(l4), to = get16(l4 + 2);
    rel_put(row, REL_SERVICE_FIRST, from <= to);
    rel_put(row, REL_SERVICE_PORT, from <= to ? from : to);
    rel_put(row, REL_CLIENT_PORT, from <= to ? to : from);
}

static void encode_number(const connection_side *s, uint32_t number, unsigned index_field, unsigned step_field,
                          int8_t *row) {
    int index = connection_index(s, number);
    rel_put(row, index_field, index >= 0 && index < NUMBER_ESCAPE ? (unsigned)index : NUMBER_ESCAPE);
    rel_put(row, step_field, layout_sign_magnitude((int32_t)(number - s->next), 32));
}

static void encode_stamps(connection_side *own, connection_side *peer, const uint8_t *option, int8_t *row) {
    uint32_t tsval = get32(option + 2), tsecr = get32(option + 6);
    unsigned nbits = relative_fields[REL_TSVAL_STEP].nbits;
    uint32_t code = layout_sign_magnitude((int32_t)(tsval - own->stamp[0]), nbits);
    rel_put(row, REL_TSVAL_STEP, code);
    /* What the decoder will have, also where the step was too large for the field. */
    connection_stamped(own, own->stamp[0] + (uint32_t)layout_step(code, nbits));

    int index = connection_stamp_index(peer, tsecr);
    unsigned symbol = tsecr == 0 ? TSECR_ZERO : index >= 0 && index < TSECR_ZERO ? (unsigned)index : TSECR_ESCAPE;
    int32_t step = (int32_t)(tsecr - peer->stamp[0]);
    code = layout_sign_magnitude(step, nbits);
    rel_put(row, REL_TSECR_INDEX, symbol);
    rel_put(row, REL_TSECR_STEP, code);
    if (symbol == TSECR_ESCAPE && step > 0)
        connection_stamped(peer, peer->stamp[0] + (uint32_t)layout_step(code, nbits));
}

static unsigned option_symbol(const tcp_option *o) {
    switch (o->kind) {
    case TCP_OPTION_MSS:
        return SYMBOL_MSS;
    case TCP_OPTION_WINDOW_SCALE:
        return SYMBOL_WINDOW_SCALE;
    case TCP_OPTION_SACK_PERMITTED:
        return SYMBOL_SACK_PERMITTED;
    case TCP_OPTION_TIMESTAMPS:
        return SYMBOL_TIMESTAMPS;
    case TCP_OPTION_SACK:
        return SYMBOL_SACK + o->nbytes / 8 - 1;
    default:
        return SYMBOL_NOP;
    }
}

static void encode_options(connection_side *own, connection_side *peer, const uint8_t *list, unsigned nbytes,
                           int8_t *row) {
    unsigned at = 0, nsymbols = 0, npadding = 0;
    tcp_option o;
    while (tcp_option_next(list, nbytes, &at, &o) > 0) {
        if (o.kind == TCP_OPTION_EOL) {
            npadding++;
            continue;
        }
        rel_put(row, REL_OPTION + nsymbols++, option_symbol(&o));
        if (o.kind == TCP_OPTION_MSS)
            rel_put(row, REL_MSS, get16(list + o.at + 2));
        else if (o.kind == TCP_OPTION_WINDOW_SCALE)
            rel_put(row, REL_WINDOW_SCALE, list[o.at + 2]);
        else if (o.kind == TCP_OPTION_TIMESTAMPS)
            encode_stamps(own, peer, list + o.at, row);
    }
    for (; npadding > 3; npadding--) /* what padding to a whole word would not write */
        rel_put(row, REL_OPTION + nsymbols++, SYMBOL_EOL);
    while (nsymbols < RELATIVE_OPTIONS)
        rel_put(row, REL_OPTION + nsymbols++, SYMBOL_END);
}

static void encode_tcp(relative_state *s, const packet *p, int8_t *row) {
    const uint8_t *l4 = p->header + 20;
    connection_side *own = &s->side[p->dir], *peer = &s->side[!p->dir];
    relative_direction *dir = &s->dir[p->dir];
    uint32_t seq = get32(l4 + 4), ack = get32(l4 + 8);
    unsigned flags = get16(l4 + 12) & 0xfffu;
    uint16_t window = get16(l4 + 14);
    rel_put(row, REL_TCP_FLAGS, flags);
    encode_number(own, seq, REL_SEQ_INDEX, REL_SEQ_STEP, row);
    encode_number(peer, ack, REL_ACK_INDEX, REL_ACK_STEP, row);
    rel_put(row, REL_WINDOW_SAME, window == dir->window);
    rel_put(row, REL_WINDOW, window);
    dir->window = window;
    encode_options(own, peer, l4 + 20, p->nheader - 40u, row);
    connection_sent(own, seq, packet_payload(p), flags);
    if (flags & TCP_ACK)
        connection_acked(peer, ack);
}

static void encode_icmp(relative_state *s, const packet *p, int8_t *row) {
    const uint8_t *l4 = p->header + 20;
    unsigned type = l4[0];
    uint16_t word = get16(l4 + 4), number = get16(l4 + 6);
    rel_put(row, REL_ICMP_TYPE, type);
    rel_put(row, REL_ICMP_CODE, l4[1]);
    rel_put(row, REL_ICMP_WORD, word);
    rel_put(row, REL_ICMP_STEP, number);
    if (icmp_is_echo(type)) {
        uint16_t expected = connection_echo_expected(&s->echo, type, p->dir);
        uint16_t last = type == ICMP_ECHO_REQUEST ? s->echo.last_request : s->echo.last_reply;
        rel_put(row, REL_ICMP_SEQ_NEXT, number == expected);
        rel_put(row, REL_ICMP_SEQ_SAME, number != expected && number == last);
        rel_put(row, REL_ICMP_STEP, (uint16_t)(number - expected));
        connection_echo_seen(&s->echo, type, p->dir, number);
    }
}

status relative_encode(const flow *f, size_t nrows, int8_t *cells) {
    flow_plan plan;
    relative_state s;
    uint8_t mask[RELATIVE_CELLS];
    const char *why;
    if (!relative_accepts(f, &why))
        return FAIL(ST_RANGE, "the relative layout has no place for %s", why);
    relative_plan_of(f, &plan);
    relative_start(&s, &plan);
    memset(cells, 0, nrows * RELATIVE_CELLS);
    for (size_t i = 0; i < nrows; i++) {
        int8_t *row = cells + i * RELATIVE_CELLS;
        rel_put(row, REL_VALID, i < f->npackets);
        if (i >= f->npackets)
            continue;
        const packet *p = &f->packets[i];
        unsigned proto = packet_proto(p);
        rel_put(row, REL_DIRECTION, p->dir);
        rel_put(row, REL_TCP, proto == PROTO_TCP);
        rel_put(row, REL_ICMP, proto == PROTO_ICMP);
        rel_put(row, REL_GAP, layout_gap_code(i > 0 ? p->time_ns - f->packets[i - 1].time_ns : 0));
        if (i == 0)
            encode_responder(&s.dir[1], f, row);
        encode_ip(&s.dir[p->dir], p, row);
        encode_ports(p->header + 20, row);
        rel_put(row, REL_UDP_NO_CHECKSUM, get16(p->header + 26) == 0);
        if (proto == PROTO_TCP)
            encode_tcp(&s, p, row);
        else if (proto == PROTO_ICMP)
            encode_icmp(&s, p, row);
        relative_presence(row, i, mask);
        for (size_t c = 0; c < RELATIVE_CELLS; c++)
            if (!mask[c])
                row[c] = 0;
    }
    return ST_OK;
}
