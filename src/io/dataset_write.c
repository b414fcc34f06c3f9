/* Writing a dataset: columns are filled chunk by chunk, tables follow at commit, `complete` comes last.
 *
 * Two runs over the same flows give the same bytes: no times, no fill values, chunks in the order they became full. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/dataset_priv.h"

static status create_column(dataset *d, column_id c) {
    status st = ST_OK;
    const column_spec *spec = &dataset_columns[c];
    int rank = spec->width > 1 ? 2 : 1;
    hsize_t dims[2] = {0, spec->width}, most[2] = {H5S_UNLIMITED, spec->width}, chunk[2] = {spec->chunk, spec->width};
    hid_t properties = H5I_INVALID_HID, access = H5I_INVALID_HID, space = H5I_INVALID_HID;
    TRY_TO(out, memory_new(spec->chunk, column_element(c), &d->columns[c].block));
    TRY_TO(out, h5_dataset_properties(d->path, &properties));
    TRY_H5_TO(out, ST_LIBRARY, d->path, H5Pset_chunk(properties, rank, chunk));
    TRY_TO(out, chunk_filters(d->path, properties, d->compress));
    TRY_H5_TO(out, ST_LIBRARY, d->path, access = H5Pcreate(H5P_DATASET_ACCESS));
    TRY_H5_TO(out, ST_LIBRARY, d->path, H5Pset_chunk_cache(access, 1, 0, 1)); /* whole chunks go straight to the file */
    TRY_H5_TO(out, ST_LIBRARY, d->path, space = H5Screate_simple(rank, dims, most));
    TRY_H5_TO(out, ST_IO, d->path,
              d->columns[c].set =
                  H5Dcreate2(d->file, spec->name, dataset_column_type(c), space, H5P_DEFAULT, properties, access));
out:
    if (space >= 0)
        H5Sclose(space);
    if (access >= 0)
        H5Pclose(access);
    if (properties >= 0)
        H5Pclose(properties);
    return st;
}

static status check_writes(const dataset *d) {
    return d->writes.error == 0 ? ST_OK : FAIL(ST_IO, "%s: writing failed: %s", d->path, strerror(d->writes.error));
}

static status write_chunk(dataset *d, const chunk_place *place, uint32_t mask, const void *bytes, size_t nbytes) {
    const column_spec *spec = &dataset_columns[place->column];
    hid_t set = d->columns[place->column].set;
    hsize_t dims[2] = {place->start + place->n, spec->width}, offset[2] = {place->start, 0};
    TRY_H5(ST_IO, d->path, H5Dset_extent(set, dims));
    TRY_H5(ST_IO, d->path, H5Dwrite_chunk(set, H5P_DEFAULT, mask, offset, nbytes, bytes));
    return check_writes(d);
}

static status take_chunk(void *data, const chunk_place *place, uint32_t mask, const void *bytes, size_t nbytes) {
    return write_chunk(data, place, mask, bytes, nbytes);
}

static status new_writer(dataset **out, const char *path, int compress) {
    dataset *d = NULL;
    *out = NULL;
    h5_quiet();
    TRY(NEW(1, &d));
    d->writing = true;
    d->file = H5I_INVALID_HID;
    for (int c = 0; c < COLUMN_COUNT; c++) {
        d->columns[c].set = H5I_INVALID_HID;
        d->columns[c].to = UINT64_MAX;
    }
    d->compress = compress;
    d->path = text_copy(path);
    *out = d;
    return ST_OK;
}

status dataset_create(dataset **out, const char *path, const dataset_tables *tables, int compress) {
    static const char *const groups[] = {"packet", "flow", "table", "skip"};
    status st = ST_OK;
    dataset *d = NULL;
    *out = NULL;
    TRY(dataset_tables_check(tables, path));
    TRY(new_writer(&d, path, compress));
    d->part = file_part_name(path);
    TRY_TO(failed, dataset_tables_copy(tables, &d->tables));
    TRY_TO(failed, h5_create(d->part, &d->writes, &d->file));
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        TRY_TO(failed, h5_create_group(path, d->file, groups[i]));
    for (int c = 0; c < COLUMN_COUNT; c++)
        TRY_TO(failed, create_column(d, (column_id)c));
    TRY_TO(failed, chunk_queue_new(&d->queue, d->path, 1, HEADER_CHUNK, take_chunk, d));
    *out = d;
    return ST_OK;
failed:
    dataset_abandon(&d);
    return st;
}

status dataset_set_threads(dataset *d, int threads) {
    ASSERT(d->writing);
    TRY(chunk_queue_flush(d->queue));
    chunk_queue_free(&d->queue);
    return chunk_queue_new(&d->queue, d->path, threads, HEADER_CHUNK, take_chunk, d);
}

/* Hand the column's block (full, or the last one) to the queue. The rest of a last block is zero. */
static status flush_column(dataset *d, column_id c, uint64_t completed) {
    column *full = &d->columns[c];
    const column_spec *spec = &dataset_columns[c];
    chunk_place place = {.column = c, .start = full->n, .n = full->nblock, .completed = completed};
    size_t element = column_element(c);
    int level = d->compress;
    if (full->nblock < spec->chunk) {
        memset(full->block + full->nblock * element, 0, (spec->chunk - full->nblock) * element);
        level = level > 0 ? level : 1; /* a mostly empty chunk is always worth it */
    }
    chunk_content content = {.size = spec->size};
    if (c == COLUMN_HEADER) {
        content.start = d->header_start;
        content.nstarts = d->nheader_starts;
        d->nheader_starts = 0;
    }
    if (place.start >= full->from && place.start < full->to)
        TRY(chunk_queue_put(d->queue, &place, full->block, spec->chunk * element, &content, level));
    full->n += full->nblock;
    full->nblock = 0;
    return ST_OK;
}

static status append_header(dataset *d, const uint8_t *bytes, size_t nbytes) {
    column *header = &d->columns[COLUMN_HEADER];
    while (nbytes > 0) {
        size_t room = HEADER_CHUNK - header->nblock, n = nbytes < room ? nbytes : room;
        memcpy(header->block + header->nblock, bytes, n);
        header->nblock += n;
        bytes += n;
        nbytes -= n;
        if (header->nblock == HEADER_CHUNK)
            TRY(flush_column(d, COLUMN_HEADER, d->packet_number));
    }
    return ST_OK;
}

static inline status append_packet(dataset *d, int64_t time_ns, uint32_t wire_len, uint32_t frame, uint8_t dir,
                                   uint8_t nheader, const uint8_t *header) {
    column *c = d->columns;
    size_t k = c[COLUMN_TIME].nblock;
    ((int64_t *)c[COLUMN_TIME].block)[k] = time_ns;
    ((uint32_t *)c[COLUMN_WIRE_LEN].block)[k] = wire_len;
    ((uint32_t *)c[COLUMN_FRAME].block)[k] = frame;
    c[COLUMN_DIR].block[k] = dir;
    c[COLUMN_NHEADER].block[k] = nheader;
    for (int id = COLUMN_TIME; id <= COLUMN_NHEADER; id++)
        c[id].nblock = k + 1;
    if (d->nheader_starts == d->header_start_capacity)
        TRY(memory_grow(&d->header_start, &d->header_start_capacity, d->nheader_starts + 1, sizeof *d->header_start));
    d->header_start[d->nheader_starts++] = (uint32_t)c[COLUMN_HEADER].nblock;
    if (c[COLUMN_HEADER].nblock + nheader < HEADER_CHUNK) {
        memcpy(c[COLUMN_HEADER].block + c[COLUMN_HEADER].nblock, header, nheader);
        c[COLUMN_HEADER].nblock += nheader;
    } else {
        TRY(append_header(d, header, nheader));
    }
    if (k + 1 == PACKETS_PER_CHUNK)
        for (int id = COLUMN_TIME; id <= COLUMN_NHEADER; id++)
            TRY(flush_column(d, (column_id)id, d->packet_number));
    d->packet_number++;
    return ST_OK;
}

static status append_packets(dataset *d, const packet *p, size_t n) {
    for (size_t i = 0; i < n; i++, p++)
        TRY(append_packet(d, p->time_ns, p->wire_len, p->frame, p->dir, p->nheader, p->header));
    return ST_OK;
}

status dataset_append_records(dataset *d, const uint8_t *records, size_t nbytes) {
    while (nbytes > 0) {
        const packet_record *r = (const packet_record *)records;
        size_t n = sizeof *r + r->nheader;
        ASSERT(n <= nbytes);
        TRY(append_packet(d, r->time_ns, r->wire_len, r->frame, r->dir, r->nheader, records + sizeof *r));
        records += n;
        nbytes -= n;
    }
    return ST_OK;
}

status dataset_append_row(dataset *d, const flow *f, uint64_t npackets) {
    column *c = d->columns;
    size_t k = c[COLUMN_NPACKETS].nblock;
    ((uint64_t *)c[COLUMN_NPACKETS].block)[k] = npackets;
    ((int32_t *)c[COLUMN_LABEL].block)[k] = f->label;
    ((uint32_t *)c[COLUMN_FILE].block)[k] = f->file;
    ((int32_t *)c[COLUMN_RUN].block)[k] = f->run;
    c[COLUMN_PROTO].block[k] = f->key.proto;
    c[COLUMN_IP_VERSION].block[k] = f->key.ipv6 ? 6 : 4;
    for (size_t side = 0; side < 2; side++)
        ip_address_put(f->key.addr[side], c[COLUMN_ADDR].block + k * 32 + side * 16, 16);
    memcpy(c[COLUMN_PORT].block + k * 4, f->key.port, 4);
    for (int id = COLUMN_FIRST_FLOW; id < COLUMN_COUNT; id++)
        c[id].nblock = k + 1;
    if (k + 1 == FLOWS_PER_CHUNK)
        for (int id = COLUMN_FIRST_FLOW; id < COLUMN_COUNT; id++)
            TRY(flush_column(d, (column_id)id, d->packet_number - 1));
    return ST_OK;
}

/* The table index i of a column that may hold -1 for none. */
static bool fits(int64_t i, size_t n) {
    return i >= -1 && (i < 0 || (uint64_t)i < n);
}

status dataset_append(dataset *d, const flow *f) {
    ASSERT(d->writing);
    if (f->npackets == 0)
        return FAIL(ST_RANGE, "%s: a flow without packets", d->path);
    if (!fits(f->label, d->tables.nlabels) || !fits(f->run, d->tables.nruns) ||
        f->file >= (d->tables.nfiles > 0 ? d->tables.nfiles : 1))
        return FAIL(ST_RANGE, "%s: flow of label %d, file %u, run %d outside tables of %zu, %zu, %zu", d->path,
                    f->label, f->file, f->run, d->tables.nlabels, d->tables.nfiles, d->tables.nruns);
    for (size_t i = 0; i < f->npackets; i++)
        if (!packet_has_shape(&f->packets[i]) || f->packets[i].dir > 1)
            return FAIL(ST_FORMAT, "%s: packet %zu of a flow has inconsistent headers", d->path, i);
    TRY(append_packets(d, f->packets, f->npackets));
    return dataset_append_row(d, f, f->npackets);
}

void dataset_set_skipped(dataset *d, const uint64_t skipped[SKIP_COUNT], uint64_t frames) {
    memcpy(d->tables.skipped, skipped, sizeof d->tables.skipped);
    d->tables.frames = frames;
}

static status write_skips(dataset *d) {
    enum { REASONS = SKIP_COUNT - 1 };
    char *names[REASONS];
    for (int i = 0; i < REASONS; i++)
        names[i] = (char *)packet_skip_name((packet_skip)(i + 1));
    TRY(h5_write_texts(d->path, d->file, "skip/reason", REASONS, names));
    return h5_write_column(d->path, d->file, "skip/count", H5T_STD_U64LE, REASONS, d->tables.skipped + 1);
}

static status write_tables(dataset *d) {
    const dataset_tables *t = &d->tables;
    TRY(h5_write_texts(d->path, d->file, "table/label", t->nlabels, t->label));
    TRY(h5_write_texts(d->path, d->file, "table/macro", t->nlabels, t->macro));
    TRY(h5_write_texts(d->path, d->file, "table/prompt", t->nlabels, t->prompt));
    TRY(h5_write_texts(d->path, d->file, "table/file", t->nfiles, t->file));
    TRY(h5_write_texts(d->path, d->file, "table/sha256", t->nfiles, t->sha256));
    TRY(h5_write_texts(d->path, d->file, "table/run", t->nruns, t->run));
    TRY(h5_write_texts(d->path, d->file, "table/config", 1, &t->config));
    TRY(write_skips(d));
    TRY(h5_write_text_attribute(d->path, d->file, "schema", DATASET_SCHEMA));
    TRY(h5_write_u64_attribute(d->path, d->file, "version", DATASET_VERSION));
    TRY(h5_write_text_attribute(d->path, d->file, "created_by", "nd " ND_VERSION));
    return h5_write_u64_attribute(d->path, d->file, "frames", t->frames);
}

static void close_sets(dataset *d) {
    for (int c = 0; c < COLUMN_COUNT; c++)
        if (d->columns[c].set >= 0) {
            H5Dclose(d->columns[c].set);
            d->columns[c].set = H5I_INVALID_HID;
        }
}

static status flush_all(dataset *d) {
    for (int c = 0; c < COLUMN_COUNT; c++)
        if (d->columns[c].nblock > 0)
            TRY(flush_column(d, (column_id)c, UINT64_MAX));
    return chunk_queue_flush(d->queue);
}

static status finish(dataset *d) {
    TRY(flush_all(d));
    close_sets(d);
    TRY(write_tables(d));
    TRY_H5(ST_IO, d->path, H5Fflush(d->file, H5F_SCOPE_GLOBAL));
    TRY(check_writes(d));
    TRY(h5_write_u64_attribute(d->path, d->file, "complete", 1));
    hid_t file = d->file;
    d->file = H5I_INVALID_HID;
    TRY_H5(ST_IO, d->path, h5_close(file));
    return check_writes(d);
}

/* Read back what is to appear under the final name: the columns and their lengths. Memory does not grow with it. */
static status verify(const dataset *d) {
    hid_t file = H5I_INVALID_HID;
    uint64_t complete = 0;
    status st = h5_open(d->part, &file);
    if (st == ST_OK)
        st = h5_read_u64_attribute(d->path, file, "complete", &complete);
    for (int c = 0; c < COLUMN_COUNT && st == ST_OK; c++) {
        const column_spec *spec = &dataset_columns[c];
        hid_t set = H5I_INVALID_HID;
        uint64_t n = 0;
        st = h5_open_column(d->path, file, spec->name, dataset_column_type((column_id)c), spec->width, &set, &n);
        if (st == ST_OK)
            H5Dclose(set);
        if (st == ST_OK && n != d->columns[c].n)
            st = FAIL(ST_IO, "%s: what was written does not read back", d->path);
    }
    if (file >= 0)
        H5Fclose(file);
    return st;
}

status dataset_commit(dataset **d) {
    ASSERT((*d)->writing);
    status st = finish(*d);
    if (st == ST_OK)
        st = verify(*d);
    if (st == ST_OK)
        st = file_publish((*d)->part, (*d)->path);
    if (st != ST_OK) {
        dataset_abandon(d);
        return st;
    }
    free((*d)->header_start);
    (*d)->header_start = NULL;
    free((*d)->part);
    (*d)->part = NULL;
    dataset_close(d);
    return ST_OK;
}

void dataset_abandon(dataset **out) {
    dataset *d = *out;
    if (d == NULL)
        return;
    chunk_queue_free(&d->queue);
    free(d->header_start);
    d->header_start = NULL;
    dataset_close(out);
}

/* --- stretches --- */

/* Of flows, packets and header bytes, in this order, one that the column counts in. */
static int counted_in(int c) {
    return c >= COLUMN_FIRST_FLOW ? 0 : c == COLUMN_HEADER ? 2 : 1;
}

status dataset_stretch_new(dataset **out, const char *path, int compress, int threads, const uint64_t from[3],
                           const uint64_t to[3], chunk_sink *take, void *data) {
    dataset *d = NULL;
    *out = NULL;
    TRY(new_writer(&d, path, compress));
    status st = ST_OK;
    d->packet_number = from[1];
    for (int c = 0; c < COLUMN_COUNT && st == ST_OK; c++) {
        column *x = &d->columns[c];
        size_t chunk = dataset_columns[c].chunk;
        x->from = from[counted_in(c)];
        x->to = to[counted_in(c)];
        x->n = x->from / chunk * chunk; /* the chunk that is under way there is another's */
        x->nblock = (size_t)(x->from % chunk);
        st = memory_new(chunk, column_element((column_id)c), &x->block);
    }
    if (st == ST_OK)
        st = chunk_queue_new(&d->queue, d->path, threads, HEADER_CHUNK, take, data);
    if (st != ST_OK)
        dataset_abandon(&d);
    *out = d;
    return st;
}

/* Does the next chunk of the column that is this writer's start beyond its stretch? */
static bool column_done(const dataset *d, int c) {
    const column *x = &d->columns[c];
    return (x->n >= x->from ? x->n : x->n + dataset_columns[c].chunk) >= x->to;
}

bool dataset_stretch_wants_packets(const dataset *d) {
    for (int c = 0; c < COLUMN_FIRST_FLOW; c++)
        if (!column_done(d, c))
            return true;
    return false;
}

bool dataset_stretch_done(const dataset *d) {
    for (int c = COLUMN_FIRST_FLOW; c < COLUMN_COUNT; c++)
        if (!column_done(d, c))
            return false;
    return !dataset_stretch_wants_packets(d);
}

void dataset_pass_packets(dataset *d, uint64_t npackets) {
    d->packet_number += npackets;
}

status dataset_stretch_finish(dataset *d, bool end) {
    return end ? flush_all(d) : chunk_queue_flush(d->queue);
}

/* Order of the columns in one packet's step of dataset_append: its header, its numbers, its flow's row. */
static int step_of(int c) {
    return c >= COLUMN_FIRST_FLOW ? 2 : c != COLUMN_HEADER;
}

int chunk_compare(const chunk_place *a, const chunk_place *b) {
    int x = step_of(a->column), y = step_of(b->column);
    if (a->completed != b->completed)
        return a->completed < b->completed ? -1 : 1;
    if (x != y && a->completed != UINT64_MAX)
        return x < y ? -1 : 1;
    return a->column < b->column ? -1 : a->column > b->column;
}

status dataset_place_chunk(dataset *d, const chunk_place *place, uint32_t mask, size_t nbytes, uint64_t *address) {
    column *c = &d->columns[place->column];
    const uint8_t *unwritten = d->columns[COLUMN_HEADER].block; /* of the longest chunk's length */
    if (nbytes > HEADER_CHUNK)
        return FAIL(ST_FORMAT, "%s: a chunk of %zu bytes", d->path, nbytes);
    if (place->start != c->n)
        return FAIL(ST_FORMAT, "%s: a chunk of /%s at %llu where %llu was expected", d->path,
                    dataset_columns[place->column].name, (unsigned long long)place->start, (unsigned long long)c->n);
    d->writes.hollow = true;
    status st = write_chunk(d, place, mask, unwritten, nbytes);
    d->writes.hollow = false;
    *address = d->writes.at;
    c->n += place->n;
    return st;
}

const char *dataset_file_name(const dataset *d) {
    return d->part;
}
