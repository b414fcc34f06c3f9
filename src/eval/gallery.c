/* For the eye: distributions of packet sizes and gaps for each macro class, the course of training, and a real flow
 * beside a synthetic one of each label as bit pictures. */
#include "eval/parts.h"

#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "eval/eval_priv.h"

/* ---- cumulative distributions ---- */

enum { CDF_POINTS = 300, CDF_SETS = 3 };

typedef struct values {
    size_t n, capacity;
    double *x;
} values;

static status values_add(values *v, double x) {
    TRY(memory_grow(&v->x, &v->capacity, v->n + 1, sizeof *v->x));
    v->x[v->n++] = x;
    return ST_OK;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sizes in bytes, or gaps in milliseconds (below 1 us counts as 1 us), of one macro class. */
static status collect(const eval_world *w, const eval_set *s, size_t macro, bool gaps, values *v) {
    for (size_t i = 0; i < s->n; i++) {
        const flow *f = &s->flows[i].f;
        if (f->label < 0 || w->macro_of[f->label] != (int)macro)
            continue;
        for (size_t k = gaps; k < f->npackets; k++) {
            const packet *p = &f->packets[k];
            double gap = gaps ? (double)packet_gap(p - 1, p) / 1e6 : 0;
            TRY(values_add(v, !gaps ? packet_total_len(p) : gap < 1e-3 ? 1e-3 : gap));
        }
    }
    return ST_OK;
}

/* The empirical distribution function as a line of at most 2 * CDF_POINTS + 2 points; steps are drawn as steps. */
static size_t cdf_points(values *v, double *x, double *y) {
    size_t n = 0, points = v->n < CDF_POINTS ? v->n : CDF_POINTS;
    double share = 0;
    if (v->n == 0)
        return 0;
    qsort(v->x, v->n, sizeof *v->x, by_value);
    for (size_t k = 0; k < points; k++) {
        size_t rank = (k + 1) * v->n / points - 1;
        double at = v->x[rank];
        while (rank + 1 < v->n && v->x[rank + 1] <= at)
            rank++;
        if (n > 0 && at <= x[n - 1])
            continue;
        x[n] = at;
        y[n++] = share;
        share = (double)(rank + 1) / (double)v->n;
        x[n] = at;
        y[n++] = share;
    }
    return n;
}

static status add_cdf(const eval_world *w, size_t macro, bool gaps, report *r) {
    const eval_set *sets[CDF_SETS] = {&w->train, &w->held_out, &w->synthetic};
    report_series series[CDF_SETS];
    double *points = NULL;
    values v = {0};
    status st = NEW(CDF_SETS * 2 * (2 * CDF_POINTS + 2), &points);
    for (size_t i = 0; i < CDF_SETS && !st; i++) {
        double *x = points + i * 2 * (2 * CDF_POINTS + 2), *y = x + 2 * CDF_POINTS + 2;
        v.n = 0;
        st = collect(w, sets[i], macro, gaps, &v);
        if (!st)
            series[i] = (report_series){sets[i]->name, cdf_points(&v, x, y), x, y};
    }
    if (!st) {
        char *id = text_format("cdf-%s-%s", gaps ? "gap" : "size", w->macro[macro]);
        char *title = text_format("%s: %s", w->macro[macro], gaps ? "time between packets" : "packet size");
        report_chart(r, id, title, gaps ? "gap, ms" : "IP total length, bytes", "share of packets", gaps, CDF_SETS,
                     series);
        free(id);
        free(title);
    }
    free(v.x);
    memory_free(&points);
    return st;
}

/* ---- course of training ---- */

enum { LOSS_POINTS = 200, LOSS_LIMIT = 256 << 20 };

typedef struct curve {
    values step, loss;
} curve;

static status curve_add(curve *c, const json_t *line, const char *key) {
    const json_t *step = json_object_get(line, "step"), *loss = json_object_get(line, key);
    if (!json_is_number(step) || !json_is_number(loss))
        return ST_OK;
    TRY(values_add(&c->step, json_number_value(step)));
    return values_add(&c->loss, json_number_value(loss));
}

static void curve_clear(curve *c) {
    free(c->step.x);
    free(c->loss.x);
}

/* Means of as many neighbouring steps as leave LOSS_POINTS points. */
static void smooth(curve *c) {
    size_t n = 0, group = c->step.n / LOSS_POINTS + 1;
    for (size_t i = 0; i < c->step.n; i += group) {
        size_t end = i + group < c->step.n ? i + group : c->step.n;
        double step = 0, loss = 0;
        for (size_t k = i; k < end; k++) {
            step += c->step.x[k];
            loss += c->loss.x[k];
        }
        c->step.x[n] = step / (double)(end - i);
        c->loss.x[n++] = loss / (double)(end - i);
    }
    c->step.n = c->loss.n = n;
}

static status read_curves(char *text, curve *training, curve *validation) {
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_t *o = json_loads(line, 0, NULL); /* a run that was killed may end in half a line */
        status st = curve_add(training, o, "loss");
        if (!st)
            st = curve_add(validation, o, "validation_loss");
        json_decref(o);
        TRY(st);
    }
    return ST_OK;
}

static status add_loss(const char *path, const char *name, report *r) {
    char *text = NULL;
    size_t nbytes;
    curve training = {0}, validation = {0};
    status st = file_read(path, LOSS_LIMIT, &text, &nbytes);
    if (!st)
        st = read_curves(text, &training, &validation);
    free(text);
    if (!st && training.step.n > 0) {
        smooth(&training);
        char *id = text_format("loss-%s", name), *title = text_format("Training, %s", name);
        const report_series series[] = {
            {"training (mean of neighbouring steps)", training.step.n, training.step.x, training.loss.x},
            {"validation", validation.step.n, validation.step.x, validation.loss.x}};
        report_chart(r, id, title, "step", "loss", false, validation.step.n ? 2 : 1, series);
        free(id);
        free(title);
    }
    curve_clear(&training);
    curve_clear(&validation);
    return st;
}

/* OUT/train/MODE/loss.jsonl, in order of name; none of them is fine, and one that cannot be read has no chart. */
static status add_losses(const eval_world *w, report *r) {
    char *folder = text_format("%s/train", w->e->out);
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, NULL, alphasort);
    status st = ST_OK;
    for (int i = 0; i < n; i++) {
        char *path = text_format("%s/%s/loss.jsonl", folder, entries[i]->d_name);
        if (!st && entries[i]->d_name[0] != '.' && file_exists(path))
            st = add_loss(path, entries[i]->d_name, r);
        if (st == ST_IO || st == ST_FORMAT || st == ST_RANGE) {
            log_warn("no course of training of %s: %s", entries[i]->d_name, status_message());
            st = ST_OK;
        }
        free(path);
        free(entries[i]);
    }
    free(entries);
    free(folder);
    return st;
}

/* ---- pictures ---- */

static const flow *first_flow(const eval_set *s, size_t label) {
    for (size_t i = 0; i < s->n; i++)
        if (s->flows[i].f.label == (int32_t)label)
            return &s->flows[i].f;
    return NULL;
}

static char *picture_path(const eval_world *w, size_t label) {
    char *name = file_label_name(w->label[label]);
    char *path = text_format("%s/images/%s.png", w->e->eval.dir, name);
    free(name);
    return path;
}

/* The real flow of a picture: a held-out one where there is one. */
static bool choose_pair(const eval_world *w, size_t label, const flow **real, const flow **synthetic) {
    *real = first_flow(&w->held_out, label);
    if (!*real)
        *real = first_flow(&w->train, label);
    *synthetic = first_flow(&w->synthetic, label);
    return *real && *synthetic;
}

static status draw_pictures(const eval_world *w) {
    const flow *real, *synthetic;
    char *folder = text_format("%s/images", w->e->eval.dir);
    status st = file_make_folders(folder);
    free(folder);
    for (size_t l = 0; l < w->nlabels && !st; l++) {
        if (!world_mine(w, l) || !choose_pair(w, l, &real, &synthetic))
            continue;
        char *path = picture_path(w, l);
        st = pictures_pair(path, real, synthetic);
        free(path);
    }
    return st;
}

static void add_pictures(const eval_world *w, report *r) {
    const flow *real, *synthetic;
    for (size_t l = 0; l < w->nlabels; l++) {
        if (!choose_pair(w, l, &real, &synthetic))
            continue;
        char *path = picture_path(w, l), *id = text_format("picture-%s", w->label[l]);
        char *title = text_format("%s: real (left), synthetic (right)", w->label[l]);
        report_picture(r, id, title, path);
        free(path);
        free(id);
        free(title);
    }
}

status part_gallery(const eval_world *w, report *r) {
    status st = comm_agree(w->c, w->e->eval.images ? draw_pictures(w) : ST_OK);
    if (st || !r)
        return comm_agree(w->c, st);
    report_section(r, "gallery", "Gallery",
                   "Distributions over the packets that were compared, the course of training, and flows as bit "
                   "pictures: a row is a packet, a column a bit of the nPrint row (IPv4, TCP, UDP, ICMP from left to "
                   "right); green is 1, red 0, grey no such bit.");
    for (size_t m = 0; m < w->nmacros && !st; m++) {
        st = add_cdf(w, m, false, r);
        if (!st)
            st = add_cdf(w, m, true, r);
    }
    if (!st)
        st = add_losses(w, r);
    if (!st && w->e->eval.images)
        add_pictures(w, r);
    return comm_agree(w->c, st);
}
