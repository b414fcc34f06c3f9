/* Repair: make every packet of a flow valid, and the flow a conversation, changing as little as possible.
 *
 * The rules are those of check.h, each with a function that makes it hold: what one packet says of itself, bottom up,
 * then what the packets of the flow say of each other (docs/repair.md). Nothing is drawn: the same flow gives the same
 * result, and a second repair changes nothing. A flow that is one-directional stays so. Any bytes under any nheader may
 * be repaired. */
#ifndef ND_PACKET_REPAIR_H
#define ND_PACKET_REPAIR_H

#include "packet/check.h"
#include "packet/flow.h"
#include "packet/votes.h"

typedef struct repair_counts {
    uint64_t flows, packets;
    uint64_t packets_changed;
    uint64_t bits, bits_changed; /* header bits, checksums not counted */
    uint64_t packets_dropped;    /* without so much as an IP header, or acknowledgements that no host sends */
    uint64_t rule_packets[CHECK_COUNT], rule_bits[CHECK_COUNT]; /* what each rule changed; a later one may change it
                                                                   again. CHECK_REPEAT: packets that went, no bits */
} repair_counts;

/* Repair f in place; votes: of its packets (NULL: all weigh the same); adds to *counts (may be NULL). On return every
 * rule of check.h passes, checksums over the payload of payload.h included, times increase, wire_len is the total
 * length, and f->key is that of the first packet. */
status repair_flow(flow *f, const packet_votes *votes, repair_counts *counts);
void repair_counts_add(repair_counts *to, const repair_counts *from);

#endif
