/* The relative layout is exact: decode(encode(flow)) on the shared captures, and on flows with odd packets made at
 * random.
 *
 * Kept are every header byte but those of the transport checksum (of UDP's it is kept whether it is 0), the number of
 * header bytes, direction, wire_len and the first packet's time. The checksum written is the right one for a payload of
 * zeros; later times are those of the gaps' steps. */
#include "exact.h"
#include "segments.h"

/* ---- What the escapes say, read once more by hand ---- */

enum { RAW_OPTION = ITEM_COUNT, RAW_SACK, RAW_TAIL, REASONS };
static const char *const reason_names[REASONS] = {[ITEM_LENGTH] = "IP length",
                                                  [ITEM_FRAGMENT] = "fragment offset",
                                                  [ITEM_CHECKSUM] = "IP checksum",
                                                  [ITEM_FLOW_LABEL] = "flow label",
                                                  [ITEM_ACK] = "ack number without ACK",
                                                  [ITEM_URGENT] = "urgent pointer",
                                                  [ITEM_UDP_LENGTH] = "UDP length",
                                                  [ITEM_WIRE] = "bytes on the wire",
                                                  [ITEM_EXTENSION] = "IP options or extension headers",
                                                  [RAW_OPTION] = "TCP option as bytes",
                                                  [RAW_SACK] = "SACK edges",
                                                  [RAW_TAIL] = "rest of the TCP options as bytes"};

typedef struct tally {
    uint64_t flows, accepted, packets, accepted_packets, tcp;
    uint64_t cells_present, presence_wrong, differ, not_stable, escapes[3];
    uint64_t rows_escaped, escape_nbytes, escape_most, reasons[REASONS];
    refusals refused;
} tally;

static uint8_t escape_byte(const int8_t *row, unsigned i) {
    uint8_t byte = 0;
    for (unsigned b = 0; b < 8; b++)
        byte = (uint8_t)(byte << 1 | (row[relative_fields[REL_ESCAPE_BYTES].first + 8 * i + b] > 0));
    return byte;
}

static void count_escape(const int8_t *row, tally *t) {
    static const uint8_t value_nbytes[] = {0, 2, 2, 2, 3, 4, 2, 2, 3};
    unsigned at = 0, most = 0;
    if (!rel_get(row, REL_ESCAPE))
        return;
    t->rows_escaped++;
    for (unsigned i = 0; rel_get(row, REL_TCP) && i < RELATIVE_OPTIONS; i++)
        if (rel_get(row, REL_OPTION + i) == SYMBOL_RAW) {
            uint8_t kind = escape_byte(row, at);
            t->reasons[kind == 0 ? RAW_SACK : kind == 1 ? RAW_TAIL : RAW_OPTION]++;
            at += escape_byte(row, at + 1);
        }
    while (at < RELATIVE_ESCAPE_BYTES && escape_byte(row, at) != 0) {
        unsigned item = escape_byte(row, at);
        assert_true(item < ITEM_COUNT);
        t->reasons[item]++;
        if (item == ITEM_EXTENSION)
            break;
        at += 1u + value_nbytes[item];
    }
    for (unsigned i = 0; i < RELATIVE_ESCAPE_BYTES; i++)
        most = escape_byte(row, i) != 0 ? i + 1 : most;
    t->escape_nbytes += most;
    t->escape_most = most > t->escape_most ? most : t->escape_most;
}

static void print_tally(const char *what, const tally *t) {
    print_message("%s: %llu of %llu flows and %llu of %llu packets are accepted\n", what,
                  (unsigned long long)t->accepted, (unsigned long long)t->flows,
                  (unsigned long long)t->accepted_packets, (unsigned long long)t->packets);
    refusals_print(&t->refused);
    print_message("  rows with an escape: %llu, of %.1f bytes on average, %llu at most\n",
                  (unsigned long long)t->rows_escaped, (double)t->escape_nbytes / (double)t->rows_escaped,
                  (unsigned long long)t->escape_most);
    for (int i = 1; i < REASONS; i++)
        print_message("    %s: %llu\n", reason_names[i], (unsigned long long)t->reasons[i]);
    print_message("  cells present a row: %.1f of %d; of %llu TCP rows step: seq %.4f, ack %.4f, TSecr %.4f\n",
                  (double)t->cells_present / (double)t->accepted_packets, RELATIVE_CELLS, (unsigned long long)t->tcp,
                  (double)t->escapes[0] / (double)t->tcp, (double)t->escapes[1] / (double)t->tcp,
                  (double)t->escapes[2] / (double)t->tcp);
}

/* ---- The property ---- */

static void check_presence(const flow *f, const int8_t *cells, tally *t) {
    uint8_t mask[RELATIVE_CELLS];
    for (size_t i = 0; i < f->npackets + 2; i++) {
        const int8_t *row = cells + i * RELATIVE_CELLS;
        layout_relative.presence(row, i, mask);
        for (size_t c = 0; c < RELATIVE_CELLS; c++) {
            t->presence_wrong += mask[c] > 1 || (row[c] != 0) != mask[c] || row[c] > 1 || row[c] < -1;
            t->cells_present += row[c] != 0 && i < f->npackets;
        }
        if (i >= f->npackets) {
            for (size_t c = 0; c < RELATIVE_CELLS; c++)
                t->presence_wrong += row[c] != (c == 0 ? -1 : 0);
            continue;
        }
        count_escape(row, t);
        if (rel_get(row, REL_TCP)) {
            t->tcp++;
            t->escapes[0] += rel_get(row, REL_SEQ_INDEX) == NUMBER_ESCAPE;
            t->escapes[1] += mask[relative_fields[REL_ACK_STEP].first];
            t->escapes[2] += mask[relative_fields[REL_TSECR_STEP].first];
        }
    }
}

/* The first packets alone give the same rows, but for what the first row and the plan say of the whole flow. */
static void check_prefix(const flow *f, const int8_t *cells, const flow_plan *plan, size_t npackets, tally *t) {
    flow prefix = *f;
    flow_plan known;
    prefix.npackets = npackets;
    layout_relative.plan_of(&prefix, &known);
    if (memcmp(known.wire_min, plan->wire_min, sizeof known.wire_min) != 0)
        return;
    int8_t *rows = malloc(npackets * RELATIVE_CELLS);
    assert_non_null(rows);
    assert_int_equal(layout_relative.encode(&prefix, npackets, rows), ST_OK);
    for (size_t c = 0; c < npackets * RELATIVE_CELLS; c++)
        t->not_stable += rows[c] != cells[c] && !(c >= relative_fields[REL_PEER_ABSENT].first &&
                                                  c < relative_fields[REL_UDP_NO_CHECKSUM].first);
    free(rows);
}

static void round_trip(const char *name, flow *f, void *user) {
    tally *t = user;
    const char *why;
    size_t nrows = f->npackets + 2;
    int8_t *cells = malloc(nrows * RELATIVE_CELLS);
    assert_non_null(cells);
    t->flows++;
    t->packets += f->npackets;
    if (!layout_relative.accepts(f, &why)) {
        refusals_add(&t->refused, why);
        assert_int_equal(layout_relative.encode(f, 1, cells), ST_RANGE);
        free(cells);
        return;
    }
    t->accepted++;
    t->accepted_packets += f->npackets;
    memset(cells, 7, nrows * RELATIVE_CELLS);
    assert_int_equal(layout_relative.encode(f, nrows, cells), ST_OK);
    check_presence(f, cells, t);

    flow_plan plan;
    flow back;
    flow_init(&back);
    layout_relative.plan_of(f, &plan);
    assert_int_equal(layout_relative.decode(cells, NULL, f->npackets, &plan, &back, NULL), ST_OK);
    assert_int_equal(back.npackets, f->npackets);
    flow_key key = flow_key_of(&f->packets[0]);
    assert_true(flow_key_equal(&back.key, &key));
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *a = &f->packets[i], *b = &back.packets[i];
        const char *what = difference(a, b);
        t->differ += what != NULL;
        if (what != NULL && t->differ <= 10)
            print_message("%s: packet %zu (frame %u) of a flow of %zu: %s differs\n", name, i, a->frame, f->npackets,
                          what);
        assert_true(i == 0 ? b->time_ns == a->time_ns : b->time_ns >= b[-1].time_ns + 1000);
    }
    check_prefix(f, cells, &plan, 1 + f->npackets / 2, t);
    check_prefix(f, cells, &plan, f->npackets < 5 ? f->npackets : 5, t);
    flow_clear(&back);
    free(cells);
}

static void test_captures(void **state) {
    static tally t;
    captured_flows("data/captures/pcap", round_trip, &t);
    print_tally("captures", &t);
    assert_int_equal(t.presence_wrong, 0);
    assert_int_equal(t.differ, 0);
    assert_int_equal(t.not_stable, 0);
    assert_true(t.packets > 30000);
    assert_int_equal(t.accepted_packets, t.packets);
    assert_true(t.rows_escaped * 50 < t.packets);
}

/* Captures of every odd thing, mutated frames among them. */
static void test_hostile(void **state) {
    static tally t;
    captured_flows("data/captures/hostile", round_trip, &t);
    print_tally("hostile captures", &t);
    assert_int_equal(t.presence_wrong, 0);
    assert_int_equal(t.differ, 0);
    assert_int_equal(t.not_stable, 0);
    assert_true(t.packets > 4000 && t.accepted_packets * 1000 >= t.packets * 998);
}

/* ---- Odd packets ---- */

static uint32_t some(rng *r, uint32_t usual) {
    static const uint32_t values[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff};
    uint32_t draw = rng_below(r, 8);
    return draw < 3 ? usual + rng_below(r, 3000) : draw < 5 ? values[rng_below(r, 5)] : rng_u32(r);
}

/* Insert n bytes at `at`; false where there is no room. */
static bool insert(packet *p, unsigned at, const uint8_t *bytes, unsigned n) {
    if (p->nheader + n > PACKET_HEADER_MAX)
        return false;
    memmove(p->header + at + n, p->header + at, p->nheader - at);
    memcpy(p->header + at, bytes, n);
    p->nheader = (uint8_t)(p->nheader + n);
    return true;
}

static void add_length(packet *p, unsigned n) {
    unsigned at = packet_is_ipv6(p) ? 4 : 2;
    put16(p->header + at, (get16(p->header + at) + n) & 0xffff);
    p->wire_len += n;
}

static void add_ip_options(rng *r, packet *p) {
    uint8_t bytes[16] = {0};
    unsigned n = 4 * (1 + rng_below(r, 4));
    for (unsigned i = 0; i < n; i++)
        bytes[i] = rng_below(r, 2) ? (uint8_t)rng_u32(r) : 0;
    if (packet_ip_nheader(p) + n <= 60 && insert(p, 20, bytes, n)) {
        p->header[0] = (uint8_t)(p->header[0] + n / 4);
        add_length(p, n);
    }
}

static void add_extension(rng *r, packet *p) {
    static const uint8_t kinds[] = {0, 43, 44, 51, 60, 135};
    uint8_t kind = kinds[rng_below(r, 6)], bytes[16] = {p->header[6]};
    unsigned n = 8;
    if (kind != 44) { /* a fragment header's second byte is reserved */
        n = kind == 51 ? 12 : rng_below(r, 2) ? 16 : 8;
        bytes[1] = kind == 51 ? 1 : (uint8_t)(n / 8 - 1);
    }
    for (unsigned i = 2; i < n; i++)
        bytes[i] = rng_below(r, 3) == 0 ? (uint8_t)rng_u32(r) : 0;
    if (insert(p, 40, bytes, n)) {
        p->header[6] = kind;
        add_length(p, n);
    }
}

static void add_tcp_options(rng *r, packet *p) {
    static const uint8_t lists[][12] = {{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
                                        {2, 4, 5, 0xb4, 2, 4, 5, 1, 3, 3, 15, 0},
                                        {30, 12, 1, 2, 3, 4, 5, 6, 7, 8},
                                        {3, 3, 14, 1, 8, 4, 9, 9},
                                        {1, 1, 5, 10, 0, 0, 4, 1, 0, 0, 5, 1},
                                        {0, 0, 0, 0, 0, 0, 0, 0},
                                        {1, 0, 9, 9, 0, 0, 0, 1},
                                        {254, 4, 0xf9, 0x89, 4, 2, 4, 2},
                                        {1, 1, 8, 10, 0x80}};
    uint8_t bytes[12];
    unsigned nip = packet_ip_nheader(p), n = 4 * (1 + rng_below(r, 3));
    memcpy(bytes, lists[rng_below(r, 9)], sizeof bytes);
    for (unsigned i = 0; rng_below(r, 3) == 0 && i < 12; i++)
        bytes[i] = (uint8_t)rng_u32(r);
    if (p->nheader - nip + n <= 60 && insert(p, rng_below(r, 2) ? nip + 20 : p->nheader, bytes, n)) {
        p->header[nip + 12] = (uint8_t)(p->header[nip + 12] + (n / 4 << 4));
        add_length(p, n);
    }
}

static void mutate_transport(rng *r, packet *p) {
    unsigned proto = packet_proto(p);
    uint8_t *l4 = p->header + packet_ip_nheader(p);
    if (proto == PROTO_UDP) {
        put16(l4 + 4 + 2 * rng_below(r, 2), rng_below(r, 3) ? rng_u32(r) & 0xffff : 0);
    } else if (proto != PROTO_TCP) {
        static const unsigned at[] = {1, 2, 3, 6, 7};
        l4[at[rng_below(r, 5)]] = (uint8_t)rng_u32(r);
    } else if (rng_below(r, 3) == 0) {
        add_tcp_options(r, p);
    } else {
        unsigned field = rng_below(r, 6), n = p->nheader - packet_ip_nheader(p);
        if (field < 2)
            put32(l4 + 4 + 4 * field, some(r, get32(l4 + 4 + 4 * field)));
        else if (field == 2)
            l4[13] = (uint8_t)rng_u32(r);
        else if (field == 3)
            put16(l4 + 18, rng_u32(r) & 0xffff);
        else if (n > 20)
            l4[20 + rng_below(r, n - 20)] = (uint8_t)rng_u32(r);
    }
}

static void mutate_ip(rng *r, packet *p) {
    uint8_t *h = p->header;
    bool ipv6 = packet_is_ipv6(p);
    switch (rng_below(r, 7)) {
    case 0:
        put16(h + (ipv6 ? 4 : 2), rng_below(r, 2) ? rng_u32(r) & 0xffff : rng_below(r, 80));
        break;
    case 1:
        p->wire_len = rng_below(r, 2) ? rng_below(r, 1 << 24) : rng_below(r, 100);
        break;
    case 2:
        h[ipv6 ? 1 + rng_below(r, 3) : 6 + rng_below(r, 2)] = (uint8_t)rng_u32(r);
        break;
    case 3:
        h[ipv6 ? 7 : 8] = (uint8_t)rng_u32(r);
        break;
    case 4:
        h[1] = (uint8_t)rng_u32(r);
        break;
    case 5:
        if (!ipv6)
            h[4 + 2 * rng_below(r, 2) * 3] = (uint8_t)rng_u32(r); /* identification or checksum */
        break;
    default:
        if (ipv6)
            add_extension(r, p);
        else
            add_ip_options(r, p);
    }
}

/* A plain packet of a conversation of either version; both directions, counters that mostly go on. */
static packet plain_packet(rng *r, const packet *shape, bool ipv6, unsigned proto, unsigned number) {
    packet p = *shape; /* a TCP segment of a flow by hand: IPv4, 20 bytes */
    unsigned nl4 = proto == PROTO_TCP ? p.nheader - 20u : 8, payload = packet_payload(&p);
    uint8_t l4[60] = {0}, *h = p.header;
    memcpy(l4, p.header + 20, nl4);
    if (proto == PROTO_UDP) {
        put16(l4 + 4, 8 + payload);
    } else if (proto != PROTO_TCP) {
        static const uint8_t types[2][3] = {{8, 0, 3}, {128, 129, 135}};
        l4[0] = types[ipv6][rng_below(r, 3)];
        l4[1] = 0;
        put16(l4 + 4, 77);
        put16(l4 + 6, number);
    }
    if (ipv6) {
        uint8_t from = h[15], to = h[19], hops = h[8];
        memset(h, 0, 40);
        put32(h, 0x60000000 | (p.dir ? 0x12345u : 0x54321u));
        h[7] = hops;
        h[8] = h[24] = 0x20;
        h[23] = from;
        h[39] = to;
    }
    h[ipv6 ? 6 : 9] = (uint8_t)proto;
    unsigned nip = ipv6 ? 40 : 20;
    p.nheader = (uint8_t)(nip + nl4);
    memset(h + nip, 0, PACKET_HEADER_MAX - nip);
    memcpy(h + nip, l4, nl4);
    put16(h + (ipv6 ? 4 : 2), nl4 + payload + (ipv6 ? 0 : nip));
    p.wire_len = nip + nl4 + payload;
    if (p.wire_len < 46 && p.dir == 1)
        p.wire_len = 46;
    p.dir = (uint8_t)(p.dir != 0);
    checksum_fill(&p, false);
    return p;
}

/* Packets number..number+n of a flow of the kind `item`, some of them mutated. */
static void odd_flow(uint64_t item, flow *f) {
    static const uint8_t protos[] = {PROTO_TCP, PROTO_TCP, PROTO_UDP, PROTO_ICMP};
    rng r = rng_make(21, item, RNG_TEST);
    bool ipv6 = item % 2;
    unsigned proto = protos[item / 2 % 4];
    if (ipv6 && proto == PROTO_ICMP)
        proto = PROTO_ICMPV6;
    flow whole;
    lines_flow(whole_lines, WHOLE, &whole);
    flow_init(f);
    for (unsigned i = 0; i < WHOLE; i++) {
        packet p = plain_packet(&r, &whole.packets[i], ipv6, proto, i);
        for (unsigned n = rng_below(&r, 6); n > 3; n--) {
            packet q = p;
            if (rng_below(&r, 2))
                mutate_ip(&r, &q);
            else
                mutate_transport(&r, &q);
            if (rng_below(&r, 50) == 0)
                q.header[rng_below(&r, q.nheader)] ^= (uint8_t)(1u << rng_below(&r, 8)); /* anywhere */
            p = q;
        }
        assert_int_equal(flow_add(f, &p), ST_OK);
    }
    f->key = flow_key_of(&f->packets[0]);
    flow_clear(&whole);
}

static void test_odd_flows(void **state) {
    static tally t;
    for (uint64_t item = 0; item < 4000; item++) {
        flow f;
        odd_flow(item, &f);
        round_trip("odd flow", &f, &t);
        flow_clear(&f);
    }
    print_tally("odd flows", &t);
    assert_int_equal(t.presence_wrong, 0);
    assert_int_equal(t.differ, 0);
    assert_int_equal(t.not_stable, 0);
    assert_true(t.accepted_packets >= 20000);
    for (int i = 1; i < REASONS; i++)
        assert_true(t.reasons[i] > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_odd_flows),
        cmocka_unit_test(test_captures),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
