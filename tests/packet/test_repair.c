/* Repair: hand-made faults, every shared flow, random flows of both layouts and random header bytes. After a repair
 * every rule passes, checksums included, and a second repair changes nothing. */
#include "packet/check.h"
#include "packet/check_priv.h"
#include "packet/layout.h"
#include "packet/repair.h"
#include "segments.h"

/* The sanitizers take ten times as long. */
#if defined(__SANITIZE_ADDRESS__)
enum { SLOWER = 10 };
#else
enum { SLOWER = 1 };
#endif

/* Written to a capture and read again, the flow must be one, with the same directions. */
static void assert_one_flow(const flow *f, const char *what, uint64_t item) {
    flow_table *table;
    assert_int_equal(flow_table_new(&table, 0), ST_OK);
    for (size_t i = 0; i < f->npackets; i++) {
        size_t number;
        assert_int_equal(flow_table_add(table, &f->packets[i], &number), ST_OK);
        if (number != 0)
            fail_msg("%s %llu: packet %zu starts another flow", what, (unsigned long long)item, i);
    }
    if (f->npackets > 0 && f->key.addr[0] != f->key.addr[1])
        for (size_t i = 0; i < f->npackets; i++)
            assert_int_equal(flow_table_get(table, 0)->packets[i].dir, f->packets[i].dir);
    flow_table_free(&table);
}

/* check_flow with every rule, and what repair promises beyond it. */
static void assert_right(const flow *f, const char *what, uint64_t item) {
    check_counts c = {.flows = 0};
    uint32_t *failed = calloc(f->npackets + 1, sizeof *failed);
    assert_non_null(failed);
    check_flow(f, CHECK_PAYLOAD_MADE, &c, failed);
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        for (int r = 0; r < CHECK_COUNT; r++)
            if (failed[i] >> r & 1)
                fail_msg("%s %llu: packet %zu of %zu fails %s after repair", what, (unsigned long long)item, i,
                         f->npackets, check_rules[r].name);
        assert_true(i == 0 || p->time_ns > p[-1].time_ns);
        assert_int_equal(p->wire_len, packet_total_len(p));
        assert_true(p->dir <= 1 && (i > 0 || p->dir == 0));
    }
    free(failed);
    assert_one_flow(f, what, item);
}

/* Repairs f twice; returns the counts of the first time. */
static repair_counts repair_twice(flow *f, const char *what, uint64_t item) {
    repair_counts first = {.flows = 0}, second = {.flows = 0};
    assert_int_equal(repair_flow(f, NULL, &first), ST_OK);
    assert_right(f, what, item);
    size_t n = f->npackets;
    packet *once = malloc((n + 1) * sizeof *once);
    assert_non_null(once);
    if (n > 0)
        memcpy(once, f->packets, n * sizeof *once);
    assert_int_equal(repair_flow(f, NULL, &second), ST_OK);
    assert_int_equal(f->npackets, n);
    for (size_t i = 0; i < n; i++)
        if (memcmp(&once[i], &f->packets[i], sizeof *once) != 0) {
            for (size_t b = 0; b < PACKET_HEADER_MAX; b++)
                if (once[i].header[b] != f->packets[i].header[b])
                    print_message("byte %zu: %02x %02x\n", b, once[i].header[b], f->packets[i].header[b]);
            for (int r = 0; r < CHECK_COUNT; r++)
                if (second.rule_packets[r] > 0)
                    print_message("rule %s\n", check_rules[r].name);
            fail_msg("%s %llu: a second repair changes packet %zu of %zu", what, (unsigned long long)item, i, n);
        }
    assert_int_equal(second.packets_changed + second.bits_changed + second.packets_dropped, 0);
    free(once);
    return first;
}

/* A conversation, and what becomes of it: only the lines that change, by number. A line of direction GONE goes. */
enum { GONE = 9 };
typedef struct change {
    size_t number;
    line after;
} change;

typedef struct scene {
    const char *name;
    size_t n, nchanges;
    line lines[10];
    change changes[6];
} scene;

#define L(...)                                                                                                         \
    { __VA_ARGS__, NULL, 0 }
#define O(dir, flags, seq, ack, payload, options)                                                                      \
    { dir, flags, seq, ack, payload, OPTIONS(options) }
#define OPEN L(0, S, 0, 0, 0), L(1, S | A, 0, 1, 0), L(0, A, 1, 1, 0)
#define MSS "\2\4\5\xb4"

static const scene scenes[] = {
    {"data after FIN",
     6,
     1,
     {OPEN, L(0, A | F, 1, 1, 10), L(0, A | P, 12, 1, 50), L(1, A, 1, 12, 5)},
     {{4, L(GONE, 0, 0, 0, 0)}}},
    {"a FIN whose side goes on, counted in what follows",
     6,
     3,
     {OPEN, L(0, A | F, 1, 1, 10), L(0, A, 12, 1, 10), L(0, A, 22, 1, 10)},
     {{3, L(0, A, 1, 1, 10)}, {4, L(0, A, 11, 1, 10)}, {5, L(0, A, 21, 1, 10)}}},
    {"a FIN whose side goes on, not counted",
     6,
     1,
     {OPEN, L(0, A | F, 1, 1, 10), L(0, A, 11, 1, 10), L(0, A, 21, 1, 10)},
     {{3, L(0, A, 1, 1, 10)}}},
    {"a FIN, data sent again before it, and keep-alives",
     10,
     0,
     {OPEN, L(0, A, 1, 1, 10), L(0, A, 11, 1, 10), L(0, A | F, 21, 1, 0), L(0, A, 1, 1, 10), L(0, A, 11, 1, 10),
      L(0, A, 21, 1, 0), L(0, A, 21, 1, 0)},
     {{0}}},
    {"a second FIN",
     6,
     1,
     {OPEN, L(0, A | F, 1, 1, 10), L(0, A | F, 12, 1, 0), L(0, A | F, 1, 1, 10)},
     {{4, L(GONE, 0, 0, 0, 0)}}},
    {"a RST in the middle, and one at the end",
     6,
     1,
     {OPEN, L(0, R | A, 1, 1, 0), L(0, A | P, 1, 1, 50), L(1, R, 1, 0, 0)},
     {{3, L(GONE, 0, 0, 0, 0)}}},
    {"a RST, packets on their way, and its repetition",
     6,
     0,
     {OPEN, L(0, R | A, 1, 1, 0), L(1, A | P, 1, 1, 50), L(0, R, 1, 0, 0)},
     {{0}}},
    {"refused: number 0", 2, 1, {L(0, S, 0, 0, 0), L(1, R, 0, 1, 0)}, {{1, L(1, R | A, (uint32_t)-ISN_1, 1, 0)}}},
    {"SYN in the middle",
     5,
     2,
     {OPEN, L(0, S, 1, 0, 20), L(1, S | A, 1, 21, 0)},
     {{3, L(0, A, 1, 1, 20)}, {4, L(1, S | A, 0, 1, 0)}}},
    {"SYN with FIN, RST, PSH and data",
     3,
     1,
     {L(0, S | F | R | P, 0, 0, 9), L(1, S | A, 0, 1, 0), L(0, A, 1, 1, 0)},
     {{0, L(0, S, 0, 0, 0)}}},
    {"no SYN-ACK",
     4,
     3,
     {L(0, S, 0, 0, 0), L(0, A | P, 1, 1, 10), L(1, A, 1, 11, 0), L(0, A, 11, 1, 0)},
     {{1, L(0, S, 0, 0, 0)}, {2, L(1, S | A, 1, 1, 0)}, {3, L(0, A, 1, 2, 0)}}},
    {"SYN-ACK repeated", 4, 0, {L(0, S, 0, 0, 0), L(1, S | A, 0, 1, 0), L(1, S | A, 0, 1, 0), L(0, A, 1, 1, 0)}, {{0}}},
    {"no flags", 4, 1, {OPEN, L(0, 0, 1, 1, 10)}, {{3, L(0, A, 1, 1, 10)}}},
    {"a gap closes, and what follows moves along",
     9,
     5,
     {OPEN, L(0, A, 1, 1, 10), L(0, A, 111, 1, 10), L(0, A, 121, 1, 10), L(0, A, 111, 1, 10), L(1, A, 1, 131, 0),
      L(1, A, 1, 11, 7)},
     {{4, L(0, A, 11, 1, 10)},
      {5, L(0, A, 21, 1, 10)},
      {6, L(0, A, 11, 1, 10)},
      {7, L(1, A, 1, 31, 0)},
      {8, L(1, A, 1, 31, 7)}}},
    {"a wrong bit in a number",
     6,
     1,
     {OPEN, L(0, A, 1, 1, 10), L(0, A, 65547, 1, 10), L(0, A, 21, 1, 10)},
     {{4, L(0, A, 11, 1, 10)}}},
    {"acknowledgements ahead, inside and overtaken",
     8,
     2,
     {OPEN, L(0, A, 1, 1, 10), L(0, A, 11, 1, 10), L(1, A, 1, 70000, 0), L(1, A, 1, 15, 0), L(1, A, 1, 11, 3)},
     {{5, L(1, A, 1, 21, 0)}, {6, L(GONE, 0, 0, 0, 0)}}},
    {"both open at once",
     5,
     0,
     {O(0, S, 0, 0, 0, MSS), O(1, S, 0, 0, 0, MSS), L(0, S | A, 0, 1, 0), L(1, S | A, 0, 1, 0), L(0, A | P, 1, 1, 9)},
     {{0}}},
    {"a second SYN of the other side, and no answer to it",
     4,
     1,
     {OPEN, L(1, S, 0, 0, 0)},
     {{3, L(1, S | A, 0, 1, 0)}}},
    {"lost before the observer: duplicates that were asked for",
     8,
     0,
     {OPEN, L(1, A | P, 1, 1, 10), L(1, A | P, 11, 1, 10), L(0, A, 1, 11, 0), L(0, A, 1, 11, 0),
      L(1, A | P, 11, 1, 10)},
     {{0}}},
    {"acknowledgements once more, and PSH without data",
     7,
     3,
     {OPEN, L(0, A, 1, 1, 0), L(0, A | P, 1, 1, 20), L(1, A, 1, 21, 0), L(1, A | P, 1, 21, 0)},
     {{3, L(GONE, 0, 0, 0, 0)}, {6, L(GONE, 0, 0, 0, 0)}, {4, L(0, A | P, 1, 1, 20)}}},
    {"a probe is answered by the same again",
     6,
     0,
     {OPEN, L(0, A | P, 1, 1, 20), L(1, A, 1, 21, 0), L(0, A, 20, 1, 0)},
     {{0}}},
    {"one direction",
     5,
     0,
     {L(0, S, 0, 0, 0), L(0, A, 1, 1, 0), L(0, A | P, 1, 1, 90), L(0, A, 91, 3000, 0), L(0, A, 91, 9000, 0)},
     {{0}}},
    {"options out of place",
     5,
     2,
     {OPEN, O(0, A, 1, 1, 5, MSS "\1\3\3\7"), O(1, A, 1, 6, 5, "\1\1\5\x0a\0\0\0\0\0\0\0\0")},
     {{3, L(0, A, 1, 1, 5)}, {4, L(1, A, 1, 6, 5)}}},
    {"options that do not parse, or come twice",
     3,
     2,
     {O(0, S, 0, 0, 0, MSS MSS "\3\3\7\1"), O(1, S | A, 0, 1, 0, MSS "\3\3\7\x08"), O(0, A, 1, 1, 0, "\1\1\1\0")},
     {{0, O(0, S, 0, 0, 0, MSS "\3\3\7\0")}, {1, O(1, S | A, 0, 1, 0, MSS "\3\3\7\0")}}},
    {"not in the SYN, so not in the answer",
     4,
     2,
     {O(0, S, 0, 0, 0, MSS), O(1, S | A, 0, 1, 0, MSS "\4\2\1\1"), L(0, A, 1, 1, 0), O(0, A, 1, 1, 5, TS("\2", "\3"))},
     {{1, O(1, S | A, 0, 1, 0, MSS)}, {3, L(0, A, 1, 1, 5)}}},
    {"time stamps",
     6,
     4,
     {O(0, S, 0, 0, 0, MSS TS("\5", "\7")), O(1, S | A, 0, 1, 0, MSS TS("\x50", "\5")),
      O(0, A, 1, 1, 0, TS("\4", "\x50")), O(0, A, 1, 1, 9, TS("\6", "\x4f")), O(1, A, 1, 10, 0, TS("\x51", "\5")),
      O(1, A, 1, 10, 3, TS("\x52", "\0"))},
     {{0, O(0, S, 0, 0, 0, MSS TS("\5", "\0"))},
      {2, O(0, A, 1, 1, 0, TS("\5", "\x50"))},
      {3, O(0, A, 1, 1, 9, TS("\6", "\x50"))},
      {5, O(1, A, 1, 10, 3, TS("\x52", "\6"))}}},
    {"a FIN before data that were sent",
     7,
     1,
     {OPEN, L(0, A, 1, 1, 10), L(0, A, 11, 1, 10), L(0, A | F, 1, 1, 10), L(1, A, 1, 32, 0)},
     {{5, L(0, A | F, 21, 1, 10)}}},
};

static void test_scenes(void **state) {
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        const scene *x = &scenes[i];
        flow f, want;
        lines_flow(x->lines, x->n, &f);
        line lines[10];
        memcpy(lines, x->lines, sizeof lines);
        for (size_t k = 0; k < x->nchanges; k++)
            lines[x->changes[k].number] = x->changes[k].after;
        /* A SYN gets an MSS; the table leaves it out where it says nothing about options. */
        for (size_t k = 0; k < x->n; k++)
            if ((lines[k].flags & (S | A)) == S && lines[k].noptions == 0) {
                lines[k].options = MSS;
                lines[k].noptions = 4;
            }
        flow_init(&want);
        for (size_t k = 0; k < x->n; k++) {
            packet p = line_packet(&lines[k], k);
            if (lines[k].dir != GONE)
                assert_int_equal(flow_add(&want, &p), ST_OK);
        }
        checksum_fill_flow(&want);
        repair_twice(&f, x->name, i);
        if (f.npackets != want.npackets)
            fail_msg("%s: %zu packets instead of %zu", x->name, f.npackets, want.npackets);
        for (size_t k = 0; k < want.npackets; k++) {
            const packet *got = &f.packets[k], *p = &want.packets[k];
            if (got->nheader != p->nheader || memcmp(got->header, p->header, p->nheader) != 0)
                fail_msg("%s: packet %zu: flags %x seq %d ack %d payload %u header %u instead of %x %d %d %u %u",
                         x->name, k, got->header[33], (int)(get32(got->header + 24) - get32(p->header + 24)),
                         (int)(get32(got->header + 28) - get32(p->header + 28)), packet_payload(got), got->nheader,
                         p->header[33], 0, 0, packet_payload(p), p->nheader);
        }
        flow_clear(&f);
        flow_clear(&want);
    }
}

static void test_whole(void **state) {
    flow f, g;
    lines_flow(whole_lines, WHOLE, &f);
    lines_flow(whole_lines, WHOLE, &g);
    repair_counts c = repair_twice(&f, "whole", 0);
    assert_int_equal(c.packets, WHOLE);
    assert_int_equal(c.packets_changed + c.bits_changed + c.packets_dropped, 0);
    assert_memory_equal(f.packets, g.packets, WHOLE * sizeof *f.packets);
    uint64_t bits = 0;
    for (size_t i = 0; i < WHOLE; i++)
        bits += 8 * (g.packets[i].nheader - 4u); /* two checksums of two bytes */
    assert_int_equal(c.bits, bits);
    flow_clear(&f);
    flow_clear(&g);
}

/* One wrong byte in the fields that go by majority: exactly the whole conversation comes back. */
static void test_majority(void **state) {
    static const struct {
        size_t packet, byte;
        uint8_t value;
    } faults[] = {{0, 0, 0x65}, {1, 6, 0xa0}, {2, 8, 0},  {3, 8, 200}, {4, 9, 17}, {5, 12, 7},
                  {6, 19, 7},   {7, 20, 7},   {8, 23, 7}, {9, 3, 1},   {10, 7, 9}};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        flow f, g;
        lines_flow(whole_lines, WHOLE, &f);
        lines_flow(whole_lines, WHOLE, &g);
        f.packets[faults[i].packet].header[faults[i].byte] = faults[i].value;
        repair_counts c = repair_twice(&f, "majority", i);
        if (faults[i].byte == 9) { /* came as UDP: an acknowledgement that the side could send here */
            assert_int_equal(c.packets_changed, 1);
        } else {
            size_t was = faults[i].packet;
            assert_int_equal(c.bits_changed,
                             __builtin_popcount(faults[i].value ^ g.packets[was].header[faults[i].byte]));
            assert_memory_equal(f.packets, g.packets, WHOLE * sizeof *f.packets);
        }
        flow_clear(&f);
        flow_clear(&g);
    }
}

static void test_time_window_direction(void **state) {
    flow f;
    lines_flow(whole_lines, WHOLE, &f);
    f.packets[3].time_ns = f.packets[2].time_ns;
    f.packets[4].time_ns = 5;
    put16(f.packets[7].header + 34, 0);  /* shut, and the other side goes on */
    put16(f.packets[13].header + 34, 0); /* shut with room left */
    for (size_t i = 0; i < WHOLE; i++)
        f.packets[i].dir = f.packets[i].dir ? 0 : 9;
    repair_twice(&f, "time", 0);
    assert_int_equal(f.packets[3].time_ns, 3001000);
    assert_int_equal(f.packets[4].time_ns, 3002000);
    assert_int_equal(f.packets[5].time_ns, 6000000);
    assert_int_equal(get16(f.packets[7].header + 34), 1000);
    assert_int_equal(get16(f.packets[13].header + 34), 1000);
    assert_int_equal(f.packets[0].dir, 0);
    assert_int_equal(f.packets[1].dir, 1);
    assert_int_equal(f.key.port[0], 50000);
    f.npackets = 0;
    assert_int_equal(repair_flow(&f, NULL, NULL), ST_OK);
    flow_clear(&f);
}

/* A window may be shut once the room offered before (1000 bytes, in every line) is used up, and not sooner. */
static void test_shut_window(void **state) {
    static const struct { unsigned payload, expect; } rows[] = {{1000, 0}, {999, 1000}, {1, 1000}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned n = rows[i].payload;
        const line lines[] = {{0, S, 0, 0, 0, NULL, 0},
                              {1, S | A, 0, 1, 0, NULL, 0},
                              {0, A, 1, 1, 0, NULL, 0},
                              {0, A | P, 1, 1, n, NULL, 0},
                              {1, A, 1, 1 + n, 0, NULL, 0}};
        flow f;
        lines_flow(lines, 5, &f);
        put16(f.packets[4].header + 34, 0);
        repair_twice(&f, "shut", i);
        assert_int_equal(get16(f.packets[4].header + packet_ip_nheader(&f.packets[4]) + 14), rows[i].expect);
        flow_clear(&f);
    }
}

static void add(flow *f, uint8_t proto, uint8_t dir, unsigned total, const char l4[8]) {
    packet p = {
        .dir = dir, .nheader = 28, .header = {0x45, [4] = 1, [8] = 64, [9] = proto}, .time_ns = (int64_t)f->npackets};
    put16(p.header + 2, total);
    put32(p.header + 12, dir ? 2 : 1);
    put32(p.header + 16, dir ? 1 : 2);
    memcpy(p.header + 20, l4, 8);
    assert_int_equal(flow_add(f, &p), ST_OK);
}

static void test_datagrams(void **state) {
    flow f;
    flow_init(&f);
    add(&f, PROTO_UDP, 0, 40, "\x30\x39\0\x35\0\x15\0\0");
    add(&f, PROTO_UDP, 1, 10, "\0\x35\x30\x39\0\x26\0\1");
    add(&f, PROTO_TCP, 1, 60, "\0\x35\0\0\0\0\0\0");
    repair_twice(&f, "udp", 0);
    assert_int_equal(packet_payload(&f.packets[0]), 19);
    assert_memory_equal(f.packets[0].header + 20, "\x30\x39\0\x35\0\x1b\0\0", 8); /* no checksum stays none */
    assert_memory_equal(f.packets[1].header + 20, "\0\x35\x30\x39\0\x08", 6);
    assert_memory_equal(f.packets[2].header + 20, "\0\x35\x30\x39\0\x28", 6);
    assert_true(get16(f.packets[1].header + 26) != 0 && get16(f.packets[2].header + 26) != 0);

    f.npackets = 0; /* a ping, its answer with a wrong number, an error message, one reply too many */
    add(&f, PROTO_ICMP, 0, 84, "\x08\0\0\0\0\7\0\5");
    add(&f, PROTO_ICMP, 1, 84, "\0\0\0\0\0\7\0\x25");
    add(&f, PROTO_ICMP, 0, 84, "\x08\1\0\0\0\6\0\6");
    add(&f, PROTO_ICMP, 1, 56, "\3\3\0\0\0\0\0\0");
    add(&f, PROTO_ICMP, 1, 84, "\0\0\0\0\0\7\0\x17");
    repair_twice(&f, "icmp", 0);
    static const struct {
        uint8_t type, sequence;
        unsigned payload;
    } expect[] = {{8, 5, 56}, {0, 5, 56}, {8, 6, 56}, {0, 6, 28}, {0, 6, 56}};
    for (size_t i = 0; i < f.npackets; i++) {
        const uint8_t *l4 = f.packets[i].header + 20;
        assert_int_equal(l4[0], expect[i].type);
        assert_int_equal(l4[1], 0);
        assert_int_equal(get16(l4 + 4), 7);
        assert_int_equal(get16(l4 + 6), expect[i].sequence);
        assert_int_equal(packet_payload(&f.packets[i]), expect[i].payload);
    }
    flow_clear(&f);
}

/* No message is shorter than its service's smallest; one without payload stays so, and other ports are left alone. */
static void test_services(void **state) {
    static const struct {
        uint8_t proto;
        uint16_t port;
        unsigned payload, expect;
    } rows[] = {{PROTO_UDP, 53, 5, 19},   {PROTO_UDP, 53, 0, 0},   {PROTO_UDP, 53, 40, 40}, {PROTO_UDP, 123, 1, 48},
                {PROTO_UDP, 5353, 3, 19}, {PROTO_UDP, 9999, 1, 1}, {PROTO_TCP, 22, 4, 16},  {PROTO_TCP, 22, 0, 0},
                {PROTO_TCP, 53, 2, 14},   {PROTO_TCP, 443, 4, 4}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        flow f;
        flow_init(&f);
        packet p = {.nheader = rows[i].proto == PROTO_TCP ? 40 : 28, .header = {0x45, [8] = 64, [9] = rows[i].proto}};
        put16(p.header + 2, p.nheader + rows[i].payload);
        put32(p.header + 12, 1);
        put32(p.header + 16, 2);
        put16(p.header + 20, 50000);
        put16(p.header + 22, rows[i].port);
        p.header[32] = 0x50;
        p.header[33] = rows[i].proto == PROTO_TCP ? TCP_ACK : 0;
        assert_int_equal(flow_add(&f, &p), ST_OK);
        repair_twice(&f, "service", i);
        assert_int_equal(packet_payload(&f.packets[0]), rows[i].expect);
        flow_clear(&f);
    }
}

static flow_plan random_plan(rng *r) {
    flow_plan plan = {.start_ns = 1700000000000000000 + (int64_t)rng_u32(r)};
    for (int d = 0; d < 2; d++) {
        plan.addr[d] = rng_u32(r);
        plan.isn[d] = rng_u32(r);
        plan.tsval[d] = rng_u32(r);
        plan.ip_id[d] = (uint16_t)(rng_u32(r) | 1);
    }
    plan.icmp_id = (uint16_t)rng_u32(r);
    plan.icmp_seq = (uint16_t)rng_u32(r);
    return plan;
}

static void use_port(flow *f, uint16_t port) {
    for (size_t i = 0; i < f->npackets; i++)
        if (packet_proto(&f->packets[i]) != PROTO_ICMP) {
            uint8_t *l4 = f->packets[i].header + packet_ip_nheader(&f->packets[i]);
            put16(l4 + (f->packets[i].dir ? 0 : 2), port);
        }
}

/* The same packet under IPv6: addresses, label and class of the direction with a wrong bit now and then, and extension
 * headers of any kind, right or not. */
static void to_ipv6(packet *p, rng *r) {
    static const uint8_t kinds[] = {0, 43, 44, 51, 60, 135};
    uint8_t l4[60], *h = p->header;
    unsigned nl4 = p->nheader - packet_ip_nheader(p), payload = packet_payload(p), nip = 40;
    nl4 = nl4 < sizeof l4 ? nl4 : sizeof l4;
    memcpy(l4, packet_l4(p), nl4);
    uint8_t proto = h[9] == PROTO_ICMP ? PROTO_ICMPV6 : h[9], ttl = h[8];
    if (proto == PROTO_ICMPV6 && rng_below(r, 2))
        l4[0] = (uint8_t)(rng_below(r, 2) ? 128u + (p->dir & 1) : 1 + rng_below(r, 4));
    memset(h, 0, sizeof p->header);
    h[0] = 0x60;
    h[7] = ttl;
    h[8] = h[24] = 0x20;
    h[23] = p->dir ? 2 : 1;
    h[39] = p->dir ? 1 : 2;
    unsigned link = 6;
    for (unsigned n = rng_below(r, 4); n > 1 && nip + 16 + nl4 <= PACKET_HEADER_MAX; n--) {
        uint8_t kind = kinds[rng_below(r, 6)];
        h[link] = kind;
        link = nip;
        h[nip + 1] = kind == 44 ? 0 : (uint8_t)rng_below(r, 2);
        for (unsigned i = 2; i < 8; i++)
            h[nip + i] = (uint8_t)(rng_below(r, 2) ? rng_below(r, 8) : 0);
        nip += ip_extension_length(h, kind, nip);
    }
    h[link] = proto;
    memcpy(h + nip, l4, nl4);
    p->nheader = (uint8_t)(nip + nl4);
    put16(h + 4, nip - 40 + nl4 + payload);
    for (unsigned n = rng_below(r, 4); n > 0; n--)
        h[rng_below(r, 40)] ^= (uint8_t)(1u << rng_below(r, 8));
}

/* ports: services whose port the flows use in turn; none: as the cells say. votes: some packets weigh more. */
static uint64_t random_flows(const layout *l, uint64_t n, const uint16_t *ports, size_t nports, bool ipv6) {
    enum { ROWS = 24 };
    int8_t *cells = malloc(ROWS * l->ncells);
    repair_counts all = {.flows = 0};
    flow f;
    flow_init(&f);
    assert_non_null(cells);
    for (uint64_t item = 0; item < n / SLOWER; item++) {
        rng r = rng_make(7, item, RNG_TEST);
        flow_plan plan = random_plan(&r);
        size_t nrows = 1 + rng_below(&r, ROWS);
        random_cells(&r, cells, nrows * l->ncells);
        assert_int_equal(l->decode(cells, NULL, nrows, &plan, &f, NULL), ST_OK);
        assert_int_equal(f.npackets, nrows);
        if (nports > 0)
            use_port(&f, ports[item % nports]);
        for (size_t i = 0; ipv6 && i < f.npackets; i++)
            to_ipv6(&f.packets[i], &r);
        repair_counts c = repair_twice(&f, l->name, item);
        repair_counts_add(&all, &c);
    }
    print_message("%s%s, random cells: %llu packets, %.3f of the header bits changed, %llu packets gone\n", l->name,
                  ipv6 ? " under IPv6" : "", (unsigned long long)all.packets,
                  (double)all.bits_changed / (double)all.bits, (unsigned long long)all.packets_dropped);
    flow_clear(&f);
    free(cells);
    return all.packets;
}

/* A million rows, in less than 20 seconds. */
static void test_million(void **state) {
    static const uint16_t ports[] = {22, 53, 123};
    uint64_t rows = random_flows(&layout_relative, 26000, NULL, 0, false);
    rows += random_flows(&layout_relative, 6000, ports, 3, false);
    rows += random_flows(&layout_relative, 14000, NULL, 0, true);
    rows += random_flows(&layout_nprint, 26000, NULL, 0, false);
    rows += random_flows(&layout_nprint, 10000, NULL, 0, true);
    assert_true(rows * SLOWER >= 1000000);
}

/* The votes of few sure packets outweigh those of many unsure ones; of equal ones the earliest is taken. */
static void test_votes(void **state) {
    packet_votes votes[WHOLE];
    flow f;
    for (unsigned sure = 0; sure < 2; sure++) {
        lines_flow(whole_lines, WHOLE, &f);
        for (size_t i = 0; i < WHOLE; i++)
            for (unsigned v = 0; v < VOTE_COUNT; v++)
                votes[i].weight[v] = 0.125f;
        for (size_t i = 0; i < 4; i++) { /* of side 0: 0, 2, 3 */
            f.packets[i].header[8] = 99;
            votes[i].weight[VOTE_TTL] = sure ? 1 : 0.125f;
        }
        assert_int_equal(repair_flow(&f, votes, NULL), ST_OK);
        assert_int_equal(f.packets[12].header[8], sure ? 99 : 64);
        assert_int_equal(f.packets[0].header[8], sure ? 99 : 64);
        flow_clear(&f);
    }
    lines_flow(whole_lines, 3, &f); /* SYN and ACK of side 0 */
    f.packets[0].header[8] = 33;
    assert_int_equal(repair_flow(&f, NULL, NULL), ST_OK);
    assert_int_equal(f.packets[2].header[8], 33);
    flow_clear(&f);
    lines_flow(whole_lines, 3, &f); /* hopeless packets go, and their votes with them */
    f.packets[0].nheader = 10;
    f.packets[1].header[8] = 50;
    f.packets[2].dir = 1;
    memset(votes, 0, sizeof votes);
    votes[1].weight[VOTE_TTL] = 1;
    assert_int_equal(repair_flow(&f, votes, NULL), ST_OK);
    assert_int_equal(f.npackets, 2);
    assert_int_equal(f.packets[1].header[8], 50);
    flow_clear(&f);
}

/* The nearest list that such a segment may have, by changed bits; alone, before anything is known of a connection. */
static void test_grammar(void **state) {
    static const struct {
        const char *name;
        uint8_t flags;
        unsigned n;
        const char *list, *expect;
    } rows[] = {
        {"a wrong bit in a length", S, 8, "\2\6\5\xb4\3\3\7\1", "\2\4\5\xb4\3\3\7\1"},
        {"a wrong bit in a kind", S, 8, "\2\4\5\xb4\2\3\7\1", "\2\4\5\xb4\3\3\7\1"},
        {"a wrong NOP", A, 12, "\1\3\x08\x0a\1\2\3\4\5\6\7\x08", "\1\1\x08\x0a\1\2\3\4\5\6\7\x08"},
        {"two wrong bits in time stamps", A, 12, "\1\1\x09\x0b\1\2\3\4\5\6\7\x08", "\1\1\x08\x0a\1\2\3\4\5\6\7\x08"},
        {"an option that ends too soon", S, 8, "\2\4\5\xb4\3\3\7\2", "\2\4\5\xb4\3\3\7\0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const line l = {0, rows[i].flags, 0, 0, rows[i].flags == A ? 5 : 0, rows[i].list, rows[i].n};
        flow f;
        lines_flow(&l, 1, &f);
        repair_twice(&f, rows[i].name, i);
        if (f.packets[0].nheader != 40 + rows[i].n || memcmp(f.packets[0].header + 40, rows[i].expect, rows[i].n) != 0)
            fail_msg("%s: not the nearest list (%u bytes, %02x %02x %02x %02x)", rows[i].name,
                     f.packets[0].nheader - 40u, f.packets[0].header[40], f.packets[0].header[41],
                     f.packets[0].header[44], f.packets[0].header[45]);
        flow_clear(&f);
    }
}

/* Messages of ICMP stay messages, with room for what they quote; extension headers and options that parse stay. */
static void test_messages(void **state) {
    flow f;
    flow_init(&f);
    for (unsigned i = 0; i < 4; i++) {
        add(&f, PROTO_ICMP, 0, i == 2 ? 30 : 84, i == 1 ? "\x0b\0\0\0\0\0\0\0" : "\3\3\0\0\0\0\0\0");
        put16(f.packets[i].header + 4, i + 1);
    }
    f.packets[3].header[20] = 0xc8;
    repair_twice(&f, "messages", 0);
    static const uint8_t types[] = {3, 11, 3, 3};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(f.packets[i].header[20], types[i]);
        assert_int_equal(packet_payload(&f.packets[i]), i == 2 ? 28 : 56);
    }
    flow_clear(&f);

    static const uint8_t six[] = {0x60, 0,    0, 9,    0, 36, 0,  64,   0x20, 1,   0xd,  0xb8, 0, 0, 0, 0, 0,
                                  0,    0,    0, 0,    0, 0,  1,  0x20, 1,    0xd, 0xb8, 0,    0, 0, 0, 0, 0,
                                  0,    0,    0, 0,    0, 2,  60, 0,    5,    2,   0,    0,    1, 0, /* hop-by-hop:
                                                                                                        router alert */
                                  17,   0,    1, 9,    0, 0,  0,  0, /* destination: an option beyond it */
                                  0x30, 0x39, 0, 0x35, 0, 20, 0,  0};
    packet p = {.nheader = sizeof six, .time_ns = 5};
    memcpy(p.header, six, sizeof six);
    assert_int_equal(flow_add(&f, &p), ST_OK);
    repair_twice(&f, "extensions", 0);
    assert_int_equal(f.packets[0].nheader, sizeof six - 8);
    assert_memory_equal(f.packets[0].header + 8, six + 8, 32);
    assert_int_equal(f.packets[0].header[40], PROTO_UDP);
    assert_memory_equal(f.packets[0].header + 41, six + 41, 7);
    assert_int_equal(packet_total_len(&f.packets[0]), 75); /* 12 bytes are no question to port 53, 19 are */
    assert_true(get16(f.packets[0].header + 54) != 0);     /* IPv6 has no "no checksum" */
    flow_clear(&f);
}

/* Any bytes under any length, any direction and time. */
static void test_random_bytes(void **state) {
    flow f;
    flow_init(&f);
    for (uint64_t item = 0; item < 20000 / SLOWER; item++) {
        rng r = rng_make(8, item, RNG_TEST);
        f.npackets = 0;
        size_t n = rng_below(&r, 20);
        bool wild = rng_below(&r, 2); /* else: IPv4 headers of one protocol, random behind */
        static const uint8_t protos[] = {PROTO_TCP, PROTO_TCP, PROTO_UDP, PROTO_ICMP};
        uint8_t proto = protos[rng_below(&r, 4)];
        for (size_t i = 0; i < n; i++) {
            packet p = {.time_ns = (int64_t)rng_u64(&r), .wire_len = rng_u32(&r), .dir = (uint8_t)rng_u32(&r)};
            p.nheader = (uint8_t)rng_below(&r, PACKET_HEADER_MAX + 1);
            for (size_t b = 0; b < PACKET_HEADER_MAX; b++)
                p.header[b] = (uint8_t)rng_u32(&r);
            if (!wild) {
                p.header[0] = 0x45;
                p.header[9] = proto;
                p.dir &= 1;
            }
            assert_int_equal(flow_add(&f, &p), ST_OK);
        }
        repair_counts c = repair_twice(&f, "random bytes", item);
        assert_int_equal(c.packets, n);
        assert_int_equal(f.npackets, n - c.packets_dropped);
    }
    flow_clear(&f);
}

typedef struct captured {
    repair_counts whole, right; /* all flows; flows that pass every row rule as captured */
    uint64_t right_changed;     /* flows of the latter that repair changes, checksums and times apart */
    repair_counts wrong[2];     /* with wrong cells, by layout */
} captured;

/* The flow's first rows with one present cell in a hundred turned, as a model gets them wrong. */
static void repair_wrong_cells(const layout *l, const flow *f, const char *file, repair_counts *counts) {
    enum { ROWS = 32 };
    const char *why;
    if (!l->accepts(f, &why))
        return;
    size_t nrows = f->npackets < ROWS ? f->npackets : ROWS, n = nrows * l->ncells;
    int8_t *cells = malloc(n);
    assert_non_null(cells);
    assert_int_equal(l->encode(f, nrows, cells), ST_OK);
    rng r = rng_make(9, f->packets[0].frame, RNG_TEST);
    for (size_t i = 0; i < n; i++) {
        uint32_t draw = rng_below(&r, 100);
        if (cells[i] == 0)
            cells[i] = draw & 1 ? 1 : -1;
        else if (draw == 0)
            cells[i] = (int8_t)-cells[i];
    }
    flow_plan plan = random_plan(&r);
    flow g;
    flow_init(&g);
    assert_int_equal(l->decode(cells, NULL, nrows, &plan, &g, NULL), ST_OK);
    repair_counts c = repair_twice(&g, file, f->packets[0].frame);
    repair_counts_add(counts, &c);
    flow_clear(&g);
    free(cells);
}

/* Bit d: packets of side d are there. */
static unsigned sides(const flow *f) {
    unsigned seen = 0;
    for (size_t i = 0; i < f->npackets; i++)
        seen |= 1u << f->packets[i].dir;
    return seen;
}

static void repair_captured(const char *file, flow *f, void *user) {
    captured *t = user;
    check_counts before = {.flows = 0};
    unsigned seen = sides(f);
    repair_wrong_cells(&layout_relative, f, file, &t->wrong[0]);
    repair_wrong_cells(&layout_nprint, f, file, &t->wrong[1]);
    check_flow(f, CHECK_PAYLOAD_UNKNOWN, &before, NULL);
    repair_counts c = repair_twice(f, file, f->packets[0].frame);
    repair_counts_add(&t->whole, &c);
    if (before.flows_pass) {
        repair_counts_add(&t->right, &c);
        t->right_changed += c.packets_changed + c.packets_dropped > 0;
    }
    assert_true(seen == sides(f));
}

static void print_counts(const char *what, const repair_counts *c) {
    print_message("%s: %llu flows, %llu packets, %.4f changed, %.5f of the header bits\n", what,
                  (unsigned long long)c->flows, (unsigned long long)c->packets,
                  (double)c->packets_changed / (double)c->packets, (double)c->bits_changed / (double)c->bits);
    for (int r = 0; r < CHECK_COUNT; r++)
        if (c->rule_packets[r] > 0)
            print_message("  %-12s %6llu packets, %6llu bits\n", check_rules[r].name,
                          (unsigned long long)c->rule_packets[r], (unsigned long long)c->rule_bits[r]);
}

static void test_captures(void **state) {
    static captured t;
    captured_flows("data/captures/pcap", repair_captured, &t);
    print_counts("captures", &t.whole);
    print_counts("captures that pass the checks", &t.right);
    print_counts("relative rows, one cell in a hundred wrong", &t.wrong[0]);
    print_counts("nprint rows, one cell in a hundred wrong", &t.wrong[1]);
    print_message("valid flows that repair changes: %llu\n", (unsigned long long)t.right_changed);
    assert_true(t.whole.packets_dropped * 100 < t.whole.packets);
    assert_true(t.right_changed * 100 <= t.right.flows);
    assert_true(t.whole.bits_changed * 200 < t.whole.bits); /* half a percent */
    assert_true(t.right.bits_changed * 10000 < t.right.bits);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),        cmocka_unit_test(test_scenes),
        cmocka_unit_test(test_majority),     cmocka_unit_test(test_time_window_direction),
        cmocka_unit_test(test_datagrams),    cmocka_unit_test(test_captures),
        cmocka_unit_test(test_million),      cmocka_unit_test(test_votes),
        cmocka_unit_test(test_random_bytes), cmocka_unit_test(test_services),
        cmocka_unit_test(test_shut_window),  cmocka_unit_test(test_grammar),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
