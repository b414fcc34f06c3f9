/* Repair of a flow: what its packets agree on first, then each packet in order, through the tables of rules.
 *
 * Nothing is drawn: the same flow always gives the same result, and repairing that changes nothing. */
#include <string.h>
#include "base/memory.h"
#include "packet/payload.h"
#include "packet/repair.h"
#include "packet/repair_priv.h"

enum { IP_CHECKSUM_AT = 10, TICK_NS = 1000 };
/* Times stay where adding to them cannot overflow. */
static const int64_t LATEST_NS = INT64_MAX / 2, BEYOND_NS = INT64_MAX / 4 * 3;

typedef struct repair_rule {
    check_rule rule; /* whose counts its changes go to */
    repair_function *run;
} repair_rule;

/* One packet, bottom up. The length comes behind what it measures; checksums close the packet (see assemble). */
static const repair_rule intra[] = {
    {CHECK_VERSION, repair_version},   {CHECK_IHL, repair_ihl},       {CHECK_IP_OPTIONS, repair_ip_options},
    {CHECK_FRAGMENT, repair_fragment}, {CHECK_FLAGS, repair_flags},   {CHECK_RESERVED, repair_reserved},
    {CHECK_OPTIONS, repair_options},   {CHECK_LENGTH, repair_length}, {CHECK_UDP_LENGTH, repair_udp_length},
    {CHECK_ICMP, repair_icmp},
};

/* The packets of a flow against each other. CHECK_TIME comes before, CHECK_DSCP after all packets. */
static const repair_rule inter[] = {
    {CHECK_PROTOCOL, repair_protocol},
    {CHECK_ADDRESSES, repair_addresses},
    {CHECK_PORTS, repair_ports},
    {CHECK_TTL, repair_ttl},
    {CHECK_FLOW_LABEL, repair_flow_label},
    {CHECK_IP_ID, repair_ip_id},
    {CHECK_RESET, repair_reset},
    {CHECK_HANDSHAKE, repair_handshake},
    {CHECK_SEQ, repair_seq},
    {CHECK_LENGTH, repair_service},
    {CHECK_FIN, repair_fin},
    {CHECK_ACK, repair_ack},
    {CHECK_WINDOW, repair_window},
    {CHECK_NEGOTIATED, repair_negotiated},
    {CHECK_TIMESTAMPS, repair_timestamps},
    {CHECK_SACK, repair_sack},
    {CHECK_REPEAT, repair_repeat},
    {CHECK_ECHO, repair_echo},
};

/* Bits in which two headers differ, side by side; all of what only one of them has. By words: each rule asks. */
static unsigned bits_between(const uint8_t *a, unsigned na, const uint8_t *b, unsigned nb) {
    unsigned shorter = na < nb ? na : nb, longer = na < nb ? nb : na, changed = 8 * (longer - shorter), i = 0;
    for (; i + 8 <= shorter; i += 8) {
        uint64_t x, y;
        memcpy(&x, a + i, 8);
        memcpy(&y, b + i, 8);
        if (x != y) /* seldom, and counting costs more than looking */
            changed += (unsigned)__builtin_popcountll(x ^ y);
    }
    for (; i < shorter; i++)
        if (a[i] != b[i])
            changed += (unsigned)__builtin_popcount(a[i] ^ b[i]);
    return changed;
}

/* The same without the two bytes of a checksum; *bits grows by how many bits there are to differ in. */
static unsigned bits_but_checksum(const uint8_t *a, unsigned na, const uint8_t *b, unsigned nb, unsigned checksum_at,
                                  uint64_t *bits) {
    unsigned shorter = na < nb ? na : nb, longer = na < nb ? nb : na, changed = bits_between(a, na, b, nb);
    for (unsigned i = checksum_at; i < checksum_at + 2 && i < longer; i++)
        changed -= i < shorter ? (unsigned)__builtin_popcount(a[i] ^ b[i]) : 8;
    *bits += 8 * longer - (checksum_at < longer ? 16 : 0);
    return changed;
}

static unsigned transport_checksum_at(unsigned proto) {
    return proto == PROTO_TCP ? 16 : proto == PROTO_UDP ? 6 : 2;
}

/* Is packet `before`, whose view this is, another afterwards? */
static bool count_packet(const header_view *v, const packet *before, const packet *after, repair_counts *counts) {
    bool ipv6 = packet_is_ipv6(after);
    unsigned nb = packet_ip_nheader(after), none = PACKET_HEADER_MAX; /* IPv6 has no checksum */
    unsigned na = v->nip >= 20 && v->nip <= before->nheader ? v->nip : nb < before->nheader ? nb : 20;
    unsigned changed =
        bits_but_checksum(before->header, na, after->header, nb, ipv6 ? none : IP_CHECKSUM_AT, &counts->bits);
    changed += bits_but_checksum(before->header + na, before->nheader - na, after->header + nb, after->nheader - nb,
                                 transport_checksum_at(packet_proto(after)), &counts->bits);
    counts->bits_changed += changed;
    counts->packets_changed += changed > 0;
    return changed > 0;
}

/* What a rule did to the draft: headers are compared where the rule can have changed them. */
typedef struct draft_bytes {
    uint8_t ip[PACKET_HEADER_MAX], l4[TRANSPORT_MAX];
    unsigned nip, nl4;
} draft_bytes;

static void remember(const repair_draft *x, draft_bytes *b) {
    memcpy(b->ip, x->ip, x->nip);
    memcpy(b->l4, x->l4, sizeof b->l4);
    b->nip = x->nip;
    b->nl4 = x->nl4;
}

static void put_length(repair_draft *x) {
    bool ipv6 = x->ip[0] >> 4 == 6;
    unsigned length = x->nip + x->nl4 + x->payload - (ipv6 ? 40 : 0), at = ipv6 ? 4 : 2;
    if (get16(x->ip + at) != length)
        put16(x->ip + at, length);
}

static void note_rule(check_rule rule, uint64_t bits, repair_counts *counts) {
    counts->rule_packets[rule] += bits > 0;
    counts->rule_bits[rule] += bits;
}

static void run_rules(const repair_rule *rules, size_t n, repair_run *r, repair_draft *x, draft_bytes *was,
                      repair_counts *counts) {
    for (size_t i = 0; i < n && !x->drop; i++) {
        rules[i].run(r, x);
        if (x->measured)
            put_length(x);
        unsigned bits = bits_between(was->ip, was->nip, x->ip, x->nip) + bits_between(was->l4, was->nl4, x->l4, x->nl4);
        if (bits == 0)
            continue;
        note_rule(rules[i].rule, bits, counts);
        remember(x, was);
    }
    if (x->drop)
        counts->rule_packets[CHECK_REPEAT]++;
}

/* Put the parts together, p being all zeros; checksums come last, for they count the payload. */
static void assemble(const repair_draft *x, packet *p) {
    p->nheader = (uint8_t)(x->nip + x->nl4);
    memcpy(p->header, x->ip, x->nip);
    memcpy(p->header + x->nip, x->l4, x->nl4);
    p->wire_len = p->nheader + x->payload;
    p->time_ns = x->time_ns;
    p->dir = (uint8_t)x->dir;
}

/* The transport checksum of UDP may stay 0. */
static void fill_checksums(flow *f, repair_counts *counts) {
    for (size_t i = 0; i < f->npackets; i++) {
        packet *p = &f->packets[i];
        const uint8_t *transport = packet_l4(p) + transport_checksum_at(packet_proto(p));
        unsigned ip_was = get16(p->header + IP_CHECKSUM_AT), transport_was = get16(transport);
        checksum_fill_over(p, true, payload_sum(f, i));
        if (!packet_is_ipv6(p))
            note_rule(CHECK_CHECKSUM_IP, (unsigned)__builtin_popcount(ip_was ^ get16(p->header + IP_CHECKSUM_AT)),
                      counts);
        note_rule(CHECK_CHECKSUM_L4, (unsigned)__builtin_popcount(transport_was ^ get16(transport)), counts);
    }
}

/* Packets without so much as an IP header go; the first that is left is of direction 0; times increase. notes: where
 * each packet that is left came from. */
static void set_out(flow *f, repair_note *notes, repair_counts *counts) {
    size_t kept = 0;
    for (size_t i = 0; i < f->npackets; i++) {
        if (repair_is_hopeless(&f->packets[i]))
            continue;
        notes[kept] = (repair_note){.came = i};
        f->packets[kept++] = f->packets[i];
    }
    counts->packets_dropped += f->npackets - kept;
    f->npackets = kept;
    bool turn = kept > 0 && f->packets[0].dir != 0;
    for (size_t i = 0; i < kept; i++) {
        packet *p = &f->packets[i];
        int64_t was = p->time_ns;
        p->dir = (p->dir != 0) != turn;
        if (p->time_ns < 0)
            p->time_ns = 0;
        if (p->time_ns > BEYOND_NS)
            p->time_ns = LATEST_NS;
        if (i > 0 && p->time_ns <= p[-1].time_ns)
            p->time_ns = p[-1].time_ns + TICK_NS;
        counts->rule_packets[CHECK_TIME] += p->time_ns != was;
    }
}

/* All rules on packet `number`; false where it goes. */
static bool repair_packet(repair_run *r, size_t number, packet *after, repair_counts *counts) {
    repair_draft x;
    draft_bytes was;
    repair_take(r, number, &x);
    remember(&x, &was);
    if (r->facts.proto == PROTO_TCP)
        repair_tcp_begin(r, &x);
    run_rules(intra, sizeof intra / sizeof *intra, r, &x, &was, counts);
    run_rules(inter, sizeof inter / sizeof *inter, r, &x, &was, counts);
    if (r->facts.proto == PROTO_TCP)
        repair_tcp_pass(r, &x);
    if (x.drop)
        return false;
    r->id[x.dir] = get16(x.ip + 4);
    r->id_known[x.dir] = true;
    after->frame = r->f->packets[number].frame;
    assemble(&x, after);
    return true;
}

/* Every packet in its order, those that stay moving up. */
static void repair_packets(repair_run *r, flow *f, repair_note *notes, repair_counts *counts) {
    for (size_t i = 0; i < f->npackets; i++) {
        packet after = {.nheader = 0};
        if (!repair_packet(r, i, &after, counts))
            continue;
        bool changed = count_packet(&r->views[i], &f->packets[i], &after, counts);
        notes[r->nkept] = (repair_note){.came = notes[i].came, .changed = changed};
        f->packets[r->nkept++] = after;
    }
    counts->packets_dropped += f->npackets - r->nkept;
    f->npackets = r->nkept;
}

/* All packets through the rules. False: a gap was kept that what came out of the packets behind it does not bear out.
 */
static bool attempt(repair_run *r, flow *f, bool keep_gaps, repair_note *notes, repair_counts *counts) {
    *r = (repair_run){.f = f, .views = r->views, .facts = r->facts, .keep_gaps = keep_gaps, .gaps = r->gaps};
    tcp_state_start(&r->now, r->facts.seen);
    connection_echo_start(&r->echo, 1);
    repair_packets(r, f, notes, counts);
    return repair_gaps_hold(r);
}

/* The same where numbers run ahead: gaps are kept, or where one of them does not hold, closed. */
static status attempt_gaps(repair_run *r, flow *f, repair_note *notes, repair_counts *counts) {
    status st;
    size_t n = f->npackets;
    packet *packets = NULL;
    repair_note *were = NULL;
    repair_counts before = *counts;
    TRY_TO(end, NEW(n, &packets));
    TRY_TO(end, NEW(n, &were));
    TRY_TO(end, NEW(2 * n, &r->gaps));
    memcpy(packets, f->packets, n * sizeof *packets);
    memcpy(were, notes, n * sizeof *were);
    if (!attempt(r, f, true, notes, counts)) {
        memcpy(f->packets, packets, n * sizeof *packets);
        memcpy(notes, were, n * sizeof *were);
        f->npackets = n;
        *counts = before;
        attempt(r, f, false, notes, counts);
    }
end:
    memory_free(&r->gaps);
    memory_free(&were);
    memory_free(&packets);
    return st;
}

status repair_flow(flow *f, const packet_votes *votes, repair_counts *counts) {
    repair_counts here = {.flows = 1, .packets = f->npackets};
    repair_run *r = NULL;
    repair_note *notes = NULL;
    header_view *views = NULL;
    status st;
    TRY_TO(end, NEW(1, &r));
    TRY_TO(end, NEW(f->npackets, &notes));
    TRY_TO(end, NEW(f->npackets, &views));
    set_out(f, notes, &here);
    r->f = f;
    r->views = views;
    repair_survey(f, votes, notes, &r->facts, views);
    if (repair_runs_ahead(r))
        TRY_TO(end, attempt_gaps(r, f, notes, &here));
    else
        attempt(r, f, false, notes, &here);
    repair_dscp(f, votes, notes, &here);
    fill_checksums(f, &here);
    if (f->npackets > 0)
        f->key = flow_key_of(&f->packets[0]);
    if (counts != NULL)
        repair_counts_add(counts, &here);
end:
    memory_free(&views);
    memory_free(&notes);
    memory_free(&r);
    return st;
}

void repair_counts_add(repair_counts *to, const repair_counts *from) {
    to->flows += from->flows;
    to->packets += from->packets;
    to->packets_changed += from->packets_changed;
    to->bits += from->bits;
    to->bits_changed += from->bits_changed;
    to->packets_dropped += from->packets_dropped;
    for (int r = 0; r < CHECK_COUNT; r++) {
        to->rule_packets[r] += from->rule_packets[r];
        to->rule_bits[r] += from->rule_bits[r];
    }
}
