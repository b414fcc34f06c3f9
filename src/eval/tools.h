/* Other people's programs: found, started without a shell, given a time limit, and their output kept.
 *
 * A program that is missing, fails or takes too long is not an error: its result says so, and a figure is left out.
 * Local. */
#ifndef ND_EVAL_TOOLS_H
#define ND_EVAL_TOOLS_H

#include <stdbool.h>
#include <stddef.h>
#include "base/status.h"

typedef enum tool_end {
    TOOL_MISSING,  /* no such program */
    TOOL_LATE,     /* killed at the time limit */
    TOOL_FAILED,   /* ended with another exit status than 0, or by a signal */
    TOOL_TOO_LONG, /* killed because its output passed the limit */
    TOOL_DONE
} tool_end;

enum { TOOL_CANNOT_RUN = 126 }; /* exit status of a file that this machine cannot execute, as shells say it */

typedef struct tool_limits {
    double seconds;
    size_t nbytes; /* of output */
} tool_limits;

typedef struct tool_result {
    tool_end end;
    int exit_status; /* minus the signal where one ended it; 0 unless TOOL_DONE or TOOL_FAILED */
    char *output;    /* what it wrote to standard output, also where it did not end well; a NUL after it; never NULL */
    size_t noutput;
} tool_result;

/* Path of a program, in $PATH, then in the sbin folders that are often missing there; NULL where there is none. Caller
 * frees. A name with a slash is taken as it is. */
char *tool_find(const char *name);

/* Run argv[0] (as tool_find finds it) with the C locale, standard input and error on /dev/null. folder: its working
 * folder, where wireshark's programs also look for preferences (so that a user's own do not count); NULL = this one.
 * Processes that it started are ended with it. Release with tool_clear, also after an error. Errors: ST_IO where no
 * process or pipe can be made, ST_MEMORY. */
status tool_run(char *const *argv, const char *folder, tool_limits limits, tool_result *r);
void tool_clear(tool_result *r);

/* What became of it, for an empty cell of a table: "not installed", "ended with status 2". text: at least 64 bytes. */
enum { TOOL_END_TEXT = 64 };
const char *tool_end_text(const tool_result *r, char text[TOOL_END_TEXT]);

/* The next line at *at, without its newline and cut by a NUL in place; NULL at the end. Empty lines are given too. */
char *tool_line(char **at);

#endif
