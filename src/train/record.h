/* loss.jsonl: one JSON object a line for every step and every validation. Written by rank 0.
 *
 * Apart from the timing fields, which stand last in a line, the bytes depend on the seed and the configuration only,
 * however often the run was stopped. docs/training.md lists the fields. */
#ifndef ND_TRAIN_RECORD_H
#define ND_TRAIN_RECORD_H

#include <stdint.h>
#include <stdio.h>
#include "base/status.h"

typedef struct record {
    FILE *to;
    char *path;
} record;

/* Go on with the lines of steps up to `step`: later ones, and one that a kill cut short, are taken away. */
status record_open(record *r, const char *path, uint64_t step);
status record_step(record *r, uint64_t step, double loss, double norm, double rate, double flows_per_second,
                   double seconds);
status record_validation(record *r, uint64_t step, double loss, double best, double seconds);
/* The lines written so far, by whatever process, last through a power cut. Any thread. */
status record_sync(const char *path);
void record_close(record *r);

#endif
