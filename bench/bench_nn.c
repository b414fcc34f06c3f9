/* Speed of the engine on one core: peak, linear layers, element-wise operations, attention, and whole steps of a
 * diffusion transformer.
 *
 * Every figure is the smallest of several repetitions, as wall time and as processor time of this thread: on a shared
 * machine the second is the one to trust. GFLOP/s are nominal (2 rows K M for a product); GB/s count each operand read
 * or written once. Share of peak compares with a register-only loop of fused multiply-adds measured first. */
#include "base/memory.h"
#include "base/rng.h"
#include "bench/bench.h"
#include "nn/nn_priv.h"

static void print_flop(const char *name, double flop, double peak, seconds s) {
    printf("%-44s %8.3f ms %8.3f ms  %6.1f GFLOP/s %5.1f %%\n", name, 1e3 * s.wall, 1e3 * s.cpu, 1e-9 * flop / s.cpu,
           100 * flop / s.cpu / peak);
}

static float *values(size_t n) {
    float *x;
    if (NEW(n, &x) != ST_OK)
        abort();
    rng r = rng_make(1, n, RNG_TEST);
    rng_normal(&r, x, n);
    return x;
}

/* ---- Linear layers ---- */

typedef struct linear_run {
    void *state;
    linear_shape s;
    float *x, *w, *b, *y;
    const void *key;
} linear_run;

static void run_forward(void *arg) {
    linear_run *l = arg;
    if (backend_cpu()->linear(l->state, l->s, l->x, l->w, l->b, l->key, 1, l->y) != ST_OK)
        abort();
}

static void run_dx(void *arg) {
    linear_run *l = arg;
    if (backend_cpu()->linear_dx(l->s, l->y, l->w, false, l->x) != ST_OK)
        abort();
}

static void run_dw(void *arg) {
    linear_run *l = arg;
    if (backend_cpu()->linear_dw(l->s, l->y, l->x, l->w) != ST_OK)
        abort();
}

static void bench_linear(double peak) {
    static const size_t shapes[][3] = {{1024, 648, 192}, {1024, 192, 576}, {1024, 192, 192}, {1024, 192, 768},
                                       {1024, 768, 192}, {1024, 192, 648}, {1024, 96, 288},  {1024, 96, 96},
                                       {1024, 96, 384},  {1024, 384, 96},  {1024, 648, 96},  {1024, 96, 648},
                                       {32, 192, 1152}};
    printf("%-44s %11s %11s\n", "linear (rows, K, M)", "wall", "processor");
    linear_run l = {0};
    if (backend_cpu()->open(&l.state) != ST_OK)
        abort();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const size_t *z = shapes[i];
        l.s = (linear_shape){.rows = z[0], .k = z[1], .m = z[2], .threads = 1};
        l.x = values(z[0] * z[1]);
        l.w = values(z[1] * z[2]);
        l.b = values(z[2]);
        l.y = values(z[0] * z[2]);
        double flop = 2.0 * (double)z[0] * (double)z[1] * (double)z[2];
        const struct {
            const char *name;
            void (*run)(void *);
            const void *key;
        } part[] = {{"forward", run_forward, NULL},
                    {"forward, packed weights", run_forward, l.w},
                    {"dx", run_dx, NULL},
                    {"dW", run_dw, NULL}};
        for (size_t j = 0; j < sizeof part / sizeof *part; j++) {
            char name[80];
            snprintf(name, sizeof name, "(%zu, %zu, %zu) %s", z[0], z[1], z[2], part[j].name);
            l.key = part[j].key;
            print_flop(name, flop, peak, best_of(60, part[j].run, &l));
        }
        memory_free(&l.x);
        memory_free(&l.w);
        memory_free(&l.b);
        memory_free(&l.y);
    }
    backend_cpu()->close(l.state);
}

/* ---- Element-wise operations and attention on (32, 32, C) ---- */

enum { SAMPLES = 32, TOKENS = 32 };

typedef struct element_run {
    size_t c, n;
    float *x, *y, *z, *small, *small2, *small3, *small4, *stat, *stat2, *scratch, *qkv, *dqkv;
    norm_shape norm;
    attention_shape attention;
    volatile double sum;
} element_run;

static void run_add(void *arg) {
    element_run *e = arg;
    backend_cpu()->add(1, e->n, e->x, e->y, e->z);
}
static void run_gelu(void *arg) {
    element_run *e = arg;
    backend_cpu()->activate(1, ACT_GELU, e->n, e->x, e->z);
}
static void run_gelu_back(void *arg) {
    element_run *e = arg;
    backend_cpu()->activate_back(1, ACT_GELU, e->n, e->x, e->y, false, e->z);
}
static void run_silu(void *arg) {
    element_run *e = arg;
    backend_cpu()->activate(1, ACT_SILU, e->n, e->x, e->z);
}
static void run_modulate(void *arg) {
    element_run *e = arg;
    backend_cpu()->norm(e->norm, e->x, e->small, e->small2, e->stat, e->stat2, e->z);
}
static void run_modulate_back(void *arg) {
    element_run *e = arg;
    backend_cpu()->norm_back(e->norm, e->x, e->small, e->stat, e->stat2, e->y, true, e->z, false, e->small3, false,
                             e->small4, e->scratch);
}
static void run_gate(void *arg) {
    element_run *e = arg;
    backend_cpu()->gate_add(1, SAMPLES, TOKENS, e->c, e->x, e->small, e->y, e->z);
}
static void run_gate_back(void *arg) {
    element_run *e = arg;
    backend_cpu()->gate_add_back(1, SAMPLES, TOKENS, e->c, e->x, e->small, e->y, false, e->small3, false, e->z);
}
static void run_sum_rows(void *arg) {
    element_run *e = arg;
    backend_cpu()->sum_rows(1, 1, SAMPLES * TOKENS, e->c, e->x, true, e->small);
}
static void run_error(void *arg) {
    element_run *e = arg;
    e->sum = backend_cpu()->squared_error(1, e->n, e->x, e->y, NULL, e->z);
}
static void run_adamw(void *arg) {
    element_run *e = arg;
    adamw_factors f = {.beta1 = 0.9f, .beta2 = 0.99f, .epsilon = 1e-8f, .decay = 1, .rate = 1e-9f, .root = 1};
    backend_cpu()->adamw(e->n, f, e->x, e->y, e->z, e->qkv);
}
static void run_attend(void *arg) {
    element_run *e = arg;
    backend_cpu()->attend(e->attention, e->qkv, e->z, e->stat, e->scratch);
}
static void run_attend_back(void *arg) {
    element_run *e = arg;
    backend_cpu()->attend_back(e->attention, e->qkv, e->x, e->stat, e->y, false, e->dqkv, e->scratch);
}

static void bench_elements(size_t c, double peak) {
    element_run e = {.c = c, .n = SAMPLES * TOKENS * c};
    e.norm = (norm_shape){.groups = SAMPLES, .rows = TOKENS, .c = c, .epsilon = 1e-6f, .gain_offset = 1, .threads = 1};
    e.attention = (attention_shape){.samples = SAMPLES, .tokens = TOKENS, .heads = c / 32, .d = 32, .threads = 1};
    float **all[] = {&e.x, &e.y, &e.z, &e.small, &e.small2, &e.small3, &e.small4};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        *all[i] = values(i < 3 ? e.n : SAMPLES * c);
    e.qkv = values(3 * e.n);
    e.dqkv = values(3 * e.n);
    e.stat = values(e.n);
    e.stat2 = values(e.n);
    e.scratch = values(e.n);
    const struct {
        const char *name;
        void (*run)(void *);
        int streams;
    } element[] = {{"add", run_add, 3},
                   {"gelu", run_gelu, 2},
                   {"gelu backward", run_gelu_back, 3},
                   {"silu", run_silu, 2},
                   {"layer norm modulated", run_modulate, 2},
                   {"layer norm modulated backward, adding", run_modulate_back, 4},
                   {"gate add", run_gate, 3},
                   {"gate add backward", run_gate_back, 3},
                   {"sum of rows", run_sum_rows, 1},
                   {"squared error", run_error, 3},
                   {"adamw", run_adamw, 7}};
    printf("\n(%d, %d, %zu), %.1f MB\n", SAMPLES, TOKENS, c, 4e-6 * (double)e.n);
    for (size_t i = 0; i < sizeof element / sizeof *element; i++) {
        for (size_t j = 0; j < e.n; j++)
            e.z[j] = 1; /* a positive second moment */
        seconds s = best_of(100, element[i].run, &e);
        double nbytes = 4.0 * (double)e.n * element[i].streams;
        printf("%-44s %8.3f ms %8.3f ms  %6.1f GB/s\n", element[i].name, 1e3 * s.wall, 1e3 * s.cpu,
               1e-9 * nbytes / s.cpu);
    }
    double product = 2.0 * SAMPLES * TOKENS * TOKENS * (double)c;
    print_flop("attention, 2 products", 2 * product, peak, best_of(100, run_attend, &e));
    print_flop("attention backward, 5 products", 5 * product, peak, best_of(100, run_attend_back, &e));
    float **rest[] = {&e.qkv, &e.dqkv, &e.stat, &e.stat2, &e.scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        memory_free(all[i]);
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        memory_free(rest[i]);
}

/* ---- A diffusion transformer's step ---- */

enum { CELLS = 648, MOST_LAYERS = 8 };

typedef struct block {
    param *qkv, *qkv_bias, *out, *out_bias, *up, *up_bias, *down, *down_bias;
} block;

typedef struct transformer {
    size_t samples, width, layers;
    int threads;
    params set;
    param *in, *in_bias, *condition, *condition_bias, *last, *last_bias;
    block block[MOST_LAYERS];
    adamw optimiser;
    nn *s;
    float *rows, *target, *features;
    double linear_flop, attention_flop;
} transformer;

static param *weight(transformer *m, const char *name, size_t layer, size_t outputs, size_t inputs) {
    char full[64];
    snprintf(full, sizeof full, "%s.%zu", name, layer);
    param *w;
    size_t dim[2] = {outputs, inputs};
    if (params_add(&m->set, full, inputs == 0 ? 1 : 2, dim, &w) != ST_OK)
        abort();
    if (inputs > 0)
        param_init_xavier(w, 1, 1);
    m->linear_flop += 2.0 * (double)(outputs * inputs) * (double)m->samples * TOKENS;
    return w;
}

static void transformer_make(transformer *m) {
    size_t c = m->width;
    params_init(&m->set);
    m->condition = weight(m, "condition", 0, 6 * c, c);
    m->condition_bias = weight(m, "condition.bias", 0, 6 * c, 0);
    m->linear_flop = 0; /* once per sample only: too little to count */
    m->in = weight(m, "in", 0, c, CELLS);
    m->in_bias = weight(m, "in.bias", 0, c, 0);
    for (size_t i = 0; i < m->layers; i++)
        m->block[i] = (block){.qkv = weight(m, "qkv", i, 3 * c, c),
                              .qkv_bias = weight(m, "qkv.bias", i, 3 * c, 0),
                              .out = weight(m, "out", i, c, c),
                              .out_bias = weight(m, "out.bias", i, c, 0),
                              .up = weight(m, "up", i, 4 * c, c),
                              .up_bias = weight(m, "up.bias", i, 4 * c, 0),
                              .down = weight(m, "down", i, c, 4 * c),
                              .down_bias = weight(m, "down.bias", i, c, 0)};
    m->last = weight(m, "last", 0, CELLS, c);
    m->last_bias = weight(m, "last.bias", 0, CELLS, 0);
    m->attention_flop = 4.0 * (double)(m->layers * c) * (double)m->samples * TOKENS * TOKENS;
    m->rows = values(m->samples * TOKENS * CELLS);
    m->target = values(m->samples * TOKENS * CELLS + 1);
    m->features = values(m->samples * c);
    if (params_seal(&m->set) != ST_OK || adamw_new(&m->optimiser, &m->set, 0.9f, 0.99f, 0.01f) != ST_OK ||
        nn_open(&m->s, &(nn_options){.threads = m->threads}) != ST_OK)
        abort();
}

static void transformer_free(transformer *m) {
    nn_close(&m->s);
    adamw_free(&m->optimiser);
    params_free(&m->set);
    memory_free(&m->rows);
    memory_free(&m->target);
    memory_free(&m->features);
}

static tensor *block_forward(nn *s, const block *b, tensor *x, tensor *const part[6], size_t heads) {
    tensor *h = op_layernorm_modulate(s, x, part[0], part[1], 1e-6f);
    h = op_attention(s, op_linear(s, h, b->qkv, b->qkv_bias), heads, false);
    x = op_gate_add(s, x, part[2], op_linear(s, h, b->out, b->out_bias));
    h = op_layernorm_modulate(s, x, part[3], part[4], 1e-6f);
    h = op_gelu(s, op_linear(s, h, b->up, b->up_bias));
    return op_gate_add(s, x, part[5], op_linear(s, h, b->down, b->down_bias));
}

static tensor *transformer_forward(transformer *m) {
    nn *s = m->s;
    size_t c = m->width;
    tensor *rows = nn_input(s, 3, (size_t[3]){m->samples, TOKENS, CELLS}, m->rows);
    tensor *features = nn_input(s, 2, (size_t[2]){m->samples, c}, m->features);
    tensor *condition = op_linear(s, op_silu(s, features), m->condition, m->condition_bias), *part[6];
    for (size_t i = 0; i < 6; i++)
        part[i] = op_columns(s, condition, i * c, c);
    tensor *x = op_linear(s, rows, m->in, m->in_bias);
    for (size_t i = 0; i < m->layers; i++) {
        size_t scope = nn_scope_begin(s);
        x = nn_scope_end(s, scope, block_forward(s, &m->block[i], x, part, c / 32));
    }
    return op_linear(s, x, m->last, m->last_bias);
}

static void run_train(void *arg) {
    transformer *m = arg;
    nn_begin(m->s, true);
    params_zero_grad(&m->set);
    tensor *loss = op_mse(m->s, transformer_forward(m), m->target, NULL);
    if (nn_backward(m->s, loss) != ST_OK)
        abort();
    params_clip_grad(&m->set, 1);
    adamw_step(&m->optimiser, &m->set, 1e-5f);
}

static void run_sample(void *arg) {
    transformer *m = arg;
    nn_begin(m->s, false);
    if (transformer_forward(m) == NULL)
        abort();
}

/* With several threads the processor time of this one says little: then wall time counts. */
static void print_step(const transformer *m, const char *what, double flop, double peak, seconds s) {
    char name[80];
    snprintf(name, sizeof name, "width %zu, %zu blocks, batch %zu, %s", m->width, m->layers, m->samples, what);
    if (m->threads > 1)
        s.cpu = s.wall;
    print_flop(name, flop, m->threads * peak, s);
}

static void bench_transformer(transformer m, double peak) {
    transformer_make(&m);
    double flop = m.linear_flop + m.attention_flop;
    print_step(&m, "forward", flop, peak, best_of(40, run_sample, &m));
    print_step(&m, "training", 3 * flop, peak, best_of(20, run_train, &m));
    printf("    %.2f M parameters, step memory %.1f MB\n", 1e-6 * (double)m.set.ntrained,
           1e-6 * (double)nn_peak_nbytes(m.s));
    transformer_free(&m);
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    if (threads < 1) {
        fprintf(stderr, "usage: bench_nn [threads of the transformer's steps]\n");
        return 2;
    }
    double peak = measure_peak();
    bench_linear(peak);
    bench_elements(192, peak);
    bench_elements(768, peak);
    printf("\ntransformer of %d tokens (head 32, MLP 4x), %d threads, training = forward, backward, clip, AdamW; "
           "3x forward FLOP\n",
           TOKENS, threads);
    static const size_t sizes[][3] = {{192, 6, 32}, {192, 6, 16}, {96, 4, 32}, {96, 4, 16}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        bench_transformer(
            (transformer){.width = sizes[i][0], .layers = sizes[i][1], .samples = sizes[i][2], .threads = threads},
            peak);
    return 0;
}
