/* What the benchmarks share: clocks, the best of several runs, and the peak of one core.
 *
 * Processor time is the figure to trust on a shared machine. The peak is a loop of fused multiply-adds on registers, at
 * the widest level that the processor has. */
#ifndef ND_BENCH_BENCH_H
#define ND_BENCH_BENCH_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "base/status.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define MUST(expression)                                                                                               \
    do {                                                                                                               \
        if ((expression) != ST_OK) {                                                                                   \
            fprintf(stderr, "%s\n", status_message());                                                                 \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

typedef struct seconds {
    double wall, cpu;
} seconds;

static inline double clock_of(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline seconds best_of(int repeat, void (*run)(void *), void *arg) {
    seconds best = {INFINITY, INFINITY};
    for (int i = 0; i < repeat; i++) {
        double wall = clock_of(CLOCK_MONOTONIC), cpu = clock_of(CLOCK_THREAD_CPUTIME_ID);
        run(arg);
        cpu = clock_of(CLOCK_THREAD_CPUTIME_ID) - cpu;
        wall = clock_of(CLOCK_MONOTONIC) - wall;
        best.wall = fmin(best.wall, wall);
        best.cpu = fmin(best.cpu, cpu);
    }
    return best;
}

/* ---- Peak ---- */

enum { PEAK_LOOPS = 2000000, PEAK_CHAINS = 12 };

/* All chains reach the sink, or the compiler would drop the others. */
#define PEAK_BODY(type, set, fma, store, lanes)                                                                        \
    type a[PEAK_CHAINS], b = set(0.999f), c = set(0.001f);                                                             \
    for (int i = 0; i < PEAK_CHAINS; i++)                                                                              \
        a[i] = set((float)i);                                                                                          \
    for (int k = 0; k < PEAK_LOOPS; k++)                                                                               \
        for (int i = 0; i < PEAK_CHAINS; i++)                                                                          \
            a[i] = fma(a[i], b, c);                                                                                    \
    for (int i = 1; i < PEAK_CHAINS; i++)                                                                              \
        a[0] = fma(a[i], b, a[0]);                                                                                     \
    store(sink, a[0]);                                                                                                 \
    return 2.0 * lanes * PEAK_CHAINS * PEAK_LOOPS

#if defined(__x86_64__)
__attribute__((target("arch=x86-64-v4"))) static inline double peak_avx512(float *sink) {
    PEAK_BODY(__m512, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_storeu_ps, 16);
}
__attribute__((target("arch=x86-64-v3"))) static inline double peak_avx2(float *sink) {
    PEAK_BODY(__m256, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_storeu_ps, 8);
}
#endif

static inline double peak_base(float *sink) {
#define SCALAR_SET(x) (x)
#define SCALAR_FMA(a, b, c) ((a) * (b) + (c))
#define SCALAR_STORE(p, x) (*(p) = (x))
    PEAK_BODY(float, SCALAR_SET, SCALAR_FMA, SCALAR_STORE, 1);
}

typedef struct peak_run {
    double (*loop)(float *sink);
    double flop;
    float sink[16];
} peak_run;

static inline void run_peak(void *arg) {
    peak_run *p = arg;
    p->flop = p->loop(p->sink);
}

static inline double measure_peak(void) {
    peak_run p = {.loop = peak_base};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("x86-64-v4"))
        p.loop = peak_avx512;
    else if (__builtin_cpu_supports("x86-64-v3"))
        p.loop = peak_avx2;
#endif
    seconds s = best_of(20, run_peak, &p);
    printf("peak of fused multiply-add %.0f GFLOP/s (processor time), %.0f (wall)\n\n", 1e-9 * p.flop / s.cpu,
           1e-9 * p.flop / s.wall);
    return p.flop / s.cpu;
}

#endif
