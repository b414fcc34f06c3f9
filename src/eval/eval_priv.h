/* What the smaller files of the evaluation share: histograms, pictures, and the summary that is printed first. */
#ifndef ND_EVAL_EVAL_PRIV_H
#define ND_EVAL_EVAL_PRIV_H

#include <stdio.h>
#include "eval/report.h"
#include "eval/world.h"
#include "io/capture.h"

/* ---- histograms.c ---- */

typedef enum histogram {
    HISTOGRAM_PROTOCOL,
    HISTOGRAM_SIZE, /* IP total length, in bins of 32 bytes: an IPv6 packet may have 40 + 65535 */
    HISTOGRAM_DIRECTION,
    HISTOGRAM_GAP, /* from the packet before, in quarter octaves of microseconds */
    HISTOGRAM_TTL,
    HISTOGRAMS
} histogram;
extern const char *const histogram_names[HISTOGRAMS];

/* Counts over packets; zeroed, it is empty. */
enum { HISTOGRAM_BINS = 65575 / 32 + 1 };
typedef struct histograms {
    double bin[HISTOGRAMS][HISTOGRAM_BINS];
} histograms;

void histograms_add(histograms *h, const flow *f);
/* Jensen-Shannon divergence, base 2. */
double histograms_jsd(const histograms *a, const histograms *b, histogram which);

/* ---- pictures.c ---- */

/* real (left) and synthetic (right) flow as bit pictures in one PNG. */
status pictures_pair(const char *path, const flow *real, const flow *synthetic);

/* ---- summary_tshark.c ---- */

typedef struct expert_counts {
    bool known; /* tshark ran to its end */
    double errors, warnings, packets;
} expert_counts;

/* Expert information of n captures, checksums verified. known stays false where tshark is not installed, fails or takes
 * too long. apart: flows of different captures may have one 5-tuple, so that every capture needs a run of its own.
 * Local. */
status summary_tshark(size_t n, const char *const *captures, bool apart, expert_counts *counts);

/* ---- validity_captures.c ---- */

/* A pcap file with nanoseconds, in this machine's byte order. False where it cannot be written. */
bool pcap_put_header(FILE *to, int link_type);
bool pcap_put_record(FILE *to, const capture_record *r);

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
