/* experiment.c: the command line of the programs, places that follow from others, help, and the saved configuration. */
#include "base_test.h"

#include "base/experiment.h"

enum { MOST_ARGUMENTS = 8 };

static status load(const char *const *arguments, unsigned program, experiment **e, bool *help) {
    char *argv[MOST_ARGUMENTS + 1] = {0};
    int argc = 0;
    for (; argc < MOST_ARGUMENTS && arguments[argc]; argc++)
        argv[argc] = text_copy(arguments[argc]);
    status st = experiment_load(argc, argv, program, "What the program does.", e, help);
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    return st;
}

static void places_follow_from_out(void **state) {
    static const struct {
        const char *arguments[MOST_ARGUMENTS];
        const char *dataset, *model, *generated, *report, *synthetic;
    } rows[] = {
        {{"p"}, "out/dataset.h5", "out/model", "out/generated", "out", "out/generated/dataset.h5"},
        {{"p", "out=/a/b/"}, "/a/b/dataset.h5", "/a/b/model", "/a/b/generated", "/a/b/", "/a/b/generated/dataset.h5"},
        {{"p", "gen.dir=g", "data.dataset=d.h5", "model.dir=m"}, "d.h5", "m", "g", "out", "g/dataset.h5"},
        {{"p", "eval.dir=r", "eval.synthetic=s.h5"}, "out/dataset.h5", "out/model", "out/generated", "r", "s.h5"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        experiment *e;
        bool help = true;
        assert_ok(load(rows[i].arguments, PROGRAM_GEN, &e, &help));
        assert_false(help);
        assert_string_equal(e->data.dataset, rows[i].dataset);
        assert_string_equal(e->model.dir, rows[i].model);
        assert_string_equal(e->gen.dir, rows[i].generated);
        assert_string_equal(e->eval.dir, rows[i].report);
        assert_string_equal(e->eval.synthetic, rows[i].synthetic);
        experiment_free(&e);
        assert_null(e);
    }
}

static void lora_labels_follow_from_the_excluded(void **state) {
    experiment *e;
    bool help;
    assert_ok(load((const char *[]){"p", "train.base.exclude=a,b", NULL}, PROGRAM_TRAIN, &e, &help));
    assert_int_equal(e->train.lora_labels.n, 2);
    assert_true(text_list_has(&e->train.lora_labels, "a") && text_list_has(&e->train.lora_labels, "b"));
    experiment_free(&e);
    assert_ok(
        load((const char *[]){"p", "train.base.exclude=a,b", "train.lora.labels=c", NULL}, PROGRAM_TRAIN, &e, &help));
    assert_int_equal(e->train.lora_labels.n, 1);
    assert_string_equal(e->train.lora_labels.item[0], "c");
    experiment_free(&e);
}

static void options_and_arguments(void **state) {
    char *path = text_format("%s/a=b.yaml", (const char *)*state);
    const char *yaml = "seed: 9\nquiet: no\ndry_run: no\ntrain: {mode: lora, lora: {rank: 4}}\n";
    assert_ok(file_write(path, yaml, strlen(yaml)));
    experiment *e;
    bool help;
    assert_ok(load((const char *[]){"p", "--quiet", "seed=8", path, "--dry-run", "train.lora.rank=2", NULL},
                   PROGRAM_TRAIN, &e, &help));
    assert_int_equal(e->seed, 8);
    assert_true(e->quiet && e->dry_run);
    assert_int_equal(e->train.mode, TRAIN_LORA);
    assert_int_equal(e->train.lora_rank, 2);
    assert_int_equal(e->encode.memory, 768 << 20);
    experiment_free(&e);
    free(path);
}

static void wrong_usage(void **state) {
    static const struct {
        const char *arguments[MOST_ARGUMENTS], *message;
    } rows[] = {
        {{"bin/p", "--frobnicate"}, "unknown option '--frobnicate' (p --help"},
        {{"p", "-x"}, "unknown option '-x'"},
        {{"p", "--seed=3"}, "unknown option '--seed=3'"},
        {{"p", "a.yaml", "b.yaml"}, "two configuration files, 'a.yaml' and 'b.yaml'"},
        {{"p", "train.lora.rnak=3"}, "unknown key 'train.lora.rnak'; did you mean 'train.lora.rank'?"},
        {{"p", "out="}, "out: the name of a folder is wanted"},
        {{"p", "train.mode=fast"}, "none of base|control|lora"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        experiment *e;
        bool help;
        assert_status(ST_USAGE, load(rows[i].arguments, PROGRAM_TRAIN, &e, &help));
        assert_null(e);
        assert_false(help);
        assert_contains(status_message(), rows[i].message);
    }
}

static void help_shows_the_programs_keys_only(void **state) {
    static const struct {
        unsigned program;
        const char *has, *lacks;
    } rows[] = {
        {PROGRAM_ENCODE, "data.captures=", "gen.flows="},
        {PROGRAM_TRAIN, "train.lora.rank=", "gen.flows="},
        {PROGRAM_GEN, "gen.flows=", "eval.tools="},
        {PROGRAM_EVAL, "eval.tools=", "train.lora.rank="},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        captured c = capture_begin(STDOUT_FILENO);
        experiment *e;
        bool help = false;
        status st = load((const char *[]){"/usr/bin/ndtest", "seed=1", "--help", NULL}, rows[i].program, &e, &help);
        char *text = capture_end(&c);
        assert_ok(st);
        assert_true(help);
        assert_null(e);
        assert_int_equal(strncmp(text, "usage: ndtest [CONFIG.yaml]", 27), 0);
        assert_contains(text, "What the program does.");
        assert_contains(text, "  seed=N ");
        assert_contains(text, "75 stopped");
        assert_contains(text, "--fail-on LIMITS");
        assert_contains(text, rows[i].has);
        assert_lacks(text, rows[i].lacks);
        free(text);
    }
}

/* The table's own defaults are valid, and the saved file gives the same experiment, derived places included. */
static void the_saved_configuration_loads_again(void **state) {
    char *first_path = text_format("%s/first.yaml", (const char *)*state);
    char *second_path = text_format("%s/second.yaml", (const char *)*state);
    experiment *e;
    bool help;
    const char *arguments[] = {"p",
                               "out=some/where",
                               "train.base.exclude=a,b",
                               "gen.flows=a:3,b:4",
                               "data.prompts.a=a prompt, with \"quotes\"",
                               "train.base.learning_rate=3e-4",
                               NULL};
    assert_ok(load(arguments, PROGRAM_ALL, &e, &help));
    assert_ok(experiment_save(e, first_path));
    experiment_free(&e);

    assert_ok(load((const char *[]){"p", first_path, NULL}, PROGRAM_ALL, &e, &help));
    assert_string_equal(e->gen.dir, "some/where/generated");
    assert_string_equal(text_map_get(&e->data.prompts, "a"), "a prompt, with \"quotes\"");
    assert_string_equal(text_map_get(&e->gen.flows, "b"), "4");
    assert_int_equal(e->train.lora_labels.n, 2);
    assert_true(e->train.base.learning_rate == 3e-4);
    assert_ok(experiment_save(e, second_path));
    experiment_free(&e);

    /* Apart from the comments of origin, which are the lines' ends, both files hold the same keys and values. */
    char *first, *second;
    size_t nfirst, nsecond;
    assert_ok(file_read(first_path, 1 << 20, &first, &nfirst));
    assert_ok(file_read(second_path, 1 << 20, &second, &nsecond));
    char *at = first, *line, *other_at = second, *other;
    size_t lines = 0;
    while ((line = strsep(&at, "\n"))) {
        other = strsep(&other_at, "\n");
        assert_non_null(other);
        char *comment = strstr(line, "  # "), *other_comment = strstr(other, "  # ");
        assert_int_equal(!comment, !other_comment);
        if (comment)
            *comment = *other_comment = 0;
        assert_string_equal(line, other);
        lines++;
    }
    assert_null(other_at);
    assert_true(lines > 70);
    free(first);
    free(second);
    free(first_path);
    free(second_path);
}

static void another_experiments_output_is_refused(void **state) {
    static const struct {
        const char *saved, *now;
        bool same;
    } rows[] = {
        {"name=one", "name=one", true}, {"name=one", "name=two", false},      {"name=one", "name=on", false},
        {"name=on", "name=one", false}, {"name=a  # b", "name=a  # b", true}, {"name=a  # b", "name=a", false},
        {"seed=1", "seed=2", true}, /* both have the name that is the default */
    };
    char *path = text_format("%s/saved.yaml", (const char *)*state);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        experiment *e;
        bool help;
        assert_ok(load((const char *[]){"p", rows[i].saved, NULL}, PROGRAM_ENCODE, &e, &help));
        assert_ok(experiment_save(e, path));
        experiment_free(&e);
        assert_ok(load((const char *[]){"p", rows[i].now, "threads=3", NULL}, PROGRAM_GEN, &e, &help));
        assert_int_equal(experiment_check_saved(e, path), rows[i].same ? ST_OK : ST_USAGE);
        assert_ok(file_write(path, "no: name\n", 9));
        assert_ok(experiment_check_saved(e, path));
        assert_int_equal(unlink(path), 0);
        assert_ok(experiment_check_saved(e, path));
        experiment_free(&e);
    }
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_follow_from_out),
        cmocka_unit_test(lora_labels_follow_from_the_excluded),
        cmocka_unit_test(options_and_arguments),
        cmocka_unit_test(wrong_usage),
        cmocka_unit_test(help_shows_the_programs_keys_only),
        cmocka_unit_test(the_saved_configuration_loads_again),
        cmocka_unit_test(another_experiments_output_is_refused),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
