/* Flows: the packets of one bidirectional 5-tuple, and their assembly from a stream of packets. */
#ifndef ND_PACKET_FLOW_H
#define ND_PACKET_FLOW_H

#include "packet/packet.h"

/* An address as a number: IPv4's 32 bits or IPv6's 128. */
__extension__ typedef unsigned __int128 ip_address;

/* The address that stands in a header, nbytes = 4 or 16, and back. */
ip_address ip_address_get(const uint8_t *bytes, unsigned nbytes);
void ip_address_put(ip_address a, uint8_t *bytes, unsigned nbytes);
/* "192.0.2.1" or "2001:db8::1" (RFC 5952). */
enum { IP_ADDRESS_TEXT = 46 };
void ip_address_format(ip_address a, bool ipv6, char text[IP_ADDRESS_TEXT]);

/* Side 0 is the sender of the flow's first packet. ICMP and ICMPv6 have no ports: port[0] is the echo identifier and
 * port[1] 0 for echo request and reply (so that two pings are two flows), both 0 for other types. */
typedef struct flow_key {
    uint8_t proto;
    bool ipv6;
    ip_address addr[2];
    uint16_t port[2];
} flow_key;

typedef struct flow {
    flow_key key;
    int32_t label; /* index into the dataset's label table, -1 = none */
    uint32_t file; /* index into the dataset's file table */
    int32_t run;   /* index into the dataset's run table, -1 = none */
    size_t npackets, capacity;
    packet *packets; /* owned; in capture order */
} flow;

void flow_init(flow *f);                   /* empty, without label and run */
void flow_clear(flow *f);                  /* frees packets; the rest stays */
status flow_add(flow *f, const packet *p); /* copies p */
/* The key as this packet's sender sees it (side 0 = sender). */
flow_key flow_key_of(const packet *p);
/* Equal side by side: a key and its reverse are equal only where both sides are the same. */
bool flow_key_equal(const flow_key *a, const flow_key *b);
flow_key flow_key_reverse(const flow_key *k); /* an ICMP identifier stays in port[0] */
/* Same value for both directions, on every machine: used to split a capture among work items. */
uint64_t flow_key_hash(const flow_key *k);

/* Assembly: packets in capture order go in, whole flows come out, numbered from 0 by their first packets.
 *
 * A flow ends when more than timeout_ns (0 = never) passed since its latest packet, or when a TCP SYN without ACK
 * arrives after both sides' FIN or an RST (port reuse); the next packet with its key begins a new flow. Time going
 * backwards never ends a flow. */
typedef struct flow_table flow_table;
status flow_table_new(flow_table **t, int64_t timeout_ns);
/* *flow_number: of the flow the packet went to. dir is set in the table's copy of p: 0 where the sender is side 0, also
 * where both sides are the same. */
status flow_table_add(flow_table *t, const packet *p, size_t *flow_number);
/* The same, but p stays the caller's: the flow gets no packet. */
status flow_table_place(flow_table *t, const packet *p, size_t *flow_number, uint8_t *dir);
size_t flow_table_count(const flow_table *t);
/* Still the table's, until the next flow_table_add. A caller may take `packets` over by setting packets, npackets and
 * capacity to zero. */
flow *flow_table_get(flow_table *t, size_t flow_number);
void flow_table_free(flow_table **t);

#endif
