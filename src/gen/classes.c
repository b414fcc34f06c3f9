/* What generation takes from the training flows of a class besides the model: lengths, shapes of conversations, gaps.
 *
 * Conversations are drawn whole, however many windows the model then makes of them: the length is that of a training
 * flow, up to data.max_packets. A shape is a packet reduced to direction, payload class and four flags. "sampled" ones
 * come from a variable order Markov chain: the next shape is drawn from the training rows that share as much context as
 * possible (who has closed, position near the start, distance to the end, the two shapes before), so that the beginning
 * and the end of a conversation look like beginnings and ends. */
#include "gen/gen_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/memory.h"

enum { CLASS_FLOWS_MAX = 2000, NEAR_START = 8, NEAR_END = 12, SHAPE_NONE = 255 };

status shape_parse(const char *text, const char *what, packet_shape *shapes, size_t limit, size_t *n) {
    *n = 0;
    const char *p = text;
    for (;;) {
        p += strspn(p, " \t\n");
        if (*p == 0)
            break;
        const char *token = p;
        unsigned flags = 0, payload = 0;
        for (; *p && strchr("SFRP.", *p); p++)
            flags |= *p == 'S' ? TCP_SYN : *p == 'F' ? TCP_FIN : *p == 'R' ? TCP_RST : *p == 'P' ? TCP_PSH : 0u;
        for (; *p >= '0' && *p <= '9' && payload < 65536; p++)
            payload = payload * 10 + (unsigned)(*p - '0');
        if ((*p != '>' && *p != '<') || payload > 65495)
            return FAIL(ST_USAGE, "%s: packet %zu: \"%.12s\" is not FLAGS SIZE DIRECTION, as in \"S>\" or \"P517<\"",
                        what, *n + 1, token);
        if (*n == limit)
            return FAIL(ST_USAGE, "%s: more than the %zu packets of data.max_packets", what, limit);
        shapes[(*n)++] = packet_shape_make(*p++ == '<', payload, flags);
    }
    if (*n == 0)
        return FAIL(ST_USAGE, "%s: an empty conversation", what);
    return ST_OK;
}

static void client_add(class_service *s, uint16_t client) {
    s->nflows++;
    if (s->lead == 0)
        s->client = client;
    if (s->client == client)
        s->lead++;
    else
        s->lead--;
}

static void service_add(class_info *k, const flow_key *key) {
    bool second = key->port[1] < key->port[0];
    uint16_t port = key->port[second], client = key->port[!second];
    if ((key->proto != PROTO_TCP && key->proto != PROTO_UDP) || k->nservices > CLASS_SERVICES)
        return;
    for (size_t i = 0; i < k->nservices; i++) {
        class_service *s = &k->services[i];
        if (s->proto == key->proto && s->port == port) {
            client_add(s, client);
            return;
        }
    }
    if (k->nservices < CLASS_SERVICES) {
        k->services[k->nservices] = (class_service){.proto = key->proto, .port = port};
        client_add(&k->services[k->nservices], client);
    }
    k->nservices++;
}

uint16_t classes_service(const classes *c, size_t label, unsigned proto, uint16_t chosen) {
    const class_info *k = &c->info[label];
    const class_service *best = NULL;
    for (size_t i = 0; i < k->nservices && k->nservices <= CLASS_SERVICES; i++) {
        const class_service *s = &k->services[i];
        if (s->proto != proto)
            continue;
        int differs = __builtin_popcount((unsigned)s->port ^ chosen);
        int least = best != NULL ? __builtin_popcount((unsigned)best->port ^ chosen) : 17;
        if (differs < least || (differs == least && s->nflows > best->nflows))
            best = s;
    }
    return best != NULL ? best->port : chosen;
}

uint16_t classes_client(const classes *c, size_t label, unsigned proto, uint16_t service) {
    enum { FLOWS_LEAST = 3, EPHEMERAL = 32768 }; /* from there on an operating system chose it, and for one host */
    const class_info *k = &c->info[label];
    for (size_t i = 0; i < k->nservices && k->nservices <= CLASS_SERVICES; i++) {
        const class_service *s = &k->services[i];
        if (s->proto == proto && s->port == service)
            return s->nflows >= FLOWS_LEAST && s->lead * 10 >= s->nflows * 9 && s->client < EPHEMERAL ? s->client : 0;
    }
    return 0;
}

/* At least a microsecond, at most a day, whatever times a dataset holds. */
static int64_t gap_between(int64_t before, int64_t time) {
    enum { LEAST_NS = 1000 };
    static const uint64_t most_ns = UINT64_C(86400000000000);
    uint64_t gap = time > before ? (uint64_t)time - (uint64_t)before : 0; /* of any two times it fits */
    return gap < LEAST_NS ? LEAST_NS : (int64_t)(gap < most_ns ? gap : most_ns);
}

/* f: the first packets of a flow of npackets. */
static status class_add(class_info *k, const flow *f, size_t npackets) {
    size_t n = f->npackets;
    service_add(k, &f->key);
    losses_count(&k->losses, f);
    TRY(memory_grow(&k->flows, &k->nflows_capacity, k->nflows + 1, sizeof *k->flows));
    TRY(memory_grow(&k->shapes, &k->nshapes_capacity, k->nshapes + n, sizeof *k->shapes));
    k->flows[k->nflows++] = (class_flow){.first = k->nshapes, .n = n, .npackets = npackets};
    for (size_t i = 0; i < n; i++) {
        k->shapes[k->nshapes++] = packet_shape_of(&f->packets[i]);
        if (i == 0)
            continue;
        unsigned pair = f->packets[i - 1].dir * 2u + f->packets[i].dir;
        int64_t gap = gap_between(f->packets[i - 1].time_ns, f->packets[i].time_ns);
        TRY(memory_grow(&k->gaps[pair], &k->ngaps_capacity[pair], k->ngaps[pair] + 1, sizeof *k->gaps[pair]));
        k->gaps[pair][k->ngaps[pair]++] = gap;
    }
    return ST_OK;
}

/* ---- The chain ---- */

/* The context of row i of a conversation of npackets: the shape before, distance near the end, which sides have closed
 * the connection, position near the start, the shape before that. In the order in which they are given up, the last
 * first, each in its own bits; whatever the first `bits` of two contexts have in common they share. Without the sides
 * that have closed, and with a distance of 4, a third of the conversations lost their FIN: its place varies. */
enum { CONTEXT_BITS = 26 };
static const unsigned context_prefixes[] = {26, 18, 14, 12, 8}; /* all; without the second shape; ... */

static uint32_t context_position(size_t i) {
    return i < NEAR_START ? (uint32_t)i : NEAR_START;
}

/* closed: bit 0 and 1, of the rows before i. */
static uint32_t context_at(const packet_shape *shapes, size_t i, size_t npackets, uint32_t closed) {
    size_t left = npackets - i;
    uint32_t before = i > 0 ? shapes[i - 1] : SHAPE_NONE, second = i > 1 ? shapes[i - 2] : SHAPE_NONE;
    return before << 18 | (uint32_t)(left < NEAR_END ? left : NEAR_END) << 14 | closed << 12 |
           context_position(i) << 8 | second;
}

static uint32_t close_side(uint32_t closed, packet_shape s) {
    return closed | (packet_shape_closes(s) ? 1u << (s & 1) : 0);
}

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* All rows of the class by what came before them. */
static status class_index(class_info *k) {
    TRY(NEW(k->nshapes, &k->by_context));
    TRY(NEW(k->nshapes, &k->by_position));
    for (size_t f = 0; f < k->nflows; f++) {
        const class_flow *rows = &k->flows[f];
        const packet_shape *shapes = k->shapes + rows->first;
        uint32_t closed = 0;
        for (size_t i = 0; i < rows->n; i++) {
            size_t row = rows->first + i;
            k->by_context[row] = (uint64_t)context_at(shapes, i, rows->npackets, closed) << 32 | row;
            closed = close_side(closed, shapes[i]);
            k->by_position[row] = (uint64_t)context_position(i) << 32 | row;
        }
    }
    qsort(k->by_context, k->nshapes, sizeof *k->by_context, by_number);
    qsort(k->by_position, k->nshapes, sizeof *k->by_position, by_number);
    return ST_OK;
}

/* How many of the n sorted numbers are below `bound`. */
static size_t count_below(const uint64_t *sorted, size_t n, uint64_t bound) {
    size_t low = 0;
    while (n > 0) {
        size_t half = n / 2;
        if (sorted[low + half] < bound) {
            low += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return low;
}

/* One of the rows whose key is from `key` to `key` + span - 1, if there are any. */
static bool draw_among(const class_info *k, const uint64_t *sorted, uint64_t key, uint64_t span, rng *r,
                       packet_shape *drawn) {
    size_t first = count_below(sorted, k->nshapes, key << 32),
           end = count_below(sorted, k->nshapes, (key + span) << 32);
    if (first == end)
        return false;
    *drawn = k->shapes[(uint32_t)sorted[first + rng_below(r, (uint32_t)(end - first))]];
    return true;
}

/* The shape of a training row that shares as much of the context as any does. */
static packet_shape draw_next(const class_info *k, uint32_t context, size_t i, rng *r) {
    packet_shape drawn;
    for (size_t p = 0; p < sizeof context_prefixes / sizeof *context_prefixes; p++) {
        unsigned open = CONTEXT_BITS - context_prefixes[p];
        if (draw_among(k, k->by_context, (uint64_t)(context >> open) << open, UINT64_C(1) << open, r, &drawn))
            return drawn;
    }
    if (draw_among(k, k->by_position, context_position(i), 1, r, &drawn))
        return drawn;
    return k->shapes[rng_below(r, (uint32_t)k->nshapes)];
}

/* ---- Reading ---- */

/* A run that does not exist would hold nothing out, without a word. */
static status holdout_known(const text_list *holdout, const dataset_tables *t) {
    for (size_t i = 0; i < holdout->n; i++) {
        size_t run = 0;
        while (run < t->nruns && strcmp(t->run[run], holdout->item[i]) != 0)
            run++;
        if (run == t->nruns)
            return FAIL(ST_USAGE, "data.holdout: the dataset has no run \"%s\"", holdout->item[i]);
    }
    return ST_OK;
}

status classes_open(classes **out, const char *dataset_path, const experiment *e, size_t nrows) {
    status st;
    classes *c = NULL;
    dataset *d = NULL;
    flow f;
    flow_init(&f);
    TRY_TO(fail, NEW(1, &c));
    TRY_TO(fail, dataset_open(&d, dataset_path));
    const dataset_tables *t = dataset_get_tables(d);
    c->nlabels = t->nlabels;
    c->nrows = nrows;
    TRY_TO(fail, holdout_known(&e->data.holdout, t));
    TRY_TO(fail, NEW(c->nlabels ? c->nlabels : 1, &c->info));
    for (size_t i = 0; i < dataset_nflows(d); i++) {
        flow head;
        dataset_flow_info(d, i, &head);
        if (head.label < 0 || (head.run >= 0 && text_list_has(&e->data.holdout, t->run[head.run])) ||
            c->info[head.label].nflows == CLASS_FLOWS_MAX)
            continue;
        TRY_TO(fail, dataset_read(d, i, nrows, &f));
        if (f.npackets)
            TRY_TO(fail, class_add(&c->info[head.label], &f, head.npackets));
    }
    for (size_t i = 0; i < c->nlabels; i++)
        TRY_TO(fail, class_index(&c->info[i]));
    flow_clear(&f);
    dataset_close(&d);
    *out = c;
    return ST_OK;
fail:
    flow_clear(&f);
    dataset_close(&d);
    classes_close(&c);
    return st;
}

void classes_close(classes **c) {
    if (!*c)
        return;
    for (size_t i = 0; i < (*c)->nlabels && (*c)->info; i++) {
        class_info *k = &(*c)->info[i];
        free(k->flows);
        free(k->shapes);
        memory_free(&k->by_context);
        memory_free(&k->by_position);
        for (unsigned j = 0; j < 4; j++)
            free(k->gaps[j]);
    }
    memory_free(&(*c)->info);
    memory_free(c);
}

/* ---- Drawing ---- */

size_t classes_draw(const classes *c, size_t label, bool real, rng *r, packet_shape *shapes, size_t *npackets) {
    const class_info *k = &c->info[label];
    const class_flow *like = &k->flows[rng_below(r, (uint32_t)k->nflows)];
    *npackets = like->npackets;
    uint32_t closed = 0;
    for (size_t i = 0; i < like->n; i++) {
        uint32_t context = context_at(shapes, i, like->npackets, closed);
        shapes[i] = real ? k->shapes[like->first + i] : draw_next(k, context, i, r);
        closed = close_side(closed, shapes[i]);
    }
    return like->n;
}

int64_t classes_gap(const classes *c, size_t label, unsigned dir_before, unsigned dir, rng *r) {
    const class_info *k = &c->info[label];
    for (unsigned turn = 0; turn < 4; turn++) {
        unsigned pair = (dir_before * 2 + dir) ^ turn; /* the pair itself first, then its neighbours */
        if (k->ngaps[pair])
            return k->gaps[pair][rng_below(r, (uint32_t)k->ngaps[pair])];
    }
    return 1000000;
}
