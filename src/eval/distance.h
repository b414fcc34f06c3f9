/* Distances of distributions: Jensen-Shannon divergence (Lin 1991; base 2, not its square root), total variation,
 * Hellinger, and the 1-D Wasserstein distance.
 *
 * Two forms: histograms with a fixed number of bins, and samples, which hold any values with weights and are compared
 * value by value. Both are normalised here. Where both sides are empty a distance is 0; where one is, JSD, TVD and
 * Hellinger are 1 and the Wasserstein distance is NAN. Local; docs/metrics.md has the formulas. */
#ifndef ND_EVAL_DISTANCE_H
#define ND_EVAL_DISTANCE_H

#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

typedef struct distances {
    double jsd, tvd, hellinger; /* each 0 (equal) to 1 (disjoint) */
} distances;

distances distance_histograms(const double *p, const double *q, size_t n);

/* Weighted values. A value is 64 bits; real numbers are stored by a map that keeps their order (sample_key), so that
 * one sort serves both. A zeroed struct is an empty sample. */
typedef struct sample_point {
    uint64_t value;
    double weight;
} sample_point;

typedef struct sample {
    size_t n, capacity;
    sample_point *points; /* owned */
    double total;         /* sum of the weights */
} sample;

status sample_add(sample *s, uint64_t value, double weight);
/* x is finite. A point whose weight is not positive is left out, here and above. */
status sample_add_real(sample *s, double x, double weight);
/* Put in order of value and join equal values. To be called before the functions below. */
status sample_sort(sample *s);
/* Forget the points, keep the memory. */
void sample_reset(sample *s);
void sample_clear(sample *s);

uint64_t sample_key(double x);
double sample_real(uint64_t key);

/* Of two sorted samples, every distinct value being a bin of its own. */
distances distance_samples(const sample *a, const sample *b);
/* Area between the cumulative distributions of two sorted samples of real numbers, exactly: no bins, no range, nothing
 * left out. In the unit of the numbers. */
double distance_wasserstein(const sample *a, const sample *b);

#endif
