/* Inside the fidelity part: which sets are compared by which classes, and what is computed of them.
 *
 * Everything is measured against the held-out flows: the training flows (the floor that a perfect generator would
 * reach), the synthetic ones and both controls. A group is a class, the last one "no label"; behind the groups comes
 * the total. Results are arrays of doubles, zero where another rank computed them, so that a sum gathers them and any
 * number of ranks gives the same bytes. */
#ifndef ND_EVAL_FIDELITY_PRIV_H
#define ND_EVAL_FIDELITY_PRIV_H

#include "eval/distance.h"
#include "eval/world.h"
#include "packet/nprint.h"

/* Sides 0..SIDE_COUNT-1 are each compared with HELD_OUT. */
typedef enum fidelity_side { FLOOR, SYNTHETIC, MARGINAL, RANDOM, SIDE_COUNT, HELD_OUT = SIDE_COUNT } fidelity_side;

typedef struct grouped_set {
    size_t *start;          /* (ngroups + 1) */
    const eval_flow **flow; /* by group, else in the order of the set; the flows are the world's */
} grouped_set;

typedef struct fidelity_sets {
    size_t ngroups;
    grouped_set set[SIDE_COUNT + 1];
    /* (ngroups) In the total: the groups that every non-empty set has. The total gives each of them the share of
     * observations that it has in the held-out flows, so how many flows of a class were asked for does not count. */
    bool *shared;
    bool any_shared; /* if not, the total is all flows as they are: nothing to weight by */
} fidelity_sets;

status fidelity_sets_open(const eval_world *w, fidelity_sets *s);
void fidelity_sets_close(fidelity_sets *s);
/* Has side k something to be compared with in group g (ngroups: the total)? */
bool fidelity_known(const fidelity_sets *s, fidelity_side k, size_t g);

/* Adds what a flow shows, each with weight 1. */
typedef status (*fidelity_collect)(const eval_flow *f, const void *what, sample *to);
/* All that group g of a set shows, sorted. held: (ngroups) the shared groups' weights in the held-out flows; the call
 * for HELD_OUT fills it for those that follow with the same collect, what and group. */
status fidelity_gather(const fidelity_sets *s, fidelity_side k, size_t g, fidelity_collect collect, const void *what,
                       double *held, sample *to);

/* ---- fidelity_fields.c ---- */

/* A header field's value in a packet: up to 32 bits as a number, longer ones (options) hashed to 63 bits. FIELD_VACANT
 * where the packet has no such header, or ends before the field. Any bytes under any nheader are safe. */
#define FIELD_VACANT UINT64_MAX
uint64_t fidelity_field(const packet *p, const nprint_field *field);

/* Averages are taken over all fields; over those that are not identifiers or derived (addresses, ports, checksums,
 * sequence and acknowledgement numbers, IP-ID, ICMP rest of header); over the IPv4 protocol alone. */
typedef enum field_scope { SCOPE_ALL, SCOPE_PLAIN, SCOPE_PROTOCOL, SCOPE_COUNT } field_scope;
bool fidelity_in_scope(size_t field, field_scope scope);

/* Distances of a field over the packets that have it, "vacant" left out. */
typedef struct present_distance {
    double known; /* 1, or 0 where no packet of either side has the field */
    distances d;
} present_distance;

typedef struct fidelity_fields {
    distances *field;          /* (ngroups + 1, nprint_nfields, SIDE_COUNT) */
    present_distance *present; /* (ngroups + 1, nprint_nfields, SIDE_COUNT) */
    distances *bits;           /* (ngroups + 1, SCOPE_COUNT, SIDE_COUNT): means over the columns of a scope */
} fidelity_fields;

/* Collective. */
status fidelity_fields_measure(const fidelity_sets *s, const eval_world *w, fidelity_fields *r);
void fidelity_fields_clear(fidelity_fields *r);
/* Mean over the fields of a scope. */
distances fidelity_fields_mean(const fidelity_fields *r, size_t g, field_scope scope, fidelity_side k);
/* Mean over the fields of WIDE_FIELD bits and more that one of the sides has, over the packets that have them. */
enum { WIDE_FIELD = 8 };
distances fidelity_present_mean(const fidelity_fields *r, size_t g, fidelity_side k);

/* ---- fidelity_quantities.c ---- */

typedef enum fidelity_quantity {
    QUANTITY_SIZE,    /* IP total length, bytes */
    QUANTITY_GAP,     /* from packet to packet of a flow, log10 of seconds, at least 1 us */
    QUANTITY_SECONDS, /* the same in seconds */
    QUANTITY_LENGTH,  /* packets of the whole flow */
    QUANTITY_WINDOW,  /* packets of the flow that are compared: at most the window */
    QUANTITY_BYTES,   /* of the whole flow */
    QUANTITY_DURATION,
    QUANTITY_COUNT
} fidelity_quantity;

extern const char *const fidelity_quantity_names[QUANTITY_COUNT]; /* as in report values */
extern const char *const fidelity_quantity_titles[QUANTITY_COUNT];

typedef struct quantity_distance {
    double known; /* 1, or 0 where one of the sides shows nothing */
    double wasserstein, jsd;
} quantity_distance;

/* Collective. *r: (ngroups + 1, QUANTITY_COUNT, SIDE_COUNT), memory_free. */
status fidelity_quantities_measure(const fidelity_sets *s, const eval_world *w, quantity_distance **r);
/* Ten bins a decade from 1e-6 on; what is below is in the first one, what is above 1e14 in the last. */
enum { QUANTITY_BINS = 201 };
size_t fidelity_log_bin(double log10_x);

/* ---- fidelity_flows.c ---- */

/* Sums over the flows of a set. A direction counts where it has packets. */
typedef struct flow_consistency {
    double flows, directions;
    double addresses, ttls;         /* distinct address pairs and TTLs, summed over directions */
    double with_ports, ports;       /* directions with TCP or UDP, distinct port pairs in them */
    double steady;                  /* directions with one address pair, one TTL, at most one port pair */
    double tcp_rows, tcp_following; /* rows with a TCP row before in their direction; those that go on from it */
} flow_consistency;

enum { CONSISTENCY_SETS = 6 };
const eval_set *fidelity_consistency_set(const eval_world *w, size_t i);
/* Collective. */
status fidelity_consistency_measure(const eval_world *w, flow_consistency r[CONSISTENCY_SETS]);
/* Local: add one flow. values: working memory. */
status fidelity_consistency_add(const flow *f, sample *values, flow_consistency *r);

/* The TCP, UDP or ICMP header of a packet whose bytes need not make sense; NULL where there is none. */
const uint8_t *fidelity_l4(const packet *p, unsigned *nbytes);

#endif
