/* What a report holds, and what its writers share.
 *
 * report.c collects; report_limits.c knows the values' names and holds limits against them; report_text.c formats cells
 * and prints; report_json.c, report_markdown.c, report_html.c and report_svg.c write. */
#ifndef ND_EVAL_REPORT_PRIV_H
#define ND_EVAL_REPORT_PRIV_H

#include <stdio.h>
#include "eval/report.h"

typedef enum cell_kind { CELL_NOTHING, CELL_NUMBER, CELL_SPREAD, CELL_TEXT } cell_kind;

typedef struct report_cell {
    cell_kind kind;
    double x, deviation;
    char *text; /* the text, or why there is nothing */
} report_cell;

typedef struct report_row_data {
    char *name, *source; /* source: of published figures, else NULL */
    size_t ncells;
    report_cell *cells; /* ncolumns - 1 */
} report_row_data;

typedef enum item_kind { ITEM_TABLE, ITEM_CHART, ITEM_MATRIX, ITEM_PICTURE } item_kind;

struct report_table {
    report *owner;
    size_t ncolumns;
    char **columns;
    int decimals;
    char *command;
    size_t nrows, capacity;
    report_row_data *rows;
};

typedef struct report_line {
    char *name;
    size_t n;
    double *x, *y;
} report_line;

typedef struct report_chart_data {
    char *x_label, *y_label;
    bool log_x;
    size_t nlines;
    report_line *lines;
} report_chart_data;

typedef struct report_matrix_data {
    size_t n;
    char **names;
    double *counts;
} report_matrix_data;

typedef struct report_item {
    item_kind kind;
    char *id, *title;
    report_table *table; /* one of these */
    report_chart_data *chart;
    report_matrix_data *matrix;
    char *picture; /* path */
} report_item;

typedef struct report_section_data {
    char *id, *title, *text;
    size_t nitems, capacity;
    report_item *items;
} report_section_data;

typedef struct report_named_value {
    char *name;
    double x;
} report_named_value;

struct report {
    char *title;
    status st;
    char *message; /* of st */
    size_t nsections, sections_capacity;
    report_section_data *sections;
    size_t nvalues, values_capacity;
    report_named_value *values;
};

/* ---- report.c, report_limits.c ---- */

/* The value whose name is the n bytes at `name`; NULL where there is none. */
report_named_value *report_find_value(const report *r, const char *name, size_t n);

/* ---- report_text.c ---- */

enum { CELL_TEXT_MAX = 96 };
/* Digits shown of a column (1 .. ncolumns - 1). */
int report_digits(const report_table *t, size_t column);
/* The cell as text: numbers into `buffer`, texts as they are, "" for nothing. */
const char *report_cell_text(const report_cell *c, int digits, char buffer[CELL_TEXT_MAX]);
/* Reasons why cells are empty, each once, in order of appearance. index: of a cell's own reason, from 1; 0 = none. */
size_t report_reasons(const report_table *t, const char ***reasons);
size_t report_reason_index(const report_cell *c, size_t n, const char *const *reasons);
/* The first report_section of this id; NULL where there is none. */
const report_section_data *report_find(const report *r, const char *id);

/* ---- writers: into a stream whose errors the caller looks at ---- */

status report_write_json(const report *r, const char *path);
void report_write_markdown(const report *r, const char *folder, FILE *to);
status report_write_html(const report *r, FILE *to);
/* As inline SVG; colours are classes and variables of the page (report_html.c). */
void svg_chart(const report_chart_data *c, const char *title, FILE *to);
void svg_matrix(const report_matrix_data *m, const char *title, FILE *to);
/* With &, <, >, " and ' escaped. */
void html_text(const char *text, FILE *to);

#endif
