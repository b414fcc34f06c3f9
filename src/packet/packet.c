/* Decode one captured frame into the headers that nd keeps.
 *
 * A link layer only has to find where the IP header starts; the version nibble found there, not the type the link layer
 * announced, says which IP it is (captures with the wrong EtherType exist). Every step first compares with what was
 * captured, so a frame cut anywhere gives SKIP_CUT or the same packet, never a different one.
 * The link layers are in packet_link.c. References: RFC 791, 8200, 9293, 768, 792, 4443, 4302 (AH), 6275 (mobility). */
#include <string.h>
#include "packet/packet_priv.h"

const char *packet_skip_name(packet_skip why) {
    static const char *const names[SKIP_COUNT] = {
        [SKIP_NONE] = "none",
        [SKIP_LINK] = "link_type",
        [SKIP_NOT_IP] = "not_ip",
        [SKIP_IPV6] = "ipv6",
        [SKIP_IP_BAD] = "ip_bad",
        [SKIP_FRAGMENT] = "fragment",
        [SKIP_PROTOCOL] = "protocol",
        [SKIP_CUT] = "header_cut",
        [SKIP_L4_BAD] = "transport_bad",
        [SKIP_EXTENSIONS] = "extensions_long",
        [SKIP_PROTECTED] = "protected",
    };
    return (unsigned)why < SKIP_COUNT ? names[why] : "unknown";
}

size_t packet_extension_nbytes(unsigned proto, const uint8_t *header) {
    switch (proto) {
    case EXTENSION_HOP_BY_HOP:
    case EXTENSION_ROUTING:
    case EXTENSION_DESTINATION:
    case EXTENSION_MOBILITY:
        return 8 + header[1] * 8u;
    case EXTENSION_AUTHENTICATION: /* in words, and one less than the others count */
        return 8 + header[1] * 4u;
    case EXTENSION_FRAGMENT:
        return 8;
    default:
        return 0;
    }
}

bool packet_is_extension(unsigned proto) {
    static const uint8_t any[2];
    return packet_extension_nbytes(proto, any) > 0;
}

unsigned packet_walk_ipv6(const uint8_t *ip, size_t nbytes, unsigned *proto) {
    unsigned at = IPV6_HEADER;
    *proto = ip[6];
    while (at + 8 <= nbytes) {
        size_t n = packet_extension_nbytes(*proto, ip + at);
        if (n == 0 || at + n > nbytes)
            break;
        *proto = ip[at];
        at += (unsigned)n;
    }
    return at;
}

/* ip: n captured bytes from the IPv4 header on, of `wire`; *nip: its bytes, *total those of the whole packet. */
static packet_skip measure_ipv4(const uint8_t *ip, size_t n, size_t wire, size_t *nip, size_t *total, unsigned *proto) {
    *nip = (ip[0] & 15u) * 4u;
    if (*nip < 20)
        return SKIP_IP_BAD;
    if (n < *nip)
        return SKIP_CUT;
    *total = get16(ip + 2);
    if (*total == 0) /* left to the network card, which cuts the packet into segments: it is as long as the frame */
        *total = wire;
    if (*total < *nip || *total > UINT16_MAX)
        return SKIP_IP_BAD;
    if (get16(ip + 6) & 0x1fff)
        return SKIP_FRAGMENT;
    *proto = ip[9];
    return *proto == PROTO_ICMPV6 ? SKIP_PROTOCOL : SKIP_NONE;
}

/* The same for IPv6, whose header includes its extension headers. */
static packet_skip measure_ipv6(const uint8_t *ip, size_t n, size_t *nip, size_t *total, unsigned *proto) {
    if (n < IPV6_HEADER)
        return SKIP_CUT;
    *nip = IPV6_HEADER;
    *total = IPV6_HEADER + (size_t)get16(ip + 4);
    if (*total == IPV6_HEADER) /* a jumbogram (RFC 2675) has its length elsewhere */
        return SKIP_IP_BAD;
    *proto = ip[6];
    while (packet_is_extension(*proto)) {
        const uint8_t *header = ip + *nip;
        if (*total < *nip + 8)
            return SKIP_IP_BAD;
        if (n < *nip + 8)
            return SKIP_CUT;
        size_t nbytes = packet_extension_nbytes(*proto, header);
        if (*total < *nip + nbytes)
            return SKIP_IP_BAD;
        if (*nip + nbytes + 8 > PACKET_HEADER_MAX)
            return SKIP_EXTENSIONS;
        if (n < *nip + nbytes)
            return SKIP_CUT;
        if (*proto == EXTENSION_FRAGMENT && (get16(header + 2) & 0xfff8))
            return SKIP_FRAGMENT;
        *proto = header[0];
        *nip += nbytes;
    }
    return *proto == PROTO_ICMP ? SKIP_PROTOCOL : SKIP_NONE;
}

/* ip: n captured bytes of `wire`, at least one; *nheader: IP header + transport header. */
static packet_skip measure_headers(const uint8_t *ip, size_t n, size_t wire, size_t *nheader) {
    unsigned version = ip[0] >> 4, proto = 0;
    size_t nip = 0, total = 0, nl4 = 8;
    if (version != 4 && version != 6)
        return SKIP_IP_BAD;
    packet_skip skip =
        version == 4 ? measure_ipv4(ip, n, wire, &nip, &total, &proto) : measure_ipv6(ip, n, &nip, &total, &proto);
    if (skip != SKIP_NONE)
        return skip;
    if (proto == PROTO_TCP) {
        if (total < nip + 20)
            return SKIP_L4_BAD;
        if (n < nip + 20)
            return SKIP_CUT;
        nl4 = (size_t)(ip[nip + 12] >> 4) * 4;
        if (nl4 < 20)
            return SKIP_L4_BAD;
    } else if (proto != PROTO_UDP && proto != PROTO_ICMP && proto != PROTO_ICMPV6) {
        return SKIP_PROTOCOL;
    }
    *nheader = nip + nl4;
    if (total < *nheader)
        return SKIP_L4_BAD;
    if (*nheader > PACKET_HEADER_MAX)
        return SKIP_EXTENSIONS;
    return n < *nheader ? SKIP_CUT : SKIP_NONE;
}

/* Write a total length where there was none. A header checksum that was right stays so (RFC 1624). */
static void fill_total_len(uint8_t *ip, unsigned total) {
    uint32_t sum = (uint16_t)~get16(ip + 10) + total;
    put16(ip + 2, total);
    put16(ip + 10, (uint16_t) ~((sum & 0xffff) + (sum >> 16)));
}

packet_skip packet_decode(int link_type, const uint8_t *frame, size_t caplen, size_t wire_len, packet *out) {
    size_t at, nheader;
    packet_skip skip = packet_skip_link(link_type, frame, caplen, &at);
    if (skip != SKIP_NONE)
        return skip;
    if (caplen == at)
        return SKIP_CUT;
    /* A record may claim fewer bytes on the wire than were captured; those captured were there. */
    size_t wire = (wire_len > caplen ? wire_len : caplen) - at;
    skip = measure_headers(frame + at, caplen - at, wire, &nheader);
    if (skip != SKIP_NONE)
        return skip;
    out->wire_len = wire < UINT32_MAX ? (uint32_t)wire : UINT32_MAX;
    out->nheader = (uint8_t)nheader;
    memcpy(out->header, frame + at, nheader);
    if (!packet_is_ipv6(out) && packet_total_len(out) == 0)
        fill_total_len(out->header, out->wire_len);
    return SKIP_NONE;
}

bool packet_has_shape(const packet *p) {
    if (p->nheader > PACKET_HEADER_MAX)
        return false;
    unsigned proto = p->header[9];
    size_t nip = (p->header[0] & 15u) * 4u, nl4 = 8;
    if (packet_is_ipv6(p)) {
        if (p->nheader < IPV6_HEADER)
            return false;
        nip = packet_walk_ipv6(p->header, p->nheader, &proto);
        if (packet_is_extension(proto))
            return false;
    }
    if (nip < 20 || p->nheader < nip + nl4)
        return false;
    if (proto == PROTO_TCP) {
        if (p->nheader < nip + 20)
            return false;
        nl4 = (size_t)(p->header[nip + 12] >> 4) * 4;
        if (nl4 < 20)
            return false;
    }
    return p->nheader == nip + nl4;
}

bool packet_is_complete(const packet *p) {
    if (!packet_has_shape(p))
        return false;
    unsigned version = p->header[0] >> 4, proto = packet_proto(p);
    return (version == 4 || version == 6) &&
           (proto == PROTO_TCP || proto == PROTO_UDP || proto == (version == 4 ? PROTO_ICMP : PROTO_ICMPV6));
}
