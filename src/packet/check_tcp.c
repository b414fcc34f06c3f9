/* TCP's rules as rows of the table: tcp_rules.c has the rules themselves. */
#include "packet/check_priv.h"

static bool is_tcp(const check_row *x) {
    return x->v.l4 != NULL && x->v.proto == PROTO_TCP;
}

int check_options(const check_row *x) {
    if (!is_tcp(x))
        return -1;
    unsigned offset = (x->v.l4[12] >> 4) * 4u;
    return offset >= 20 && offset == x->v.nl4 && x->g.options.parses;
}

int check_flags(const check_row *x) {
    return is_tcp(x) ? tcp_flags_hold(&x->g) : -1;
}

int check_reserved(const check_row *x) {
    return is_tcp(x) ? tcp_reserved_hold(&x->g) : -1;
}

int check_handshake(const check_row *x) {
    return is_tcp(x) ? tcp_handshake_holds(&x->w->tcp, &x->g) : -1;
}

int check_reset(const check_row *x) {
    return is_tcp(x) ? tcp_reset_holds(&x->w->tcp, &x->g) : -1;
}

int check_seq(const check_row *x) {
    const tcp_state *t = &x->w->tcp;
    const connection_side *own = &t->connection.side[x->v.dir];
    if (!is_tcp(x))
        return -1;
    return tcp_seq_holds(t, &x->g) ||
           (!own->fin && gap_before_segment(&x->behind, &x->g, own->next, t->seen[!x->v.dir]));
}

int check_fin(const check_row *x) {
    return is_tcp(x) ? tcp_fin_holds(&x->w->tcp, &x->g) : -1;
}

int check_ack(const check_row *x) {
    if (!is_tcp(x) || !(x->g.flags & TCP_ACK))
        return -1;
    const tcp_state *t = &x->w->tcp;
    return tcp_ack_holds(t, &x->g) || gap_before_ack(&x->behind, &x->g, t->connection.side[!x->v.dir].next);
}

int check_window(const check_row *x) {
    return is_tcp(x) ? tcp_window_holds(&x->w->tcp, &x->g) : -1;
}

int check_repeat(const check_row *x) {
    return is_tcp(x) && tcp_is_plain(&x->g) && x->g.payload == 0 ? tcp_repeat_holds(&x->w->tcp, &x->g) : -1;
}

int check_negotiated(const check_row *x) {
    bool applies = is_tcp(x) && (x->g.options.kinds != 0 || tcp_is_syn(&x->g));
    return applies ? tcp_negotiated_hold(&x->w->tcp, &x->g) : -1;
}

int check_timestamps(const check_row *x) {
    bool stamps = is_tcp(x) && tcp_offers_has(&x->g.options, TCP_OPTION_TIMESTAMPS);
    return stamps ? tcp_stamps_hold(&x->w->tcp, &x->g) : -1;
}

int check_sack(const check_row *x) {
    return is_tcp(x) && x->g.options.nblocks > 0 ? tcp_sack_holds(&x->w->tcp, &x->g) : -1;
}
