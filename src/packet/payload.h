/* Payload: what bytes stand behind a packet's headers.
 *
 * nd keeps headers only, so the payload of a flow that it writes is a function of the headers: well-formed messages of
 * the services in one table (DNS, NTP, TLS, SSH, MQTT, RTP, echo and error messages of ICMP), zero bytes for everything
 * else. No byte of a capture can be in it. Whoever writes, checks or fills a checksum calls the same function, and
 * nothing is stored. Packet i depends on the packets up to i only, so a flow that is cut behind keeps its bytes. */
#ifndef ND_PACKET_PAYLOAD_H
#define ND_PACKET_PAYLOAD_H

#include "packet/flow.h"

enum { PAYLOAD_MAX = 65535 };

/* The first n payload bytes of packet i; n is at most packet_payload of it, fewer where a capture is cut. Every byte is
 * written. A packet without a shape (packet.h) has zero bytes. false: all are zero. */
bool payload_make(const flow *f, size_t i, uint8_t *bytes, size_t n);
/* Their sum for checksum_transport_over. */
uint32_t payload_sum(const flow *f, size_t i);
/* Fill in the checksums of all packets, payload counted. A UDP checksum of 0 ("none") stays. */
void checksum_fill_flow(flow *f);

#endif
