/* Shared by log.c and progress.c: a progress line on a terminal must be wiped before anything else is printed. */
#ifndef ND_BASE_LOG_PRIV_H
#define ND_BASE_LOG_PRIV_H

#include <stdbool.h>

/* Show `text` as the one rewritten line of the terminal. With `keep` it is ended and stays. */
void log_status_line(const char *text, bool keep);

#endif
