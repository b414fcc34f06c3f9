/* The parts of the evaluation. Each adds a section to the report; collective, the report is rank 0's (NULL elsewhere).
 */
#ifndef ND_EVAL_PARTS_H
#define ND_EVAL_PARTS_H

#include "eval/report.h"
#include "eval/world.h"

/* fidelity.c: distances of header fields and bits, of sizes, gaps, lengths, bytes and durations; consistency in flows.
 */
status part_fidelity(const eval_world *w, report *r);
/* utility.c: classifiers trained on real or synthetic flows and tried on the others. */
status part_utility(const eval_world *w, report *r);
/* validity.c: our checker before and after repair, and other people's tools. */
status part_validity(const eval_world *w, report *r);
/* variation.c: bit differences between flows of one prompt; variants (base, LoRA, ControlNet) side by side. */
status part_variation(const eval_world *w, report *r);
/* memory.c: nearest neighbours in training and held-out flows, copies, addresses that leaked. */
status part_memory(const eval_world *w, report *r);
/* gallery.c: real and synthetic flows as pictures, CDFs, loss curve. */
status part_gallery(const eval_world *w, report *r);

#endif
