/* Which service's message a packet carries: one table, by port and transport. */
#include <string.h>
#include "packet/payload.h"
#include "packet/payload_priv.h"

typedef struct service {
    uint8_t proto;
    uint16_t first, last; /* ports */
    payload_writer *write;
} service;

static const service services[] = {
    {PROTO_UDP, 53, 53, payload_dns},
    {PROTO_TCP, 53, 53, payload_dns},
    {PROTO_UDP, 5353, 5353, payload_dns}, /* multicast DNS, RFC 6762 */
    {PROTO_UDP, 5355, 5355, payload_dns}, /* LLMNR, RFC 4795 */
    {PROTO_UDP, 123, 123, payload_ntp},
    {PROTO_UDP, 67, 67, payload_dhcp},
    {PROTO_UDP, 68, 68, payload_dhcp}, /* the client's; seen alone where its server is no part of the flow */
    {PROTO_TCP, 22, 22, payload_ssh},
    {PROTO_TCP, 443, 443, payload_tls},
    {PROTO_TCP, 8443, 8443, payload_tls},
    {PROTO_TCP, 8883, 8883, payload_tls}, /* MQTT over TLS */
    {PROTO_TCP, 853, 853, payload_tls},   /* DNS over TLS */
    {PROTO_TCP, 993, 993, payload_tls},   /* IMAP over TLS */
    {PROTO_TCP, 1883, 1883, payload_mqtt},
    {PROTO_UDP, 5004, 5058, payload_rtp}, /* its own port and those that conferences take above it */
};
enum { SERVICES = sizeof services / sizeof *services };

static bool within(const service *s, unsigned port) {
    return port >= s->first && port <= s->last;
}

/* The service of a TCP or UDP packet, NULL if none is known. */
static payload_writer *service_of(payload_task *t, unsigned proto) {
    const uint8_t *l4 = packet_l4(t->p);
    unsigned from = get16(l4), to = get16(l4 + 2);
    for (size_t s = 0; s < SERVICES; s++) {
        bool to_service = within(&services[s], to), from_service = within(&services[s], from);
        if (services[s].proto != proto || (!to_service && !from_service))
            continue;
        /* Where both sides have the port the first sender is the client. */
        t->from_client = to_service && from_service ? t->p->dir == 0 : to_service;
        t->port = services[s].first;
        return services[s].write;
    }
    return NULL;
}

static payload_writer *writer_of(payload_task *t) {
    if (!packet_has_shape(t->p))
        return NULL;
    switch (packet_proto(t->p)) {
    case PROTO_TCP:
    case PROTO_UDP:
        return service_of(t, packet_proto(t->p));
    case PROTO_ICMP:
        return payload_icmp;
    case PROTO_ICMPV6:
        return payload_icmpv6;
    default:
        return NULL;
    }
}

bool payload_make(const flow *f, size_t i, uint8_t *bytes, size_t n) {
    payload_task t = {.f = f, .i = i, .p = &f->packets[i], .bytes = bytes, .n = packet_payload(&f->packets[i])};
    ASSERT(n <= t.n && t.n <= PAYLOAD_MAX);
    payload_writer *write = n > 0 ? writer_of(&t) : NULL;
    if (write == NULL) {
        memset(bytes, 0, n);
        return false;
    }
    /* Messages are made whole, for their lengths are in them, and cut to what is asked for. */
    uint8_t whole[PAYLOAD_MAX];
    if (n < t.n)
        t.bytes = whole;
    memset(t.bytes, 0, t.n);
    write(&t);
    if (n < t.n)
        memcpy(bytes, whole, n);
    return true;
}

bool payload_is_left_out(const packet *p) {
    if (packet_payload(p) == 0 || !packet_has_shape(p))
        return false;
    unsigned proto = packet_proto(p);
    const uint8_t *l4 = packet_l4(p);
    return payload_port_is_foreign(proto, get16(l4)) || payload_port_is_foreign(proto, get16(l4 + 2));
}

uint32_t payload_sum(const flow *f, size_t i) {
    uint8_t bytes[PAYLOAD_MAX];
    size_t n = packet_payload(&f->packets[i]);
    payload_task t = {.f = f, .i = i, .p = &f->packets[i]};
    if (n == 0 || writer_of(&t) == NULL)
        return 0;
    payload_make(f, i, bytes, n);
    return checksum_sum(bytes, n);
}

void checksum_fill_flow(flow *f) {
    /* In order: an ICMP error quotes the checksum of an earlier packet. */
    for (size_t i = 0; i < f->npackets; i++)
        checksum_fill_over(&f->packets[i], true, payload_sum(f, i));
}

/* splitmix64's finish (Steele et al., OOPSLA 2014). */
static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t payload_draw(const flow *f, uint64_t what, uint64_t which) {
    const packet *first = &f->packets[0];
    if (!packet_has_shape(first))
        return mix(mix(what << 48 ^ which));
    const uint8_t *l4 = packet_l4(first);
    /* Ports and addresses in no order: the same for both directions. */
    uint64_t ports = (uint64_t)get16(l4) * get16(l4 + 2) + get16(l4) + get16(l4 + 2);
    unsigned naddress = packet_naddress(first);
    uint32_t hosts = get32(first->header + packet_address_at(first, 0) + naddress - 4) ^
                     get32(first->header + packet_address_at(first, 1) + naddress - 4);
    bool icmp = packet_proto(first) == PROTO_ICMP || packet_proto(first) == PROTO_ICMPV6;
    return mix(mix((icmp ? 0 : ports) + ((uint64_t)hosts << 32)) + mix(what << 48 ^ which) + 0x9e3779b97f4a7c15u);
}

void payload_draw_bytes(const flow *f, uint64_t what, uint64_t which, uint8_t *bytes, size_t n) {
    uint64_t x = payload_draw(f, what, which);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && i % 8 == 0)
            x = mix(x + 0x9e3779b97f4a7c15u);
        bytes[i] = (uint8_t)(x >> 8 * (i % 8));
    }
}

uint32_t payload_stream_offset(const payload_task *t) {
    uint32_t seq = get32(packet_l4(t->p) + 4) + ((packet_l4(t->p)[13] & TCP_SYN) != 0);
    for (size_t k = 0; k <= t->i && k < PAYLOAD_BEGINNING; k++) {
        const packet *first = &t->f->packets[k];
        if (first->dir != t->p->dir || !packet_has_shape(first) || packet_proto(first) != PROTO_TCP)
            continue;
        const uint8_t *l4 = packet_l4(first);
        return seq - (get32(l4 + 4) + ((l4[13] & TCP_SYN) != 0));
    }
    return PAYLOAD_OFFSET_UNKNOWN;
}

static bool is_query(const payload_task *t, const packet *p) {
    return p->dir == t->p->dir ? t->from_client : !t->from_client;
}

size_t payload_answered(const payload_task *t) {
    enum { LOOK_BACK = 128 };
    size_t open[LOOK_BACK + 1], nopen = 0, answered = t->i;
    unsigned proto = packet_proto(t->p);
    for (size_t k = t->i > LOOK_BACK ? t->i - LOOK_BACK : 0; k <= t->i; k++) {
        const packet *p = &t->f->packets[k];
        if (packet_payload(p) == 0 || !packet_has_shape(p) || packet_proto(p) != proto)
            continue;
        if (is_query(t, p)) {
            open[nopen++] = k;
        } else if (nopen > 0) {
            answered = k == t->i ? open[0] : answered;
            memmove(open, open + 1, --nopen * sizeof *open);
        }
    }
    return answered;
}
