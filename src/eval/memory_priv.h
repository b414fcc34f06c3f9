/* Inside the memory part: what is measured of nearness, of equal beginnings and of leaked identifiers.
 *
 * A group is a label, the last one "no label" (index nlabels); behind the groups comes the total. */
#ifndef ND_EVAL_MEMORY_PRIV_H
#define ND_EVAL_MEMORY_PRIV_H

#include "eval/report.h"
#include "eval/world.h"

/* ---- memory_near.c: nearest neighbours ---- */

/* Whose nearest neighbours are looked for; the flow itself is never its own. */
typedef enum memory_query { QUERY_SYNTHETIC, QUERY_HELD_OUT, QUERY_TRAIN, QUERY_COUNT } memory_query;

enum { MEMORY_QUERIES_MAX = 4000, MEMORY_REPETITIONS = 4, MEMORY_BLOCKS = 20, MEMORY_LONG = 8 };
#define MEMORY_NEAR 0.02 /* share of differing bits that still is a near copy */

/* Of a group's queries. Closeness: a query scores 1 where its nearest neighbour in a sample of train is nearer than
 * that in an equal sample of held out, 1/2 where both are as near. */
typedef struct memory_near {
    double compared;          /* queries with a score: their group is on both sides */
    double closer, low, high; /* mean score and its 95 % interval */
    double to_train, to_held; /* medians of the nearest distances in the equal samples */
    double queries;           /* all; against all of train: */
    double identical, near;   /* queries with a training flow at distance 0, and at most MEMORY_NEAR */
    double longer;            /* queries of MEMORY_LONG packets and more, and the same of them: */
    double longer_identical, longer_near;
    double nearest; /* median distance to all of train */
} memory_near;

/* Collective. *r: (QUERY_COUNT, nlabels + 2), memory_free. sampled: queries were drawn, there are more. */
status memory_near_measure(const eval_world *w, memory_near **r, bool sampled[QUERY_COUNT]);

/* 95 % interval of a share (Wilson 1927) whose variance is `variance`: n, at most `most`, is what a binomial share of
 * that variance would be counted of. */
void memory_interval(double share, double variance, double most, double *low, double *high);

/* ---- memory_begin.c: equal beginnings ---- */

enum { BEGIN_COUNT = 4 }; /* the first 4, 8, 12 packets, and all */
extern const size_t memory_begin_packets[BEGIN_COUNT];

typedef struct memory_begin {
    double flows[BEGIN_COUNT];    /* with so many packets */
    double as_train[BEGIN_COUNT]; /* whose first n packets have direction, protocol, TCP flags and payload length of */
    double as_held_out[BEGIN_COUNT]; /* some training / held-out flow, another one than itself */
} memory_begin;

/* Local. *r: (QUERY_COUNT, nlabels + 2), memory_free. */
status memory_begin_measure(const eval_world *w, memory_begin **r);

/* ---- memory_leak.c: identifiers ---- */

typedef enum memory_identifier {
    LEAK_ADDRESSES,      /* of IP, those that identify nobody left out */
    LEAK_RESERVED,       /* for documentation (RFC 5737, 3849), multicast, loopback, 0/8, 240/4, fc00::/7 */
    LEAK_TIMESTAMPS,     /* TSval of TCP timestamp options, 0 left out */
    LEAK_FIRST_SEQUENCE, /* sequence number of a TCP SYN */
    LEAK_PORTS,          /* the client's, TCP and UDP */
    LEAK_PORT_RUNS,      /* three different client ports of flows in a row */
    LEAK_COUNT
} memory_identifier;
extern const char *const memory_leak_names[LEAK_COUNT];

typedef struct memory_leak {
    double real, synthetic, shared; /* distinct values */
    double chance;                  /* shared ones to be expected of independent draws; -1: not known */
    char example[48];               /* a shared value, "" if none */
} memory_leak;

/* Local. Real: train and held out, in the packets that the world holds. */
status memory_leak_measure(const eval_world *w, memory_leak r[LEAK_COUNT]);

typedef struct memory_macs {
    double captures, frames, addresses;
    double global; /* addresses that are not locally administered (IEEE 802: bit 1 of the first byte) */
} memory_macs;
enum { MEMORY_FRAMES_MAX = 50000 }; /* frames looked at in a capture */

/* Local. Ethernet addresses of the captures in a folder; captures = 0 where there are none of Ethernet. */
status memory_macs_scan(const char *folder, memory_macs *r);

#endif
