/* Packets of many flows in memory: kept as they came, in large blocks, then handed out flow after flow.
 *
 * A record is its flow's number and the packet as the part will hold it, some 70 bytes. Records are not linked by flow:
 * counts per flow give every record its place in the order of flows (a counting sort), and that order, known ahead,
 * lets the processor fetch records before they are needed. A partition whose packets do not fit (one flow can be larger
 * than memory) is read again for every stretch of that order that does: encode_partition. */
#include <stdlib.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/encode_priv.h"

enum { BLOCK = 1 << 20, WRITE_BUFFER = 1 << 18, READ_BUFFER = 1 << 18, AHEAD = 8 };
/* Memory of a flow: its entries here and in the flow table, which both double when they grow. */
enum { FLOW_NBYTES = 400 };

typedef struct __attribute__((packed)) kept_record {
    uint32_t number; /* of its flow */
    packet_record packet;
} kept_record;

typedef struct flow_info {
    flow_label label;
    uint32_t frame;
    uint64_t npackets, nheader;
    uint64_t place; /* of its next packet in the order of flows; ABSENT: the flow is left out */
    uint64_t nflows_before, nheader_before;
} flow_info;

static const uint64_t ABSENT = UINT64_MAX;

struct assembler {
    flow_table *flows;
    flow_info *info;
    size_t nflows, info_capacity;
    uint8_t **blocks;
    size_t nblocks, block_capacity, used; /* of the last block */
    uint64_t nrecords;
    /* while only a stretch of the order is kept */
    bool counted;
    uint64_t from, to;
    uint64_t norder;
    const kept_record **order; /* packets of the part, or of a stretch of it */
};

status assembler_new(assembler **out, const encode_options *o) {
    assembler *a = NULL;
    *out = NULL;
    TRY(NEW(1, &a));
    status st = flow_table_new(&a->flows, o->timeout_ns);
    if (st != ST_OK)
        assembler_free(&a);
    *out = a;
    return st;
}

static void forget_records(assembler *a) {
    for (size_t i = 0; i < a->nblocks; i++)
        free(a->blocks[i]);
    a->nblocks = 0;
    a->used = 0;
    a->nrecords = 0;
    memory_free(&a->order);
}

void assembler_free(assembler **out) {
    assembler *a = *out;
    if (a == NULL)
        return;
    forget_records(a);
    flow_table_free(&a->flows);
    free(a->blocks);
    free(a->info);
    memory_free(out);
}

uint64_t assembler_nbytes(const assembler *a) {
    return (uint64_t)a->nblocks * BLOCK + a->nrecords * sizeof *a->order + (uint64_t)a->nflows * FLOW_NBYTES;
}

static status place(assembler *a, const packet *p, size_t *number, uint8_t *dir, bool *fresh) {
    TRY(flow_table_place(a->flows, p, number, dir));
    *fresh = *number == a->nflows;
    if (*fresh) {
        TRY(memory_grow(&a->info, &a->info_capacity, a->nflows + 1, sizeof *a->info));
        a->info[a->nflows++] = (flow_info){.label = {.label = -1, .run = -1}, .frame = p->frame};
    }
    return ST_OK;
}

static status keep(assembler *a, const packet *p, size_t number, uint8_t dir, const kept_record **kept) {
    size_t n = sizeof(kept_record) + p->nheader;
    if (a->nblocks == 0 || n > BLOCK - a->used) {
        TRY(memory_grow(&a->blocks, &a->block_capacity, a->nblocks + 1, sizeof *a->blocks));
        a->blocks[a->nblocks] = malloc(BLOCK);
        if (a->blocks[a->nblocks] == NULL)
            return FAIL(ST_MEMORY, "no memory for packets");
        if (a->nblocks > 0 && a->used < BLOCK) /* nheader 0 ends a block */
            memset(a->blocks[a->nblocks - 1] + a->used, 0, BLOCK - a->used);
        a->nblocks++;
        a->used = 0;
    }
    uint8_t *to = a->blocks[a->nblocks - 1] + a->used;
    kept_record r = {
        .number = (uint32_t)number,
        .packet = {
            .time_ns = p->time_ns, .wire_len = p->wire_len, .frame = p->frame, .dir = dir, .nheader = p->nheader}};
    memcpy(to, &r, sizeof r);
    memcpy(to + sizeof r, p->header, p->nheader);
    *kept = (const kept_record *)to;
    a->used += n;
    a->nrecords++;
    return ST_OK;
}

status assembler_add(assembler *a, const packet *p, bool *fresh) {
    size_t number;
    uint8_t dir;
    const kept_record *kept;
    TRY(place(a, p, &number, &dir, fresh));
    a->info[number].npackets++;
    a->info[number].nheader += p->nheader;
    return keep(a, p, number, dir, &kept);
}

void assembler_label(assembler *a, flow_label label) {
    a->info[a->nflows - 1].label = label;
}

/* The record at *at of block *block, both moved on; NULL at the end. */
static const kept_record *next_kept(const assembler *a, size_t *block, size_t *at) {
    for (;;) {
        if (*block == a->nblocks || (*block + 1 == a->nblocks && *at == a->used))
            return NULL;
        const kept_record *r = (const kept_record *)(a->blocks[*block] + *at);
        if (*at + sizeof *r <= BLOCK && r->packet.nheader > 0) {
            *at += sizeof *r + r->packet.nheader;
            return r;
        }
        ++*block;
        *at = 0;
    }
}

static void unpack(const packet_record *r, const uint8_t *header, packet *p) {
    p->time_ns = r->time_ns;
    p->wire_len = r->wire_len;
    p->frame = r->frame;
    p->dir = r->dir;
    p->nheader = r->nheader;
    memcpy(p->header, header, r->nheader);
}

status assembler_each(assembler *a, status (*take)(void *data, const packet *p, flow_label label), void *data) {
    size_t block = 0, at = 0;
    packet p;
    for (const kept_record *r; (r = next_kept(a, &block, &at)) != NULL;) {
        unpack(&r->packet, (const uint8_t *)(r + 1), &p);
        TRY(take(data, &p, a->info[r->number].label));
    }
    return ST_OK;
}

/* --- writing --- */

typedef struct part_writer {
    spool_writer rows, packets;
} part_writer;

static status part_begin(part_writer *w, const encode_options *o, size_t file, uint64_t partition) {
    char *rows = encode_name(o->folder, file, partition, "rows"),
         *packets = encode_name(o->folder, file, partition, "packets");
    *w = (part_writer){.rows = {.fd = -1}};
    status st = spool_begin(&w->rows, rows, o->attempt, WRITE_BUFFER);
    if (st == ST_OK)
        st = spool_begin(&w->packets, packets, o->attempt, WRITE_BUFFER);
    free(rows);
    free(packets);
    return st;
}

static status part_end(part_writer *w, status st, part_size *size) {
    if (st == ST_OK)
        st = spool_commit(&w->packets);
    if (st == ST_OK)
        st = spool_commit(&w->rows);
    size->nbytes = w->packets.nbytes;
    size->packets_crc = w->packets.crc;
    size->rows_crc = w->rows.crc;
    spool_abandon(&w->rows);
    spool_abandon(&w->packets);
    return st;
}

/* Which flows stay, and where their packets come. */
static void place_flows(assembler *a, const encode_options *o, encode_mark *m) {
    part_size *size = &m->part;
    *size = (part_size){.nflows = 0};
    for (size_t i = 0; i < a->nflows; i++) {
        flow_info *f = &a->info[i];
        bool labelled = f->label.label >= 0;
        size_t label = labelled ? (size_t)f->label.label : m->nlabels;
        f->place = ABSENT;
        if (!labelled && !o->unlabelled)
            continue;
        f->place = size->npackets;
        f->nflows_before = size->nflows;
        f->nheader_before = size->nheader;
        size->nflows++;
        size->npackets += f->npackets;
        size->nheader += f->nheader;
        m->flows[label]++;
        m->packets[label] += f->npackets;
        if (labelled)
            m->taken[f->label.line] = true;
    }
}

static void make_row(const assembler *a, size_t i, uint64_t first, flow_row *row) {
    const flow_info *f = &a->info[i];
    const flow_key *key = &flow_table_get(a->flows, i)->key;
    memset(row, 0, sizeof *row); /* padding too: a file of rows has a CRC */
    row->key.proto = key->proto;
    row->key.ipv6 = key->ipv6;
    for (int side = 0; side < 2; side++) {
        row->key.addr[side] = key->addr[side];
        row->key.port[side] = key->port[side];
    }
    row->label = f->label.label;
    row->run = f->label.run;
    row->frame = f->frame;
    row->npackets = f->npackets;
    row->before.nflows = f->nflows_before;
    row->before.npackets = first;
    row->before.nheader = f->nheader_before;
    row->before.nbytes = f->nheader_before + first * sizeof(packet_record);
}

static status write_rows(assembler *a, spool_writer *w) {
    flow_row row;
    for (size_t i = 0; i < a->nflows; i++) {
        if (a->info[i].place == ABSENT)
            continue;
        make_row(a, i, a->info[i].place, &row);
        TRY(spool_put(w, &row, sizeof row));
    }
    return ST_OK;
}

static status write_order(const assembler *a, uint64_t n, spool_writer *w) {
    for (uint64_t i = 0; i < n; i++) {
        if (i + AHEAD < n) {
            __builtin_prefetch(a->order[i + AHEAD]);
            __builtin_prefetch((const uint8_t *)a->order[i + AHEAD] + 64);
        }
        const packet_record *r = &a->order[i]->packet;
        TRY(spool_put(w, r, sizeof *r + r->nheader));
    }
    return ST_OK;
}

static status make_order(assembler *a, uint64_t npackets) {
    size_t block = 0, at = 0;
    TRY(NEW(npackets, &a->order));
    a->norder = npackets;
    for (const kept_record *r; (r = next_kept(a, &block, &at)) != NULL;)
        if (a->info[r->number].place != ABSENT)
            a->order[a->info[r->number].place++] = r;
    return ST_OK;
}

status assembler_write(assembler *a, const encode_options *o, size_t file, uint64_t partition, encode_mark *m) {
    part_writer w;
    place_flows(a, o, m);
    status st = part_begin(&w, o, file, partition);
    if (st == ST_OK)
        st = write_rows(a, &w.rows);
    if (st == ST_OK)
        st = make_order(a, m->part.npackets);
    if (st == ST_OK)
        st = write_order(a, m->part.npackets, &w.packets);
    return part_end(&w, st, &m->part);
}

/* --- a part in memory --- */

status assembler_finish(assembler *a, const encode_options *o, encode_mark *m) {
    place_flows(a, o, m);
    return make_order(a, m->part.npackets);
}

bool assembler_row(const assembler *a, size_t *i, flow_row *row) {
    while (*i < a->nflows && a->info[*i].place == ABSENT)
        ++*i;
    if (*i == a->nflows)
        return false;
    make_row(a, *i, a->info[*i].place - a->info[*i].npackets, row); /* make_order moved the place to its end */
    ++*i;
    return true;
}

size_t assembler_find(const assembler *a, uint32_t frame) {
    size_t low = 0, high = a->nflows;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (a->info[middle].frame < frame)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const packet_record *assembler_packet(const assembler *a, uint64_t place) {
    if (place + AHEAD < a->norder) {
        __builtin_prefetch(a->order[place + AHEAD]);
        __builtin_prefetch((const uint8_t *)a->order[place + AHEAD] + 64);
    }
    return &a->order[place]->packet;
}

/* --- a raw partition --- */

typedef struct raw_input {
    spool_reader file;
    const label_matcher *matcher;
    bool labelled; /* a flow_label follows each record */
} raw_input;

/* *label is set where the file has one. */
static status raw_next(raw_input *in, packet *p, flow_label *label, bool *end) {
    TRY(spool_want(&in->file, PACKET_RECORD_MAX + sizeof *label));
    size_t have = spool_have(&in->file);
    *end = have == 0;
    if (*end)
        return ST_OK;
    const uint8_t *at = in->file.buffer + in->file.at;
    const packet_record *r = (const packet_record *)at;
    size_t n = sizeof *r + (have >= sizeof *r ? r->nheader : 0), more = in->labelled ? sizeof *label : 0;
    if (have < n + more || r->nheader == 0 || r->nheader > PACKET_HEADER_MAX)
        return FAIL(ST_FORMAT, "%s: damaged", in->file.path);
    unpack(r, at + sizeof *r, p);
    if (in->labelled)
        memcpy(label, at + n, more);
    in->file.at += n + more;
    return ST_OK;
}

static void label_fresh(assembler *a, const raw_input *in, const packet *p, flow_label label) {
    static const capture_record unseen;
    if (!in->labelled) {
        flow_key key = flow_key_of(p);
        label = label_match(in->matcher, &key, &unseen);
    }
    assembler_label(a, label);
}

/* All records: kept, or where memory does not hold them only counted. */
static status read_all(assembler *a, raw_input *in, uint64_t memory, bool *fits) {
    packet p;
    flow_label label = {.label = -1, .run = -1};
    size_t number;
    uint8_t dir;
    bool end, fresh;
    *fits = true;
    for (;;) {
        TRY(raw_next(in, &p, &label, &end));
        if (end)
            return ST_OK;
        if (*fits) {
            TRY(assembler_add(a, &p, &fresh));
        } else {
            TRY(place(a, &p, &number, &dir, &fresh));
            a->info[number].npackets++;
            a->info[number].nheader += p.nheader;
        }
        if (fresh)
            label_fresh(a, in, &p, label);
        if (*fits && assembler_nbytes(a) > memory) {
            *fits = false;
            forget_records(a);
        }
    }
}

/* The packets whose places are from .. to - 1, from a new reading of the partition. */
static status write_stretch(assembler *a, raw_input *in, const encode_options *o, uint64_t from, uint64_t to,
                            spool_writer *w) {
    status st = ST_OK;
    packet p;
    flow_label label = {.label = -1, .run = -1};
    size_t number, nflows = a->nflows;
    bool end, fresh;
    uint8_t dir;
    uint64_t *seen = NULL;
    flow_table_free(&a->flows);
    forget_records(a);
    TRY(flow_table_new(&a->flows, o->timeout_ns));
    TRY(NEW(nflows, &seen));
    TRY_TO(out, NEW(to - from, &a->order));
    TRY_TO(out, spool_seek(&in->file, 0));
    for (;;) {
        TRY_TO(out, raw_next(in, &p, &label, &end));
        if (end)
            break;
        TRY_TO(out, place(a, &p, &number, &dir, &fresh));
        uint64_t at = a->info[number].place;
        at = at == ABSENT ? at : at + seen[number]++;
        if (at >= from && at < to)
            TRY_TO(out, keep(a, &p, number, dir, &a->order[at - from]));
    }
    st = write_order(a, to - from, w);
out:
    memory_free(&seen);
    return st;
}

static status write_raw(assembler *a, raw_input *in, const encode_options *o, uint32_t file, uint64_t partition,
                        bool fits, encode_mark *m) {
    part_writer w;
    if (fits)
        return assembler_write(a, o, file, partition, m);
    place_flows(a, o, m);
    status st = part_begin(&w, o, file, partition);
    if (st == ST_OK)
        st = write_rows(a, &w.rows);
    /* Half of the memory is left for flows. */
    uint64_t stretch = o->memory / 2 / (sizeof(kept_record) + PACKET_HEADER_MAX / 2), n = m->part.npackets;
    for (uint64_t from = 0; st == ST_OK && from < n; from += stretch)
        st = write_stretch(a, in, o, from, n - from < stretch ? n : from + stretch, &w.packets);
    return part_end(&w, st, &m->part);
}

status encode_partition(const char *path, uint32_t file, uint64_t partition, int link_type, const encode_options *o,
                        encode_mark *m) {
    status st = ST_OK;
    assembler *a = NULL;
    label_matcher *matcher = NULL;
    raw_input in = {.file = {.fd = -1}};
    bool fits;
    char *raw = encode_name(o->folder, file, partition, "raw");
    TRY_TO(out, label_matcher_new(&matcher, o->labels, path, link_type));
    TRY_TO(out, assembler_new(&a, o));
    TRY_TO(out, spool_open(&in.file, raw, 0, READ_BUFFER));
    in.matcher = matcher;
    in.labelled = label_matcher_reads_frames(matcher);
    TRY_TO(out, read_all(a, &in, o->memory, &fits));
    st = write_raw(a, &in, o, file, partition, fits, m);
out:
    spool_close(&in.file);
    label_matcher_free(&matcher);
    assembler_free(&a);
    free(raw);
    return st;
}
