/* Sums over all elements, in double. The pieces are of fixed size, so the number of threads does not change the result.
 */
#include "nn/cpu/kernels.h"

enum { PIECE = 4096, ROUND = 256 }; /* elements of one float sum; pieces added up per round */

/* Inside a piece a lane adds at most PIECE / LANES / 2 floats, the pieces are added in double. */
INLINE float piece_sum(size_t n, const float *x, bool squares) {
    vec a = vec_set(0), b = vec_set(0);
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        vec u = vec_load(x + i), v = vec_load(x + i + LANES);
        a += squares ? u * u : u;
        b += squares ? v * v : v;
    }
    for (; i < n; i += LANES) {
        vec u = vec_load_n(x + i, n - i < LANES ? n - i : LANES);
        a += squares ? u * u : u;
    }
    return vec_sum(a + b);
}

/* One piece's length. */
INLINE size_t piece_n(size_t n, size_t piece) {
    return n - piece * PIECE < PIECE ? n - piece * PIECE : PIECE;
}

INLINE double reduce(int threads, size_t n, const float *x, bool squares) {
    double total = 0;
    for (size_t first = 0; first * PIECE < n; first += ROUND) {
        float part[ROUND];
        size_t count = (n - first * PIECE + PIECE - 1) / PIECE;
        count = count < ROUND ? count : ROUND;
#pragma omp parallel for num_threads(threads) if (threads > 1)
        for (size_t i = 0; i < count; i++)
            part[i] = piece_sum(piece_n(n, first + i), x + (first + i) * PIECE, squares);
        for (size_t i = 0; i < count; i++)
            total += part[i];
    }
    return total;
}

double KERNEL(sum)(int threads, size_t n, const float *x) {
    return reduce(threads, n, x, false);
}

double KERNEL(sum_squares)(int threads, size_t n, const float *x) {
    return reduce(threads, n, x, true);
}

INLINE float error_piece(size_t n, const float *x, const float *target, const float *weight, float *d) {
    vec sum = vec_set(0);
    for (size_t i = 0; i < n; i += LANES) {
        size_t m = n - i < LANES ? n - i : LANES;
        vec difference = vec_load_n(x + i, m) - vec_load_n(target + i, m);
        vec weighted = weight == NULL ? difference : difference * vec_load_n(weight + i, m);
        sum += difference * weighted;
        if (d != NULL)
            vec_store_n(d + i, weighted, m);
    }
    return vec_sum(sum);
}

double KERNEL(squared_error)(int threads, size_t n, const float *x, const float *target, const float *weight,
                             float *d) {
    double total = 0;
    for (size_t first = 0; first * PIECE < n; first += ROUND) {
        float part[ROUND];
        size_t count = (n - first * PIECE + PIECE - 1) / PIECE;
        count = count < ROUND ? count : ROUND;
#pragma omp parallel for num_threads(threads) if (threads > 1)
        for (size_t i = 0; i < count; i++) {
            size_t at = (first + i) * PIECE;
            part[i] = error_piece(piece_n(n, first + i), x + at, target + at, weight == NULL ? NULL : weight + at,
                                  d == NULL ? NULL : d + at);
        }
        for (size_t i = 0; i < count; i++)
            total += part[i];
    }
    return total;
}
