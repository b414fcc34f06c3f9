/* The report: tables and figures that the parts of the evaluation add, written as JSON, Markdown and one HTML page.
 *
 * A table is columns and rows of cells; a cell is a number, a text, or nothing with the reason why. No NaN and no
 * infinite number gets in: report_number turns them into an empty cell. Local: rank 0 fills and writes it; with a NULL
 * report or table every call but those that return a status does nothing, so parts need not ask for their rank. All
 * texts are copied; bytes that are not UTF-8 become '?'. Nothing returns an error: report_status has the first one. */
#ifndef ND_EVAL_REPORT_H
#define ND_EVAL_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include "base/status.h"

typedef struct report report;
typedef struct report_table report_table;

status report_new(report **r, const char *title);
void report_free(report **r);

/* Sections come in the order in which they are opened. `text`: one or two sentences that say how to read it. */
void report_section(report *r, const char *id, const char *title, const char *text);

/* A table of the current section. columns: names, the first one is the row's name. decimals: digits shown. `command`:
 * how to repeat it (may be NULL). Published figures of the paper stand in rows marked by report_row_published. A column
 * of whole numbers above 1 (counts) is shown without digits after the point. Cells are added after report_row, from the
 * second column on; a row that stays shorter ends in empty cells. */
report_table *report_table_new(report *r, const char *id, const char *title, size_t ncolumns,
                               const char *const *columns, int decimals, const char *command);
void report_row(report_table *t, const char *name);
/* A row of figures published in a paper, set apart: source e.g. "NetDiffusion, Table 3". */
void report_row_published(report_table *t, const char *name, const char *source);
void report_number(report_table *t, double x);
void report_number_spread(report_table *t, double mean, double deviation); /* mean and standard deviation */
/* factor * part / all; nothing, and why, where all is 0. */
void report_share(report_table *t, double factor, double part, double all, const char *why);
void report_text(report_table *t, const char *text);
void report_nothing(report_table *t, const char *why); /* an empty cell and its reason */

/* A line chart or step function: series of points, drawn as SVG. log_x: logarithmic x axis. */
typedef struct report_series {
    const char *name;
    size_t n;
    const double *x, *y;
} report_series;
void report_chart(report *r, const char *id, const char *title, const char *x_label, const char *y_label, bool log_x,
                  size_t nseries, const report_series *series);
/* A matrix of counts as a coloured grid (confusion matrix): n x n, rows are the truth. */
void report_matrix(report *r, const char *id, const char *title, size_t n, const char *const *names,
                   const double *counts);
/* A PNG file, embedded in the page when it is written. */
void report_picture(report *r, const char *id, const char *title, const char *png_path);

/* A figure that limits can be put on (eval.fail_on: "name<=0.05"): e.g. "jsd.all", "validity.after", "memory.copies".
 * The parts' names are listed in report_limits.c. One that is not a finite number is left out; of two with one name the
 * later counts. */
void report_value(report *r, const char *name, double value);

status report_status(const report *r); /* the first failure of any call above */
/* FOLDER/report.json, report.md, report.html (self-contained). */
status report_write_all(const report *r, const char *folder);
/* Tables to stdout as text: of all sections, or of one. */
void report_print(const report *r);
void report_print_section(const report *r, const char *id);
/* ST_RANGE naming the first limit that does not hold, ST_USAGE for a limit that cannot be read or names a value that
 * this report has not. limits: "name<=x", "name>=x", "name<x", "name>x". */
status report_check(const report *r, size_t n, char *const *limits);
/* Can the limits be read, and is there a value of each name? For the start of a long run: ST_USAGE with the nearest
 * name and all there are. Whether the data has what it is measured of is only known at the end. */
status report_limits_read(size_t n, char *const *limits);
/* Is every value's name among those that limits are read against? */
bool report_names_are_known(const report *r);

#endif
