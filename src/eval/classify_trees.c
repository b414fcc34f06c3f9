/* Random forest and decision tree through XGBoost's C interface.
 *
 * One boosting round of num_parallel_tree bagged trees a class with learning rate 1 and no regularisation is a forest:
 * each leaf's value grows with the share of the class in it, a tree's answer is averaged, and the class with the
 * largest average wins (XGBoost documentation, "Random Forests in XGBoost"). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xgboost/c_api.h>

#include "base/memory.h"
#include "eval/classify_priv.h"

struct trees {
    BoosterHandle booster;
    size_t ncolumns, nclasses;
    bool ternary;
};

#define TRY_XGB(call)                                                                                                  \
    do {                                                                                                               \
        if ((call) != 0)                                                                                               \
            return FAIL(ST_LIBRARY, "XGBoost: %s: %s", #call, XGBGetLastError());                                      \
    } while (0)

/* Rows as XGBoost's matrix. Vacant bits are its missing values: skipped when histograms are filled, and sent to the
 * better side of every split. */
static status matrix_of(const float *x, size_t n, size_t ncolumns, bool ternary, DMatrixHandle *matrix) {
    char array[128], config[64];
    snprintf(array, sizeof array,
             "{\"data\": [%" PRIuPTR ", true], \"shape\": [%zu, %zu], \"typestr\": \"<f4\", \"version\": 3}",
             (uintptr_t)x, n, ncolumns);
    snprintf(config, sizeof config, "{\"missing\": %s, \"nthread\": 1}", ternary ? "-1.0" : "NaN");
    TRY_XGB(XGDMatrixCreateFromDense(array, config, matrix));
    return ST_OK;
}

static status set_labels(DMatrixHandle matrix, const classifier_samples *train) {
    float *labels = NULL;
    TRY(NEW(train->n, &labels));
    for (size_t i = 0; i < train->n; i++)
        labels[i] = (float)train->y[i];
    int failed = XGDMatrixSetFloatInfo(matrix, "label", labels, train->n);
    memory_free(&labels);
    return failed ? FAIL(ST_LIBRARY, "XGBoost: labels: %s", XGBGetLastError()) : ST_OK;
}

static status set_parameters(trees *t, bool forest, size_t ntrees, uint64_t seed) {
    char nclasses[24], rounds[24], columns[32], seed_text[24];
    double p = (double)t->ncolumns, share = fmax(sqrt(p), p / 8) / p;
    snprintf(nclasses, sizeof nclasses, "%zu", t->nclasses < 2 ? 2 : t->nclasses);
    snprintf(rounds, sizeof rounds, "%zu", forest ? (ntrees + t->nclasses - 1) / t->nclasses : 1);
    snprintf(columns, sizeof columns, "%.6f", forest ? fmin(share, 1) : 1.0);
    snprintf(seed_text, sizeof seed_text, "%" PRIu64, seed & 0x7fffffff); /* a 32-bit number inside */
    const char *const parameters[][2] = {
        {"verbosity", "0"},
        {"nthread", "1"},
        {"booster", "gbtree"},
        {"tree_method", "hist"},
        {"objective", "multi:softprob"},
        {"num_class", nclasses},
        {"num_parallel_tree", rounds},
        {"subsample", forest ? "0.632" : "1"}, /* the distinct share of a bootstrap sample */
        {"colsample_bynode", columns},
        {"learning_rate", "1"},
        {"max_bin", t->ternary ? "4" : "64"},
        {"max_depth", "16"},
        {"min_child_weight", "0"},
        {"reg_lambda", "0"},
        {"base_score", "0.5"},
        {"seed", seed_text},
    };
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++)
        TRY_XGB(XGBoosterSetParam(t->booster, parameters[i][0], parameters[i][1]));
    return ST_OK;
}

static status grow(trees *t, DMatrixHandle matrix, bool forest, size_t ntrees, uint64_t seed) {
    TRY_XGB(XGBoosterCreate(&matrix, 1, &t->booster));
    TRY(set_parameters(t, forest, ntrees, seed));
    TRY_XGB(XGBoosterUpdateOneIter(t->booster, 0, matrix));
    return ST_OK;
}

status trees_train(const classifier_samples *train, size_t nclasses, bool forest, size_t ntrees, uint64_t seed,
                   trees **t) {
    DMatrixHandle matrix = NULL;
    TRY(NEW(1, t));
    **t = (trees){.ncolumns = train->ncolumns, .nclasses = nclasses, .ternary = train->ternary};
    status st = matrix_of(train->x, train->n, train->ncolumns, train->ternary, &matrix);
    if (!st)
        st = set_labels(matrix, train);
    if (!st)
        st = grow(*t, matrix, forest, ntrees, seed);
    if (matrix)
        XGDMatrixFree(matrix);
    if (st)
        trees_free(t);
    return st;
}

static status answers(const trees *t, DMatrixHandle matrix, size_t n, int *y) {
    bst_ulong const *shape;
    bst_ulong ndims;
    const float *chances;
    TRY_XGB(XGBoosterPredictFromDMatrix(t->booster, matrix,
                                        "{\"type\": 0, \"training\": false, \"iteration_begin\": 0, "
                                        "\"iteration_end\": 0, \"strict_shape\": true}",
                                        &shape, &ndims, &chances));
    if (ndims != 2 || shape[0] != n || shape[1] < t->nclasses)
        return FAIL(ST_LIBRARY, "XGBoost: predictions of an unexpected shape");
    for (size_t i = 0; i < n; i++) {
        const float *row = chances + i * shape[1];
        y[i] = 0;
        for (size_t k = 1; k < t->nclasses; k++)
            if (row[k] > row[y[i]])
                y[i] = (int)k;
    }
    return ST_OK;
}

status trees_predict(const trees *t, const float *x, size_t n, int *y) {
    DMatrixHandle matrix = NULL;
    TRY(matrix_of(x, n, t->ncolumns, t->ternary, &matrix));
    status st = answers(t, matrix, n, y);
    XGDMatrixFree(matrix);
    return st;
}

status trees_importance(const trees *t, double *share) {
    bst_ulong nfeatures, ndims;
    bst_ulong const *shape;
    char const **names;
    const float *scores;
    double sum = 0;
    TRY_XGB(XGBoosterFeatureScore(t->booster, "{\"importance_type\": \"total_gain\"}", &nfeatures, &names, &ndims,
                                  &shape, &scores));
    for (size_t i = 0; i < nfeatures; i++) { /* columns that were split on, named f0, f1, ... */
        size_t column = names[i][0] == 'f' ? (size_t)strtoul(names[i] + 1, NULL, 10) : t->ncolumns;
        if (column >= t->ncolumns)
            return FAIL(ST_LIBRARY, "XGBoost: a column named %s", names[i]);
        share[column] = scores[i];
        sum += scores[i];
    }
    for (size_t c = 0; c < t->ncolumns && sum > 0; c++)
        share[c] /= sum;
    return ST_OK;
}

void trees_free(trees **t) {
    if (!*t)
        return;
    if ((*t)->booster)
        XGBoosterFree((*t)->booster);
    memory_free(t);
}
