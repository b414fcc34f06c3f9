/* The utility section: which labels take part, who does how well, mixtures, filled-up classes, what forests look at. */
#include "eval/utility_priv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/memory.h"
#include "packet/nprint.h"

static const struct {
    const char *symbol, *name;
} pairs[UTILITY_PAIRS] = {
    [REAL_REAL] = {"real_real", "real -> real"},
    [SYNTHETIC_REAL] = {"synthetic_real", "synthetic -> real"},
    [REAL_SYNTHETIC] = {"real_synthetic", "real -> synthetic"},
    [MARGINAL_REAL] = {"marginal_real", "control: marginal -> real"},
    [RANDOM_REAL] = {"random_real", "control: random -> real"},
    [SEEN_REAL] = {"seen_real", "seen session: real -> real"},
};

/* Names of report_value after the labelling; the plain name belongs to the bits that name no session. */
static const char *const feature_suffixes[FEATURE_KINDS] = {".all_bits", "", ".statistics"};

typedef struct spread {
    size_t n;
    double mean, deviation;
} spread;

/* Sample standard deviation. Equal figures differ from their mean by rounding alone, which is no deviation. */
static double deviation_of(double squares, size_t n) {
    return n > 1 && squares > 1e-20 ? sqrt(squares / (double)(n - 1)) : 0;
}

/* Over n seeds; those where nothing was tried are left out. */
static spread spread_of(const utility_score *scores, size_t n, bool balanced) {
    spread s = {0};
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        s.n += scores[i].tried > 0;
        s.mean += scores[i].tried > 0 ? (balanced ? scores[i].balanced : scores[i].accuracy) : 0;
    }
    s.mean = s.n > 0 ? s.mean / (double)s.n : 0;
    for (size_t i = 0; i < n; i++) {
        double off = (balanced ? scores[i].balanced : scores[i].accuracy) - s.mean;
        squares += scores[i].tried > 0 ? off * off : 0;
    }
    s.deviation = deviation_of(squares, s.n);
    return s;
}

static void put_spread(report_table *t, spread s, const char *why) {
    if (s.n > 0)
        report_number_spread(t, s.mean, s.deviation);
    else
        report_nothing(t, why);
}

static void labels_table(const eval_world *w, const utility_classes *c, const char *command, report *r) {
    static const char *const columns[] = {"label",         "macro class", "training runs",
                                          "held-out runs", "synthetic",   "flows of a training set"};
    report_table *t = report_table_new(r, "utility_labels", "Labels that take part", 6, columns, 0, command);
    for (size_t l = 0; l < w->nlabels; l++) {
        bool named = w->macro_of[l] >= 0 && (size_t)w->macro_of[l] < w->nmacros;
        report_row(t, w->label[l]);
        report_text(t, named ? w->macro[w->macro_of[l]] : "");
        for (size_t s = 0; s < 3; s++)
            report_number(t, (double)c->count[s][l]);
        if (c->want[l] > 0)
            report_number(t, (double)c->want[l]);
        else
            report_nothing(t, "left out: fewer than 4 flows on one side");
    }
}

/* A row of one figure, which is 0 where there are no classes. */
static void put_constant(report_table *t, size_t ncolumns, const char *name, double x) {
    report_row(t, name);
    for (size_t i = 1; i < ncolumns; i++) {
        if (x > 0)
            report_number(t, x);
        else
            report_nothing(t, "no classes");
    }
}

/* One table: rows are pairs, columns every model on every kind of features. */
static void cross_table(const utility_classes *c, const utility_results *x, utility_labelling l, bool balanced,
                        const char *command, report *r) {
    char titles[FEATURE_KINDS * CLASSIFIER_KINDS][48], id[64], title[96], why[64];
    const char *columns[1 + FEATURE_KINDS * CLASSIFIER_KINDS] = {"trained on -> tried on"};
    size_t n = 1;
    for (feature_kind k = FEATURE_ALL_BITS; k < FEATURE_KINDS; k++)
        for (classifier_kind m = RANDOM_FOREST; m < CLASSIFIER_KINDS; m++, n++) {
            snprintf(titles[n - 1], sizeof titles[0], "%s, %s", classifier_names[m], feature_kind_names[k]);
            columns[n] = titles[n - 1];
        }
    snprintf(id, sizeof id, "utility_%s_%s", labelling_names[l], balanced ? "balanced" : "accuracy");
    snprintf(title, sizeof title, "%s, %zu %s classes", balanced ? "Balanced accuracy" : "Accuracy", c->n[l],
             labelling_names[l]);
    snprintf(why, sizeof why, c->n[l] < 2 ? "fewer than two %s classes" : "no flows of these %s classes",
             labelling_names[l]);
    report_table *t = report_table_new(r, id, title, n, columns, 3, command);
    for (size_t p = 0; p < UTILITY_PAIRS; p++) {
        report_row(t, pairs[p].name);
        for (feature_kind k = FEATURE_ALL_BITS; k < FEATURE_KINDS; k++)
            for (classifier_kind m = RANDOM_FOREST; m < CLASSIFIER_KINDS; m++)
                put_spread(t, spread_of(utility_cross(x, (utility_pair)p, k, l, m), x->nseeds, balanced), why);
    }
    put_constant(t, n, "chance", c->n[l] > 0 ? 1 / (double)c->n[l] : 0);
    if (!balanced)
        put_constant(t, n, "always the largest class -> real", utility_largest_share(c, l));
}

/* utility.PAIR.MODEL.LABELLING[.FEATURES] = mean accuracy. */
static void cross_values(const utility_results *x, utility_labelling l, report *r) {
    char name[96];
    for (size_t p = 0; p < UTILITY_PAIRS; p++)
        for (feature_kind k = FEATURE_ALL_BITS; k < FEATURE_KINDS; k++)
            for (classifier_kind m = RANDOM_FOREST; m < CLASSIFIER_KINDS; m++) {
                spread s = spread_of(utility_cross(x, (utility_pair)p, k, l, m), x->nseeds, false);
                snprintf(name, sizeof name, "utility.%s.%s.%s%s", pairs[p].symbol, classifier_symbols[m],
                         labelling_names[l], feature_suffixes[k]);
                if (s.n > 0)
                    report_value(r, name, s.mean);
            }
}

static void mixture(const utility_classes *c, const utility_results *x, const char *command, report *r) {
    static const char *const columns[] = {"share of synthetic flows", "accuracy, micro", "balanced, micro",
                                          "accuracy, macro", "balanced, macro"};
    static const char *const why[LABELLINGS] = {"fewer than two micro classes", "fewer than two macro classes"};
    double y[LABELLINGS][UTILITY_RATES];
    report_series series[LABELLINGS];
    size_t nseries = 0;
    report_table *t = report_table_new(r, "utility_mixture", "Random forest on mixed training sets of one size", 5,
                                       columns, 3, command);
    for (size_t i = 0; i < UTILITY_RATES; i++) {
        char name[16];
        snprintf(name, sizeof name, "%.0f %%", 100 * utility_rates[i]);
        report_row(t, name);
        for (utility_labelling l = MICRO; l < LABELLINGS; l++) {
            spread accuracy = spread_of(utility_mixed(x, i, l), x->nseeds, false);
            put_spread(t, accuracy, why[l]);
            put_spread(t, spread_of(utility_mixed(x, i, l), x->nseeds, true), why[l]);
            y[l][i] = accuracy.mean;
        }
    }
    for (utility_labelling l = MICRO; l < LABELLINGS; l++)
        if (c->n[l] > 1)
            series[nseries++] = (report_series){labelling_names[l], UTILITY_RATES, utility_rates, y[l]};
    if (nseries > 0)
        report_chart(r, "utility_mixture_chart", "Accuracy on held-out flows by the share of synthetic flows",
                     "share of synthetic flows in the training set", "accuracy", false, nseries, series);
}

/* Recall of class `k`, over seeds; which: 0 whole, 1 reduced, 2 reduced and filled up. */
static spread recall_spread(const utility_results *x, size_t reduced, unsigned which, size_t k) {
    spread s = {.n = x->nseeds};
    double squares = 0;
    for (unsigned pass = 0; pass < 2; pass++)
        for (size_t seed = 0; seed < x->nseeds; seed++) {
            const double *recalls = which == 0 ? utility_whole(x, seed) : utility_filled(x, reduced, which == 2, seed);
            if (pass == 0)
                s.mean += recalls[k] / (double)x->nseeds;
            else
                squares += (recalls[k] - s.mean) * (recalls[k] - s.mean);
        }
    s.deviation = deviation_of(squares, s.n);
    return s;
}

/* Mean recall of the classes that were not reduced. */
static double recall_of_others(const utility_results *x, size_t reduced, unsigned which) {
    double sum = 0;
    size_t n = x->nclasses[MACRO];
    for (size_t k = 0; k < n; k++)
        sum += k != reduced ? recall_spread(x, reduced, which, k).mean : 0;
    return sum / (double)(n - 1);
}

static void balancing(const utility_classes *c, const utility_results *x, const char *command, report *r) {
    static const char *const columns[] = {"class reduced to few flows", "real flows",  "real flows left",
                                          "recall, all real",           "recall, few", "recall, few + synthetic",
                                          "others, all real",           "others, few", "others, few + synthetic"};
    report_table *t = report_table_new(r, "utility_balancing",
                                       "Recall of a class that is rare in training, random forest, macro classes", 9,
                                       columns, 3, command);
    if (c->n[MACRO] < 2) {
        report_row(t, "(none)");
        for (size_t i = 1; i < 9; i++)
            report_nothing(t, "fewer than two macro classes");
        return;
    }
    for (size_t k = 0; k < c->n[MACRO]; k++) {
        size_t all = 0, few = 0;
        for (size_t l = 0; l < c->nlabels; l++)
            if (c->of_label[MACRO][l] == (int)k) {
                all += c->want[l];
                few += utility_reduced(c->want[l]);
            }
        report_row(t, c->name[MACRO][k]);
        report_number(t, (double)all);
        report_number(t, (double)few);
        for (unsigned which = 0; which < 3; which++) {
            spread s = recall_spread(x, k, which, k);
            report_number_spread(t, s.mean, s.deviation);
        }
        for (unsigned which = 0; which < 3; which++)
            report_number(t, recall_of_others(x, k, which));
    }
}

typedef struct field_share {
    size_t field;
    double share[LEARNERS];
} field_share;

static int by_share(const void *a, const void *b) {
    const field_share *x = a, *y = b;
    if (x->share[LEARNT_REAL] != y->share[LEARNT_REAL])
        return x->share[LEARNT_REAL] > y->share[LEARNT_REAL] ? -1 : 1;
    return (x->field > y->field) - (x->field < y->field);
}

static status importances(const utility_results *x, feature_kind kind, const char *command, report *r) {
    enum { SHOWN = 12 };
    static const char *const columns[] = {"field", "trained on real", "trained on synthetic"};
    field_share *fields = NULL;
    char id[64], title[96];
    double sum = 0;
    TRY(NEW(nprint_nfields, &fields));
    for (size_t f = 0; f < nprint_nfields; f++) {
        fields[f].field = f;
        for (utility_learner l = LEARNT_REAL; l < LEARNERS; l++)
            for (size_t seed = 0; seed < x->nseeds; seed++)
                fields[f].share[l] += utility_gain(x, l, kind, seed)[f] / (double)x->nseeds;
        sum += fields[f].share[LEARNT_REAL];
    }
    qsort(fields, nprint_nfields, sizeof *fields, by_share);
    snprintf(id, sizeof id, "utility_importance_%s", kind == FEATURE_BITS ? "bits" : "all_bits");
    snprintf(title, sizeof title, "Header fields that forests use, share of gain, micro classes, %s",
             feature_kind_names[kind]);
    report_table *t = report_table_new(r, id, title, 3, columns, 3, command);
    if (sum <= 0) {
        report_row(t, "(none)");
        report_nothing(t, "no forest with a split");
        report_nothing(t, "no forest with a split");
    }
    for (size_t f = 0; f < SHOWN && sum > 0 && fields[f].share[LEARNT_REAL] > 0; f++) {
        report_row(t, features_field_name(kind, fields[f].field));
        for (utility_learner l = LEARNT_REAL; l < LEARNERS; l++)
            report_number(t, fields[f].share[l]);
    }
    memory_free(&fields);
    return ST_OK;
}

static const char section_text[] =
    "Classifiers see the first packets of a flow and say its label; what they were trained on and tried on is in the "
    "row. "
    "Training sets have the same number of flows per label whatever their source, and real flows to be tried on come "
    "from capture runs that nobody was trained on. Mean and standard deviation over seeds that draw both the flows and "
    "the models. 'All bits' holds addresses, ports, checksums, counters and timestamps, which name a session; 'bits' "
    "is "
    "without them. 'Seen session' is a random split inside the training runs, which overstates what is known of a new "
    "session; it is shown for comparison only.";

status utility_report(const eval_world *w, const utility_classes *c, const utility_results *x, report *r) {
    char command[160];
    snprintf(command, sizeof command, "ndeval CONFIG.yaml eval.packets=%lld eval.seeds=%lld eval.trees=%lld",
             (long long)w->e->eval.packets, (long long)w->e->eval.seeds, (long long)w->e->eval.trees);
    report_section(r, "utility", "Utility: training on synthetic flows", section_text);
    labels_table(w, c, command, r);
    for (utility_labelling l = MICRO; l < LABELLINGS; l++) {
        cross_table(c, x, l, false, command, r);
        cross_table(c, x, l, true, command, r);
        cross_values(x, l, r);
    }
    mixture(c, x, command, r);
    balancing(c, x, command, r);
    for (feature_kind k = FEATURE_ALL_BITS; k <= FEATURE_BITS; k++)
        TRY(importances(x, k, command, r));
    if (c->n[MICRO] < 2)
        return ST_OK;
    report_matrix(r, "utility_confusion_real", "Random forest trained on real flows, tried on held-out flows (bits)",
                  c->n[MICRO], c->name[MICRO], utility_confusion(x, LEARNT_REAL));
    report_matrix(r, "utility_confusion_synthetic",
                  "Random forest trained on synthetic flows, tried on held-out flows (bits)", c->n[MICRO],
                  c->name[MICRO], utility_confusion(x, LEARNT_SYNTHETIC));
    return ST_OK;
}
