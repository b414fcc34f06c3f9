/* TCP's rules as an observer between two hosts can hold them against a segment (RFC 9293, 7323, 2018).
 *
 * One state and one set of predicates for the checks, which report what does not hold, and the repair, which changes
 * the segment until it does. Predicates look at the state before the segment; tcp_state_pass then moves it on. */
#ifndef ND_PACKET_TCP_RULES_PRIV_H
#define ND_PACKET_TCP_RULES_PRIV_H

#include "packet/connection_priv.h"
#include "packet/tcp_options.h"

enum { TCP_NS = 256, TCP_ECN = TCP_ECE | TCP_CWR | TCP_NS, TCP_RESERVED = 0xe00 };

/* What an option list says; of options that come twice the first. */
typedef struct tcp_offers {
    bool parses;    /* every option of its right length, inside the list */
    bool repeated;  /* an option comes twice */
    bool others;    /* kinds that are not among those below */
    uint32_t kinds; /* bit k: an option of kind k < 32 is there */
    uint16_t mss;
    uint8_t scale;
    uint32_t tsval, tsecr;
    unsigned nblocks;
    uint32_t edges[2 * SACK_BLOCKS];
} tcp_offers;
void tcp_offers_read(const uint8_t *list, unsigned nbytes, tcp_offers *o);
static inline bool tcp_offers_has(const tcp_offers *o, unsigned kind) {
    return o->kinds >> kind & 1;
}

typedef struct tcp_segment {
    unsigned dir;
    uint32_t seq, ack;
    unsigned flags; /* 12 bits: with the three reserved ones */
    uint16_t window, urgent;
    unsigned payload;
    int64_t time_ns;
    tcp_offers options;
} tcp_segment;

typedef struct tcp_side {
    bool opened, going;         /* sent a SYN; sent anything else but RST */
    bool answered;              /* its SYN had ACK */
    bool reset, acked, stamped; /* sent a RST; an ACK; a time stamp */
    uint32_t isn, open_ack;     /* of its SYN */
    uint32_t highest_ack, edge; /* edge: right edge of the window it last offered, while acked */
    uint16_t window, widest;    /* the last one, the widest after the SYN */
    unsigned scale, mss;        /* of its SYN; mss 0: none */
    uint32_t offers;            /* kinds of its SYN's options */
    unsigned provoked;          /* segments of the other side that may be answered by repeating an ACK */
    int64_t reset_ns;
} tcp_side;

typedef struct tcp_state {
    connection connection;
    tcp_side side[2];
    bool seen[2]; /* packets of this side exist in the flow */
    bool started;
    bool handshake; /* starts with a SYN, and both sides are there: SYN, SYN-ACK, ACK must follow */
} tcp_state;

/* How long packets may be on their way after the other side's RST. */
static const int64_t TCP_FLIGHT_NS = 1000000000;

void tcp_state_start(tcp_state *t, const bool seen[2]);
/* Before the predicates, and after them. */
void tcp_state_meet(tcp_state *t, const tcp_segment *g);
void tcp_state_pass(tcp_state *t, const tcp_segment *g);

static inline bool tcp_is_syn(const tcp_segment *g) {
    return g->flags & TCP_SYN;
}
/* Neither SYN nor RST. */
static inline bool tcp_is_plain(const tcp_segment *g) {
    return !(g->flags & (TCP_SYN | TCP_RST));
}

bool tcp_flags_hold(const tcp_segment *g);    /* a set that RFC 9293 allows; PSH only with data or FIN */
bool tcp_reserved_hold(const tcp_segment *g); /* reserved bits 0, urgent pointer exactly with URG */
bool tcp_handshake_holds(const tcp_state *t, const tcp_segment *g);
bool tcp_reset_holds(const tcp_state *t, const tcp_segment *g);
bool tcp_seq_holds(const tcp_state *t, const tcp_segment *g);
bool tcp_ack_holds(const tcp_state *t, const tcp_segment *g);
bool tcp_fin_holds(const tcp_state *t, const tcp_segment *g);
bool tcp_repeat_holds(const tcp_state *t, const tcp_segment *g);
bool tcp_window_holds(const tcp_state *t, const tcp_segment *g);
/* May an option of this kind stand in this segment? */
bool tcp_option_belongs(const tcp_state *t, unsigned dir, unsigned flags, unsigned kind);
bool tcp_negotiated_hold(const tcp_state *t, const tcp_segment *g);
bool tcp_stamps_hold(const tcp_state *t, const tcp_segment *g);
bool tcp_sack_holds(const tcp_state *t, const tcp_segment *g);
/* Has the handshake, where one was seen, come so far that this side may send what is neither SYN nor RST? */
bool tcp_may_talk(const tcp_state *t, unsigned dir);
/* The RST that refuses a connection: nothing but SYNs of the other side came before (RFC 9293 3.10.7.1). */
bool tcp_refuses(const tcp_state *t, unsigned dir);

#endif
