/* Nearest neighbours in train and in held out.
 *
 * A model that learnt flows by heart makes flows nearer to those it saw than to others of the same kind. The nearest of
 * many is nearer than the nearest of few, so both sides are samples of the same size, label by label, drawn several
 * times. The real flows, each against all but itself, show what a set of the same source gives without any copying:
 * recordings differ, and a model of one is rightly closer to it. */
#include "eval/memory_priv.h"

#include <math.h>
#include <stdlib.h>
#include "base/memory.h"
#include "eval/neighbour.h"

enum { TRAIN_SIDE, HELD_SIDE, SIDES };
enum { STREAM_BLOCKS = MEMORY_REPETITIONS, STREAM_QUERIES };

/* Equal samples: entry j of both sides is of the same label. */
typedef struct samples {
    size_t n;                                   /* of a sample */
    bool *shared;                               /* (ngroups) labels on both sides */
    uint32_t *flow[SIDES][MEMORY_REPETITIONS];  /* (n) */
    uint32_t *entry[SIDES][MEMORY_REPETITIONS]; /* (flows of the side) 1 + place in the sample, 0 = not drawn */
    uint8_t *block[SIDES];                      /* (flows of the side) for the jackknife */
} samples;

typedef struct search {
    const eval_world *w;
    const eval_set *set[QUERY_COUNT];
    neighbours *near;
    samples s;
    float *distance[SIDES]; /* (NEIGHBOUR_BATCH, flows of the side) */
} search;

/* Of one query; all doubles, so that ranks exchange them as one block. */
typedef struct outcome {
    double known, nearest; /* to all of train */
    double compared, score, to_train, to_held;
    double without[MEMORY_BLOCKS]; /* the score where a block of both samples is left out */
} outcome;

static size_t group_of(const eval_world *w, const eval_flow *f) {
    return f->f.label >= 0 && (size_t)f->f.label < w->nlabels ? (size_t)f->f.label : w->nlabels;
}

static void shuffle(uint32_t *x, size_t n, rng *r) {
    for (size_t i = n; i > 1; i--) {
        size_t k = rng_below(r, (uint32_t)i);
        uint32_t held = x[i - 1];
        x[i - 1] = x[k];
        x[k] = held;
    }
}

/* The flows of a set by group, in random order. start: (ngroups + 1). */
static void order_flows(const eval_world *w, const eval_set *set, rng *r, size_t *start, uint32_t *order) {
    size_t at = 0;
    for (size_t g = 0; g <= w->nlabels; g++) {
        start[g] = at;
        for (size_t i = 0; i < set->n; i++)
            if (group_of(w, &set->flows[i]) == g)
                order[at++] = (uint32_t)i;
        shuffle(order + start[g], at - start[g], r);
    }
    start[w->nlabels + 1] = at;
}

static void draw_samples(search *x, size_t *start[SIDES], uint32_t *order[SIDES]) {
    const eval_world *w = x->w;
    samples *s = &x->s;
    const eval_set *set[SIDES] = {&w->train, &w->held_out};
    for (size_t k = 0; k <= MEMORY_REPETITIONS; k++) {
        for (size_t side = 0; side < SIDES; side++) {
            rng r = rng_make((uint64_t)w->e->seed, k * 8 + side, RNG_MEMORY);
            order_flows(w, set[side], &r, start[side], order[side]);
            for (size_t i = 0; k == STREAM_BLOCKS && i < set[side]->n; i++)
                s->block[side][order[side][i]] = (uint8_t)(i % MEMORY_BLOCKS);
        }
        s->n = 0;
        for (size_t g = 0; g <= w->nlabels; g++) {
            size_t n[SIDES] = {start[0][g + 1] - start[0][g], start[1][g + 1] - start[1][g]};
            s->shared[g] = n[0] > 0 && n[1] > 0;
            for (size_t i = 0; i < n[0] && i < n[1]; i++, s->n++)
                for (size_t side = 0; k < MEMORY_REPETITIONS && side < SIDES; side++) {
                    uint32_t f = order[side][start[side][g] + i];
                    s->flow[side][k][s->n] = f;
                    s->entry[side][k][f] = (uint32_t)s->n + 1;
                }
        }
    }
}

static status samples_new(search *x) {
    const eval_world *w = x->w;
    const eval_set *set[SIDES] = {&w->train, &w->held_out};
    size_t *start[SIDES] = {NULL}, most = w->train.n < w->held_out.n ? w->train.n : w->held_out.n;
    uint32_t *order[SIDES] = {NULL};
    status st = NEW(w->nlabels + 1, &x->s.shared);
    for (size_t side = 0; side < SIDES && !st; side++) {
        TRY_TO(done, NEW(w->nlabels + 2, &start[side]));
        TRY_TO(done, NEW(set[side]->n, &order[side]));
        TRY_TO(done, NEW(set[side]->n, &x->s.block[side]));
        TRY_TO(done, memory_new(set[side]->n, NEIGHBOUR_BATCH * sizeof(float), &x->distance[side]));
        for (size_t k = 0; k < MEMORY_REPETITIONS; k++) {
            TRY_TO(done, NEW(most, &x->s.flow[side][k]));
            TRY_TO(done, NEW(set[side]->n, &x->s.entry[side][k]));
        }
    }
    if (!st)
        draw_samples(x, start, order);
done:
    for (size_t side = 0; side < SIDES; side++) {
        memory_free(&start[side]);
        memory_free(&order[side]);
    }
    return st;
}

static void search_close(search *x) {
    neighbours_free(&x->near);
    memory_free(&x->s.shared);
    for (size_t side = 0; side < SIDES; side++) {
        memory_free(&x->s.block[side]);
        memory_free(&x->distance[side]);
        for (size_t k = 0; k < MEMORY_REPETITIONS; k++) {
            memory_free(&x->s.flow[side][k]);
            memory_free(&x->s.entry[side][k]);
        }
    }
}

static status search_open(const eval_world *w, search *x) {
    *x = (search){.w = w, .set = {&w->synthetic, &w->held_out, &w->train}};
    status st = neighbours_new(&x->near, QUERY_COUNT, x->set, w->window);
    if (!st)
        st = samples_new(x);
    return st;
}

static double score_of(float to_train, float to_held) {
    return to_train < to_held ? 1 : to_train == to_held ? 0.5 : 0;
}

/* Nearest in each block of a sample, entry `skip` left out. distance: (flows of the side). */
static void block_minima(const samples *s, const float *distance, size_t side, size_t k, size_t skip, float *nearest) {
    for (size_t b = 0; b < MEMORY_BLOCKS; b++)
        nearest[b] = INFINITY;
    for (size_t j = 0; j < s->n; j++) {
        uint32_t f = s->flow[side][k][j];
        float *to = &nearest[s->block[side][f]];
        if (distance[f] < *to && j + 1 != skip)
            *to = distance[f];
    }
}

/* Least of all, and least of all but one for each. */
static float minima_without(const float *x, float *without) {
    float least = INFINITY;
    for (size_t b = 0; b < MEMORY_BLOCKS; b++) {
        without[b] = INFINITY;
        for (size_t i = 0; i < MEMORY_BLOCKS; i++)
            if (i != b && x[i] < without[b])
                without[b] = x[i];
        if (x[b] < least)
            least = x[b];
    }
    return least;
}

static void compare(const samples *s, const float *const distance[SIDES], memory_query q, size_t i, outcome *o) {
    for (size_t k = 0; k < MEMORY_REPETITIONS; k++) {
        /* A real flow leaves both samples, with its partner, so that they stay of one size. */
        size_t skip = q == QUERY_TRAIN      ? s->entry[TRAIN_SIDE][k][i]
                      : q == QUERY_HELD_OUT ? s->entry[HELD_SIDE][k][i]
                                            : 0;
        if (s->n <= (skip > 0))
            return;
        float nearest[SIDES][MEMORY_BLOCKS], without[SIDES][MEMORY_BLOCKS], least[SIDES];
        for (size_t side = 0; side < SIDES; side++) {
            block_minima(s, distance[side], side, k, skip, nearest[side]);
            least[side] = minima_without(nearest[side], without[side]);
        }
        o->score += score_of(least[TRAIN_SIDE], least[HELD_SIDE]) / MEMORY_REPETITIONS;
        o->to_train += (double)least[TRAIN_SIDE] / MEMORY_REPETITIONS;
        o->to_held += (double)least[HELD_SIDE] / MEMORY_REPETITIONS;
        for (size_t b = 0; b < MEMORY_BLOCKS; b++)
            o->without[b] += score_of(without[TRAIN_SIDE][b], without[HELD_SIDE][b]) / MEMORY_REPETITIONS;
    }
    o->compared = 1;
}

/* distance: of query i to the flows of both sides. */
static void judge(const search *x, memory_query q, size_t i, const float *const distance[SIDES], outcome *o) {
    const eval_world *w = x->w;
    float nearest = INFINITY;
    for (size_t t = 0; t < w->train.n; t++)
        if (distance[TRAIN_SIDE][t] < nearest && !(q == QUERY_TRAIN && t == i))
            nearest = distance[TRAIN_SIDE][t];
    if (nearest <= 1) {
        o->known = 1;
        o->nearest = nearest;
    }
    size_t g = group_of(w, &x->set[q]->flows[i]);
    if (g == w->nlabels || x->s.shared[g])
        compare(&x->s, distance, q, i, o);
}

static void look_up(search *x, memory_query q, size_t n, const uint32_t *query, outcome *outcomes) {
    const size_t flows[SIDES] = {x->w->train.n, x->w->held_out.n};
    neighbours_distances(x->near, q, n, query, QUERY_TRAIN, x->distance[TRAIN_SIDE]);
    neighbours_distances(x->near, q, n, query, QUERY_HELD_OUT, x->distance[HELD_SIDE]);
    for (size_t i = 0; i < n; i++) {
        const float *const distance[SIDES] = {x->distance[TRAIN_SIDE] + i * flows[TRAIN_SIDE],
                                              x->distance[HELD_SIDE] + i * flows[HELD_SIDE]};
        judge(x, q, query[i], distance, &outcomes[i]);
    }
}

void memory_interval(double share, double variance, double most, double *low, double *high) {
    double n = most, z = 1.959963984540054;
    if (variance > 0 && share > 0 && share < 1 && share * (1 - share) / variance < n)
        n = share * (1 - share) / variance;
    double middle = (share + z * z / (2 * n)) / (1 + z * z / n);
    double half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n));
    *low = middle > half ? middle - half : 0;
    *high = middle + half < 1 ? middle + half : 1;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, size_t n) {
    if (n == 0)
        return 0;
    qsort(x, n, sizeof *x, by_value);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* What a group's outcomes are collected in. */
typedef struct tally {
    double squares, without[MEMORY_BLOCKS];
    double *to_train, *to_held, *nearest; /* (queries) */
} tally;

static void tally_add(tally *t, const outcome *o, const flow *f, memory_near *r) {
    if (o->compared > 0) {
        t->to_train[(size_t)r->compared] = o->to_train;
        t->to_held[(size_t)r->compared] = o->to_held;
        t->squares += o->score * o->score;
        for (size_t b = 0; b < MEMORY_BLOCKS; b++)
            t->without[b] += o->without[b];
        r->closer += o->score;
        r->compared++;
    }
    if (o->known > 0) {
        bool longer = f->npackets >= MEMORY_LONG, same = o->nearest == 0, close = o->nearest <= MEMORY_NEAR;
        t->nearest[(size_t)r->queries] = o->nearest;
        r->queries++;
        r->identical += same;
        r->near += close;
        r->longer += longer;
        r->longer_identical += longer && same;
        r->longer_near += longer && close;
    }
}

/* Shares and their interval. Two things vary: which queries there are, and which real flows stand on the two sides; the
 * second is common to all queries and estimated by a jackknife over blocks (Quenouille, Tukey; Efron 1982). */
static void tally_end(tally *t, memory_near *r) {
    double n = r->compared;
    r->nearest = median(t->nearest, (size_t)r->queries);
    if (n == 0)
        return;
    r->to_train = median(t->to_train, (size_t)n);
    r->to_held = median(t->to_held, (size_t)n);
    double variance = n > 1 ? (t->squares - r->closer * r->closer / n) / (n - 1) / n : 0, mean = 0;
    r->closer /= n;
    for (size_t b = 0; b < MEMORY_BLOCKS; b++)
        mean += t->without[b] / n / MEMORY_BLOCKS;
    for (size_t b = 0; b < MEMORY_BLOCKS; b++)
        variance += pow(t->without[b] / n - mean, 2) * (MEMORY_BLOCKS - 1) / MEMORY_BLOCKS;
    memory_interval(r->closer, variance, n, &r->low, &r->high);
}

static status summarise(const eval_world *w, const eval_set *set, const uint32_t *query, size_t n,
                        const outcome *outcomes, memory_near *r) {
    tally t = {0};
    status st = ST_OK;
    TRY_TO(done, NEW(n, &t.to_train));
    TRY_TO(done, NEW(n, &t.to_held));
    TRY_TO(done, NEW(n, &t.nearest));
    for (size_t g = 0; g < w->nlabels + 2; g++) {
        t = (tally){.to_train = t.to_train, .to_held = t.to_held, .nearest = t.nearest};
        for (size_t k = 0; k < n; k++) {
            const eval_flow *f = &set->flows[query[k]];
            if (g == w->nlabels + 1 || group_of(w, f) == g)
                tally_add(&t, &outcomes[k], &f->f, &r[g]);
        }
        tally_end(&t, &r[g]);
    }
done:
    memory_free(&t.to_train);
    memory_free(&t.to_held);
    memory_free(&t.nearest);
    return st;
}

/* All ranks ask for the same queries, each answers its own, the sum is everybody's. */
static status query_set(search *x, memory_query q, memory_near *r, bool *sampled) {
    const eval_world *w = x->w;
    size_t n = x->set[q]->n;
    uint32_t *query = NULL;
    outcome *outcomes = NULL;
    status st = NEW(n, &query);
    for (size_t i = 0; i < n && !st; i++)
        query[i] = (uint32_t)i;
    *sampled = n > MEMORY_QUERIES_MAX;
    if (!st && *sampled) {
        rng draw = rng_make((uint64_t)w->e->seed, STREAM_QUERIES * 8 + q, RNG_MEMORY);
        shuffle(query, n, &draw);
        n = MEMORY_QUERIES_MAX;
    }
    if (!st)
        st = NEW(n, &outcomes);
    for (size_t k = 0; k < n && !st; k += NEIGHBOUR_BATCH)
        if (world_mine(w, k / NEIGHBOUR_BATCH))
            look_up(x, q, n - k < NEIGHBOUR_BATCH ? n - k : NEIGHBOUR_BATCH, query + k, outcomes + k);
    st = comm_agree(w->c, st);
    if (!st)
        st = comm_sum_f64(w->c, (double *)outcomes, n * sizeof *outcomes / sizeof(double));
    if (!st)
        st = summarise(w, x->set[q], query, n, outcomes, r);
    memory_free(&query);
    memory_free(&outcomes);
    return comm_agree(w->c, st);
}

status memory_near_measure(const eval_world *w, memory_near **r, bool sampled[QUERY_COUNT]) {
    search x;
    size_t ngroups = w->nlabels + 2;
    *r = NULL;
    status st = search_open(w, &x);
    if (!st)
        st = NEW(QUERY_COUNT * ngroups, r);
    st = comm_agree(w->c, st);
    for (size_t q = 0; q < QUERY_COUNT && !st; q++)
        st = query_set(&x, (memory_query)q, *r + q * ngroups, &sampled[q]);
    search_close(&x);
    if (st)
        memory_free(r);
    return st;
}
