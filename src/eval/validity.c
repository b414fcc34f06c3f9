/* Part "validity" of the report: our strict checker before and after repair, what other people's programs say of the
 * synthetic captures and of real flows written in the same way, and the traffic figures of the paper's Table 11.
 *
 * A random control stands beside both: what it passes too is no evidence. */
#include "eval/validity_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "eval/parts.h"

/* Of one rank: its folder, and the captures in it, made when they are first needed. */
typedef struct workplace {
    char *folder;
    bool made[SUBJECTS];
    text_list captures[SUBJECTS];
} workplace;

static status workplace_open(workplace *p) {
    const char *base = getenv("TMPDIR");
    char *whole = realpath(base && *base ? base : "/tmp", NULL); /* programs run in folders of their own */
    p->folder = text_format("%s/nd-validity-XXXXXX", whole ? whole : base && *base ? base : "/tmp");
    free(whole);
    if (mkdtemp(p->folder))
        return ST_OK;
    status st = FAIL(ST_IO, "%s: cannot make a temporary folder: %s", p->folder, strerror(errno));
    free(p->folder);
    p->folder = NULL;
    return st;
}

static status workplace_close(workplace *p) {
    status st = p->folder ? file_remove_tree(p->folder) : ST_OK;
    for (int s = 0; s < SUBJECTS; s++)
        text_list_clear(&p->captures[s]);
    free(p->folder);
    return st;
}

/* ---- asking ---- */

static status ask(const tool *which, workplace *p, subject s, tool_outcome *o, name_counts *names) {
    for (size_t i = 0; i < p->captures[s].n; i++) {
        char *folder = text_format("%s/work", p->folder);
        tool_result result = {0};
        tool_work t = {
            .capture = p->captures[s].item[i], .folder = folder, .s = s, .result = &result, .x = o->x, .names = names};
        status st = file_make_folders(folder);
        if (!st)
            st = which->ask(&t);
        o->ends[result.end]++;
        tool_clear(&result);
        if (!st)
            st = file_remove_tree(folder);
        free(folder);
        TRY(st);
        if (o->ends[TOOL_DONE] < (double)(i + 1))
            break; /* it has no figures: nobody waits for what it says of the others */
    }
    return ST_OK;
}

/* The programs times the kinds of captures, in turn to the ranks. */
static status ask_all(const eval_world *w, workplace *p, tool_outcome *outcomes, name_counts *names) {
    for (size_t i = 0; i < ntools * SUBJECTS; i++) {
        subject s = (subject)(i % SUBJECTS);
        if (!world_mine(w, i))
            continue;
        if (!p->made[s])
            TRY(captures_make(w, s, p->folder, &p->captures[s]));
        p->made[s] = true;
        TRY(ask(tools[i / SUBJECTS], p, s, &outcomes[i], &names[i / SUBJECTS]));
    }
    return ST_OK;
}

/* ---- gathering ---- */

/* Lines of "tool subject count name". */
static status names_to_text(const name_counts *names, char **text, size_t *nbytes) {
    FILE *to = open_memstream(text, nbytes);
    if (!to)
        return FAIL(ST_MEMORY, "no memory for the names that programs counted");
    for (size_t k = 0; k < ntools; k++)
        for (size_t i = 0; i < names[k].n; i++)
            for (int s = 0; s < SUBJECTS; s++)
                if (names[k].items[i].count[s] > 0)
                    fprintf(to, "%zu %d %.0f %s\n", k, s, names[k].items[i].count[s], names[k].items[i].name);
    return fclose(to) ? FAIL(ST_MEMORY, "no memory for the names that programs counted") : ST_OK;
}

static status names_from_text(char *text, name_counts *names) {
    for (char *line; (line = tool_line(&text));) {
        size_t k;
        int s, at = 0;
        double count;
        if (sscanf(line, "%zu %d %lf %n", &k, &s, &count, &at) == 3 && at > 0 && k < ntools && s >= 0 && s < SUBJECTS)
            TRY(name_counts_add(&names[k], line + at, (subject)s, count));
    }
    return ST_OK;
}

/* Afterwards rank 0 has everybody's. */
static status gather_names(const eval_world *w, name_counts *names) {
    char *mine = NULL, *all = NULL;
    size_t nbytes = 0, *sizes = NULL;
    status st = names_to_text(names, &mine, &nbytes);
    if (!st)
        st = NEW((size_t)comm_size(w->c), &sizes);
    st = comm_agree(w->c, st);
    if (!st)
        st = comm_gather(w->c, mine, nbytes, 0, &all, sizes);
    for (size_t k = 0; k < ntools && !st && all; k++)
        name_counts_clear(&names[k]);
    if (!st && all)
        st = names_from_text(all, names);
    for (size_t k = 0; k < ntools && !st && all; k++)
        name_counts_sort(&names[k]);
    memory_free(&sizes);
    free(mine);
    free(all);
    return st;
}

static status ask_and_gather(const eval_world *w, tool_outcome *outcomes, name_counts *names) {
    workplace place = {0};
    status st = workplace_open(&place);
    if (!st)
        st = ask_all(w, &place, outcomes, names);
    status removed = workplace_close(&place);
    TRY(comm_agree(w->c, st ? st : removed));
    TRY(comm_sum_f64(w->c, (double *)outcomes, ntools * SUBJECTS * sizeof *outcomes / sizeof(double)));
    return gather_names(w, names);
}

/* ---- the part ---- */

static status report_others(const eval_world *w, report *r) {
    tool_outcome *outcomes = NULL;
    name_counts *names = NULL;
    status st = NEW(ntools * SUBJECTS, &outcomes);
    if (!st)
        st = NEW(ntools, &names);
    st = comm_agree(w->c, st);
    if (!st && w->e->eval.tools)
        st = ask_and_gather(w, outcomes, names);
    if (!st && r) {
        double wrong[SUBJECTS], packets[SUBJECTS];
        for (int s = 0; s < SUBJECTS; s++) { /* tshark is tools[0] */
            wrong[s] = outcomes[s].x[TSHARK_WRONG_PACKETS];
            packets[s] = tool_answered(&outcomes[s]) ? outcomes[s].x[TSHARK_PACKETS] : 0;
        }
        validity_tools_report(w, outcomes, names, r);
        st = validity_traffic(w, wrong, packets, r);
    }
    for (size_t k = 0; names && k < ntools; k++)
        name_counts_clear(&names[k]);
    memory_free(&names);
    memory_free(&outcomes);
    return st;
}

status part_validity(const eval_world *w, report *r) {
    report_section(
        r, "validity", "Validity",
        "Figures of synthetic traffic mean something only beside those of real traffic: captures miss packets "
        "and flows are cut at the window, so real ones do not pass everything either. What the random "
        "control passes too is no evidence.");
    TRY(validity_rules(w, r));
    return comm_agree(w->c, report_others(w, r));
}
