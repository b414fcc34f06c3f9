/* Validation: the loss of the averaged weights on flows that the gradient never saw. */
#include "base/memory.h"
#include "base/progress.h"
#include "train/gradient.h"
#include "train/weights.h"
#include <math.h>
#include <string.h>

/* Losses of evaluations first .. first+n-1 under the present weights. */
static status evaluate(trainer *t, size_t first, size_t n, double *loss) {
    size_t size = t->data->rows * t->data->cells;
    batch_evaluation(&t->batch, t->data, first, n, t->threads);
    nn_begin(t->session, false);
    const tensor *x0 = trainer_predict(t, text_embedded(t));
    TRY(nn_status(t->session));
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t j = i * size; j < (i + 1) * size; j++) {
            double off = (double)x0->data[j] - (double)t->batch.x0[j];
            sum += (double)t->batch.weight[j] * off * off;
        }
        loss[first + i] = sum / (double)size;
    }
    return ST_OK;
}

/* This rank's part of all evaluations, under the averaged weights. */
static status evaluate_part(trainer *t, size_t total, double *loss) {
    size_t first, end, most = t->e->train.deterministic ? (size_t)t->e->train.slice : t->batch.capacity;
    status st = ST_OK;
    gradient_share_evaluations(t, total, &first, &end);
    weights_swap(t->p, t->average);
    if (t->e->train.mode == TRAIN_BASE)
        st = text_embed(t);
    for (size_t n; st == ST_OK && first < end; first += n) {
        n = end - first < most ? end - first : most;
        st = evaluate(t, first, n, loss);
    }
    weights_swap(t->p, t->average);
    return st;
}

static status keep_best(trainer *t, double mean) {
    if (!isfinite(mean))
        return FAIL(ST_RANGE, "step %llu: the validation loss is %g; lower train.%s.learning_rate",
                    (unsigned long long)t->state.step, mean, t->mode);
    t->validation_loss = mean;
    t->state.since_best++;
    if (mean < t->state.best_loss) {
        t->state.best_loss = mean;
        t->state.since_best = 0;
        if (t->best != NULL)
            memcpy(t->best, t->average, t->p->ntrained * sizeof *t->best);
    }
    return ST_OK;
}

status trainer_validate(trainer *t) {
    size_t total = batch_evaluations(t->data);
    double *loss = NULL, mean = 0, started = time_seconds();
    if (total == 0)
        return ST_OK;
    status st = NEW(total, &loss);
    if (st == ST_OK)
        st = evaluate_part(t, total, loss);
    TRY_TO(out, comm_agree(t->c, st));
    /* Each loss is one rank's, the others add zero: the sum is exact, and the mean the same for any number of ranks. */
    TRY_TO(out, comm_sum_f64(t->c, loss, total));
    for (size_t i = 0; i < total; i++)
        mean += loss[i] / (double)total;
    TRY_TO(out, keep_best(t, mean));
    t->state.seconds += time_seconds() - started;
    if (comm_rank(t->c) == 0 && t->record_status == ST_OK)
        t->record_status = record_validation(&t->record, t->state.step, mean, t->state.best_loss, t->state.seconds);
out:
    memory_free(&loss);
    return st;
}
