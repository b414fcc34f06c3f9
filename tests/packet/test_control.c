/* The control signal of hand-made flows. */
#include "frames.h"
#include "packet/control.h"

static packet sized_packet(unsigned proto, unsigned payload, uint8_t dir, uint8_t flags) {
    packet p = {.nheader = proto == PROTO_TCP ? 40 : 28, .dir = dir, .header = {0x45}};
    p.header[9] = (uint8_t)proto;
    put16(p.header + 2, p.nheader + payload);
    if (proto == PROTO_TCP) {
        p.header[32] = 0x50;
        p.header[33] = flags;
    } else {
        memset(p.header + 20, 0xff, 8); /* bytes where TCP flags would be must not count */
    }
    return p;
}

static void test_size_classes(void **state) {
    static const unsigned first[] = {0, 1, 64, 256, 700, 1200};
    (void)state;
    for (unsigned c = 0; c < 6; c++) {
        assert_int_equal(control_size_class(first[c]), c);
        if (c > 0)
            assert_int_equal(control_size_class(first[c] - 1), c - 1);
    }
    assert_int_equal(control_size_class(65535), 5);
}

static void test_rows(void **state) {
    static const float expect[6][CONTROL_WIDTH] = {
        /* exists, dir, six sizes, SYN FIN RST PSH */
        {1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0}, {1, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0},
        {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1}, {1, 1, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0},
        {1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, {0},
    };
    packet packets[] = {
        sized_packet(PROTO_TCP, 0, 0, TCP_SYN),
        sized_packet(PROTO_TCP, 0, 1, TCP_SYN | TCP_ACK),
        sized_packet(PROTO_TCP, 300, 0, TCP_PSH | TCP_ACK),
        sized_packet(PROTO_TCP, 1460, 1, TCP_FIN | TCP_RST),
        sized_packet(PROTO_UDP, 5, 1, 0),
    };
    flow f;
    float got[6 * CONTROL_WIDTH + 1], first_rows[3 * CONTROL_WIDTH + 1];
    (void)state;
    flow_init(&f);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(flow_add(&f, &packets[i]), ST_OK);
    for (size_t i = 0; i < sizeof got / sizeof *got; i++)
        got[i] = 42;
    control_encode(&f, 6, got);
    assert_memory_equal(got, expect, sizeof expect);
    assert_true(got[6 * CONTROL_WIDTH] == 42);

    first_rows[3 * CONTROL_WIDTH] = 42;
    control_encode(&f, 3, first_rows); /* a window shorter than the flow */
    assert_memory_equal(first_rows, expect, 3 * CONTROL_WIDTH * sizeof(float));
    assert_true(first_rows[3 * CONTROL_WIDTH] == 42);
    flow_clear(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_size_classes), cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
