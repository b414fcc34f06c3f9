/* Decode one captured frame into the headers that nd keeps.
 *
 * A link layer only has to find where the IP header starts; the version nibble found there, not the type the link layer
 * announced, says which IP it is (captures with the wrong EtherType exist). Every step first compares with what was
 * captured, so a frame cut anywhere gives SKIP_CUT or the same packet, never a different one.
 * References: RFC 791, 793, 768, 792; RFC 1042 (SNAP), 1661/1662 (PPP), 2516 (PPPoE), IEEE 802.1Q, 802.1ad;
 * the LINKTYPE_ registry of tcpdump.org. */
#include <string.h>
#include "packet/packet.h"

enum { TYPE_IPV4 = 0x0800, TYPE_IPV6 = 0x86dd, TYPE_PPPOE_SESSION = 0x8864 };
enum { TYPE_VLAN = 0x8100, TYPE_PROVIDER_VLAN = 0x88a8, TYPE_OLD_QINQ = 0x9100 };
enum { TYPE_FIRST = 0x0600 }; /* below this the field is an 802.3 length, and LLC follows */
enum { PPP_IPV4 = 0x0021, PPP_IPV6 = 0x0057 };

/* IPv6 extension headers (RFC 8200, 4302, 6275). */
enum {
    EXTENSION_HOP_BY_HOP = 0,
    EXTENSION_ROUTING = 43,
    EXTENSION_FRAGMENT = 44,
    EXTENSION_AUTHENTICATION = 51,
    EXTENSION_DESTINATION = 60,
    EXTENSION_MOBILITY = 135
};

/* LINKTYPE_ values of capture files. */
enum {
    LINK_NULL = 0,
    LINK_ETHERNET_10MB = 1,
    LINK_PPP = 9,
    LINK_RAW_BSD = 12,
    LINK_RAW_OPENBSD = 14,
    LINK_RAW_IP = 101,
    LINK_LOOP = 108,
    LINK_SLL = 113,
    LINK_IPV4 = 228,
    LINK_IPV6 = 229,
    LINK_SLL2 = 276
};

const char *packet_skip_name(packet_skip why) {
    static const char *const names[SKIP_COUNT] = {
        [SKIP_NONE] = "none",         [SKIP_LINK] = "link_type", [SKIP_NOT_IP] = "not_ip",
        [SKIP_IPV6] = "ipv6",         [SKIP_IP_BAD] = "ip_bad",  [SKIP_FRAGMENT] = "fragment",
        [SKIP_PROTOCOL] = "protocol", [SKIP_CUT] = "header_cut", [SKIP_L4_BAD] = "transport_bad",
    };
    return (unsigned)why < SKIP_COUNT ? names[why] : "unknown";
}

/* *at: offset of the PPP protocol field; moved to the first byte after it. */
static packet_skip skip_ppp_protocol(const uint8_t *frame, size_t caplen, size_t *at) {
    size_t left = caplen - *at;
    if (left < 1)
        return SKIP_CUT;
    unsigned protocol = frame[*at];
    if (protocol & 1) { /* compressed to one byte: the last byte of a protocol number is odd, the first is even */
        *at += 1;
    } else {
        if (left < 2)
            return SKIP_CUT;
        protocol = get16(frame + *at);
        *at += 2;
    }
    return protocol == PPP_IPV4 || protocol == PPP_IPV6 ? SKIP_NONE : SKIP_NOT_IP;
}

/* PPPoE session header (RFC 2516), *at on its first byte:
 *   version 4 bits (1) | type 4 bits (1) | code 8 (0 in a session) | session 16 | length 16 | PPP protocol 16 */
static packet_skip skip_pppoe(const uint8_t *frame, size_t caplen, size_t *at) {
    if (caplen - *at < 6)
        return SKIP_CUT;
    if (get16(frame + *at) != 0x1100)
        return SKIP_NOT_IP;
    *at += 6;
    return skip_ppp_protocol(frame, caplen, at);
}

/* `type` is an EtherType (or 802.3 length) whose payload starts at *at; walk tags and shims to the IP header. */
static packet_skip skip_to_ip(const uint8_t *frame, size_t caplen, unsigned type, size_t *at) {
    static const uint8_t snap[6] = {0xaa, 0xaa, 3, 0, 0, 0}; /* LLC for SNAP, OUI of EtherTypes */

    while (type != TYPE_IPV4 && type != TYPE_IPV6) {
        size_t left = caplen - *at;
        if (type == TYPE_VLAN || type == TYPE_PROVIDER_VLAN || type == TYPE_OLD_QINQ) {
            if (left < 4)
                return SKIP_CUT;
            type = get16(frame + *at + 2);
            *at += 4;
        } else if (type == TYPE_PPPOE_SESSION) {
            return skip_pppoe(frame, caplen, at);
        } else if (type < TYPE_FIRST) {
            if (memcmp(frame + *at, snap, left < sizeof snap ? left : sizeof snap) != 0)
                return SKIP_NOT_IP;
            if (left < 8)
                return SKIP_CUT;
            type = get16(frame + *at + 6);
            *at += 8;
        } else {
            return SKIP_NOT_IP;
        }
    }
    return SKIP_NONE;
}

/* A link header of nheader bytes with the EtherType at type_at. */
static packet_skip skip_typed_header(const uint8_t *frame, size_t caplen, size_t nheader, size_t type_at, size_t *at) {
    if (caplen < nheader)
        return SKIP_CUT;
    *at = nheader;
    return skip_to_ip(frame, caplen, get16(frame + type_at), at);
}

/* BSD loopback: an address family in the byte order of the capturing host (network order for LINK_LOOP). Families are
 * small numbers, so a value with only high bytes set was written in the other order. Some tunnel interfaces leave an
 * EtherType in the last two bytes instead. */
static packet_skip skip_loopback(const uint8_t *frame, size_t caplen, size_t *at) {
    if (caplen < 4)
        return SKIP_CUT;
    uint32_t family = get32(frame);
    if (family > 0xffff)
        family = __builtin_bswap32(family);
    *at = 4;
    switch (family) {
    case 2:  /* AF_INET everywhere */
    case 10: /* AF_INET6: Linux */
    case 23: /* Windows */
    case 24: /* NetBSD, OpenBSD */
    case 28: /* FreeBSD */
    case 30: /* macOS */
        return SKIP_NONE;
    default:
        return get16(frame + 2) == TYPE_IPV4 || get16(frame + 2) == TYPE_IPV6 ? SKIP_NONE : SKIP_NOT_IP;
    }
}

static packet_skip skip_ppp(const uint8_t *frame, size_t caplen, size_t *at) {
    if (caplen >= 1 && frame[0] == 0xff) { /* HDLC-like framing: address and control bytes come first */
        if (caplen < 2)
            return SKIP_CUT;
        if (frame[1] == 0x03)
            *at = 2;
    }
    return skip_ppp_protocol(frame, caplen, at);
}

static packet_skip skip_link_header(int link_type, const uint8_t *frame, size_t caplen, size_t *at) {
    *at = 0;
    switch (link_type) {
    case LINK_ETHERNET_10MB:
        return skip_typed_header(frame, caplen, 14, 12, at);
    case LINK_SLL:
        return skip_typed_header(frame, caplen, 16, 14, at);
    case LINK_SLL2:
        return skip_typed_header(frame, caplen, 20, 0, at);
    case LINK_RAW_BSD:
    case LINK_RAW_OPENBSD:
    case LINK_RAW_IP:
    case LINK_IPV4:
    case LINK_IPV6:
        return SKIP_NONE;
    case LINK_NULL:
    case LINK_LOOP:
        return skip_loopback(frame, caplen, at);
    case LINK_PPP:
        return skip_ppp(frame, caplen, at);
    default:
        return SKIP_LINK;
    }
}

unsigned packet_walk_ipv6(const uint8_t *ip, size_t nbytes, unsigned *proto) {
    unsigned at = 40;
    *proto = ip[6];
    for (;;) {
        size_t n;
        switch (*proto) {
        case EXTENSION_HOP_BY_HOP:
        case EXTENSION_ROUTING:
        case EXTENSION_DESTINATION:
        case EXTENSION_MOBILITY:
            if (at + 8 > nbytes)
                return at;
            n = 8u + ip[at + 1] * 8u;
            break;
        case EXTENSION_AUTHENTICATION:
            if (at + 8 > nbytes)
                return at;
            n = 8u + ip[at + 1] * 4u;
            break;
        case EXTENSION_FRAGMENT:
            n = 8;
            break;
        default:
            return at;
        }
        if (at + n > nbytes)
            return at;
        *proto = ip[at];
        at += (unsigned)n;
    }
}

/* ip: n captured bytes from the IPv4 header on; *nheader: IP header + transport header. */
static packet_skip measure_headers(const uint8_t *ip, size_t n, size_t *nheader) {
    size_t nip = (ip[0] & 15u) * 4u;
    if (nip < 20)
        return SKIP_IP_BAD;
    if (n < nip)
        return SKIP_CUT;
    size_t total = get16(ip + 2);
    if (total < nip) /* 0 too: segmentation offload leaves it so, but then the length is not known */
        return SKIP_IP_BAD;
    if (get16(ip + 6) & 0x1fff)
        return SKIP_FRAGMENT;

    const uint8_t *l4 = ip + nip;
    size_t nl4;
    switch (ip[9]) {
    case PROTO_TCP:
        if (total < nip + 20)
            return SKIP_L4_BAD;
        if (n < nip + 20)
            return SKIP_CUT;
        nl4 = (size_t)(l4[12] >> 4) * 4;
        if (nl4 < 20)
            return SKIP_L4_BAD;
        break;
    case PROTO_UDP:
    case PROTO_ICMP:
        nl4 = 8;
        break;
    default:
        return SKIP_PROTOCOL;
    }
    *nheader = nip + nl4;
    if (total < *nheader)
        return SKIP_L4_BAD;
    return n < *nheader ? SKIP_CUT : SKIP_NONE;
}

packet_skip packet_decode(int link_type, const uint8_t *frame, size_t caplen, size_t wire_len, packet *out) {
    size_t at, nheader;
    packet_skip skip = skip_link_header(link_type, frame, caplen, &at);
    if (skip != SKIP_NONE)
        return skip;
    if (caplen == at)
        return SKIP_CUT;
    unsigned version = frame[at] >> 4;
    if (version != 4)
        return version == 6 ? SKIP_IPV6 : SKIP_IP_BAD;
    skip = measure_headers(frame + at, caplen - at, &nheader);
    if (skip != SKIP_NONE)
        return skip;

    /* A record may claim fewer bytes on the wire than were captured; those captured were there. */
    size_t wire = (wire_len > caplen ? wire_len : caplen) - at;
    out->wire_len = wire < UINT32_MAX ? (uint32_t)wire : UINT32_MAX;
    out->nheader = (uint8_t)nheader;
    memcpy(out->header, frame + at, nheader);
    return SKIP_NONE;
}

bool packet_has_shape(const packet *p) {
    size_t nip = packet_ip_nheader(p), nl4 = 8;
    if (p->nheader > PACKET_HEADER_MAX || nip < 20)
        return false;
    if (packet_proto(p) == PROTO_TCP)
        nl4 = (size_t)(packet_l4(p)[12] >> 4) * 4;
    return (packet_proto(p) != PROTO_TCP || nl4 >= 20) && p->nheader == nip + nl4;
}

bool packet_is_complete(const packet *p) {
    unsigned proto = packet_proto(p);
    return packet_has_shape(p) && p->header[0] >> 4 == 4 &&
           (proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_ICMP);
}
