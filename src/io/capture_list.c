/* From the configuration's list of files, folders and patterns to capture files. */
#include <errno.h>
#include <fts.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/capture.h"
#include "io/io_priv.h"

typedef struct found {
    char *path, *name;
    char *real; /* to see that two entries are one file */
} found;

typedef struct found_list {
    size_t n, capacity;
    found *item;
} found_list;

static status add(found_list *l, const char *path, const char *name) {
    TRY(memory_grow(&l->item, &l->capacity, l->n + 1, sizeof *l->item));
    char *real = realpath(path, NULL);
    l->item[l->n++] = (found){text_copy(path), text_copy(name), real != NULL ? real : text_copy(path)};
    return ST_OK;
}

static bool has_suffix(const char *name, size_t length, const char *suffix) {
    size_t n = strlen(suffix);
    return length > n && strncasecmp(name + length - n, suffix, n) == 0;
}

static bool is_capture_name(const char *name) {
    size_t length = strlen(name);
    if (has_suffix(name, length, ".gz"))
        length -= 3;
    return has_suffix(name, length, ".pcap") || has_suffix(name, length, ".pcapng") || has_suffix(name, length, ".cap");
}

/* The path without its first `skip` bytes and the slashes after them. */
static const char *below(const char *path, size_t skip) {
    path += skip;
    while (*path == '/')
        path++;
    return path;
}

/* Every capture below a folder; links are followed, circles are not. Names start after `skip` bytes of the path. */
static status add_folder(found_list *l, const char *folder, size_t skip) {
    char *roots[2] = {(char *)folder, NULL};
    status st = ST_OK;
    FTS *tree = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL);
    if (tree == NULL)
        return FAIL(ST_IO, "%s: %s", folder, strerror(errno));
    FTSENT *e;
    while (st == ST_OK && (errno = 0, e = fts_read(tree)) != NULL) {
        /* FTS_SLNONE: a link to nothing, which is an error only where a capture was meant. */
        bool lost = e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS ||
                    (e->fts_info == FTS_SLNONE && is_capture_name(e->fts_name));
        if (lost)
            st = FAIL(ST_IO, "%s: %s", e->fts_path, strerror(e->fts_errno != 0 ? e->fts_errno : ENOENT));
        else if (e->fts_info == FTS_F && is_capture_name(e->fts_name))
            st = add(l, e->fts_path, below(e->fts_path, skip));
    }
    if (st == ST_OK && errno != 0)
        st = FAIL(ST_IO, "%s: %s", folder, strerror(errno));
    fts_close(tree);
    return st;
}

static status add_pattern(found_list *l, const char *pattern) {
    glob_t g;
    int failed = glob(pattern, GLOB_NOSORT, NULL, &g);
    if (failed == GLOB_NOMATCH)
        return FAIL(ST_IO, "%s: no such capture, folder or pattern", pattern);
    if (failed != 0)
        return FAIL(failed == GLOB_NOSPACE ? ST_MEMORY : ST_IO, "%s: the pattern cannot be searched", pattern);
    /* Names are what the pattern left open: they start after the last '/' before its first wildcard. */
    size_t skip = strcspn(pattern, "*?[\\");
    while (skip > 0 && pattern[skip - 1] != '/')
        skip--;
    status st = ST_OK;
    for (size_t i = 0; i < g.gl_pathc && st == ST_OK; i++) {
        struct stat info;
        bool is_folder = stat(g.gl_pathv[i], &info) == 0 && S_ISDIR(info.st_mode);
        st = is_folder ? add_folder(l, g.gl_pathv[i], skip) : add(l, g.gl_pathv[i], below(g.gl_pathv[i], skip));
    }
    globfree(&g);
    return st;
}

static status add_entry(found_list *l, const char *entry) {
    struct stat info;
    size_t before = l->n;
    if (stat(entry, &info) != 0)
        TRY(add_pattern(l, entry));
    else if (S_ISDIR(info.st_mode))
        TRY(add_folder(l, entry, strlen(entry)));
    else
        TRY(add(l, entry, base_name(entry)));
    if (l->n == before)
        return FAIL(ST_IO, "%s: no captures in it (*.pcap, *.pcapng, *.cap, also with .gz)", entry);
    return ST_OK;
}

static int compare_found(const void *a, const void *b) {
    const found *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : strcmp(x->path, y->path);
}

static int compare_real(const void *a, const void *b) {
    const found *const *x = a, *const *y = b;
    int order = strcmp((*x)->real, (*y)->real);
    return order != 0 ? order : *x < *y ? -1 : *x > *y; /* then as sorted by name */
}

/* Drop all but the first of entries that are the same file. */
static status drop_doubles(found_list *l) {
    found **by_real = NULL;
    TRY(NEW(l->n, &by_real));
    for (size_t i = 0; i < l->n; i++)
        by_real[i] = &l->item[i];
    qsort(by_real, l->n, sizeof(found *), compare_real);
    for (size_t i = 1, kept = 0; i < l->n; i++) {
        if (strcmp(by_real[kept]->real, by_real[i]->real) != 0) {
            kept = i;
        } else {
            free(by_real[i]->path);
            by_real[i]->path = NULL;
        }
    }
    memory_free(&by_real);
    return ST_OK;
}

status capture_list_names(const text_list *entries, text_list *files, text_list *names) {
    found_list l = {.n = 0};
    status st = ST_OK;
    for (size_t i = 0; i < entries->n && st == ST_OK; i++)
        st = add_entry(&l, entries->item[i]);
    if (l.n > 0)
        qsort(l.item, l.n, sizeof *l.item, compare_found);
    if (st == ST_OK)
        st = drop_doubles(&l);
    for (size_t i = 0; i < l.n && st == ST_OK; i++)
        if (l.item[i].path != NULL) {
            st = text_list_add(files, l.item[i].path);
            if (st == ST_OK && names != NULL)
                st = text_list_add(names, l.item[i].name);
        }
    for (size_t i = 0; i < l.n; i++) {
        free(l.item[i].path);
        free(l.item[i].name);
        free(l.item[i].real);
    }
    free(l.item);
    return st;
}

status capture_list(const text_list *entries, text_list *files) {
    return capture_list_names(entries, files, NULL);
}
