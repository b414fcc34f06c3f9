/* Philox 4x32-10: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
#include "base/rng.h"

#include "base/status.h"

enum { ROUNDS = 10 };

void rng_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]) {
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

rng rng_make(uint64_t seed, uint64_t item, rng_purpose purpose) {
    return (rng){
        .key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
        .counter = {0, (uint32_t)purpose, (uint32_t)item, (uint32_t)(item >> 32)},
        .used = 4,
    };
}

uint32_t rng_u32(rng *r) {
    if (r->used >= 4) {
        rng_philox(r->key, r->counter, r->block);
        r->used = 0;
        /* Block numbers above 32 bits go on above the purpose, which is below 256. */
        if (++r->counter[0] == 0)
            r->counter[1] += 256;
    }
    return r->block[r->used++];
}

uint64_t rng_u64(rng *r) {
    uint64_t low = rng_u32(r);
    return low | (uint64_t)rng_u32(r) << 32;
}

double rng_uniform(rng *r) {
    return (double)(rng_u64(r) >> 11) * 0x1p-53;
}

/* D. Lemire, "Fast random integer generation in an interval", ACM TOMACS 29(1), 2019: the high half of a product is
 * the number, and the few low halves that would favour some numbers are drawn again. */
uint32_t rng_below(rng *r, uint32_t n) {
    ASSERT(n > 0);
    uint64_t product = (uint64_t)rng_u32(r) * n;
    if ((uint32_t)product < n) {
        uint32_t threshold = (uint32_t)(-n) % n;
        while ((uint32_t)product < threshold)
            product = (uint64_t)rng_u32(r) * n;
    }
    return (uint32_t)(product >> 32);
}

size_t rng_choose(rng *r, const double *weight, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += weight[i];
    ASSERT(n > 0 && sum > 0);
    double left = rng_uniform(r) * sum;
    size_t chosen = 0;
    for (size_t i = 0; i < n; i++) {
        if (weight[i] <= 0)
            continue;
        chosen = i; /* rounding may leave a little of `left` behind the last positive weight */
        if (left < weight[i])
            break;
        left -= weight[i];
    }
    return chosen;
}
