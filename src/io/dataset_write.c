/* Writing a dataset: columns are filled chunk by chunk, tables follow at commit, `complete` comes last.
 *
 * Two runs over the same flows give the same bytes: no times, no fill values, chunks in the order they became full. */
#include <errno.h>
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

status dataset_create(dataset **out, const char *path, const dataset_tables *tables, int compress) {
    static const char *const groups[] = {"packet", "flow", "table", "skip"};
    status st = ST_OK;
    dataset *d = NULL;
    *out = NULL;
    h5_quiet();
    TRY(NEW(1, &d));
    d->writing = true;
    d->file = H5I_INVALID_HID;
    for (int c = 0; c < COLUMN_COUNT; c++)
        d->columns[c].set = H5I_INVALID_HID;
    d->compress = compress;
    d->path = text_copy(path);
    d->part = file_part_name(path);
    TRY_TO(failed, dataset_tables_copy(tables, &d->tables));
    TRY_TO(failed, h5_create(d->part, &d->write_error, &d->file));
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        TRY_TO(failed, h5_create_group(path, d->file, groups[i]));
    for (int c = 0; c < COLUMN_COUNT; c++)
        TRY_TO(failed, create_column(d, (column_id)c));
    TRY_TO(failed, chunk_queue_new(&d->queue, d->path, 1, HEADER_CHUNK));
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
    return chunk_queue_new(&d->queue, d->path, threads, HEADER_CHUNK);
}

static status check_writes(const dataset *d) {
    return d->write_error == 0 ? ST_OK : FAIL(ST_IO, "%s: writing failed: %s", d->path, strerror(d->write_error));
}

/* Hand the column's block (full, or the last one) to the queue. The rest of a last block is zero. */
static status flush_column(dataset *d, column_id c) {
    column *full = &d->columns[c];
    const column_spec *spec = &dataset_columns[c];
    hsize_t dims[2] = {full->n + full->nblock, spec->width}, offset[2] = {full->n, 0};
    size_t element = column_element(c);
    int level = d->compress;
    if (full->nblock < spec->chunk) {
        memset(full->block + full->nblock * element, 0, (spec->chunk - full->nblock) * element);
        level = level > 0 ? level : 1; /* a mostly empty chunk is always worth it */
    }
    TRY_H5(ST_IO, d->path, H5Dset_extent(full->set, dims));
    TRY(chunk_queue_put(d->queue, full->set, offset, full->block, spec->chunk * element, spec->size, level));
    full->n += full->nblock;
    full->nblock = 0;
    return check_writes(d);
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
            TRY(flush_column(d, COLUMN_HEADER));
    }
    return ST_OK;
}

status dataset_append_packets(dataset *d, const packet *p, size_t n) {
    column *c = d->columns;
    for (size_t i = 0; i < n; i++, p++) {
        size_t k = c[COLUMN_TIME].nblock;
        ((int64_t *)c[COLUMN_TIME].block)[k] = p->time_ns;
        ((uint32_t *)c[COLUMN_WIRE_LEN].block)[k] = p->wire_len;
        ((uint32_t *)c[COLUMN_FRAME].block)[k] = p->frame;
        c[COLUMN_DIR].block[k] = p->dir;
        c[COLUMN_NHEADER].block[k] = p->nheader;
        for (int id = COLUMN_TIME; id <= COLUMN_NHEADER; id++)
            c[id].nblock = k + 1;
        if (c[COLUMN_HEADER].nblock + p->nheader < HEADER_CHUNK) {
            memcpy(c[COLUMN_HEADER].block + c[COLUMN_HEADER].nblock, p->header, p->nheader);
            c[COLUMN_HEADER].nblock += p->nheader;
        } else {
            TRY(append_header(d, p->header, p->nheader));
        }
        if (k + 1 == PACKETS_PER_CHUNK)
            for (int id = COLUMN_TIME; id <= COLUMN_NHEADER; id++)
                TRY(flush_column(d, (column_id)id));
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
            TRY(flush_column(d, (column_id)id));
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
    TRY(dataset_append_packets(d, f->packets, f->npackets));
    return dataset_append_row(d, f, f->npackets);
}

void dataset_set_skipped(dataset *d, const uint64_t skipped[SKIP_COUNT], uint64_t frames) {
    memcpy(d->tables.skipped, skipped, sizeof d->tables.skipped);
    d->tables.frames = frames;
}

static status write_skips(dataset *d) {
    status st = ST_OK;
    char *names[SKIP_COUNT - 1];
    for (int i = 1; i < SKIP_COUNT; i++)
        names[i - 1] = (char *)packet_skip_name((packet_skip)i);
    TRY(h5_write_texts(d->path, d->file, "skip/reason", SKIP_COUNT - 1, names));
    hsize_t n = SKIP_COUNT - 1;
    hid_t properties = H5I_INVALID_HID, space = H5I_INVALID_HID, set = H5I_INVALID_HID;
    TRY_TO(out, h5_dataset_properties(d->path, &properties));
    TRY_H5_TO(out, ST_LIBRARY, d->path, space = H5Screate_simple(1, &n, NULL));
    TRY_H5_TO(out, ST_IO, d->path,
              set = H5Dcreate2(d->file, "skip/count", H5T_STD_U64LE, space, H5P_DEFAULT, properties, H5P_DEFAULT));
    TRY_H5_TO(out, ST_IO, d->path, H5Dwrite(set, H5T_STD_U64LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, d->tables.skipped + 1));
out:
    if (set >= 0)
        H5Dclose(set);
    if (space >= 0)
        H5Sclose(space);
    if (properties >= 0)
        H5Pclose(properties);
    return st;
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

static status finish(dataset *d) {
    for (int c = 0; c < COLUMN_COUNT; c++)
        if (d->columns[c].nblock > 0)
            TRY(flush_column(d, (column_id)c));
    TRY(chunk_queue_flush(d->queue));
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

/* Read back what is to appear under the final name: structure and counts. */
static status verify(const dataset *d) {
    dataset *back = NULL;
    TRY(dataset_open(&back, d->part));
    status st = ST_OK;
    if (dataset_nflows(back) != d->columns[COLUMN_NPACKETS].n || dataset_npackets(back) != d->columns[COLUMN_TIME].n)
        st = FAIL(ST_IO, "%s: what was written does not read back", d->path);
    dataset_close(&back);
    return st;
}

static status commit(dataset **d, bool part) {
    ASSERT((*d)->writing);
    status st = finish(*d);
    if (st == ST_OK && !part)
        st = verify(*d);
    if (st == ST_OK && part && rename((*d)->part, (*d)->path) != 0)
        st = FAIL(ST_IO, "%s: cannot rename: %s", (*d)->part, strerror(errno));
    if (st == ST_OK && !part)
        st = file_publish((*d)->part, (*d)->path);
    if (st != ST_OK) {
        dataset_abandon(d);
        return st;
    }
    free((*d)->part);
    (*d)->part = NULL;
    dataset_close(d);
    return ST_OK;
}

status dataset_commit(dataset **d) {
    return commit(d, false);
}

status dataset_commit_part(dataset **d) {
    return commit(d, true);
}

void dataset_abandon(dataset **out) {
    dataset *d = *out;
    if (d == NULL)
        return;
    chunk_queue_free(&d->queue);
    dataset_close(out);
}
