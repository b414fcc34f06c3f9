/* Which flows a run learns from, and the samples of a step: functions of seed and number, the same on any rank. */
#include "train_test.h"
#include "model/schedule.h"
#include "train/batch.h"
#include "train_flows.h"
#include <math.h>

enum { EACH = 20, ROWS = 8, CONTEXT = 3 };

static char *folder;

static int make_all(void **state) {
    folder = new_folder();
    char *path = text_format("%s/dataset.h5", folder);
    assert_ok(train_dataset(path, EACH));
    free(path);
    return 0;
}

static int remove_all(void **state) {
    drop_folder(folder);
    return 0;
}

static data *open_data(const char *const *more) {
    experiment *e = tiny_experiment(folder, more);
    data *d = NULL;
    assert_ok(data_open(&d, e, &layout_relative, ROWS, CONTEXT));
    experiment_free(&e);
    return d;
}

/* ---- Selection ---- */

typedef struct selection {
    const char *settings[4];
    size_t ngroups, per_group, unlabelled, validate, holdout, excluded;
} selection;

static void test_selection(void **state) {
    static const selection table[] = {
        /* 4 kinds x 20 flows; a tenth of every kind is kept for validation */
        {{NULL}, 3, 18, 18, 8, 0, 0},
        {{"train.validate_share=0"}, 3, 20, 20, 0, 0, 0},
        {{"train.validate_share=0.5"}, 3, 10, 10, 40, 0, 0},
        /* less than one flow of a tenth of a share, but there are eight */
        {{"train.validate_share=0.01"}, 3, 19, 19, 4, 0, 0},
        {{"data.holdout=day-2"}, 3, 15, 15, 4, 16, 0},
        {{"train.base.exclude=chat"}, 2, 18, 18, 6, 0, 20},
        {{"train.mode=control", "train.base.exclude=chat,web"}, 1, 18, 18, 4, 0, 40},
        {{"train.mode=lora", "train.base.exclude=chat"}, 1, 18, 0, 2, 0, 60},
        {{"train.mode=lora", "train.base.exclude=chat", "train.lora.labels=web,dns"}, 2, 18, 0, 4, 0, 40},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const selection *want = &table[i];
        data *d = open_data(want->settings);
        assert_int_equal(d->ngroups, want->ngroups);
        for (size_t g = 0; g < d->ngroups; g++) {
            assert_int_equal(d->group[g].n, want->per_group);
            assert_true(fabs(d->weight[g] - sqrt((double)want->per_group)) < 1e-12);
        }
        assert_int_equal(d->unlabelled.n, want->unlabelled);
        assert_int_equal(d->nvalidate, want->validate);
        assert_int_equal(d->left.holdout, want->holdout);
        assert_int_equal(d->left.excluded, want->excluded);
        data_close(&d);
        assert_null(d);
    }
}

static void test_refusals(void **state) {
    static const struct {
        const char *settings[4];
        status wanted;
        const char *part;
    } table[] = {
        {{"data.dataset=/nonexistent/x.h5"}, ST_IO, "/nonexistent/x.h5"},
        {{"train.base.exclude=wob"}, ST_USAGE, "no label \"wob\"; it has: web, chat, dns"},
        {{"data.holdout=day-3"}, ST_USAGE, "no run \"day-3\"; it has: day-1, day-2"},
        {{"train.mode=lora"}, ST_USAGE, "train.lora.labels"},
        {{"train.mode=lora", "train.lora.labels=chad"}, ST_USAGE, "no label \"chad\""},
        {{"data.holdout=day-1,day-2"}, ST_USAGE, "no flow to learn from: 80 held out"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        experiment *e = tiny_experiment(folder, table[i].settings);
        data *d = NULL;
        assert_fails(data_open(&d, e, &layout_relative, ROWS, CONTEXT), table[i].wanted, table[i].part);
        assert_null(d);
        experiment_free(&e);
    }
}

/* Every window of every flow: its rows are what the layout encodes of the whole flow, vacant cells included, and its
 * control what control_encode says. With data.max_packets the rest of a flow is not there, and it has no last row. */
static void check_windows(const char *setting, size_t kept_most) {
    data *d = open_data((const char *const[]){"train.validate_share=0", setting, NULL});
    size_t nlong = 0;
    float *cells = calloc(ROWS * d->cells, sizeof *cells);
    uint8_t *scratch = calloc(2, d->cells);
    float control[ROWS * CONTROL_WIDTH], expect[ROWS * CONTROL_WIDTH];
    for (size_t i = 0; i < d->nflows; i++) {
        flow f;
        assert_ok(train_flow((unsigned)(i % KIND_COUNT), i / KIND_COUNT, &f));
        size_t kept = f.npackets < kept_most ? f.npackets : kept_most;
        int8_t *rows = calloc(kept + ROWS, d->cells);
        packet_shape *shapes = calloc(f.npackets, sizeof *shapes);
        assert_ok(layout_relative.encode(&f, kept, rows));
        for (size_t k = kept; k < kept + ROWS; k++)
            rows[k * d->cells] = -1; /* past the end: not valid, all else vacant */
        for (size_t k = 0; k < f.npackets; k++)
            shapes[k] = packet_shape_of(&f.packets[k]);
        assert_int_equal(d->label[i], f.label);
        assert_int_equal(d->npackets[i], f.npackets);
        assert_int_equal(d->first[i + 1] - d->first[i], kept);
        assert_int_equal(data_nwindows(d, i), control_nwindows(kept, ROWS, CONTEXT));
        size_t last = data_last_window(d, i);
        assert_int_equal(last, kept > ROWS ? kept - CONTEXT - 1 : 0);
        nlong += last > 0;
        for (size_t first = 0; first <= last; first++) {
            size_t ngiven = data_window(d, i, first, cells, control, scratch);
            assert_int_equal(ngiven, first > 0 ? CONTEXT : 0);
            for (size_t k = 0; k < ROWS * d->cells; k++)
                assert_true(cells[k] == (float)rows[first * d->cells + k]);
            control_window w = {first, ROWS, ngiven, f.npackets, kept};
            control_encode(shapes, &w, expect);
            assert_memory_equal(control, expect, sizeof expect);
            for (size_t k = 0; k < ROWS; k++)
                assert_true(control[k * CONTROL_WIDTH + CONTROL_LAST] ==
                            (float)(first + k + 1 == f.npackets && kept == f.npackets));
        }
        free(shapes);
        free(rows);
        flow_clear(&f);
    }
    assert_int_equal(nlong, kept_most > ROWS ? 2 * EACH : 0); /* web and chat have 9 or 12 packets */
    free(scratch);
    free(cells);
    data_close(&d);
}

static void test_windows(void **state) {
    check_windows("data.max_packets=1024", 1024);
    check_windows("data.max_packets=10", 10);
    check_windows("data.max_packets=8", 8);
}

/* No flow is in the gradient and in the validation; which ones are kept does not depend on seed or mode. */
static void test_validation_apart(void **state) {
    data *d = open_data(NULL), *other = open_data((const char *const[]){"seed=77", "train.mode=control", NULL});
    uint8_t used[EACH * KIND_COUNT] = {0};
    for (size_t g = 0; g <= d->ngroups; g++) {
        const data_group *group = g < d->ngroups ? &d->group[g] : &d->unlabelled;
        for (size_t i = 0; i < group->n; i++)
            used[group->flow[i]]++;
    }
    for (size_t i = 0; i < d->nvalidate; i++)
        used[d->validate[i]]++;
    for (size_t i = 0; i < d->nflows; i++)
        assert_int_equal(used[i], 1);
    assert_int_equal(d->nvalidate, other->nvalidate);
    assert_memory_equal(d->validate, other->validate, d->nvalidate * sizeof *d->validate);
    assert_true(d->hash == other->hash);
    data_close(&d);
    data_close(&other);
}

/* The hash is that of what is learnt from: the same flows under another prompt are something else. */
static void test_prompts_count(void **state) {
    static const char *const prompt[] = {"encrypted web page", "encrypted web site"};
    uint64_t hash[2];
    char *path = text_format("%s/prompts.h5", folder), *setting = text_format("data.dataset=%s", path);
    data *d = open_data(NULL);
    for (size_t i = 0; i < 2; i++) {
        dataset *to = NULL;
        assert_ok(train_dataset_prompted(path, prompt[i], &to));
        assert_ok(train_dataset_fill(to, EACH));
        data *other = open_data((const char *const[]){setting, NULL});
        hash[i] = other->hash;
        data_close(&other);
    }
    assert_true(hash[0] == d->hash && hash[1] != d->hash);
    data_close(&d);
    free(setting);
    free(path);
}

/* ---- Samples ---- */

static const batch_rule rule = {.seed = 5, .size = 12, .drop_prompt = 0.3, .drop_control = 0.4};

static void assert_same_samples(const batch *whole, size_t first, const batch *part, const data *d) {
    size_t n = part->n, size = d->rows * d->cells, ncontrol = d->rows * CONTROL_WIDTH;
    assert_memory_equal(whole->flow + first, part->flow, n * sizeof *part->flow);
    assert_memory_equal(whole->first + first, part->first, n * sizeof *part->first);
    assert_memory_equal(whole->label + first, part->label, n * sizeof *part->label);
    assert_memory_equal(whole->t + first, part->t, n * sizeof *part->t);
    assert_memory_equal(whole->x + first * size, part->x, n * size * sizeof *part->x);
    assert_memory_equal(whole->x0 + first * size, part->x0, n * size * sizeof *part->x0);
    assert_memory_equal(whole->control + first * ncontrol, part->control, n * ncontrol * sizeof *part->control);
}

/* The samples of one rank are those of 2, 3, 5 ranks, made by any number of threads. */
static void test_samples_do_not_know_ranks(void **state) {
    data *d = open_data(NULL);
    batch whole, part;
    assert_ok(batch_new(&whole, d, &rule, rule.size));
    assert_ok(batch_new(&part, d, &rule, rule.size));
    for (uint64_t step = 0; step < 3; step++) {
        batch_draw(&whole, d, &rule, step, 0, rule.size, 1);
        for (size_t nranks = 1; nranks <= 5; nranks++)
            for (size_t rank = 0; rank < nranks; rank++) {
                size_t first = rank * rule.size / nranks, end = (rank + 1) * rule.size / nranks;
                batch_draw(&part, d, &rule, step, first, end - first, 1 + (int)(rank % 3));
                assert_same_samples(&whole, first, &part, d);
            }
    }
    batch_free(&whole);
    batch_free(&part);
    data_close(&d);
}

/* One time in each stratum; x = alpha x0 + sigma noise in every cell but those of given rows, which are clean and do
 * not count in the loss, with noise of unit variance; other steps and seeds give other samples. */
static void test_samples(void **state) {
    data *d = open_data(NULL);
    batch b, other;
    assert_ok(batch_new(&b, d, &rule, rule.size));
    assert_ok(batch_new(&other, d, &rule, rule.size));
    size_t size = d->rows * d->cells, nnoise = 0, nlater = 0, nfirst = 0;
    double sum = 0, squares = 0;
    for (uint64_t step = 0; step < 8; step++) {
        uint8_t stratum[12] = {0};
        batch_draw(&b, d, &rule, step, 0, rule.size, 1);
        for (size_t i = 0; i < rule.size; i++) {
            stratum[(size_t)(b.t[i] * 12)]++;
            assert_true(b.first[i] <= data_last_window(d, b.flow[i]));
            size_t given = b.first[i] > 0 ? CONTEXT * d->cells : 0;
            nlater += b.first[i] > 0;
            nfirst += b.first[i] == 0 && data_last_window(d, b.flow[i]) > 0;
            for (size_t j = 0; j < size; j++) {
                double x0 = (double)b.x0[i * size + j], x = (double)b.x[i * size + j];
                size_t row = b.first[i] + j / d->cells, n = d->npackets[b.flow[i]];
                bool end = row < n && row + BATCH_END_ROWS >= n;
                assert_true(b.weight[i * size + j] == (float)(j < given ? 0 : end ? BATCH_END_WEIGHT : 1));
                if (j < given)
                    assert_true(x == x0);
                if (j < given || b.t[i] < 0.05f)
                    continue; /* sigma too small to divide by */
                double noise = (x - schedule_alpha(b.t[i]) * x0) / schedule_sigma(b.t[i]);
                sum += noise;
                squares += noise * noise;
                nnoise++;
            }
        }
        for (size_t i = 0; i < rule.size; i++)
            assert_int_equal(stratum[i], 1);
    }
    assert_true(nlater > 5 && nfirst > 5);
    /* Five standard errors of the mean and of the variance of that many normal numbers. */
    assert_true(fabs(sum / (double)nnoise) < 5 / sqrt((double)nnoise));
    assert_true(fabs(squares / (double)nnoise - 1) < 5 * sqrt(2 / (double)nnoise));

    batch_rule reseeded = rule;
    reseeded.seed++;
    batch_draw(&b, d, &rule, 0, 0, rule.size, 1);
    batch_draw(&other, d, &reseeded, 0, 0, rule.size, 1);
    assert_true(memcmp(b.x, other.x, size * sizeof *b.x) != 0);
    batch_draw(&other, d, &rule, 1, 0, rule.size, 1);
    assert_true(memcmp(b.x, other.x, size * sizeof *b.x) != 0);
    batch_free(&b);
    batch_free(&other);
    data_close(&d);
}

/* Shares over many steps: dropped prompts and controls, unlabelled flows, labels by the root of their count. */
static void test_shares(void **state) {
    enum { STEPS = 400 };
    data *d = open_data((const char *const[]){"train.validate_share=0", NULL});
    batch b;
    assert_ok(batch_new(&b, d, &rule, rule.size));
    double total = STEPS * (double)rule.size, unlabelled = 0, no_prompt = 0, no_control = 0, web = 0;
    double nlong[3] = {0}, nfirst[3] = {0}, ntwelve = 0, nend = 0;
    for (uint64_t step = 0; step < STEPS; step++) {
        size_t in_step = 0;
        batch_draw(&b, d, &rule, step, 0, rule.size, 1);
        for (size_t i = 0; i < b.n; i++) {
            int32_t label = d->label[b.flow[i]];
            in_step += label < 0;
            web += label == KIND_WEB;
            no_prompt += label >= 0 && b.label[i] < 0;
            no_control += b.control[i * d->rows * CONTROL_WIDTH + CONTROL_EXISTS] == 0;
            assert_true(b.label[i] == -1 || b.label[i] == label);
            size_t nwindows = data_nwindows(d, b.flow[i]);
            assert_in_range(nwindows, 1, 2);
            nlong[nwindows]++;
            nfirst[nwindows] += b.first[i] == 0;
            ntwelve += d->npackets[b.flow[i]] == 12;
            nend += d->npackets[b.flow[i]] == 12 && b.first[i] + ROWS >= 12;
        }
        assert_int_equal(in_step, 3); /* a quarter of 12, to the flow */
        unlabelled += (double)in_step;
    }
    double labelled = total - unlabelled;
    /* Four standard deviations of binomial shares. */
    assert_true(fabs(no_prompt / labelled - rule.drop_prompt) < 4 * sqrt(0.3 * 0.7 / labelled));
    assert_true(fabs(no_control / total - rule.drop_control) < 4 * sqrt(0.4 * 0.6 / total));
    assert_true(fabs(web / labelled - 1.0 / 3) < 4 * sqrt(2.0 / 9 / labelled));
    assert_true(nfirst[1] == nlong[1]);
    assert_true(fabs(nfirst[2] / nlong[2] - 0.5) < 4 * sqrt(0.25 / nlong[2])); /* flows of two windows: each the same */
    /* Of 12 packets: BATCH_END_WINDOW show the end, and of the other later windows 5 of 8 (first rows 4 to 8). */
    double end = BATCH_END_WINDOW + (0.5 - BATCH_END_WINDOW) * 5 / 8;
    assert_true(fabs(nend / ntwelve - end) < 4 * sqrt(end * (1 - end) / ntwelve));
    batch_free(&b);
    data_close(&d);
}

/* A class of 4 flows against one of 16: drawn 1 : 2, not 1 : 4. */
static void test_weights(void **state) {
    data *d = open_data((const char *const[]){"train.validate_share=0", "train.base.exclude=dns", NULL});
    batch_rule r = rule;
    batch b;
    d->group[0].n = 4;
    d->weight[0] = sqrt(4);
    d->group[1].n = 16;
    d->weight[1] = sqrt(16);
    assert_ok(batch_new(&b, d, &r, r.size));
    double labelled = 0, small = 0;
    for (uint64_t step = 0; step < 400; step++) {
        batch_draw(&b, d, &r, step, 0, r.size, 1);
        for (size_t i = 0; i < b.n; i++) {
            labelled += d->label[b.flow[i]] >= 0;
            small += d->label[b.flow[i]] == d->group[0].label;
        }
    }
    assert_true(fabs(small / labelled - 1.0 / 3) < 4 * sqrt(2.0 / 9 / labelled));
    batch_free(&b);
    data_close(&d);
}

static void test_evaluations(void **state) {
    data *d = open_data(NULL);
    batch b, other;
    size_t total = batch_evaluations(d), size = d->rows * d->cells;
    assert_int_equal(total, 64); /* 8 flows, 8 times each */
    assert_ok(batch_new(&b, d, &rule, total));
    assert_ok(batch_new(&other, d, &rule, total));
    batch_evaluation(&b, d, 0, total, 2);
    batch_evaluation(&other, d, 40, 8, 1);
    assert_same_samples(&b, 40, &other, d);
    /* Every flow sees small and large times. */
    for (size_t v = 0; v < d->nvalidate; v++) {
        size_t low = 0, high = 0;
        for (size_t i = v; i < total; i += d->nvalidate) {
            assert_int_equal(b.flow[i], d->validate[v]);
            assert_int_equal(b.label[i], d->label[b.flow[i]]);
            low += b.t[i] < 0.5f;
            high += b.t[i] >= 0.5f;
        }
        assert_int_equal(low, 4);
        assert_int_equal(high, 4);
    }
    for (size_t i = 0; i < total; i++)
        assert_true(b.t[i] >= 0 && b.t[i] <= 1 && b.control[i * d->rows * CONTROL_WIDTH] == 1);
    assert_true(memcmp(b.x, b.x + d->nvalidate * size, size * sizeof *b.x) != 0);
    batch_free(&b);
    batch_free(&other);
    data_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_selection),     cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_windows),       cmocka_unit_test(test_validation_apart),
        cmocka_unit_test(test_prompts_count), cmocka_unit_test(test_samples_do_not_know_ranks),
        cmocka_unit_test(test_samples),       cmocka_unit_test(test_shares),
        cmocka_unit_test(test_weights),       cmocka_unit_test(test_evaluations),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
