/* model_sample: what is forced, what is masked, and that the bytes depend on the arguments alone. */
#include "model/fixture.h"

#include <pthread.h>

enum { SAMPLES = 4 };

typedef struct sampling_case {
    sample_request request;
    float *text;
    size_t nexist[SAMPLES];
    rng rngs[SAMPLES];
    int8_t *cells;
    float *soft;
    size_t ncells;
} sampling_case;

static void case_init(sampling_case *k, model *m, sampler_kind kind, float guidance) {
    static const char *const prompts[SAMPLES] = {"pixelated network data, type-0", "pixelated network data, type-1",
                                                 "a video call", "pixelated network data, type-0"};
    const model_config *c = model_get_config(m);
    *k = (sampling_case){.nexist = {0, 1, 3, FIXTURE_PACKETS}, .ncells = SAMPLES * c->packets * c->cells};
    OK(NEW((SAMPLES + 1) * c->text_width, &k->text));
    OK(NEW(k->ncells, &k->cells));
    OK(NEW(k->ncells, &k->soft));
    OK(model_embed_text(m, SAMPLES, prompts, k->text));
    for (size_t i = 0; i < SAMPLES; i++)
        k->rngs[i] = rng_make(4, i, RNG_SAMPLE);
    k->request = (sample_request){.n = SAMPLES,
                                  .text = k->text,
                                  .null_text = k->text + SAMPLES * c->text_width,
                                  .nexist = k->nexist,
                                  .sampler = kind,
                                  .steps = 6,
                                  .guidance = guidance,
                                  .rngs = k->rngs};
}

static void case_free(sampling_case *k) {
    memory_free(&k->text);
    memory_free(&k->cells);
    memory_free(&k->soft);
}

static model *shaken_model(void) {
    model *m = fixture_model(CONTROL_LENGTH);
    fixture_shake(m, "", 0.2f);
    return m;
}

static void rows_exist_as_asked(void **state) {
    model *m = shaken_model();
    nn *s = fixture_session();
    const model_config *c = model_get_config(m);
    const layout *l = model_layout(m);
    size_t valid = SIZE_MAX;
    for (size_t i = 0; i < l->nfields; i++)
        if (strcmp(l->fields[i].name, "valid") == 0)
            valid = l->fields[i].first;
    assert_true(valid != SIZE_MAX);
    for (int kind = SAMPLER_DDIM; kind <= SAMPLER_DPM; kind++) {
        sampling_case k;
        case_init(&k, m, (sampler_kind)kind, 1);
        OK(model_sample(s, m, &k.request, k.cells, k.soft));
        uint8_t *mask = NULL;
        OK(NEW(c->cells, &mask));
        for (size_t i = 0; i < SAMPLES; i++)
            for (size_t row = 0; row < c->packets; row++) {
                const int8_t *cell = k.cells + (i * c->packets + row) * c->cells;
                const float *soft = k.soft + (i * c->packets + row) * c->cells;
                bool exists = row < k.nexist[i];
                assert_int_equal(cell[valid], exists ? 1 : -1);
                l->presence(cell, row, mask);
                size_t shown = 0;
                for (size_t j = 0; j < c->cells; j++) {
                    bool present = exists ? mask[j] != 0 : j == valid;
                    assert_true(present ? cell[j] == 1 || cell[j] == -1 : cell[j] == 0);
                    assert_true(soft[j] >= -1 && soft[j] <= 1);
                    assert_true(present ? (soft[j] < 0) == (cell[j] < 0) : soft[j] == 0);
                    shown += present;
                }
                assert_true(shown > (exists ? 20u : 0u));
            }
        memory_free(&mask);
        /* what comes out decodes */
        flow f;
        flow_init(&f);
        flow_plan plan = {.addr = {0x0a000001, 0x0a000002}, .ip_id = {1, 1}};
        OK(l->decode(k.cells + 3 * c->packets * c->cells, NULL, k.nexist[3], &plan, &f, NULL));
        assert_int_equal(f.npackets, FIXTURE_PACKETS);
        flow_clear(&f);
        case_free(&k);
    }
    nn_close(&s);
    model_free(&m);
}

/* A later window: its first rows are those that were asked for, to the bit, and the model sees them. */
static void given_rows_are_held(void **state) {
    enum { GIVEN = 2 };
    model *m = shaken_model();
    nn *s = fixture_session();
    const model_config *c = model_get_config(m);
    sampling_case before, k[2];
    case_init(&before, m, SAMPLER_DDIM, 1);
    OK(model_sample(s, m, &before.request, before.cells, before.soft));
    size_t row = c->cells, size = c->packets * row;
    int8_t *given = NULL;
    uint8_t *mask = NULL;
    OK(NEW(SAMPLES * GIVEN * row, &given));
    OK(NEW(row, &mask));
    for (int round = 0; round < 2; round++) { /* the same noise after other rows */
        for (size_t i = 0; i < SAMPLES; i++)
            memcpy(given + i * GIVEN * row, before.cells + 3 * size + (size_t)round * GIVEN * row, GIVEN * row);
        case_init(&k[round], m, SAMPLER_DDIM, 1);
        for (size_t i = 0; i < SAMPLES; i++)
            k[round].nexist[i] = GIVEN + 1 + i;
        k[round].request.first = 10;
        k[round].request.ngiven = GIVEN;
        k[round].request.given = given;
        OK(model_sample(s, m, &k[round].request, k[round].cells, k[round].soft));
        for (size_t i = 0; i < SAMPLES; i++) {
            assert_memory_equal(k[round].cells + i * size, given + i * GIVEN * row, GIVEN * row);
            for (size_t j = 0; j < GIVEN * row; j++)
                assert_true(k[round].soft[i * size + j] == (float)given[i * GIVEN * row + j]);
            /* a row that is not the flow's first one has no port, and an inter-arrival time */
            model_layout(m)->presence(k[round].cells + i * size + GIVEN * row, 10 + GIVEN, mask);
            for (size_t j = 0; j < row; j++)
                assert_int_equal(k[round].cells[i * size + GIVEN * row + j] != 0, mask[j]);
        }
    }
    size_t differ = 0;
    for (size_t j = GIVEN * row; j < 3 * row; j++)
        differ += fabsf(k[0].soft[j] - k[1].soft[j]) > 1e-3f;
    assert_true(differ > 0);
    memory_free(&mask);
    memory_free(&given);
    case_free(&before);
    case_free(&k[0]);
    case_free(&k[1]);
    nn_close(&s);
    model_free(&m);
}

static void guidance_one_is_the_plain_prediction(void **state) {
    model *m = shaken_model();
    nn *s = fixture_session();
    sampling_case plain, guided, same;
    case_init(&plain, m, SAMPLER_DDIM, 1);
    case_init(&guided, m, SAMPLER_DDIM, 3);
    case_init(&same, m, SAMPLER_DDIM, 3);
    OK(model_sample(s, m, &plain.request, plain.cells, plain.soft));
    OK(model_sample(s, m, &guided.request, guided.cells, guided.soft));
    assert_true(fixture_distance(plain.soft, guided.soft, plain.ncells) > 1e-2);
    /* where the prompt is "no prompt", guidance changes nothing but rounding */
    size_t width = model_text_width(m);
    for (size_t i = 0; i < SAMPLES; i++) {
        memcpy(same.text + i * width, same.request.null_text, width * sizeof(float));
        memcpy(plain.text + i * width, same.request.null_text, width * sizeof(float));
        plain.rngs[i] = rng_make(4, i, RNG_SAMPLE);
    }
    OK(model_sample(s, m, &plain.request, plain.cells, plain.soft));
    OK(model_sample(s, m, &same.request, same.cells, same.soft));
    assert_memory_equal(plain.soft, same.soft, plain.ncells * sizeof(float));
    case_free(&plain);
    case_free(&guided);
    case_free(&same);
    nn_close(&s);
    model_free(&m);
}

typedef struct job {
    model *m;
    sampling_case k;
    status st;
} job;

static void *work(void *user) {
    job *j = user;
    nn *s = NULL;
    j->st = nn_open(&s, &(nn_options){.threads = 1});
    for (int round = 0; round < 3 && j->st == ST_OK; round++) {
        for (size_t i = 0; i < SAMPLES; i++)
            j->k.rngs[i] = rng_make(4, i, RNG_SAMPLE);
        j->st = model_sample(s, j->m, &j->k.request, j->k.cells, j->k.soft);
    }
    nn_close(&s);
    return NULL;
}

static void sessions_side_by_side_give_the_same_bytes(void **state) {
    enum { JOBS = 3 };
    model *m = shaken_model();
    nn *s = fixture_session();
    sampling_case alone;
    case_init(&alone, m, SAMPLER_ANCESTRAL, 2);
    OK(model_sample(s, m, &alone.request, alone.cells, alone.soft));
    job jobs[JOBS];
    pthread_t threads[JOBS];
    for (size_t i = 0; i < JOBS; i++) {
        jobs[i] = (job){.m = m};
        case_init(&jobs[i].k, m, SAMPLER_ANCESTRAL, 2);
        jobs[i].k.request.text = jobs[i].k.text; /* case_init wrote into the copy in place */
    }
    for (size_t i = 0; i < JOBS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &jobs[i]), 0);
    for (size_t i = 0; i < JOBS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (size_t i = 0; i < JOBS; i++) {
        OK(jobs[i].st);
        assert_memory_equal(jobs[i].k.soft, alone.soft, alone.ncells * sizeof(float));
        assert_memory_equal(jobs[i].k.cells, alone.cells, alone.ncells);
        case_free(&jobs[i].k);
    }
    case_free(&alone);
    nn_close(&s);
    model_free(&m);
}

/* Finite weights whose products are not: an error, not rows of arbitrary bits. */
static void overflow_is_refused(void **state) {
    model *m = shaken_model();
    nn *s = fixture_session();
    for (size_t guided = 0; guided < 2; guided++) {
        sampling_case k;
        case_init(&k, m, SAMPLER_DDIM, guided ? 2 : 1);
        if (!guided)
            OK(model_sample(s, m, &k.request, k.cells, k.soft));
        param *w = params_find(model_params(m), "transformer.output.weight");
        for (size_t i = 0; i < w->n; i++)
            w->data[i] = i % 2 ? 3e38f : -3e38f;
        w->version++;
        FAILS(ST_RANGE, model_sample(s, m, &k.request, k.cells, k.soft), "prediction at time 1");
        case_free(&k);
    }
    nn_close(&s);
    model_free(&m);
}

static void missing_controlnet_is_refused(void **state) {
    model *m = fixture_model(CONTROL_LENGTH);
    nn *s = fixture_session();
    sampling_case k;
    case_init(&k, m, SAMPLER_DDIM, 1);
    k.request.controlnet = true;
    FAILS(ST_USAGE, model_sample(s, m, &k.request, k.cells, NULL), "ControlNet");
    k.request.controlnet = false;
    k.request.steps = 0;
    FAILS(ST_RANGE, model_sample(s, m, &k.request, k.cells, NULL), "0 steps");
    case_free(&k);
    nn_close(&s);
    model_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_exist_as_asked),
        cmocka_unit_test(given_rows_are_held),
        cmocka_unit_test(guidance_one_is_the_plain_prediction),
        cmocka_unit_test(sessions_side_by_side_give_the_same_bytes),
        cmocka_unit_test(overflow_is_refused),
        cmocka_unit_test(missing_controlnet_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
