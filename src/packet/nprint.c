/* The nPrint bit row of a packet, and its CSV text.
 *
 * Every header is a whole number of bytes, so both forms are made by table look-up, a byte at a time; a block's tail is
 * vacant. The IPv4 and TCP blocks hold 60 bytes, the UDP and ICMP blocks 8.
 * Reference: nPrint 1.2.1, options -4 -t -u -i, index column 0 (Holland, Schmitt, Feamster, Mittal, "New Directions in
 * Automated Traffic Analysis", CCS 2021). */
#include <string.h>
#include "packet/nprint.h"
#include "packet/nprint_priv.h"

const nprint_field nprint_fields[] = {
    {"ipv4_ver", 0, 4},       {"ipv4_hl", 4, 4},       {"ipv4_tos", 8, 8},     {"ipv4_tl", 16, 16},
    {"ipv4_id", 32, 16},      {"ipv4_rbit", 48, 1},    {"ipv4_dfbit", 49, 1},  {"ipv4_mfbit", 50, 1},
    {"ipv4_foff", 51, 13},    {"ipv4_ttl", 64, 8},     {"ipv4_proto", 72, 8},  {"ipv4_cksum", 80, 16},
    {"ipv4_src", 96, 32},     {"ipv4_dst", 128, 32},   {"ipv4_opt", 160, 320}, {"tcp_sprt", 480, 16},
    {"tcp_dprt", 496, 16},    {"tcp_seq", 512, 32},    {"tcp_ackn", 544, 32},  {"tcp_doff", 576, 4},
    {"tcp_res", 580, 3},      {"tcp_ns", 583, 1},      {"tcp_cwr", 584, 1},    {"tcp_ece", 585, 1},
    {"tcp_urg", 586, 1},      {"tcp_ackf", 587, 1},    {"tcp_psh", 588, 1},    {"tcp_rst", 589, 1},
    {"tcp_syn", 590, 1},      {"tcp_fin", 591, 1},     {"tcp_wsize", 592, 16}, {"tcp_cksum", 608, 16},
    {"tcp_urp", 624, 16},     {"tcp_opt", 640, 320},   {"udp_sport", 960, 16}, {"udp_dport", 976, 16},
    {"udp_len", 992, 16},     {"udp_cksum", 1008, 16}, {"icmp_type", 1024, 8}, {"icmp_code", 1032, 8},
    {"icmp_cksum", 1040, 16}, {"icmp_roh", 1056, 32},
};
const size_t nprint_nfields = sizeof nprint_fields / sizeof *nprint_fields;

/* A run of header bytes in the row: block of nbits columns, filled from nbytes bytes. */
typedef struct nprint_block {
    const uint8_t *bytes;
    size_t nbytes, nbits;
} nprint_block;

enum { BLOCKS = 4 };

/* The four blocks of a packet, absent ones with no bytes. Lengths are clipped to the blocks, and the longest IPv4 and
 * TCP headers together fill p->header exactly, so nothing is read beyond it whatever the bytes say. */
static void packet_blocks(const packet *p, nprint_block block[BLOCKS]) {
    const uint8_t *l4 = packet_l4(p);
    unsigned proto = packet_proto(p);
    block[0] = (nprint_block){p->header, packet_ip_nheader(p), NPRINT_TCP};
    block[1] = (nprint_block){l4, proto == PROTO_TCP ? (l4[12] >> 4) * 4u : 0, NPRINT_UDP - NPRINT_TCP};
    block[2] = (nprint_block){l4, proto == PROTO_UDP ? 8 : 0, NPRINT_ICMP - NPRINT_UDP};
    block[3] = (nprint_block){l4, proto == PROTO_ICMP ? 8 : 0, NPRINT_COLUMNS - NPRINT_ICMP};
}

void nprint_encode(const packet *p, int8_t *bits) {
    nprint_block block[BLOCKS];
    packet_blocks(p, block);
    for (int b = 0; b < BLOCKS; b++) {
        size_t used = block[b].nbytes * 8;
        for (size_t i = 0; i < block[b].nbytes; i++)
            memcpy(bits + 8 * i, byte_bits[block[b].bytes[i]], 8);
        memset(bits + used, -1, block[b].nbits - used);
        bits += block[b].nbits;
    }
}

/* Write column c's name, "field_bit". c < NPRINT_COLUMNS. */
static void column_name(size_t c, char *name, size_t nbytes) {
    size_t f = 0;
    while (c >= (size_t)nprint_fields[f].first + nprint_fields[f].nbits)
        f++;
    snprintf(name, nbytes, "%s_%zu", nprint_fields[f].name, c - nprint_fields[f].first);
}

static status fail_column(size_t c, const char *why) {
    char name[32];
    column_name(c, name, sizeof name);
    return FAIL(ST_FORMAT, "nPrint column %s: %s", name, why);
}

/* nbytes bytes from the columns first, first + 1, ... of the row. */
static status take_bytes(const int8_t *bits, size_t first, size_t nbytes, uint8_t *bytes) {
    for (size_t i = 0; i < nbytes; i++) {
        unsigned value = 0;
        for (size_t k = 0; k < 8; k++) {
            size_t c = first + 8 * i + k;
            if ((unsigned)bits[c] > 1)
                return fail_column(c, bits[c] == -1 ? "vacant inside a header" : "neither 0, 1 nor -1");
            value = value << 1 | (unsigned)bits[c];
        }
        bytes[i] = (uint8_t)value;
    }
    return ST_OK;
}

status nprint_decode(const int8_t *bits, packet *p) {
    uint8_t header[PACKET_HEADER_MAX];
    TRY(take_bytes(bits, 0, 20, header));
    size_t nip = (header[0] & 15u) * 4u, first, nl4 = 8;
    if (header[0] >> 4 != 4)
        return fail_column(0, "the version is not 4");
    if (nip < 20)
        return fail_column(4, "the IPv4 header length is below 5 words");
    TRY(take_bytes(bits, 160, nip - 20, header + 20));

    switch (header[9]) {
    case PROTO_TCP:
        first = NPRINT_TCP;
        TRY(take_bytes(bits, first, 20, header + nip));
        nl4 = (size_t)(header[nip + 12] >> 4) * 4;
        if (nl4 < 20)
            return fail_column(576, "the TCP data offset is below 5 words");
        break;
    case PROTO_UDP:
        first = NPRINT_UDP;
        break;
    case PROTO_ICMP:
        first = NPRINT_ICMP;
        break;
    default:
        return fail_column(72, "the protocol is not TCP, UDP or ICMP");
    }
    TRY(take_bytes(bits, first, nl4, header + nip));

    p->nheader = (uint8_t)(nip + nl4);
    memcpy(p->header, header, p->nheader);
    p->wire_len = packet_total_len(p);
    return ST_OK;
}

status nprint_csv_header(FILE *to) {
    fputs("src_ip", to);
    for (size_t f = 0; f < nprint_nfields; f++)
        for (unsigned i = 0; i < nprint_fields[f].nbits; i++)
            fprintf(to, ",%s_%u", nprint_fields[f].name, i);
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

size_t nprint_csv_row(const packet *p, char *text) {
    nprint_block block[BLOCKS];
    char *end = text;
    for (int i = 0; i < 4; i++) {
        end = put_octet(end, p->header[12 + i]);
        *end++ = '.';
    }
    end--; /* each column brings its own comma */

    packet_blocks(p, block);
    for (int b = 0; b < BLOCKS; b++) {
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
static status parse_columns(const char *at, const char *end, int8_t *bits) {
    for (size_t c = 0; c < NPRINT_COLUMNS; c++) {
        if (at == end)
            return fail_column(c, "missing, the line ends before it");
        at++; /* the comma: the loop below and the caller stop nowhere else */
        size_t n = 0;
        while (at + n < end && at[n] != ',')
            n++;
        if (n == 1 && (*at == '0' || *at == '1'))
            bits[c] = (int8_t)(*at - '0');
        else if (n == 2 && at[0] == '-' && at[1] == '1')
            bits[c] = -1;
        else
            return fail_column(c, "neither 0, 1 nor -1");
        at += n;
    }
    return at == end ? ST_OK : FAIL(ST_FORMAT, "nPrint line: more than %d columns after the index", NPRINT_COLUMNS);
}

status nprint_csv_parse(const char *line, size_t nbytes, packet *p) {
    int8_t bits[NPRINT_COLUMNS], again[NPRINT_COLUMNS];
    packet q = *p;
    const char *end = line + nbytes, *at = line;
    while (at < end && *at != ',')
        at++;
    TRY(parse_columns(at, end, bits));
    TRY(nprint_decode(bits, &q));
    nprint_encode(&q, again);
    for (size_t c = 0; c < NPRINT_COLUMNS; c++)
        if (bits[c] != again[c])
            return fail_column(c, "a value outside the packet's headers");
    *p = q;
    return ST_OK;
}
