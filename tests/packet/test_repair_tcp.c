/* Repair of TCP conversations with faults made by hand: what becomes of each, packet by packet. */
#include "repaired.h"

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
    {"a gap that nobody acknowledges closes, and what follows moves along",
     7,
     3,
     {OPEN, L(0, A, 1, 1, 10), L(0, A, 111, 1, 10), L(0, A, 121, 1, 10), L(0, A, 111, 1, 10)},
     {{4, L(0, A, 11, 1, 10)}, {5, L(0, A, 21, 1, 10)}, {6, L(0, A, 11, 1, 10)}}},
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
    {"a probe before any data is answered", 5, 0, {OPEN, L(0, A, 0, 1, 0), L(1, A, 1, 1, 0)}, {{0}}},
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
                fail_msg(
                    "%s: packet %zu: flags %x, %u bytes of header and %u of payload instead of %x, %u and %u; seq and "
                    "ack are %d and %d from what they should be",
                    x->name, k, got->header[33], got->nheader, packet_payload(got), p->header[33], p->nheader,
                    packet_payload(p), (int)(get32(got->header + 24) - get32(p->header + 24)),
                    (int)(get32(got->header + 28) - get32(p->header + 28)));
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),       cmocka_unit_test(test_scenes),
        cmocka_unit_test(test_majority),    cmocka_unit_test(test_time_window_direction),
        cmocka_unit_test(test_shut_window), cmocka_unit_test(test_votes),
        cmocka_unit_test(test_grammar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
