/* Repair of what all protocols share: protocol, addresses, ports, TTL by majority, and the IPv4 header (RFC 791). */
#include <string.h>
#include "packet/check_priv.h"
#include "packet/repair_priv.h"

enum { TTL_DEFAULT = 64, PORT_DYNAMIC = 49152 };
enum {
    IP_OPTION_EOL = 0,
    IP_OPTION_NOP = 1,
    IP_OPTION_RECORD_ROUTE = 7,
    IP_OPTION_TIMESTAMP = 68,
    IP_OPTION_STREAM = 136,
    IP_OPTION_ROUTER_ALERT = 148
};

/* Bytes of the IP header, 20 where IHL says something impossible; p->nheader is at least 20. */
static unsigned ip_bytes(const packet *p) {
    unsigned nip = packet_ip_nheader(p);
    return nip < 20 || nip > p->nheader ? 20 : nip;
}

/* Transport bytes, at most TRANSPORT_MAX. */
static unsigned transport_bytes(const packet *p) {
    unsigned n = p->nheader - ip_bytes(p);
    return n < TRANSPORT_MAX ? n : TRANSPORT_MAX;
}

static bool is_whole(const packet *p, unsigned proto) {
    return packet_proto(p) == proto && transport_bytes(p) >= (proto == PROTO_TCP ? 20u : 8u);
}

/* The known protocol that most packets name; TCP where none does. */
static uint8_t survey_protocol(const flow *f) {
    static const uint8_t known[] = {PROTO_TCP, PROTO_UDP, PROTO_ICMP};
    size_t n[3] = {0, 0, 0}, best = 0;
    for (size_t i = 0; i < f->npackets; i++)
        for (size_t k = 0; k < 3; k++)
            n[k] += packet_proto(&f->packets[i]) == known[k];
    for (size_t k = 1; k < 3; k++)
        if (n[k] > n[best])
            best = k;
    return known[best];
}

static uint8_t most_frequent_ttl(const size_t n[256]) {
    unsigned best = 0; /* 0 itself does not count */
    size_t most = 0;
    for (unsigned v = 1; v < 256; v++)
        if (n[v] > most) {
            most = n[v];
            best = v;
        }
    return best != 0 ? (uint8_t)best : TTL_DEFAULT;
}

static void survey_ports(const flow *f, repair_flow_facts *facts) {
    majority port[2] = {{.value = 0}, {.value = 0}};
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        unsigned d = p->dir, proto = packet_proto(p);
        if ((proto != PROTO_TCP && proto != PROTO_UDP) || transport_bytes(p) < 4)
            continue;
        const uint8_t *l4 = p->header + ip_bytes(p);
        if (get16(l4) != 0)
            majority_add(&port[d], get16(l4));
        if (get16(l4 + 2) != 0)
            majority_add(&port[!d], get16(l4 + 2));
    }
    for (unsigned d = 0; d < 2; d++)
        facts->port[d] = port[d].value != 0 ? (uint16_t)port[d].value : (uint16_t)(PORT_DYNAMIC + d);
    /* One host that talks to its own port: the two directions could not be told apart. */
    if (facts->addr[0] == facts->addr[1] && facts->port[0] == facts->port[1])
        facts->port[0] = facts->port[0] > 1 ? facts->port[0] - 1 : 2;
}

static void survey_echo(const flow *f, repair_flow_facts *facts) {
    majority id = {.value = 0};
    size_t nrequests = 0, nreplies = 0;
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        const uint8_t *l4 = p->header + ip_bytes(p);
        if (!is_whole(p, PROTO_ICMP) || !icmp_is_echo(l4[0]))
            continue;
        majority_add(&id, get16(l4 + 4));
        nrequests += l4[0] == ICMP_ECHO_REQUEST;
        nreplies += l4[0] == ICMP_ECHO_REPLY;
    }
    facts->echo_id = nrequests + nreplies > 0 ? (uint16_t)id.value : get16(f->packets[0].header + 4);
    facts->echo_type = nreplies > nrequests ? ICMP_ECHO_REPLY : ICMP_ECHO_REQUEST;
}

void repair_survey(const flow *f, repair_flow_facts *facts) {
    majority addr[2] = {{.value = 0}, {.value = 0}};
    size_t ttl[2][256];
    memset(ttl, 0, sizeof ttl);
    memset(facts, 0, sizeof *facts);
    facts->proto = survey_protocol(f);
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        unsigned d = p->dir;
        majority_add(&addr[d], get32(p->header + 12));
        majority_add(&addr[!d], get32(p->header + 16));
        ttl[d][p->header[8]]++;
        facts->seen[d] = true;
        unsigned flags = is_whole(p, PROTO_TCP) ? p->header[ip_bytes(p) + 13] : TCP_ACK;
        if (!(flags & TCP_RST) || flags & TCP_SYN)
            facts->last_going[d] = i + 1;
    }
    for (unsigned d = 0; d < 2; d++) {
        facts->addr[d] = (uint32_t)addr[d].value;
        facts->ttl[d] = most_frequent_ttl(ttl[d]);
    }
    if (facts->proto == PROTO_ICMP)
        survey_echo(f, facts);
    else
        survey_ports(f, facts);
}

/* Can this option be right without knowing the path? Source routes cannot (they would change the destination that the
 * transport checksum covers), nor can kinds whose contents we do not know. */
static bool ip_option_stays(const uint8_t *option, unsigned nbytes) {
    switch (option[0]) {
    case IP_OPTION_RECORD_ROUTE:
        return nbytes >= 7 && nbytes % 4 == 3 && option[2] >= 4 && option[2] <= nbytes + 1 && option[2] % 4 == 0;
    case IP_OPTION_TIMESTAMP:
        return nbytes >= 8 && nbytes % 4 == 0 && option[2] >= 5 && option[2] <= nbytes + 1 && option[2] % 4 == 1 &&
               (option[3] & 15) == 0;
    case IP_OPTION_STREAM:
    case IP_OPTION_ROUTER_ALERT:
        return nbytes == 4;
    default:
        return false;
    }
}

/* Copy the options that can stay, and pad. A list without a fault is copied as it is. */
static unsigned repair_ip_options(const uint8_t *list, unsigned nbytes, uint8_t *out) {
    unsigned n = 0, last = 0;
    for (unsigned at = 0; at < nbytes && list[at] != IP_OPTION_EOL;) {
        unsigned size = list[at] == IP_OPTION_NOP ? 1 : nbytes - at >= 2 ? list[at + 1] : 0;
        if (size == 0 || size > nbytes - at || (list[at] != IP_OPTION_NOP && size < 3))
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
        out[n++] = IP_OPTION_EOL;
    return n;
}

void repair_take(const packet *p, const repair_flow_facts *facts, repair_packet *x) {
    const uint8_t *h = p->header;
    unsigned nip = ip_bytes(p), d = p->dir;
    memset(x, 0, sizeof *x);
    x->payload = packet_payload(p);
    x->nl4 = transport_bytes(p);
    memcpy(x->l4, h + nip, x->nl4);
    x->whole = is_whole(p, facts->proto);

    memcpy(x->ip, h, 20);
    x->nip = 20 + repair_ip_options(h + 20, nip - 20, x->ip + 20);
    x->ip[0] = (uint8_t)(0x40 | x->nip / 4);
    put16(x->ip + 6, get16(h + 6) & 0x4000); /* "do not fragment" may stay; the packet is whole */
    x->ip[8] = facts->ttl[d];
    x->ip[9] = facts->proto;
    put32(x->ip + 12, facts->addr[d]);
    put32(x->ip + 16, facts->addr[!d]);
}

void repair_look_ahead(const flow *f, size_t i, size_t cursor[2], repair_packet *x) {
    for (unsigned d = 0; d < 2; d++) {
        size_t *c = &cursor[d];
        if (*c <= i)
            *c = i + 1;
        while (*c < f->npackets && (f->packets[*c].dir != d || !is_whole(&f->packets[*c], PROTO_TCP)))
            ++*c;
        x->follows[d] = *c < f->npackets;
        if (x->follows[d])
            x->following_seq[d] = get32(f->packets[*c].header + ip_bytes(&f->packets[*c]) + 4);
    }
    for (size_t k = i + 1; k < f->npackets && f->packets[k].dir != f->packets[i].dir && !x->peer_goes_on; k++)
        x->peer_goes_on = packet_payload(&f->packets[k]) > 1; /* one byte may be a probe */
}

unsigned repair_largest_payload(const repair_packet *x) {
    return 65535 - x->nip - x->nl4;
}
