/* Counter-based random numbers: Philox 4x32-10 (Salmon et al., SC 2011).
 *
 * A stream is a function of (seed, item, purpose) only, never of rank, thread or time. */
#ifndef ND_BASE_RNG_H
#define ND_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct rng {
    uint32_t key[2];
    uint32_t counter[4]; /* [0] block number, [1] purpose, [2..3] item */
    uint32_t block[4];
    unsigned used; /* of block, 0..4 */
} rng;

/* What a stream is for; two purposes of one item never share numbers. */
typedef enum rng_purpose {
    RNG_INIT = 1, /* weights: item = hash of the parameter's name */
    RNG_BATCH,    /* which flows: item = step */
    RNG_DIFFUSE,  /* noise and time in training: item = step * batch + index */
    RNG_DROP,     /* condition dropout: item = step * batch + index */
    RNG_PLAN,     /* generation: item = flow number */
    RNG_SAMPLE,   /* noise of the sampler: item = flow number */
    RNG_SHAPE,    /* length and control signal of a generated flow: item = flow number */
    RNG_GAP,      /* inter-arrival times drawn from the class: item = flow number */
    RNG_TEST,
    RNG_RANDOM,    /* evaluation: control of random headers: item = flow */
    RNG_MARGINAL,  /* evaluation: control of independent fields: item = flow */
    RNG_UTILITY,   /* evaluation: draws of training sets */
    RNG_MEMORY,    /* evaluation: samples of equal size: item = repetition and set */
    RNG_VARIATION, /* evaluation: pairs of flows: item = label */
    RNG_PORT,      /* client port of a generated flow: item = flow number */
    RNG_LOSS       /* what happens to a generated flow's segments: item = flow number */
} rng_purpose;

rng rng_make(uint64_t seed, uint64_t item, rng_purpose purpose);
/* Philox block function, exposed for the known-answer test. */
void rng_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);
uint32_t rng_u32(rng *r);
uint64_t rng_u64(rng *r);
/* Uniform in [0, 1), 53 bits. */
double rng_uniform(rng *r);
/* Uniform in [0, n), unbiased; n > 0. */
uint32_t rng_below(rng *r, uint32_t n);
/* Standard normal (Box-Muller, both values used in order; of an odd n the last pair's second is dropped). */
void rng_normal(rng *r, float *x, size_t n);
/* What it makes of RNG_PAIRS pairs of 32-bit numbers (u the radius, v the angle): 2 * RNG_PAIRS numbers, in order. */
enum { RNG_PAIRS = 64 };
void rng_normal_pairs(const uint32_t u[RNG_PAIRS], const uint32_t v[RNG_PAIRS], float x[2 * RNG_PAIRS]);
/* Index drawn with probability weight[i] / sum; the sum must be positive. */
size_t rng_choose(rng *r, const double *weight, size_t n);

#endif
