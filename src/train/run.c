/* The settings that the weights depend on, as text: what a checkpoint was made with, and what a resumed run must match.
 *
 * Not among them: number of ranks and threads (they change the last digits only; in a deterministic run ranks do not,
 * and threads belong here), how often checkpoints are written, paths. The base under a ControlNet or LoRA and the flows
 * themselves go in as hashes. */
#include "base/file.h"
#include "base/memory.h"
#include "train/trainer.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { RUN_MAX = 40 };

__attribute__((format(printf, 3, 4))) static void add(text_map *run, const char *key, const char *format, ...) {
    ASSERT(run->n < RUN_MAX);
    char text[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    run->key[run->n] = text_copy(key);
    run->value[run->n++] = text_copy(text);
}

static void add_text(text_map *run, const char *key, const char *value) {
    ASSERT(run->n < RUN_MAX);
    run->key[run->n] = text_copy(key);
    run->value[run->n++] = text_copy(value);
}

static void add_list(text_map *run, const char *key, const text_list *list) {
    char *text = text_list_join(list);
    add_text(run, key, text);
    free(text);
}

static void add_training(text_map *run, const trainer *t) {
    const experiment *e = t->e;
    char key[64];
    add(run, "seed", "%lld", (long long)e->seed);
    add(run, "train.deterministic", "%s", e->train.deterministic ? "yes" : "no");
    if (e->train.deterministic) {
        add(run, "train.slice", "%lld", (long long)e->train.slice);
        add(run, "threads", "%d", t->threads);
    }
    snprintf(key, sizeof key, "train.%s.steps", t->mode);
    add(run, key, "%lld", (long long)t->phase->steps);
    snprintf(key, sizeof key, "train.%s.learning_rate", t->mode);
    add(run, key, "%.9g", t->phase->learning_rate);
    add(run, "train.batch", "%lld", (long long)e->train.batch);
    add(run, "train.warmup", "%lld", (long long)e->train.warmup);
    add(run, "train.validate_every", "%lld", (long long)e->train.validate_every);
    add(run, "train.validate_share", "%.9g", e->train.validate_share);
    add(run, "train.patience", "%lld", (long long)e->train.patience);
    add(run, "train.drop_prompt", "%.9g", e->train.drop_prompt);
    add(run, "train.drop_control", "%.9g", e->train.drop_control);
    add(run, "train.ema", "%.9g", e->train.ema);
    add(run, "train.clip", "%.9g", e->train.clip);
    add(run, "train.weight_decay", "%.9g", e->train.weight_decay);
}

static void add_model(text_map *run, const model_config *m) {
    add(run, "model.layout", "%s", m->layout);
    add(run, "model.packets", "%zu", m->packets);
    add(run, "model.context", "%zu", m->context);
    add(run, "model.width", "%zu", m->width);
    add(run, "model.layers", "%zu", m->layers);
    add(run, "model.head", "%zu", m->head);
    add(run, "model.text_width", "%zu", m->text_width);
    add(run, "model.text_layers", "%zu", m->text_layers);
    add(run, "model.control", "%s", m->control == CONTROL_FULL ? "full" : "length");
}

static status add_base(text_map *run, const trainer *t) {
    char *path = text_format("%s/transformer/diffusion_pytorch_model.safetensors", t->e->model.dir);
    char hex[65];
    status st = file_sha256(path, hex);
    free(path);
    if (st == ST_OK)
        add(run, "the base's weights", "%.16s", hex);
    return st;
}

status trainer_list_run(trainer *t) {
    text_map *run = &t->run;
    TRY(NEW(RUN_MAX, &run->key));
    TRY(NEW(RUN_MAX, &run->value));
    add_text(run, "name", t->e->name);
    add_training(run, t);
    add_model(run, model_get_config(t->model));
    if (t->e->train.mode == TRAIN_BASE)
        add(run, "model.vocabulary", "%lld", (long long)t->e->model.vocabulary);
    else
        TRY(add_base(run, t));
    if (t->e->train.mode == TRAIN_LORA) {
        add(run, "train.lora.rank", "%lld", (long long)t->e->train.lora_rank);
        add(run, "train.lora.alpha", "%.9g", t->e->train.lora_alpha);
        add_list(run, "train.lora.labels", &t->e->train.lora_labels);
    } else {
        add_list(run, "train.base.exclude", &t->e->train.exclude);
    }
    add(run, "data.max_packets", "%lld", (long long)t->e->data.max_packets);
    add_list(run, "data.holdout", &t->e->data.holdout);
    add(run, "the dataset's flows and prompts", "%016llx", (unsigned long long)t->data->hash);
    return ST_OK;
}

void trainer_free_run(trainer *t) {
    for (size_t i = 0; i < t->run.n; i++) {
        free(t->run.key[i]);
        free(t->run.value[i]);
    }
    memory_free(&t->run.key);
    memory_free(&t->run.value);
}
