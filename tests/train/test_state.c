/* What outlives a step: checkpoints, the record, averages of weights, the learning rate. */
#include "train_test.h"
#include "base/rng.h"
#include "train/checkpoint.h"
#include "train/rate.h"
#include "train/record.h"
#include "train/weights.h"
#include "train/writer.h"
#include <math.h>
#include <unistd.h>

/* ---- A run without a model: three parameters, one of them frozen ---- */

typedef struct run {
    char *folder;
    params p;
    adamw optimiser;
    float weights[18], *average, *best;
    train_state state;
    char *key[2], *value[2];
    text_map settings;
    checkpoint k;
} run;

static void fill(float *x, size_t n, uint64_t item) {
    rng r = rng_make(3, item, RNG_TEST);
    rng_normal(&r, x, n);
}

static run *new_run(const char *folder) {
    run *u = calloc(1, sizeof *u);
    param *w;
    u->folder = folder == NULL ? new_folder() : text_copy(folder);
    params_init(&u->p);
    assert_ok(params_add(&u->p, "a.weight", 2, (size_t[]){3, 5}, &w));
    assert_ok(params_add(&u->p, "frozen", 1, (size_t[]){7}, &w));
    w->frozen = true;
    assert_ok(params_add(&u->p, "a.bias", 1, (size_t[]){3}, &w));
    assert_ok(params_seal(&u->p));
    assert_int_equal(u->p.ntrained, 18);
    assert_ok(adamw_new(&u->optimiser, &u->p, 0.9f, 0.99f, 0));
    u->average = calloc(18, sizeof *u->average);
    u->best = calloc(18, sizeof *u->best);
    u->key[0] = "train.batch";
    u->value[0] = "8";
    u->key[1] = "seed";
    u->value[1] = "1";
    u->settings = (text_map){2, u->key, u->value};
    u->state = (train_state){.best_loss = INFINITY};
    u->k = (checkpoint){.p = &u->p,
                        .weights = u->weights,
                        .m = u->optimiser.m,
                        .v = u->optimiser.v,
                        .average = u->average,
                        .best = u->best,
                        .state = &u->state,
                        .run = &u->settings,
                        .nranks = 2,
                        .keep = 2};
    return u;
}

static void fill_run(run *u, uint64_t step) {
    for (size_t i = 0; i < u->p.n; i++)
        fill(u->p.item[i]->data, u->p.item[i]->n, step * 100 + i);
    fill(u->optimiser.m, 18, step * 100 + 50);
    fill(u->optimiser.v, 18, step * 100 + 51);
    fill(u->average, 18, step * 100 + 52);
    fill(u->best, 18, step * 100 + 53);
    u->optimiser.step = step;
    u->state = (train_state){.step = step, .since_best = step + 1, .best_loss = 0.1 * (double)step, .seconds = 1.5};
}

static void drop_run(run *u, bool with_folder) {
    params_free(&u->p);
    adamw_free(&u->optimiser);
    free(u->average);
    free(u->best);
    if (with_folder)
        drop_folder(u->folder);
    else
        free(u->folder);
    free(u);
}

static bool has(const run *u, const char *name) {
    char *path = text_format("%s/%s", u->folder, name);
    bool there = file_exists(path);
    free(path);
    return there;
}

static void write_step(run *u, uint64_t step) {
    fill_run(u, step);
    weights_get(&u->p, u->weights);
    assert_ok(checkpoint_write(&u->k, u->folder));
}

/* All that was written comes back to the bit; the frozen parameter is no part of it; two checkpoints stay. */
static void test_round_trip(void **state) {
    run *u = new_run(NULL), *back = new_run(u->folder);
    bool found;
    uint64_t step;
    int nranks;
    assert_ok(checkpoint_find(u->folder, &found, &step));
    assert_false(found);
    assert_ok(checkpoint_find("/nonexistent/folder", &found, &step));
    assert_false(found);
    for (uint64_t s = 9; s <= 11; s++)
        write_step(u, s);
    assert_false(has(u, "checkpoint-9"));
    assert_true(has(u, "checkpoint-10/DONE") && has(u, "checkpoint-11/DONE"));
    assert_ok(checkpoint_find(u->folder, &found, &step));
    assert_true(found && step == 11);
    assert_ok(checkpoint_read(&back->k, u->folder, 11, &nranks));
    assert_int_equal(nranks, 2);
    assert_memory_equal(u->p.item[0]->data, back->weights, 15 * sizeof(float));
    assert_memory_equal(u->p.item[2]->data, back->weights + 15, 3 * sizeof(float));
    assert_memory_equal(u->optimiser.m, back->optimiser.m, 18 * sizeof(float));
    assert_memory_equal(u->optimiser.v, back->optimiser.v, 18 * sizeof(float));
    assert_memory_equal(u->average, back->average, 18 * sizeof(float));
    assert_memory_equal(u->best, back->best, 18 * sizeof(float));
    assert_memory_equal(&u->state, &back->state, sizeof u->state);
    drop_run(back, false);
    drop_run(u, true);
}

/* Before the first validation the best loss is infinite. */
static void test_no_best_yet(void **state) {
    run *u = new_run(NULL);
    int nranks;
    u->k.best = NULL;
    u->state.step = 3;
    assert_ok(checkpoint_write(&u->k, u->folder));
    assert_false(has(u, "checkpoint-3/best.safetensors"));
    u->state.best_loss = 0;
    assert_ok(checkpoint_read(&u->k, u->folder, 3, &nranks));
    assert_true(isinf(u->state.best_loss));
    drop_run(u, true);
}

static void remove_file(const run *u, const char *name) {
    char *path = text_format("%s/%s", u->folder, name);
    assert_int_equal(unlink(path), 0);
    free(path);
}

/* A writer that was killed leaves the checkpoint before it; the next writer clears away what it left. */
static void test_killed_writer(void **state) {
    run *u = new_run(NULL);
    bool found;
    uint64_t step;
    write_step(u, 1);
    write_step(u, 2);
    write_step(u, 3);
    remove_file(u, "checkpoint-3/DONE");
    char *part = text_format("%s/checkpoint-4.part", u->folder);
    assert_ok(file_make_folders(part));
    free(part);
    assert_ok(checkpoint_find(u->folder, &found, &step));
    assert_true(found && step == 2);
    write_step(u, 3);
    assert_ok(checkpoint_find(u->folder, &found, &step));
    assert_true(found && step == 3);
    assert_false(has(u, "checkpoint-4.part"));
    assert_true(has(u, "checkpoint-2/DONE"));
    drop_run(u, true);
}

static void cut_file(const run *u, const char *name, off_t nbytes) {
    char *path = text_format("%s/%s", u->folder, name);
    assert_int_equal(truncate(path, nbytes), 0);
    free(path);
}

static void test_other_run(void **state) {
    run *u = new_run(NULL);
    int nranks;
    write_step(u, 5);
    u->value[1] = "2";
    assert_fails(checkpoint_read(&u->k, u->folder, 5, &nranks), ST_USAGE, "seed = 1, this one has 2");
    u->value[1] = "1";
    u->key[0] = "train.clip";
    assert_fails(checkpoint_read(&u->k, u->folder, 5, &nranks), ST_USAGE, "train.clip = (nothing)");
    u->key[0] = "train.batch";
    assert_ok(checkpoint_read(&u->k, u->folder, 5, &nranks));

    free(u->p.item[2]->name);
    u->p.item[2]->name = strdup("b.bias");
    assert_fails(checkpoint_read(&u->k, u->folder, 5, &nranks), ST_FORMAT, "b.bias is missing");
    free(u->p.item[2]->name);
    u->p.item[2]->name = strdup("a.bias");
    u->p.item[0]->dim[0] = 5;
    u->p.item[0]->dim[1] = 3;
    assert_fails(checkpoint_read(&u->k, u->folder, 5, &nranks), ST_FORMAT, "a.weight is of another shape");
    drop_run(u, true);
}

/* Replace one word of checkpoint-5/state.json. */
static void edit_state(const run *u, const char *from, const char *to) {
    char *path = text_format("%s/checkpoint-5/state.json", u->folder), *text;
    size_t nbytes;
    assert_ok(file_read(path, 1 << 20, &text, &nbytes));
    char *at = strstr(text, from);
    assert_non_null(at);
    char *edited = text_format("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_ok(file_write(path, edited, strlen(edited)));
    free(edited);
    free(text);
    free(path);
}

static void test_version(void **state) {
    run *u = new_run(NULL);
    int nranks;
    write_step(u, 5);
    edit_state(u, "\"version\": 1", "\"version\": 2");
    assert_fails(checkpoint_read(&u->k, u->folder, 5, &nranks), ST_FORMAT, "written by a newer version");
    edit_state(u, "\"version\": 2", "\"version\": \"1\"");
    assert_fails(checkpoint_read(&u->k, u->folder, 5, &nranks), ST_FORMAT, "version is missing or not a number");
    drop_run(u, true);
}

/* A number that is none would say that every later loss is worse than the best one. */
static void test_state_of_no_number(void **state) {
    static const struct {
        const char *from, *to;
    } table[] = {{"\"best_loss\": 0.5", "\"best_loss\": \"0.5\""},
                 {"\"seconds\": 1.5", "\"seconds\": null"},
                 {"\"since_best\": 6", "\"since_best\": -6"},
                 {"\"step\": 5", "\"step\": 5.5"},
                 {"\"ranks\": 2", "\"ranks\": []"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        run *u = new_run(NULL);
        int nranks;
        write_step(u, 5);
        edit_state(u, table[i].from, table[i].to);
        assert_fails(checkpoint_read(&u->k, u->folder, 5, &nranks), ST_FORMAT, "missing or not a number");
        drop_run(u, true);
    }
}

/* What a user has put beside checkpoints is no checkpoint and stays. */
static void test_foreign_names(void **state) {
    static const char *const name[] = {"checkpoint-1.kept",
                                       "checkpoint-2-copy",
                                       "checkpoint-",
                                       "checkpoint--3",
                                       "checkpoint-007",
                                       "checkpoint- 8",
                                       "checkpoint-99999999999999999999"};
    run *u = new_run(NULL);
    bool found;
    uint64_t step;
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        char *folder = text_format("%s/%s", u->folder, name[i]), *done = text_format("%s/DONE", folder);
        assert_ok(file_make_folders(folder));
        assert_ok(file_write(done, "", 0));
        free(folder);
        free(done);
    }
    assert_ok(checkpoint_find(u->folder, &found, &step));
    assert_false(found);
    for (uint64_t s = 4; s <= 9; s++)
        write_step(u, s);
    assert_ok(checkpoint_find(u->folder, &found, &step));
    assert_true(found && step == 9);
    for (size_t i = 0; i < sizeof name / sizeof *name; i++)
        assert_true(has(u, name[i]));
    assert_false(has(u, "checkpoint-7"));
    drop_run(u, true);
}

/* As many as asked for stay, whatever was kept before. */
static void test_keep(void **state) {
    run *u = new_run(NULL);
    u->k.keep = 4;
    for (uint64_t s = 1; s <= 6; s++)
        write_step(u, s);
    assert_false(has(u, "checkpoint-2"));
    assert_true(has(u, "checkpoint-3/DONE") && has(u, "checkpoint-6/DONE"));
    u->k.keep = 1;
    write_step(u, 7);
    assert_false(has(u, "checkpoint-6"));
    assert_true(has(u, "checkpoint-7/DONE"));
    drop_run(u, true);
}

/* The background writer writes what was there when it was called. */
static void test_writer(void **state) {
    run *u = new_run(NULL), *back = new_run(u->folder);
    writer *w;
    int nranks;
    float weights[18], average[18];
    assert_ok(writer_new(&u->k, u->folder, &w));
    for (uint64_t step = 1; step <= 3; step++) {
        fill_run(u, step);
        weights_get(&u->p, weights);
        memcpy(average, u->average, sizeof average);
        writer_start(w, &u->k);
        fill_run(u, 90 + step); /* training goes on */
    }
    assert_ok(writer_wait(w));
    assert_false(writer_is_busy(w));
    assert_ok(checkpoint_read(&back->k, u->folder, 3, &nranks));
    assert_memory_equal(back->weights, weights, sizeof weights);
    assert_memory_equal(back->average, average, sizeof average);
    assert_true(back->state.step == 3 && has(u, "checkpoint-2/DONE"));
    writer_free(&w);
    assert_null(w);
    drop_run(back, false);
    drop_run(u, true);
}

/* What it fails with is kept until it is asked. */
static void test_writer_fails(void **state) {
    run *u = new_run(NULL);
    writer *w;
    char *file = text_format("%s/file", u->folder);
    assert_ok(file_write(file, "", 0));
    assert_ok(writer_new(&u->k, file, &w)); /* a file where a folder is wanted */
    fill_run(u, 1);
    writer_start(w, &u->k);
    assert_fails(writer_wait(w), ST_IO, file);
    writer_start(w, &u->k);
    assert_fails(writer_status(w), ST_IO, file);
    writer_free(&w);
    free(file);
    drop_run(u, true);
}

/* An attempt that another one replaced leaves the folder as it is. */
static void test_lost_lock(void **state) {
    run *u = new_run(NULL);
    lock *mine, *theirs;
    char *path = text_format("%s/lock", u->folder);
    setenv("SLURM_JOB_ID", "5", 1);
    assert_ok(lock_take(path, &mine));
    u->k.lock = mine;
    write_step(u, 1);
    setenv("SLURM_RESTART_COUNT", "1", 1);
    assert_ok(lock_take(path, &theirs));
    fill_run(u, 2);
    assert_fails(checkpoint_write(&u->k, u->folder), ST_IO, "took this attempt's place");
    assert_false(has(u, "checkpoint-2"));
    assert_true(has(u, "checkpoint-1/DONE"));
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_RESTART_COUNT");
    lock_release(&mine);
    lock_release(&theirs);
    free(path);
    drop_run(u, true);
}

/* Damage is an error that names the file. */
static void test_damage(void **state) {
    static const struct {
        const char *name;
        off_t nbytes;
    } table[] = {{"state.json", 20},           {"state.json", 0},      {"trainable.safetensors", 30},
                 {"optimizer.safetensors", 4}, {"ema.safetensors", 0}, {"best.safetensors", 100}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        run *u = new_run(NULL);
        int nranks;
        write_step(u, 5);
        char *name = text_format("checkpoint-5/%s", table[i].name);
        cut_file(u, name, table[i].nbytes);
        assert_fails(checkpoint_read(&u->k, u->folder, 5, &nranks), ST_FORMAT, table[i].name);
        free(name);
        drop_run(u, true);
    }
}

/* ---- Record ---- */

static char *read_text(const char *path) {
    char *text;
    size_t nbytes;
    assert_ok(file_read(path, 1 << 20, &text, &nbytes));
    return text;
}

static void test_record(void **state) {
    char *folder = new_folder(), *path = text_format("%s/loss.jsonl", folder);
    record r;
    assert_ok(record_open(&r, path, 0));
    for (uint64_t step = 1; step <= 4; step++)
        assert_ok(record_step(&r, step, 0.5, 2, 1e-3, 10, 0.25));
    assert_ok(record_validation(&r, 4, 0.25, 0.25, 0.5));
    record_close(&r);
    char *whole = read_text(path);
    assert_string_equal(strstr(whole, "{\"step\": 4, \"val"),
                        "{\"step\": 4, \"validation_loss\": 0.25, \"best\": 0.25, \"seconds\": 0.500}\n");

    /* A line that a kill cut short, then a resume from step 3: lines 1 to 3 stay. */
    FILE *to = fopen(path, "a");
    fputs("{\"step\": 5, \"los", to);
    fclose(to);
    assert_ok(record_open(&r, path, 3));
    for (uint64_t step = 4; step <= 4; step++)
        assert_ok(record_step(&r, step, 0.5, 2, 1e-3, 10, 0.25));
    assert_ok(record_validation(&r, 4, 0.25, 0.25, 0.5));
    record_close(&r);
    char *again = read_text(path);
    assert_string_equal(whole, again);

    assert_ok(record_open(&r, path, 0));
    record_close(&r);
    char *none = read_text(path);
    assert_string_equal(none, "");
    free(none);
    free(whole);
    free(again);
    free(path);
    drop_folder(folder);
}

/* Without the lines of the record on the disk a checkpoint is not marked; a device refuses to sync as a broken disk
 * would. */
static void test_record_not_synced(void **state) {
    static const char *const bad[] = {"/dev/null", "none/loss.jsonl"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        run *u = new_run(NULL);
        fill_run(u, 1);
        u->k.record = bad[i];
        assert_fails(checkpoint_write(&u->k, u->folder), ST_IO, bad[i]);
        assert_false(has(u, "checkpoint-1/DONE"));
        char *path = text_format("%s/loss.jsonl", u->folder);
        assert_ok(file_write(path, "x\n", 2));
        u->k.record = path;
        assert_ok(checkpoint_write(&u->k, u->folder));
        assert_true(has(u, "checkpoint-1/DONE"));
        free(path);
        drop_run(u, true);
    }
}

static void test_full_disk(void **state) {
    record r = {0};
    r.to = fopen("/dev/full", "a");
    if (r.to == NULL) {
        print_message("no /dev/full here\n");
        skip();
    }
    r.path = text_copy("/dev/full");
    assert_fails(record_step(&r, 1, 0, 0, 0, 0, 0), ST_IO, "/dev/full");
    record_close(&r);
}

/* ---- Weights and rate ---- */

static void test_weights(void **state) {
    run *u = new_run(NULL);
    float before[18], block[18], after[18];
    fill_run(u, 1);
    uint64_t hash = weights_hash(&u->p);
    weights_get(&u->p, before);
    fill(block, 18, 99);
    memcpy(after, block, sizeof after);
    weights_swap(&u->p, block);
    assert_memory_equal(block, before, sizeof block);
    assert_true(weights_hash(&u->p) != hash);
    weights_swap(&u->p, block);
    assert_memory_equal(block, after, sizeof block);
    assert_true(weights_hash(&u->p) == hash);
    u->p.item[1]->data[6] += 1; /* frozen weights count too */
    assert_true(weights_hash(&u->p) != hash);

    weights_average(&u->p, block, 0);
    assert_memory_equal(block, before, sizeof block);
    memcpy(block, after, sizeof block);
    weights_average(&u->p, block, 0.75);
    for (size_t i = 0; i < 18; i++)
        assert_true(fabsf(block[i] - (0.75f * after[i] + 0.25f * before[i])) <= 1e-6f);
    weights_set(&u->p, after);
    weights_get(&u->p, before);
    assert_memory_equal(before, after, sizeof before);
    assert_true(weights_decay(0.995, 1) == 2.0 / 11);
    assert_true(weights_decay(0.995, 100000) == 0.995);
    assert_true(weights_decay(0, 1) == 0);
    drop_run(u, true);
}

static void test_rate(void **state) {
    double last = 0;
    for (uint64_t step = 0; step < 1000; step++) {
        double rate = learning_rate(2, step, 1000, 50);
        assert_true(step < 50 ? rate > last : step == 50 || rate < last);
        last = rate;
    }
    assert_true(fabs(learning_rate(2, 0, 1000, 50) - 0.04) < 1e-12);
    assert_true(learning_rate(2, 49, 1000, 50) == 2 && learning_rate(2, 50, 1000, 50) == 2);
    assert_true(fabs(learning_rate(2, 999, 1000, 50) - 0.04) < 1e-12);
    assert_true(fabs(learning_rate(2, 525, 1000, 50) - 1.02) < 0.01); /* half way: mean of peak and last */
    assert_true(learning_rate(2, 0, 1, 0) == 2);
    assert_true(learning_rate(2, 9, 10, 20) == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_no_best_yet),
        cmocka_unit_test(test_killed_writer), cmocka_unit_test(test_other_run),
        cmocka_unit_test(test_damage),        cmocka_unit_test(test_record),
        cmocka_unit_test(test_version),       cmocka_unit_test(test_keep),
        cmocka_unit_test(test_writer),        cmocka_unit_test(test_writer_fails),
        cmocka_unit_test(test_lost_lock),     cmocka_unit_test(test_record_not_synced),
        cmocka_unit_test(test_full_disk),     cmocka_unit_test(test_weights),
        cmocka_unit_test(test_rate),          cmocka_unit_test(test_state_of_no_number),
        cmocka_unit_test(test_foreign_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
