/* The training loop. See train.h; the parts are trainer.c (one step), outputs.c (what stays) and data.c (flows). */
#include "train/train.h"
#include "base/log.h"
#include "base/progress.h"
#include "train/trainer.h"

static void announce(const trainer *t) {
    const data *d = t->data;
    size_t labelled = 0, refused = 0;
    for (size_t i = 0; i < d->ngroups; i++)
        labelled += d->group[i].n;
    for (size_t i = 0; i < d->left.nreasons; i++)
        refused += d->left.refused[i];
    log_job(
        "%s: %zu flows of %zu labels and %zu without, %zu for validation; left out: %zu held out, %zu of other labels, "
        "%zu that the layout does not take",
        t->mode, labelled, d->ngroups, d->unlabelled.n, d->nvalidate, d->left.holdout, d->left.excluded, refused);
    if (t->e->data.holdout.n == 0)
        log_job("%s: data.holdout names no run, so ndeval will have no flows that training has not seen", t->mode);
    log_job("%s: %zu weights to train; %d ranks, %d threads each", t->mode, t->p->ntrained, comm_size(t->c),
            t->threads);
}

/* What the exchange of gradients took in the background, and how much of it the steps had to wait for. */
static void say_exchange(const trainer *t) {
    double busy, waited;
    comm_sum_seconds(t->c, &busy, &waited);
    if (busy > 0)
        log_job("%s: %.2f s of exchanging gradients, %.2f s of them waited for (%.0f %% hidden behind backward)",
                t->mode, busy, waited, 100 * (1 - (waited < busy ? waited / busy : 1)));
}

static status loop(trainer *t) {
    progress shown;
    bool stop = false;
    char detail[64];
    progress_start(&shown, t->mode, "steps", t->state.step, (uint64_t)t->phase->steps);
    comm_set_in_step(t->c, true);
    while (!trainer_is_done(t)) {
        TRY(trainer_step(t, &stop));
        if (trainer_is_due(t, t->e->train.validate_every))
            TRY(trainer_validate(t));
        trainer_detail(t, detail, sizeof detail);
        progress_update(&shown, t->state.step, detail);
        if (trainer_is_done(t))
            break;
        if (!stop) {
            trainer_checkpoint_soon(t, trainer_is_due(t, t->e->train.checkpoint_every));
            continue;
        }
        comm_set_in_step(t->c, false); /* the disk takes its time */
        TRY(trainer_checkpoint(t));
        return FAIL(ST_STOPPED, "stopped after step %llu of %lld; the same command goes on from %s/checkpoint-%llu",
                    (unsigned long long)t->state.step, (long long)t->phase->steps, t->folder,
                    (unsigned long long)t->state.step);
    }
    comm_set_in_step(t->c, false);
    say_exchange(t);
    progress_end(&shown);
    return trainer_finish(t);
}

static status train(trainer *t) {
    bool finished;
    if (t->e->dry_run) {
        trainer_describe(t);
        return trainer_foresee(t);
    }
    TRY(trainer_prepare(t));
    TRY(trainer_resume(t, &finished));
    if (finished) {
        log_job("%s: finished before, after %llu steps; train.resume=no would start over", t->mode,
                (unsigned long long)t->state.step);
        return ST_OK;
    }
    announce(t);
    TRY(loop(t));
    log_job("%s: done after %llu steps; %s", t->mode, (unsigned long long)t->state.step, t->e->model.dir);
    return ST_OK;
}

status train_run(const experiment *e, comm *c) {
    trainer *t = NULL;
    status st = trainer_open(&t, e, c);
    if (st == ST_OK)
        st = train(t);
    comm_set_in_step(c, false); /* after an error a checkpoint may still be on its way to the disk */
    trainer_close(&t);
    return st;
}
