/* TCP options: walking and writing (see tcp_options.h). */
#include <string.h>
#include "packet/tcp_options.h"

static bool length_fits(unsigned kind, unsigned nbytes) {
    switch (kind) {
    case TCP_OPTION_MSS:
        return nbytes == 4;
    case TCP_OPTION_WINDOW_SCALE:
        return nbytes == 3;
    case TCP_OPTION_SACK_PERMITTED:
        return nbytes == 2;
    case TCP_OPTION_SACK:
        return nbytes >= 10 && nbytes <= 34 && nbytes % 8 == 2;
    case TCP_OPTION_TIMESTAMPS:
        return nbytes == 10;
    default:
        return nbytes >= 2;
    }
}

int tcp_option_next(const uint8_t *list, unsigned nbytes, unsigned *at, tcp_option *o) {
    if (*at >= nbytes)
        return 0;
    *o = (tcp_option){.kind = list[*at], .at = *at, .nbytes = 1};
    if (o->kind != TCP_OPTION_EOL && o->kind != TCP_OPTION_NOP) {
        if (nbytes - *at < 2)
            return -1;
        o->nbytes = list[*at + 1];
        if (o->nbytes > nbytes - *at || !length_fits(o->kind, o->nbytes))
            return -1;
    }
    *at += o->nbytes;
    return 1;
}

uint8_t *tcp_option_add(tcp_option_list *l, unsigned kind, unsigned nbytes) {
    if (nbytes > TCP_OPTIONS_MAX - l->nbytes)
        return NULL;
    uint8_t *option = l->bytes + l->nbytes;
    memset(option, 0, nbytes);
    option[0] = (uint8_t)kind;
    if (nbytes > 1)
        option[1] = (uint8_t)nbytes;
    l->nbytes += nbytes;
    return option + (nbytes > 1 ? 2 : 1);
}

void tcp_option_pad(tcp_option_list *l) {
    while (l->nbytes % 4 != 0)
        l->bytes[l->nbytes++] = TCP_OPTION_EOL;
}
