/* What the tests of src/base share: cmocka with its headers, a scratch folder, captured output. */
#ifndef ND_TESTS_BASE_TEST_H
#define ND_TESTS_BASE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/status.h"

#define assert_ok(expression) assert_status(ST_OK, (expression))
#define assert_status(wanted, expression)                                                                              \
    do {                                                                                                               \
        status assert_st_ = (expression);                                                                              \
        if (assert_st_ != (wanted))                                                                                    \
            fail_msg("%s gave '%s' (%s), not '%s'", #expression, status_name(assert_st_), status_message(),            \
                     status_name(wanted));                                                                             \
    } while (0)

#define assert_contains(text, part)                                                                                    \
    do {                                                                                                               \
        if (!strstr((text), (part)))                                                                                   \
            fail_msg("'%s' is not in:\n%s", (part), (text));                                                           \
    } while (0)

#define assert_lacks(text, part)                                                                                       \
    do {                                                                                                               \
        if (strstr((text), (part)))                                                                                    \
            fail_msg("'%s' is in:\n%s", (part), (text));                                                               \
    } while (0)

/* cmocka group set-up and tear-down: *state is the path of a fresh folder. */
static inline int scratch_make(void **state) {
    const char *parent = getenv("TMPDIR");
    char *folder = text_format("%s/nd-test-XXXXXX", parent && *parent ? parent : "/tmp");
    *state = mkdtemp(folder);
    return *state ? 0 : -1;
}

static inline int scratch_remove(void **state) {
    status st = file_remove_tree(*state);
    free(*state);
    return st == ST_OK ? 0 : -1;
}

/* A stream of the process (1 or 2) goes to a file between begin and end; end gives what was written (caller frees). */
typedef struct captured {
    int fd, saved;
    FILE *file;
} captured;

static inline captured capture_begin(int fd) {
    captured c = {.fd = fd, .saved = dup(fd), .file = tmpfile()};
    assert_true(c.saved >= 0);
    assert_non_null(c.file);
    fflush(stdout);
    fflush(stderr);
    assert_int_equal(dup2(fileno(c.file), fd), fd);
    return c;
}

static inline char *capture_end(captured *c) {
    fflush(stdout);
    fflush(stderr);
    dup2(c->saved, c->fd);
    close(c->saved);
    long n = lseek(fileno(c->file), 0, SEEK_END);
    char *text = calloc(1, (size_t)n + 1);
    assert_non_null(text);
    rewind(c->file);
    size_t got = fread(text, 1, (size_t)n, c->file);
    assert_int_equal(got, n);
    fclose(c->file);
    return text;
}

#endif
