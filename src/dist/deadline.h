/* A deadline for what cannot be watched: starting and ending message passing, when ranks cannot talk to each other. */
#ifndef ND_DIST_DEADLINE_H
#define ND_DIST_DEADLINE_H

#include "base/status.h"

typedef struct deadline deadline;

/* Unless deadline_end comes within `seconds`, the process prints one line that names host and `what` (a constant text)
 * and leaves with exit code 1, whereupon the launcher ends the other ranks. Local. */
status deadline_begin(deadline **d, double seconds, const char *what);
void deadline_end(deadline **d); /* *d may be NULL */

#endif
