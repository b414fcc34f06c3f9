/* The validity rules: their table, and the walk along a flow (see check.h). Header bytes are not trusted here: a rule
 * looks only at what is inside nheader. */
#include <string.h>
#include "packet/check.h"
#include "packet/check_priv.h"
#include "packet/payload.h"

const check_rule_info check_rules[CHECK_COUNT] = {
    [CHECK_VERSION] = {"version", CHECK_INTRA, "RFC 791 3.1, 8200 3"},
    [CHECK_IHL] = {"ihl", CHECK_INTRA, "RFC 791 3.1, 8200 4"},
    [CHECK_IP_OPTIONS] = {"ip_options", CHECK_INTRA, "RFC 791 3.1, 8200 4.1 and 4.2"},
    [CHECK_FRAGMENT] = {"fragment", CHECK_INTRA, "RFC 791 3.2, 8200 4.5"},
    [CHECK_LENGTH] = {"length", CHECK_INTRA, "RFC 791 3.1, 8200 3, 9293 3.1, 768, 792"},
    [CHECK_OPTIONS] = {"options", CHECK_INTRA, "RFC 9293 3.1 and 3.2"},
    [CHECK_FLAGS] = {"flags", CHECK_INTRA, "RFC 9293 3.1, 3.9.1.2 and 3.10.7"},
    [CHECK_RESERVED] = {"reserved", CHECK_INTRA, "RFC 9293 3.1 and 3.8.5"},
    [CHECK_UDP_LENGTH] = {"udp_length", CHECK_INTRA, "RFC 768"},
    [CHECK_ICMP] = {"icmp", CHECK_INTRA, "RFC 792, 1812 4.3, 4443 2 to 4"},
    [CHECK_PROTOCOL] = {"protocol", CHECK_INTER, "RFC 791 3.1, 8200 3"},
    [CHECK_ADDRESSES] = {"addresses", CHECK_INTER, "RFC 9293 3.3.1"},
    [CHECK_PORTS] = {"ports", CHECK_INTER, "RFC 9293 3.3.1, 768, 6335 6, 792"},
    [CHECK_TTL] = {"ttl", CHECK_INTER, "RFC 1812 5.3.1, 8200 3"},
    [CHECK_DSCP] = {"dscp", CHECK_INTER, "RFC 2474 3"},
    [CHECK_FLOW_LABEL] = {"flow_label", CHECK_INTER, "RFC 6437 3"},
    [CHECK_IP_ID] = {"ip_id", CHECK_INTER, "RFC 6864 4"},
    [CHECK_HANDSHAKE] = {"handshake", CHECK_INTER, "RFC 9293 3.5"},
    [CHECK_RESET] = {"reset", CHECK_INTER, "RFC 9293 3.5.2, 3.5.3 and 3.10.7.1"},
    [CHECK_SEQ] = {"seq", CHECK_INTER, "RFC 9293 3.4 and 3.8.4"},
    [CHECK_FIN] = {"fin", CHECK_INTER, "RFC 9293 3.6"},
    [CHECK_ACK] = {"ack", CHECK_INTER, "RFC 9293 3.4 and 3.10.7.4"},
    [CHECK_WINDOW] = {"window", CHECK_INTER, "RFC 9293 3.8.6"},
    [CHECK_REPEAT] = {"repeat", CHECK_INTER, "RFC 9293 3.8.6.2.2 and 3.8.6.3, 5681 4.2"},
    [CHECK_NEGOTIATED] = {"negotiated", CHECK_INTER, "RFC 9293 3.2, 7323 2.2 and 3.2, 2018 2"},
    [CHECK_TIMESTAMPS] = {"timestamps", CHECK_INTER, "RFC 7323 3.2, 4.3 and 5"},
    [CHECK_SACK] = {"sack", CHECK_INTER, "RFC 2018 3 and 4, 2883 4"},
    [CHECK_ECHO] = {"echo", CHECK_INTER, "RFC 792, 4443 4.2"},
    [CHECK_CHECKSUM_IP] = {"checksum_ip", CHECK_INTRA, "RFC 791 3.1, 1071"},
    [CHECK_CHECKSUM_L4] = {"checksum_l4", CHECK_INTRA, "RFC 9293 3.1, 768, 792, 4443 2.3, 8200 8.1"},
    [CHECK_TIME] = {"time", CHECK_INTER, "order of the capture"},
};

static check_function *const functions[CHECK_COUNT] = {
    [CHECK_VERSION] = check_version,
    [CHECK_IHL] = check_ihl,
    [CHECK_IP_OPTIONS] = check_ip_options,
    [CHECK_FRAGMENT] = check_fragment,
    [CHECK_LENGTH] = check_length,
    [CHECK_OPTIONS] = check_options,
    [CHECK_FLAGS] = check_flags,
    [CHECK_RESERVED] = check_reserved,
    [CHECK_UDP_LENGTH] = check_udp_length,
    [CHECK_ICMP] = check_icmp,
    [CHECK_PROTOCOL] = check_protocol,
    [CHECK_ADDRESSES] = check_addresses,
    [CHECK_PORTS] = check_ports,
    [CHECK_TTL] = check_ttl,
    [CHECK_DSCP] = check_dscp,
    [CHECK_FLOW_LABEL] = check_flow_label,
    [CHECK_IP_ID] = check_ip_id,
    [CHECK_HANDSHAKE] = check_handshake,
    [CHECK_RESET] = check_reset,
    [CHECK_SEQ] = check_seq,
    [CHECK_FIN] = check_fin,
    [CHECK_ACK] = check_ack,
    [CHECK_WINDOW] = check_window,
    [CHECK_REPEAT] = check_repeat,
    [CHECK_NEGOTIATED] = check_negotiated,
    [CHECK_TIMESTAMPS] = check_timestamps,
    [CHECK_SACK] = check_sack,
    [CHECK_ECHO] = check_echo,
    [CHECK_CHECKSUM_IP] = check_checksum_ip,
    [CHECK_CHECKSUM_L4] = check_checksum_l4,
    [CHECK_TIME] = check_time,
};

void tally_add(tally *t, ip_address a, ip_address b, double weight) {
    size_t number = t->nadded++;
    for (unsigned i = 0; i < t->n; i++)
        if (t->values[i].value[0] == a && t->values[i].value[1] == b) {
            t->values[i].weight += weight;
            return;
        }
    if (t->n < TALLY_VALUES) {
        t->values[t->n++] = (tally_value){.value = {a, b}, .weight = weight, .first = number};
        return;
    }
    double least = weight;
    for (unsigned i = 0; i < t->n; i++)
        if (t->values[i].weight < least)
            least = t->values[i].weight;
    unsigned kept = 0;
    for (unsigned i = 0; i < t->n; i++) {
        t->values[i].weight -= least;
        if (t->values[i].weight > 0)
            t->values[kept++] = t->values[i];
    }
    t->n = kept;
    if (weight > least && kept < TALLY_VALUES)
        t->values[t->n++] = (tally_value){.value = {a, b}, .weight = weight - least, .first = number};
    else if (kept == 0) /* all were equal: the newest stands for them */
        t->values[t->n++] = (tally_value){.value = {a, b}, .weight = 0, .first = number};
}

const tally_value *tally_best(const tally *t) {
    const tally_value *best = NULL;
    for (unsigned i = 0; i < t->n; i++) {
        const tally_value *v = &t->values[i];
        if (best == NULL || v->weight > best->weight || (v->weight >= best->weight && v->first < best->first))
            best = v;
    }
    return best;
}

header_view header_view_of(const packet *p, bool ipv6) {
    header_view v = {.ipv6 = ipv6, .dir = p->dir != 0};
    unsigned n = p->nheader < PACKET_HEADER_MAX ? p->nheader : PACKET_HEADER_MAX;
    if (n < (ipv6 ? 40u : 20u))
        return v;
    v.h = p->header;
    v.nheader = n;
    if (ipv6) {
        v.nip = packet_walk_ipv6(v.h, n, &v.proto);
        v.total = 40u + get16(v.h + 4);
    } else {
        v.nip = (v.h[0] & 15u) * 4u;
        v.proto = v.h[9];
        v.total = get16(v.h + 2);
    }
    if (v.nip < 20 || v.nip > n)
        return v;
    v.nl4 = n - v.nip;
    if (v.nl4 >= transport_least(v.proto))
        v.l4 = v.h + v.nip;
    return v;
}

void view_segment(const header_view *v, const packet *p, tcp_segment *g) {
    const uint8_t *l4 = v->l4;
    unsigned offset = (l4[12] >> 4) * 4u;
    *g = (tcp_segment){.dir = v->dir,
                       .seq = get32(l4 + 4),
                       .ack = get32(l4 + 8),
                       .flags = get16(l4 + 12) & 0xfffu,
                       .window = get16(l4 + 14),
                       .urgent = get16(l4 + 18),
                       .payload = v->total > v->nheader ? v->total - v->nheader : 0,
                       .time_ns = p->time_ns};
    if (offset >= 20 && offset <= v->nl4)
        tcp_offers_read(l4 + 20, offset - 20, &g->options);
}

/* Source and destination as side 0 and side 1. */
static void add_pair(tally *t, const header_view *v, ip_address from, ip_address to) {
    if (v->dir)
        tally_add(t, to, from, 1);
    else
        tally_add(t, from, to, 1);
}

static void survey_packet(const header_view *v, size_t ttl[2][256], bool segments[2], flow_view *w) {
    tally_add(&w->proto, v->proto, 0, 1);
    add_pair(&w->addresses, v, view_address(v, 0), view_address(v, 1));
    ttl[v->dir][view_ttl(v)]++;
    w->ndscp[v->dir][view_tos(v) >> 2]++;
    w->n[v->dir]++;
    if (v->ipv6)
        tally_add(&w->label[v->dir], view_label(v), 0, 1);
    if (v->l4 == NULL)
        return;
    if (v->proto == PROTO_TCP || v->proto == PROTO_UDP)
        add_pair(&w->ports, v, get16(v->l4), get16(v->l4 + 2));
    segments[v->dir] |= v->proto == PROTO_TCP;
    int echo = proto_is_icmp(v->proto) ? icmp_echo_of(v->proto, v->l4[0]) : -1;
    if (echo >= 0) {
        tally_add(&w->echo_id, get16(v->l4 + 4), 0, 1);
        w->requests[v->dir] |= echo == ICMP_ECHO_REQUEST;
    }
}

static void survey(const flow *f, flow_view *w) {
    size_t ttl[2][256], nsix = 0, nfour = 0;
    bool segments[2] = {false, false};
    memset(w, 0, sizeof *w);
    memset(ttl, 0, sizeof ttl);
    for (size_t i = 0; i < f->npackets; i++) {
        nsix += f->packets[i].header[0] >> 4 == 6;
        nfour += f->packets[i].header[0] >> 4 == 4;
        w->ipv6 |= i == 0 && nsix > 0;
    }
    if (nsix != nfour)
        w->ipv6 = nsix > nfour;
    for (size_t i = 0; i < f->npackets; i++) {
        header_view v = header_view_of(&f->packets[i], w->ipv6);
        if (v.h != NULL)
            survey_packet(&v, ttl, segments, w);
    }
    for (int d = 0; d < 2; d++) {
        for (unsigned value = 0; value < 256; value++)
            if (ttl[d][value] > ttl[d][w->ttl[d]])
                w->ttl[d] = value;
        for (unsigned value = 0; value < 64; value++)
            if (w->ndscp[d][value] > w->ndscp[d][w->dscp[d]])
                w->dscp[d] = value;
    }
    tcp_state_start(&w->tcp, segments);
    connection_echo_start(&w->echo, 1);
}

/* The state after the packet. */
static void pass(const check_row *x, flow_view *w) {
    const header_view *v = &x->v;
    w->last_ns = x->p->time_ns;
    if (v->h == NULL)
        return;
    if (!v->ipv6) {
        w->id[v->dir] = get16(v->h + 4);
        w->id_known[v->dir] = true;
    }
    if (v->l4 != NULL && v->proto == PROTO_TCP)
        tcp_state_pass(&w->tcp, &x->g);
    int echo = v->l4 != NULL && proto_is_icmp(v->proto) ? icmp_echo_of(v->proto, v->l4[0]) : -1;
    if (echo >= 0)
        connection_echo_seen(&w->echo, (unsigned)echo, v->dir, get16(v->l4 + 6));
}

void check_flow(const flow *f, check_payload payload, check_counts *c, uint32_t *rows_failed) {
    flow_view w;
    bool passes = true;
    survey(f, &w);
    for (size_t i = 0; i < f->npackets; i++) {
        check_row x = {.p = &f->packets[i],
                       .first = i == 0,
                       .payload_known = payload != CHECK_PAYLOAD_UNKNOWN,
                       .w = &w,
                       .behind = {.f = f, .number = i, .ipv6 = w.ipv6}};
        uint32_t failed = 0;
        x.v = header_view_of(x.p, w.ipv6);
        if (payload == CHECK_PAYLOAD_MADE)
            x.payload_sum = payload_sum(f, i);
        if (x.v.l4 != NULL && x.v.proto == PROTO_TCP) {
            view_segment(&x.v, x.p, &x.g);
            tcp_state_meet(&w.tcp, &x.g);
        }
        for (int r = 0; r < CHECK_COUNT; r++) {
            int outcome = functions[r](&x);
            c->tested[r] += outcome >= 0;
            c->failed[r] += outcome == 0;
            failed |= outcome == 0 ? 1u << r : 0;
        }
        pass(&x, &w);
        bool row_passes = !(failed & check_row_rules);
        c->rows++;
        c->rows_pass += row_passes;
        passes = passes && row_passes;
        if (rows_failed != NULL)
            rows_failed[i] = failed;
    }
    c->flows++;
    c->flows_pass += passes;
}

void check_add(check_counts *to, const check_counts *from) {
    to->flows += from->flows;
    to->rows += from->rows;
    to->flows_pass += from->flows_pass;
    to->rows_pass += from->rows_pass;
    for (int r = 0; r < CHECK_COUNT; r++) {
        to->tested[r] += from->tested[r];
        to->failed[r] += from->failed[r];
    }
}
