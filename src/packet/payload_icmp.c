/* What ICMP and ICMPv6 messages carry (RFC 792, RFC 4443): echoes the bytes that ping sends, errors the packet that
 * they are about, neighbour discovery (RFC 4861) the address in question.
 *
 * A flow holds an ICMP conversation only, so the packet that an error is about is the other direction's latest message,
 * and where there is none (or that is an error, which must not be answered) a datagram that could have been. */
#include <string.h>
#include "packet/payload_priv.h"

enum { UNREACHABLE = 3, QUENCH = 4, REDIRECT = 5, TIME_EXCEEDED = 11, PARAMETER_PROBLEM = 12 };
enum { ECHO_REPLY = 0, ECHO_REQUEST = 8, V6_ERRORS = 128, V6_ECHO_REPLY = 129 };
enum { V6_SOLICITATION = 135, V6_ADVERTISEMENT = 136, TRACEROUTE_PORT = 33434, WHAT_PORT = 32, LOOK_BACK = 128 };

static bool is_error(const packet *p) {
    unsigned type = packet_l4(p)[0];
    if (packet_proto(p) == PROTO_ICMPV6)
        return type < V6_ERRORS;
    return type == UNREACHABLE || type == QUENCH || type == REDIRECT || type == TIME_EXCEEDED ||
           type == PARAMETER_PROBLEM;
}

/* As ping counts up; a reply of the same size has the same bytes. */
static void put_echo(const payload_task *t) {
    enum { PERIOD = 256 };
    for (size_t k = 0; k < t->n && k < PERIOD; k++)
        t->bytes[k] = (uint8_t)k;
    for (size_t k = PERIOD; k < t->n; k += PERIOD)
        memcpy(t->bytes + k, t->bytes, t->n - k < PERIOD ? t->n - k : PERIOD);
}

/* A datagram from the error's receiver to its sender, of as many bytes as are quoted. */
static packet likely_cause(const payload_task *t) {
    packet q = {.dir = !t->p->dir};
    bool ipv6 = packet_is_ipv6(t->p);
    unsigned nip = ipv6 ? 40 : 20, naddress = packet_naddress(t->p);
    unsigned total = t->n > nip + 8 ? (unsigned)t->n : nip + 8;
    uint8_t *h = q.header, *l4 = h + nip;
    if (ipv6) {
        h[0] = 0x60;
        put16(h + 4, total - nip);
        h[6] = PROTO_UDP;
        h[7] = 64;
    } else {
        h[0] = 0x45;
        put16(h + 2, total);
        h[8] = packet_l4(t->p)[0] == TIME_EXCEEDED ? 1 : 64;
        h[9] = PROTO_UDP;
    }
    for (unsigned side = 0; side < 2; side++)
        memcpy(h + packet_address_at(&q, side), t->p->header + packet_address_at(t->p, !side), naddress);
    put16(l4, 49152 + (unsigned)(payload_draw(t->f, WHAT_PORT, 0) % 16384));
    put16(l4 + 2, TRACEROUTE_PORT);
    put16(l4 + 4, total - nip);
    q.nheader = (uint8_t)(nip + 8);
    if (!ipv6)
        checksum_fill(&q, false);
    return q;
}

static void put_quote(const payload_task *t) {
    uint8_t body[PAYLOAD_MAX];
    size_t k = t->i, earliest = t->i > LOOK_BACK ? t->i - LOOK_BACK : 0;
    while (k > earliest && t->f->packets[k - 1].dir == t->p->dir)
        k--;
    const packet *latest = k > earliest ? &t->f->packets[k - 1] : NULL;
    bool answers =
        latest != NULL && packet_has_shape(latest) && packet_proto(latest) == packet_proto(t->p) && !is_error(latest);
    packet made;
    if (!answers)
        made = likely_cause(t);
    const packet *q = answers ? latest : &made;
    size_t nheader = q->nheader < t->n ? q->nheader : t->n, nbody = packet_payload(q);
    memcpy(t->bytes, q->header, nheader);
    if (!answers)
        return;
    /* Echoes: an error is not quoted, so this goes no deeper. */
    if (nbody > t->n - nheader)
        nbody = t->n - nheader;
    payload_make(t->f, k - 1, body, nbody);
    memcpy(t->bytes + nheader, body, nbody);
}

void payload_icmp(const payload_task *t) {
    unsigned type = packet_l4(t->p)[0];
    if (is_error(t->p))
        put_quote(t);
    else if (type == ECHO_REPLY || type == ECHO_REQUEST)
        put_echo(t);
}

/* An advertiser speaks of itself. A solicitation is sent to the address in question, or to all whose last three bytes
 * are these (RFC 4291 2.7.1); the rest of it is then taken from the sender's. */
static void put_target(const payload_task *t, bool solicitation) {
    const uint8_t *from = t->p->header + packet_address_at(t->p, 0), *to = t->p->header + packet_address_at(t->p, 1);
    bool multicast = to[0] == 0xff;
    memcpy(t->bytes, solicitation && !multicast ? to : from, 16);
    if (solicitation && multicast)
        memcpy(t->bytes + 13, to + 13, 3);
}

void payload_icmpv6(const payload_task *t) {
    unsigned type = packet_l4(t->p)[0];
    if (is_error(t->p))
        put_quote(t);
    else if (type == V6_ERRORS || type == V6_ECHO_REPLY)
        put_echo(t);
    else if ((type == V6_SOLICITATION || type == V6_ADVERTISEMENT) && t->n >= 16)
        put_target(t, type == V6_SOLICITATION);
}
