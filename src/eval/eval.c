/* Evaluation: each part adds its section, rank 0 prints the summary, writes the report and looks at the limits. */
#include "eval/eval.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "eval/eval_priv.h"
#include "eval/parts.h"

typedef struct eval_part {
    const char *name;
    status (*run)(const eval_world *w, report *r);
} eval_part;

static const eval_part parts[] = {
    {"summary", part_summary},     {"fidelity", part_fidelity}, {"utility", part_utility}, {"validity", part_validity},
    {"variation", part_variation}, {"memory", part_memory},     {"gallery", part_gallery},
};

static status run_parts(const eval_world *w, report *r) {
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        double began = time_seconds();
        status st = parts[i].run(w, r);
        TRY(comm_agree(w->c, st ? st : r ? report_status(r) : ST_OK));
        log_job("%s: %.1f s", parts[i].name, time_seconds() - began);
    }
    ASSERT(!r || report_names_are_known(r)); /* or no limit could name the value */
    return ST_OK;
}

/* Rank 0: the report stands whatever the limits say. */
static status publish(const experiment *e, const report *r) {
    TRY(report_write_all(r, e->eval.dir));
    report_print_section(r, "summary");
    printf("report: %s/report.html\n", e->eval.dir);
    fflush(stdout);
    return report_check(r, e->eval.fail_on.n, e->eval.fail_on.item);
}

static status evaluate(const experiment *e, comm *c, const eval_world *w) {
    report *r = NULL;
    status st = ST_OK;
    if (comm_rank(c) == 0) {
        char *title = text_format("%s: synthetic against real traffic", e->name);
        st = report_new(&r, title);
        free(title);
    }
    st = comm_agree(c, st);
    if (!st)
        st = run_parts(w, r);
    if (!st)
        st = comm_agree(c, r ? publish(e, r) : ST_OK);
    report_free(&r);
    return st;
}

status eval_run(const experiment *e, comm *c) {
    eval_world *w = NULL;
    TRY(report_limits_read(e->eval.fail_on.n, e->eval.fail_on.item));
    status st = world_open(&w, e, c);
    if (!st && e->dry_run)
        log_job("dry run: %zu synthetic flows would be judged against %zu training and %zu held-out flows; the report "
                "would go to %s",
                w->synthetic.n, w->train.n, w->held_out.n, e->eval.dir);
    else if (!st)
        st = evaluate(e, c, w);
    world_close(&w);
    return st;
}
