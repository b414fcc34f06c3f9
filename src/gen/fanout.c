/* Fan-out: batches are handed to whichever rank and thread is free. Sampling threads put sampled batches into a bounded
 * queue; one thread beside them decodes, repairs and appends each as a record to the rank's file.
 *
 * Slots go round: free -> (sampled into) -> ready -> (finished) -> free. The first error, of either side, ends the
 * whole: samplers take no more work, and what is ready is still written unless writing is what failed. A request to
 * stop is such an error, so nothing that was sampled is lost. */
#include "gen/gen_priv.h"

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/stop.h"

enum { SLOTS_PER_THREAD = 3 }; /* one that is being sampled, two in the queue */

typedef struct pool {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const studio *s;
    fanout *f;
    item_writer writer;
    size_t nslots;
    batch_rows *slots;          /* (nslots) */
    batch_rows **free, **ready; /* (nslots) a stack; a ring */
    size_t nfree, first_ready, nready;
    bool sampled; /* no more batches will become ready */
    status error; /* the first */
    char *message;
} pool;

static void pool_fail(pool *p, status st) {
    pthread_mutex_lock(&p->lock);
    if (!p->error) {
        p->error = st;
        p->message = text_copy(status_message());
    }
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* NULL after an error. */
static batch_rows *take_free(pool *p) {
    pthread_mutex_lock(&p->lock);
    while (p->nfree == 0 && !p->error)
        pthread_cond_wait(&p->changed, &p->lock);
    batch_rows *b = p->error ? NULL : p->free[--p->nfree];
    pthread_mutex_unlock(&p->lock);
    return b;
}

static void put_free(pool *p, batch_rows *b) {
    pthread_mutex_lock(&p->lock);
    p->free[p->nfree++] = b;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static void put_ready(pool *p, batch_rows *b) {
    pthread_mutex_lock(&p->lock);
    p->ready[(p->first_ready + p->nready++) % p->nslots] = b;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* NULL when all is done. */
static batch_rows *take_ready(pool *p) {
    batch_rows *b = NULL;
    pthread_mutex_lock(&p->lock);
    while (p->nready == 0 && !p->sampled)
        pthread_cond_wait(&p->changed, &p->lock);
    if (p->nready > 0) {
        b = p->ready[p->first_ready];
        p->first_ready = (p->first_ready + 1) % p->nslots;
        p->nready--;
    }
    pthread_mutex_unlock(&p->lock);
    return b;
}

static status pool_open(pool *p, const studio *s, fanout *f, size_t nthreads) {
    *p = (pool){.s = s,
                .f = f,
                .lock = PTHREAD_MUTEX_INITIALIZER,
                .changed = PTHREAD_COND_INITIALIZER,
                .nslots = SLOTS_PER_THREAD * nthreads,
                .writer = {.fd = -1}};
    TRY(NEW(p->nslots, &p->slots));
    TRY(NEW(p->nslots, &p->free));
    TRY(NEW(p->nslots, &p->ready));
    for (size_t i = 0; i < p->nslots; i++) {
        TRY(batch_rows_open(&p->slots[i], s));
        p->free[p->nfree++] = &p->slots[i];
    }
    return ST_OK;
}

static void pool_close(pool *p) {
    for (size_t i = 0; i < p->nslots && p->slots; i++)
        batch_rows_close(&p->slots[i]);
    memory_free(&p->slots);
    memory_free(&p->free);
    memory_free(&p->ready);
    free(p->message);
    item_writer_abandon(&p->writer);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
}

/* ---- Finishing ---- */

static status finish_batch(pool *p, finisher *f, const batch_rows *b, item *it) {
    uint64_t first, offset;
    size_t n;
    repair_counts repaired = {.flows = 0};
    plan_batch(p->s->p, b->batch, &first, &n);
    TRY(item_begin(it, b->batch, n));
    for (size_t k = 0; k < n; k++) {
        TRY(studio_finish(p->s, f, b, first + k, k));
        TRY(item_add(it, k, &f->clean, &f->raw));
        repair_counts_add(&repaired, &f->repaired);
    }
    item_end(it, p->f->id, &repaired);
    TRY(memory_grow(&p->f->made, &p->f->made_capacity, p->f->nmade + 1, sizeof *p->f->made));
    TRY(item_write(&p->writer, it, &offset));
    p->f->made[p->f->nmade++] = (item_made){.batch = b->batch, .offset = offset};
    return ST_OK;
}

static void *finish_all(void *data) {
    pool *p = data;
    finisher f;
    item it = {0};
    status st = ST_OK;
    finisher_open(&f);
    for (batch_rows *b; !st && (b = take_ready(p)) != NULL;) {
        st = finish_batch(p, &f, b, &it);
        put_free(p, b);
    }
    if (!st)
        st = item_writer_close(&p->writer);
    if (st)
        pool_fail(p, st);
    item_clear(&it);
    finisher_close(&f);
    return NULL;
}

/* ---- Sampling ---- */

typedef struct shared_work {
    work *todo;
    progress shown;
} shared_work;

/* The next batch to sample; false when there is none, or somebody failed. */
static bool next_batch(pool *p, shared_work *shared, uint64_t *batch) {
    status st = ST_OK;
    uint64_t at = p->f->nbatches;
    bool more = false;
#pragma omp critical(gen_work)
    {
        if (stop_requested())
            st = FAIL(ST_STOPPED, "stopped on request: what was made is kept, and the same command goes on");
        if (!st)
            st = work_next(shared->todo, &at);
        more = !st && at < p->f->nbatches;
        uint64_t reached = at * p->s->p->batch, all = shared->shown.total;
        progress_update(&shared->shown, reached < all ? reached : all, NULL);
    }
    if (st)
        pool_fail(p, st);
    if (more)
        *batch = p->f->batches[at];
    return more;
}

static void sample_all(pool *p, shared_work *shared) {
    worker w;
    status st = worker_open(&w, p->s);
    batch_rows *b = NULL;
    uint64_t batch;
    while (!st && (b = take_free(p)) != NULL && next_batch(p, shared, &batch)) {
        st = studio_sample(p->s, &w, batch, b);
        if (!st)
            put_ready(p, b);
    }
    if (st)
        pool_fail(p, st);
    worker_close(&w);
}

static uint64_t count_flows(const studio *s, const fanout *f) {
    uint64_t nflows = 0;
    for (uint64_t i = 0; i < f->nbatches; i++) {
        uint64_t first;
        size_t n;
        plan_batch(s->p, f->batches[i], &first, &n);
        nflows += n;
    }
    return nflows;
}

static status work_through(pool *p, work *todo, int nthreads) {
    pthread_t finishing;
    shared_work shared = {.todo = todo};
    if (pthread_create(&finishing, NULL, finish_all, p) != 0)
        return FAIL(ST_MEMORY, "no thread could be started");
    progress_start(&shared.shown, "generate", "flows", 0, count_flows(p->s, p->f));
#pragma omp parallel num_threads(nthreads)
    sample_all(p, &shared);
    pthread_mutex_lock(&p->lock);
    p->sampled = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    pthread_join(finishing, NULL);
    progress_end(&shared.shown);
    if (p->error)
        status_set_message(p->message);
    return p->error;
}

static status make_batches(const studio *s, comm *c, work *todo, fanout *f) {
    pool p;
    int nthreads = comm_threads(c, s->e->threads);
    status st = pool_open(&p, s, f, (size_t)nthreads);
    item_writer_open(&p.writer, f->folder, comm_rank(c));
    f->name = text_copy(p.writer.name);
    if (!st)
        st = work_through(&p, todo, nthreads);
    pool_close(&p);
    return st;
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
