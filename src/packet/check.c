/* The validity rules (see check.h). Header bytes are not trusted here: a rule looks only at what is inside nheader. */
#include <string.h>
#include "packet/check.h"
#include "packet/check_priv.h"
#include "packet/connection_priv.h"
#include "packet/payload.h"
#include "packet/tcp_options_priv.h"

const char *const check_names[CHECK_COUNT] = {
    [CHECK_VERSION] = "version",
    [CHECK_IHL] = "ihl",
    [CHECK_PROTOCOL] = "protocol",
    [CHECK_LENGTH] = "length",
    [CHECK_PORTS] = "ports",
    [CHECK_ADDRESSES] = "addresses",
    [CHECK_TTL] = "ttl",
    [CHECK_OPTIONS] = "options",
    [CHECK_UDP_LENGTH] = "udp_length",
    [CHECK_FLAGS] = "flags",
    [CHECK_SEQ] = "seq",
    [CHECK_ACK] = "ack",
    [CHECK_FIN] = "fin",
    [CHECK_ICMP] = "icmp",
    [CHECK_CHECKSUM_IP] = "checksum_ip",
    [CHECK_CHECKSUM_L4] = "checksum_l4",
    [CHECK_TIME] = "time",
};

const uint32_t check_row_rules = 1u << CHECK_VERSION | 1u << CHECK_IHL | 1u << CHECK_PROTOCOL | 1u << CHECK_LENGTH |
                                 1u << CHECK_PORTS | 1u << CHECK_ADDRESSES | 1u << CHECK_TTL | 1u << CHECK_OPTIONS |
                                 1u << CHECK_UDP_LENGTH | 1u << CHECK_FLAGS | 1u << CHECK_SEQ | 1u << CHECK_ACK |
                                 1u << CHECK_FIN | 1u << CHECK_ICMP;

void majority_add(majority *m, uint64_t value) {
    if (m->count == 0)
        m->value = value;
    if (m->value == value)
        m->count++;
    else
        m->count--;
}

bool check_flags_legal(unsigned flags) {
    if (flags & TCP_SYN)
        return !(flags & (TCP_FIN | TCP_RST));
    if (flags & TCP_RST)
        return !(flags & TCP_FIN);
    return flags & TCP_ACK;
}

bool check_icmp_code(unsigned type, unsigned code) {
    switch (type) {
    case 3: /* destination unreachable, RFC 792, 1812 */
        return code <= 15;
    case 5: /* redirect */
        return code <= 3;
    case 9: /* router advertisement, RFC 1256, 5944 */
        return code == 0 || code == 16;
    case 11: /* time exceeded */
        return code <= 1;
    case 12: /* parameter problem */
        return code <= 2;
    case ICMP_ECHO_REPLY:
    case 4:
    case ICMP_ECHO_REQUEST:
    case 10:
    case 13:
    case 14:
    case 15:
    case 16:
    case 17:
    case 18:
        return code == 0;
    default:
        return false;
    }
}

/* What one packet's bytes allow to be looked at: a transport header is there only where it is whole. */
typedef struct view {
    const uint8_t *h, *l4; /* NULL: not there */
    unsigned nip, nl4, proto, dir;
} view;

static view view_of(const packet *p) {
    view v = {.h = p->header, .dir = p->dir != 0};
    unsigned n = p->nheader < PACKET_HEADER_MAX ? p->nheader : PACKET_HEADER_MAX;
    if (n < 20)
        return (view){.dir = v.dir};
    v.nip = packet_ip_nheader(p);
    v.proto = packet_proto(p);
    if (v.nip < 20 || v.nip > n)
        return v;
    v.l4 = p->header + v.nip;
    v.nl4 = n - v.nip;
    unsigned least = v.proto == PROTO_TCP ? 20 : 8;
    if (v.nl4 < least)
        v.l4 = NULL;
    return v;
}

/* The flow as a whole: what most of its packets say, and the state machines. */
typedef struct flow_view {
    majority proto, addresses, ports, echo_id;
    unsigned ttl[2];
    bool requests[2]; /* echo requests were seen from this side */
    bool segments[2]; /* TCP segments were seen from this side */
    connection connection;
    connection_echo echo;
    int64_t last_ns;
} flow_view;

/* Source and destination as side 0 and side 1. */
static uint64_t address_pair(const view *v) {
    uint64_t from = get32(v->h + 12), to = get32(v->h + 16);
    return v->dir ? to << 32 | from : from << 32 | to;
}

static uint64_t port_pair(const view *v) {
    uint64_t from = get16(v->l4), to = get16(v->l4 + 2);
    return v->dir ? to << 16 | from : from << 16 | to;
}

static bool has_ports(const view *v) {
    return v->l4 != NULL && (v->proto == PROTO_TCP || v->proto == PROTO_UDP);
}

static bool is_echo(const view *v) {
    return v->l4 != NULL && v->proto == PROTO_ICMP && icmp_is_echo(v->l4[0]);
}

static void survey(const flow *f, flow_view *w) {
    size_t ttl[2][256];
    memset(w, 0, sizeof *w);
    memset(ttl, 0, sizeof ttl);
    for (size_t i = 0; i < f->npackets; i++) {
        view v = view_of(&f->packets[i]);
        if (v.h == NULL)
            continue;
        majority_add(&w->proto, v.proto);
        majority_add(&w->addresses, address_pair(&v));
        if (has_ports(&v))
            majority_add(&w->ports, port_pair(&v));
        w->segments[v.dir] |= v.l4 != NULL && v.proto == PROTO_TCP;
        if (is_echo(&v)) {
            majority_add(&w->echo_id, get16(v.l4 + 4));
            w->requests[v.dir] |= v.l4[0] == ICMP_ECHO_REQUEST;
        }
        ttl[v.dir][v.h[8]]++;
    }
    for (int d = 0; d < 2; d++)
        for (unsigned value = 0; value < 256; value++)
            if (ttl[d][value] > ttl[d][w->ttl[d]])
                w->ttl[d] = value;
}

/* The outcome of one row. */
typedef struct outcome {
    uint32_t tested, failed;
} outcome;

static void rule(outcome *o, check_rule r, bool passes) {
    o->tested |= 1u << r;
    o->failed |= passes ? 0 : 1u << r;
}

static bool options_parse(const view *v) {
    unsigned at = 0, nbytes = (v->l4[12] >> 4) * 4u;
    tcp_option o;
    int found;
    if (nbytes < 20 || nbytes != v->nl4)
        return false;
    while ((found = tcp_option_next(v->l4 + 20, nbytes - 20, &at, &o)) > 0)
        if (o.kind == TCP_OPTION_EOL)
            return true;
    return found == 0;
}

static void check_tcp(const view *v, unsigned payload, flow_view *w, outcome *o) {
    const uint8_t *l4 = v->l4;
    const connection_side *own = &w->connection.side[v->dir], *peer = &w->connection.side[!v->dir];
    uint32_t seq = get32(l4 + 4), ack = get32(l4 + 8);
    unsigned flags = l4[13];
    rule(o, CHECK_OPTIONS, options_parse(v));
    rule(o, CHECK_FLAGS, check_flags_legal(flags));
    connection_meet(&w->connection, v->dir, seq, ack, flags);
    rule(o, CHECK_SEQ, connection_index(own, seq) >= 0 || connection_keep_alive(own, seq, payload, flags));
    if (flags & TCP_ACK) /* a side that was never captured may have sent anything */
        rule(o, CHECK_ACK, connection_index(peer, ack) >= 0 || (!w->segments[!v->dir] && connection_ahead(peer, ack)));
    rule(o, CHECK_FIN, !connection_after_fin(own, seq, payload));
    connection_pass(&w->connection, v->dir, seq, ack, payload, flags);
}

static void check_icmp(const view *v, flow_view *w, outcome *o) {
    unsigned type = v->l4[0], sequence = get16(v->l4 + 6);
    bool good = check_icmp_code(type, v->l4[1]);
    if (icmp_is_echo(type)) {
        /* A capture of one direction has replies only: nothing to compare with. */
        if (type == ICMP_ECHO_REPLY && w->requests[!v->dir])
            good = good && connection_echo_answers(&w->echo, v->dir, (uint16_t)sequence);
        connection_echo_seen(&w->echo, type, v->dir, (uint16_t)sequence);
    }
    rule(o, CHECK_ICMP, good);
}

static void check_checksums(const flow *f, size_t i, const view *v, check_payload payload, outcome *o) {
    const packet *p = &f->packets[i];
    rule(o, CHECK_CHECKSUM_IP, checksum_ipv4(p) == get16(v->h + 10));
    if (payload == CHECK_PAYLOAD_UNKNOWN || v->l4 == NULL)
        return;
    unsigned at = v->proto == PROTO_TCP ? 16 : v->proto == PROTO_UDP ? 6 : v->proto == PROTO_ICMP ? 2 : 0;
    if (at != 0)
        rule(o, CHECK_CHECKSUM_L4,
             checksum_transport_over(p, payload == CHECK_PAYLOAD_MADE ? payload_sum(f, i) : 0) == get16(v->l4 + at) ||
                 (v->proto == PROTO_UDP && get16(v->l4 + at) == 0));
}

static outcome check_packet(const flow *f, size_t i, check_payload known, flow_view *w) {
    const packet *p = &f->packets[i];
    bool first = i == 0;
    outcome o = {0, 0};
    view v = view_of(p);
    if (!first)
        rule(&o, CHECK_TIME, p->time_ns >= w->last_ns);
    w->last_ns = p->time_ns;
    if (v.h == NULL) { /* not even an IP header */
        rule(&o, CHECK_VERSION, false);
        rule(&o, CHECK_IHL, false);
        rule(&o, CHECK_LENGTH, false);
        return o;
    }
    unsigned total = packet_total_len(p), payload = total > p->nheader ? total - p->nheader : 0;
    rule(&o, CHECK_VERSION, v.h[0] >> 4 == 4);
    rule(&o, CHECK_IHL, v.nip >= 20 && v.nip <= total && v.nip <= p->nheader);
    rule(&o, CHECK_PROTOCOL,
         v.proto == w->proto.value && (v.proto == PROTO_TCP || v.proto == PROTO_UDP || v.proto == PROTO_ICMP));
    bool datagram = v.proto == PROTO_UDP || v.proto == PROTO_ICMP;
    rule(&o, CHECK_LENGTH, v.l4 != NULL && total >= p->nheader && !(datagram && v.nl4 != 8));
    rule(&o, CHECK_ADDRESSES, address_pair(&v) == w->addresses.value);
    rule(&o, CHECK_TTL, v.h[8] != 0 && v.h[8] == w->ttl[v.dir]);
    if (has_ports(&v))
        rule(&o, CHECK_PORTS, port_pair(&v) == w->ports.value);
    if (is_echo(&v))
        rule(&o, CHECK_PORTS, get16(v.l4 + 4) == w->echo_id.value);
    if (v.l4 != NULL && v.proto == PROTO_TCP)
        check_tcp(&v, payload, w, &o);
    if (v.l4 != NULL && v.proto == PROTO_UDP)
        rule(&o, CHECK_UDP_LENGTH, get16(v.l4 + 4) == total - v.nip);
    if (v.l4 != NULL && v.proto == PROTO_ICMP)
        check_icmp(&v, w, &o);
    if (v.nip >= 20 && v.nip <= p->nheader)
        check_checksums(f, i, &v, known, &o);
    return o;
}

void check_flow(const flow *f, check_payload payload, check_counts *c, uint32_t *rows_failed) {
    flow_view w;
    bool passes = true;
    survey(f, &w);
    for (size_t i = 0; i < f->npackets; i++) {
        outcome o = check_packet(f, i, payload, &w);
        for (int r = 0; r < CHECK_COUNT; r++) {
            c->tested[r] += o.tested >> r & 1;
            c->failed[r] += o.failed >> r & 1;
        }
        bool row_passes = !(o.failed & check_row_rules);
        c->rows++;
        c->rows_pass += row_passes;
        passes = passes && row_passes;
        if (rows_failed != NULL)
            rows_failed[i] = o.failed;
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
