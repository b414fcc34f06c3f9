/* What the packets of a flow agree on, before any of them is repaired: the value of the greatest weight (votes.h), of
 * equal ones the earliest. */
#include <string.h>
#include "packet/repair_priv.h"

enum { TTL_DEFAULT = 64, PORT_DYNAMIC = 49152 };

bool repair_is_hopeless(const packet *p) {
    return p->nheader < 20 || p->nheader > PACKET_HEADER_MAX;
}

double repair_weight(const packet_votes *votes, const repair_note *notes, size_t i, vote_field field) {
    double w = votes != NULL ? (double)votes[notes[i].came].weight[field] : 1;
    return w > 0 && w <= 1 ? w : w > 1 ? 1 : 0; /* NaN too */
}

/* The protocol as the flow's version calls it; 0 where nd does not know it. */
static unsigned known_protocol(bool ipv6, unsigned proto) {
    if (proto_is_icmp(proto))
        return ipv6 ? PROTO_ICMPV6 : PROTO_ICMP;
    return proto == PROTO_TCP || proto == PROTO_UDP ? proto : 0;
}

/* Does the header make sense under this version? */
static bool makes_sense(const header_view *v) {
    return v->l4 != NULL && known_protocol(v->ipv6, v->proto) != 0 && v->total >= v->nheader;
}

static header_view view_of(const repair_facts *facts, const packet *p) {
    header_view v = header_view_of(p, facts->ipv6);
    unsigned version = p->header[0] >> 4;
    if ((version == 4 || version == 6) && (version == 6) != facts->ipv6 && !makes_sense(&v)) {
        header_view other = header_view_of(p, version == 6);
        if (makes_sense(&other) || v.h == NULL)
            return other.h != NULL ? other : v;
    }
    return v;
}

static void survey_version(const flow *f, const packet_votes *votes, const repair_note *notes, repair_facts *facts) {
    tally version = {.n = 0};
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        unsigned v = p->header[0] >> 4;
        if (v == 4 || (v == 6 && p->nheader >= 40))
            tally_add(&version, v, 0, repair_weight(votes, notes, i, VOTE_PROTO));
    }
    const tally_value *best = tally_best(&version);
    facts->ipv6 = best != NULL && best->value[0] == 6;
}

/* The known protocol that most packets name; TCP where none does. */
static void survey_protocol(const header_view *views, size_t npackets, const packet_votes *votes,
                            const repair_note *notes, repair_facts *facts) {
    tally proto = {.n = 0};
    for (size_t i = 0; i < npackets; i++) {
        unsigned known = views[i].h != NULL ? known_protocol(facts->ipv6, views[i].proto) : 0;
        if (known != 0)
            tally_add(&proto, known, 0, repair_weight(votes, notes, i, VOTE_PROTO));
    }
    const tally_value *best = tally_best(&proto);
    facts->proto = best != NULL ? (uint8_t)best->value[0] : PROTO_TCP;
}

/* Everything that is counted packet by packet. */
typedef struct census {
    tally addr[2], port[2], label[2], message[2], echo_id;
    double ttl[2][256];
    size_t first_ttl[2][256];
    size_t nrequests, nreplies, nmessages;
} census;

static void count_transport(const header_view *v, double weight, const repair_facts *facts, census *c) {
    unsigned d = v->dir;
    if (facts->proto == PROTO_TCP || facts->proto == PROTO_UDP) {
        if ((v->proto != PROTO_TCP && v->proto != PROTO_UDP) || v->nl4 < 4 || v->nip + 4 > v->nheader)
            return;
        const uint8_t *l4 = v->h + v->nip;
        if (get16(l4) != 0)
            tally_add(&c->port[d], get16(l4), 0, weight);
        if (get16(l4 + 2) != 0)
            tally_add(&c->port[!d], get16(l4 + 2), 0, weight);
        return;
    }
    if (v->l4 == NULL || known_protocol(facts->ipv6, v->proto) != facts->proto)
        return;
    int echo = icmp_echo_of(v->proto, v->l4[0]);
    c->nrequests += echo == ICMP_ECHO_REQUEST;
    c->nreplies += echo == ICMP_ECHO_REPLY;
    c->nmessages += echo < 0 && check_icmp_code(v->proto, v->l4[0], v->l4[1]);
    if (echo >= 0)
        tally_add(&c->echo_id, get16(v->l4 + 4), 0, weight);
    else if (check_icmp_code(facts->proto, v->l4[0], v->l4[1]))
        tally_add(&c->message[d], v->l4[0], v->l4[1], weight);
}

static void count_packet(const header_view *v, int64_t time_ns, const packet_votes *votes, const repair_note *notes,
                         size_t i, repair_facts *facts, census *c) {
    unsigned d = v->dir;
    facts->seen[d] = true;
    bool tcp = v->l4 != NULL && v->proto == PROTO_TCP;
    unsigned flags = tcp ? v->l4[13] : TCP_ACK;
    if (!(flags & TCP_RST) || flags & TCP_SYN) {
        facts->last_going[d] = i + 1;
        facts->last_going_ns[d] = time_ns;
    }
    if (v->h == NULL)
        return;
    if (v->ipv6 == facts->ipv6) {
        double weight = repair_weight(votes, notes, i, VOTE_ADDRESSES);
        tally_add(&c->addr[d], view_address(v, 0), 0, weight);
        tally_add(&c->addr[!d], view_address(v, 1), 0, weight);
        if (v->ipv6)
            tally_add(&c->label[d], view_label(v), 0, repair_weight(votes, notes, i, VOTE_TOS));
    }
    if (c->ttl[d][view_ttl(v)] <= 0)
        c->first_ttl[d][view_ttl(v)] = i;
    c->ttl[d][view_ttl(v)] += repair_weight(votes, notes, i, VOTE_TTL);
    count_transport(v, repair_weight(votes, notes, i, VOTE_PORTS), facts, c);
}

static uint8_t best_ttl(const double weight[256], const size_t first[256]) {
    unsigned best = 0; /* 0 itself does not count */
    for (unsigned v = 1; v < 256; v++)
        if (weight[v] > 0 &&
            (best == 0 || weight[v] > weight[best] || (weight[v] >= weight[best] && first[v] < first[best])))
            best = v;
    return best != 0 ? (uint8_t)best : TTL_DEFAULT;
}

static void settle_ports(const census *c, repair_facts *facts) {
    for (unsigned d = 0; d < 2; d++) {
        const tally_value *best = tally_best(&c->port[d]);
        facts->port[d] = best != NULL ? (uint16_t)best->value[0] : (uint16_t)(PORT_DYNAMIC + d);
    }
    /* One host that talks to its own port: the two directions could not be told apart. */
    if (facts->addr[0] == facts->addr[1] && facts->port[0] == facts->port[1])
        facts->port[0] = facts->port[0] > 1 ? facts->port[0] - 1 : 2;
}

static void settle_messages(const census *c, repair_facts *facts) {
    const tally_value *id = tally_best(&c->echo_id);
    facts->echo = c->nrequests + c->nreplies >= c->nmessages;
    facts->echo_id = id != NULL ? (uint16_t)id->value[0] : 1;
    facts->echo_type = c->nreplies > c->nrequests ? ICMP_ECHO_REPLY : ICMP_ECHO_REQUEST;
    for (unsigned d = 0; d < 2; d++) {
        const tally_value *best = tally_best(&c->message[d]);
        if (best == NULL)
            best = tally_best(&c->message[!d]);
        if (best != NULL)
            facts->message[d] = (repair_message){(uint8_t)best->value[0], (uint8_t)best->value[1]};
    }
}

void repair_survey(const flow *f, const packet_votes *votes, const repair_note *notes, repair_facts *facts,
                   header_view *views) {
    census c;
    memset(&c, 0, sizeof c);
    memset(facts, 0, sizeof *facts);
    survey_version(f, votes, notes, facts);
    for (size_t i = 0; i < f->npackets; i++)
        views[i] = view_of(facts, &f->packets[i]);
    survey_protocol(views, f->npackets, votes, notes, facts);
    for (size_t i = 0; i < f->npackets; i++)
        count_packet(&views[i], f->packets[i].time_ns, votes, notes, i, facts, &c);
    for (unsigned d = 0; d < 2; d++) {
        const tally_value *address = tally_best(&c.addr[d]), *label = tally_best(&c.label[d]);
        facts->addr[d] = address != NULL ? address->value[0] : d + 1;
        facts->label[d] = label != NULL ? (uint32_t)label->value[0] : 0;
        facts->ttl[d] = best_ttl(c.ttl[d], c.first_ttl[d]);
    }
    settle_ports(&c, facts);
    if (proto_is_icmp(facts->proto))
        settle_messages(&c, facts);
}
