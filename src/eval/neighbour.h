/* Nearest neighbours among flows: the share of header bits that differ, identifiers left out.
 *
 * A flow is the nPrint bits of its first packets, each 1, 0 or vacant, without what identifies hosts and connections or
 * follows from other bits: addresses, checksums, sequence and acknowledgement numbers, IP-ID, the client's port, the
 * values of TCP timestamp and SACK options, the ICMP rest of header. Two bits differ where their values do, or where
 * one of them is vacant; the distance is divided by the bits that either flow has. Two words a machine word of bits:
 * value (0 where vacant) and presence. */
#ifndef ND_EVAL_NEIGHBOUR_H
#define ND_EVAL_NEIGHBOUR_H

#include "eval/world.h"

enum { NEIGHBOUR_PACKETS = 32, NEIGHBOUR_ROW_WORDS = 14, NEIGHBOUR_SETS = 3 };

typedef struct neighbour_row {
    uint64_t value[NEIGHBOUR_ROW_WORDS], present[NEIGHBOUR_ROW_WORDS];
} neighbour_row;

/* The side (0 or 1) that opened the connection: the sender of the first TCP SYN, else the higher port, else side 0. */
unsigned neighbour_client(const flow *f);
/* One packet's bits; any bytes under any nheader are safe. client: the side whose port is left out. */
void neighbour_pack(const packet *p, unsigned client, neighbour_row *row);

/* Packed flows of several sets. Words that are vacant in all of them are not stored. */
typedef struct neighbours neighbours;
/* The first npackets (at most NEIGHBOUR_PACKETS) packets of nsets (at most NEIGHBOUR_SETS) sets. Local. */
status neighbours_new(neighbours **x, size_t nsets, const eval_set *const *sets, size_t npackets);
void neighbours_free(neighbours **x);
/* distance: (n, flows of set `to`), from the n flows of set `from` that number[] names; 0 (no bit differs) to 1.
 * Several at once, some NEIGHBOUR_BATCH, save reading the set from memory for each. */
enum { NEIGHBOUR_BATCH = 8 };
void neighbours_distances(const neighbours *x, size_t from, size_t n, const uint32_t *number, size_t to,
                          float *distance);

/* Ways to count; the last one that the processor has is used. nwords is a multiple of 8; a and b each hold the values
 * and, `stride` words later, the presences. Returns the bits that differ, *vacancy those present in one flow only. */
typedef uint64_t neighbour_count(const uint64_t *a, const uint64_t *b, size_t nwords, size_t stride, uint64_t *vacancy);
/* NULL behind the last way of this build. *usable: does this processor have it? */
neighbour_count *neighbour_way(size_t i, bool *usable);

#endif
