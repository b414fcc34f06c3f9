/* The trained weights as one block. See weights.h. */
#include "train/weights.h"
#include "train/hash.h"

void weights_get(const params *p, float *block) {
    for (size_t i = 0; i < p->n; i++) {
        const param *w = p->item[i];
        if (w->frozen)
            continue;
        memcpy(block, w->data, w->n * sizeof *block);
        block += w->n;
    }
}

void weights_set(params *p, const float *block) {
    for (size_t i = 0; i < p->n; i++) {
        param *w = p->item[i];
        if (w->frozen)
            continue;
        memcpy(w->data, block, w->n * sizeof *block);
        w->version++;
        block += w->n;
    }
}

void weights_swap(params *p, float *block) {
    for (size_t i = 0; i < p->n; i++) {
        param *w = p->item[i];
        if (w->frozen)
            continue;
        for (size_t j = 0; j < w->n; j++) {
            float kept = w->data[j];
            w->data[j] = block[j];
            block[j] = kept;
        }
        w->version++;
        block += w->n;
    }
}

void weights_average(const params *p, float *average, double decay) {
    float old = (float)decay, new = (float)(1 - decay);
    for (size_t i = 0; i < p->n; i++) {
        const param *w = p->item[i];
        if (w->frozen)
            continue;
        for (size_t j = 0; j < w->n; j++)
            average[j] = old * average[j] + new * w->data[j];
        average += w->n;
    }
}

double weights_decay(double decay, uint64_t step) {
    double warm = (1 + (double)step) / (10 + (double)step);
    return warm < decay ? warm : decay;
}

uint64_t weights_hash(const params *p) {
    uint64_t h = HASH_START;
    for (size_t i = 0; i < p->n; i++)
        h = hash_bytes(h, p->item[i]->data, p->item[i]->n * sizeof(float));
    return h;
}
