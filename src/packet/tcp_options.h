/* TCP options (RFC 9293 3.1, 7323, 2018): walking a list and writing one. */
#ifndef ND_PACKET_TCP_OPTIONS_H
#define ND_PACKET_TCP_OPTIONS_H

#include "packet/packet.h"

enum {
    TCP_OPTION_EOL = 0,
    TCP_OPTION_NOP = 1,
    TCP_OPTION_MSS = 2,
    TCP_OPTION_WINDOW_SCALE = 3,
    TCP_OPTION_SACK_PERMITTED = 4,
    TCP_OPTION_SACK = 5,
    TCP_OPTION_TIMESTAMPS = 8
};
enum { TCP_OPTIONS_MAX = 40, WINDOW_SCALE_MAX = 14 };

typedef struct tcp_option {
    unsigned kind, at, nbytes; /* nbytes with kind and length; at: offset in the list */
} tcp_option;

/* The option at *at, which moves behind it. 1: *o is one; 0: the list is over; -1: no option can start here, or its
 * length runs past the list or is wrong for its kind. EOL is returned as an option of one byte. */
int tcp_option_next(const uint8_t *list, unsigned nbytes, unsigned *at, tcp_option *o);

typedef struct tcp_option_list {
    unsigned nbytes;
    uint8_t bytes[TCP_OPTIONS_MAX];
} tcp_option_list;

/* Append an option of `nbytes` in all; NOP and EOL have no length byte. Returns where its data goes, or NULL where it
 * does not fit (the list is then unchanged). */
uint8_t *tcp_option_add(tcp_option_list *l, unsigned kind, unsigned nbytes);
/* Zero bytes up to a whole word. */
void tcp_option_pad(tcp_option_list *l);

#endif
