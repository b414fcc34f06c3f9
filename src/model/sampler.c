/* Samplers: from noise at t = 1 to a clean row, for a model that predicts x0.
 *
 * Each is one update x_s = a x_t + b x0 + c x0_previous + d noise with s < t; a rule gives the four factors, and one
 * loop serves all. The last update would return x0 itself, so `steps` predictions are made, at t = 1, 1 - 1/steps, ...,
 * 1/steps, and the last one is the result. */
#include "model/schedule.h"

#include <math.h>
#include <string.h>

typedef struct update {
    double x, x0, previous, noise;
} update;

typedef update (*sampler_rule)(float t, float s, float before);

/* DDIM, eta 0: keep the noise that x holds, (x - alpha x0) / sigma, and mix it anew (Song et al. 2021, eq. 12). */
static update rule_ddim(float t, float s, float before) {
    (void)before;
    double keep = (double)schedule_sigma(s) / schedule_sigma(t);
    return (update){keep, schedule_alpha(s) - keep * schedule_alpha(t), 0, 0};
}

/* DDPM: the posterior q(x_s | x_t, x0) (Ho et al. 2020, eq. 7, in continuous time as in Kingma et al. 2021). */
static update rule_ancestral(float t, float s, float before) {
    (void)before;
    double sigma_t = schedule_sigma(t), sigma_s = schedule_sigma(s), alpha_s = schedule_alpha(s);
    double ratio = schedule_alpha(t) / alpha_s;
    double shrink = (sigma_s * sigma_s) / (sigma_t * sigma_t), share = 1 - ratio * ratio * shrink;
    return (update){ratio * shrink, alpha_s * share, 0, sigma_s * sqrt(share)};
}

static double half_log_snr(float t) {
    return log((double)schedule_alpha(t) / schedule_sigma(t));
}

/* DPM-Solver++(2M), data prediction (Lu et al. 2022, algorithm 2): the second prediction on extrapolates x0 along
 * lambda = log(alpha / sigma). before: the time of the previous prediction, above 1 at the first step. */
static update rule_dpm(float t, float s, float before) {
    double lambda = half_log_snr(t), h = half_log_snr(s) - lambda;
    double data = -schedule_alpha(s) * expm1(-h), extrapolate = 0;
    if (before <= 1)
        extrapolate = h / (2 * (lambda - half_log_snr(before)));
    return (update){(double)schedule_sigma(s) / schedule_sigma(t), data * (1 + extrapolate), -data * extrapolate, 0};
}

static void clamp(float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] > 1 ? 1 : x[i] < -1 ? -1 : x[i];
}

static void apply(const update *u, size_t n, float *x, const float *x0, float *previous, const float *noise) {
    for (size_t i = 0; i < n; i++) {
        double y = u->x * x[i] + u->x0 * x0[i] + u->previous * previous[i];
        x[i] = (float)(u->noise != 0 ? y + u->noise * noise[i] : y);
        previous[i] = x0[i];
    }
}

static void hold(size_t n, size_t size, size_t ngiven, const float *given, float *x) {
    for (size_t i = 0; ngiven > 0 && i < n; i++)
        memcpy(x + i * size, given + i * ngiven, ngiven * sizeof *x);
}

status sampler_run(sampler_kind kind, int steps, size_t n, size_t size, size_t ngiven, const float *given, rng *rngs,
                   sampler_predict predict, void *user, float *x0, float *work) {
    static const sampler_rule rules[] = {
        [SAMPLER_DDIM] = rule_ddim, [SAMPLER_ANCESTRAL] = rule_ancestral, [SAMPLER_DPM] = rule_dpm};
    ASSERT((size_t)kind < sizeof rules / sizeof *rules);
    if (steps < 1)
        return FAIL(ST_RANGE, "a sampler of %d steps", steps);
    size_t total = n * size;
    float *x = work, *previous = work + total, *noise = work + 2 * total, before = 2;
    for (size_t i = 0; i < n; i++)
        rng_normal(&rngs[i], x + i * size, size);
    for (size_t i = 0; i < total; i++)
        previous[i] = 0;
    for (int step = 0; step < steps; step++) {
        float t = 1 - (float)step / (float)steps, s = 1 - (float)(step + 1) / (float)steps;
        hold(n, size, ngiven, given, x);
        TRY(predict(user, x, t, x0));
        hold(n, size, ngiven, given, x0);
        clamp(x0, total);
        if (step + 1 == steps)
            break;
        update u = rules[kind](t, s, before);
        if (u.noise != 0)
            for (size_t i = 0; i < n; i++)
                rng_normal(&rngs[i], noise + i * size, size);
        apply(&u, total, x, x0, previous, noise);
        before = t;
    }
    return ST_OK;
}
