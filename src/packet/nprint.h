/* The nPrint bit row: IPv4 480 + TCP 480 + UDP 64 + ICMP 64 columns, each 1, 0 or -1 (vacant), and its CSV form.
 * (nPrint 1.2.1 with -4 -t -u -i; Holland et al., CCS 2021.) */
#ifndef ND_PACKET_NPRINT_H
#define ND_PACKET_NPRINT_H

#include <stdio.h>
#include "packet/packet.h"

enum { NPRINT_COLUMNS = 1088, NPRINT_TCP = 480, NPRINT_UDP = 960, NPRINT_ICMP = 1024 };

/* One protocol field of the row; the same table names CSV columns, evaluation fields and images. */
typedef struct nprint_field {
    const char *name; /* nPrint's, e.g. "ipv4_ttl" */
    uint16_t first, nbits;
} nprint_field;
extern const nprint_field nprint_fields[];
extern const size_t nprint_nfields;

/* bits: NPRINT_COLUMNS values, all written. Equal to nPrint's row for every packet that packet_decode gives. */
void nprint_encode(const packet *p, int8_t *bits);
/* Header bytes from a row. Fails (ST_FORMAT, naming the column) where no complete packet can be read: version not 4,
 * IHL or data offset below 5, a protocol other than TCP, UDP and ICMP, or a value other than 0 and 1 inside a header.
 * Columns outside the headers are not looked at. wire_len becomes the total length; time, frame and dir are left alone;
 * after an error p is as before. */
status nprint_decode(const int8_t *bits, packet *p);

/* CSV: header line with "src_ip" and the columns' names; then one line per packet, index column = source address. */
status nprint_csv_header(FILE *to);
/* text (at least NPRINT_ROW_MAX bytes) gets one line with its newline, no NUL; returns its length. */
enum { NPRINT_ROW_MAX = 20 + NPRINT_COLUMNS * 3 };
size_t nprint_csv_row(const packet *p, char *text);
/* Read one line (of nbytes, without newline) back, whatever its index column says; ST_FORMAT names the column. Strict:
 * exactly NPRINT_COLUMNS values, each 1, 0 or -1, and nothing but -1 outside the packet's headers. */
status nprint_csv_parse(const char *line, size_t nbytes, packet *p);

#endif
