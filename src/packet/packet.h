/* A packet as nd keeps it: the IP header and the transport header, without link header and payload, and what is known
 * of the rest.
 *
 * Header bytes are in network order as captured. Direction 0 is that of the flow's first packet. */
#ifndef ND_PACKET_PACKET_H
#define ND_PACKET_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

enum { PACKET_HEADER_MAX = 192 }; /* IPv4 60 + TCP 60; IPv6 40 + TCP 60 leave 92 for extension headers */
enum { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ICMPV6 = 58 };
enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16, TCP_URG = 32, TCP_ECE = 64, TCP_CWR = 128 };

typedef struct packet {
    int64_t time_ns;   /* since 1970 */
    uint32_t wire_len; /* bytes on the wire from the IP header on (link header not counted, trailer counted) */
    uint32_t frame;    /* number of the record in its capture, from 0 */
    uint8_t dir;
    uint8_t nheader; /* bytes in header: IP header + transport header */
    uint8_t header[PACKET_HEADER_MAX];
} packet;

/* Why a frame gave no packet; every skipped frame is counted under exactly one reason. */
typedef enum packet_skip {
    SKIP_NONE = 0,
    SKIP_LINK,       /* link type that nd does not know, or a form of its frames (802.11 A-MSDU) */
    SKIP_NOT_IP,     /* ARP, LLDP, ... */
    SKIP_IPV6,       /* IPv6 where only IPv4 has a place: nPrint text without IPv6 columns, datasets of version 1 */
    SKIP_IP_BAD,     /* version, header, total or payload length impossible */
    SKIP_FRAGMENT,   /* fragment other than the first */
    SKIP_PROTOCOL,   /* not TCP, UDP, or the version's own ICMP */
    SKIP_CUT,        /* header cut by the snap length */
    SKIP_L4_BAD,     /* transport header with an impossible length */
    SKIP_EXTENSIONS, /* IPv6 extension headers that leave no place for the transport header in PACKET_HEADER_MAX */
    SKIP_PROTECTED,  /* 802.11 frame whose content is encrypted */
    SKIP_COUNT
} packet_skip;

const char *packet_skip_name(packet_skip why);

/* Decode one captured frame. link_type is the pcap LINKTYPE_ value (0, 1, 9, 12, 14, 101, 105, 108, 113, 127, 228, 229,
 * 276); VLAN, QinQ, MPLS, PPPoE and SNAP are looked through. Fills nheader, the first nheader bytes of header, and
 * wire_len of *out (time, frame and dir are the caller's); on a skip *out is untouched. The transport header must lie
 * inside the IP total length. An IPv4 total length of 0 (segmentation offload) is that of the frame, up to 65535, and
 * stands in *out's header, with a checksum that is as right as before; IPv6's 0 (jumbograms) is SKIP_IP_BAD. A frame
 * that ends before its IP header is SKIP_CUT. Never reads beyond caplen. */
packet_skip packet_decode(int link_type, const uint8_t *frame, size_t caplen, size_t wire_len, packet *out);

/* Do the bytes in header make one IP header, with IPv4's options or IPv6's extension headers, and the TCP, UDP or ICMP
 * (IPv6: ICMPv6) header it announces, and nothing more? Lengths of the whole and checksums are not looked at. For
 * packets that come from a file rather than from packet_decode. */
bool packet_is_complete(const packet *p);
/* The same, with other protocols taken as eight bytes and versions other than 6 as IPv4: what packets as a model made
 * them, before repair, must be so that the views below stay inside the header. Any bytes and any nheader may be
 * asked about. */
bool packet_has_shape(const packet *p);

/* Walk IPv6 and its extension headers (RFC 8200 4), never beyond nbytes, which is at least 40: offset of the upper
 * layer's header, and its protocol in *proto. An extension header that is cut ends the walk: *proto is then its own
 * number. */
unsigned packet_walk_ipv6(const uint8_t *ip, size_t nbytes, unsigned *proto);
/* Is this the number of an extension header that packet_walk_ipv6 walks over? */
bool packet_is_extension(unsigned proto);

/* Views of a complete packet (packet_decode and the layouts make no others). */
static inline bool packet_is_ipv6(const packet *p) {
    return p->header[0] >> 4 == 6;
}
/* IP header, with IPv4's options or IPv6's extension headers. */
static inline unsigned packet_ip_nheader(const packet *p) {
    unsigned proto;
    return packet_is_ipv6(p) ? packet_walk_ipv6(p->header, p->nheader, &proto) : (p->header[0] & 15u) * 4u;
}
/* The upper layer's. */
static inline unsigned packet_proto(const packet *p) {
    unsigned proto = p->header[9];
    if (packet_is_ipv6(p))
        packet_walk_ipv6(p->header, p->nheader, &proto);
    return proto;
}
static inline const uint8_t *packet_l4(const packet *p) {
    return p->header + packet_ip_nheader(p);
}
/* Bytes of the IP packet, its own header included. */
static inline unsigned packet_total_len(const packet *p) {
    return packet_is_ipv6(p) ? 40u + ((unsigned)p->header[4] << 8 | p->header[5])
                             : (unsigned)p->header[2] << 8 | p->header[3];
}
/* 4 or 16, and where the source (side 0) or destination (side 1) address stands. */
static inline unsigned packet_naddress(const packet *p) {
    return packet_is_ipv6(p) ? 16 : 4;
}
static inline unsigned packet_address_at(const packet *p, unsigned side) {
    return packet_is_ipv6(p) ? 8 + 16 * side : 12 + 4 * side;
}
/* Where the TTL stands, or IPv6's hop limit. */
static inline unsigned packet_ttl_at(const packet *p) {
    return packet_is_ipv6(p) ? 7 : 8;
}
static inline bool packet_is_icmp(const packet *p) {
    unsigned proto = packet_proto(p);
    return proto == (packet_is_ipv6(p) ? PROTO_ICMPV6 : PROTO_ICMP);
}
/* Bytes of transport payload by the IP total length; 0 where that is shorter than the headers. */
static inline unsigned packet_payload(const packet *p) {
    unsigned total = packet_total_len(p);
    return total > p->nheader ? total - p->nheader : 0;
}
static inline uint16_t get16(const uint8_t *b) {
    return (uint16_t)(b[0] << 8 | b[1]);
}
static inline uint32_t get32(const uint8_t *b) {
    return (uint32_t)get16(b) << 16 | get16(b + 2);
}
static inline void put16(uint8_t *b, unsigned v) {
    b[0] = (uint8_t)(v >> 8);
    b[1] = (uint8_t)v;
}
static inline void put32(uint8_t *b, uint32_t v) {
    put16(b, v >> 16);
    put16(b + 2, v & 0xffff);
}

/* Checksums (RFC 1071) of a packet that has shape. The payload is taken as zero bytes, which add nothing, or counts by
 * its sum; what a flow's payload is says payload.h, whose checksum_fill_flow is for packets that are written out. */
uint16_t checksum_ipv4(const packet *p); /* right value of the IPv4 header checksum; 0 for IPv6, which has none */
/* Right value of the TCP, UDP (never 0), ICMP or ICMPv6 checksum. Under an IPv6 routing header that still has segments
 * to visit the pseudo header has the final destination (RFC 8200 8.1; types 0, 2 and 4). */
uint16_t checksum_transport(const packet *p);
uint16_t checksum_transport_over(const packet *p, uint32_t payload_sum);
uint32_t checksum_sum(const uint8_t *bytes, size_t nbytes); /* of payload bytes: at most 65535 */
/* Write both into the header; a UDP checksum of 0 ("none", RFC 768) is kept where keep_udp_zero. */
void checksum_fill(packet *p, bool keep_udp_zero);
void checksum_fill_over(packet *p, bool keep_udp_zero, uint32_t payload_sum);

#endif
