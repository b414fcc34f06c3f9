/* Byte-level BPE in the form of CLIP's tokenizer (Radford et al. 2021; BPE: Sennrich et al. 2016).
 *
 * A text is cut into words by CLIP's pattern ('s 't 're 've 'm 'll 'd | letters | one digit | other marks), a word into
 * bytes, the last one marked </w>; then the pair of lowest rank is merged until none is left. In the files a byte is
 * written as a printable character (GPT-2's table), so a token is text without blanks. */
#include "model/tokenizer_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/memory.h"

const char tokenizer_start_text[] = "<|startoftext|>", tokenizer_end_text[] = "<|endoftext|>",
           tokenizer_word_end[] = "</w>";

/* ---- Tables ---- */

static uint64_t mix(uint64_t h) {
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

static uint64_t hash_text(const char *s) {
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (; *s; s++)
        h = (h ^ (uint8_t)*s) * 0x100000001b3u;
    return mix(h);
}

uint64_t tokenizer_hash_pair(int32_t left, int32_t right) {
    return mix((uint64_t)(uint32_t)left << 32 | (uint32_t)right);
}

size_t tokenizer_slots_for(size_t n) {
    size_t slots = 16;
    while (slots < 2 * n + 2)
        slots *= 2;
    return slots;
}

int32_t tokenizer_find(const tokenizer *t, const char *text) {
    for (size_t i = hash_text(text) & (t->nslots - 1); t->slot[i]; i = (i + 1) & (t->nslots - 1))
        if (strcmp(t->token[t->slot[i] - 1], text) == 0)
            return t->slot[i] - 1;
    return -1;
}

/* Rank of the merge of two tokens, -1 if there is none. */
static int32_t find_merge(const tokenizer *t, int32_t left, int32_t right) {
    for (size_t i = tokenizer_hash_pair(left, right) & (t->npair_slots - 1); t->pair_slot[i];
         i = (i + 1) & (t->npair_slots - 1)) {
        const merge *m = &t->merges[t->pair_slot[i] - 1];
        if (m->left == left && m->right == right)
            return t->pair_slot[i] - 1;
    }
    return -1;
}

void tokenizer_byte_symbol(unsigned byte, char text[3]) {
    unsigned code = byte, next = 256;
    for (unsigned b = 0; b <= byte; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        if (b == byte)
            code = printable ? b : next;
        else if (!printable)
            next++;
    }
    size_t n = 0;
    if (code < 0x80) {
        text[n++] = (char)code;
    } else {
        text[n++] = (char)(0xc0 | code >> 6);
        text[n++] = (char)(0x80 | (code & 0x3f));
    }
    text[n] = 0;
}

status tokenizer_make_tables(tokenizer *t) {
    t->nslots = tokenizer_slots_for(t->n);
    t->npair_slots = tokenizer_slots_for(t->nmerges);
    TRY(NEW(t->nslots, &t->slot));
    TRY(NEW(t->npair_slots, &t->pair_slot));
    for (size_t id = 0; id < t->n; id++) {
        size_t i = hash_text(t->token[id]) & (t->nslots - 1);
        while (t->slot[i])
            i = (i + 1) & (t->nslots - 1);
        t->slot[i] = (int32_t)id + 1;
    }
    return ST_OK;
}

void tokenizer_enter_merge(tokenizer *t, size_t rank) {
    const merge *m = &t->merges[rank];
    if (find_merge(t, m->left, m->right) >= 0)
        return;
    size_t i = tokenizer_hash_pair(m->left, m->right) & (t->npair_slots - 1);
    while (t->pair_slot[i])
        i = (i + 1) & (t->npair_slots - 1);
    t->pair_slot[i] = (int32_t)rank + 1;
}

status tokenizer_find_fixed(tokenizer *t, const char *path) {
    for (unsigned b = 0; b < NBYTES; b++) {
        char symbol[3], ending[8];
        tokenizer_byte_symbol(b, symbol);
        t->byte[b] = tokenizer_find(t, symbol);
        snprintf(ending, sizeof ending, "%s%s", symbol, tokenizer_word_end);
        t->byte_end[b] = tokenizer_find(t, ending);
        if (t->byte[b] < 0 || t->byte_end[b] < 0)
            return FAIL(ST_FORMAT, "%s: no token for byte 0x%02x", path, b);
    }
    t->start = tokenizer_find(t, tokenizer_start_text);
    t->end = tokenizer_find(t, tokenizer_end_text);
    if (t->start < 0 || t->end < 0)
        return FAIL(ST_FORMAT, "%s: no token %s", path, t->start < 0 ? tokenizer_start_text : tokenizer_end_text);
    return ST_OK;
}

void tokenizer_free(tokenizer **t) {
    if (!*t)
        return;
    for (size_t i = 0; (*t)->token && i < (*t)->n; i++)
        free((*t)->token[i]);
    memory_free(&(*t)->token);
    memory_free(&(*t)->slot);
    memory_free(&(*t)->pair_slot);
    memory_free(&(*t)->merges);
    memory_free(t);
}

size_t tokenizer_vocabulary(const tokenizer *t) {
    return t->n;
}

int32_t tokenizer_start_id(const tokenizer *t) {
    return t->start;
}

int32_t tokenizer_end_id(const tokenizer *t) {
    return t->end;
}

const char *tokenizer_token(const tokenizer *t, int32_t id) {
    return id >= 0 && (size_t)id < t->n ? t->token[id] : NULL;
}

/* ---- Words ---- */

typedef enum byte_class { BLANK, DIGIT, LETTER, MARK } byte_class;

static byte_class class_of(uint8_t c) {
    if (c <= ' ' || c == 0x7f)
        return BLANK;
    if (c >= '0' && c <= '9')
        return DIGIT;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80)
        return LETTER;
    return MARK;
}

uint8_t tokenizer_lower(uint8_t c) {
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
}

/* Bytes of the word that begins at text (not a blank), by CLIP's pattern; at most WORD_MAX, a longer one is cut. */
static size_t word_length(const char *text) {
    static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = 0;
        while (endings[i][n] && tokenizer_lower((uint8_t)text[n]) == (uint8_t)endings[i][n])
            n++;
        if (!endings[i][n])
            return n;
    }
    byte_class class = class_of((uint8_t)text[0]);
    size_t n = 1;
    while (class != DIGIT && n < WORD_MAX && text[n] && class_of((uint8_t)text[n]) == class)
        n++;
    return n;
}

const char *tokenizer_next_word(const char **text, size_t *nbytes) {
    while (**text && class_of((uint8_t) * *text) == BLANK)
        ++*text;
    if (!**text)
        return NULL;
    const char *word = *text;
    *nbytes = word_length(word);
    *text += *nbytes;
    return word;
}

void tokenizer_word_symbols(const tokenizer *t, const char *word, size_t nbytes, int32_t *ids) {
    for (size_t i = 0; i < nbytes; i++) {
        uint8_t byte = tokenizer_lower((uint8_t)word[i]);
        ids[i] = i + 1 == nbytes ? t->byte_end[byte] : t->byte[byte];
    }
}

size_t tokenizer_apply_merge(const merge *m, int32_t *ids, size_t n) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool both = i + 1 < n && ids[i] == m->left && ids[i + 1] == m->right;
        ids[kept++] = both ? m->result : ids[i];
        i += both;
    }
    return kept;
}

static size_t encode_word(const tokenizer *t, const char *word, size_t nbytes, int32_t ids[WORD_MAX]) {
    tokenizer_word_symbols(t, word, nbytes, ids);
    size_t n = nbytes;
    for (;;) {
        int32_t best = -1;
        for (size_t i = 0; i + 1 < n; i++) {
            int32_t rank = find_merge(t, ids[i], ids[i + 1]);
            if (rank >= 0 && (best < 0 || rank < best))
                best = rank;
        }
        if (best < 0)
            return n;
        n = tokenizer_apply_merge(&t->merges[best], ids, n);
    }
}

status tokenizer_encode(const tokenizer *t, const char *text, size_t ntokens, int32_t *ids, size_t *end) {
    if (ntokens < 2)
        return FAIL(ST_RANGE, "a text of %zu tokens has no room for start and end", ntokens);
    size_t n = 0, nbytes;
    ids[n++] = t->start;
    for (const char *word; n < ntokens - 1 && (word = tokenizer_next_word(&text, &nbytes));) {
        int32_t symbol[WORD_MAX];
        size_t nsymbols = encode_word(t, word, nbytes, symbol);
        for (size_t i = 0; i < nsymbols && n < ntokens - 1; i++)
            ids[n++] = symbol[i];
    }
    *end = n;
    while (n < ntokens)
        ids[n++] = t->end;
    return ST_OK;
}
