/* What a run would use and cost, from the shapes alone: for --dry-run. */
#include "train/gradient.h"
#include <stdio.h>

static const double MEBI = 1048576.0;

static size_t count_all(const params *p) {
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        n += p->item[i]->n;
    return n;
}

double plan_step_flops(const trainer *t, size_t n) {
    const model_config *m = model_get_config(t->model);
    double w = (double)m->width, rows = (double)m->packets;
    /* A block's matrices have 12 w^2 weights; attention multiplies twice over all rows. */
    double block = 24 * w * w + 4 * rows * w, ends = 4 * (double)m->cells * w;
    double forward = (double)n * rows * ((double)m->layers * block + ends);
    /* Gradients of inputs and of weights cost a forward pass each; frozen weights need only the first. A ControlNet is
     * half a network, trained in full, that the frozen one is differentiated along with. */
    static const double passes[] = {[TRAIN_BASE] = 3, [TRAIN_CONTROL] = 2 + 0.5 * 3, [TRAIN_LORA] = 2};
    return passes[t->e->train.mode] * forward;
}

double plan_session_nbytes(const trainer *t, size_t n) {
    const model_config *m = model_get_config(t->model);
    double w = (double)m->width, tokens = (double)(n * m->packets), cells = (double)m->cells;
    /* Kept of a block for the backward pass, in widths of a token: norms, qkv, attention, projection, sums, MLP twice
     * at 4; a LoRA keeps three results of every product (9) instead of one. Beside the blocks: input, position,
     * control, and the gradients on their way through one block. */
    static const double block[] = {[TRAIN_BASE] = 20, [TRAIN_CONTROL] = 20 * 1.5, [TRAIN_LORA] = 20 + 2 * 9};
    const double beside = 16;
    double network = tokens * (((double)m->layers * block[t->e->train.mode] + beside) * w + 5 * cells);
    double prompts = (double)(t->data->ngroups < n ? t->data->ngroups : n);
    double text = prompts * (double)(m->text_tokens * m->text_width) * ((double)m->text_layers * block[0] + beside);
    return (network + (t->e->train.mode == TRAIN_BASE ? text : 0)) * sizeof(float);
}

static void describe_flows(const data *d) {
    printf("flows:\n");
    for (size_t i = 0; i < d->ngroups; i++)
        printf("  %-24s %8zu to learn from, %zu to validate\n", d->label_name[d->group[i].label], d->group[i].n,
               d->group[i].nvalidate);
    if (d->unlabelled.n > 0)
        printf("  %-24s %8zu to learn from, %zu to validate\n", "(no label)", d->unlabelled.n, d->unlabelled.nvalidate);
    printf("flows left out: %zu held out, %zu of labels not asked for, %zu empty\n", d->left.holdout, d->left.excluded,
           d->left.empty);
    for (size_t i = 0; i < d->left.nreasons; i++)
        printf("  %zu that the layout does not take: %s\n", d->left.refused[i], d->left.reason[i]);
}

void trainer_describe(const trainer *t) {
    const data *d = t->data;
    const experiment *e = t->e;
    if (comm_rank(t->c) != 0)
        return;
    size_t blocks = e->train.patience > 0 ? 5 : 4; /* gradient, two moments, average, best */
    double sample = (double)(d->rows * (3 * d->cells + CONTROL_WIDTH)) * sizeof(float);
    double flows = (double)d->first[d->nflows] * (double)(data_row_nbytes(d) + sizeof *d->shapes);
    blocks += e->train.patience > 0 ? 5 : 4; /* the copy that is written as a checkpoint, on rank 0 */
    double weights = (double)(count_all(t->p) + blocks * t->p->ntrained + gradient_nfloats(t)) * sizeof(float);
    double session = plan_session_nbytes(t, e->train.deterministic ? (size_t)e->train.slice : t->n),
           samples = 2 * sample * (double)t->n;
    describe_flows(d);
    printf("mode: %s\n", t->mode);
    printf("parameters: %zu, trained %zu\n", count_all(t->p), t->p->ntrained);
    printf("steps: %lld of %lld flows over %d ranks with %d threads each\n", (long long)t->phase->steps,
           (long long)e->train.batch, comm_size(t->c), t->threads);
    printf("memory a rank: about %.0f MiB (flows %.1f, weights and optimiser %.1f, samples %.1f, network %.1f)\n",
           (flows + weights + samples + session) / MEBI, flows / MEBI, weights / MEBI, samples / MEBI, session / MEBI);
    printf("work: about %.2f GFLOP a step, %.0f in all\n", plan_step_flops(t, (size_t)e->train.batch) / 1e9,
           plan_step_flops(t, (size_t)e->train.batch) * (double)t->phase->steps / 1e9);
    fflush(stdout);
}
