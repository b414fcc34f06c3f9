/* Repair of the IP header: version, options and extension headers, fragments, and what the packets of a flow share. */
#include <string.h>
#include "packet/repair_priv.h"

enum { IP_OPTION_NOP = 1, IP_DONT_FRAGMENT = 0x4000 };

void repair_take(const repair_run *r, size_t number, repair_draft *x) {
    const packet *p = &r->f->packets[number];
    header_view v = r->views[number];
    memset(x, 0, sizeof *x);
    x->number = number;
    x->dir = p->dir;
    x->time_ns = p->time_ns;
    unsigned least = v.ipv6 ? 40 : 20;
    if (v.h == NULL) { /* too short for the flow's version: nothing but its time and side */
        x->nip = least;
        x->ip[0] = p->header[0];
        return;
    }
    x->other_version = v.ipv6 != r->facts.ipv6;
    x->nip = v.nip < 20 || v.nip > v.nheader ? least : v.nip;
    unsigned nl4 = v.nheader - x->nip;
    memcpy(x->ip, v.h, x->nip);
    x->nl4 = nl4 < TRANSPORT_MAX ? nl4 : TRANSPORT_MAX;
    memcpy(x->l4, v.h + x->nip, x->nl4);
    x->payload = v.total > v.nheader ? v.total - v.nheader : 0;
    unsigned proto = v.ipv6 != r->facts.ipv6 && proto_is_icmp(v.proto) ? 0 : v.proto;
    x->whole = v.l4 != NULL && proto == r->facts.proto;
}

unsigned repair_largest_payload(const repair_draft *x) {
    return 65535 - x->nl4 - (x->ip[0] >> 4 == 6 ? x->nip - 40 : x->nip);
}

/* The traffic class, hop limit and, in an IPv4 header, "do not fragment" of the other version's. */
static void translate(const repair_facts *facts, repair_draft *x) {
    uint8_t to[PACKET_HEADER_MAX] = {0};
    if (facts->ipv6) {
        to[0] = (uint8_t)(0x60 | x->ip[1] >> 4);
        to[1] = (uint8_t)(x->ip[1] << 4);
        to[7] = x->ip[8];
    } else {
        to[0] = 0x45;
        to[1] = (uint8_t)(x->ip[0] << 4 | x->ip[1] >> 4);
        put16(to + 6, IP_DONT_FRAGMENT);
        to[8] = x->ip[7];
    }
    memcpy(x->ip, to, sizeof to);
    x->nip = facts->ipv6 ? 40 : 20;
}

void repair_version(repair_run *r, repair_draft *x) {
    if (x->other_version)
        translate(&r->facts, x);
    x->ip[0] = (uint8_t)((x->ip[0] & 15) | (r->facts.ipv6 ? 0x60 : 0x40));
}

void repair_ihl(repair_run *r, repair_draft *x) {
    if (!r->facts.ipv6)
        x->ip[0] = (uint8_t)(0x40 | x->nip / 4);
}

/* Can this option be right without knowing the path? Source routes cannot (they would change the destination that the
 * transport checksum covers), nor can kinds whose contents we do not know. */
static bool ip_option_stays(const uint8_t *option, unsigned nbytes) {
    static const uint8_t kinds[] = {7, 68, 136, 148}; /* record route, timestamp, stream identifier, router alert */
    return ip_option_length(option, nbytes) != 0 && memchr(kinds, option[0], sizeof kinds) != NULL;
}

/* Copy the options that can stay, and pad. A list without a fault is copied as it is. */
static unsigned copy_ipv4_options(const uint8_t *list, unsigned nbytes, uint8_t *out) {
    unsigned n = 0, last = 0;
    for (unsigned at = 0; at < nbytes && list[at] != 0;) {
        unsigned size = ip_option_length(list + at, nbytes - at);
        if (size == 0)
            break;
        bool nop = list[at] == IP_OPTION_NOP;
        if (nop || ip_option_stays(list + at, size)) {
            memcpy(out + n, list + at, size);
            n += size;
            if (!nop)
                last = n;
        }
        at += size;
    }
    if (last == 0)
        return 0; /* nothing but padding */
    while (n % 4 != 0)
        out[n++] = 0;
    return n;
}

/* May this extension header stand at this place, with contents that can be right? Those of authentication and mobility
 * cannot, and with segments left the destination would be another. */
static bool extension_stays(const uint8_t *h, unsigned kind, unsigned n, bool first, unsigned seen[256]) {
    bool options = kind == IPV6_HOP_BY_HOP || kind == IPV6_DESTINATION;
    if (options && !ip_extension_options_parse(h + 2, n - 2))
        return false;
    if ((kind == IPV6_HOP_BY_HOP && !first) || seen[kind] >= (kind == IPV6_DESTINATION ? 2u : 1u))
        return false;
    return options || kind == IPV6_FRAGMENT || (kind == IPV6_ROUTING && h[3] == 0);
}

static void copy_extensions(const repair_facts *facts, repair_draft *x) {
    uint8_t from[PACKET_HEADER_MAX];
    unsigned kind = x->ip[6], n = 40, seen[256] = {0}, link = 6; /* link: the byte that names the next header */
    unsigned room = PACKET_HEADER_MAX - (facts->proto == PROTO_TCP ? TRANSPORT_MAX : 8);
    memcpy(from, x->ip, x->nip);
    for (unsigned at = 40; at < x->nip;) {
        unsigned size = ip_extension_length(from, kind, at), next = from[at];
        if (n + size <= room && extension_stays(from + at, kind, size, n == 40, seen)) {
            seen[kind]++;
            memcpy(x->ip + n, from + at, size);
            x->ip[link] = (uint8_t)kind;
            link = n;
            n += size;
        }
        kind = next;
        at += size;
    }
    x->ip[link] = (uint8_t)kind;
    x->nip = n;
}

void repair_ip_options(repair_run *r, repair_draft *x) {
    if (r->facts.ipv6) {
        copy_extensions(&r->facts, x);
        return;
    }
    uint8_t list[PACKET_HEADER_MAX];
    unsigned n = x->nip - 20;
    memcpy(list, x->ip + 20, n);
    x->nip = 20 + copy_ipv4_options(list, n, x->ip + 20);
    x->ip[0] = (uint8_t)(0x40 | x->nip / 4);
}

/* The packet is whole: what would follow a first fragment is not there. */
void repair_fragment(repair_run *r, repair_draft *x) {
    if (!r->facts.ipv6) {
        put16(x->ip + 6, get16(x->ip + 6) & IP_DONT_FRAGMENT);
        return;
    }
    unsigned kind = x->ip[6];
    for (unsigned at = 40; at < x->nip;) {
        unsigned n = ip_extension_length(x->ip, kind, at);
        if (kind == IPV6_FRAGMENT) {
            x->ip[at + 1] = 0;
            put16(x->ip + at + 2, 0);
        }
        kind = x->ip[at];
        at += n;
    }
}

/* The transport header's own bytes, and a payload that the length field can say. */
void repair_length(repair_run *r, repair_draft *x) {
    unsigned proto = r->facts.proto;
    if (!x->whole)
        x->nl4 = transport_least(proto);
    else if (proto != PROTO_TCP)
        x->nl4 = 8;
    if (proto == PROTO_UDP)
        x->payload = repair_service_payload(&r->facts, x->payload);
    if (x->payload > repair_largest_payload(x))
        x->payload = repair_largest_payload(x);
    x->measured = true;
}

/* IPv6: the last link of the chain. */
void repair_protocol(repair_run *r, repair_draft *x) {
    unsigned link = 9;
    if (r->facts.ipv6) {
        unsigned kind = x->ip[link = 6];
        for (unsigned at = 40; at < x->nip;) {
            unsigned n = ip_extension_length(x->ip, kind, at);
            kind = x->ip[link = at];
            at += n;
        }
    }
    x->ip[link] = r->facts.proto;
    if (x->whole)
        return;
    if (r->facts.proto == PROTO_TCP) {
        repair_tcp_blank(x);
    } else if (r->facts.proto == PROTO_UDP) {
        memset(x->l4, 0, sizeof x->l4);
        repair_udp_length(r, x);
    } else {
        repair_icmp_blank(r, x);
    }
}

void repair_addresses(repair_run *r, repair_draft *x) {
    unsigned n = r->facts.ipv6 ? 16 : 4, at = r->facts.ipv6 ? 8 : 12;
    ip_address_put(r->facts.addr[x->dir], x->ip + at, n);
    ip_address_put(r->facts.addr[!x->dir], x->ip + at + n, n);
}

void repair_ports(repair_run *r, repair_draft *x) {
    if (!proto_is_icmp(r->facts.proto)) {
        put16(x->l4, r->facts.port[x->dir]);
        put16(x->l4 + 2, r->facts.port[!x->dir]);
    } else if (r->facts.echo) {
        put16(x->l4 + 4, r->facts.echo_id);
    }
}

void repair_ttl(repair_run *r, repair_draft *x) {
    x->ip[r->facts.ipv6 ? 7 : 8] = r->facts.ttl[x->dir];
}

void repair_flow_label(repair_run *r, repair_draft *x) {
    if (r->facts.ipv6)
        put32(x->ip, (get32(x->ip) & 0xfff00000) | r->facts.label[x->dir]);
}

void repair_ip_id(repair_run *r, repair_draft *x) {
    uint16_t id = get16(x->ip + 4);
    if (r->facts.ipv6 || get16(x->ip + 6) & IP_DONT_FRAGMENT || !r->id_known[x->dir] || id != r->id[x->dir])
        return;
    put16(x->ip + 4, id == 0xffff ? 1 : id + 1u);
}

static unsigned tos_of(const packet *p) {
    return packet_is_ipv6(p) ? (p->header[0] & 15u) << 4 | p->header[1] >> 4 : p->header[1];
}

/* The most frequent value of those that count, by votes. */
static unsigned best_dscp(const double weight[64], const size_t n[64], size_t all) {
    unsigned best = 64;
    for (int must_count = 1; must_count >= 0 && best == 64; must_count--)
        for (unsigned v = 0; v < 64; v++)
            if (n[v] > 0 && (!must_count || dscp_counts(n[v], all)) && (best == 64 || weight[v] > weight[best]))
                best = v;
    return best;
}

void repair_dscp(flow *f, const packet_votes *votes, const repair_note *notes, repair_counts *counts) {
    double weight[2][64] = {{0}};
    size_t n[2][64] = {{0}}, all[2] = {0, 0};
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        unsigned v = tos_of(p) >> 2;
        weight[p->dir][v] += repair_weight(votes, notes, i, VOTE_TOS);
        n[p->dir][v]++;
        all[p->dir]++;
    }
    unsigned best[2] = {best_dscp(weight[0], n[0], all[0]), best_dscp(weight[1], n[1], all[1])};
    for (size_t i = 0; i < f->npackets; i++) {
        packet *p = &f->packets[i];
        unsigned tos = tos_of(p), d = p->dir, to = best[d] << 2 | (tos & 3);
        if (tos >> 2 == best[d] || dscp_counts(n[d][tos >> 2], all[d]))
            continue;
        if (packet_is_ipv6(p)) {
            p->header[0] = (uint8_t)(0x60 | to >> 4);
            p->header[1] = (uint8_t)(to << 4 | (p->header[1] & 15));
        } else {
            p->header[1] = (uint8_t)to;
            put16(p->header + 10, checksum_ipv4(p));
        }
        unsigned bits = (unsigned)__builtin_popcount(tos ^ to);
        counts->rule_packets[CHECK_DSCP]++;
        counts->rule_bits[CHECK_DSCP] += bits;
        counts->bits_changed += bits;
        counts->packets_changed += !notes[i].changed;
    }
}
