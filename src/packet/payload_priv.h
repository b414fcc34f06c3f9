/* Payload inside: one message to be written, and the services' writers. */
#ifndef ND_PACKET_PAYLOAD_PRIV_H
#define ND_PACKET_PAYLOAD_PRIV_H

#include "packet/payload.h"

/* A writer fills bytes[0..n), which are zero when it is called; what it leaves zero stays so. */
typedef struct payload_task {
    const flow *f;
    size_t i;
    const packet *p;  /* f->packets[i] */
    bool from_client; /* towards the service's port */
    uint16_t port;    /* of the service */
    uint8_t *bytes;
    size_t n;
} payload_task;

typedef void payload_writer(const payload_task *t);
payload_writer payload_dns, payload_dhcp, payload_ntp, payload_tls, payload_ssh, payload_mqtt, payload_rtp,
    payload_icmp, payload_icmpv6;

/* payload_ports.c: does an analyser expect a protocol on this port that zero bytes are no message of? */
bool payload_port_is_foreign(unsigned proto, unsigned port);

/* A number that looks drawn, of the flow's ports and these two. */
uint64_t payload_draw(const flow *f, uint64_t what, uint64_t which);
/* n such bytes. */
void payload_draw_bytes(const flow *f, uint64_t what, uint64_t which, uint8_t *bytes, size_t n);
/* The beginning of a side's stream is looked for among so many of the flow's first packets: a search of all of them for
 * each packet would take ever longer where the other side fills the flow's first half. */
enum { PAYLOAD_BEGINNING = 1024, PAYLOAD_OFFSET_UNKNOWN = 1 << 30 };
/* TCP: bytes of its direction's stream before this segment's payload, as far as the flow shows its beginning. */
uint32_t payload_stream_offset(const payload_task *t);
/* The packet whose question this response answers: the oldest open one of the latest 128 packets, or the latest
 * answered once more; its own number where there is none. */
size_t payload_answered(const payload_task *t);

#endif
