/* What reading pcap and pcapng shares: a buffered source of bytes, and the open file. */
#ifndef ND_IO_CAPTURE_PRIV_H
#define ND_IO_CAPTURE_PRIV_H

#include <string.h>
#include <zlib.h>
#include "base/file.h"
#include "io/capture.h"

/* Where bytes come from, unpacked where the file is gzip-compressed. zlib's own file reading is not used: it throws
 * away what it unpacked before an error. */
typedef struct source {
    int fd;
    bool gzip, input_end, member_end, failed; /* member_end: between two members of a gzip file */
    bool end;                                 /* nothing comes after what is in the buffer */
    z_stream z;
    uint8_t *packed; /* what z reads from */
    uint8_t *buffer;
    size_t capacity, at, filled; /* bytes at .. filled are still to be taken */
    char error[128];             /* why the source ended early; "" if it did not */
    sha256_state *digest;        /* of what was read from fd; NULL where nobody wants it */
    status digested;
} source;

/* hashed: for source_sha256. ST_IO if missing or unreadable. source_close also after an error. */
status source_open(source *s, const char *path, bool hashed);
/* SHA-256 of the file as it lies there; what is left is read now, and nothing can be taken afterwards. Once. */
status source_sha256(source *s, const char *path, char hex[65]);
void source_close(source *s);

/* Fill the buffer up to n bytes; how many there are now, fewer at the end. */
size_t source_fill(source *s, size_t n);
/* The next n bytes, valid until the next call; *have is less than n at the end of the source. */
static inline const uint8_t *source_peek(source *s, size_t n, size_t *have) {
    size_t left = s->filled - s->at;
    *have = left >= n ? n : source_fill(s, n);
    return s->buffer + s->at;
}
/* Take n bytes that are in the buffer. */
static inline void source_take(source *s, size_t n) {
    s->at += n;
}
/* Take n bytes, in the buffer or not; false if there are not as many. */
bool source_skip(source *s, uint64_t n);

/* One way in which packets arrived in a pcapng section. */
typedef struct capture_interface {
    int link_type;
    uint32_t snap_len;  /* 0 = no limit */
    uint8_t resolution; /* if_tsresol */
    int64_t offset;     /* seconds */
} capture_interface;

struct capture {
    char *path, *damage;
    source from;
    uint64_t nrecords;
    bool ended;
    bool swapped; /* numbers of the file (of the section) are in the other byte order */
    /* The next record; false at the end. Sets damage. */
    bool (*next)(capture *c, capture_record *r);
    int link_type; /* of the file; pcapng: of the first record */
    /* pcap */
    size_t nrecord_header;
    uint32_t nanoseconds; /* of a unit of the fraction */
    unsigned minor;       /* of the version */
    /* pcapng */
    capture_interface *interfaces;
    size_t ninterfaces, interface_capacity;
    bool pending; /* `first` is still to be handed out */
    capture_record first;
};

static inline uint16_t capture_u16(const capture *c, const uint8_t *b) {
    uint16_t v;
    memcpy(&v, b, sizeof v);
    return c->swapped ? __builtin_bswap16(v) : v;
}
static inline uint32_t capture_u32(const capture *c, const uint8_t *b) {
    uint32_t v;
    memcpy(&v, b, sizeof v);
    return c->swapped ? __builtin_bswap32(v) : v;
}
static inline uint64_t capture_u64(const capture *c, const uint8_t *b) {
    uint64_t v;
    memcpy(&v, b, sizeof v);
    return c->swapped ? __builtin_bswap64(v) : v;
}

/* Note what is wrong behind the records read so far; the first note stays. */
void capture_note(capture *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The file ends in the middle of something, of which `have` bytes are there. */
void capture_note_cut(capture *c, const char *what, size_t have, size_t wanted);

/* Reads up to the first record. ST_FORMAT, naming the path, where the section header is of another version or damaged.
 */
status capture_open_ng(capture *c);

#endif
