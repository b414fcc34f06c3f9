/* Repair of whatever comes: every shared flow, as captured and with wrong cells, random flows of all layouts and random
 * header bytes. */
#include "packet/check_priv.h"
#include "packet/layout.h"
#include "repaired.h"

/* The sanitizers take ten times as long. */
#if defined(__SANITIZE_ADDRESS__)
enum { SLOWER = 10 };
#else
enum { SLOWER = 1 };
#endif

static flow_plan random_plan(rng *r) {
    flow_plan plan = {.start_ns = 1700000000000000000 + (int64_t)rng_u32(r)};
    for (int d = 0; d < 2; d++) {
        plan.addr[d] = rng_u32(r);
        plan.addr6[d] = rng_u64(r);
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

/* ports: services whose port the flows use in turn; none: as the cells say. */
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
    rows += random_flows(&layout_nprint, 20000, NULL, 0, false);
    rows += random_flows(&layout_nprint_v6, 6000, NULL, 0, false);
    rows += random_flows(&layout_nprint, 10000, NULL, 0, true);
    assert_true(rows * SLOWER >= 1000000);
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
    assert_int_equal(t.right_changed, 0);
    assert_true(t.whole.bits_changed * 200 < t.whole.bits); /* half a percent */
    assert_true(t.right.bits_changed * 10000 < t.right.bits);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_captures),
        cmocka_unit_test(test_million),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
