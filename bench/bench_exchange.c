/* How much of the exchange of gradients backward hides, and what a step costs with it and without.
 *
 *     mpirun -np 2 bench_exchange CONFIG.yaml [key=value...]     (train.base.steps steps, all keys of ndtrain)
 *
 * bench_exchange.sh does so between hosts with links of a known rate.
 *
 * Ranks begin a step together. The rank that comes last to the end of its backward pass waits for messages only, the
 * others for it as well: so the least wait of all ranks is the exchange that was not hidden, and the least time of the
 * background sums is what the exchange takes. Medians over the steps; on a shared machine the figures of single steps
 * are noise. */
#include <string.h>
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "bench/bench.h"
#include "train/gradient.h"
#include "train/trainer.h"

typedef struct sample {
    double step, busy, waited, compute;
} sample;

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const sample *s, size_t n, size_t offset) {
    double *x;
    MUST(NEW(n, &x));
    for (size_t i = 0; i < n; i++)
        memcpy(&x[i], (const char *)&s[i] + offset, sizeof *x);
    qsort(x, n, sizeof *x, ascending);
    double middle = x[n / 2];
    memory_free(&x);
    return middle;
}

static double least_of_ranks(comm *c, double took) {
    uint64_t turned = UINT64_MAX - (uint64_t)(took * 1e9);
    MUST(comm_max_u64(c, &turned, 1));
    return 1e-9 * (double)(UINT64_MAX - turned);
}

static double most_of_ranks(comm *c, double took) {
    uint64_t nanoseconds = (uint64_t)(took * 1e9);
    MUST(comm_max_u64(c, &nanoseconds, 1));
    return 1e-9 * (double)nanoseconds;
}

/* One step with its exchange, and the same samples differentiated without. */
static sample measure(trainer *t) {
    sample s;
    bool stop;
    double busy[2], waited[2], loss;
    MUST(comm_barrier(t->c));
    t->made_ahead = false;
    double started = time_seconds();
    params_zero_grad(t->p);
    MUST(trainer_differentiate(t, t->first, t->n, &loss));
    s.compute = most_of_ranks(t->c, time_seconds() - started);
    comm_sum_seconds(t->c, &busy[0], &waited[0]);
    /* As in training: a step makes the samples of the next one, and finds its own. */
    t->made_ahead = comm_size(t->c) > 1 && !t->e->train.deterministic;
    MUST(comm_barrier(t->c));
    started = time_seconds();
    MUST(gradient_step(t, ST_OK, &stop));
    s.step = most_of_ranks(t->c, time_seconds() - started);
    comm_sum_seconds(t->c, &busy[1], &waited[1]);
    s.busy = least_of_ranks(t->c, busy[1] - busy[0]);
    s.waited = least_of_ranks(t->c, waited[1] - waited[0]);
    return s;
}

static status run(const experiment *e, comm *c) {
    trainer *t = NULL;
    sample *s;
    size_t n = (size_t)e->train.base.steps;
    TRY(trainer_open(&t, e, c));
    TRY(trainer_prepare(t));
    TRY(NEW(n, &s));
    trainer_draw_ahead(t);
    (void)measure(t); /* the first makes threads and buffers */
    for (size_t i = 0; i < n; i++)
        s[i] = measure(t);
    double busy = median(s, n, offsetof(sample, busy)), waited = median(s, n, offsetof(sample, waited));
    double step = median(s, n, offsetof(sample, step)), compute = median(s, n, offsetof(sample, compute));
    if (comm_rank(c) == 0)
        printf(
            "%d ranks, %zu samples each, %.1f MB of gradients: step %.1f ms (without exchange %.1f), exchange %.1f ms, "
            "not hidden %.1f ms: %.1f %% hidden\n",
            comm_size(c), t->n, 4e-6 * (double)t->p->ntrained, 1e3 * step, 1e3 * compute, 1e3 * busy, 1e3 * waited,
            busy > 0 ? 100 * (1 - waited / busy) : 100);
    memory_free(&s);
    trainer_close(&t);
    return ST_OK;
}

int main(int argc, char **argv) {
    experiment *e = NULL;
    comm *c = NULL;
    bool help;
    status st = experiment_load(argc, argv, PROGRAM_TRAIN, "Measure the exchange of gradients.", &e, &help);
    if (st == ST_OK && help)
        return 0;
    if (st == ST_OK)
        st = comm_open(&c);
    if (st == ST_OK) {
        log_setup("bench_exchange", comm_rank(c), comm_size(c), true);
        st = run(e, c);
    }
    experiment_free(&e);
    return comm_finish(&c, st);
}
