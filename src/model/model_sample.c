/* Sampling: from noise to the signs of a window's rows.
 *
 * A row exists or not by the caller's word: the layout's "valid" cell is set in every prediction, and so in what the
 * sampler makes of it. Given rows are in x as they are, as they were in training. No other cell is touched until the
 * end: vacant cells were trained towards 0. */
#include <math.h>
#include <string.h>
#include "base/memory.h"
#include "model/model_priv.h"

typedef struct sampling {
    nn *s;
    model *m;
    const sample_request *r;
    float *times, *null_text; /* (n), (n, W) */
    float *unguided;          /* (n, L, C), where guidance asks for it */
    float *given;             /* (n, ngiven, C), where there are any */
} sampling;

static const layout_field *valid_field(const layout *l) {
    for (size_t i = 0; i < l->nfields; i++)
        if (strcmp(l->fields[i].name, "valid") == 0)
            return &l->fields[i];
    return NULL;
}

static void force_valid(const sampling *g, float *x0) {
    const model_config *c = &g->m->config;
    const layout_field *valid = valid_field(g->m->layout);
    for (size_t i = 0; valid && i < g->r->n; i++)
        for (size_t row = 0; row < c->packets; row++)
            x0[(i * c->packets + row) * c->cells + valid->first] = row < g->r->nexist[i] ? 1 : -1;
}

static status predict_with(const sampling *g, const float *x, const float *text, float *x0) {
    const sample_request *r = g->r;
    nn_begin(g->s, false);
    tensor *embedded = nn_input(g->s, 2, (size_t[]){r->n, g->m->config.text_width}, text);
    model_input in = {
        .n = r->n, .x = x, .t = g->times, .text = embedded, .control = r->control, .controlnet = r->controlnet};
    tensor *y = model_predict(g->s, g->m, &in);
    TRY(nn_status(g->s));
    memcpy(x0, y->data, y->n * sizeof *x0);
    return ST_OK;
}

/* What is no number would come out as a valid bit. */
static status check_finite(const sampling *g, size_t n, const float *x0) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x0[i]))
            return FAIL(
                ST_RANGE,
                "the model's prediction at time %g is %f: its weights, its LoRA's or the guidance are too large",
                (double)g->times[0], (double)x0[i]);
    return ST_OK;
}

/* Classifier-free guidance (Ho and Salimans 2022): away from what would be predicted without prompt. */
static status predict(void *user, const float *x, float t, float *x0) {
    const sampling *g = user;
    const model_config *c = &g->m->config;
    size_t total = g->r->n * c->packets * c->cells;
    for (size_t i = 0; i < g->r->n; i++)
        g->times[i] = t;
    TRY(predict_with(g, x, g->r->text, x0));
    if (g->unguided) {
        TRY(predict_with(g, x, g->null_text, g->unguided));
        for (size_t i = 0; i < total; i++)
            x0[i] = g->unguided[i] + g->r->guidance * (x0[i] - g->unguided[i]);
    }
    TRY(check_finite(g, total, x0));
    force_valid(g, x0);
    return ST_OK;
}

/* Signs, with the presence that they themselves ask for; rows past the end keep only the valid cell, and given ones are
 * what they were. */
static void round_rows(const sampling *g, float *x0, int8_t *cells, uint8_t *mask) {
    const model_config *c = &g->m->config;
    const layout_field *valid = valid_field(g->m->layout);
    size_t ngiven = g->r->ngiven * c->cells;
    for (size_t i = 0; i < g->r->n; i++) {
        if (ngiven > 0)
            memcpy(cells + i * c->packets * c->cells, g->r->given + i * ngiven, ngiven);
        for (size_t row = g->r->ngiven; row < c->packets; row++) {
            float *soft = x0 + (i * c->packets + row) * c->cells;
            int8_t *hard = cells + (i * c->packets + row) * c->cells;
            for (size_t k = 0; k < c->cells; k++)
                hard[k] = soft[k] < 0 ? -1 : 1;
            if (row < g->r->nexist[i]) {
                g->m->layout->presence(hard, g->r->first + row, mask);
            } else {
                memset(mask, 0, c->cells);
                if (valid)
                    mask[valid->first] = 1;
            }
            for (size_t k = 0; k < c->cells; k++) {
                hard[k] = mask[k] ? hard[k] : 0;
                soft[k] = mask[k] ? soft[k] : 0;
            }
        }
    }
}

static status run(sampling *g, float *x0, float *work, int8_t *cells, uint8_t *mask) {
    const model_config *c = &g->m->config;
    const sample_request *r = g->r;
    for (size_t i = 0; i < r->n; i++)
        memcpy(g->null_text + i * c->text_width, r->null_text, c->text_width * sizeof *g->null_text);
    for (size_t i = 0; i < r->n * r->ngiven * c->cells; i++)
        g->given[i] = r->given[i];
    TRY(sampler_run(r->sampler, r->steps, r->n, c->packets * c->cells, r->ngiven * c->cells, g->given, r->rngs, predict,
                    g, x0, work));
    round_rows(g, x0, cells, mask);
    return ST_OK;
}

status model_sample(nn *s, model *m, const sample_request *r, int8_t *cells, float *soft) {
    const model_config *c = &m->config;
    size_t total = r->n * c->packets * c->cells;
    sampling g = {.s = s, .m = m, .r = r};
    float *x0 = NULL, *work = NULL;
    uint8_t *mask = NULL;
    status st;
    ASSERT(r->ngiven < c->packets);
    if (r->controlnet && !m->has_control)
        return FAIL(ST_USAGE, "sampling asks for a ControlNet that the model does not have");
    TRY_TO(done, NEW(r->n, &g.times));
    TRY_TO(done, NEW(r->n * c->text_width, &g.null_text));
    if (r->guidance != 1)
        TRY_TO(done, NEW(total, &g.unguided));
    if (r->ngiven > 0)
        TRY_TO(done, NEW(r->n * r->ngiven * c->cells, &g.given));
    TRY_TO(done, NEW(total, &x0));
    TRY_TO(done, NEW(3 * total, &work));
    TRY_TO(done, NEW(c->cells, &mask));
    TRY_TO(done, run(&g, x0, work, cells, mask));
    if (soft)
        memcpy(soft, x0, total * sizeof *soft);
done:
    memory_free(&g.times);
    memory_free(&g.null_text);
    memory_free(&g.unguided);
    memory_free(&g.given);
    memory_free(&x0);
    memory_free(&work);
    memory_free(&mask);
    return st;
}
