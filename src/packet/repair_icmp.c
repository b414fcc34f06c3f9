/* Repair of ICMP (RFC 792) and ICMPv6 (RFC 4443).
 *
 * Echoes and other messages never share a flow (the identifier is part of an echo's key), so the majority decides which
 * this one has. In an echo flow with both directions side 0 sends requests and side 1 replies, each to a request seen
 * before; with one direction all are what most of its echoes are. Other messages keep their type and code where they
 * are known, else take the direction's most frequent, and get as many bytes as they need: an error at least what it
 * quotes, and nothing behind the quote. Sizes and times stay. */
#include <string.h>
#include "packet/repair_priv.h"

static uint8_t echo_number(const repair_facts *facts, unsigned echo) {
    if (!facts->ipv6)
        return (uint8_t)echo;
    return echo == ICMP_ECHO_REQUEST ? 128 : 129;
}

static unsigned echo_role(const repair_facts *facts, unsigned dir) {
    bool both = facts->seen[0] && facts->seen[1];
    return !both ? facts->echo_type : dir == 0 ? ICMP_ECHO_REQUEST : ICMP_ECHO_REPLY;
}

/* Known, with a code of it; neighbour discovery only from the link (RFC 4861). */
static bool message_stays(const repair_facts *facts, unsigned dir, const uint8_t *l4) {
    const icmp_type *t = icmp_type_find(facts->proto, l4[0]);
    bool discovery = facts->ipv6 && l4[0] >= 133 && l4[0] <= 137;
    return t != NULL && t->kind != ICMP_ECHO && check_icmp_code(facts->proto, l4[0], l4[1]) &&
           (!discovery || facts->ttl[dir] == 255);
}

/* Where an error says how long its quote is, so that extensions can follow (RFC 4884 4 and 5.1 to 5.4); 0: nowhere. */
static unsigned quote_length_at(bool ipv6, unsigned type) {
    if (ipv6)
        return type == 1 || type == 3 ? 4 : 0;
    return type == 3 || type == 11 || type == 12 ? 5 : 0;
}

static void settle_message(const repair_facts *facts, repair_draft *x) {
    if (!message_stays(facts, x->dir, x->l4)) {
        x->l4[0] = facts->message[x->dir].type;
        x->l4[1] = facts->message[x->dir].code;
        if (!message_stays(facts, x->dir, x->l4)) {
            x->l4[0] = facts->ipv6 ? 1 : 3; /* port unreachable */
            x->l4[1] = facts->ipv6 ? 4 : 3;
        }
        memset(x->l4 + 4, 0, 4);
    }
    const icmp_type *t = icmp_type_find(facts->proto, x->l4[0]);
    if (x->payload < t->least)
        x->payload = t->least;
    if (facts->ipv6 && t->kind == ICMP_ERROR && x->nip + 8 + x->payload > 1280)
        x->payload = 1280 - 8 - x->nip;
    unsigned length_at = quote_length_at(facts->ipv6, x->l4[0]);
    if (length_at > 0) /* the payload that is made has no extensions */
        x->l4[length_at] = 0;
    if (t->zero_word)
        memset(x->l4 + 4, 0, 4);
}

static void settle_type(const repair_run *r, repair_draft *x) {
    if (r->facts.echo) {
        x->came_as_echo = x->whole && icmp_echo_of(r->facts.proto, x->l4[0]) >= 0;
        if (!x->came_as_echo)
            x->l4[0] = echo_number(&r->facts, echo_role(&r->facts, x->dir));
        x->l4[1] = 0;
    } else {
        settle_message(&r->facts, x);
    }
}

void repair_icmp(repair_run *r, repair_draft *x) {
    if (proto_is_icmp(r->facts.proto) && x->whole)
        settle_type(r, x);
}

void repair_icmp_blank(const repair_run *r, repair_draft *x) {
    memset(x->l4, 0, 8);
    x->nl4 = 8;
    settle_type(r, x);
}

void repair_echo(repair_run *r, repair_draft *x) {
    const repair_facts *facts = &r->facts;
    if (!proto_is_icmp(facts->proto) || !facts->echo)
        return;
    bool both = facts->seen[0] && facts->seen[1];
    unsigned type = echo_role(facts, x->dir);
    uint16_t number = get16(x->l4 + 6);
    if (!x->came_as_echo || (both && type == ICMP_ECHO_REPLY && !connection_echo_answers(&r->echo, x->dir, number))) {
        number = connection_echo_expected(&r->echo, type, x->dir);
        /* More replies than requests: the latest is answered twice. */
        if (both && type == ICMP_ECHO_REPLY && !connection_echo_answers(&r->echo, x->dir, number))
            number = r->echo.last_request;
    }
    x->l4[0] = echo_number(facts, type);
    put16(x->l4 + 6, number);
    connection_echo_seen(&r->echo, type, x->dir, number);
}
