/* Validity of a flow's packets: one table of rules, applied to real and generated flows alike.
 *
 * Every rule passes on well-formed complete captures. Captures that miss packets fail the state rules (numbers run
 * ahead of what was seen), and a path may change TTLs, so the figures of the real training flows are printed beside the
 * generated ones. Nothing in a packet is trusted: any bytes under any nheader may be checked. */
#ifndef ND_PACKET_CHECK_H
#define ND_PACKET_CHECK_H

#include "packet/flow.h"

typedef enum check_rule {
    CHECK_VERSION,    /* IPv4 version 4 */
    CHECK_IHL,        /* 5..15 words, inside the total length */
    CHECK_PROTOCOL,   /* equal to the flow's majority */
    CHECK_LENGTH,     /* total length >= headers */
    CHECK_PORTS,      /* one pair (one echo identifier) in the flow */
    CHECK_ADDRESSES,  /* one pair in the flow */
    CHECK_TTL,        /* not 0, and equal to the most frequent of its direction */
    CHECK_OPTIONS,    /* TCP option list parses, each option of its right length, and fits the data offset */
    CHECK_UDP_LENGTH, /* equals total length - IP header */
    CHECK_FLAGS,      /* a flag set RFC 9293 allows */
    CHECK_SEQ,        /* expected, on a segment boundary (retransmission), or one before expected (keep-alive) */
    CHECK_ACK,        /* on a segment boundary of the peer; only not backwards where the peer was never captured */
    CHECK_FIN,        /* no data after the own FIN */
    CHECK_ICMP,       /* known type and code; echo replies answer a request */
    CHECK_CHECKSUM_IP,
    CHECK_CHECKSUM_L4, /* only where the payload is known; see check_flow */
    CHECK_TIME,        /* not before the previous packet */
    CHECK_COUNT
} check_rule;

extern const char *const check_names[CHECK_COUNT];
/* The rules that make "row passes all" of the project's figures (version .. FIN and ICMP; not checksums and time). */
extern const uint32_t check_row_rules;

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
