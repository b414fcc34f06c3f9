/* Payload of any packet: every byte is written and the same twice, a cut is a prefix, and checksums count it, which are
 * summed naively here. */
#include <time.h>
#include "messages.h"
#include "packet/check.h"
#include "packet/repair.h"

static void other_ports_carry_zeros(void **state) {
    flow f;
    uint8_t bytes[100];
    flow_init(&f);
    add(&f, message(PROTO_UDP, 0, 6000, 0, 100));
    add(&f, message(PROTO_TCP, 0, 8000, 1, 100));
    for (size_t i = 0; i < 2; i++) {
        memset(bytes, 1, sizeof bytes);
        assert_false(payload_make(&f, i, bytes, sizeof bytes));
        for (size_t k = 0; k < sizeof bytes; k++)
            assert_int_equal(bytes[k], 0);
        assert_int_equal(payload_sum(&f, i), 0);
    }
    flow_clear(&f);
}

/* On either side's port, of that transport only, and where there is payload at all. */
static void payload_of_foreign_services_is_left_out(void **state) {
    static const struct {
        unsigned proto, port, payload;
        bool left_out;
    } rows[] = {{PROTO_TCP, 3306, 40, true},  {PROTO_TCP, 3306, 0, false},  {PROTO_UDP, 3306, 40, false},
                {PROTO_UDP, 161, 40, false},  {PROTO_UDP, 137, 50, true},   {PROTO_UDP, 5683, 8, true},
                {PROTO_UDP, 14390, 8, true},  {PROTO_UDP, 14400, 8, false}, {PROTO_TCP, 6000, 8, true},
                {PROTO_TCP, 6063, 8, true},   {PROTO_TCP, 6064, 8, false},  {PROTO_TCP, 80, 100, false},
                {PROTO_TCP, 443, 100, false}, {PROTO_UDP, 53, 40, false},   {PROTO_UDP, 5030, 40, false},
                {PROTO_UDP, 5031, 40, true},  {PROTO_ICMP, 0, 40, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (unsigned dir = 0; dir < 2; dir++) {
            packet p = rows[i].proto == PROTO_ICMP ? icmp(dir, 8, rows[i].payload)
                                                   : message(rows[i].proto, dir, rows[i].port, 1, rows[i].payload);
            if (payload_is_left_out(&p) != rows[i].left_out)
                fail_msg("protocol %u, port %u, %u bytes", rows[i].proto, rows[i].port, rows[i].payload);
        }
    packet shapeless = message(PROTO_TCP, 0, 3306, 1, 40);
    shapeless.nheader = 30;
    assert_false(payload_is_left_out(&shapeless));
}

/* One's complement sum of pseudo header, header and payload together, byte by byte: 0xffff where it is right. */
static unsigned naive_sum(const packet *p, const uint8_t *payload, size_t n) {
    uint64_t sum = 0;
    unsigned nip = packet_ip_nheader(p), proto = packet_proto(p), l4 = (unsigned)(p->nheader - nip + n);
    for (unsigned k = 0; k < l4; k++) {
        unsigned byte = k < p->nheader - nip ? p->header[nip + k] : payload[k - (p->nheader - nip)];
        sum += k % 2 ? byte : byte << 8;
    }
    if (proto != PROTO_ICMP) {
        for (unsigned k = 0; k < 8; k++)
            sum += k % 2 ? p->header[12 + k] : (unsigned)p->header[12 + k] << 8;
        sum += proto + l4;
    }
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (unsigned)sum;
}

static void checksums_count_the_payload(void **state) {
    static const struct {
        unsigned proto, port;
    } services[] = {{PROTO_UDP, 53},   {PROTO_TCP, 53}, {PROTO_TCP, 443},  {PROTO_TCP, 22},
                    {PROTO_TCP, 1883}, {PROTO_ICMP, 0}, {PROTO_UDP, 6000}, {PROTO_UDP, 123}};
    for (size_t s = 0; s < sizeof services / sizeof *services; s++) {
        flow f;
        flow_init(&f);
        for (unsigned i = 0; i < 40; i++) {
            unsigned dir = i % 3 == 1, payload = 48 + i * 37;
            add(&f, services[s].proto == PROTO_ICMP
                        ? icmp(dir, dir ? 0 : 8, payload)
                        : message(services[s].proto, dir, services[s].port, 1 + i * 3000, payload));
        }
        checksum_fill_flow(&f);
        for (size_t i = 0; i < f.npackets; i++) {
            size_t n;
            uint8_t *bytes = payload_of(&f, i, &n);
            assert_int_equal(naive_sum(&f.packets[i], bytes, n), 0xffff);
            free(bytes);
        }
        check_counts c = {0};
        check_flow(&f, CHECK_PAYLOAD_MADE, &c, NULL);
        assert_int_equal(c.tested[CHECK_CHECKSUM_L4], 40);
        assert_int_equal(c.failed[CHECK_CHECKSUM_L4], 0);
        check_flow(&f, CHECK_PAYLOAD_ZERO, &c, NULL); /* and it is not what zeros would have */
        assert_true(c.failed[CHECK_CHECKSUM_L4] > 0 || services[s].port == 6000);
        flow_clear(&f);
    }
}

static void repaired_flows_have_the_checksums(void **state) {
    flow f;
    size_t n;
    flow_init(&f);
    for (unsigned i = 0; i < 10; i++)
        add(&f, message(PROTO_UDP, i % 2, 53, 0, 40 + i));
    assert_int_equal(repair_flow(&f, NULL, NULL), ST_OK);
    for (size_t i = 0; i < f.npackets; i++) {
        uint8_t *bytes = payload_of(&f, i, &n);
        assert_int_equal(naive_sum(&f.packets[i], bytes, n), 0xffff);
        free(bytes);
    }
    flow_clear(&f);
}

static void a_cut_is_a_prefix(void **state) {
    static const unsigned ports[] = {53, 443, 22, 1883};
    for (size_t s = 0; s < 4; s++) {
        flow f;
        size_t n;
        uint8_t part[300];
        flow_init(&f);
        add(&f, message(PROTO_TCP, 0, ports[s], 1, 300));
        uint8_t *whole = payload_of(&f, 0, &n);
        for (size_t k = 0; k <= n; k++) {
            payload_make(&f, 0, part, k);
            assert_memory_equal(part, whole, k);
        }
        free(whole);
        flow_clear(&f);
    }
}

/* Any headers of any shape or none, of both IP versions: every byte is written, and the same twice. */
static void any_headers_will_do(void **state) {
    static const uint16_t ports[] = {53, 443, 22, 1883, 123, 5353};
    rng r = rng_make(1, 1, RNG_TEST);
    for (unsigned round = 0; round < 300; round++) {
        flow f;
        flow_init(&f);
        for (unsigned i = 0; i < 12; i++) {
            packet p = random_packet(&r);
            unsigned kind = rng_below(&r, 8);
            p.dir = rng_below(&r, 2);
            if (kind == 0) { /* no shape at all */
                for (size_t k = 0; k < PACKET_HEADER_MAX; k++)
                    p.header[k] = (uint8_t)rng_u32(&r);
                p.nheader = (uint8_t)rng_u32(&r);
            } else if (kind < 4) { /* IPv6: without extension headers, and the transport header's length kept */
                unsigned nip = packet_ip_nheader(&p), nl4 = p.nheader - nip;
                uint8_t proto = p.header[9] == PROTO_ICMP ? PROTO_ICMPV6 : p.header[9];
                memmove(p.header + 40, p.header + nip, nl4);
                p.header[0] = 0x60;
                put16(p.header + 4, nl4 + rng_below(&r, 2000));
                p.header[6] = proto;
                p.nheader = (uint8_t)(40 + nl4);
            }
            if (p.nheader <= PACKET_HEADER_MAX && packet_has_shape(&p) && kind % 2)
                put16(p.header + packet_ip_nheader(&p) + 2 * rng_below(&r, 2), ports[rng_below(&r, 6)]);
            add(&f, p);
        }
        for (size_t i = 0; i < f.npackets; i++) {
            size_t n;
            uint8_t *a = payload_of(&f, i, &n), *b = malloc(n + 1);
            assert_non_null(b);
            memset(b, 0x11, n + 1);
            payload_make(&f, i, b, n);
            assert_memory_equal(a, b, n);
            assert_int_equal(b[n], 0x11);
            assert_int_equal(payload_sum(&f, i), checksum_sum(a, n));
            free(a);
            free(b);
        }
        flow_clear(&f);
    }
}

static void assert_quick(flow *f, const char *what) {
    enum { SECONDS = 3 };
    clock_t start = clock();
    checksum_fill_flow(f);
    if (clock() - start > SECONDS * CLOCKS_PER_SEC)
        fail_msg("%s: %zu packets take more than %d s", what, f->npackets, SECONDS);
}

/* One side fills the first half of a flow, the other one the second: not a search through half of it for each packet.
 * Nor does each of many small TLS segments look at all others near it once more for each of them. */
static void long_flows_take_no_longer(void **state) {
    enum { HALF = 50000, SIZE = 100 };
    static const uint16_t ports[] = {22, 53, 443, 1883};
    uint8_t bytes[SIZE];
    for (size_t k = 0; k < sizeof ports / sizeof *ports; k++) {
        flow f;
        flow_init(&f);
        for (uint32_t i = 0; i < 2 * HALF; i++)
            add(&f, message(PROTO_TCP, i >= HALF, ports[k], 1 + i % HALF * SIZE, SIZE));
        assert_quick(&f, "halves");
        payload_make(&f, 0, bytes, SIZE);
        assert_true(ports[k] != 22 || memcmp(bytes, "SSH-", 4) == 0);
        payload_make(&f, HALF, bytes, SIZE); /* whether its side began there cannot be known */
        assert_true(ports[k] != 22 || memcmp(bytes, "SSH-", 4) != 0);
        flow_clear(&f);
    }
    flow f;
    flow_init(&f);
    for (uint32_t i = 0; i < 2 * HALF; i++)
        add(&f, message(PROTO_TCP, 0, 443, 1 + i, 1));
    assert_quick(&f, "bytes");
    flow_clear(&f);
}

/* A record in segments too small for it is the same whichever comes first, but not where its beginning was cut off. */
static void a_small_record_may_come_in_any_order(void **state) {
    uint8_t late, cut;
    flow f;
    flow_init(&f);
    add(&f, message(PROTO_TCP, 0, 443, 1, 100));
    add(&f, message(PROTO_TCP, 0, 443, 105, 1)); /* the fifth byte, */
    add(&f, message(PROTO_TCP, 0, 443, 101, 4)); /* those before it, */
    payload_make(&f, 1, &late, 1);
    f.npackets = 2;
    payload_make(&f, 1, &cut, 1);
    assert_int_equal(late, 1); /* of which it is the low byte of the length */
    assert_int_equal(cut, 23); /* a type */
    flow_clear(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_ports_carry_zeros),     cmocka_unit_test(payload_of_foreign_services_is_left_out),
        cmocka_unit_test(checksums_count_the_payload), cmocka_unit_test(repaired_flows_have_the_checksums),
        cmocka_unit_test(a_cut_is_a_prefix),           cmocka_unit_test(any_headers_will_do),
        cmocka_unit_test(long_flows_take_no_longer),   cmocka_unit_test(a_small_record_may_come_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
