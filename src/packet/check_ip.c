/* The rules of IPv4 (RFC 791) and IPv6 (RFC 8200), of what the packets of a flow share, checksums and time. */
#include <string.h>
#include "packet/check_priv.h"

/* IPv4 options: each kind's length, and where its pointer starts. Kinds that are not here may have any length. */
static const struct {
    uint8_t kind, least, rest, pointer; /* rest: length modulo 4; pointer: its least value, 0 = none */
} ip_options[] = {
    {7, 7, 3, 4},                   /* record route */
    {68, 8, 0, 5},                  /* timestamp */
    {131, 7, 3, 4},                 /* loose and strict source route */
    {137, 7, 3, 4}, {136, 4, 0, 0}, /* stream identifier */
    {148, 4, 0, 0},                 /* router alert, RFC 2113 */
};

unsigned ip_option_length(const uint8_t *option, unsigned nbytes) {
    if (option[0] <= 1)
        return 1;
    if (nbytes < 2 || option[1] < 2 || option[1] > nbytes)
        return 0;
    unsigned n = option[1];
    for (size_t i = 0; i < sizeof ip_options / sizeof *ip_options; i++) {
        if (ip_options[i].kind != option[0])
            continue;
        unsigned pointer = ip_options[i].pointer;
        if (n < ip_options[i].least || n % 4 != ip_options[i].rest || (pointer == 0 && n != ip_options[i].least))
            return 0;
        if (pointer != 0 && (option[2] < pointer || option[2] > n + 1 || (option[2] - pointer) % 4 != 0))
            return 0;
        if (option[0] == 68 && (option[3] & 15) != 0 && (option[3] & 15) != 1 && (option[3] & 15) != 3)
            return 0; /* time stamps only, with addresses, or at addresses that are given */
    }
    return n;
}

static bool ipv4_options_parse(const uint8_t *list, unsigned nbytes) {
    for (unsigned at = 0; at < nbytes && list[at] != 0;) {
        unsigned n = ip_option_length(list + at, nbytes - at);
        if (n == 0)
            return false;
        at += n;
    }
    return true;
}

unsigned ip_extension_length(const uint8_t *ip, unsigned kind, unsigned at) {
    return kind == IPV6_FRAGMENT ? 8 : kind == IPV6_AH ? 8u + ip[at + 1] * 4u : 8u + ip[at + 1] * 8u;
}

bool ip_extension_options_parse(const uint8_t *options, unsigned nbytes) {
    for (unsigned at = 0; at < nbytes;) {
        if (options[at] == 0) { /* Pad1 */
            at++;
            continue;
        }
        if (nbytes - at < 2 || options[at + 1] > nbytes - at - 2)
            return false;
        at += 2u + options[at + 1];
    }
    return true;
}

/* Hop-by-hop first; each once, destination options twice; routing without segments left (else the checksum's address
 * is another). */
bool ip_extensions_parse(const uint8_t *ip, unsigned nip) {
    unsigned kind = ip[6], ndestination = 0, nrouting = 0, nfragment = 0;
    for (unsigned at = 40; at < nip;) {
        unsigned n = ip_extension_length(ip, kind, at);
        ndestination += kind == IPV6_DESTINATION;
        nrouting += kind == IPV6_ROUTING;
        nfragment += kind == IPV6_FRAGMENT;
        if ((kind == IPV6_HOP_BY_HOP && at != 40) || ndestination > 2 || nrouting > 1 || nfragment > 1)
            return false;
        if ((kind == IPV6_HOP_BY_HOP || kind == IPV6_DESTINATION) && !ip_extension_options_parse(ip + at + 2, n - 2))
            return false;
        kind = ip[at];
        at += n;
    }
    return true;
}

static bool ip_inside(const header_view *v) {
    return v->h != NULL && v->nip >= 20 && v->nip <= v->nheader;
}

int check_version(const check_row *x) {
    return x->v.h != NULL && x->v.h[0] >> 4 == (x->v.ipv6 ? 6 : 4);
}

int check_ihl(const check_row *x) {
    return ip_inside(&x->v);
}

int check_ip_options(const check_row *x) {
    const header_view *v = &x->v;
    if (!ip_inside(v) || v->nip == (v->ipv6 ? 40u : 20u))
        return -1;
    return v->ipv6 ? ip_extensions_parse(v->h, v->nip) : ipv4_options_parse(v->h + 20, v->nip - 20);
}

/* Offset of IPv6's fragment header, 0: none. */
static unsigned fragment_at(const header_view *v) {
    unsigned kind = v->h[6];
    for (unsigned at = 40; at < v->nip;) {
        if (kind == IPV6_FRAGMENT)
            return at;
        unsigned n = ip_extension_length(v->h, kind, at);
        kind = v->h[at];
        at += n;
    }
    return 0;
}

int check_fragment(const check_row *x) {
    const header_view *v = &x->v;
    if (!ip_inside(v))
        return -1;
    if (v->ipv6) {
        unsigned at = fragment_at(v);
        if (at == 0)
            return 1;
        unsigned word = get16(v->h + at + 2), after = v->total - at - 8;
        return v->h[at + 1] == 0 && (word & 0xfffe) == 0 && (!(word & 1) || after % 8 == 0);
    }
    unsigned word = get16(v->h + 6);
    if (word & 0x9fff)
        return 0; /* reserved bit, or not the first */
    return !(word & 0x2000) || (!(word & 0x4000) && (v->total - v->nip) % 8 == 0);
}

int check_length(const check_row *x) {
    const header_view *v = &x->v;
    if (!ip_inside(v))
        return -1;
    if (v->l4 == NULL || v->total < x->p->nheader)
        return 0;
    return v->nl4 == 8 || (v->proto != PROTO_UDP && !proto_is_icmp(v->proto));
}

int check_protocol(const check_row *x) {
    const header_view *v = &x->v;
    if (v->h == NULL)
        return -1;
    bool known = v->proto == PROTO_TCP || v->proto == PROTO_UDP || v->proto == (v->ipv6 ? PROTO_ICMPV6 : PROTO_ICMP);
    return known && v->proto == tally_best(&x->w->proto)->value[0];
}

static bool is_pair(const tally *t, const header_view *v, ip_address from, ip_address to) {
    const tally_value *best = tally_best(t);
    return best->value[v->dir] == from && best->value[!v->dir] == to;
}

int check_addresses(const check_row *x) {
    const header_view *v = &x->v;
    return v->h == NULL ? -1 : is_pair(&x->w->addresses, v, view_address(v, 0), view_address(v, 1));
}

int check_ports(const check_row *x) {
    const header_view *v = &x->v;
    if (v->l4 == NULL)
        return -1;
    if (v->proto == PROTO_TCP || v->proto == PROTO_UDP) {
        unsigned from = get16(v->l4), to = get16(v->l4 + 2);
        return from != 0 && to != 0 && is_pair(&x->w->ports, v, from, to);
    }
    if (proto_is_icmp(v->proto) && icmp_echo_of(v->proto, v->l4[0]) >= 0)
        return get16(v->l4 + 4) == tally_best(&x->w->echo_id)->value[0];
    return -1;
}

int check_ttl(const check_row *x) {
    const header_view *v = &x->v;
    return v->h == NULL ? -1 : view_ttl(v) != 0 && view_ttl(v) == x->w->ttl[v->dir];
}

int check_dscp(const check_row *x) {
    const header_view *v = &x->v;
    if (v->h == NULL)
        return -1;
    unsigned dscp = view_tos(v) >> 2, d = v->dir;
    return dscp == x->w->dscp[d] || dscp_counts(x->w->ndscp[d][dscp], x->w->n[d]);
}

int check_flow_label(const check_row *x) {
    const header_view *v = &x->v;
    if (v->h == NULL || !v->ipv6)
        return -1;
    return view_label(v) == tally_best(&x->w->label[v->dir])->value[0];
}

int check_ip_id(const check_row *x) {
    const header_view *v = &x->v;
    if (v->h == NULL || v->ipv6 || get16(v->h + 6) & 0x4000)
        return -1;
    return !x->w->id_known[v->dir] || get16(v->h + 4) != x->w->id[v->dir];
}

int check_checksum_ip(const check_row *x) {
    const header_view *v = &x->v;
    if (!ip_inside(v) || v->ipv6 || v->h[0] >> 4 != 4)
        return -1;
    return checksum_ipv4(x->p) == get16(v->h + 10);
}

/* A fragment's checksum covers what is not there. */
int check_checksum_l4(const check_row *x) {
    const header_view *v = &x->v;
    if (!x->payload_known || v->l4 == NULL || x->p->nheader > PACKET_HEADER_MAX || v->h[0] >> 4 != (v->ipv6 ? 6 : 4))
        return -1;
    if (v->ipv6 ? fragment_at(v) != 0 && v->h[fragment_at(v) + 3] & 1 : get16(v->h + 6) & 0x3fff)
        return -1;
    unsigned at = v->proto == PROTO_TCP ? 16 : v->proto == PROTO_UDP ? 6 : proto_is_icmp(v->proto) ? 2 : 0;
    if (at == 0 || (v->proto == (v->ipv6 ? PROTO_ICMP : PROTO_ICMPV6)))
        return -1;
    unsigned there = get16(v->l4 + at);
    bool none = v->proto == PROTO_UDP && there == 0 && !v->ipv6; /* RFC 768; IPv6 needs one, RFC 8200 8.1 */
    return none || checksum_transport_over(x->p, x->payload_sum) == there;
}

int check_time(const check_row *x) {
    return x->first ? -1 : x->p->time_ns >= x->w->last_ns;
}
