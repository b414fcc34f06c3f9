/* The experiment: the one table of keys, the command line of every program, and places that follow from others. */
#include "base/experiment.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

#define KEY(key, kind, member, least, most, words, value, readers, text)                                               \
    {.name = key,                                                                                                      \
     .type = kind,                                                                                                     \
     .offset = offsetof(experiment, member),                                                                           \
     .min = least,                                                                                                     \
     .max = most,                                                                                                      \
     .choices = words,                                                                                                 \
     .fallback = value,                                                                                                \
     .programs = readers,                                                                                              \
     .help = text},
static const config_key keys[] = {
#include "base/experiment_keys.h"
};
#undef KEY
enum { NKEYS = sizeof keys / sizeof keys[0] };

typedef struct arguments {
    const char *program, *path;
    text_list overrides;
    bool help;
} arguments;

static void print_help(const arguments *a, unsigned program, const char *summary) {
    printf("usage: %s [CONFIG.yaml] [key=value...] [--help] [--dry-run] [--quiet]\n\n%s\n\n", a->program, summary);
    printf(
        "CONFIG.yaml holds the keys as nested maps (train.lora.rank is train: {lora: {rank: ...}}); key=value\n"
        "arguments override it. In an argument, A.B.NAME=X sets one entry of a map, and \\ keeps the character after\n"
        "it from separating a list or map. Sizes take k, M, G (powers of 1024).\n\n"
        "keys [range; default]:\n");
    config_help(keys, NKEYS, program, stdout);
    printf("\n--dry-run is dry_run=yes, --quiet is quiet=yes, --fail-on LIMITS is eval.fail_on=LIMITS.\n"
           "exit code: 0 done, 1 failed, 2 wrong usage, 75 stopped on request (run again to go on)\n");
}

/* key=value, unless a slash before the equals sign shows that it is a path. */
static bool is_override(const char *argument) {
    size_t n = strcspn(argument, "=/");
    return argument[n] == '=';
}

static status add_setting(text_list *overrides, const char *key, const char *value) {
    char *setting = text_format("%s=%s", key, value);
    status st = text_list_add(overrides, setting);
    free(setting);
    return st;
}

static status parse_arguments(int argc, char **argv, arguments *a) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            a->help = true;
        else if (strcmp(argv[i], "--dry-run") == 0)
            TRY(text_list_add(&a->overrides, "dry_run=yes"));
        else if (strcmp(argv[i], "--quiet") == 0)
            TRY(text_list_add(&a->overrides, "quiet=yes"));
        else if (strcmp(argv[i], "--fail-on") == 0 && i + 1 < argc)
            TRY(add_setting(&a->overrides, "eval.fail_on", argv[++i]));
        else if (argv[i][0] == '-')
            return FAIL(ST_USAGE, "unknown option '%s' (%s --help lists what there is)", argv[i], a->program);
        else if (is_override(argv[i]))
            TRY(text_list_add(&a->overrides, argv[i]));
        else if (a->path)
            return FAIL(ST_USAGE, "two configuration files, '%s' and '%s'; one is wanted", a->path, argv[i]);
        else
            a->path = argv[i];
    }
    return ST_OK;
}

/* Replace *place, if empty, by FOLDER/NAME (FOLDER alone where name is NULL). */
static void derive(char **place, const char *folder, const char *name) {
    if (**place)
        return;
    free(*place);
    size_t n = strlen(folder);
    bool slash = n && folder[n - 1] == '/';
    *place = name ? text_format("%s%s%s", folder, slash ? "" : "/", name) : text_copy(folder);
}

static status derive_places(experiment *e) {
    if (!*e->out)
        return FAIL(ST_USAGE, "out: the name of a folder is wanted");
    if (e->model.context < 0)
        e->model.context = e->model.packets / 4;
    derive(&e->data.dataset, e->out, "dataset.h5");
    derive(&e->model.dir, e->out, "model");
    derive(&e->gen.dir, e->out, "generated");
    derive(&e->eval.dir, e->out, NULL);
    derive(&e->eval.synthetic, e->gen.dir, "dataset.h5");
    if (e->train.lora_labels.n == 0)
        for (size_t i = 0; i < e->train.exclude.n; i++)
            TRY(text_list_add(&e->train.lora_labels, e->train.exclude.item[i]));
    return ST_OK;
}

status experiment_load(int argc, char **argv, unsigned program, const char *summary, experiment **out, bool *help) {
    status st = ST_OK;
    experiment *e = NULL;
    const char *name = argc > 0 ? argv[0] : "nd";
    const char *slash = strrchr(name, '/');
    arguments a = {.program = slash ? slash + 1 : name};
    *out = NULL;
    *help = false;
    TRY_TO(end, parse_arguments(argc, argv, &a));
    if (a.help) {
        print_help(&a, program, summary);
        *help = true;
        goto end;
    }
    TRY_TO(end, NEW(1, &e));
    TRY_TO(end, config_load(&e->config, keys, NKEYS, e, a.path, a.overrides.n, a.overrides.item));
    TRY_TO(end, derive_places(e));
    *out = e;
    e = NULL;
end:
    experiment_free(&e);
    text_list_clear(&a.overrides);
    return st;
}

status experiment_save(const experiment *e, const char *path) {
    char *text = config_effective(e->config);
    if (!text)
        return FAIL(ST_MEMORY, "%s: no memory for the configuration", path);
    status st = file_write(path, text, strlen(text));
    free(text);
    return st;
}

/* Length of the value in the first line of a saved configuration, "name: VALUE  # where it came from"; 0 for another.
 */
static int saved_name(const char *text, const char **name) {
    static const char key[] = "name: ", comment[] = "  # ";
    if (strncmp(text, key, strlen(key)) != 0)
        return 0;
    *name = text + strlen(key);
    size_t n = strcspn(*name, "\n");
    for (size_t i = n; i > 0; i--)
        if (strncmp(*name + i - 1, comment, strlen(comment)) == 0)
            return i - 1 < 200 ? (int)i - 1 : 200;
    return n < 200 ? (int)n : 200;
}

status experiment_check_saved(const experiment *e, const char *path) {
    enum { TEXT_MAX = 1 << 24 };
    char *saved = NULL, *mine;
    const char *there = NULL, *here = NULL;
    size_t nbytes;
    if (!file_exists(path))
        return ST_OK;
    TRY(file_read(path, TEXT_MAX, &saved, &nbytes));
    mine = config_effective(e->config);
    status st = mine ? ST_OK : FAIL(ST_MEMORY, "%s: no memory for the configuration", path);
    if (!st) {
        int n = saved_name(saved, &there), m = saved_name(mine, &here);
        if (n > 0 && (n != m || memcmp(there, here, (size_t)n) != 0))
            st = FAIL(ST_USAGE,
                      "%s: the experiment %.*s made what lies there, and this one is %.*s: choose another out, or "
                      "remove that file",
                      path, n, there, m, here);
    }
    free(mine);
    free(saved);
    return st;
}

void experiment_free(experiment **e) {
    if (!*e)
        return;
    config_free(&(*e)->config);
    memory_free(e);
}
