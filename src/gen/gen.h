/* Generation: plan -> sample -> decode -> repair -> records of batches -> merged captures and dataset, fanned out
 * over all ranks. Flow number i is a function of (seed, i) only. docs/generation.md is the reference. */
#ifndef ND_GEN_GEN_H
#define ND_GEN_GEN_H

#include "base/experiment.h"
#include "dist/comm.h"

/* Collective. Writes gen.dir/{dataset.h5,raw.h5,all.pcap,<label>.pcap,flows.csv,config.yaml,manifest}; raw.h5: as
 * decoded, before repair. After an error or ST_STOPPED the same call goes on from the batches in gen.dir/parts; where
 * all is there from before it does nothing. With a share (gen.shard) it makes batches only. */
status gen_run(const experiment *e, comm *c);

/* What a variant of the model goes without (appendix B of the paper). A label that only the LoRA knows is generated
 * from its prompt all the same: what the base makes of it is what the comparison is about. */
typedef struct gen_variant {
    const char *name;
    bool lora, controlnet;
} gen_variant;
const gen_variant *gen_variant_find(const char *name); /* NULL if unknown */

#endif
