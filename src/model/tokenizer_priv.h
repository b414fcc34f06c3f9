/* Inside the tokenizer: tokenizer.c encodes, tokenizer_learn.c makes a vocabulary, tokenizer_files.c reads and writes
 * one. */
#ifndef ND_MODEL_TOKENIZER_PRIV_H
#define ND_MODEL_TOKENIZER_PRIV_H

#include "model/tokenizer.h"

enum { NBYTES = 256, WORD_MAX = 256, VOCABULARY_MAX = 1 << 20 };

/* Special tokens, and the mark of a word's last byte, as the files write them. */
extern const char tokenizer_start_text[], tokenizer_end_text[], tokenizer_word_end[];

typedef struct merge {
    int32_t left, right, result;
} merge;

struct tokenizer {
    size_t n;
    char **token;               /* n, in the form of the files */
    size_t nslots, npair_slots; /* powers of two, above 2 n and 2 nmerges */
    int32_t *slot, *pair_slot;  /* open addressing: id + 1 of a token, rank + 1 of a merge, 0 = empty */
    size_t nmerges;
    merge *merges;            /* by rank */
    int32_t byte[NBYTES];     /* id of a byte inside a word */
    int32_t byte_end[NBYTES]; /* and of a word's last byte */
    int32_t start, end;
};

/* ---- Tables ---- */

/* A power of two that n entries fill to less than a half. */
size_t tokenizer_slots_for(size_t n);
uint64_t tokenizer_hash_pair(int32_t left, int32_t right);
/* Tables for n tokens, which are entered, and nmerges merges, which are not yet. */
status tokenizer_make_tables(tokenizer *t);
/* Enter merge `rank`, whose three tokens are set. A pair that is already there keeps its lower rank. */
void tokenizer_enter_merge(tokenizer *t, size_t rank);
int32_t tokenizer_find(const tokenizer *t, const char *token); /* -1 if there is none */
/* Ids of the bytes and of the special tokens; path: for messages. */
status tokenizer_find_fixed(tokenizer *t, const char *path);
/* The printable character of a byte, as UTF-8: itself where it is printable in Latin-1, else one from U+0100 on. */
void tokenizer_byte_symbol(unsigned byte, char text[3]);

/* ---- Words ---- */

/* The next word of *text and its length, at most WORD_MAX; *text moves behind it. NULL at the end. */
const char *tokenizer_next_word(const char **text, size_t *nbytes);
uint8_t tokenizer_lower(uint8_t c);
/* ids (nbytes): the word's bytes, in lower case. */
void tokenizer_word_symbols(const tokenizer *t, const char *word, size_t nbytes, int32_t *ids);
/* Replace every (left, right) by result, from the left; returns the new length. */
size_t tokenizer_apply_merge(const merge *m, int32_t *ids, size_t n);

#endif
