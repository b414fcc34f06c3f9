/* The gradient of a step, summed over the samples of all ranks.
 *
 * Parameters lie in buckets of at most a megabyte or so, and a bucket's sum over the ranks runs in the background as
 * soon as backward has completed it, last parameters first.
 *
 * Plain: each rank differentiates its samples at once. Deterministic (train.deterministic): the batch is cut into
 * slices of train.slice samples, each differentiated alone with the same shapes whoever does it, and their gradients
 * are added in a fixed tree (dist/tree.h); what backward of a rank's last slice completes is added and sent at once. */
#ifndef ND_TRAIN_GRADIENT_H
#define ND_TRAIN_GRADIENT_H

#include "train/trainer.h"

typedef struct gradient gradient;

/* Local; after the session and the parameters are there. */
status gradient_open(trainer *t, gradient **g);
void gradient_close(gradient **g);
/* Collective. `before`: what this rank has failed with so far, told to all. t->loss and p->grads of the whole batch;
 * *stop: some rank was told to stop. */
status gradient_step(trainer *t, status before, bool *stop);

/* Samples of this rank in a step. */
void gradient_share(const trainer *t, size_t *first, size_t *n);
/* The same of `total` evaluations: whole slices where the run is deterministic. */
void gradient_share_evaluations(const trainer *t, size_t total, size_t *first, size_t *end);
/* Floats kept for sums beside the gradient itself. */
size_t gradient_nfloats(const trainer *t);

#endif
