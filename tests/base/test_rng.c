/* rng.c: known answers of Philox, streams that never share numbers, and the distributions' moments.
 *
 * The seeds are fixed, so a statistic is one number, not a chance: bounds are 5 standard errors of the expected value.
 */
#include "base_test.h"

#include <math.h>

#include "base/rng.h"

static void philox_known_answers(void **state) {
    /* Random123 1.14, kat_vectors, philox4x32 10. */
    static const struct {
        uint32_t key[2], counter[4], out[4];
    } rows[] = {
        {{0, 0}, {0, 0, 0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0xa4093822, 0x299f31d0},
         {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t out[4];
        rng_philox(rows[i].key, rows[i].counter, out);
        assert_memory_equal(out, rows[i].out, sizeof out);
    }
}

static void a_stream_is_the_blocks_in_order(void **state) {
    uint64_t seed = 0x0123456789abcdef, item = 0xfedcba9876543210;
    rng r = rng_make(seed, item, RNG_SAMPLE);
    uint32_t key[2] = {0x89abcdef, 0x01234567};
    for (uint32_t block = 0; block < 100; block++) {
        uint32_t counter[4] = {block, RNG_SAMPLE, 0x76543210, 0xfedcba98}, out[4];
        rng_philox(key, counter, out);
        for (int i = 0; i < 4; i++)
            assert_int_equal(rng_u32(&r), out[i]);
    }
    rng a = rng_make(seed, item, RNG_TEST), b = a;
    uint64_t low = rng_u32(&b), high = rng_u32(&b);
    assert_true(rng_u64(&a) == (low | high << 32));
}

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Among 45000 numbers of 64 bits a shared one by chance has probability 6e-11. */
static void streams_do_not_share_numbers(void **state) {
    enum { EACH = 100, STREAMS = 5 * 10 * (RNG_TEST - RNG_INIT + 1) };
    static uint64_t all[EACH * STREAMS];
    size_t n = 0;
    for (uint64_t seed = 0; seed < 5; seed++)
        for (uint64_t item = 0; item < 10; item++)
            for (int purpose = RNG_INIT; purpose <= RNG_TEST; purpose++) {
                rng r = rng_make(seed << 32 | seed, item % 2 ? item << 32 : item, (rng_purpose)purpose);
                for (int i = 0; i < EACH; i++)
                    all[n++] = rng_u64(&r);
            }
    assert_int_equal(n, EACH * STREAMS);
    qsort(all, n, sizeof *all, compare_u64);
    for (size_t i = 1; i < n; i++)
        assert_true(all[i - 1] != all[i]);
}

/* After 2^32 blocks the stream goes on into numbers that no other stream has. */
static void a_long_stream_does_not_begin_again(void **state) {
    rng r = rng_make(1, 2, RNG_BATCH), start = r;
    r.counter[0] = UINT32_MAX;
    for (int i = 0; i < 4; i++)
        rng_u32(&r);
    uint64_t after = rng_u64(&r);
    assert_true(after != rng_u64(&start));
    for (int purpose = RNG_INIT; purpose <= RNG_TEST; purpose++) {
        rng other = rng_make(1, 2, (rng_purpose)purpose);
        assert_true(after != rng_u64(&other));
    }
}

static void uniform_moments(void **state) {
    enum { N = 200000 };
    rng r = rng_make(3, 0, RNG_TEST);
    double sum = 0, squares = 0, least = 1, most = 0;
    for (int i = 0; i < N; i++) {
        double u = rng_uniform(&r);
        assert_true(u >= 0 && u < 1);
        sum += u;
        squares += (u - 0.5) * (u - 0.5);
        least = fmin(least, u);
        most = fmax(most, u);
    }
    assert_true(fabs(sum / N - 0.5) < 5 * sqrt(1.0 / 12 / N));
    assert_true(fabs(squares / N - 1.0 / 12) < 5 * sqrt(1.0 / 180 / N));
    assert_true(least < 1e-4 && most > 1 - 1e-4);
}

static void normal_moments(void **state) {
    enum { N = 400000 };
    static float x[N];
    rng r = rng_make(4, 0, RNG_TEST);
    rng_normal(&r, x, N);
    double m[5] = {0}, lag = 0;
    size_t tail = 0;
    for (int i = 0; i < N; i++) {
        double power = 1;
        assert_true(isfinite(x[i]));
        for (int k = 0; k < 5; k++, power *= x[i])
            m[k] += power / N;
        lag += i ? (double)x[i] * x[i - 1] / N : 0;
        tail += fabs(x[i]) > 3;
    }
    /* Variances of the sample moments of a standard normal: 1, 2, 15, 96 over N; of the lag product 1 / N. */
    assert_true(fabs(m[1]) < 5 * sqrt(1.0 / N));
    assert_true(fabs(m[2] - 1) < 5 * sqrt(2.0 / N));
    assert_true(fabs(m[3]) < 5 * sqrt(15.0 / N));
    assert_true(fabs(m[4] - 3) < 5 * sqrt(96.0 / N));
    assert_true(fabs(lag) < 5 * sqrt(1.0 / N));
    double expected = N * 0.0026997960632602;
    assert_true(fabs((double)tail - expected) < 5 * sqrt(expected));
}

/* The mathematics library's numbers, but where their difference of some 1e-16 falls on a float's rounding. */
static void check_pair(uint32_t u, uint32_t v, const float x[2], size_t *different) {
    double radius = sqrt(-2 * log(((double)u + 1) * 0x1p-32)), angle = (double)v * (0x1p-32 * 2 * M_PI);
    const float wanted[2] = {(float)(radius * cos(angle)), (float)(radius * sin(angle))};
    for (int i = 0; i < 2; i++) {
        if (x[i] == wanted[i])
            continue;
        ++*different;
        /* Where an axis is hit, the library's pi is not exact; elsewhere the next float is the most. */
        if (fabsf(x[i]) > 1e-6f)
            assert_true(x[i] == nextafterf(wanted[i], x[i]));
        else
            assert_true(fabsf(x[i] - wanted[i]) < 1e-14f);
    }
}

static void normal_is_box_muller(void **state) {
    static const uint32_t edges[] = {0,           1,           2,           0x1fffffff,  0x20000000,
                                     0x3fffffff,  0x40000000,  0x5fffffff,  0x60000000,  0x7fffffff,
                                     0x80000000u, 0xa0000000u, 0xb504f333u, 0xb504f334u, 0xc0000000u,
                                     0xdfffffffu, 0xe0000000u, 0xfffffffeu, UINT32_MAX};
    enum { EDGES = sizeof edges / sizeof *edges, N = 100000 };
    uint32_t u[RNG_PAIRS], v[RNG_PAIRS];
    float x[2 * RNG_PAIRS];
    size_t different = 0;
    for (size_t i = 0; i < EDGES; i++) {
        for (size_t k = 0; k < RNG_PAIRS; k++) {
            u[k] = edges[i];
            v[k] = edges[k % EDGES];
        }
        rng_normal_pairs(u, v, x);
        for (size_t k = 0; k < RNG_PAIRS; k++) {
            size_t at_edges = 0;
            check_pair(u[k], v[k], x + 2 * k, &at_edges);
        }
    }
    /* The stream's numbers in order, from any place in its blocks, for counts around whole batches. */
    static const size_t counts[] = {1, 2, 3, 2 * RNG_PAIRS - 1, 2 * RNG_PAIRS, 2 * RNG_PAIRS + 1, N};
    static float y[N + 1];
    for (unsigned used = 0; used < 4; used++)
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            rng a = rng_make(8, used, RNG_TEST);
            for (unsigned k = 0; k < used; k++)
                (void)rng_u32(&a);
            rng b = a;
            y[counts[i]] = 42;
            rng_normal(&a, y, counts[i]);
            for (size_t k = 0; k + 1 < counts[i]; k += 2) {
                uint32_t first = rng_u32(&b), second = rng_u32(&b);
                check_pair(first, second, y + k, &different);
            }
            assert_true(y[counts[i]] == 42);
        }
    assert_true(different <= 2); /* of 4 * 10^5 */
}

static void an_odd_count_takes_whole_pairs(void **state) {
    rng a = rng_make(5, 0, RNG_TEST), b = a;
    float x[7], y[8], guard[2] = {0, 42};
    rng_normal(&a, x, 7);
    rng_normal(&b, y, 8);
    assert_memory_equal(x, y, sizeof x);
    assert_int_equal(rng_u32(&a), rng_u32(&b));
    rng_normal(&a, guard, 1);
    assert_true(guard[0] != 0 && guard[1] == 42);
    rng before = a;
    rng_normal(&a, x, 0);
    assert_memory_equal(&before, &a, sizeof a);
}

static void below_is_bounded_and_even(void **state) {
    static const uint32_t bounds[] = {1, 2, 3, 7, 10, 1000, 0x80000001u, UINT32_MAX};
    rng r = rng_make(6, 0, RNG_TEST);
    for (size_t k = 0; k < sizeof bounds / sizeof bounds[0]; k++)
        for (int i = 0; i < 20000; i++)
            assert_true(rng_below(&r, bounds[k]) < bounds[k]);
    enum { N = 100000, FACES = 7 };
    size_t count[FACES] = {0};
    for (int i = 0; i < N; i++)
        count[rng_below(&r, FACES)]++;
    double p = 1.0 / FACES;
    for (int i = 0; i < FACES; i++)
        assert_true(fabs((double)count[i] - N * p) < 5 * sqrt(N * p * (1 - p)));
    /* For 3 * 2^30 a plain product or remainder would give the thirds 2, 1 and 1 in 4. */
    size_t third[3] = {0};
    for (int i = 0; i < N; i++)
        third[rng_below(&r, 0xC0000000u) % 3]++;
    for (int i = 0; i < 3; i++)
        assert_true(fabs((double)third[i] - N / 3.0) < 5 * sqrt(N * 2.0 / 9));
}

static void choose_follows_the_weights(void **state) {
    static const double weight[] = {0, 1, 0, 3, 6, 0};
    enum { N = 100000 };
    size_t count[6] = {0};
    rng r = rng_make(7, 0, RNG_TEST);
    for (int i = 0; i < N; i++)
        count[rng_choose(&r, weight, 6)]++;
    for (int i = 0; i < 6; i++) {
        double p = weight[i] / 10;
        assert_true(fabs((double)count[i] - N * p) <= 5 * sqrt(N * p * (1 - p)));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_known_answers),
        cmocka_unit_test(a_stream_is_the_blocks_in_order),
        cmocka_unit_test(streams_do_not_share_numbers),
        cmocka_unit_test(a_long_stream_does_not_begin_again),
        cmocka_unit_test(uniform_moments),
        cmocka_unit_test(normal_moments),
        cmocka_unit_test(normal_is_box_muller),
        cmocka_unit_test(an_odd_count_takes_whole_pairs),
        cmocka_unit_test(below_is_bounded_and_even),
        cmocka_unit_test(choose_follows_the_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
