/* Kernels over (groups, rows, c) with one vector of c per group: added to every row, summed over the rows, or as gate.
 */
#include "nn/cpu/kernels.h"

void KERNEL(add_rows)(int threads, size_t groups, size_t rows, size_t c, const float *x, const float *y, float *out) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++) {
        range r = range_of_items(groups * rows, threads, t);
        for (size_t row = r.first; row < r.last; row++) {
            const float *xr = x + row * c, *yr = y + row / rows * c;
            float *o = out + row * c;
            size_t i = 0;
            for (; i + LANES <= c; i += LANES)
                vec_store(o + i, vec_load(xr + i) + vec_load(yr + i));
            if (i < c)
                vec_store_some(o + i, vec_load_some(xr + i, c - i) + vec_load_some(yr + i, c - i), c - i);
        }
    }
}

/* Sum over rows of `vecs` vectors side by side; the last holds n lanes. Independent sums hide the latency of adding. */
INLINE void sum_columns(size_t vecs, size_t n, size_t rows, size_t c, const float *x, bool add, float *out) {
    vec sum[4] = {{0}};
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < vecs; j++)
            sum[j] += vec_load_n(x + r * c + j * LANES, j + 1 == vecs ? n : LANES);
    for (size_t j = 0; j < vecs; j++) {
        size_t m = j + 1 == vecs ? n : LANES;
        float *o = out + j * LANES;
        vec_store_n(o, add ? vec_load_n(o, m) + sum[j] : sum[j], m);
    }
}

INLINE void sum_column_range(range r, size_t rows, size_t c, const float *x, bool add, float *out) {
    size_t i = r.first;
    for (; i + 4 * LANES <= r.last; i += 4 * LANES)
        sum_columns(4, LANES, rows, c, x + i, add, out + i);
    for (; i + LANES <= r.last; i += LANES)
        sum_columns(1, LANES, rows, c, x + i, add, out + i);
    if (i < r.last)
        sum_columns(1, r.last - i, rows, c, x + i, add, out + i);
}

/* Threads share groups, or the columns of each group: a column is always summed by one, in the order of rows. */
void KERNEL(sum_rows)(int threads, size_t groups, size_t rows, size_t c, const float *x, bool add, float *out) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++) {
        bool by_group = groups >= (size_t)threads;
        range g = by_group ? range_of_items(groups, threads, t) : (range){0, groups};
        range r = by_group ? (range){0, c} : range_of(c, threads, t);
        for (size_t i = g.first; i < g.last; i++)
            sum_column_range(r, rows, c, x + i * rows * c, add, out + i * c);
    }
}

void KERNEL(gate_add)(int threads, size_t groups, size_t rows, size_t c, const float *x, const float *gate,
                      const float *y, float *out) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++) {
        range r = range_of_items(groups * rows, threads, t);
        for (size_t row = r.first; row < r.last; row++) {
            const float *xr = x + row * c, *yr = y + row * c, *g = gate + row / rows * c;
            float *o = out + row * c;
            size_t i = 0;
            for (; i + LANES <= c; i += LANES)
                vec_store(o + i, vec_load(xr + i) + vec_load(g + i) * vec_load(yr + i));
            if (i < c) {
                size_t n = c - i;
                vec_store_some(o + i, vec_load_some(xr + i, n) + vec_load_some(g + i, n) * vec_load_some(yr + i, n), n);
            }
        }
    }
}

/* `vecs` vectors of columns of one group: both results in one pass over dout. */
INLINE void gate_columns(size_t vecs, size_t n, size_t rows, size_t c, const float *dout, const float *gate,
                         const float *y, bool add_dgate, float *dgate, bool add_dy, float *dy) {
    vec sum[4] = {{0}}, g[4];
    for (size_t j = 0; j < vecs; j++)
        g[j] = vec_load_n(gate + j * LANES, j + 1 == vecs ? n : LANES);
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < vecs; j++) {
            size_t m = j + 1 == vecs ? n : LANES, at = r * c + j * LANES;
            vec d = vec_load_n(dout + at, m);
            if (dgate != NULL)
                sum[j] += d * vec_load_n(y + at, m);
            if (dy != NULL)
                vec_store_n(dy + at, add_dy ? vec_load_n(dy + at, m) + d * g[j] : d * g[j], m);
        }
    for (size_t j = 0; j < vecs && dgate != NULL; j++) {
        size_t m = j + 1 == vecs ? n : LANES;
        float *o = dgate + j * LANES;
        vec_store_n(o, add_dgate ? vec_load_n(o, m) + sum[j] : sum[j], m);
    }
}

INLINE void gate_group(size_t rows, size_t c, const float *dout, const float *gate, const float *y, bool add_dgate,
                       float *dgate, bool add_dy, float *dy) {
    size_t i = 0;
    for (; i + 4 * LANES <= c; i += 4 * LANES)
        gate_columns(4, LANES, rows, c, dout + i, gate + i, y + i, add_dgate, dgate == NULL ? NULL : dgate + i, add_dy,
                     dy == NULL ? NULL : dy + i);
    for (; i < c; i += LANES)
        gate_columns(1, c - i < LANES ? c - i : LANES, rows, c, dout + i, gate + i, y + i, add_dgate,
                     dgate == NULL ? NULL : dgate + i, add_dy, dy == NULL ? NULL : dy + i);
}

void KERNEL(gate_add_back)(int threads, size_t groups, size_t rows, size_t c, const float *dout, const float *gate,
                           const float *y, bool add_dgate, float *dgate, bool add_dy, float *dy) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; t++) {
        range r = range_of_items(groups, threads, t);
        for (size_t g = r.first; g < r.last; g++) {
            size_t at = g * rows * c;
            gate_group(rows, c, dout + at, gate + g * c, y + at, add_dgate, dgate == NULL ? NULL : dgate + g * c,
                       add_dy, dy == NULL ? NULL : dy + at);
        }
    }
}
