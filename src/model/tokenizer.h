/* Byte-level BPE as CLIP uses it: lower case, </w> word ends, digits one by one, <|startoftext|> and <|endoftext|>.
 * Files are CLIP's vocab.json and merges.txt, so CLIPTokenizer loads ours and we load CLIP's. Local.
 *
 * ASCII text gives CLIP's ids exactly. Other characters are taken as letters and kept as they are, byte by byte (CLIP
 * would sort them into letters, digits and marks by Unicode), and the names of the special tokens inside a text are
 * plain text: a label cannot end its prompt. */
#ifndef ND_MODEL_TOKENIZER_H
#define ND_MODEL_TOKENIZER_H

#include <stdint.h>
#include "base/config.h"

typedef struct tokenizer tokenizer;

/* Learn at most nmerges merges from the corpus (deterministic: most frequent pair, ties by bytes). */
status tokenizer_learn(tokenizer **t, const text_list *corpus, size_t nmerges);
status tokenizer_load(tokenizer **t, const char *folder);
status tokenizer_save(const tokenizer *t, const char *folder);
size_t tokenizer_vocabulary(const tokenizer *t);
int32_t tokenizer_start_id(const tokenizer *t);
int32_t tokenizer_end_id(const tokenizer *t);
/* The token as the vocabulary writes it; NULL where id is none. Still the tokenizer's. */
const char *tokenizer_token(const tokenizer *t, int32_t id);
/* ids (ntokens): start, text cut to fit, end, then padding with the end token; *end = position of the first end token.
 * ST_RANGE where ntokens is below 2; nothing else fails. */
status tokenizer_encode(const tokenizer *t, const char *text, size_t ntokens, int32_t *ids, size_t *end);
void tokenizer_free(tokenizer **t);

#endif
