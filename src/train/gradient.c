/* Gradients of all ranks. See gradient.h. */
#include "train/gradient.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/stop.h"
#include "dist/tree.h"

/* Floats. Large enough that latency does not count, and a small part of all, so that the first bucket is soon on its
 * way; the last ones get smaller: nothing is left to hide them behind. */
enum { BUCKET_MOST = 1 << 18, BUCKET_LEAST = 1 << 15 };

/* Neighbouring parameters, as a range of the gradient block. */
typedef struct bucket {
    size_t first, n;      /* floats */
    size_t nparams, left; /* parameters, and those that backward still works on */
} bucket;

struct gradient {
    trainer *t;
    bucket *bucket; /* in the order in which they are sent: from the end of the block to its start */
    size_t nbuckets, sent;
    status failed; /* of starting a sum */
    uint64_t nslices;
    double *sums; /* nslices losses, then two flags */
    /* Deterministic: blocks of the entries of the tree's stack, and where the slice at work goes: on top, and so many
     * merges after it. */
    float **block;
    size_t nblocks, top, merges;
};

static bool is_deterministic(const trainer *t) {
    return t->e->train.deterministic;
}

static uint64_t count_slices(const trainer *t) {
    return is_deterministic(t) ? t->rule.size / (size_t)t->e->train.slice : 0;
}

void gradient_share(const trainer *t, size_t *first, size_t *n) {
    uint64_t from, end, size = t->rule.size;
    bool slices = is_deterministic(t);
    tree_share(slices ? count_slices(t) : size, comm_rank(t->c), comm_size(t->c), &from, &end);
    size_t each = slices ? (size_t)t->e->train.slice : 1;
    *first = from * each;
    *n = (end - from) * each;
}

void gradient_share_evaluations(const trainer *t, size_t total, size_t *first, size_t *end) {
    uint64_t from, to;
    size_t each = is_deterministic(t) ? (size_t)t->e->train.slice : 1;
    tree_share((total + each - 1) / each, comm_rank(t->c), comm_size(t->c), &from, &to);
    *first = from * each;
    *end = to * each < total ? to * each : total;
}

static size_t tree_depth(const trainer *t) {
    uint64_t first, end;
    tree_share(count_slices(t), comm_rank(t->c), comm_size(t->c), &first, &end);
    return tree_nodes(count_slices(t), first, end, NULL);
}

size_t gradient_nfloats(const trainer *t) {
    return is_deterministic(t) ? tree_depth(t) * t->p->ntrained : 0;
}

/* ---- Buckets ---- */

static size_t bucket_size(size_t nfloats_left) {
    size_t n = nfloats_left / 16;
    return n > BUCKET_MOST ? BUCKET_MOST : n < BUCKET_LEAST ? BUCKET_LEAST : n;
}

static status make_buckets(gradient *g) {
    const params *p = g->t->p;
    size_t capacity = 0, end = p->ntrained, size = 0;
    for (size_t i = p->n; i-- > 0;) {
        const param *w = p->item[i];
        if (w->grad == NULL)
            continue;
        bucket *last = g->nbuckets > 0 ? &g->bucket[g->nbuckets - 1] : NULL;
        if (last == NULL || last->n >= size) {
            TRY(memory_grow(&g->bucket, &capacity, g->nbuckets + 1, sizeof *g->bucket));
            last = &g->bucket[g->nbuckets++];
            *last = (bucket){.first = end};
            size = bucket_size(end);
        }
        last->first -= w->n;
        last->n += w->n;
        last->nparams++;
        end -= w->n;
    }
    return ST_OK;
}

/* Part of a slice's gradient into the tree. */
static void add_slice(gradient *g, size_t first, size_t n) {
    memcpy(g->block[g->top] + first, g->t->p->grads + first, n * sizeof(float));
    for (size_t top = g->top; top > g->top - g->merges; top--) {
        float *left = g->block[top - 1] + first;
        const float *right = g->block[top] + first;
        for (size_t i = 0; i < n; i++)
            left[i] += right[i];
    }
}

static status send(gradient *g, const bucket *b) {
    const trainer *t = g->t;
    if (!is_deterministic(t))
        return comm_sum_start(t->c, t->p->grads + b->first, b->n);
    add_slice(g, b->first, b->n);
    return comm_sum_tree_start(t->c, g->nslices, g->block, b->first, b->n, t->p->grads);
}

/* All ranks send the buckets in the same order, whatever order they complete them in. */
static void send_complete(gradient *g, bool all) {
    for (; g->sent < g->nbuckets; g->sent++) {
        const bucket *b = &g->bucket[g->sent];
        if (!all && b->left > 0)
            break;
        status st = send(g, b);
        if (g->failed == ST_OK)
            g->failed = st;
    }
}

static void parameter_done(void *context, const param *w) {
    gradient *g = context;
    size_t at = (size_t)(w->grad - g->t->p->grads), low = 0, high = g->nbuckets;
    while (high - low > 1) { /* buckets come in falling order of `first`: the last one that begins above is below */
        size_t middle = (low + high) / 2;
        if (g->bucket[middle - 1].first > at)
            low = middle;
        else
            high = middle;
    }
    g->bucket[low].left--;
    send_complete(g, false);
}

/* Differentiate samples and send each bucket as soon as it is complete. */
static status differentiate_and_send(trainer *t, size_t first, size_t n, double *loss) {
    gradient *g = t->gradient;
    for (size_t i = 0; i < g->nbuckets; i++)
        g->bucket[i].left = g->bucket[i].nparams;
    params_zero_grad(t->p);
    nn_on_gradient(t->session, parameter_done, g);
    status st = trainer_differentiate(t, first, n, loss);
    nn_on_gradient(t->session, NULL, NULL);
    return st;
}

/* All slices but the last are added up here; the last one's buckets are added and sent while it is at work. */
static status differentiate_slices(trainer *t) {
    gradient *g = t->gradient;
    size_t each = (size_t)t->e->train.slice, end = t->first + t->n;
    tree_stack stack = {.nleaves = g->nslices};
    for (size_t first = t->first; first < end; first += each) {
        double *loss = &g->sums[first / each];
        g->top = stack.n;
        g->merges = tree_push(&stack, (tree_node){first / each, 0});
        if (first + each == end)
            return differentiate_and_send(t, first, each, loss);
        params_zero_grad(t->p);
        TRY(trainer_differentiate(t, first, each, loss));
        add_slice(g, 0, t->p->ntrained);
    }
    return ST_OK;
}

/* A rank that failed takes part all the same, so that the others need not ask before every bucket. */
static status differentiate(trainer *t, status before) {
    gradient *g = t->gradient;
    g->sent = 0;
    g->failed = ST_OK;
    if (before == ST_OK)
        before = is_deterministic(t) ? differentiate_slices(t) : differentiate_and_send(t, t->first, t->n, g->sums);
    send_complete(g, true);
    /* The last sums cannot hide behind backward; making samples hides them. */
    if (!is_deterministic(t) && comm_size(t->c) > 1 && before == ST_OK && t->state.step + 1 < (uint64_t)t->phase->steps)
        trainer_draw_ahead(t);
    TRY(g->failed);
    TRY(comm_sum_wait(t->c));
    return before;
}

/* ---- A step ---- */

status gradient_step(trainer *t, status before, bool *stop) {
    gradient *g = t->gradient;
    size_t nlosses = is_deterministic(t) ? (size_t)g->nslices : 1;
    memset(g->sums, 0, (nlosses + 2) * sizeof *g->sums);
    before = differentiate(t, before);
    if (before == ST_COMM)
        return before;
    /* One exchange of a few numbers tells every rank the loss, whether one has failed, and whether one must stop. Each
     * slice's loss is one rank's, the others add zero: exact. */
    g->sums[nlosses] = before != ST_OK;
    g->sums[nlosses + 1] = stop_requested();
    TRY(comm_sum_f64(t->c, g->sums, nlosses + 2));
    if (g->sums[nlosses] > 0)
        return comm_agree(t->c, before);
    *stop = g->sums[nlosses + 1] > 0;
    t->loss = 0;
    for (size_t i = 0; i < nlosses; i++)
        t->loss += g->sums[i];
    return ST_OK;
}

static status fill(gradient *g) {
    const trainer *t = g->t;
    g->nslices = count_slices(t);
    TRY(NEW((size_t)g->nslices + 3, &g->sums));
    TRY(make_buckets(g));
    if (!is_deterministic(t))
        return ST_OK;
    g->nblocks = tree_depth(t);
    TRY(NEW(g->nblocks, &g->block));
    for (size_t i = 0; i < g->nblocks; i++)
        TRY(NEW(t->p->ntrained, &g->block[i]));
    return ST_OK;
}

status gradient_open(trainer *t, gradient **out) {
    TRY(NEW(1, out));
    (*out)->t = t;
    return fill(*out);
}

void gradient_close(gradient **out) {
    gradient *g = *out;
    if (g == NULL)
        return;
    for (size_t i = 0; g->block != NULL && i < g->nblocks; i++)
        memory_free(&g->block[i]);
    memory_free(&g->block);
    memory_free(&g->sums);
    free(g->bucket);
    memory_free(out);
}
