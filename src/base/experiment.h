/* One experiment: everything that all programs read, filled from one YAML file and key=value arguments.
 *
 * experiment.c holds the one table; a program sees the whole struct and --help shows the keys it reads. */
#ifndef ND_BASE_EXPERIMENT_H
#define ND_BASE_EXPERIMENT_H

#include "base/config.h"

enum { PROGRAM_ENCODE = 1, PROGRAM_TRAIN = 2, PROGRAM_GEN = 4, PROGRAM_EVAL = 8, PROGRAM_ALL = 15 };

typedef enum train_mode { TRAIN_BASE, TRAIN_CONTROL, TRAIN_LORA } train_mode;
typedef enum control_inputs { CONTROL_LENGTH, CONTROL_FULL } control_inputs;
typedef enum sampler_kind { SAMPLER_DDIM, SAMPLER_ANCESTRAL, SAMPLER_DPM } sampler_kind;
typedef enum payload_policy { PAYLOAD_MADE, PAYLOAD_WHOLE, PAYLOAD_TRUNCATE } payload_policy;
typedef enum link_kind { LINK_ETHERNET, LINK_RAW } link_kind;
typedef enum gap_source { GAP_MODEL, GAP_CLASS } gap_source;

/* Steps and learning rate of one kind of training. */
typedef struct train_phase {
    int64_t steps;
    double learning_rate;
} train_phase;

typedef struct experiment {
    char *name, *out;
    int64_t seed;
    bool quiet, dry_run;
    int64_t threads; /* per rank; 0 = cores of the node divided by its ranks */

    struct {
        double timeout;     /* seconds until a stuck job is ended; 0 = never */
        double clock_limit; /* seconds that a rank's clock may be off; 0 = any */
    } comm;

    struct {
        text_list captures;  /* files, folders or glob patterns */
        char *labels;        /* CSV */
        char *dataset;       /* "" = OUT/dataset.h5 */
        text_list holdout;   /* runs that training never sees */
        int64_t max_packets; /* of a flow, at most, in training and generation */
        text_map prompts;    /* label -> prompt; others get "pixelated network data, type-N" */
    } data;

    struct {
        double timeout;   /* seconds without a packet that end a flow; 0 = never */
        int64_t memory;   /* bytes that a rank may fill with packets */
        int64_t compress; /* deflate level */
        bool unlabelled;  /* keep flows without a label */
    } encode;

    struct {
        char *dir; /* "" = OUT/model */
        char *layout;
        int64_t packets; /* rows of a window: what the model sees of a flow at once */
        int64_t context; /* of them given by the window before */
        int64_t width, layers, head;
        int64_t text_width, text_layers;
        int64_t vocabulary; /* BPE merges learnt from the prompts, at most */
        int control;        /* control_inputs: token inputs of the base */
    } model;

    struct {
        int mode;
        int64_t batch; /* flows a step, over all ranks */
        bool resume;
        int64_t checkpoint_every, keep_checkpoints, validate_every;
        bool deterministic;    /* the same bytes for any number of ranks */
        int64_t slice;         /* then: samples whose gradient is computed at once */
        int64_t patience;      /* validations without a better loss before stopping; 0 = never stop early */
        double validate_share; /* of the training flows, kept out of the gradient */
        double drop_prompt, drop_control, ema, clip, weight_decay;
        int64_t warmup;
        train_phase base, control, lora;
        text_list exclude; /* labels that the base and the ControlNet never see */
        text_list lora_labels;
        int64_t lora_rank;
        double lora_alpha;
    } train;

    struct {
        char *dir;      /* "" = OUT/generated */
        text_map flows; /* label -> number of flows */
        int64_t total;  /* with mix: flows in all */
        text_map mix;   /* label -> weight */
        int sampler;
        int64_t steps;
        double guidance;
        int64_t batch;   /* flows sampled together: one work item */
        char *control;   /* none, real, sampled, or a YAML file */
        bool controlnet; /* use it where the model folder has one */
        double lora_scale;
        int gaps;
        int payload;
        int link;
        char *clients, *servers; /* IPv4 prefixes */
        double rate;             /* flows started per second in the merged captures */
        double start;            /* UNIX time of the first packet */
        bool repair;
        int64_t item;          /* regenerate this one flow only; -1 = all */
        text_list variants;    /* of the model, generated and judged beside: gen_variants of gen/gen.h */
        bool resume;           /* go on from the batches in DIR/parts */
        char *shard;           /* "I/N", or "" for all and the merge */
        int64_t capture_bytes; /* that start a new capture; 0 = never */
    } gen;

    struct {
        char *dir;       /* "" = OUT */
        char *synthetic; /* "" = the generated dataset */
        char *labels;
        text_map variants;
        int64_t packets, seeds, trees;
        bool tools, images;
        text_list fail_on;
    } eval;

    config *config; /* owner of the texts */
} experiment;

/* Read `argv` (PROGRAM [CONFIG.yaml] [key=value...] [--help] [--dry-run] [--quiet]). Local; call before comm_open so
 * that --help works on a login node. Empty paths are replaced by their place under `out`.
 * *help is set, and the text printed to stdout, where --help was asked; *e is then NULL. */
status experiment_load(int argc, char **argv, unsigned program, const char *summary, experiment **e, bool *help);
/* Save the effective configuration beside an output: PATH gets the YAML. Local, atomic. */
status experiment_save(const experiment *e, const char *path);
/* Before an output is made or replaced: ST_USAGE where the configuration saved at PATH is of an experiment of another
 * name. No such file: ST_OK. Local. */
status experiment_check_saved(const experiment *e, const char *path);
void experiment_free(experiment **e);

#endif
