/* Layouts: how a flow becomes the rows of cells that a model sees, and back.
 *
 * A cell is -1, +1, or 0 (vacant). A row is one packet. Cell 0 is "valid" in every layout: +1 a packet, -1 past the end
 * of the flow, where all other cells are vacant. A layout is found by name; adding one adds a file and a row of the
 * table in layout.c. */
#ifndef ND_PACKET_LAYOUT_H
#define ND_PACKET_LAYOUT_H

#include "packet/flow.h"
#include "packet/votes.h"

typedef struct layout_field {
    const char *name;
    uint16_t first, nbits;
} layout_field;

/* What the rows do not say: initial values of counters and the addresses, drawn or configured by the caller. */
typedef struct flow_plan {
    uint32_t addr[2];       /* IPv4 of side 0 (first sender) and side 1 */
    ip_address addr6[2];    /* the same for a flow of IPv6 */
    uint32_t flow_label[2]; /* IPv6, of each direction, 20 bits */
    uint32_t isn[2];        /* initial sequence numbers */
    uint16_t ip_id[2];      /* first IP-ID of each direction, non-zero */
    uint32_t tsval[2];      /* first TCP timestamp value of each direction */
    uint16_t icmp_id;       /* echo identifier */
    uint16_t icmp_seq;      /* first echo sequence number */
    uint8_t wire_min[2];    /* each direction's shorter packets are padded by the link to this (Ethernet: 46) */
    int64_t start_ns;       /* time of the first packet */
} flow_plan;

typedef struct layout {
    const char *name;
    size_t ncells;
    const layout_field *fields;
    size_t nfields;
    /* Can this flow be written in the layout? (false: say why in *why, a constant text) */
    bool (*accepts)(const flow *f, const char **why);
    /* The first min(npackets, nrows) packets into cells (nrows x ncells, all written). ST_RANGE where accepts() is
     * false. */
    status (*encode)(const flow *f, size_t nrows, int8_t *cells);
    /* Rows into packets. f is initialised (flow_init) and re-used: key, label, file and run are set anew. Only signs
     * count (above 0 or not), any are allowed, and cells that presence() rules out are ignored. nexist: rows to take,
     * whatever their valid cells say. Nothing is repaired beyond what the layout gives by construction.
     * soft (nrows x ncells, may be NULL): the cells before rounding, in -1..1; where the signs make no valid choice the
     * likeliest valid one is taken, and what it needs of vacant cells is read from theirs. votes (nexist, may be NULL)
     * gets the weights that repair_flow asks for. */
    status (*decode)(const int8_t *cells, const float *soft, size_t nexist, const flow_plan *plan, flow *f,
                     packet_votes *votes);
    /* Presence of every cell by the row's own mode bits: mask (ncells of 0/1) for row number `row`. On encoded rows it
     * is exactly "not vacant". */
    void (*presence)(const int8_t *row_cells, size_t row, uint8_t *mask);
    /* Read the flow_plan that makes decode(encode(f)) exact, from the flow itself: what the layout keeps of it (see the
     * layout's file). */
    void (*plan_of)(const flow *f, flow_plan *plan);
    /* Set SYN, FIN and RST of an existing row, if it is one of TCP, to what these flags say; soft (may be NULL) becomes
     * certain there. */
    void (*open_and_close)(int8_t *row, float *soft, unsigned tcp_flags);
} layout;

const layout *layout_find(const char *name); /* NULL if unknown */
const char *layout_names(void);              /* "relative, nprint, nprint-v6" for messages */

extern const layout layout_relative, layout_nprint, layout_nprint_v6;

#endif
