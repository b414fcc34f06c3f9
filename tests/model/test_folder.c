/* A model's folder: what is saved loads to the bit; what does not fit is refused by name. */
#include "model/fixture.h"

#include <jansson.h>
#include "io/safetensors.h"

static void same_predictions(model *a, model *b, bool controlnet) {
    nn *s = fixture_session();
    fixture_batch batch = fixture_batch_new(a);
    float *x = fixture_predict(s, a, &batch, true, controlnet), *y = fixture_predict(s, b, &batch, true, controlnet);
    assert_memory_equal(x, y, batch.nx * sizeof *x);
    double size = 0;
    for (size_t i = 0; i < batch.nx; i++)
        size = fmax(size, fabs(x[i]));
    assert_true(size > 0.01); /* not the zero of fresh weights */
    memory_free(&x);
    memory_free(&y);
    fixture_batch_free(&batch);
    nn_close(&s);
}

static void folder_round_trips_to_the_bit(void **state) {
    char *folder = fixture_folder();
    for (int control = CONTROL_LENGTH; control <= CONTROL_FULL; control++) {
        model *m = fixture_model((control_inputs)control), *back = NULL;
        fixture_shake(m, "", 0.1f);
        OK(model_save(m, folder));
        OK(model_load(&back, folder));
        const model_config *a = model_get_config(m), *b = model_get_config(back);
        assert_string_equal(a->layout, b->layout);
        assert_true(a->cells == b->cells && a->packets == b->packets && a->context == b->context &&
                    a->width == b->width && a->layers == b->layers && a->head == b->head &&
                    a->text_width == b->text_width && a->text_layers == b->text_layers &&
                    a->text_tokens == b->text_tokens && a->control == b->control);
        same_predictions(m, back, false);
        model_free(&m);
        model_free(&back);
    }
    fixture_folder_free(folder);
}

static void controlnet_round_trips_to_the_bit(void **state) {
    char *folder = fixture_folder();
    model *m = fixture_model(CONTROL_LENGTH), *back = NULL;
    FAILS(ST_USAGE, model_save_controlnet(m, folder), "no ControlNet");
    OK(model_train_control(m));
    fixture_shake(m, "", 0.1f);
    OK(model_save(m, folder));
    OK(model_save_controlnet(m, folder));
    OK(model_load(&back, folder));
    assert_false(model_has_controlnet(back));
    OK(model_load_controlnet(back, folder));
    assert_true(model_has_controlnet(back));
    same_predictions(m, back, true);
    FAILS(ST_USAGE, model_load_controlnet(back, folder), "already");
    model_free(&m);
    model_free(&back);
    fixture_folder_free(folder);
}

static void same_seed_same_weights(void **state) {
    model *a = fixture_model(CONTROL_LENGTH), *b = fixture_model(CONTROL_LENGTH), *c = NULL;
    model_config other = fixture_config(CONTROL_LENGTH);
    OK(model_new(&c, &other, &(text_list){FIXTURE_PROMPTS, fixture_prompt}, 40, 8));
    params *pa = model_params(a), *pb = model_params(b), *pc = model_params(c);
    size_t differ = 0;
    for (size_t i = 0; i < pa->n; i++) {
        assert_memory_equal(pa->item[i]->data, pb->item[i]->data, pa->item[i]->n * sizeof(float));
        differ += memcmp(pa->item[i]->data, pc->item[i]->data, pa->item[i]->n * sizeof(float)) != 0;
        assert_true(pa->item[i]->frozen && !pa->item[i]->grad);
    }
    assert_true(differ > pa->n / 4);
    model_free(&a);
    model_free(&b);
    model_free(&c);
}

static void bad_configurations_are_refused(void **state) {
    static const struct {
        size_t offset, value;
        const char *name;
    } row[] = {{offsetof(model_config, cells), 7, "cells"},
               {offsetof(model_config, packets), 0, "packets"},
               {offsetof(model_config, context), FIXTURE_PACKETS, "context"},
               {offsetof(model_config, width), 0, "width"},
               {offsetof(model_config, width), 100000, "width"},
               {offsetof(model_config, layers), 0, "layers"},
               {offsetof(model_config, layers), 1000, "layers"},
               {offsetof(model_config, head), 0, "head"},
               {offsetof(model_config, head), 5, "head size"},
               {offsetof(model_config, text_width), 0, "text_width"},
               {offsetof(model_config, text_layers), 0, "text_layers"},
               {offsetof(model_config, text_tokens), 1, "text_tokens"}};
    model *m = NULL;
    text_list corpus = {FIXTURE_PROMPTS, fixture_prompt};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        model_config c = fixture_config(CONTROL_LENGTH);
        memcpy((char *)&c + row[i].offset, &row[i].value, sizeof row[i].value);
        FAILS(ST_RANGE, model_new(&m, &c, &corpus, 4, 1), row[i].name);
        assert_null(m);
    }
    model_config c = fixture_config(CONTROL_LENGTH);
    strcpy(c.layout, "sideways");
    FAILS(ST_RANGE, model_new(&m, &c, &corpus, 4, 1), "sideways", "relative");
}

/* ---- Damaged folders ---- */

/* Set `key` of a JSON file (value NULL: remove it). Takes over value. */
static void edit_json(const char *folder, const char *name, const char *key, json_t *value) {
    char *path = text_format("%s/%s", folder, name);
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    assert_non_null(root);
    if (value)
        json_object_set_new(root, key, value);
    else
        json_object_del(root, key);
    assert_int_equal(json_dump_file(root, path, 0), 0);
    json_decref(root);
    free(path);
}

static void wrong_configurations_are_named(void **state) {
    static const struct {
        const char *file, *key;
        json_int_t number; /* -1: the text */
        const char *text;  /* NULL: the key is removed */
        const char *message;
    } row[] = {
        {"model_index.json", "_class_name", -1, "StableDiffusionPipeline", "StableDiffusionPipeline"},
        {"model_index.json", "layout", -1, "nprint", "layout is relative"},
        {"model_index.json", "layout", -1, "sideways", "sideways"},
        {"model_index.json", "layout", -1, NULL, "layout"},
        {"transformer/config.json", "layout", -1, "nprint", "layout"},
        {"transformer/config.json", "layout", -1, "a name that is longer than any layout's", "unknown"},
        {"transformer/config.json", "cells", 5, NULL, "5 cells"},
        {"transformer/config.json", "cells", 0, NULL, "cells"},
        {"transformer/config.json", "context", 6, NULL, "context"},
        {"transformer/config.json", "width", -1, NULL, "width"},
        {"transformer/config.json", "width", 1 << 30, NULL, "width"},
        {"transformer/config.json", "width", -2, NULL, "width"},
        {"transformer/config.json", "layers", 200, NULL, "blocks.3"},
        {"transformer/config.json", "layers", 2, NULL, "blocks.2"},
        {"transformer/config.json", "packets", 7, NULL, "position.weight"},
        {"transformer/config.json", "control", -1, "some", "some"},
        {"text_encoder/config.json", "hidden_size", 32, NULL, "hidden_size"},
        {"text_encoder/config.json", "num_attention_heads", 3, NULL, "3 heads"},
        {"text_encoder/config.json", "num_attention_heads", 0, NULL, "0 heads"},
        {"text_encoder/config.json", "vocab_size", 10, NULL, "tokenizer"},
        {"text_encoder/config.json", "eos_token_id", 1, NULL, "tokenizer"},
        {"text_encoder/config.json", "max_position_embeddings", 20, NULL, "position_embedding"},
        {"text_encoder/config.json", "intermediate_size", 65, NULL, "fc1"},
        {"text_encoder/config.json", "hidden_act", -1, "gelu", "quick_gelu"},
        {"scheduler/scheduler_config.json", "prediction_type", -1, "epsilon", "epsilon"},
        {"scheduler/scheduler_config.json", "shift", 1, NULL, "shift"},
        {"scheduler/scheduler_config.json", "schedule", -1, NULL, "schedule"},
    };
    model *m = fixture_model(CONTROL_LENGTH), *none = NULL;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *folder = fixture_folder();
        OK(model_save(m, folder));
        json_t *value = row[i].number != -1 ? json_integer(row[i].number)
                        : row[i].text       ? json_string(row[i].text)
                                            : NULL;
        edit_json(folder, row[i].file, row[i].key, value);
        /* A transformer of another shape is found in its weights. */
        bool weights =
            strchr(row[i].message, '.') || strstr(row[i].message, "position_") || !strcmp(row[i].message, "fc1");
        FAILS(ST_FORMAT, model_load(&none, folder), weights ? "safetensors" : row[i].file, row[i].message);
        assert_null(none);
        fixture_folder_free(folder);
    }
    model_free(&m);
}

/* Rewrite a weights file with one tensor left out, reshaped, added, or with a NaN as its last value. */
typedef enum damage { REMOVED, FLATTENED, ADDED, UNDEFINED } damage;

static void damage_weights(const char *path, const char *name, damage kind) {
    safetensors *file = NULL;
    safetensor list[512];
    static const float zero[4];
    float *changed = NULL;
    size_t n = 0;
    OK(safetensors_open(&file, path));
    assert_true(safetensors_count(file) < 511);
    for (size_t i = 0; i < safetensors_count(file); i++) {
        safetensor t = *safetensors_get(file, i);
        if (strcmp(t.name, name) == 0) {
            if (kind == REMOVED)
                continue;
            t.dim[0] *= t.dim[1];
            t.ndim = 1;
            if (kind == UNDEFINED) {
                OK(NEW(t.dim[0], &changed));
                memcpy(changed, t.data, t.dim[0] * sizeof *changed);
                changed[t.dim[0] - 1] = NAN;
                t = *safetensors_get(file, i);
                t.data = changed;
            }
        }
        list[n++] = t;
    }
    if (kind == ADDED)
        list[n++] = (safetensor){.name = name, .ndim = 1, .dim = {4}, .data = zero};
    OK(safetensors_write(path, list, n, NULL));
    safetensors_close(&file);
    memory_free(&changed);
}

static void wrong_weights_are_named(void **state) {
    static const struct {
        const char *file, *tensor;
        damage kind;
    } row[] = {
        {"transformer/diffusion_pytorch_model.safetensors", "blocks.1.qkv.weight", REMOVED},
        {"transformer/diffusion_pytorch_model.safetensors", "output.weight", FLATTENED},
        {"transformer/diffusion_pytorch_model.safetensors", "blocks.9.surplus", ADDED},
        {"transformer/diffusion_pytorch_model.safetensors", "blocks.0.qkv.weight", UNDEFINED},
        {"text_encoder/model.safetensors", "text_model.embeddings.token_embedding.weight", REMOVED},
        {"text_encoder/model.safetensors", "text_model.encoder.layers.1.mlp.fc2.weight", FLATTENED},
        {"text_encoder/model.safetensors", "text_model.surplus", ADDED},
        {"controlnet/diffusion_pytorch_model.safetensors", "zero.0.weight", REMOVED},
        {"controlnet/diffusion_pytorch_model.safetensors", "input.weight", FLATTENED},
        {"controlnet/diffusion_pytorch_model.safetensors", "surplus", ADDED},
        {"controlnet/diffusion_pytorch_model.safetensors", "input.weight", UNDEFINED},
    };
    model *m = fixture_model(CONTROL_LENGTH), *none = NULL;
    OK(model_train_control(m));
    fixture_shake(m, "", 0.1f);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *folder = fixture_folder(), *path = text_format("%s/%s", folder, row[i].file);
        OK(model_save(m, folder));
        OK(model_save_controlnet(m, folder));
        damage_weights(path, row[i].tensor, row[i].kind);
        if (strncmp(row[i].file, "controlnet", 10) == 0) {
            OK(model_load(&none, folder));
            size_t n = model_params(none)->n;
            FAILS(ST_FORMAT, model_load_controlnet(none, folder), row[i].file, row[i].tensor);
            assert_int_equal(model_params(none)->n, n); /* nothing is left behind: the right file still loads */
            OK(model_save_controlnet(m, folder));
            OK(model_load_controlnet(none, folder));
            same_predictions(m, none, true);
            model_free(&none);
        } else {
            FAILS(ST_FORMAT, model_load(&none, folder), row[i].file, row[i].tensor);
            assert_null(none);
        }
        free(path);
        fixture_folder_free(folder);
    }
    model_free(&m);
}

/* A second model whose saving fails half way: the folder holds parts of both, and is none. */
static void half_a_save_does_not_load(void **state) {
    char *folder = fixture_folder(), *scheduler = text_format("%s/scheduler", folder),
         *aside = text_format("%s/aside", folder);
    model *m = fixture_model(CONTROL_LENGTH), *back = NULL;
    OK(model_save(m, folder));
    assert_int_equal(rename(scheduler, aside), 0);
    OK(file_write(scheduler, "", 0)); /* a file where a folder is wanted */
    fixture_shake(m, "", 0.1f);
    FAILS(ST_IO, model_save(m, folder), "scheduler");
    assert_int_equal(remove(scheduler), 0);
    assert_int_equal(rename(aside, scheduler), 0);
    FAILS(ST_IO, model_load(&back, folder), "model_index.json");
    OK(model_save(m, folder));
    OK(model_load(&back, folder));
    model_free(&back);
    model_free(&m);
    free(scheduler);
    free(aside);
    fixture_folder_free(folder);
}

static void missing_files_are_named(void **state) {
    static const char *const files[] = {"model_index.json",
                                        "tokenizer/vocab.json",
                                        "tokenizer/merges.txt",
                                        "text_encoder/config.json",
                                        "text_encoder/model.safetensors",
                                        "transformer/config.json",
                                        "transformer/diffusion_pytorch_model.safetensors",
                                        "scheduler/scheduler_config.json"};
    model *m = fixture_model(CONTROL_LENGTH), *none = NULL;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *folder = fixture_folder(), *path = text_format("%s/%s", folder, files[i]);
        OK(model_save(m, folder));
        assert_int_equal(remove(path), 0);
        FAILS(ST_IO, model_load(&none, folder), files[i]);
        OK(file_write(path, "{", 1)); /* and a file that is none */
        FAILS(ST_FORMAT, model_load(&none, folder), files[i]);
        free(path);
        fixture_folder_free(folder);
    }
    model_free(&m);
}

static void controlnet_of_another_base_is_refused(void **state) {
    char *folder = fixture_folder();
    model *m = fixture_model(CONTROL_LENGTH), *other = NULL;
    OK(model_train_control(m));
    OK(model_save_controlnet(m, folder));
    model_config c = fixture_config(CONTROL_LENGTH);
    c.packets++;
    OK(model_new(&other, &c, &(text_list){FIXTURE_PROMPTS, fixture_prompt}, 4, 1));
    FAILS(ST_FORMAT, model_load_controlnet(other, folder), "controlnet/config.json", "6 packets", "7");
    edit_json(folder, "controlnet/config.json", "controlnet_layers", json_integer(4));
    model_free(&other);
    c.packets--;
    OK(model_new(&other, &c, &(text_list){FIXTURE_PROMPTS, fixture_prompt}, 4, 1));
    FAILS(ST_FORMAT, model_load_controlnet(other, folder), "controlnet_layers 4");
    model_free(&m);
    model_free(&other);
    fixture_folder_free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folder_round_trips_to_the_bit),
        cmocka_unit_test(controlnet_round_trips_to_the_bit),
        cmocka_unit_test(same_seed_same_weights),
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(wrong_configurations_are_named),
        cmocka_unit_test(wrong_weights_are_named),
        cmocka_unit_test(half_a_save_does_not_load),
        cmocka_unit_test(missing_files_are_named),
        cmocka_unit_test(controlnet_of_another_base_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
