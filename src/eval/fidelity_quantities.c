/* Continuous quantities: sizes, gaps, and whole flows' packets, bytes and durations. */
#include "eval/fidelity_priv.h"

#include <math.h>
#include "base/memory.h"

const char *const fidelity_quantity_names[QUANTITY_COUNT] = {"size",   "gap",   "gap_s",   "length",
                                                             "window", "bytes", "duration"};
const char *const fidelity_quantity_titles[QUANTITY_COUNT] = {
    "packet size (bytes)", "gap (log10 s)",     "gap (s)", "flow length (packets)", "flow length, at most the window",
    "flow bytes",          "flow duration (s)",
};

static const double tick = 1e-6; /* captures of microseconds know nothing below */

static double log_of(double x) {
    return log10(x > tick ? x : tick);
}

size_t fidelity_log_bin(double log10_x) {
    double bin = 10 * (log10_x + 6);
    return !(bin > 0) ? 0 : bin >= QUANTITY_BINS - 1 ? QUANTITY_BINS - 1 : (size_t)bin;
}

static status collect_gaps(const flow *f, bool logarithm, sample *to) {
    for (size_t i = 1; i < f->npackets; i++) {
        double gap = (double)packet_gap(&f->packets[i - 1], &f->packets[i]) / 1e9;
        TRY(sample_add_real(to, logarithm ? log_of(gap) : gap, 1));
    }
    return ST_OK;
}

static status collect_quantity(const eval_flow *f, const void *what, sample *to) {
    switch (*(const fidelity_quantity *)what) {
    case QUANTITY_SIZE:
        for (size_t i = 0; i < f->f.npackets; i++)
            TRY(sample_add_real(to, packet_total_len(&f->f.packets[i]), 1));
        return ST_OK;
    case QUANTITY_GAP:
        return collect_gaps(&f->f, true, to);
    case QUANTITY_SECONDS:
        return collect_gaps(&f->f, false, to);
    case QUANTITY_LENGTH:
        return sample_add_real(to, (double)f->packets, 1);
    case QUANTITY_WINDOW:
        return sample_add_real(to, (double)f->f.npackets, 1);
    case QUANTITY_BYTES:
        return sample_add_real(to, (double)f->bytes, 1);
    case QUANTITY_DURATION:
        return isfinite(f->duration) ? sample_add_real(to, f->duration, 1) : ST_OK;
    default:
        ASSERT(!"a quantity");
        return ST_OK;
    }
}

static void into_bins(const sample *s, fidelity_quantity q, double bins[QUANTITY_BINS]) {
    for (size_t i = 0; i < QUANTITY_BINS; i++)
        bins[i] = 0;
    for (size_t i = 0; i < s->n; i++) {
        double x = sample_real(s->points[i].value);
        bins[fidelity_log_bin(q == QUANTITY_GAP ? x : log_of(x))] += s->points[i].weight;
    }
}

static quantity_distance compare(const sample *side, const sample *held, fidelity_quantity q) {
    double a[QUANTITY_BINS], b[QUANTITY_BINS];
    if (!side->n || !held->n)
        return (quantity_distance){0, 0, 0};
    into_bins(side, q, a);
    into_bins(held, q, b);
    return (quantity_distance){1, distance_wasserstein(side, held), distance_histograms(a, b, QUANTITY_BINS).jsd};
}

static status measure_quantity(const fidelity_sets *s, size_t g, fidelity_quantity q, quantity_distance d[SIDE_COUNT]) {
    sample held = {0}, side = {0};
    double *weights = NULL;
    status st = NEW(s->ngroups, &weights);
    if (!st)
        st = fidelity_gather(s, HELD_OUT, g, collect_quantity, &q, weights, &held);
    for (int k = 0; k < SIDE_COUNT && !st; k++) {
        if (!fidelity_known(s, (fidelity_side)k, g))
            continue;
        st = fidelity_gather(s, (fidelity_side)k, g, collect_quantity, &q, weights, &side);
        if (!st)
            d[k] = compare(&side, &held, q);
    }
    sample_clear(&held);
    sample_clear(&side);
    memory_free(&weights);
    return st;
}

status fidelity_quantities_measure(const fidelity_sets *s, const eval_world *w, quantity_distance **r) {
    size_t n = (s->ngroups + 1) * QUANTITY_COUNT * SIDE_COUNT;
    status st = NEW(n, r);
    for (size_t g = 0; g <= s->ngroups && !st; g++)
        for (size_t q = 0; q < QUANTITY_COUNT && !st; q++)
            if (world_mine(w, g + q))
                st = measure_quantity(s, g, (fidelity_quantity)q, *r + (g * QUANTITY_COUNT + q) * SIDE_COUNT);
    st = comm_agree(w->c, st);
    if (!st)
        st = comm_sum_f64(w->c, (double *)*r, n * sizeof **r / sizeof(double));
    if (st)
        memory_free(r);
    return st;
}
