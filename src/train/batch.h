/* Samples of a step: which window of which flow, at which time, with which noise, with or without prompt and control.
 *
 * Sample k of step s is a function of (seed, s, k) and of the data only. A rank makes a contiguous part of the samples,
 * so one rank with 2B samples and two ranks with B each see the same ones. */
#ifndef ND_TRAIN_BATCH_H
#define ND_TRAIN_BATCH_H

#include "train/data.h"

typedef struct batch_rule {
    uint64_t seed;
    size_t size; /* samples of a step over all ranks */
    double drop_prompt, drop_control;
} batch_rule;

/* Windows of a flow that is longer than one: the share of its samples that show the first one, where the handshake is
 * and what is said once (or its share among the windows, if that is more), and of those that show the end, where FIN
 * is. */
#define BATCH_FIRST_WINDOW 0.4
#define BATCH_END_WINDOW 0.2
/* How much the last rows of a flow count in the loss. What ends a connection is one cell (FIN) in two rows of a
 * hundred, and would be learnt last: docs/model.md. */
#define BATCH_END_WEIGHT 4
enum { BATCH_END_ROWS = 4 };

typedef struct batch {
    size_t n, capacity;     /* samples here, N */
    float *x0;              /* (N, L, C) clean rows, vacant cells 0 */
    float *x;               /* (N, L, C) alpha(t) x0 + sigma(t) noise, noise in vacant cells too; given rows clean */
    float *weight;          /* (N, L, C) of the loss: 0 in given rows, BATCH_END_WEIGHT at the end, else 1 */
    float *t;               /* (N) */
    float *control;         /* (N, L, CONTROL_WIDTH), all zero where dropped */
    int32_t *label;         /* (N) whose prompt conditions the sample; -1 = null prompt */
    size_t *flow, *first;   /* (N) the flow, and the row of it that the window begins with */
    size_t *pick, *stratum; /* scratch of the whole step's samples */
    uint8_t *scratch;       /* (N, 2 C) */
} batch;

/* Room for at most `capacity` samples a call, and for steps of rule->size samples. */
status batch_new(batch *b, const data *d, const batch_rule *rule, size_t capacity);
void batch_free(batch *b);
/* Samples first .. first+n-1 of a step. Made by `threads` threads; the bytes do not depend on how many. */
void batch_draw(batch *b, const data *d, const batch_rule *rule, uint64_t step, size_t first, size_t n, int threads);

/* Validation: evaluation i is validation flow i % nvalidate with a window, time and noise that depend on i alone,
 * whatever the seed, so that losses compare between steps and between runs. Enough of them to cover the times even for
 * a handful of flows. */
size_t batch_evaluations(const data *d);
void batch_evaluation(batch *b, const data *d, size_t first, size_t n, int threads);

#endif
