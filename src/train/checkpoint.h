/* Checkpoints: FOLDER/checkpoint-<step>/{trainable,optimizer,ema,best}.safetensors, state.json, and DONE, without which
 * the folder does not count. Local: rank 0 writes, every rank reads.
 *
 * A checkpoint is written under another name, renamed, and marked DONE last, so that a kill at any moment leaves the
 * one before it. writer.h writes a copy in the background while training goes on. */
#ifndef ND_TRAIN_CHECKPOINT_H
#define ND_TRAIN_CHECKPOINT_H

#include "base/config.h"
#include "base/lock.h"
#include "nn/nn.h"

/* Of state.json. A program reads its own version and older ones. */
enum { CHECKPOINT_VERSION = 1 };

/* What a run has come to, besides its weights. Random numbers need no state: they are functions of the step. */
typedef struct train_state {
    uint64_t step;       /* steps done */
    uint64_t since_best; /* validations since the best one */
    double best_loss;    /* infinite before the first validation */
    double seconds;      /* of training, all starts together */
} train_state;

/* The parts of a checkpoint; blocks hold p->ntrained floats each. */
typedef struct checkpoint {
    const params *p; /* names and shapes */
    float *weights, *m, *v, *average;
    float *best; /* NULL where no best weights are kept */
    train_state *state;
    const text_map *run; /* the settings that the weights depend on: name -> value */
    int nranks;
    int64_t keep;       /* complete checkpoints that stay, the new one among them */
    const lock *lock;   /* nothing is put in place after it was lost; NULL: none */
    const char *record; /* path of the run's loss.jsonl, whose lines are on the disk before the checkpoint counts; NULL:
                           none */
} checkpoint;

status checkpoint_write(const checkpoint *k, const char *folder);
/* *step: of the newest complete checkpoint; *found is false where there is none. */
status checkpoint_find(const char *folder, bool *found, uint64_t *step);
/* Fill the blocks and the state. ST_USAGE naming the first setting in which this run differs from the one that wrote
 * it, ST_FORMAT where a tensor is missing or of another shape or a newer version wrote it. *nranks: of the run that
 * wrote it. */
status checkpoint_read(checkpoint *k, const char *folder, uint64_t step, int *nranks);

/* The mark of a finished run: its state, in one file. */
status checkpoint_write_state(const char *path, const train_state *state, const text_map *run, int nranks);
status checkpoint_read_state(const char *path, train_state *state, const text_map *run, int *nranks);

#endif
