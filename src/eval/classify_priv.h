/* Between the interface of classifiers and the two libraries behind it. */
#ifndef ND_EVAL_CLASSIFY_PRIV_H
#define ND_EVAL_CLASSIFY_PRIV_H

#include "eval/classify.h"

typedef struct trees trees;
status trees_train(const classifier_samples *train, size_t nclasses, bool forest, size_t ntrees, uint64_t seed,
                   trees **t);
status trees_predict(const trees *t, const float *x, size_t n, int *y);
status trees_importance(const trees *t, double *share);
void trees_free(trees **t);

typedef struct machine machine;
status machine_train(const classifier_samples *train, machine **m);
status machine_predict(const machine *m, const float *x, size_t n, int *y);
void machine_free(machine **m);

#endif
