/* The nPrint bits of each packet as rows: what a model sees that is given headers as they are.
 *
 * Before the columns of nPrint stand the valid cell and the inter-arrival code, so that flows have lengths and times;
 * nothing else is added or derived. Ports and counters are the rows' own, the plan gives the start and the addresses.
 * Decoding takes any signs: bits are kept as they are, right or wrong, but for what decides how many header bytes there
 * are: IHL and data offset are at least 5; under an unknown protocol number the UDP columns are the transport header,
 * also where the number is that of an IPv6 extension header, which becomes UDP's; and the version. In the layout
 * nprint-v6 a cell of its own says which version a row is, in nprint it is never 6. */
#include <string.h>
#include "packet/layout_priv.h"
#include "packet/nprint.h"
#include "packet/relative_priv.h"

enum { FIRST_COLUMN = 1 + GAP_NBITS, V6_FIRST_COLUMN = FIRST_COLUMN + 1 };
enum { MOST_CELLS = V6_FIRST_COLUMN + NPRINT_MOST_COLUMNS };
enum { FIELD_VALID, FIELD_GAP, FIELD_IPV6 };
enum { V6_TCP = 800, V6_UDP = 1280, V6_ICMP = 1344 };

/* The forms' fields name the columns inside the blocks. */
static const layout_field fields[] = {
    [FIELD_VALID] = {"valid", 0, 1},
    [FIELD_GAP] = {"gap", 1, GAP_NBITS},
    {"ipv4", FIRST_COLUMN, NPRINT_TCP},
    {"tcp", FIRST_COLUMN + NPRINT_TCP, NPRINT_UDP - NPRINT_TCP},
    {"udp", FIRST_COLUMN + NPRINT_UDP, NPRINT_ICMP - NPRINT_UDP},
    {"icmp", FIRST_COLUMN + NPRINT_ICMP, NPRINT_COLUMNS - NPRINT_ICMP},
};
static const layout_field v6_fields[] = {
    [FIELD_VALID] = {"valid", 0, 1},
    [FIELD_GAP] = {"gap", 1, GAP_NBITS},
    [FIELD_IPV6] = {"is_ipv6", FIRST_COLUMN, 1},
    {"ipv4", V6_FIRST_COLUMN, 480},
    {"ipv6", V6_FIRST_COLUMN + 480, V6_TCP - 480},
    {"tcp", V6_FIRST_COLUMN + V6_TCP, V6_UDP - V6_TCP},
    {"udp", V6_FIRST_COLUMN + V6_UDP, V6_ICMP - V6_UDP},
    {"icmp", V6_FIRST_COLUMN + V6_ICMP, NPRINT_V6_COLUMNS - V6_ICMP},
};

static bool has_ipv6(const nprint_form *form) {
    return form->ipv6 < form->tcp;
}

static size_t first_column(const nprint_form *form) {
    return has_ipv6(form) ? V6_FIRST_COLUMN : FIRST_COLUMN;
}

static size_t ncells(const nprint_form *form) {
    return first_column(form) + form->ncolumns;
}

/* nbits bits from a column on. */
static uint32_t column_bits(const nprint_form *form, const int8_t *row, unsigned column, uint16_t nbits) {
    const layout_field field = {.first = (uint16_t)(first_column(form) + column), .nbits = nbits};
    return layout_get(row, &field);
}

/* Where a row's headers stand, in bytes; offsets are columns. */
typedef struct row_shape {
    bool ipv6;
    unsigned ip_column, nip, nl4, l4_column;
} row_shape;

static row_shape shape_of(const nprint_form *form, const int8_t *row) {
    unsigned ihl = column_bits(form, row, 4, 4);
    row_shape s = {.nip = ihl < 5 ? 20 : 4 * ihl, .nl4 = 8, .l4_column = form->udp};
    unsigned proto = column_bits(form, row, 72, 8);
    if (has_ipv6(form) && layout_get(row, &v6_fields[FIELD_IPV6])) {
        s = (row_shape){.ipv6 = true, .ip_column = form->ipv6, .nip = 40, .nl4 = 8, .l4_column = form->udp};
        proto = column_bits(form, row, form->ipv6 + 48u, 8);
    }
    if (proto == PROTO_TCP) {
        unsigned offset = column_bits(form, row, form->tcp + 96u, 4);
        s.l4_column = form->tcp;
        s.nl4 = offset < 5 ? 20 : 4 * offset;
    } else if (proto == PROTO_ICMP && !s.ipv6) {
        s.l4_column = form->icmp;
    }
    return s;
}

static void presence_in(const nprint_form *form, const int8_t *row, size_t number, uint8_t *mask) {
    memset(mask, 0, ncells(form));
    mask[0] = 1;
    if (!layout_get(row, &fields[FIELD_VALID]))
        return;
    if (number > 0)
        memset(mask + 1, 1, GAP_NBITS);
    if (has_ipv6(form))
        mask[v6_fields[FIELD_IPV6].first] = 1;
    row_shape s = shape_of(form, row);
    memset(mask + first_column(form) + s.ip_column, 1, s.nip * 8);
    memset(mask + first_column(form) + s.l4_column, 1, s.nl4 * 8);
}

static unsigned bits_between(const uint8_t *a, const uint8_t *b, unsigned nbytes) {
    unsigned n = 0;
    for (unsigned i = 0; i < nbytes; i++)
        n += (unsigned)__builtin_popcount((unsigned)(a[i] ^ b[i]));
    return n;
}

/* Bits by which the two (address, port) pairs of a and b differ, with b's pairs turned round or not. */
static unsigned distance(const packet *a, const packet *b, bool turned) {
    unsigned n = 0;
    for (unsigned side = 0; side < 2 && packet_is_ipv6(a) == packet_is_ipv6(b); side++)
        n += bits_between(a->header + packet_address_at(a, side), b->header + packet_address_at(b, side != turned),
                          packet_naddress(a));
    if (packet_proto(a) == PROTO_ICMP || packet_proto(b) == PROTO_ICMP)
        return n;
    const uint8_t *la = packet_l4(a), *lb = packet_l4(b);
    return n + bits_between(la, lb + 2 * turned, 2) + bits_between(la + 2, lb + 2 * !turned, 2);
}

/* The direction whose addresses and ports are nearer to the first packet's. */
static uint8_t direction(const packet *first, const packet *p) {
    return distance(first, p, true) < distance(first, p, false);
}

static bool accepts_in(const nprint_form *form, const flow *f, const char **why) {
    *why = f->npackets == 0 ? "no packet" : NULL;
    for (size_t i = 0; i < f->npackets && *why == NULL; i++) {
        const packet *p = &f->packets[i];
        if (!packet_is_complete(p))
            *why = "a packet that is not one whole IP header and a TCP, UDP or ICMP header";
        else if (nprint_form_holds(form, p, why) && p->dir != direction(&f->packets[0], p))
            *why = "directions that the addresses do not tell";
    }
    return *why == NULL;
}

static status encode_in(const nprint_form *form, const flow *f, size_t nrows, int8_t *cells) {
    uint8_t mask[MOST_CELLS];
    const char *why;
    size_t n = ncells(form);
    if (!accepts_in(form, f, &why))
        return FAIL(ST_RANGE, "the %s layout has no place for %s", form->name, why);
    memset(cells, 0, nrows * n);
    for (size_t i = 0; i < nrows; i++) {
        int8_t *row = cells + i * n;
        layout_put(row, &fields[FIELD_VALID], i < f->npackets);
        if (i >= f->npackets)
            continue;
        const packet *p = &f->packets[i];
        layout_put(row, &fields[FIELD_GAP], layout_gap_code(i > 0 ? p->time_ns - p[-1].time_ns : 0));
        if (has_ipv6(form))
            layout_put(row, &v6_fields[FIELD_IPV6], packet_is_ipv6(p));
        nprint_form_encode(form, p, row + first_column(form));
        for (size_t c = first_column(form); c < n; c++) /* nPrint's 1, 0 and -1 */
            row[c] = row[c] == 1 ? 1 : -1;
        presence_in(form, row, i, mask);
        for (size_t c = 0; c < n; c++)
            if (!mask[c])
                row[c] = 0;
    }
    return ST_OK;
}

static void take_bytes(const int8_t *cells, unsigned nbytes, uint8_t *bytes) {
    for (unsigned i = 0; i < 8 * nbytes; i++)
        bytes[i / 8] = (uint8_t)(bytes[i / 8] << 1 | (cells[i] > 0));
}

/* The headers of a row, in the shape that its signs give. */
static packet take_packet(const nprint_form *form, const int8_t *row) {
    row_shape s = shape_of(form, row);
    packet p = {.nheader = (uint8_t)(s.nip + s.nl4)};
    uint8_t *h = p.header, *l4 = h + s.nip;
    take_bytes(row + first_column(form) + s.ip_column, s.nip, h);
    take_bytes(row + first_column(form) + s.l4_column, s.nl4, l4);
    if (s.ipv6) {
        h[0] = (uint8_t)(0x60 | (h[0] & 0x0f));
        if (packet_is_extension(h[6]))
            h[6] = PROTO_UDP;
    } else {
        h[0] = (uint8_t)((h[0] >> 4 == 6 ? 0x40 : h[0] & 0xf0) | s.nip / 4);
    }
    if (s.l4_column == form->tcp)
        l4[12] = (uint8_t)((l4[12] & 0x0f) | s.nl4 / 4 << 4);
    return p;
}

static void set_addresses(packet *p, const flow_plan *plan) {
    for (unsigned side = 0; side < 2; side++) {
        unsigned from = side ^ p->dir;
        ip_address_put(packet_is_ipv6(p) ? plan->addr6[from] : plan->addr[from], p->header + packet_address_at(p, side),
                       packet_naddress(p));
    }
}

static status decode_in(const nprint_form *form, const int8_t *cells, size_t nexist, const flow_plan *plan, flow *f,
                        packet_votes *votes) {
    for (size_t i = 0; votes != NULL && i < nexist; i++)
        for (unsigned v = 0; v < VOTE_COUNT; v++)
            votes[i].weight[v] = 1;
    int64_t time_ns = plan->start_ns;
    packet first = {.nheader = 0}; /* with its own addresses, which tell the directions */
    f->npackets = 0;
    f->label = f->run = -1;
    f->file = 0;
    f->key = (flow_key){.proto = 0};
    for (size_t i = 0; i < nexist; i++) {
        const int8_t *row = cells + i * ncells(form);
        packet p = take_packet(form, row);
        if (i > 0)
            time_ns += layout_gap_ns(layout_get(row, &fields[FIELD_GAP]));
        p.time_ns = time_ns;
        p.frame = (uint32_t)i;
        p.wire_len = packet_total_len(&p) > p.nheader ? packet_total_len(&p) : p.nheader;
        if (i == 0)
            first = p;
        p.dir = i > 0 ? direction(&first, &p) : 0;
        set_addresses(&p, plan);
        TRY(flow_add(f, &p));
    }
    if (f->npackets > 0)
        f->key = flow_key_of(&f->packets[0]);
    return ST_OK;
}

/* The functions of a layout, which know its form. */
#define LAYOUT_FUNCTIONS(prefix, form)                                                                                 \
    static bool prefix##_accepts(const flow *f, const char **why) {                                                    \
        return accepts_in(&(form), f, why);                                                                            \
    }                                                                                                                  \
    static status prefix##_encode(const flow *f, size_t nrows, int8_t *cells) {                                        \
        return encode_in(&(form), f, nrows, cells);                                                                    \
    }                                                                                                                  \
    static status prefix##_decode(const int8_t *cells, const float *soft, size_t nexist, const flow_plan *plan,        \
                                  flow *f, packet_votes *votes) {                                                      \
        return decode_in(&(form), cells, nexist, plan, f, votes);                                                      \
    }                                                                                                                  \
    static void prefix##_presence(const int8_t *row, size_t number, uint8_t *mask) {                                   \
        presence_in(&(form), row, number, mask);                                                                       \
    }

LAYOUT_FUNCTIONS(v4, nprint_ipv4_form)
LAYOUT_FUNCTIONS(v6, nprint_ipv6_form)

static void open_and_close(int8_t *row, float *soft, unsigned tcp_flags) {
    (void)row, (void)soft, (void)tcp_flags; /* raw bits have no row of TCP for certain */
}

#define NPRINT_LAYOUT(prefix, its_name, its_ncells, its_fields)                                                        \
    {                                                                                                                  \
        .name = its_name, .ncells = its_ncells, .fields = its_fields,                                                  \
        .nfields = sizeof its_fields / sizeof *its_fields, .accepts = prefix##_accepts, .encode = prefix##_encode,     \
        .decode = prefix##_decode, .presence = prefix##_presence, .plan_of = relative_plan_of,                         \
        .open_and_close = open_and_close                                                                               \
    }

const layout layout_nprint = NPRINT_LAYOUT(v4, "nprint", FIRST_COLUMN + NPRINT_COLUMNS, fields);
const layout layout_nprint_v6 = NPRINT_LAYOUT(v6, "nprint-v6", V6_FIRST_COLUMN + NPRINT_V6_COLUMNS, v6_fields);
