/* Merge: the records of all batches become one dataset in the order of flow numbers (and one of the flows as decoded,
 * before repair), one capture per label and one of all in time order, and a table of flows that ndencode reads as
 * labels. Two ranks share it: the datasets are made by one, captures and table by the other.
 *
 * Streaming: of the records one batch is in memory, for the captures one of each label (the flows of a label begin in
 * the order of their numbers, so a record is read about once) and the flows that are active at one time; of a flow its
 * start, number and capture. */
#include "gen/gen_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "packet/payload.h"

typedef struct started {
    int64_t time_ns;
    uint64_t number;
} started;

typedef struct merging {
    const experiment *e;
    const plan *p;
    const dataset_tables *tables;
    item_reader from;
    started *order;    /* (flows) by time; by number until it is sorted */
    uint32_t *capture; /* (flows) number of the file of all in which its first packet stands */
    uint32_t ncaptures;
} merging;

/* The record, or only its heads. */
static status batch_read(merging *m, uint64_t batch, bool whole, item *it) {
    uint64_t first;
    size_t n;
    plan_batch(m->p, batch, &first, &n);
    TRY(whole ? item_read(&m->from, batch, it) : item_read_heads(&m->from, batch, it));
    return it->nflows == n ? ST_OK
                           : FAIL(ST_FORMAT, "the record of batch %llu holds %zu flows of %zu",
                                  (unsigned long long)batch, it->nflows, n);
}

/* ---- Datasets ---- */

static status join_batch(merging *m, uint64_t batch, item *it, flow *f, dataset *clean, dataset *raw) {
    uint64_t first;
    size_t n;
    const plan_label *l = plan_batch(m->p, batch, &first, &n);
    TRY(batch_read(m, batch, true, it));
    f->label = (int32_t)l->label;
    f->file = 0;
    f->run = 0;
    for (size_t k = 0; k < n; k++) {
        TRY(item_get_flow(it, k, true, f));
        TRY(dataset_append(raw, f));
        TRY(item_get_flow(it, k, false, f));
        TRY(dataset_append(clean, f));
    }
    return ST_OK;
}

static status datasets_write(merging *m, int threads, repair_counts *repaired) {
    dataset *clean = NULL, *raw = NULL;
    int compress = (int)m->e->encode.compress;
    char *clean_path = text_format("%s/dataset.h5", m->e->gen.dir), *raw_path = text_format("%s/raw.h5", m->e->gen.dir);
    item it = {0};
    flow f;
    flow_init(&f);
    status st = dataset_create(&raw, raw_path, m->tables, compress);
    if (!st)
        st = dataset_create(&clean, clean_path, m->tables, compress);
    if (!st && threads > 1)
        st = dataset_set_threads(raw, threads);
    if (!st && threads > 1)
        st = dataset_set_threads(clean, threads);
    for (uint64_t batch = 0; batch < m->p->nbatches && !st; batch++) {
        repair_counts of_batch;
        st = join_batch(m, batch, &it, &f, clean, raw);
        if (!st) {
            item_get_repaired(&it, &of_batch);
            repair_counts_add(repaired, &of_batch);
        }
    }
    if (!st)
        st = dataset_commit(&raw);
    if (!st)
        st = dataset_commit(&clean);
    dataset_abandon(&raw);
    dataset_abandon(&clean);
    flow_clear(&f);
    item_clear(&it);
    free(clean_path);
    free(raw_path);
    return st;
}

/* ---- Captures in time order: a heap of the flows that are active ---- */

typedef struct active {
    int64_t time_ns; /* of its next packet */
    uint64_t number;
    size_t next;
    flow f;
} active;

typedef struct heap {
    size_t n, capacity;
    active *item;
} heap;

static bool earlier(const active *a, const active *b) {
    return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->number < b->number;
}

static void heap_sink(heap *h, size_t i) {
    for (;;) {
        size_t least = i, left = 2 * i + 1;
        if (left < h->n && earlier(&h->item[left], &h->item[least]))
            least = left;
        if (left + 1 < h->n && earlier(&h->item[left + 1], &h->item[least]))
            least = left + 1;
        if (least == i)
            return;
        active swap = h->item[i];
        h->item[i] = h->item[least];
        h->item[least] = swap;
        i = least;
    }
}

static status heap_push(heap *h, const active *a) {
    TRY(memory_grow(&h->item, &h->capacity, h->n + 1, sizeof *h->item));
    size_t i = h->n++;
    for (; i > 0 && earlier(a, &h->item[(i - 1) / 2]); i = (i - 1) / 2)
        h->item[i] = h->item[(i - 1) / 2];
    h->item[i] = *a;
    return ST_OK;
}

/* When each flow starts. */
static status read_starts(merging *m) {
    item it = {0};
    status st = ST_OK;
    for (uint64_t batch = 0; batch < m->p->nbatches && !st; batch++) {
        uint64_t first;
        size_t n;
        plan_batch(m->p, batch, &first, &n);
        st = batch_read(m, batch, false, &it);
        for (size_t k = 0; k < n && !st; k++) {
            item_flow head;
            item_get_head(&it, k, &head);
            m->order[first + k] = (started){.time_ns = head.start_ns, .number = first + k};
        }
    }
    item_clear(&it);
    return st;
}

static int started_order(const void *a, const void *b) {
    const started *x = a, *y = b;
    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* The batch of a label that was read last. */
typedef struct window {
    bool filled;
    item it;
} window;

/* Flow `number` as an active one. */
static status flow_begin(merging *m, window *windows, const started *s, active *a) {
    const plan_label *l = plan_flow(m->p, s->number);
    uint64_t nth = s->number - l->first, batch = l->first_batch + nth / m->p->batch;
    window *w = &windows[l - m->p->labels];
    if (!w->filled || w->it.batch != batch) {
        w->filled = false;
        TRY(batch_read(m, batch, true, &w->it));
        w->filled = true;
    }
    TRY(item_get_flow(&w->it, (size_t)(nth % m->p->batch), false, &a->f));
    a->f.label = (int32_t)l->label;
    return ST_OK;
}

/* The next packet of the flow that comes first. */
static status play_packet(merging *m, active *a, capture_series *all, capture_series *by_label) {
    uint8_t payload[PAYLOAD_MAX];
    const packet *next = &a->f.packets[a->next];
    bool truncate = outputs_truncate(m->e, next);
    if (!truncate)
        payload_make(&a->f, a->next, payload, packet_payload(next));
    TRY(capture_series_write(all, next, payload, truncate));
    if (a->next == 0)
        m->capture[a->number] = all->number;
    return capture_series_write(&by_label[a->f.label], next, payload, truncate);
}

/* Every packet, in time order, to the capture of all and to its label's. */
static status play(merging *m, capture_series *all, capture_series *by_label) {
    uint64_t nflows = m->p->nflows, opened = 0;
    heap h = {0};
    window *windows = NULL;
    status st = NEW(m->p->nlabels, &windows);
    while (!st && (opened < nflows || h.n)) {
        if (opened < nflows && (h.n == 0 || m->order[opened].time_ns <= h.item[0].time_ns)) {
            active a = {.time_ns = m->order[opened].time_ns, .number = m->order[opened].number};
            flow_init(&a.f);
            st = flow_begin(m, windows, &m->order[opened], &a);
            if (!st)
                st = heap_push(&h, &a);
            if (st)
                flow_clear(&a.f);
            opened++;
            continue;
        }
        active *a = &h.item[0];
        st = play_packet(m, a, all, by_label);
        if (++a->next < a->f.npackets) {
            a->time_ns = a->f.packets[a->next].time_ns;
        } else {
            flow_clear(&a->f);
            h.item[0] = h.item[--h.n];
        }
        heap_sink(&h, 0);
    }
    for (size_t i = 0; i < h.n; i++)
        flow_clear(&h.item[i].f);
    free(h.item);
    for (size_t i = 0; i < m->p->nlabels && windows; i++)
        item_clear(&windows[i].it);
    memory_free(&windows);
    return st;
}

static status series_begin(const merging *m, int32_t label, capture_series *s) {
    char *stem = outputs_stem(m->tables, label);
    status st = capture_series_open(s, m->e->gen.dir, stem, outputs_separator(m->tables, stem),
                                    m->e->gen.link == LINK_RAW ? 101 : 1, (uint64_t)m->e->gen.capture_bytes);
    free(stem);
    return st;
}

static status series_end(capture_series *s, text_list *files) {
    TRY(capture_series_commit(s));
    for (uint32_t i = 1; i <= s->number; i++) {
        char *name = capture_series_name(s->stem, s->separator, s->number, i);
        status st = text_list_add(files, name);
        free(name);
        TRY(st);
    }
    return ST_OK;
}

static status captures_write(merging *m, text_list *files) {
    capture_series all = {0}, *by_label = NULL;
    status st = NEW(m->tables->nlabels, &by_label);
    if (!st)
        st = series_begin(m, -1, &all);
    for (size_t i = 0; i < m->p->nlabels && !st; i++)
        st = series_begin(m, (int32_t)m->p->labels[i].label, &by_label[m->p->labels[i].label]);
    if (!st)
        st = play(m, &all, by_label);
    for (size_t i = 0; i < m->p->nlabels && !st; i++)
        st = series_end(&by_label[m->p->labels[i].label], files);
    if (!st)
        st = series_end(&all, files);
    m->ncaptures = all.number;
    for (size_t i = 0; i < m->tables->nlabels && by_label; i++)
        capture_series_abandon(&by_label[i]);
    capture_series_abandon(&all);
    memory_free(&by_label);
    return st;
}

/* ---- flows.csv: one line a flow, in the columns that ndencode reads as labels ---- */

/* A text as a CSV field: in quotes where it holds anything that a reader could take for structure (RFC 4180). */
static void put_field(FILE *to, const char *text) {
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, to);
        return;
    }
    fputc('"', to);
    for (; *text; text++) {
        if (*text == '"')
            fputc('"', to);
        fputc(*text, to);
    }
    fputc('"', to);
}

static void put_flow(FILE *to, const merging *m, const char *separator, uint64_t number, size_t label,
                     const item_flow *f) {
    const flow_key *key = &f->head.key;
    char text[2][IP_ADDRESS_TEXT], *name = capture_series_name("all", separator, m->ncaptures, m->capture[number]);
    for (unsigned side = 0; side < 2; side++)
        ip_address_format(key->addr[side], key->ipv6, text[side]);
    const char *proto = key->proto == PROTO_TCP      ? "tcp"
                        : key->proto == PROTO_UDP    ? "udp"
                        : key->proto == PROTO_ICMPV6 ? "icmp6"
                                                     : "icmp";
    fprintf(to, "%s,%llu,%s,%s,%u,%s,%u,", name, (unsigned long long)number, proto, text[0], key->port[0], text[1],
            key->port[1]);
    put_field(to, m->tables->label[label]);
    fputc(',', to);
    put_field(to, m->tables->macro[label]);
    fprintf(to, ",synthetic,%lld.%09lld,%zu\n", (long long)(f->start_ns / 1000000000),
            (long long)(f->start_ns % 1000000000), f->head.npackets);
    free(name);
}

static status flows_csv(merging *m) {
    file_writer w;
    item it = {0};
    char *path = text_format("%s/flows.csv", m->e->gen.dir);
    const char *separator = outputs_separator(m->tables, "all");
    status st = file_begin(&w, path);
    free(path);
    TRY(st);
    fprintf(w.stream, "file,flow,proto,src,sport,dst,dport,label,macro,run,start,packets\n");
    for (uint64_t batch = 0; batch < m->p->nbatches && !st; batch++) {
        uint64_t first;
        size_t n;
        const plan_label *l = plan_batch(m->p, batch, &first, &n);
        st = batch_read(m, batch, false, &it);
        for (size_t k = 0; k < n && !st; k++) {
            item_flow f;
            item_get_head(&it, k, &f);
            put_flow(w.stream, m, separator, first + k, l->label, &f);
        }
    }
    item_clear(&it);
    if (st) {
        file_abandon(&w);
        return st;
    }
    return file_commit(&w);
}

/* ---- All of it ---- */

static status captures_and_table(merging *m, text_list *files) {
    status st;
    uint64_t nflows = m->p->nflows;
    TRY_TO(done, NEW((size_t)nflows, &m->order));
    TRY_TO(done, NEW((size_t)nflows, &m->capture));
    TRY_TO(done, read_starts(m));
    qsort(m->order, (size_t)nflows, sizeof *m->order, started_order);
    TRY_TO(done, captures_write(m, files));
    st = flows_csv(m);
done:
    memory_free(&m->order);
    memory_free(&m->capture);
    return st;
}

/* Rank 0: is there a record of every batch? Then the outputs of before go. */
static status make_way(const merging *m, const item_index *index) {
    for (uint64_t batch = 0; batch < m->p->nbatches; batch++)
        if (index->place[batch].file == ITEM_NONE)
            return FAIL(ST_COMM, "nobody has made batch %llu", (unsigned long long)batch);
    return outputs_remove(m->e, m->tables);
}

status merge_run(const experiment *e, comm *c, const plan *p, const dataset_tables *tables, const char *parts,
                 item_index *index, const identity *id, repair_counts *repaired, text_list *files) {
    static const char *const others[] = {"dataset.h5", "raw.h5", "flows.csv"};
    merging m = {.e = e, .p = p, .tables = tables};
    int makes_datasets = comm_size(c) > 1; /* rank 1 if there is one */
    TRY(items_share(c, index));
    item_reader_open(&m.from, parts, index, id);
    status st = comm_agree(c, comm_rank(c) == 0 ? make_way(&m, index) : ST_OK);
    if (!st) {
        if (comm_rank(c) == makes_datasets)
            st = datasets_write(&m, comm_threads(c, e->threads), repaired);
        if (!st && comm_rank(c) == 0)
            st = captures_and_table(&m, files);
        st = comm_agree(c, st);
    }
    item_reader_close(&m.from);
    if (!st)
        st = comm_broadcast(c, repaired, sizeof *repaired, makes_datasets);
    for (size_t i = 0; i < sizeof others / sizeof *others && !st; i++)
        st = text_list_add(files, others[i]);
    return comm_agree(c, st);
}
