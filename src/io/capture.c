/* Reading capture files through libpcap, compressed or not.
 *
 * Bytes reach libpcap through a stdio cookie, so that gzip and pipes work alike. Microsecond files are read with their
 * own precision and scaled here: libpcap scales in 32 bits, which destroys fractions beyond a second. libpcap hands the
 * unsigned 32-bit seconds of a pcap file out as signed; they are turned back. A pcapng file whose interfaces differ in
 * link type or snap length ends where libpcap refuses it, with libpcap's words as the damage. */
#include <errno.h>
#include <fcntl.h>
#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/capture.h"

enum { BUFFER = 1 << 20, MAGIC = 4, GZIP_WINDOW = 15 + 16 }; /* inflateInit2: largest window, gzip header */
enum { MAGIC_PCAPNG = 0x0a0d0d0a, MAGIC_NANO = 0xa1b23c4d, MAGIC_NANO_SWAPPED = 0x4d3cb2a1 };

/* Where bytes come from. The first ones were looked at and are served again. zlib's own file reading is not used: it
 * throws away what it unpacked before an error. */
typedef struct source {
    int fd;
    bool gzip, input_end, member_end, failed; /* member_end: between two members of a gzip file */
    z_stream z;
    uint8_t *packed; /* BUFFER bytes that z reads from */
    uint8_t first[MAGIC];
    size_t nfirst, served;
    char error[128];
    sha256_state *digest; /* of what was read from fd; NULL where nobody wants it */
    status digested;
} source;

struct capture {
    char *path, *buffer, *damage;
    pcap_t *pcap;
    source from;
    uint64_t nrecords;
    int64_t nanoseconds; /* of a unit of tv_usec */
    bool unsigned_time;  /* pcap's 32-bit fields */
};

static ssize_t read_some(source *s, void *to, size_t n) {
    ssize_t got;
    do
        got = read(s->fd, to, n);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        snprintf(s->error, sizeof s->error, "%s", strerror(errno));
    else if (s->digest != NULL && s->digested == ST_OK)
        s->digested = sha256_add(s->digest, to, (size_t)got);
    return got;
}

static ssize_t gzip_failed(source *s, const char *why) {
    snprintf(s->error, sizeof s->error, "gzip: %s", why);
    errno = EIO;
    return -1;
}

/* Unpack at least one byte; 0 at the end of the last member. What comes before an error is delivered before it. */
static ssize_t unpack_some(source *s, void *to, size_t n) {
    s->z.next_out = to;
    s->z.avail_out = n < (1u << 30) ? (uInt)n : 1u << 30;
    uInt wanted = s->z.avail_out;
    while (s->z.avail_out == wanted) {
        if (s->failed)
            return gzip_failed(s, s->z.msg != NULL ? s->z.msg : "damaged");
        if (s->z.avail_in == 0 && !s->input_end) {
            ssize_t got = read_some(s, s->packed, BUFFER);
            if (got < 0)
                return -1;
            s->input_end = got == 0;
            s->z.next_in = s->packed;
            s->z.avail_in = (uInt)got;
        }
        if (s->member_end) {
            if (s->z.avail_in == 0 || *s->z.next_in != 0x1f) /* what gzip calls trailing garbage ends the file too */
                return 0;
            inflateReset(&s->z);
            s->member_end = false;
        }
        if (s->z.avail_in == 0)
            return gzip_failed(s, "the file ends early");
        int code = inflate(&s->z, Z_NO_FLUSH);
        s->member_end = code == Z_STREAM_END;
        s->failed = code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR;
    }
    return (ssize_t)(wanted - s->z.avail_out);
}

static ssize_t source_pull(source *s, void *to, size_t n) {
    return s->gzip ? unpack_some(s, to, n) : read_some(s, to, n);
}

static ssize_t source_read(void *cookie, char *to, size_t n) {
    source *s = cookie;
    if (s->served == s->nfirst)
        return source_pull(s, to, n);
    size_t left = s->nfirst - s->served;
    if (n > left)
        n = left;
    memcpy(to, s->first + s->served, n);
    s->served += n;
    return (ssize_t)n;
}

static void source_fill(source *s) {
    s->nfirst = s->served = 0;
    while (s->nfirst < MAGIC) {
        ssize_t got = source_pull(s, s->first + s->nfirst, MAGIC - s->nfirst);
        if (got <= 0)
            break;
        s->nfirst += (size_t)got;
    }
}

static status source_open(source *s, const char *path) {
    struct stat info;
    s->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0)
        return FAIL(ST_IO, "%s: %s", path, strerror(errno));
    if (fstat(s->fd, &info) == 0 && S_ISDIR(info.st_mode))
        return FAIL(ST_IO, "%s: is a folder", path);
    source_fill(s);
    if (s->error[0] != '\0')
        return FAIL(ST_IO, "%s: %s", path, s->error);
    if (s->nfirst < 2 || s->first[0] != 0x1f || s->first[1] != 0x8b)
        return ST_OK;
    s->packed = malloc(BUFFER);
    if (s->packed == NULL || inflateInit2(&s->z, GZIP_WINDOW) != Z_OK)
        return FAIL(ST_MEMORY, "%s: no memory to decompress", path);
    memcpy(s->packed, s->first, s->nfirst);
    s->z.next_in = s->packed;
    s->z.avail_in = (uInt)s->nfirst;
    s->gzip = true;
    source_fill(s);
    return ST_OK;
}

static void source_close(source *s) {
    if (s->gzip)
        inflateEnd(&s->z);
    free(s->packed);
    sha256_free(&s->digest);
    if (s->fd >= 0)
        close(s->fd);
}

/* How time stamps are to be read, from the magic number in the file's first bytes. */
static unsigned choose_precision(capture *c) {
    uint32_t magic = 0;
    memcpy(&magic, c->from.first, c->from.nfirst);
    bool nano = magic == MAGIC_NANO || magic == MAGIC_NANO_SWAPPED;
    c->unsigned_time = magic != MAGIC_PCAPNG;
    c->nanoseconds = nano || magic == MAGIC_PCAPNG ? 1 : 1000;
    return c->nanoseconds == 1 ? PCAP_TSTAMP_PRECISION_NANO : PCAP_TSTAMP_PRECISION_MICRO;
}

static status open_capture(capture **out, const char *path, bool hashed) {
    status st = ST_OK;
    capture *c = NULL;
    char why[PCAP_ERRBUF_SIZE] = "";
    *out = NULL;
    TRY(NEW(1, &c));
    c->from.fd = -1;
    c->path = text_copy(path);
    c->buffer = malloc(BUFFER);
    if (c->buffer == NULL) {
        st = FAIL(ST_MEMORY, "%s: no memory for a buffer", path);
        goto failed;
    }
    if (hashed)
        TRY_TO(failed, sha256_new(&c->from.digest));
    TRY_TO(failed, source_open(&c->from, path));
    FILE *stream = fopencookie(&c->from, "rb", (cookie_io_functions_t){.read = source_read});
    if (stream == NULL) {
        st = FAIL(ST_MEMORY, "%s: no memory for a stream", path);
        goto failed;
    }
    setvbuf(stream, c->buffer, _IOFBF, BUFFER);
    c->pcap = pcap_fopen_offline_with_tstamp_precision(stream, choose_precision(c), why);
    if (c->pcap == NULL) {
        fclose(stream);
        st = FAIL(ST_FORMAT, "%s: no capture: %s", path, c->from.error[0] != '\0' ? c->from.error : why);
        goto failed;
    }
    *out = c;
    return ST_OK;
failed:
    capture_close(&c);
    return st;
}

status capture_open(capture **out, const char *path) {
    return open_capture(out, path, false);
}

status capture_open_hashed(capture **out, const char *path) {
    return open_capture(out, path, true);
}

int capture_link_type(const capture *c) {
    return pcap_datalink(c->pcap);
}

/* A pcapng file may hold any 64-bit time; what does not fit is the latest or earliest time there is. */
static int64_t time_of(const capture *c, const struct timeval *t) {
    int64_t seconds = c->unsigned_time ? (int64_t)(uint32_t)t->tv_sec : t->tv_sec;
    int64_t fraction = c->unsigned_time ? (int64_t)(uint32_t)t->tv_usec : t->tv_usec;
    int64_t whole, sum;
    if (__builtin_mul_overflow(seconds, (int64_t)1000000000, &whole) ||
        __builtin_add_overflow(whole, fraction * c->nanoseconds, &sum))
        return seconds < 0 ? INT64_MIN : INT64_MAX;
    return sum;
}

status capture_next(capture *c, capture_record *r, bool *end) {
    struct pcap_pkthdr *header;
    const u_char *bytes;
    *end = false;
    int got = c->damage != NULL ? PCAP_ERROR_BREAK : pcap_next_ex(c->pcap, &header, &bytes);
    if (got == 1) {
        r->time_ns = time_of(c, &header->ts);
        r->caplen = header->caplen;
        r->wire_len = header->len > header->caplen ? header->len : header->caplen;
        r->bytes = bytes;
        c->nrecords++;
        return ST_OK;
    }
    *end = true;
    if (c->damage == NULL && (got == PCAP_ERROR || c->from.error[0] != '\0'))
        c->damage = text_format("after record %llu: %s", (unsigned long long)c->nrecords,
                                c->from.error[0] != '\0' ? c->from.error : pcap_geterr(c->pcap));
    return ST_OK;
}

const char *capture_damage(const capture *c) {
    return c->damage;
}

status capture_sha256(capture *c, char hex[65]) {
    source *s = &c->from;
    ASSERT(s->digest != NULL);
    ssize_t got = 1;
    char *rest = malloc(BUFFER);
    if (rest == NULL)
        return FAIL(ST_MEMORY, "%s: no memory for a buffer", c->path);
    s->error[0] = '\0';
    while (s->digested == ST_OK && got > 0)
        got = read_some(s, rest, BUFFER);
    free(rest);
    if (got < 0)
        return FAIL(ST_IO, "%s: %s", c->path, s->error);
    TRY(s->digested);
    return sha256_end(&s->digest, hex);
}

void capture_close(capture **out) {
    capture *c = *out;
    if (c == NULL)
        return;
    if (c->pcap != NULL)
        pcap_close(c->pcap); /* closes the stream */
    source_close(&c->from);
    free(c->path);
    free(c->buffer);
    free(c->damage);
    memory_free(out);
}
