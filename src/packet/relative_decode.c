/* Rows of the relative layout into packets. Any signs are allowed: what the row cannot say wrongly is derived, and what
 * it says beyond the state (a boundary that does not exist, options that do not fit) falls back to the nearest that can
 * be. */
#include <string.h>
#include "packet/relative_priv.h"

static void decode_ip(relative_direction *dir, const int8_t *row, uint8_t *h) {
    if (!rel_get(row, REL_TOS_SAME))
        dir->tos = (uint8_t)rel_get(row, REL_TOS);
    if (!rel_get(row, REL_IP_FLAGS_SAME))
        dir->ip_flags = (uint8_t)rel_get(row, REL_IP_FLAGS);
    if (!rel_get(row, REL_TTL_SAME))
        dir->ttl = (uint8_t)rel_get(row, REL_TTL);
    if (rel_get(row, REL_ID_SAME))
        dir->ip_id = dir->started ? dir->ip_id : 0;
    else
        dir->ip_id = (uint16_t)(dir->ip_id + (rel_get(row, REL_ID_NEXT) ? 1 : rel_get(row, REL_ID_STEP)));
    dir->started = true;
    h[0] = 0x45;
    h[1] = dir->tos;
    put16(h + 4, dir->ip_id);
    h[6] = (uint8_t)(dir->ip_flags << 6);
    h[8] = dir->ttl;
}

static uint32_t decode_number(const connection_side *s, const int8_t *row, unsigned index_field, unsigned step_field) {
    unsigned index = rel_get(row, index_field);
    if (index == NUMBER_ESCAPE)
        return s->next + (uint32_t)layout_step(rel_get(row, step_field), 32);
    return connection_number(s, index);
}

static void decode_stamps(connection_side *own, connection_side *peer, const int8_t *row, uint8_t *data) {
    unsigned nbits = relative_fields[REL_TSVAL_STEP].nbits, index = rel_get(row, REL_TSECR_INDEX);
    connection_stamped(own, own->stamp[0] + (uint32_t)layout_step(rel_get(row, REL_TSVAL_STEP), nbits));
    uint32_t tsecr = 0;
    if (index == TSECR_ESCAPE) {
        int32_t step = layout_step(rel_get(row, REL_TSECR_STEP), nbits);
        tsecr = peer->stamp[0] + (uint32_t)step;
        if (step > 0)
            connection_stamped(peer, tsecr);
    } else if (index != TSECR_ZERO) {
        tsecr = peer->stamp[index < peer->nstamps ? index : 0];
    }
    put32(data, own->stamp[0]);
    put32(data + 4, tsecr);
}

static void decode_sack(const connection_side *peer, uint32_t ack, unsigned nblocks, tcp_option_list *list) {
    uint32_t edges[2 * SACK_BLOCKS];
    unsigned room = (TCP_OPTIONS_MAX - list->nbytes - (list->nbytes < TCP_OPTIONS_MAX - 2 ? 2 : 0)) / 8;
    unsigned found = connection_sack(peer, ack, nblocks < room ? nblocks : room, edges);
    uint8_t *data = found > 0 ? tcp_option_add(list, TCP_OPTION_SACK, 2 + 8 * found) : NULL;
    for (unsigned i = 0; data != NULL && i < 2 * found; i++)
        put32(data + 4 * i, edges[i]);
}

/* An option that came already, or that does not fit any more, is left out; an unknown symbol stands for a NOP. */
static void decode_options(connection_side *own, connection_side *peer, uint32_t ack, const int8_t *row,
                           tcp_option_list *list) {
    unsigned seen = 0;
    for (unsigned i = 0; i < RELATIVE_OPTIONS; i++) {
        unsigned symbol = rel_get(row, REL_OPTION + i);
        bool sack = symbol >= SYMBOL_SACK && symbol < SYMBOL_SACK + SACK_BLOCKS;
        unsigned once = sack                                                  ? 1u << SYMBOL_SACK
                        : symbol >= SYMBOL_MSS && symbol <= SYMBOL_TIMESTAMPS ? 1u << symbol
                                                                              : 0;
        if (symbol == SYMBOL_END)
            break;
        if (seen & once)
            continue;
        seen |= once;
        uint8_t *data;
        if (symbol == SYMBOL_MSS) {
            if ((data = tcp_option_add(list, TCP_OPTION_MSS, 4)) != NULL)
                put16(data, rel_get(row, REL_MSS));
        } else if (symbol == SYMBOL_WINDOW_SCALE) {
            unsigned scale = rel_get(row, REL_WINDOW_SCALE);
            if ((data = tcp_option_add(list, TCP_OPTION_WINDOW_SCALE, 3)) != NULL)
                *data = (uint8_t)(scale < WINDOW_SCALE_MAX ? scale : WINDOW_SCALE_MAX);
        } else if (symbol == SYMBOL_SACK_PERMITTED) {
            tcp_option_add(list, TCP_OPTION_SACK_PERMITTED, 2);
        } else if (symbol == SYMBOL_TIMESTAMPS) {
            if ((data = tcp_option_add(list, TCP_OPTION_TIMESTAMPS, 10)) != NULL)
                decode_stamps(own, peer, row, data);
        } else if (sack) {
            decode_sack(peer, ack, symbol - SYMBOL_SACK + 1, list);
        } else {
            tcp_option_add(list, symbol == SYMBOL_EOL ? TCP_OPTION_EOL : TCP_OPTION_NOP, 1);
        }
        if (symbol == SYMBOL_EOL && i + 1 < RELATIVE_OPTIONS && rel_get(row, REL_OPTION + i + 1) != SYMBOL_EOL)
            break; /* nothing follows the end of the list but more of it */
    }
    tcp_option_pad(list);
}

/* What the payload may be, so that the total length stays in its 16 bits. */
static unsigned payload_within(const int8_t *row, unsigned nheader) {
    unsigned payload = rel_get(row, REL_PAYLOAD);
    return payload < 65535 - nheader ? payload : 65535 - nheader;
}

static void decode_tcp(relative_state *s, const int8_t *row, packet *p) {
    uint8_t *l4 = p->header + 20;
    connection_side *own = &s->side[p->dir], *peer = &s->side[!p->dir];
    relative_direction *dir = &s->dir[p->dir];
    unsigned flags = rel_get(row, REL_TCP_FLAGS);
    uint32_t seq = decode_number(own, row, REL_SEQ_INDEX, REL_SEQ_STEP);
    uint32_t ack = flags & TCP_ACK ? decode_number(peer, row, REL_ACK_INDEX, REL_ACK_STEP) : 0;
    tcp_option_list list = {.nbytes = 0};
    decode_options(own, peer, flags & TCP_ACK ? ack : peer->next, row, &list);
    if (!rel_get(row, REL_WINDOW_SAME))
        dir->window = (uint16_t)rel_get(row, REL_WINDOW);
    put32(l4 + 4, seq);
    put32(l4 + 8, ack);
    put16(l4 + 12, (20 + list.nbytes) / 4 << 12 | flags);
    put16(l4 + 14, dir->window);
    memcpy(l4 + 20, list.bytes, list.nbytes);
    p->nheader = (uint8_t)(40 + list.nbytes);
    connection_sent(own, seq, payload_within(row, p->nheader), flags);
    if (flags & TCP_ACK)
        connection_acked(peer, ack);
}

static void decode_icmp(relative_state *s, uint16_t id, const int8_t *row, packet *p) {
    uint8_t *l4 = p->header + 20;
    unsigned type = rel_get(row, REL_ICMP_TYPE), step = rel_get(row, REL_ICMP_STEP);
    l4[0] = (uint8_t)type;
    l4[1] = (uint8_t)rel_get(row, REL_ICMP_CODE);
    p->nheader = 28;
    if (!icmp_is_echo(type)) {
        put16(l4 + 4, rel_get(row, REL_ICMP_WORD));
        put16(l4 + 6, step);
        return;
    }
    uint16_t number = connection_echo_expected(&s->echo, type, p->dir);
    if (!rel_get(row, REL_ICMP_SEQ_NEXT)) {
        if (rel_get(row, REL_ICMP_SEQ_SAME))
            number = type == ICMP_ECHO_REQUEST ? s->echo.last_request : s->echo.last_reply;
        else
            number = (uint16_t)(number + step);
    }
    put16(l4 + 4, id);
    put16(l4 + 6, number);
    connection_echo_seen(&s->echo, type, p->dir, number);
}

static void decode_ports(const int8_t *first_row, uint16_t port[2]) {
    if (!rel_get(first_row, REL_TCP) && rel_get(first_row, REL_ICMP))
        return;
    bool service_first = rel_get(first_row, REL_SERVICE_FIRST);
    port[!service_first] = (uint16_t)rel_get(first_row, REL_SERVICE_PORT);
    port[service_first] = (uint16_t)rel_get(first_row, REL_CLIENT_PORT);
}

static void decode_packet(relative_state *s, const flow_plan *plan, const uint16_t port[2], const int8_t *row,
                          packet *p) {
    uint8_t *h = p->header, *l4 = h + 20;
    bool tcp = rel_get(row, REL_TCP), icmp = !tcp && rel_get(row, REL_ICMP);
    decode_ip(&s->dir[p->dir], row, h);
    h[9] = tcp ? PROTO_TCP : icmp ? PROTO_ICMP : PROTO_UDP;
    put32(h + 12, plan->addr[p->dir]);
    put32(h + 16, plan->addr[!p->dir]);
    if (!icmp) {
        put16(l4, port[p->dir]);
        put16(l4 + 2, port[!p->dir]);
    }
    if (tcp)
        decode_tcp(s, row, p);
    else if (icmp)
        decode_icmp(s, plan->icmp_id, row, p);
    else
        p->nheader = 28;
    unsigned payload = payload_within(row, p->nheader);
    if (!tcp && !icmp)
        put16(l4 + 4, 8 + payload);
    put16(h + 2, p->nheader + payload);
    p->wire_len = p->nheader + payload;
    checksum_fill(p, !tcp && !icmp && rel_get(row, REL_UDP_NO_CHECKSUM));
}

status relative_decode(const int8_t *cells, const float *soft, size_t nexist, const flow_plan *plan, flow *f,
                       packet_votes *votes) {
    for (size_t i = 0; votes != NULL && i < nexist; i++)
        for (unsigned v = 0; v < VOTE_COUNT; v++)
            votes[i].weight[v] = 1;
    (void)soft;
    relative_state s;
    uint16_t port[2] = {0, 0};
    int64_t time_ns = plan->start_ns;
    f->npackets = 0;
    f->label = f->run = -1;
    f->file = 0;
    f->key = (flow_key){.proto = 0};
    relative_start(&s, plan);
    for (size_t i = 0; i < nexist; i++) {
        const int8_t *row = cells + i * RELATIVE_CELLS;
        packet p = {.frame = (uint32_t)i, .dir = i > 0 && rel_get(row, REL_DIRECTION)};
        if (i == 0) {
            decode_ports(row, port);
            s.dir[1].tos = (uint8_t)rel_get(row, REL_RESPONDER_TOS);
            s.dir[1].ip_flags = (uint8_t)rel_get(row, REL_RESPONDER_IP_FLAGS);
            s.dir[1].ttl = (uint8_t)rel_get(row, REL_RESPONDER_TTL);
        } else {
            time_ns += layout_gap_ns(rel_get(row, REL_GAP));
        }
        p.time_ns = time_ns;
        decode_packet(&s, plan, port, row, &p);
        TRY(flow_add(f, &p));
    }
    if (f->npackets > 0)
        f->key = flow_key_of(&f->packets[0]);
    return ST_OK;
}
