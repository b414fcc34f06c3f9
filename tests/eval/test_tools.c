/* Outside programs: found or not, output kept whole, ended at the time limit with everything they started. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/progress.h"
#include "eval/tools.h"

static const tool_limits usual = {10, 1 << 20};

static tool_result run(const char *const *argv, const char *folder, tool_limits limits) {
    tool_result r;
    assert_int_equal(tool_run((char *const *)argv, folder, limits, &r), ST_OK);
    assert_non_null(r.output);
    assert_int_equal(strlen(r.output), r.noutput);
    return r;
}

static tool_result run_script(const char *script, tool_limits limits) {
    const char *argv[] = {"sh", "-c", script, NULL};
    return run(argv, NULL, limits);
}

static void finds_programs(void **state) {
    (void)state;
    char *sh = tool_find("sh"), *same = tool_find("/bin/sh"), *none = tool_find("no-such-program-anywhere"),
         *folder = tool_find("/tmp");
    assert_non_null(sh);
    assert_string_equal(same, "/bin/sh");
    assert_null(none);
    assert_null(folder);
    free(sh);
    free(same);
}

static void ends(void **state) {
    (void)state;
    static const struct {
        const char *script, *output, *text;
        tool_end end;
        int exit_status;
        tool_limits limits;
    } rows[] = {
        {"echo one; echo two >&2; echo three", "one\nthree\n", "done", TOOL_DONE, 0, {10, 1 << 20}},
        {"echo cut; exit 3", "cut\n", "ended with status 3", TOOL_FAILED, 3, {10, 1 << 20}},
        {"kill -9 $$", "", "ended by signal 9", TOOL_FAILED, -9, {10, 1 << 20}},
        {"echo early; sleep 60", "early\n", "stopped at the time limit", TOOL_LATE, 0, {0.3, 1 << 20}},
        {"exec >&-; sleep 60", "", "stopped at the time limit", TOOL_LATE, 0, {0.3, 1 << 20}},
        {"(sleep 60; echo late) & exit 0", "", "stopped at the time limit", TOOL_LATE, 0, {0.3, 1 << 20}},
        {"while :; do echo abcdefgh; done",
         "abcdefgh\nabcdefg",
         "stopped: too much output",
         TOOL_TOO_LONG,
         0,
         {10, 16}},
        {"cat", "", "done", TOOL_DONE, 0, {10, 1 << 20}}, /* nothing to read */
        {"printf %s \"$LC_ALL\"", "C", "done", TOOL_DONE, 0, {10, 1 << 20}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[TOOL_END_TEXT];
        double began = time_seconds();
        tool_result r = run_script(rows[i].script, rows[i].limits);
        print_message("%s\n", rows[i].script);
        assert_int_equal(r.end, rows[i].end);
        assert_int_equal(r.exit_status, rows[i].exit_status);
        assert_string_equal(r.output, rows[i].output);
        assert_string_equal(tool_end_text(&r, text), rows[i].text);
        assert_true(time_seconds() - began < 9);
        tool_clear(&r);
    }
}

static void missing(void **state) {
    (void)state;
    const char *argv[] = {"no-such-program-anywhere", NULL};
    char text[TOOL_END_TEXT];
    tool_result r = run(argv, NULL, usual);
    assert_int_equal(r.end, TOOL_MISSING);
    assert_string_equal(tool_end_text(&r, text), "not installed");
    tool_clear(&r);
}

/* A file for another processor, or one whose interpreter is gone, is a program that fails and no error of ours. */
static void cannot_run(void **state) {
    (void)state;
    static const char *const contents[] = {"\177ELF rubbish", "#!/no/such/interpreter\n"};
    char folder[] = "/tmp/nd-tools-XXXXXX", text[TOOL_END_TEXT];
    assert_non_null(mkdtemp(folder));
    char *file = text_format("%s/program", folder);
    const char *argv[] = {file, NULL};
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
        assert_int_equal(file_write(file, contents[i], strlen(contents[i])), ST_OK);
        assert_int_equal(chmod(file, 0755), 0);
        tool_result r = run(argv, folder, usual);
        assert_int_equal(r.end, TOOL_FAILED);
        assert_string_equal(tool_end_text(&r, text), "ended with status 126");
        tool_clear(&r);
    }
    free(file);
    assert_int_equal(file_remove_tree(folder), ST_OK);
}

/* A folder of $PATH may be named from here, and the program run elsewhere. */
static void relative_path(void **state) {
    (void)state;
    char folder[] = "/tmp/nd-tools-XXXXXX", here[4096], *path = text_copy(getenv("PATH"));
    const char *argv[] = {"nd-test-program", NULL};
    assert_non_null(mkdtemp(folder));
    char *file = text_format("%s/nd-test-program", folder);
    assert_int_equal(file_write(file, "#!/bin/sh\npwd\n", 14), ST_OK);
    assert_int_equal(chmod(file, 0755), 0);
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(folder), 0);
    setenv("PATH", "./", 1);
    tool_result r = run(argv, "/", usual);
    setenv("PATH", path, 1);
    assert_int_equal(chdir(here), 0);
    assert_int_equal(r.end, TOOL_DONE);
    assert_string_equal(r.output, "/\n");
    tool_clear(&r);
    free(file);
    free(path);
    assert_int_equal(file_remove_tree(folder), ST_OK);
}

/* Arguments are not words of a shell. */
static void no_shell(void **state) {
    (void)state;
    const char *argv[] = {"printf", "%s|", "$HOME `id` ; * 'x'", "", NULL};
    tool_result r = run(argv, NULL, usual);
    assert_string_equal(r.output, "$HOME `id` ; * 'x'||");
    tool_clear(&r);
}

static void long_output_is_whole(void **state) {
    (void)state;
    tool_result r = run_script("i=0; while [ $i -lt 30000 ]; do echo line $i; i=$((i+1)); done", usual);
    char *at = r.output, expected[32];
    size_t n = 0;
    assert_int_equal(r.end, TOOL_DONE);
    for (char *line; (line = tool_line(&at)); n++) {
        snprintf(expected, sizeof expected, "line %zu", n);
        assert_string_equal(line, expected);
    }
    assert_int_equal(n, 30000);
    tool_clear(&r);
}

static void lines(void **state) {
    (void)state;
    char text[] = "a\n\nlast", *at = text;
    assert_string_equal(tool_line(&at), "a");
    assert_string_equal(tool_line(&at), "");
    assert_string_equal(tool_line(&at), "last");
    assert_null(tool_line(&at));
    assert_null(tool_line(&at));
}

static void runs_in_its_folder(void **state) {
    (void)state;
    char folder[] = "/tmp/nd-tools-XXXXXX";
    const char *argv[] = {"sh", "-c", "pwd; echo $WIRESHARK_CONFIG_DIR; echo kept > file", NULL};
    assert_non_null(mkdtemp(folder));
    tool_result r = run(argv, folder, usual);
    char *expected = text_format("%s\n%s\n", folder, folder), *file = text_format("%s/file", folder);
    assert_string_equal(r.output, expected);
    assert_true(file_exists(file));
    tool_clear(&r);
    free(expected);
    free(file);
    assert_int_equal(file_remove_tree(folder), ST_OK);
}

/* What a program started is gone with it. */
static void ends_children(void **state) {
    (void)state;
    tool_result r = run_script("sleep 60 & echo $!; sleep 60", (tool_limits){0.3, 1 << 20});
    int pid = atoi(r.output), tries = 0;
    assert_int_equal(r.end, TOOL_LATE);
    assert_true(pid > 1);
    char *path = text_format("/proc/%d/stat", pid), *stat = NULL;
    for (bool there = true; there && tries < 200; tries++) { /* killed at once, but reaped by init */
        size_t n;
        there = file_read(path, 4096, &stat, &n) == ST_OK && !strstr(stat, ") Z ");
        free(stat);
        stat = NULL;
        usleep(10000);
    }
    assert_true(tries < 200);
    free(path);
    tool_clear(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_programs),     cmocka_unit_test(ends),          cmocka_unit_test(missing),
        cmocka_unit_test(no_shell),           cmocka_unit_test(lines),         cmocka_unit_test(long_output_is_whole),
        cmocka_unit_test(runs_in_its_folder), cmocka_unit_test(ends_children), cmocka_unit_test(cannot_run),
        cmocka_unit_test(relative_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
