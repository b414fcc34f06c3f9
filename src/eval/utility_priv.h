/* Utility: which classes there are, which flows a classifier is trained on, what is tried, and the scores.
 *
 * Every training set has, label by label, as many flows as the smaller of training runs and synthetic data has, so that
 * sources differ in nothing but where their flows come from. */
#ifndef ND_EVAL_UTILITY_PRIV_H
#define ND_EVAL_UTILITY_PRIV_H

#include "eval/classify.h"
#include "eval/features.h"
#include "eval/parts.h"

enum {
    UTILITY_LABEL_MIN = 4,   /* flows of a label in each of the three sets, else it is left out */
    UTILITY_FLOWS_MAX = 900, /* of a training or test set: some 40 seconds of one core with 5 seeds */
    UTILITY_COLUMNS_MAX = 512,
    UTILITY_RATES = 5
};

typedef enum utility_labelling { MICRO, MACRO, LABELLINGS } utility_labelling;
extern const char *const labelling_names[LABELLINGS];

/* Trained on -> tried on. SEEN_REAL: both halves are random flows of the training runs. */
typedef enum utility_pair {
    REAL_REAL,
    SYNTHETIC_REAL,
    REAL_SYNTHETIC,
    MARGINAL_REAL,
    RANDOM_REAL,
    SEEN_REAL,
    UTILITY_PAIRS
} utility_pair;

/* Models whose confusion and importances are kept. */
typedef enum utility_learner { LEARNT_REAL, LEARNT_SYNTHETIC, LEARNERS } utility_learner;

extern const double utility_rates[UTILITY_RATES]; /* share of synthetic flows in a mixed training set */

/* ---- utility_sets.c ---- */

/* What is tried on. A test set is its source's flows, in the source's own mix of labels where it is cut down. SEEN: a
 * quarter of the training runs, put aside. */
typedef enum utility_test { TEST_HELD_OUT, TEST_SYNTHETIC, TEST_SEEN, TEST_SETS } utility_test;

typedef struct utility_classes {
    size_t nlabels;
    size_t *count[3];              /* (nlabels) flows in train, held out, synthetic */
    size_t *want;                  /* (nlabels) flows of a training set; 0 = the label is left out */
    size_t *want_test[TEST_SETS];  /* (nlabels) flows of a test set */
    size_t n[LABELLINGS];          /* classes */
    int *of_label[LABELLINGS];     /* (nlabels), -1 = left out */
    const char **name[LABELLINGS]; /* (n); the world's texts */
} utility_classes;

status utility_classes_make(const eval_world *w, utility_classes *c);
void utility_classes_clear(utility_classes *c);
/* Accuracy on held-out flows of who always says their largest class; 0 without classes. */
double utility_largest_share(const utility_classes *c, utility_labelling l);

typedef struct flow_list {
    size_t n, capacity;
    const eval_flow **flow; /* the world's */
} flow_list;

/* Append, of each label, the flows numbered skip[label] .. skip[label] + want[label] - 1 of a random order that depends
 * on (seed, item) alone; fewer where the set ends. skip may be NULL: none. So two draws of one item are disjoint where
 * their ranges are. */
status flow_list_draw(flow_list *l, const eval_set *s, const utility_classes *c, const size_t *skip, const size_t *want,
                      uint64_t seed, uint64_t item);
void flow_list_clear(flow_list *l);

/* ---- utility_run.c ---- */

typedef struct utility_score {
    double tried; /* 1 where there was something to train on and to try */
    double accuracy, balanced;
} utility_score;

/* All doubles stand in one block, so that ranks add them up in one call. */
typedef struct utility_results {
    size_t nseeds, nclasses[LABELLINGS];
    double *all;
    size_t n;
    utility_score *cross; /* [pair][feature][labelling][model][seed] */
    utility_score *mixed; /* [rate][labelling][seed] */
    double *filled;       /* [reduced class][filled up or not][seed][class]: recall */
    double *whole;        /* [seed][class]: recall with nothing reduced */
    double *confusion;    /* [learner][micro class][micro class], on held-out flows, summed over seeds */
    double *gain;         /* [learner][FEATURE_ALL_BITS, FEATURE_BITS][seed][field]: share of gain */
} utility_results;

/* Collective. Everything that is tried, shared over the ranks; the same results on each and for any number of them. */
status utility_run(const eval_world *w, const utility_classes *c, utility_results *x);
void utility_results_clear(utility_results *x);

utility_score *utility_cross(const utility_results *x, utility_pair pair, feature_kind kind, utility_labelling l,
                             classifier_kind model);                                        /* (nseeds) */
utility_score *utility_mixed(const utility_results *x, size_t rate, utility_labelling l);   /* (nseeds) */
double *utility_filled(const utility_results *x, size_t reduced, bool filled, size_t seed); /* (macro classes) */
double *utility_whole(const utility_results *x, size_t seed);                               /* (macro classes) */
double *utility_confusion(const utility_results *x, utility_learner learner);               /* (micro, micro) */
double *utility_gain(const utility_results *x, utility_learner learner, feature_kind kind,
                     size_t seed);    /* (nprint_nfields) */
size_t utility_reduced(size_t flows); /* of a label whose class is reduced */

/* ---- utility_report.c ---- */

status utility_report(const eval_world *w, const utility_classes *c, const utility_results *x, report *r);

#endif
