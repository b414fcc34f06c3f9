/* Progress of long work on rank 0: count, rate, time left; on a terminal one line that is rewritten, otherwise a line
 * every 30 seconds, nothing when quiet. */
#ifndef ND_BASE_PROGRESS_H
#define ND_BASE_PROGRESS_H

#include <stdint.h>

typedef struct progress {
    const char *what, *unit;
    uint64_t total, done, at_start;
    double started, shown;
} progress;

void progress_start(progress *p, const char *what, const char *unit, uint64_t done, uint64_t total);
void progress_update(progress *p, uint64_t done, const char *detail); /* detail may be NULL, e.g. "loss 0.123" */
void progress_end(progress *p);

double time_seconds(void); /* monotonic */

#endif
