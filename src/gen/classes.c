/* What generation takes from the training flows of a class besides the model: lengths, shapes of conversations, gaps.
 *
 * A shape is a packet reduced to direction, payload class and four flags. "sampled" conversations come from a variable
 * order Markov chain: the next shape is drawn from the training rows that share as much context as possible (position
 * near the start, distance to the end, the two shapes before), so that the beginning and the end of a conversation look
 * like beginnings and ends. */
#include "gen/gen_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/memory.h"
#include "packet/layout.h"

enum { CLASS_FLOWS_MAX = 2000, NEAR_START = 8, NEAR_END = 4, SHAPE_NONE = 255 };

static shape shape_of(const packet *p) {
    unsigned flags = 0;
    if (packet_proto(p) == PROTO_TCP) {
        unsigned f = packet_l4(p)[13];
        flags = (f & TCP_SYN ? 1u : 0) | (f & TCP_FIN ? 2u : 0) | (f & TCP_RST ? 4u : 0) | (f & TCP_PSH ? 8u : 0);
    }
    return (shape)((control_size_class(packet_payload(p)) * 16 + flags) * 2 + p->dir);
}

void shape_to_control(shape s, float *control) {
    memset(control, 0, CONTROL_WIDTH * sizeof *control);
    control[CONTROL_EXISTS] = 1;
    control[CONTROL_DIR] = s & 1;
    control[CONTROL_SIZE + s / 32] = 1;
    for (unsigned bit = 0; bit < 4; bit++)
        control[CONTROL_FLAGS + bit] = (s / 2 >> bit) & 1;
}

status shape_parse(const char *text, const char *what, shape *shapes, size_t limit, size_t *n) {
    *n = 0;
    const char *p = text;
    for (;;) {
        p += strspn(p, " \t\n");
        if (*p == 0)
            break;
        const char *token = p;
        unsigned flags = 0, payload = 0, dir;
        for (; *p && strchr("SFRP.", *p); p++)
            flags |= *p == 'S' ? 1u : *p == 'F' ? 2u : *p == 'R' ? 4u : *p == 'P' ? 8u : 0;
        for (; *p >= '0' && *p <= '9' && payload < 65536; p++)
            payload = payload * 10 + (unsigned)(*p - '0');
        if ((*p != '>' && *p != '<') || payload > 65495)
            return FAIL(ST_USAGE, "%s: packet %zu: \"%.12s\" is not FLAGS SIZE DIRECTION, as in \"S>\" or \"P517<\"",
                        what, *n + 1, token);
        dir = *p++ == '<';
        if (*n == limit)
            return FAIL(ST_USAGE, "%s: more than the %zu packets of the model", what, limit);
        shapes[(*n)++] = (shape)((control_size_class(payload) * 16 + flags) * 2 + dir);
    }
    if (*n == 0)
        return FAIL(ST_USAGE, "%s: an empty conversation", what);
    return ST_OK;
}

static status class_add(class_info *k, const flow *f, size_t nrows) {
    size_t n = f->npackets < nrows ? f->npackets : nrows;
    TRY(memory_grow(&k->flows, &k->nflows_capacity, k->nflows + 1, sizeof *k->flows));
    TRY(memory_grow(&k->shapes, &k->nshapes_capacity, k->nshapes + n, sizeof *k->shapes));
    k->flows[k->nflows++] = (class_flow){.first = k->nshapes, .n = n, .cut = f->npackets > nrows};
    for (size_t i = 0; i < n; i++) {
        k->shapes[k->nshapes++] = shape_of(&f->packets[i]);
        if (i == 0)
            continue;
        unsigned pair = f->packets[i - 1].dir * 2u + f->packets[i].dir;
        int64_t gap = f->packets[i].time_ns - f->packets[i - 1].time_ns;
        TRY(memory_grow(&k->gaps[pair], &k->ngaps_capacity[pair], k->ngaps[pair] + 1, sizeof *k->gaps[pair]));
        k->gaps[pair][k->ngaps[pair]++] = gap < 1000 ? 1000 : gap;
    }
    return ST_OK;
}

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
        TRY_TO(fail, dataset_read(d, i, nrows + 1, &f));
        if (f.npackets)
            TRY_TO(fail, class_add(&c->info[head.label], &f, nrows));
    }
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
        for (unsigned j = 0; j < 4; j++)
            free(k->gaps[j]);
    }
    memory_free(&(*c)->info);
    memory_free(c);
}

/* Context of row i of a conversation: position near the start, distance near the end, the two shapes before. */
typedef struct context {
    unsigned position, to_end;
    shape before[2];
} context;

static context context_at(const shape *shapes, size_t i, size_t n, bool cut) {
    size_t left = cut ? NEAR_END : n - i;
    return (context){.position = i < NEAR_START ? (unsigned)i : NEAR_START,
                     .to_end = left < NEAR_END ? (unsigned)left : NEAR_END,
                     .before = {i > 0 ? shapes[i - 1] : SHAPE_NONE, i > 1 ? shapes[i - 2] : SHAPE_NONE}};
}

/* How many pieces of context agree, in the order in which they are given up: 0 = nothing in common. */
static unsigned context_match(const context *a, const context *b) {
    if (a->before[0] != b->before[0])
        return a->position == b->position;
    if (a->to_end != b->to_end)
        return 2;
    if (a->position != b->position)
        return 3;
    return a->before[1] != b->before[1] ? 4 : 5;
}

static shape draw_next(const class_info *k, const context *now, rng *r) {
    /* Reservoir sampling among the rows of the best match seen so far: one pass, no memory. */
    unsigned best = 0;
    uint32_t ties = 0;
    shape chosen = k->shapes[0];
    for (size_t f = 0; f < k->nflows; f++) {
        const class_flow *flow_rows = &k->flows[f];
        const shape *rows = k->shapes + flow_rows->first;
        for (size_t i = 0; i < flow_rows->n; i++) {
            context there = context_at(rows, i, flow_rows->n, flow_rows->cut);
            unsigned match = context_match(&there, now);
            if (match < best)
                continue;
            ties = match > best ? 1 : ties + 1;
            best = match;
            if (ties == 1 || rng_below(r, ties) == 0)
                chosen = rows[i];
        }
    }
    return chosen;
}

size_t classes_draw(const classes *c, size_t label, bool real, rng *r, shape *shapes, bool *cut) {
    const class_info *k = &c->info[label];
    const class_flow *like = &k->flows[rng_below(r, (uint32_t)k->nflows)];
    *cut = like->cut;
    for (size_t i = 0; i < like->n; i++) {
        context now = context_at(shapes, i, like->n, like->cut);
        shapes[i] = real ? k->shapes[like->first + i] : draw_next(k, &now, r);
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
