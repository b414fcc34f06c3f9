/* Capture files: pcap and pcapng (any byte order and time resolution, gzip-compressed or not), and a nanosecond pcap
 * writer. Local. */
#ifndef ND_IO_CAPTURE_H
#define ND_IO_CAPTURE_H

#include "base/config.h"
#include "packet/packet.h"

typedef struct capture capture;

typedef struct capture_record {
    int64_t time_ns;
    size_t caplen, wire_len; /* wire_len >= caplen is made sure of */
    int link_type;           /* LINKTYPE_ of this record: the interfaces of a pcapng file may differ */
    const uint8_t *bytes;    /* valid until the next call */
} capture_record;

/* ST_IO if missing or unreadable, ST_FORMAT if it is no capture; the message names file and reason. */
status capture_open(capture **c, const char *path);
/* The same, for capture_sha256. */
status capture_open_hashed(capture **c, const char *path);
/* LINKTYPE_ of the file; of a pcapng file that of its first record, or without any of its first interface, or -1. */
int capture_link_type(const capture *c);
/* The next record; *end is set at the end of the file. A damaged or cut file gives its good records, then *end, and
 * capture_damage says what was wrong first, and where. In a pcapng file records behind a damaged block are still good
 * where the block's bounds are. */
status capture_next(capture *c, capture_record *r, bool *end);
const char *capture_damage(const capture *c); /* NULL if the file ended as it should */
/* SHA-256 of the whole file (opened by capture_open_hashed), taken while it is read; what is left is read now. Once,
 * after the last capture_next. */
status capture_sha256(capture *c, char hex[65]);
void capture_close(capture **c);

/* The files of a list of files, folders (searched, with the folders below them, for *.pcap, *.pcapng, *.cap, each also
 * with .gz) and glob patterns: sorted, each once. ST_IO for an entry that matches nothing. Release with
 * text_list_clear. */
status capture_list(const text_list *entries, text_list *files);
/* The same, with what each file is called in datasets and labels: the path below its folder, or what a pattern left
 * open; sorted by that name, so that the order does not depend on where the captures lie. */
status capture_list_names(const text_list *entries, text_list *files, text_list *names);

/* Writer: nanosecond pcap, atomic (appears at commit). link_type 1 (Ethernet) or 101 (raw IP). */
typedef struct capture_writer capture_writer;
status capture_create(capture_writer **w, const char *path, int link_type, uint32_t snap_len);
/* One packet of nd: link header (Ethernet: locally administered addresses made from the IP addresses), header bytes,
 * payload zero bytes up to the IP total length; with truncate only the headers are stored and the record's original
 * length says the rest. Nothing is written that was not set here. */
status capture_write(capture_writer *w, const packet *p, bool truncate);
/* The same with these packet_payload(p) bytes of payload (packet/payload.h makes them), NULL: zero bytes. */
status capture_write_payload(capture_writer *w, const packet *p, const uint8_t *payload, bool truncate);
status capture_commit(capture_writer **w);
void capture_abandon(capture_writer **w);

#endif
