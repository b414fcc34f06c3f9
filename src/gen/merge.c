/* Merge: the ranks' parts become one dataset in the order of flow numbers (and one of the flows as decoded, before
 * repair), one capture per label and one of all in time order, and a table of flows that ndencode reads as labels.
 *
 * Streaming: of the parts only flow heads are in memory, of the captures only the flows that are active at one time. */
#include "gen/gen_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/capture.h"
#include "packet/payload.h"

/* Where flow `number` lies: part and index in it. */
typedef struct place {
    uint32_t part;
    uint64_t index;
} place;

static status places_find(uint64_t nflows, size_t nparts, const fanout_part *parts, place *places) {
    uint64_t found = 0;
    for (uint64_t i = 0; i < nflows; i++)
        places[i].part = UINT32_MAX;
    for (size_t part = 0; part < nparts; part++) {
        for (size_t i = 0; i < parts[part].n; i++) {
            uint64_t number = parts[part].numbers[i];
            if (number >= nflows || places[number].part != UINT32_MAX)
                return FAIL(ST_COMM, "part %zu names flow %llu, which is unknown or there twice", part,
                            (unsigned long long)number);
            places[number] = (place){.part = (uint32_t)part, .index = i};
            found++;
        }
    }
    if (found != nflows)
        return FAIL(ST_COMM, "the parts hold %llu flows of %llu", (unsigned long long)found,
                    (unsigned long long)nflows);
    return ST_OK;
}

/* Join one kind of part (repaired or raw) into path. starts (nflows): time of each flow's first packet. */
static status join(uint64_t nflows, size_t nparts, const fanout_part *parts, bool raw, const place *places,
                   const dataset_tables *tables, int compress, const char *path, int64_t *starts) {
    status st = ST_OK;
    dataset **in = NULL, *out = NULL;
    flow f;
    flow_init(&f);
    TRY(NEW(nparts, &in));
    for (size_t i = 0; i < nparts && !st; i++)
        st = dataset_open(&in[i], raw ? parts[i].raw : parts[i].clean);
    if (!st)
        st = dataset_create(&out, path, tables, compress);
    for (uint64_t number = 0; number < nflows && !st; number++) {
        st = dataset_read(in[places[number].part], (size_t)places[number].index, 0, &f);
        if (!st)
            st = dataset_append(out, &f);
        if (!st)
            starts[number] = f.npackets ? f.packets[0].time_ns : 0;
    }
    if (!st)
        st = dataset_commit(&out);
    dataset_abandon(&out);
    for (size_t i = 0; i < nparts; i++)
        dataset_close(&in[i]);
    memory_free(&in);
    flow_clear(&f);
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

typedef struct started {
    int64_t time_ns;
    uint64_t number;
} started;

static int started_order(const void *a, const void *b) {
    const started *x = a, *y = b;
    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Write every packet of the dataset, in time order, to the capture of all and to its label's. readers: the dataset,
 * opened once for each label, since the flows of one label come in rising order and a reader is quick for that. */
static status play(const experiment *e, const plan *p, dataset **readers, const started *order, capture_writer *all,
                   capture_writer **by_label) {
    bool truncate = e->gen.payload == PAYLOAD_TRUNCATE;
    uint8_t payload[PAYLOAD_MAX];
    uint64_t nflows = p->nflows, opened = 0;
    heap h = {0};
    status st = ST_OK;
    while (!st && (opened < nflows || h.n)) {
        if (opened < nflows && (h.n == 0 || order[opened].time_ns <= h.item[0].time_ns)) {
            active a = {.time_ns = order[opened].time_ns, .number = order[opened].number};
            flow_init(&a.f);
            st = dataset_read(readers[plan_flow(p, a.number) - p->labels], (size_t)a.number, 0, &a.f);
            if (!st)
                st = heap_push(&h, &a);
            if (st)
                flow_clear(&a.f);
            opened++;
            continue;
        }
        active *a = &h.item[0];
        const packet *next = &a->f.packets[a->next];
        if (!truncate)
            payload_make(&a->f, a->next, payload, packet_payload(next));
        st = capture_write_payload(all, next, payload, truncate);
        if (!st)
            st = capture_write_payload(by_label[a->f.label], next, payload, truncate);
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
    return st;
}

static char *label_capture(const char *folder, const char *label) {
    char *name = file_label_name(label), *path = text_format("%s/%s.pcap", folder, name);
    free(name);
    return path;
}

/* Outputs of an earlier run go before the first new one comes, so that the folder never holds a mixture. */
static status outputs_remove(const dataset_tables *tables, const char *folder) {
    static const char *const names[] = {"dataset.h5", "raw.h5", "flows.csv", "config.yaml", "all.pcap"};
    size_t nnames = sizeof names / sizeof *names;
    for (size_t i = 0; i < nnames + tables->nlabels; i++) {
        char *path =
            i < nnames ? text_format("%s/%s", folder, names[i]) : label_capture(folder, tables->label[i - nnames]);
        bool failed = unlink(path) != 0 && errno != ENOENT;
        status st = failed ? FAIL(ST_IO, "%s: cannot be replaced: %s", path, strerror(errno)) : ST_OK;
        free(path);
        TRY(st);
    }
    return ST_OK;
}

static status captures_write(const experiment *e, const plan *p, const dataset_tables *tables, const char *clean,
                             const started *order, const char *folder) {
    int link_type = e->gen.link == LINK_RAW ? 101 : 1;
    capture_writer *all = NULL, **by_label = NULL;
    dataset **readers = NULL;
    char *path = text_format("%s/all.pcap", folder);
    status st = NEW(tables->nlabels, &by_label);
    if (!st)
        st = NEW(p->nlabels, &readers);
    if (!st)
        st = capture_create(&all, path, link_type, 262144);
    free(path);
    for (size_t i = 0; i < p->nlabels && !st; i++) {
        st = dataset_open(&readers[i], clean);
        if (st)
            break;
        path = label_capture(folder, tables->label[p->labels[i].label]);
        st = capture_create(&by_label[p->labels[i].label], path, link_type, 262144);
        free(path);
    }
    if (!st)
        st = play(e, p, readers, order, all, by_label);
    for (size_t i = 0; i < p->nlabels && readers; i++)
        dataset_close(&readers[i]);
    memory_free(&readers);
    for (size_t i = 0; i < tables->nlabels && by_label; i++) {
        if (!st && by_label[i])
            st = capture_commit(&by_label[i]);
        capture_abandon(&by_label[i]);
    }
    if (!st)
        st = capture_commit(&all);
    capture_abandon(&all);
    memory_free(&by_label);
    return st;
}

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

/* flows.csv: one line a flow, in the columns that ndencode reads as labels. */
static status flows_csv(const dataset *d, const dataset_tables *tables, const int64_t *starts, const char *folder) {
    file_writer w;
    char *path = text_format("%s/flows.csv", folder);
    status st = file_begin(&w, path);
    free(path);
    TRY(st);
    fprintf(w.stream, "file,flow,proto,src,sport,dst,dport,label,macro,run,start,packets\n");
    for (size_t i = 0; i < dataset_nflows(d); i++) {
        flow f;
        char text[2][IP_ADDRESS_TEXT];
        dataset_flow_info(d, i, &f);
        for (unsigned side = 0; side < 2; side++)
            ip_address_format(f.key.addr[side], f.key.ipv6, text[side]);
        const char *proto = f.key.proto == PROTO_TCP      ? "tcp"
                            : f.key.proto == PROTO_UDP    ? "udp"
                            : f.key.proto == PROTO_ICMPV6 ? "icmp6"
                                                          : "icmp";
        fprintf(w.stream, "all.pcap,%zu,%s,%s,%u,%s,%u,", i, proto, text[0], f.key.port[0], text[1], f.key.port[1]);
        put_field(w.stream, tables->label[f.label]);
        fputc(',', w.stream);
        put_field(w.stream, tables->macro[f.label]);
        fprintf(w.stream, ",synthetic,%lld.%09lld,%zu\n", (long long)(starts[i] / 1000000000),
                (long long)(starts[i] % 1000000000), f.npackets);
    }
    return file_commit(&w);
}

status merge_run(const experiment *e, const plan *p, const dataset_tables *tables, size_t nparts,
                 const fanout_part *parts, const char *folder) {
    status st;
    place *places = NULL;
    int64_t *starts = NULL;
    started *order = NULL;
    dataset *d = NULL;
    char *clean = text_format("%s/dataset.h5", folder), *raw = text_format("%s/raw.h5", folder);
    int compress = (int)e->encode.compress;
    TRY_TO(done, NEW(p->nflows, &places));
    TRY_TO(done, NEW(p->nflows, &starts));
    TRY_TO(done, NEW(p->nflows, &order));
    TRY_TO(done, places_find(p->nflows, nparts, parts, places));
    TRY_TO(done, outputs_remove(tables, folder));
    TRY_TO(done, join(p->nflows, nparts, parts, true, places, tables, compress, raw, starts));
    TRY_TO(done, join(p->nflows, nparts, parts, false, places, tables, compress, clean, starts));
    for (uint64_t i = 0; i < p->nflows; i++)
        order[i] = (started){.time_ns = starts[i], .number = i};
    qsort(order, p->nflows, sizeof *order, started_order);
    TRY_TO(done, dataset_open(&d, clean));
    TRY_TO(done, captures_write(e, p, tables, clean, order, folder));
    st = flows_csv(d, tables, starts, folder);
done:
    dataset_close(&d);
    memory_free(&places);
    memory_free(&starts);
    memory_free(&order);
    free(clean);
    free(raw);
    return st;
}
