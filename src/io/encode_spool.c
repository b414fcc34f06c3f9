/* Files that are written and read once, from front to back, with a CRC-32 that tells whether one is still whole. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/encode_priv.h"

enum { CHECK_BUFFER = 1 << 20 };

char *encode_name(const char *folder, size_t file, uint64_t partition, const char *suffix) {
    return text_format("%s/%08zu-%05" PRIu64 ".%s", folder, file, partition, suffix);
}

status spool_write_at(int fd, const char *path, const void *bytes, size_t nbytes, uint64_t at) {
    const uint8_t *from = bytes;
    while (nbytes > 0) {
        ssize_t put = pwrite(fd, from, nbytes, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return FAIL(ST_IO, "%s: writing failed: %s", path, strerror(errno));
        from += put;
        at += (uint64_t)put;
        nbytes -= (size_t)put;
    }
    return ST_OK;
}

status spool_read_at(int fd, const char *path, void *bytes, size_t nbytes, uint64_t at) {
    uint8_t *to = bytes;
    while (nbytes > 0) {
        ssize_t got = pread(fd, to, nbytes, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return FAIL(ST_IO, "%s: reading failed: %s", path, strerror(errno));
        if (got == 0)
            return FAIL(ST_FORMAT, "%s: ends early", path);
        to += got;
        at += (uint64_t)got;
        nbytes -= (size_t)got;
    }
    return ST_OK;
}

/* --- writing --- */

status spool_begin(spool_writer *w, const char *path, uint64_t attempt, size_t buffer_nbytes) {
    *w = (spool_writer){.fd = -1, .path = text_copy(path), .capacity = buffer_nbytes};
    w->part = text_format("%s.%016" PRIx64, path, attempt);
    w->buffer = malloc(buffer_nbytes);
    status st = w->buffer != NULL ? ST_OK : FAIL(ST_MEMORY, "%s: no memory for a buffer", path);
    if (st == ST_OK && (w->fd = open(w->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) < 0)
        st = FAIL(ST_IO, "%s: cannot create: %s", path, strerror(errno));
    if (st != ST_OK)
        spool_abandon(w);
    return st;
}

static status flush(spool_writer *w) {
    w->crc = libdeflate_crc32(w->crc, w->buffer, w->used);
    TRY(spool_write_at(w->fd, w->path, w->buffer, w->used, w->nbytes - w->used));
    w->used = 0;
    return ST_OK;
}

status spool_put_slowly(spool_writer *w, const void *bytes, size_t nbytes) {
    const uint8_t *from = bytes;
    while (nbytes > 0) {
        size_t room = w->capacity - w->used, n = nbytes < room ? nbytes : room;
        memcpy(w->buffer + w->used, from, n);
        w->used += n;
        w->nbytes += n;
        from += n;
        nbytes -= n;
        if (w->used == w->capacity)
            TRY(flush(w));
    }
    return ST_OK;
}

static void release(spool_writer *w) {
    if (w->fd >= 0 && w->part != NULL) {
        close(w->fd);
        unlink(w->part);
    }
    free(w->part);
    free(w->path);
    free(w->buffer);
    w->part = w->path = NULL;
    w->buffer = NULL;
    w->fd = -1;
}

status spool_commit(spool_writer *w) {
    status st = flush(w);
    if (st == ST_OK) {
        int failed = close(w->fd);
        w->fd = -1;
        if (failed != 0 || rename(w->part, w->path) != 0) {
            st = FAIL(ST_IO, "%s: writing failed: %s", w->path, strerror(errno));
            unlink(w->part);
        }
    }
    release(w);
    return st;
}

void spool_abandon(spool_writer *w) {
    release(w);
}

status spool_file(const char *path, uint64_t attempt, const void *bytes, size_t nbytes) {
    spool_writer w;
    TRY(spool_begin(&w, path, attempt, nbytes + 1));
    status st = spool_put(&w, bytes, nbytes);
    if (st == ST_OK)
        st = spool_commit(&w);
    spool_abandon(&w);
    return st;
}

/* --- reading --- */

status spool_open(spool_reader *r, const char *path, uint64_t at, size_t buffer_nbytes) {
    *r = (spool_reader){.path = text_copy(path), .capacity = buffer_nbytes, .next = at};
    r->buffer = malloc(buffer_nbytes);
    r->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (r->buffer != NULL && r->fd >= 0)
        return ST_OK;
    status st = r->fd < 0 ? FAIL(ST_IO, "%s: cannot open: %s", path, strerror(errno))
                          : FAIL(ST_MEMORY, "%s: no memory for a buffer", path);
    spool_close(r);
    return st;
}

status spool_fill(spool_reader *r) {
    memmove(r->buffer, r->buffer + r->at, r->n - r->at);
    r->n -= r->at;
    r->at = 0;
    while (r->n < r->capacity && !r->end) {
        ssize_t got = pread(r->fd, r->buffer + r->n, r->capacity - r->n, (off_t)r->next);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return FAIL(ST_IO, "%s: reading failed: %s", r->path, strerror(errno));
        r->end = got == 0;
        r->n += (size_t)got;
        r->next += (uint64_t)got;
    }
    return ST_OK;
}

status spool_seek(spool_reader *r, uint64_t at) {
    uint64_t start = r->next - r->n; /* of the buffer */
    if (at >= start && at <= r->next) {
        r->at = (size_t)(at - start);
        return ST_OK;
    }
    r->at = r->n = 0;
    r->next = at;
    r->end = false;
    return ST_OK;
}

void spool_close(spool_reader *r) {
    if (r->path != NULL && r->fd >= 0)
        close(r->fd);
    free(r->path);
    free(r->buffer);
    *r = (spool_reader){.fd = -1};
}

status spool_check(const char *path, uint64_t nbytes, uint32_t crc, bool *same) {
    spool_reader r;
    uint32_t have = 0;
    uint64_t size = 0;
    *same = false;
    if (!file_exists(path))
        return ST_OK;
    TRY(file_size(path, &size));
    if (size != nbytes)
        return ST_OK;
    TRY(spool_open(&r, path, 0, CHECK_BUFFER));
    status st = ST_OK;
    while (st == ST_OK && !r.end) {
        st = spool_fill(&r);
        have = libdeflate_crc32(have, r.buffer + r.at, spool_have(&r));
        r.at = r.n;
    }
    spool_close(&r);
    *same = have == crc;
    return st;
}
