/* Control signal: the shape of a conversation, read off its packets. */
#include <string.h>
#include "packet/control.h"

unsigned control_size_class(unsigned payload) {
    static const unsigned upper[] = {1, 64, 256, 700, 1200}; /* first size that is too large for the class */
    unsigned size_class = 0;
    while (size_class < sizeof upper / sizeof *upper && payload >= upper[size_class])
        size_class++;
    return size_class;
}

static void encode_packet(const packet *p, float *row) {
    static const unsigned flag[] = {TCP_SYN, TCP_FIN, TCP_RST, TCP_PSH};
    row[CONTROL_EXISTS] = 1;
    row[CONTROL_DIR] = p->dir != 0;
    row[CONTROL_SIZE + control_size_class(packet_payload(p))] = 1;
    if (packet_proto(p) == PROTO_TCP)
        for (unsigned i = 0; i < sizeof flag / sizeof *flag; i++)
            row[CONTROL_FLAGS + i] = (packet_l4(p)[13] & flag[i]) != 0;
}

void control_encode(const flow *f, size_t nrows, float *control) {
    memset(control, 0, nrows * CONTROL_WIDTH * sizeof *control); /* all bits zero is 0.0f */
    for (size_t i = 0; i < nrows && i < f->npackets; i++)
        encode_packet(&f->packets[i], control + i * CONTROL_WIDTH);
}
