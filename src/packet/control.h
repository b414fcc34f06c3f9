/* Control signal of a packet: what a conversation's shape is made of. 12 numbers a packet, each 0 or 1. */
#ifndef ND_PACKET_CONTROL_H
#define ND_PACKET_CONTROL_H

#include "packet/flow.h"

enum {
    CONTROL_EXISTS,
    CONTROL_DIR,       /* 1 = from the responder */
    CONTROL_SIZE,      /* six one-hot payload classes: 0, 1-63, 64-255, 256-699, 700-1199, 1200 and more */
    CONTROL_FLAGS = 8, /* SYN FIN RST PSH */
    CONTROL_WIDTH = 12
};

/* rows x CONTROL_WIDTH floats, all written; rows past the flow's end are all zero. */
void control_encode(const flow *f, size_t nrows, float *control);
unsigned control_size_class(unsigned payload);

#endif
