/* The parts of generation: what is known of each class, the plan, the fan-out over ranks and threads, files of finished
 * batches, the merge. */
#ifndef ND_GEN_GEN_PRIV_H
#define ND_GEN_GEN_PRIV_H

#include "base/rng.h"
#include "gen/gen.h"
#include "io/capture.h"
#include "io/dataset.h"
#include "model/model.h"
#include "packet/control.h"
#include "packet/repair.h"

/* ---- classes.c: conversation shapes and gaps of the training flows, per label ---- */

typedef struct class_flow {
    size_t first, n; /* its rows in class_info.shapes */
    size_t npackets; /* of the whole flow: above n where it is longer than data.max_packets */
} class_flow;

/* A service port of a class, the lower of a flow's two; and the client port that most of these flows have, if one has
 * more than all others together: `lead` is by how many more at least (Boyer and Moore's majority vote). */
typedef struct class_service {
    uint8_t proto;
    uint16_t port;
    size_t nflows;
    uint16_t client;
    size_t lead;
} class_service;
enum { CLASS_SERVICES = 16 };

/* What happened to TCP segments with data between their sender and the observer. */
enum { CLASS_DELAYS = 256 };
typedef struct class_losses {
    uint64_t nsegments, nagain; /* all; those whose bytes had all come before */
    uint64_t nlate, nunseen;    /* those that later ones overtook; gaps that never filled, though acknowledged */
    uint64_t ndelays;
    int64_t delays[CLASS_DELAYS]; /* nanoseconds from the segment that came first to the late one; the first of them */
} class_losses;

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
    class_losses losses;
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
/* The port that clients of this service of the class always have (DHCP's 68, NTP's 123 of old): of three flows
 * or more those that have it, less those that have another, are nine in ten, and it is below those that operating
 * systems choose. 0 where there is none. */
uint16_t classes_client(const classes *c, size_t label, unsigned proto, uint16_t service);
/* losses.c: count what happened to a training flow's segments, and draw as much for a generated flow (votes: of its
 * packets), which may become longer or shorter. Rules of check.h that held hold afterwards. */
void losses_count(class_losses *c, const flow *f);
status losses_add(const class_losses *c, rng *r, flow *f, packet_votes **votes, size_t *capacity);
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

/* The rows of one batch's flows: flow k has rows first[k] .. first[k + 1] - 1. What sampling hands to finishing. */
typedef struct batch_rows {
    uint64_t batch;
    size_t n;
    size_t *first;        /* (n + 1) */
    size_t *npackets;     /* (n) of the flow: more than its rows where data.max_packets cuts it */
    packet_shape *shapes; /* (n, data.max_packets), if the conversation is given */
    int8_t *cells;        /* (first[n], C) */
    float *soft;          /* (first[n], C) before rounding */
    size_t cells_capacity, soft_capacity;
} batch_rows;

/* What a sampling thread owns. Of one window of the batch, for the flows that reach it: */
typedef struct worker {
    nn *session;
    size_t *member;        /* which flows these are */
    int8_t *cells, *given; /* (n, L, C), (n, context, C) */
    float *soft;           /* (n, L, C) */
    float *control, *text; /* (n, L, CONTROL_WIDTH), (n, text_width) */
    size_t *nexist;
    rng *rngs;
} worker;

/* What a thread owns that turns rows into flows. Of one flow: */
typedef struct finisher {
    flow raw, clean; /* as decoded, and repaired */
    repair_counts repaired;
    packet_votes *votes;
    size_t votes_capacity;
} finisher;

status studio_open(studio *s, const experiment *e, const plan *p, const classes *k, const dataset_tables *tables,
                   const char *model_folder);
void studio_close(studio *s);
status batch_rows_open(batch_rows *b, const studio *s);
void batch_rows_close(batch_rows *b);
status worker_open(worker *w, const studio *s);
void worker_close(worker *w);
void finisher_open(finisher *f);
void finisher_close(finisher *f);
/* Sample all rows of batch `batch` into b: a function of (seed, batch) alone. */
status studio_sample(const studio *s, worker *w, uint64_t batch, batch_rows *b);
/* Flow k of the batch, number `number` of the plan, into f->raw and f->clean. */
status studio_finish(const studio *s, finisher *f, const batch_rows *b, uint64_t number, size_t k);
/* to is initialised. */
status studio_copy(flow *to, const flow *from);

/* ---- identity.c: what determines the flows, so that batches of one run are never taken for those of another ---- */

enum { IDENTITY_NBYTES = 16 };

typedef struct identity {
    char *text; /* one thing a line */
    uint8_t digest[IDENTITY_NBYTES];
} identity;

/* gen.sampler as it is written. */
const char *sampler_name(const experiment *e);
/* Settings and weights as YAML, for the dataset: where things lie and how many ranks there were stays out, so that
 * equal content has equal bytes. Caller frees. */
status identity_config(const experiment *e, char **text);
/* That, and what is learnt from the dataset, the text encoder and the plan. Release with identity_clear. */
status identity_make(const experiment *e, const plan *p, const classes *k, const dataset_tables *t, identity *id);
void identity_clear(identity *id);
/* Make FOLDER and note the identity in it; ST_USAGE, naming the first thing that differs, where it is another's. Any
 * number of processes may do it at the same time. *first: this one was the first. */
status identity_claim(const identity *id, const char *folder, bool *first);

/* ---- items.c: finished batches in append-only files ---- */

/* Where the record of a batch lies. */
typedef struct item_place {
    uint64_t offset;
    uint32_t file; /* index into item_index.files; ITEM_NONE: no record */
} item_place;
enum { ITEM_FILES_OPEN = 64 };
#define ITEM_NONE UINT32_MAX

typedef struct item_index {
    text_list files; /* names in the folder */
    uint64_t nbatches;
    item_place *place; /* (nbatches) */
} item_index;

/* A record under construction, or read back. */
typedef struct item {
    uint64_t batch;
    size_t nflows, nbytes, capacity;
    uint8_t *bytes;
    size_t *at, at_capacity; /* (nflows) where each flow's packets begin */
} item;

/* Of one flow of a record. */
typedef struct item_flow {
    int64_t start_ns;
    flow head; /* of the repaired one: key and number of packets, no packets */
} item_flow;

void item_clear(item *it);
status item_begin(item *it, uint64_t batch, size_t nflows);
/* The kth flow; k rises from 0 to nflows - 1. */
status item_add(item *it, size_t k, const flow *clean, const flow *raw);
void item_end(item *it, const identity *id, const repair_counts *repaired);

/* The file to which this process appends. It is made with the first record, under a name that no other process of any
 * host has. */
typedef struct item_writer {
    char *name, *path;
    int fd;
    uint64_t nbytes;
} item_writer;
void item_writer_open(item_writer *w, const char *folder, int rank);
/* ST_IO naming the file: what was written of the record is cut off again. */
status item_write(item_writer *w, const item *it, uint64_t *offset);
status item_writer_close(item_writer *w); /* waits for the disk */
void item_writer_abandon(item_writer *w);

/* Reads records by batch number, with at most ITEM_FILES_OPEN files open. */
typedef struct item_reader {
    const char *folder;
    const item_index *index;
    const identity *id;
    struct {
        int fd;
        uint32_t file;
        uint64_t used;
    } open[ITEM_FILES_OPEN];
    size_t nopen;
    uint64_t turn;
} item_reader;
void item_reader_open(item_reader *r, const char *folder, const item_index *index, const identity *id);
void item_reader_close(item_reader *r);
/* The whole record, its CRC checked; ST_FORMAT where it is not what it was. */
status item_read(item_reader *r, uint64_t batch, item *it);
/* Only what item_get_head and item_get_repaired want; the CRC is not looked at. */
status item_read_heads(item_reader *r, uint64_t batch, item *it);
void item_get_repaired(const item *it, repair_counts *repaired);
void item_get_head(const item *it, size_t k, item_flow *f);
/* Packets and key of flow k as decoded or repaired; label, file and run are the caller's. */
status item_get_flow(const item *it, size_t k, bool raw, flow *f);

/* ---- item_scan.c: which batches are there ---- */

/* A share of the batches, gen.shard: batches b with b % n == i - 1; i = 0: all of them, and the merge. */
typedef struct shard {
    bool given;
    uint64_t i, n;
} shard;
status shard_parse(const char *text, shard *s);
bool shard_has(const shard *s, uint64_t batch);

/* A record that was written just now. */
typedef struct item_made {
    uint64_t batch, offset;
} item_made;

/* Collective. Look for whole records of the share's batches in the files of the folder, a file by one rank. index:
 * filled on rank 0. *missing: on all ranks, the share's batches that are not there (malloc'd by NEW; memory_free). */
status items_scan(comm *c, const char *folder, const identity *id, const shard *share, uint64_t nbatches,
                  item_index *index, uint64_t **missing, uint64_t *nmissing);
/* Collective. Add to rank 0's index what every rank has made. name: of its file, NULL if there is none. */
status items_collect(comm *c, const char *name, const item_made *made, size_t nmade, item_index *index);
/* Collective. Rank 0's index on all ranks. */
status items_share(comm *c, item_index *index);
/* Names of the files of records in the folder, sorted. Local. */
status items_list(const char *folder, text_list *files);
void item_index_clear(item_index *index);

/* ---- fanout.c: batches over ranks and threads, each sampled, decoded, repaired and written to the rank's file ---- */

typedef struct fanout {
    const char *folder; /* of item files */
    const identity *id;
    const uint64_t *batches; /* to make; the same on all ranks */
    uint64_t nbatches;
    /* Results of this rank: */
    char *name; /* of its file, NULL if it made nothing */
    item_made *made;
    size_t nmade, made_capacity;
} fanout;

/* Collective. After an error too, f->made lists what is whole. */
status fanout_run(const experiment *e, comm *c, const plan *p, const classes *k, const dataset_tables *tables,
                  fanout *f);
void fanout_clear(fanout *f);
/* One flow alone, with the same bytes as in a full run: its batch is sampled again. Local. */
status fanout_one(const experiment *e, const plan *p, const classes *k, const dataset_tables *tables, uint64_t number,
                  flow *raw, flow *clean);

/* ---- ports.c: which ports a flow has ---- */

/* Does a protocol analyser expect a protocol of its own on this port (16384 and above)? */
bool port_is_taken(uint16_t port);
/* A port of a client that the model gave `chosen`: above the service's, not taken, of chosen's block of 4096 where
 * clients have ports there. `chosen` where no such port was found. */
uint16_t port_draw(rng *r, uint16_t chosen, uint16_t service);

/* Ports of both sides, and which side is the client. */
typedef struct flow_ports {
    unsigned client;
    uint16_t port[2];
} flow_ports;
/* Those of a TCP or UDP flow for which the model gave key's. */
flow_ports ports_settle(const classes *c, size_t label, const flow_key *key, rng *r);

/* ---- capture_series.c: a capture that goes on in further files ---- */

typedef struct capture_series {
    char *folder, *stem;
    const char *separator; /* between stem and number */
    int link_type;
    uint64_t limit, nbytes; /* nbytes: of the file that is being written */
    uint32_t number;        /* of that file, from 1 */
    capture_writer *writer;
} capture_series;

/* limit 0: one file. separator: "-", or what tells its files from those of another stem. */
status capture_series_open(capture_series *s, const char *folder, const char *stem, const char *separator,
                           int link_type, uint64_t limit);
status capture_series_write(capture_series *s, const packet *p, const uint8_t *payload, bool truncate);
status capture_series_commit(capture_series *s);
void capture_series_abandon(capture_series *s);
/* Name of file `number` (from 1) of a series that had nfiles. Caller frees. */
char *capture_series_name(const char *stem, const char *separator, uint32_t nfiles, uint32_t number);

/* ---- outputs.c: the files of GEN.DIR ---- */

/* Does the capture hold this packet's headers only? */
bool outputs_truncate(const experiment *e, const packet *p);

/* Names of captures: "all", or the label's. Caller frees the stem. */
char *outputs_stem(const dataset_tables *t, int32_t label);
const char *outputs_separator(const dataset_tables *t, const char *stem);
/* Did a run with these flows and forms of output end here, and is everything there? */
bool outputs_finished(const experiment *e, const identity *id);
/* Outputs of an earlier run go before the first new one comes, so that the folder never holds a mixture. */
status outputs_remove(const experiment *e, const dataset_tables *t);
/* Note that these files are the finished outputs. */
status outputs_finish(const experiment *e, const identity *id, const text_list *files);

/* ---- merge.c: the records become one dataset, captures in time order, and the table of flows ---- */

/* Collective. index: rank 0's, which all ranks then have. repaired: of all flows. files: names of what was written. */
status merge_run(const experiment *e, comm *c, const plan *p, const dataset_tables *tables, const char *parts,
                 item_index *index, const identity *id, repair_counts *repaired, text_list *files);

#endif
