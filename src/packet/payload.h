/* Payload: what bytes stand behind a packet's headers.
 *
 * nd keeps headers only, so the payload of a flow that it writes is a function of the headers: well-formed messages of
 * the services in one table (DNS, NTP, TLS, SSH, MQTT, RTP, echo and error messages of ICMP), zero bytes for everything
 * else, which a capture leaves out where a dissector would take them for a broken message. No byte of a capture can be
 * in it. Whoever writes, checks or fills a checksum calls the same function, and nothing is stored. Packet i depends on
 * the packets up to i, and where a TLS segment is too small for a record on the 128 behind it, so a flow that is cut
 * there keeps its other bytes. The time that a packet takes does not grow with the flow. */
#ifndef ND_PACKET_PAYLOAD_H
#define ND_PACKET_PAYLOAD_H

#include "packet/flow.h"

enum { PAYLOAD_MAX = 65535 };

/* The first n payload bytes of packet i; n is at most packet_payload of it, fewer where a capture is cut. Every byte is
 * written. A packet without a shape (packet.h) has zero bytes. false: all are zero. */
bool payload_make(const flow *f, size_t i, uint8_t *bytes, size_t n);
/* Does a capture of generated packets end behind this one's headers, because its payload is zero bytes on a port whose
 * protocol they are no message of (payload_ports.c)? Checksums count the zeros all the same. */
bool payload_is_left_out(const packet *p);
/* Their sum for checksum_transport_over. */
uint32_t payload_sum(const flow *f, size_t i);
/* Fill in the checksums of all packets, payload counted. A UDP checksum of 0 ("none") stays. */
void checksum_fill_flow(flow *f);

#endif
