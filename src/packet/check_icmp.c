/* The rules of ICMP (RFC 792, 1812) and ICMPv6 (RFC 4443): known messages with what they need, and echoes. */
#include "packet/check_priv.h"

enum { QUOTE_4 = 20 + 8, QUOTE_6 = 40 + 8 }; /* the packet that an error answers: IP header and 8 bytes at least */

static const icmp_type types[] = {
    {PROTO_ICMP, 0, 0, 0, ICMP_ECHO, false},
    {PROTO_ICMP, 3, 15, QUOTE_4, ICMP_ERROR, false}, /* unreachable; code 4 has the next hop's MTU, RFC 1191 */
    {PROTO_ICMP, 4, 0, QUOTE_4, ICMP_ERROR, true},   /* source quench */
    {PROTO_ICMP, 5, 3, QUOTE_4, ICMP_ERROR, false},  /* redirect: a gateway */
    {PROTO_ICMP, 8, 0, 0, ICMP_ECHO, false},
    {PROTO_ICMP, 9, 16, 8, ICMP_OTHER, false}, /* router advertisement, RFC 1256; code 16: RFC 5944 */
    {PROTO_ICMP, 10, 0, 0, ICMP_OTHER, false},
    {PROTO_ICMP, 11, 1, QUOTE_4, ICMP_ERROR, false}, /* time exceeded; a length of the quote, RFC 4884 */
    {PROTO_ICMP, 12, 2, QUOTE_4, ICMP_ERROR, false}, /* parameter problem: a pointer */
    {PROTO_ICMP, 13, 0, 12, ICMP_OTHER, false},
    {PROTO_ICMP, 14, 0, 12, ICMP_OTHER, false},
    {PROTO_ICMP, 15, 0, 0, ICMP_OTHER, false},
    {PROTO_ICMP, 16, 0, 0, ICMP_OTHER, false},
    {PROTO_ICMP, 17, 0, 4, ICMP_OTHER, false}, /* address mask, RFC 950 */
    {PROTO_ICMP, 18, 0, 4, ICMP_OTHER, false},
    {PROTO_ICMPV6, 1, 8, QUOTE_6, ICMP_ERROR, false},  /* unreachable */
    {PROTO_ICMPV6, 2, 0, QUOTE_6, ICMP_ERROR, false},  /* packet too big: MTU */
    {PROTO_ICMPV6, 3, 1, QUOTE_6, ICMP_ERROR, false},  /* time exceeded */
    {PROTO_ICMPV6, 4, 10, QUOTE_6, ICMP_ERROR, false}, /* parameter problem: a pointer */
    {PROTO_ICMPV6, 128, 0, 0, ICMP_ECHO, false},
    {PROTO_ICMPV6, 129, 0, 0, ICMP_ECHO, false},
    {PROTO_ICMPV6, 130, 0, 16, ICMP_OTHER, false}, /* multicast listeners, RFC 2710 */
    {PROTO_ICMPV6, 131, 0, 16, ICMP_OTHER, false},
    {PROTO_ICMPV6, 132, 0, 16, ICMP_OTHER, false},
    {PROTO_ICMPV6, 133, 0, 0, ICMP_OTHER, false}, /* neighbour discovery, RFC 4861 */
    {PROTO_ICMPV6, 134, 0, 8, ICMP_OTHER, false},
    {PROTO_ICMPV6, 135, 0, 16, ICMP_OTHER, false},
    {PROTO_ICMPV6, 136, 0, 16, ICMP_OTHER, false},
    {PROTO_ICMPV6, 137, 0, 32, ICMP_OTHER, false},
    {PROTO_ICMPV6, 143, 0, 0, ICMP_OTHER, false}, /* RFC 3810 */
};

const icmp_type *icmp_type_find(unsigned proto, unsigned type) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].proto == proto && types[i].type == type)
            return &types[i];
    return NULL;
}

bool check_icmp_code(unsigned proto, unsigned type, unsigned code) {
    const icmp_type *t = icmp_type_find(proto, type);
    if (proto == PROTO_ICMP && type == 9)
        return code == 0 || code == 16;
    return t != NULL && code <= t->codes;
}

int check_icmp(const check_row *x) {
    const header_view *v = &x->v;
    if (v->l4 == NULL || v->proto != (v->ipv6 ? PROTO_ICMPV6 : PROTO_ICMP))
        return -1;
    const icmp_type *t = icmp_type_find(v->proto, v->l4[0]);
    unsigned payload = v->total > v->nheader ? v->total - v->nheader : 0;
    /* An ICMPv6 error fits the smallest MTU (RFC 4443 2.4 c); neighbour discovery comes from the link (RFC 4861). */
    if (t == NULL || payload < t->least || (v->ipv6 && t->kind == ICMP_ERROR && v->total > 1280))
        return 0;
    if (v->proto == PROTO_ICMPV6 && v->l4[0] >= 133 && v->l4[0] <= 137 && view_ttl(v) != 255)
        return 0;
    if (t->zero_word && get32(v->l4 + 4) != 0)
        return 0;
    return check_icmp_code(v->proto, v->l4[0], v->l4[1]);
}

/* A capture of one direction has replies only: nothing to compare with. */
int check_echo(const check_row *x) {
    const header_view *v = &x->v;
    if (v->l4 == NULL || !proto_is_icmp(v->proto) || icmp_echo_of(v->proto, v->l4[0]) < 0)
        return -1;
    if (icmp_echo_of(v->proto, v->l4[0]) == ICMP_ECHO_REQUEST || !x->w->requests[!v->dir])
        return 1;
    return connection_echo_answers(&x->w->echo, v->dir, get16(v->l4 + 6));
}
