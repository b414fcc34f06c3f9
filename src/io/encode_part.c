/* One work item of ndencode: capture in, part of the dataset out. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/capture.h"
#include "io/encode.h"

static bool in_slice(const packet *p, const encode_item *item) {
    if (item->nslices <= 1)
        return true;
    flow_key key = flow_key_of(p);
    return flow_key_hash(&key) % item->nslices == item->slice;
}

static status add_packet(const packet *p, const capture_record *r, const encode_item *item,
                         const label_matcher *matcher, flow_table *flows) {
    size_t before = flow_table_count(flows), number;
    TRY(flow_table_add(flows, p, &number));
    if (number == before) {
        flow *f = flow_table_get(flows, number);
        f->file = item->file;
        label_match(matcher, &f->key, r, &f->label, &f->run);
    }
    return ST_OK;
}

static status read_flows(capture *c, const encode_item *item, const label_matcher *matcher, flow_table *flows,
                         encode_counts *counts) {
    capture_record r;
    packet p;
    bool end;
    for (;; counts->frames++) {
        TRY(capture_next(c, &r, &end));
        if (end)
            break;
        if (counts->frames > UINT32_MAX)
            return FAIL(ST_RANGE, "%s: more than 2^32 records", item->capture);
        packet_skip skip = packet_decode(r.link_type, r.bytes, r.caplen, r.wire_len, &p);
        if (skip != SKIP_NONE) {
            counts->skipped[skip]++;
        } else if (in_slice(&p, item)) {
            p.time_ns = r.time_ns;
            p.frame = (uint32_t)counts->frames;
            p.dir = 0;
            TRY(add_packet(&p, &r, item, matcher, flows));
        }
    }
    if (capture_damage(c) != NULL)
        counts->damage = text_copy(capture_damage(c));
    return ST_OK;
}

static status write_flows(flow_table *flows, const encode_options *o, const dataset_tables *tables, const char *part,
                          encode_counts *counts) {
    dataset *d = NULL;
    status st = dataset_create(&d, part, tables, o->compress);
    for (size_t i = 0; st == ST_OK && i < flow_table_count(flows); i++) {
        const flow *f = flow_table_get(flows, i);
        size_t label = f->label >= 0 ? (size_t)f->label : tables->nlabels;
        if (f->label < 0 && !o->unlabelled)
            continue;
        counts->flows[label]++;
        counts->packets[label] += f->npackets;
        st = dataset_append(d, f);
    }
    if (st != ST_OK) {
        dataset_abandon(&d);
        return st;
    }
    return dataset_commit_part(&d);
}

status encode_part(const encode_item *item, const encode_options *o, const dataset_tables *tables, const char *part,
                   encode_counts *counts) {
    capture *c = NULL;
    label_matcher *matcher = NULL;
    flow_table *flows = NULL;
    counts->frames = 0;
    memset(counts->skipped, 0, sizeof counts->skipped);
    counts->damage = NULL;
    status st = flow_table_new(&flows, o->timeout_ns);
    if (st != ST_OK)
        return st;
    st = capture_open(&c, item->capture);
    if (st == ST_FORMAT) {
        size_t n = strlen(item->capture); /* the message names the file, as whoever prints the damage does */
        const char *why = status_message();
        bool named = strncmp(why, item->capture, n) == 0 && strncmp(why + n, ": ", 2) == 0;
        counts->damage = text_copy(named ? why + n + 2 : why);
        st = ST_OK;
    } else if (st == ST_OK) {
        TRY_TO(out, label_matcher_new(&matcher, o->labels, item->capture, capture_link_type(c)));
        TRY_TO(out, read_flows(c, item, matcher, flows, counts));
    }
    if (st == ST_OK)
        st = write_flows(flows, o, tables, part, counts);
out:
    if (st != ST_OK) {
        free(counts->damage);
        counts->damage = NULL;
    }
    label_matcher_free(&matcher);
    capture_close(&c);
    flow_table_free(&flows);
    return st;
}
