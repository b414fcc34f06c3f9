/* Classifiers on data whose answer is known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <svm.h>
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "eval/classify.h"

enum { ROWS = 240, COLUMNS = 24, CLASSES = 4, TREES = 80 };

typedef struct data {
    float x[ROWS * COLUMNS];
    int y[ROWS];
    classifier_samples samples;
} data;

/* Random values; where planted, columns 3 and 5 tell the class. */
static void fill(data *d, uint64_t seed, bool ternary, bool planted) {
    rng r = rng_make(seed, 1, RNG_TEST);
    for (size_t i = 0; i < ROWS; i++) {
        float *row = d->x + i * COLUMNS;
        d->y[i] = (int)(i % CLASSES);
        for (size_t c = 0; c < COLUMNS; c++)
            row[c] = ternary ? (float)rng_below(&r, 3) - 1 : 100 * (float)rng_uniform(&r);
        if (planted && ternary) {
            row[3] = (float)(d->y[i] / 2);
            row[5] = (float)(d->y[i] % 2) - 1;
        } else if (planted) {
            row[3] = (float)(1000 * (d->y[i] / 2)) + row[3];
            row[5] = (float)(0.001 * (d->y[i] % 2) + 0.0001 * (double)row[5] / 100);
        }
    }
    d->samples = (classifier_samples){ROWS, COLUMNS, d->x, d->y, ternary};
}

static void train(classifier_kind kind, const classifier_samples *s, uint64_t seed, classifier **c) {
    assert_int_equal(classifier_train(kind, s, CLASSES, TREES, seed, c), ST_OK);
}

static double accuracy(const classifier *c, const data *d) {
    int answer[ROWS];
    double right = 0;
    assert_int_equal(classifier_predict(c, d->x, ROWS, answer), ST_OK);
    for (size_t i = 0; i < ROWS; i++)
        right += answer[i] == d->y[i];
    return right / ROWS;
}

/* A tree finds two telling columns among 24. A forest's nodes see five of them each, and the radial kernel weighs all
 * alike, so noise costs them some. */
static void separable(void **state) {
    static const double least[CLASSIFIER_KINDS] = {0.95, 0.99, 0.7};
    static data a, b;
    for (classifier_kind kind = RANDOM_FOREST; kind < CLASSIFIER_KINDS; kind++)
        for (unsigned ternary = 0; ternary < 2; ternary++) {
            classifier *c;
            fill(&a, 1, ternary, true);
            fill(&b, 2, ternary, true);
            train(kind, &a.samples, 1, &c);
            assert_float_equal(accuracy(c, &a), 1, 0);
            if (accuracy(c, &b) < least[kind])
                fail_msg("%s, ternary %u: %.3f", classifier_names[kind], ternary, accuracy(c, &b));
            classifier_free(&c);
        }
}

static void nothing_to_learn(void **state) {
    static data a, b;
    for (classifier_kind kind = RANDOM_FOREST; kind < CLASSIFIER_KINDS; kind++) {
        double sum = 0;
        for (uint64_t seed = 0; seed < 4; seed++) {
            classifier *c;
            fill(&a, 10 + seed, true, false);
            fill(&b, 20 + seed, true, false);
            train(kind, &a.samples, seed, &c);
            sum += accuracy(c, &b) / 4;
            classifier_free(&c);
        }
        assert_float_equal(sum, 1.0 / CLASSES, 0.07); /* 5 standard errors of 960 tries */
    }
}

static void missing_class_is_never_said(void **state) {
    static data a, b;
    fill(&a, 1, true, true);
    fill(&b, 2, true, true);
    for (size_t i = 0; i < ROWS; i++)
        if (a.y[i] == 2)
            a.y[i] = 1;
    for (classifier_kind kind = RANDOM_FOREST; kind < CLASSIFIER_KINDS; kind++) {
        classifier *c;
        int answer[ROWS];
        train(kind, &a.samples, 1, &c);
        assert_int_equal(classifier_predict(c, b.x, ROWS, answer), ST_OK);
        for (size_t i = 0; i < ROWS; i++)
            assert_int_not_equal(answer[i], 2);
        classifier_free(&c);
    }
}

/* One class, no columns, no rows. */
static void too_little(void **state) {
    static data a;
    int answer[ROWS];
    for (classifier_kind kind = RANDOM_FOREST; kind < CLASSIFIER_KINDS; kind++) {
        classifier *c;
        fill(&a, 1, true, true);
        a.y[7] = a.y[8] = 3; /* the most frequent class now */
        a.samples.ncolumns = 0;
        train(kind, &a.samples, 1, &c);
        assert_int_equal(classifier_predict(c, a.x, 5, answer), ST_OK);
        assert_int_equal(answer[4], 3);
        classifier_free(&c);

        fill(&a, 1, true, true);
        for (size_t i = 0; i < ROWS; i++)
            a.y[i] = 1;
        train(kind, &a.samples, 1, &c);
        assert_float_equal(accuracy(c, &a), 1, 0);
        classifier_free(&c);

        a.samples.n = 0;
        assert_int_equal(classifier_train(kind, &a.samples, CLASSES, TREES, 1, &c), ST_RANGE);
        assert_null(c);
    }
}

/* The same forest whatever was trained before it, another one for another seed; its importances name the columns. */
static void forests_repeat(void **state) {
    static data a;
    double first[COLUMNS], again[COLUMNS], other[COLUMNS], sum = 0;
    classifier *c, *between;
    fill(&a, 1, true, true);
    train(RANDOM_FOREST, &a.samples, 5, &c);
    assert_int_equal(classifier_importance(c, first), ST_OK);
    classifier_free(&c);
    train(RANDOM_FOREST, &a.samples, 6, &between);
    train(RANDOM_FOREST, &a.samples, 5, &c);
    assert_int_equal(classifier_importance(between, other), ST_OK);
    assert_int_equal(classifier_importance(c, again), ST_OK);
    classifier_free(&c);
    classifier_free(&between);
    assert_memory_equal(first, again, sizeof first);
    assert_true(memcmp(first, other, sizeof first) != 0);
    for (size_t i = 0; i < COLUMNS; i++) {
        sum += first[i];
        assert_true(i == 3 || i == 5 || (first[i] < first[3] && first[i] < first[5]));
    }
    assert_float_equal(sum, 1, 1e-9);
}

/* The precomputed kernel gives the machine that libsvm's own radial kernel gives. */
static void svm_is_libsvms(void **state) {
    static data a, b;
    static struct svm_node nodes[2 * ROWS][COLUMNS + 1];
    struct svm_node *rows[ROWS];
    double y[ROWS], sum = 0, squares = 0;
    int answer[ROWS];
    classifier *c;
    fill(&a, 1, true, true);
    fill(&b, 2, true, true);
    for (size_t i = 0; i < 2 * ROWS; i++) {
        for (size_t k = 0; k < COLUMNS; k++) {
            double value = i < ROWS ? a.x[i * COLUMNS + k] : b.x[(i - ROWS) * COLUMNS + k];
            nodes[i][k] = (struct svm_node){(int)k + 1, value};
            sum += i < ROWS ? value : 0;
            squares += i < ROWS ? value * value : 0;
        }
        nodes[i][COLUMNS].index = -1;
    }
    for (size_t i = 0; i < ROWS; i++) {
        rows[i] = nodes[i];
        y[i] = a.y[i];
    }
    double cells = (double)ROWS * COLUMNS, variance = squares / cells - sum / cells * (sum / cells);
    struct svm_problem problem = {ROWS, y, rows};
    struct svm_parameter parameters = {.svm_type = C_SVC,
                                       .kernel_type = RBF,
                                       .gamma = 1 / (COLUMNS * variance),
                                       .cache_size = 16,
                                       .eps = 1e-3,
                                       .C = 10,
                                       .shrinking = 1};
    train(SVM, &a.samples, 1, &c); /* also makes libsvm silent */
    struct svm_model *model = svm_train(&problem, &parameters);
    assert_int_equal(classifier_predict(c, b.x, ROWS, answer), ST_OK);
    size_t differ = 0;
    for (size_t i = 0; i < ROWS; i++)
        differ += answer[i] != (int)svm_predict(model, nodes[ROWS + i]);
    assert_true(differ <= 1); /* both stop within eps of the optimum, so one row may lie between them */
    svm_free_and_destroy_model(&model);
    classifier_free(&c);
}

/* A class inside a ring of another: no plane parts them, and the columns' scales differ a thousandfold. */
static void svm_bends(void **state) {
    static data a, b;
    data *sets[] = {&a, &b};
    for (size_t s = 0; s < 2; s++) {
        rng r = rng_make(30 + s, 1, RNG_TEST);
        for (size_t i = 0; i < ROWS; i++) {
            double angle = 6.283185307179586 * rng_uniform(&r), radius = i % 2 ? 3 : 1;
            sets[s]->y[i] = (int)(i % 2);
            sets[s]->x[2 * i] = (float)(radius * cos(angle));
            sets[s]->x[2 * i + 1] = (float)(1000 * radius * sin(angle));
        }
        sets[s]->samples = (classifier_samples){ROWS, 2, sets[s]->x, sets[s]->y, false};
    }
    classifier *c;
    train(SVM, &a.samples, 1, &c);
    assert_float_equal(accuracy(c, &b), 1, 0);
    classifier_free(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(separable),  cmocka_unit_test(nothing_to_learn), cmocka_unit_test(missing_class_is_never_said),
        cmocka_unit_test(too_little), cmocka_unit_test(forests_repeat),   cmocka_unit_test(svm_is_libsvms),
        cmocka_unit_test(svm_bends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
