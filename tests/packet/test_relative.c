/* The relative layout: decode(encode(flow)) field by field on the shared captures, presence, hand-made conversations,
 * and decoding of any cells. */
#include "packet/layout.h"
#include "packet/relative_priv.h"
#include "segments.h"

/* What may differ is named; everything else must not. */
typedef enum difference {
    SAME_FIELDS,
    IP_FIELDS,
    PORTS,
    SEQ,
    ACK,
    TCP_REST,
    OPTIONS,
    UDP_FIELDS,
    ICMP_FIELDS,
    CHECKSUM_IP,  /* where the capture's own was right */
    CHECKSUM_L4,  /* where the capture's own was right and the payload is empty */
    ACK_UNUSED,   /* an acknowledgement number without the ACK flag: written as 0 */
    STAMPS_FAR,   /* in a flow with a TSval or TSecr step beyond 20 bits */
    SACK_EDGES,   /* derived, not stored */
    SACK_MISSING, /* fewer blocks than the capture had: the observer saw no such gap */
    DIFFERENCES
} difference;
static const char *const difference_names[DIFFERENCES] = {"none",
                                                          "ip",
                                                          "ports",
                                                          "seq",
                                                          "ack",
                                                          "tcp rest",
                                                          "options",
                                                          "udp",
                                                          "icmp",
                                                          "ip checksum",
                                                          "transport checksum",
                                                          "unused ack number",
                                                          "far time stamps",
                                                          "sack edges",
                                                          "sack blocks missing"};
enum { FIRST_ALLOWED = ACK_UNUSED };

typedef struct tally {
    uint64_t flows, accepted, packets, accepted_packets, both_checksums;
    uint64_t differ[DIFFERENCES];
    uint64_t cells_present, presence_wrong, sack_packets, escapes[3], tcp;
    struct {
        const char *why;
        uint64_t flows;
    } refused[16];
} tally;

static bool steps_far(const flow *f) {
    flow_plan plan;
    layout_relative.plan_of(f, &plan);
    uint32_t last[2] = {plan.tsval[0], plan.tsval[1]};
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        unsigned at = 0;
        tcp_option o;
        if (packet_proto(p) != PROTO_TCP)
            return false;
        while (tcp_option_next(p->header + 40, p->nheader - 40u, &at, &o) > 0) {
            if (o.kind != TCP_OPTION_TIMESTAMPS)
                continue;
            uint32_t value = get32(p->header + 40 + o.at + 2), echo = get32(p->header + 40 + o.at + 6);
            uint32_t step = value - last[p->dir], back = last[!p->dir] - echo;
            if ((step >= 1u << 20 && 0u - step >= 1u << 20) || (echo != 0 && back >= 1u << 20 && 0u - back >= 1u << 20))
                return true;
            last[p->dir] = value;
        }
    }
    return false;
}

/* Option lists side by side; SACK blocks are compared apart. */
static void compare_options(const packet *a, const packet *b, bool far, bool differs[DIFFERENCES]) {
    const uint8_t *la = a->header + 40, *lb = b->header + 40;
    unsigned at_a = 0, at_b = 0, na = a->nheader - 40u, nb = b->nheader - 40u;
    tcp_option oa, ob;
    for (;;) {
        int fa = tcp_option_next(la, na, &at_a, &oa), fb = tcp_option_next(lb, nb, &at_b, &ob);
        if (fa <= 0 && fb <= 0) {
            if (!differs[SACK_MISSING] && a->nheader != b->nheader)
                differs[OPTIONS] = true;
            return;
        }
        if (fa > 0 && oa.kind == TCP_OPTION_SACK && (fb <= 0 || ob.kind != TCP_OPTION_SACK || ob.nbytes < oa.nbytes)) {
            differs[SACK_MISSING] = true;
            if (fb > 0 && ob.kind != TCP_OPTION_SACK)
                at_b = ob.at; /* the option that stands in its place is compared with the next */
        } else if (fa <= 0 && fb > 0 && ob.kind == TCP_OPTION_EOL && differs[SACK_MISSING]) {
            return;
        } else if (fa <= 0 || fb <= 0 || oa.kind != ob.kind || oa.nbytes != ob.nbytes) {
            if (!(fa > 0 && oa.kind == TCP_OPTION_EOL) || !differs[SACK_MISSING])
                differs[OPTIONS] = true;
            return;
        } else if (memcmp(la + oa.at, lb + ob.at, oa.nbytes) != 0) {
            difference what = oa.kind == TCP_OPTION_SACK                ? SACK_EDGES
                              : oa.kind == TCP_OPTION_TIMESTAMPS && far ? STAMPS_FAR
                                                                        : OPTIONS;
            differs[what] = true;
        }
    }
}

static void compare(const packet *a, const packet *b, bool far, bool differs[DIFFERENCES]) {
    const uint8_t *ha = a->header, *hb = b->header, *ta = ha + 20, *tb = hb + 20;
    memset(differs, 0, DIFFERENCES * sizeof *differs);
    unsigned proto = packet_proto(a), payload_a = packet_payload(a), payload_b = packet_payload(b);
    uint8_t ia[20], ib[20];
    memcpy(ia, ha, 20);
    memcpy(ib, hb, 20);
    memset(ia + 10, 0, 2);
    memset(ib + 10, 0, 2);
    if (proto == PROTO_TCP)
        compare_options(a, b, far, differs);
    if (differs[SACK_MISSING]) { /* the total length follows the shorter list */
        memset(ia + 2, 0, 2);
        memset(ib + 2, 0, 2);
    }
    differs[IP_FIELDS] = memcmp(ia, ib, 20) != 0 || payload_a != payload_b || a->dir != b->dir;
    bool same_ip = memcmp(ia, ib, 20) == 0 && !differs[SACK_MISSING];
    differs[CHECKSUM_IP] = same_ip && checksum_ipv4(a) == get16(ha + 10) && memcmp(ha + 10, hb + 10, 2) != 0;
    if (proto == PROTO_TCP) {
        differs[PORTS] = memcmp(ta, tb, 4) != 0;
        differs[SEQ] = memcmp(ta + 4, tb + 4, 4) != 0;
        differs[ta[13] & TCP_ACK ? ACK : ACK_UNUSED] = memcmp(ta + 8, tb + 8, 4) != 0;
        unsigned mask = differs[SACK_MISSING] ? 0x0fff : 0xffff;
        differs[TCP_REST] = (get16(ta + 12) & mask) != (get16(tb + 12) & mask) || memcmp(ta + 14, tb + 14, 2) != 0 ||
                            memcmp(ta + 18, tb + 18, 2) != 0;
    } else if (proto == PROTO_UDP) {
        differs[PORTS] = memcmp(ta, tb, 4) != 0;
        differs[UDP_FIELDS] = memcmp(ta + 4, tb + 4, 2) != 0 || (get16(ta + 6) == 0) != (get16(tb + 6) == 0);
    } else {
        differs[ICMP_FIELDS] = memcmp(ta, tb, 2) != 0 || memcmp(ta + 4, tb + 4, 4) != 0;
    }
    bool equal = true;
    for (int i = 1; i < DIFFERENCES; i++)
        equal = equal && !differs[i];
    unsigned at = 20 + (proto == PROTO_TCP ? 16 : proto == PROTO_UDP ? 6 : 2);
    differs[CHECKSUM_L4] =
        equal && payload_a == 0 && get16(ha + at) == checksum_transport(a) && get16(ha + at) != get16(hb + at);
    differs[SAME_FIELDS] = equal;
}

static void check_presence(const flow *f, const int8_t *cells, tally *t) {
    uint8_t mask[RELATIVE_CELLS];
    for (size_t i = 0; i < f->npackets + 2; i++) {
        const int8_t *row = cells + i * RELATIVE_CELLS;
        layout_relative.presence(row, i, mask);
        for (size_t c = 0; c < RELATIVE_CELLS; c++) {
            t->presence_wrong += mask[c] > 1 || (row[c] != 0) != mask[c] || row[c] > 1 || row[c] < -1;
            t->cells_present += row[c] != 0 && i < f->npackets;
        }
        if (i >= f->npackets)
            for (size_t c = 0; c < RELATIVE_CELLS; c++)
                t->presence_wrong += row[c] != (c == 0 ? -1 : 0);
        else if (rel_get(row, REL_TCP)) {
            t->tcp++;
            t->escapes[0] += rel_get(row, REL_SEQ_INDEX) == NUMBER_ESCAPE;
            t->escapes[1] += mask[relative_fields[REL_ACK_STEP].first];
            t->escapes[2] += mask[relative_fields[REL_TSECR_STEP].first];
        }
    }
}

static void round_trip(const char *file, flow *f, void *user) {
    tally *t = user;
    const char *why;
    t->flows++;
    t->packets += f->npackets;
    if (!layout_relative.accepts(f, &why)) {
        size_t i = 0;
        while (i < 15 && t->refused[i].why != NULL && strcmp(t->refused[i].why, why) != 0)
            i++;
        t->refused[i].why = why;
        t->refused[i].flows++;
        return;
    }
    t->accepted++;
    t->accepted_packets += f->npackets;
    size_t nrows = f->npackets + 2;
    int8_t *cells = malloc(nrows * RELATIVE_CELLS);
    assert_non_null(cells);
    memset(cells, 7, nrows * RELATIVE_CELLS);
    assert_int_equal(layout_relative.encode(f, nrows, cells), ST_OK);
    check_presence(f, cells, t);

    flow_plan plan;
    flow back;
    flow_init(&back);
    layout_relative.plan_of(f, &plan);
    assert_int_equal(layout_relative.decode(cells, NULL, f->npackets, &plan, &back, NULL), ST_OK);
    assert_int_equal(back.npackets, f->npackets);
    assert_true(flow_key_equal(&back.key, &f->key));
    bool far = steps_far(f), differs[DIFFERENCES];
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *a = &f->packets[i], *b = &back.packets[i];
        compare(a, b, far, differs);
        for (int k = 0; k < DIFFERENCES; k++) {
            t->differ[k] += differs[k];
            if (k > 0 && k < FIRST_ALLOWED && differs[k] && t->differ[k] <= 3)
                print_message("%s: packet %zu (frame %u) of a flow of %zu: %s differs\n", file, i, a->frame,
                              f->npackets, difference_names[k]);
        }
        assert_true(i == 0 ? b->time_ns == a->time_ns : b->time_ns >= back.packets[i - 1].time_ns + 1000);
    }
    /* Fewer rows than packets: the same rows. */
    size_t few = f->npackets < 5 ? f->npackets : 5;
    int8_t part[5 * RELATIVE_CELLS];
    assert_int_equal(layout_relative.encode(f, few, part), ST_OK);
    assert_memory_equal(part, cells, few * RELATIVE_CELLS);
    flow_clear(&back);
    free(cells);
}

static void test_captures(void **state) {
    static tally t;
    captured_flows("data/captures/pcap", round_trip, &t);
    print_message("%llu of %llu flows and %llu of %llu packets are accepted\n", (unsigned long long)t.accepted,
                  (unsigned long long)t.flows, (unsigned long long)t.accepted_packets, (unsigned long long)t.packets);
    for (size_t i = 0; i < 16 && t.refused[i].why != NULL; i++)
        print_message("  refused: %s: %llu flows\n", t.refused[i].why, (unsigned long long)t.refused[i].flows);
    for (int i = 0; i < DIFFERENCES; i++)
        print_message("  packets, %s: %llu\n", i == 0 ? "all fields equal" : difference_names[i],
                      (unsigned long long)t.differ[i]);
    print_message("  cells present a row: %.1f; of %llu TCP rows escape: seq %.4f, ack %.4f, TSecr %.4f\n",
                  (double)t.cells_present / (double)t.accepted_packets, (unsigned long long)t.tcp,
                  (double)t.escapes[0] / (double)t.tcp, (double)t.escapes[1] / (double)t.tcp,
                  (double)t.escapes[2] / (double)t.tcp);
    assert_int_equal(t.presence_wrong, 0);
    for (int i = 1; i < FIRST_ALLOWED; i++)
        assert_int_equal(t.differ[i], 0);
    assert_true(t.accepted * 100 >= t.flows * 90);
    assert_true(t.differ[SAME_FIELDS] * 100 >= t.accepted_packets * 97);
}

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
        {REL_ID_STEP, REL_ID_NEXT, 0, 1},
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

/* What decodes from any cells of one protocol encodes again, and comes back. */
static void test_any_cells_again(void **state) {
    enum { ROWS = 20 };
    static int8_t cells[ROWS * RELATIVE_CELLS], again[ROWS * RELATIVE_CELLS];
    uint64_t naccepted = 0, nflows = 3000, differ[DIFFERENCES] = {0};
    for (uint64_t item = 0; item < nflows; item++) {
        rng r = rng_make(6, item, RNG_TEST);
        flow_plan plan = {.addr = {rng_u32(&r), rng_u32(&r)},
                          .isn = {rng_u32(&r), rng_u32(&r)},
                          .ip_id = {5, 6},
                          .tsval = {rng_u32(&r), rng_u32(&r)},
                          .icmp_id = 9,
                          .icmp_seq = 65535};
        size_t nrows = 1 + rng_below(&r, ROWS);
        random_cells(&r, cells, sizeof cells);
        for (size_t i = 0; i < nrows; i++) {
            int8_t *row = cells + i * RELATIVE_CELLS;
            rel_put(row, REL_TCP, item % 3 == 0);
            rel_put(row, REL_ICMP, item % 3 == 1);
            if (item % 2) /* indexes that are none are rare in practice */
                rel_put(row, REL_SEQ_INDEX, rng_below(&r, 4));
        }
        flow f, g;
        flow_init(&f);
        flow_init(&g);
        const char *why;
        assert_int_equal(layout_relative.decode(cells, NULL, nrows, &plan, &f, NULL), ST_OK);
        assert_int_equal(f.packets[0].dir, 0);
        if (layout_relative.accepts(&f, &why)) {
            bool differs[DIFFERENCES], far = steps_far(&f);
            naccepted++;
            layout_relative.plan_of(&f, &plan);
            assert_int_equal(layout_relative.encode(&f, nrows, again), ST_OK);
            assert_int_equal(layout_relative.decode(again, NULL, nrows, &plan, &g, NULL), ST_OK);
            for (size_t i = 0; i < nrows; i++) {
                compare(&f.packets[i], &g.packets[i], far, differs);
                for (int k = 0; k < DIFFERENCES; k++)
                    differ[k] += differs[k];
            }
        } else {
            print_message("refused: %s\n", why);
        }
        flow_clear(&f);
        flow_clear(&g);
    }
    for (int i = 1; i < FIRST_ALLOWED; i++)
        assert_int_equal(differ[i], 0);
    assert_int_equal(differ[ACK_UNUSED], 0);
    assert_int_equal(naccepted, nflows);
}

/* Everything that the row has no place for is refused, and said. */
static void test_refuses(void **state) {
    static const struct {
        size_t byte;
        uint8_t value;
        const char *why;
    } faults[] = {
        {0, 0x46, "IP options"},     {0, 0x65, "IPv4"},          {6, 0x20, "fragment"},   {7, 1, "fragment"},
        {3, 39, "total length"},     {9, 47, "not TCP"},         {9, 17, "UDP"},          {9, 1, "ICMP"},
        {32, 0x60, "data offset"},   {39, 1, "urgent"},          {43, 9, "do not parse"}, {42, 30, "another kind"},
        {12, 1, "one conversation"}, {21, 1, "one conversation"}};
    const char *why;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        flow f;
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
    flow f;
    lines_flow(whole_lines, WHOLE, &f);
    f.packets[0].dir = 1;
    assert_false(layout_relative.accepts(&f, &why));
    flow_clear(&f);
    const line many = {0, A, 1, 1, 0, OPTIONS("\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1")};
    lines_flow(&many, 1, &f);
    assert_false(layout_relative.accepts(&f, &why));
    assert_non_null(strstr(why, "too many"));
    flow_clear(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),    cmocka_unit_test(test_presence),        cmocka_unit_test(test_sack),
        cmocka_unit_test(test_refuses), cmocka_unit_test(test_any_cells_again), cmocka_unit_test(test_captures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
