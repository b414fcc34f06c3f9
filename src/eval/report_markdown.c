/* The report as Markdown (GitHub's dialect): the same tables and notes as the page; charts are named and stand in
 * report.html, matrices become tables of counts. */
#include "eval/report_priv.h"

#include <ctype.h>
#include <string.h>
#include "base/memory.h"

static bool in_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

/* Text that Markdown leaves as it is, on one line. Inside a word an underscore marks nothing. */
static void put(const char *text, FILE *to) {
    for (const char *start = text; *text; text++) {
        if (*text == '\n')
            fputc(' ', to);
        else if (*text == '<')
            fputs("&lt;", to);
        else if (*text == '&')
            fputs("&amp;", to);
        else if (strchr("|*`\\[]~", *text) ||
                 (*text == '_' && (text == start || !in_word(text[-1]) || !in_word(text[1]))))
            fprintf(to, "\\%c", *text);
        else
            fputc(*text, to);
    }
}

static void put_cell(const report_table *t, const report_row_data *row, size_t column, size_t nreasons,
                     const char *const *reasons, FILE *to) {
    char buffer[CELL_TEXT_MAX];
    fputs(" | ", to);
    if (column - 1 >= row->ncells) {
        fputs("-", to);
        return;
    }
    const report_cell *c = &row->cells[column - 1];
    size_t why = report_reason_index(c, nreasons, reasons);
    if (c->kind != CELL_NOTHING)
        put(report_cell_text(c, report_digits(t, column), buffer), to);
    else if (why)
        fprintf(to, "- (%zu)", why);
    else
        fputs("-", to);
}

static void put_table(const report_table *t, FILE *to) {
    const char **reasons;
    size_t nreasons = report_reasons(t, &reasons);
    for (size_t c = 0; c < t->ncolumns; c++) {
        fputs(c ? " | " : "| ", to);
        put(t->columns[c], to);
    }
    fputs(" |\n|", to);
    for (size_t c = 0; c < t->ncolumns; c++)
        fputs(c ? " ---: |" : " --- |", to);
    fputc('\n', to);
    for (size_t i = 0; i < t->nrows; i++) {
        const report_row_data *row = &t->rows[i];
        fputs("| ", to);
        put(row->name, to);
        if (row->source) {
            fputs(" *(published: ", to);
            put(row->source, to);
            fputs(")*", to);
        }
        for (size_t c = 1; c < t->ncolumns; c++)
            put_cell(t, row, c, nreasons, reasons, to);
        fputs(" |\n", to);
    }
    for (size_t i = 0; i < nreasons; i++) {
        fprintf(to, "%s(%zu) ", i ? "; " : "\n", i + 1);
        put(reasons[i], to);
    }
    fputs(nreasons ? "\n" : "", to);
    if (t->command)
        fprintf(to, "\n<details><summary>command</summary>\n\n```\n%s\n```\n\n</details>\n", t->command);
    memory_free(&reasons);
}

static void put_matrix(const report_matrix_data *m, FILE *to) {
    fputs("| truth", to);
    for (size_t i = 0; i < m->n; i++) {
        fputs(" | ", to);
        put(m->names[i], to);
    }
    fputs(" |\n| ---", to);
    for (size_t i = 0; i < m->n; i++)
        fputs(" | ---:", to);
    fputs(" |\n", to);
    for (size_t i = 0; i < m->n; i++) {
        fputs("| ", to);
        put(m->names[i], to);
        for (size_t k = 0; k < m->n; k++)
            fprintf(to, " | %.6g", m->counts[i * m->n + k]);
        fputs(" |\n", to);
    }
}

/* A path as seen from the folder of the report, where it lies below it. */
static const char *from_folder(const char *path, const char *folder) {
    size_t n = strlen(folder);
    if (!strncmp(path, folder, n) && path[n] == '/')
        return path + n + 1;
    return path;
}

/* A path in angle brackets may hold anything but these (CommonMark 6.3). */
static void put_picture(const report_item *it, const char *folder, FILE *to) {
    fputs("![", to);
    put(it->id, to);
    fputs("](<", to);
    for (const char *path = from_folder(it->picture, folder); *path; path++)
        fprintf(to, strchr("<>\\", *path) ? "\\%c" : "%c", *path == '\n' ? '?' : *path);
    fputs(">)\n", to);
}

static void put_item(const report_item *it, const char *folder, FILE *to) {
    if (it->kind == ITEM_CHART) {
        fputs("\n*Chart: ", to);
        put(it->title, to);
        fprintf(to, " (see report.html)*\n");
        return;
    }
    fputs("\n### ", to);
    put(it->title, to);
    fputs("\n\n", to);
    if (it->kind == ITEM_TABLE)
        put_table(it->table, to);
    else if (it->kind == ITEM_MATRIX)
        put_matrix(it->matrix, to);
    else
        put_picture(it, folder, to);
}

void report_write_markdown(const report *r, const char *folder, FILE *to) {
    fputs("# ", to);
    put(r->title, to);
    fputs("\n", to);
    for (size_t i = 0; i < r->nsections; i++) {
        const report_section_data *s = &r->sections[i];
        fputs("\n## ", to);
        put(s->title, to);
        fputs("\n\n", to);
        put(s->text, to);
        fputs("\n", to);
        for (size_t k = 0; k < s->nitems; k++)
            put_item(&s->items[k], folder, to);
    }
    if (!r->nvalues)
        return;
    fputs("\n## Values\n\nWhat limits can be put on (`eval.fail_on`).\n\n| name | value |\n| --- | ---: |\n", to);
    for (size_t i = 0; i < r->nvalues; i++) {
        fputs("| ", to);
        put(r->values[i].name, to);
        fprintf(to, " | %.6g |\n", r->values[i].x);
    }
}
