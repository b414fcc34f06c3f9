/* Control signal: the frame of a window, and the shape of the conversation read off its packets. */
#include "packet/control.h"
#include <string.h>

static const unsigned shape_flag[] = {TCP_SYN, TCP_FIN, TCP_RST, TCP_PSH};
enum { NFLAGS = sizeof shape_flag / sizeof *shape_flag };

unsigned control_size_class(unsigned payload) {
    static const unsigned upper[] = {1, 64, 256, 700, 1200}; /* first size that is too large for the class */
    unsigned size_class = 0;
    while (size_class < sizeof upper / sizeof *upper && payload >= upper[size_class])
        size_class++;
    return size_class;
}

packet_shape packet_shape_make(unsigned dir, unsigned payload, unsigned tcp_flags) {
    unsigned flags = 0;
    for (unsigned i = 0; i < NFLAGS; i++)
        flags |= (tcp_flags & shape_flag[i]) != 0 ? 1u << i : 0;
    return (packet_shape)((control_size_class(payload) << NFLAGS | flags) << 1 | (dir != 0));
}

packet_shape packet_shape_of(const packet *p) {
    return packet_shape_make(p->dir, packet_payload(p), packet_proto(p) == PROTO_TCP ? packet_l4(p)[13] : 0);
}

unsigned packet_shape_flags(packet_shape s) {
    unsigned flags = 0;
    for (unsigned i = 0; i < NFLAGS; i++)
        flags |= s >> (1 + i) & 1 ? shape_flag[i] : 0;
    return flags;
}

static void put_shape(packet_shape s, float *row) {
    row[CONTROL_DIR] = s & 1;
    for (unsigned i = 0; i < NFLAGS; i++)
        row[CONTROL_FLAGS + i] = s >> (1 + i) & 1;
    row[CONTROL_SIZE + (s >> (1 + NFLAGS))] = 1;
}

/* How far a row is from the flow's ends: coarsely, but for the last rows, where TCP's FINs stand. */
static const uint16_t before_bounds[CONTROL_AFTER - CONTROL_BEFORE] = {4, 16, 64, 256};
static const uint16_t after_bounds[CONTROL_WIDTH - CONTROL_AFTER] = {2, 3, 4, 16, 64};

static void put_distance(size_t distance, size_t nbounds, const uint16_t *bounds, float *bits) {
    for (size_t i = 0; i < nbounds; i++)
        bits[i] = distance >= bounds[i];
}

void control_encode(const packet_shape *shapes, const control_window *w, float *control) {
    memset(control, 0, w->nrows * CONTROL_WIDTH * sizeof *control); /* all bits zero is 0.0f */
    for (size_t i = 0; i < w->nrows && w->first + i < w->kept; i++) {
        size_t number = w->first + i, after = w->nflow - 1 - number;
        float *row = control + i * CONTROL_WIDTH;
        row[CONTROL_EXISTS] = 1;
        row[CONTROL_GIVEN] = i < w->ngiven;
        row[CONTROL_FIRST] = number == 0;
        row[CONTROL_LAST] = after == 0;
        put_distance(number, CONTROL_AFTER - CONTROL_BEFORE, before_bounds, row + CONTROL_BEFORE);
        put_distance(after, CONTROL_WIDTH - CONTROL_AFTER, after_bounds, row + CONTROL_AFTER);
        if (shapes != NULL)
            put_shape(shapes[number], row);
    }
}

size_t control_nwindows(size_t kept, size_t rows, size_t context) {
    size_t step = rows - context;
    return kept <= rows ? 1 : 1 + (kept - rows + step - 1) / step;
}
