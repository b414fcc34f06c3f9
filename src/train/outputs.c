/* What a run leaves and finds again: checkpoints, the record, the weights in the model folder, the mark of the end. */
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "train/trainer.h"
#include "train/weights.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Without weights: those are where the model has them. */
static checkpoint checkpoint_of(trainer *t) {
    return (checkpoint){.p = t->p,
                        .m = t->optimiser.m,
                        .v = t->optimiser.v,
                        .average = t->average,
                        .best = t->best,
                        .state = &t->state,
                        .run = &t->run,
                        .nranks = comm_size(t->c),
                        .keep = t->e->train.keep_checkpoints,
                        .lock = t->lock,
                        .record = t->record.path};
}

/* The last file that the mode writes into the model folder (malloc, caller frees). */
static char *output_path(const trainer *t) {
    static const char *const last[] = {[TRAIN_BASE] = "model_index.json",
                                       [TRAIN_CONTROL] = "controlnet/diffusion_pytorch_model.safetensors",
                                       [TRAIN_LORA] = "lora/pytorch_lora_weights.safetensors"};
    return text_format("%s/%s", t->e->model.dir, last[t->e->train.mode]);
}

/* ---- Resume ---- */

typedef struct found {
    uint64_t finished, checkpoint, step;
} found;

/* One attempt at a time in a folder. The lock lies beside it, because train.resume=no removes the folder. */
static status take_folder(trainer *t) {
    char *path = text_format("%s.lock", t->folder), *parent = text_format("%s/train", t->e->out);
    status st = file_make_folders(parent);
    if (st == ST_OK)
        st = lock_take(path, &t->lock);
    free(parent);
    free(path);
    return st;
}

/* Rank 0 looks, so that all go on from the same step whatever their view of the file system. */
static status look(trainer *t, found *f) {
    char *mark = text_format("%s/finished.json", t->folder), *output = output_path(t);
    bool there = false;
    status st = ST_OK;
    *f = (found){0};
    st = take_folder(t);
    if (st == ST_OK && !t->e->train.resume)
        st = file_remove_tree(t->folder);
    f->finished = file_exists(mark) && file_exists(output);
    if (st == ST_OK)
        st = checkpoint_find(t->folder, &there, &f->step);
    f->checkpoint = there;
    free(mark);
    free(output);
    return st;
}

static status read_mark(trainer *t) {
    char *mark = text_format("%s/finished.json", t->folder);
    int nranks;
    status st = checkpoint_read_state(mark, &t->state, &t->run, &nranks);
    free(mark);
    return st;
}

static status read_checkpoint(trainer *t, uint64_t step) {
    checkpoint k = checkpoint_of(t);
    int nranks = 0;
    TRY(NEW(t->p->ntrained, &k.weights));
    status st = checkpoint_read(&k, t->folder, step, &nranks);
    if (st == ST_OK) {
        weights_set(t->p, k.weights);
        t->optimiser.step = step;
    }
    memory_free(&k.weights);
    TRY(st);
    log_job("%s: going on from step %llu", t->mode, (unsigned long long)step);
    if (nranks != comm_size(t->c) && !t->e->train.deterministic)
        log_job("%s: up to here %d ranks worked, now %d: same samples, other rounding", t->mode, nranks,
                comm_size(t->c));
    return ST_OK;
}

/* What attempts that were killed in the middle of a file have left. They are gone: this one has the lock. */
static status remove_parts(const char *folder) {
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return FAIL(ST_IO, "%s: %s", folder, strerror(errno));
    status st = ST_OK;
    for (struct dirent *entry; st == ST_OK && (entry = readdir(dir)) != NULL;) {
        if (strstr(entry->d_name, ".part-") == NULL)
            continue;
        char *path = text_format("%s/%s", folder, entry->d_name);
        st = file_remove_tree(path);
        free(path);
    }
    closedir(dir);
    return st;
}

static status open_record(trainer *t) {
    TRY(file_make_folders(t->folder));
    TRY(remove_parts(t->folder));
    char *settings = text_format("%s/config.yaml", t->folder), *path = text_format("%s/loss.jsonl", t->folder);
    status st = experiment_save(t->e, settings);
    if (st == ST_OK)
        st = record_open(&t->record, path, t->state.step);
    if (st == ST_OK) {
        checkpoint k = checkpoint_of(t);
        st = writer_new(&k, t->folder, &t->writer);
    }
    free(settings);
    free(path);
    return st;
}

status trainer_resume(trainer *t, bool *finished) {
    bool first = comm_rank(t->c) == 0;
    found f = {0};
    *finished = false;
    TRY(comm_agree(t->c, first ? look(t, &f) : ST_OK));
    TRY(comm_broadcast(t->c, &f, sizeof f, 0));
    if (f.finished) {
        TRY(comm_agree(t->c, first ? read_mark(t) : ST_OK));
        *finished = true;
        return ST_OK;
    }
    TRY(comm_agree(t->c, f.checkpoint ? read_checkpoint(t, f.step) : ST_OK));
    TRY(trainer_check_same(t, weights_hash(t->p), "checkpoint"));
    return comm_agree(t->c, first ? open_record(t) : ST_OK);
}

/* The state that a run now would go on from, NULL where it would start (malloc, caller frees). */
static status find_state(const trainer *t, char **path) {
    char *mark = text_format("%s/finished.json", t->folder), *output = output_path(t);
    bool there = false;
    uint64_t step;
    status st = ST_OK;
    *path = NULL;
    if (file_exists(mark) && file_exists(output)) {
        *path = text_copy(mark);
    } else {
        st = checkpoint_find(t->folder, &there, &step);
        if (there)
            *path = text_format("%s/checkpoint-%llu/state.json", t->folder, (unsigned long long)step);
    }
    free(mark);
    free(output);
    return st;
}

static status foresee(const trainer *t) {
    char *path = NULL;
    train_state state;
    int nranks;
    if (!t->e->train.resume)
        return ST_OK;
    status st = find_state(t, &path);
    if (path != NULL)
        st = checkpoint_read_state(path, &state, &t->run, &nranks);
    if (path != NULL && st == ST_OK)
        printf("would go on after step %llu, from %s\n", (unsigned long long)state.step, path);
    free(path);
    return st;
}

status trainer_foresee(const trainer *t) {
    return comm_agree(t->c, comm_rank(t->c) == 0 ? foresee(t) : ST_OK);
}

/* ---- Leaving something ---- */

void trainer_checkpoint_soon(trainer *t, bool due) {
    checkpoint k = checkpoint_of(t);
    t->checkpoint_due = t->checkpoint_due || due;
    if (t->writer == NULL || !t->checkpoint_due || writer_is_busy(t->writer))
        return;
    t->checkpoint_due = false;
    writer_start(t->writer, &k);
}

status trainer_checkpoint(trainer *t) {
    checkpoint k = checkpoint_of(t);
    status st = t->record_status;
    if (st == ST_OK && t->writer != NULL) {
        writer_start(t->writer, &k);
        st = writer_wait(t->writer);
    }
    return comm_agree(t->c, st);
}

static status save_lora(trainer *t) {
    char *folder = text_format("%s/lora", t->e->model.dir);
    char *labels = text_list_join(&t->e->train.lora_labels), *key = text_copy("labels"), *path = output_path(t);
    text_map metadata = {1, &key, &labels};
    status st = file_make_folders(folder);
    if (st == ST_OK)
        st = model_save_lora(t->model, path, &metadata);
    free(folder);
    free(labels);
    free(key);
    free(path);
    return st;
}

/* A ControlNet or LoRA of the base that was here before does not fit the new one. */
static void warn_of_old_parts(const trainer *t) {
    static const char *const part[] = {"controlnet", "lora"};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        char *path = text_format("%s/%s", t->e->model.dir, part[i]);
        if (file_exists(path))
            log_warn("%s was trained with the base that was here before: train it again", path);
        free(path);
    }
}

static status save_weights(trainer *t) {
    TRY(lock_check(t->lock));
    weights_set(t->p, t->best != NULL ? t->best : t->average);
    switch ((train_mode)t->e->train.mode) {
    case TRAIN_BASE:
        TRY(model_save(t->model, t->e->model.dir));
        warn_of_old_parts(t);
        break;
    case TRAIN_CONTROL:
        TRY(model_save_controlnet(t->model, t->e->model.dir));
        break;
    case TRAIN_LORA:
        TRY(save_lora(t));
        break;
    }
    char *mark = text_format("%s/finished.json", t->folder);
    status st = checkpoint_write_state(mark, &t->state, &t->run, comm_size(t->c));
    free(mark);
    return st;
}

status trainer_finish(trainer *t) {
    /* The checkpoint first: a kill while the model is written is mended by running again. */
    TRY(trainer_checkpoint(t));
    return comm_agree(t->c, comm_rank(t->c) == 0 ? save_weights(t) : ST_OK);
}
