/* The few figures by which variants of a model stand side by side. */
#include "eval/variation_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/memory.h"
#include "io/dataset.h"

static bool labelled(const variation_real *x, const flow *f) {
    return f->label >= 0 && (size_t)f->label < x->nlabels;
}

status variation_real_open(const eval_world *w, variation_real *x) {
    *x = (variation_real){.nlabels = w->nlabels};
    TRY(NEW(w->nlabels, &x->held_out));
    for (size_t d = 0; d < 2; d++)
        TRY(NEW(w->nlabels * VARIATION_PACKETS, &x->direction[d]));
    for (size_t i = 0; i < w->held_out.n; i++) {
        const flow *f = &w->held_out.flows[i].f;
        if (labelled(x, f))
            histograms_add(&x->held_out[f->label], f);
    }
    for (size_t i = 0; i < w->train.n; i++) {
        const flow *f = &w->train.flows[i].f;
        for (size_t k = 0; labelled(x, f) && k < f->npackets && k < VARIATION_PACKETS; k++)
            x->direction[f->packets[k].dir != 0][(size_t)f->label * VARIATION_PACKETS + k]++;
    }
    return ST_OK;
}

void variation_real_close(variation_real *x) {
    memory_free(&x->held_out);
    for (size_t d = 0; d < 2; d++)
        memory_free(&x->direction[d]);
}

static bool is_empty(const histograms *h) {
    return h->bin[HISTOGRAM_DIRECTION][0] == 0 && h->bin[HISTOGRAM_DIRECTION][1] == 0;
}

static void follow_directions(const variation_real *x, const flow *f, variation_figures *r) {
    for (size_t k = 0; k < f->npackets && k < VARIATION_PACKETS; k++) {
        size_t at = (size_t)f->label * VARIATION_PACKETS + k;
        double out = x->direction[0][at], back = x->direction[1][at];
        if (out == back)
            continue; /* no training flow is so long, or they are undecided */
        r->placed++;
        r->usual += (f->packets[k].dir != 0) == (back > out);
    }
}

status variation_figures_measure(const variation_real *x, const eval_set *set, variation_figures *r) {
    histograms *shape = NULL;
    check_counts checks = {0};
    *r = (variation_figures){.flows = (double)set->n};
    TRY(NEW(x->nlabels, &shape));
    for (size_t i = 0; i < set->n; i++) {
        const flow *f = &set->flows[i].f;
        check_flow(f, CHECK_PAYLOAD_UNKNOWN, &checks, NULL);
        if (labelled(x, f)) {
            histograms_add(&shape[f->label], f);
            follow_directions(x, f, r);
        }
    }
    r->rows = (double)checks.rows;
    r->rows_valid = (double)checks.rows_pass;
    for (size_t l = 0; l < x->nlabels; l++) {
        if (is_empty(&shape[l]) || is_empty(&x->held_out[l]))
            continue;
        r->labels++;
        for (size_t q = 0; q < HISTOGRAMS; q++)
            r->jsd[q] += histograms_jsd(&shape[l], &x->held_out[l], (histogram)q);
    }
    for (size_t q = 0; q < HISTOGRAMS && r->labels > 0; q++)
        r->jsd[q] /= r->labels;
    memory_free(&shape);
    return ST_OK;
}

static int32_t label_of(const eval_world *w, const char *name) {
    for (size_t l = 0; l < w->nlabels; l++)
        if (!strcmp(w->label[l], name))
            return (int32_t)l;
    return -1;
}

static status read_flows(const eval_world *w, dataset *d, eval_set *set) {
    const dataset_tables *t = dataset_get_tables(d);
    set->capacity = dataset_nflows(d);
    TRY(NEW(set->capacity, &set->flows));
    for (size_t i = 0; i < set->capacity; i++) {
        flow *f = &set->flows[i].f;
        flow_init(f);
        set->n = i + 1;
        TRY(dataset_read(d, i, w->window, f));
        f->label = f->label >= 0 ? label_of(w, t->label[f->label]) : -1;
    }
    return ST_OK;
}

status variation_read(const eval_world *w, const char *path, eval_set *set) {
    dataset *d = NULL;
    *set = (eval_set){.name = path};
    TRY(dataset_open(&d, path));
    status st = read_flows(w, d, set);
    dataset_close(&d);
    return st;
}

void variation_clear(eval_set *set) {
    for (size_t i = 0; i < set->n; i++)
        flow_clear(&set->flows[i].f);
    memory_free(&set->flows);
    set->n = 0;
}
