/* Samplers against distributions whose best prediction of x0 is known in closed form. */
#include "model/fixture.h"

enum { SAMPLES = 4000 };

typedef status predictor(void *user, const float *x, float t, float *x0);

/* Data N(mean, deviation^2): E[x0 | x] of the linear Gaussian model. */
static const double mean = 0.2, deviation = 0.15;

static status predict_gaussian(void *user, const float *x, float t, float *x0) {
    double alpha = schedule_alpha(t), sigma = schedule_sigma(t), v = deviation * deviation;
    double gain = alpha * v / (alpha * alpha * v + sigma * sigma);
    for (size_t i = 0; i < SAMPLES; i++)
        x0[i] = (float)(mean + gain * (x[i] - alpha * mean));
    ++*(int *)user;
    return ST_OK;
}

/* Data +1 with probability p, else -1: E[x0 | x] = tanh(alpha x / sigma^2 + log(p / (1 - p)) / 2). */
static const double share = 0.7;

static status predict_two_points(void *user, const float *x, float t, float *x0) {
    double alpha = schedule_alpha(t), sigma = schedule_sigma(t);
    for (size_t i = 0; i < SAMPLES; i++)
        x0[i] = (float)tanh(alpha * x[i] / (sigma * sigma) + 0.5 * log(share / (1 - share)));
    ++*(int *)user;
    return ST_OK;
}

static status predict_failure(void *user, const float *x, float t, float *x0) {
    return FAIL(ST_LIBRARY, "no prediction");
}

static void make_rngs(rng *rngs, size_t n) {
    for (size_t i = 0; i < n; i++)
        rngs[i] = rng_make(11, i, RNG_SAMPLE);
}

static void run(sampler_kind kind, int steps, predictor *predict, float *x0) {
    static float work[3 * SAMPLES];
    static rng rngs[SAMPLES];
    int calls = 0;
    make_rngs(rngs, SAMPLES);
    OK(sampler_run(kind, steps, SAMPLES, 1, 0, NULL, rngs, predict, &calls, x0, work));
    assert_int_equal(calls, steps);
}

static const struct {
    const char *name;
    sampler_kind kind;
} samplers[] = {{"ddim", SAMPLER_DDIM}, {"ancestral", SAMPLER_ANCESTRAL}, {"dpm", SAMPLER_DPM}};

static void schedule_preserves_variance(void **state) {
    for (int i = 0; i <= 100; i++) {
        float t = (float)i / 100, alpha = schedule_alpha(t), sigma = schedule_sigma(t);
        assert_true(fabs((double)alpha * alpha + (double)sigma * sigma - 1) < 1e-6);
        assert_true(i == 0 || (alpha < schedule_alpha(t - 0.01f) && sigma > schedule_sigma(t - 0.01f)));
    }
    assert_true(schedule_alpha(0) == 1 && schedule_sigma(0) == 0);
    assert_true(fabs(schedule_alpha(1) - 0.00785390) < 1e-6);
}

/* Errors of the estimates over 4000 samples: mean 0.0024, deviation 0.0017 (one standard error each); 4 of them are
 * allowed. The ancestral rule converges slowest (it leaves out the posterior's spread within a step: 0.012 too narrow
 * at 200 steps, 0.002 at 1000). */
static void gaussian_data_are_met(void **state) {
    static float x0[SAMPLES];
    for (size_t k = 0; k < 3; k++) {
        run(samplers[k].kind, 1000, predict_gaussian, x0);
        double sum = 0, squares = 0;
        for (size_t i = 0; i < SAMPLES; i++)
            sum += x0[i];
        for (size_t i = 0; i < SAMPLES; i++)
            squares += (x0[i] - sum / SAMPLES) * (x0[i] - sum / SAMPLES);
        double got_mean = sum / SAMPLES, got_deviation = sqrt(squares / SAMPLES);
        if (fabs(got_mean - mean) > 0.01 || fabs(got_deviation - deviation) > 0.01)
            fail_msg("%s: mean %g, deviation %g", samplers[k].name, got_mean, got_deviation);
    }
}

/* One standard error of the share is 0.0072. */
static void two_points_get_their_mass(void **state) {
    static float x0[SAMPLES];
    static const int steps[] = {20, 50};
    for (size_t k = 0; k < 3; k++)
        for (size_t j = 0; j < 2; j++) {
            run(samplers[k].kind, steps[j], predict_two_points, x0);
            int positive = 0, settled = 0;
            for (size_t i = 0; i < SAMPLES; i++) {
                positive += x0[i] > 0;
                settled += fabsf(x0[i]) > 0.99f;
            }
            if (fabs((double)positive / SAMPLES - share) > 0.03 || settled < SAMPLES * 97 / 100)
                fail_msg("%s, %d steps: %d of %d positive, %d settled", samplers[k].name, steps[j], positive, SAMPLES,
                         settled);
        }
}

/* What a second-order rule is for: at few steps DPM++(2M) is nearer to the Gaussian's deviation than DDIM. */
static void second_order_is_nearer(void **state) {
    static float x0[SAMPLES];
    double error[2];
    for (size_t k = 0; k < 2; k++) {
        run(k ? SAMPLER_DPM : SAMPLER_DDIM, 12, predict_gaussian, x0);
        double sum = 0, squares = 0;
        for (size_t i = 0; i < SAMPLES; i++) {
            sum += x0[i];
            squares += (double)x0[i] * x0[i];
        }
        double v = squares / SAMPLES - (sum / SAMPLES) * (sum / SAMPLES);
        error[k] =
            fabs(sqrt(v) - deviation * deviation / sqrt(deviation * deviation + pow(schedule_sigma(1 / 12.0f), 2)));
    }
    assert_true(error[1] < error[0]);
}

static void values_are_clamped(void **state) {
    float x0[SAMPLES];
    run(SAMPLER_DDIM, 1, predict_two_points, x0);
    run(SAMPLER_ANCESTRAL, 3, predict_gaussian, x0);
    for (size_t i = 0; i < SAMPLES; i++)
        assert_true(x0[i] >= -1 && x0[i] <= 1);
}

static status predict_each(void *user, const float *x, float t, float *x0) {
    const size_t *n = user;
    for (size_t i = 0; i < *n; i++)
        x0[i] = tanhf(2 * x[i]);
    return ST_OK;
}

/* A sample's numbers come from its own stream, not from its place. */
static void samples_do_not_see_each_other(void **state) {
    enum { SIZE = 5 };
    for (size_t k = 0; k < 3; k++) {
        float both[2 * SIZE], alone[SIZE], work[6 * SIZE];
        rng rngs[2] = {rng_make(3, 0, RNG_SAMPLE), rng_make(3, 1, RNG_SAMPLE)}, second = rngs[1];
        size_t n = 2 * SIZE;
        OK(sampler_run(samplers[k].kind, 7, 2, SIZE, 0, NULL, rngs, predict_each, &n, both, work));
        n = SIZE;
        OK(sampler_run(samplers[k].kind, 7, 1, SIZE, 0, NULL, &second, predict_each, &n, alone, work));
        assert_memory_equal(both + SIZE, alone, sizeof alone);
        assert_memory_not_equal(both, alone, sizeof alone);
    }
}

/* Two samples of four numbers of which two are given. */
static const float given_numbers[4] = {1, -1, 0.5f, 0};

static status predict_beside_given(void *user, const float *x, float t, float *x0) {
    int *calls = user;
    (void)t;
    ++*calls;
    for (size_t i = 0; i < 2; i++) {
        assert_memory_equal(x + 4 * i, given_numbers + 2 * i, 2 * sizeof *x); /* whatever was predicted of them */
        for (size_t k = 0; k < 4; k++)
            x0[4 * i + k] = 0.25f;
    }
    return ST_OK;
}

static void given_numbers_are_held(void **state) {
    for (size_t k = 0; k < sizeof samplers / sizeof *samplers; k++) {
        float x0[8], work[24];
        rng rngs[2] = {rng_make(3, 0, RNG_SAMPLE), rng_make(3, 1, RNG_SAMPLE)};
        int calls = 0;
        OK(sampler_run(samplers[k].kind, 6, 2, 4, 2, given_numbers, rngs, predict_beside_given, &calls, x0, work));
        assert_int_equal(calls, 6);
        for (size_t i = 0; i < 2; i++) {
            assert_memory_equal(x0 + 4 * i, given_numbers + 2 * i, 2 * sizeof *x0);
            assert_true(x0[4 * i + 2] == 0.25f && x0[4 * i + 3] == 0.25f);
        }
    }
}

static void failures_are_passed_on(void **state) {
    float x0, work[3];
    rng r = rng_make(1, 1, RNG_SAMPLE);
    FAILS(ST_LIBRARY, sampler_run(SAMPLER_DDIM, 5, 1, 1, 0, NULL, &r, predict_failure, NULL, &x0, work),
          "no prediction");
    FAILS(ST_RANGE, sampler_run(SAMPLER_DDIM, 0, 1, 1, 0, NULL, &r, predict_failure, NULL, &x0, work), "0 steps");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedule_preserves_variance), cmocka_unit_test(gaussian_data_are_met),
        cmocka_unit_test(two_points_get_their_mass),   cmocka_unit_test(second_order_is_nearer),
        cmocka_unit_test(values_are_clamped),          cmocka_unit_test(samples_do_not_see_each_other),
        cmocka_unit_test(given_numbers_are_held),      cmocka_unit_test(failures_are_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
