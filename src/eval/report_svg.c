/* Charts and confusion matrices as inline SVG.
 *
 * Colours are classes of the page's style sheet (.axis, .grid, .s0 .. .s7), so that they follow light and dark. Lines
 * of very many points are thinned to what can be seen. */
#include "eval/report_priv.h"

#include <math.h>
#include <string.h>

enum {
    CHART_WIDTH = 520,
    CHART_HEIGHT = 300,
    LEFT = 58,
    RIGHT = 14,
    TOP = 12,
    BOTTOM = 46,
    POINTS_MAX = 500,
    STYLES = 8,
    TICKS_MAX = 20
};

typedef struct axis {
    double low, high; /* in the units drawn: log10 on a logarithmic axis */
    double from, to;  /* pixels */
    bool log;
} axis;

static double place(const axis *a, double x) {
    double u = a->log ? log10(x) : x;
    return a->from + (a->to - a->from) * (u - a->low) / (a->high - a->low);
}

/* 1, 2 or 5 times a power of ten, so that `span` has about `n` steps. */
static double nice_step(double span, int n) {
    double raw = span / n, power = pow(10, floor(log10(raw))), f = raw / power;
    return power * (f < 1.5 ? 1 : f < 3.5 ? 2 : f < 7.5 ? 5 : 10);
}

static void find_ranges(const report_chart_data *c, axis *x, axis *y) {
    double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
    for (size_t i = 0; i < c->nlines; i++)
        for (size_t k = 0; k < c->lines[i].n; k++) {
            double u = c->log_x ? log10(c->lines[i].x[k]) : c->lines[i].x[k], v = c->lines[i].y[k];
            x0 = fmin(x0, u);
            x1 = fmax(x1, u);
            y0 = fmin(y0, v);
            y1 = fmax(y1, v);
        }
    if (!(x1 > x0)) {
        x0 = isfinite(x0) ? x0 - fmax(0.5, fabs(x0) / 100) : 0;
        x1 = x0 + fmax(1, fabs(x0) / 50);
    }
    if (y0 >= 0)
        y0 = 0; /* shares, counts and losses are compared with nothing */
    if (y1 <= 1 && y1 > 0.9)
        y1 = 1;
    if (!(y1 > y0)) {
        y0 = isfinite(y0) ? y0 : 0;
        y1 = y0 + fmax(1, fabs(y0) / 50);
    }
    *x = (axis){x0, x1, LEFT, CHART_WIDTH - RIGHT, c->log_x};
    *y = (axis){y0, y1, CHART_HEIGHT - BOTTOM, TOP, false};
}

static void tick_x(const axis *x, double u, const char *label, FILE *to) {
    double at = x->from + (x->to - x->from) * (u - x->low) / (x->high - x->low);
    fprintf(to, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", at, at, TOP,
            CHART_HEIGHT - BOTTOM);
    fprintf(to, "<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", at,
            CHART_HEIGHT - BOTTOM + 15, label);
}

static void draw_axes(const report_chart_data *c, const axis *x, const axis *y, FILE *to) {
    char label[32];
    double step = c->log_x ? fmax(1, ceil((x->high - x->low) / 8)) : nice_step(x->high - x->low, 6);
    double first = ceil(x->low / step) * step;
    for (unsigned i = 0; i < TICKS_MAX && first + i * step <= x->high + step * 1e-9; i++) {
        double u = first + i * step;
        double value = c->log_x ? pow(10, u) : fabs(u) < step * 1e-9 ? 0 : u;
        snprintf(label, sizeof label, fabs(value) < 1e6 ? "%.6g" : "%.0e", value);
        tick_x(x, u, label, to);
    }
    step = nice_step(y->high - y->low, 5);
    first = ceil(y->low / step) * step;
    for (unsigned i = 0; i < TICKS_MAX && first + i * step <= y->high + step * 1e-9; i++) {
        double v = first + i * step, at = place(y, v);
        fprintf(to, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT, CHART_WIDTH - RIGHT, at,
                at);
        fprintf(to, "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n", LEFT - 6, at + 4,
                fabs(v) < step * 1e-9 ? 0 : v);
    }
    fprintf(to, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP, CHART_HEIGHT - BOTTOM, CHART_WIDTH - RIGHT);
    fprintf(to, "<text class=\"label\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">", (LEFT + CHART_WIDTH - RIGHT) / 2,
            CHART_HEIGHT - 8);
    html_text(c->x_label, to);
    fprintf(to, "</text>\n<text class=\"label\" transform=\"translate(14 %d) rotate(-90)\" text-anchor=\"middle\">",
            (TOP + CHART_HEIGHT - BOTTOM) / 2);
    html_text(c->y_label, to);
    fputs("</text>\n", to);
}

/* Keeps the first and last point, and of the others as many as can be told apart. */
static void draw_line(const report_line *l, size_t style, const axis *x, const axis *y, FILE *to) {
    size_t step = l->n / POINTS_MAX + 1;
    if (l->n == 0)
        return;
    fprintf(to, "<path class=\"line s%zu\" d=\"", style % STYLES);
    for (size_t k = 0; k < l->n; k += step)
        fprintf(to, "%s%.1f %.1f", k ? "L" : "M", place(x, l->x[k]), place(y, l->y[k]));
    fprintf(to, "L%.1f %.1f\"><title>", place(x, l->x[l->n - 1]), place(y, l->y[l->n - 1]));
    html_text(l->name, to);
    fputs("</title></path>\n", to);
}

void svg_chart(const report_chart_data *c, const char *title, FILE *to) {
    axis x, y;
    find_ranges(c, &x, &y);
    fprintf(to, "<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", CHART_WIDTH, CHART_HEIGHT);
    html_text(title, to);
    fputs("\">\n", to);
    draw_axes(c, &x, &y, to);
    for (size_t i = 0; i < c->nlines; i++)
        draw_line(&c->lines[i], i, &x, &y, to);
    fputs("</svg>\n<div class=\"legend\">", to);
    for (size_t i = 0; i < c->nlines; i++) {
        fprintf(to, "<span><svg viewBox=\"0 0 22 8\"><path class=\"line s%zu\" d=\"M1 4H21\"/></svg>", i % STYLES);
        html_text(c->lines[i].name, to);
        fputs(c->lines[i].n ? "</span>" : " (none)</span>", to);
    }
    fputs("</div>\n", to);
}

/* ---- matrices ---- */

enum { CELL = 44, NAMES = 110 };

static void matrix_cell(const report_matrix_data *m, size_t row, size_t column, double all, FILE *to) {
    double count = m->counts[row * m->n + column], share = all > 0 ? count / all : 0;
    size_t x = NAMES + column * CELL, y = NAMES + row * CELL;
    fprintf(to, "<rect class=\"%s\" x=\"%zu\" y=\"%zu\" width=\"%d\" height=\"%d\" fill-opacity=\"%.3f\"><title>",
            row == column ? "hit" : "miss", x, y, CELL - 2, CELL - 2, 0.04 + 0.86 * share);
    html_text(m->names[row], to);
    fputs(" taken for ", to);
    html_text(m->names[column], to);
    fprintf(to, ": %.6g (%.1f %%)</title></rect>", count, 100 * share);
    if (count > 0)
        fprintf(to, "<text class=\"%s\" x=\"%zu\" y=\"%zu\" text-anchor=\"middle\">%.4g</text>",
                share > 0.55 ? "count strong" : "count", x + CELL / 2 - 1, y + CELL / 2 + 4, count);
    fputc('\n', to);
}

/* Names longer than the margin are cut; the whole name is in the cells' titles. */
static void matrix_name(const char *name, FILE *to) {
    char text[64];
    size_t n = 0, shown = 0;
    for (; name[n] && n + 1 < sizeof text && (shown < 15 || (name[n] & 0xc0) == 0x80); n++) {
        text[n] = name[n];
        shown += (name[n] & 0xc0) != 0x80;
    }
    text[n] = 0;
    html_text(text, to);
    if (name[n])
        fputs("…", to);
}

void svg_matrix(const report_matrix_data *m, const char *title, FILE *to) {
    size_t side = NAMES + m->n * CELL + 4;
    fprintf(to, "<svg class=\"matrix\" viewBox=\"0 0 %zu %zu\" style=\"max-width:%zupx\" role=\"img\" aria-label=\"",
            side, side, side);
    html_text(title, to);
    fputs("\">\n", to);
    fprintf(to, "<text class=\"label\" x=\"%d\" y=\"%d\" text-anchor=\"end\">taken for →</text>\n", NAMES - 14,
            NAMES - 26);
    fprintf(to, "<text class=\"label\" x=\"%d\" y=\"%d\" text-anchor=\"end\">truth ↓</text>\n", NAMES - 14, NAMES - 10);
    for (size_t i = 0; i < m->n; i++) {
        double all = 0;
        size_t middle = NAMES + i * CELL + CELL / 2;
        fprintf(to, "<text class=\"tick\" x=\"%d\" y=\"%zu\" text-anchor=\"end\">", NAMES - 8, middle + 3);
        matrix_name(m->names[i], to);
        fprintf(to, "</text><text class=\"tick\" transform=\"translate(%zu %d) rotate(-50)\">", middle, NAMES - 6);
        matrix_name(m->names[i], to);
        fputs("</text>\n", to);
        for (size_t k = 0; k < m->n; k++)
            all += m->counts[i * m->n + k];
        for (size_t k = 0; k < m->n; k++)
            matrix_cell(m, i, k, all, to);
    }
    fputs("</svg>\n", to);
}
