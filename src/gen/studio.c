/* The studio: models and memory, and how a batch of flows is made with them.
 *
 * A flow of n packets is sampled in windows of L rows that begin at 0, S, 2S, ... with S = L - context: each is given
 * the last rows of the one before. Window w of a batch holds those of its flows that reach it, in order. A batch is a
 * fixed set of flows, sampled by a session of one thread, and the noise of a window is a function of (seed, flow,
 * window), so its bytes depend on nothing but (seed, batch). */
#include "gen/gen_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "packet/payload.h"
#include "packet/repair.h"

/* ---- What all threads share ---- */

static status model_open(model **m, const char *folder, bool controlnet) {
    TRY(model_load(m, folder));
    char *path = text_format("%s/controlnet", folder);
    status st = controlnet && file_exists(path) ? model_load_controlnet(*m, folder) : ST_OK;
    free(path);
    return st;
}

static status embed_null(model *m, size_t width, float *out) {
    nn *s = NULL;
    TRY(nn_open(&s, &(nn_options){.threads = 1}));
    nn_begin(s, false);
    tensor *null_text = model_null_text(s, m);
    status st = nn_status(s);
    if (!st)
        memcpy(out, null_text->data, width * sizeof *out);
    nn_close(&s);
    return st;
}

void studio_close(studio *s) {
    model_free(&s->base);
    model_free(&s->tuned);
    memory_free(&s->text);
    memory_free(&s->null_text);
}

status studio_open(studio *s, const experiment *e, const plan *p, const classes *k, const dataset_tables *tables,
                   const char *folder) {
    status st;
    *s = (studio){.e = e, .p = p, .k = k, .tables = tables};
    TRY_TO(fail, model_open(&s->base, folder, e->gen.controlnet));
    for (size_t i = 0; i < p->nlabels && !s->tuned; i++) {
        if (!p->labels[i].lora)
            continue;
        char *path = text_format("%s/lora/pytorch_lora_weights.safetensors", folder);
        st = model_open(&s->tuned, folder, e->gen.controlnet);
        if (!st)
            st = model_load_lora(s->tuned, path, (float)e->gen.lora_scale);
        if (!st)
            st = model_merge_lora(s->tuned);
        free(path);
        TRY_TO(fail, st);
    }
    const model_config *shape_of_model = model_get_config(s->base);
    s->layout = model_layout(s->base);
    s->rows = shape_of_model->packets;
    s->context = shape_of_model->context;
    s->cells = shape_of_model->cells;
    s->text_width = model_text_width(s->base);
    TRY_TO(fail, NEW(tables->nlabels * s->text_width + 1, &s->text));
    TRY_TO(fail, NEW(s->text_width, &s->null_text));
    TRY_TO(fail, model_embed_text(s->base, tables->nlabels, (const char *const *)tables->prompt, s->text));
    TRY_TO(fail, embed_null(s->base, s->text_width, s->null_text));
    return ST_OK;
fail:
    studio_close(s);
    return st;
}

/* ---- What a thread owns ---- */

void batch_rows_close(batch_rows *b) {
    memory_free(&b->first);
    memory_free(&b->npackets);
    memory_free(&b->shapes);
    free(b->cells);
    free(b->soft);
    *b = (batch_rows){0};
}

status batch_rows_open(batch_rows *b, const studio *s) {
    size_t n = s->p->batch;
    *b = (batch_rows){0};
    TRY(NEW(n + 1, &b->first));
    TRY(NEW(n, &b->npackets));
    return NEW(n * s->k->nrows, &b->shapes);
}

void worker_close(worker *w) {
    nn_close(&w->session);
    memory_free(&w->member);
    memory_free(&w->cells);
    memory_free(&w->given);
    memory_free(&w->soft);
    memory_free(&w->control);
    memory_free(&w->text);
    memory_free(&w->nexist);
    memory_free(&w->rngs);
}

status worker_open(worker *w, const studio *s) {
    size_t n = s->p->batch;
    *w = (worker){0};
    TRY(nn_open(&w->session, &(nn_options){.threads = 1}));
    TRY(NEW(n, &w->member));
    TRY(NEW(n * s->rows * s->cells, &w->cells));
    TRY(NEW(n * s->context * s->cells, &w->given));
    TRY(NEW(n * s->rows * s->cells, &w->soft));
    TRY(NEW(n * s->rows * CONTROL_WIDTH, &w->control));
    TRY(NEW(n * s->text_width, &w->text));
    TRY(NEW(n, &w->nexist));
    return NEW(n, &w->rngs);
}

void finisher_open(finisher *f) {
    *f = (finisher){0};
    flow_init(&f->raw);
    flow_init(&f->clean);
}

void finisher_close(finisher *f) {
    flow_clear(&f->raw);
    flow_clear(&f->clean);
    free(f->votes);
    *f = (finisher){0};
}

/* ---- Sampling a batch ---- */

static bool is_shaped(const studio *s) {
    return strcmp(s->e->gen.control, "none") != 0;
}

/* Length and conversation of flow `number`, the kth of the batch. */
static void draw_conversation(const studio *s, batch_rows *b, const plan_label *l, uint64_t number, size_t k) {
    rng r = rng_make(s->p->seed, number, RNG_SHAPE);
    packet_shape *shapes = b->shapes + k * s->k->nrows;
    size_t n = l->ntemplate;
    if (n > 0) {
        memcpy(shapes, l->template_shapes, n * sizeof *shapes);
        b->npackets[k] = n;
    } else {
        bool real = strcmp(s->e->gen.control, "sampled") != 0;
        n = classes_draw(s->k, l->label, real, &r, shapes, &b->npackets[k]);
    }
    b->first[k + 1] = b->first[k] + n;
}

/* Put the kth flow of the batch into place `at` of the window that begins with its row `start`. */
static void set_window(const studio *s, worker *w, const batch_rows *b, const plan_label *l, size_t k, size_t at,
                       size_t start) {
    size_t kept = b->first[k + 1] - b->first[k], ngiven = start > 0 ? s->context : 0;
    control_window window = {.first = start, .nrows = s->rows, .ngiven = ngiven, .nflow = b->npackets[k], .kept = kept};
    w->member[at] = k;
    w->nexist[at] = kept - start < s->rows ? kept - start : s->rows;
    control_encode(is_shaped(s) ? b->shapes + k * s->k->nrows : NULL, &window,
                   w->control + at * s->rows * CONTROL_WIDTH);
    memcpy(w->text + at * s->text_width, s->text + l->label * s->text_width, s->text_width * sizeof *w->text);
    if (ngiven > 0)
        memcpy(w->given + at * ngiven * s->cells, b->cells + (b->first[k] + start) * s->cells, ngiven * s->cells);
}

/* New rows of a window -> the flow's rows. follow: whoever opens, closes or resets the connection in the conversation
 * that was asked for does so: one flag in a hundred rows is learnt late, and without it the flow never ends. */
static void keep_rows(const studio *s, const worker *w, batch_rows *b, size_t at, size_t start, size_t ngiven,
                      bool follow) {
    const packet_shape *shapes = b->shapes + w->member[at] * s->k->nrows + start;
    for (size_t i = ngiven; follow && i < w->nexist[at]; i++) {
        size_t row = (at * s->rows + i) * s->cells;
        s->layout->open_and_close(w->cells + row, w->soft + row, packet_shape_flags(shapes[i]));
    }
    size_t from = (at * s->rows + ngiven) * s->cells, n = (w->nexist[at] - ngiven) * s->cells;
    size_t to = (b->first[w->member[at]] + start + ngiven) * s->cells;
    memcpy(b->cells + to, w->cells + from, n);
    memcpy(b->soft + to, w->soft + from, n * sizeof *b->soft);
}

/* *more: some flow goes on after this window. */
static status sample_window(const studio *s, worker *w, batch_rows *b, const plan_label *l, uint64_t first,
                            size_t window, bool *more) {
    size_t n = 0, start = control_window_first(window, s->rows, s->context);
    model *m = l->lora ? s->tuned : s->base;
    *more = false;
    for (size_t k = 0; k < b->n; k++) {
        size_t nwindows = control_nwindows(b->first[k + 1] - b->first[k], s->rows, s->context);
        *more = *more || nwindows > window + 1;
        if (nwindows <= window)
            continue;
        set_window(s, w, b, l, k, n, start);
        w->rngs[n++] = rng_make(s->p->seed, (uint64_t)window << 48 | (first + k), RNG_SAMPLE);
    }
    sample_request request = {.n = n,
                              .first = start,
                              .ngiven = window > 0 ? s->context : 0,
                              .given = w->given,
                              .text = w->text,
                              .null_text = s->null_text,
                              .nexist = w->nexist,
                              .control = w->control,
                              .controlnet = is_shaped(s) && model_has_controlnet(m),
                              .sampler = (sampler_kind)s->e->gen.sampler,
                              .steps = (int)s->e->gen.steps,
                              .guidance = (float)s->e->gen.guidance,
                              .rngs = w->rngs};
    TRY(model_sample(w->session, m, &request, w->cells, w->soft));
    for (size_t at = 0; at < n; at++)
        keep_rows(s, w, b, at, start, request.ngiven, request.controlnet);
    return ST_OK;
}

status studio_sample(const studio *s, worker *w, uint64_t batch, batch_rows *b) {
    uint64_t first;
    b->batch = batch;
    const plan_label *l = plan_batch(s->p, batch, &first, &b->n);
    for (size_t k = 0; k < b->n; k++)
        draw_conversation(s, b, l, first + k, k);
    TRY(memory_grow(&b->cells, &b->cells_capacity, b->first[b->n], s->cells * sizeof *b->cells));
    TRY(memory_grow(&b->soft, &b->soft_capacity, b->first[b->n], s->cells * sizeof *b->soft));
    bool more = true;
    for (size_t window = 0; more; window++)
        TRY(sample_window(s, w, b, l, first, window, &more));
    return ST_OK;
}

/* ---- From rows to a flow ---- */

static void draw_gaps(const studio *s, size_t label, uint64_t number, flow *f) {
    rng r = rng_make(s->p->seed, number, RNG_GAP);
    for (size_t i = 1; i < f->npackets; i++)
        f->packets[i].time_ns =
            f->packets[i - 1].time_ns + classes_gap(s->k, label, f->packets[i - 1].dir, f->packets[i].dir, &r);
}

static void set_port(flow *f, unsigned side, uint16_t port) {
    for (size_t i = 0; i < f->npackets; i++) {
        packet *p = &f->packets[i];
        uint8_t *l4 = p->header + packet_ip_nheader(p);
        bool none = packet_proto(p) == PROTO_UDP && get16(l4 + 6) == 0;
        if (packet_proto(p) != PROTO_TCP && packet_proto(p) != PROTO_UDP)
            continue;
        put16(l4 + (p->dir == side ? 0 : 2), port);
        checksum_fill(p, none);
    }
    f->key.port[side] = port;
}

status studio_copy(flow *to, const flow *from) {
    to->npackets = 0;
    for (size_t i = 0; i < from->npackets; i++)
        TRY(flow_add(to, &from->packets[i]));
    to->key = from->key;
    to->label = from->label;
    to->file = from->file;
    to->run = from->run;
    return ST_OK;
}

static status decode(const studio *s, finisher *f, const batch_rows *b, const flow_plan *initial, size_t k) {
    size_t at = b->first[k] * s->cells, n = b->first[k + 1] - b->first[k];
    TRY(memory_grow(&f->votes, &f->votes_capacity, n, sizeof *f->votes));
    return s->layout->decode(b->cells + at, b->soft + at, n, initial, &f->raw, f->votes);
}

status studio_finish(const studio *s, finisher *f, const batch_rows *b, uint64_t number, size_t k) {
    const plan_label *l = plan_flow(s->p, number);
    flow_plan initial = {0};
    plan_initial(s->p, number, &initial);
    TRY(decode(s, f, b, &initial, k));
    bool has_ports = f->raw.key.proto == PROTO_TCP || f->raw.key.proto == PROTO_UDP;
    flow_ports ports = {.client = 0};
    if (has_ports) {
        rng r = rng_make(s->p->seed, number, RNG_PORT);
        ports = ports_settle(s->k, l->label, &f->raw.key, &r);
    }
    if (ports.client == 1) { /* the first sender is the service */
        uint32_t client = initial.addr[0];
        ip_address client6 = initial.addr6[0];
        initial.addr[0] = initial.addr[1];
        initial.addr[1] = client;
        initial.addr6[0] = initial.addr6[1];
        initial.addr6[1] = client6;
        TRY(decode(s, f, b, &initial, k));
    }
    for (unsigned side = 0; has_ports && side < 2; side++)
        set_port(&f->raw, side, ports.port[side]);
    if (s->e->gen.gaps == GAP_CLASS)
        draw_gaps(s, l->label, number, &f->raw);
    if (s->layout == &layout_relative) { /* raw bits have no numbers that could be sent again */
        rng r = rng_make(s->p->seed, number, RNG_LOSS);
        TRY(losses_add(&s->k->info[l->label].losses, &r, &f->raw, &f->votes, &f->votes_capacity));
        if (f->raw.npackets > s->k->nrows) /* longer by what was sent again: cut as the training flows are */
            f->raw.npackets = s->k->nrows;
        checksum_fill_flow(&f->raw); /* right by construction */
    }
    f->raw.label = (int32_t)l->label;
    f->raw.file = 0;
    f->raw.run = 0;
    for (size_t i = 0; i < f->raw.npackets; i++)
        f->raw.packets[i].frame = (uint32_t)i; /* pairs a packet with its repaired self, even if others are dropped */
    TRY(studio_copy(&f->clean, &f->raw));
    f->repaired = (repair_counts){.flows = 0};
    if (s->e->gen.repair)
        TRY(repair_flow(&f->clean, f->votes, &f->repaired));
    if (f->clean.npackets == 0)
        return FAIL(ST_RANGE, "flow %llu: nothing was left of it", (unsigned long long)number);
    return ST_OK;
}
