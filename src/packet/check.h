/* Validity of a flow's packets: one table of rules, applied to real and generated flows alike, and the list by which
 * repair says what it changed.
 *
 * Two trees: what one packet says of itself, bottom up, and what the packets of a flow say of each other. Every rule
 * passes on well-formed captures. Where one misses so many packets that nothing bears its numbers out it fails the
 * state rules, so the figures of the real training flows are printed beside the generated ones. Nothing in a packet is
 * trusted: any bytes under any nheader may be checked. docs/repair.md describes every rule. */
#ifndef ND_PACKET_CHECK_H
#define ND_PACKET_CHECK_H

#include "packet/flow.h"

/* The trees in their order; checksums and time are apart from the rules that make "row passes all". */
typedef enum check_rule {
    CHECK_VERSION,    /* 4 or 6, and equal to the flow's majority */
    CHECK_IHL,        /* the IP header, extension headers included, is long enough and there */
    CHECK_IP_OPTIONS, /* IPv4 options, or IPv6's extension headers with theirs, parse */
    CHECK_FRAGMENT,   /* whole, or a consistent first fragment; reserved bit 0 */
    CHECK_LENGTH,     /* total length >= headers, and the transport header is whole */
    CHECK_OPTIONS,    /* TCP option list parses, each option of its right length, and fits the data offset */
    CHECK_FLAGS,      /* a flag set RFC 9293 allows; PSH with data */
    CHECK_RESERVED,   /* reserved bits 0; an urgent pointer exactly where URG is */
    CHECK_UDP_LENGTH, /* equals the IP packet without its header */
    CHECK_ICMP,       /* known type and code, with as many bytes as it needs */

    CHECK_PROTOCOL,   /* equal to the flow's majority, and of the IP version */
    CHECK_ADDRESSES,  /* one pair in the flow */
    CHECK_PORTS,      /* one pair, neither of them 0 (one echo identifier) in the flow */
    CHECK_TTL,        /* TTL or hop limit: not 0, and equal to the most frequent of its direction */
    CHECK_DSCP,       /* the most frequent of its direction, or one that several packets have */
    CHECK_FLOW_LABEL, /* IPv6: equal to the most frequent of its direction */
    CHECK_IP_ID,      /* IPv4: a datagram that may be fragmented does not repeat the previous one's */
    CHECK_HANDSHAKE,  /* SYN, SYN-ACK, ACK where the flow starts with a SYN; no SYN later */
    CHECK_RESET,      /* nothing after the own RST; what was on its way after the peer's; the refusing RST's numbers */
    CHECK_SEQ,    /* expected, on a segment boundary (retransmission), one before expected (keep-alive), or over a gap
                     that what follows bears out */
    CHECK_FIN,    /* no data after the own FIN, and one FIN */
    CHECK_ACK,    /* on a segment boundary of the peer; only not backwards where the peer was never captured */
    CHECK_WINDOW, /* not taken back to nothing; no data into a shut one */
    CHECK_REPEAT, /* an acknowledgement without data says something new, or was asked for */
    CHECK_NEGOTIATED, /* MSS, window scale, SACK-permitted on SYNs only; options in use were offered by both */
    CHECK_TIMESTAMPS, /* TSval never runs back; TSecr is one that the peer sent */
    CHECK_SACK,       /* blocks within what was sent and not yet acknowledged */
    CHECK_ECHO,       /* echo replies answer a request */

    CHECK_CHECKSUM_IP,
    CHECK_CHECKSUM_L4, /* only where the payload is known; see check_flow */
    CHECK_TIME,        /* not before the previous packet */
    CHECK_COUNT
} check_rule;

typedef enum check_tree { CHECK_INTRA, CHECK_INTER } check_tree;

typedef struct check_rule_info {
    const char *name;
    check_tree tree;
    const char *rfc; /* where it is written, with the section */
} check_rule_info;
extern const check_rule_info check_rules[CHECK_COUNT];

/* The rules that make "row passes all" of the project's figures: all but checksums and time. */
enum { check_row_rules = (1u << CHECK_CHECKSUM_IP) - 1u };
_Static_assert(CHECK_COUNT <= 32, "a row's outcome is a mask of 32 bits");

/* What is known of the payload behind the headers. */
typedef enum check_payload {
    CHECK_PAYLOAD_UNKNOWN,
    CHECK_PAYLOAD_ZERO, /* zero bytes */
    CHECK_PAYLOAD_MADE, /* that of payload.h: flows that nd generated */
} check_payload;

typedef struct check_counts {
    uint64_t flows, rows;
    uint64_t flows_pass, rows_pass;                    /* all rules of check_row_rules */
    uint64_t tested[CHECK_COUNT], failed[CHECK_COUNT]; /* rows the rule applies to, rows that fail it */
} check_counts;

/* Add the flow's figures to *c. rows_failed (npackets masks of failed rules) may be NULL.
 * The transport checksum is checked where the payload is known. */
void check_flow(const flow *f, check_payload payload, check_counts *c, uint32_t *rows_failed);
void check_add(check_counts *to, const check_counts *from);

#endif
