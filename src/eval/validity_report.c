/* Tables of what other people's programs said. */
#include "eval/validity_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"

enum { NAMES_SHOWN = 12, COLUMNS = 2 + SUBJECTS };

static const tool_outcome *outcome_of(const tool_outcome *outcomes, size_t k, subject s) {
    return &outcomes[k * SUBJECTS + (size_t)s];
}

bool tool_answered(const tool_outcome *o) {
    return o->ends[TOOL_DONE] > 0 &&
           o->ends[TOOL_MISSING] + o->ends[TOOL_LATE] + o->ends[TOOL_FAILED] + o->ends[TOOL_TOO_LONG] == 0;
}

static void no_answer(const tool *which, const tool_outcome *o, report_table *t) {
    const char *what = o->ends[TOOL_MISSING] > 0    ? "is not installed"
                       : o->ends[TOOL_LATE] > 0     ? "was stopped at its time limit"
                       : o->ends[TOOL_TOO_LONG] > 0 ? "was stopped, its output is too long"
                       : o->ends[TOOL_FAILED] > 0   ? "failed"
                                                    : "had no flows to look at";
    char *text = text_format("%s %s", which->name, what);
    report_nothing(t, text);
    free(text);
}

static void figure_row(const tool *which, size_t i, const char *name, const char *means, const tool_outcome *outcomes,
                       size_t k, report_table *t) {
    const figure *f = &which->figures[i];
    report_row(t, name);
    for (int s = 0; s < SUBJECTS; s++) {
        const tool_outcome *o = outcome_of(outcomes, k, (subject)s);
        if (!tool_answered(o))
            no_answer(which, o, t);
        else if (f->of < 0)
            report_number(t, f->factor * o->x[i]);
        else
            report_share(t, f->factor, o->x[i], o->x[f->of], "the program saw none of what this is a share of");
    }
    report_text(t, means);
}

static report_table *new_table(report *r, const char *id, const char *title, const char *first, const char *last,
                               int decimals, const char *command) {
    const char *columns[COLUMNS] = {first};
    for (int s = 0; s < SUBJECTS; s++)
        columns[1 + s] = subject_names[s];
    columns[COLUMNS - 1] = last;
    return report_table_new(r, id, title, last ? COLUMNS : COLUMNS - 1, columns, decimals, command);
}

/* ---- tshark ---- */

static void report_tshark(const tool_outcome *outcomes, size_t k, report *r) {
    const tool *which = tools[k];
    report_table *t = new_table(r, "validity-tshark", "tshark: expert information per 1000 packets", "severity",
                                "what it means", 2, which->command);
    for (size_t i = TSHARK_ERRORS; i <= TSHARK_CHATS; i++)
        figure_row(which, i, which->figures[i].name, which->figures[i].means, outcomes, k, t);
    figure_row(which, TSHARK_CHECKSUMS_RIGHT, "checksums right, percent", which->figures[TSHARK_CHECKSUMS_RIGHT].means,
               outcomes, k, t);
    const tool_outcome *o = outcome_of(outcomes, k, SUBJECT_SYNTHETIC);
    if (tool_answered(o) && o->x[TSHARK_PACKETS] > 0)
        report_value(r, "validity.tshark_errors", 1000 * o->x[TSHARK_ERRORS] / o->x[TSHARK_PACKETS]);
}

/* A count as a share of the figure `all` of the same program. */
static void count_cell(const tool *which, const tool_outcome *o, double factor, double count, size_t all,
                       report_table *t) {
    if (tool_answered(o) && o->x[all] > 0)
        report_number(t, factor * count / o->x[all]);
    else
        no_answer(which, o, t);
}

/* all: the figure that counts are shares of. */
static void names_table(const name_counts *names, double factor, size_t all, const tool_outcome *outcomes, size_t k,
                        report_table *t) {
    double rest[SUBJECTS] = {0};
    for (size_t i = 0; i < names->n; i++) {
        if (i < NAMES_SHOWN)
            report_row(t, names->items[i].name);
        for (int s = 0; s < SUBJECTS; s++) {
            if (i < NAMES_SHOWN)
                count_cell(tools[k], outcome_of(outcomes, k, (subject)s), factor, names->items[i].count[s], all, t);
            else
                rest[s] += names->items[i].count[s];
        }
    }
    if (names->n <= NAMES_SHOWN)
        return;
    report_row(t, "all others");
    for (int s = 0; s < SUBJECTS; s++)
        count_cell(tools[k], outcome_of(outcomes, k, (subject)s), factor, rest[s], all, t);
}

static void report_marks(const tool_outcome *outcomes, size_t k, report *r) {
    report_table *t = new_table(r, "validity-marks", "tshark: tcp.analysis marks per 1000 packets", "mark", NULL, 2,
                                "tshark -n -r CAPTURE -Y tcp.analysis.MARK");
    for (size_t i = 0; i < tshark_nmarks; i++) {
        report_row(t, tshark_marks[i]);
        for (int s = 0; s < SUBJECTS; s++) {
            const tool_outcome *o = outcome_of(outcomes, k, (subject)s);
            count_cell(tools[k], o, 1000, o->x[TSHARK_MARKS + i], TSHARK_PACKETS, t);
        }
    }
}

/* ---- the others ---- */

/* counts: the figures that are counts, or those that are ratios. */
static void report_figures(const tool_outcome *outcomes, bool counts, report_table *t) {
    for (size_t k = 0; k < ntools; k++) {
        const tool *which = tools[k];
        bool missing = true;
        for (int s = 0; s < SUBJECTS; s++)
            missing = missing && outcome_of(outcomes, k, (subject)s)->ends[TOOL_MISSING] > 0;
        for (size_t i = 0; i < which->nfigures; i++) {
            bool shown = which->figures[i].name && (which->figures[i].of < 0) == counts &&
                         (which != &tool_tshark || i == TSHARK_PACKETS);
            if (!shown)
                continue;
            char *name = text_format("%s: %s", which->name, which->figures[i].name);
            figure_row(which, i, missing ? which->name : name, missing ? "" : which->figures[i].means, outcomes, k, t);
            free(name);
            if (missing)
                break; /* one row says so */
        }
    }
}

void validity_tools_report(const eval_world *w, const tool_outcome *outcomes, name_counts *names, report *r) {
    report_table *t;
    if (!w->e->eval.tools) {
        t = new_table(r, "validity-tools", "Other people's programs", "program", NULL, 1, NULL);
        report_row(t, "all");
        for (int s = 0; s < SUBJECTS; s++)
            report_nothing(t, "not asked (eval.tools=no)");
        return;
    }
    for (size_t k = 0; k < ntools; k++) {
        if (tools[k] != &tool_tshark)
            continue;
        report_tshark(outcomes, k, r);
        t = new_table(r, "validity-expert", "tshark: what it remarks on most often, per 1000 packets (N: a number)",
                      "remark", NULL, 2, tools[k]->command);
        names_table(&names[k], 1000, TSHARK_PACKETS, outcomes, k, t);
        report_marks(outcomes, k, r);
    }
    t = new_table(r, "validity-seen", "Other people's programs: how much they saw", "program", "what it means", 0,
                  NULL);
    report_figures(outcomes, true, t);
    t = new_table(r, "validity-tools", "Other people's programs: what they say, percent where no unit is named",
                  "program", "what it means", 1, NULL);
    report_figures(outcomes, false, t);
    for (size_t k = 0; k < ntools; k++)
        if (names[k].n > 0 && tools[k] != &tool_tshark) { /* nDPI */
            t = new_table(r, "validity-protocols", "nDPI: protocols, percent of flows", "protocol", NULL, 1,
                          tools[k]->command);
            names_table(&names[k], 100, 0, outcomes, k, t);
        }
}
