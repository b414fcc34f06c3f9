/* Nanosecond pcap writer.
 *
 * File header: magic a1b23c4d, version 2.4, two zero words, snap length, link type. Record header: seconds,
 * nanoseconds, captured length, original length; all 32 bits, little-endian (draft-ietf-opsawg-pcap). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/capture.h"
#include "io/io_priv.h"

enum { LINK_TYPE_ETHERNET = 1, LINK_TYPE_RAW = 101, ETHERNET_HEADER = 14, SNAP_LEN_MAX = 262144, ZEROS = 65536 };
enum { BUFFER = 256 << 10 }; /* a file system takes few large pieces at a third of what many of 4 KiB cost */

static const uint8_t zeros[ZEROS];

struct capture_writer {
    file_writer file;
    char *buffer; /* of file.stream */
    int link_type;
    uint32_t snap_len;
};

typedef struct file_header {
    uint32_t magic;
    uint16_t major, minor;
    uint32_t zone, accuracy, snap_len, link_type;
} file_header;

typedef struct record_header {
    uint32_t seconds, nanoseconds, caplen, len;
} record_header;

_Static_assert(sizeof(file_header) == 24 && sizeof(record_header) == 16, "pcap headers have no padding");

static status put(capture_writer *w, const void *bytes, size_t nbytes) {
    if (fwrite(bytes, 1, nbytes, w->file.stream) != nbytes)
        return FAIL(ST_IO, "%s: writing failed: %s", w->file.path, strerror(errno));
    return ST_OK;
}

/* When its file has been closed. */
static void writer_free(capture_writer **w) {
    free((*w)->buffer);
    memory_free(w);
}

status capture_create(capture_writer **out, const char *path, int link_type, uint32_t snap_len) {
    capture_writer *w = NULL;
    *out = NULL;
    if (link_type != LINK_TYPE_ETHERNET && link_type != LINK_TYPE_RAW)
        return FAIL(ST_RANGE, "%s: captures are written as Ethernet (1) or raw IP (101), not as link type %d", path,
                    link_type);
    TRY(NEW(1, &w));
    w->buffer = malloc(BUFFER);
    status st = w->buffer ? file_begin(&w->file, path) : FAIL(ST_MEMORY, "%s: no memory for its buffer", path);
    if (st != ST_OK) {
        writer_free(&w);
        return st;
    }
    setvbuf(w->file.stream, w->buffer, _IOFBF, BUFFER);
    w->link_type = link_type;
    w->snap_len = snap_len > 0 && snap_len < SNAP_LEN_MAX ? snap_len : SNAP_LEN_MAX;
    file_header h = {
        .magic = 0xa1b23c4d, .major = 2, .minor = 4, .snap_len = w->snap_len, .link_type = (uint32_t)link_type};
    st = put(w, &h, sizeof h);
    if (st != ST_OK)
        capture_abandon(&w);
    *out = w;
    return st;
}

/* 02:00 (locally administered, unicast) and the last four bytes of the IP address. */
static void ethernet_header(const packet *p, uint8_t frame[ETHERNET_HEADER]) {
    static const uint8_t local[2] = {0x02, 0x00};
    for (unsigned side = 0; side < 2; side++) { /* destination first */
        memcpy(frame + 6 * side, local, 2);
        memcpy(frame + 6 * side + 2, p->header + packet_address_at(p, !side) + packet_naddress(p) - 4, 4);
    }
    put16(frame + 12, packet_is_ipv6(p) ? 0x86dd : 0x0800);
}

status capture_write(capture_writer *w, const packet *p, bool truncate) {
    return capture_write_payload(w, p, NULL, truncate);
}

status capture_write_payload(capture_writer *w, const packet *p, const uint8_t *payload, bool truncate) {
    uint8_t record[sizeof(record_header) + ETHERNET_HEADER + PACKET_HEADER_MAX],
        *frame = record + sizeof(record_header);
    size_t nlink = w->link_type == LINK_TYPE_ETHERNET ? ETHERNET_HEADER : 0;
    if (p->time_ns < 0 || p->time_ns / 1000000000 > UINT32_MAX)
        return FAIL(ST_RANGE, "%s: time %lld ns does not fit a pcap record", w->file.path, (long long)p->time_ns);
    ASSERT(p->nheader >= 20 && p->nheader <= PACKET_HEADER_MAX);
    if (nlink > 0)
        ethernet_header(p, frame);
    memcpy(frame + nlink, p->header, p->nheader);
    size_t nheader = nlink + p->nheader, len = nheader + packet_payload(p), caplen = truncate ? nheader : len;
    if (caplen > w->snap_len)
        caplen = w->snap_len;
    record_header h = {.seconds = (uint32_t)(p->time_ns / 1000000000),
                       .nanoseconds = (uint32_t)(p->time_ns % 1000000000),
                       .caplen = (uint32_t)caplen,
                       .len = (uint32_t)len};
    memcpy(record, &h, sizeof h);
    TRY(put(w, record, sizeof h + (caplen < nheader ? caplen : nheader)));
    if (caplen > nheader)
        TRY(put(w, payload != NULL ? payload : zeros, caplen - nheader));
    return ST_OK;
}

status capture_commit(capture_writer **w) {
    status st = file_commit(&(*w)->file);
    writer_free(w);
    return st;
}

void capture_abandon(capture_writer **w) {
    if (*w == NULL)
        return;
    file_abandon(&(*w)->file);
    writer_free(w);
}
