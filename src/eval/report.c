/* Collecting a report: sections of tables, charts, matrices and pictures, and the named values that limits look at. */
#include "eval/report_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"

/* ---- texts ---- */

/* Bytes of the well-formed UTF-8 sequence (RFC 3629) at s; 0 where there is none. */
static size_t utf8_length(const unsigned char *s) {
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) /* a NUL ends here too */
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* A copy that is UTF-8 without control characters, whatever was given. */
static char *clean_copy(const char *text) {
    char *copy = text_copy(text ? text : "");
    for (unsigned char *s = (unsigned char *)copy; *s;) {
        size_t n = utf8_length(s);
        if (n == 0 || (*s < 0x20 && *s != '\n' && *s != '\t') || *s == 0x7f)
            *s = '?';
        s += n ? n : 1;
    }
    return copy;
}

static void keep(report *r, status st) {
    if (st && !r->st) {
        r->st = st;
        r->message = text_copy(status_message());
    }
}

/* ---- report and sections ---- */

status report_new(report **r, const char *title) {
    TRY(NEW(1, r));
    (*r)->title = clean_copy(title);
    return ST_OK;
}

static void table_free(report_table *t) {
    for (size_t i = 0; i < t->nrows; i++) {
        for (size_t k = 0; k < t->rows[i].ncells; k++)
            free(t->rows[i].cells[k].text);
        free(t->rows[i].name);
        free(t->rows[i].source);
        memory_free(&t->rows[i].cells);
    }
    for (size_t i = 0; i < t->ncolumns; i++)
        free(t->columns[i]);
    memory_free(&t->columns);
    free(t->rows);
    free(t->command);
    memory_free(&t);
}

static void chart_free(report_chart_data *c) {
    for (size_t i = 0; i < c->nlines; i++) {
        free(c->lines[i].name);
        memory_free(&c->lines[i].x);
        memory_free(&c->lines[i].y);
    }
    free(c->x_label);
    free(c->y_label);
    memory_free(&c->lines);
    memory_free(&c);
}

static void matrix_free(report_matrix_data *m) {
    for (size_t i = 0; i < m->n; i++)
        free(m->names[i]);
    memory_free(&m->names);
    memory_free(&m->counts);
    memory_free(&m);
}

static void section_clear(report_section_data *s) {
    for (size_t i = 0; i < s->nitems; i++) {
        report_item *it = &s->items[i];
        if (it->table)
            table_free(it->table);
        if (it->chart)
            chart_free(it->chart);
        if (it->matrix)
            matrix_free(it->matrix);
        free(it->picture);
        free(it->id);
        free(it->title);
    }
    free(s->items);
    free(s->id);
    free(s->title);
    free(s->text);
}

void report_free(report **out) {
    report *r = *out;
    if (!r)
        return;
    for (size_t i = 0; i < r->nsections; i++)
        section_clear(&r->sections[i]);
    for (size_t i = 0; i < r->nvalues; i++)
        free(r->values[i].name);
    free(r->sections);
    free(r->values);
    free(r->title);
    free(r->message);
    memory_free(out);
}

status report_status(const report *r) {
    if (r->st)
        status_set_message(r->message);
    return r->st;
}

void report_section(report *r, const char *id, const char *title, const char *text) {
    if (!r || r->st)
        return;
    status st = memory_grow(&r->sections, &r->sections_capacity, r->nsections + 1, sizeof *r->sections);
    keep(r, st);
    if (!st)
        r->sections[r->nsections++] =
            (report_section_data){clean_copy(id), clean_copy(title), clean_copy(text), 0, 0, NULL};
}

/* A new item of the current section; NULL after an error. */
static report_item *add_item(report *r, item_kind kind, const char *id, const char *title) {
    if (!r)
        return NULL;
    if (!r->nsections)
        report_section(r, "report", r->title, "");
    if (r->st)
        return NULL;
    report_section_data *s = &r->sections[r->nsections - 1];
    status st = memory_grow(&s->items, &s->capacity, s->nitems + 1, sizeof *s->items);
    keep(r, st);
    if (st)
        return NULL;
    s->items[s->nitems] = (report_item){.kind = kind, .id = clean_copy(id), .title = clean_copy(title)};
    return &s->items[s->nitems++];
}

/* ---- tables ---- */

report_table *report_table_new(report *r, const char *id, const char *title, size_t ncolumns,
                               const char *const *columns, int decimals, const char *command) {
    report_item *it = add_item(r, ITEM_TABLE, id, title);
    if (!it)
        return NULL;
    status st = NEW(1, &it->table);
    if (!st)
        st = NEW(ncolumns + 1, &it->table->columns);
    keep(r, st);
    if (st)
        return NULL;
    report_table *t = it->table;
    t->owner = r;
    t->decimals = decimals < 0 ? 0 : decimals > 9 ? 9 : decimals;
    t->command = command ? clean_copy(command) : NULL;
    for (t->ncolumns = 0; t->ncolumns < ncolumns; t->ncolumns++)
        t->columns[t->ncolumns] = clean_copy(columns[t->ncolumns]);
    return t;
}

void report_row_published(report_table *t, const char *name, const char *source) {
    if (!t || t->owner->st)
        return;
    report_row_data row = {.name = clean_copy(name), .source = source ? clean_copy(source) : NULL};
    status st = memory_grow(&t->rows, &t->capacity, t->nrows + 1, sizeof *t->rows);
    if (!st)
        st = NEW(t->ncolumns, &row.cells);
    keep(t->owner, st);
    if (st) {
        free(row.name);
        free(row.source);
        return;
    }
    t->rows[t->nrows++] = row;
}

void report_row(report_table *t, const char *name) {
    report_row_published(t, name, NULL);
}

static void add_cell(report_table *t, cell_kind kind, double x, double deviation, const char *text) {
    if (!t || t->owner->st)
        return;
    ASSERT(t->nrows > 0);
    report_row_data *row = &t->rows[t->nrows - 1];
    ASSERT(row->ncells + 1 < t->ncolumns);
    row->cells[row->ncells++] = (report_cell){kind, x, deviation, text ? clean_copy(text) : NULL};
}

void report_number(report_table *t, double x) {
    if (isfinite(x))
        add_cell(t, CELL_NUMBER, x, 0, NULL);
    else
        report_nothing(t, "not defined");
}

void report_number_spread(report_table *t, double mean, double deviation) {
    if (!isfinite(mean))
        report_nothing(t, "not defined");
    else if (!isfinite(deviation))
        report_number(t, mean);
    else
        add_cell(t, CELL_SPREAD, mean, deviation, NULL);
}

void report_share(report_table *t, double factor, double part, double all, const char *why) {
    if (all > 0)
        report_number(t, factor * part / all);
    else
        report_nothing(t, why);
}

void report_text(report_table *t, const char *text) {
    add_cell(t, CELL_TEXT, 0, 0, text ? text : "");
}

void report_nothing(report_table *t, const char *why) {
    add_cell(t, CELL_NOTHING, 0, 0, why && *why ? why : NULL);
}

/* ---- charts, matrices, pictures ---- */

/* The points that can be drawn: numbers, none beyond 1e100, and above zero on a logarithmic axis. */
static status copy_line(const report_series *from, bool log_x, report_line *to) {
    to->name = clean_copy(from->name);
    TRY(NEW(from->n + 1, &to->x));
    TRY(NEW(from->n + 1, &to->y));
    for (size_t i = 0; i < from->n; i++) {
        if (!(fabs(from->x[i]) <= 1e100 && fabs(from->y[i]) <= 1e100) || (log_x && from->x[i] <= 0))
            continue;
        to->x[to->n] = from->x[i];
        to->y[to->n++] = from->y[i];
    }
    return ST_OK;
}

static status fill_chart(report_chart_data *c, size_t nseries, const report_series *series) {
    TRY(NEW(nseries + 1, &c->lines));
    for (; c->nlines < nseries; c->nlines++) {
        status st = copy_line(&series[c->nlines], c->log_x, &c->lines[c->nlines]);
        if (st) {
            c->nlines++;
            return st;
        }
    }
    return ST_OK;
}

void report_chart(report *r, const char *id, const char *title, const char *x_label, const char *y_label, bool log_x,
                  size_t nseries, const report_series *series) {
    report_item *it = add_item(r, ITEM_CHART, id, title);
    if (!it)
        return;
    status st = NEW(1, &it->chart);
    if (!st) {
        *it->chart =
            (report_chart_data){.x_label = clean_copy(x_label), .y_label = clean_copy(y_label), .log_x = log_x};
        st = fill_chart(it->chart, nseries, series);
    }
    keep(r, st);
}

static status fill_matrix(report_matrix_data *m, size_t n, const char *const *names, const double *counts) {
    TRY(NEW(n + 1, &m->names));
    TRY(NEW(n * n + 1, &m->counts));
    for (; m->n < n; m->n++)
        m->names[m->n] = clean_copy(names[m->n]);
    for (size_t i = 0; i < n * n; i++)
        m->counts[i] = isfinite(counts[i]) && counts[i] > 0 ? counts[i] : 0;
    return ST_OK;
}

void report_matrix(report *r, const char *id, const char *title, size_t n, const char *const *names,
                   const double *counts) {
    report_item *it = add_item(r, ITEM_MATRIX, id, title);
    if (!it)
        return;
    status st = NEW(1, &it->matrix);
    if (!st)
        st = fill_matrix(it->matrix, n, names, counts);
    keep(r, st);
}

void report_picture(report *r, const char *id, const char *title, const char *png_path) {
    report_item *it = add_item(r, ITEM_PICTURE, id, title);
    if (it)
        it->picture = clean_copy(png_path);
}

/* ---- values ---- */

report_named_value *report_find_value(const report *r, const char *name, size_t n) {
    for (size_t i = 0; i < r->nvalues; i++)
        if (strlen(r->values[i].name) == n && !memcmp(r->values[i].name, name, n))
            return &r->values[i];
    return NULL;
}

void report_value(report *r, const char *name, double value) {
    if (!r || r->st || !isfinite(value))
        return;
    char *copy = clean_copy(name);
    report_named_value *old = report_find_value(r, copy, strlen(copy));
    if (old) {
        old->x = value;
        free(copy);
        return;
    }
    status st = memory_grow(&r->values, &r->values_capacity, r->nvalues + 1, sizeof *r->values);
    keep(r, st);
    if (st)
        free(copy);
    else
        r->values[r->nvalues++] = (report_named_value){copy, value};
}

/* ---- all files ---- */

typedef struct page {
    const char *name;
    status (*write)(const report *r, const char *folder, FILE *to);
} page;

static status write_markdown_page(const report *r, const char *folder, FILE *to) {
    report_write_markdown(r, folder, to);
    return ST_OK;
}

static status write_html_page(const report *r, const char *folder, FILE *to) {
    (void)folder;
    return report_write_html(r, to);
}

status report_write_all(const report *r, const char *folder) {
    static const page pages[] = {{"report.md", write_markdown_page}, {"report.html", write_html_page}};
    TRY(report_status(r));
    TRY(file_make_folders(folder));
    char *json = text_format("%s/report.json", folder);
    status st = report_write_json(r, json);
    free(json);
    for (size_t i = 0; !st && i < sizeof pages / sizeof *pages; i++) {
        file_writer w;
        char *path = text_format("%s/%s", folder, pages[i].name);
        st = file_begin(&w, path);
        if (!st) {
            st = pages[i].write(r, folder, w.stream);
            if (st)
                file_abandon(&w);
            else
                st = file_commit(&w);
        }
        free(path);
    }
    return st;
}
