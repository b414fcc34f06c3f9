/* Vectors of float for the kernels, in GCC's vector extensions.
 *
 * Every kernel file is compiled once per level of processor (see CMakeLists.txt): LANES is 4, 8 or 16, and KERNEL(name)
 * gets the level as suffix. Only where the compiler has no expression for an instruction that matters is it named. */
#ifndef ND_NN_CPU_VEC_H
#define ND_NN_CPU_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
enum { LANES = 16 };
#include <immintrin.h>
#elif defined(__AVX2__)
enum { LANES = 8 };
#include <immintrin.h>
#else
enum { LANES = 4 };
#endif

#define KERNEL_JOIN(name, level) name##_##level
#define KERNEL_LEVEL(name, level) KERNEL_JOIN(name, level)
#define KERNEL(name) KERNEL_LEVEL(name, ND_LEVEL)

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef int32_t ivec __attribute__((vector_size(LANES * 4)));
typedef float vec_memory __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

INLINE vec vec_load(const float *p) {
    return *(const vec_memory *)p;
}

INLINE void vec_store(float *p, vec x) {
    *(vec_memory *)p = x;
}

INLINE vec vec_set(float x) {
    return x - (vec){0};
}

/* The first n < LANES elements; the others are zero. */
INLINE vec vec_load_some(const float *p, size_t n) {
#if defined(__AVX512F__)
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
    float t[LANES] = {0};
    for (size_t i = 0; i < n; i++)
        t[i] = p[i];
    return vec_load(t);
#endif
}

INLINE void vec_store_some(float *p, vec x, size_t n) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), x);
#else
    float t[LANES];
    vec_store(t, x);
    for (size_t i = 0; i < n; i++)
        p[i] = t[i];
#endif
}

/* n = LANES: the whole vector; known at compile time where speed matters. */
INLINE vec vec_load_n(const float *p, size_t n) {
    return n == LANES ? vec_load(p) : vec_load_some(p, n);
}

INLINE void vec_store_n(float *p, vec x, size_t n) {
    if (n == LANES)
        vec_store(p, x);
    else
        vec_store_some(p, x, n);
}

INLINE vec vec_select(ivec mask, vec yes, vec no) {
    return (vec)((mask & (ivec)yes) | (~mask & (ivec)no));
}

/* a > b ? a : b; a NaN in b comes through. */
INLINE vec vec_max(vec a, vec b) {
#if defined(__AVX512F__)
    return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
    return _mm256_max_ps(a, b);
#else
    return vec_select(a > b, a, b);
#endif
}

INLINE vec vec_min(vec a, vec b) {
#if defined(__AVX512F__)
    return _mm512_min_ps(a, b);
#elif defined(__AVX2__)
    return _mm256_min_ps(a, b);
#else
    return vec_select(a < b, a, b);
#endif
}

INLINE vec vec_sqrt(vec x) {
#if defined(__AVX512F__)
    return _mm512_sqrt_ps(x);
#elif defined(__AVX2__)
    return _mm256_sqrt_ps(x);
#else
    for (int i = 0; i < LANES; i++)
        x[i] = __builtin_sqrtf(x[i]);
    return x;
#endif
}

/* 0, 1, 2 ... */
INLINE ivec vec_lane(void) {
#if defined(__AVX512F__)
    return (ivec){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif defined(__AVX2__)
    return (ivec){0, 1, 2, 3, 4, 5, 6, 7};
#else
    return (ivec){0, 1, 2, 3};
#endif
}

INLINE float vec_sum(vec x) {
    for (int step = LANES / 2; step > 0; step /= 2)
        x += __builtin_shuffle(x, vec_lane() ^ step);
    return x[0];
}

INLINE float vec_highest(vec x) {
    for (int step = LANES / 2; step > 0; step /= 2)
        x = vec_max(__builtin_shuffle(x, vec_lane() ^ step), x);
    return x[0];
}

/* The first n lanes of x, zeros after. */
INLINE vec vec_first(vec x, size_t n) {
    return (vec)((ivec)x & (vec_lane() < (int32_t)n));
}

/* Transpose LANES vectors in place: log2(LANES) perfect shuffles of the two halves. */
INLINE void vec_transpose(vec r[LANES]) {
    const ivec low = (vec_lane() >> 1) + (vec_lane() & 1) * LANES, high = low + LANES / 2;
#pragma GCC unroll 4
    for (int round = 1; round < LANES; round *= 2) {
        vec t[LANES];
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            t[2 * i] = __builtin_shuffle(r[i], r[i + LANES / 2], low);
            t[2 * i + 1] = __builtin_shuffle(r[i], r[i + LANES / 2], high);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            r[i] = t[i];
    }
}

/* exp to about 1e-7 relative: 2^k times the polynomial of Cephes' expf on [-ln 2 / 2, ln 2 / 2]. Below -87.3 it stays
 * at the smallest normal number, above 88.3 at about 2e38; NaN stays NaN. Adding 1.5 * 2^23 rounds to an integer and
 * leaves it in the low bits, from where it moves into the exponent. */
INLINE vec vec_exp(vec x) {
    x = vec_min(vec_set(88.3762626f), vec_max(vec_set(-87.3365402f), x));
    vec k = x * 1.44269504f + 12582912.0f;
    ivec exponent = (ivec)k << 23;
    k -= 12582912.0f;
    vec r = x - k * 0.693359375f;
    r = r - k * -2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + (r + 1.0f);
    return p * (vec)(exponent + (127 << 23));
}

/* Piece `part` of `parts` of n elements, in whole cache lines: the same cut for every call with these numbers. */
typedef struct range {
    size_t first, last;
} range;

INLINE range range_of(size_t n, int parts, int part) {
    size_t lines = (n + 15) / 16;
    size_t first = lines * (size_t)part / (size_t)parts * 16, last = lines * ((size_t)part + 1) / (size_t)parts * 16;
    return (range){first < n ? first : n, last < n ? last : n};
}

/* The same over things that are not floats (rows, samples). */
INLINE range range_of_items(size_t n, int parts, int part) {
    return (range){n * (size_t)part / (size_t)parts, n * ((size_t)part + 1) / (size_t)parts};
}

#endif
