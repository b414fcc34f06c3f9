/* Training: gradients by finite differences, what each kind of training changes, and that a tiny model learns. */
#include "model/fixture.h"

static param *find(model *m, const char *name) {
    param *p = params_find(model_params(m), name);
    if (!p)
        fail_msg("no parameter %s", name);
    return p;
}

/* Derivative along the gradient itself: (L(w + h g/|g|) - L(w - h g/|g|)) / 2h = |g|. One number per parameter, far
 * better conditioned than single weights; float32 loss (1e-7) over h = 5e-3 leaves about 1e-4 absolute, the curvature
 * less, so gradients of at least 5e-3 must agree to 3 %. */
static void check_gradient(nn *s, model *m, const fixture_batch *b, const char *name, bool controlnet) {
    param *p = find(m, name);
    params_zero_grad(model_params(m));
    fixture_loss(s, m, b, true, controlnet);
    assert_non_null(p->grad);
    double norm = 0;
    for (size_t i = 0; i < p->n; i++)
        norm += (double)p->grad[i] * p->grad[i];
    norm = sqrt(norm);
    float *start = NULL;
    OK(NEW(p->n, &start));
    memcpy(start, p->data, p->n * sizeof *start);
    double h = 5e-3, loss[2];
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < p->n; i++)
            p->data[i] = (float)(start[i] + (side ? h : -h) * p->grad[i] / norm);
        p->version++;
        loss[side] = fixture_loss(s, m, b, false, controlnet);
    }
    memcpy(p->data, start, p->n * sizeof *start);
    p->version++;
    memory_free(&start);
    double numeric = (loss[1] - loss[0]) / (2 * h);
    if (norm < 5e-3 || fabs(numeric - norm) > 0.03 * norm)
        fail_msg("%s: gradient %g, finite difference %g", name, norm, numeric);
}

static void base_gradients_are_right(void **state) {
    static const char *const names[] = {
        "text_model.embeddings.token_embedding.weight",
        "text_model.embeddings.position_embedding.weight",
        "text_model.encoder.layers.0.self_attn.q_proj.weight",
        "text_model.encoder.layers.1.self_attn.v_proj.weight",
        "text_model.encoder.layers.1.mlp.fc1.bias",
        "text_model.final_layer_norm.weight",
        "transformer.input.weight",
        "transformer.position.weight",
        "transformer.control.weight",
        "transformer.time.linear_1.weight",
        "transformer.time.linear_2.bias",
        "transformer.text.weight",
        "transformer.modulation.weight",
        "transformer.blocks.0.table",
        "transformer.blocks.1.qkv.weight",
        "transformer.blocks.1.out.weight",
        "transformer.blocks.2.fc1.weight",
        "transformer.blocks.2.fc2.bias",
        "transformer.final_modulation.weight",
        "transformer.output.weight",
    };
    model *m = fixture_model(CONTROL_FULL);
    nn *s = fixture_session();
    fixture_batch b = fixture_batch_new(m);
    fixture_shake(m, "", 0.2f);
    OK(model_train_base(m));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_gradient(s, m, &b, names[i], false);
    fixture_batch_free(&b);
    nn_close(&s);
    model_free(&m);
}

static void part_gradients_are_right(void **state) {
    static const char *const control[] = {"controlnet.input.weight",        "controlnet.control.weight",
                                          "controlnet.position.weight",     "controlnet.blocks.0.table",
                                          "controlnet.blocks.0.qkv.weight", "controlnet.zero.0.weight"};
    static const char *const lora[] = {
        "transformer.input.lora_A.weight",         "transformer.control.lora_B.weight",
        "transformer.text.lora_B.weight",          "transformer.modulation.lora_A.weight",
        "transformer.blocks.1.fc2.lora_A.weight",  "transformer.blocks.2.qkv.lora_B.weight",
        "transformer.time.linear_1.lora_B.weight", "transformer.output.lora_B.weight"};
    model *m = fixture_model(CONTROL_FULL);
    nn *s = fixture_session();
    fixture_batch b = fixture_batch_new(m);
    OK(model_train_control(m));
    fixture_shake(m, "", 0.2f);
    for (size_t i = 0; i < sizeof control / sizeof *control; i++)
        check_gradient(s, m, &b, control[i], true);
    OK(model_train_lora(m, 4, 8, 3));
    fixture_shake(m, "lora_B", 0.2f);
    for (size_t i = 0; i < sizeof lora / sizeof *lora; i++)
        check_gradient(s, m, &b, lora[i], true);
    fixture_batch_free(&b);
    nn_close(&s);
    model_free(&m);
}

typedef enum set { SET_BASE, SET_CONTROL, SET_LORA } set;

static set set_of(const param *p) {
    if (strstr(p->name, ".lora_"))
        return SET_LORA;
    return strncmp(p->name, "controlnet.", 11) == 0 ? SET_CONTROL : SET_BASE;
}

/* Parameters that get a gradient and that a step of optimisation changes are exactly those of the set. */
static void check_set(model *m, nn *s, const fixture_batch *b, set trained_set, size_t expected) {
    params *all = model_params(m);
    float **before = NULL;
    OK(NEW(all->n, &before));
    for (size_t i = 0; i < all->n; i++) {
        OK(NEW(all->item[i]->n, &before[i]));
        memcpy(before[i], all->item[i]->data, all->item[i]->n * sizeof(float));
    }
    adamw o;
    OK(adamw_new(&o, all, 0.9f, 0.99f, 0.01f));
    params_zero_grad(all);
    fixture_loss(s, m, b, true, model_has_controlnet(m));
    adamw_step(&o, all, 1e-2f);
    adamw_free(&o);
    size_t trained = 0, floats = 0;
    for (size_t i = 0; i < all->n; i++) {
        const param *p = all->item[i];
        bool in = set_of(p) == trained_set;
        if (p->frozen == in || (p->grad != NULL) != in)
            fail_msg("%s: frozen %d, gradient %p", p->name, p->frozen, (void *)p->grad);
        if (!in && memcmp(before[i], p->data, p->n * sizeof(float)) != 0)
            fail_msg("%s was changed", p->name);
        trained += in;
        floats += in ? p->n : 0;
        memory_free(&before[i]);
    }
    memory_free(&before);
    assert_int_equal(trained, expected);
    assert_int_equal(floats, all->ntrained);
}

static void each_training_changes_its_own_set(void **state) {
    model *m = fixture_model(CONTROL_LENGTH);
    nn *s = fixture_session();
    fixture_batch b = fixture_batch_new(m);
    fixture_shake(m, "", 0.1f);
    size_t nbase = model_params(m)->n, nlinears = 8 + 4 * 3;
    OK(model_train_base(m));
    check_set(m, s, &b, SET_BASE, nbase);
    OK(model_train_control(m));
    size_t ncontrol = model_params(m)->n - nbase;
    check_set(m, s, &b, SET_CONTROL, ncontrol);
    OK(model_train_lora(m, 2, 4, 1));
    assert_int_equal(model_params(m)->n, nbase + ncontrol + 2 * nlinears);
    check_set(m, s, &b, SET_LORA, 2 * nlinears);
    OK(model_train_control(m));
    check_set(m, s, &b, SET_CONTROL, ncontrol);
    OK(model_train_base(m));
    check_set(m, s, &b, SET_BASE, nbase);
    fixture_batch_free(&b);
    nn_close(&s);
    model_free(&m);
}

/* ---- Learning ---- */

enum { PATTERNS = 3, BATCH = 8 };
static const char *const pattern_prompt[PATTERNS] = {"pixelated network data, type-0", "pixelated network data, type-1",
                                                     "pixelated network data, type-8"};

typedef struct lesson {
    model *m;
    nn *s;
    size_t cells, size; /* of a row, of a flow */
    float *pattern;     /* (PATTERNS, size), -1 or +1 */
    float *x, *target;  /* (BATCH, size) */
    rng r;
} lesson;

static lesson lesson_new(void) {
    lesson k = {.m = fixture_model(CONTROL_LENGTH), .s = fixture_session(), .r = rng_make(2, 0, RNG_TEST)};
    const model_config *c = model_get_config(k.m);
    k.cells = c->cells;
    k.size = c->packets * c->cells;
    OK(NEW(PATTERNS * k.size, &k.pattern));
    OK(NEW(BATCH * k.size, &k.x));
    OK(NEW(BATCH * k.size, &k.target));
    size_t valid = model_layout(k.m)->fields[0].first; /* every row exists: sampling forces it */
    for (size_t i = 0; i < PATTERNS * k.size; i++)
        k.pattern[i] = i % k.cells == valid || rng_below(&k.r, 2) ? 1 : -1;
    return k;
}

static void lesson_free(lesson *k) {
    memory_free(&k->pattern);
    memory_free(&k->x);
    memory_free(&k->target);
    nn_close(&k->s);
    model_free(&k->m);
}

/* One step on patterns first .. first+n-1; returns the loss. Times are spread over 0 .. 1, denser towards 1: a flow of
 * 1758 random cells shows through any noise but the last few percent, and only there the prompt is needed. */
static double lesson_step(lesson *k, adamw *o, size_t first, size_t n, float rate) {
    const char *prompts[BATCH];
    float t[BATCH];
    rng_normal(&k->r, k->x, BATCH * k->size);
    for (size_t i = 0; i < BATCH; i++) {
        size_t which = first + i % n;
        float u = ((float)i + (float)rng_uniform(&k->r)) / BATCH;
        t[i] = 1 - u * u * u;
        prompts[i] = pattern_prompt[which];
        float alpha = schedule_alpha(t[i]), sigma = schedule_sigma(t[i]);
        for (size_t j = i * k->size; j < (i + 1) * k->size; j++) {
            k->target[j] = k->pattern[which * k->size + j % k->size];
            k->x[j] = alpha * k->target[j] + sigma * k->x[j];
        }
    }
    nn_begin(k->s, true);
    tensor *text = model_embed_text_tape(k->s, k->m, BATCH, prompts);
    tensor *y = model_predict(k->s, k->m, &(model_input){.n = BATCH, .x = k->x, .t = t, .text = text});
    tensor *loss = op_mse(k->s, y, k->target, NULL);
    params_zero_grad(model_params(k->m));
    OK(nn_backward(k->s, loss));
    params_clip_grad(model_params(k->m), 1);
    adamw_step(o, model_params(k->m), rate);
    return loss->data[0];
}

static void learn(lesson *k, size_t first, size_t n, int steps, float rate, double *start, double *end) {
    adamw o;
    OK(adamw_new(&o, model_params(k->m), 0.9f, 0.99f, 0.01f));
    *end = 0;
    for (int step = 0; step < steps; step++) {
        double loss = lesson_step(k, &o, first, n, rate * (1 - (float)step / (float)steps));
        if (step == 0)
            *start = loss;
        if (step >= steps - 20)
            *end += loss / 20;
    }
    adamw_free(&o);
}

/* Share of the cells that a sample under prompt `which` shows and that are as in its pattern. Presence hides some. */
static double share_right(lesson *k, size_t which) {
    enum { COPIES = 4 };
    size_t width = model_text_width(k->m), nexist[COPIES], shown = 0, right = 0;
    float *text = NULL;
    int8_t *cells = NULL;
    rng rngs[COPIES];
    OK(NEW((COPIES + 1) * width, &text));
    OK(NEW(COPIES * k->size, &cells));
    for (size_t i = 0; i < COPIES; i++) {
        OK(model_embed_text(k->m, 1, &pattern_prompt[which], text + i * width));
        nexist[i] = k->size / k->cells;
        rngs[i] = rng_make(1, i, RNG_SAMPLE);
    }
    OK(model_sample(k->s, k->m,
                    &(sample_request){.n = COPIES,
                                      .text = text,
                                      .null_text = text + COPIES * width,
                                      .nexist = nexist,
                                      .sampler = SAMPLER_DDIM,
                                      .steps = 5,
                                      .guidance = 1,
                                      .rngs = rngs},
                    cells, NULL));
    for (size_t i = 0; i < COPIES * k->size; i++) {
        shown += cells[i] != 0;
        right += cells[i] != 0 && cells[i] == (int8_t)k->pattern[which * k->size + i % k->size];
    }
    assert_true(shown > COPIES * nexist[0] * 20);
    memory_free(&cells);
    memory_free(&text);
    return (double)right / (double)shown;
}

/* Two patterns told apart by one digit of the prompt; then a LoRA teaches a third under a digit never trained. */
static void a_tiny_model_learns_patterns_by_prompt(void **state) {
    lesson k = lesson_new();
    double start, end;
    OK(model_train_base(k.m));
    learn(&k, 0, 2, 800, 5e-3f, &start, &end);
    assert_true(start > 0.99 && start < 1.01); /* the first prediction is 0, the target +-1 */
    if (end > 0.05)
        fail_msg("base: loss %g", end);
    for (size_t which = 0; which < 2; which++)
        if (share_right(&k, which) < 0.95)
            fail_msg("base, \"%s\": %g of the cells are right", pattern_prompt[which], share_right(&k, which));
    double before = share_right(&k, 2);
    OK(model_train_lora(k.m, 8, 16, 1));
    learn(&k, 2, 1, 200, 5e-3f, &start, &end);
    double after = share_right(&k, 2);
    if (before > 0.7 || after < 0.95)
        fail_msg("LoRA: %g of the cells are right before, %g after, loss %g", before, after, end);
    lesson_free(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base_gradients_are_right),
        cmocka_unit_test(part_gradients_are_right),
        cmocka_unit_test(each_training_changes_its_own_set),
        cmocka_unit_test(a_tiny_model_learns_patterns_by_prompt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
