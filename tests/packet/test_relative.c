/* The relative layout on conversations by hand: what the rows say, presence, what is refused, and what a model's soft
 * cells decide. That it is exact is test_relative_exact.c's. */
#include "packet/layout.h"
#include "packet/relative_priv.h"
#include "segments.h"

/* The whole conversation by hand: what its rows must say. */
static void test_rows(void **state) {
    static const struct {
        unsigned seq, ack, next, window_same, option[4], tsecr;
    } expect[WHOLE] = {
        {0, 0, 1, 0, {2, 4, 5, 1}, 62}, {0, 0, 1, 0, {2, 4, 5, 1}, 0},  {0, 0, 1, 1, {1, 1, 5, 0}, 0},
        {0, 0, 1, 1, {1, 1, 5, 0}, 0},  {0, 0, 0, 1, {1, 1, 5, 0}, 0},  {0, 0, 1, 1, {1, 1, 5, 0}, 0},
        {0, 0, 1, 1, {1, 1, 5, 0}, 0},  {0, 1, 0, 1, {1, 1, 5, 0}, 0},  {1, 0, 0, 1, {1, 1, 5, 0}, 0},
        {0, 0, 0, 1, {1, 1, 5, 0}, 0},  {15, 0, 1, 1, {1, 1, 5, 0}, 0}, {0, 0, 0, 1, {1, 1, 5, 0}, 0},
        {0, 0, 0, 1, {1, 1, 5, 0}, 0},  {0, 0, 0, 1, {1, 1, 5, 0}, 0},  {0, 0, 0, 1, {1, 1, 5, 0}, 0},
    };
    flow f;
    int8_t cells[(WHOLE + 1) * RELATIVE_CELLS];
    lines_flow(whole_lines, WHOLE, &f);
    assert_int_equal(layout_relative.encode(&f, WHOLE + 1, cells), ST_OK);
    for (size_t i = 0; i < WHOLE; i++) {
        const int8_t *row = cells + i * RELATIVE_CELLS;
        assert_int_equal(rel_get(row, REL_SEQ_INDEX), expect[i].seq);
        assert_int_equal(rel_get(row, REL_ACK_INDEX), expect[i].ack);
        assert_int_equal(rel_get(row, REL_WINDOW_SAME), expect[i].window_same);
        assert_int_equal(rel_get(row, REL_TSECR_INDEX), expect[i].tsecr);
        for (unsigned k = 0; k < 4; k++)
            assert_int_equal(rel_get(row, REL_OPTION + k), expect[i].option[k]);
        assert_int_equal(rel_get(row, REL_TTL), i == 0 ? 64 : 0);
        assert_int_equal(rel_get(row, REL_RESPONDER_TTL), i == 0 ? 57 : 0);
        assert_int_equal(rel_get(row, REL_PAYLOAD), whole_lines[i].payload);
        assert_int_equal(rel_get(row, REL_TCP_FLAGS), whole_lines[i].flags);
        assert_int_equal(rel_get(row, REL_GAP), i == 0 ? 0 : 159 ^ 159 >> 1); /* 1 ms */
    }
    assert_int_equal(rel_get(cells, REL_SERVICE_FIRST), 0);
    assert_int_equal(rel_get(cells, REL_SERVICE_PORT), 443);
    assert_int_equal(rel_get(cells, REL_CLIENT_PORT), 50000);
    assert_int_equal(rel_get(cells, REL_MSS), 1460);
    assert_int_equal(rel_get(cells, REL_WINDOW_SCALE), 7);
    assert_int_equal(layout_step(rel_get(cells + 10 * RELATIVE_CELLS, REL_SEQ_STEP), 32), -1); /* keep-alive */
    assert_int_equal(layout_step(rel_get(cells + 5 * RELATIVE_CELLS, REL_TSVAL_STEP), 21), 1);

    /* A plan of one's own: the same conversation, elsewhere. */
    flow_plan plan = {.addr = {1, 2}, .isn = {5, 0xfffffff0u}, .ip_id = {7, 9}, .tsval = {100, 200}, .start_ns = 77};
    flow g;
    flow_init(&g);
    assert_int_equal(layout_relative.decode(cells, NULL, WHOLE, &plan, &g, NULL), ST_OK);
    for (size_t i = 0; i < WHOLE; i++) {
        const uint8_t *h = g.packets[i].header, *was = f.packets[i].header;
        unsigned d = whole_lines[i].dir;
        assert_int_equal(get32(h + 12), plan.addr[d]);
        assert_int_equal(get32(h + 24), plan.isn[d] + whole_lines[i].seq);
        assert_int_equal(get32(h + 28), i == 0 ? 0 : plan.isn[!d] + whole_lines[i].ack);
        assert_memory_equal(h + 20, was + 20, 4);
        assert_memory_equal(h + 32, was + 32, 4);
        assert_int_equal(g.packets[i].nheader, f.packets[i].nheader);
        assert_int_equal(g.packets[i].time_ns, 77 + (int64_t)i * layout_gap_ns(159 ^ 159 >> 1));
    }
    assert_int_equal(get16(g.packets[0].header + 4), 7);
    assert_int_equal(get32(g.packets[1].header + 40 + 8), 200);
    flow_clear(&f);
    flow_clear(&g);
}

/* Which fields of a row are there, said once more by hand. */
static void test_presence(void **state) {
    enum { TCP_ROW, UDP_ROW, PING_ROW, ERROR_ROW, END_ROW, ROWS };
    static const struct {
        unsigned field;
        uint8_t there[ROWS];
    } always[] = {
        {REL_VALID, {1, 1, 1, 1, 1}},   {REL_DIRECTION, {1, 1, 1, 1}},  {REL_TCP, {1, 1, 1, 1}},
        {REL_ICMP, {1, 1, 1, 1}},       {REL_PAYLOAD, {1, 1, 1, 1}},    {REL_TOS, {1, 1, 1, 1}},
        {REL_IP_FLAGS, {1, 1, 1, 1}},   {REL_TTL, {1, 1, 1, 1}},        {REL_ID_SAME, {1, 1, 1, 1}},
        {REL_ID_NEXT, {1, 1, 1, 1}},    {REL_UDP_NO_CHECKSUM, {0, 1}},  {REL_TCP_FLAGS, {1}},
        {REL_SEQ_INDEX, {1}},           {REL_WINDOW_SAME, {1}},         {REL_OPTION, {1}},
        {REL_OPTION + 11, {1}},         {REL_ICMP_TYPE, {0, 0, 1, 1}},  {REL_ICMP_CODE, {0, 0, 1, 1}},
        {REL_ICMP_SEQ_SAME, {0, 0, 1}}, {REL_ICMP_SEQ_NEXT, {0, 0, 1}}, {REL_ICMP_WORD, {0, 0, 0, 1}},
        {REL_IPV6, {1, 1, 1, 1}},       {REL_IP_FLAGS, {1, 1, 1, 1}},   {REL_ESCAPE, {1, 1, 1, 1}},
        {REL_ESCAPE_BYTES, {0}},
    };
    static const struct { /* in the TCP row: there only where the mode field has this value */
        unsigned field, mode, value, other;
    } modes[] = {
        {REL_SEQ_STEP, REL_SEQ_INDEX, 15, 14}, {REL_ACK_STEP, REL_ACK_INDEX, 15, 0},
        {REL_ACK_INDEX, REL_TCP_FLAGS, A, S},  {REL_ACK_STEP, REL_TCP_FLAGS, A, S | R},
        {REL_WINDOW, REL_WINDOW_SAME, 0, 1},   {REL_MSS, REL_OPTION, 2, 3},
        {REL_WINDOW_SCALE, REL_OPTION, 3, 2},  {REL_TSVAL_STEP, REL_OPTION, 5, 4},
        {REL_TSECR_INDEX, REL_OPTION, 5, 6},   {REL_TSECR_STEP, REL_TSECR_INDEX, 63, 62},
        {REL_TOS, REL_TOS_SAME, 0, 1},         {REL_IP_FLAGS, REL_IP_FLAGS_SAME, 0, 1},
        {REL_TTL, REL_TTL_SAME, 0, 1},         {REL_ID_STEP, REL_ID_SAME, 0, 1},
        {REL_ID_STEP, REL_ID_NEXT, 0, 1},      {REL_ID_STEP, REL_IPV6, 0, 1},
        {REL_ID_SAME, REL_IPV6, 0, 1},         {REL_ID_NEXT, REL_IPV6, 0, 1},
        {REL_IP_FLAGS, REL_IPV6, 0, 1},        {REL_IP_FLAGS_SAME, REL_IPV6, 0, 1},
        {REL_ESCAPE_BYTES, REL_ESCAPE, 1, 0},
    };
    int8_t row[RELATIVE_CELLS];
    uint8_t mask[RELATIVE_CELLS];
    for (unsigned kind = 0; kind < ROWS; kind++)
        for (size_t number = 0; number < 2; number++) {
            memset(row, -1, sizeof row);
            rel_put(row, REL_VALID, kind != END_ROW);
            rel_put(row, REL_TCP, kind == TCP_ROW);
            rel_put(row, REL_ICMP, kind == PING_ROW || kind == ERROR_ROW);
            rel_put(row, REL_ICMP_TYPE, kind == PING_ROW ? 8 : 3);
            layout_relative.presence(row, number, mask);
            for (size_t i = 0; i < sizeof always / sizeof *always; i++)
                for (unsigned b = 0; b < relative_fields[always[i].field].nbits; b++)
                    assert_int_equal(mask[relative_fields[always[i].field].first + b], always[i].there[kind]);
            bool packet_row = kind != END_ROW, ports = number == 0 && (kind == TCP_ROW || kind == UDP_ROW);
            assert_int_equal(mask[relative_fields[REL_GAP].first], packet_row && number > 0);
            for (unsigned field = REL_RESPONDER_TOS; field <= REL_RESPONDER_TTL; field++)
                assert_int_equal(mask[relative_fields[field].first], packet_row && number == 0);
            assert_int_equal(mask[relative_fields[REL_PEER_ABSENT].first], packet_row && number == 0);
            assert_int_equal(mask[relative_fields[REL_SERVICE_FIRST].first], ports);
            assert_int_equal(mask[relative_fields[REL_SERVICE_PORT].first], ports);
            assert_int_equal(mask[relative_fields[REL_CLIENT_PORT].first], ports);
            assert_int_equal(mask[relative_fields[REL_ICMP_STEP].first], kind == PING_ROW || kind == ERROR_ROW);
        }
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        for (unsigned there = 0; there < 2; there++) {
            memset(row, -1, sizeof row);
            rel_put(row, REL_VALID, 1);
            rel_put(row, REL_TCP, 1);
            rel_put(row, REL_TCP_FLAGS, A);
            rel_put(row, REL_ACK_INDEX, 15);
            rel_put(row, REL_OPTION, 5);
            rel_put(row, REL_TSECR_INDEX, 63);
            rel_put(row, modes[i].mode, there ? modes[i].value : modes[i].other);
            layout_relative.presence(row, 3, mask);
            for (unsigned b = 0; b < relative_fields[modes[i].field].nbits; b++)
                assert_int_equal(mask[relative_fields[modes[i].field].first + b], there);
        }
    memset(row, -1, sizeof row); /* symbols behind the end of the list do not count; a ping that goes as expected */
    rel_put(row, REL_VALID, 1);
    rel_put(row, REL_TCP, 1);
    rel_put(row, REL_OPTION + 1, SYMBOL_MSS);
    layout_relative.presence(row, 0, mask);
    assert_int_equal(mask[relative_fields[REL_MSS].first], 0);
    rel_put(row, REL_TCP, 0);
    rel_put(row, REL_ICMP, 1);
    rel_put(row, REL_ICMP_SEQ_NEXT, 1);
    layout_relative.presence(row, 0, mask); /* type 0: a reply */
    assert_int_equal(mask[relative_fields[REL_ICMP_STEP].first], 0);
    rel_put(row, REL_IPV6, 1);
    layout_relative.presence(row, 0, mask); /* ICMPv6 has no type 0 */
    assert_int_equal(mask[relative_fields[REL_ICMP_STEP].first], 1);
    assert_int_equal(mask[relative_fields[REL_RESPONDER_TTL].first], 1);
    assert_int_equal(mask[relative_fields[REL_RESPONDER_IP_FLAGS].first], 0);
    rel_put(row, REL_PEER_ABSENT, 1);
    layout_relative.presence(row, 0, mask);
    assert_int_equal(mask[relative_fields[REL_RESPONDER_TTL].first], 0);
}

/* Blocks are what lies above a gap, else above the segment that is waited for, else a repetition below. */
static void test_sack(void **state) {
    connection_side s;
    uint32_t edges[2 * SACK_BLOCKS];
    connection_start(&s, 0u - 100, 0);
    assert_int_equal(connection_sack(&s, s.next, 1, edges), 0);
    for (int i = 0; i < 5; i++)
        connection_sent(&s, 0u - 100 + 100 * (uint32_t)i, 100, TCP_ACK); /* to 400, over the wrap */
    assert_int_equal(connection_sack(&s, 0, 1, edges), 1);
    assert_int_equal(edges[0], 100);
    assert_int_equal(edges[1], 400);
    assert_int_equal(connection_sack(&s, 0, 2, edges), 2);
    assert_int_equal(edges[0], 300);
    assert_int_equal(edges[1], 400);
    assert_int_equal(edges[2], 100);
    assert_int_equal(edges[3], 200);
    assert_int_equal(connection_sack(&s, 400, 1, edges), 1);
    assert_int_equal(edges[0], 300);
    assert_int_equal(edges[1], 400);
    connection_sent(&s, 600, 50, TCP_ACK); /* 400 to 600 is missing */
    assert_int_equal(connection_sack(&s, 400, 1, edges), 1);
    assert_int_equal(edges[0], 600);
    assert_int_equal(edges[1], 650);
    connection_sent(&s, 400, 200, TCP_ACK);
    connection_acked(&s, 650);
    assert_int_equal(connection_sack(&s, 650, 1, edges), 1);
    assert_int_equal(edges[0], 600);
    assert_int_equal(edges[1], 650);
}

/* What the escape says of one odd packet, byte by byte. */
static void test_escape(void **state) {
    static const struct {
        const char *name;
        unsigned packet, at; /* of the conversation by hand; where in its header */
        const char *bytes;
        unsigned nbytes;
        bool raw; /* the checksum stays as it was */
        const char *escape;
        unsigned nescape;
    } cases[] = {
        {"nothing odd", 9, 1, OPTIONS("\0"), false, OPTIONS("")},
        {"more fragments", 9, 6, OPTIONS("\x20\0"), false, OPTIONS("")},
        {"fragment offset", 9, 6, OPTIONS("\x21\2"), false, OPTIONS("\2\1\2")},
        {"checksum", 9, 10, OPTIONS("\0\0"), true, OPTIONS("\3\0\0")},
        {"length", 14, 2, OPTIONS("\0\x13"), false, OPTIONS("\1\0\x13")},
        {"length beyond the wire", 14, 2, OPTIONS("\1\x34"), false, OPTIONS("\x8\0\0\x34")},
        {"ack number without ACK", 0, 28, OPTIONS("abcd"), false, OPTIONS("\5abcd")},
        {"urgent pointer", 9, 38, OPTIONS("\x12\x34"), false, OPTIONS("\6\x12\x34")},
        {"window scale 15", 0, 59, OPTIONS("\xf"), false, OPTIONS("\3\3\xf")},
        {"another option", 0, 40, OPTIONS("\x1e"), false, OPTIONS("\x1e\4\5\xb4")},
        {"an option twice", 0, 44, OPTIONS("\2\4\1\1\1\1\1\1\1\1\1\1"), false, OPTIONS("\2\4\1\1")},
        {"option too short", 2, 43, OPTIONS("\x9"), false, OPTIONS("\1\xc\x8\x9\0\0\1\2\0\0\1\x41")},
        {"behind the end", 0, 56, OPTIONS("\0\3\3\7"), false, OPTIONS("\1\7\0\3\3\0\7")},
        {"TSval far", 2, 44, OPTIONS("\1"), false, OPTIONS("\x8\xa\1\0\0\2\0\0\0\x41")},
        {"SACK of a boundary and a distance", 7, 40, OPTIONS("\5\xa\0\0\x9\x61\0\0\xf\xb9\1\1"), false,
         OPTIONS("\0\6\1\x81\6\x58")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        flow f, back;
        flow_plan plan;
        relative_escape e;
        int8_t cells[WHOLE * RELATIVE_CELLS];
        uint8_t expect[RELATIVE_ESCAPE_BYTES] = {0};
        lines_flow(whole_lines, WHOLE, &f);
        packet *p = &f.packets[cases[i].packet];
        memcpy(p->header + cases[i].at, cases[i].bytes, cases[i].nbytes);
        if (!cases[i].raw)
            checksum_fill(p, false);
        assert_int_equal(layout_relative.encode(&f, WHOLE, cells), ST_OK);
        const int8_t *row = cells + cases[i].packet * RELATIVE_CELLS;
        escape_load(&e, row);
        memcpy(expect, cases[i].escape, cases[i].nescape);
        if (memcmp(e.bytes, expect, sizeof expect) != 0)
            fail_msg("%s: escape %02x %02x %02x %02x %02x %02x ...", cases[i].name, e.bytes[0], e.bytes[1], e.bytes[2],
                     e.bytes[3], e.bytes[4], e.bytes[5]);
        assert_int_equal(rel_get(row, REL_ESCAPE), cases[i].nescape > 0);
        layout_relative.plan_of(&f, &plan);
        flow_init(&back);
        assert_int_equal(layout_relative.decode(cells, NULL, WHOLE, &plan, &back, NULL), ST_OK);
        for (size_t k = 0; k < WHOLE; k++)
            assert_memory_equal(back.packets[k].header, f.packets[k].header, 36);
        assert_memory_equal(back.packets[cases[i].packet].header + 38, p->header + 38, p->nheader - 38u);
        assert_int_equal(back.packets[cases[i].packet].wire_len, p->wire_len);
        flow_clear(&f);
        flow_clear(&back);
    }
}

/* What is not a whole packet of the flow is refused, and said; a limit of the escape too. */
static void test_refuses(void **state) {
    static const struct {
        size_t byte;
        uint8_t value;
        const char *why;
    } faults[] = {{0, 0x46, "data offset"}, {0, 0x44, "IP header"},      {0, 0x65, "TCP, UDP or ICMP"},
                  {0, 0x55, "IP header"},   {9, 47, "not TCP"},          {9, 17, "UDP"},
                  {9, 1, "ICMP"},           {9, 58, "other IP version"}, {32, 0x60, "data offset"},
                  {12, 1, "conversation"},  {21, 1, "one conversation"}};
    const char *why;
    flow f;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        lines_flow(whole_lines, WHOLE, &f);
        assert_true(layout_relative.accepts(&f, &why));
        assert_null(why);
        f.packets[9].header[faults[i].byte] = faults[i].value;
        assert_false(layout_relative.accepts(&f, &why));
        assert_non_null(why);
        if (strstr(why, faults[i].why) == NULL)
            fail_msg("%s instead of %s", why, faults[i].why);
        flow_clear(&f);
    }
    lines_flow(whole_lines, WHOLE, &f);
    f.packets[0].dir = 1;
    assert_false(layout_relative.accepts(&f, &why));
    f.packets[0].dir = 0;
    f.packets[3].wire_len = 1 << 24;
    assert_false(layout_relative.accepts(&f, &why));
    assert_non_null(strstr(why, "on the wire"));
    flow_clear(&f);
    /* 32 bytes of another option have room, with a wrong length they have not. */
    const line other = {0,
                        A,
                        1,
                        1,
                        0,
                        OPTIONS("\x1e\x20"
                                "abcdefghijklmnopqrstuvwxyz1234")};
    lines_flow(&other, 1, &f);
    assert_true(layout_relative.accepts(&f, &why));
    put16(f.packets[0].header + 2, 20);
    assert_false(layout_relative.accepts(&f, &why));
    assert_non_null(strstr(why, "escape"));
    flow_clear(&f);
}

/* ---- Soft cells ---- */

static void soft_put(float *soft, unsigned field, uint32_t value, float sure) {
    for (unsigned b = 0; b < relative_fields[field].nbits; b++)
        soft[relative_fields[field].first + b] = value >> (relative_fields[field].nbits - 1u - b) & 1 ? sure : -sure;
}

static void round_cells(const float *soft, size_t n, int8_t *cells) {
    for (size_t c = 0; c < n; c++)
        cells[c] = soft[c] > 0 ? 1 : -1;
}

/* All symbol lists of three slots, the others END, by brute force against the search: it finds a list that can be, and
 * none is likelier. */
static void test_symbols(void **state) {
    for (uint64_t item = 0; item < 12; item++) {
        rng r = rng_make(31, item, RNG_TEST);
        float soft[RELATIVE_CELLS];
        int8_t row[RELATIVE_CELLS];
        uint8_t found[RELATIVE_OPTIONS], again[RELATIVE_OPTIONS];
        for (size_t c = 0; c < RELATIVE_CELLS; c++)
            soft[c] = -1;
        for (unsigned b = 0; b < 12; b++)
            soft[relative_fields[REL_OPTION].first + b] = (float)(2 * rng_uniform(&r) - 1);
        round_cells(soft, RELATIVE_CELLS, row);
        unsigned n = relative_symbols(row, soft, found);
        float most = -1e9f, got = -1e9f;
        for (unsigned list = 0; list < 4096; list++) {
            int8_t other[RELATIVE_CELLS];
            memcpy(other, row, sizeof other);
            float score = 0;
            for (unsigned b = 0; b < 12; b++) {
                float x = soft[relative_fields[REL_OPTION].first + b];
                int bit = list >> (11 - b) & 1;
                other[relative_fields[REL_OPTION].first + b] = bit ? 1 : -1;
                score += bit ? x : -x;
            }
            relative_symbols(other, NULL, again);
            bool can_be = true; /* a list that can be is read as it stands */
            for (unsigned i = 0; i < RELATIVE_OPTIONS; i++)
                can_be = can_be && again[i] == rel_get(other, REL_OPTION + i);
            if (can_be && score > most)
                most = score;
            if (can_be && memcmp(again, found, sizeof found) == 0)
                got = score;
        }
        assert_true(n <= 3 && got > -1e9f);
        assert_true(got >= most - 1e-4f);
    }
}

/* A wrong cell or two of a list that occurs: the model's doubt says which. */
static void test_soft_options(void **state) {
    static const struct {
        uint8_t right[4], wrong[4]; /* what is meant; what the signs say */
        uint8_t doubt;              /* the slot whose cells are near 0 */
        unsigned noptions;
    } cases[] = {
        {{1, 1, 5, 0}, {1, 5, 5, 0}, 1, 12},  /* time stamps twice */
        {{1, 1, 5, 0}, {1, 0, 5, 0}, 1, 12},  /* the list ends before the time stamps */
        {{1, 1, 5, 6}, {1, 1, 5, 14}, 3, 24}, /* no symbol: SACK */
        {{1, 1, 9, 0}, {1, 5, 9, 0}, 1, 0},   /* more than 40 bytes */
        {{8, 1, 5, 0}, {10, 1, 5, 0}, 0, 12}, /* RAW without an escape: the nearest */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static float soft[RELATIVE_CELLS];
        int8_t row[RELATIVE_CELLS];
        uint8_t symbol[RELATIVE_OPTIONS];
        for (size_t c = 0; c < RELATIVE_CELLS; c++)
            soft[c] = -1;
        soft_put(soft, REL_VALID, 1, 1);
        soft_put(soft, REL_TCP, 1, 1);
        soft_put(soft, REL_TCP_FLAGS, A, 1);
        soft_put(soft, REL_WINDOW_SAME, 1, 1);
        for (unsigned k = 0; k < 4; k++)
            soft_put(soft, REL_OPTION + k, cases[i].wrong[k], k == cases[i].doubt ? 0.1f : 0.9f);
        round_cells(soft, RELATIVE_CELLS, row);
        unsigned n = relative_symbols(row, soft, symbol);
        unsigned expect = 4;
        while (cases[i].right[expect - 1] == 0)
            expect--;
        assert_int_equal(n, expect);
        assert_memory_equal(symbol, cases[i].right, 4);
        flow f;
        flow_init(&f);
        flow_plan plan = {.addr = {1, 2}};
        assert_int_equal(layout_relative.decode(row, soft, 1, &plan, &f, NULL), ST_OK);
        unsigned at = 0;
        tcp_option o;
        while (tcp_option_next(f.packets[0].header + 40, f.packets[0].nheader - 40u, &at, &o) > 0)
            ;
        assert_int_equal(at, f.packets[0].nheader - 40u);
        flow_clear(&f);
    }
}

/* Modes that exclude each other: the likelier holds; votes are the least sure cell of what a field was read from. */
static void test_soft_modes(void **state) {
    enum { ROWS = 3 };
    static float soft[ROWS * RELATIVE_CELLS];
    static int8_t cells[ROWS * RELATIVE_CELLS];
    for (size_t c = 0; c < ROWS * RELATIVE_CELLS; c++)
        soft[c] = -1;
    for (unsigned i = 0; i < ROWS; i++) {
        float *row = soft + i * RELATIVE_CELLS;
        soft_put(row, REL_VALID, 1, 1);
        soft_put(row, REL_TCP, 1, 0.3f);
        soft_put(row, REL_ICMP, 1, 0.6f);
        soft_put(row, REL_ID_SAME, 1, 0.2f);
        soft_put(row, REL_ID_NEXT, 1, 0.4f);
        soft_put(row, REL_TTL_SAME, i > 0, 0.9f);
        soft_put(row, REL_TTL, 64, 0.7f);
        soft_put(row, REL_TOS_SAME, 1, 0.8f);
        soft_put(row, REL_IP_FLAGS_SAME, 1, 1);
        soft_put(row, REL_ICMP_TYPE, 8, 1);
        soft_put(row, REL_ICMP_SEQ_NEXT, 1, 1);
        soft_put(row, REL_DIRECTION, i == 1, i == 1 ? 0.5f : 0.95f);
        soft_put(row, REL_RESPONDER_TTL, 57, 0.65f);
        soft_put(row, REL_PEER_ABSENT, 0, 1);
    }
    round_cells(soft, ROWS * RELATIVE_CELLS, cells);
    flow f;
    packet_votes votes[ROWS];
    flow_init(&f);
    flow_plan plan = {.addr = {1, 2}, .ip_id = {100, 200}, .icmp_id = 7, .icmp_seq = 1};
    assert_int_equal(layout_relative.decode(cells, soft, ROWS, &plan, &f, votes), ST_OK);
    for (unsigned i = 0; i < ROWS; i++) {
        const uint8_t *h = f.packets[i].header;
        assert_int_equal(packet_proto(&f.packets[i]), PROTO_ICMP);
        assert_int_equal(get16(h + 4), i == 0 ? 100 : i == 1 ? 200 : 101);
        assert_int_equal(h[8], i == 1 ? 57 : 64);
        assert_int_equal(get16(h + 26), i + 1);
        assert_float_equal(votes[i].weight[VOTE_PROTO], 0.3, 1e-6);
        assert_float_equal(votes[i].weight[VOTE_ADDRESSES], i == 0 ? 1 : i == 1 ? 0.5 : 0.95, 1e-6);
        assert_float_equal(votes[i].weight[VOTE_TTL], i == 1 ? 0.65 : 0.7, 1e-6);
        assert_float_equal(votes[i].weight[VOTE_TOS], 0.8, 1e-6);
        assert_float_equal(votes[i].weight[VOTE_IP_FLAGS], 1, 1e-6);
    }
    /* Signs count as certain without soft cells: the first of two modes, and votes of weight 1. */
    assert_int_equal(layout_relative.decode(cells, NULL, ROWS, &plan, &f, votes), ST_OK);
    assert_int_equal(packet_proto(&f.packets[0]), PROTO_TCP);
    assert_float_equal(votes[2].weight[VOTE_PROTO], 1, 0);
    /* No responder, says the first row; one row doubts it, less or more. */
    for (unsigned certain = 0; certain < 2; certain++) {
        soft_put(soft, REL_PEER_ABSENT, 1, certain ? 0.9f : 0.4f);
        round_cells(soft, ROWS * RELATIVE_CELLS, cells);
        assert_int_equal(layout_relative.decode(cells, soft, ROWS, &plan, &f, votes), ST_OK);
        assert_int_equal(f.packets[1].dir, !certain);
        assert_int_equal(f.packets[1].header[8], 64); /* the initiator's, for the row has no other */
    }
    assert_int_equal(layout_relative.decode(cells, NULL, ROWS, &plan, &f, NULL), ST_OK);
    assert_int_equal(f.packets[1].dir, 1);
    flow_clear(&f);
}

/* An index of a boundary that is not there: the likeliest of those that are. */
static void test_soft_index(void **state) {
    static float soft[2 * RELATIVE_CELLS];
    static int8_t cells[2 * RELATIVE_CELLS];
    flow_plan plan = {.addr = {1, 2}, .isn = {1000, 5000}};
    flow f;
    flow_init(&f);
    for (unsigned likelier = 0; likelier < 2; likelier++) {
        for (size_t c = 0; c < 2 * RELATIVE_CELLS; c++)
            soft[c] = -1;
        for (unsigned i = 0; i < 2; i++) {
            soft_put(soft + i * RELATIVE_CELLS, REL_VALID, 1, 1);
            soft_put(soft + i * RELATIVE_CELLS, REL_TCP, 1, 1);
            soft_put(soft + i * RELATIVE_CELLS, REL_PAYLOAD, 100, 1);
        }
        float *index = soft + RELATIVE_CELLS + relative_fields[REL_SEQ_INDEX].first;
        index[1] = 0.1f; /* 0101: the boundaries are 0 and 1 */
        index[3] = likelier ? 0.5f : 0.05f;
        round_cells(soft, 2 * RELATIVE_CELLS, cells);
        assert_int_equal(layout_relative.decode(cells, soft, 2, &plan, &f, NULL), ST_OK);
        assert_int_equal(get32(f.packets[1].header + 24), 1000);
    }
    flow_clear(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),         cmocka_unit_test(test_presence),   cmocka_unit_test(test_sack),
        cmocka_unit_test(test_escape),       cmocka_unit_test(test_refuses),    cmocka_unit_test(test_symbols),
        cmocka_unit_test(test_soft_options), cmocka_unit_test(test_soft_modes), cmocka_unit_test(test_soft_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
