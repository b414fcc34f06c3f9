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

/* Every shape says what its packet is, and no two packets of different kinds have the same. */
static void test_shapes(void **state) {
    static const unsigned size[] = {0, 1, 64, 256, 700, 1200}, bit[] = {TCP_SYN, TCP_FIN, TCP_RST, TCP_PSH};
    uint8_t seen[PACKET_SHAPES] = {0};
    control_window one = {.nrows = 1, .nflow = 1, .kept = 1};
    float row[CONTROL_WIDTH];
    (void)state;
    for (unsigned dir = 0; dir < 2; dir++)
        for (unsigned c = 0; c < 6; c++)
            for (unsigned flags = 0; flags < 16; flags++) {
                unsigned tcp_flags = TCP_ACK;
                for (unsigned i = 0; i < 4; i++)
                    tcp_flags |= flags >> i & 1 ? bit[i] : 0;
                packet_shape shape = packet_shape_make(dir, size[c], tcp_flags);
                assert_in_range(shape, 0, PACKET_SHAPES - 1);
                assert_int_equal(seen[shape]++, 0);
                control_encode(&shape, &one, row);
                assert_true(row[CONTROL_DIR] == (float)dir);
                for (unsigned i = 0; i < 6; i++)
                    assert_true(row[CONTROL_SIZE + i] == (float)(i == c));
                for (unsigned i = 0; i < 4; i++)
                    assert_true(row[CONTROL_FLAGS + i] == (float)(flags >> i & 1));
            }
}

/* The rows of hand-made packets: only TCP has flags. */
static void test_rows(void **state) {
    static const float expect[6][CONTROL_GIVEN] = {
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
    packet_shape shapes[5];
    float got[6 * CONTROL_WIDTH + 1];
    (void)state;
    for (size_t i = 0; i < 5; i++)
        shapes[i] = packet_shape_of(&packets[i]);
    for (size_t i = 0; i < sizeof got / sizeof *got; i++)
        got[i] = 42;
    control_encode(shapes, &(control_window){.nrows = 6, .nflow = 5, .kept = 5}, got);
    for (size_t i = 0; i < 6; i++)
        assert_memory_equal(got + i * CONTROL_WIDTH, expect[i], sizeof *expect);
    assert_true(got[6 * CONTROL_WIDTH] == 42);
}

typedef struct frame_case {
    control_window window;
    size_t row;
    const char *frame; /* exists given first last, before 4 16 64 256, after 2 3 4 16 64 */
} frame_case;

/* Where a row stands: in the first window, in later ones, at the flow's end, past it, and where the flow was cut. */
static void test_frames(void **state) {
    static const frame_case table[] = {
        {{0, 8, 0, 100, 100}, 0, "1010 0000 11111"},    {{0, 8, 0, 100, 100}, 7, "1000 1000 11111"},
        {{90, 8, 3, 100, 100}, 0, "1100 1110 11100"},   {{90, 8, 3, 100, 100}, 2, "1100 1110 11100"},
        {{90, 8, 3, 100, 100}, 3, "1000 1110 11100"},   {{90, 8, 3, 100, 100}, 6, "1000 1110 11000"},
        {{95, 8, 3, 100, 100}, 2, "1100 1110 10000"},   {{95, 8, 3, 100, 100}, 3, "1000 1110 00000"},
        {{95, 8, 3, 100, 100}, 4, "1001 1110 00000"},   {{95, 8, 3, 100, 100}, 5, "0000 0000 00000"},
        {{0, 8, 0, 1, 1}, 0, "1011 0000 00000"},        {{300, 8, 2, 5000, 305}, 4, "1000 1111 11111"},
        {{300, 8, 2, 5000, 305}, 5, "0000 0000 00000"},
    };
    float control[8 * CONTROL_WIDTH];
    packet_shape shapes[305] = {0};
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (int shaped = 0; shaped < 2; shaped++) {
            control_encode(shaped ? shapes : NULL, &table[i].window, control);
            const float *row = control + table[i].row * CONTROL_WIDTH;
            char frame[16];
            size_t at = 0;
            frame[at++] = row[CONTROL_EXISTS] != 0 ? '1' : '0';
            for (size_t c = CONTROL_GIVEN; c < CONTROL_WIDTH; c++) {
                if (c == CONTROL_BEFORE || c == CONTROL_AFTER)
                    frame[at++] = ' ';
                frame[at++] = row[c] != 0 ? '1' : '0';
            }
            frame[at] = 0;
            if (strcmp(frame, table[i].frame) != 0)
                fail_msg("case %zu: %s instead of %s", i, frame, table[i].frame);
            bool exists = frame[0] == '1';
            assert_true(row[CONTROL_SIZE] == (float)(shaped && exists));
        }
}

/* Windows cover every row, and each but the first begins with rows of the one before. */
static void test_windows(void **state) {
    (void)state;
    for (size_t rows = 1; rows <= 9; rows++)
        for (size_t context = 0; context < rows; context++)
            for (size_t kept = 1; kept <= 40; kept++) {
                size_t n = control_nwindows(kept, rows, context), covered = 0;
                for (size_t w = 0; w < n; w++) {
                    size_t first = control_window_first(w, rows, context), given = w > 0 ? context : 0;
                    assert_int_equal(first + given, covered);
                    assert_true(covered < kept); /* none is without a new row */
                    covered = first + rows < kept ? first + rows : kept;
                }
                assert_int_equal(covered, kept);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_size_classes), cmocka_unit_test(test_shapes),
                                       cmocka_unit_test(test_rows), cmocka_unit_test(test_frames),
                                       cmocka_unit_test(test_windows)};
    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
