/* config.c, config_value.c, config_yaml.c: types and ranges, who overrides whom, messages with file and line, and
 * effective values that load again. */
#include "base_test.h"

#include <float.h>

#include "base/config.h"
#include "base/rng.h"

typedef struct target {
    bool flag;
    int64_t count, wide, size;
    double real;
    char *text;
    int choice;
    text_list list;
    text_map map;
} target;

static const config_key keys[] = {
    {"name", CONFIG_TEXT, offsetof(target, text), 0, 0, NULL, "some name", 1, "a text"},
    {"flag", CONFIG_BOOL, offsetof(target, flag), 0, 0, NULL, "no", 1, "a flag"},
    {"part.count", CONFIG_INT, offsetof(target, count), -5, 1000, NULL, "3", 1, "a number"},
    {"part.wide", CONFIG_INT, offsetof(target, wide), 0, 0, NULL, "0", 1, "a number without range"},
    {"part.inner.real", CONFIG_REAL, offsetof(target, real), -1, 1e9, NULL, "0.5", 2, "a real number"},
    {"part.inner.size", CONFIG_SIZE, offsetof(target, size), 1, 1e15, NULL, "4k", 2, "a size"},
    {"part.kind", CONFIG_CHOICE, offsetof(target, choice), 0, 0, "red|green|dark blue", "green", 3, "a choice"},
    {"labels", CONFIG_LIST, offsetof(target, list), 0, 0, NULL, "", 3, "a list"},
    {"flows", CONFIG_MAP, offsetof(target, map), 0, 0, NULL, "x:1", 3, "a map"},
};
enum { NKEYS = sizeof keys / sizeof keys[0], MOST_OVERRIDES = 4 };

/* Load from a YAML text (or none) and up to four overrides. The file is SCRATCH/c.yaml. */
static status load(void **state, const char *yaml, const char *const *overrides, target *t, config **c) {
    char *path = yaml ? text_format("%s/c.yaml", (const char *)*state) : NULL;
    char *argument[MOST_OVERRIDES] = {0};
    size_t n = 0;
    for (; overrides && n < MOST_OVERRIDES && overrides[n]; n++)
        argument[n] = text_copy(overrides[n]);
    if (yaml)
        assert_ok(file_write(path, yaml, strlen(yaml)));
    status st = config_load(c, keys, NKEYS, t, path, n, argument);
    for (size_t i = 0; i < n; i++)
        free(argument[i]);
    free(path);
    return st;
}

static void defaults(void **state) {
    target t;
    memset(&t, 0xaa, sizeof t); /* what is in the target before does not matter */
    config *c;
    assert_ok(load(state, NULL, NULL, &t, &c));
    assert_string_equal(t.text, "some name");
    assert_false(t.flag);
    assert_int_equal(t.count, 3);
    assert_true(t.real == 0.5);
    assert_int_equal(t.size, 4096);
    assert_int_equal(t.choice, 1);
    assert_int_equal(t.list.n, 0);
    assert_int_equal(t.map.n, 1);
    assert_string_equal(text_map_get(&t.map, "x"), "1");
    config_free(&c);
    assert_null(c);
    config_free(&c);
}

static void all_types_from_yaml(void **state) {
    target t;
    config *c;
    assert_ok(load(state,
                   "# a comment\n"
                   "name: 'no'\n"
                   "flag: true\n"
                   "part:\n"
                   "    count: -5\n"
                   "    wide: -9223372036854775808\n"
                   "    inner: {real: 1e-3, size: 3M}\n"
                   "    kind: dark blue\n"
                   "labels: [a, \"b, c\", \"\"]\n"
                   "flows:\n"
                   "    x: 10\n"
                   "    \"y: z\": long text, with comma\n",
                   NULL, &t, &c));
    assert_string_equal(t.text, "no");
    assert_true(t.flag);
    assert_int_equal(t.count, -5);
    assert_true(t.wide == INT64_MIN);
    assert_true(t.real == 1e-3);
    assert_int_equal(t.size, 3 << 20);
    assert_int_equal(t.choice, 2);
    assert_int_equal(t.list.n, 3);
    assert_true(text_list_has(&t.list, "b, c"));
    assert_true(text_list_has(&t.list, ""));
    assert_false(text_list_has(&t.list, "b"));
    assert_int_equal(t.map.n, 2); /* the default's entries are replaced */
    assert_string_equal(text_map_get(&t.map, "y: z"), "long text, with comma");
    assert_null(text_map_get(&t.map, "y"));
    config_free(&c);
}

static void the_command_line_goes_before_the_file(void **state) {
    target t;
    config *c;
    const char *overrides[] = {"part.count=7", "flows.y=a,b", "labels=p,q\\,r,\\\\", "name=", NULL};
    assert_ok(
        load(state, "name: file\npart.count: 6\npart: {inner: {size: 2G}}\nflows: {x: 4, z: 5}\n", overrides, &t, &c));
    assert_string_equal(t.text, "");
    assert_int_equal(t.count, 7);
    assert_true(t.size == (int64_t)2 << 30);
    assert_int_equal(t.map.n, 3);
    assert_string_equal(text_map_get(&t.map, "x"), "4");
    assert_string_equal(text_map_get(&t.map, "y"), "a,b");
    assert_int_equal(t.list.n, 3);
    assert_string_equal(t.list.item[1], "q,r");
    assert_string_equal(t.list.item[2], "\\");
    config_free(&c);

    const char *map[] = {"flows=a\\:b:1,c:2:3", "flows.c=4", "part.count=1", "part.count=2", NULL};
    assert_ok(load(state, NULL, map, &t, &c));
    assert_int_equal(t.map.n, 2);
    assert_string_equal(text_map_get(&t.map, "a:b"), "1");
    assert_string_equal(text_map_get(&t.map, "c"), "4");
    assert_int_equal(t.count, 2);
    config_free(&c);
}

static void empty_values_in_yaml_leave_the_default(void **state) {
    static const char *const texts[] = {"", "# nothing\n", "---\n", "~\n",
                                        "part:\nname:\nlabels: ~\npart.inner: null\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        target t;
        config *c;
        assert_ok(load(state, texts[i], NULL, &t, &c));
        assert_string_equal(t.text, "some name");
        assert_int_equal(t.count, 3);
        config_free(&c);
    }
}

static void accepted_scalars(void **state) {
    static const struct {
        const char *override;
        double value;
    } rows[] = {
        {"part.count=-5", -5},
        {"part.count=1000", 1000},
        {"part.count=+7", 7},
        {"part.count=007", 7},
        {"part.inner.real=-1", -1},
        {"part.inner.real=1e9", 1e9},
        {"part.inner.real=.25", .25},
        {"part.inner.size=1", 1},
        {"part.inner.size=2k", 2048},
        {"part.inner.size=2K", 2048},
        {"part.inner.size=3M", 3 << 20},
        {"part.inner.size=931322G", 931322.0 * (1 << 30)},
        {"flag=yes", 1},
        {"flag=true", 1},
        {"flag=no", 0},
        {"flag=false", 0},
        {"part.kind=red", 0},
        {"part.kind=dark blue", 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        target t;
        config *c;
        const char *overrides[] = {rows[i].override, NULL};
        assert_ok(load(state, NULL, overrides, &t, &c));
        const char *name = rows[i].override;
        double got = strncmp(name, "part.count", 10) == 0        ? (double)t.count
                     : strncmp(name, "part.inner.real", 15) == 0 ? t.real
                     : strncmp(name, "part.inner.size", 15) == 0 ? (double)t.size
                     : strncmp(name, "flag", 4) == 0             ? t.flag
                                                                 : t.choice;
        if (got != rows[i].value)
            fail_msg("%s gave %g", name, got);
        config_free(&c);
    }
}

static void refused_overrides(void **state) {
    static const struct {
        const char *override, *message;
    } rows[] = {
        {"part.count=1001", "command line: part.count: 1001 is outside -5 to 1000"},
        {"part.count=-6", "outside"},
        {"part.count=99999999999999999999", "outside"},
        {"part.count=12x", "'12x' is not a whole number"},
        {"part.count=1.5", "whole number"},
        {"part.count=", "whole number"},
        {"part.count= 1", "whole number"},
        {"part.count=0x10", "whole number"},
        {"part.wide=9223372036854775808", "outside"},
        {"part.inner.real=nan", "not a number"},
        {"part.inner.real=inf", "not a number"},
        {"part.inner.real=0x1p3", "not a number"},
        {"part.inner.real=1e999", "outside"},
        {"part.inner.real=-1.01", "outside -1 to 1e+09"},
        {"part.inner.real=1,5", "not a number"},
        {"part.inner.real=", "not a number"},
        {"part.inner.size=0", "outside"},
        {"part.inner.size=1.5G", "not a size"},
        {"part.inner.size=2kb", "not a size"},
        {"part.inner.size=k", "not a size"},
        {"part.inner.size=-1", "not a size"},
        {"part.inner.size=99999999999999999999999999999999999999999999G", "outside"},
        {"part.inner.size=9999999999999G", "outside"},
        {"part.inner.size=931323G", "outside"},
        {"flag=maybe", "neither yes nor no"},
        {"flag=", "neither yes nor no"},
        {"part.kind=blue", "'blue' is none of red|green|dark blue"},
        {"part.kind=", "none of"},
        {"part.kind=red|green", "none of"},
        {"flows=a", "not of the form a:1,b:2"},
        {"flows=a:1,b", "not of the form"},
        {"flows=:1", "not of the form"},
        {"flows=a:1,a:2", "'a' is given twice"},
        {"name=\xff", "name: not UTF-8"},
        {"name=\xed\xa0\x80", "not UTF-8"},
        {"name=\xc0\x80", "not UTF-8"},
        {"name=\xe2\x82", "not UTF-8"},
        {"part=1", "'part' is a section"},
        {"part.inner=1", "is a section"},
        {"=1", "not of the form key=value"},
        {"count", "not of the form key=value"},
        {"flows.=1", "unknown key 'flows.'"},
        {"part.cuont=1", "command line: unknown key 'part.cuont'; did you mean 'part.count'?"},
        {"real=1", "did you mean 'part.inner.real'?"},
        {"nam=x", "did you mean 'name'?"},
        {"lable=x", "did you mean 'labels'?"},
        {"something_else_entirely=1", "unknown key 'something_else_entirely' (--help lists the keys)"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        target t;
        config *c;
        const char *overrides[] = {rows[i].override, NULL};
        if (load(state, NULL, overrides, &t, &c) != ST_USAGE)
            fail_msg("%s was accepted", rows[i].override);
        assert_null(c);
        assert_contains(status_message(), rows[i].message);
    }
}

static void refused_files_name_file_and_line(void **state) {
    static const struct {
        const char *yaml, *message;
    } rows[] = {
        {"name: x\n\nnmae: y\n", "c.yaml:3: unknown key 'nmae'; did you mean 'name'?"},
        {"part:\n  count: 1\n  conut: 2\n", "c.yaml:3: unknown key 'part.conut'; did you mean 'part.count'?"},
        {"prat:\n  count: 1\n", "c.yaml:1: unknown key 'prat'; did you mean 'part'?"},
        {"part:\n  inner:\n    real: 2e9\n", "c.yaml:3: part.inner.real: 2e9 is outside"},
        {"part: 5\n", "c.yaml:1: part: a section"},
        {"part: [count]\n", "c.yaml:1: part: a section"},
        {"\npart: {count: [1, 2]}\n", "c.yaml:2: part.count: one value is wanted, not a list"},
        {"name: {a: b}\n", "c.yaml:1: name: one value is wanted, not a map"},
        {"labels: {a: b}\n", "c.yaml:1: labels: a list is wanted, not a map"},
        {"flows: [a, b]\n", "c.yaml:1: flows: a map is wanted, not a list"},
        {"labels:\n  - a\n  - [b]\n", "c.yaml:3: labels: a single value is wanted"},
        {"flows:\n  a: 1\n  b: {c: 1}\n", "c.yaml:3: flows: a single value is wanted"},
        {"flows:\n  a: 1\n  a: 2\n", "c.yaml:3: flows: 'a' is given twice"},
        {"name: x\nflag: no\nname: y\n", "c.yaml:3: name was given before, in line 1"},
        {"part: {count: 1}\npart: {count: 2}\n", "c.yaml:2: part.count was given before, in line 1"},
        {"flows.a: 1\nflows.a: 2\n", "c.yaml:2: flows was given before, in line 1"},
        {"- a\n- b\n", "c.yaml:1: the file must be a map"},
        {"just text\n", "c.yaml:1: the file must be a map"},
        {"name: x\n---\nname: y\n", "c.yaml:3: a second document"},
        {"name: [x\nflag: no\n", "c.yaml:2: not YAML"},
        {"name: \"x\n", "not YAML"},
        {"\tname: x\n", "c.yaml:1: not YAML"},
        {"name: *nobody\n", "c.yaml:1: not YAML"},
        {"name: \"a\\0b\"\n", "c.yaml:1: name: a NUL character"},
        {"name: \xff\xfe\n", "not YAML"},
        {"? [a, b]\n: 1\n", "c.yaml:1: a single value is wanted"},
        {"&a part: &b\n  inner: *b\n", "c.yaml:"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        target t;
        config *c;
        if (load(state, rows[i].yaml, NULL, &t, &c) != ST_USAGE)
            fail_msg("accepted:\n%s", rows[i].yaml);
        assert_null(c);
        assert_contains(status_message(), rows[i].message);
    }
    target t;
    config *c;
    assert_status(ST_IO, config_load(&c, keys, NKEYS, &t, "/nonexistent.yaml", 0, NULL));
    assert_contains(status_message(), "/nonexistent.yaml");
}

/* Every prefix of a good file gives an answer and leaks nothing (under AddressSanitizer). */
static void truncated_files_are_survived(void **state) {
    static const char whole[] =
        "name: \"a\\u00e4 b\"\npart: &x\n  inner: {real: 1, size: 1k}\nlabels: [a, b]\nflows: {a: 1, ? b : 2}\n";
    size_t accepted = 0;
    for (size_t n = 0; n <= strlen(whole); n++) {
        char *text = text_format("%.*s", (int)n, whole);
        target t;
        config *c;
        status st = load(state, text, NULL, &t, &c);
        if (st != ST_OK && st != ST_USAGE)
            fail_msg("%zu bytes gave %s: %s", n, status_name(st), status_message());
        accepted += st == ST_OK;
        if (c)
            config_free(&c);
        free(text);
    }
    assert_true(accepted > 2);
}

/* Random changes of a good file, always the same ones: bytes replaced, doubled, removed. */
static void mutated_files_are_survived(void **state) {
    static const char whole[] =
        "name: \"a\\u00e4 b\"\npart: &x\n  inner: {real: 1, size: 1k}\n  count: 7\n  kind: red\n"
        "flows: {a: 1, ? b : &y 2}\nlabels: [a, 'b', *y]\nflag: !!bool yes\n";
    static const char odd[] = "\n\t :-?[]{}&*!|>'\"%@`#,.=~\\<\0\xff\xc3";
    rng r = rng_make(1, 0, RNG_TEST);
    size_t accepted = 0;
    for (int round = 0; round < 3000; round++) {
        char text[sizeof whole * 2];
        size_t n = strlen(whole);
        memcpy(text, whole, sizeof whole);
        for (uint32_t change = rng_below(&r, 6); change < 6; change++) {
            size_t at = rng_below(&r, (uint32_t)n), length = rng_below(&r, 12) % (n - at);
            switch (rng_below(&r, 3)) {
            case 0:
                text[at] = odd[rng_below(&r, sizeof odd)];
                break;
            case 1:
                memmove(text + at, text + at + length, n - at - length);
                n -= length;
                break;
            case 2:
                memmove(text + at + length, text + at, n - at);
                n += length;
                break;
            }
        }
        char *path = text_format("%s/mutated.yaml", (const char *)*state);
        unlink(path); /* some file systems write a file out at once that is truncated and closed */
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(text, 1, n, f), n);
        fclose(f);
        target t;
        config *c;
        status st = config_load(&c, keys, NKEYS, &t, path, 0, NULL);
        if (st != ST_OK && (st != ST_USAGE || !strstr(status_message(), "mutated.yaml:")))
            fail_msg("round %d gave %s: %s", round, status_name(st), status_message());
        accepted += st == ST_OK;
        config_free(&c);
        free(path);
    }
    assert_in_range(accepted, 30, 2970);
}

static void assert_same(const target *a, const target *b) {
    assert_int_equal(a->flag, b->flag);
    assert_true(a->count == b->count && a->wide == b->wide && a->size == b->size);
    assert_true(a->real == b->real);
    assert_string_equal(a->text, b->text);
    assert_int_equal(a->choice, b->choice);
    assert_int_equal(a->list.n, b->list.n);
    for (size_t i = 0; i < a->list.n; i++)
        assert_string_equal(a->list.item[i], b->list.item[i]);
    assert_int_equal(a->map.n, b->map.n);
    for (size_t i = 0; i < a->map.n; i++) {
        assert_string_equal(a->map.key[i], b->map.key[i]);
        assert_string_equal(a->map.value[i], b->map.value[i]);
    }
}

static void effective_values_load_again(void **state) {
    static const char *const rows[][MOST_OVERRIDES + 1] = {
        {NULL},
        {"name=yes", "labels=no,~,null,1e3", "flows=true:false", "flag=yes"},
        {"name=\"quoted\" \\ 'single' # : {}[]", "labels=- a,? b,*c,&d,!e,%f,@g,`h", "flows=a b:  c  ",
         "part.kind=red"},
        {"name=line\nline\ttab\r\x01\x7f end ", "labels=\xc3\xa4,\xe2\x82\xac,\xf0\x9f\x98\x80", "flows=k\n:v\n",
         "part.wide=-9223372036854775808"},
        {"name=nel\xc2\x85 ls\xe2\x80\xa8 ps\xe2\x80\xa9 bom\xef\xbb\xbf x\xef\xbf\xbe y\xef\xbf\xbf", "labels=,,",
         "flows=", "part.inner.size=1000000000000000"},
        {"part.inner.real=0.1", "part.wide=9223372036854775807", "flows=a\\:b\\,c:d", NULL},
        {"part.inner.real=0.30000000000000004", NULL},
        {"part.inner.real=1e-300", "part.count=-5", NULL},
        {"part.inner.real=123456789.12345679", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        target first, second;
        config *a, *b;
        assert_ok(load(state, NULL, rows[i], &first, &a));
        char *text = config_effective(a);
        assert_non_null(text);
        assert_ok(load(state, text, NULL, &second, &b));
        assert_same(&first, &second);
        char *again = config_effective(b);
        assert_non_null(again);
        config_free(&a);
        config_free(&b);
        assert_ok(load(state, again, NULL, &second, &b));
        config_free(&b);
        free(text);
        free(again);
    }
}

static void effective_values_name_their_origin(void **state) {
    target t;
    config *c;
    const char *overrides[] = {"part.kind=red", "flows.y=2", NULL};
    assert_ok(load(state, "labels: [a]\npart:\n    inner:\n        real: 0.25\n", overrides, &t, &c));
    char *text = config_effective(c);
    static const char *const begin[] = {"name: \"some name\"  # default\n",
                                        "\npart:\n    count: 3  # default\n",
                                        "\n    inner:\n        real: 0.25  # ",
                                        "        size: 4096  # default\n",
                                        "    kind: red  # command line\n",
                                        "\nlabels:  # ",
                                        "\n    - \"a\"\n",
                                        "\nflows:  # command line\n    \"x\": \"1\"\n    \"y\": \"2\"\n"};
    for (size_t i = 0; i < sizeof begin / sizeof begin[0]; i++)
        assert_contains(text, begin[i]);
    assert_contains(text, "c.yaml:4\n");
    assert_contains(text, "c.yaml:1\n");
    free(text);
    config_free(&c);
}

static void help_lists_a_programs_keys(void **state) {
    static const struct {
        unsigned program;
        const char *has[3], *lacks;
    } rows[] = {
        {1,
         {"part.count=N ", "a number [-5 to 1000; 3]\n", "part.kind=red|green|dark blue          a choice [green]\n"},
         "size"},
        {2, {"part.inner.size=SIZE", "[1 to 1e+15; 4k]\n", "labels=A,B,.."}, "flag"},
    };
    for (size_t i = 0; i < 2; i++) {
        char *text = NULL;
        size_t nbytes;
        FILE *to = open_memstream(&text, &nbytes);
        assert_non_null(to);
        config_help(keys, NKEYS, rows[i].program, to);
        fclose(to);
        for (size_t k = 0; k < 3; k++)
            assert_contains(text, rows[i].has[k]);
        assert_lacks(text, rows[i].lacks);
        free(text);
    }
}

static void lists_and_numbers_on_their_own(void **state) {
    text_list l = {0};
    assert_ok(text_list_add(&l, "a"));
    assert_ok(text_list_add(&l, "b"));
    assert_true(text_list_has(&l, "b"));
    text_list_clear(&l);
    assert_int_equal(l.n, 0);
    assert_false(text_list_has(&l, "b"));
    int64_t i = 5;
    double x = 5;
    assert_ok(text_to_int("-12", "here", -20, 20, &i));
    assert_int_equal(i, -12);
    assert_status(ST_USAGE, text_to_int("21", "here", -20, 20, &i));
    assert_string_equal(status_message(), "here: 21 is outside -20 to 20");
    assert_ok(text_to_real("2.5e1", "here", 0, 30, &x));
    assert_true(x == 25);
    assert_status(ST_USAGE, text_to_real("31", "here", 0, 30, &x));
    assert_status(ST_USAGE, text_to_real("--1", "here", 0, 30, &x));
    assert_int_equal(i, -12);
    assert_true(x == 25);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(all_types_from_yaml),
        cmocka_unit_test(the_command_line_goes_before_the_file),
        cmocka_unit_test(empty_values_in_yaml_leave_the_default),
        cmocka_unit_test(accepted_scalars),
        cmocka_unit_test(refused_overrides),
        cmocka_unit_test(refused_files_name_file_and_line),
        cmocka_unit_test(truncated_files_are_survived),
        cmocka_unit_test(mutated_files_are_survived),
        cmocka_unit_test(effective_values_load_again),
        cmocka_unit_test(effective_values_name_their_origin),
        cmocka_unit_test(help_lists_a_programs_keys),
        cmocka_unit_test(lists_and_numbers_on_their_own),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
