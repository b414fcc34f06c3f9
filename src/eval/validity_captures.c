/* The captures that other people's programs are shown (see validity_priv.h).
 *
 * Programs have seconds, so captures are bounded: PACKETS_MAX packets, BYTES_MAX bytes, FILES_MAX files. Where there is
 * more, flows (of a folder: files) are taken evenly spaced. Captures that came are copied record by record, since some
 * programs read neither pcapng nor gzip. */
#include "eval/validity_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "eval/eval_priv.h"
#include "packet/payload.h"

enum { PACKETS_MAX = 70000, BYTES_MAX = 64 << 20, FILES_MAX = 32, SNAP_LEN = 262144, LINK_ETHERNET_TYPE = 1 };

const char *const subject_names[SUBJECTS] = {"synthetic", "real, rewritten", "random"};

/* ---- which flows ---- */

static status pick_add(flow_pick *p, const eval_flow *f) {
    TRY(memory_grow(&p->flows, &p->capacity, p->n + 1, sizeof *p->flows));
    p->flows[p->n++] = &f->f;
    int64_t first = INT64_MAX, last = INT64_MIN;
    for (size_t i = 0; i < f->f.npackets; i++) {
        const packet *k = &f->f.packets[i];
        p->packets++;
        p->bytes += packet_total_len(k);
        first = k->time_ns < first ? k->time_ns : first;
        last = k->time_ns > last ? k->time_ns : last;
    }
    p->seconds += f->f.npackets ? ((double)last - (double)first) / 1e9 : 0;
    return ST_OK;
}

static size_t count_label(const eval_set *s, int32_t label) {
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += s->flows[i].f.label == label;
    return n;
}

/* `want` of a label's flows, evenly spaced. */
static status pick_label(flow_pick *p, const eval_set *s, int32_t label, size_t want) {
    size_t have = count_label(s, label), k = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->flows[i].f.label != label)
            continue;
        if (k * want / have != (k + 1) * want / have)
            TRY(pick_add(p, &s->flows[i]));
        k++;
    }
    return ST_OK;
}

static status pick_all(flow_pick *p, const eval_set *s) {
    for (size_t i = 0; i < s->n; i++)
        TRY(pick_add(p, &s->flows[i]));
    return ST_OK;
}

status flow_pick_alike(const eval_world *w, subject s, flow_pick *p) {
    const eval_set *from = s == SUBJECT_REAL ? &w->held_out : s == SUBJECT_RANDOM ? &w->random : &w->synthetic;
    *p = (flow_pick){0};
    for (size_t l = 0; l < w->nlabels; l++) {
        size_t real = count_label(&w->held_out, (int32_t)l), synthetic = count_label(&w->synthetic, (int32_t)l);
        TRY(pick_label(p, from, (int32_t)l, real < synthetic ? real : synthetic));
    }
    return p->n ? ST_OK : pick_all(p, from); /* no class on both sides */
}

static status flow_pick_make(const eval_world *w, subject s, flow_pick *p) {
    *p = (flow_pick){0};
    return s == SUBJECT_REAL ? flow_pick_alike(w, s, p) : pick_all(p, s == SUBJECT_RANDOM ? &w->random : &w->synthetic);
}

void flow_pick_clear(flow_pick *p) {
    free(p->flows);
    *p = (flow_pick){0};
}

/* ---- captures made of flows ---- */

typedef struct timed {
    const flow *f;
    const packet *p; /* of f */
    size_t order;    /* packets of one time stay in order */
} timed;

static int by_time(const void *a, const void *b) {
    const timed *x = a, *y = b;
    if (x->p->time_ns != y->p->time_ns)
        return x->p->time_ns < y->p->time_ns ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* So many flows that both limits hold on average. */
static size_t flows_within_limits(const flow_pick *p) {
    double share = 1;
    if (p->packets > PACKETS_MAX)
        share = (double)PACKETS_MAX / (double)p->packets;
    if ((double)p->bytes * share > BYTES_MAX)
        share = BYTES_MAX / (double)p->bytes;
    size_t n = (size_t)((double)p->n * share);
    return n ? n : p->n > 0;
}

static status packets_in_time(const flow_pick *p, timed **all, size_t *n) {
    size_t want = flows_within_limits(p);
    *n = 0;
    TRY(NEW(p->packets + 1, all));
    for (size_t i = 0; i < p->n; i++) {
        if (i * want / p->n == (i + 1) * want / p->n)
            continue;
        for (size_t k = 0; k < p->flows[i]->npackets; k++)
            if (p->flows[i]->packets[k].nheader >= 20) {
                (*all)[*n] = (timed){p->flows[i], &p->flows[i]->packets[k], *n};
                ++*n;
            }
    }
    qsort(*all, *n, sizeof **all, by_time);
    return ST_OK;
}

/* Real flows come without payload: they get what a generated flow would have. Times that a capture cannot hold are
 * moved as a whole: the first packet is then at 0, and what comes more than 136 years later at the last time there is.
 */
static status write_packets(const eval_world *w, subject s, capture_writer *to, const timed *all, size_t n) {
    uint8_t payload[PAYLOAD_MAX];
    bool made = s == SUBJECT_REAL || (s == SUBJECT_SYNTHETIC && w->payload == CHECK_PAYLOAD_MADE);
    const int64_t most = (int64_t)UINT32_MAX * 1000000000;
    bool move = n > 0 && (all[0].p->time_ns < 0 || all[n - 1].p->time_ns > most);
    for (size_t i = 0; i < n; i++) {
        packet p = *all[i].p;
        size_t k = (size_t)(all[i].p - all[i].f->packets);
        if (move)
            p.time_ns = packet_gap(all[0].p, &p) < most ? packet_gap(all[0].p, &p) : most;
        if (s == SUBJECT_REAL)
            checksum_fill_over(&p, true, payload_sum(all[i].f, k));
        if (made)
            payload_make(all[i].f, k, payload, packet_payload(&p));
        TRY(capture_write_payload(to, &p, made ? payload : NULL, made && payload_is_left_out(&p)));
    }
    return ST_OK;
}

static status write_flows(const eval_world *w, subject s, const char *path, bool *empty) {
    flow_pick picked = {0};
    timed *all = NULL;
    size_t n = 0;
    capture_writer *to = NULL;
    status st = flow_pick_make(w, s, &picked);
    if (!st)
        st = packets_in_time(&picked, &all, &n);
    *empty = n == 0;
    if (!st && n > 0)
        st = capture_create(&to, path, LINK_ETHERNET_TYPE, SNAP_LEN);
    if (!st && n > 0)
        st = write_packets(w, s, to, all, n);
    if (!st && to)
        st = capture_commit(&to);
    capture_abandon(&to);
    memory_free(&all);
    flow_pick_clear(&picked);
    return st;
}

/* ---- captures that came ---- */

/* ndgen's all.pcap holds the flows of its other files once more. */
static status list_captures(const char *folder, text_list *files) {
    char *entry = text_format("%s/all.pcap", folder);
    if (!file_exists(entry)) {
        free(entry);
        entry = text_copy(folder);
    }
    status st = capture_list(&(text_list){1, &entry}, files);
    free(entry);
    return st;
}

typedef struct budget {
    size_t packets, bytes;
} budget;

static bool put_u32(FILE *to, uint32_t x) {
    return fwrite(&x, sizeof x, 1, to) == 1;
}

bool pcap_put_header(FILE *to, int link_type) {
    const uint16_t version[] = {2, 4};
    return put_u32(to, 0xa1b23c4d) && fwrite(version, sizeof version, 1, to) == 1 && put_u32(to, 0) && put_u32(to, 0) &&
           put_u32(to, SNAP_LEN) && put_u32(to, (uint32_t)link_type);
}

bool pcap_put_record(FILE *to, const capture_record *r) {
    int64_t time = r->time_ns < 0 ? 0 : r->time_ns;
    size_t caplen = r->caplen < SNAP_LEN ? r->caplen : SNAP_LEN;
    return put_u32(to, (uint32_t)(time / 1000000000)) && put_u32(to, (uint32_t)(time % 1000000000)) &&
           put_u32(to, (uint32_t)caplen) && put_u32(to, (uint32_t)r->wire_len) &&
           fwrite(r->bytes, 1, caplen, to) == caplen;
}

/* A pcap file with the records of another, which may be pcapng: those of its first link type. */
static status copy_records(capture *from, FILE *to, const char *path, budget *left) {
    bool good = pcap_put_header(to, capture_link_type(from));
    while (good) {
        capture_record r;
        bool end;
        TRY(capture_next(from, &r, &end));
        if (end || left->packets == 0 || r.caplen > left->bytes)
            return ST_OK;
        if (r.link_type != capture_link_type(from))
            continue;
        left->packets--;
        left->bytes -= r.caplen;
        good = pcap_put_record(to, &r);
    }
    return FAIL(ST_IO, "%s: cannot write", path);
}

static status copy_capture(const char *from, const char *path, budget *left) {
    capture *c = NULL;
    file_writer to;
    TRY(capture_open(&c, from));
    status st = file_begin(&to, path);
    if (!st) {
        st = copy_records(c, to.stream, path, left);
        if (st)
            file_abandon(&to);
        else
            st = file_commit(&to);
    }
    capture_close(&c);
    return st;
}

static status copy_captures(const char *from, const char *folder, text_list *captures) {
    text_list files = {0};
    budget left = {PACKETS_MAX, BYTES_MAX};
    status st = list_captures(from, &files);
    size_t want = files.n < FILES_MAX ? files.n : FILES_MAX;
    for (size_t i = 0; i < files.n && !st && left.packets > 0; i++) {
        if (i * want / files.n == (i + 1) * want / files.n)
            continue;
        char *path = text_format("%s/came-%zu.pcap", folder, i);
        st = copy_capture(files.item[i], path, &left);
        if (!st)
            st = text_list_add(captures, path);
        free(path);
    }
    text_list_clear(&files);
    return st;
}

status captures_make(const eval_world *w, subject s, const char *folder, text_list *captures) {
    *captures = (text_list){0};
    if (s == SUBJECT_SYNTHETIC && w->synthetic_folder)
        return copy_captures(w->synthetic_folder, folder, captures);
    char *path = text_format("%s/flows-%d.pcap", folder, (int)s);
    bool empty;
    status st = write_flows(w, s, path, &empty);
    if (!st && !empty)
        st = text_list_add(captures, path);
    free(path);
    return st;
}
