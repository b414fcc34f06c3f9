/* Cells as text, and tables for a terminal. */
#include "eval/report_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/memory.h"

const report_section_data *report_find(const report *r, const char *id) {
    for (size_t i = 0; i < r->nsections; i++)
        if (!strcmp(r->sections[i].id, id))
            return &r->sections[i];
    return NULL;
}

int report_digits(const report_table *t, size_t column) {
    bool whole = true;
    double largest = 0;
    for (size_t i = 0; i < t->nrows && whole; i++) {
        if (column - 1 >= t->rows[i].ncells)
            continue;
        const report_cell *c = &t->rows[i].cells[column - 1];
        whole = c->kind != CELL_SPREAD && (c->kind != CELL_NUMBER || (c->x == floor(c->x) && fabs(c->x) < 1e15));
        if (c->kind == CELL_NUMBER && fabs(c->x) > largest)
            largest = fabs(c->x);
    }
    return whole && largest > 1 ? 0 : t->decimals;
}

/* Fixed digits, fewer for large numbers; what would be rounded to nothing is said to be below the last digit. */
static void number_text(double x, int digits, char *to, size_t nbytes) {
    int most = fabs(x) >= 1e5 ? 0 : fabs(x) >= 1e3 ? 1 : 9;
    digits = digits < most ? digits : most;
    if (x != 0 && fabs(x) < 0.5 * pow(10, -digits))
        snprintf(to, nbytes, "%s%.*f", x > 0 ? "<" : ">-", digits, pow(10, -digits));
    else if (fabs(x) >= 1e9)
        snprintf(to, nbytes, "%.4g", x);
    else
        snprintf(to, nbytes, "%.*f", digits, x);
}

const char *report_cell_text(const report_cell *c, int digits, char buffer[CELL_TEXT_MAX]) {
    char spread[CELL_TEXT_MAX / 2 - 4], mean[CELL_TEXT_MAX / 2 - 4];
    switch (c->kind) {
    case CELL_NUMBER:
        number_text(c->x, digits, buffer, CELL_TEXT_MAX);
        return buffer;
    case CELL_SPREAD:
        number_text(c->x, digits, mean, sizeof mean);
        number_text(c->deviation, digits, spread, sizeof spread);
        snprintf(buffer, CELL_TEXT_MAX, "%s ± %s", mean, spread);
        return buffer;
    case CELL_TEXT:
        return c->text;
    case CELL_NOTHING:
        break;
    }
    return "";
}

size_t report_reason_index(const report_cell *c, size_t n, const char *const *reasons) {
    for (size_t i = 0; c->kind == CELL_NOTHING && c->text && i < n; i++)
        if (!strcmp(c->text, reasons[i]))
            return i + 1;
    return 0;
}

/* The array is the caller's to free with memory_free; its texts are the table's. 0 also where memory is out. */
size_t report_reasons(const report_table *t, const char ***reasons) {
    size_t n = 0, ncells = 0;
    *reasons = NULL;
    for (size_t i = 0; i < t->nrows; i++)
        ncells += t->rows[i].ncells;
    if (NEW(ncells + 1, reasons))
        return 0;
    for (size_t i = 0; i < t->nrows; i++)
        for (size_t k = 0; k < t->rows[i].ncells; k++) {
            const report_cell *c = &t->rows[i].cells[k];
            if (c->kind == CELL_NOTHING && c->text && !report_reason_index(c, n, *reasons))
                (*reasons)[n++] = c->text;
        }
    return n;
}

/* ---- terminal ---- */

/* Characters, not bytes: continuation bytes take no column. */
static int columns_of(const char *text) {
    int n = 0;
    for (; *text; text++)
        n += (*text & 0xc0) != 0x80;
    return n;
}

static void print_cell(const char *text, int width, bool left) {
    int pad = width - columns_of(text);
    if (!left)
        printf("%*s", pad > 0 ? pad : 0, "");
    fputs(text, stdout);
    if (left)
        printf("%*s", pad > 0 ? pad : 0, "");
}

static const char *terminal_text(const report_table *t, size_t row, size_t column, size_t nreasons,
                                 const char *const *reasons, char buffer[CELL_TEXT_MAX]) {
    const report_row_data *r = &t->rows[row];
    if (column == 0)
        return r->name;
    if (column - 1 >= r->ncells)
        return "-";
    const report_cell *c = &r->cells[column - 1];
    if (c->kind != CELL_NOTHING)
        return report_cell_text(c, report_digits(t, column), buffer);
    size_t why = report_reason_index(c, nreasons, reasons);
    snprintf(buffer, CELL_TEXT_MAX, why ? "- (%zu)" : "-", why);
    return buffer;
}

static void print_table(const report_item *it) {
    const report_table *t = it->table;
    const char **reasons;
    char buffer[CELL_TEXT_MAX];
    size_t nreasons = report_reasons(t, &reasons);
    int *width = NULL;
    if (NEW(t->ncolumns + 1, &width)) {
        memory_free(&reasons);
        return;
    }
    for (size_t c = 0; c < t->ncolumns; c++) {
        width[c] = columns_of(t->columns[c]);
        for (size_t i = 0; i < t->nrows; i++) {
            int w = columns_of(terminal_text(t, i, c, nreasons, reasons, buffer));
            width[c] = w > width[c] ? w : width[c];
        }
    }
    printf("\n%s\n\n", it->title);
    for (size_t c = 0; c < t->ncolumns; c++)
        print_cell(t->columns[c], width[c] + (c ? 2 : 0), c == 0);
    printf("\n");
    for (size_t i = 0; i < t->nrows; i++) {
        for (size_t c = 0; c < t->ncolumns; c++)
            print_cell(terminal_text(t, i, c, nreasons, reasons, buffer), width[c] + (c ? 2 : 0), c == 0);
        if (t->rows[i].source)
            printf("  published: %s", t->rows[i].source);
        printf("\n");
    }
    for (size_t i = 0; i < nreasons; i++)
        printf("(%zu) %s\n", i + 1, reasons[i]);
    memory_free(&width);
    memory_free(&reasons);
}

static void print_section(const report_section_data *s) {
    for (size_t k = 0; k < s->nitems; k++)
        if (s->items[k].kind == ITEM_TABLE)
            print_table(&s->items[k]);
    printf("\n");
}

void report_print_section(const report *r, const char *id) {
    const report_section_data *s = report_find(r, id);
    if (s)
        print_section(s);
}

void report_print(const report *r) {
    for (size_t i = 0; i < r->nsections; i++)
        print_section(&r->sections[i]);
}
