/* The rules: a conversation without a fault passes them all, each single fault fails its own, and real packets pass but
 * for reasons that are known and counted. */
#include "packet/check.h"
#include "packet/connection_priv.h"
#include "segments.h"

static uint32_t failed_rules(const flow *f, size_t number) {
    check_counts c = {.flows = 0};
    uint32_t failed[64];
    assert_true(f->npackets <= 64);
    check_flow(f, CHECK_PAYLOAD_MADE, &c, failed);
    return failed[number];
}

static void test_whole(void **state) {
    flow f;
    check_counts c = {.flows = 0};
    uint32_t failed[WHOLE];
    lines_flow(whole_lines, WHOLE, &f);
    check_flow(&f, CHECK_PAYLOAD_MADE, &c, failed);
    for (size_t i = 0; i < WHOLE; i++)
        assert_int_equal(failed[i], 0);
    assert_int_equal(c.rows, WHOLE);
    assert_int_equal(c.rows_pass, WHOLE);
    assert_int_equal(c.flows_pass, 1);
    assert_int_equal(c.tested[CHECK_SEQ], WHOLE);
    assert_int_equal(c.tested[CHECK_ACK], WHOLE - 1); /* but for the SYN */
    assert_int_equal(c.tested[CHECK_UDP_LENGTH], 0);
    assert_int_equal(c.tested[CHECK_TIME], WHOLE - 1);
    check_add(&c, &c);
    assert_int_equal(c.rows, 2 * WHOLE);
    assert_int_equal(c.tested[CHECK_SEQ], 2 * WHOLE);
    flow_clear(&f);
}

#define RULE(r) (1u << CHECK_##r)

/* ---- Mutations: a valid flow, a few bytes of one packet, and the one rule that then fails ---- */

typedef enum base {
    TALK,
    LOSS,
    REFUSED,
    DATAGRAMS,
    DATAGRAMS_6,
    PING,
    PING_6,
    UNREACHABLE,
    UNREACHABLE_6,
    TALK_6
} base;

#define SACK(left, right) "\1\1\5\x0a\0\0" left "\0\0" right
static const line loss_lines[] = {
    {0, S, 0, 0, 0, OPTIONS("\2\4\5\xb4\4\2\1\1")},
    {1, S | A, 0, 1, 0, OPTIONS("\2\4\5\xb4\4\2\1\1")},
    {0, A, 1, 1, 0, NULL, 0},
    {1, A, 1, 1, 100, NULL, 0},
    {1, A, 101, 1, 100, NULL, 0}, /* lost behind the observer */
    {1, A, 201, 1, 100, NULL, 0},
    {0, A, 1, 101, 0, OPTIONS(SACK("\x04\xb1", "\x05\x15"))},
    {1, A, 101, 1, 100, NULL, 0},
    {0, A, 1, 301, 0, NULL, 0},
};

static const line refused_lines[] = {
    {0, S, 0, 0, 0, OPTIONS("\2\4\5\xb4")},
    {1, R | A, (uint32_t)-ISN_1, 1, 0, NULL, 0},
};

/* A packet of IPv4 (20 bytes and these options) or IPv6 (40 and these extension headers, the first of kind `next`). */
static packet ip_packet(bool ipv6, uint8_t proto, uint8_t dir, unsigned payload, const char *more, unsigned nmore,
                        uint8_t next, const void *l4, unsigned nl4) {
    static uint32_t number;
    unsigned nip = (ipv6 ? 40u : 20u) + nmore, total = nip + nl4 + payload;
    packet p = {.dir = dir, .nheader = (uint8_t)(nip + nl4), .wire_len = total, .time_ns = ++number * 1000000};
    uint8_t *h = p.header;
    h[0] = (uint8_t)(ipv6 ? 0x60 : 0x40 | nip / 4);
    if (ipv6) {
        h[3] = dir ? 9 : 8;
        put16(h + 4, total - 40);
        h[6] = nmore > 0 ? next : proto;
        h[7] = 64;
        h[8 + 15] = dir ? 2 : 1;
        h[24 + 15] = dir ? 1 : 2;
    } else {
        put16(h + 2, total);
        put16(h + 4, number);
        h[8] = 64;
        h[9] = proto;
        put32(h + 12, dir ? 2 : 1);
        put32(h + 16, dir ? 1 : 2);
    }
    if (nmore > 0)
        memcpy(h + nip - nmore, more, nmore);
    memcpy(h + nip, l4, nl4);
    checksum_fill(&p, false);
    return p;
}

static void add(flow *f, packet p) {
    assert_int_equal(flow_add(f, &p), ST_OK);
}

static void datagrams(bool ipv6, flow *f) {
    /* A router alert; hop-by-hop with a router alert, and an atomic fragment. */
    const char *more = ipv6 ? "\x2c\0\5\2\0\0\1\0\x11\0\0\0\0\0\0\7" : "\x94\4\0\0";
    for (uint8_t i = 0; i < 5; i++)
        add(f, ip_packet(ipv6, PROTO_UDP, i & 1, 12, more, ipv6 ? 16 : 4, 0,
                         i & 1 ? "\0\x35\x30\x39\0\x14\0\0" : "\x30\x39\0\x35\0\x14\0\0", 8));
}

static void pings(bool ipv6, flow *f) {
    uint8_t l4[8] = {0, 0, 0, 0, 0, 7, 0, 0};
    for (uint8_t i = 0; i < 6; i++) {
        l4[0] = (uint8_t)(ipv6 ? 128 + (i & 1) : i & 1 ? 0 : 8);
        l4[7] = i / 2 + 1;
        add(f, ip_packet(ipv6, ipv6 ? PROTO_ICMPV6 : PROTO_ICMP, i & 1, 56, NULL, 0, 0, l4, 8));
    }
}

static void errors(bool ipv6, flow *f) {
    for (uint8_t i = 0; i < 3; i++)
        add(f, ip_packet(ipv6, ipv6 ? PROTO_ICMPV6 : PROTO_ICMP, 0, 60, NULL, 0, 0,
                         ipv6 ? "\1\4\0\0\0\0\0\0" : "\3\3\0\0\0\0\0\0", 8));
}

/* The whole conversation between hosts of IPv6. */
static void talk_6(flow *f) {
    for (size_t i = 0; i < WHOLE; i++) {
        packet four = line_packet(&whole_lines[i], i);
        add(f, ip_packet(true, PROTO_TCP, four.dir, packet_payload(&four), NULL, 0, 0, four.header + 20,
                         four.nheader - 20u));
    }
}

static void base_flow(base b, flow *f) {
    flow_init(f);
    switch (b) {
    case TALK:
        lines_flow(whole_lines, WHOLE, f);
        break;
    case LOSS:
        lines_flow(loss_lines, sizeof loss_lines / sizeof *loss_lines, f);
        break;
    case REFUSED:
        lines_flow(refused_lines, 2, f);
        break;
    case DATAGRAMS:
    case DATAGRAMS_6:
        datagrams(b == DATAGRAMS_6, f);
        break;
    case PING:
    case PING_6:
        pings(b == PING_6, f);
        break;
    case UNREACHABLE:
    case UNREACHABLE_6:
        errors(b == UNREACHABLE_6, f);
        break;
    case TALK_6:
        talk_6(f);
        break;
    }
    checksum_fill_flow(f);
}

typedef struct mutation {
    const char *name;
    check_rule rule;
    base base;
    size_t packet;
    unsigned at, nbytes; /* of the header */
    const char *bytes;
} mutation;

#define B(text) sizeof text - 1, text
static const mutation mutations[] = {
    {"version 6", CHECK_VERSION, TALK, 3, 0, B("\x65")},
    {"version 5", CHECK_VERSION, TALK, 3, 0, B("\x55")},
    {"version 4 among 6", CHECK_VERSION, TALK_6, 3, 0, B("\x40")},
    {"header of four words", CHECK_IHL, TALK, 14, 0, B("\x44")},
    {"header beyond what is there", CHECK_IHL, TALK, 14, 0, B("\x4f")},
    {"option without length", CHECK_IP_OPTIONS, DATAGRAMS, 3, 21, B("\0")},
    {"option beyond the header", CHECK_IP_OPTIONS, DATAGRAMS, 3, 21, B("\5")},
    {"router alert of three bytes", CHECK_IP_OPTIONS, DATAGRAMS, 3, 21, B("\3")},
    {"hop-by-hop option beyond its header", CHECK_IP_OPTIONS, DATAGRAMS_6, 3, 43, B("\5")},
    {"hop-by-hop behind another", CHECK_IP_OPTIONS, DATAGRAMS_6, 3, 40, B("\0")},
    {"reserved bit", CHECK_FRAGMENT, TALK, 5, 6, B("\x80")},
    {"not the first fragment", CHECK_FRAGMENT, TALK, 5, 7, B("\1")},
    {"first fragment that must not be one", CHECK_FRAGMENT, TALK, 5, 6, B("\x60")},
    {"first fragment of odd length", CHECK_FRAGMENT, TALK, 3, 6, B("\x20")},
    {"fragment offset", CHECK_FRAGMENT, DATAGRAMS_6, 3, 50, B("\0\x10")},
    {"total length below the headers", CHECK_LENGTH, TALK, 4, 3, B("\x1e")},
    {"payload length below the headers", CHECK_LENGTH, TALK_6, 4, 5, B("\x10")},
    {"option of length 0", CHECK_OPTIONS, TALK, 14, 43, B("\0")},
    {"option of the wrong length", CHECK_OPTIONS, TALK, 14, 43, B("\x09")},
    {"option beyond the data offset", CHECK_OPTIONS, TALK, 14, 40, B("\x13")},
    {"data offset 7", CHECK_OPTIONS, TALK, 14, 32, B("\x70")},
    {"no flag", CHECK_FLAGS, TALK, 14, 33, B("\0")},
    {"PSH without data", CHECK_FLAGS, TALK, 14, 33, B("\x18")},
    {"RST and FIN", CHECK_FLAGS, TALK, 14, 33, B("\x15")},
    {"reserved bits", CHECK_RESERVED, TALK, 14, 32, B("\x82")},
    {"urgent pointer without URG", CHECK_RESERVED, TALK, 14, 39, B("\1")},
    {"URG without pointer", CHECK_RESERVED, TALK, 14, 33, B("\x30")},
    {"UDP length", CHECK_UDP_LENGTH, DATAGRAMS, 2, 29, B("\x15")},
    {"UDP length over IPv6", CHECK_UDP_LENGTH, DATAGRAMS_6, 2, 61, B("\x15")},
    {"unknown ICMP type", CHECK_ICMP, PING, 5, 20, B("\xc8")},
    {"code of an echo", CHECK_ICMP, PING, 5, 21, B("\1")},
    {"code that no router has", CHECK_ICMP, UNREACHABLE, 1, 21, B("\x10")},
    {"an error too short for its quote", CHECK_ICMP, UNREACHABLE, 1, 2, B("\0\x37")},
    {"an ICMPv6 error too short for its quote", CHECK_ICMP, UNREACHABLE_6, 1, 4, B("\0\x37")},
    {"an ICMPv6 error beyond 1280 bytes", CHECK_ICMP, UNREACHABLE_6, 1, 4, B("\5\x00")},
    {"unknown ICMPv6 type", CHECK_ICMP, PING_6, 5, 40, B("\xc8")},
    {"protocol GRE", CHECK_PROTOCOL, TALK, 14, 9, B("\x2f")},
    {"ICMP under IPv6", CHECK_PROTOCOL, UNREACHABLE_6, 2, 6, B("\1")},
    {"another address", CHECK_ADDRESSES, TALK, 4, 15, B("\x09")},
    {"another IPv6 address", CHECK_ADDRESSES, TALK_6, 4, 8, B("\x20")},
    {"another source port", CHECK_PORTS, TALK, 4, 21, B("\1")},
    {"another echo identifier", CHECK_PORTS, PING, 3, 25, B("\x08")},
    {"another echo identifier over IPv6", CHECK_PORTS, PING_6, 3, 45, B("\x08")},
    {"TTL 0", CHECK_TTL, TALK, 4, 8, B("\0")},
    {"another TTL", CHECK_TTL, TALK, 4, 8, B("\x38")},
    {"another hop limit", CHECK_TTL, TALK_6, 4, 7, B("\x38")},
    {"a DSCP by itself", CHECK_DSCP, TALK, 4, 1, B("\x04")},
    {"a DSCP by itself over IPv6", CHECK_DSCP, TALK_6, 4, 0, B("\x61")},
    {"another flow label", CHECK_FLOW_LABEL, TALK_6, 4, 3, B("\x07")},
    {"the previous IP-ID", CHECK_IP_ID, TALK, 3, 5, B("\3")},
    {"SYN in a connection", CHECK_HANDSHAKE, TALK, 14, 33, B("\x12")},
    {"SYN-ACK that acknowledges another SYN", CHECK_HANDSHAKE, TALK, 1, 28, B("\xff\xff\xff\x00")},
    {"a number in the RST that refuses", CHECK_RESET, REFUSED, 1, 27, B("\5")},
    {"a refusing RST without acknowledgement", CHECK_RESET, REFUSED, 1, 33, B("\4")},
    {"more after the own RST", CHECK_RESET, TALK, 9, 33, B("\x14")},
    {"number inside a segment", CHECK_SEQ, TALK, 14, 27, B("\0")},
    {"number ahead", CHECK_SEQ, TALK, 14, 26, B("\x7f")},
    {"data after FIN", CHECK_FIN, TALK, 14, 3, B("\x35")},
    {"FIN before data that were sent", CHECK_FIN, LOSS, 7, 33, B("\x11")},
    {"acknowledgement inside a segment", CHECK_ACK, TALK, 14, 31, B("\0")},
    {"acknowledgement ahead", CHECK_ACK, TALK, 14, 30, B("\x7f")},
    {"a window taken back to nothing", CHECK_WINDOW, TALK, 14, 34, B("\0\0")},
    {"an acknowledgement once more", CHECK_REPEAT, TALK, 10, 27, B("\x2d")}, /* was a keep-alive */
    {"window scale 15", CHECK_NEGOTIATED, TALK, 0, 59, B("\x0f")},
    {"MSS in the middle", CHECK_NEGOTIATED, LOSS, 6, 40, B("\2\4\5\xb4\1\1\1\1\1\1\1\1")},
    {"time stamp runs back", CHECK_TIMESTAMPS, TALK, 14, 47, B("\1")},
    {"echo of a time stamp that was not sent", CHECK_TIMESTAMPS, TALK, 14, 51, B("\x99")},
    {"time stamp echo in the first SYN", CHECK_TIMESTAMPS, TALK, 0, 55, B("\7")},
    {"block beyond what was sent", CHECK_SACK, LOSS, 6, 50, B("\x05\x79")},
    {"block without bytes", CHECK_SACK, LOSS, 6, 50, B("\x04\xb1")},
    {"reply to no request", CHECK_ECHO, PING, 5, 27, B("\x63")},
    {"reply to no request over IPv6", CHECK_ECHO, PING_6, 5, 47, B("\x63")},
    {"IP checksum", CHECK_CHECKSUM_IP, TALK, 5, 11, B("\xff")},
    {"TCP checksum", CHECK_CHECKSUM_L4, TALK, 6, 37, B("\xff")},
    {"TCP checksum over IPv6", CHECK_CHECKSUM_L4, TALK_6, 6, 57, B("\xff")},
    {"UDP checksum 0 over IPv6", CHECK_CHECKSUM_L4, DATAGRAMS_6, 2, 62, B("\0\0")},
    {"ICMP checksum", CHECK_CHECKSUM_L4, PING, 2, 23, B("\xff")},
    {"ICMPv6 checksum", CHECK_CHECKSUM_L4, PING_6, 2, 43, B("\xff")},
    {"time runs back", CHECK_TIME, TALK, 7, 0, 0, ""},
};

/* Rules that all packets together fail. */
static uint32_t failed_anywhere(const flow *f) {
    uint32_t all = 0;
    for (size_t i = 0; i < f->npackets; i++)
        all |= failed_rules(f, i);
    return all;
}

static void test_mutations(void **state) {
    uint32_t covered = 0;
    unsigned nwrong = 0;
    for (base b = TALK; b <= TALK_6; b++) {
        flow f;
        base_flow(b, &f);
        for (size_t i = 0; i < f.npackets; i++)
            if (failed_rules(&f, i) != 0)
                fail_msg("base %d: packet %zu fails rules %x", (int)b, i, failed_rules(&f, i));
        flow_clear(&f);
    }
    for (size_t i = 0; i < sizeof mutations / sizeof *mutations; i++) {
        const mutation *m = &mutations[i];
        flow f;
        base_flow(m->base, &f);
        packet *p = &f.packets[m->packet];
        memcpy(p->header + m->at, m->bytes, m->nbytes);
        if (m->rule == CHECK_TIME)
            p->time_ns = 0;
        bool leave = m->rule == CHECK_VERSION || m->rule == CHECK_IHL || m->rule == CHECK_CHECKSUM_IP ||
                     m->rule == CHECK_CHECKSUM_L4; /* their checksums are wrong, or would be read from elsewhere */
        if (!leave)
            checksum_fill_flow(&f); /* of all: payload behind the packet may depend on it */
        uint32_t failed = failed_anywhere(&f);
        covered |= 1u << m->rule;
        for (int r = 0; r < CHECK_COUNT; r++)
            if ((failed >> r & 1) != (r == (int)m->rule)) {
                print_error("%s: rule %s %s\n", m->name, check_rules[r].name, failed >> r & 1 ? "fails too" : "holds");
                nwrong++;
            }
        flow_clear(&f);
    }
    for (int r = 0; r < CHECK_COUNT; r++)
        if (!(covered >> r & 1))
            fail_msg("no mutation breaks rule %s", check_rules[r].name);
    assert_int_equal(nwrong, 0);
}

/* The table itself: every rule has its name, tree and place in an RFC. */
static void test_table(void **state) {
    for (int r = 0; r < CHECK_COUNT; r++) {
        assert_non_null(check_rules[r].name);
        assert_non_null(check_rules[r].rfc);
        assert_true(check_rules[r].tree ==
                    (r < CHECK_PROTOCOL || (r >= CHECK_CHECKSUM_IP && r < CHECK_TIME) ? CHECK_INTRA : CHECK_INTER));
        for (int k = 0; k < r; k++)
            assert_string_not_equal(check_rules[k].name, check_rules[r].name);
    }
    check_counts c = {.flows = 1, .rows = 2, .tested = {3}, .failed = {4}};
    check_add(&c, &c);
    assert_int_equal(c.rows + c.tested[0] + c.failed[0], 18);
}

/* Bytes that end too soon are looked at as far as they go. */
static void test_cut(void **state) {
    flow f;
    lines_flow(whole_lines, WHOLE, &f);
    f.packets[9].nheader = 12; /* nothing there to look at */
    assert_int_equal(failed_rules(&f, 9), RULE(VERSION) | RULE(IHL));
    f.packets[9].nheader = 30; /* half a TCP header */
    assert_int_equal(failed_rules(&f, 9), RULE(LENGTH));
    flow_clear(&f);
}

/* From one side nothing of the other is known: its acknowledgements may run, but not back by a wrong number. */
static void test_one_direction(void **state) {
    static const line lines[] = {{0, A, 1, 1, 10, NULL, 0},
                                 {0, A, 11, 2000, 10, NULL, 0},
                                 {0, A, 21, 2000, 10, NULL, 0},
                                 {0, A, 31, 1500, 10, NULL, 0}};
    flow f;
    lines_flow(lines, 4, &f);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(failed_rules(&f, i), 0);
    assert_int_equal(failed_rules(&f, 3), RULE(ACK));
    f.packets[2].dir = 1; /* now there is a peer */
    assert_true(failed_rules(&f, 1) & RULE(ACK));
    flow_clear(&f);
}

/* Why a real row fails the state rules, told by following the flow once more. */
typedef enum reason {
    SEQ_AHEAD,  /* packets before it are missing in the capture */
    SEQ_INSIDE, /* a retransmission cut otherwise than the segments were */
    SEQ_OLDER,  /* before everything that was seen of the side: captured out of order, or a new SYN */
    ACK_AHEAD,  /* of packets that are missing in the capture */
    ACK_INSIDE, /* of a part of a segment (segments joined by the network card), or of one that is forgotten */
    REASONS
} reason;
static const char *const reason_names[REASONS] = {"seq ahead", "seq inside a segment", "seq before all seen",
                                                  "ack ahead", "ack inside a segment"};

typedef struct figures {
    check_counts counts;
    uint64_t reason[REASONS];
} figures;

static void explain(const flow *f, const uint32_t *failed, uint64_t reasons[REASONS]) {
    connection c;
    memset(&c, 0, sizeof c);
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        const uint8_t *l4 = packet_l4(p);
        if (packet_proto(p) != PROTO_TCP)
            return;
        uint32_t seq = get32(l4 + 4), ack = get32(l4 + 8);
        connection_meet(&c, p->dir, seq, ack, l4[13]);
        const connection_side *own = &c.side[p->dir], *peer = &c.side[!p->dir];
        if (failed[i] & RULE(SEQ)) {
            bool older = own->nboundaries == 0 || (int32_t)(seq - own->boundary[own->nboundaries - 1]) < 0;
            reasons[connection_ahead(own, seq) ? SEQ_AHEAD : older ? SEQ_OLDER : SEQ_INSIDE]++;
        }
        if (failed[i] & RULE(ACK))
            reasons[connection_ahead(peer, ack) ? ACK_AHEAD : ACK_INSIDE]++;
        connection_pass(&c, p->dir, seq, ack, packet_payload(p), l4[13]);
    }
}

static void visit(const char *file, flow *f, void *user) {
    figures *x = user;
    uint32_t *failed = malloc((f->npackets + 1) * sizeof *failed);
    assert_non_null(failed);
    check_flow(f, CHECK_PAYLOAD_UNKNOWN, &x->counts, failed);
    explain(f, failed, x->reason);
    free(failed);
}

static double share(const check_counts *c, check_rule r) {
    return c->tested[r] > 0 ? 1 - (double)c->failed[r] / (double)c->tested[r] : 1;
}

static void test_captures(void **state) {
    static figures x;
    const check_counts *c = &x.counts;
    captured_flows("data/captures/pcap", visit, &x);
    print_message("%llu flows, %llu rows; all row rules: %.3f of the flows, %.4f of the rows\n",
                  (unsigned long long)c->flows, (unsigned long long)c->rows, (double)c->flows_pass / (double)c->flows,
                  (double)c->rows_pass / (double)c->rows);
    for (int r = 0; r < CHECK_COUNT; r++)
        print_message("  %-12s %6llu rows, %4llu fail: %.4f pass\n", check_rules[r].name,
                      (unsigned long long)c->tested[r], (unsigned long long)c->failed[r], share(c, (check_rule)r));
    for (int k = 0; k < REASONS; k++)
        print_message("  %s: %llu\n", reason_names[k], (unsigned long long)x.reason[k]);

    /* What captures miss, and what paths and hosts do besides: the TTL of one with several paths, identifications that
     * stay 0, acknowledgements of what was captured only in part, two clocks merged, a flow label of their own in RSTs
     * that the connection's socket no longer sends and in a handshake's first packets. */
    static const struct {
        check_rule rule;
        double least;
    } lossy[] = {{CHECK_RESERVED, 0.999}, {CHECK_TTL, 0.97},         {CHECK_DSCP, 0.999},  {CHECK_FLOW_LABEL, 0.99},
                 {CHECK_IP_ID, 0.97},     {CHECK_HANDSHAKE, 0.999},  {CHECK_SEQ, 0.977},   {CHECK_FIN, 0.999},
                 {CHECK_ACK, 0.97},       {CHECK_WINDOW, 0.999},     {CHECK_REPEAT, 0.98}, {CHECK_TIMESTAMPS, 0.94},
                 {CHECK_SACK, 0.6},       {CHECK_CHECKSUM_IP, 0.99}, {CHECK_TIME, 0.999}};
    for (int r = 0; r < CHECK_COUNT; r++) {
        double least = 1;
        for (size_t i = 0; i < sizeof lossy / sizeof *lossy; i++)
            if (lossy[i].rule == (check_rule)r)
                least = lossy[i].least;
        if (share(c, (check_rule)r) < least)
            fail_msg("%s: %.4f of the real rows pass, not %.4f", check_rules[r].name, share(c, (check_rule)r), least);
    }
    assert_int_equal(x.reason[SEQ_AHEAD] + x.reason[SEQ_INSIDE] + x.reason[SEQ_OLDER], c->failed[CHECK_SEQ]);
    assert_int_equal(x.reason[ACK_AHEAD] + x.reason[ACK_INSIDE], c->failed[CHECK_ACK]);
    assert_true(x.reason[SEQ_INSIDE] + x.reason[SEQ_OLDER] + x.reason[ACK_INSIDE] <= 60);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole), cmocka_unit_test(test_mutations),     cmocka_unit_test(test_table),
        cmocka_unit_test(test_cut),   cmocka_unit_test(test_one_direction), cmocka_unit_test(test_captures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
