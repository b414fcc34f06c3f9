/* Repair of datagrams and messages with faults made by hand, and of payloads by service. */
#include "repaired.h"

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

/* Messages of ICMP stay messages, with room for what they quote; extension headers and options that parse stay. */
static void test_messages(void **state) {
    flow f;
    flow_init(&f);
    for (unsigned i = 0; i < 4; i++) {
        add(&f, PROTO_ICMP, 0, i == 2 ? 30 : 84, i == 1 ? "\x0b\0\0\0\0\0\0\0" : "\3\3\0\0\0\0\0\0");
        put16(f.packets[i].header + 4, i + 1);
    }
    f.packets[0].header[25] = 9; /* a quote of 36 bytes, and extensions behind it */
    put16(f.packets[0].header + 26, 1400);
    f.packets[3].header[20] = 0xc8;
    repair_twice(&f, "messages", 0);
    assert_memory_equal(f.packets[0].header + 24, "\0\0\x05\x78", 4);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_datagrams),
        cmocka_unit_test(test_services),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
