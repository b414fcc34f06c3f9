/* Opening and reading capture files; the records of classic pcap.
 *
 * libpcap is not used: it refuses pcapng files whose interfaces differ in link type or snap length, scales times in 32
 * bits, and cuts records to the snap length of the file header. What is read here are versions 2.0 to 2.4 of pcap, of
 * either byte order, with micro- or nanoseconds, and with the longer records of Kuznetzov's patched libpcap.
 * Reference: draft-ietf-opsawg-pcap. */
#include <stdarg.h>
#include <stdlib.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/capture_priv.h"

enum { FILE_HEADER = 24, RECORD_HEADER = 16, RECORD_HEADER_KUZNETZOV = 24, RECORD_MAX = 262144 };
/* As the writer's memory had them. */
#define MAGIC_MICRO 0xa1b2c3d4u
#define MAGIC_NANO 0xa1b23c4du
#define MAGIC_KUZNETZOV 0xa1b2cd34u
#define MAGIC_PCAPNG 0x0a0d0d0au
enum { LINK_TYPE_BITS = 0x03ffffff }; /* those above say how long a frame check sequence is */

void capture_note(capture *c, const char *format, ...) {
    if (c->damage != NULL)
        return;
    char text[160];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    c->damage = text_format("after record %llu: %s", (unsigned long long)c->nrecords, text);
}

void capture_note_cut(capture *c, const char *what, size_t have, size_t wanted) {
    if (c->from.error[0] != '\0')
        capture_note(c, "%s", c->from.error);
    else
        capture_note(c, "the file ends inside %s: %zu of %zu bytes", what, have, wanted);
}

/* Record header: seconds 32 | fraction 32 | bytes captured 32 | bytes on the wire 32. Before version 2.3 the two
 * lengths stood the other way round, and in 2.3 either way. */
static bool next_pcap(capture *c, capture_record *r) {
    size_t have, nheader = c->nrecord_header;
    const uint8_t *header = source_peek(&c->from, nheader, &have);
    if (have < nheader) {
        if (have > 0 || c->from.error[0] != '\0')
            capture_note_cut(c, "a record header", have, nheader);
        return false;
    }
    uint32_t seconds = capture_u32(c, header), fraction = capture_u32(c, header + 4);
    uint32_t caplen = capture_u32(c, header + 8), len = capture_u32(c, header + 12);
    if (c->minor < 3 || (c->minor == 3 && caplen > len)) {
        uint32_t other = caplen;
        caplen = len;
        len = other;
    }
    if (caplen > RECORD_MAX) {
        capture_note(c, "a record of %u bytes, more than %d", caplen, RECORD_MAX);
        return false;
    }
    size_t n = nheader + caplen;
    const uint8_t *record = source_peek(&c->from, n, &have);
    if (have < n) {
        capture_note_cut(c, "a record", have - nheader, caplen);
        return false;
    }
    source_take(&c->from, n);
    *r = (capture_record){.time_ns = (int64_t)seconds * 1000000000 + (int64_t)fraction * c->nanoseconds,
                          .caplen = caplen,
                          .wire_len = len > caplen ? len : caplen,
                          .link_type = c->link_type,
                          .bytes = record + nheader};
    return true;
}

/* File header: magic 32 | version 16, 16 | zone 32 | accuracy 32 | snap length 32 | link type 32. */
static status open_pcap(capture *c, uint32_t magic) {
    size_t have;
    const uint8_t *header = source_peek(&c->from, FILE_HEADER, &have);
    if (have < FILE_HEADER)
        return FAIL(ST_FORMAT, "%s: no capture: the file ends inside its header: %zu of %d bytes", c->path, have,
                    FILE_HEADER);
    c->nanoseconds = magic == MAGIC_NANO ? 1 : 1000;
    c->nrecord_header = magic == MAGIC_KUZNETZOV ? RECORD_HEADER_KUZNETZOV : RECORD_HEADER;
    unsigned major = capture_u16(c, header + 4);
    c->minor = capture_u16(c, header + 6);
    c->link_type = (int)(capture_u32(c, header + 20) & LINK_TYPE_BITS);
    if (major != 2 || c->minor > 4)
        return FAIL(ST_FORMAT, "%s: no capture: pcap of the unknown version %u.%u", c->path, major, c->minor);
    source_take(&c->from, FILE_HEADER);
    c->next = next_pcap;
    return ST_OK;
}

/* The number in a file's first bytes, in whichever order it is known; 0 if in neither. */
static uint32_t known_magic(const uint8_t *first, bool *swapped) {
    static const uint32_t known[] = {MAGIC_MICRO, MAGIC_NANO, MAGIC_KUZNETZOV, MAGIC_PCAPNG};
    uint32_t magic;
    memcpy(&magic, first, sizeof magic);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (magic == known[i] || magic == __builtin_bswap32(known[i])) {
            *swapped = magic != known[i];
            return known[i];
        }
    return 0;
}

static status begin(capture *c) {
    size_t have;
    const uint8_t *first = source_peek(&c->from, 4, &have);
    if (have < 4) {
        const char *why = have == 0 ? "the file is empty" : "the file has less than four bytes";
        return FAIL(ST_FORMAT, "%s: no capture: %s", c->path, c->from.error[0] != '\0' ? c->from.error : why);
    }
    switch (known_magic(first, &c->swapped)) {
    case 0:
        return FAIL(ST_FORMAT, "%s: no capture: neither pcap nor pcapng", c->path);
    case MAGIC_PCAPNG:
        return capture_open_ng(c);
    default:
        return open_pcap(c, known_magic(first, &c->swapped));
    }
}

static status open_capture(capture **out, const char *path, bool hashed) {
    capture *c = NULL;
    *out = NULL;
    TRY(NEW(1, &c));
    c->path = text_copy(path);
    status st = source_open(&c->from, path, hashed);
    if (st == ST_OK)
        st = begin(c);
    if (st != ST_OK)
        capture_close(&c);
    *out = c;
    return st;
}

status capture_open(capture **out, const char *path) {
    return open_capture(out, path, false);
}

status capture_open_hashed(capture **out, const char *path) {
    return open_capture(out, path, true);
}

int capture_link_type(const capture *c) {
    return c->link_type;
}

status capture_next(capture *c, capture_record *r, bool *end) {
    if (c->pending) {
        *r = c->first;
        c->pending = false;
    } else if (c->ended || !c->next(c, r)) {
        c->ended = true;
    }
    *end = c->ended;
    c->nrecords += !c->ended;
    return ST_OK;
}

const char *capture_damage(const capture *c) {
    return c->damage;
}

status capture_sha256(capture *c, char hex[65]) {
    return source_sha256(&c->from, c->path, hex);
}

void capture_close(capture **out) {
    capture *c = *out;
    if (c == NULL)
        return;
    source_close(&c->from);
    free(c->path);
    free(c->damage);
    free(c->interfaces);
    memory_free(out);
}
