/* The nPrint bits of each packet as rows: what a model sees that is given headers as they are.
 *
 * Before the 1088 columns stand the valid cell and the inter-arrival code, so that flows have lengths and times;
 * nothing else is added or derived. Addresses, ports and counters are the rows' own, the plan gives only the start.
 * Decoding takes any signs: bits are kept as they are, right or wrong, but for what decides how many header bytes there
 * are (IHL and data offset are at least 5; under an unknown protocol number the UDP columns are the transport header).
 */
#include <string.h>
#include "packet/layout_priv.h"
#include "packet/nprint.h"
#include "packet/relative_priv.h"

enum { FIRST_COLUMN = 1 + GAP_NBITS, CELLS = FIRST_COLUMN + NPRINT_COLUMNS };
enum { FIELD_VALID, FIELD_GAP };

/* nprint_fields names the columns inside the blocks. */
static const layout_field fields[] = {
    [FIELD_VALID] = {"valid", 0, 1},
    [FIELD_GAP] = {"gap", 1, GAP_NBITS},
    {"ipv4", FIRST_COLUMN, NPRINT_TCP},
    {"tcp", FIRST_COLUMN + NPRINT_TCP, NPRINT_UDP - NPRINT_TCP},
    {"udp", FIRST_COLUMN + NPRINT_UDP, NPRINT_ICMP - NPRINT_UDP},
    {"icmp", FIRST_COLUMN + NPRINT_ICMP, NPRINT_COLUMNS - NPRINT_ICMP},
};
/* What decides a row's shape. */
static const layout_field ihl_field = {"ipv4_hl", FIRST_COLUMN + 4, 4};
static const layout_field protocol_field = {"ipv4_proto", FIRST_COLUMN + 72, 8};
static const layout_field data_offset_field = {"tcp_doff", FIRST_COLUMN + NPRINT_TCP + 96, 4};

/* Where a row's headers stand, in bytes; offsets are columns. */
typedef struct row_shape {
    unsigned nip, nl4, l4_column;
} row_shape;

static row_shape shape_of(const int8_t *row) {
    unsigned ihl = layout_get(row, &ihl_field), offset = layout_get(row, &data_offset_field);
    row_shape s = {.nip = ihl < 5 ? 20 : 4 * ihl, .nl4 = 8, .l4_column = NPRINT_UDP};
    switch (layout_get(row, &protocol_field)) {
    case PROTO_TCP:
        s.l4_column = NPRINT_TCP;
        s.nl4 = offset < 5 ? 20 : 4 * offset;
        break;
    case PROTO_ICMP:
        s.l4_column = NPRINT_ICMP;
        break;
    }
    return s;
}

static void presence(const int8_t *row, size_t number, uint8_t *mask) {
    memset(mask, 0, CELLS);
    mask[0] = 1;
    if (!layout_get(row, &fields[FIELD_VALID]))
        return;
    if (number > 0)
        memset(mask + 1, 1, GAP_NBITS);
    row_shape s = shape_of(row);
    memset(mask + FIRST_COLUMN, 1, s.nip * 8);
    memset(mask + FIRST_COLUMN + s.l4_column, 1, s.nl4 * 8);
}

/* Bits by which the two (address, port) pairs of a and b differ, with b's pairs turned round or not. */
static unsigned distance(const packet *a, const packet *b, bool turned) {
    const uint8_t *ha = a->header, *hb = b->header, *la = packet_l4(a), *lb = packet_l4(b);
    uint32_t address[2] = {get32(hb + 12), get32(hb + 16)};
    unsigned n = (unsigned)__builtin_popcount(get32(ha + 12) ^ address[turned]) +
                 (unsigned)__builtin_popcount(get32(ha + 16) ^ address[!turned]);
    if (packet_proto(a) == PROTO_ICMP || packet_proto(b) == PROTO_ICMP)
        return n;
    uint16_t port[2] = {get16(lb), get16(lb + 2)};
    return n + (unsigned)__builtin_popcount(get16(la) ^ (unsigned)port[turned]) +
           (unsigned)__builtin_popcount(get16(la + 2) ^ (unsigned)port[!turned]);
}

/* The direction whose addresses and ports are nearer to the first packet's. */
static uint8_t direction(const packet *first, const packet *p) {
    return distance(first, p, true) < distance(first, p, false);
}

static bool accepts(const flow *f, const char **why) {
    *why = f->npackets == 0 ? "no packet" : NULL;
    for (size_t i = 0; i < f->npackets && *why == NULL; i++) {
        const packet *p = &f->packets[i];
        const uint8_t *h = p->header;
        unsigned nip = packet_ip_nheader(p), proto = packet_proto(p), nl4 = 8;
        if (p->nheader < 28 || nip < 20 || h[0] >> 4 != 4 || p->nheader < nip + 8)
            *why = "not a whole IPv4 header";
        else if (proto != PROTO_TCP && proto != PROTO_UDP && proto != PROTO_ICMP)
            *why = "not TCP, UDP or ICMP";
        else if (proto == PROTO_TCP && (p->nheader < nip + 20 || (nl4 = (h[nip + 12] >> 4) * 4u) < 20))
            *why = "an impossible TCP data offset";
        else if (p->nheader != nip + nl4)
            *why = "headers of an impossible length";
        else if (p->dir != direction(&f->packets[0], p))
            *why = "directions that the addresses do not tell";
    }
    return *why == NULL;
}

static status encode(const flow *f, size_t nrows, int8_t *cells) {
    uint8_t mask[CELLS];
    const char *why;
    if (!accepts(f, &why))
        return FAIL(ST_RANGE, "the nprint layout has no place for %s", why);
    memset(cells, 0, nrows * CELLS);
    for (size_t i = 0; i < nrows; i++) {
        int8_t *row = cells + i * CELLS;
        layout_put(row, &fields[FIELD_VALID], i < f->npackets);
        if (i >= f->npackets)
            continue;
        const packet *p = &f->packets[i];
        layout_put(row, &fields[FIELD_GAP], layout_gap_code(i > 0 ? p->time_ns - p[-1].time_ns : 0));
        nprint_encode(p, row + FIRST_COLUMN);
        for (size_t c = FIRST_COLUMN; c < CELLS; c++) /* nPrint's 1, 0 and -1 */
            row[c] = row[c] == 1 ? 1 : -1;
        presence(row, i, mask);
        for (size_t c = 0; c < CELLS; c++)
            if (!mask[c])
                row[c] = 0;
    }
    return ST_OK;
}

static void take_bytes(const int8_t *cells, unsigned nbytes, uint8_t *bytes) {
    for (unsigned i = 0; i < 8 * nbytes; i++)
        bytes[i / 8] = (uint8_t)(bytes[i / 8] << 1 | (cells[i] > 0));
}

static status decode(const int8_t *cells, const float *soft, size_t nexist, const flow_plan *plan, flow *f,
                     packet_votes *votes) {
    for (size_t i = 0; votes != NULL && i < nexist; i++)
        for (unsigned v = 0; v < VOTE_COUNT; v++)
            votes[i].weight[v] = 1;
    (void)soft;
    int64_t time_ns = plan->start_ns;
    packet first = {.nheader = 0}; /* with its own addresses, which tell the directions */
    f->npackets = 0;
    f->label = f->run = -1;
    f->file = 0;
    f->key = (flow_key){.proto = 0};
    for (size_t i = 0; i < nexist; i++) {
        const int8_t *row = cells + i * CELLS;
        row_shape s = shape_of(row);
        packet p = {.frame = (uint32_t)i, .nheader = (uint8_t)(s.nip + s.nl4)};
        take_bytes(row + FIRST_COLUMN, s.nip, p.header);
        take_bytes(row + FIRST_COLUMN + s.l4_column, s.nl4, p.header + s.nip);
        p.header[0] = (uint8_t)((p.header[0] & 0xf0) | s.nip / 4);
        if (s.l4_column == NPRINT_TCP)
            p.header[s.nip + 12] = (uint8_t)((p.header[s.nip + 12] & 0x0f) | s.nl4 / 4 << 4);
        if (i > 0)
            time_ns += layout_gap_ns(layout_get(row, &fields[FIELD_GAP]));
        p.time_ns = time_ns;
        p.wire_len = packet_total_len(&p) > p.nheader ? packet_total_len(&p) : p.nheader;
        if (i == 0)
            first = p;
        p.dir = i > 0 ? direction(&first, &p) : 0;
        put32(p.header + 12, plan->addr[p.dir]);
        put32(p.header + 16, plan->addr[!p.dir]);
        TRY(flow_add(f, &p));
    }
    if (f->npackets > 0)
        f->key = flow_key_of(&f->packets[0]);
    return ST_OK;
}

const layout layout_nprint = {
    .name = "nprint",
    .ncells = CELLS,
    .fields = fields,
    .nfields = sizeof fields / sizeof *fields,
    .accepts = accepts,
    .encode = encode,
    .decode = decode,
    .presence = presence,
    .plan_of = relative_plan_of,
};
