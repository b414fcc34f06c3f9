/* What the smaller files of the evaluation share: pictures, and the summary that is printed first. */
#ifndef ND_EVAL_EVAL_PRIV_H
#define ND_EVAL_EVAL_PRIV_H

#include "eval/report.h"
#include "eval/world.h"

/* ---- pictures.c ---- */

/* real (left) and synthetic (right) flow as bit pictures in one PNG. */
status pictures_pair(const char *path, const flow *real, const flow *synthetic);

/* ---- summary_tshark.c ---- */

typedef struct expert_counts {
    bool known; /* tshark ran to its end */
    double errors, warnings, packets;
} expert_counts;

/* Expert information of a capture, checksums verified. known stays false where tshark is not installed, fails or takes
 * too long. Local. */
status summary_tshark(const char *capture, expert_counts *counts);

/* ---- validity_rules.c ---- */

/* What repair changed. Counts, so that ranks add them up. */
typedef struct eval_changes {
    uint64_t bits, bits_changed; /* of headers, checksums not counted */
    uint64_t packets, packets_changed, packets_dropped;
} eval_changes;

/* Add a flow before and after repair. Packets are paired by frame, since a repaired flow may have lost some. */
void eval_count_changes(const flow *before, const flow *after, eval_changes *c);

/* ---- summary.c ---- */

/* Collective. What was compared, then validity and five distances for each label. */
status part_summary(const eval_world *w, report *r);

#endif
