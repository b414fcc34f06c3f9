/* Distances of distributions (see distance.h).
 *
 * Samples are sorted by a radix sort of bytes, least significant first, which keeps equal values in their order and
 * skips the bytes that all values share: most header fields take one or two passes. */
#include "eval/distance.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/memory.h"

/* Sums over bins, from which all three distances follow. */
typedef struct sums {
    double js, difference, root; /* root: of squared differences of square roots */
} sums;

static void add_bin(sums *s, double a, double b) {
    double mid = (a + b) / 2, root = sqrt(a) - sqrt(b);
    if (a == b)
        return;
    if (a > 0)
        s->js += a / 2 * log2(a / mid);
    if (b > 0)
        s->js += b / 2 * log2(b / mid);
    s->difference += fabs(a - b);
    s->root += root * root;
}

/* What is outside 0..1, or below 1e-12, is the rounding of weights. */
static double unit(double x) {
    return x < 1e-12 ? 0 : x > 1 ? 1 : x;
}

static distances from_sums(const sums *s) {
    return (distances){unit(s->js), unit(s->difference / 2), unit(sqrt(s->root / 2))};
}

static distances of_empty(double total_a, double total_b) {
    double d = total_a > 0 || total_b > 0;
    return (distances){d, d, d};
}

distances distance_histograms(const double *p, const double *q, size_t n) {
    double total_p = 0, total_q = 0;
    sums s = {0};
    for (size_t i = 0; i < n; i++) {
        total_p += p[i];
        total_q += q[i];
    }
    if (total_p <= 0 || total_q <= 0)
        return of_empty(total_p, total_q);
    for (size_t i = 0; i < n; i++)
        add_bin(&s, p[i] / total_p, q[i] / total_q);
    return from_sums(&s);
}

status sample_add(sample *s, uint64_t value, double weight) {
    if (!(weight > 0))
        return ST_OK;
    TRY(memory_grow(&s->points, &s->capacity, s->n + 1, sizeof *s->points));
    s->points[s->n++] = (sample_point){value, weight};
    s->total += weight;
    return ST_OK;
}

/* IEEE 754 numbers of one sign are ordered as their bits; negative ones the other way round. */
uint64_t sample_key(double x) {
    uint64_t bits;
    x += 0.0; /* -0 becomes 0 */
    memcpy(&bits, &x, sizeof bits);
    return bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
}

double sample_real(uint64_t key) {
    uint64_t bits = key >> 63 ? key & ~(UINT64_C(1) << 63) : ~key;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

status sample_add_real(sample *s, double x, double weight) {
    return sample_add(s, sample_key(x), weight);
}

/* One stable pass over the byte at `shift`. */
static void sort_pass(const sample_point *from, sample_point *to, size_t n, unsigned shift) {
    size_t start[257] = {0};
    for (size_t i = 0; i < n; i++)
        start[(from[i].value >> shift & 255) + 1]++;
    for (unsigned v = 0; v < 256; v++)
        start[v + 1] += start[v];
    for (size_t i = 0; i < n; i++)
        to[start[from[i].value >> shift & 255]++] = from[i];
}

static void join_equal(sample *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (n > 0 && s->points[n - 1].value == s->points[i].value)
            s->points[n - 1].weight += s->points[i].weight;
        else
            s->points[n++] = s->points[i];
    }
    s->n = n;
}

status sample_sort(sample *s) {
    uint64_t differ = 0;
    for (size_t i = 1; i < s->n; i++)
        differ |= s->points[i].value ^ s->points[0].value;
    if (differ) {
        sample_point *other = NULL;
        TRY(NEW(s->n, &other));
        sample_point *from = s->points, *to = other;
        for (unsigned shift = 0; shift < 64; shift += 8) {
            if (!(differ >> shift & 255))
                continue;
            sort_pass(from, to, s->n, shift);
            sample_point *sorted = to;
            to = from;
            from = sorted;
        }
        if (from != s->points)
            memcpy(s->points, from, s->n * sizeof *from);
        memory_free(&other);
    }
    join_equal(s);
    return ST_OK;
}

void sample_reset(sample *s) {
    s->n = 0;
    s->total = 0;
}

void sample_clear(sample *s) {
    free(s->points);
    *s = (sample){0};
}

distances distance_samples(const sample *a, const sample *b) {
    sums s = {0};
    size_t i = 0, j = 0;
    if (!a->n || !b->n)
        return of_empty(a->total, b->total);
    while (i < a->n || j < b->n) {
        double p = 0, q = 0;
        bool take_a = j == b->n || (i < a->n && a->points[i].value <= b->points[j].value);
        bool take_b = i == a->n || (j < b->n && b->points[j].value <= a->points[i].value);
        if (take_a)
            p = a->points[i++].weight / a->total;
        if (take_b)
            q = b->points[j++].weight / b->total;
        add_bin(&s, p, q);
    }
    return from_sums(&s);
}

double distance_wasserstein(const sample *a, const sample *b) {
    double above_a = 0, above_b = 0, last = 0, area = 0; /* weights up to `last` */
    size_t i = 0, j = 0;
    if (!a->n && !b->n)
        return 0;
    if (!a->n || !b->n)
        return NAN;
    while (i < a->n || j < b->n) {
        bool take_a = j == b->n || (i < a->n && a->points[i].value <= b->points[j].value);
        double x = sample_real(take_a ? a->points[i].value : b->points[j].value);
        double height = fabs(above_a / a->total - above_b / b->total);
        if (i + j > 0 && height > 0 && x > last)
            area += height * (x - last);
        if (take_a)
            above_a += a->points[i++].weight;
        else
            above_b += b->points[j++].weight;
        last = x;
    }
    return area;
}
