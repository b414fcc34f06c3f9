/* The parts of generation: what is known of each class, the plan, the fan-out over ranks and threads, the merge. */
#ifndef ND_GEN_GEN_PRIV_H
#define ND_GEN_GEN_PRIV_H

#include "base/rng.h"
#include "gen/gen.h"
#include "io/dataset.h"
#include "model/model.h"
#include "packet/control.h"
#include "packet/repair.h"

/* ---- classes.c: conversation shapes and gaps of the training flows, per label ---- */

typedef struct class_flow {
    size_t first, n; /* its rows in class_info.shapes */
    size_t npackets; /* of the whole flow: above n where it is longer than data.max_packets */
} class_flow;

/* A service port of a class, the lower of a flow's two. */
typedef struct class_service {
    uint8_t proto;
    uint16_t port;
    size_t nflows;
} class_service;
enum { CLASS_SERVICES = 16 };

typedef struct class_info {
    size_t nflows, nflows_capacity;
    class_flow *flows;
    size_t nshapes, nshapes_capacity;
    packet_shape *shapes;
    uint64_t *by_context, *by_position; /* (nshapes) context << 32 | row, sorted: what the chain draws from */
    size_t ngaps[4], ngaps_capacity[4]; /* by direction of the packet before and of the packet itself */
    int64_t *gaps[4];                   /* nanoseconds */
    size_t nservices;                   /* above CLASS_SERVICES: so many that they do not tell the class */
    class_service services[CLASS_SERVICES];
    uint64_t nsegments, nagain; /* TCP segments with data, and those whose bytes had all been sent before */
} class_info;

typedef struct classes {
    size_t nlabels;
    class_info *info; /* by label index */
    size_t nrows;     /* rows of a flow at most */
} classes;

/* Read the training flows (runs outside holdout) of every label, at most 2000 a label. Local. */
status classes_open(classes **c, const char *dataset_path, const experiment *e, size_t nrows);
void classes_close(classes **c);
/* Draw a conversation of the class: returns its number of rows, at most nrows; *npackets: of the whole, which may go on
 * after them. The length is a training flow's. real: so is the shape; otherwise a chain of shapes learnt from all of
 * them. shapes: nrows. */
size_t classes_draw(const classes *c, size_t label, bool real, rng *r, packet_shape *shapes, size_t *npackets);
/* A gap of the class between packets of these directions, in nanoseconds. */
int64_t classes_gap(const classes *c, size_t label, unsigned dir_before, unsigned dir, rng *r);
/* The class's service port that differs from `chosen` in the fewest bits, the more frequent of two; `chosen` itself for
 * a class without services, or with too many to be one of them. */
uint16_t classes_service(const classes *c, size_t label, unsigned proto, uint16_t chosen);
/* losses.c: count a training flow's retransmissions, and draw as many for a generated flow (votes: of its packets). */
void losses_count(class_info *k, const flow *f);
status losses_add(const class_info *k, rng *r, flow *f, packet_votes **votes, size_t *capacity);
/* A conversation given by hand, "S> S< > P517>", of at most limit packets. what: whose it is, for messages. */
status shape_parse(const char *text, const char *what, packet_shape *shapes, size_t limit, size_t *n);

/* ---- plan.c: which flow is of which label, and everything about it that is not the model's ---- */

typedef struct plan_label {
    size_t label;         /* index into the dataset's tables */
    uint64_t first, n;    /* flow numbers first .. first + n - 1 */
    uint64_t first_batch; /* batches of one label are consecutive */
    bool lora;
    size_t ntemplate; /* given conversation, 0 = none */
    packet_shape *template_shapes;
} plan_label;

typedef struct plan {
    size_t nlabels;
    plan_label *labels;
    uint64_t nflows, nbatches;
    size_t batch;
    uint32_t client_first, server_first; /* first host addresses */
    uint64_t nclients, nservers;
    uint64_t seed;
    double start, rate;
} plan;

status plan_make(plan **p, const experiment *e, const dataset_tables *tables, const classes *c,
                 const text_list *lora_labels);
void plan_free(plan **p);
/* Batch number -> its label and flow numbers. */
const plan_label *plan_batch(const plan *p, uint64_t batch, uint64_t *first, size_t *n);
/* Label of a flow number. */
const plan_label *plan_flow(const plan *p, uint64_t number);
/* Initial values of flow `number`: addresses (client = side 0), counters, start time. */
void plan_initial(const plan *p, uint64_t number, flow_plan *initial);

/* ---- studio.c: models and memory to make flows with, a batch at a time ---- */

/* What all threads of a rank share, read-only while they run. */
typedef struct studio {
    const experiment *e;
    const plan *p;
    const classes *k;
    const dataset_tables *tables;
    model *base, *tuned; /* tuned: with the LoRA folded in, NULL where no label needs it */
    const layout *layout;
    size_t rows, context, cells, text_width; /* rows of a window, given ones of it; cells of a row */
    float *text;      /* (labels of the dataset, text_width); the encoder is the same with and without LoRA */
    float *null_text; /* (text_width) */
} studio;

/* The rows of one batch's flows: flow k has rows first[k] .. first[k + 1] - 1. */
typedef struct batch_rows {
    size_t n;
    size_t *first;        /* (n + 1) */
    size_t *npackets;     /* (n) of the flow: more than its rows where data.max_packets cuts it */
    packet_shape *shapes; /* (n, data.max_packets), if the conversation is given */
    int8_t *cells;        /* (first[n], C) */
    float *soft;          /* (first[n], C) before rounding */
    size_t cells_capacity, soft_capacity;
} batch_rows;

/* What a thread owns. */
typedef struct worker {
    nn *session;
    batch_rows rows;
    /* Of one window of the batch, for the flows that reach it: */
    size_t *member;        /* which flows these are */
    int8_t *cells, *given; /* (n, L, C), (n, context, C) */
    float *soft;           /* (n, L, C) */
    float *control, *text; /* (n, L, CONTROL_WIDTH), (n, text_width) */
    size_t *nexist;
    rng *rngs;
    /* Of one flow: */
    flow raw, clean;
    repair_counts repaired;
    packet_votes *votes;
    size_t votes_capacity;
} worker;

status studio_open(studio *s, const experiment *e, const plan *p, const classes *k, const dataset_tables *tables,
                   const char *model_folder);
void studio_close(studio *s);
status worker_open(worker *w, const studio *s);
void worker_close(worker *w);
/* Sample all rows of batch `batch` into w->rows: a function of (seed, batch) alone. */
status studio_sample(const studio *s, worker *w, uint64_t batch);
/* Flow k of the batch that was sampled last, number `number` of the plan, into w->raw (as decoded) and w->clean
 * (repaired). */
status studio_finish(const studio *s, worker *w, uint64_t number, size_t k);
/* to is initialised. */
status studio_copy(flow *to, const flow *from);

/* ---- fanout.c: batches over ranks and threads, each flow sampled, decoded, repaired, written to the rank's part ----
 */

typedef struct fanout_part {
    char *clean, *raw; /* paths of this rank's parts: repaired, and as decoded */
    size_t n, capacity;
    uint64_t *numbers; /* flow number of each flow in the part, in its order */
    repair_counts repaired;
} fanout_part;

/* Collective. folder: where the parts go. */
status fanout_run(const experiment *e, comm *c, const plan *p, const classes *k, const dataset_tables *tables,
                  const char *model_folder, const char *folder, fanout_part *part);
/* One flow alone, with the same bytes as in a full run: its batch is sampled again. Local. */
status fanout_one(const experiment *e, const plan *p, const classes *k, const dataset_tables *tables,
                  const char *model_folder, uint64_t number, flow *raw, flow *clean);
void fanout_part_clear(fanout_part *part);

/* ---- ports.c: client ports that belong to no service ---- */

/* Does a protocol analyser expect a protocol of its own on this port (16384 and above)? */
bool port_is_taken(uint16_t port);
/* A port of a client that the model gave `chosen`: above the service's, not taken, of chosen's block of 4096 where
 * clients have ports there. `chosen` where no such port was found. */
uint16_t port_draw(rng *r, uint16_t chosen, uint16_t service);

/* ---- merge.c: rank 0 joins the parts into one dataset, captures in time order, and the table of flows ---- */

status merge_run(const experiment *e, const plan *p, const dataset_tables *tables, size_t nparts,
                 const fanout_part *parts, const char *folder);

#endif
