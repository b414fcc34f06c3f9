/* Validity: every rule's figure moves when that rule is broken, what repair changed, and the traffic figures. */
#include "eval/validity_bench.h"

/* ---- rules ---- */

static void set8(packet *p, unsigned at, unsigned v) {
    p->header[at] = (uint8_t)v;
}

/* False for a rule that no flow here can break alone; tests/packet/test_check.c breaks every one. */
static bool break_rule(bench *b, check_rule rule) {
    packet *tcp = synthetic_packet(b, FLOW_TCP, 5), *udp = synthetic_packet(b, FLOW_UDP, 3),
           *icmp = synthetic_packet(b, FLOW_ICMP, 2);
    switch (rule) {
    case CHECK_VERSION:
        set8(tcp, 0, 0x55);
        break;
    case CHECK_IHL:
        set8(tcp, 0, 0x44);
        break;
    case CHECK_PROTOCOL:
        set8(udp, 9, PROTO_ICMP);
        break;
    case CHECK_LENGTH:
        put16(icmp->header + 2, 27);
        break;
    case CHECK_PORTS:
        put16(udp->header + 20, 5005);
        break;
    case CHECK_ADDRESSES:
        set8(udp, 15, 99);
        break;
    case CHECK_TTL:
        set8(icmp, 8, 63);
        break;
    case CHECK_OPTIONS: /* length of the SYN's MSS */
        set8(synthetic_packet(b, FLOW_TCP, 0), 41, 3);
        break;
    case CHECK_UDP_LENGTH:
        put16(udp->header + 24, 167);
        break;
    case CHECK_FLAGS:
        set8(tcp, 33, TCP_SYN | TCP_FIN | TCP_ACK);
        break;
    case CHECK_SEQ:
        put32(tcp->header + 24, 12345);
        break;
    case CHECK_ACK:
        put32(tcp->header + 28, 1077);
        break;
    case CHECK_FIN: /* too early: more data follow */
        set8(synthetic_packet(b, FLOW_TCP, 4), 33, TCP_ACK | TCP_FIN);
        break;
    case CHECK_ICMP:
        set8(icmp, 20, 200);
        break;
    case CHECK_CHECKSUM_IP:
        tcp->header[10] ^= 1;
        break;
    case CHECK_CHECKSUM_L4:
        tcp->header[36] ^= 1;
        break;
    case CHECK_TIME:
        udp->time_ns -= 1000000000;
        break;
    case CHECK_FRAGMENT:
        set8(udp, 6, 0x80);
        break;
    case CHECK_RESERVED:
        put16(tcp->header + 38, 7);
        break;
    case CHECK_DSCP:
        set8(udp, 1, 4);
        break;
    case CHECK_IP_ID:
        set8(udp, 6, 0);
        break;
    case CHECK_HANDSHAKE:
        set8(synthetic_packet(b, FLOW_TCP, 9), 33, TCP_SYN | TCP_ACK);
        break;
    case CHECK_RESET:
        set8(synthetic_packet(b, FLOW_TCP, 7), 33, TCP_RST | TCP_ACK);
        break;
    case CHECK_WINDOW:
        put16(synthetic_packet(b, FLOW_TCP, 9)->header + 34, 0);
        break;
    case CHECK_REPEAT: /* data that shrink to nothing */
        put16(synthetic_packet(b, FLOW_TCP, 6)->header + 2, 40);
        set8(synthetic_packet(b, FLOW_TCP, 6), 33, TCP_ACK);
        set8(tcp, 33, TCP_ACK);
        put16(tcp->header + 2, 40);
        break;
    case CHECK_NEGOTIATED: /* a SYN without MSS */
        memset(synthetic_packet(b, FLOW_TCP, 0)->header + 40, 1, 4);
        break;
    case CHECK_ECHO:
        put16(synthetic_packet(b, FLOW_ICMP, 3)->header + 26, 99);
        break;
    case CHECK_COUNT:
        break;
    default:
        return false;
    }
    return true;
}

/* Rows fail the rule; false too where none is subject to it. */
static bool fails(const report *r, const char *rule, size_t column) {
    const report_cell *c = cell(r, "validity-rules", rule, column);
    assert_non_null(c);
    return c->kind == CELL_NUMBER && c->x > 0;
}

static void every_rule_moves_its_figure(void **state) {
    (void)state;
    for (int rule = 0; rule <= CHECK_COUNT; rule++) {
        bench b;
        bench_open(&b, 1, false, false);
        if (!break_rule(&b, (check_rule)rule)) { /* CHECK_COUNT: nothing is broken */
            bench_close(&b);
            continue;
        }
        judge(&b);
        print_message("%s\n", rule < CHECK_COUNT ? check_rules[rule].name : "nothing broken");
        if (rule < CHECK_COUNT)
            assert_true(number(b.r, "validity-rules", check_rules[rule].name, COLUMN_SYNTHETIC) > 0);
        for (int k = 0; k < CHECK_COUNT && rule == CHECK_COUNT; k++)
            assert_false(fails(b.r, check_rules[k].name, COLUMN_SYNTHETIC));
        for (int k = 0; k < CHECK_CHECKSUM_IP; k++)
            assert_false(fails(b.r, check_rules[k].name, COLUMN_HELD_OUT));
        bool row_rule = rule < CHECK_COUNT && (check_row_rules >> rule & 1);
        assert_int_equal(value(b.r, "validity.after") < 1, row_rule);
        assert_int_equal(number(b.r, "validity-passing", "flows passing all", COLUMN_SYNTHETIC) < 100, row_rule);
        assert_true(value(b.r, "validity.real") == 1);
        if (rule >= CHECK_CHECKSUM_IP && rule <= CHECK_CHECKSUM_L4)
            assert_true(value(b.r, "validity.checksums") < 1);
        bench_close(&b);
    }
}

static void unknown_is_empty(void **state) {
    (void)state;
    bench b;
    bench_open(&b, 1, false, false);
    judge(&b);
    assert_int_equal(cell(b.r, "validity-rules", "checksum_l4", COLUMN_HELD_OUT)->kind, CELL_NOTHING);
    assert_int_equal(cell(b.r, "validity-rules", "version", COLUMN_RAW)->kind, CELL_NOTHING);
    assert_int_equal(cell(b.r, "validity-tools", "all", 0)->kind, CELL_NOTHING);
    assert_int_equal(cell(b.r, "validity-traffic-shares", "packets with an error (tshark)", 1)->kind, CELL_NOTHING);
    assert_null(report_find_value(b.r, "validity.before", strlen("validity.before")));
    bench_close(&b);
}

/* One TTL bit, and one packet that repair took away, among the bits of all headers before repair. */
static void counts_what_repair_changed(void **state) {
    (void)state;
    bench b;
    bench_open(&b, 2, false, true);
    double bits = 0, packets = 0;
    for (size_t i = 0; i < b.w.raw.n; i++)
        for (size_t k = 0; k < b.w.raw.flows[i].f.npackets; k++, packets++)
            bits += 8.0 * (b.w.raw.flows[i].f.packets[k].nheader - 4); /* two checksums */
    b.w.raw.flows[FLOW_UDP].f.packets[2].header[8] ^= 2;
    judge(&b);
    assert_true(number(b.r, "validity-repair", "header bits (without checksums)", 0) == bits);
    assert_float_equal(number(b.r, "validity-repair", "header bits (without checksums)", 1), 100 / bits, 1e-9);
    assert_float_equal(number(b.r, "validity-repair", "packets", 1), 100 / packets, 1e-9);
    assert_true(number(b.r, "validity-repair", "packets, by leaving them out", 1) == 0);
    assert_float_equal(value(b.r, "validity.before"), 1 - 1 / packets, 1e-9);
    assert_true(value(b.r, "validity.after") == 1);
    report_free(&b.r);
    assert_int_equal(report_new(&b.r, "test"), ST_OK);
    b.w.synthetic.flows[FLOW_ICMP].f.npackets--;
    judge(&b);
    assert_float_equal(number(b.r, "validity-repair", "packets, by leaving them out", 1), 100 / packets, 1e-9);
    bench_close(&b);
}

/* ---- traffic ---- */

static void traffic_figures(void **state) {
    (void)state;
    bench b;
    bench_open(&b, 2, false, false);
    judge(&b);
    for (size_t side = 0; side < 2; side++) { /* three held-out flows of a class, two synthetic: two of each */
        assert_true(number(b.r, "validity-traffic", "flows", side) == 6);
        assert_true(number(b.r, "validity-traffic", "sessions (different 5-tuples)", side) == 6);
        assert_true(number(b.r, "validity-traffic", "packets", side) == 44);
        assert_true(number(b.r, "validity-traffic", "bytes", side) == 2.0 * (10 * 40 + 2 * 4 + 950 + 6 * 188 + 6 * 84));
        assert_true(number(b.r, "validity-traffic", "mean TCP window (unscaled)", side) == 64000);
        assert_float_equal(number(b.r, "validity-traffic-shares", "TCP", side), 100 * 20 / 44.0, 1e-9);
        assert_float_equal(number(b.r, "validity-traffic-shares", "SYN", side), 20, 1e-9);
        assert_float_equal(number(b.r, "validity-traffic-shares", "TTL 64", side), 100 * 24 / 44.0, 1e-9);
        assert_float_equal(number(b.r, "validity-ports", "443", side), 100 * 20 / 44.0, 1e-9);
        assert_float_equal(number(b.r, "validity-ports", "5004", side), 100 * 12 / 44.0, 1e-9);
    }
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_moves_its_figure),
        cmocka_unit_test(unknown_is_empty),
        cmocka_unit_test(counts_what_repair_changed),
        cmocka_unit_test(traffic_figures),
    };
    if (comm_open(&everyone))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return comm_finish(&everyone, failed ? ST_FORMAT : ST_OK) || failed;
}
