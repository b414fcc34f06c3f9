/* The start of a program on all ranks: one experiment, one build, clocks that agree, and a watchdog. */
#ifndef ND_DIST_JOIN_H
#define ND_DIST_JOIN_H

#include "base/experiment.h"
#include "dist/comm.h"

/* Collective; after comm_open and log_setup. ST_USAGE naming rank and setting where a rank has another configuration,
 * or runs another build of the program; ST_RANGE naming rank, host and seconds where a clock is farther from rank 0's
 * than comm.clock_limit. From its beginning on it watches, as comm_watch does, with comm.timeout. */
status comm_join(comm *c, const experiment *e);

#endif
