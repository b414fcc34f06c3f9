/* Diffusion schedule and samplers, for models that predict the clean row (x0).
 *
 * x_t = alpha(t) x0 + sigma(t) noise with t in [0, 1], alpha = cos(0.995 pi t / 2), sigma = sin(0.995 pi t / 2)
 * (cosine, variance preserving; Nichol and Dhariwal 2021). */
#ifndef ND_MODEL_SCHEDULE_H
#define ND_MODEL_SCHEDULE_H

#include "base/experiment.h"
#include "base/rng.h"
#include "nn/nn.h"

#define SCHEDULE_SHIFT 0.995

float schedule_alpha(float t);
float schedule_sigma(float t);

/* Prediction of x0 for a batch: x (n rows of `size` floats) at time t into x0. */
typedef status (*sampler_predict)(void *user, const float *x, float t, float *x0);

/* Run `steps` steps from t = 1 to 0 on n samples of `size` floats.
 * DDIM (eta 0; Song et al. 2021), ancestral (DDPM posterior), DPM-Solver++(2M) (Lu et al. 2022).
 * rngs: one per sample, the only source of noise. x0 (n x size, caller's) receives the last prediction, clamped to
 * [-1, 1]; every earlier one is clamped too. work: 3 * n * size floats.
 * ngiven: so many numbers at the start of every sample are given (n x ngiven, between -1 and 1): x holds them as they
 * are at every step, and so does the result.
 * Sample i's numbers depend on rngs[i] and on what predict says of it, not on its neighbours. */
status sampler_run(sampler_kind kind, int steps, size_t n, size_t size, size_t ngiven, const float *given, rng *rngs,
                   sampler_predict predict, void *user, float *x0, float *work);

#endif
