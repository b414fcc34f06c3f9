/* Histograms over the packets of one label (see eval_priv.h). */
#include "eval/eval_priv.h"

#include <math.h>
#include "eval/distance.h"

enum { SIZE_BIN = 32 };

const char *const histogram_names[HISTOGRAMS] = {"protocol", "size", "direction", "gap", "ttl"};

/* Gaps in quarter octaves of microseconds: 0 is below 1 us. */
static size_t gap_bin(int64_t gap_ns) {
    return gap_ns < 1000 ? 0 : 1 + (size_t)(4 * log2((double)gap_ns / 1000));
}

void histograms_add(histograms *h, const flow *f) {
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        h->bin[HISTOGRAM_PROTOCOL][packet_proto(p)]++;
        h->bin[HISTOGRAM_SIZE][packet_total_len(p) / SIZE_BIN]++;
        h->bin[HISTOGRAM_DIRECTION][p->dir != 0]++;
        h->bin[HISTOGRAM_TTL][p->header[packet_ttl_at(p)]]++;
        if (i > 0)
            h->bin[HISTOGRAM_GAP][gap_bin(packet_gap(p - 1, p))]++;
    }
}

double histograms_jsd(const histograms *a, const histograms *b, histogram which) {
    return distance_histograms(a->bin[which], b->bin[which], HISTOGRAM_BINS).jsd;
}
