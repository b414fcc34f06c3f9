/* Repair of UDP headers (RFC 768). */
#include "packet/repair_priv.h"

void repair_udp_length(repair_run *r, repair_draft *x) {
    if (r->facts.proto != PROTO_UDP)
        return;
    put16(x->l4 + 4, 8 + x->payload);
    /* 0 means "no checksum", which IPv6 does not have (RFC 8200 8.1). */
    if (get16(x->l4 + 6) == 0 && (r->facts.ipv6 || !x->whole))
        put16(x->l4 + 6, 1);
}
