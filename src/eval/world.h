/* What an evaluation looks at: flows of the training runs, of the held-out runs, and synthetic ones, with their labels.
 *
 * Everything is in memory, flows cut to the first `window` packets (so 20,000 flows of 32 packets take about 100 MB);
 * figures of whole flows are kept beside. Every rank holds the same; work is shared by index. */
#ifndef ND_EVAL_WORLD_H
#define ND_EVAL_WORLD_H

#include "base/experiment.h"
#include "base/rng.h"
#include "dist/comm.h"
#include "packet/check.h"
#include "packet/flow.h"

typedef struct eval_flow {
    flow f;                  /* the first `window` packets; f.label is the world's label, -1 = none */
    uint64_t packets, bytes; /* of the whole flow; bytes = sum of IP total lengths */
    double duration;         /* seconds, whole flow */
} eval_flow;

typedef struct eval_set {
    const char *name; /* "train", "held out", "synthetic", "random", "marginal" */
    size_t n, capacity;
    eval_flow *flows;
} eval_set;

typedef struct eval_world {
    const experiment *e;
    comm *c;
    size_t window;
    size_t nlabels;
    char **label; /* names present in the real or the synthetic data */
    size_t nmacros;
    char **macro;
    int *macro_of; /* (nlabels) */
    eval_set train, held_out, synthetic;
    eval_set raw;      /* synthetic flows before repair, paired with `synthetic`; n = 0 where there are none */
    eval_set random;   /* control: as many flows as synthetic, every header bit random (protocol TCP, UDP or ICMP) */
    eval_set marginal; /* control: every header field drawn by itself from its class's training values */
    char *synthetic_folder; /* of captures: <label>.pcap or any *.pcap, NULL where there is none */
    bool named_by_label;    /* <label>.pcap there holds that label's flows and no others */
    check_payload payload;  /* what is known of the synthetic payload */
} eval_world;

/* Collective. Reads data.dataset, and eval.synthetic: a dataset, or a capture file or folder of any generator (labels
 * by eval.labels, else by file name: <label>.pcap). Builds the controls. Errors: ST_USAGE / ST_FORMAT naming what is
 * missing (no held-out run, a class on one side only is a warning and an empty row later). */
status world_open(eval_world **w, const experiment *e, comm *c);
void world_close(eval_world **w);

/* Nanoseconds from one packet to another. Files may hold any times: a gap that is no int64_t becomes the largest or
 * least that is. */
static inline int64_t packet_gap(const packet *from, const packet *to) {
    int64_t gap;
    if (!__builtin_sub_overflow(to->time_ns, from->time_ns, &gap))
        return gap;
    return to->time_ns > from->time_ns ? INT64_MAX : INT64_MIN;
}

/* Local. Is item i of a shared loop this rank's? */
static inline bool world_mine(const eval_world *w, size_t i) {
    return i % (size_t)comm_size(w->c) == (size_t)comm_rank(w->c);
}

#endif
