/* Fan-out: batches are handed to whichever rank and thread is free, those with the most rows first, so that no rank is
 * left with a long one at the end. A thread samples a batch, decodes and repairs it and appends it to the rank's file
 * before it takes another: what a kill can lose is the batch that each thread has in hand. Finishing beside sampling,
 * in a thread of its own, was rejected: it is half a percent of the work, and what waits between the two is lost as
 * well.
 *
 * The first error of a thread ends the rank's part: the others take no more work, and what they have in hand is still
 * written. A request to stop is such an error, so nothing that was begun is lost. */
#include "gen/gen_priv.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/stop.h"

/* What the threads of a rank share. All that changes is used in critical sections: gen_take, or what
 * belongs to the file in gen_record. */
typedef struct crew {
    const studio *s;
    fanout *f;
    work *todo;
    const uint64_t *order; /* (f->nbatches) batches in the order of work */
    progress shown;
    uint64_t ntaken, nflows_taken; /* batches that were handed out before this rank's latest, and their flows */
    item_writer writer;
    bool full;    /* a record could not be written */
    status error; /* the first */
    char *message;
} crew;

static void crew_fail(crew *w, status st) {
#pragma omp critical(gen_take)
    if (!w->error) {
        w->error = st;
        w->message = text_copy(status_message());
    }
}

/* ---- The order of work ---- */

/* Rows of a flow of the label, on average. */
static double mean_rows(const classes *k, const plan_label *l) {
    const class_info *c = &k->info[l->label];
    uint64_t sum = 0;
    for (size_t i = 0; i < c->nflows; i++)
        sum += c->flows[i].n;
    return l->ntemplate > 0 ? (double)l->ntemplate : (double)sum / (double)c->nflows;
}

typedef struct ranked {
    uint64_t batch;
    double rows; /* expected */
} ranked;

static int most_rows_first(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->rows != y->rows)
        return x->rows > y->rows ? -1 : 1;
    return x->batch < y->batch ? -1 : x->batch > y->batch;
}

/* f->batches in the order of work; the same on all ranks. */
static status order_batches(const plan *p, const classes *k, const fanout *f, uint64_t **order) {
    double *rows = NULL;
    ranked *by_rows = NULL;
    status st = NEW(p->nlabels, &rows);
    if (!st)
        st = NEW((size_t)f->nbatches, &by_rows);
    if (!st)
        st = NEW((size_t)f->nbatches, order);
    for (size_t i = 0; i < p->nlabels && !st; i++)
        rows[i] = mean_rows(k, &p->labels[i]);
    for (uint64_t i = 0; i < f->nbatches && !st; i++) {
        uint64_t first;
        size_t n;
        const plan_label *l = plan_batch(p, f->batches[i], &first, &n);
        by_rows[i] = (ranked){.batch = f->batches[i], .rows = (double)n * rows[l - p->labels]};
    }
    if (!st && f->nbatches > 0)
        qsort(by_rows, (size_t)f->nbatches, sizeof *by_rows, most_rows_first);
    for (uint64_t i = 0; i < f->nbatches && !st; i++)
        (*order)[i] = by_rows[i].batch;
    memory_free(&by_rows);
    memory_free(&rows);
    return st;
}

static uint64_t batch_flows(const crew *w, uint64_t batch) {
    uint64_t first;
    size_t n;
    plan_batch(w->s->p, batch, &first, &n);
    return n;
}

/* ---- A thread's work ---- */

/* The next batch; false when there is none, or somebody failed. */
static bool take_batch(crew *w, uint64_t *batch) {
    status st = ST_OK;
    uint64_t at = w->f->nbatches;
#pragma omp critical(gen_take)
    if (!w->error) {
        if (stop_requested())
            st = FAIL(ST_STOPPED, "stopped on request: what was made is kept, and the same command goes on");
        if (!st)
            st = work_next(w->todo, &at);
        for (; !st && w->ntaken < at; w->ntaken++)
            w->nflows_taken += batch_flows(w, w->order[w->ntaken]);
        progress_update(&w->shown, w->nflows_taken, NULL);
    }
    if (st)
        crew_fail(w, st);
    if (st || at == w->f->nbatches)
        return false;
    *batch = w->order[at];
    return true;
}

/* From sampled rows to a record. */
static status finish_batch(const crew *w, finisher *f, const batch_rows *b, item *it) {
    uint64_t first;
    size_t n;
    repair_counts repaired = {.flows = 0};
    plan_batch(w->s->p, b->batch, &first, &n);
    TRY(item_begin(it, b->batch, n));
    for (size_t k = 0; k < n; k++) {
        TRY(studio_finish(w->s, f, b, first + k, k));
        TRY(item_add(it, k, &f->clean, &f->raw));
        repair_counts_add(&repaired, &f->repaired);
    }
    item_end(it, w->f->id, &repaired);
    return ST_OK;
}

/* Append the record. Nothing follows one that could not be written whole. */
static status record_batch(crew *w, const item *it) {
    status st = ST_OK;
#pragma omp critical(gen_record)
    if (!w->full) {
        fanout *f = w->f;
        uint64_t offset;
        st = memory_grow(&f->made, &f->made_capacity, f->nmade + 1, sizeof *f->made);
        if (!st)
            st = item_write(&w->writer, it, &offset);
        if (!st)
            f->made[f->nmade++] = (item_made){.batch = it->batch, .offset = offset};
        w->full = st != ST_OK;
    }
    return st;
}

static void make_all(crew *w) {
    worker sampling;
    batch_rows rows;
    finisher finishing;
    item it = {0};
    uint64_t batch;
    status st = worker_open(&sampling, w->s);
    status opened = batch_rows_open(&rows, w->s);
    st = st ? st : opened;
    finisher_open(&finishing);
    while (!st && take_batch(w, &batch)) {
        st = studio_sample(w->s, &sampling, batch, &rows);
        if (!st)
            st = finish_batch(w, &finishing, &rows, &it);
        if (!st)
            st = record_batch(w, &it);
    }
    if (st)
        crew_fail(w, st);
    item_clear(&it);
    finisher_close(&finishing);
    batch_rows_close(&rows);
    worker_close(&sampling);
}

/* ---- All ranks ---- */

static status make_batches(const studio *s, comm *c, work *todo, fanout *f) {
    crew w = {.s = s, .f = f, .todo = todo, .writer = {.fd = -1}};
    uint64_t *order = NULL, nflows = 0;
    TRY(order_batches(s->p, s->k, f, &order));
    w.order = order;
    for (uint64_t i = 0; i < f->nbatches; i++)
        nflows += batch_flows(&w, f->batches[i]);
    item_writer_open(&w.writer, f->folder, comm_rank(c));
    f->name = text_copy(w.writer.name);
    progress_start(&w.shown, "generate", "flows", 0, nflows);
#pragma omp parallel num_threads(comm_threads(c, s->e->threads))
    make_all(&w);
    progress_end(&w.shown);
    status closed = item_writer_close(&w.writer);
    if (w.error)
        status_set_message(w.message);
    free(w.message);
    memory_free(&order);
    return w.error ? w.error : closed;
}

status fanout_run(const experiment *e, comm *c, const plan *p, const classes *k, const dataset_tables *tables,
                  fanout *f) {
    studio s;
    work *todo = NULL;
    status st = comm_agree(c, studio_open(&s, e, p, k, tables, e->model.dir));
    if (!st)
        st = comm_agree(c, work_open(c, f->nbatches, &todo));
    if (!st) {
        st = comm_agree(c, make_batches(&s, c, todo, f));
        status closed = work_close(&todo);
        st = st ? st : closed;
    }
    studio_close(&s);
    if (f->nmade == 0) {
        free(f->name);
        f->name = NULL;
    }
    return st;
}

void fanout_clear(fanout *f) {
    free(f->name);
    free(f->made);
    f->name = NULL;
    f->made = NULL;
}

status fanout_one(const experiment *e, const plan *p, const classes *k, const dataset_tables *tables, uint64_t number,
                  flow *raw, flow *clean) {
    studio s;
    worker w = {0};
    finisher f;
    batch_rows b = {0};
    const plan_label *l = plan_flow(p, number);
    uint64_t nth = number - l->first;
    TRY(studio_open(&s, e, p, k, tables, e->model.dir));
    finisher_open(&f);
    status st = worker_open(&w, &s);
    if (!st)
        st = batch_rows_open(&b, &s);
    if (!st)
        st = studio_sample(&s, &w, l->first_batch + nth / p->batch, &b);
    if (!st)
        st = studio_finish(&s, &f, &b, number, (size_t)(nth % p->batch));
    if (!st)
        st = studio_copy(raw, &f.raw);
    if (!st)
        st = studio_copy(clean, &f.clean);
    finisher_close(&f);
    batch_rows_close(&b);
    worker_close(&w);
    studio_close(&s);
    return st;
}
