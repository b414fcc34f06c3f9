/* LoRA on every linear layer of the transformer, and its file in peft's naming.
 *
 * The file is what diffusers calls pytorch_lora_weights.safetensors: "transformer.<layer>.lora_A.weight" and
 * "lora_B.weight", rank and alpha in the metadata entry "lora_adapter_metadata" (JSON, keys "transformer.r",
 * "transformer.lora_alpha"). A file without that entry has alpha = rank, as peft takes it. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "model/model_priv.h"

static const char metadata_key[] = "lora_adapter_metadata";
static const char labels_key[] = "labels";

/* ---- One layer ---- */

tensor *linear_apply(nn *s, const linear *l, tensor *x) {
    tensor *y = op_linear(s, x, l->w, l->b);
    if (!l->up || l->plain)
        return y;
    return op_axpy(s, y, l->scale, op_linear(s, op_linear(s, x, l->down, NULL), l->up, NULL));
}

status linear_merge(linear *l) {
    if (!l->up || l->plain)
        return ST_OK;
    size_t m = l->w->dim[0], k = l->w->dim[1], r = l->down->dim[0];
    double *row = NULL;
    TRY(NEW(k, &row));
    status st = NEW(l->w->n, &l->plain);
    if (st == ST_OK) {
        memcpy(l->plain, l->w->data, l->w->n * sizeof *l->plain);
        for (size_t i = 0; i < m; i++) {
            memset(row, 0, k * sizeof *row);
            for (size_t q = 0; q < r; q++)
                for (size_t j = 0; j < k; j++)
                    row[j] += (double)l->up->data[i * r + q] * l->down->data[q * k + j];
            for (size_t j = 0; j < k; j++)
                l->w->data[i * k + j] = (float)(l->plain[i * k + j] + (double)l->scale * row[j]);
        }
        l->w->version++;
    }
    memory_free(&row);
    return st;
}

void linear_unmerge(linear *l) {
    if (!l->plain)
        return;
    memcpy(l->w->data, l->plain, l->w->n * sizeof *l->plain);
    l->w->version++;
    memory_free(&l->plain);
}

/* ---- All layers ---- */

/* The pairs of all layers, named after them. A builder that only looks leaves the layers alone. */
static status build_pairs(model *m, size_t rank, builder *b) {
    linear *l;
    for (size_t i = 0; (l = native_linear(&m->native, i)); i++) {
        int length = (int)(strlen(l->w->name) - strlen(".weight"));
        TRY(build_param(b, &l->down, rank, l->w->dim[1], "%.*s.lora_A.weight", length, l->w->name));
        TRY(build_param(b, &l->up, l->w->dim[0], rank, "%.*s.lora_B.weight", length, l->w->name));
    }
    return ST_OK;
}

/* Does the file hold exactly the pairs of rank `rank`? */
static status check_file(model *m, size_t rank, const safetensors *from, const char *path) {
    builder b;
    status st = build_begin(&b, NULL, "", from, path);
    if (st == ST_OK)
        st = build_pairs(m, rank, &b);
    return build_end(&b, st);
}

status model_add_lora(model *m, size_t rank, const safetensors *from, const char *path) {
    if (rank < 1 || rank > LORA_RANK_MAX)
        return FAIL(ST_RANGE, "%s: LoRA rank %zu is not in 1 .. %d", path ? path : "LoRA", rank, LORA_RANK_MAX);
    ASSERT(!m->lora_rank);
    if (from)
        TRY(check_file(m, rank, from, path));
    builder b;
    m->lora_first = m->params.n;
    status st = build_begin(&b, &m->params, "", from, path);
    if (st == ST_OK)
        st = build_pairs(m, rank, &b);
    TRY(build_end(&b, st));
    m->lora_rank = rank;
    m->lora_n = m->params.n - m->lora_first;
    for (size_t i = 0; i < m->lora_n; i++)
        m->params.item[m->lora_first + i]->frozen = true;
    return params_seal(&m->params);
}

/* A: Kaiming, fan in, so that A x has the variance of x; B stays zero: the first prediction is the base's. */
void model_init_lora(model *m, uint64_t seed) {
    linear *l;
    for (size_t i = 0; (l = native_linear(&m->native, i)); i++)
        param_init_normal(l->down, seed, 1 / sqrtf((float)l->w->dim[1]));
}

void model_set_lora_scale(model *m, float alpha, float strength) {
    m->lora_alpha = alpha;
    linear *l;
    for (size_t i = 0; (l = native_linear(&m->native, i)); i++)
        l->scale = strength * alpha / (float)m->lora_rank;
}

status model_merge_lora(model *m) {
    linear *l;
    for (size_t i = 0; (l = native_linear(&m->native, i)); i++) {
        status st = linear_merge(l);
        if (st != ST_OK) {
            model_unmerge_lora(m);
            return st;
        }
    }
    return ST_OK;
}

status model_unmerge_lora(model *m) {
    linear *l;
    for (size_t i = 0; (l = native_linear(&m->native, i)); i++)
        linear_unmerge(l);
    return ST_OK;
}

/* ---- File ---- */

/* {"transformer.r": 8, "transformer.lora_alpha": 16, "transformer.target_modules": [...]}, which diffusers gives to
 * peft's LoraConfig. Caller frees. */
static char *metadata_text(model *m) {
    json_t *modules = json_array();
    linear *l;
    for (size_t i = 0; (l = native_linear(&m->native, i)); i++) {
        const char *name = l->w->name + strlen(PREFIX_NATIVE);
        json_array_append_new(modules, json_stringn(name, strlen(name) - strlen(".weight")));
    }
    json_t *root = json_pack("{s:I, s:f, s:o}", "transformer.r", (json_int_t)m->lora_rank, "transformer.lora_alpha",
                             (double)m->lora_alpha, "transformer.target_modules", modules);
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    return text;
}

status model_save_lora(const model *m, const char *path, const text_map *metadata) {
    if (!m->lora_rank)
        return FAIL(ST_USAGE, "%s: the model has no LoRA to save", path);
    size_t more = metadata ? metadata->n : 0;
    char *text = metadata_text((model *)m), **keys = NULL, **values = NULL;
    status st = text ? NEW(more + 2, &keys) : FAIL(ST_MEMORY, "%s: metadata as JSON", path);
    if (st == ST_OK)
        st = NEW(more + 2, &values);
    if (st == ST_OK) {
        keys[0] = (char *)"format";
        values[0] = (char *)"pt";
        keys[1] = (char *)metadata_key;
        values[1] = text;
        for (size_t i = 0; i < more; i++) {
            keys[i + 2] = metadata->key[i];
            values[i + 2] = metadata->value[i];
        }
        st = build_save(path, m->params.item + m->lora_first, m->lora_n, "", &(text_map){more + 2, keys, values}, NULL,
                        NULL);
    }
    memory_free(&keys);
    memory_free(&values);
    free(text);
    return st;
}

/* alpha of the file; the rank where it does not say. */
static status read_alpha(const safetensors *file, const char *path, size_t rank, float *alpha) {
    const char *text = safetensors_metadata(file, metadata_key);
    *alpha = (float)rank;
    if (!text)
        return ST_OK;
    json_error_t error;
    json_t *root = json_loads(text, 0, &error);
    const json_t *value = json_object_get(root, "transformer.lora_alpha");
    status st = ST_OK;
    if (!root)
        st = FAIL(ST_FORMAT, "%s: metadata %s: %s", path, metadata_key, error.text);
    else if (value && (!json_is_number(value) || !isfinite(json_number_value(value))))
        st = FAIL(ST_FORMAT, "%s: metadata %s: transformer.lora_alpha is no number", path, metadata_key);
    else if (value)
        *alpha = (float)json_number_value(value);
    json_decref(root);
    return st;
}

/* The rank is that of the first layer's A; the shapes of all others must agree. */
static status read_rank(const safetensors *file, const char *path, size_t *rank) {
    const char *name = PREFIX_NATIVE "input.lora_A.weight";
    const safetensor *a = safetensors_find(file, name);
    if (!a || a->ndim != 2)
        return FAIL(ST_FORMAT, "%s: tensor %s is missing or no matrix", path, name);
    *rank = a->dim[0];
    return ST_OK;
}

/* Numbers of a file into the LoRA that is already there. */
static status refill(model *m, size_t rank, const safetensors *file, const char *path) {
    if (rank != m->lora_rank)
        return FAIL(ST_FORMAT, "%s: LoRA of rank %zu, the model has one of rank %zu", path, rank, m->lora_rank);
    TRY(check_file(m, rank, file, path));
    for (size_t i = 0; i < m->lora_n; i++) {
        param *p = m->params.item[m->lora_first + i];
        memcpy(p->data, safetensors_find(file, p->name)->data, p->n * sizeof *p->data);
        p->version++;
    }
    return ST_OK;
}

status model_load_lora(model *m, const char *path, float scale) {
    status st;
    safetensors *file = NULL;
    size_t rank = 0;
    float alpha = 0;
    model_unmerge_lora(m);
    TRY(safetensors_open(&file, path));
    TRY_TO(done, read_rank(file, path, &rank));
    TRY_TO(done, read_alpha(file, path, rank, &alpha));
    TRY_TO(done, m->lora_rank ? refill(m, rank, file, path) : model_add_lora(m, rank, file, path));
    model_set_lora_scale(m, alpha, scale);
done:
    safetensors_close(&file);
    return st;
}

status model_lora_labels(const char *path, text_list *labels) {
    safetensors *file = NULL;
    TRY(safetensors_open(&file, path));
    const char *text = safetensors_metadata(file, labels_key);
    status st = text ? text_list_parse(text, labels) : ST_OK;
    safetensors_close(&file);
    return st;
}
