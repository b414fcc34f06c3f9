/* The nPrint bit row of a packet, and its CSV text.
 *
 * Every header is a whole number of bytes, so both forms are made by table look-up, a byte at a time; a block's tail is
 * vacant. The IPv4 and TCP blocks hold 60 bytes, the IPv6 block 40, the UDP and ICMP blocks 8.
 * Reference: nPrint 1.2.1, options -4 -6 -t -u -i, index column 0 (Holland, Schmitt, Feamster, Mittal, "New Directions
 * in Automated Traffic Analysis", CCS 2021). */
#include <string.h>
#include "packet/flow.h"
#include "packet/nprint.h"
#include "packet/nprint_priv.h"

#define IPV4_FIELDS                                                                                                    \
    {"ipv4_ver", 0, 4}, {"ipv4_hl", 4, 4}, {"ipv4_tos", 8, 8}, {"ipv4_tl", 16, 16}, {"ipv4_id", 32, 16},               \
        {"ipv4_rbit", 48, 1}, {"ipv4_dfbit", 49, 1}, {"ipv4_mfbit", 50, 1}, {"ipv4_foff", 51, 13},                     \
        {"ipv4_ttl", 64, 8}, {"ipv4_proto", 72, 8}, {"ipv4_cksum", 80, 16}, {"ipv4_src", 96, 32},                      \
        {"ipv4_dst", 128, 32}, {                                                                                       \
        "ipv4_opt", 160, 320                                                                                           \
    }
#define IPV6_FIELDS(at)                                                                                                \
    {"ipv6_ver", (at), 4}, {"ipv6_tc", (at) + 4, 8}, {"ipv6_fl", (at) + 12, 20}, {"ipv6_len", (at) + 32, 16},          \
        {"ipv6_nh", (at) + 48, 8}, {"ipv6_hl", (at) + 56, 8}, {"ipv6_src", (at) + 64, 128}, {                          \
        "ipv6_dst", (at) + 192, 128                                                                                    \
    }
#define TRANSPORT_FIELDS(at)                                                                                           \
    {"tcp_sprt", (at), 16}, {"tcp_dprt", (at) + 16, 16}, {"tcp_seq", (at) + 32, 32}, {"tcp_ackn", (at) + 64, 32},      \
        {"tcp_doff", (at) + 96, 4}, {"tcp_res", (at) + 100, 3}, {"tcp_ns", (at) + 103, 1}, {"tcp_cwr", (at) + 104, 1}, \
        {"tcp_ece", (at) + 105, 1}, {"tcp_urg", (at) + 106, 1}, {"tcp_ackf", (at) + 107, 1},                           \
        {"tcp_psh", (at) + 108, 1}, {"tcp_rst", (at) + 109, 1}, {"tcp_syn", (at) + 110, 1},                            \
        {"tcp_fin", (at) + 111, 1}, {"tcp_wsize", (at) + 112, 16}, {"tcp_cksum", (at) + 128, 16},                      \
        {"tcp_urp", (at) + 144, 16}, {"tcp_opt", (at) + 160, 320}, {"udp_sport", (at) + 480, 16},                      \
        {"udp_dport", (at) + 496, 16}, {"udp_len", (at) + 512, 16}, {"udp_cksum", (at) + 528, 16},                     \
        {"icmp_type", (at) + 544, 8}, {"icmp_code", (at) + 552, 8}, {"icmp_cksum", (at) + 560, 16}, {                  \
        "icmp_roh", (at) + 576, 32                                                                                     \
    }

const nprint_field nprint_fields[] = {IPV4_FIELDS, TRANSPORT_FIELDS(NPRINT_TCP)};
const size_t nprint_nfields = sizeof nprint_fields / sizeof *nprint_fields;

static const nprint_field v6_fields[] = {IPV4_FIELDS, IPV6_FIELDS(480), TRANSPORT_FIELDS(800)};

const nprint_form nprint_ipv4_form = {.name = "nprint",
                                      .options = "-4 -t -u -i",
                                      .fields = nprint_fields,
                                      .nfields = sizeof nprint_fields / sizeof *nprint_fields,
                                      .ncolumns = NPRINT_COLUMNS,
                                      .ipv6 = NPRINT_TCP,
                                      .tcp = NPRINT_TCP,
                                      .udp = NPRINT_UDP,
                                      .icmp = NPRINT_ICMP};
const nprint_form nprint_ipv6_form = {.name = "nprint-v6",
                                      .options = "-4 -6 -t -u -i",
                                      .fields = v6_fields,
                                      .nfields = sizeof v6_fields / sizeof *v6_fields,
                                      .ncolumns = NPRINT_V6_COLUMNS,
                                      .ipv6 = 480,
                                      .tcp = 800,
                                      .udp = 1280,
                                      .icmp = 1344};

const nprint_form *nprint_form_find(const char *name) {
    return strcmp(name, nprint_ipv4_form.name) == 0   ? &nprint_ipv4_form
           : strcmp(name, nprint_ipv6_form.name) == 0 ? &nprint_ipv6_form
                                                      : NULL;
}

static bool has_ipv6(const nprint_form *form) {
    return form->ipv6 < form->tcp;
}

bool nprint_form_holds(const nprint_form *form, const packet *p, const char **why) {
    *why = NULL;
    if (!packet_is_ipv6(p))
        return true;
    if (!has_ipv6(form))
        *why = "IPv6, which has no columns in it";
    else if (packet_ip_nheader(p) > 40)
        *why = "IPv6 extension headers, which nPrint has no columns for";
    else if (packet_proto(p) == PROTO_ICMPV6)
        *why = "ICMPv6, which nPrint has no columns for";
    return *why == NULL;
}

/* A run of header bytes in the row: block of nbits columns, filled from nbytes bytes. */
typedef struct nprint_block {
    const uint8_t *bytes;
    size_t nbytes, nbits;
} nprint_block;

enum { BLOCKS = 5, IPV4_COLUMNS = 480, IPV6_COLUMNS = 320, TCP_COLUMNS = 480, UDP_COLUMNS = 64, ICMP_COLUMNS = 64 };

/* The blocks of a packet that has shape, absent ones with no bytes; how many there are. */
static inline int packet_blocks(bool with_ipv6, const packet *p, nprint_block block[BLOCKS]) {
    bool ipv6 = packet_is_ipv6(p);
    unsigned proto = p->header[9], nip = (p->header[0] & 15u) * 4u;
    if (ipv6)
        nip = packet_walk_ipv6(p->header, p->nheader < PACKET_HEADER_MAX ? p->nheader : PACKET_HEADER_MAX, &proto);
    const uint8_t *l4 = p->header + nip;
    size_t left = PACKET_HEADER_MAX - nip, ntcp = proto == PROTO_TCP && left > 12 ? (l4[12] >> 4) * 4u : 0;
    int n = 0;
    block[n++] = (nprint_block){p->header, ipv6 ? 0 : nip, IPV4_COLUMNS};
    if (with_ipv6)
        block[n++] = (nprint_block){p->header, ipv6 ? 40 : 0, IPV6_COLUMNS};
    /* Clipped for the sake of bytes without shape only: nothing is read beyond the header. */
    block[n++] = (nprint_block){l4, ntcp < left ? ntcp : left, TCP_COLUMNS};
    block[n++] = (nprint_block){l4, proto == PROTO_UDP && left >= 8 ? 8 : 0, UDP_COLUMNS};
    block[n++] = (nprint_block){l4, proto == PROTO_ICMP && left >= 8 ? 8 : 0, ICMP_COLUMNS};
    return n;
}

static inline void encode_blocks(bool with_ipv6, const packet *p, int8_t *bits) {
    nprint_block block[BLOCKS];
    int n = packet_blocks(with_ipv6, p, block);
    for (int b = 0; b < n; b++) {
        size_t used = block[b].nbytes * 8;
        for (size_t i = 0; i < block[b].nbytes; i++)
            memcpy(bits + 8 * i, byte_bits[block[b].bytes[i]], 8);
        memset(bits + used, -1, block[b].nbits - used);
        bits += block[b].nbits;
    }
}

void nprint_form_encode(const nprint_form *form, const packet *p, int8_t *bits) {
    encode_blocks(has_ipv6(form), p, bits);
}

void nprint_encode(const packet *p, int8_t *bits) {
    encode_blocks(false, p, bits);
}

/* Write column c's name, "field_bit". c < form->ncolumns. */
static void column_name(const nprint_form *form, size_t c, char *name, size_t nbytes) {
    size_t f = 0;
    while (c >= (size_t)form->fields[f].first + form->fields[f].nbits)
        f++;
    snprintf(name, nbytes, "%s_%zu", form->fields[f].name, c - form->fields[f].first);
}

static status fail_column(const nprint_form *form, size_t c, const char *why) {
    char name[32];
    column_name(form, c, name, sizeof name);
    return FAIL(ST_FORMAT, "nPrint column %s: %s", name, why);
}

/* nbytes bytes from the columns first, first + 1, ... of the row. */
static status take_bytes(const nprint_form *form, const int8_t *bits, size_t first, size_t nbytes, uint8_t *bytes) {
    for (size_t i = 0; i < nbytes; i++) {
        unsigned value = 0;
        for (size_t k = 0; k < 8; k++) {
            size_t c = first + 8 * i + k;
            if ((unsigned)bits[c] > 1)
                return fail_column(form, c, bits[c] == -1 ? "vacant inside a header" : "neither 0, 1 nor -1");
            value = value << 1 | (unsigned)bits[c];
        }
        bytes[i] = (uint8_t)value;
    }
    return ST_OK;
}

static status take_ipv4(const nprint_form *form, const int8_t *bits, uint8_t *header, size_t *nip) {
    TRY(take_bytes(form, bits, 0, 20, header));
    *nip = (header[0] & 15u) * 4u;
    if (header[0] >> 4 != 4)
        return fail_column(form, 0, "the version is not 4");
    if (*nip < 20)
        return fail_column(form, 4, "the IPv4 header length is below 5 words");
    return take_bytes(form, bits, 160, *nip - 20, header + 20);
}

static status take_ipv6(const nprint_form *form, const int8_t *bits, uint8_t *header, size_t *nip) {
    *nip = 40;
    TRY(take_bytes(form, bits, form->ipv6, *nip, header));
    return header[0] >> 4 == 6 ? ST_OK : fail_column(form, form->ipv6, "the version is not 6");
}

status nprint_form_decode(const nprint_form *form, const int8_t *bits, packet *p) {
    uint8_t header[PACKET_HEADER_MAX];
    size_t nip = 0, first, nl4 = 8;
    bool ipv6 = has_ipv6(form) && bits[0] == -1;
    TRY(ipv6 ? take_ipv6(form, bits, header, &nip) : take_ipv4(form, bits, header, &nip));

    unsigned proto = header[ipv6 ? 6 : 9];
    if (proto == PROTO_TCP) {
        first = form->tcp;
        TRY(take_bytes(form, bits, first, 20, header + nip));
        nl4 = (size_t)(header[nip + 12] >> 4) * 4;
        if (nl4 < 20)
            return fail_column(form, first + 96, "the TCP data offset is below 5 words");
    } else if (proto == PROTO_UDP) {
        first = form->udp;
    } else if (proto == PROTO_ICMP && !ipv6) {
        first = form->icmp;
    } else {
        return fail_column(form, ipv6 ? form->ipv6 + 48u : 72,
                           ipv6 ? "the next header is not TCP or UDP" : "the protocol is not TCP, UDP or ICMP");
    }
    TRY(take_bytes(form, bits, first, nl4, header + nip));

    p->nheader = (uint8_t)(nip + nl4);
    memcpy(p->header, header, p->nheader);
    p->wire_len = packet_total_len(p);
    return ST_OK;
}

status nprint_decode(const int8_t *bits, packet *p) {
    return nprint_form_decode(&nprint_ipv4_form, bits, p);
}

status nprint_csv_header(const nprint_form *form, FILE *to) {
    fputs("src_ip", to);
    for (size_t f = 0; f < form->nfields; f++)
        for (unsigned i = 0; i < form->fields[f].nbits; i++)
            fprintf(to, ",%s_%u", form->fields[f].name, i);
    fputc('\n', to);
    return ferror(to) ? FAIL(ST_IO, "cannot write the nPrint header line") : ST_OK;
}

static char *put_octet(char *text, unsigned v) {
    if (v >= 100)
        *text++ = (char)('0' + v / 100);
    if (v >= 10)
        *text++ = (char)('0' + v / 10 % 10);
    *text++ = (char)('0' + v % 10);
    return text;
}

/* The source address, without a comma: each column brings its own. */
static char *put_index(const packet *p, char *text) {
    if (packet_is_ipv6(p)) {
        ip_address_format(ip_address_get(p->header + 8, 16), true, text);
        return text + strlen(text);
    }
    for (int i = 0; i < 4; i++) {
        text = put_octet(text, p->header[12 + i]);
        *text++ = '.';
    }
    return text - 1;
}

size_t nprint_csv_row(const nprint_form *form, const packet *p, char *text) {
    nprint_block block[BLOCKS];
    char *end = put_index(p, text);
    int n = packet_blocks(has_ipv6(form), p, block);
    for (int b = 0; b < n; b++) {
        for (size_t i = 0; i < block[b].nbytes; i++, end += 16)
            memcpy(end, byte_text[block[b].bytes[i]], 16);
        size_t nvacant = 3 * (block[b].nbits - 8 * block[b].nbytes);
        memcpy(end, vacant_text, nvacant);
        end += nvacant;
    }
    *end++ = '\n';
    return (size_t)(end - text);
}

/* The values of one line. */
static status parse_columns(const nprint_form *form, const char *at, const char *end, int8_t *bits) {
    for (size_t c = 0; c < form->ncolumns; c++) {
        if (at == end)
            return fail_column(form, c, "missing, the line ends before it");
        at++; /* the comma: the loop below and the caller stop nowhere else */
        size_t n = 0;
        while (at + n < end && at[n] != ',')
            n++;
        if (n == 1 && (*at == '0' || *at == '1'))
            bits[c] = (int8_t)(*at - '0');
        else if (n == 2 && at[0] == '-' && at[1] == '1')
            bits[c] = -1;
        else
            return fail_column(form, c, "neither 0, 1 nor -1");
        at += n;
    }
    return at == end ? ST_OK : FAIL(ST_FORMAT, "nPrint line: more than %d columns after the index", form->ncolumns);
}

status nprint_csv_parse(const nprint_form *form, const char *line, size_t nbytes, packet *p) {
    int8_t bits[NPRINT_MOST_COLUMNS], again[NPRINT_MOST_COLUMNS];
    packet q = *p;
    const char *end = line + nbytes, *at = line;
    while (at < end && *at != ',')
        at++;
    TRY(parse_columns(form, at, end, bits));
    TRY(nprint_form_decode(form, bits, &q));
    nprint_form_encode(form, &q, again);
    for (size_t c = 0; c < form->ncolumns; c++)
        if (bits[c] != again[c])
            return fail_column(form, c, "a value outside the packet's headers");
    *p = q;
    return ST_OK;
}
