/* The nPrint bit row: a column a header bit, each 1, 0 or -1 (vacant), and its CSV form, in two forms:
 *   nprint     IPv4 480 + TCP 480 + UDP 64 + ICMP 64 columns            (nPrint 1.2.1 with -4 -t -u -i)
 *   nprint-v6  IPv4 480 + IPv6 320 + TCP 480 + UDP 64 + ICMP 64 columns (with -4 -6 -t -u -i)
 * As in nPrint, a packet of IPv6 has the IPv4 columns vacant, whatever the form, and ICMPv6 has no columns of its own
 * and is vacant too. nPrint prints no row for ICMPv6 and for packets with IPv6 extension headers. (Holland et al., CCS
 * 2021.) */
#ifndef ND_PACKET_NPRINT_H
#define ND_PACKET_NPRINT_H

#include <stdio.h>
#include "packet/packet.h"

/* Columns of the form nprint, and where its blocks start. */
enum { NPRINT_COLUMNS = 1088, NPRINT_TCP = 480, NPRINT_UDP = 960, NPRINT_ICMP = 1024 };
enum { NPRINT_V6_COLUMNS = 1408, NPRINT_MOST_COLUMNS = NPRINT_V6_COLUMNS };

/* One protocol field of the row; the same table names CSV columns, evaluation fields and images. */
typedef struct nprint_field {
    const char *name; /* nPrint's, e.g. "ipv4_ttl" */
    uint16_t first, nbits;
} nprint_field;
extern const nprint_field nprint_fields[]; /* of the form nprint */
extern const size_t nprint_nfields;

typedef struct nprint_form {
    const char *name;    /* "nprint", "nprint-v6" */
    const char *options; /* of nPrint */
    const nprint_field *fields;
    size_t nfields;
    uint16_t ncolumns, ipv6, tcp, udp, icmp; /* where the blocks start; ipv6 = tcp: no such block */
} nprint_form;
extern const nprint_form nprint_ipv4_form, nprint_ipv6_form;
const nprint_form *nprint_form_find(const char *name); /* NULL if unknown */

/* Can the form hold the whole header? (false: *why, a constant text) */
bool nprint_form_holds(const nprint_form *form, const packet *p, const char **why);

/* bits: ncolumns values, all written. Equal to nPrint's row for every packet that packet_decode gives and nPrint prints
 * a row for; what the form does not hold is vacant. */
void nprint_form_encode(const nprint_form *form, const packet *p, int8_t *bits);
/* Header bytes from a row. Fails (ST_FORMAT, naming the column) where no complete packet can be read: neither version 4
 * nor 6, IHL or data offset below 5, a protocol that the form does not hold, or a value other than 0 and 1 inside a
 * header. Columns outside the headers are not looked at; the row is IPv6 where its first IPv4 column is vacant.
 * wire_len becomes the total length; time, frame and dir are left alone; after an error p is as before. */
status nprint_form_decode(const nprint_form *form, const int8_t *bits, packet *p);

/* The same in the form nprint. */
void nprint_encode(const packet *p, int8_t *bits);
status nprint_decode(const int8_t *bits, packet *p);

/* CSV: header line with "src_ip" and the columns' names; then one line per packet, index column = source address. */
status nprint_csv_header(const nprint_form *form, FILE *to);
/* text (at least NPRINT_ROW_MAX bytes) gets one line with its newline, no NUL; returns its length. */
enum { NPRINT_ROW_MAX = 50 + NPRINT_MOST_COLUMNS * 3 };
size_t nprint_csv_row(const nprint_form *form, const packet *p, char *text);
/* Read one line (of nbytes, without newline) back, whatever its index column says; ST_FORMAT names the column. Strict:
 * exactly as many values as the form has columns, each 1, 0 or -1, and nothing but -1 outside the packet's headers. */
status nprint_csv_parse(const nprint_form *form, const char *line, size_t nbytes, packet *p);

#endif
