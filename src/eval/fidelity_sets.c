/* The compared sets by class, and the observations of a class or of the total. */
#include "eval/fidelity_priv.h"

#include "base/memory.h"

static size_t group_of(const eval_flow *f, size_t ngroups) {
    return f->f.label >= 0 && (size_t)f->f.label < ngroups - 1 ? (size_t)f->f.label : ngroups - 1;
}

static status group_flows(const eval_set *from, size_t ngroups, grouped_set *to) {
    TRY(NEW(ngroups + 1, &to->start));
    TRY(NEW(from->n, &to->flow));
    for (size_t i = 0; i < from->n; i++)
        to->start[group_of(&from->flows[i], ngroups)]++;
    for (size_t g = 0, n = 0; g <= ngroups; g++) {
        size_t here = to->start[g];
        to->start[g] = n;
        n += here;
    }
    for (size_t i = 0; i < from->n; i++) /* start moves to the end of its group */
        to->flow[to->start[group_of(&from->flows[i], ngroups)]++] = &from->flows[i];
    for (size_t g = ngroups; g > 0; g--)
        to->start[g] = to->start[g - 1];
    to->start[0] = 0;
    return ST_OK;
}

static size_t group_size(const grouped_set *set, size_t g) {
    return set->start[g + 1] - set->start[g];
}

static void find_shared(fidelity_sets *s) {
    for (size_t g = 0; g < s->ngroups; g++) {
        s->shared[g] = group_size(&s->set[HELD_OUT], g) > 0;
        for (int k = 0; k < SIDE_COUNT; k++)
            if (s->set[k].start[s->ngroups] > 0 && group_size(&s->set[k], g) == 0)
                s->shared[g] = false;
        s->any_shared |= s->shared[g];
    }
}

status fidelity_sets_open(const eval_world *w, fidelity_sets *s) {
    const eval_set *const from[SIDE_COUNT + 1] = {
        [FLOOR] = &w->train,   [SYNTHETIC] = &w->synthetic, [MARGINAL] = &w->marginal,
        [RANDOM] = &w->random, [HELD_OUT] = &w->held_out,
    };
    *s = (fidelity_sets){.ngroups = w->nlabels + 1};
    status st = NEW(s->ngroups, &s->shared);
    for (int k = 0; k <= SIDE_COUNT && !st; k++)
        st = group_flows(from[k], s->ngroups, &s->set[k]);
    if (st)
        fidelity_sets_close(s);
    else
        find_shared(s);
    return st;
}

void fidelity_sets_close(fidelity_sets *s) {
    for (int k = 0; k <= SIDE_COUNT; k++) {
        memory_free(&s->set[k].start);
        memory_free(&s->set[k].flow);
    }
    memory_free(&s->shared);
}

bool fidelity_known(const fidelity_sets *s, fidelity_side k, size_t g) {
    if (g < s->ngroups)
        return group_size(&s->set[k], g) > 0 && group_size(&s->set[HELD_OUT], g) > 0;
    return s->set[k].start[s->ngroups] > 0 && s->set[HELD_OUT].start[s->ngroups] > 0;
}

static status collect_flows(const grouped_set *set, size_t from, size_t to, fidelity_collect collect, const void *what,
                            sample *into) {
    for (size_t i = from; i < to; i++)
        TRY(collect(set->flow[i], what, into));
    return ST_OK;
}

/* Give the points from n on, which weigh `weighs`, the weight `wanted`. */
static void reweight(sample *s, size_t n, double weighs, double wanted) {
    if (!(weighs > 0) || weighs == wanted)
        return;
    for (size_t i = n; i < s->n; i++)
        s->points[i].weight *= wanted / weighs;
    s->total += wanted - weighs;
}

status fidelity_gather(const fidelity_sets *s, fidelity_side k, size_t g, fidelity_collect collect, const void *what,
                       double *held, sample *to) {
    const grouped_set *set = &s->set[k];
    sample_reset(to);
    if (g < s->ngroups)
        TRY(collect_flows(set, set->start[g], set->start[g + 1], collect, what, to));
    else if (!s->any_shared)
        TRY(collect_flows(set, 0, set->start[s->ngroups], collect, what, to));
    for (size_t h = 0; g == s->ngroups && h < s->ngroups; h++) {
        if (!s->shared[h])
            continue;
        size_t n = to->n;
        double before = to->total;
        TRY(collect_flows(set, set->start[h], set->start[h + 1], collect, what, to));
        if (k == HELD_OUT)
            held[h] = to->total - before;
        else
            reweight(to, n, to->total - before, held[h]);
    }
    return sample_sort(to);
}
