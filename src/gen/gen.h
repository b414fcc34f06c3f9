/* Generation: plan -> sample -> decode -> repair -> parts -> merged captures and dataset, fanned out over all ranks.
 * Flow number i is a function of (seed, i) only. */
#ifndef ND_GEN_GEN_H
#define ND_GEN_GEN_H

#include "base/experiment.h"
#include "dist/comm.h"

/* Collective. Writes gen.dir/{dataset.h5,raw.h5,all.pcap,<label>.pcap,flows.csv,config.yaml}; raw.h5: as decoded,
 * before repair. */
status gen_run(const experiment *e, comm *c);

/* What a variant of the model goes without (appendix B of the paper). A label that only the LoRA knows is generated
 * from its prompt all the same: what the base makes of it is what the comparison is about. */
typedef struct gen_variant {
    const char *name;
    bool lora, controlnet;
} gen_variant;
const gen_variant *gen_variant_find(const char *name); /* NULL if unknown */

#endif
