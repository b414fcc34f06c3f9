/* A flow's packets into rows of the relative layout. */
#include <string.h>
#include "packet/relative_priv.h"

static void encode_ip(const relative_direction *dir, const packet *p, const relative_view *v, int8_t *row) {
    const uint8_t *h = p->header;
    uint8_t tos = relative_tos(p), ttl = relative_ttl(p), flags = h[6] >> 5;
    uint16_t id = get16(h + 4);
    bool same = id == (dir->started ? dir->ip_id : 0), next = id == (uint16_t)(dir->ip_id + 1);
    rel_put(row, REL_PAYLOAD, packet_payload(p));
    rel_put(row, REL_TOS_SAME, tos == dir->tos);
    rel_put(row, REL_TOS, tos);
    rel_put(row, REL_TTL_SAME, ttl == dir->ttl);
    rel_put(row, REL_TTL, ttl);
    if (v->ipv6)
        return;
    rel_put(row, REL_IP_FLAGS_SAME, flags == dir->ip_flags);
    rel_put(row, REL_IP_FLAGS, flags);
    rel_put(row, REL_ID_SAME, same);
    rel_put(row, REL_ID_NEXT, !same && next);
    rel_put(row, REL_ID_STEP, (uint16_t)(id - dir->ip_id));
}

/* Constants of the responder stand in the first row, so that the model need not know in which row it comes first. Where
 * it never comes that is said there, and its constants would be the initiator's. */
static void encode_responder(relative_direction *responder, const flow *f, int8_t *row) {
    const packet *p = &f->packets[0];
    for (size_t i = 0; i < f->npackets && p->dir == 0; i++)
        p = &f->packets[i];
    if (p->dir == 0)
        p = &f->packets[0];
    responder->tos = relative_tos(p);
    responder->ip_flags = p->header[6] >> 5;
    responder->ttl = relative_ttl(p);
    rel_put(row, REL_PEER_ABSENT, p->dir == 0);
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

static void encode_tcp(const relative_state *s, const packet *p, const relative_view *v, relative_escape *e,
                       int8_t *row) {
    const uint8_t *l4 = p->header + v->nip;
    uint16_t window = get16(l4 + 14);
    rel_put(row, REL_TCP_FLAGS, get16(l4 + 12) & 0xfffu);
    encode_number(&s->side[p->dir], get32(l4 + 4), REL_SEQ_INDEX, REL_SEQ_STEP, row);
    encode_number(&s->side[!p->dir], get32(l4 + 8), REL_ACK_INDEX, REL_ACK_STEP, row);
    rel_put(row, REL_WINDOW_SAME, window == s->dir[p->dir].window);
    rel_put(row, REL_WINDOW, window);
    relative_encode_options(s, p, v, e, row);
}

static void encode_icmp(const relative_state *s, const packet *p, const relative_view *v, int8_t *row) {
    const uint8_t *l4 = p->header + v->nip;
    uint16_t number = get16(l4 + 6);
    int echo = relative_echo(v->ipv6, l4[0]);
    rel_put(row, REL_ICMP_TYPE, l4[0]);
    rel_put(row, REL_ICMP_CODE, l4[1]);
    rel_put(row, REL_ICMP_WORD, get16(l4 + 4));
    rel_put(row, REL_ICMP_STEP, number);
    if (echo >= 0) {
        uint16_t expected = connection_echo_expected(&s->echo, (unsigned)echo, p->dir);
        uint16_t last = echo == ICMP_ECHO_REQUEST ? s->echo.last_request : s->echo.last_reply;
        rel_put(row, REL_ICMP_SEQ_NEXT, number == expected);
        rel_put(row, REL_ICMP_SEQ_SAME, number != expected && number == last);
        rel_put(row, REL_ICMP_STEP, (uint16_t)(number - expected));
    }
}

/* Packet i; false where its escape is too long. */
static bool encode_packet(relative_state *s, const flow *f, size_t i, int8_t *row) {
    const packet *p = &f->packets[i];
    relative_view v = relative_look(p);
    const uint8_t *l4 = p->header + v.nip;
    relative_escape e = {.nbytes = 0};
    rel_put(row, REL_VALID, 1);
    rel_put(row, REL_DIRECTION, p->dir);
    rel_put(row, REL_TCP, v.proto == PROTO_TCP);
    rel_put(row, REL_ICMP, v.proto != PROTO_TCP && v.proto != PROTO_UDP);
    rel_put(row, REL_IPV6, v.ipv6);
    rel_put(row, REL_GAP, layout_gap_code(i > 0 ? p->time_ns - f->packets[i - 1].time_ns : 0));
    if (i == 0) {
        encode_responder(&s->dir[1], f, row);
        encode_ports(l4, row);
    }
    encode_ip(&s->dir[p->dir], p, &v, row);
    if (v.proto == PROTO_TCP)
        encode_tcp(s, p, &v, &e, row);
    else if (v.proto == PROTO_UDP)
        rel_put(row, REL_UDP_NO_CHECKSUM, get16(l4 + 6) == 0);
    else
        encode_icmp(s, p, &v, row);
    escape_put_items(&e, &v, s, p);
    escape_store(&e, row);
    relative_pass(s, p);
    return !e.overflow;
}

bool relative_fits(const flow *f) {
    flow_plan plan;
    relative_state s;
    int8_t row[RELATIVE_CELLS];
    relative_plan_of(f, &plan);
    relative_start(&s, &plan);
    for (size_t i = 0; i < f->npackets; i++)
        if (!encode_packet(&s, f, i, row))
            return false;
    return true;
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
        if (i >= f->npackets) {
            rel_put(row, REL_VALID, 0);
            continue;
        }
        bool fits = encode_packet(&s, f, i, row);
        ASSERT(fits);
        relative_presence(row, i, mask);
        for (size_t c = 0; c < RELATIVE_CELLS; c++)
            row[c] = mask[c] ? row[c] : 0;
    }
    return ST_OK;
}
