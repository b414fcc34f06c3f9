/* Reading a dataset. Nothing in the file is believed before it was compared with the rest.
 *
 * Tables and flow columns come into memory at once; packet columns are read one chunk at a time into each column's
 * block, so that rising flow numbers cost one decompression a chunk. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/dataset_priv.h"

enum { HEADER_MIN = 28 };

/* The named texts, which must be as many as *n says where `given` is set. */
static status read_texts(dataset *d, const char *name, size_t limit, bool given, size_t *n, char ***texts) {
    size_t have = 0;
    TRY(h5_read_texts(d->path, d->file, name, limit, &have, texts));
    if (given && have != *n) {
        h5_free_texts(have, texts);
        return FAIL(ST_FORMAT, "%s: /%s has %zu entries where %zu were expected", d->path, name, have, *n);
    }
    *n = have;
    return ST_OK;
}

static status read_skips(dataset *d) {
    size_t n = 0;
    char **names = NULL;
    uint64_t counts[SKIP_COUNT] = {0}, have = 0;
    hid_t set = H5I_INVALID_HID;
    TRY(h5_read_texts(d->path, d->file, "skip/reason", SKIP_COUNT, &n, &names));
    status st = h5_open_column(d->path, d->file, "skip/count", H5T_STD_U64LE, 1, &set, &have);
    if (st == ST_OK) {
        if (have != n)
            st = FAIL(ST_FORMAT, "%s: /skip has %zu reasons and %" PRIu64 " counts", d->path, n, have);
        else if (H5Dread(set, H5T_STD_U64LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, counts) < 0)
            st = h5_fail(ST_FORMAT, d->path, __FILE__, __LINE__);
        H5Dclose(set);
    }
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        int reason = 1;
        while (reason < SKIP_COUNT && strcmp(names[i], packet_skip_name((packet_skip)reason)) != 0)
            reason++;
        if (reason == SKIP_COUNT)
            st = FAIL(ST_FORMAT, "%s: unknown reason '%s' for skipped frames", d->path, names[i]);
        else
            d->tables.skipped[reason] = counts[i];
    }
    h5_free_texts(n, &names);
    return st;
}

static status read_tables(dataset *d) {
    dataset_tables *t = &d->tables;
    size_t one = 1;
    char **text = NULL;
    TRY(read_texts(d, "table/label", LABELS_MAX, false, &t->nlabels, &t->label));
    TRY(read_texts(d, "table/macro", LABELS_MAX, true, &t->nlabels, &t->macro));
    TRY(read_texts(d, "table/prompt", LABELS_MAX, true, &t->nlabels, &t->prompt));
    TRY(read_texts(d, "table/file", FILES_MAX, false, &t->nfiles, &t->file));
    TRY(read_texts(d, "table/sha256", FILES_MAX, true, &t->nfiles, &t->sha256));
    TRY(read_texts(d, "table/run", FILES_MAX, false, &t->nruns, &t->run));
    TRY(read_texts(d, "table/config", 1, true, &one, &text));
    t->config = text[0];
    free(text);
    TRY(h5_read_u64_attribute(d->path, d->file, "frames", &t->frames));
    return read_skips(d);
}

static status check_schema(dataset *d) {
    char schema[32];
    uint64_t complete = 0;
    if (h5_read_text_attribute(d->path, d->file, "schema", schema, sizeof schema) != ST_OK ||
        strcmp(schema, DATASET_SCHEMA) != 0)
        return FAIL(ST_FORMAT, "%s: an HDF5 file, but no dataset of nd (no attribute schema = %s)", d->path,
                    DATASET_SCHEMA);
    TRY(h5_read_u64_attribute(d->path, d->file, "version", &d->version));
    if (d->version > DATASET_VERSION || d->version == 0)
        return FAIL(ST_FORMAT,
                    "%s: written by a newer version of nd (dataset version %" PRIu64 ", this one reads up to %d)",
                    d->path, d->version, DATASET_VERSION);
    if (h5_read_u64_attribute(d->path, d->file, "complete", &complete) != ST_OK || complete != 1)
        return FAIL(ST_FORMAT, "%s: incomplete: its writer did not finish", d->path);
    return ST_OK;
}

static const column_spec *spec_of(const dataset *d, column_id id) {
    return d->version == 1 && id == COLUMN_ADDR ? &dataset_addr_version_1 : &dataset_columns[id];
}

static hid_t type_of(const dataset *d, column_id id) {
    return d->version == 1 && id == COLUMN_ADDR ? H5T_STD_U32LE : dataset_column_type(id);
}

/* Packet columns are as long as each other, and so are flow columns. */
static status open_columns(dataset *d) {
    for (int id = 0; id < COLUMN_COUNT; id++) {
        const column_spec *spec = spec_of(d, (column_id)id);
        column *c = &d->columns[id];
        if (d->version == 1 && id == COLUMN_IP_VERSION)
            continue;
        TRY(h5_open_column(d->path, d->file, spec->name, type_of(d, (column_id)id), spec->width, &c->set, &c->n));
        const column *first = &d->columns[id < COLUMN_FIRST_FLOW ? COLUMN_TIME : COLUMN_FIRST_FLOW];
        if (id != COLUMN_HEADER && c->n != first->n)
            return FAIL(ST_FORMAT, "%s: /%s has %" PRIu64 " elements where %" PRIu64 " were expected", d->path,
                        spec->name, c->n, first->n);
        if (id < COLUMN_FIRST_FLOW)
            TRY(memory_new(spec->chunk, column_element((column_id)id), &c->block));
    }
    return ST_OK;
}

static status read_range(dataset *d, column_id id, uint64_t start, size_t n, void *to) {
    const column_spec *spec = spec_of(d, id);
    int rank = spec->width > 1 ? 2 : 1;
    hsize_t offset[2] = {start, 0}, count[2] = {n, spec->width};
    status st = ST_OK;
    hid_t from = H5I_INVALID_HID, memory = H5I_INVALID_HID, type = type_of(d, id);
    TRY_H5_TO(out, ST_LIBRARY, d->path, memory = H5Screate_simple(rank, count, NULL));
    TRY_H5_TO(out, ST_FORMAT, d->path, from = H5Dget_space(d->columns[id].set));
    TRY_H5_TO(out, ST_FORMAT, d->path, H5Sselect_hyperslab(from, H5S_SELECT_SET, offset, NULL, count, NULL));
    TRY_H5_TO(out, ST_FORMAT, d->path, H5Dread(d->columns[id].set, type, memory, from, H5P_DEFAULT, to));
out:
    if (from >= 0)
        H5Sclose(from);
    if (memory >= 0)
        H5Sclose(memory);
    return st;
}

/* Make the column's block the chunk that holds element `at` (which is in the file). */
static status load_block(dataset *d, column_id id, uint64_t at) {
    column *c = &d->columns[id];
    if (at >= c->start && at - c->start < c->nblock)
        return ST_OK;
    uint64_t chunk = dataset_columns[id].chunk, start = at / chunk * chunk;
    size_t n = (size_t)(c->n - start < chunk ? c->n - start : chunk);
    c->nblock = 0; /* after an error the block holds nothing */
    TRY(read_range(d, id, start, n, c->block));
    c->start = start;
    c->nblock = n;
    return ST_OK;
}

/* Version 1 held IPv4 only, and addresses as numbers. They were read to the start of d->addr, and end further up. */
static void from_version_1(dataset *d, size_t n) {
    for (size_t i = 2 * n; i-- > 0;) {
        uint32_t address;
        memcpy(&address, d->addr + 4 * i, sizeof address);
        ip_address_put(address, d->addr + 16 * i, 16);
    }
    memset(d->ip_version, 4, n);
}

static status read_flow_columns(dataset *d) {
    size_t n = (size_t)d->columns[COLUMN_NPACKETS].n;
    TRY(memory_new(n + 1, sizeof(uint64_t), &d->first_packet));
    TRY(memory_new(n + 1, sizeof(uint64_t), &d->first_header));
    struct {
        column_id id;
        void *array; /* address of the pointer */
    } const wanted[] = {{COLUMN_LABEL, &d->label},     {COLUMN_RUN, &d->run},
                        {COLUMN_FILE, &d->file_index}, {COLUMN_IP_VERSION, &d->ip_version},
                        {COLUMN_PROTO, &d->proto},     {COLUMN_ADDR, &d->addr},
                        {COLUMN_PORT, &d->port}};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        TRY(memory_new(n, column_element(wanted[i].id), wanted[i].array));
        if (n > 0 && d->columns[wanted[i].id].set >= 0)
            TRY(read_range(d, wanted[i].id, 0, n, *(void **)wanted[i].array));
    }
    if (d->version == 1)
        from_version_1(d, n);
    /* Counts become offsets: element i + 1 first holds the count of flow i. */
    if (n > 0)
        TRY(read_range(d, COLUMN_NPACKETS, 0, n, d->first_packet + 1));
    return ST_OK;
}

static status check_flows(dataset *d) {
    size_t n = (size_t)d->columns[COLUMN_NPACKETS].n;
    uint64_t npackets = d->columns[COLUMN_TIME].n;
    const dataset_tables *t = &d->tables;
    for (size_t i = 0; i < n; i++) {
        uint64_t count = d->first_packet[i + 1];
        if (count == 0 || count > npackets - d->first_packet[i])
            return FAIL(ST_FORMAT, "%s: flow %zu claims %" PRIu64 " packets, %" PRIu64 " are left", d->path, i, count,
                        npackets - d->first_packet[i]);
        d->first_packet[i + 1] = d->first_packet[i] + count;
        if (d->label[i] < -1 || (d->label[i] >= 0 && (size_t)d->label[i] >= t->nlabels))
            return FAIL(ST_FORMAT, "%s: flow %zu has label %d of %zu", d->path, i, d->label[i], t->nlabels);
        if (d->run[i] < -1 || (d->run[i] >= 0 && (size_t)d->run[i] >= t->nruns))
            return FAIL(ST_FORMAT, "%s: flow %zu has run %d of %zu", d->path, i, d->run[i], t->nruns);
        if (d->file_index[i] >= (t->nfiles > 0 ? t->nfiles : 1))
            return FAIL(ST_FORMAT, "%s: flow %zu has file %u of %zu", d->path, i, d->file_index[i], t->nfiles);
        if (d->ip_version[i] != 4 && d->ip_version[i] != 6)
            return FAIL(ST_FORMAT, "%s: flow %zu is of IP version %u", d->path, i, d->ip_version[i]);
        if (d->proto[i] != PROTO_TCP && d->proto[i] != PROTO_UDP &&
            d->proto[i] != (d->ip_version[i] == 4 ? PROTO_ICMP : PROTO_ICMPV6))
            return FAIL(ST_FORMAT, "%s: flow %zu has protocol %u", d->path, i, d->proto[i]);
        for (int side = 0; side < 2 && d->ip_version[i] == 4; side++)
            if (ip_address_get(d->addr + 32 * i + 16 * side, 16) > UINT32_MAX)
                return FAIL(ST_FORMAT, "%s: flow %zu is IPv4 and has an address of more than four bytes", d->path, i);
    }
    if (d->first_packet[n] != npackets)
        return FAIL(ST_FORMAT, "%s: %" PRIu64 " packets in the flows, %" PRIu64 " in the columns", d->path,
                    d->first_packet[n], npackets);
    return ST_OK;
}

/* Where each flow's header bytes start, from the header lengths of all packets. */
static status find_headers(dataset *d) {
    const column *c = &d->columns[COLUMN_NHEADER];
    size_t i = 0;
    uint64_t at = 0, nheader = d->columns[COLUMN_HEADER].n;
    for (uint64_t p = 0; p < c->n;) {
        TRY(load_block(d, COLUMN_NHEADER, p));
        for (; p < c->start + c->nblock; p++) {
            if (p == d->first_packet[i])
                d->first_header[i++] = at;
            unsigned n = c->block[p - c->start];
            if (n < HEADER_MIN || n > PACKET_HEADER_MAX || n > nheader - at)
                return FAIL(ST_FORMAT, "%s: packet %" PRIu64 " claims %u bytes of header", d->path, p, n);
            at += n;
        }
    }
    d->first_header[dataset_nflows(d)] = at;
    if (at != nheader)
        return FAIL(ST_FORMAT, "%s: %" PRIu64 " bytes of header in the packets, %" PRIu64 " in the column", d->path, at,
                    nheader);
    return ST_OK;
}

status dataset_open(dataset **out, const char *path) {
    status st = ST_OK;
    dataset *d = NULL;
    *out = NULL;
    h5_quiet();
    TRY(NEW(1, &d));
    d->file = H5I_INVALID_HID;
    for (int c = 0; c < COLUMN_COUNT; c++)
        d->columns[c].set = H5I_INVALID_HID;
    d->path = text_copy(path);
    TRY_TO(failed, h5_open(path, &d->file));
    TRY_TO(failed, check_schema(d));
    TRY_TO(failed, read_tables(d));
    TRY_TO(failed, open_columns(d));
    TRY_TO(failed, read_flow_columns(d));
    TRY_TO(failed, check_flows(d));
    TRY_TO(failed, find_headers(d));
    *out = d;
    return ST_OK;
failed:
    dataset_close(&d);
    return st;
}

const dataset_tables *dataset_get_tables(const dataset *d) {
    return &d->tables;
}

size_t dataset_nflows(const dataset *d) {
    return (size_t)d->columns[COLUMN_NPACKETS].n;
}

uint64_t dataset_npackets(const dataset *d) {
    return d->columns[COLUMN_TIME].n;
}

void dataset_flow_info(const dataset *d, size_t i, flow *f) {
    ASSERT(i < dataset_nflows(d));
    flow_init(f);
    f->key.proto = d->proto[i];
    f->key.ipv6 = d->ip_version[i] == 6;
    for (int side = 0; side < 2; side++)
        f->key.addr[side] = ip_address_get(d->addr + 32 * i + 16 * side, 16);
    memcpy(f->key.port, d->port + 2 * i, sizeof f->key.port);
    f->label = d->label[i];
    f->run = d->run[i];
    f->file = d->file_index[i];
    f->npackets = (size_t)(d->first_packet[i + 1] - d->first_packet[i]);
}

/* n bytes of the header column, which has them. */
static status read_header(dataset *d, uint64_t at, size_t n, uint8_t *to) {
    const column *c = &d->columns[COLUMN_HEADER];
    while (n > 0) {
        TRY(load_block(d, COLUMN_HEADER, at));
        size_t have = c->nblock - (size_t)(at - c->start), take = n < have ? n : have;
        memcpy(to, c->block + (at - c->start), take);
        to += take;
        at += take;
        n -= take;
    }
    return ST_OK;
}

/* The first n packets of flow i. */
static status read_packets(dataset *d, size_t i, size_t n, packet *out) {
    const column *c = d->columns;
    uint64_t at = d->first_packet[i], header_at = d->first_header[i];
    for (size_t k = 0; k < n; k++, at++, out++) {
        for (int id = COLUMN_TIME; id <= COLUMN_NHEADER; id++)
            TRY(load_block(d, (column_id)id, at));
        size_t j = (size_t)(at - c[COLUMN_TIME].start);
        out->time_ns = ((const int64_t *)c[COLUMN_TIME].block)[j];
        out->wire_len = ((const uint32_t *)c[COLUMN_WIRE_LEN].block)[j];
        out->frame = ((const uint32_t *)c[COLUMN_FRAME].block)[j];
        out->dir = c[COLUMN_DIR].block[j];
        out->nheader = c[COLUMN_NHEADER].block[j]; /* bounded by find_headers */
        TRY(read_header(d, header_at, out->nheader, out->header));
        memset(out->header + out->nheader, 0, sizeof out->header - out->nheader);
        header_at += out->nheader;
        if (!packet_has_shape(out) || out->dir > 1)
            return FAIL(ST_FORMAT, "%s: flow %zu, packet %zu: its header is not complete", d->path, i, k);
    }
    return ST_OK;
}

status dataset_read(dataset *d, size_t i, size_t max_packets, flow *f) {
    ASSERT(!d->writing && i < dataset_nflows(d));
    flow_clear(f);
    dataset_flow_info(d, i, f);
    size_t n = max_packets > 0 && max_packets < f->npackets ? max_packets : f->npackets;
    f->npackets = 0;
    TRY(memory_grow(&f->packets, &f->capacity, n, sizeof *f->packets));
    TRY(read_packets(d, i, n, f->packets));
    f->npackets = n;
    return ST_OK;
}

void dataset_close(dataset **out) {
    dataset *d = *out;
    if (d == NULL)
        return;
    for (int c = 0; c < COLUMN_COUNT; c++) {
        if (d->columns[c].set >= 0)
            H5Dclose(d->columns[c].set);
        memory_free(&d->columns[c].block);
    }
    if (d->file >= 0)
        h5_close(d->file);
    if (d->part != NULL)
        unlink(d->part);
    H5Eclear2(H5E_DEFAULT);
    chunk_queue_free(&d->queue);
    dataset_tables_clear(&d->tables);
    memory_free(&d->first_packet);
    memory_free(&d->first_header);
    memory_free(&d->label);
    memory_free(&d->run);
    memory_free(&d->file_index);
    memory_free(&d->addr);
    memory_free(&d->port);
    memory_free(&d->ip_version);
    memory_free(&d->proto);
    free(d->path);
    free(d->part);
    memory_free(out);
}
