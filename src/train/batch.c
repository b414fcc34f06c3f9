/* Making samples. See batch.h.
 *
 * Streams: RNG_BATCH (item = step) draws the flows and deals out the strata of time for the whole step, on every rank
 * alike; RNG_DIFFUSE and RNG_DROP (item = step * size + k) belong to one sample: time and noise; what is dropped, then
 * the window. */
#include "train/batch.h"
#include "base/memory.h"
#include "base/rng.h"
#include "model/schedule.h"
#include <math.h>
#include <string.h>

enum { EVALUATIONS_LEAST = 64 };
static const uint64_t EVALUATION_ITEM = (uint64_t)1 << 63; /* beyond every step * size + k */

status batch_new(batch *b, const data *d, const batch_rule *rule, size_t capacity) {
    *b = (batch){.capacity = capacity};
    TRY(memory_new(capacity, d->rows * d->cells * sizeof(float), &b->x0));
    TRY(memory_new(capacity, d->rows * d->cells * sizeof(float), &b->x));
    TRY(memory_new(capacity, d->rows * d->cells * sizeof(float), &b->weight));
    TRY(memory_new(capacity, d->rows * CONTROL_WIDTH * sizeof(float), &b->control));
    TRY(NEW(capacity, &b->t));
    TRY(NEW(capacity, &b->label));
    TRY(NEW(capacity, &b->flow));
    TRY(NEW(capacity, &b->first));
    TRY(memory_new(capacity, 2 * d->cells, &b->scratch));
    TRY(NEW(rule->size, &b->pick));
    TRY(NEW(rule->size, &b->stratum));
    return ST_OK;
}

void batch_free(batch *b) {
    memory_free(&b->x0);
    memory_free(&b->x);
    memory_free(&b->weight);
    memory_free(&b->control);
    memory_free(&b->t);
    memory_free(&b->label);
    memory_free(&b->flow);
    memory_free(&b->first);
    memory_free(&b->scratch);
    memory_free(&b->pick);
    memory_free(&b->stratum);
}

/* Flows of the whole step, unlabelled ones first, and a shuffled stratum of time for each. */
static void draw_step(batch *b, const data *d, const batch_rule *rule, uint64_t step) {
    rng r = rng_make(rule->seed, step, RNG_BATCH);
    /* Rounded at random, so that a small batch has its share of unlabelled flows over many steps. */
    size_t nunlabelled = (size_t)(d->unlabelled_share * (double)rule->size + rng_uniform(&r));
    for (size_t k = 0; k < rule->size; k++) {
        const data_group *g = &d->unlabelled;
        if (k >= nunlabelled)
            g = &d->group[rng_choose(&r, d->weight, d->ngroups)];
        b->pick[k] = g->flow[rng_below(&r, (uint32_t)g->n)];
        b->stratum[k] = k;
    }
    for (size_t k = rule->size; k > 1; k--) {
        size_t other = rng_below(&r, (uint32_t)k), kept = b->stratum[k - 1];
        b->stratum[k - 1] = b->stratum[other];
        b->stratum[other] = kept;
    }
}

/* The first row of a sample's window. A later window begins anywhere, not only where generation would begin one. */
static size_t draw_window(const data *d, size_t i, rng *r) {
    size_t last = data_last_window(d, i), least = 1;
    double first = fmax(BATCH_FIRST_WINDOW, 1.0 / (double)data_nwindows(d, i)), u = rng_uniform(r);
    if (last == 0 || u < first)
        return 0;
    if (u < first + BATCH_END_WINDOW)
        least = d->first[i + 1] - d->first[i] - d->rows; /* from here on a window shows the last row */
    return least + rng_below(r, (uint32_t)(last - least + 1));
}

static float row_weight(size_t npackets, size_t row) {
    return row < npackets && row + BATCH_END_ROWS >= npackets ? BATCH_END_WEIGHT : 1;
}

/* Clean rows, noisy rows and control of one sample. */
static void make_sample(batch *b, const data *d, size_t i, rng *noise, bool drop_control) {
    size_t n = d->rows * d->cells, ncontrol = d->rows * CONTROL_WIDTH;
    float *x = b->x + i * n, *x0 = b->x0 + i * n, *weight = b->weight + i * n, *control = b->control + i * ncontrol;
    float alpha = schedule_alpha(b->t[i]), sigma = schedule_sigma(b->t[i]);
    size_t ngiven = d->cells * data_window(d, b->flow[i], b->first[i], x0, control, b->scratch + i * 2 * d->cells);

    rng_normal(noise, x, n);
    for (size_t j = 0; j < n; j++) {
        bool given = j < ngiven;
        x[j] = given ? x0[j] : alpha * x0[j] + sigma * x[j];
        weight[j] = given ? 0 : row_weight(d->npackets[b->flow[i]], b->first[i] + j / d->cells);
    }
    if (drop_control)
        memset(control, 0, ncontrol * sizeof *control);
}

void batch_draw(batch *b, const data *d, const batch_rule *rule, uint64_t step, size_t first, size_t n, int threads) {
    ASSERT(n <= b->capacity && first + n <= rule->size);
    draw_step(b, d, rule, step);
    b->n = n;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < n; i++) {
        uint64_t k = first + i, item = step * rule->size + k;
        rng diffuse = rng_make(rule->seed, item, RNG_DIFFUSE), drop = rng_make(rule->seed, item, RNG_DROP);
        bool drop_prompt = rng_uniform(&drop) < rule->drop_prompt,
             drop_control = rng_uniform(&drop) < rule->drop_control;
        b->flow[i] = b->pick[k];
        b->first[i] = draw_window(d, b->flow[i], &drop);
        b->label[i] = drop_prompt ? -1 : d->label[b->flow[i]];
        b->t[i] = (float)(((double)b->stratum[k] + rng_uniform(&diffuse)) / (double)rule->size);
        make_sample(b, d, i, &diffuse, drop_control);
    }
}

size_t batch_evaluations(const data *d) {
    if (d->nvalidate == 0)
        return 0;
    return (EVALUATIONS_LEAST + d->nvalidate - 1) / d->nvalidate * d->nvalidate;
}

/* The times of one flow are evenly spaced; where they start follows multiples of the golden ratio, which spread evenly
 * over the neighbouring flows of any one label. */
static float evaluation_time(const data *d, size_t k) {
    size_t rounds = batch_evaluations(d) / d->nvalidate, round = k / d->nvalidate;
    double t = 0.61803398874989485 * (double)(k % d->nvalidate) + ((double)round + 0.5) / (double)rounds;
    return (float)(t - floor(t));
}

void batch_evaluation(batch *b, const data *d, size_t first, size_t n, int threads) {
    ASSERT(n <= b->capacity);
    b->n = n;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < n; i++) {
        size_t k = first + i;
        rng diffuse = rng_make(0, EVALUATION_ITEM | k, RNG_DIFFUSE),
            window = rng_make(0, EVALUATION_ITEM | k, RNG_DROP);
        b->flow[i] = d->validate[k % d->nvalidate];
        b->first[i] = draw_window(d, b->flow[i], &window);
        b->label[i] = d->label[b->flow[i]];
        b->t[i] = evaluation_time(d, k);
        make_sample(b, d, i, &diffuse, false);
    }
}
