/* What an observer between two hosts knows of their conversation: the one state machine behind the relative layout, the
 * checks and the repair.
 *
 * Of each side it keeps the next sequence number expected and the segment boundaries before it, newest first. A segment
 * starts on a boundary (the newest: new data; an older one: retransmission), an acknowledgement stands on a boundary of
 * the other side. SYN and FIN count as one (RFC 9293 3.4). All comparisons are modulo 2^32. Captures miss packets, so
 * the observer follows a sender that is ahead of it, and an acknowledgement of data that it never saw. */
#ifndef ND_PACKET_CONNECTION_PRIV_H
#define ND_PACKET_CONNECTION_PRIV_H

#include "packet/packet.h"

enum { CONNECTION_BOUNDARIES = 256, CONNECTION_STAMPS = 64, CONNECTION_ECHOES = 64, SACK_BLOCKS = 4 };

typedef struct connection_side {
    uint32_t next;
    unsigned nboundaries;
    uint32_t boundary[CONNECTION_BOUNDARIES]; /* descending, all before next */
    bool gap[CONNECTION_BOUNDARIES]; /* not seen yet: the bytes from boundary[i] up to the one above it (or next) */
    bool fin;
    uint32_t after_fin;
    unsigned nstamps;                  /* at least 1 */
    uint32_t stamp[CONNECTION_STAMPS]; /* distinct TSvals, newest first */
} connection_side;

void connection_start(connection_side *s, uint32_t next, uint32_t tsval);
/* 0 = the next number, k = the k-th boundary before it, -1 = neither. */
int connection_index(const connection_side *s, uint32_t number);
/* The number that an index stands for; next where there are not so many boundaries. */
uint32_t connection_number(const connection_side *s, unsigned index);
/* The side sent a segment. A SYN that is not a retransmission starts it anew; a RST changes nothing, for its number is
 * often made up. */
void connection_sent(connection_side *s, uint32_t seq, uint32_t npayload, unsigned flags);
/* The side's data were acknowledged up to here by the other side. */
void connection_acked(connection_side *s, uint32_t ack);
/* Forget what was sent from this number on: next is there again. */
void connection_rewind(connection_side *s, uint32_t number);
/* 0 = the latest TSval, k = the k-th before, -1 = none of the latest 64. */
int connection_stamp_index(const connection_side *s, uint32_t tsval);
void connection_stamped(connection_side *s, uint32_t tsval);
/* Selective acknowledgement of the side's data above ack, as its peer would write it (RFC 2018): left and right edges
 * of at most n blocks, highest first. Blocks are what was sent above a gap; where the observer saw none, the first
 * segment above ack counts as lost. With too little above ack for that, the block repeats the last segment below it (a
 * duplicate, RFC 2883). Returns the number of blocks written. */
unsigned connection_sack(const connection_side *s, uint32_t ack, unsigned n, uint32_t edges[2 * SACK_BLOCKS]);

/* Both sides, for an observer who is told no initial values: a side starts where it is first seen, or where the other
 * first acknowledges it. */
typedef struct connection {
    bool known[2];
    connection_side side[2];
} connection;

/* Call the first for every segment before its numbers are looked at, the second after. */
void connection_meet(connection *c, unsigned dir, uint32_t seq, uint32_t ack, unsigned flags);
void connection_pass(connection *c, unsigned dir, uint32_t seq, uint32_t ack, uint32_t npayload, unsigned flags);
/* At most 2^30, the largest window, after what was expected. */
bool connection_ahead(const connection_side *s, uint32_t number);
/* A probe of an idle connection: the byte before the next once more (RFC 9293 3.8.4). */
bool connection_keep_alive(const connection_side *s, uint32_t seq, uint32_t npayload, unsigned flags);
/* Would this payload go past the side's own FIN? */
bool connection_after_fin(const connection_side *s, uint32_t seq, uint32_t npayload);

/* ICMP echo (RFC 792): requests that wait for their reply. */
typedef struct connection_echo {
    uint16_t last_request, last_reply;
    unsigned nrequests;
    struct {
        uint16_t sequence;
        uint8_t dir;
        bool answered;
    } request[CONNECTION_ECHOES]; /* newest first */
} connection_echo;

enum { ICMP_ECHO_REPLY = 0, ICMP_ECHO_REQUEST = 8 };
static inline bool icmp_is_echo(unsigned type) {
    return type == ICMP_ECHO_REPLY || type == ICMP_ECHO_REQUEST;
}

void connection_echo_start(connection_echo *e, uint16_t first);
/* The sequence number to expect: one more than the previous request; for a reply that of the other side's latest
 * request without an answer, or without any, one more than the previous reply. */
uint16_t connection_echo_expected(const connection_echo *e, unsigned type, unsigned dir);
void connection_echo_seen(connection_echo *e, unsigned type, unsigned dir, uint16_t sequence);
/* Is there a request of the other side with this number? */
bool connection_echo_answers(const connection_echo *e, unsigned dir, uint16_t sequence);

#endif
