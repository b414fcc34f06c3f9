/* One training run: data, model, optimiser and everything between two steps. Functions are collective.
 *
 * base trains text encoder and transformer; control and lora train their own few weights beside a frozen base, so their
 * text embeddings are computed once. */
#ifndef ND_TRAIN_TRAINER_H
#define ND_TRAIN_TRAINER_H

#include "dist/comm.h"
#include "model/model.h"
#include "train/batch.h"
#include "train/checkpoint.h"
#include "train/record.h"
#include "train/writer.h"

typedef struct trainer {
    const experiment *e;
    comm *c;
    const char *mode;         /* "base", "control", "lora" */
    const train_phase *phase; /* its steps and peak learning rate */
    char *folder;             /* OUT/train/<mode> */
    int threads;

    data *data;
    model *model;
    params *p;
    nn *session;
    adamw optimiser;
    float *average; /* exponential moving average of the trained weights (ntrained) */
    float *best;    /* the average at the best validation (ntrained); NULL without early stopping */

    batch_rule rule;
    size_t first, n; /* this rank's samples of a step */
    batch batch, next; /* of this step; of the one after it, where it was made ahead */
    bool made_ahead;
    float *text;          /* (nlabels + 1, W) embeddings of the prompts; the last row is the null prompt */
    float *sample_text;   /* (capacity, W) */
    int32_t *sample_row;  /* (capacity) */
    const char **prompts; /* (nlabels) */
    int32_t *prompt_row;  /* (nlabels + 1) */

    text_map run; /* settings that the weights depend on, for the checkpoint */
    train_state state;
    double loss, validation_loss; /* the latest, for the progress line; validation_loss is negative before the first */
    record record;                /* rank 0 */
    status record_status;
    struct gradient *gradient; /* gradient.h */
    lock *lock;                /* rank 0: of the folder, FOLDER.lock */
    writer *writer;            /* rank 0 */
    bool checkpoint_due;
} trainer;

/* Read the dataset, make or load the model, agree with all ranks. After this trainer_describe may be called. */
status trainer_open(trainer **t, const experiment *e, comm *c);
/* Optimiser, averages and buffers: what training needs and a dry run does not. */
status trainer_prepare(trainer *t);
void trainer_close(trainer **t);

/* ST_IO where not all ranks pass the same hash: ranks that read different files or began with different weights would
 * train nonsense without a sign. */
status trainer_check_same(trainer *t, uint64_t hash, const char *what);

/* outputs.c: go on from the newest checkpoint, or, with train.resume=no, remove what an earlier run left.
 * *finished: this very run was done before, and what it made is there. */
status trainer_resume(trainer *t, bool *finished);
/* For a dry run: refuse what trainer_resume would refuse, and say on stdout of rank 0 where it would go on. */
status trainer_foresee(const trainer *t);
/* One step: samples, gradient, exchange, update, average, a line in loss.jsonl. *stop: some rank was told to stop. */
status trainer_step(trainer *t, bool *stop);
/* validate.c: loss of the averaged weights on the validation flows; keeps the best. Does nothing where there are none.
 */
status trainer_validate(trainer *t);
/* Between two steps, local: a checkpoint is due (or was, when the writer had not finished the one before): a copy of it
 * is written in the background. What fails is told to all by the next step. */
void trainer_checkpoint_soon(trainer *t, bool due);
/* A checkpoint of this step is on disk. */
status trainer_checkpoint(trainer *t);
/* Last checkpoint, then the weights into the model folder, then the mark that the run is finished. */
status trainer_finish(trainer *t);

bool trainer_is_done(const trainer *t);
/* Is something due that is done every `every` steps, and after the last one? */
bool trainer_is_due(const trainer *t, int64_t every);
/* "loss 0.123 val 0.140" */
void trainer_detail(const trainer *t, char *text, size_t nbytes);

/* Loss and gradient of samples first .. first+n-1 of the present step, weighed by their share of the batch: to be
 * summed over all of them. The gradient is added to p->grads. Local. */
status trainer_differentiate(trainer *t, size_t first, size_t n, double *loss);

/* Make this rank's samples of the next step now: they need no weights. Local. */
void trainer_draw_ahead(trainer *t);

/* The model's clean rows for t->batch, conditioned by text (N, W). Local, between nn_begin and the next. */
tensor *trainer_predict(trainer *t, tensor *text);

/* text.c. Local. Embed all prompts and the null prompt under the present weights into t->text. */
status text_embed(trainer *t);
/* Text of the batch's samples from t->text, as an input. */
tensor *text_embedded(trainer *t);
/* The same computed on the tape, so that the text encoder learns: each prompt of the batch once, the null prompt after
 * them, and from these rows one for each sample. */
tensor *text_on_tape(trainer *t);

/* plan.c: what a run uses and costs, on stdout of rank 0. */
void trainer_describe(const trainer *t);
/* Bytes that a recording step of n samples holds in the session, and floating point operations of one step; estimates
 * from the shapes. */
double plan_session_nbytes(const trainer *t, size_t n);
double plan_step_flops(const trainer *t, size_t n);

/* run.c: fill t->run. */
status trainer_list_run(trainer *t);
void trainer_free_run(trainer *t);

#endif
