/* Internet checksums of a packet's headers (RFC 1071), with the payload taken as zero bytes.
 *
 * Headers are whole 32-bit words, so a payload of any length, odd ones included, adds nothing but its length in the
 * pseudo header. TCP takes that length from IP (RFC 9293), UDP from its own header (RFC 768). */
#include "packet/packet.h"

static uint32_t sum_words(const uint8_t *bytes, size_t nbytes) {
    uint32_t sum = 0; /* at most 96 words and a pseudo header: no overflow */
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
    return fold(sum_words(p->header, packet_ip_nheader(p)) - get16(p->header + 10));
}

/* Offset of the checksum in the transport header; 0 for a protocol that nd does not know. */
static size_t checksum_offset(const packet *p) {
    switch (packet_proto(p)) {
    case PROTO_TCP:
        return 16;
    case PROTO_UDP:
        return 6;
    case PROTO_ICMP:
    case PROTO_ICMPV6:
        return 2;
    default:
        return 0;
    }
}

uint16_t checksum_transport(const packet *p) {
    size_t at = checksum_offset(p), nip = packet_ip_nheader(p);
    if (at == 0)
        return 0;
    ASSERT(p->nheader >= nip + at + 2 && p->nheader <= PACKET_HEADER_MAX);
    const uint8_t *l4 = packet_l4(p);
    unsigned proto = packet_proto(p), total = packet_total_len(p);
    uint32_t sum = sum_words(l4, p->nheader - nip) - get16(l4 + at);

    if (proto != PROTO_ICMP) {
        uint32_t length = proto == PROTO_UDP ? get16(l4 + 4) : total > nip ? total - (uint32_t)nip : 0;
        sum += sum_words(p->header + packet_address_at(p, 0), 2 * packet_naddress(p)) + proto + length;
    }
    uint16_t value = fold(sum);
    return proto == PROTO_UDP && value == 0 ? 0xffff : value;
}

void checksum_fill(packet *p, bool keep_udp_zero) {
    if (!packet_is_ipv6(p))
        put16(p->header + 10, checksum_ipv4(p));
    size_t at = checksum_offset(p);
    if (at == 0)
        return;
    uint8_t *field = p->header + packet_ip_nheader(p) + at;
    if (!(keep_udp_zero && packet_proto(p) == PROTO_UDP && get16(field) == 0))
        put16(field, checksum_transport(p));
}
