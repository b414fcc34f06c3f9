/* All flows in the order of the dataset: the parts of one file at a time, merged by the frame of the flow's first
 * packet.
 *
 * Parts are sorted by that frame, and no two flows of a file share it. A binary heap holds the next row of each. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/encode_priv.h"

/* Buffers of one file's parts: together, and of one at least. */
enum { BUFFERS = 1 << 25, BUFFER_MIN = 1 << 14, BUFFER_MAX = 1 << 18 };

typedef struct source {
    spool_reader rows, packets;
    const assembler *memory; /* where the part is instead, or NULL */
    size_t next;             /* flow number in memory */
    flow_row row;            /* the next, or the one handed out */
} source;

struct flow_stream {
    const encode_catalog *k;
    size_t file; /* the next to open */
    size_t nopen, nheap;
    source *open;
    source **heap;   /* by frame of row; [0] is the smallest */
    source *current; /* whose row was handed out */
    uint64_t nleft;  /* packets of it */
};

static size_t nparts_of(const encode_catalog *k, size_t file) {
    return k->split[file] > 0 ? (size_t)k->split[file] : 1;
}

static const part_size *size_of(const encode_catalog *k, size_t file, size_t partition) {
    return &k->parts[k->first_part[file] + partition];
}

static const assembler *memory_of(const encode_catalog *k, size_t file) {
    return k->kept != NULL ? k->kept[file] : NULL;
}

/* Number of the part's first row whose frame is `frame` or later; that row in *row if there is one. */
static status find_row(const encode_catalog *k, size_t file, size_t partition, uint32_t frame, uint64_t *number,
                       flow_row *row) {
    uint64_t low = 0, high = size_of(k, file, partition)->nflows;
    *number = frame == 0 ? 0 : high;
    if (high == 0 || frame == 0)
        return ST_OK;
    char *path = encode_name(k->folder, file, partition, "rows");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    status st = fd < 0 ? FAIL(ST_IO, "%s: cannot open", path) : ST_OK;
    while (st == ST_OK && low < high) {
        uint64_t middle = low + (high - low) / 2;
        flow_row seen;
        st = spool_read_at(fd, path, &seen, sizeof seen, middle * sizeof seen);
        if (st != ST_OK)
            break;
        if (seen.frame < frame) {
            low = middle + 1;
        } else {
            high = middle;
            *row = seen;
        }
    }
    *number = low;
    if (fd >= 0)
        close(fd);
    free(path);
    return st;
}

status flow_stream_before(const encode_catalog *k, size_t file, uint32_t frame, uint64_t counts[3]) {
    const assembler *memory = memory_of(k, file);
    memset(counts, 0, 3 * sizeof *counts);
    if (memory != NULL && frame > 0) {
        const part_size *size = size_of(k, file, 0);
        size_t i = assembler_find(memory, frame);
        flow_row row;
        bool more = assembler_row(memory, &i, &row);
        counts[0] = more ? row.before.nflows : size->nflows;
        counts[1] = more ? row.before.npackets : size->npackets;
        counts[2] = more ? row.before.nheader : size->nheader;
        return ST_OK;
    }
    for (size_t i = 0; frame > 0 && i < nparts_of(k, file); i++) {
        const part_size *size = size_of(k, file, i);
        uint64_t number;
        flow_row row;
        TRY(find_row(k, file, i, frame, &number, &row));
        bool all = number == size->nflows;
        counts[0] += number;
        counts[1] += all ? size->npackets : row.before.npackets;
        counts[2] += all ? size->nheader : row.before.nheader;
    }
    return ST_OK;
}

/* --- heap --- */

static bool before(const source *a, const source *b) {
    return a->row.frame < b->row.frame;
}

static void sift_down(flow_stream *s) {
    size_t at = 0;
    source *moved = s->heap[0];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < s->nheap && before(s->heap[child + 1], s->heap[child]))
            child++;
        if (child >= s->nheap || !before(s->heap[child], moved))
            break;
        s->heap[at] = s->heap[child];
        at = child;
    }
    s->heap[at] = moved;
}

static void push(flow_stream *s, source *x) {
    size_t at = s->nheap++;
    for (; at > 0 && before(x, s->heap[(at - 1) / 2]); at = (at - 1) / 2)
        s->heap[at] = s->heap[(at - 1) / 2];
    s->heap[at] = x;
}

/* --- files --- */

static status next_row(source *x, bool *end) {
    if (x->memory != NULL) {
        *end = !assembler_row(x->memory, &x->next, &x->row);
        return ST_OK;
    }
    TRY(spool_want(&x->rows, sizeof x->row));
    *end = spool_have(&x->rows) < sizeof x->row;
    if (!*end) {
        memcpy(&x->row, x->rows.buffer + x->rows.at, sizeof x->row);
        x->rows.at += sizeof x->row;
    }
    return ST_OK;
}

static void close_file(flow_stream *s) {
    for (size_t i = 0; i < s->nopen; i++) {
        spool_close(&s->open[i].rows);
        spool_close(&s->open[i].packets);
    }
    memory_free(&s->open);
    memory_free(&s->heap);
    s->nopen = s->nheap = 0;
}

static status open_part(flow_stream *s, size_t file, size_t partition, uint32_t frame, size_t buffer) {
    uint64_t number;
    flow_row row;
    bool end;
    if (size_of(s->k, file, partition)->nflows == 0)
        return ST_OK;
    source *x = &s->open[s->nopen++];
    x->memory = memory_of(s->k, file);
    if (x->memory != NULL) {
        x->next = assembler_find(x->memory, frame);
        TRY(next_row(x, &end));
        if (!end)
            push(s, x);
        return ST_OK;
    }
    TRY(find_row(s->k, file, partition, frame, &number, &row));
    char *rows = encode_name(s->k->folder, file, partition, "rows"),
         *packets = encode_name(s->k->folder, file, partition, "packets");
    status st = spool_open(&x->rows, rows, number * sizeof(flow_row), buffer);
    if (st == ST_OK)
        st = spool_open(&x->packets, packets, 0, buffer);
    free(rows);
    free(packets);
    if (st == ST_OK)
        st = next_row(x, &end);
    if (st == ST_OK && !end)
        push(s, x);
    return st;
}

static status open_file(flow_stream *s, uint32_t frame) {
    size_t file = s->file++, n = nparts_of(s->k, file), buffer = BUFFERS / 2 / n;
    buffer = buffer < BUFFER_MIN ? BUFFER_MIN : buffer > BUFFER_MAX ? BUFFER_MAX : buffer;
    close_file(s);
    TRY(NEW(n, &s->open));
    TRY(NEW(n, &s->heap));
    for (size_t i = 0; i < n; i++)
        TRY(open_part(s, file, i, frame, buffer));
    return ST_OK;
}

status flow_stream_open(flow_stream **out, const encode_catalog *k, size_t file, uint32_t frame) {
    flow_stream *s = NULL;
    *out = NULL;
    TRY(NEW(1, &s));
    s->k = k;
    s->file = file;
    status st = file < k->nfiles ? open_file(s, frame) : ST_OK;
    if (st != ST_OK)
        flow_stream_close(&s);
    *out = s;
    return st;
}

void flow_stream_close(flow_stream **s) {
    if (*s == NULL)
        return;
    close_file(*s);
    memory_free(s);
}

/* --- */

/* The part of the flow handed out goes on to its next row. */
static status advance(flow_stream *s) {
    bool end;
    TRY(next_row(s->current, &end));
    if (end)
        s->heap[0] = s->heap[--s->nheap];
    if (s->nheap > 0)
        sift_down(s);
    s->current = NULL;
    return ST_OK;
}

status flow_stream_next(flow_stream *s, const flow_row **row, uint32_t *file) {
    *row = NULL;
    if (s->current != NULL)
        TRY(advance(s));
    while (s->nheap == 0) {
        if (s->file == s->k->nfiles)
            return ST_OK;
        TRY(open_file(s, 0));
    }
    s->current = s->heap[0];
    s->nleft = s->current->row.npackets;
    *row = &s->current->row;
    *file = (uint32_t)(s->file - 1);
    return s->current->memory != NULL ? ST_OK : spool_seek(&s->current->packets, s->current->row.before.nbytes);
}

status flow_stream_packets(flow_stream *s, const uint8_t **records, size_t *nbytes) {
    const flow_row *row = &s->current->row;
    spool_reader *r = &s->current->packets;
    *nbytes = 0;
    if (s->nleft == 0)
        return ST_OK;
    if (s->current->memory != NULL) {
        const packet_record *p =
            assembler_packet(s->current->memory, row->before.npackets + row->npackets - s->nleft--);
        *records = (const uint8_t *)p;
        *nbytes = sizeof *p + p->nheader;
        return ST_OK;
    }
    TRY(spool_want(r, PACKET_RECORD_MAX));
    size_t have = spool_have(r), n = 0;
    const uint8_t *from = r->buffer + r->at;
    while (s->nleft > 0 && have - n >= sizeof(packet_record)) {
        size_t whole = sizeof(packet_record) + ((const packet_record *)(from + n))->nheader;
        if (whole > have - n)
            break;
        n += whole;
        s->nleft--;
    }
    if (n == 0)
        return FAIL(ST_FORMAT, "%s: ends early", r->path);
    *records = from;
    *nbytes = n;
    r->at += n;
    return ST_OK;
}
