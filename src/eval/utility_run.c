/* What is tried: one task is one training set, whatever is learnt from it and tried on. A task's numbers depend on the
 * experiment's seed and the task alone, so any rank may take it. */
#include "eval/utility_priv.h"

#include <math.h>
#include <string.h>
#include "base/memory.h"
#include "packet/nprint.h"

const char *const labelling_names[LABELLINGS] = {"micro", "macro"};
const double utility_rates[UTILITY_RATES] = {0, 0.25, 0.5, 0.75, 1};

typedef enum task_kind { TASK_CROSS, TASK_MIX, TASK_FILL, TASK_WHOLE } task_kind;
/* Where a cross task's training flows come from; a draw's number, so that sources draw independently. */
typedef enum source { FROM_TRAIN, FROM_SYNTHETIC, FROM_MARGINAL, FROM_RANDOM, FROM_SEEN, SOURCES } source;
enum { DRAW_TEST = SOURCES, DRAW_SYNTHETIC_TEST, DRAWS };

typedef struct task {
    task_kind kind;
    size_t seed;
    feature_kind features;
    source source;  /* cross */
    size_t rate;    /* mix */
    size_t reduced; /* fill: macro class */
    bool filled;    /* fill */
} task;

/* What a task works with. */
typedef struct bench {
    const eval_world *w;
    const utility_classes *c;
    utility_results *x;
    size_t packets;
    const task *t;
    flow_list train, held_out, synthetic; /* synthetic: to be tried on; may be empty */
    feature_table train_table, held_out_table, synthetic_table;
} bench;

/* One fit of a bench: its chosen columns and classes. */
typedef struct fit {
    utility_labelling labelling;
    size_t *columns;
    classifier_samples samples;
    float *x;
    int *y;
} fit;

utility_score *utility_cross(const utility_results *x, utility_pair pair, feature_kind kind, utility_labelling l,
                             classifier_kind model) {
    size_t at = ((size_t)pair * FEATURE_KINDS + (size_t)kind) * LABELLINGS + (size_t)l;
    return x->cross + (at * CLASSIFIER_KINDS + (size_t)model) * x->nseeds;
}

utility_score *utility_mixed(const utility_results *x, size_t rate, utility_labelling l) {
    return x->mixed + (rate * LABELLINGS + (size_t)l) * x->nseeds;
}

double *utility_filled(const utility_results *x, size_t reduced, bool filled, size_t seed) {
    return x->filled + ((reduced * 2 + filled) * x->nseeds + seed) * x->nclasses[MACRO];
}

double *utility_whole(const utility_results *x, size_t seed) {
    return x->whole + seed * x->nclasses[MACRO];
}

double *utility_confusion(const utility_results *x, utility_learner learner) {
    return x->confusion + (size_t)learner * x->nclasses[MICRO] * x->nclasses[MICRO];
}

double *utility_gain(const utility_results *x, utility_learner learner, feature_kind kind, size_t seed) {
    return x->gain + (((size_t)learner * 2 + (kind == FEATURE_BITS)) * x->nseeds + seed) * nprint_nfields;
}

static status results_make(const utility_classes *c, size_t nseeds, utility_results *x) {
    size_t micro = c->n[MICRO], macro = c->n[MACRO], per_score = sizeof(utility_score) / sizeof(double);
    size_t cross = (size_t)UTILITY_PAIRS * FEATURE_KINDS * LABELLINGS * CLASSIFIER_KINDS * nseeds * per_score;
    size_t mixed = (size_t)UTILITY_RATES * LABELLINGS * nseeds * per_score;
    size_t filled = macro * 2 * nseeds * macro, whole = nseeds * macro;
    size_t confusion = LEARNERS * micro * micro, gain = (size_t)LEARNERS * 2 * nseeds * nprint_nfields;
    *x = (utility_results){.nseeds = nseeds, .nclasses = {micro, macro}};
    x->n = cross + mixed + filled + whole + confusion + gain;
    TRY(NEW(x->n, &x->all));
    x->cross = (utility_score *)x->all;
    x->mixed = x->cross + cross / per_score;
    x->filled = x->all + cross + mixed;
    x->whole = x->filled + filled;
    x->confusion = x->whole + whole;
    x->gain = x->confusion + confusion;
    return ST_OK;
}

void utility_results_clear(utility_results *x) {
    memory_free(&x->all);
    *x = (utility_results){0};
}

size_t utility_reduced(size_t flows) {
    return flows < 20 ? 1 : flows / 20;
}

static uint64_t draw_item(const bench *b, unsigned draw) {
    return b->t->seed * DRAWS + draw;
}

static status draw(const bench *b, flow_list *to, const eval_set *s, const size_t *skip, const size_t *want,
                   unsigned which) {
    return flow_list_draw(to, s, b->c, skip, want, (uint64_t)b->w->e->seed, draw_item(b, which));
}

/* Random flows of the training runs on both sides: a quarter to try on, from the rest as many as elsewhere if it has
 * them. */
static status draw_seen(bench *b) {
    const size_t *test = b->c->want_test[TEST_SEEN];
    TRY(draw(b, &b->held_out, &b->w->train, NULL, test, FROM_SEEN));
    return draw(b, &b->train, &b->w->train, test, b->c->want, FROM_SEEN);
}

static status draw_cross(bench *b) {
    const eval_set *sets[SOURCES] = {&b->w->train, &b->w->synthetic, &b->w->marginal, &b->w->random, NULL};
    if (b->t->source == FROM_SEEN)
        return draw_seen(b);
    TRY(draw(b, &b->train, sets[b->t->source], NULL, b->c->want, b->t->source));
    if (b->t->source == FROM_TRAIN)
        TRY(draw(b, &b->synthetic, &b->w->synthetic, NULL, b->c->want_test[TEST_SYNTHETIC], DRAW_SYNTHETIC_TEST));
    return draw(b, &b->held_out, &b->w->held_out, NULL, b->c->want_test[TEST_HELD_OUT], DRAW_TEST);
}

/* real[l] flows of the training runs, and synthetic ones up to want[l] where `fill`. */
static status draw_composed(bench *b, const size_t *real, bool fill) {
    size_t *rest = NULL;
    TRY(NEW(b->c->nlabels, &rest));
    for (size_t l = 0; l < b->c->nlabels; l++)
        rest[l] = fill ? b->c->want[l] - real[l] : 0;
    status st = draw(b, &b->train, &b->w->train, NULL, real, FROM_TRAIN);
    if (!st)
        st = draw(b, &b->train, &b->w->synthetic, NULL, rest, FROM_SYNTHETIC);
    if (!st)
        st = draw(b, &b->held_out, &b->w->held_out, NULL, b->c->want_test[TEST_HELD_OUT], DRAW_TEST);
    memory_free(&rest);
    return st;
}

static status draw_training(bench *b) {
    size_t *real = NULL;
    if (b->t->kind == TASK_CROSS)
        return draw_cross(b);
    TRY(NEW(b->c->nlabels, &real));
    for (size_t l = 0; l < b->c->nlabels; l++) {
        size_t want = b->c->want[l];
        real[l] = want;
        if (b->t->kind == TASK_MIX)
            real[l] = want - (size_t)lround(utility_rates[b->t->rate] * (double)want);
        if (b->t->kind == TASK_FILL && want > 0 && (size_t)b->c->of_label[MACRO][l] == b->t->reduced)
            real[l] = utility_reduced(want);
    }
    status st = draw_composed(b, real, b->t->kind == TASK_MIX || b->t->filled);
    memory_free(&real);
    return st;
}

static void fit_clear(fit *f) {
    memory_free(&f->columns);
    memory_free(&f->x);
    memory_free(&f->y);
}

static status classes_of(const bench *b, const flow_list *l, utility_labelling labelling, int **y) {
    TRY(NEW(l->n, y));
    for (size_t i = 0; i < l->n; i++)
        (*y)[i] = b->c->of_label[labelling][l->flow[i]->f.label];
    return ST_OK;
}

static status fit_prepare(const bench *b, utility_labelling labelling, fit *f) {
    *f = (fit){.labelling = labelling};
    TRY(classes_of(b, &b->train, labelling, &f->y));
    TRY(features_choose(&b->train_table, f->y, b->c->n[labelling], UTILITY_COLUMNS_MAX, &f->columns,
                        &f->samples.ncolumns));
    TRY(features_gather(&b->train_table, f->columns, f->samples.ncolumns, &f->x));
    f->samples.n = b->train.n;
    f->samples.x = f->x;
    f->samples.y = f->y;
    f->samples.ternary = b->train_table.bits != NULL;
    return ST_OK;
}

/* Counts (n, n): rows are the truth. */
static status confusion_of(const bench *b, const fit *f, const classifier *model, const flow_list *flows,
                           const feature_table *table, double *counts) {
    size_t n = b->c->n[f->labelling];
    float *x = NULL;
    int *truth = NULL, *answer = NULL;
    status st = features_gather(table, f->columns, f->samples.ncolumns, &x);
    if (!st)
        st = classes_of(b, flows, f->labelling, &truth);
    if (!st)
        st = NEW(flows->n, &answer);
    if (!st)
        st = classifier_predict(model, x, flows->n, answer);
    for (size_t i = 0; i < flows->n && !st; i++)
        counts[(size_t)truth[i] * n + (size_t)answer[i]]++;
    memory_free(&x);
    memory_free(&truth);
    memory_free(&answer);
    return st;
}

/* Recall of class k; -1 without flows of it. */
static double recall_of(const double *counts, size_t n, size_t k) {
    double row = 0;
    for (size_t j = 0; j < n; j++)
        row += counts[k * n + j];
    return row > 0 ? counts[k * n + k] / row : -1;
}

static utility_score score_of(const double *counts, size_t n) {
    double all = 0, right = 0, recalls = 0, classes = 0;
    for (size_t k = 0; k < n; k++) {
        double recall = recall_of(counts, n, k);
        for (size_t j = 0; j < n; j++)
            all += counts[k * n + j];
        right += counts[k * n + k];
        recalls += recall >= 0 ? recall : 0;
        classes += recall >= 0;
    }
    if (all == 0)
        return (utility_score){0};
    return (utility_score){.tried = 1, .accuracy = right / all, .balanced = recalls / classes};
}

/* Confusion and importances of one forest that people look at. */
static status keep_details(const bench *b, const fit *f, const classifier *model, const double *counts) {
    feature_kind kind = b->t->features;
    utility_learner learner = b->t->source == FROM_TRAIN ? LEARNT_REAL : LEARNT_SYNTHETIC;
    double *share = NULL;
    if (f->labelling != MICRO || kind == FEATURE_STATISTICS || b->t->source > FROM_SYNTHETIC)
        return ST_OK;
    double *to = utility_confusion(b->x, learner), *gain = utility_gain(b->x, learner, kind, b->t->seed);
    for (size_t i = 0; i < b->c->n[MICRO] * b->c->n[MICRO] && kind == FEATURE_BITS; i++)
        to[i] += counts[i];
    TRY(NEW(f->samples.ncolumns, &share));
    status st = classifier_importance(model, share);
    for (size_t i = 0; i < f->samples.ncolumns && !st; i++)
        gain[features_field(kind, f->columns[i])] += share[i];
    memory_free(&share);
    return st;
}

static status keep_cross(const bench *b, const fit *f, classifier_kind kind, const classifier *model, double *counts) {
    static const utility_pair pairs[SOURCES] = {REAL_REAL, SYNTHETIC_REAL, MARGINAL_REAL, RANDOM_REAL, SEEN_REAL};
    size_t n = b->c->n[f->labelling];
    TRY(confusion_of(b, f, model, &b->held_out, &b->held_out_table, counts));
    utility_cross(b->x, pairs[b->t->source], b->t->features, f->labelling, kind)[b->t->seed] = score_of(counts, n);
    if (kind == RANDOM_FOREST)
        TRY(keep_details(b, f, model, counts));
    if (b->t->source != FROM_TRAIN)
        return ST_OK;
    memset(counts, 0, n * n * sizeof *counts);
    TRY(confusion_of(b, f, model, &b->synthetic, &b->synthetic_table, counts));
    utility_cross(b->x, REAL_SYNTHETIC, b->t->features, f->labelling, kind)[b->t->seed] = score_of(counts, n);
    return ST_OK;
}

static status keep(const bench *b, const fit *f, classifier_kind kind, const classifier *model, double *counts) {
    size_t n = b->c->n[f->labelling];
    if (b->t->kind == TASK_CROSS)
        return keep_cross(b, f, kind, model, counts);
    TRY(confusion_of(b, f, model, &b->held_out, &b->held_out_table, counts));
    if (b->t->kind == TASK_MIX) {
        utility_mixed(b->x, b->t->rate, f->labelling)[b->t->seed] = score_of(counts, n);
        return ST_OK;
    }
    double *recalls = b->t->kind == TASK_WHOLE ? utility_whole(b->x, b->t->seed)
                                               : utility_filled(b->x, b->t->reduced, b->t->filled, b->t->seed);
    for (size_t k = 0; k < n; k++)
        recalls[k] = recall_of(counts, n, k);
    return ST_OK;
}

static status learn(const bench *b, const fit *f, classifier_kind kind) {
    size_t n = b->c->n[f->labelling];
    classifier *model = NULL;
    double *counts = NULL;
    status st = NEW(n * n, &counts);
    if (!st)
        st = classifier_train(kind, &f->samples, n, (size_t)b->w->e->eval.trees,
                              (uint64_t)b->w->e->seed * 1000 + b->t->seed, &model);
    if (!st)
        st = keep(b, f, kind, model, counts);
    classifier_free(&model);
    memory_free(&counts);
    return st;
}

static status bench_tables(bench *b) {
    feature_kind kind = b->t->features;
    TRY(features_make(kind, b->packets, b->train.flow, b->train.n, &b->train_table));
    TRY(features_make(kind, b->packets, b->held_out.flow, b->held_out.n, &b->held_out_table));
    return features_make(kind, b->packets, b->synthetic.flow, b->synthetic.n, &b->synthetic_table);
}

static status task_learn(const bench *b) {
    for (utility_labelling l = MICRO; l < LABELLINGS; l++) {
        fit f;
        bool macro_only = b->t->kind == TASK_FILL || b->t->kind == TASK_WHOLE;
        if (b->c->n[l] < 2 || (macro_only && l != MACRO))
            continue;
        status st = fit_prepare(b, l, &f);
        for (classifier_kind k = RANDOM_FOREST; k < CLASSIFIER_KINDS && !st; k++)
            if (k == RANDOM_FOREST || b->t->kind == TASK_CROSS)
                st = learn(b, &f, k);
        fit_clear(&f);
        TRY(st);
    }
    return ST_OK;
}

static status task_run(const eval_world *w, const utility_classes *c, const task *t, utility_results *x) {
    size_t packets = (size_t)w->e->eval.packets;
    bench b = {.w = w, .c = c, .x = x, .t = t, .packets = packets < w->window ? packets : w->window};
    status st = draw_training(&b);
    if (!st && b.train.n > 0) {
        st = bench_tables(&b);
        if (!st)
            st = task_learn(&b);
    }
    features_clear(&b.train_table);
    features_clear(&b.held_out_table);
    features_clear(&b.synthetic_table);
    flow_list_clear(&b.train);
    flow_list_clear(&b.held_out);
    flow_list_clear(&b.synthetic);
    return st;
}

typedef struct task_list {
    task *tasks; /* NULL: only count */
    size_t n;
} task_list;

static void add_task(task_list *l, task t) {
    if (l->tasks)
        l->tasks[l->n] = t;
    l->n++;
}

/* All tasks, the longest first, so that ranks end together. */
static void list_tasks(const utility_results *x, task_list *l) {
    l->n = 0;
    for (feature_kind kind = FEATURE_ALL_BITS; kind < FEATURE_KINDS; kind++)
        for (source from = FROM_TRAIN; from < SOURCES; from++)
            for (size_t seed = 0; seed < x->nseeds; seed++)
                add_task(l, (task){.kind = TASK_CROSS, .seed = seed, .features = kind, .source = from});
    for (size_t rate = 0; rate < UTILITY_RATES; rate++)
        for (size_t seed = 0; seed < x->nseeds; seed++)
            add_task(l, (task){.kind = TASK_MIX, .seed = seed, .features = FEATURE_BITS, .rate = rate});
    for (size_t seed = 0; seed < x->nseeds && x->nclasses[MACRO] > 1; seed++) {
        add_task(l, (task){.kind = TASK_WHOLE, .seed = seed, .features = FEATURE_BITS});
        for (size_t k = 0; k < 2 * x->nclasses[MACRO]; k++)
            add_task(
                l,
                (task){.kind = TASK_FILL, .seed = seed, .features = FEATURE_BITS, .reduced = k / 2, .filled = k % 2});
    }
}

static status take_tasks(const eval_world *w, const utility_classes *c, const task_list *list, work *items,
                         utility_results *x) {
    uint64_t item;
    for (;;) {
        TRY(work_next(items, &item));
        if (item >= list->n)
            return ST_OK;
        TRY(task_run(w, c, &list->tasks[item], x));
    }
}

status utility_run(const eval_world *w, const utility_classes *c, utility_results *x) {
    task_list list = {0};
    work *items = NULL;
    status st = results_make(c, (size_t)w->e->eval.seeds, x);
    list_tasks(x, &list);
    if (!st)
        st = NEW(list.n, &list.tasks);
    st = comm_agree(w->c, st);
    if (!st)
        st = work_open(w->c, list.n, &items);
    if (!st) {
        list_tasks(x, &list);
        st = take_tasks(w, c, &list, items, x);
        status closed = work_close(&items);
        st = comm_agree(w->c, st ? st : closed);
    }
    if (!st)
        st = comm_sum_f64(w->c, x->all, x->n);
    memory_free(&list.tasks);
    if (st)
        utility_results_clear(x);
    return st;
}
