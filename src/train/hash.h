/* A 64-bit hash for comparing content: rows of a dataset, weights of two ranks. Not against an adversary. */
#ifndef ND_TRAIN_HASH_H
#define ND_TRAIN_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HASH_START 0xcbf29ce484222325u

static inline uint64_t hash_word(uint64_t h, uint64_t word) {
    /* The finaliser of splitmix64 (Steele et al. 2014) over what was there before, so that order counts. */
    h = (h ^ word) + 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    return h ^ h >> 31;
}

static inline uint64_t hash_bytes(uint64_t h, const void *bytes, size_t nbytes) {
    const unsigned char *b = bytes;
    uint64_t word;
    size_t i = 0;
    for (; i + sizeof word <= nbytes; i += sizeof word) {
        memcpy(&word, b + i, sizeof word);
        h = hash_word(h, word);
    }
    word = 0;
    memcpy(&word, b + i, nbytes - i);
    return hash_word(hash_word(h, word), nbytes);
}

#endif
