/* Cosine schedule, variance preserving: alpha^2 + sigma^2 = 1 (Nichol and Dhariwal 2021, in continuous time).
 * The angle stops short of a right angle, so that alpha(1) is not 0 and log(alpha / sigma) stays finite. */
#include "model/schedule.h"

#include <math.h>

static double angle(float t) {
    return SCHEDULE_SHIFT * 1.5707963267948966 * (double)t;
}

float schedule_alpha(float t) {
    return (float)cos(angle(t));
}

float schedule_sigma(float t) {
    return (float)sin(angle(t));
}
