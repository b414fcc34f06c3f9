/* Control signal: what a row of a window is told beside the noise. 24 numbers a packet, each 0 or 1.
 *
 * Its frame says which rows there are, which are given (known packets of the flow so far, which a later window starts
 * with), and where they stand in the flow. Its shape says what kind of packet each is to be. */
#ifndef ND_PACKET_CONTROL_H
#define ND_PACKET_CONTROL_H

#include "packet/flow.h"

enum {
    CONTROL_EXISTS,
    CONTROL_DIR,       /* 1 = from the responder; the shape begins */
    CONTROL_SIZE,      /* six one-hot payload classes: 0, 1-63, 64-255, 256-699, 700-1199, 1200 and more */
    CONTROL_FLAGS = 8, /* SYN FIN RST PSH; the shape ends */
    CONTROL_GIVEN = 12,
    CONTROL_FIRST,      /* the flow's first row */
    CONTROL_LAST,       /* its last one */
    CONTROL_BEFORE,     /* at least 4, 16, 64, 256 rows before this one */
    CONTROL_AFTER = 19, /* at least 2, 3, 4, 16, 64 after it */
    CONTROL_WIDTH = 24
};

/* The kind of a packet, 0 .. PACKET_SHAPES-1: bit 0 direction, 1 to 4 SYN FIN RST PSH, from 5 on payload class. */
typedef uint8_t packet_shape;
enum { PACKET_SHAPES = 192 };
packet_shape packet_shape_make(unsigned dir, unsigned payload, unsigned tcp_flags);
packet_shape packet_shape_of(const packet *p);
/* Does its sender end the connection with it (FIN, RST)? */
static inline bool packet_shape_closes(packet_shape s) {
    return (s >> 2 & 3) != 0;
}
unsigned packet_shape_flags(packet_shape s); /* SYN, FIN, RST, PSH as in the TCP header */
unsigned control_size_class(unsigned payload);

/* Is this one of the numbers that come from the packet's shape, or of the frame? */
static inline bool control_is_shape(size_t i) {
    return i >= CONTROL_DIR && i < CONTROL_GIVEN;
}

/* Which rows of a flow a window shows: nrows from `first` on, of which the first ngiven are given. The flow has nflow
 * packets, of which only the first `kept` are ever made (the others are beyond the cap, so that no row is the last). */
typedef struct control_window {
    size_t first, nrows, ngiven, nflow, kept;
} control_window;

/* nrows x CONTROL_WIDTH floats, all written; rows past the flow's end are all zero. shapes: of the flow's packets from
 * its first one on, or NULL for the frame alone. */
void control_encode(const packet_shape *shapes, const control_window *w, float *control);

/* How a flow of `kept` rows falls into windows of `rows`, each of which is given the last `context` (< rows) rows of
 * the one before: how many there are, and the first row of each. */
size_t control_nwindows(size_t kept, size_t rows, size_t context);
static inline size_t control_window_first(size_t window, size_t rows, size_t context) {
    return window * (rows - context);
}

#endif
