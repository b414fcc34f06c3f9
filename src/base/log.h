/* Log lines on stderr. stdout is for results.
 *
 * log_job prints once per job (rank 0), log_rank on every rank with its number. Both obey quiet, warnings do not. */
#ifndef ND_BASE_LOG_H
#define ND_BASE_LOG_H

#include <stdbool.h>

void log_setup(const char *program, int rank, int size, bool quiet);
void log_job(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_rank(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2))); /* once per job */
/* Print `message` as the job's error, on the calling rank, whatever quiet says. */
void log_error(const char *message);
bool log_is_quiet(void);
int log_job_rank(void);

#endif
