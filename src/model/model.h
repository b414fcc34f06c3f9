/* The native model family: text encoder, packet transformer, ControlNet and LoRA, and the folder they live in.
 *
 * Folder: model_index.json, tokenizer/{vocab.json,merges.txt}, text_encoder/{config.json,model.safetensors},
 * transformer/{config.json,diffusion_pytorch_model.safetensors}, scheduler/scheduler_config.json, and where trained
 * controlnet/{config.json,diffusion_pytorch_model.safetensors}, lora/pytorch_lora_weights.safetensors.
 *
 * The transformer (DiT, Peebles and Xie 2023; adaLN-single as in PixArt): one token per packet. input = linear(row) +
 * position + linear(control); condition = MLP(time features) + linear(text); blocks of layernorm-modulate, attention,
 * gate, layernorm-modulate, MLP with GELU, gate; output = linear, zero at the start, predicts the clean row x0. */
#ifndef ND_MODEL_MODEL_H
#define ND_MODEL_MODEL_H

#include "base/experiment.h"
#include "model/schedule.h"
#include "model/tokenizer.h"
#include "nn/nn.h"
#include "packet/control.h"
#include "packet/layout.h"

typedef struct model_config {
    char layout[16];
    size_t cells;   /* per row, from the layout */
    size_t packets; /* rows of a window, L */
    size_t context; /* rows that a window which is not the first is given, below L */
    size_t width, layers, head;
    size_t text_width, text_layers, text_tokens;
    control_inputs control; /* what the base reads: the frame, or all; the ControlNet reads all */
} model_config;

typedef struct model model;

/* Fresh weights from (seed, parameter name); the layer that takes the text in also from the prompts' spread. All
 * frozen. prompts: the corpus of the tokenizer. cells may be 0: the layout's. ST_RANGE names a value that cannot be. */
status model_new(model **m, const model_config *config, const text_list *prompts, size_t nmerges, uint64_t seed);
/* Load a folder's base, all frozen; ST_IO or ST_FORMAT naming file and tensor or key where a part is missing, of
 * another shape or of another layout, or where there is one too many. ControlNet and LoRA are loaded by their own
 * functions. */
status model_load(model **m, const char *folder);
/* Write tokenizer, text encoder, transformer and scheduler (the base, even while a LoRA is merged); model_index.json
 * last. An older model of the folder does not load from the beginning of this on, also where it fails. */
status model_save(const model *m, const char *folder);
const model_config *model_get_config(const model *m);
const layout *model_layout(const model *m);
void model_free(model **m);

/* Parameter sets: what a kind of training changes. model_train_* takes a merged LoRA apart, freezes all but the set and
 * seals. A ControlNet or LoRA (of the same rank, else ST_USAGE) that is there already is trained on as it is.
 * Names: text_model.*, transformer.*, controlnet.*, transformer.*.lora_A.weight and lora_B.weight. */
params *model_params(model *m);       /* everything */
status model_train_base(model *m);    /* text encoder and transformer */
status model_train_control(model *m); /* ControlNet only (added, copied from the base, if not there yet) */
status model_train_lora(model *m, size_t lora_rank, float lora_alpha, uint64_t seed); /* LoRA pairs only (B = 0) */

/* folder: the model's; the part is folder/controlnet. A model takes one ControlNet. */
status model_save_controlnet(const model *m, const char *folder);
status model_load_controlnet(model *m, const char *folder);
bool model_has_controlnet(const model *m);

/* LoRA in peft's naming: "transformer.<linear>.lora_A.weight" (r, K) and "lora_B.weight" (M, r), alpha in the metadata.
 * metadata: further entries to store, may be NULL; "labels" holds text_list_join of the labels.
 * Loading multiplies by scale; into a model that has a LoRA of the same rank it replaces the numbers. After an error
 * the model is as before. */
status model_save_lora(const model *m, const char *path, const text_map *metadata);
status model_load_lora(model *m, const char *path, float scale);
/* Fold the LoRA into the weights (and out again, to the bit: the plain weights are kept). */
status model_merge_lora(model *m);
status model_unmerge_lora(model *m);
/* Add the labels that a LoRA file was tuned for (none if it does not say). */
status model_lora_labels(const char *path, text_list *labels);

/* Pooled text embeddings of n prompts -> out (n, text_width), each a function of its prompt alone. For a frozen text
 * encoder: computed once and cached by the caller. Opens a session of its own. */
status model_embed_text(model *m, size_t n, const char *const *prompts, float *out);
/* The same on the tape, for training the encoder: (n, text_width). */
tensor *model_embed_text_tape(nn *s, model *m, size_t n, const char *const *prompts);
size_t model_text_width(const model *m);
/* The learnt embedding of "no prompt" (classifier-free guidance): (1, text_width) on the tape / copied out. */
tensor *model_null_text(nn *s, model *m);

typedef struct model_input {
    size_t n;             /* samples N; rows L and cells C are the model's */
    const float *x;       /* (N, L, C) noisy rows; given ones clean */
    const float *t;       /* (N) times in [0, 1] */
    tensor *text;         /* (N, text_width), of this step */
    const float *control; /* (N, L, CONTROL_WIDTH); NULL = dropped for all. A dropped sample is all zero. */
    bool controlnet;      /* add the ControlNet's residuals (it must be there) */
} model_input;

/* Predicted clean rows (N, L, C) on the tape. The arrays of *in are copied. */
tensor *model_predict(nn *s, model *m, const model_input *in);

/* Sample a window of n flows: fixed batch -> cells. Deterministic in (rngs, arguments), whatever runs beside it.
 * first: number, in their flows, of the windows' first rows. ngiven: how many rows of each window are given, with
 * given: (n, ngiven, C) in -1, 0, +1, the rows that came out of the windows before; they are held at every step.
 * text, null_text: embeddings (n, W) and (W). nexist: rows of each window that exist (forced; the rest of the control
 * signal must say the same). control: (n, L, CONTROL_WIDTH), may be NULL. Uses and resets s, nothing else.
 * cells: (n, L, C) in -1, 0, +1 with the layout's presence applied; soft (may be NULL): the same before rounding. */
typedef struct sample_request {
    size_t n, first, ngiven;
    const int8_t *given;
    const float *text, *null_text;
    const size_t *nexist;
    const float *control;
    bool controlnet;
    sampler_kind sampler;
    int steps;
    float guidance; /* 1 = conditional prediction only */
    rng *rngs;
} sample_request;
status model_sample(nn *s, model *m, const sample_request *r, int8_t *cells, float *soft);

#endif
