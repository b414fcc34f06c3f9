/* Whether all ranks see one and the same folder: a node where the shared file system is not mounted has another of that
 * name, or none. */
#ifndef ND_DIST_SHARED_H
#define ND_DIST_SHARED_H

#include "dist/comm.h"

/* Collective, with the folder made by rank 0. ST_IO naming the first rank and host that do not see what rank 0 puts
 * there (for a moment). */
status comm_check_shared(comm *c, const char *folder);

#endif
