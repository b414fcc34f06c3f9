/* Learning rate: linear warm-up to the peak, then a cosine down to 2 % of it. */
#ifndef ND_TRAIN_RATE_H
#define ND_TRAIN_RATE_H

#include <stdint.h>

/* Of step 0 <= step < steps. Where warmup >= steps the peak is never reached. */
double learning_rate(double peak, uint64_t step, uint64_t steps, uint64_t warmup);

#endif
