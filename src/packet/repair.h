/* Repair: make every packet of a flow valid, and the flow a conversation, changing as little as possible.
 *
 * Bottom up in each packet, in order: IP header, the flow's protocol, addresses, ports and TTL by majority, TCP state
 * machine of RFC 9293 with options, ICMP as echo pairs of RFC 792 (other messages would need a payload that is not
 * zeros), time, lengths, checksums. Nothing is drawn: the same flow gives the same result, and a second repair changes
 * nothing. A flow that is one-directional stays so. Any bytes under any nheader may be repaired. */
#ifndef ND_PACKET_REPAIR_H
#define ND_PACKET_REPAIR_H

#include "packet/flow.h"
#include "packet/votes.h"

typedef struct repair_counts {
    uint64_t flows, packets;
    uint64_t packets_changed;
    uint64_t bits, bits_changed; /* header bits, checksums not counted */
    uint64_t packets_dropped;    /* without so much as an IP header */
} repair_counts;

/* Repair f in place; votes: of its packets (NULL: all weigh the same); adds to *counts (may be NULL). On return every
 * rule of check.h passes, checksums over the payload of payload.h included, times increase, wire_len is the total
 * length, and f->key is that of the first packet. */
status repair_flow(flow *f, const packet_votes *votes, repair_counts *counts);

#endif
