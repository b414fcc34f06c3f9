/* Which labels take part, and random draws of flows. */
#include "eval/utility_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/memory.h"

static void count_labels(const eval_set *s, size_t nlabels, size_t *count) {
    for (size_t i = 0; i < s->n; i++)
        if (s->flows[i].f.label >= 0 && (size_t)s->flows[i].f.label < nlabels)
            count[s->flows[i].f.label]++;
}

/* Scale down so that the sum is at most UTILITY_FLOWS_MAX, leaving no label without a flow. */
static void limit_total(size_t *want, size_t n) {
    size_t sum = 0;
    for (size_t l = 0; l < n; l++)
        sum += want[l];
    for (size_t l = 0; l < n && sum > UTILITY_FLOWS_MAX; l++) {
        size_t less = want[l] * UTILITY_FLOWS_MAX / sum;
        want[l] = want[l] > 0 && less == 0 ? 1 : less;
    }
}

/* Classes are numbered in the order of the labels; a macro class by the first of its labels. */
static void number_classes(const eval_world *w, utility_classes *c) {
    int *macro_class = c->of_label[MACRO];
    for (size_t l = 0; l < w->nlabels; l++) {
        c->of_label[MICRO][l] = macro_class[l] = -1;
        if (c->want[l] == 0)
            continue;
        c->of_label[MICRO][l] = (int)c->n[MICRO];
        c->name[MICRO][c->n[MICRO]++] = w->label[l];
        for (size_t k = 0; k < l && macro_class[l] < 0; k++)
            if (macro_class[k] >= 0 && w->macro_of[k] == w->macro_of[l])
                macro_class[l] = macro_class[k];
        if (macro_class[l] >= 0)
            continue;
        macro_class[l] = (int)c->n[MACRO];
        bool named = w->macro_of[l] >= 0 && (size_t)w->macro_of[l] < w->nmacros;
        c->name[MACRO][c->n[MACRO]++] = named ? w->macro[w->macro_of[l]] : "(none)";
    }
}

status utility_classes_make(const eval_world *w, utility_classes *c) {
    const eval_set *sets[3] = {&w->train, &w->held_out, &w->synthetic};
    *c = (utility_classes){.nlabels = w->nlabels};
    for (size_t s = 0; s < 3; s++) {
        TRY(NEW(w->nlabels, &c->count[s]));
        count_labels(sets[s], w->nlabels, c->count[s]);
    }
    TRY(NEW(w->nlabels, &c->want));
    for (size_t s = 0; s < TEST_SETS; s++)
        TRY(NEW(w->nlabels, &c->want_test[s]));
    for (size_t k = 0; k < LABELLINGS; k++) {
        TRY(NEW(w->nlabels, &c->of_label[k]));
        TRY(NEW(w->nlabels, &c->name[k]));
    }
    for (size_t l = 0; l < w->nlabels; l++) {
        size_t train = c->count[0][l], synthetic = c->count[2][l], held_out = c->count[1][l];
        if (train < UTILITY_LABEL_MIN || held_out < UTILITY_LABEL_MIN || synthetic < UTILITY_LABEL_MIN)
            continue;
        c->want[l] = train < synthetic ? train : synthetic;
        c->want_test[TEST_HELD_OUT][l] = held_out;
        c->want_test[TEST_SYNTHETIC][l] = synthetic;
        c->want_test[TEST_SEEN][l] = train / 4;
    }
    limit_total(c->want, w->nlabels);
    for (size_t s = 0; s < TEST_SETS; s++)
        limit_total(c->want_test[s], w->nlabels);
    number_classes(w, c);
    return ST_OK;
}

void utility_classes_clear(utility_classes *c) {
    for (size_t s = 0; s < 3; s++)
        memory_free(&c->count[s]);
    memory_free(&c->want);
    for (size_t s = 0; s < TEST_SETS; s++)
        memory_free(&c->want_test[s]);
    for (size_t k = 0; k < LABELLINGS; k++) {
        memory_free(&c->of_label[k]);
        memory_free(&c->name[k]);
    }
}

double utility_largest_share(const utility_classes *c, utility_labelling l) {
    size_t largest = 0, all = 0;
    for (size_t k = 0; k < c->n[l]; k++) {
        size_t n = 0;
        for (size_t label = 0; label < c->nlabels; label++)
            n += c->of_label[l][label] == (int)k ? c->want_test[TEST_HELD_OUT][label] : 0;
        largest = n > largest ? n : largest;
        all += n;
    }
    return all > 0 ? (double)largest / (double)all : 0;
}

/* One label's flows in random order; of them skip .. skip + want - 1 are added. */
static status draw_label(flow_list *l, const eval_set *s, int32_t label, const eval_flow **all, size_t skip,
                         size_t want, rng *r) {
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->flows[i].f.label == label)
            all[n++] = &s->flows[i];
    for (size_t i = n; i > 1; i--) {
        size_t k = rng_below(r, (uint32_t)i);
        const eval_flow *swapped = all[k];
        all[k] = all[i - 1];
        all[i - 1] = swapped;
    }
    for (size_t i = skip; i < n && i - skip < want; i++) {
        TRY(memory_grow(&l->flow, &l->capacity, l->n + 1, sizeof *l->flow));
        l->flow[l->n++] = all[i];
    }
    return ST_OK;
}

status flow_list_draw(flow_list *l, const eval_set *s, const utility_classes *c, const size_t *skip, const size_t *want,
                      uint64_t seed, uint64_t item) {
    const eval_flow **all = NULL;
    TRY(NEW(s->n, &all));
    status st = ST_OK;
    for (size_t k = 0; k < c->nlabels && !st; k++) {
        rng r = rng_make(seed, item << 20 | k, RNG_UTILITY);
        if (want[k] > 0)
            st = draw_label(l, s, (int32_t)k, all, skip ? skip[k] : 0, want[k], &r);
    }
    memory_free(&all);
    return st;
}

void flow_list_clear(flow_list *l) {
    free(l->flow);
    *l = (flow_list){0};
}
