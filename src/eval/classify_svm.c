/* Support vector machine through libsvm (Chang and Lin, ACM TIST 2(3) art. 27, 2011).
 *
 * libsvm's own kernels walk sparse rows node by node and are computed anew for every pair of classes; here the kernel
 * matrix is computed once from dense rows and handed over as PRECOMPUTED, which gives the same machine many times
 * sooner. Radial kernel with gamma = 1 / (columns x variance), C = 10. */
#include <svm.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "eval/classify_priv.h"

enum { LANES = 16 };

struct machine {
    struct svm_model *model;
    size_t n, ncolumns, stride; /* stride: columns rounded up to whole lanes */
    float *x;                   /* (n, stride) scaled training rows */
    float *squares;             /* (n) */
    float *mean, *scale;        /* (ncolumns); NULL where nothing is scaled */
    double gamma;
    struct svm_node *nodes; /* (n, n + 2): libsvm keeps pointers into the rows of its support vectors */
    struct svm_node **rows; /* (n) */
    double *y;              /* (n) */
};

/* A fixed number of lanes, added up in a fixed order, so that every machine rounds alike. */
__attribute__((target_clones("avx2", "default"))) static float dot(const float *a, const float *b, size_t n) {
    float lane[LANES] = {0}, sum = 0;
    for (size_t i = 0; i < n; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            lane[k] += a[i + k] * b[i + k];
    for (size_t k = 0; k < LANES; k++)
        sum += lane[k];
    return sum;
}

static double kernel(const machine *m, const float *a, float squares_a, size_t row) {
    double distance =
        (double)squares_a + (double)m->squares[row] - 2.0 * (double)dot(a, m->x + row * m->stride, m->stride);
    return exp(-m->gamma * (distance > 0 ? distance : 0));
}

static void scale_row(const machine *m, const float *from, float *to) {
    for (size_t c = 0; c < m->ncolumns; c++)
        to[c] = m->mean ? (from[c] - m->mean[c]) * m->scale[c] : from[c];
}

/* Mean 0 and standard deviation 1 in the training rows; a value far outside of them stays far outside. */
static status learn_scale(machine *m, const classifier_samples *train) {
    TRY(NEW(m->ncolumns, &m->mean));
    TRY(NEW(m->ncolumns, &m->scale));
    for (size_t c = 0; c < m->ncolumns; c++) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < train->n; i++)
            sum += (double)train->x[i * m->ncolumns + c];
        double mean = sum / (double)train->n;
        for (size_t i = 0; i < train->n; i++)
            squares += pow((double)train->x[i * m->ncolumns + c] - mean, 2);
        m->mean[c] = (float)mean;
        m->scale[c] = squares > 0 ? (float)(1 / sqrt(squares / (double)train->n)) : 0;
    }
    return ST_OK;
}

static status take_rows(machine *m, const classifier_samples *train) {
    double sum = 0, squares = 0, cells = (double)m->n * (double)m->ncolumns;
    TRY(NEW(m->n * m->stride, &m->x));
    TRY(NEW(m->n, &m->squares));
    for (size_t i = 0; i < m->n; i++) {
        float *row = m->x + i * m->stride;
        scale_row(m, train->x + i * m->ncolumns, row);
        m->squares[i] = dot(row, row, m->stride);
        squares += (double)m->squares[i];
        for (size_t c = 0; c < m->ncolumns; c++)
            sum += (double)row[c];
    }
    double variance = squares / cells - sum / cells * (sum / cells);
    m->gamma = 1 / ((double)m->ncolumns * (variance > 0 ? variance : 1));
    return ST_OK;
}

/* A row of libsvm's precomputed form: its number from 1, then the kernel with every training row, then an end. */
static void fill_nodes(const machine *m, const float *x, float squares, size_t number, struct svm_node *nodes) {
    nodes[0] = (struct svm_node){0, (double)number};
    for (size_t j = 0; j < m->n; j++)
        nodes[j + 1] = (struct svm_node){(int)j + 1, kernel(m, x, squares, j)};
    nodes[m->n + 1].index = -1;
}

static status make_problem(machine *m, const classifier_samples *train) {
    TRY(NEW(m->n * (m->n + 2), &m->nodes));
    TRY(NEW(m->n, &m->rows));
    TRY(NEW(m->n, &m->y));
    for (size_t i = 0; i < m->n; i++) {
        m->rows[i] = m->nodes + i * (m->n + 2);
        fill_nodes(m, m->x + i * m->stride, m->squares[i], i + 1, m->rows[i]);
        m->y[i] = train->y[i];
    }
    return ST_OK;
}

static void say_nothing(const char *text) {
    (void)text;
}

static status fit(machine *m) {
    const struct svm_parameter parameters = {
        .svm_type = C_SVC, .kernel_type = PRECOMPUTED, .cache_size = 64, .eps = 1e-3, .C = 10, .shrinking = 1};
    const struct svm_problem problem = {.l = (int)m->n, .y = m->y, .x = m->rows};
    const char *wrong = svm_check_parameter(&problem, &parameters);
    if (wrong)
        return FAIL(ST_LIBRARY, "libsvm: %s", wrong);
    svm_set_print_string_function(say_nothing);
    m->model = svm_train(&problem, &parameters);
    return m->model ? ST_OK : FAIL(ST_LIBRARY, "libsvm: no model");
}

status machine_train(const classifier_samples *train, machine **m) {
    TRY(NEW(1, m));
    (*m)->n = train->n;
    (*m)->ncolumns = train->ncolumns;
    (*m)->stride = (train->ncolumns + LANES - 1) / LANES * LANES;
    status st = train->ternary ? ST_OK : learn_scale(*m, train);
    if (!st)
        st = take_rows(*m, train);
    if (!st)
        st = make_problem(*m, train);
    if (!st)
        st = fit(*m);
    if (st)
        machine_free(m);
    return st;
}

status machine_predict(const machine *m, const float *x, size_t n, int *y) {
    struct svm_node *nodes = NULL;
    float *row = NULL;
    status st = NEW(m->n + 2, &nodes);
    if (!st)
        st = NEW(m->stride, &row);
    for (size_t i = 0; i < n && !st; i++) {
        scale_row(m, x + i * m->ncolumns, row);
        fill_nodes(m, row, dot(row, row, m->stride), 0, nodes);
        y[i] = (int)svm_predict(m->model, nodes);
    }
    memory_free(&nodes);
    memory_free(&row);
    return st;
}

void machine_free(machine **m) {
    if (!*m)
        return;
    if ((*m)->model)
        svm_free_and_destroy_model(&(*m)->model);
    memory_free(&(*m)->x);
    memory_free(&(*m)->squares);
    memory_free(&(*m)->mean);
    memory_free(&(*m)->scale);
    memory_free(&(*m)->nodes);
    memory_free(&(*m)->rows);
    memory_free(&(*m)->y);
    memory_free(m);
}
