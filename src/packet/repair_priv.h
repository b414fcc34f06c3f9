/* Repair inside: what the flow's packets agree on, one packet as a draft, and the protocols' rules. */
#ifndef ND_PACKET_REPAIR_PRIV_H
#define ND_PACKET_REPAIR_PRIV_H

#include "packet/check_priv.h"
#include "packet/repair.h"

enum { TRANSPORT_MAX = 60 };

typedef struct repair_message {
    uint8_t type, code;
} repair_message;

/* What most packets of the flow say, made sensible where none does. */
typedef struct repair_facts {
    bool ipv6;
    uint8_t proto;
    ip_address addr[2];
    uint16_t port[2]; /* TCP and UDP: never 0 */
    uint16_t echo_id;
    bool echo;                 /* ICMP: an echo conversation, else other messages */
    unsigned echo_type;        /* one direction only: what its packets become (ICMP_ECHO_REQUEST or _REPLY) */
    repair_message message[2]; /* of each direction, where they are not echoes */
    uint8_t ttl[2];            /* never 0 */
    uint32_t label[2];
    bool seen[2];             /* packets of this side exist */
    size_t last_going[2];     /* TCP: number + 1 of the side's last packet that is not a RST; 0 = none */
    int64_t last_going_ns[2]; /* its time */
} repair_facts;

/* A TCP segment as it came. */
typedef struct repair_came {
    uint32_t seq, ack;
    unsigned flags, payload;
} repair_came;

typedef enum segment_kind { SEGMENT_SYN, SEGMENT_SYN_ACK, SEGMENT_RST, SEGMENT_OTHER } segment_kind;

/* One packet between the rules. Its total length is kept right from the rule CHECK_LENGTH on. */
typedef struct repair_draft {
    size_t number;
    unsigned dir;
    int64_t time_ns;
    uint8_t ip[PACKET_HEADER_MAX];
    unsigned nip;
    uint8_t l4[TRANSPORT_MAX]; /* zeros beyond nl4 */
    unsigned nl4;
    unsigned payload;
    bool whole;         /* l4 came as a complete header of the flow's protocol */
    bool other_version; /* came as the other IP version */
    bool measured;      /* CHECK_LENGTH has run */
    bool drop;
    /* TCP */
    repair_came came;
    segment_kind kind;
    bool refuses;
    bool follows[2];           /* as captured: there is a further segment of this side, */
    uint32_t following_seq[2]; /* and this is its number, */
    unsigned following_flags[2];
    bool peer_goes_on;     /* the other side sends data before this side's next packet */
    bool gap_seq, gap_ack; /* its number, or what it acknowledges, runs ahead and stays so */
    bool came_as_echo;     /* ICMP */
} repair_draft;

/* TCP's flags, reserved bits included. */
static inline unsigned draft_flags(const repair_draft *x) {
    return get16(x->l4 + 12) & 0xfffu;
}

/* What repair keeps of a TCP side beyond the state of the rules. */
typedef struct repair_side {
    uint32_t shift; /* by how much its numbers have moved: now minus was, at its latest new segment */
    uint32_t tsval_offset;
} repair_side;

/* A gap that was kept, for what bears it out comes later: packet `number` of those that stay. */
typedef struct repair_gap {
    size_t number;
    uint32_t expected;
    bool ack;
} repair_gap;

/* `was` follows the packets as they came, `now` as they leave. A number keeps its relation (expected, k-th boundary) to
 * what its own conversation had so far, so a gap that closes moves everything behind it along. */
typedef struct repair_run {
    const flow *f;
    const header_view *views; /* of f's packets as they came, while they stand there */
    repair_facts facts;
    connection was;
    tcp_state now;
    repair_side side[2];
    size_t cursor[2]; /* of repair_look_ahead */
    connection_echo echo;
    bool id_known[2];
    uint16_t id[2];
    bool keep_gaps;
    size_t nkept, ngaps;
    repair_gap *gaps; /* room for two a packet, where gaps are kept */
} repair_run;

typedef void repair_function(repair_run *r, repair_draft *x);

/* Of a packet that is left. */
typedef struct repair_note {
    size_t came; /* its number in the flow as it came, and so of its votes */
    bool changed;
} repair_note;

/* Without so much as an IP header. */
bool repair_is_hopeless(const packet *p);
double repair_weight(const packet_votes *votes, const repair_note *notes, size_t i, vote_field field); /* 0 to 1 */
/* Before the rules, when hopeless packets have gone. views (npackets of them): each packet under the flow's version, or
 * its own where only that makes sense. */
void repair_survey(const flow *f, const packet_votes *votes, const repair_note *notes, repair_facts *facts,
                   header_view *views);
/* The draft of packet `number`. */
void repair_take(const repair_run *r, size_t number, repair_draft *x);
/* Fill in what follows the draft's packet. */
void repair_look_ahead(repair_run *r, repair_draft *x);
/* The payload that a message of this many bytes needs by the service of the flow's ports; 0 stays 0. */
unsigned repair_service_payload(const repair_facts *facts, unsigned payload);
/* The largest payload under these headers. */
unsigned repair_largest_payload(const repair_draft *x);
/* CHECK_DSCP of all packets, when it is known which of them stay. */
void repair_dscp(flow *f, const packet_votes *votes, const repair_note *notes, repair_counts *counts);

/* repair_ip.c */
repair_function repair_version, repair_ihl, repair_ip_options, repair_fragment, repair_length, repair_protocol,
    repair_addresses, repair_ports, repair_ttl, repair_flow_label, repair_ip_id;
/* repair_tcp.c */
repair_function repair_flags, repair_reserved, repair_reset, repair_handshake, repair_seq, repair_service, repair_fin,
    repair_ack, repair_window, repair_repeat;
/* The draft as the rules see it, and the states moved on behind it. */
void repair_tcp_segment(const repair_draft *x, tcp_segment *g);
void repair_tcp_begin(repair_run *r, repair_draft *x);
void repair_tcp_pass(repair_run *r, const repair_draft *x);
void repair_tcp_blank(repair_draft *x);
/* Does any segment, as it came, run ahead of what its side, or acknowledge what the other, was seen to send? */
bool repair_runs_ahead(const repair_run *r);
/* Do all gaps that were kept hold among the packets as they are now? */
bool repair_gaps_hold(const repair_run *r);
/* repair_tcp_options.c, and repair_tcp_grammar.c: CHECK_OPTIONS */
repair_function repair_options, repair_negotiated, repair_timestamps, repair_sack;
/* The list of the same length that takes the fewest changed bits to be one that such a segment may have. */
void repair_tcp_grammar(const uint8_t *list, unsigned nbytes, unsigned flags, tcp_option_list *out);
/* repair_udp.c */
repair_function repair_udp_length;
/* repair_icmp.c */
repair_function repair_icmp, repair_echo;
void repair_icmp_blank(const repair_run *r, repair_draft *x);

#endif
