/* Repair inside: one packet taken apart, what the flow's packets agree on, and the protocols' parts. */
#ifndef ND_PACKET_REPAIR_PRIV_H
#define ND_PACKET_REPAIR_PRIV_H

#include "packet/connection_priv.h"
#include "packet/flow.h"
#include "packet/tcp_options_priv.h"

enum { IP_HEADER_MAX = 60, TRANSPORT_MAX = 60 };

/* What most packets of the flow say, made sensible where none does. */
typedef struct repair_flow_facts {
    uint8_t proto;
    uint32_t addr[2];
    uint16_t port[2]; /* TCP and UDP: never 0 */
    uint16_t echo_id;
    uint8_t ttl[2];       /* never 0 */
    bool seen[2];         /* packets of this side exist */
    size_t last_going[2]; /* TCP: number + 1 of the side's last packet that is not a RST; 0 = none */
    unsigned echo_type;   /* ICMP, one direction only: what its packets become */
} repair_flow_facts;

typedef struct repair_packet {
    uint8_t ip[IP_HEADER_MAX];
    unsigned nip;
    uint8_t l4[TRANSPORT_MAX]; /* as captured, zeros beyond nl4; then as repaired */
    unsigned nl4;
    bool whole; /* l4 is a complete header of the flow's protocol */
    unsigned payload;
    /* TCP: what comes next in the flow, as captured. */
    bool follows[2];           /* there is a further segment of this side, */
    uint32_t following_seq[2]; /* and this is its number */
    bool peer_goes_on;         /* the other side sends data before this side's next packet */
} repair_packet;

void repair_survey(const flow *f, repair_flow_facts *facts);
/* Take p apart; the IP header is then repaired but for what follows from the transport header (total length). */
void repair_take(const packet *p, const repair_flow_facts *facts, repair_packet *x);
/* Fill in what follows packet i. cursor: two numbers that start at 0 and are kept from packet to packet. */
void repair_look_ahead(const flow *f, size_t i, size_t cursor[2], repair_packet *x);
/* The largest payload under these headers. */
unsigned repair_largest_payload(const repair_packet *x);

/* The payload that a message of this many bytes needs by the service of the flow's ports; 0 stays 0. */
unsigned repair_service_payload(const repair_flow_facts *facts, unsigned payload);

typedef struct repair_tcp_side {
    bool opened, going;                  /* sent a SYN; sent anything else but RST */
    uint32_t isn, open_ack, highest_ack; /* open_ack: of its SYN-ACK */
    bool acked;
    uint16_t window, mss;                          /* 0: none yet */
    uint8_t scale;                                 /* of its SYN's window scale option */
    uint32_t edge;                                 /* right edge of the window it last offered, while acked */
    bool timestamps, sack_permitted, window_scale; /* of its SYN */
    bool stamped;
    uint32_t shift; /* by how much its numbers have moved: now minus was, at its latest new segment */
    uint32_t tsval_offset;
} repair_tcp_side;

/* `was` follows the packets as they came, `now` as they leave. A number keeps its relation (expected, k-th boundary) to
 * what its own conversation had so far, so a gap that closes moves everything behind it along. */
typedef struct repair_tcp_state {
    connection was, now;
    repair_tcp_side side[2];
    bool handshake; /* starts with a SYN, and both sides are there: SYN, SYN-ACK, ACK must follow */
} repair_tcp_state;

void repair_tcp(repair_tcp_state *t, const repair_flow_facts *facts, size_t number, unsigned dir, repair_packet *x);
/* Rebuild the option list of a segment of this kind (flags as they leave) from the nbytes at list. ack: as it leaves.
 */
void repair_tcp_options(repair_tcp_state *t, const repair_flow_facts *facts, unsigned dir, unsigned flags, uint32_t ack,
                        const uint8_t *list, unsigned nbytes, tcp_option_list *out);
void repair_udp(const repair_flow_facts *facts, unsigned dir, repair_packet *x);
void repair_icmp(connection_echo *echo, const repair_flow_facts *facts, unsigned dir, repair_packet *x);

#endif
