/* Reading one capture: its packets into memory and from there into a part, or, from the moment that memory is full, all
 * of them into raw partitions by a hash of the flow. */
#include <stdlib.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/capture.h"
#include "io/encode_priv.h"

enum { RAW_BUFFER = 1 << 16, RECORD_HEADER = 16, STOP_EVERY = 1 << 16 };

typedef struct pass {
    const encode_options *o;
    const char *path;
    uint32_t file;
    capture *capture;
    label_matcher *matcher;
    assembler *flows;
    uint64_t weight, seen; /* bytes of records: about all, and so far */
    uint64_t npartitions;
    spool_writer *raw; /* NULL while everything fits */
    bool labelled;     /* a flow_label follows each raw record */
} pass;

static status put_raw(void *data, const packet *p, flow_label label) {
    pass *s = data;
    flow_key key = flow_key_of(p);
    /* The upper half: slots of flow tables are chosen by the lower one. */
    spool_writer *w = &s->raw[(flow_key_hash(&key) >> 32) % s->npartitions];
    packet_record r = {
        .time_ns = p->time_ns, .wire_len = p->wire_len, .frame = p->frame, .dir = 0, .nheader = p->nheader};
    TRY(spool_put(w, &r, sizeof r));
    TRY(spool_put(w, p->header, p->nheader));
    return s->labelled ? spool_put(w, &label, sizeof label) : ST_OK;
}

/* As many partitions as let each fill about two thirds of the memory, if the rest of the capture is like its beginning;
 * one that turns out larger is assembled in stretches. */
static uint64_t choose_partitions(const pass *s) {
    double share = s->seen < s->weight ? (double)s->seen / (double)s->weight : 1;
    double wanted = 1.5 * (double)assembler_nbytes(s->flows) / share / ((double)s->o->memory + 1) + 1;
    return wanted < (double)s->npartitions ? (uint64_t)wanted : s->npartitions;
}

static status begin_raw(pass *s) {
    s->npartitions = choose_partitions(s);
    TRY(NEW(s->npartitions, &s->raw));
    for (uint64_t i = 0; i < s->npartitions; i++) {
        char *name = encode_name(s->o->folder, s->file, i, "raw");
        status st = spool_begin(&s->raw[i], name, s->o->attempt, RAW_BUFFER);
        free(name);
        TRY(st);
    }
    TRY(assembler_each(s->flows, put_raw, s));
    assembler_free(&s->flows);
    return ST_OK;
}

static status end_raw(pass *s, encode_mark *m) {
    m->npartitions = s->npartitions;
    TRY(NEW(s->npartitions, &m->raw_nbytes));
    TRY(NEW(s->npartitions, &m->raw_crc));
    for (uint64_t i = 0; i < s->npartitions; i++) {
        TRY(spool_commit(&s->raw[i]));
        m->raw_nbytes[i] = s->raw[i].nbytes;
        m->raw_crc[i] = s->raw[i].crc;
    }
    return ST_OK;
}

static status take_packet(pass *s, const packet *p, const capture_record *r) {
    flow_label label = {.label = -1, .run = -1};
    bool fresh;
    if (s->raw != NULL) {
        /* Which packet begins a flow is not known here: every one is asked where the answer needs its frame. */
        if (s->labelled) {
            flow_key key = flow_key_of(p);
            label = label_match(s->matcher, &key, r);
        }
        return put_raw(s, p, label);
    }
    TRY(assembler_add(s->flows, p, &fresh));
    if (fresh) {
        flow_key key = flow_key_of(p);
        assembler_label(s->flows, label_match(s->matcher, &key, r));
    }
    return assembler_nbytes(s->flows) > s->o->memory ? begin_raw(s) : ST_OK;
}

static status read_packets(pass *s, encode_mark *m) {
    capture_record r;
    packet p;
    bool end;
    for (;; m->frames++) {
        TRY(capture_next(s->capture, &r, &end));
        if (end)
            break;
        if (m->frames % STOP_EVERY == 0)
            TRY(encode_check_stop(s->o->folder));
        if (m->frames >= UINT32_MAX)
            return FAIL(ST_RANGE, "%s: more than 2^32 records", s->path);
        s->seen += RECORD_HEADER + r.caplen;
        packet_skip skip = packet_decode(r.link_type, r.bytes, r.caplen, r.wire_len, &p);
        if (skip != SKIP_NONE) {
            m->skipped[skip]++;
            continue;
        }
        p.time_ns = r.time_ns;
        p.frame = (uint32_t)m->frames;
        p.dir = 0;
        TRY(take_packet(s, &p, &r));
    }
    if (capture_damage(s->capture) != NULL)
        m->damage = text_copy(capture_damage(s->capture));
    return capture_sha256(s->capture, m->sha256);
}

/* The message of capture_open without the path: whoever prints the damage names the file. */
static char *reason_of(const char *path) {
    size_t n = strlen(path);
    const char *why = status_message();
    bool named = strncmp(why, path, n) == 0 && strncmp(why + n, ": ", 2) == 0;
    return text_copy(named ? why + n + 2 : why);
}

status encode_pass(const char *path, uint32_t file, uint64_t weight, uint64_t npartitions, const encode_options *o,
                   encode_mark *m, assembler **kept) {
    pass s = {.o = o, .path = path, .file = file, .weight = weight, .npartitions = npartitions};
    status st = assembler_new(&s.flows, o);
    if (st == ST_OK)
        st = capture_open_hashed(&s.capture, path);
    if (st == ST_FORMAT) {
        m->damage = reason_of(path);
        st = file_sha256(path, m->sha256);
    } else if (st == ST_OK) {
        m->link_type = capture_link_type(s.capture);
        TRY_TO(out, label_matcher_new(&s.matcher, o->labels, path, m->link_type));
        s.labelled = label_matcher_reads_frames(s.matcher);
        TRY_TO(out, read_packets(&s, m));
    }
    if (st != ST_OK)
        goto out;
    if (s.raw != NULL) {
        st = end_raw(&s, m);
    } else if (assembler_nbytes(s.flows) < o->keep) {
        TRY_TO(out, assembler_finish(s.flows, o, m));
        *kept = s.flows;
        s.flows = NULL;
    } else {
        st = assembler_write(s.flows, o, file, 0, m);
    }
out:
    for (uint64_t i = 0; s.raw != NULL && i < s.npartitions; i++)
        spool_abandon(&s.raw[i]);
    memory_free(&s.raw);
    assembler_free(&s.flows);
    label_matcher_free(&s.matcher);
    capture_close(&s.capture);
    return st;
}
