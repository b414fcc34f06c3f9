/* A model's folder: JSON configurations and safetensors in the layout of the diffusers library.
 *
 * Saving takes an older model_index.json away first and writes the new one last, each file atomically: a folder in
 * which parts of two models lie side by side does not load. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/memory.h"
#include "model/model_priv.h"

enum { JSON_MAX = 1 << 20 };

#define CLASS_PIPELINE "NdNativePipeline"
#define CLASS_TRANSFORMER "NdPacketTransformer"
#define CLASS_CONTROLNET "NdPacketControlNet"
#define CLASS_SCHEDULER "NdCosineScheduler"
#define WEIGHTS "diffusion_pytorch_model.safetensors"

static const char *const control_names[] = {[CONTROL_LENGTH] = "length", [CONTROL_FULL] = "full"};

/* ---- JSON with messages that name file and key ---- */

typedef struct json_file {
    char *path;
    json_t *root;
} json_file;

static void json_close(json_file *f) {
    json_decref(f->root);
    free(f->path);
    *f = (json_file){0};
}

static status json_open(json_file *f, const char *folder, const char *name) {
    *f = (json_file){.path = text_format("%s/%s", folder, name)};
    char *bytes = NULL;
    size_t nbytes = 0;
    TRY(file_read(f->path, JSON_MAX, &bytes, &nbytes));
    json_error_t error;
    f->root = json_loadb(bytes, nbytes, JSON_REJECT_DUPLICATES, &error);
    free(bytes);
    if (!f->root)
        return FAIL(ST_FORMAT, "%s: line %d: %s", f->path, error.line, error.text);
    if (!json_is_object(f->root))
        return FAIL(ST_FORMAT, "%s: not a JSON object", f->path);
    return ST_OK;
}

static status get_size(const json_file *f, const char *key, size_t *out) {
    const json_t *value = json_object_get(f->root, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return FAIL(ST_FORMAT, "%s: \"%s\" is missing or no whole number from 0 on", f->path, key);
    *out = (size_t)json_integer_value(value);
    return ST_OK;
}

static status get_text(const json_file *f, const char *key, const char **out) {
    *out = json_string_value(json_object_get(f->root, key));
    return *out ? ST_OK : FAIL(ST_FORMAT, "%s: \"%s\" is missing or no text", f->path, key);
}

static status expect_text(const json_file *f, const char *key, const char *wanted) {
    const char *text;
    TRY(get_text(f, key, &text));
    if (strcmp(text, wanted) != 0)
        return FAIL(ST_FORMAT, "%s: \"%s\" is \"%.40s\", only \"%s\" is supported", f->path, key, text, wanted);
    return ST_OK;
}

/* Takes over root. */
static status json_save(const char *folder, const char *name, json_t *root) {
    char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    char *path = text_format("%s/%s", folder, name), *line = text ? text_format("%s\n", text) : NULL;
    status st = line ? file_write(path, line, strlen(line)) : FAIL(ST_MEMORY, "%s: as JSON", path);
    free(line);
    free(path);
    free(text);
    return st;
}

/* ---- Saving ---- */

static json_t *index_json(const model *m) {
    return json_pack("{s:s, s:s, s:s, s:[ss], s:[ss], s:[ss], s:[ss]}", "_class_name", CLASS_PIPELINE, "_nd_version",
                     ND_VERSION, "layout", m->config.layout, "tokenizer", "transformers", "CLIPTokenizer",
                     "text_encoder", "transformers", "CLIPTextModel", "transformer", "nd", CLASS_TRANSFORMER,
                     "scheduler", "nd", CLASS_SCHEDULER);
}

static json_t *tokenizer_json(const model *m) {
    const char *end = tokenizer_token(m->tokenizer, tokenizer_end_id(m->tokenizer));
    return json_pack("{s:s, s:I, s:s, s:s, s:s, s:s}", "tokenizer_class", "CLIPTokenizer", "model_max_length",
                     (json_int_t)m->config.text_tokens, "bos_token",
                     tokenizer_token(m->tokenizer, tokenizer_start_id(m->tokenizer)), "eos_token", end, "pad_token",
                     end, "unk_token", end);
}

/* What transformers' CLIPTextConfig reads. */
static json_t *text_json(const model *m) {
    const text_config *c = &m->text.config;
    json_t *root =
        json_pack("{s:[s], s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "architectures", "CLIPTextModel", "model_type",
                  "clip_text_model", "vocab_size", (json_int_t)c->vocabulary, "hidden_size", (json_int_t)c->width,
                  "intermediate_size", (json_int_t)c->inner, "num_hidden_layers", (json_int_t)c->layers,
                  "num_attention_heads", (json_int_t)c->heads, "max_position_embeddings", (json_int_t)c->tokens);
    json_t *more =
        json_pack("{s:s, s:f, s:I, s:I, s:I, s:I, s:s}", "hidden_act", "quick_gelu", "layer_norm_eps", 1e-5,
                  "projection_dim", (json_int_t)c->width, "bos_token_id", (json_int_t)tokenizer_start_id(m->tokenizer),
                  "eos_token_id", (json_int_t)tokenizer_end_id(m->tokenizer), "pad_token_id",
                  (json_int_t)tokenizer_end_id(m->tokenizer), "torch_dtype", "float32");
    if (!root || !more || json_object_update(root, more) != 0) {
        json_decref(root);
        root = NULL;
    }
    json_decref(more);
    return root;
}

static json_t *transformer_json(const model *m, const char *class) {
    const model_config *c = &m->config;
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "_class_name", class, "layout", c->layout,
                     "cells", (json_int_t)c->cells, "packets", (json_int_t)c->packets, "context",
                     (json_int_t)c->context, "width", (json_int_t)c->width, "layers", (json_int_t)c->layers, "head",
                     (json_int_t)c->head, "text_width", (json_int_t)c->text_width, "control",
                     control_names[c->control]);
}

static json_t *scheduler_json(void) {
    return json_pack("{s:s, s:s, s:s, s:f}", "_class_name", CLASS_SCHEDULER, "prediction_type", "sample", "schedule",
                     "cosine", "shift", SCHEDULE_SHIFT);
}

/* The plain weights of a layer whose LoRA is merged: the base is saved, whatever lies on it. */
static const float *plain_weights(const void *user, const param *p) {
    native *t = (native *)user;
    linear *l;
    for (size_t i = 0; (l = native_linear(t, i)); i++)
        if (l->w == p)
            return l->plain;
    return NULL;
}

static status save_weights(const char *folder, const char *name, param *const *item, size_t n, const char *prefix,
                           const native *t) {
    char *key = (char *)"format", *value = (char *)"pt", *path = text_format("%s/%s", folder, name);
    status st = build_save(path, item, n, prefix, &(text_map){1, &key, &value}, t ? plain_weights : NULL, t);
    free(path);
    return st;
}

static status save_parts(const model *m, const char *tokens, const char *text, const char *transformer,
                         const char *scheduler) {
    TRY(tokenizer_save(m->tokenizer, tokens));
    TRY(json_save(tokens, "tokenizer_config.json", tokenizer_json(m)));
    TRY(file_make_folders(text));
    TRY(json_save(text, "config.json", text_json(m)));
    TRY(save_weights(text, "model.safetensors", m->params.item, m->ntext, PREFIX_TEXT, NULL));
    TRY(file_make_folders(transformer));
    TRY(json_save(transformer, "config.json", transformer_json(m, CLASS_TRANSFORMER)));
    TRY(save_weights(transformer, WEIGHTS, m->params.item + m->ntext, m->nbase - m->ntext, PREFIX_NATIVE, &m->native));
    TRY(file_make_folders(scheduler));
    return json_save(scheduler, "scheduler_config.json", scheduler_json());
}

/* Until the new parts are there the folder holds no model. */
static status remove_index(const char *folder) {
    char *path = text_format("%s/model_index.json", folder);
    status st = ST_OK;
    if (unlink(path) == 0)
        st = file_sync_folder(folder);
    else if (errno != ENOENT)
        st = FAIL(ST_IO, "%s: cannot be removed: %s", path, strerror(errno));
    free(path);
    return st;
}

status model_save(const model *m, const char *folder) {
    char *tokens = text_format("%s/tokenizer", folder), *text = text_format("%s/text_encoder", folder);
    char *transformer = text_format("%s/transformer", folder), *scheduler = text_format("%s/scheduler", folder);
    status st = remove_index(folder);
    if (st == ST_OK)
        st = save_parts(m, tokens, text, transformer, scheduler);
    if (st == ST_OK)
        st = json_save(folder, "model_index.json", index_json(m));
    free(tokens);
    free(text);
    free(transformer);
    free(scheduler);
    return st;
}

/* ---- Loading ---- */

static status read_layout(const json_file *f, model_config *c) {
    const char *name;
    TRY(get_text(f, "layout", &name));
    if (strlen(name) >= sizeof c->layout || !layout_find(name))
        return FAIL(ST_FORMAT, "%s: layout \"%.40s\" is unknown (known: %s)", f->path, name, layout_names());
    strcpy(c->layout, name);
    return ST_OK;
}

/* The keys that transformer and ControlNet share. */
static status read_transformer(const json_file *f, const char *class, model_config *c) {
    const char *control;
    TRY(expect_text(f, "_class_name", class));
    TRY(read_layout(f, c));
    TRY(get_size(f, "cells", &c->cells));
    TRY(get_size(f, "packets", &c->packets));
    TRY(get_size(f, "context", &c->context));
    TRY(get_size(f, "width", &c->width));
    TRY(get_size(f, "layers", &c->layers));
    TRY(get_size(f, "head", &c->head));
    TRY(get_size(f, "text_width", &c->text_width));
    TRY(get_text(f, "control", &control));
    for (size_t i = 0; i < sizeof control_names / sizeof *control_names; i++)
        if (strcmp(control, control_names[i]) == 0) {
            c->control = (control_inputs)i;
            return ST_OK;
        }
    return FAIL(ST_FORMAT, "%s: \"control\" is \"%.40s\", not \"length\" or \"full\"", f->path, control);
}

static status read_text(const json_file *f, const model *m, text_config *c) {
    size_t start, end;
    TRY(expect_text(f, "hidden_act", "quick_gelu"));
    TRY(get_size(f, "vocab_size", &c->vocabulary));
    TRY(get_size(f, "hidden_size", &c->width));
    TRY(get_size(f, "intermediate_size", &c->inner));
    TRY(get_size(f, "num_hidden_layers", &c->layers));
    TRY(get_size(f, "num_attention_heads", &c->heads));
    TRY(get_size(f, "max_position_embeddings", &c->tokens));
    TRY(get_size(f, "bos_token_id", &start));
    TRY(get_size(f, "eos_token_id", &end));
    if (c->vocabulary != tokenizer_vocabulary(m->tokenizer) || start != (size_t)tokenizer_start_id(m->tokenizer) ||
        end != (size_t)tokenizer_end_id(m->tokenizer))
        return FAIL(ST_FORMAT, "%s: vocabulary of %zu, start %zu, end %zu do not fit the tokenizer's %zu, %d, %d",
                    f->path, c->vocabulary, start, end, tokenizer_vocabulary(m->tokenizer),
                    tokenizer_start_id(m->tokenizer), tokenizer_end_id(m->tokenizer));
    if (c->heads == 0 || c->width % c->heads || c->inner == 0)
        return FAIL(ST_FORMAT, "%s: %zu heads do not divide the width %zu, or the inner width %zu is 0", f->path,
                    c->heads, c->width, c->inner);
    return ST_OK;
}

static status check_scheduler(const json_file *f) {
    TRY(expect_text(f, "_class_name", CLASS_SCHEDULER));
    TRY(expect_text(f, "prediction_type", "sample"));
    TRY(expect_text(f, "schedule", "cosine"));
    double shift = json_number_value(json_object_get(f->root, "shift"));
    if (!(fabs(shift - SCHEDULE_SHIFT) < 1e-6))
        return FAIL(ST_FORMAT, "%s: \"shift\" is not %g", f->path, SCHEDULE_SHIFT);
    return ST_OK;
}

typedef struct model_jsons {
    json_file index, text, transformer, scheduler;
} model_jsons;

static status open_jsons(model_jsons *j, const char *folder) {
    TRY(json_open(&j->index, folder, "model_index.json"));
    TRY(json_open(&j->text, folder, "text_encoder/config.json"));
    TRY(json_open(&j->transformer, folder, "transformer/config.json"));
    return json_open(&j->scheduler, folder, "scheduler/scheduler_config.json");
}

/* Everything but the weights. */
static status read_configs(model *m, const model_jsons *j, const char *folder, text_config *text) {
    model_config *c = &m->config, index = {0};
    TRY(expect_text(&j->index, "_class_name", CLASS_PIPELINE));
    TRY(read_layout(&j->index, &index));
    TRY(read_transformer(&j->transformer, CLASS_TRANSFORMER, c));
    if (strcmp(index.layout, c->layout) != 0)
        return FAIL(ST_FORMAT, "%s: layout is %s, %s says %s", j->transformer.path, c->layout, j->index.path,
                    index.layout);
    TRY(check_scheduler(&j->scheduler));
    char *tokens = text_format("%s/tokenizer", folder);
    status st = tokenizer_load(&m->tokenizer, tokens);
    free(tokens);
    TRY(st);
    TRY(read_text(&j->text, m, text));
    if (text->width != c->text_width)
        return FAIL(ST_FORMAT, "%s: hidden_size is %zu, %s says text_width %zu", j->text.path, text->width,
                    j->transformer.path, c->text_width);
    c->text_layers = text->layers;
    c->text_tokens = text->tokens;
    if (c->cells == 0)
        return FAIL(ST_FORMAT, "%s: \"cells\" is 0", j->transformer.path);
    if (model_check_config(c, j->transformer.path) != ST_OK)
        return ST_FORMAT; /* its message names file and value */
    m->layout = layout_find(c->layout);
    return ST_OK;
}

static status load_weights(model *m, const char *folder, const text_config *text) {
    char *text_path = text_format("%s/text_encoder/model.safetensors", folder);
    char *native_path = text_format("%s/transformer/" WEIGHTS, folder);
    safetensors *text_file = NULL, *native_file = NULL;
    status st;
    TRY_TO(done, safetensors_open(&text_file, text_path));
    TRY_TO(done, safetensors_open(&native_file, native_path));
    st = model_build_base(m, text, &(model_files){text_file, native_file, text_path, native_path});
done:
    safetensors_close(&text_file);
    safetensors_close(&native_file);
    free(text_path);
    free(native_path);
    return st;
}

status model_load(model **out, const char *folder) {
    status st;
    model *m = NULL;
    model_jsons j = {0};
    text_config text = {0};
    *out = NULL;
    TRY_TO(done, NEW(1, &m));
    params_init(&m->params);
    TRY_TO(done, open_jsons(&j, folder));
    TRY_TO(done, read_configs(m, &j, folder, &text));
    TRY_TO(done, load_weights(m, folder, &text));
    *out = m;
    m = NULL;
done:
    json_close(&j.index);
    json_close(&j.text);
    json_close(&j.transformer);
    json_close(&j.scheduler);
    model_free(&m);
    return st;
}

/* ---- ControlNet ---- */

status model_save_controlnet(const model *m, const char *folder) {
    if (!m->has_control)
        return FAIL(ST_USAGE, "%s: the model has no ControlNet to save", folder);
    char *part = text_format("%s/controlnet", folder);
    json_t *root = transformer_json(m, CLASS_CONTROLNET);
    if (root)
        json_object_set_new(root, "controlnet_layers", json_integer((json_int_t)m->control.nblocks));
    status st = file_make_folders(part);
    if (st == ST_OK)
        st = save_weights(part, WEIGHTS, m->params.item + m->control_first, m->control_n, PREFIX_CONTROL, NULL);
    if (st == ST_OK)
        st = json_save(part, "config.json", json_incref(root));
    json_decref(root);
    free(part);
    return st;
}

static status read_controlnet(const json_file *f, const model *m, size_t *nblocks) {
    const model_config *base = &m->config;
    model_config c = {0};
    TRY(read_transformer(f, CLASS_CONTROLNET, &c));
    TRY(get_size(f, "controlnet_layers", nblocks));
    if (strcmp(c.layout, base->layout) != 0 || c.cells != base->cells || c.packets != base->packets ||
        c.width != base->width || c.layers != base->layers || c.head != base->head)
        return FAIL(ST_FORMAT,
                    "%s: made for layout %s, %zu packets, width %zu, %zu layers, head %zu; the base has %s, %zu, %zu, "
                    "%zu, %zu",
                    f->path, c.layout, c.packets, c.width, c.layers, c.head, base->layout, base->packets, base->width,
                    base->layers, base->head);
    if (*nblocks < 1 || *nblocks > base->layers)
        return FAIL(ST_FORMAT, "%s: controlnet_layers %zu is not in 1 .. %zu", f->path, *nblocks, base->layers);
    return ST_OK;
}

status model_load_controlnet(model *m, const char *folder) {
    if (m->has_control)
        return FAIL(ST_USAGE, "%s: the model already has a ControlNet", folder);
    status st;
    size_t nblocks = 0;
    json_file f = {0};
    safetensors *file = NULL;
    char *path = text_format("%s/controlnet/" WEIGHTS, folder);
    TRY_TO(done, json_open(&f, folder, "controlnet/config.json"));
    TRY_TO(done, read_controlnet(&f, m, &nblocks));
    TRY_TO(done, safetensors_open(&file, path));
    st = model_add_controlnet(m, nblocks, file, path);
done:
    safetensors_close(&file);
    json_close(&f);
    free(path);
    return st;
}
