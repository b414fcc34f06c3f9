/* Speed of the native model on one core: flows of 32 packets sampled and trained a second, and the share of the peak
 * that this is by an exact count of multiplications and additions.
 *
 * Every figure is the best of several repetitions, in processor time of this thread (other work on the machine does not
 * count). The count takes the products of linear layers and attention only (2 per multiply-add); norms, activations,
 * optimiser, sampler and presence are time without a count. */
#include "base/memory.h"
#include "bench/bench.h"
#include "model/model.h"

enum { PACKETS = 32, TEXT_WIDTH = 64, TEXT_LAYERS = 2, TEXT_TOKENS = 32, TIME_INPUTS = 128, REPEAT = 7 };

/* ---- Counts, of one flow ---- */

typedef struct flop_count {
    double forward, backward;
} flop_count;

/* A linear layer of `rows` rows: backward is one product for dw, and one for dx where the input needs a gradient. */
static void count_linear(flop_count *f, double rows, double k, double m, bool dx) {
    f->forward += 2 * rows * k * m;
    f->backward += (dx ? 2 : 1) * 2 * rows * k * m;
}

/* q k^T and p v forward; dv, dp, dq and dk backward (the scores are computed again there, which is not counted). */
static void count_attention(flop_count *f, double tokens, double width) {
    f->forward += 2 * 2 * tokens * tokens * width;
    f->backward += 4 * 2 * tokens * tokens * width;
}

static flop_count count_transformer(const model_config *c) {
    flop_count f = {0};
    double d = (double)c->width, rows = (double)c->packets, cells = (double)c->cells;
    count_linear(&f, rows, cells, d, false);
    count_linear(&f, rows, CONTROL_WIDTH, d, false);
    count_linear(&f, 1, TIME_INPUTS, d, false);
    count_linear(&f, 1, d, d, true);
    count_linear(&f, 1, (double)c->text_width, d, true);
    count_linear(&f, 1, d, 6 * d, true);
    count_linear(&f, 1, d, 2 * d, true);
    for (size_t i = 0; i < c->layers; i++) {
        count_linear(&f, rows, d, 3 * d, true);
        count_attention(&f, rows, d);
        count_linear(&f, rows, d, d, true);
        count_linear(&f, rows, d, 4 * d, true);
        count_linear(&f, rows, 4 * d, d, true);
    }
    count_linear(&f, rows, d, cells, true);
    return f;
}

/* ---- Runs ---- */

typedef struct run {
    model *m;
    nn *s;
    size_t batch, size;
    float *x, *target, *control, *text;
    float *t;
    rng *rngs;
    size_t *nexist;
    int8_t *cells;
    adamw optimizer;
} run;

static void run_open(run *r, size_t width, size_t layers, size_t batch) {
    char *prompt = (char *)"pixelated network data, type-0";
    const char *text = prompt;
    model_config c = {.layout = "relative",
                      .packets = PACKETS,
                      .width = width,
                      .layers = layers,
                      .head = 32,
                      .text_width = TEXT_WIDTH,
                      .text_layers = TEXT_LAYERS,
                      .text_tokens = TEXT_TOKENS};
    *r = (run){.batch = batch};
    MUST(model_new(&r->m, &c, &(text_list){1, &prompt}, 64, 1));
    MUST(model_train_base(r->m));
    MUST(nn_open(&r->s, &(nn_options){.threads = 1}));
    r->size = PACKETS * model_get_config(r->m)->cells;
    MUST(NEW(batch * r->size, &r->x));
    MUST(NEW(batch * r->size, &r->target));
    MUST(NEW(batch * PACKETS * CONTROL_WIDTH, &r->control));
    MUST(NEW((batch + 1) * TEXT_WIDTH, &r->text));
    MUST(NEW(batch, &r->t));
    MUST(NEW(batch, &r->rngs));
    MUST(NEW(batch, &r->nexist));
    MUST(NEW(batch * r->size, &r->cells));
    MUST(adamw_new(&r->optimizer, model_params(r->m), 0.9f, 0.99f, 0.01f));
    rng noise = rng_make(1, 0, RNG_TEST);
    rng_normal(&noise, r->x, batch * r->size);
    for (size_t i = 0; i < batch; i++) {
        MUST(model_embed_text(r->m, 1, &text, r->text + i * TEXT_WIDTH));
        r->t[i] = (float)i / (float)batch;
        r->nexist[i] = PACKETS;
        for (size_t k = 0; k < PACKETS; k++)
            r->control[(i * PACKETS + k) * CONTROL_WIDTH + CONTROL_EXISTS] = 1;
    }
}

static void run_close(run *r) {
    adamw_free(&r->optimizer);
    memory_free(&r->x);
    memory_free(&r->target);
    memory_free(&r->control);
    memory_free(&r->text);
    memory_free(&r->t);
    memory_free(&r->rngs);
    memory_free(&r->nexist);
    memory_free(&r->cells);
    nn_close(&r->s);
    model_free(&r->m);
}

/* As the base is trained: text encoder on the tape, one prompt for the batch. */
static void train_step(run *r) {
    const char *prompt = "pixelated network data, type-0";
    int32_t *row = NULL;
    MUST(NEW(r->batch, &row));
    params_zero_grad(model_params(r->m));
    nn_begin(r->s, true);
    tensor *text = op_rows(r->s, model_embed_text_tape(r->s, r->m, 1, &prompt), row, r->batch);
    tensor *y = model_predict(r->s, r->m,
                              &(model_input){.n = r->batch, .x = r->x, .t = r->t, .text = text, .control = r->control});
    MUST(nn_backward(r->s, op_mse(r->s, y, r->target, NULL)));
    params_clip_grad(model_params(r->m), 1);
    adamw_step(&r->optimizer, model_params(r->m), 1e-6f);
    memory_free(&row);
}

enum { SAMPLE_STEPS = 10 };

static void sample(run *r) {
    for (size_t i = 0; i < r->batch; i++)
        r->rngs[i] = rng_make(1, i, RNG_SAMPLE);
    MUST(model_sample(r->s, r->m,
                      &(sample_request){.n = r->batch,
                                        .text = r->text,
                                        .null_text = r->text + r->batch * TEXT_WIDTH,
                                        .nexist = r->nexist,
                                        .control = r->control,
                                        .sampler = SAMPLER_DDIM,
                                        .steps = SAMPLE_STEPS,
                                        .guidance = 1,
                                        .rngs = r->rngs},
                      r->cells, NULL));
}

static void measure(const char *what, run *r, void (*once)(run *), double flop, double peak) {
    double best = INFINITY;
    once(r);
    for (int i = 0; i < REPEAT; i++) {
        double start = clock_of(CLOCK_THREAD_CPUTIME_ID);
        once(r);
        best = fmin(best, clock_of(CLOCK_THREAD_CPUTIME_ID) - start);
    }
    double rate = (double)r->batch / best;
    printf(
        "  %-28s batch %2zu: %8.2f ms, %7.1f flows/s, %6.3f GFLOP a flow, %5.1f GFLOP/s, %4.1f %% of peak, %.0f MiB\n",
        what, r->batch, 1e3 * best, rate, 1e-9 * flop, 1e-9 * flop * rate, 100 * flop * rate / peak,
        (double)nn_peak_nbytes(r->s) / (1 << 20));
}

int main(void) {
    static const struct { size_t width, layers; } row[] = {{96, 4}, {192, 6}};
    double peak = measure_peak();
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        run sampled, trained;
        run_open(&sampled, row[i].width, row[i].layers, 16);
        run_open(&trained, row[i].width, row[i].layers, 32);
        flop_count f = count_transformer(model_get_config(sampled.m));
        size_t n = 0;
        for (size_t k = 0; k < model_params(sampled.m)->n; k++)
            n += model_params(sampled.m)->item[k]->n;
        printf("width %zu, %zu layers, %.2f M parameters (text encoder included)\n", row[i].width, row[i].layers,
               1e-6 * (double)n);
        measure("sampling, 10 DDIM steps", &sampled, sample, SAMPLE_STEPS * f.forward, peak);
        measure("training step", &trained, train_step, f.forward + f.backward, peak);
        run_close(&sampled);
        run_close(&trained);
    }
    return 0;
}
