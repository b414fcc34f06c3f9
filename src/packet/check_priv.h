/* Rules inside: one packet taken apart, the flow as a whole, and the pieces that repair keeps to as well. */
#ifndef ND_PACKET_CHECK_PRIV_H
#define ND_PACKET_CHECK_PRIV_H

#include "packet/check.h"
#include "packet/tcp_rules_priv.h"

/* The value of the greatest weight; of equal ones the earliest. Exact up to TALLY_VALUES different values; of more,
 * those that more than one in TALLY_VALUES weighs are kept (Misra and Gries 1982). */
enum { TALLY_VALUES = 16 };
typedef struct tally_value {
    ip_address value[2];
    double weight;
    size_t first;
} tally_value;
typedef struct tally {
    unsigned n;
    size_t nadded;
    tally_value values[TALLY_VALUES];
} tally;
void tally_add(tally *t, ip_address a, ip_address b, double weight);
/* NULL where nothing was added. */
const tally_value *tally_best(const tally *t);

/* A packet's header under a version that is given: what can be looked at. The IP header is there from 20 (40) bytes
 * on, a transport header (l4, else NULL) where it is whole. */
typedef struct header_view {
    const uint8_t *h, *l4;
    bool ipv6;
    unsigned dir, nheader, nip, nl4, proto, total;
} header_view;
header_view header_view_of(const packet *p, bool ipv6);
/* Smallest transport header of a protocol. */
static inline unsigned transport_least(unsigned proto) {
    return proto == PROTO_TCP ? 20 : 8;
}
static inline bool proto_is_icmp(unsigned proto) {
    return proto == PROTO_ICMP || proto == PROTO_ICMPV6;
}
/* Source, destination. */
static inline ip_address view_address(const header_view *v, unsigned side) {
    return ip_address_get(v->h + (v->ipv6 ? 8 + 16 * side : 12 + 4 * side), v->ipv6 ? 16 : 4);
}
static inline unsigned view_ttl(const header_view *v) {
    return v->h[v->ipv6 ? 7 : 8];
}
static inline unsigned view_tos(const header_view *v) {
    return v->ipv6 ? (v->h[0] & 15u) << 4 | v->h[1] >> 4 : v->h[1];
}
static inline unsigned view_label(const header_view *v) {
    return get32(v->h) & 0xfffff;
}
/* TCP's numbers and options; g->payload is that of the IP length. */
void view_segment(const header_view *v, const packet *p, tcp_segment *g);

/* ---- Gaps: numbers that run ahead of what was seen ----
 *
 * A segment can be overtaken by later ones, be lost before the observer and come again, or pass the observer unseen.
 * What follows tells such a gap from a wrong number. GAP_PACKETS packets of the flow are looked at, so that the
 * boundary at which the gap begins is still known (CONNECTION_BOUNDARIES) when it is filled. */
enum { GAP_PACKETS = 100, GAP_BYTES = 1 << 24 };

/* The packets behind packet `number` of a flow. */
typedef struct packets_behind {
    const flow *f;
    size_t number;
    const header_view *views; /* of all packets; NULL: they are looked at under version ipv6 */
    bool ipv6;
} packets_behind;

/* May the segment, whose side was expected to go on at `expected`, leave a gap? Either its side sends the bytes from
 * `expected` later, or nothing below the segment and the other side, where it was captured, acknowledges them. */
bool gap_before_segment(const packets_behind *b, const tcp_segment *g, uint32_t expected, bool peer_seen);
/* May the segment acknowledge what its peer, expected to go on at `expected`, was not seen to send? The peer must go on
 * there or later. */
bool gap_before_ack(const packets_behind *b, const tcp_segment *g, uint32_t expected);

/* Which codes of the direction's DSCP stay beside the most frequent: those that two packets and a sixteenth have. */
static inline bool dscp_counts(size_t n, size_t all) {
    return n >= 2 && 16 * n >= all;
}

/* IPv4's option at `option`, nbytes left: its length where the grammar allows it, else 0. */
unsigned ip_option_length(const uint8_t *option, unsigned nbytes);
/* Do IPv6's extension headers, from byte 40 to nip, stand in order, with options that parse? */
bool ip_extensions_parse(const uint8_t *ip, unsigned nip);
/* IPv6 extension header at `at`, inside nip: its length. */
unsigned ip_extension_length(const uint8_t *ip, unsigned kind, unsigned at);
bool ip_extension_options_parse(const uint8_t *options, unsigned nbytes);
enum {
    IPV6_HOP_BY_HOP = 0,
    IPV6_ROUTING = 43,
    IPV6_FRAGMENT = 44,
    IPV6_AH = 51,
    IPV6_DESTINATION = 60,
    IPV6_MOBILITY = 135
};

/* ICMP and ICMPv6 messages: what a type needs. */
typedef struct icmp_type {
    uint8_t proto, type, codes; /* codes: the highest */
    uint16_t least;             /* bytes of payload */
    enum { ICMP_ECHO, ICMP_ERROR, ICMP_OTHER } kind;
    bool zero_word; /* bytes 4 to 7 are unused and 0 */
} icmp_type;
const icmp_type *icmp_type_find(unsigned proto, unsigned type); /* NULL: not known */
bool check_icmp_code(unsigned proto, unsigned type, unsigned code);
/* Echo, under the numbers of ICMP (those that connection_echo is told), -1 where it is none. */
static inline int icmp_echo_of(unsigned proto, unsigned type) {
    if (proto == PROTO_ICMP)
        return icmp_is_echo(type) ? (int)type : -1;
    return type == 128 ? ICMP_ECHO_REQUEST : type == 129 ? ICMP_ECHO_REPLY : -1;
}

/* The flow as a whole: what most of its packets say, and the state machines. */
typedef struct flow_view {
    bool ipv6;
    tally proto, addresses, ports, echo_id, label[2];
    unsigned ttl[2], dscp[2]; /* the most frequent */
    size_t ndscp[2][64], n[2];
    bool requests[2]; /* echo requests were seen from this side */
    tcp_state tcp;
    connection_echo echo;
    bool id_known[2];
    uint16_t id[2];
    int64_t last_ns;
} flow_view;

/* One packet before the rules: they see the flow as it was before it, and what follows where numbers run ahead. */
typedef struct check_row {
    const packet *p;
    header_view v;
    packets_behind behind;
    bool first, payload_known;
    uint32_t payload_sum; /* where it is known */
    const flow_view *w;
    tcp_segment g; /* where the transport header is TCP's */
} check_row;

/* Every rule: -1 it does not apply, 0 it fails, 1 it holds. */
typedef int check_function(const check_row *x);
check_function check_version, check_ihl, check_ip_options, check_fragment, check_length, check_protocol,
    check_addresses, check_ports, check_ttl, check_dscp, check_flow_label, check_ip_id, check_checksum_ip,
    check_checksum_l4, check_time; /* check_ip.c */
check_function check_options, check_flags, check_reserved, check_handshake, check_reset, check_seq, check_fin,
    check_ack, check_window, check_repeat, check_negotiated, check_timestamps, check_sack; /* check_tcp.c */
check_function check_udp_length;                                                           /* check_udp.c */
check_function check_icmp, check_echo;                                                     /* check_icmp.c */

#endif
