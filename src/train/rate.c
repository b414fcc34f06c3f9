/* Learning rate schedule. See rate.h. (Loshchilov and Hutter 2017, without restarts.) */
#include "train/rate.h"
#include <math.h>

static const double LAST_SHARE = 0.02;

double learning_rate(double peak, uint64_t step, uint64_t steps, uint64_t warmup) {
    if (step < warmup)
        return peak * (double)(step + 1) / (double)warmup;
    /* The last step has the last rate: steps - 1 is the end of the cosine. */
    double length = steps > warmup + 1 ? (double)(steps - 1 - warmup) : 1;
    double done = (double)(step - warmup) / length;
    return peak * (LAST_SHARE + (1 - LAST_SHARE) * 0.5 * (1 + cos(M_PI * done)));
}
