/* Writing, finding and reading checkpoints. See checkpoint.h. */
#include "train/checkpoint.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/safetensors.h"
#include "train/record.h"
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STATE_MAX = 1 << 20 };

/* ---- Blocks of floats as tensors named like the weights ---- */

static status write_blocks(const char *folder, const char *file, const params *p, size_t nblocks, float *const *block,
                           const char *const *prefix) {
    safetensor *tensors = NULL;
    size_t n = 0;
    TRY(NEW(p->n * nblocks, &tensors));
    for (size_t b = 0; b < nblocks; b++) {
        const float *at = block[b];
        for (size_t i = 0; i < p->n; i++) {
            const param *w = p->item[i];
            if (w->frozen)
                continue;
            safetensor *t = &tensors[n++];
            *t = (safetensor){.name = text_format("%s%s", prefix[b], w->name), .ndim = w->ndim, .data = at};
            for (int d = 0; d < w->ndim; d++)
                t->dim[d] = w->dim[d];
            at += w->n;
        }
    }
    char *path = text_format("%s/%s", folder, file);
    status st = safetensors_write(path, tensors, n, NULL);
    free(path);
    for (size_t i = 0; i < n; i++)
        free((char *)tensors[i].name);
    memory_free(&tensors);
    return st;
}

static status read_tensor(const safetensors *s, const char *path, const char *prefix, const param *w, float *to) {
    char *name = text_format("%s%s", prefix, w->name);
    const safetensor *t = safetensors_find(s, name);
    status st = ST_OK;
    bool same = t != NULL && t->ndim == w->ndim;
    for (int d = 0; same && d < w->ndim; d++)
        same = t->dim[d] == w->dim[d];
    if (same)
        memcpy(to, t->data, w->n * sizeof *to);
    else
        st = FAIL(ST_FORMAT, "%s: tensor %s is %s", path, name, t == NULL ? "missing" : "of another shape");
    free(name);
    return st;
}

static status read_blocks(const char *folder, const char *file, const params *p, size_t nblocks, float *const *block,
                          const char *const *prefix) {
    safetensors *s = NULL;
    char *path = text_format("%s/%s", folder, file);
    status st = safetensors_open(&s, path);
    for (size_t b = 0; b < nblocks; b++) {
        float *at = block[b];
        for (size_t i = 0; st == ST_OK && i < p->n; i++) {
            if (p->item[i]->frozen)
                continue;
            st = read_tensor(s, path, prefix[b], p->item[i], at);
            at += p->item[i]->n;
        }
    }
    safetensors_close(&s);
    free(path);
    return st;
}

/* ---- state.json ---- */

status checkpoint_write_state(const char *path, const train_state *state, const text_map *run, int nranks) {
    json_t *settings = json_object(), *root = json_object();
    for (size_t i = 0; i < run->n; i++)
        json_object_set_new(settings, run->key[i], json_string(run->value[i]));
    json_object_set_new(root, "version", json_integer(CHECKPOINT_VERSION));
    json_object_set_new(root, "step", json_integer((json_int_t)state->step));
    json_object_set_new(root, "since_best", json_integer((json_int_t)state->since_best));
    json_object_set_new(root, "best_loss", isfinite(state->best_loss) ? json_real(state->best_loss) : json_null());
    json_object_set_new(root, "seconds", json_real(state->seconds));
    json_object_set_new(root, "ranks", json_integer(nranks));
    int failed = json_object_set_new(root, "run", settings);
    char *text = failed ? NULL : json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    json_decref(root);
    if (text == NULL)
        return FAIL(ST_MEMORY, "%s: no memory for its text", path);
    status st = file_write(path, text, strlen(text));
    free(text);
    return st;
}

/* A run goes on only with the settings it began with; seed and weights would not match anything else. */
static status compare_run(const char *path, const json_t *settings, const text_map *run) {
    for (size_t i = 0; i < run->n; i++) {
        const char *was = json_string_value(json_object_get(settings, run->key[i]));
        if (was == NULL || strcmp(was, run->value[i]) != 0)
            return FAIL(ST_USAGE,
                        "%s: that run had %s = %s, this one has %s; to go on, set it back; to start over, say "
                        "train.resume=no",
                        path, run->key[i], was == NULL ? "(nothing)" : was, run->value[i]);
    }
    return ST_OK;
}

static status check_version(const char *path, const json_t *root) {
    const json_t *version = json_object_get(root, "version");
    if (!json_is_integer(version) || json_integer_value(version) < 1)
        return FAIL(ST_FORMAT, "%s: version is missing or not a number", path);
    if (json_integer_value(version) > CHECKPOINT_VERSION)
        return FAIL(ST_FORMAT, "%s: written by a newer version of this program (format %lld, this one reads %d)", path,
                    (long long)json_integer_value(version), CHECKPOINT_VERSION);
    return ST_OK;
}

static status parse_state(const char *path, const json_t *root, train_state *state, const text_map *run, int *nranks) {
    TRY(check_version(path, root));
    const json_t *step = json_object_get(root, "step"), *since = json_object_get(root, "since_best");
    const json_t *best = json_object_get(root, "best_loss"), *ranks = json_object_get(root, "ranks");
    const json_t *seconds = json_object_get(root, "seconds");
    if (!json_is_integer(step) || json_integer_value(step) < 0 || !json_is_integer(since) ||
        json_integer_value(since) < 0 || !json_is_integer(ranks) || !json_is_number(seconds) ||
        !(json_is_null(best) || json_is_number(best)))
        return FAIL(ST_FORMAT, "%s: step, since_best, best_loss, seconds or ranks is missing or not a number", path);
    TRY(compare_run(path, json_object_get(root, "run"), run));
    state->step = (uint64_t)json_integer_value(step);
    state->since_best = (uint64_t)json_integer_value(since);
    state->best_loss = json_is_null(best) ? INFINITY : json_number_value(best);
    state->seconds = json_number_value(seconds);
    *nranks = (int)json_integer_value(ranks);
    return ST_OK;
}

status checkpoint_read_state(const char *path, train_state *state, const text_map *run, int *nranks) {
    char *text = NULL;
    size_t nbytes;
    json_error_t error;
    TRY(file_read(path, STATE_MAX, &text, &nbytes));
    json_t *root = json_loadb(text, nbytes, 0, &error);
    free(text);
    if (root == NULL)
        return FAIL(ST_FORMAT, "%s:%d: %s", path, error.line, error.text);
    status st = parse_state(path, root, state, run, nranks);
    json_decref(root);
    return st;
}

/* ---- The folder of checkpoints ---- */

static int descending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

/* The step in "checkpoint-<step>", written as checkpoint_write writes it, and what follows it in the name. A user may
 * have put something of a like name beside them. */
static bool parse_name(const char *name, uint64_t *step, const char **rest) {
    static const char start[] = "checkpoint-";
    if (strncmp(name, start, sizeof start - 1) != 0)
        return false;
    const char *digits = name + sizeof start - 1;
    size_t n = strspn(digits, "0123456789");
    char *end;
    errno = 0;
    *step = strtoull(digits, &end, 10);
    *rest = digits + n;
    return n > 0 && end == *rest && errno == 0 && (n == 1 || digits[0] != '0');
}

/* Steps of the complete checkpoints, newest first (malloc, caller frees). */
static status list_complete(const char *folder, uint64_t **steps, size_t *n) {
    size_t capacity = 0;
    *steps = NULL;
    *n = 0;
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return errno == ENOENT ? ST_OK : FAIL(ST_IO, "%s: %s", folder, strerror(errno));
    status st = ST_OK;
    for (struct dirent *entry; st == ST_OK && (entry = readdir(dir)) != NULL;) {
        uint64_t step;
        const char *rest;
        if (!parse_name(entry->d_name, &step, &rest) || *rest != '\0')
            continue;
        char *done = text_format("%s/%s/DONE", folder, entry->d_name);
        if (file_exists(done)) {
            st = memory_grow(steps, &capacity, *n + 1, sizeof **steps);
            if (st == ST_OK)
                (*steps)[(*n)++] = step;
        }
        free(done);
    }
    closedir(dir);
    if (*n > 0)
        qsort(*steps, *n, sizeof **steps, descending);
    return st;
}

status checkpoint_find(const char *folder, bool *found, uint64_t *step) {
    uint64_t *steps;
    size_t n;
    status st = list_complete(folder, &steps, &n);
    *found = st == ST_OK && n > 0;
    if (*found)
        *step = steps[0];
    free(steps);
    return st;
}

/* The mark goes first, so that a checkpoint half removed does not count. */
static status remove_checkpoint(const char *folder, const char *name) {
    char *path = text_format("%s/%s", folder, name), *done = text_format("%s/DONE", path);
    status st = ST_OK;
    if (unlink(done) != 0 && errno != ENOENT && errno != ENOTDIR)
        st = FAIL(ST_IO, "%s: cannot be removed: %s", done, strerror(errno));
    if (st == ST_OK)
        st = file_remove_tree(path);
    free(done);
    free(path);
    return st;
}

/* Remove all but the newest complete checkpoints, and what writers that died have left. */
static status remove_old(const char *folder, uint64_t newest, int64_t keep) {
    uint64_t *steps;
    size_t n;
    TRY(list_complete(folder, &steps, &n));
    uint64_t oldest_kept = n >= (size_t)keep ? steps[keep - 1] : n > 0 ? steps[n - 1] : newest;
    free(steps);
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return FAIL(ST_IO, "%s: %s", folder, strerror(errno));
    status st = ST_OK;
    for (struct dirent *entry; st == ST_OK && (entry = readdir(dir)) != NULL;) {
        uint64_t step;
        const char *rest;
        if (!parse_name(entry->d_name, &step, &rest))
            continue;
        if (strncmp(rest, ".part", 5) == 0 || (*rest == '\0' && step < oldest_kept))
            st = remove_checkpoint(folder, entry->d_name);
    }
    closedir(dir);
    return st;
}

static const char *const plain[] = {""}, *const moments[] = {"m.", "v."};

static status write_parts(const checkpoint *k, const char *to) {
    TRY(file_make_folders(to));
    TRY(write_blocks(to, "trainable.safetensors", k->p, 1, &k->weights, plain));
    TRY(write_blocks(to, "optimizer.safetensors", k->p, 2, (float *const[]){k->m, k->v}, moments));
    TRY(write_blocks(to, "ema.safetensors", k->p, 1, &k->average, plain));
    if (k->best != NULL)
        TRY(write_blocks(to, "best.safetensors", k->p, 1, &k->best, plain));
    char *path = text_format("%s/state.json", to);
    status st = checkpoint_write_state(path, k->state, k->run, k->nranks);
    free(path);
    TRY(st);
    return file_sync_folder(to);
}

static status write_as(const checkpoint *k, const char *folder, const char *part, const char *name, const char *done) {
    TRY(lock_check(k->lock));
    TRY(file_remove_tree(part));
    TRY(write_parts(k, part));
    TRY(lock_check(k->lock));
    TRY(file_remove_tree(name)); /* one that was never marked DONE */
    if (rename(part, name) != 0)
        return FAIL(ST_IO, "%s: cannot be renamed to %s: %s", part, name, strerror(errno));
    TRY(file_sync_folder(folder));
    if (k->record != NULL)
        TRY(record_sync(k->record));
    TRY(lock_check(k->lock));
    TRY(file_write(done, "", 0));
    return remove_old(folder, k->state->step, k->keep);
}

status checkpoint_write(const checkpoint *k, const char *folder) {
    char *name = text_format("%s/checkpoint-%llu", folder, (unsigned long long)k->state->step);
    char *part = text_format("%s.part-%s", name, k->lock != NULL ? lock_token(k->lock) : "");
    char *done = text_format("%s/DONE", name);
    status st = file_exists(done) ? ST_OK : write_as(k, folder, part, name, done);
    /* Whatever went wrong, a successor that clears the folder is the better reason. */
    if (st != ST_OK && lock_check(k->lock) != ST_OK)
        st = ST_IO;
    free(done);
    free(part);
    free(name);
    return st;
}

static status read_parts(checkpoint *k, const char *from) {
    TRY(read_blocks(from, "trainable.safetensors", k->p, 1, &k->weights, plain));
    TRY(read_blocks(from, "optimizer.safetensors", k->p, 2, (float *const[]){k->m, k->v}, moments));
    TRY(read_blocks(from, "ema.safetensors", k->p, 1, &k->average, plain));
    if (k->best != NULL)
        TRY(read_blocks(from, "best.safetensors", k->p, 1, &k->best, plain));
    return ST_OK;
}

status checkpoint_read(checkpoint *k, const char *folder, uint64_t step, int *nranks) {
    char *from = text_format("%s/checkpoint-%llu", folder, (unsigned long long)step);
    char *path = text_format("%s/state.json", from);
    status st;
    TRY_TO(out, checkpoint_read_state(path, k->state, k->run, nranks));
    if (k->state->step != step) {
        st = FAIL(ST_FORMAT, "%s: says step %llu", path, (unsigned long long)k->state->step);
        goto out;
    }
    st = read_parts(k, from);
out:
    free(path);
    free(from);
    return st;
}
