/* What stands behind a model; for the files of this folder. */
#ifndef ND_MODEL_MODEL_PRIV_H
#define ND_MODEL_MODEL_PRIV_H

#include "model/model.h"
#include "model/native.h"
#include "model/text_encoder.h"

/* Names of parameters in memory: the part, then the name in the part's file. Text encoder names have their own start
 * ("text_model."), a LoRA pair is named after its layer. */
#define PREFIX_TEXT ""
#define PREFIX_NATIVE "transformer."
#define PREFIX_CONTROL "controlnet."

struct model {
    model_config config;
    const layout *layout;
    tokenizer *tokenizer;
    params params;       /* text encoder, transformer, then ControlNet and LoRA in the order they came */
    size_t ntext, nbase; /* parameters of the text encoder; of text encoder and transformer */
    text_encoder text;
    native native;
    bool has_control;
    controlnet control;
    size_t lora_rank; /* 0 = none */
    float lora_alpha; /* of scale = strength * alpha / rank; the strength is in the layers' scales only */
    size_t control_first, control_n, lora_first, lora_n; /* places in params */
};

/* Checks the configuration and fills what follows from the layout. where: file or "model", for messages. */
status model_check_config(model_config *c, const char *where);
text_config model_text_config(const model *m, size_t heads, size_t inner);
size_t model_default_heads(size_t text_width);
/* The base's parameters, fresh (both NULL) or from the two files. */
typedef struct model_files {
    const safetensors *text, *native;
    const char *text_path, *native_path;
} model_files;
status model_build_base(model *m, const text_config *text, const model_files *from);
/* Add a part that is not there yet, zero (from NULL) or from a file; frozen. After an error the model is as before. */
status model_add_controlnet(model *m, size_t nblocks, const safetensors *from, const char *path);
status model_add_lora(model *m, size_t rank, const safetensors *from, const char *path);
void model_init_lora(model *m, uint64_t seed);
void model_set_lora_scale(model *m, float alpha, float strength);

#endif
