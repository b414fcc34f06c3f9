/* Bytes of a file, unpacked if it is gzip-compressed, in a buffer that grows with what is asked for. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "io/capture_priv.h"

enum { BUFFER = 1 << 20, SMALL = 4096, GZIP_WINDOW = 15 + 16 }; /* inflateInit2: largest window, gzip header */

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

/* Room for n bytes from `at` on, which is then the buffer's start; false, with an error, if there is no memory. */
static bool make_room(source *s, size_t n) {
    if (s->at > 0)
        memmove(s->buffer, s->buffer + s->at, s->filled - s->at);
    s->filled -= s->at;
    s->at = 0;
    if (n <= s->capacity)
        return true;
    uint8_t *larger = realloc(s->buffer, n);
    if (larger == NULL) {
        snprintf(s->error, sizeof s->error, "no memory for a record of %zu bytes", n);
        return false;
    }
    s->buffer = larger;
    s->capacity = n;
    return true;
}

size_t source_fill(source *s, size_t n) {
    if (!s->end && !make_room(s, n))
        s->end = true;
    while (s->filled - s->at < n && !s->end) {
        uint8_t *to = s->buffer + s->filled;
        size_t room = s->capacity - s->filled;
        ssize_t got = s->gzip ? unpack_some(s, to, room) : read_some(s, to, room);
        if (got > 0)
            s->filled += (size_t)got;
        else
            s->end = true;
    }
    return s->filled - s->at < n ? s->filled - s->at : n;
}

bool source_skip(source *s, uint64_t n) {
    while (n > 0) {
        size_t have, part = n < BUFFER ? (size_t)n : BUFFER;
        source_peek(s, part, &have);
        source_take(s, have);
        if (have < part)
            return false;
        n -= part;
    }
    return true;
}

/* What was read as plain bytes is the start of a gzip file. */
static status begin_gzip(source *s, const char *path) {
    s->packed = malloc(BUFFER + SMALL);
    if (s->packed == NULL || inflateInit2(&s->z, GZIP_WINDOW) != Z_OK)
        return FAIL(ST_MEMORY, "%s: no memory to decompress", path);
    s->gzip = true;
    memcpy(s->packed, s->buffer, s->filled); /* at most the buffer, which is no longer */
    s->z.next_in = s->packed;
    s->z.avail_in = (uInt)s->filled;
    s->input_end = s->end;
    s->filled = 0;
    s->end = false;
    return ST_OK;
}

status source_open(source *s, const char *path, bool hashed) {
    struct stat info;
    *s = (source){.fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (s->fd < 0)
        return FAIL(ST_IO, "%s: %s", path, strerror(errno));
    if (hashed)
        TRY(sha256_new(&s->digest));
    bool known = fstat(s->fd, &info) == 0;
    if (known && S_ISDIR(info.st_mode))
        return FAIL(ST_IO, "%s: is a folder", path);
    bool small = known && S_ISREG(info.st_mode) && info.st_size < BUFFER;
    s->capacity = small ? (size_t)info.st_size + SMALL : BUFFER;
    s->buffer = malloc(s->capacity);
    if (s->buffer == NULL)
        return FAIL(ST_MEMORY, "%s: no memory for a buffer", path);
    size_t have;
    const uint8_t *first = source_peek(s, 2, &have);
    if (s->error[0] != '\0')
        return FAIL(ST_IO, "%s: %s", path, s->error);
    return have == 2 && first[0] == 0x1f && first[1] == 0x8b ? begin_gzip(s, path) : ST_OK;
}

status source_sha256(source *s, const char *path, char hex[65]) {
    ASSERT(s->digest != NULL);
    ssize_t got = 1;
    s->error[0] = '\0';
    s->at = s->filled = 0;
    s->end = true;
    while (s->digested == ST_OK && got > 0)
        got = read_some(s, s->buffer, s->capacity);
    if (got < 0)
        return FAIL(ST_IO, "%s: %s", path, s->error);
    TRY(s->digested);
    return sha256_end(&s->digest, hex);
}

void source_close(source *s) {
    sha256_free(&s->digest);
    if (s->gzip)
        inflateEnd(&s->z);
    free(s->packed);
    free(s->buffer);
    if (s->fd >= 0)
        close(s->fd);
}
