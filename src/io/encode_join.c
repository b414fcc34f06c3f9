/* From the parts to the dataset, by all ranks.
 *
 * The dataset is cut into stretches of whole flows, about a million packets each, whatever the number of ranks. Ranks
 * take stretches from one list. A chunk belongs to the stretch in which it starts, so a rank reads on beyond its
 * stretch until its last chunks are full; it deflates them into a file of its own. Then rank 0 makes the HDF5 file
 * without the chunks' bytes, in the order in which one writer would complete them, and every rank copies its chunks to
 * the places they were given. HDF5's own parallel writing was rejected: with filters it is collective chunk by chunk,
 * and the bytes of the file depend on the number of ranks. */
#include <errno.h>
#include <fcntl.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "io/encode_priv.h"

enum { STRETCH_PACKETS = 1 << 20, STRETCHES_MAX = 1 << 16, CHUNKS_BUFFER = 1 << 20, INDEX_LIMIT = 1 << 30 };

typedef struct stretch {
    uint64_t file, frame; /* of its first flow */
    uint64_t start[3];    /* flows, packets, header bytes before it */
} stretch;

/* A deflated chunk in the file of its stretch. */
typedef struct stored_chunk {
    chunk_place place;
    uint64_t mask, at, nbytes;
} stored_chunk;

/* Of a stretch's chunks; followed by the stored_chunks. */
typedef struct index_head {
    uint64_t identity, nchunks, nbytes, crc; /* nbytes, crc: of the file of chunks */
    uint64_t own_crc;                        /* of the stored_chunks */
} index_head;

typedef struct join {
    const encode_catalog *k;
    comm *c;
    const char *path;
    int compress, threads;
    size_t nstretches;
    stretch *stretches; /* and one more: the end */
    bool *mine;         /* stretches that this rank made */
    uint64_t *first;    /* nstretches + 1: number of each stretch's first chunk */
    uint64_t *address;  /* of each chunk in the dataset's file */
} join;

/* --- the plan --- */

static status add_stretch(join *j, size_t *capacity, uint64_t file, uint64_t frame, const uint64_t start[3]) {
    TRY(memory_grow(&j->stretches, capacity, j->nstretches + 1, sizeof *j->stretches));
    j->stretches[j->nstretches++] = (stretch){.file = file, .frame = frame, .start = {start[0], start[1], start[2]}};
    return ST_OK;
}

/* The first frame before which the file's flows have at least `wanted` packets; their counts. */
static status find_cut(const encode_catalog *k, size_t file, uint64_t wanted, uint64_t *frame, uint64_t counts[3]) {
    uint64_t low = 0, high = k->frames[file];
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        TRY(flow_stream_before(k, file, (uint32_t)middle, counts));
        if (counts[1] < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    *frame = low;
    return flow_stream_before(k, file, (uint32_t)low, counts);
}

static void count_file(const encode_catalog *k, size_t file, uint64_t counts[3]) {
    size_t n = k->split[file] > 0 ? (size_t)k->split[file] : 1;
    memset(counts, 0, 3 * sizeof *counts);
    for (size_t i = 0; i < n; i++) {
        const part_size *size = &k->parts[k->first_part[file] + i];
        counts[0] += size->nflows;
        counts[1] += size->npackets;
        counts[2] += size->nheader;
    }
}

static status plan(join *j) {
    const encode_catalog *k = j->k;
    uint64_t start[3] = {0}, all[3], total = 0, next = 0;
    size_t capacity = 0;
    for (size_t f = 0; f < k->nfiles; f++) {
        count_file(k, f, all);
        total += all[1];
    }
    uint64_t target = total / STRETCHES_MAX > STRETCH_PACKETS ? total / STRETCHES_MAX : STRETCH_PACKETS;
    for (size_t f = 0; f < k->nfiles; f++) {
        uint64_t counts[3] = {0}, frame = 0;
        count_file(k, f, all);
        while (next < start[1] + all[1]) {
            if (next > start[1])
                TRY(find_cut(k, f, next - start[1], &frame, counts));
            if (counts[1] == all[1]) /* its last flow goes beyond */
                break;
            uint64_t at[3] = {start[0] + counts[0], start[1] + counts[1], start[2] + counts[2]};
            TRY(add_stretch(j, &capacity, f, frame, at));
            next = at[1] + target;
        }
        for (int i = 0; i < 3; i++)
            start[i] += all[i];
    }
    TRY(add_stretch(j, &capacity, k->nfiles, 0, start));
    j->nstretches--;
    return ST_OK;
}

static status share_plan(join *j) {
    uint64_t n = j->nstretches;
    TRY(comm_broadcast(j->c, &n, sizeof n, 0));
    status st = ST_OK;
    if (comm_rank(j->c) != 0) {
        size_t capacity = 0;
        st = memory_grow(&j->stretches, &capacity, n + 1, sizeof *j->stretches);
        j->nstretches = n;
    }
    if (st == ST_OK)
        st = NEW(n, &j->mine);
    if (st == ST_OK)
        st = NEW(n + 1, &j->first);
    TRY(comm_agree(j->c, st));
    return comm_broadcast(j->c, j->stretches, (n + 1) * sizeof *j->stretches, 0);
}

/* --- a stretch --- */

typedef struct maker {
    spool_writer chunks;
    size_t n, capacity;
    stored_chunk *index;
} maker;

static status store_chunk(void *data, const chunk_place *place, uint32_t mask, const void *bytes, size_t nbytes) {
    maker *m = data;
    TRY(memory_grow(&m->index, &m->capacity, m->n + 1, sizeof *m->index));
    m->index[m->n++] = (stored_chunk){.place = *place, .mask = mask, .at = m->chunks.nbytes, .nbytes = nbytes};
    return spool_put(&m->chunks, bytes, nbytes);
}

static status append_flow(flow_stream *s, const flow_row *row, uint32_t file, dataset *d) {
    uint64_t first = d->packet_number;
    const uint8_t *records;
    size_t nbytes;
    while (dataset_stretch_wants_packets(d)) {
        TRY(flow_stream_packets(s, &records, &nbytes));
        if (nbytes == 0)
            break;
        TRY(dataset_append_records(d, records, nbytes));
    }
    dataset_pass_packets(d, row->npackets - (d->packet_number - first));
    flow f = {.key = row->key, .label = row->label, .run = row->run, .file = file};
    return dataset_append_row(d, &f, row->npackets);
}

static status fill(const join *j, size_t number, maker *m) {
    const stretch *s = &j->stretches[number];
    flow_stream *flows = NULL;
    dataset *d = NULL;
    const flow_row *row = NULL;
    uint32_t file;
    status st = flow_stream_open(&flows, j->k, s->file, (uint32_t)s->frame);
    if (st == ST_OK)
        st = dataset_stretch_new(&d, j->path, j->compress, j->threads, s[0].start, s[1].start, store_chunk, m);
    while (st == ST_OK && !dataset_stretch_done(d)) {
        st = flow_stream_next(flows, &row, &file);
        if (st != ST_OK || row == NULL)
            break;
        st = append_flow(flows, row, file, d);
    }
    if (st == ST_OK)
        st = dataset_stretch_finish(d, row == NULL);
    dataset_abandon(&d);
    flow_stream_close(&flows);
    return st;
}

/* What the chunks depend on: the parts, the stretch, the level. Parts in memory have no CRC, so captures count too. */
static uint64_t identity_of(const join *j, size_t number) {
    const encode_catalog *k = j->k;
    uint32_t parts = libdeflate_crc32(0, k->parts, k->first_part[k->nfiles] * sizeof *k->parts);
    parts = libdeflate_crc32(parts, k->split, k->nfiles * sizeof *k->split);
    parts = libdeflate_crc32(parts, k->sha256, k->nfiles * 4 * sizeof *k->sha256);
    uint32_t own = libdeflate_crc32(0, &j->stretches[number], 2 * sizeof *j->stretches);
    own = libdeflate_crc32(own, &j->compress, sizeof j->compress);
    return (uint64_t)parts << 32 | own;
}

static char *chunks_name(const join *j, size_t number) {
    return encode_name(j->k->folder, number, 0, "chunks");
}

static char *index_name(const join *j, size_t number) {
    return encode_name(j->k->folder, number, 0, "index");
}

static status write_index(const join *j, size_t number, const maker *m) {
    index_head head = {.identity = identity_of(j, number),
                       .nchunks = m->n,
                       .nbytes = m->chunks.nbytes,
                       .crc = m->chunks.crc,
                       .own_crc = m->n > 0 ? libdeflate_crc32(0, m->index, m->n * sizeof *m->index) : 0};
    size_t nbytes = sizeof head + m->n * sizeof *m->index;
    uint8_t *bytes = NULL;
    TRY(NEW(nbytes, &bytes));
    memcpy(bytes, &head, sizeof head);
    if (m->n > 0)
        memcpy(bytes + sizeof head, m->index, m->n * sizeof *m->index);
    char *name = index_name(j, number);
    status st = spool_file(name, j->k->attempt, bytes, nbytes);
    free(name);
    memory_free(&bytes);
    return st;
}

/* The index of a stretch; *bytes is NULL where there is none of this stretch. Caller frees. */
static status read_index(const join *j, size_t number, char **bytes, index_head *head, stored_chunk **chunks) {
    char *name = index_name(j, number);
    size_t nbytes = 0;
    *bytes = NULL;
    status st = file_exists(name) ? file_read(name, INDEX_LIMIT, bytes, &nbytes) : ST_OK;
    if (nbytes >= sizeof *head)
        memcpy(head, *bytes, sizeof *head);
    size_t nrest = nbytes >= sizeof *head ? nbytes - sizeof *head : 0;
    bool good = nbytes >= sizeof *head && head->identity == identity_of(j, number) && nrest % sizeof **chunks == 0 &&
                nrest / sizeof **chunks == head->nchunks &&
                libdeflate_crc32(0, *bytes + sizeof *head, nrest) == head->own_crc;
    if (!good) {
        free(*bytes);
        *bytes = NULL;
    }
    *chunks = good ? (stored_chunk *)(*bytes + sizeof *head) : NULL;
    free(name);
    return st;
}

static status is_made(const join *j, size_t number, bool *made) {
    char *bytes, *name = chunks_name(j, number);
    index_head head;
    stored_chunk *chunks;
    *made = false;
    status st = read_index(j, number, &bytes, &head, &chunks);
    if (st == ST_OK && bytes != NULL)
        st = spool_check(name, head.nbytes, (uint32_t)head.crc, made);
    free(bytes);
    free(name);
    return st;
}

static status make_stretch(const join *j, size_t number) {
    maker m = {.n = 0};
    bool made;
    TRY(is_made(j, number, &made));
    if (made)
        return ST_OK;
    char *name = chunks_name(j, number);
    status st = spool_begin(&m.chunks, name, j->k->attempt, CHUNKS_BUFFER);
    if (st == ST_OK)
        st = fill(j, number, &m);
    if (st == ST_OK)
        st = spool_commit(&m.chunks);
    if (st == ST_OK)
        st = write_index(j, number, &m);
    spool_abandon(&m.chunks);
    free(m.index);
    free(name);
    return st;
}

static status make_stretches(join *j) {
    work *w = NULL;
    progress shown;
    uint64_t number;
    bool show = comm_rank(j->c) == 0;
    status st = ST_OK, got = ST_OK;
    TRY(work_open(j->c, j->nstretches, &w));
    if (show)
        progress_start(&shown, "compress", "stretch", 0, j->nstretches);
    while ((got = work_next(w, &number)) == ST_OK && number < j->nstretches) {
        if (show && st == ST_OK)
            progress_update(&shown, number, NULL);
        if (st == ST_OK)
            st = encode_check_stop(j->k->folder);
        if (st == ST_OK)
            st = make_stretch(j, (size_t)number);
        j->mine[number] = true;
    }
    if (show)
        progress_end(&shown);
    status closed = work_close(&w);
    return comm_agree(j->c, st != ST_OK ? st : got != ST_OK ? got : closed);
}

/* --- the file --- */

typedef struct placed {
    stored_chunk chunk;
    uint64_t number; /* by stretch, then as its index has it */
} placed;

static int compare_placed(const void *a, const void *b) {
    const placed *x = a, *y = b;
    return chunk_compare(&x->chunk.place, &y->chunk.place);
}

static status collect(join *j, placed **all, size_t *n) {
    size_t capacity = 0;
    for (size_t i = 0; i < j->nstretches; i++) {
        char *bytes;
        index_head head;
        stored_chunk *chunks;
        status st = read_index(j, i, &bytes, &head, &chunks);
        if (st == ST_OK && bytes == NULL)
            st = FAIL(ST_IO, "%s: the index of stretch %zu has gone", j->k->folder, i);
        if (st == ST_OK)
            st = memory_grow(all, &capacity, *n + (size_t)head.nchunks + 1, sizeof **all);
        for (size_t c = 0; st == ST_OK && c < head.nchunks; c++, ++*n)
            (*all)[*n] = (placed){.chunk = chunks[c], .number = *n};
        free(bytes);
        TRY(st);
        j->first[i + 1] = *n;
    }
    return ST_OK;
}

/* The dataset with room for all chunks. Rank 0. */
static status place(join *j, const dataset_tables *tables, dataset **d) {
    placed *all = NULL;
    size_t n = 0;
    status st = collect(j, &all, &n);
    if (st == ST_OK)
        st = NEW(n, &j->address);
    if (st == ST_OK && n > 0)
        qsort(all, n, sizeof *all, compare_placed);
    if (st == ST_OK)
        st = dataset_create(d, j->path, tables, j->compress);
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        const stored_chunk *c = &all[i].chunk;
        st = dataset_place_chunk(*d, &c->place, (uint32_t)c->mask, (size_t)c->nbytes, &j->address[all[i].number]);
    }
    free(all);
    return st;
}

static status share_places(join *j) {
    TRY(comm_broadcast(j->c, j->first, (j->nstretches + 1) * sizeof *j->first, 0));
    size_t n = (size_t)j->first[j->nstretches];
    status st = comm_rank(j->c) != 0 ? NEW(n, &j->address) : ST_OK;
    TRY(comm_agree(j->c, st));
    return comm_broadcast(j->c, j->address, n * sizeof *j->address, 0);
}

static status copy_stretch(const join *j, size_t number, int to, uint8_t *buffer) {
    char *bytes = NULL, *name = chunks_name(j, number);
    index_head head;
    stored_chunk *chunks;
    spool_reader r = {.fd = -1};
    status st = read_index(j, number, &bytes, &head, &chunks);
    if (st == ST_OK && (bytes == NULL || head.nchunks != j->first[number + 1] - j->first[number]))
        st = FAIL(ST_IO, "%s: the index of stretch %zu has changed", j->k->folder, number);
    if (st == ST_OK)
        st = spool_open(&r, name, 0, 1);
    for (size_t i = 0; st == ST_OK && i < head.nchunks; i++) {
        size_t n = (size_t)chunks[i].nbytes;
        st = n > HEADER_CHUNK ? FAIL(ST_FORMAT, "%s: damaged", name)
                              : spool_read_at(r.fd, name, buffer, n, chunks[i].at);
        if (st == ST_OK)
            st = spool_write_at(to, j->path, buffer, n, j->address[j->first[number] + i]);
    }
    spool_close(&r);
    free(bytes);
    free(name);
    return st;
}

/* This rank's chunks into the file that rank 0 made. */
static status copy(const join *j, const char *file_name) {
    uint8_t *buffer = NULL;
    TRY(NEW(HEADER_CHUNK, &buffer));
    int to = open(file_name, O_WRONLY | O_CLOEXEC);
    status st = to < 0 ? FAIL(ST_IO, "%s: cannot open: %s", file_name, strerror(errno)) : ST_OK;
    for (size_t i = 0; i < j->nstretches && st == ST_OK; i++)
        if (j->mine[i])
            st = copy_stretch(j, i, to, buffer);
    if (st == ST_OK && comm_size(j->c) > 1 && fsync(to) != 0)
        st = FAIL(ST_IO, "%s: writing failed: %s", j->path, strerror(errno));
    if (to >= 0 && close(to) != 0 && st == ST_OK)
        st = FAIL(ST_IO, "%s: writing failed: %s", j->path, strerror(errno));
    memory_free(&buffer);
    return st;
}

static status share_name(join *j, const dataset *d, char **name) {
    uint64_t n = d != NULL ? strlen(dataset_file_name(d)) + 1 : 0;
    TRY(comm_broadcast(j->c, &n, sizeof n, 0));
    status st = NEW(n, name);
    TRY(comm_agree(j->c, st));
    if (d != NULL)
        memcpy(*name, dataset_file_name(d), n);
    return comm_broadcast(j->c, *name, n, 0);
}

static status write_file(join *j, const dataset_tables *tables) {
    dataset *d = NULL;
    char *name = NULL;
    status st = comm_rank(j->c) == 0 ? place(j, tables, &d) : ST_OK;
    TRY_TO(out, comm_agree(j->c, st));
    TRY_TO(out, share_name(j, d, &name));
    TRY_TO(out, share_places(j));
    st = copy(j, name);
    TRY_TO(out, comm_agree(j->c, st));
    if (d != NULL && (st = lock_check(j->k->lock)) == ST_OK)
        st = dataset_commit(&d);
    st = comm_agree(j->c, st);
out:
    dataset_abandon(&d);
    memory_free(&name);
    return st;
}

static void remove_file(const encode_catalog *k, size_t file, uint64_t partition, const char *suffix) {
    char *name = encode_name(k->folder, file, partition, suffix);
    unlink(name);
    free(name);
}

/* This rank's share of what the dataset was made of: giving back the room of a large file takes as long as filling it.
 * What stays, for whatever reason, goes with the folder. */
static void remove_share(const join *j) {
    const encode_catalog *k = j->k;
    size_t rank = (size_t)comm_rank(j->c), size = (size_t)comm_size(j->c);
    for (size_t f = 0; f < k->nfiles; f++)
        for (size_t part = k->first_part[f]; part < k->first_part[f + 1]; part++)
            if (part % size == rank) {
                remove_file(k, f, part - k->first_part[f], "packets");
                remove_file(k, f, part - k->first_part[f], "rows");
            }
    for (size_t i = 0; i < j->nstretches; i++)
        if (j->mine[i])
            remove_file(k, i, 0, "chunks");
}

status encode_join(const encode_catalog *k, const dataset_tables *tables, const char *path, int compress, int threads,
                   comm *c) {
    join j = {.k = k, .c = c, .path = path, .compress = compress, .threads = threads};
    status st = comm_rank(c) == 0 ? plan(&j) : ST_OK;
    TRY_TO(out, comm_agree(c, st));
    TRY_TO(out, share_plan(&j));
    TRY_TO(out, make_stretches(&j));
    TRY_TO(out, write_file(&j, tables));
    remove_share(&j);
out:
    free(j.stretches);
    memory_free(&j.mine);
    memory_free(&j.first);
    memory_free(&j.address);
    return st;
}
