/* A tiny model and the functions that the tests of this folder share. */
#ifndef ND_TESTS_MODEL_FIXTURE_H
#define ND_TESTS_MODEL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "model/model.h"

#define OK(expression)                                                                                                 \
    do {                                                                                                               \
        status ok_st_ = (expression);                                                                                  \
        if (ok_st_ != ST_OK)                                                                                           \
            fail_msg("%s: %s: %s", #expression, status_name(ok_st_), status_message());                                \
    } while (0)

/* The expression fails with this status, and the message names all of the texts (NULL-terminated). */
#define FAILS(expected, expression, ...)                                                                               \
    fixture_fails((expected), (expression), #expression, (const char *const[]){__VA_ARGS__, NULL})

static inline void fixture_fails(status expected, status got, const char *what, const char *const *texts) {
    if (got != expected)
        fail_msg("%s: %s (%s) where %s was expected", what, status_name(got), status_message(), status_name(expected));
    for (; *texts; texts++)
        if (!strstr(status_message(), *texts))
            fail_msg("%s: \"%s\" does not name %s", what, status_message(), *texts);
}

enum { FIXTURE_PACKETS = 6, FIXTURE_PROMPTS = 3 };

static char *fixture_prompt[FIXTURE_PROMPTS] = {(char *)"pixelated network data, type-0",
                                                (char *)"pixelated network data, type-1", (char *)"a video call"};

static inline model_config fixture_config(control_inputs control) {
    return (model_config){.layout = "relative",
                          .packets = FIXTURE_PACKETS,
                          .context = 2,
                          .width = 16,
                          .layers = 3,
                          .head = 8,
                          .text_width = 16,
                          .text_layers = 2,
                          .text_tokens = 16,
                          .control = control};
}

static inline model *fixture_model(control_inputs control) {
    model *m = NULL;
    model_config c = fixture_config(control);
    OK(model_new(&m, &c, &(text_list){FIXTURE_PROMPTS, fixture_prompt}, 40, 7));
    return m;
}

static inline nn *fixture_session(void) {
    nn *s = NULL;
    OK(nn_open(&s, &(nn_options){.threads = 1}));
    return s;
}

/* Move every parameter whose name contains `part` off its start, so that nothing hides behind a zero. */
static inline void fixture_shake(model *m, const char *part, float deviation) {
    params *all = model_params(m);
    for (size_t i = 0; i < all->n; i++) {
        param *p = all->item[i];
        if (!strstr(p->name, part))
            continue;
        float *noise = NULL;
        OK(NEW(p->n, &noise));
        rng r = rng_make(99, i, RNG_TEST);
        rng_normal(&r, noise, p->n);
        for (size_t k = 0; k < p->n; k++)
            p->data[k] += deviation * noise[k];
        p->version++;
        memory_free(&noise);
    }
}

/* Two noisy flows with signal, all from one stream. */
typedef struct fixture_batch {
    size_t n, nx;
    float *x, *target, *control;
    float t[2];
    const char *prompts[2];
} fixture_batch;

static inline fixture_batch fixture_batch_new(const model *m) {
    const model_config *c = model_get_config(m);
    fixture_batch b = {
        .n = 2, .nx = 2 * c->packets * c->cells, .t = {0.3f, 0.8f}, .prompts = {fixture_prompt[0], fixture_prompt[2]}};
    OK(NEW(b.nx, &b.x));
    OK(NEW(b.nx, &b.target));
    OK(NEW(2 * c->packets * CONTROL_WIDTH, &b.control));
    rng r = rng_make(5, 0, RNG_TEST);
    rng_normal(&r, b.x, b.nx);
    rng_normal(&r, b.target, b.nx);
    for (size_t i = 0; i < 2 * c->packets * CONTROL_WIDTH; i++)
        b.control[i] = (float)rng_below(&r, 2);
    return b;
}

static inline void fixture_batch_free(fixture_batch *b) {
    memory_free(&b->x);
    memory_free(&b->target);
    memory_free(&b->control);
}

/* The prediction on the tape of a step that begins here. */
static inline tensor *fixture_forward(nn *s, model *m, const fixture_batch *b, bool record, bool control,
                                      bool controlnet) {
    nn_begin(s, record);
    tensor *text = model_embed_text_tape(s, m, b->n, b->prompts);
    tensor *y = model_predict(s, m,
                              &(model_input){.n = b->n,
                                             .x = b->x,
                                             .t = b->t,
                                             .text = text,
                                             .control = control ? b->control : NULL,
                                             .controlnet = controlnet});
    OK(nn_status(s));
    return y;
}

/* The same, copied out; the caller frees. */
static inline float *fixture_predict(nn *s, model *m, const fixture_batch *b, bool control, bool controlnet) {
    float *out = NULL;
    OK(NEW(b->nx, &out));
    memcpy(out, fixture_forward(s, m, b, false, control, controlnet)->data, b->nx * sizeof *out);
    return out;
}

static inline double fixture_loss(nn *s, model *m, const fixture_batch *b, bool record, bool controlnet) {
    tensor *loss = op_mse(s, fixture_forward(s, m, b, record, true, controlnet), b->target, NULL);
    OK(nn_status(s));
    if (record)
        OK(nn_backward(s, loss));
    return loss->data[0];
}

static inline double fixture_distance(const float *x, const float *y, size_t n) {
    double worst = 0;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)x[i] - y[i]));
    return worst;
}

static inline char *fixture_folder(void) {
    char *path = text_copy("/tmp/nd-model-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

static inline void fixture_folder_free(char *path) {
    OK(file_remove_tree(path));
    free(path);
}

#endif
