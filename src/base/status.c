/* Errors: one message per thread, kept until the next FAIL.
 *
 * Errors that a user can mend (options, files, formats) say what and where in their own words. Errors of memory, peers
 * and libraries also name the source line, because a developer will read them. */
#include "base/status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_NBYTES = 2048 };

static _Thread_local char message_text[MESSAGE_NBYTES];

const char *status_name(status st) {
    static const char *const name[ST_COUNT] = {
        [ST_OK] = "ok",
        [ST_USAGE] = "wrong usage",
        [ST_IO] = "input or output failed",
        [ST_FORMAT] = "format",
        [ST_RANGE] = "out of range",
        [ST_MEMORY] = "out of memory",
        [ST_COMM] = "message passing failed",
        [ST_LIBRARY] = "library failed",
        [ST_STOPPED] = "stopped",
    };
    return (unsigned)st < ST_COUNT ? name[st] : "unknown status";
}

int status_exit_code(status st) {
    switch (st) {
    case ST_OK:
        return 0;
    case ST_USAGE:
        return 2;
    case ST_STOPPED:
        return 75;
    default:
        return 1;
    }
}

/* Names and values in messages may come from hostile files: nothing in them may move the cursor or start a line. */
static void make_one_line(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

static bool names_source_line(status st) {
    return st == ST_MEMORY || st == ST_COMM || st == ST_LIBRARY;
}

status status_fail(status st, const char *file, int line, const char *format, ...) {
    /* Formatted aside first: an argument may be status_message() itself. */
    char text[MESSAGE_NBYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (names_source_line(st)) {
        const char *base = strrchr(file, '/');
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, " [%s:%d]", base ? base + 1 : file, line);
    }
    status_set_message(text);
    return st;
}

const char *status_message(void) {
    return message_text;
}

void status_set_message(const char *message) {
    if (message != message_text)
        snprintf(message_text, sizeof message_text, "%s", message ? message : "");
    make_one_line(message_text);
}

void status_assert_failed(const char *expression, const char *file, int line) {
    fprintf(stderr, "nd: bug: %s:%d: assertion failed: %s\n", file, line, expression);
    abort();
}
