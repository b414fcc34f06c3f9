/* Repair of UDP headers (RFC 768). */
#include "packet/repair_priv.h"

void repair_udp(const repair_flow_facts *facts, unsigned dir, repair_packet *x) {
    x->nl4 = 8;
    x->payload = repair_service_payload(facts, x->payload);
    if (x->payload > repair_largest_payload(x))
        x->payload = repair_largest_payload(x);
    put16(x->l4, facts->port[dir]);
    put16(x->l4 + 2, facts->port[!dir]);
    put16(x->l4 + 4, 8 + x->payload);
    if (!x->whole)
        put16(x->l4 + 6, 1); /* any but 0, which would mean "no checksum" */
}
