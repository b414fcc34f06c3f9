/* What the training tests share: a folder of their own, an experiment in it. */
#ifndef ND_TESTS_TRAIN_TEST_H
#define ND_TESTS_TRAIN_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/experiment.h"
#include "base/file.h"

#define assert_ok(expression)                                                                                          \
    do {                                                                                                               \
        status assert_st_ = (expression);                                                                              \
        if (assert_st_ != ST_OK)                                                                                       \
            fail_msg("%s: %s", #expression, status_message());                                                         \
    } while (0)

static inline void assert_fails(status st, status wanted, const char *part) {
    if (st != wanted || strstr(status_message(), part) == NULL)
        fail_msg("status %d (%s) instead of %d with \"%s\"", (int)st, status_message(), (int)wanted, part);
}

static inline char *new_folder(void) {
    const char *base = getenv("TMPDIR");
    char *folder = text_format("%s/nd-train-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(folder));
    return folder;
}

static inline void drop_folder(char *folder) {
    assert_ok(file_remove_tree(folder));
    free(folder);
}

/* An experiment with a tiny model and out=FOLDER; more: NULL-terminated key=value texts. */
static inline experiment *tiny_experiment(const char *folder, const char *const *more) {
    char *out = text_format("out=%s", folder);
    const char *argv[40] = {"ndtrain",
                            out,
                            "quiet=yes",
                            "threads=1",
                            "model.packets=8",
                            "model.context=3",
                            "model.width=32",
                            "model.layers=2",
                            "model.head=16",
                            "model.text_width=16",
                            "model.text_layers=1",
                            "model.vocabulary=32",
                            "train.batch=8",
                            "train.warmup=5",
                            "train.base.learning_rate=3e-3"};
    int argc = 15;
    for (; more != NULL && *more != NULL; more++)
        argv[argc++] = *more;
    experiment *e = NULL;
    bool help;
    assert_ok(experiment_load(argc, (char **)argv, PROGRAM_TRAIN, "", &e, &help));
    free(out);
    return e;
}

#endif
