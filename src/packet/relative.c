/* The relative layout: header fields against what the conversation so far leads one to expect.
 *
 * Counters become small relations (the next sequence number, one more than the last IP-ID, the peer's latest time
 * stamp), constants are said once and then "same as the direction's previous", and what follows from other fields is
 * not in the row at all: version, IHL, lengths, protocol numbers, data offset, flow label, padding, checksums,
 * addresses, SACK edges. Compare header compression, RFC 5795. Where a packet is not as follows, or has what the cells
 * have no place for (IP options and extension headers, TCP options of other kinds, a wrong length ...), the row's
 * escape says so in bytes; without it a decoded packet is consistent whatever the cells say.
 *
 * decode(encode(flow)), given the plan of the flow, gives back every packet's header bytes, direction and wire_len, but
 * not the transport checksum, which depends on the payload: a right one for a payload of zeros is written (UDP's 0,
 * "none", is kept); and not times, whose steps are rounded to 4.4 %.
 *
 * Cells of a field that the row's own mode bits rule out are vacant. relative_presence is the only place that knows
 * when: the encoder writes every field and then clears by it. A row depends on the packets up to its own, on the plan,
 * and, the first, on facts of the whole flow. */
#include <string.h>
#include "packet/relative_priv.h"

const layout_field relative_fields[RELATIVE_FIELDS] = {
    {"valid", 0, 1},     /* a packet; -1 past the end of the flow */
    {"direction", 1, 1}, /* from the responder */
    {"tcp", 2, 1},       /* neither TCP nor ICMP: UDP */
    {"icmp", 3, 1},
    {"ipv6", 4, 1},      /* and ICMPv6 for ICMP */
    {"gap", 5, 9},       /* since the previous packet, layout_gap_code */
    {"payload", 14, 16}, /* bytes */
    {"tos_same", 30, 1}, /* the direction's previous value, as the next two; IPv6: traffic class */
    {"tos", 31, 8},
    {"ip_flags_same", 39, 1},
    {"ip_flags", 40, 3}, /* reserved, do not fragment, more fragments */
    {"ttl_same", 43, 1},
    {"ttl", 44, 8},     /* IPv6: hop limit */
    {"id_same", 52, 1}, /* the direction's previous IP-ID; its first: 0 */
    {"id_next", 53, 1}, /* one more; its first: the plan's */
    {"id_step", 54, 16},
    {"peer_absent", 70, 1},   /* no packet of the flow is the responder's */
    {"service_first", 71, 1}, /* the flow's first sender owns the service port, the lower one */
    {"service_port", 72, 16},
    {"client_port", 88, 16},
    {"responder_tos", 104, 8}, /* what the responder's first packet will have, as the next two; first row */
    {"responder_ip_flags", 112, 3},
    {"responder_ttl", 115, 8},
    {"udp_no_checksum", 123, 1},
    {"tcp_flags", 124, 12}, /* all bits after the data offset */
    {"seq_index", 136, 4},  /* 0 expected, 1-14 boundary before it, 15 escape */
    {"seq_step", 140, 32},  /* against expected */
    {"ack_index", 172, 4},  /* the same among the peer's boundaries */
    {"ack_step", 176, 32},
    {"window_same", 208, 1},
    {"window", 209, 16},
    {"option_1", 225, 4}, /* symbols, see relative_options.c */
    {"option_2", 229, 4},
    {"option_3", 233, 4},
    {"option_4", 237, 4},
    {"option_5", 241, 4},
    {"option_6", 245, 4},
    {"option_7", 249, 4},
    {"option_8", 253, 4},
    {"option_9", 257, 4},
    {"option_10", 261, 4},
    {"option_11", 265, 4},
    {"option_12", 269, 4},
    {"mss", 273, 16},
    {"window_scale", 289, 4},
    {"tsval_step", 293, 21}, /* against the side's latest TSval */
    {"tsecr_index", 314, 6}, /* the peer's k-th latest TSval; 62 zero, 63 escape */
    {"tsecr_step", 320, 21}, /* against the peer's latest */
    {"icmp_type", 341, 8},
    {"icmp_code", 349, 8},
    {"icmp_seq_same", 357, 1}, /* echo: the number of the previous message of this type */
    {"icmp_seq_next", 358, 1}, /* echo: as expected (connection_echo_expected) */
    {"icmp_word", 359, 16},    /* other types: bytes 4 and 5 */
    {"icmp_step", 375, 16},    /* echo: against expected; other types: bytes 6 and 7 */
    {"escape", 391, 1},        /* the bytes say more, see relative_escape.c */
    {"escape_bytes", 392, 8 * RELATIVE_ESCAPE_BYTES},
};

const layout layout_relative = {
    .name = "relative",
    .ncells = RELATIVE_CELLS,
    .fields = relative_fields,
    .nfields = RELATIVE_FIELDS,
    .accepts = relative_accepts,
    .encode = relative_encode,
    .decode = relative_decode,
    .presence = relative_presence,
    .plan_of = relative_plan_of,
    .open_and_close = relative_open_and_close,
};

const char *relative_uncovered(const packet *p) {
    unsigned version = p->header[0] >> 4;
    if (p->nheader > PACKET_HEADER_MAX || (version != 4 && version != 6) || p->nheader < (version == 4 ? 28 : 48))
        return "not a whole IP header";
    relative_view v = relative_look(p);
    if (v.nip < 20 || v.nip + 8 > p->nheader)
        return "not a whole IP header";
    if (p->wire_len > 0xffffff)
        return "a length on the wire beyond 2^24";
    switch (v.proto) {
    case PROTO_TCP:
        return v.nl4 >= 20 && (p->header[v.nip + 12] >> 4) * 4u == v.nl4 ? NULL : "an impossible TCP data offset";
    case PROTO_UDP:
        return v.nl4 == 8 ? NULL : "an impossible UDP header";
    case PROTO_ICMP:
    case PROTO_ICMPV6:
        if ((v.proto == PROTO_ICMPV6) != v.ipv6)
            return "ICMP of the other IP version";
        return v.nl4 == 8 ? NULL : "an impossible ICMP header";
    default:
        return "not TCP, UDP or ICMP";
    }
}

unsigned relative_escape_bound(const packet *p) {
    relative_view v = relative_look(p);
    relative_state none = {.wire_min = {0, 0}};
    none.dir[p->dir].flow_label = relative_flow_label(p) ^ 1;
    relative_escape e = {.nbytes = 0};
    escape_put_items(&e, &v, &none, p);
    if (e.overflow)
        return RELATIVE_ESCAPE_BYTES + 1;
    unsigned nbytes = e.nbytes + 1 + relative_item_nbytes[ITEM_WIRE];
    return v.proto == PROTO_TCP ? nbytes + relative_options_bound(p->header + v.nip + 20, v.nl4 - 20) : nbytes;
}

/* Same protocol, addresses and ports (echo identifier) as the flow's first packet, given the directions. */
static bool same_conversation(const packet *first, const packet *p) {
    relative_view a = relative_look(first), b = relative_look(p);
    bool turned = p->dir != first->dir;
    if (a.ipv6 != b.ipv6 || a.proto != b.proto)
        return false;
    for (unsigned side = 0; side < 2; side++)
        if (memcmp(first->header + packet_address_at(first, side), p->header + packet_address_at(p, side != turned),
                   packet_naddress(p)) != 0)
            return false;
    const uint8_t *la = first->header + a.nip, *lb = p->header + b.nip;
    if (a.proto != PROTO_TCP && a.proto != PROTO_UDP)
        return relative_echo(a.ipv6, la[0]) < 0 || relative_echo(b.ipv6, lb[0]) < 0 || get16(la + 4) == get16(lb + 4);
    return get16(la) == get16(lb + 2 * turned) && get16(la + 2) == get16(lb + 2 * !turned);
}

static bool is_echo(const packet *p) {
    relative_view v = relative_look(p);
    return v.proto != PROTO_TCP && v.proto != PROTO_UDP && relative_echo(v.ipv6, p->header[v.nip]) >= 0;
}

bool relative_accepts(const flow *f, const char **why) {
    *why = NULL;
    const packet *echo = NULL;
    bool odd = false;
    if (f->npackets == 0)
        *why = "no packet";
    for (size_t i = 0; i < f->npackets && *why == NULL; i++) {
        const packet *p = &f->packets[i];
        if ((*why = relative_uncovered(p)) != NULL)
            break;
        if (p->dir > 1 || f->packets[0].dir != 0)
            *why = "directions that do not start with 0";
        else if (!same_conversation(echo != NULL ? echo : &f->packets[0], p))
            *why = "packets of more than one conversation";
        else
            odd = odd || relative_escape_bound(p) > RELATIVE_ESCAPE_BYTES;
        if (echo == NULL && is_echo(p))
            echo = p;
    }
    if (*why == NULL && odd && !relative_fits(f))
        *why = "more than the escape has room for";
    return *why == NULL;
}

/* ---- Presence ---- */

static void there(uint8_t *mask, unsigned field) {
    memset(mask + relative_fields[field].first, 1, relative_fields[field].nbits);
}

static void there_unless(uint8_t *mask, unsigned field, const int8_t *row, unsigned same) {
    there(mask, same);
    if (!rel_get(row, same))
        there(mask, field);
}

static void ip_presence(const int8_t *row, uint8_t *mask) {
    there_unless(mask, REL_TOS, row, REL_TOS_SAME);
    there_unless(mask, REL_TTL, row, REL_TTL_SAME);
    if (rel_get(row, REL_IPV6))
        return;
    there_unless(mask, REL_IP_FLAGS, row, REL_IP_FLAGS_SAME);
    there(mask, REL_ID_SAME);
    there(mask, REL_ID_NEXT);
    if (!rel_get(row, REL_ID_SAME) && !rel_get(row, REL_ID_NEXT))
        there(mask, REL_ID_STEP);
}

static void first_presence(const int8_t *row, bool ports, uint8_t *mask) {
    there(mask, REL_PEER_ABSENT);
    if (ports) {
        there(mask, REL_SERVICE_FIRST);
        there(mask, REL_SERVICE_PORT);
        there(mask, REL_CLIENT_PORT);
    }
    if (rel_get(row, REL_PEER_ABSENT))
        return;
    there(mask, REL_RESPONDER_TOS);
    there(mask, REL_RESPONDER_TTL);
    if (!rel_get(row, REL_IPV6))
        there(mask, REL_RESPONDER_IP_FLAGS);
}

static void tcp_presence(const int8_t *row, uint8_t *mask) {
    uint8_t symbol[RELATIVE_OPTIONS];
    there(mask, REL_TCP_FLAGS);
    there(mask, REL_SEQ_INDEX);
    if (rel_get(row, REL_SEQ_INDEX) == NUMBER_ESCAPE)
        there(mask, REL_SEQ_STEP);
    if (rel_get(row, REL_TCP_FLAGS) & TCP_ACK) {
        there(mask, REL_ACK_INDEX);
        if (rel_get(row, REL_ACK_INDEX) == NUMBER_ESCAPE)
            there(mask, REL_ACK_STEP);
    }
    there_unless(mask, REL_WINDOW, row, REL_WINDOW_SAME);
    for (unsigned i = 0; i < RELATIVE_OPTIONS; i++)
        there(mask, REL_OPTION + i);
    unsigned n = relative_symbols(row, NULL, symbol);
    if (memchr(symbol, SYMBOL_MSS, n) != NULL)
        there(mask, REL_MSS);
    if (memchr(symbol, SYMBOL_WINDOW_SCALE, n) != NULL)
        there(mask, REL_WINDOW_SCALE);
    if (memchr(symbol, SYMBOL_TIMESTAMPS, n) != NULL) {
        there(mask, REL_TSVAL_STEP);
        there(mask, REL_TSECR_INDEX);
        if (rel_get(row, REL_TSECR_INDEX) == TSECR_ESCAPE)
            there(mask, REL_TSECR_STEP);
    }
}

static void icmp_presence(const int8_t *row, uint8_t *mask) {
    there(mask, REL_ICMP_TYPE);
    there(mask, REL_ICMP_CODE);
    if (relative_echo(rel_get(row, REL_IPV6), rel_get(row, REL_ICMP_TYPE)) >= 0) {
        there(mask, REL_ICMP_SEQ_SAME);
        there(mask, REL_ICMP_SEQ_NEXT);
        if (!rel_get(row, REL_ICMP_SEQ_SAME) && !rel_get(row, REL_ICMP_SEQ_NEXT))
            there(mask, REL_ICMP_STEP);
    } else {
        there(mask, REL_ICMP_WORD);
        there(mask, REL_ICMP_STEP);
    }
}

void relative_presence(const int8_t *row, size_t number, uint8_t *mask) {
    memset(mask, 0, RELATIVE_CELLS);
    there(mask, REL_VALID);
    if (!rel_get(row, REL_VALID))
        return;
    bool tcp = rel_get(row, REL_TCP), icmp = !tcp && rel_get(row, REL_ICMP);
    there(mask, REL_DIRECTION);
    there(mask, REL_TCP);
    there(mask, REL_ICMP);
    there(mask, REL_IPV6);
    there(mask, REL_PAYLOAD);
    if (number > 0)
        there(mask, REL_GAP);
    else
        first_presence(row, !icmp, mask);
    ip_presence(row, mask);
    if (tcp)
        tcp_presence(row, mask);
    else if (icmp)
        icmp_presence(row, mask);
    else
        there(mask, REL_UDP_NO_CHECKSUM);
    there(mask, REL_ESCAPE);
    if (rel_get(row, REL_ESCAPE))
        there(mask, REL_ESCAPE_BYTES);
}

void relative_open_and_close(int8_t *row, float *soft, unsigned tcp_flags) {
    const unsigned own = TCP_SYN | TCP_FIN | TCP_RST;
    const layout_field *field = &relative_fields[REL_TCP_FLAGS];
    if (!rel_get(row, REL_VALID) || !rel_get(row, REL_TCP))
        return;
    rel_put(row, REL_TCP_FLAGS, (rel_get(row, REL_TCP_FLAGS) & ~own) | (tcp_flags & own));
    for (unsigned bit = 0; soft != NULL && bit < field->nbits; bit++)
        if (own >> (field->nbits - 1 - bit) & 1)
            soft[field->first + bit] = row[field->first + bit];
}
