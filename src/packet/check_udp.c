/* UDP's rule (RFC 768). The length is that of the datagram, so a first fragment's is larger than what is there. */
#include "packet/check_priv.h"

int check_udp_length(const check_row *x) {
    const header_view *v = &x->v;
    if (v->l4 == NULL || v->proto != PROTO_UDP)
        return -1;
    unsigned length = get16(v->l4 + 4), there = v->total > v->nip ? v->total - v->nip : 0;
    bool more = !v->ipv6 && get16(v->h + 6) & 0x2000;
    return more ? length > there : length == there;
}
