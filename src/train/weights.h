/* The weights that training changes, seen as one block of params.ntrained floats in the order of params.item (the same
 * order as the gradients and the optimiser's moments). */
#ifndef ND_TRAIN_WEIGHTS_H
#define ND_TRAIN_WEIGHTS_H

#include "nn/nn.h"

void weights_get(const params *p, float *block);
void weights_set(params *p, const float *block);
/* Exchange the weights with the block: validate with averaged weights, then swap back, to the bit. */
void weights_swap(params *p, float *block);
/* average = decay * average + (1 - decay) * weights */
void weights_average(const params *p, float *average, double decay);
/* Decay of the average after `step` steps (from 1): min(decay, (1 + step) / (10 + step)), so that the first steps, near
 * the random start, are forgotten. */
double weights_decay(double decay, uint64_t step);
/* Hash of all weights, frozen ones too: ranks that started alike have the same. */
uint64_t weights_hash(const params *p);

#endif
