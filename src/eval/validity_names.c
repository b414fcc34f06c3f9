/* Counts by name (see validity_priv.h). */
#include "eval/validity_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"

enum { NAMES_MAX = 1000 };

static name_count *find_name(const name_counts *c, const char *name) {
    for (size_t i = 0; i < c->n; i++)
        if (!strcmp(c->items[i].name, name))
            return &c->items[i];
    return NULL;
}

/* Texts of arbitrary packets could be of any number: past NAMES_MAX of a subject they share one name. What a program
 * says of a subject is counted by one rank, so it makes no difference which ranks counted the other subjects. */
status name_counts_add(name_counts *c, const char *name, subject s, double count) {
    static const char further[] = "further ones";
    name_count *found = find_name(c, name);
    bool is_new = (!found || !(found->count[s] > 0)) && strcmp(name, further) != 0;
    if (is_new && c->named[s] >= NAMES_MAX) {
        name = further;
        found = find_name(c, name);
        is_new = false;
    }
    if (!found) {
        TRY(memory_grow(&c->items, &c->capacity, c->n + 1, sizeof *c->items));
        found = &c->items[c->n++];
        *found = (name_count){.name = text_copy(name)};
    }
    c->named[s] += is_new;
    found->count[s] += count;
    return ST_OK;
}

static double largest(const name_count *c) {
    double most = 0;
    for (int s = 0; s < SUBJECTS; s++)
        most = c->count[s] > most ? c->count[s] : most;
    return most;
}

static int by_count(const void *a, const void *b) {
    const name_count *x = a, *y = b;
    double p = largest(x), q = largest(y);
    return p != q ? (p < q ? 1 : -1) : strcmp(x->name, y->name);
}

void name_counts_sort(name_counts *c) {
    if (c->n > 1)
        qsort(c->items, c->n, sizeof *c->items, by_count);
}

void name_counts_clear(name_counts *c) {
    for (size_t i = 0; i < c->n; i++)
        free(c->items[i].name);
    free(c->items);
    *c = (name_counts){0};
}
