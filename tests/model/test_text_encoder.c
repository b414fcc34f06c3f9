/* Text encoder and tokenizer against numbers that transformers' CLIPTextModel and CLIPTokenizer gave (data/clip, made
 * by reference_clip.py). */
#include "model/fixture.h"

#include "io/safetensors.h"
#include "model/text_encoder.h"

enum { TEXTS = 6, TOKENS = 12, WIDTH = 16 };

static const text_config config_of_reference = {
    .vocabulary = 529, .width = WIDTH, .layers = 2, .heads = 2, .inner = 40, .tokens = TOKENS};

static char *data_path(const char *name) {
    const char *source = getenv("ND_SOURCE");
    return text_format("%s/tests/model/data/clip/%s", source ? source : ".", name);
}

typedef struct reference {
    safetensors *weights, *expected;
    params params;
    text_encoder encoder;
    int32_t ids[TEXTS * TOKENS];
    int32_t end_id;
} reference;

static reference reference_open(void) {
    reference r = {.end_id = 528};
    char *weights = data_path("text_encoder/model.safetensors"), *expected = data_path("expected.safetensors");
    OK(safetensors_open(&r.weights, weights));
    OK(safetensors_open(&r.expected, expected));
    params_init(&r.params);
    builder b;
    OK(build_begin(&b, &r.params, "", r.weights, weights));
    OK(build_end(&b, text_encoder_build(&r.encoder, &config_of_reference, &b)));
    const safetensor *ids = safetensors_find(r.expected, "ids");
    assert_non_null(ids);
    for (size_t i = 0; i < TEXTS * TOKENS; i++)
        r.ids[i] = (int32_t)ids->data[i];
    free(weights);
    free(expected);
    return r;
}

static void reference_close(reference *r) {
    text_encoder_free(&r->encoder);
    params_free(&r->params);
    safetensors_close(&r->weights);
    safetensors_close(&r->expected);
}

/* Both sides are float32: values of size 1 to 3, sums of at most some hundred terms, so 1e-7 * 3 * sqrt(500) or so. */
static void near(const char *name, const float *got, const safetensor *t, size_t n, double tolerance) {
    assert_non_null(t);
    size_t count = 1;
    for (int i = 0; i < t->ndim; i++)
        count *= t->dim[i];
    assert_int_equal(count, n);
    double worst = fixture_distance(got, t->data, n);
    if (!(worst <= tolerance))
        fail_msg("%s differs by %g", name, worst);
}

static void token_ids_are_clips(void **state) {
    reference r = reference_open();
    char *folder = data_path("tokenizer"), *path = data_path("texts.txt"), *texts = NULL;
    size_t nbytes, line = 0;
    tokenizer *t = NULL;
    OK(tokenizer_load(&t, folder));
    OK(file_read(path, 4096, &texts, &nbytes));
    for (char *text = texts, *end; (end = strchr(text, '\n')); text = end + 1, line++) {
        int32_t ids[TOKENS];
        size_t first_end;
        *end = 0;
        assert_true(line < TEXTS);
        OK(tokenizer_encode(t, text, TOKENS, ids, &first_end));
        if (memcmp(ids, r.ids + line * TOKENS, sizeof ids) != 0)
            fail_msg("\"%s\" has other ids", text);
    }
    assert_int_equal(line, TEXTS);
    tokenizer_free(&t);
    free(texts);
    free(path);
    free(folder);
    reference_close(&r);
}

static void outputs_are_clips(void **state) {
    reference r = reference_open();
    nn *s = fixture_session();
    nn_begin(s, false);
    tensor *states = text_encoder_states(s, &r.encoder, TEXTS, TOKENS, r.ids);
    tensor *pooled = text_encoder_pooled(s, &r.encoder, TEXTS, TOKENS, r.ids, r.end_id);
    OK(nn_status(s));
    near("states", states->data, safetensors_find(r.expected, "states"), TEXTS * TOKENS * WIDTH, 2e-5);
    near("pooled", pooled->data, safetensors_find(r.expected, "pooled"), TEXTS * WIDTH, 2e-5);
    nn_close(&s);
    reference_close(&r);
}

/* Attention is causal: what stands behind the end token changes nothing, and shorter inputs need no padding. */
static void padding_is_not_needed(void **state) {
    enum { SHORT = 4 };
    reference r = reference_open();
    nn *s = fixture_session();
    int32_t ids[SHORT];
    memcpy(ids, r.ids + 3 * TOKENS, sizeof ids); /* the empty text */
    assert_int_equal(ids[1], r.end_id);
    nn_begin(s, false);
    tensor *pooled = text_encoder_pooled(s, &r.encoder, 1, SHORT, ids, r.end_id);
    OK(nn_status(s));
    assert_true(fixture_distance(pooled->data, safetensors_find(r.expected, "pooled")->data + 3 * WIDTH, WIDTH) < 2e-5);
    nn_close(&s);
    reference_close(&r);
}

static void gradients_are_pytorchs(void **state) {
    reference r = reference_open();
    nn *s = fixture_session();
    OK(params_seal(&r.params));
    params_zero_grad(&r.params);
    nn_begin(s, true);
    tensor *pooled = text_encoder_pooled(s, &r.encoder, TEXTS, TOKENS, r.ids, r.end_id);
    OK(nn_backward(s, op_mse(s, pooled, safetensors_find(r.expected, "target")->data, NULL)));
    size_t checked = 0;
    for (size_t i = 0; i < r.params.n; i++) {
        const param *p = r.params.item[i];
        char *name = text_format("gradient.%s", p->name);
        const safetensor *t = safetensors_find(r.expected, name);
        if (t) {
            near(name, p->grad, t, p->n, 2e-5);
            checked++;
        }
        free(name);
    }
    assert_int_equal(checked, 7);
    nn_close(&s);
    reference_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(token_ids_are_clips),
        cmocka_unit_test(outputs_are_clips),
        cmocka_unit_test(padding_is_not_needed),
        cmocka_unit_test(gradients_are_pytorchs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
