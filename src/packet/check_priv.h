/* Pieces of the rules that repair keeps to as well. */
#ifndef ND_PACKET_CHECK_PRIV_H
#define ND_PACKET_CHECK_PRIV_H

#include "packet/packet.h"

/* The value that more than half of those added have, if there is one; else one of them (Boyer and Moore 1981). */
typedef struct majority {
    uint64_t value;
    size_t count;
} majority;
void majority_add(majority *m, uint64_t value);

/* Control bits (the low byte of flags) that RFC 9293 lets a segment have: SYN without FIN or RST; RST without FIN; else
 * with ACK. */
bool check_flags_legal(unsigned flags);
/* A type that hosts and routers use (RFC 792, 950, 1256, 1812) with a code of it. */
bool check_icmp_code(unsigned type, unsigned code);

#endif
