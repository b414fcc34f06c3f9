/* Layer norm. A row (a few hundred floats) stays in the first-level cache, so mean, variance and output are three
 * passes over it: the variance is taken about the mean and does not cancel. */
#include "nn/cpu/kernels.h"

/* Sum of x, or of (x - mean)^2, over a row; four partial sums hide the latency of adding. */
INLINE float row_sum(size_t c, const float *x, bool squares, float mean) {
    vec sum[4] = {{0}};
    size_t i = 0;
    for (; i + 4 * LANES <= c; i += 4 * LANES)
        for (int j = 0; j < 4; j++) {
            vec v = vec_load(x + i + j * LANES) - mean;
            sum[j] += squares ? v * v : v;
        }
    for (; i + LANES <= c; i += LANES) {
        vec v = vec_load(x + i) - mean;
        sum[0] += squares ? v * v : v;
    }
    float rest = 0;
    for (; i < c; i++) {
        float v = x[i] - mean;
        rest += squares ? v * v : v;
    }
    return vec_sum((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest;
}

INLINE vec load_or(const float *p, size_t i, size_t n, vec missing) {
    return p == NULL ? missing : vec_load_n(p + i, n);
}

INLINE void norm_row(const norm_shape *s, const float *x, const float *gain, const float *shift, float mean, float rstd,
                     float *out) {
    size_t i = 0;
    for (; i + LANES <= s->c; i += LANES) {
        vec xhat = (vec_load(x + i) - mean) * rstd;
        vec_store(out + i,
                  xhat * (load_or(gain, i, LANES, vec_set(0)) + s->gain_offset) + load_or(shift, i, LANES, vec_set(0)));
    }
    if (i < s->c) {
        size_t n = s->c - i;
        vec xhat = (vec_load_some(x + i, n) - mean) * rstd;
        vec_store_some(out + i,
                       xhat * (load_or(gain, i, n, vec_set(0)) + s->gain_offset) + load_or(shift, i, n, vec_set(0)), n);
    }
}

void KERNEL(norm)(norm_shape s, const float *x, const float *gain, const float *shift, float *mean, float *rstd,
                  float *out) {
#pragma omp parallel for num_threads(s.threads) if (s.threads > 1)
    for (int t = 0; t < s.threads; t++) {
        range r = range_of_items(s.groups * s.rows, s.threads, t);
        for (size_t row = r.first; row < r.last; row++) {
            const float *xr = x + row * s.c;
            size_t g = row / s.rows * s.c;
            float m = row_sum(s.c, xr, false, 0) / (float)s.c;
            float d = 1 / __builtin_sqrtf(row_sum(s.c, xr, true, m) / (float)s.c + s.epsilon);
            norm_row(&s, xr, gain == NULL ? NULL : gain + g, shift == NULL ? NULL : shift + g, m, d, out + row * s.c);
            if (mean != NULL) {
                mean[row] = m;
                rstd[row] = d;
            }
        }
    }
}

/* ---- Backward ----
 *
 * With g = dy * gain: dx = rstd * (g - mean(g) - xhat * mean(g * xhat)). The work is cut into pieces of whole rows,
 * each inside one group, with its own sums for dgain and dshift; they are added up in order at the end. */

static size_t pieces_per_group(norm_shape s) {
    if (s.groups >= (size_t)s.threads)
        return 1;
    return (size_t)s.threads < s.rows ? (size_t)s.threads : s.rows;
}

size_t KERNEL(norm_back_scratch)(norm_shape s) {
    return s.groups * pieces_per_group(s) * 2 * s.c;
}

typedef struct norm_rows {
    const float *x, *dy, *gain;
    float *dx;
    bool add_dx;
    float *dgain, *dshift; /* sums of this piece, c each */
} norm_rows;

INLINE void back_vec(size_t n, const norm_shape *s, const norm_rows *p, size_t at, size_t i, float mean, float rstd,
                     vec *sum_g, vec *sum_gx) {
    vec dy = vec_load_n(p->dy + at + i, n);
    vec xhat = (vec_load_n(p->x + at + i, n) - mean) * rstd;
    vec g = dy * (load_or(p->gain, i, n, vec_set(0)) + s->gain_offset);
    *sum_g += g;
    *sum_gx += g * xhat; /* lanes past n: dy is zero */
    vec_store_n(p->dgain + i, vec_load_n(p->dgain + i, n) + dy * xhat, n);
    vec_store_n(p->dshift + i, vec_load_n(p->dshift + i, n) + dy, n);
}

INLINE void dx_vec(size_t n, const norm_shape *s, const norm_rows *p, size_t at, size_t i, float mean, float rstd,
                   float mean_g, float mean_gx) {
    vec xhat = (vec_load_n(p->x + at + i, n) - mean) * rstd;
    vec g = vec_load_n(p->dy + at + i, n) * (load_or(p->gain, i, n, vec_set(0)) + s->gain_offset);
    vec d = (g - mean_g - xhat * mean_gx) * rstd;
    vec_store_n(p->dx + at + i, p->add_dx ? vec_load_n(p->dx + at + i, n) + d : d, n);
}

INLINE void back_row(const norm_shape *s, const norm_rows *p, size_t at, float mean, float rstd) {
    vec sum_g[2] = {{0}}, sum_gx[2] = {{0}};
    size_t i = 0;
    for (; i + 2 * LANES <= s->c; i += 2 * LANES) {
        back_vec(LANES, s, p, at, i, mean, rstd, &sum_g[0], &sum_gx[0]);
        back_vec(LANES, s, p, at, i + LANES, mean, rstd, &sum_g[1], &sum_gx[1]);
    }
    for (; i < s->c; i += LANES)
        back_vec(s->c - i < LANES ? s->c - i : LANES, s, p, at, i, mean, rstd, &sum_g[0], &sum_gx[0]);
    if (p->dx == NULL)
        return;
    float mean_g = vec_sum(sum_g[0] + sum_g[1]) / (float)s->c, mean_gx = vec_sum(sum_gx[0] + sum_gx[1]) / (float)s->c;
    for (i = 0; i + LANES <= s->c; i += LANES)
        dx_vec(LANES, s, p, at, i, mean, rstd, mean_g, mean_gx);
    if (i < s->c)
        dx_vec(s->c - i, s, p, at, i, mean, rstd, mean_g, mean_gx);
}

/* sums (pieces, 2, c) of one group -> gradient (c). */
static void gather_pieces(size_t pieces, size_t c, const float *sums, bool add, float *out) {
    for (size_t i = 0; i < c; i++) {
        float sum = 0;
        for (size_t p = 0; p < pieces; p++)
            sum += sums[p * 2 * c + i];
        out[i] = add ? out[i] + sum : sum;
    }
}

void KERNEL(norm_back)(norm_shape s, const float *x, const float *gain, const float *mean, const float *rstd,
                       const float *dy, bool add_dx, float *dx, bool add_dgain, float *dgain, bool add_dshift,
                       float *dshift, float *scratch) {
    size_t pieces = pieces_per_group(s), all = s.groups * pieces;
#pragma omp parallel for num_threads(s.threads) if (s.threads > 1)
    for (int t = 0; t < s.threads; t++) {
        range mine = range_of_items(all, s.threads, t);
        for (size_t piece = mine.first; piece < mine.last; piece++) {
            size_t group = piece / pieces;
            float *sums = scratch + piece * 2 * s.c;
            norm_rows p = {.x = x, .dy = dy, .dx = dx, .add_dx = add_dx, .dgain = sums, .dshift = sums + s.c};
            p.gain = gain == NULL ? NULL : gain + group * s.c;
            memset(sums, 0, 2 * s.c * sizeof *sums);
            range rows = range_of_items(s.rows, (int)pieces, (int)(piece % pieces));
            for (size_t r = rows.first; r < rows.last; r++) {
                size_t row = group * s.rows + r;
                back_row(&s, &p, row * s.c, mean[row], rstd[row]);
            }
        }
    }
    for (size_t g = 0; g < s.groups; g++) {
        const float *sums = scratch + g * pieces * 2 * s.c;
        if (dgain != NULL)
            gather_pieces(pieces, s.c, sums, add_dgain, dgain + g * s.c);
        if (dshift != NULL)
            gather_pieces(pieces, s.c, sums + s.c, add_dshift, dshift + g * s.c);
    }
}
