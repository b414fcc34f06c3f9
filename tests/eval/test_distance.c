/* Distances against closed forms, against scipy (data/distance.txt, made by reference_distance.py), and the order of
 * real numbers as keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/distance.h"

/* Sums of at most 60 terms of at most 1 (or, relative, of one sign): 60 roundings of 1.1e-16, twice over. */
static const double tolerance = 2e-14;

/* Of (1, 0) to (1/2, 1/2): mixture (3/4, 1/4). */
static const double half_jsd = 0.31127812445913283;   /* 1/2 log2(4/3) + 1/4 log2(2/3) + 1/4 */
static const double half_hellinger = 0.5411961001462; /* sqrt(1 - sqrt(1/2)) */

static void closed_forms(void **state) {
    const struct {
        double p[3], q[3], jsd, tvd, hellinger;
    } rows[] = {
        {{1, 2, 3}, {10, 20, 30}, 0, 0, 0}, /* equal after normalising */
        {{1, 0, 0}, {0, 5, 0}, 1, 1, 1},    /* disjoint */
        {{4, 0, 0}, {1, 1, 0}, half_jsd, 0.5, half_hellinger},
        {{1, 1, 0}, {7, 0, 0}, half_jsd, 0.5, half_hellinger}, /* symmetric */
        {{0, 0, 0}, {0, 0, 0}, 0, 0, 0},                       /* nothing on either side */
        {{0, 0, 0}, {1, 0, 0}, 1, 1, 1},                       /* nothing on one */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        distances d = distance_histograms(rows[i].p, rows[i].q, 3);
        assert_true(fabs(d.jsd - rows[i].jsd) < tolerance);
        assert_true(fabs(d.tvd - rows[i].tvd) < tolerance);
        assert_true(fabs(d.hellinger - rows[i].hellinger) < 1e-13);
    }
}

static void add_all(sample *s, const double *x, const double *weight, size_t n) {
    for (size_t i = 0; i < n; i++)
        assert_int_equal(sample_add_real(s, x[i], weight ? weight[i] : 1), ST_OK);
    assert_int_equal(sample_sort(s), ST_OK);
}

/* A histogram as a sample: bins in any order, each in several points. */
static void add_bins(sample *s, const double *p, size_t n) {
    for (size_t i = n; i-- > 0;)
        for (int part = 0; part < 2; part++)
            assert_int_equal(sample_add(s, i * UINT64_C(0x9e3779b97f4a7c15), p[i] / 2), ST_OK);
    assert_int_equal(sample_sort(s), ST_OK);
}

static void assert_near(double x, double expected) {
    assert_true(fabs(x - expected) <= tolerance * fmax(1, fabs(expected)));
}

static void numbers(FILE *from, double *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        assert_int_equal(fscanf(from, "%lf", &x[i]), 1);
}

enum { CASE_MAX = 64 };

static void compare_histogram(FILE *from) {
    double p[CASE_MAX], q[CASE_MAX], expected[3];
    sample a = {0}, b = {0};
    size_t n;
    assert_int_equal(fscanf(from, "%zu", &n), 1);
    assert_true(n <= CASE_MAX);
    numbers(from, p, n);
    numbers(from, q, n);
    numbers(from, expected, 3);
    add_bins(&a, p, n);
    add_bins(&b, q, n);
    const distances d[] = {distance_histograms(p, q, n), distance_histograms(q, p, n), distance_samples(&a, &b),
                           distance_samples(&b, &a)};
    for (size_t i = 0; i < sizeof d / sizeof *d; i++) {
        assert_near(d[i].jsd, expected[0]);
        assert_near(d[i].tvd, expected[1]);
        assert_near(d[i].hellinger, expected[2]);
    }
    sample_clear(&a);
    sample_clear(&b);
}

static void compare_samples(FILE *from) {
    double x[4][CASE_MAX], expected;
    sample a = {0}, b = {0};
    size_t n[2];
    assert_int_equal(fscanf(from, "%zu %zu", &n[0], &n[1]), 2);
    assert_true(n[0] <= CASE_MAX && n[1] <= CASE_MAX);
    for (size_t i = 0; i < 4; i++)
        numbers(from, x[i], n[i / 2]);
    numbers(from, &expected, 1);
    add_all(&a, x[0], x[1], n[0]);
    add_all(&b, x[2], x[3], n[1]);
    assert_near(distance_wasserstein(&a, &b), expected);
    assert_near(distance_wasserstein(&b, &a), expected);
    sample_clear(&a);
    sample_clear(&b);
}

static void equal_to_scipy(void **state) {
    char path[4096], kind[16];
    const char *source = getenv("ND_SOURCE");
    size_t n = 0;
    snprintf(path, sizeof path, "%s/tests/eval/data/distance.txt", source ? source : ".");
    FILE *from = fopen(path, "r");
    if (!from)
        fail_msg("cannot read %s", path);
    for (; fscanf(from, "%15s", kind) == 1; n++) {
        if (!strcmp(kind, "histogram"))
            compare_histogram(from);
        else if (!strcmp(kind, "samples"))
            compare_samples(from);
        else
            fail_msg("%s: unknown case \"%s\"", path, kind);
    }
    fclose(from);
    assert_int_equal(n, 14);
}

static void keys_keep_the_order(void **state) {
    const double x[] = {-INFINITY, -1e300, -2, -1.5, -1e-300, -0.0, 1e-300, 1, 1.5, 1e300, INFINITY};
    assert_true(sample_key(-0.0) == sample_key(0.0));
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
        assert_true(sample_real(sample_key(x[i])) == x[i]);
        assert_true(i == 0 || sample_key(x[i - 1]) < sample_key(x[i]));
    }
}

static void sorting_joins_equal_values(void **state) {
    sample s = {0};
    uint64_t seed = 7, values = 0;
    double weights[16] = {0};
    for (unsigned i = 0; i < 1000; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        unsigned which = seed >> 60;
        weights[which] += i % 3;
        assert_int_equal(sample_add(&s, (uint64_t)which << 4 * which, i % 3), ST_OK); /* spread over the bytes */
    }
    assert_true(s.total == 999);
    assert_int_equal(sample_sort(&s), ST_OK);
    assert_int_equal(s.n, 16);
    for (size_t i = 0; i < s.n; i++) {
        assert_true(i == 0 || s.points[i].value > values);
        values = s.points[i].value;
        assert_true(values == (uint64_t)i << 4 * i);
        assert_true(s.points[i].weight == weights[i]);
    }
    sample_reset(&s);
    assert_int_equal(sample_sort(&s), ST_OK);
    assert_int_equal(s.n, 0);
    sample_clear(&s);
}

static void empty_samples(void **state) {
    sample none = {0}, one = {0};
    const double x = 4;
    add_all(&one, &x, NULL, 1);
    assert_true(distance_samples(&none, &none).jsd == 0);
    assert_true(distance_samples(&none, &one).hellinger == 1);
    assert_true(distance_wasserstein(&none, &none) == 0);
    assert_true(isnan(distance_wasserstein(&one, &none)));
    assert_true(distance_wasserstein(&one, &one) == 0);
    sample_clear(&one);
}

static void never_outside_the_unit_interval(void **state) {
    double p[64], q[64];
    for (unsigned round = 0; round < 1000; round++) {
        for (unsigned i = 0; i < 64; i++) {
            p[i] = (double)((i * 2654435761u + round * 40503u) % 97);
            q[i] = (double)((i * 40503u + round * 2654435761u) % 89);
        }
        distances d = distance_histograms(p, q, 64);
        assert_true(d.jsd > 0 && d.jsd <= 1 && d.tvd > 0 && d.tvd <= 1);
        /* Hellinger^2 <= TVD <= sqrt(2) Hellinger, JSD <= TVD */
        assert_true(d.hellinger * d.hellinger <= d.tvd && d.tvd <= sqrt(2) * d.hellinger && d.jsd <= d.tvd);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed_forms),        cmocka_unit_test(equal_to_scipy),
        cmocka_unit_test(keys_keep_the_order), cmocka_unit_test(sorting_joins_equal_values),
        cmocka_unit_test(empty_samples),       cmocka_unit_test(never_outside_the_unit_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
