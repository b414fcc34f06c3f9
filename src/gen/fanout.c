/* Fan-out: batches are handed to whichever rank and thread is free; each flow is sampled, decoded, repaired and written
 * to the rank's part at once.
 *
 * A batch is a fixed set of flows, sampled by a session of one thread, so its bytes depend on nothing but (seed,
 * batch). */
#include "gen/gen_priv.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/stop.h"
#include "packet/repair.h"

/* What all threads of a rank share, read-only while they run. */
typedef struct studio {
    const experiment *e;
    const plan *p;
    const classes *k;
    const dataset_tables *tables;
    model *base, *tuned; /* tuned: with the LoRA folded in, NULL where no label needs it */
    const layout *layout;
    size_t rows, cells, text_width;
    float *text;      /* (labels of the dataset, text_width); the encoder is the same with and without LoRA */
    float *null_text; /* (text_width) */
} studio;

/* What a thread owns. */
typedef struct worker {
    nn *session;
    int8_t *cells;
    float *control, *text;
    size_t *nexist;
    rng *rngs;
    flow raw, clean;
    repair_counts repaired; /* of the latest flow */
} worker;

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

static void studio_close(studio *s) {
    model_free(&s->base);
    model_free(&s->tuned);
    memory_free(&s->text);
    memory_free(&s->null_text);
}

static status studio_open(studio *s, const experiment *e, const plan *p, const classes *k, const dataset_tables *tables,
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

static void worker_close(worker *w) {
    nn_close(&w->session);
    memory_free(&w->cells);
    memory_free(&w->control);
    memory_free(&w->text);
    memory_free(&w->nexist);
    memory_free(&w->rngs);
    flow_clear(&w->raw);
    flow_clear(&w->clean);
}

static status worker_open(worker *w, const studio *s) {
    size_t n = s->p->batch;
    *w = (worker){0};
    flow_init(&w->raw);
    flow_init(&w->clean);
    TRY(nn_open(&w->session, &(nn_options){.threads = 1}));
    TRY(NEW(n * s->rows * s->cells, &w->cells));
    TRY(NEW(n * s->rows * CONTROL_WIDTH, &w->control));
    TRY(NEW(n * s->text_width, &w->text));
    TRY(NEW(n, &w->nexist));
    return NEW(n, &w->rngs);
}

/* Length and control signal of flow `number`, row k of the batch. */
static void draw_control(const studio *s, worker *w, const plan_label *l, uint64_t number, size_t k, shape *shapes) {
    rng r = rng_make(s->p->seed, number, RNG_SHAPE);
    float *control = w->control + k * s->rows * CONTROL_WIDTH;
    bool shaped = strcmp(s->e->gen.control, "none") != 0, cut = false;
    const shape *rows = shapes;
    if (l->ntemplate) {
        w->nexist[k] = l->ntemplate;
        rows = l->template_shapes;
    } else {
        w->nexist[k] = classes_draw(s->k, l->label, strcmp(s->e->gen.control, "sampled") != 0, &r, shapes, &cut);
    }
    memset(control, 0, s->rows * CONTROL_WIDTH * sizeof *control);
    for (size_t i = 0; i < w->nexist[k]; i++) {
        if (shaped)
            shape_to_control(rows[i], control + i * CONTROL_WIDTH);
        else
            control[i * CONTROL_WIDTH + CONTROL_EXISTS] = 1;
    }
}

/* Sample the flows first .. first+n-1 of label l into w->cells. */
static status sample_batch(const studio *s, worker *w, const plan_label *l, uint64_t first, size_t n) {
    model *m = l->lora ? s->tuned : s->base;
    shape *shapes = NULL;
    TRY(NEW(s->rows, &shapes));
    for (size_t k = 0; k < n; k++) {
        draw_control(s, w, l, first + k, k, shapes);
        w->rngs[k] = rng_make(s->p->seed, first + k, RNG_SAMPLE);
        memcpy(w->text + k * s->text_width, s->text + l->label * s->text_width, s->text_width * sizeof *w->text);
    }
    memory_free(&shapes);
    bool shaped = strcmp(s->e->gen.control, "none") != 0;
    sample_request request = {.n = n,
                              .text = w->text,
                              .null_text = s->null_text,
                              .nexist = w->nexist,
                              .control = w->control,
                              .controlnet = shaped && model_has_controlnet(m),
                              .sampler = (sampler_kind)s->e->gen.sampler,
                              .steps = (int)s->e->gen.steps,
                              .guidance = (float)s->e->gen.guidance,
                              .rngs = w->rngs};
    return model_sample(w->session, m, &request, w->cells, NULL);
}

static void draw_gaps(const studio *s, size_t label, uint64_t number, flow *f) {
    rng r = rng_make(s->p->seed, number, RNG_GAP);
    for (size_t i = 1; i < f->npackets; i++)
        f->packets[i].time_ns =
            f->packets[i - 1].time_ns + classes_gap(s->k, label, f->packets[i - 1].dir, f->packets[i].dir, &r);
}

static status flow_copy(flow *to, const flow *from) {
    to->npackets = 0;
    for (size_t i = 0; i < from->npackets; i++)
        TRY(flow_add(to, &from->packets[i]));
    to->key = from->key;
    to->label = from->label;
    to->file = from->file;
    to->run = from->run;
    return ST_OK;
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

/* A client's port says nothing about its class but much about the client, and the model has seen those of the training
 * flows: keep the block of 4096 ports that it chose, and draw the port within. The service, the lower port, stays. */
static void draw_client_port(const studio *s, uint64_t number, flow *f) {
    rng r = rng_make(s->p->seed, number, RNG_PORT);
    unsigned client = f->key.port[0] < f->key.port[1];
    uint16_t service = f->key.port[!client], chosen = f->key.port[client];
    for (unsigned tries = 0; tries < 16; tries++) {
        uint16_t port = (uint16_t)((chosen & 0xf000) | rng_below(&r, 4096));
        if (port >= 1024 && port > service) {
            set_port(f, client, port);
            return;
        }
    }
}

/* Rows of one flow -> w->raw (as decoded) and w->clean (repaired). */
static status finish_flow(const studio *s, worker *w, const plan_label *l, uint64_t number, size_t k) {
    const int8_t *cells = w->cells + k * s->rows * s->cells;
    flow_plan initial;
    plan_initial(s->p, number, &initial);
    TRY(s->layout->decode(cells, NULL, w->nexist[k], &initial, &w->raw, NULL));
    bool ports = w->raw.key.proto == PROTO_TCP || w->raw.key.proto == PROTO_UDP;
    if (ports && w->raw.key.port[0] < w->raw.key.port[1]) { /* the first sender is the service */
        uint32_t client = initial.addr[0];
        initial.addr[0] = initial.addr[1];
        initial.addr[1] = client;
        TRY(s->layout->decode(cells, NULL, w->nexist[k], &initial, &w->raw, NULL));
    }
    if (ports)
        draw_client_port(s, number, &w->raw);
    if (s->e->gen.gaps == GAP_CLASS)
        draw_gaps(s, l->label, number, &w->raw);
    w->raw.label = (int32_t)l->label;
    w->raw.file = 0;
    w->raw.run = 0;
    for (size_t i = 0; i < w->raw.npackets; i++)
        w->raw.packets[i].frame = (uint32_t)i; /* pairs a packet with its repaired self, even if others are dropped */
    TRY(flow_copy(&w->clean, &w->raw));
    w->repaired = (repair_counts){.flows = 0};
    if (s->e->gen.repair)
        TRY(repair_flow(&w->clean, NULL, &w->repaired));
    if (w->clean.npackets == 0)
        return FAIL(ST_RANGE, "flow %llu: nothing was left of it", (unsigned long long)number);
    return ST_OK;
}

static status write_batch(const studio *s, worker *w, uint64_t batch, dataset *clean, dataset *raw, fanout_part *part) {
    uint64_t first;
    size_t n;
    const plan_label *l = plan_batch(s->p, batch, &first, &n);
    TRY(sample_batch(s, w, l, first, n));
    status st = ST_OK;
    for (size_t k = 0; k < n && !st; k++) {
        st = finish_flow(s, w, l, first + k, k);
#pragma omp critical(gen_part)
        {
            if (!st)
                st = memory_grow(&part->numbers, &part->capacity, part->n + 1, sizeof *part->numbers);
            if (!st)
                st = dataset_append(clean, &w->clean);
            if (!st)
                st = dataset_append(raw, &w->raw);
            if (!st) {
                part->numbers[part->n++] = first + k;
                repair_counts_add(&part->repaired, &w->repaired);
            }
        }
    }
    return st;
}

/* Threads of a rank pull batches until none is left or one of them failed. */
static status work_through(const studio *s, work *todo, int nthreads, dataset *clean, dataset *raw, fanout_part *part) {
    status first_error = ST_OK;
    char *message = NULL;
    progress shown;
    progress_start(&shown, "generate", "flows", 0, s->p->nflows);
#pragma omp parallel num_threads(nthreads)
    {
        worker w;
        status st = worker_open(&w, s);
        for (;;) {
            uint64_t batch = s->p->nbatches;
#pragma omp critical(gen_work)
            {
                if (!st && stop_requested())
                    st = FAIL(ST_STOPPED, "stopped on request; nothing was published");
                if (!st && !first_error)
                    st = work_next(todo, &batch);
                if (st && !first_error) {
                    first_error = st;
                    message = text_copy(status_message());
                }
                uint64_t reached = batch * s->p->batch;
                progress_update(&shown, reached < s->p->nflows ? reached : s->p->nflows, NULL);
            }
            if (st || batch == s->p->nbatches)
                break;
            st = write_batch(s, &w, batch, clean, raw, part);
        }
        worker_close(&w);
    }
    progress_end(&shown);
    if (message)
        status_set_message(message);
    free(message);
    return first_error;
}

static status part_write(const studio *s, comm *c, work *todo, fanout_part *part) {
    status st;
    dataset *clean = NULL, *raw = NULL;
    int nthreads = comm_threads(c, s->e->threads);
    TRY_TO(fail, dataset_create(&clean, part->clean, s->tables, 0));
    TRY_TO(fail, dataset_create(&raw, part->raw, s->tables, 0));
    TRY_TO(fail, work_through(s, todo, nthreads, clean, raw, part));
    TRY_TO(fail, dataset_commit(&clean));
    TRY_TO(fail, dataset_commit(&raw));
    return ST_OK;
fail:
    dataset_abandon(&clean);
    dataset_abandon(&raw);
    return st;
}

status fanout_run(const experiment *e, comm *c, const plan *p, const classes *k, const dataset_tables *tables,
                  const char *model_folder, const char *folder, fanout_part *part) {
    studio s;
    work *todo = NULL;
    *part = (fanout_part){.clean = text_format("%s/part-%d.h5", folder, comm_rank(c)),
                          .raw = text_format("%s/part-%d-raw.h5", folder, comm_rank(c))};
    status st = comm_agree(c, studio_open(&s, e, p, k, tables, model_folder));
    if (!st)
        st = comm_agree(c, work_open(c, p->nbatches, &todo));
    if (!st) {
        st = comm_agree(c, part_write(&s, c, todo, part));
        status closed = work_close(&todo);
        st = st ? st : closed;
    }
    studio_close(&s);
    return st;
}

status fanout_one(const experiment *e, const plan *p, const classes *k, const dataset_tables *tables,
                  const char *model_folder, uint64_t number, flow *raw, flow *clean) {
    studio s;
    worker w;
    const plan_label *l = plan_flow(p, number);
    uint64_t first;
    size_t n;
    TRY(studio_open(&s, e, p, k, tables, model_folder));
    plan_batch(p, l->first_batch + (number - l->first) / p->batch, &first, &n);
    status st = worker_open(&w, &s);
    if (!st)
        st = sample_batch(&s, &w, l, first, n);
    if (!st)
        st = finish_flow(&s, &w, l, number, (size_t)(number - first));
    if (!st)
        st = flow_copy(raw, &w.raw);
    if (!st)
        st = flow_copy(clean, &w.clean);
    worker_close(&w);
    studio_close(&s);
    return st;
}

void fanout_part_clear(fanout_part *part) {
    free(part->clean);
    free(part->raw);
    free(part->numbers);
    *part = (fanout_part){0};
}
