/* Evaluation: synthetic flows against real training and held-out ones, in every way that the parts know. */
#ifndef ND_EVAL_EVAL_H
#define ND_EVAL_EVAL_H

#include "base/experiment.h"
#include "dist/comm.h"

/* Collective. Prints the summary; writes eval.dir/{report.json,report.md,report.html} and images/LABEL.png. ST_RANGE
 * where a limit of eval.fail_on does not hold; the report is written before. */
status eval_run(const experiment *e, comm *c);

#endif
