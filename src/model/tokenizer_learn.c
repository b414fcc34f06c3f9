/* Learning a vocabulary: the most frequent pair of neighbouring symbols becomes a token, again and again (Sennrich et
 * al. 2016). */
#include "model/tokenizer_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"

typedef struct learn_word {
    char text[WORD_MAX + 1]; /* lower case */
    uint64_t count;
    size_t n; /* symbols left */
    int32_t ids[WORD_MAX];
} learn_word;

static int by_text(const void *a, const void *b) {
    return strcmp(((const learn_word *)a)->text, ((const learn_word *)b)->text);
}

/* The different words of the corpus with their counts, sorted. */
static status collect_words(const text_list *corpus, learn_word **words, size_t *nwords) {
    size_t n = 0, nbytes;
    for (size_t i = 0; i < corpus->n; i++)
        for (const char *text = corpus->item[i]; tokenizer_next_word(&text, &nbytes);)
            n++;
    TRY(NEW(n, words));
    n = 0;
    for (size_t i = 0; i < corpus->n; i++) {
        const char *text = corpus->item[i];
        for (const char *word; (word = tokenizer_next_word(&text, &nbytes)); n++) {
            for (size_t k = 0; k < nbytes; k++)
                (*words)[n].text[k] = (char)tokenizer_lower((uint8_t)word[k]);
            (*words)[n].count = 1;
        }
    }
    qsort(*words, n, sizeof **words, by_text);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept && strcmp((*words)[kept - 1].text, (*words)[i].text) == 0)
            (*words)[kept - 1].count++;
        else if (kept++ != i)
            (*words)[kept - 1] = (*words)[i];
    }
    *nwords = kept;
    return ST_OK;
}

typedef struct pair_count {
    int32_t left, right;
    uint64_t count; /* 0 = empty slot */
} pair_count;

static bool pair_before(const tokenizer *t, const pair_count *a, const pair_count *b) {
    if (a->count != b->count)
        return a->count > b->count;
    int order = strcmp(t->token[a->left], t->token[b->left]);
    return order ? order < 0 : strcmp(t->token[a->right], t->token[b->right]) < 0;
}

/* The most frequent pair of neighbours (count 0: none is left). pairs: nslots slots of scratch. */
static pair_count best_pair(const tokenizer *t, const learn_word *words, size_t nwords, pair_count *pairs,
                            size_t nslots) {
    memset(pairs, 0, nslots * sizeof *pairs);
    for (size_t w = 0; w < nwords; w++)
        for (size_t k = 0; k + 1 < words[w].n; k++) {
            int32_t left = words[w].ids[k], right = words[w].ids[k + 1];
            size_t i = tokenizer_hash_pair(left, right) & (nslots - 1);
            while (pairs[i].count && (pairs[i].left != left || pairs[i].right != right))
                i = (i + 1) & (nslots - 1);
            pairs[i].left = left;
            pairs[i].right = right;
            pairs[i].count += words[w].count;
        }
    pair_count best = {0};
    for (size_t i = 0; i < nslots; i++)
        if (pairs[i].count && (!best.count || pair_before(t, &pairs[i], &best)))
            best = pairs[i];
    return best;
}

/* Two ways to the same text ("ab"+"c", "a"+"bc") are one token. */
static int32_t token_made_by(const tokenizer *t, const char *text) {
    for (size_t id = 2 * NBYTES; id < t->n; id++)
        if (strcmp(t->token[id], text) == 0)
            return (int32_t)id;
    return -1;
}

static status learn_merges(tokenizer *t, learn_word *words, size_t nwords, size_t nmerges) {
    size_t nsymbols = 0;
    for (size_t w = 0; w < nwords; w++) {
        words[w].n = strlen(words[w].text);
        tokenizer_word_symbols(t, words[w].text, words[w].n, words[w].ids);
        nsymbols += words[w].n;
    }
    pair_count *pairs = NULL;
    size_t nslots = tokenizer_slots_for(nsymbols);
    TRY(NEW(nslots, &pairs));
    while (t->nmerges < nmerges) {
        pair_count best = best_pair(t, words, nwords, pairs, nslots);
        if (!best.count)
            break;
        /* The left part never ends a word, so it has no </w> and the two texts simply join. */
        char *text = text_format("%s%s", t->token[best.left], t->token[best.right]);
        int32_t id = token_made_by(t, text);
        if (id < 0) {
            id = (int32_t)t->n;
            t->token[t->n++] = text;
        } else {
            free(text);
        }
        merge *m = &t->merges[t->nmerges++];
        *m = (merge){best.left, best.right, id};
        for (size_t w = 0; w < nwords; w++)
            words[w].n = tokenizer_apply_merge(m, words[w].ids, words[w].n);
    }
    memory_free(&pairs);
    return ST_OK;
}

/* The 512 tokens of the bytes, in the order of CLIP's vocabulary: printable ones first. */
static void add_byte_tokens(tokenizer *t) {
    for (int ending = 0; ending < 2; ending++)
        for (int own_sign = 1; own_sign >= 0; own_sign--)
            for (unsigned b = 0; b < NBYTES; b++) {
                char symbol[3];
                tokenizer_byte_symbol(b, symbol);
                bool printable = symbol[1] == 0 || (uint8_t)symbol[0] < 0xc4; /* below U+0100 */
                if (printable != own_sign)
                    continue;
                (ending ? t->byte_end : t->byte)[b] = (int32_t)t->n;
                t->token[t->n++] = text_format("%s%s", symbol, ending ? tokenizer_word_end : "");
            }
}

status tokenizer_learn(tokenizer **out, const text_list *corpus, size_t nmerges) {
    status st;
    tokenizer *t = NULL;
    learn_word *words = NULL;
    size_t nwords = 0;
    *out = NULL;
    if (nmerges > VOCABULARY_MAX - 2 * NBYTES - 2)
        return FAIL(ST_RANGE, "%zu merges, with bytes and special tokens, are more than %d tokens", nmerges,
                    VOCABULARY_MAX);
    TRY_TO(done, NEW(1, &t));
    TRY_TO(done, NEW(2 * NBYTES + nmerges + 2, &t->token));
    TRY_TO(done, NEW(nmerges, &t->merges));
    add_byte_tokens(t);
    TRY_TO(done, collect_words(corpus, &words, &nwords));
    TRY_TO(done, learn_merges(t, words, nwords, nmerges));
    t->token[t->n++] = text_copy(tokenizer_start_text);
    t->token[t->n++] = text_copy(tokenizer_end_text);
    TRY_TO(done, tokenizer_make_tables(t));
    for (size_t rank = 0; rank < t->nmerges; rank++)
        tokenizer_enter_merge(t, rank);
    TRY_TO(done, tokenizer_find_fixed(t, "learnt vocabulary"));
    *out = t;
    t = NULL;
done:
    memory_free(&words);
    tokenizer_free(&t);
    return st;
}
