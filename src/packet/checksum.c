/* Internet checksums of a packet (RFC 1071): its headers, and the sum of its payload.
 *
 * Headers are whole 32-bit words, so the payload starts on an even byte and its sum can be computed by itself; zero
 * bytes of any length, odd ones included, add nothing but their length in the pseudo header. TCP takes that length from
 * IP (RFC 9293), UDP from its own header (RFC 768). */
#include "packet/packet.h"

static uint32_t sum_words(const uint8_t *bytes, size_t nbytes) {
    uint32_t sum = 0;
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
        return 2;
    default:
        return 0;
    }
}

uint32_t checksum_sum(const uint8_t *bytes, size_t nbytes) {
    uint32_t sum = sum_words(bytes, nbytes); /* at most 32768 words: no overflow */
    return nbytes % 2 ? sum + ((uint32_t)bytes[nbytes - 1] << 8) : sum;
}

uint16_t checksum_transport_over(const packet *p, uint32_t payload_sum) {
    size_t at = checksum_offset(p), nip = packet_ip_nheader(p);
    if (at == 0)
        return 0;
    ASSERT(p->nheader >= nip + at + 2 && p->nheader <= PACKET_HEADER_MAX);
    const uint8_t *l4 = packet_l4(p);
    unsigned proto = packet_proto(p), total = packet_total_len(p);
    uint32_t sum = sum_words(l4, p->nheader - nip) - get16(l4 + at);
    sum += (payload_sum & 0xffff) + (payload_sum >> 16);
    if (proto != PROTO_ICMP) {
        uint32_t length = proto == PROTO_UDP ? get16(l4 + 4) : total > nip ? total - (uint32_t)nip : 0;
        sum += sum_words(p->header + 12, 8) + proto + length;
    }
    uint16_t value = fold(sum);
    return proto == PROTO_UDP && value == 0 ? 0xffff : value;
}

uint16_t checksum_transport(const packet *p) {
    return checksum_transport_over(p, 0);
}

void checksum_fill(packet *p, bool keep_udp_zero) {
    checksum_fill_over(p, keep_udp_zero, 0);
}

void checksum_fill_over(packet *p, bool keep_udp_zero, uint32_t payload_sum) {
    put16(p->header + 10, checksum_ipv4(p));
    size_t at = checksum_offset(p);
    if (at == 0)
        return;
    uint8_t *field = p->header + packet_ip_nheader(p) + at;
    if (!(keep_udp_zero && packet_proto(p) == PROTO_UDP && get16(field) == 0))
        put16(field, checksum_transport_over(p, payload_sum));
}
