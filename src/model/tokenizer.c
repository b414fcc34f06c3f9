/* Byte-level BPE in the form of CLIP's tokenizer (Radford et al. 2021; BPE: Sennrich et al. 2016).
 *
 * A text is cut into words by CLIP's pattern ('s 't 're 've 'm 'll 'd | letters | one digit | other marks), a word into
 * bytes, the last one marked </w>; then the pair of lowest rank is merged until none is left. In the files a byte is
 * written as a printable character (GPT-2's table), so a token is text without blanks. */
#include "model/tokenizer.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"

enum { NBYTES = 256, WORD_MAX = 256, FILE_MAX = 64 << 20, VOCABULARY_MAX = 1 << 20 };

static const char start_token[] = "<|startoftext|>", end_token[] = "<|endoftext|>", word_end[] = "</w>";

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

static uint64_t hash_pair(int32_t left, int32_t right) {
    return mix((uint64_t)(uint32_t)left << 32 | (uint32_t)right);
}

static size_t slots_for(size_t n) {
    size_t slots = 16;
    while (slots < 2 * n + 2)
        slots *= 2;
    return slots;
}

static int32_t find_token(const tokenizer *t, const char *text) {
    for (size_t i = hash_text(text) & (t->nslots - 1); t->slot[i]; i = (i + 1) & (t->nslots - 1))
        if (strcmp(t->token[t->slot[i] - 1], text) == 0)
            return t->slot[i] - 1;
    return -1;
}

/* Rank of the merge of two tokens, -1 if there is none. */
static int32_t find_merge(const tokenizer *t, int32_t left, int32_t right) {
    for (size_t i = hash_pair(left, right) & (t->npair_slots - 1); t->pair_slot[i];
         i = (i + 1) & (t->npair_slots - 1)) {
        const merge *m = &t->merges[t->pair_slot[i] - 1];
        if (m->left == left && m->right == right)
            return t->pair_slot[i] - 1;
    }
    return -1;
}

/* The printable character of a byte, as UTF-8: itself where it is printable in Latin-1, else one from U+0100 on. */
static void byte_symbol(unsigned byte, char text[3]) {
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

static status make_tables(tokenizer *t) {
    t->nslots = slots_for(t->n);
    t->npair_slots = slots_for(t->nmerges);
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

/* Enter merge `rank`, whose three tokens are set. A pair that is already there keeps its lower rank. */
static void enter_merge(tokenizer *t, size_t rank) {
    const merge *m = &t->merges[rank];
    if (find_merge(t, m->left, m->right) >= 0)
        return;
    size_t i = hash_pair(m->left, m->right) & (t->npair_slots - 1);
    while (t->pair_slot[i])
        i = (i + 1) & (t->npair_slots - 1);
    t->pair_slot[i] = (int32_t)rank + 1;
}

/* Ids of the bytes and of the special tokens. */
static status find_fixed_tokens(tokenizer *t, const char *path) {
    for (unsigned b = 0; b < NBYTES; b++) {
        char symbol[3], ending[8];
        byte_symbol(b, symbol);
        t->byte[b] = find_token(t, symbol);
        snprintf(ending, sizeof ending, "%s%s", symbol, word_end);
        t->byte_end[b] = find_token(t, ending);
        if (t->byte[b] < 0 || t->byte_end[b] < 0)
            return FAIL(ST_FORMAT, "%s: no token for byte 0x%02x", path, b);
    }
    t->start = find_token(t, start_token);
    t->end = find_token(t, end_token);
    if (t->start < 0 || t->end < 0)
        return FAIL(ST_FORMAT, "%s: no token %s", path, t->start < 0 ? start_token : end_token);
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

static uint8_t lower(uint8_t c) {
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
}

/* Bytes of the word that begins at text (not a blank), by CLIP's pattern; at most WORD_MAX, a longer one is cut. */
static size_t word_length(const char *text) {
    static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = 0;
        while (endings[i][n] && lower((uint8_t)text[n]) == (uint8_t)endings[i][n])
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

/* The next word of *text and its length; *text moves behind it. NULL at the end. */
static const char *next_word(const char **text, size_t *nbytes) {
    while (**text && class_of((uint8_t) * *text) == BLANK)
        ++*text;
    if (!**text)
        return NULL;
    const char *word = *text;
    *nbytes = word_length(word);
    *text += *nbytes;
    return word;
}

static void word_symbols(const tokenizer *t, const char *word, size_t nbytes, int32_t *ids) {
    for (size_t i = 0; i < nbytes; i++) {
        uint8_t byte = lower((uint8_t)word[i]);
        ids[i] = i + 1 == nbytes ? t->byte_end[byte] : t->byte[byte];
    }
}

/* Replace every (left, right) by result, from the left; returns the new length. */
static size_t apply_merge(const merge *m, int32_t *ids, size_t n) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool both = i + 1 < n && ids[i] == m->left && ids[i + 1] == m->right;
        ids[kept++] = both ? m->result : ids[i];
        i += both;
    }
    return kept;
}

static size_t encode_word(const tokenizer *t, const char *word, size_t nbytes, int32_t ids[WORD_MAX]) {
    word_symbols(t, word, nbytes, ids);
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
        n = apply_merge(&t->merges[best], ids, n);
    }
}

status tokenizer_encode(const tokenizer *t, const char *text, size_t ntokens, int32_t *ids, size_t *end) {
    if (ntokens < 2)
        return FAIL(ST_RANGE, "a text of %zu tokens has no room for start and end", ntokens);
    size_t n = 0, nbytes;
    ids[n++] = t->start;
    for (const char *word; n < ntokens - 1 && (word = next_word(&text, &nbytes));) {
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

/* ---- Learning ---- */

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
        for (const char *text = corpus->item[i]; next_word(&text, &nbytes);)
            n++;
    TRY(NEW(n, words));
    n = 0;
    for (size_t i = 0; i < corpus->n; i++) {
        const char *text = corpus->item[i];
        for (const char *word; (word = next_word(&text, &nbytes)); n++) {
            for (size_t k = 0; k < nbytes; k++)
                (*words)[n].text[k] = (char)lower((uint8_t)word[k]);
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
            size_t i = hash_pair(left, right) & (nslots - 1);
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
        word_symbols(t, words[w].text, words[w].n, words[w].ids);
        nsymbols += words[w].n;
    }
    pair_count *pairs = NULL;
    size_t nslots = slots_for(nsymbols);
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
            words[w].n = apply_merge(m, words[w].ids, words[w].n);
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
                byte_symbol(b, symbol);
                bool printable = symbol[1] == 0 || (uint8_t)symbol[0] < 0xc4; /* below U+0100 */
                if (printable != own_sign)
                    continue;
                (ending ? t->byte_end : t->byte)[b] = (int32_t)t->n;
                t->token[t->n++] = text_format("%s%s", symbol, ending ? word_end : "");
            }
}

status tokenizer_learn(tokenizer **out, const text_list *corpus, size_t nmerges) {
    status st;
    tokenizer *t = NULL;
    learn_word *words = NULL;
    size_t nwords = 0;
    *out = NULL;
    if (nmerges > VOCABULARY_MAX)
        return FAIL(ST_RANGE, "%zu merges are above %d", nmerges, VOCABULARY_MAX);
    TRY_TO(done, NEW(1, &t));
    TRY_TO(done, NEW(2 * NBYTES + nmerges + 2, &t->token));
    TRY_TO(done, NEW(nmerges, &t->merges));
    add_byte_tokens(t);
    TRY_TO(done, collect_words(corpus, &words, &nwords));
    TRY_TO(done, learn_merges(t, words, nwords, nmerges));
    t->token[t->n++] = text_copy(start_token);
    t->token[t->n++] = text_copy(end_token);
    TRY_TO(done, make_tables(t));
    for (size_t rank = 0; rank < t->nmerges; rank++)
        enter_merge(t, rank);
    TRY_TO(done, find_fixed_tokens(t, "learnt vocabulary"));
    *out = t;
    t = NULL;
done:
    memory_free(&words);
    tokenizer_free(&t);
    return st;
}

/* ---- Files ---- */

static status save_vocabulary(const tokenizer *t, const char *path) {
    json_t *root = json_object();
    bool good = root != NULL;
    for (size_t id = 0; good && id < t->n; id++)
        good = json_object_set_new(root, t->token[id], json_integer((json_int_t)id)) == 0;
    char *text = good ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (!text)
        return FAIL(ST_MEMORY, "%s: vocabulary as JSON", path);
    status st = file_write(path, text, strlen(text));
    free(text);
    return st;
}

static status save_merges(const tokenizer *t, const char *path) {
    file_writer w;
    TRY(file_begin(&w, path));
    fprintf(w.stream, "#version: 0.2\n");
    for (size_t i = 0; i < t->nmerges; i++)
        fprintf(w.stream, "%s %s\n", t->token[t->merges[i].left], t->token[t->merges[i].right]);
    return file_commit(&w);
}

status tokenizer_save(const tokenizer *t, const char *folder) {
    char *vocabulary = text_format("%s/vocab.json", folder), *merges = text_format("%s/merges.txt", folder);
    status st = file_make_folders(folder);
    if (st == ST_OK)
        st = save_vocabulary(t, vocabulary);
    if (st == ST_OK)
        st = save_merges(t, merges);
    free(vocabulary);
    free(merges);
    return st;
}

static status take_vocabulary(tokenizer *t, const char *path, json_t *root) {
    if (!json_is_object(root) || json_object_size(root) > VOCABULARY_MAX)
        return FAIL(ST_FORMAT, "%s: not an object of at most %d tokens", path, VOCABULARY_MAX);
    size_t n = json_object_size(root);
    TRY(NEW(n, &t->token));
    t->n = n;
    const char *text;
    json_t *value;
    json_object_foreach(root, text, value) {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || (size_t)id >= n || t->token[id])
            return FAIL(ST_FORMAT, "%s: token \"%s\": id is no number below %zu, or another token's", path, text, n);
        t->token[id] = text_copy(text);
    }
    return ST_OK;
}

static status load_vocabulary(tokenizer *t, const char *path) {
    char *bytes = NULL;
    size_t nbytes = 0;
    TRY(file_read(path, FILE_MAX, &bytes, &nbytes));
    json_error_t error;
    json_t *root = json_loadb(bytes, nbytes, JSON_REJECT_DUPLICATES, &error);
    free(bytes);
    if (!root)
        return FAIL(ST_FORMAT, "%s: line %d: %s", path, error.line, error.text);
    status st = take_vocabulary(t, path, root);
    json_decref(root);
    return st;
}

/* One line "LEFT RIGHT" (NUL-terminated). */
static status take_merge(tokenizer *t, const char *path, size_t line, char *text) {
    char *blank = strchr(text, ' ');
    if (!blank || blank == text || !blank[1] || strchr(blank + 1, ' '))
        return FAIL(ST_FORMAT, "%s: line %zu: not two tokens", path, line);
    *blank = 0;
    merge *m = &t->merges[t->nmerges];
    m->left = find_token(t, text);
    m->right = find_token(t, blank + 1);
    char *joined = text_format("%s%s", text, blank + 1);
    m->result = find_token(t, joined);
    free(joined);
    if (m->left < 0 || m->right < 0 || m->result < 0)
        return FAIL(ST_FORMAT, "%s: line %zu: \"%s\" + \"%s\" is not in the vocabulary", path, line, text, blank + 1);
    enter_merge(t, t->nmerges++);
    return ST_OK;
}

static status load_merges(tokenizer *t, const char *vocabulary, const char *path) {
    char *bytes = NULL;
    size_t nbytes = 0, nlines = 1, line = 1;
    status st = file_read(path, FILE_MAX, &bytes, &nbytes);
    if (st != ST_OK)
        return st;
    if (memchr(bytes, 0, nbytes))
        TRY_TO(done, FAIL(ST_FORMAT, "%s: contains a zero byte", path));
    for (size_t i = 0; i < nbytes; i++)
        nlines += bytes[i] == '\n';
    TRY_TO(done, NEW(nlines, &t->merges));
    t->nmerges = nlines; /* for the size of the table */
    TRY_TO(done, make_tables(t));
    t->nmerges = 0;
    TRY_TO(done, find_fixed_tokens(t, vocabulary));
    for (char *text = bytes, *next; text; text = next, line++) {
        next = strchr(text, '\n');
        if (next)
            *next++ = 0;
        text[strcspn(text, "\r")] = 0;
        if (*text && !(line == 1 && strncmp(text, "#version", 8) == 0))
            TRY_TO(done, take_merge(t, path, line, text));
    }
done:
    free(bytes);
    return st;
}

status tokenizer_load(tokenizer **out, const char *folder) {
    char *vocabulary = text_format("%s/vocab.json", folder), *merges = text_format("%s/merges.txt", folder);
    tokenizer *t = NULL;
    *out = NULL;
    status st = NEW(1, &t);
    if (st == ST_OK)
        st = load_vocabulary(t, vocabulary);
    if (st == ST_OK)
        st = load_merges(t, vocabulary, merges);
    if (st == ST_OK) {
        *out = t;
        t = NULL;
    }
    tokenizer_free(&t);
    free(vocabulary);
    free(merges);
    return st;
}
