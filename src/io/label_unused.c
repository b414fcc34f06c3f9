/* Rows of the labels file that labelled no flow. See labels.h. */
#include <stdlib.h>
#include "base/memory.h"
#include "io/labels_priv.h"

static uint64_t hash_of(const label_row *row) {
    return row->kind == LABEL_BY_KEY ? flow_key_hash(&row->key) : 0;
}

/* Rows with one 5-tuple side by side. */
static int compare_hashes(const void *a, const void *b) {
    const label_row *x = *(const label_row *const *)a, *y = *(const label_row *const *)b;
    uint64_t hx = hash_of(x), hy = hash_of(y);
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    if (hx != hy)
        return hx < hy ? -1 : 1;
    return x->line < y->line ? -1 : x->line > y->line;
}

static int compare_lines(const void *a, const void *b) {
    const unused_row *x = a, *y = b;
    return x->line < y->line ? -1 : x->line > y->line;
}

/* Does a row of these n, which have one hash, say the same and label a flow? */
static bool stands_twice(const label_row *row, const label_row *const *group, size_t n, const uint64_t *taken) {
    for (size_t i = 0; i < n; i++)
        if (taken[group[i]->line] > 0 && label_same_flow(&group[i]->key, &row->key) &&
            label_path_matches(group[i]->file, row->file))
            return true;
    return false;
}

static void collect(const label_row *const *sorted, size_t nrows, const uint64_t *taken, size_t *n, unused_row *to) {
    for (size_t from = 0, end; from < nrows; from = end) {
        bool keyed = sorted[from]->kind == LABEL_BY_KEY;
        for (end = from + 1; keyed && end < nrows && sorted[end]->kind == LABEL_BY_KEY &&
                             hash_of(sorted[end]) == hash_of(sorted[from]);)
            end++;
        for (size_t i = from; i < end; i++) {
            const label_row *row = sorted[i];
            if (taken[row->line] == 0 && !(keyed && stands_twice(row, sorted + from, end - from, taken)))
                to[(*n)++] = (unused_row){.line = row->line, .file = row->file, .label = row->label};
        }
    }
}

status labels_unused(const labels *l, const uint64_t *taken, size_t *n, unused_row **rows) {
    const label_row **sorted = NULL;
    *n = 0;
    TRY(NEW(l->nrows, rows));
    status st = NEW(l->nrows, &sorted);
    for (size_t i = 0; st == ST_OK && i < l->nrows; i++)
        sorted[i] = &l->rows[i];
    if (st == ST_OK && l->nrows > 0) {
        qsort(sorted, l->nrows, sizeof *sorted, compare_hashes);
        collect(sorted, l->nrows, taken, n, *rows);
        qsort(*rows, *n, sizeof **rows, compare_lines);
    }
    memory_free(&sorted);
    return st;
}
