/* What the tests of the relative layout's exactness share: what is kept of a packet, and why flows are refused. */
#ifndef ND_TESTS_PACKET_EXACT_H
#define ND_TESTS_PACKET_EXACT_H

#include "packet/layout.h"
#include "packet/relative_priv.h"
#include "captured.h"

static inline unsigned checksum_at(unsigned proto) {
    return proto == PROTO_TCP ? 16 : proto == PROTO_UDP ? 6 : 2;
}

/* Name of the first thing that differs; NULL: all that is kept is equal. */
static inline const char *difference(const packet *a, const packet *b) {
    unsigned nip = packet_ip_nheader(a), sum = nip + checksum_at(packet_proto(a));
    if (a->nheader != b->nheader)
        return "number of header bytes";
    if (memcmp(a->header, b->header, nip) != 0)
        return "IP header";
    if (memcmp(a->header + nip, b->header + nip, sum - nip) != 0 ||
        memcmp(a->header + sum + 2, b->header + sum + 2, a->nheader - sum - 2) != 0)
        return "transport header";
    if (packet_proto(a) == PROTO_UDP && (get16(a->header + sum) == 0) != (get16(b->header + sum) == 0))
        return "UDP without checksum";
    if (get16(b->header + sum) != checksum_transport(b) && get16(b->header + sum) != 0)
        return "a wrong transport checksum";
    return a->dir != b->dir ? "direction" : a->wire_len != b->wire_len ? "bytes on the wire" : NULL;
}

/* Flows that the layout refuses, by reason. */
typedef struct refusals {
    struct {
        const char *why;
        uint64_t flows;
    } of[16];
} refusals;

static inline void refusals_add(refusals *r, const char *why) {
    size_t i = 0;
    while (i < 15 && r->of[i].why != NULL && strcmp(r->of[i].why, why) != 0)
        i++;
    r->of[i].why = why;
    r->of[i].flows++;
}

static inline void refusals_print(const refusals *r) {
    for (size_t i = 0; i < 16 && r->of[i].why != NULL; i++)
        print_message("  refused: %s: %llu flows\n", r->of[i].why, (unsigned long long)r->of[i].flows);
}

#endif
