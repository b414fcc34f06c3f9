/* Fan-out: batches are handed to whichever rank and thread is free; each flow is sampled, decoded, repaired and written
 * to the rank's part at once. */
#include "gen/gen_priv.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/stop.h"

static status write_batch(const studio *s, worker *w, uint64_t batch, dataset *clean, dataset *raw, fanout_part *part) {
    uint64_t first;
    size_t n;
    plan_batch(s->p, batch, &first, &n);
    TRY(studio_sample(s, w, batch));
    status st = ST_OK;
    for (size_t k = 0; k < n && !st; k++) {
        st = studio_finish(s, w, first + k, k);
#pragma omp critical(gen_part)
        {
            if (!st)
                st = memory_grow(&part->numbers, &part->capacity, part->n + 1, sizeof *part->numbers);
            if (!st)
                st = dataset_append(clean, &w->clean);
            if (!st)
                st = dataset_append(raw, &w->raw);
            if (!st) {
                part->numbers[part->n++] = first + k;
                repair_counts_add(&part->repaired, &w->repaired);
            }
        }
    }
    return st;
}

/* Threads of a rank pull batches until none is left or one of them failed. */
static status work_through(const studio *s, work *todo, int nthreads, dataset *clean, dataset *raw, fanout_part *part) {
    status first_error = ST_OK;
    char *message = NULL;
    progress shown;
    progress_start(&shown, "generate", "flows", 0, s->p->nflows);
#pragma omp parallel num_threads(nthreads)
    {
        worker w;
        status st = worker_open(&w, s);
        for (;;) {
            uint64_t batch = s->p->nbatches;
#pragma omp critical(gen_work)
            {
                if (!st && stop_requested())
                    st = FAIL(ST_STOPPED, "stopped on request; nothing was published");
                if (!st && !first_error)
                    st = work_next(todo, &batch);
                if (st && !first_error) {
                    first_error = st;
                    message = text_copy(status_message());
                }
                uint64_t reached = batch * s->p->batch;
                progress_update(&shown, reached < s->p->nflows ? reached : s->p->nflows, NULL);
            }
            if (st || batch == s->p->nbatches)
                break;
            st = write_batch(s, &w, batch, clean, raw, part);
        }
        worker_close(&w);
    }
    progress_end(&shown);
    if (message)
        status_set_message(message);
    free(message);
    return first_error;
}

static status part_write(const studio *s, comm *c, work *todo, fanout_part *part) {
    status st;
    dataset *clean = NULL, *raw = NULL;
    int nthreads = comm_threads(c, s->e->threads);
    TRY_TO(fail, dataset_create(&clean, part->clean, s->tables, 0));
    TRY_TO(fail, dataset_create(&raw, part->raw, s->tables, 0));
    TRY_TO(fail, work_through(s, todo, nthreads, clean, raw, part));
    TRY_TO(fail, dataset_commit(&clean));
    TRY_TO(fail, dataset_commit(&raw));
    return ST_OK;
fail:
    dataset_abandon(&clean);
    dataset_abandon(&raw);
    return st;
}

status fanout_run(const experiment *e, comm *c, const plan *p, const classes *k, const dataset_tables *tables,
                  const char *model_folder, const char *folder, fanout_part *part) {
    studio s;
    work *todo = NULL;
    *part = (fanout_part){.clean = text_format("%s/part-%d.h5", folder, comm_rank(c)),
                          .raw = text_format("%s/part-%d-raw.h5", folder, comm_rank(c))};
    status st = comm_agree(c, studio_open(&s, e, p, k, tables, model_folder));
    if (!st)
        st = comm_agree(c, work_open(c, p->nbatches, &todo));
    if (!st) {
        st = comm_agree(c, part_write(&s, c, todo, part));
        status closed = work_close(&todo);
        st = st ? st : closed;
    }
    studio_close(&s);
    return st;
}

status fanout_one(const experiment *e, const plan *p, const classes *k, const dataset_tables *tables,
                  const char *model_folder, uint64_t number, flow *raw, flow *clean) {
    studio s;
    worker w;
    const plan_label *l = plan_flow(p, number);
    uint64_t nth = number - l->first;
    TRY(studio_open(&s, e, p, k, tables, model_folder));
    status st = worker_open(&w, &s);
    if (!st)
        st = studio_sample(&s, &w, l->first_batch + nth / p->batch);
    if (!st)
        st = studio_finish(&s, &w, number, (size_t)(nth % p->batch));
    if (!st)
        st = studio_copy(raw, &w.raw);
    if (!st)
        st = studio_copy(clean, &w.clean);
    worker_close(&w);
    studio_close(&s);
    return st;
}

void fanout_part_clear(fanout_part *part) {
    free(part->clean);
    free(part->raw);
    free(part->numbers);
    *part = (fanout_part){0};
}
