/* Training of the base, the ControlNet or a LoRA on a dataset, data-parallel over all ranks. */
#ifndef ND_TRAIN_TRAIN_H
#define ND_TRAIN_TRAIN_H

#include "base/experiment.h"
#include "dist/comm.h"

/* Collective. Reads OUT's dataset, writes into model.dir; OUT/train/<mode>/{loss.jsonl,checkpoint-*}. ST_STOPPED after
 * SIGTERM or SIGUSR1 with a valid checkpoint. */
status train_run(const experiment *e, comm *c);

#endif
