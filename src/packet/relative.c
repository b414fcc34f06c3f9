/* The relative layout: header fields against what the conversation so far leads one to expect.
 *
 * Counters become small relations (the next sequence number, one more than the last IP-ID, the peer's latest time
 * stamp), constants are said once and then "same as the direction's previous", and what follows from other fields is
 * not in the row at all: version, IHL, total length, protocol number, data offset, UDP length, urgent pointer, padding,
 * checksums, addresses, SACK edges. So a decoded packet is consistent whatever the cells say. Compare header
 * compression, RFC 5795.
 *
 * What decode(encode(flow)) does not give back: checksums (right ones for a payload of zeros are written), edges and
 * sometimes number of SACK blocks, the acknowledgement number of a segment without ACK, TSval and TSecr beyond a step
 * of 2^20, bytes on the wire after the IP packet, and times, which are rounded to 4.4 %.
 *
 * Cells of a field that the row's own mode bits rule out are vacant. relative_presence is the only place that knows
 * when: the encoder writes every field and then clears by it. */
#include <string.h>
#include "packet/relative_priv.h"

const layout_field relative_fields[RELATIVE_FIELDS] = {
    {"valid", 0, 1},     /* a packet; -1 past the end of the flow */
    {"direction", 1, 1}, /* from the responder */
    {"tcp", 2, 1},       /* neither TCP nor ICMP: UDP */
    {"icmp", 3, 1},
    {"gap", 4, 9},       /* since the previous packet, layout_gap_code */
    {"payload", 13, 16}, /* bytes */
    {"tos_same", 29, 1}, /* the direction's previous value, as the next two */
    {"tos", 30, 8},
    {"ip_flags_same", 38, 1},
    {"ip_flags", 39, 2}, /* reserved, do not fragment */
    {"ttl_same", 41, 1},
    {"ttl", 42, 8},
    {"id_same", 50, 1}, /* the direction's previous IP-ID; its first: 0 */
    {"id_next", 51, 1}, /* one more; its first: the plan's */
    {"id_step", 52, 16},
    {"service_first", 68, 1}, /* the flow's first sender owns the service port, the lower one */
    {"service_port", 69, 16},
    {"client_port", 85, 16},
    {"responder_tos", 101, 8}, /* what the responder's first packet will have, as the next two; first row */
    {"responder_ip_flags", 109, 2},
    {"responder_ttl", 111, 8},
    {"udp_no_checksum", 119, 1},
    {"tcp_flags", 120, 12}, /* all bits after the data offset */
    {"seq_index", 132, 4},  /* 0 expected, 1-14 boundary before it, 15 escape */
    {"seq_step", 136, 32},  /* against expected */
    {"ack_index", 168, 4},  /* the same among the peer's boundaries */
    {"ack_step", 172, 32},
    {"window_same", 204, 1},
    {"window", 205, 16},
    {"option_1", 221, 4},
    {"option_2", 225, 4},
    {"option_3", 229, 4},
    {"option_4", 233, 4},
    {"option_5", 237, 4},
    {"option_6", 241, 4},
    {"option_7", 245, 4},
    {"option_8", 249, 4},
    {"option_9", 253, 4},
    {"option_10", 257, 4},
    {"option_11", 261, 4},
    {"option_12", 265, 4},
    {"mss", 269, 16},
    {"window_scale", 285, 4},
    {"tsval_step", 289, 21}, /* against the side's latest TSval */
    {"tsecr_index", 310, 6}, /* the peer's k-th latest TSval; 62 zero, 63 escape */
    {"tsecr_step", 316, 21}, /* against the peer's latest */
    {"icmp_type", 337, 8},
    {"icmp_code", 345, 8},
    {"icmp_seq_same", 353, 1}, /* echo: the number of the previous message of this type */
    {"icmp_seq_next", 354, 1}, /* echo: as expected (connection_echo_expected) */
    {"icmp_word", 355, 16},    /* other types: bytes 4 and 5 */
    {"icmp_step", 371, 16},    /* echo: against expected; other types: bytes 6 and 7 */
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
};

static const char *uncovered_options(const uint8_t *list, unsigned nbytes) {
    unsigned at = 0, nsymbols = 0, npadding = 0;
    uint64_t seen = 0;
    tcp_option o;
    int found;
    while ((found = tcp_option_next(list, nbytes, &at, &o)) > 0) {
        if (o.kind == TCP_OPTION_EOL) {
            npadding++;
            continue;
        }
        if (npadding > 0)
            return "bytes after the end of the TCP options";
        if (o.kind > TCP_OPTION_TIMESTAMPS || o.kind == 6 || o.kind == 7)
            return "a TCP option of another kind";
        if (o.kind != TCP_OPTION_NOP && seen >> o.kind & 1)
            return "a TCP option twice";
        if (o.kind == TCP_OPTION_WINDOW_SCALE && list[o.at + 2] > WINDOW_SCALE_MAX)
            return "a window scale above 14";
        seen |= UINT64_C(1) << o.kind;
        nsymbols++;
    }
    if (found < 0)
        return "TCP options that do not parse";
    if (nsymbols + (npadding > 3 ? npadding - 3 : 0) > RELATIVE_OPTIONS)
        return "too many TCP options";
    return NULL;
}

const char *relative_uncovered(const packet *p) {
    const uint8_t *h = p->header, *l4 = h + 20;
    if (p->nheader < 28 || p->nheader > PACKET_HEADER_MAX || h[0] >> 4 != 4)
        return "not a whole IPv4 header";
    if ((h[0] & 15) != 5)
        return "IP options";
    if (get16(h + 6) & 0x3fff)
        return "a fragment";
    if (packet_total_len(p) < p->nheader)
        return "a total length below the headers";
    switch (h[9]) {
    case PROTO_TCP:
        if (p->nheader < 40 || 20u + (l4[12] >> 4) * 4u != p->nheader)
            return "an impossible TCP data offset";
        if (get16(l4 + 18) != 0)
            return "an urgent pointer";
        return uncovered_options(l4 + 20, p->nheader - 40u);
    case PROTO_UDP:
        if (p->nheader != 28)
            return "an impossible UDP header";
        return get16(l4 + 4) == packet_total_len(p) - 20 ? NULL : "a UDP length that differs from the IP length";
    case PROTO_ICMP:
        return p->nheader == 28 ? NULL : "an impossible ICMP header";
    default:
        return "not TCP, UDP or ICMP";
    }
}

/* Same protocol, addresses and ports (echo identifier) as the flow's first packet, given the directions. */
static bool same_conversation(const packet *first, const packet *p) {
    const uint8_t *a = first->header, *b = p->header;
    bool turned = p->dir != first->dir;
    if (a[9] != b[9] || memcmp(a + 12, b + (turned ? 16 : 12), 4) != 0 ||
        memcmp(a + 16, b + (turned ? 12 : 16), 4) != 0)
        return false;
    if (a[9] == PROTO_ICMP)
        return !icmp_is_echo(a[20]) || !icmp_is_echo(b[20]) || memcmp(a + 24, b + 24, 2) == 0;
    return memcmp(a + 20, b + (turned ? 22 : 20), 2) == 0 && memcmp(a + 22, b + (turned ? 20 : 22), 2) == 0;
}

bool relative_accepts(const flow *f, const char **why) {
    *why = NULL;
    const packet *echo = NULL;
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
        if (echo == NULL && p->header[9] == PROTO_ICMP && icmp_is_echo(p->header[20]))
            echo = p;
    }
    return *why == NULL;
}

void relative_plan_of(const flow *f, flow_plan *plan) {
    memset(plan, 0, sizeof *plan);
    bool number[2] = {false, false}, id[2] = {false, false}, stamp[2] = {false, false}, echo = false;
    if (f->npackets > 0)
        plan->start_ns = f->packets[0].time_ns;
    for (unsigned side = 0; side < 2; side++) {
        plan->addr[side] = (uint32_t)f->key.addr[side];
        plan->addr6[side] = f->key.addr[side];
    }
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        if (relative_uncovered(p) != NULL)
            continue;
        const uint8_t *h = p->header, *l4 = h + 20;
        unsigned d = p->dir != 0, other = !d;
        if (!id[d]) {
            plan->ip_id[d] = get16(h + 4);
            id[d] = true;
        }
        if (h[9] == PROTO_ICMP && icmp_is_echo(l4[0]) && !echo) {
            plan->icmp_id = get16(l4 + 4);
            plan->icmp_seq = get16(l4 + 6);
            echo = true;
        }
        if (h[9] != PROTO_TCP)
            continue;
        if (!number[d]) {
            plan->isn[d] = get32(l4 + 4);
            number[d] = true;
        }
        if (!number[other] && l4[13] & TCP_ACK) { /* a side that was not seen yet starts where it is acknowledged */
            plan->isn[other] = get32(l4 + 8);
            number[other] = true;
        }
        unsigned at = 0;
        tcp_option o;
        while (tcp_option_next(l4 + 20, p->nheader - 40u, &at, &o) > 0) {
            if (o.kind != TCP_OPTION_TIMESTAMPS)
                continue;
            uint32_t tsval = get32(l4 + 20 + o.at + 2), tsecr = get32(l4 + 20 + o.at + 6);
            if (!stamp[d]) {
                plan->tsval[d] = tsval;
                stamp[d] = true;
            }
            if (!stamp[other] && tsecr != 0) {
                plan->tsval[other] = tsecr;
                stamp[other] = true;
            }
        }
    }
}

void relative_start(relative_state *s, const flow_plan *plan) {
    memset(s, 0, sizeof *s);
    for (unsigned d = 0; d < 2; d++) {
        connection_start(&s->side[d], plan->isn[d], plan->tsval[d]);
        s->dir[d].ip_id = (uint16_t)(plan->ip_id[d] - 1);
    }
    connection_echo_start(&s->echo, plan->icmp_seq);
}

bool relative_has_option(const int8_t *row, unsigned first, unsigned last) {
    for (unsigned i = 0; i < RELATIVE_OPTIONS; i++) {
        unsigned symbol = rel_get(row, REL_OPTION + i);
        if (symbol == SYMBOL_END || symbol == SYMBOL_EOL)
            return false;
        if (symbol >= first && symbol <= last)
            return true;
    }
    return false;
}

static void there(uint8_t *mask, unsigned field) {
    memset(mask + relative_fields[field].first, 1, relative_fields[field].nbits);
}

static void tcp_presence(const int8_t *row, uint8_t *mask) {
    there(mask, REL_TCP_FLAGS);
    there(mask, REL_SEQ_INDEX);
    if (rel_get(row, REL_SEQ_INDEX) == NUMBER_ESCAPE)
        there(mask, REL_SEQ_STEP);
    if (rel_get(row, REL_TCP_FLAGS) & TCP_ACK) {
        there(mask, REL_ACK_INDEX);
        if (rel_get(row, REL_ACK_INDEX) == NUMBER_ESCAPE)
            there(mask, REL_ACK_STEP);
    }
    there(mask, REL_WINDOW_SAME);
    if (!rel_get(row, REL_WINDOW_SAME))
        there(mask, REL_WINDOW);
    for (unsigned i = 0; i < RELATIVE_OPTIONS; i++)
        there(mask, REL_OPTION + i);
    if (relative_has_option(row, SYMBOL_MSS, SYMBOL_MSS))
        there(mask, REL_MSS);
    if (relative_has_option(row, SYMBOL_WINDOW_SCALE, SYMBOL_WINDOW_SCALE))
        there(mask, REL_WINDOW_SCALE);
    if (relative_has_option(row, SYMBOL_TIMESTAMPS, SYMBOL_TIMESTAMPS)) {
        there(mask, REL_TSVAL_STEP);
        there(mask, REL_TSECR_INDEX);
        if (rel_get(row, REL_TSECR_INDEX) == TSECR_ESCAPE)
            there(mask, REL_TSECR_STEP);
    }
}

static void icmp_presence(const int8_t *row, uint8_t *mask) {
    there(mask, REL_ICMP_TYPE);
    there(mask, REL_ICMP_CODE);
    if (icmp_is_echo(rel_get(row, REL_ICMP_TYPE))) {
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
    for (unsigned field = REL_DIRECTION; field <= REL_ID_NEXT; field++)
        if (field != REL_GAP || number > 0)
            there(mask, field);
    for (unsigned same = REL_TOS_SAME; same <= REL_TTL_SAME; same += 2)
        if (rel_get(row, same))
            memset(mask + relative_fields[same + 1].first, 0, relative_fields[same + 1].nbits);
    if (!rel_get(row, REL_ID_SAME) && !rel_get(row, REL_ID_NEXT))
        there(mask, REL_ID_STEP);
    for (unsigned field = REL_RESPONDER_TOS; number == 0 && field <= REL_RESPONDER_TTL; field++)
        there(mask, field);
    if (number == 0 && !icmp) {
        there(mask, REL_SERVICE_FIRST);
        there(mask, REL_SERVICE_PORT);
        there(mask, REL_CLIENT_PORT);
    }
    if (tcp)
        tcp_presence(row, mask);
    else if (icmp)
        icmp_presence(row, mask);
    else
        there(mask, REL_UDP_NO_CHECKSUM);
}
