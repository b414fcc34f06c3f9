/* A training run: opening it, and one step. See trainer.h. */
#include "train/trainer.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "train/gradient.h"
#include "train/rate.h"
#include "train/weights.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_TOKENS = 77 }; /* CLIP's, so that its tokenizer settings fit */
static const float BETA1 = 0.9f, BETA2 = 0.99f;

/* ---- Opening ---- */

static status check_settings(const trainer *t) {
    const experiment *e = t->e;
    if (e->train.batch < comm_size(t->c))
        return FAIL(ST_USAGE, "train.batch: %lld flows cannot be shared by %d ranks; use fewer ranks or a larger batch",
                    (long long)e->train.batch, comm_size(t->c));
    if (e->train.deterministic && e->train.batch % e->train.slice != 0)
        return FAIL(ST_USAGE, "train.deterministic: train.batch %lld is not a multiple of train.slice %lld",
                    (long long)e->train.batch, (long long)e->train.slice);
    if (e->train.deterministic && e->train.batch / e->train.slice < comm_size(t->c))
        return FAIL(
            ST_USAGE,
            "train.deterministic: %lld slices of %lld flows (train.slice) cannot be shared by %d ranks; use fewer "
            "ranks, a larger train.batch or a smaller train.slice",
            (long long)(e->train.batch / e->train.slice), (long long)e->train.slice, comm_size(t->c));
    if (e->train.patience > 0 && e->train.validate_share == 0)
        return FAIL(ST_USAGE, "train.patience stops on the validation loss: it needs train.validate_share above 0");
    if (e->model.context >= e->model.packets)
        return FAIL(ST_USAGE, "model.context %lld is not below model.packets %lld: a window would hold no new row",
                    (long long)e->model.context, (long long)e->model.packets);
    if (e->model.width % e->model.head != 0)
        return FAIL(ST_USAGE, "model.width %lld is not a multiple of model.head %lld", (long long)e->model.width,
                    (long long)e->model.head);
    return ST_OK;
}

static status make_base(trainer *t, const layout *l) {
    const experiment *e = t->e;
    model_config shape = {.cells = l->ncells,
                          .packets = (size_t)e->model.packets,
                          .context = (size_t)e->model.context,
                          .width = (size_t)e->model.width,
                          .layers = (size_t)e->model.layers,
                          .head = (size_t)e->model.head,
                          .text_width = (size_t)e->model.text_width,
                          .text_layers = (size_t)e->model.text_layers,
                          .text_tokens = TEXT_TOKENS,
                          .control = (control_inputs)e->model.control};
    snprintf(shape.layout, sizeof shape.layout, "%s", l->name);
    text_list corpus = {t->data->nlabels, t->data->prompt};
    TRY(model_new(&t->model, &shape, &corpus, (size_t)e->model.vocabulary, (uint64_t)e->seed));
    return model_train_base(t->model);
}

static status load_base(trainer *t) {
    const char *folder = t->e->model.dir;
    char *index = text_format("%s/model_index.json", folder);
    bool there = file_exists(index);
    free(index);
    if (!there)
        return FAIL(ST_IO, "%s: no model there; train the base first: train.mode=base", folder);
    TRY(model_load(&t->model, folder));
    const model_config *shape = model_get_config(t->model);
    const layout *l = layout_find(shape->layout);
    if (l == NULL || l->ncells != shape->cells)
        return FAIL(ST_FORMAT, "%s: made for layout \"%s\" with %zu cells a row, which this program does not have",
                    folder, shape->layout, shape->cells);
    return ST_OK;
}

/* The model, and the flows in its layout. Local. */
static status open_parts(trainer *t) {
    const experiment *e = t->e;
    TRY(check_settings(t));
    if (e->train.mode == TRAIN_BASE) {
        const layout *l = layout_find(e->model.layout);
        if (l == NULL)
            return FAIL(ST_USAGE, "model.layout: there is no layout \"%s\"; there are: %s", e->model.layout,
                        layout_names());
        TRY(data_open(&t->data, e, l, (size_t)e->model.packets, (size_t)e->model.context));
        TRY(make_base(t, l));
    } else {
        TRY(load_base(t));
        const model_config *shape = model_get_config(t->model);
        TRY(data_open(&t->data, e, model_layout(t->model), shape->packets, shape->context));
        TRY(e->train.mode == TRAIN_CONTROL ? model_train_control(t->model)
                                           : model_train_lora(t->model, (size_t)e->train.lora_rank,
                                                              (float)e->train.lora_alpha, (uint64_t)e->seed));
    }
    if (e->train.patience > 0 && t->data->nvalidate == 0)
        return FAIL(ST_USAGE, "train.patience stops on the validation loss, but with so few flows none is kept for it");
    t->p = model_params(t->model);
    return trainer_list_run(t);
}

status trainer_check_same(trainer *t, uint64_t hash, const char *what) {
    uint64_t largest[2] = {hash, ~hash}; /* the second finds the smallest */
    TRY(comm_max_u64(t->c, largest, 2));
    if (largest[0] != ~largest[1])
        return FAIL(
            ST_IO,
            "the ranks do not all have the same %s: do they see the same files, and are their processors of one kind?",
            what);
    return ST_OK;
}

status trainer_open(trainer **out, const experiment *e, comm *c) {
    static const char *const mode[] = {[TRAIN_BASE] = "base", [TRAIN_CONTROL] = "control", [TRAIN_LORA] = "lora"};
    trainer *t = NULL;
    status st = NEW(1, &t);
    *out = t;
    TRY(comm_agree(c, st));
    t->e = e;
    t->c = c;
    t->mode = mode[e->train.mode];
    t->phase = e->train.mode == TRAIN_BASE      ? &e->train.base
               : e->train.mode == TRAIN_CONTROL ? &e->train.control
                                                : &e->train.lora;
    t->folder = text_format("%s/train/%s", e->out, t->mode);
    /* Sums are cut by the number of threads: it must not follow from the ranks where their number must not matter. */
    t->threads = e->train.deterministic && e->threads == 0 ? 1 : comm_threads(c, e->threads);
    t->state.best_loss = INFINITY;
    t->validation_loss = -1;
    t->rule = (batch_rule){(uint64_t)e->seed, (size_t)e->train.batch, e->train.drop_prompt, e->train.drop_control};
    gradient_share(t, &t->first, &t->n);
    TRY(comm_agree(c, open_parts(t)));
    TRY(trainer_check_same(t, t->data->hash, "flows"));
    return trainer_check_same(t, weights_hash(t->p), "model");
}

static status prepare_parts(trainer *t) {
    size_t width = model_text_width(t->model), nlabels = t->data->nlabels;
    nn_options options = {.threads = t->threads};
    TRY(nn_open(&t->session, &options));
    TRY(adamw_new(&t->optimiser, t->p, BETA1, BETA2, (float)t->e->train.weight_decay));
    TRY(NEW(t->p->ntrained, &t->average));
    if (t->e->train.patience > 0)
        TRY(NEW(t->p->ntrained, &t->best));
    TRY(batch_new(&t->batch, t->data, &t->rule, t->n));
    TRY(batch_new(&t->next, t->data, &t->rule, t->n));
    TRY(NEW((nlabels + 1) * width, &t->text));
    TRY(NEW(t->n * width, &t->sample_text));
    TRY(NEW(t->n, &t->sample_row));
    TRY(NEW(nlabels, &t->prompts));
    TRY(NEW(nlabels + 1, &t->prompt_row));
    weights_get(t->p, t->average);
    TRY(gradient_open(t, &t->gradient));
    return text_embed(t);
}

status trainer_prepare(trainer *t) {
    return comm_agree(t->c, prepare_parts(t));
}

void trainer_close(trainer **out) {
    trainer *t = *out;
    if (t == NULL)
        return;
    writer_free(&t->writer);
    lock_release(&t->lock);
    record_close(&t->record);
    gradient_close(&t->gradient);
    trainer_free_run(t);
    batch_free(&t->batch);
    batch_free(&t->next);
    memory_free(&t->text);
    memory_free(&t->sample_text);
    memory_free(&t->sample_row);
    memory_free(&t->prompts);
    memory_free(&t->prompt_row);
    memory_free(&t->average);
    memory_free(&t->best);
    adamw_free(&t->optimiser);
    nn_close(&t->session);
    model_free(&t->model);
    data_close(&t->data);
    free(t->folder);
    memory_free(out);
}

/* ---- A step ---- */

tensor *trainer_predict(trainer *t, tensor *text) {
    const batch *b = &t->batch;
    model_input in = {.n = b->n,
                      .x = b->x,
                      .t = b->t,
                      .text = text,
                      .control = b->control,
                      .controlnet = t->e->train.mode == TRAIN_CONTROL};
    return model_predict(t->session, t->model, &in);
}

void trainer_draw_ahead(trainer *t) {
    batch_draw(&t->next, t->data, &t->rule, t->state.step + 1, t->first, t->n, t->threads);
    t->made_ahead = true;
}

/* Into t->batch. */
static void draw(trainer *t, size_t first, size_t n) {
    if (t->made_ahead) {
        batch kept = t->batch;
        t->batch = t->next;
        t->next = kept;
    } else {
        batch_draw(&t->batch, t->data, &t->rule, t->state.step, first, n, t->threads);
    }
    t->made_ahead = false;
}

status trainer_differentiate(trainer *t, size_t first, size_t n, double *loss) {
    nn *s = t->session;
    draw(t, first, n);
    nn_begin(s, true);
    tensor *text = t->e->train.mode == TRAIN_BASE ? text_on_tape(t) : text_embedded(t);
    tensor *mean = op_mse(s, trainer_predict(t, text), t->batch.x0, t->batch.weight);
    tensor *part = op_scale(s, mean, (float)n / (float)t->rule.size);
    TRY(nn_backward(s, part));
    *loss = (double)mean->data[0] * (double)n / (double)t->rule.size;
    return ST_OK;
}

static status update(trainer *t, double *norm, double *rate) {
    float limit = t->e->train.clip > 0 ? (float)t->e->train.clip : FLT_MAX;
    *norm = params_clip_grad(t->p, limit);
    if (!isfinite(t->loss) || !isfinite(*norm))
        return FAIL(ST_RANGE, "step %llu: the loss is %g and the norm of its gradient %g; lower train.%s.learning_rate",
                    (unsigned long long)t->state.step + 1, t->loss, *norm, t->mode);
    *rate =
        learning_rate(t->phase->learning_rate, t->state.step, (uint64_t)t->phase->steps, (uint64_t)t->e->train.warmup);
    adamw_step(&t->optimiser, t->p, (float)*rate);
    t->state.step++;
    weights_average(t->p, t->average, weights_decay(t->e->train.ema, t->state.step));
    return ST_OK;
}

status trainer_step(trainer *t, bool *stop) {
    double started = time_seconds(), norm, rate;
    comm_set_step(t->c, t->state.step + 1);
    status before = t->record_status != ST_OK ? t->record_status : writer_status(t->writer);
    TRY(gradient_step(t, before, stop));
    TRY(update(t, &norm, &rate));
    double took = time_seconds() - started;
    t->state.seconds += took;
    if (comm_rank(t->c) == 0)
        t->record_status = record_step(&t->record, t->state.step, t->loss, norm, rate,
                                       took > 0 ? (double)t->rule.size / took : 0, t->state.seconds);
    return ST_OK;
}

/* ---- Between steps ---- */

bool trainer_is_done(const trainer *t) {
    return t->state.step >= (uint64_t)t->phase->steps ||
           (t->e->train.patience > 0 && t->state.since_best >= (uint64_t)t->e->train.patience);
}

bool trainer_is_due(const trainer *t, int64_t every) {
    return t->state.step % (uint64_t)every == 0 || t->state.step == (uint64_t)t->phase->steps;
}

void trainer_detail(const trainer *t, char *text, size_t nbytes) {
    if (t->validation_loss < 0)
        snprintf(text, nbytes, "loss %.3f", t->loss);
    else
        snprintf(text, nbytes, "loss %.3f val %.3f", t->loss, t->validation_loss);
}
