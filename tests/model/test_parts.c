/* ControlNet and LoRA: nothing changes at their start, merging, files; text embeddings. */
#include "model/fixture.h"

#include "io/safetensors.h"

static void controlnet_starts_as_the_base(void **state) {
    model *m = fixture_model(CONTROL_LENGTH);
    nn *s = fixture_session();
    fixture_batch b = fixture_batch_new(m);
    fixture_shake(m, "", 0.1f);
    float *base = fixture_predict(s, m, &b, true, false);
    OK(model_train_control(m));
    float *with = fixture_predict(s, m, &b, true, true);
    assert_memory_equal(base, with, b.nx * sizeof *base);
    memory_free(&with);
    /* and it is used: once its last layers are not zero, the signal counts */
    fixture_shake(m, "controlnet.zero", 0.1f);
    fixture_shake(m, "controlnet.control", 0.1f);
    with = fixture_predict(s, m, &b, true, true);
    assert_true(fixture_distance(base, with, b.nx) > 1e-3);
    b.control[CONTROL_WIDTH + CONTROL_FLAGS] = 1 - b.control[CONTROL_WIDTH + CONTROL_FLAGS];
    float *other = fixture_predict(s, m, &b, true, true);
    assert_true(fixture_distance(other, with, b.nx) > 1e-4);
    memory_free(&other);
    memory_free(&with);
    memory_free(&base);
    fixture_batch_free(&b);
    nn_close(&s);
    model_free(&m);
}

/* With CONTROL_LENGTH the base sees whether a row exists, nothing else; a dropped signal is an all-zero one. */
static void base_reads_its_share_of_the_signal(void **state) {
    for (int kind = CONTROL_LENGTH; kind <= CONTROL_FULL; kind++) {
        model *m = fixture_model((control_inputs)kind);
        nn *s = fixture_session();
        fixture_batch b = fixture_batch_new(m);
        fixture_shake(m, "", 0.1f);
        float *start = fixture_predict(s, m, &b, true, false);
        b.control[CONTROL_FLAGS] = 1 - b.control[CONTROL_FLAGS];
        float *flag = fixture_predict(s, m, &b, true, false);
        b.control[CONTROL_EXISTS] = 1 - b.control[CONTROL_EXISTS];
        float *exists = fixture_predict(s, m, &b, true, false);
        assert_int_equal(memcmp(start, flag, b.nx * sizeof *start) != 0, kind == CONTROL_FULL);
        assert_true(fixture_distance(flag, exists, b.nx) > 1e-4);
        float *none = fixture_predict(s, m, &b, false, false);
        for (size_t i = 0; i < 2 * FIXTURE_PACKETS * CONTROL_WIDTH; i++)
            b.control[i] = 0;
        float *zero = fixture_predict(s, m, &b, true, false);
        assert_memory_equal(none, zero, b.nx * sizeof *none);
        memory_free(&start);
        memory_free(&flag);
        memory_free(&exists);
        memory_free(&none);
        memory_free(&zero);
        fixture_batch_free(&b);
        nn_close(&s);
        model_free(&m);
    }
}

/* A model with a trained-looking LoRA, and the base's prediction. */
typedef struct lora_case {
    model *m;
    nn *s;
    fixture_batch b;
    float *base, *tuned;
} lora_case;

static lora_case lora_setup(void) {
    lora_case k = {.m = fixture_model(CONTROL_FULL), .s = fixture_session()};
    k.b = fixture_batch_new(k.m);
    fixture_shake(k.m, "", 0.1f);
    k.base = fixture_predict(k.s, k.m, &k.b, true, false);
    OK(model_train_lora(k.m, 4, 8, 3));
    float *start = fixture_predict(k.s, k.m, &k.b, true, false);
    assert_memory_equal(k.base, start, k.b.nx * sizeof *start); /* B = 0 */
    memory_free(&start);
    fixture_shake(k.m, "lora_B", 0.05f);
    k.tuned = fixture_predict(k.s, k.m, &k.b, true, false);
    assert_true(fixture_distance(k.base, k.tuned, k.b.nx) > 1e-2);
    return k;
}

static void lora_teardown(lora_case *k) {
    memory_free(&k->base);
    memory_free(&k->tuned);
    fixture_batch_free(&k->b);
    nn_close(&k->s);
    model_free(&k->m);
}

static void lora_merges_and_comes_apart(void **state) {
    lora_case k = lora_setup();
    for (int round = 0; round < 2; round++) { /* merging twice is merging once */
        OK(model_merge_lora(k.m));
        float *merged = fixture_predict(k.s, k.m, &k.b, true, false);
        double distance = fixture_distance(merged, k.tuned, k.b.nx);
        if (distance > 1e-5)
            fail_msg("merged and unmerged differ by %g", distance);
        memory_free(&merged);
    }
    OK(model_unmerge_lora(k.m));
    float *apart = fixture_predict(k.s, k.m, &k.b, true, false);
    assert_memory_equal(apart, k.tuned, k.b.nx * sizeof *apart);
    memory_free(&apart);
    lora_teardown(&k);
}

/* Every linear layer has a pair, and each pair counts. */
static void every_linear_layer_has_a_pair(void **state) {
    lora_case k = lora_setup();
    params *all = model_params(k.m);
    size_t pairs = 0;
    for (size_t i = 0; i < all->n; i++) {
        param *up = all->item[i];
        if (!strstr(up->name, ".lora_B."))
            continue;
        pairs++;
        float *kept = NULL;
        OK(NEW(up->n, &kept));
        memcpy(kept, up->data, up->n * sizeof *kept);
        memset(up->data, 0, up->n * sizeof *kept);
        up->version++;
        float *without = fixture_predict(k.s, k.m, &k.b, true, false);
        if (fixture_distance(without, k.tuned, k.b.nx) < 1e-5)
            fail_msg("%s has no effect", up->name);
        memcpy(up->data, kept, up->n * sizeof *kept);
        up->version++;
        memory_free(&without);
        memory_free(&kept);
    }
    size_t matrices = 0; /* of the transformer, without tables that are no layers */
    for (size_t i = 0; i < all->n; i++) {
        const char *name = all->item[i]->name;
        matrices += strncmp(name, "transformer.", 12) == 0 && all->item[i]->ndim == 2 && !strstr(name, ".lora_") &&
                    !strstr(name, "table") && !strstr(name, "position");
    }
    assert_int_equal(pairs, matrices);
    lora_teardown(&k);
}

static void lora_file_round_trips(void **state) {
    lora_case k = lora_setup();
    char *folder = fixture_folder(), *path = text_format("%s/lora.safetensors", folder);
    char *label[] = {(char *)"skype", (char *)"a game", (char *)"reads, writes\\", (char *)"z"};
    char *key = (char *)"labels", *value = text_list_join(&(text_list){4, label});
    OK(model_save(k.m, folder));
    OK(model_save_lora(k.m, path, &(text_map){1, &key, &value}));
    model *back = NULL;
    OK(model_load(&back, folder));
    float *plain = fixture_predict(k.s, back, &k.b, true, false);
    assert_memory_equal(plain, k.base, k.b.nx * sizeof *plain);
    OK(model_load_lora(back, path, 1));
    float *tuned = fixture_predict(k.s, back, &k.b, true, false);
    assert_memory_equal(tuned, k.tuned, k.b.nx * sizeof *tuned);
    memory_free(&tuned);
    OK(model_load_lora(back, path, 0)); /* strength 0: the base */
    tuned = fixture_predict(k.s, back, &k.b, true, false);
    assert_true(fixture_distance(tuned, k.base, k.b.nx) < 1e-6);
    for (size_t i = 0; i < model_params(back)->n; i++)
        assert_true(model_params(back)->item[i]->frozen);
    text_list labels = {0};
    OK(model_lora_labels(path, &labels));
    assert_int_equal(labels.n, 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(labels.item[i], label[i]);
    text_list_clear(&labels);
    free(value);
    OK(model_save_lora(k.m, path, NULL));
    OK(model_lora_labels(path, &labels));
    assert_int_equal(labels.n, 0);
    memory_free(&plain);
    memory_free(&tuned);
    model_free(&back);
    free(path);
    fixture_folder_free(folder);
    lora_teardown(&k);
}

/* A folder saved while a LoRA is merged holds the base. */
static void saving_a_merged_model_saves_the_base(void **state) {
    lora_case k = lora_setup();
    char *folder = fixture_folder();
    model *back = NULL;
    OK(model_merge_lora(k.m));
    OK(model_save(k.m, folder));
    OK(model_load(&back, folder));
    float *plain = fixture_predict(k.s, back, &k.b, true, false);
    assert_memory_equal(plain, k.base, k.b.nx * sizeof *plain);
    memory_free(&plain);
    model_free(&back);
    fixture_folder_free(folder);
    lora_teardown(&k);
}

static void lora_of_peft_takes_alpha_from_the_rank(void **state) {
    lora_case k = lora_setup();
    char *folder = fixture_folder(), *path = text_format("%s/lora.safetensors", folder);
    OK(model_save_lora(k.m, path, NULL));
    safetensors *file = NULL;
    OK(safetensors_open(&file, path));
    safetensor *list = NULL;
    size_t n = safetensors_count(file);
    OK(NEW(n, &list));
    for (size_t i = 0; i < n; i++)
        list[i] = *safetensors_get(file, i);
    char *bare = text_format("%s/bare.safetensors", folder);
    OK(safetensors_write(bare, list, n, NULL));
    OK(model_load_lora(k.m, bare, 2)); /* alpha 4 of rank 4, twice: as strong as alpha 8 */
    float *tuned = fixture_predict(k.s, k.m, &k.b, true, false);
    assert_memory_equal(tuned, k.tuned, k.b.nx * sizeof *tuned);
    /* what is wrong is named, and leaves the LoRA as it was */
    OK(safetensors_write(bare, list, n - 1, NULL));
    FAILS(ST_FORMAT, model_load_lora(k.m, bare, 1), "bare.safetensors", list[n - 1].name, "missing");
    safetensor *longer = NULL;
    OK(NEW(n + 1, &longer));
    memcpy(longer, list, n * sizeof *list);
    longer[n] = (safetensor){.name = "transformer.surplus.lora_A.weight", .ndim = 1, .dim = {1}, .data = list[0].data};
    OK(safetensors_write(bare, longer, n + 1, NULL));
    FAILS(ST_FORMAT, model_load_lora(k.m, bare, 1), "transformer.surplus.lora_A.weight", "unknown");
    char *key = (char *)"lora_adapter_metadata", *value = (char *)"{\"transformer.lora_alpha\": \"x\"}";
    OK(safetensors_write(bare, list, n, &(text_map){1, &key, &value}));
    FAILS(ST_FORMAT, model_load_lora(k.m, bare, 1), "lora_alpha");
    value = (char *)"{";
    OK(safetensors_write(bare, list, n, &(text_map){1, &key, &value}));
    FAILS(ST_FORMAT, model_load_lora(k.m, bare, 1), "lora_adapter_metadata");
    float *again = fixture_predict(k.s, k.m, &k.b, true, false);
    assert_memory_equal(tuned, again, k.b.nx * sizeof *tuned);
    FAILS(ST_USAGE, model_train_lora(k.m, 5, 1, 1), "rank 5", "rank 4");
    memory_free(&again);
    memory_free(&longer);
    memory_free(&list);
    memory_free(&tuned);
    safetensors_close(&file);
    free(bare);
    free(path);
    fixture_folder_free(folder);
    lora_teardown(&k);
}

static double cosine_distance(const float *a, const float *b, size_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return 1 - ab / sqrt(aa * bb);
}

/* Prompts of labels that come later differ in one digit that was never trained: their embeddings must stay apart.
 * A cosine distance of 0.005 is an angle of 6 degrees; the same prompt gives 0. */
static void unseen_prompts_are_told_apart(void **state) {
    static const char *const prompts[] = {"pixelated network data, type-0", "pixelated network data, type-1",
                                          "pixelated network data, type-8", "pixelated network data, type-9",
                                          "pixelated network data, type-17"};
    enum { N = 5, WIDTH = 64 };
    for (uint64_t seed = 1; seed <= 5; seed++) {
        model *m = NULL;
        model_config c = fixture_config(CONTROL_LENGTH);
        c.text_width = WIDTH;
        c.text_tokens = 32;
        OK(model_new(&m, &c, &(text_list){FIXTURE_PROMPTS, fixture_prompt}, 256, seed));
        float out[N * WIDTH], alone[WIDTH];
        OK(model_embed_text(m, N, prompts, out));
        for (size_t i = 0; i < N; i++)
            for (size_t k = 0; k < i; k++) {
                double d = cosine_distance(out + i * WIDTH, out + k * WIDTH, WIDTH);
                if (d < 0.005)
                    fail_msg("seed %d: \"%s\" and \"%s\" are %g apart", (int)seed, prompts[i], prompts[k], d);
            }
        OK(model_embed_text(m, 1, prompts + 3, alone));
        assert_memory_equal(alone, out + 3 * WIDTH, sizeof alone); /* of its prompt alone */
        nn *s = fixture_session();
        nn_begin(s, false);
        tensor *tape = model_embed_text_tape(s, m, N, prompts);
        OK(nn_status(s));
        assert_true(fixture_distance(tape->data, out, N * WIDTH) < 1e-4);
        nn_close(&s);
        model_free(&m);
    }
}

/* The layer that takes the text in starts centred on the prompts and scaled to their spread; "no prompt" adds nothing.
 */
static void text_layer_starts_spread(void **state) {
    enum { WIDTH = 16 };
    model *m = fixture_model(CONTROL_LENGTH);
    const param *w = params_find(model_params(m), "transformer.text.weight");
    const param *b = params_find(model_params(m), "transformer.text.bias");
    const param *none = params_find(model_params(m), "transformer.null_text");
    float text[(FIXTURE_PROMPTS + 1) * WIDTH];
    OK(model_embed_text(m, FIXTURE_PROMPTS, (const char *const *)fixture_prompt, text));
    memcpy(text + FIXTURE_PROMPTS * WIDTH, none->data, WIDTH * sizeof *text);
    double squares = 0;
    for (size_t i = 0; i < w->dim[0]; i++) {
        double y[FIXTURE_PROMPTS + 1], mean = 0;
        for (size_t p = 0; p <= FIXTURE_PROMPTS; p++) {
            y[p] = b->data[i];
            for (size_t k = 0; k < WIDTH; k++)
                y[p] += (double)w->data[i * WIDTH + k] * text[p * WIDTH + k];
            if (p < FIXTURE_PROMPTS) {
                mean += y[p] / FIXTURE_PROMPTS;
                squares += y[p] * y[p] / FIXTURE_PROMPTS / (double)w->dim[0];
            }
        }
        assert_true(fabs(mean) < 1e-4 && fabs(y[FIXTURE_PROMPTS]) < 1e-4);
    }
    if (sqrt(squares) < 0.5 || sqrt(squares) > 2) /* Xavier on inputs of variance 1 gives 1 here */
        fail_msg("spread %g", sqrt(squares));
    model_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(controlnet_starts_as_the_base),
        cmocka_unit_test(base_reads_its_share_of_the_signal),
        cmocka_unit_test(lora_merges_and_comes_apart),
        cmocka_unit_test(every_linear_layer_has_a_pair),
        cmocka_unit_test(lora_file_round_trips),
        cmocka_unit_test(saving_a_merged_model_saves_the_base),
        cmocka_unit_test(lora_of_peft_takes_alpha_from_the_rank),
        cmocka_unit_test(unseen_prompts_are_told_apart),
        cmocka_unit_test(text_layer_starts_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
