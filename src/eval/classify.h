/* Classifiers behind one interface: random forest and decision tree (XGBoost), support vector machine (libsvm).
 *
 * One thread, and a function of its arguments alone: the same samples and seed give the same predictions, whatever was
 * trained before. Local. */
#ifndef ND_EVAL_CLASSIFY_H
#define ND_EVAL_CLASSIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

typedef enum classifier_kind {
    RANDOM_FOREST, /* bagged one-against-the-rest trees on random columns */
    DECISION_TREE, /* one tree a class, all rows and columns */
    SVM,           /* C-SVC, radial kernel, on scaled columns */
    CLASSIFIER_KINDS
} classifier_kind;

extern const char *const classifier_names[CLASSIFIER_KINDS];   /* "random forest", ... */
extern const char *const classifier_symbols[CLASSIFIER_KINDS]; /* "rf", "dt", "svm" */

typedef struct classifier_samples {
    size_t n, ncolumns;
    const float *x; /* (n, ncolumns); the caller's */
    const int *y;   /* 0..nclasses-1; classes without samples are allowed and never predicted */
    bool ternary;   /* values are -1, 0, 1: trees take -1 as missing, and nothing is scaled */
} classifier_samples;

typedef struct classifier classifier;

/* trees: of a forest, all classes counted (XGBoost grows one a class, so it is rounded up to whole rounds). At least
 * one sample; a set without columns, or of one class, gives a classifier that always says its most frequent class. */
status classifier_train(classifier_kind kind, const classifier_samples *train, size_t nclasses, size_t trees,
                        uint64_t seed, classifier **c);
/* Classes of n rows of as many columns as in training. */
status classifier_predict(const classifier *c, const float *x, size_t n, int *y);
/* Share of each column in the total gain of all splits (sum 1; all 0 where nothing was split). Trees only. */
status classifier_importance(const classifier *c, double *share);
void classifier_free(classifier **c);

#endif
