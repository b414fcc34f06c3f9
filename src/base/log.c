/* Log lines on stderr, each written by one call so that the lines of several ranks do not mix. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/log_priv.h"

enum { LINE_NBYTES = 4096 };

/* Set once by the main program, before any thread starts; the last one changes, and any thread may log. */
static struct {
    char program[64];
    int rank, size;
    bool quiet;
    atomic_bool line_open; /* the terminal shows a progress line that is not ended */
} state = {.size = 1};

static const char *program_name(void) {
    return *state.program ? state.program : program_invocation_short_name;
}

void log_setup(const char *program, int rank, int size, bool quiet) {
    const char *base = strrchr(program, '/');
    snprintf(state.program, sizeof state.program, "%s", base ? base + 1 : program);
    state.rank = rank;
    state.size = size;
    state.quiet = quiet;
}

bool log_is_quiet(void) {
    return state.quiet;
}

int log_job_rank(void) {
    return state.rank;
}

static void print_line(const char *prefix, const char *text) {
    char line[LINE_NBYTES];
    const char *wipe = atomic_exchange(&state.line_open, false) ? "\r\033[K" : "";
    int n = snprintf(line, sizeof line, "%s%s%s\n", wipe, prefix, text);
    if (n < 0)
        return;
    if ((size_t)n >= sizeof line) {
        n = sizeof line - 1;
        line[n - 1] = '\n';
    }
    fwrite(line, 1, (size_t)n, stderr);
    fflush(stderr);
}

static void print_format(const char *prefix, const char *format, va_list arguments) {
    char text[LINE_NBYTES];
    vsnprintf(text, sizeof text, format, arguments);
    print_line(prefix, text);
}

void log_job(const char *format, ...) {
    if (state.quiet || state.rank != 0)
        return;
    char prefix[96];
    snprintf(prefix, sizeof prefix, "%s: ", program_name());
    va_list arguments;
    va_start(arguments, format);
    print_format(prefix, format, arguments);
    va_end(arguments);
}

void log_rank(const char *format, ...) {
    if (state.quiet)
        return;
    char prefix[96];
    if (state.size > 1)
        snprintf(prefix, sizeof prefix, "%s[%d]: ", program_name(), state.rank);
    else
        snprintf(prefix, sizeof prefix, "%s: ", program_name());
    va_list arguments;
    va_start(arguments, format);
    print_format(prefix, format, arguments);
    va_end(arguments);
}

void log_warn(const char *format, ...) {
    if (state.rank != 0)
        return;
    char prefix[96];
    snprintf(prefix, sizeof prefix, "%s: warning: ", program_name());
    va_list arguments;
    va_start(arguments, format);
    print_format(prefix, format, arguments);
    va_end(arguments);
}

void log_error(const char *message) {
    char prefix[96];
    snprintf(prefix, sizeof prefix, "%s: error: ", program_name());
    print_line(prefix, message);
}

void log_status_line(const char *text, bool keep) {
    char line[LINE_NBYTES];
    int n = snprintf(line, sizeof line, "\r\033[K%s: %s%s", program_name(), text, keep ? "\n" : "");
    if (n < 0)
        return;
    fwrite(line, 1, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1, stderr);
    fflush(stderr);
    atomic_store(&state.line_open, !keep);
}
