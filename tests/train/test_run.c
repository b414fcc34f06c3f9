/* Whole runs in one process: the loss falls, same seed same bytes, early stopping, and the parts around a step. */
#include "train_test.h"
#include "base/log.h"
#include "train/train.h"
#include "train/trainer.h"
#include "train/weights.h"
#include "train_flows.h"
#include <math.h>

static comm *world;
static char *home; /* holds the dataset */

static int open_all(void **state) {
    assert_ok(comm_open(&world));
    log_setup("test", comm_rank(world), comm_size(world), true);
    home = new_folder();
    char *path = text_format("%s/dataset.h5", home);
    assert_ok(train_dataset(path, 12));
    free(path);
    return 0;
}

static int close_all(void **state) {
    drop_folder(home);
    return comm_finish(&world, ST_OK);
}

/* A run in a folder of its own on the common dataset. */
static status run_in(const char *folder, const char *const *more) {
    char *from = text_format("data.dataset=%s/dataset.h5", home);
    const char *all[16] = {from};
    for (size_t i = 0; more[i] != NULL; i++)
        all[1 + i] = more[i];
    experiment *e = tiny_experiment(folder, all);
    status st = train_run(e, world);
    experiment_free(&e);
    free(from);
    return st;
}

/* A trainer that is ready for its first step, in a folder of its own. */
typedef struct bench {
    char *folder;
    experiment *e;
    trainer *t;
} bench;

static bench open_bench(const char *const *more) {
    bench b = {.folder = new_folder()};
    char *from = text_format("data.dataset=%s/dataset.h5", home);
    const char *all[16] = {from};
    bool finished;
    for (size_t i = 0; more[i] != NULL; i++)
        all[1 + i] = more[i];
    b.e = tiny_experiment(b.folder, all);
    free(from);
    assert_ok(trainer_open(&b.t, b.e, world));
    assert_ok(trainer_prepare(b.t));
    assert_ok(trainer_resume(b.t, &finished));
    assert_false(finished);
    return b;
}

static void close_bench(bench *b) {
    trainer_close(&b->t);
    experiment_free(&b->e);
    drop_folder(b->folder);
}

static void steps(trainer *t, int n) {
    bool stop;
    for (int i = 0; i < n; i++)
        assert_ok(trainer_step(t, &stop));
}

/* The nth number of field `field` in loss.jsonl lines that have it; n is set to how many there are. */
static double *read_field(const char *folder, const char *mode, const char *field, size_t *n) {
    char *path = text_format("%s/train/%s/loss.jsonl", folder, mode), *text, *key = text_format("\"%s\": ", field);
    size_t nbytes;
    assert_ok(file_read(path, 1 << 24, &text, &nbytes));
    double *value = calloc(nbytes, sizeof *value);
    *n = 0;
    for (char *at = text; (at = strstr(at, key)) != NULL;) {
        at += strlen(key);
        value[(*n)++] = strtod(at, NULL);
    }
    free(text);
    free(key);
    free(path);
    return value;
}

static double mean(const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

static void test_loss_falls(void **state) {
    char *folder = new_folder();
    size_t n, nval;
    assert_ok(run_in(folder, (const char *const[]){"train.base.steps=150", "train.validate_every=50", NULL}));
    double *loss = read_field(folder, "base", "loss", &n), *val = read_field(folder, "base", "validation_loss", &nval);
    assert_int_equal(n, 150);
    assert_int_equal(nval, 3);
    /* The first prediction is zero in every cell, so the first loss is the share of present cells. */
    assert_true(loss[0] > 0.05 && loss[0] < 1);
    assert_true(mean(loss + 130, 20) < 0.5 * loss[0]);
    assert_true(val[2] < val[0] && val[2] < 0.5 * loss[0]);
    free(loss);
    free(val);
    drop_folder(folder);
}

/* The very first step of the output layer's zero weights: loss = mean of x0 squared over the batch, nothing for
 * rows that are given. */
static void test_first_loss(void **state) {
    bench b = open_bench((const char *const[]){NULL});
    trainer *t = b.t;
    steps(t, 1);
    double sum = 0;
    size_t n = t->n * t->data->rows * t->data->cells;
    for (size_t i = 0; i < n; i++)
        sum += (double)t->batch.weight[i] * (double)t->batch.x0[i] * (double)t->batch.x0[i];
    assert_true(fabs(t->loss - sum / (double)n) <= 1e-6 * t->loss); /* one rounding to float */
    close_bench(&b);
}

/* Validation leaves weights and average as they were, to the bit, and finds the same loss again. */
static void test_validation_is_pure(void **state) {
    bench b = open_bench((const char *const[]){NULL});
    trainer *t = b.t;
    steps(t, 5);
    float *average = malloc(t->p->ntrained * sizeof *average);
    memcpy(average, t->average, t->p->ntrained * sizeof *average);
    uint64_t hash = weights_hash(t->p);
    assert_ok(trainer_validate(t));
    double first = t->validation_loss;
    assert_true(weights_hash(t->p) == hash);
    assert_memory_equal(average, t->average, t->p->ntrained * sizeof *average);
    assert_ok(trainer_validate(t));
    assert_true(t->validation_loss == first);
    free(average);
    close_bench(&b);
}

/* On the tape and off it, a sample has the same text. The encoder's products have sums of at most 4 * 16 terms in
 * float, in another order for other batch sizes, through two residual branches: a few hundred roundings of values
 * near 1. */
static void test_text(void **state) {
    bench b = open_bench((const char *const[]){"train.drop_prompt=0.3", NULL});
    trainer *t = b.t;
    size_t width = model_text_width(t->model);
    for (uint64_t step = 0; step < 4; step++) {
        batch_draw(&t->batch, t->data, &t->rule, step, 0, t->n, 1);
        nn_begin(t->session, true);
        tensor *taped = text_on_tape(t), *embedded = text_embedded(t);
        assert_ok(nn_status(t->session));
        assert_int_equal(taped->dim[0], t->n);
        assert_int_equal(taped->dim[1], width);
        for (size_t i = 0; i < t->n * width; i++)
            assert_true(fabsf(taped->data[i] - embedded->data[i]) <= 300 * 6e-8f * fmaxf(1, fabsf(embedded->data[i])));
    }
    /* All prompts dropped, and all there. */
    for (int all = 0; all < 2; all++) {
        for (size_t i = 0; i < t->n; i++)
            t->batch.label[i] = all ? (int32_t)(i % 3) : -1;
        nn_begin(t->session, true);
        tensor *taped = text_on_tape(t), *embedded = text_embedded(t);
        assert_ok(nn_status(t->session));
        for (size_t i = 0; i < t->n * width; i++)
            assert_true(fabsf(taped->data[i] - embedded->data[i]) <= 300 * 6e-8f * fmaxf(1, fabsf(embedded->data[i])));
    }
    close_bench(&b);
}

static void check_estimate(const char *const *settings) {
    bench b = open_bench(settings);
    steps(b.t, 1);
    double estimate = plan_session_nbytes(b.t, b.t->n), held = (double)nn_peak_nbytes(b.t->session);
    if (estimate > 1.3 * held || held > 1.3 * estimate)
        fail_msg("%s: estimate %.0f, held %.0f bytes", settings[0], estimate, held);
    close_bench(&b);
}

/* The memory that --dry-run announces is that of the step, within a factor of 1.3. */
static void test_memory_estimate(void **state) {
    static const char *const table[][5] = {
        {"model.width=64", "model.layers=4", "model.packets=16", NULL},
        {"model.packets=16", "train.batch=16", "model.text_width=64", NULL},
        {"model.layout=nprint", NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        check_estimate(table[i]);
    char *folder = new_folder(), *base = text_format("model.dir=%s/model", folder);
    assert_ok(run_in(folder, (const char *const[]){"train.base.steps=1", "model.layers=4", "model.width=64", NULL}));
    check_estimate((const char *const[]){"train.mode=control", base, NULL});
    check_estimate((const char *const[]){"train.mode=lora", "train.lora.labels=web", base, NULL});
    free(base);
    drop_folder(folder);
}

static void file_hash(const char *folder, const char *name, char hex[65]) {
    char *path = text_format("%s/model/%s", folder, name);
    assert_ok(file_sha256(path, hex));
    free(path);
}

static const char weights_file[] = "transformer/diffusion_pytorch_model.safetensors";

static void test_same_seed_same_bytes(void **state) {
    char *a = new_folder(), *b = new_folder(), *c = new_folder(), ha[65], hb[65], hc[65];
    size_t na, nb;
    assert_ok(run_in(a, (const char *const[]){"train.base.steps=12", "seed=3", NULL}));
    assert_ok(run_in(b, (const char *const[]){"train.base.steps=12", "seed=3", "train.checkpoint_every=5", NULL}));
    assert_ok(run_in(c, (const char *const[]){"train.base.steps=12", "seed=4", NULL}));
    file_hash(a, weights_file, ha);
    file_hash(b, weights_file, hb);
    file_hash(c, weights_file, hc);
    assert_string_equal(ha, hb);
    assert_string_not_equal(ha, hc);
    double *la = read_field(a, "base", "loss", &na), *lb = read_field(b, "base", "loss", &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(la, lb, na * sizeof *la);
    free(la);
    free(lb);
    drop_folder(a);
    drop_folder(b);
    drop_folder(c);
}

/* With a learning rate of zero no validation is better than the first: the run ends `patience` validations later. */
static void test_early_stop(void **state) {
    char *folder = new_folder();
    size_t n, nval;
    assert_ok(run_in(folder, (const char *const[]){"train.base.steps=100", "train.base.learning_rate=0",
                                                   "train.validate_every=2", "train.patience=3", NULL}));
    double *loss = read_field(folder, "base", "loss", &n), *val = read_field(folder, "base", "validation_loss", &nval);
    assert_int_equal(n, 8);
    assert_int_equal(nval, 4);
    assert_true(val[0] == val[3]);
    free(loss);
    free(val);
    drop_folder(folder);
}

/* What is kept is the best, not the last: after a good start a wild learning rate spoils the weights. */
static void test_best_is_kept(void **state) {
    bench b = open_bench((const char *const[]){"train.patience=1", "train.ema=0", NULL});
    trainer *t = b.t;
    steps(t, 20);
    assert_ok(trainer_validate(t));
    double good = t->validation_loss;
    assert_false(trainer_is_done(t));
    size_t n = t->p->ntrained;
    float *best = malloc(n * sizeof *best);
    weights_get(t->p, best);
    assert_memory_equal(best, t->best, n * sizeof *best); /* without an average the weights themselves */
    for (size_t i = 0; i < n; i++)
        t->average[i] = -t->average[i];
    assert_ok(trainer_validate(t));
    assert_true(t->validation_loss > good && t->state.best_loss == good);
    assert_true(trainer_is_done(t));
    assert_memory_equal(best, t->best, n * sizeof *best);
    assert_ok(trainer_finish(t));
    model *saved;
    assert_ok(model_load(&saved, b.e->model.dir));
    assert_ok(model_train_base(saved));
    float *loaded = malloc(n * sizeof *loaded);
    assert_int_equal(model_params(saved)->ntrained, n);
    weights_get(model_params(saved), loaded);
    assert_memory_equal(best, loaded, n * sizeof *best);
    free(loaded);
    free(best);
    model_free(&saved);
    close_bench(&b);
}

/* Weights that explode are an error with advice, not a model full of NaN. */
static void test_not_finite(void **state) {
    char *folder = new_folder();
    assert_fails(run_in(folder, (const char *const[]){"train.base.learning_rate=10", "train.base.steps=400",
                                                      "train.weight_decay=10", "train.warmup=0", "train.clip=0",
                                                      "train.validate_every=1000", NULL}),
                 ST_RANGE, "lower train.base.learning_rate");
    char *index = text_format("%s/model/model_index.json", folder);
    assert_false(file_exists(index));
    free(index);
    drop_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss_falls),         cmocka_unit_test(test_first_loss),
        cmocka_unit_test(test_validation_is_pure), cmocka_unit_test(test_text),
        cmocka_unit_test(test_memory_estimate),    cmocka_unit_test(test_same_seed_same_bytes),
        cmocka_unit_test(test_early_stop),         cmocka_unit_test(test_best_is_kept),
        cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
