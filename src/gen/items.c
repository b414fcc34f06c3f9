/* Records of finished batches.
 *
 *     head  magic, number of flows, batch, identity of the run, bytes of the body
 *     body  counts of repair; a row for each flow (start, and of its repaired and its raw form: key, packets, bytes);
 *           packets, flow after flow, repaired before raw
 *     tail  CRC-32 of head and body
 *
 * A packet is its time, length on the wire, number, direction, header's length and header, without gaps. Numbers are in
 * the machine's byte order: the other one makes another magic. */
#include "gen/gen_priv.h"
#include "gen/items_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>
#include "base/file.h"
#include "base/memory.h"

typedef struct form {
    uint8_t addr[2][sizeof(ip_address)];
    uint16_t port[2];
    uint8_t proto, ipv6, zero[2];
    uint32_t npackets, nbytes;
} form;

typedef struct row {
    int64_t start_ns;
    form form[2]; /* repaired, raw */
} row;
_Static_assert(sizeof(row) == 104 && sizeof(form) == 48, "rows have no padding");

enum { PACKET_FIXED = 18, ROWS_AT = sizeof(item_head) + sizeof(repair_counts) };

/* ---- Making a record ---- */

void item_clear(item *it) {
    free(it->bytes);
    free(it->at);
    *it = (item){0};
}

status item_begin(item *it, uint64_t batch, size_t nflows) {
    it->batch = batch;
    it->nflows = nflows;
    it->nbytes = ROWS_AT + nflows * sizeof(row);
    TRY(memory_grow(&it->bytes, &it->capacity, it->nbytes + sizeof(uint32_t), 1));
    memset(it->bytes, 0, it->nbytes);
    return ST_OK;
}

static uint8_t *put(uint8_t *to, const void *from, size_t n) {
    memcpy(to, from, n);
    return to + n;
}

static status add_form(item *it, const flow *f, form *out) {
    size_t most = f->npackets * (PACKET_FIXED + PACKET_HEADER_MAX);
    TRY(memory_grow(&it->bytes, &it->capacity, it->nbytes + most + sizeof(uint32_t), 1));
    uint8_t *begin = it->bytes + it->nbytes, *to = begin;
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        to = put(to, &p->time_ns, 8);
        to = put(to, &p->wire_len, 4);
        to = put(to, &p->frame, 4);
        *to++ = p->dir;
        *to++ = p->nheader;
        to = put(to, p->header, p->nheader);
    }
    size_t nbytes = (size_t)(to - begin);
    if (nbytes > UINT32_MAX || f->npackets > UINT32_MAX)
        return FAIL(ST_RANGE, "a flow of %zu packets is too long for a record", f->npackets);
    it->nbytes += nbytes;
    *out = (form){.port = {f->key.port[0], f->key.port[1]},
                  .proto = f->key.proto,
                  .ipv6 = f->key.ipv6,
                  .npackets = (uint32_t)f->npackets,
                  .nbytes = (uint32_t)nbytes};
    memcpy(out->addr, f->key.addr, sizeof out->addr);
    return ST_OK;
}

status item_add(item *it, size_t k, const flow *clean, const flow *raw) {
    row r = {.start_ns = clean->npackets > 0 ? clean->packets[0].time_ns : 0};
    ASSERT(k < it->nflows);
    TRY(add_form(it, clean, &r.form[0]));
    TRY(add_form(it, raw, &r.form[1]));
    memcpy(it->bytes + ROWS_AT + k * sizeof r, &r, sizeof r);
    return ST_OK;
}

void item_end(item *it, const identity *id, const repair_counts *repaired) {
    item_head h = {
        .magic = ITEM_MAGIC, .nflows = (uint32_t)it->nflows, .batch = it->batch, .nbytes = it->nbytes - sizeof h};
    memcpy(h.identity, id->digest, sizeof h.identity);
    memcpy(it->bytes, &h, sizeof h);
    memcpy(it->bytes + sizeof h, repaired, sizeof *repaired);
    uint32_t crc = (uint32_t)crc32_z(0, it->bytes, it->nbytes);
    memcpy(it->bytes + it->nbytes, &crc, sizeof crc); /* item_begin and add_form left room for it */
}

/* ---- Appending ---- */

void item_writer_open(item_writer *w, const char *folder, int rank) {
    char host[65] = "unknown";
    uint32_t number = 0;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    (void)gethostname(host, sizeof host - 1);
    if (getrandom(&number, sizeof number, 0) != sizeof number)
        number = (uint32_t)now.tv_nsec;
    *w = (item_writer){.fd = -1};
    w->name = text_format(ITEM_PREFIX "%05d-%s-%ld-%lld-%08x", rank, host, (long)getpid(), (long long)now.tv_sec,
                          (unsigned)number);
    w->path = text_format("%s/%s", folder, w->name);
}

static status append(item_writer *w, const uint8_t *bytes, size_t n) {
    while (n > 0) {
        ssize_t done = write(w->fd, bytes, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return FAIL(ST_IO, "%s: cannot write: %s; the same command goes on once that is mended", w->path,
                        strerror(done < 0 ? errno : EIO));
        bytes += done;
        n -= (size_t)done;
    }
    return ST_OK;
}

status item_write(item_writer *w, const item *it, uint64_t *offset) {
    if (w->fd < 0)
        w->fd = open(w->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (w->fd < 0)
        return FAIL(ST_IO, "%s: cannot create: %s", w->path, strerror(errno));
    size_t n = it->nbytes + sizeof(uint32_t);
    status st = append(w, it->bytes, n);
    if (st) {
        (void)!ftruncate(w->fd, (off_t)w->nbytes); /* else a reader finds the tail torn and ignores it */
        return st;
    }
    *offset = w->nbytes;
    w->nbytes += n;
    return ST_OK;
}

status item_writer_close(item_writer *w) {
    status st = ST_OK;
    if (w->fd >= 0 && fsync(w->fd) != 0)
        st = FAIL(ST_IO, "%s: cannot write: %s", w->path, strerror(errno));
    item_writer_abandon(w);
    return st;
}

void item_writer_abandon(item_writer *w) {
    if (w->path && w->fd >= 0) {
        close(w->fd);
        if (w->nbytes == 0)
            (void)unlink(w->path);
    }
    free(w->name);
    free(w->path);
    *w = (item_writer){.fd = -1};
}

/* ---- Reading ---- */

void item_reader_open(item_reader *r, const char *folder, const item_index *index, const identity *id) {
    *r = (item_reader){.folder = folder, .index = index, .id = id};
}

void item_reader_close(item_reader *r) {
    for (size_t i = 0; i < r->nopen; i++)
        close(r->open[i].fd);
    r->nopen = 0;
}

/* The file, open; where too many are, the one goes that was not wanted for longest. */
static status reader_file(item_reader *r, uint32_t file, int *fd) {
    size_t oldest = 0;
    for (size_t i = 0; i < r->nopen; i++) {
        if (r->open[i].file == file) {
            r->open[i].used = ++r->turn;
            *fd = r->open[i].fd;
            return ST_OK;
        }
        if (r->open[i].used < r->open[oldest].used)
            oldest = i;
    }
    char *path = text_format("%s/%s", r->folder, r->index->files.item[file]);
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    status st = *fd < 0 ? FAIL(ST_IO, "%s: cannot open: %s", path, strerror(errno)) : ST_OK;
    free(path);
    TRY(st);
    size_t i = oldest;
    if (r->nopen < ITEM_FILES_OPEN)
        i = r->nopen++;
    else
        close(r->open[i].fd);
    r->open[i].fd = *fd;
    r->open[i].file = file;
    r->open[i].used = ++r->turn;
    return ST_OK;
}

static status read_at(int fd, const char *name, void *bytes, size_t n, uint64_t at) {
    for (uint8_t *to = bytes; n > 0;) {
        ssize_t got = pread(fd, to, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return FAIL(ST_IO, "%s: cannot read: %s", name, got < 0 ? strerror(errno) : "it ends too early");
        to += got;
        n -= (size_t)got;
        at += (uint64_t)got;
    }
    return ST_OK;
}

static status damaged(const item_reader *r, uint64_t batch) {
    return FAIL(ST_FORMAT, "%s/%s: the record of batch %llu has changed; the same command makes it again", r->folder,
                r->index->files.item[r->index->place[batch].file], (unsigned long long)batch);
}

/* Head and body, or of the body only what stands before the packets. */
static status read_record(item_reader *r, uint64_t batch, bool whole, item *it) {
    const item_place *at = &r->index->place[batch];
    const char *name = r->index->files.item[at->file];
    item_head h;
    int fd = -1;
    TRY(reader_file(r, at->file, &fd));
    TRY(read_at(fd, name, &h, sizeof h, at->offset));
    uint64_t front = sizeof(repair_counts) + (uint64_t)h.nflows * sizeof(row);
    if (h.magic != ITEM_MAGIC || h.batch != batch || memcmp(h.identity, r->id->digest, sizeof h.identity) != 0 ||
        h.nbytes < front)
        return damaged(r, batch);
    size_t n = whole ? h.nbytes + sizeof(uint32_t) : front;
    TRY(memory_grow(&it->bytes, &it->capacity, sizeof h + n, 1));
    memcpy(it->bytes, &h, sizeof h);
    TRY(read_at(fd, name, it->bytes + sizeof h, n, at->offset + sizeof h));
    it->batch = batch;
    it->nflows = h.nflows;
    it->nbytes = sizeof h + (size_t)(whole ? h.nbytes : front);
    return ST_OK;
}

static void get_row(const item *it, size_t k, row *r) {
    ASSERT(k < it->nflows);
    memcpy(r, it->bytes + ROWS_AT + k * sizeof *r, sizeof *r);
}

status item_read_heads(item_reader *r, uint64_t batch, item *it) {
    return read_record(r, batch, false, it);
}

status item_read(item_reader *r, uint64_t batch, item *it) {
    uint32_t crc;
    TRY(read_record(r, batch, true, it));
    memcpy(&crc, it->bytes + it->nbytes, sizeof crc);
    if (crc != (uint32_t)crc32_z(0, it->bytes, it->nbytes))
        return damaged(r, batch);
    TRY(memory_grow(&it->at, &it->at_capacity, it->nflows + 1, sizeof *it->at));
    size_t at = ROWS_AT + it->nflows * sizeof(row);
    for (size_t k = 0; k < it->nflows; k++) {
        row f;
        get_row(it, k, &f);
        it->at[k] = at;
        if (f.form[0].nbytes > it->nbytes - at || f.form[1].nbytes > it->nbytes - at - f.form[0].nbytes)
            return damaged(r, batch);
        at += (size_t)f.form[0].nbytes + f.form[1].nbytes;
    }
    return ST_OK;
}

void item_get_repaired(const item *it, repair_counts *repaired) {
    memcpy(repaired, it->bytes + sizeof(item_head), sizeof *repaired);
}

static void get_key(const form *from, flow_key *key) {
    *key = (flow_key){.proto = from->proto, .ipv6 = from->ipv6 != 0, .port = {from->port[0], from->port[1]}};
    memcpy(key->addr, from->addr, sizeof key->addr);
}

void item_get_head(const item *it, size_t k, item_flow *f) {
    row r;
    get_row(it, k, &r);
    *f = (item_flow){.start_ns = r.start_ns, .head = {.npackets = r.form[0].npackets}};
    get_key(&r.form[0], &f->head.key);
}

status item_get_flow(const item *it, size_t k, bool raw, flow *f) {
    row r;
    get_row(it, k, &r);
    const form *of = &r.form[raw];
    const uint8_t *from = it->bytes + it->at[k] + (raw ? r.form[0].nbytes : 0), *end = from + of->nbytes;
    f->npackets = 0;
    get_key(of, &f->key);
    for (uint32_t i = 0; i < of->npackets; i++) {
        packet p = {0};
        if (end - from < PACKET_FIXED || from[17] > PACKET_HEADER_MAX || end - from - PACKET_FIXED < from[17])
            return FAIL(ST_FORMAT, "batch %llu: flow %zu of its record is not whole", (unsigned long long)it->batch, k);
        memcpy(&p.time_ns, from, 8);
        memcpy(&p.wire_len, from + 8, 4);
        memcpy(&p.frame, from + 12, 4);
        p.dir = from[16];
        p.nheader = from[17];
        memcpy(p.header, from + PACKET_FIXED, p.nheader);
        from += PACKET_FIXED + p.nheader;
        TRY(flow_add(f, &p));
    }
    return ST_OK;
}
