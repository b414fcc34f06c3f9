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

/* One packet of a conversation's shape, as an index 0..191: direction, payload class, SYN FIN RST PSH. */
typedef uint8_t shape;

typedef struct class_flow {
    size_t first, n; /* its rows in class_info.shapes */
    bool cut;        /* the flow goes on after row n */
} class_flow;

typedef struct class_info {
    size_t nflows, nflows_capacity;
    class_flow *flows;
    size_t nshapes, nshapes_capacity;
    shape *shapes;
    size_t ngaps[4], ngaps_capacity[4]; /* by direction of the packet before and of the packet itself */
    int64_t *gaps[4];                   /* nanoseconds */
} class_info;

typedef struct classes {
    size_t nlabels;
    class_info *info; /* by label index */
    size_t nrows;     /* rows of the model */
} classes;

/* Read the training flows (runs outside holdout) of every label, at most 2000 a label. Local. */
status classes_open(classes **c, const char *dataset_path, const experiment *e, size_t nrows);
void classes_close(classes **c);
/* Draw a conversation of the class: returns its number of rows and whether it goes on after them.
 * real: the shape of one training flow; otherwise a chain of shapes learnt from all of them. shapes: nrows. */
size_t classes_draw(const classes *c, size_t label, bool real, rng *r, shape *shapes, bool *cut);
/* A gap of the class between packets of these directions, in nanoseconds. */
int64_t classes_gap(const classes *c, size_t label, unsigned dir_before, unsigned dir, rng *r);
void shape_to_control(shape s, float *control); /* CONTROL_WIDTH floats, CONTROL_EXISTS included */
status shape_parse(const char *text, const char *what, shape *shapes, size_t limit, size_t *n);

/* ---- plan.c: which flow is of which label, and everything about it that is not the model's ---- */

typedef struct plan_label {
    size_t label;         /* index into the dataset's tables */
    uint64_t first, n;    /* flow numbers first .. first + n - 1 */
    uint64_t first_batch; /* batches of one label are consecutive */
    bool lora;
    size_t ntemplate; /* given conversation, 0 = none */
    shape *template_shapes;
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

/* ---- merge.c: rank 0 joins the parts into one dataset, captures in time order, and the table of flows ---- */

status merge_run(const experiment *e, const plan *p, const dataset_tables *tables, size_t nparts,
                 const fanout_part *parts, const char *folder);

#endif
