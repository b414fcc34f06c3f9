/* The report for programs: every figure of the page, with the 15 digits that a double holds of any decimal number.
 * docs/eval.md describes the format. */
#include "eval/report_priv.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"

static json_t *cell_json(const report_cell *c) {
    json_t *o;
    switch (c->kind) {
    case CELL_NUMBER:
        return json_real(c->x);
    case CELL_SPREAD:
        o = json_object();
        json_object_set_new(o, "mean", json_real(c->x));
        json_object_set_new(o, "deviation", json_real(c->deviation));
        return o;
    case CELL_TEXT:
        return json_string(c->text);
    case CELL_NOTHING:
        break;
    }
    if (!c->text)
        return json_null();
    o = json_object();
    json_object_set_new(o, "nothing", json_string(c->text));
    return o;
}

static json_t *table_json(const report_table *t) {
    json_t *o = json_object(), *columns = json_array(), *rows = json_array();
    for (size_t c = 0; c < t->ncolumns; c++)
        json_array_append_new(columns, json_string(t->columns[c]));
    for (size_t i = 0; i < t->nrows; i++) {
        const report_row_data *r = &t->rows[i];
        json_t *row = json_object(), *cells = json_array();
        json_object_set_new(row, "name", json_string(r->name));
        if (r->source)
            json_object_set_new(row, "published", json_string(r->source));
        for (size_t c = 0; c + 1 < t->ncolumns; c++)
            json_array_append_new(cells, c < r->ncells ? cell_json(&r->cells[c]) : json_null());
        json_object_set_new(row, "cells", cells);
        json_array_append_new(rows, row);
    }
    json_object_set_new(o, "columns", columns);
    if (t->command)
        json_object_set_new(o, "command", json_string(t->command));
    json_object_set_new(o, "rows", rows);
    return o;
}

static json_t *numbers_json(size_t n, const double *x) {
    json_t *a = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(a, json_real(x[i]));
    return a;
}

static json_t *chart_json(const report_chart_data *c) {
    json_t *o = json_object(), *series = json_array();
    for (size_t i = 0; i < c->nlines; i++) {
        json_t *line = json_object();
        json_object_set_new(line, "name", json_string(c->lines[i].name));
        json_object_set_new(line, "x", numbers_json(c->lines[i].n, c->lines[i].x));
        json_object_set_new(line, "y", numbers_json(c->lines[i].n, c->lines[i].y));
        json_array_append_new(series, line);
    }
    json_object_set_new(o, "x", json_string(c->x_label));
    json_object_set_new(o, "y", json_string(c->y_label));
    json_object_set_new(o, "log_x", json_boolean(c->log_x));
    json_object_set_new(o, "series", series);
    return o;
}

static json_t *matrix_json(const report_matrix_data *m) {
    json_t *o = json_object(), *names = json_array(), *rows = json_array();
    for (size_t i = 0; i < m->n; i++) {
        json_array_append_new(names, json_string(m->names[i]));
        json_array_append_new(rows, numbers_json(m->n, m->counts + i * m->n));
    }
    json_object_set_new(o, "names", names);
    json_object_set_new(o, "counts", rows);
    return o;
}

static json_t *item_json(const report_item *it, const char **group) {
    static const char *const groups[] = {"tables", "charts", "matrices", "pictures"};
    json_t *body = it->kind == ITEM_TABLE    ? table_json(it->table)
                   : it->kind == ITEM_CHART  ? chart_json(it->chart)
                   : it->kind == ITEM_MATRIX ? matrix_json(it->matrix)
                                             : json_object();
    json_t *o = json_object();
    *group = groups[it->kind];
    json_object_set_new(o, "id", json_string(it->id));
    json_object_set_new(o, "title", json_string(it->title));
    if (it->kind == ITEM_PICTURE)
        json_object_set_new(o, "path", json_string(it->picture));
    json_object_update(o, body);
    json_decref(body);
    return o;
}

static json_t *section_json(const report_section_data *s) {
    json_t *o = json_object();
    json_object_set_new(o, "id", json_string(s->id));
    json_object_set_new(o, "title", json_string(s->title));
    json_object_set_new(o, "text", json_string(s->text));
    for (size_t i = 0; i < s->nitems; i++) {
        const char *group;
        json_t *item = item_json(&s->items[i], &group);
        if (!json_object_get(o, group))
            json_object_set_new(o, group, json_array());
        json_array_append_new(json_object_get(o, group), item);
    }
    return o;
}

status report_write_json(const report *r, const char *path) {
    json_t *root = json_object(), *values = json_object(), *sections = json_array();
    for (size_t i = 0; i < r->nvalues; i++)
        json_object_set_new(values, r->values[i].name, json_real(r->values[i].x));
    for (size_t i = 0; i < r->nsections; i++)
        json_array_append_new(sections, section_json(&r->sections[i]));
    json_object_set_new(root, "schema", json_string("nd-report"));
    json_object_set_new(root, "version", json_integer(2));
    json_object_set_new(root, "title", json_string(r->title));
    json_object_set_new(root, "values", values);
    json_object_set_new(root, "sections", sections);
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    json_decref(root);
    if (!text)
        return FAIL(ST_MEMORY, "no memory for %s", path);
    status st = file_write(path, text, strlen(text));
    free(text);
    return st;
}
