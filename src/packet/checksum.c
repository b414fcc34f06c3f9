/* Internet checksums of a packet (RFC 1071): its headers, and the sum of its payload.
 *
 * Headers are whole 32-bit words, so the payload starts on an even byte and its sum can be computed by itself; zero
 * bytes of any length, odd ones included, add nothing but their length in the pseudo header. TCP and ICMPv6 take that
 * length from IP (RFC 9293, RFC 8200 8.1), UDP from its own header (RFC 768, 8200). ICMP has no pseudo header. */
#include "packet/packet_priv.h"

static uint32_t sum_words(const uint8_t *bytes, size_t nbytes) {
    uint32_t sum = 0; /* at most 32768 words: no overflow */
    for (size_t i = 0; i + 1 < nbytes; i += 2)
        sum += get16(bytes + i);
    return sum;
}

static uint16_t fold(uint32_t sum) {
    sum = (sum & 0xffff) + (sum >> 16);
    sum += sum >> 16;
    return (uint16_t)~sum;
}

uint16_t checksum_ipv4(const packet *p) {
    return packet_is_ipv6(p) ? 0 : fold(sum_words(p->header, packet_ip_nheader(p)) - get16(p->header + 10));
}

/* Offset of the checksum in the transport header; 0 for a protocol that nd does not know. */
static size_t checksum_offset(const packet *p, unsigned proto) {
    switch (proto) {
    case PROTO_TCP:
        return 16;
    case PROTO_UDP:
        return 6;
    case PROTO_ICMP:
        return 2;
    case PROTO_ICMPV6:
        return packet_is_ipv6(p) ? 2 : 0;
    default:
        return 0;
    }
}

/* Where the final destination stands in a routing header of nbytes: the last address of types 0 (RFC 5095) and 2 (RFC
 * 6275), the first of the segment routing header, which is in reverse (RFC 8754). NULL where the packet has arrived at
 * its last segment already, or the type is another. */
static const uint8_t *final_destination(const uint8_t *routing, size_t nbytes) {
    if (routing[3] == 0 || nbytes < 8 + 16)
        return NULL;
    switch (routing[2]) {
    case 0:
    case 2:
        return routing + 8 + (nbytes - 8) / 16 * 16 - 16;
    case 4:
        return routing + 8;
    default:
        return NULL;
    }
}

/* Sum of source and destination as the transport layer knows them. */
static uint32_t sum_addresses(const packet *p, size_t nip) {
    if (!packet_is_ipv6(p))
        return sum_words(p->header + 12, 8);
    const uint8_t *destination = p->header + 24, *last;
    unsigned proto = p->header[6];
    for (size_t at = IPV6_HEADER, n; at < nip; proto = p->header[at], at += n) {
        n = packet_extension_nbytes(proto, p->header + at);
        if (n == 0)
            break;
        if (proto == EXTENSION_ROUTING && (last = final_destination(p->header + at, n)) != NULL)
            destination = last;
    }
    return sum_words(p->header + 8, 16) + sum_words(destination, 16);
}

uint32_t checksum_sum(const uint8_t *bytes, size_t nbytes) {
    uint32_t sum = sum_words(bytes, nbytes);
    return nbytes % 2 ? sum + ((uint32_t)bytes[nbytes - 1] << 8) : sum;
}

static uint16_t transport_sum(const packet *p, size_t nip, unsigned proto, size_t at, uint32_t payload_sum) {
    ASSERT(p->nheader >= nip + at + 2 && p->nheader <= PACKET_HEADER_MAX);
    const uint8_t *l4 = p->header + nip;
    unsigned total = packet_total_len(p);
    uint32_t sum = sum_words(l4, p->nheader - nip) - get16(l4 + at);
    sum += (payload_sum & 0xffff) + (payload_sum >> 16);
    if (proto != PROTO_ICMP) {
        uint32_t length = proto == PROTO_UDP ? get16(l4 + 4) : total > nip ? total - (uint32_t)nip : 0;
        sum += sum_addresses(p, nip) + proto + length;
    }
    uint16_t value = fold(sum);
    return proto == PROTO_UDP && value == 0 ? 0xffff : value;
}

uint16_t checksum_transport(const packet *p) {
    return checksum_transport_over(p, 0);
}

uint16_t checksum_transport_over(const packet *p, uint32_t payload_sum) {
    unsigned proto = packet_proto(p);
    size_t at = checksum_offset(p, proto);
    return at == 0 ? 0 : transport_sum(p, packet_ip_nheader(p), proto, at, payload_sum);
}

void checksum_fill(packet *p, bool keep_udp_zero) {
    checksum_fill_over(p, keep_udp_zero, 0);
}

void checksum_fill_over(packet *p, bool keep_udp_zero, uint32_t payload_sum) {
    if (!packet_is_ipv6(p))
        put16(p->header + 10, checksum_ipv4(p));
    unsigned proto = packet_proto(p);
    size_t at = checksum_offset(p, proto), nip = packet_ip_nheader(p);
    if (at == 0)
        return;
    uint8_t *field = p->header + nip + at;
    if (!(keep_udp_zero && proto == PROTO_UDP && get16(field) == 0))
        put16(field, transport_sum(p, nip, proto, at, payload_sum));
}
