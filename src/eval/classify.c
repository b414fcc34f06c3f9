/* One interface over trees (classify_trees.c) and support vectors (classify_svm.c). */
#include "eval/classify_priv.h"

#include <string.h>
#include "base/memory.h"

const char *const classifier_names[CLASSIFIER_KINDS] = {"random forest", "decision tree", "SVM"};
const char *const classifier_symbols[CLASSIFIER_KINDS] = {"rf", "dt", "svm"};

struct classifier {
    size_t ncolumns;
    int constant; /* the answer to everything; -1: ask the model */
    trees *trees;
    machine *machine;
};

/* The most frequent class where there is nothing to learn, else -1. */
static status constant_answer(const classifier_samples *train, size_t nclasses, int *answer) {
    size_t *counts = NULL, present = 0, best = 0;
    TRY(NEW(nclasses, &counts));
    for (size_t i = 0; i < train->n; i++)
        counts[train->y[i]]++;
    for (size_t k = 0; k < nclasses; k++) {
        present += counts[k] > 0;
        best = counts[k] > counts[best] ? k : best;
    }
    *answer = present < 2 || train->ncolumns == 0 ? (int)best : -1;
    memory_free(&counts);
    return ST_OK;
}

status classifier_train(classifier_kind kind, const classifier_samples *train, size_t nclasses, size_t ntrees,
                        uint64_t seed, classifier **c) {
    *c = NULL;
    if (train->n == 0 || nclasses == 0)
        return FAIL(ST_RANGE, "%s: no training samples", classifier_names[kind]);
    TRY(NEW(1, c));
    (*c)->ncolumns = train->ncolumns;
    status st = constant_answer(train, nclasses, &(*c)->constant);
    if (!st && (*c)->constant < 0) {
        if (kind == SVM)
            st = machine_train(train, &(*c)->machine);
        else
            st = trees_train(train, nclasses, kind == RANDOM_FOREST, ntrees, seed, &(*c)->trees);
    }
    if (st)
        classifier_free(c);
    return st;
}

status classifier_predict(const classifier *c, const float *x, size_t n, int *y) {
    for (size_t i = 0; i < n && c->constant >= 0; i++)
        y[i] = c->constant;
    if (c->constant >= 0 || n == 0)
        return ST_OK;
    return c->trees ? trees_predict(c->trees, x, n, y) : machine_predict(c->machine, x, n, y);
}

status classifier_importance(const classifier *c, double *share) {
    memset(share, 0, c->ncolumns * sizeof *share);
    if (c->constant >= 0)
        return ST_OK;
    ASSERT(c->trees != NULL);
    return trees_importance(c->trees, share);
}

void classifier_free(classifier **c) {
    if (!*c)
        return;
    trees_free(&(*c)->trees);
    machine_free(&(*c)->machine);
    memory_free(c);
}
