/* vocab.json and merges.txt, as CLIP's tokenizer has them. */
#include "model/tokenizer_priv.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"

enum { FILE_MAX = 64 << 20 };

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
    m->left = tokenizer_find(t, text);
    m->right = tokenizer_find(t, blank + 1);
    char *joined = text_format("%s%s", text, blank + 1);
    m->result = tokenizer_find(t, joined);
    free(joined);
    if (m->left < 0 || m->right < 0 || m->result < 0)
        return FAIL(ST_FORMAT, "%s: line %zu: \"%s\" + \"%s\" is not in the vocabulary", path, line, text, blank + 1);
    tokenizer_enter_merge(t, t->nmerges++);
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
    TRY_TO(done, tokenizer_make_tables(t));
    t->nmerges = 0;
    TRY_TO(done, tokenizer_find_fixed(t, vocabulary));
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
