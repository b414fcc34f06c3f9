/* A model as a whole: making one, which parameters a kind of training changes, text embeddings, prediction. */
#include "model/model_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/memory.h"

static const double SPREAD_MIN = 0.05; /* of prompts' embeddings, whose size is 1 */

enum { WIDTH_MAX = 16384, PACKETS_MAX = 65536, TOKENS_MAX = 1024 };

static status check_size(const char *where, const char *name, size_t value, size_t min, size_t max) {
    if (value < min || value > max)
        return FAIL(ST_RANGE, "%s: %s is %zu, not in %zu .. %zu", where, name, value, min, max);
    return ST_OK;
}

status model_check_config(model_config *c, const char *where) {
    if (!memchr(c->layout, 0, sizeof c->layout) || !layout_find(c->layout))
        return FAIL(ST_RANGE, "%s: layout \"%.15s\" is unknown (known: %s)", where, c->layout, layout_names());
    const layout *rows = layout_find(c->layout);
    if (c->cells == 0)
        c->cells = rows->ncells;
    if (c->cells != rows->ncells)
        return FAIL(ST_RANGE, "%s: %zu cells a row, layout %s has %zu", where, c->cells, c->layout, rows->ncells);
    TRY(check_size(where, "packets", c->packets, 1, PACKETS_MAX));
    TRY(check_size(where, "context", c->context, 0, c->packets - 1));
    TRY(check_size(where, "width", c->width, 1, WIDTH_MAX));
    TRY(check_size(where, "layers", c->layers, 1, LAYERS_MAX));
    TRY(check_size(where, "head", c->head, 1, c->width));
    TRY(check_size(where, "text_width", c->text_width, 1, WIDTH_MAX));
    TRY(check_size(where, "text_layers", c->text_layers, 1, LAYERS_MAX));
    TRY(check_size(where, "text_tokens", c->text_tokens, 2, TOKENS_MAX));
    if (c->width % c->head)
        return FAIL(ST_RANGE, "%s: width %zu is no multiple of the head size %zu", where, c->width, c->head);
    return ST_OK;
}

/* Heads of 32, or the next smaller power of two that divides the width. */
size_t model_default_heads(size_t text_width) {
    size_t head = 32;
    while (text_width % head)
        head /= 2;
    return text_width / head;
}

text_config model_text_config(const model *m, size_t heads, size_t inner) {
    const model_config *c = &m->config;
    return (text_config){
        tokenizer_vocabulary(m->tokenizer), c->text_width, c->text_layers, heads, inner, c->text_tokens};
}

static void freeze(model *m, size_t first, size_t n, bool frozen) {
    for (size_t i = first; i < first + n; i++)
        m->params.item[i]->frozen = frozen;
}

status model_build_base(model *m, const text_config *text, const model_files *from) {
    builder b;
    status st = build_begin(&b, &m->params, PREFIX_TEXT, from->text, from->text_path);
    if (st == ST_OK)
        st = text_encoder_build(&m->text, text, &b);
    TRY(build_end(&b, st));
    m->ntext = m->params.n;
    st = build_begin(&b, &m->params, PREFIX_NATIVE, from->native, from->native_path);
    if (st == ST_OK)
        st = native_build(&m->native, &m->config, &b);
    TRY(build_end(&b, st));
    m->nbase = m->params.n;
    freeze(m, 0, m->nbase, true);
    return params_seal(&m->params);
}

/* Prompts share most of their words, so their embeddings share most of their direction, and a plain first layer would
 * tell classes apart only after long training. The text layer therefore starts as if embeddings came centred and
 * scaled: W / s and -W mean / s, with mean and spread s over the prompts; "no prompt" starts at the mean. */
static status init_text_layer(model *m, const text_list *prompts) {
    size_t n = prompts->n, width = m->config.text_width;
    param *w = m->native.text.w, *b = m->native.text.b, *mean = m->native.null_text;
    float *text = NULL;
    if (n < 2)
        return ST_OK;
    TRY(NEW(n * width, &text));
    status st = model_embed_text(m, n, (const char *const *)prompts->item, text);
    double spread = 0;
    for (size_t k = 0; st == ST_OK && k < width; k++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += text[i * width + k];
        mean->data[k] = (float)(sum / (double)n);
        for (size_t i = 0; i < n; i++)
            spread += pow(text[i * width + k] - sum / (double)n, 2);
    }
    spread = fmax(sqrt(spread / (double)(n * width)), SPREAD_MIN);
    for (size_t i = 0; st == ST_OK && i < w->dim[0]; i++) {
        double shift = 0;
        for (size_t k = 0; k < width; k++) {
            w->data[i * width + k] = (float)(w->data[i * width + k] / spread);
            shift += (double)w->data[i * width + k] * mean->data[k];
        }
        b->data[i] = (float)-shift;
    }
    w->version++;
    b->version++;
    mean->version++;
    memory_free(&text);
    return st;
}

status model_new(model **out, const model_config *wanted, const text_list *prompts, size_t nmerges, uint64_t seed) {
    status st;
    model *m = NULL;
    *out = NULL;
    TRY_TO(done, NEW(1, &m));
    params_init(&m->params);
    m->config = *wanted;
    TRY_TO(done, model_check_config(&m->config, "model"));
    m->layout = layout_find(m->config.layout);
    TRY_TO(done, tokenizer_learn(&m->tokenizer, prompts, nmerges));
    text_config text = model_text_config(m, model_default_heads(wanted->text_width), 4 * wanted->text_width);
    TRY_TO(done, model_build_base(m, &text, &(model_files){0}));
    text_encoder_init(&m->text, seed);
    native_init(&m->native, seed);
    TRY_TO(done, init_text_layer(m, prompts));
    *out = m;
    m = NULL;
done:
    model_free(&m);
    return st;
}

void model_free(model **m) {
    if (!*m)
        return;
    native_free(&(*m)->native);
    controlnet_free(&(*m)->control);
    text_encoder_free(&(*m)->text);
    params_free(&(*m)->params);
    tokenizer_free(&(*m)->tokenizer);
    memory_free(m);
}

const model_config *model_get_config(const model *m) {
    return &m->config;
}

const layout *model_layout(const model *m) {
    return m->layout;
}

params *model_params(model *m) {
    return &m->params;
}

size_t model_text_width(const model *m) {
    return m->config.text_width;
}

bool model_has_controlnet(const model *m) {
    return m->has_control;
}

/* ---- What is trained ---- */

/* Train the n parameters from `first` on, and nothing else. */
static status train_only(model *m, size_t first, size_t n) {
    freeze(m, 0, m->params.n, true);
    freeze(m, first, n, false);
    return params_seal(&m->params);
}

status model_train_base(model *m) {
    model_unmerge_lora(m);
    return train_only(m, 0, m->nbase);
}

/* Build into a probe first where there is a file, so that a bad file leaves nothing behind. */
status model_add_controlnet(model *m, size_t nblocks, const safetensors *from, const char *path) {
    ASSERT(!m->has_control);
    builder b;
    status st;
    if (from) {
        controlnet probe = {0};
        st = build_begin(&b, NULL, PREFIX_CONTROL, from, path);
        if (st == ST_OK)
            st = controlnet_build(&probe, &m->config, nblocks, &b);
        controlnet_free(&probe);
        TRY(build_end(&b, st));
    }
    m->control_first = m->params.n;
    st = build_begin(&b, &m->params, PREFIX_CONTROL, from, path);
    if (st == ST_OK)
        st = controlnet_build(&m->control, &m->config, nblocks, &b);
    TRY(build_end(&b, st));
    m->control_n = m->params.n - m->control_first;
    m->has_control = true;
    freeze(m, m->control_first, m->control_n, true);
    return params_seal(&m->params);
}

status model_train_control(model *m) {
    model_unmerge_lora(m);
    if (!m->has_control) {
        TRY(model_add_controlnet(m, controlnet_nblocks(&m->config), NULL, NULL));
        controlnet_init(&m->control, &m->native);
    }
    return train_only(m, m->control_first, m->control_n);
}

status model_train_lora(model *m, size_t lora_rank, float lora_alpha, uint64_t seed) {
    model_unmerge_lora(m);
    if (m->lora_rank && m->lora_rank != lora_rank)
        return FAIL(ST_USAGE, "LoRA rank %zu, but the model has a LoRA of rank %zu", lora_rank, m->lora_rank);
    if (!m->lora_rank) {
        TRY(model_add_lora(m, lora_rank, NULL, NULL));
        model_init_lora(m, seed);
    }
    model_set_lora_scale(m, lora_alpha, 1);
    return train_only(m, m->lora_first, m->lora_n);
}

/* ---- Text ---- */

tensor *model_embed_text_tape(nn *s, model *m, size_t n, const char *const *prompts) {
    size_t ntokens = m->config.text_tokens, total = n * ntokens, end;
    tensor *hold = nn_input(s, 1, &total, NULL); /* ids live as long as the step: in the session's own memory */
    if (!hold)
        return NULL;
    int32_t *ids = (int32_t *)(void *)hold->data;
    for (size_t i = 0; i < n; i++)
        ASSERT(tokenizer_encode(m->tokenizer, prompts[i], ntokens, ids + i * ntokens, &end) == ST_OK); /* >= 2 tokens */
    return text_encoder_pooled(s, &m->text, n, ntokens, ids, tokenizer_end_id(m->tokenizer));
}

/* One prompt at a time on one thread: an embedding depends on its prompt alone, to the bit. */
status model_embed_text(model *m, size_t n, const char *const *prompts, float *out) {
    nn *s = NULL;
    TRY(nn_open(&s, &(nn_options){.threads = 1}));
    status st = ST_OK;
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        nn_begin(s, false);
        tensor *pooled = model_embed_text_tape(s, m, 1, prompts + i);
        st = nn_status(s);
        if (st == ST_OK)
            memcpy(out + i * m->config.text_width, pooled->data, pooled->n * sizeof *out);
    }
    nn_close(&s);
    return st;
}

tensor *model_null_text(nn *s, model *m) {
    return nn_view(s, nn_param(s, m->native.null_text), 2, (size_t[]){1, m->config.text_width});
}

/* ---- Prediction ---- */

tensor *model_predict(nn *s, model *m, const model_input *in) {
    ASSERT(!in->controlnet || m->has_control);
    return native_forward(s, &m->native, in->controlnet ? &m->control : NULL, &m->config, in);
}
