/* Part "memory" of the report: does the generator repeat its training flows, or identifiers of real hosts?
 * docs/privacy.md says how to read it. */
#include "eval/memory_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/file.h"
#include "base/memory.h"
#include "eval/parts.h"

static const char *const query_titles[QUERY_COUNT] = {
    [QUERY_SYNTHETIC] = "synthetic",
    [QUERY_HELD_OUT] = "held out, itself left out",
    [QUERY_TRAIN] = "train, itself left out",
};

static void row_near(report_table *t, const char *name, const memory_near *n) {
    report_row(t, name);
    report_number(t, n->compared);
    if (n->compared == 0) {
        for (unsigned i = 0; i < 5; i++)
            report_nothing(t, "not in both train and held out");
        return;
    }
    report_number(t, n->closer);
    report_number(t, n->low);
    report_number(t, n->high);
    report_number(t, n->to_train);
    report_number(t, n->to_held);
}

static void table_near(report *r, const eval_world *w, const memory_near *near, const bool sampled[QUERY_COUNT]) {
    const char *columns[] = {"",   "flows",           "closer to train",   "95 % from",
                             "to", "median to train", "median to held out"};
    report_table *t =
        report_table_new(r, "memory.near",
                         "Nearest neighbour in equal samples of train and held out (0.5 = none closer); labels: of "
                         "the synthetic flows",
                         7, columns, 3, NULL);
    size_t ngroups = w->nlabels + 2, all = ngroups - 1;
    for (size_t q = 0; q < QUERY_COUNT; q++) {
        char *name = text_format("%s%s", query_titles[q], sampled[q] ? " (drawn)" : "");
        row_near(t, name, &near[q * ngroups + all]);
        free(name);
    }
    for (size_t l = 0; l < w->nlabels; l++)
        row_near(t, w->label[l], &near[l]);
}

static void row_copies(report_table *t, const char *name, const memory_near *n, bool longer) {
    double flows = longer ? n->longer : n->queries;
    const char *why = "no flows";
    report_row(t, name);
    report_number(t, flows);
    report_share(t, 1, longer ? n->longer_identical : n->identical, flows, why);
    report_share(t, 1, longer ? n->longer_near : n->near, flows, why);
    if (longer)
        report_nothing(t, "see the row of all flows");
    else if (flows > 0)
        report_number(t, n->nearest);
    else
        report_nothing(t, why);
}

static void table_copies(report *r, const eval_world *w, const memory_near *near) {
    const char *columns[] = {"", "flows", "identical", "within 2 % of bits", "median distance"};
    report_table *t =
        report_table_new(r, "memory.copies",
                         "Copies of training flows, in the bits that do not identify a connection; labels: of the "
                         "synthetic flows",
                         5, columns, 3, NULL);
    size_t ngroups = w->nlabels + 2, all = ngroups - 1;
    for (size_t q = 0; q < QUERY_COUNT; q++) {
        char *name = text_format("%s, of %d packets and more", query_titles[q], MEMORY_LONG);
        row_copies(t, query_titles[q], &near[q * ngroups + all], false);
        row_copies(t, name, &near[q * ngroups + all], true);
        free(name);
    }
    for (size_t l = 0; l < w->nlabels; l++)
        row_copies(t, w->label[l], &near[l], false);
}

static void row_begin(report_table *t, const char *name, const memory_begin *b) {
    report_row(t, name);
    for (size_t n = 0; n < BEGIN_COUNT; n++) {
        report_share(t, 1, b->as_train[n], b->flows[n], "no flow is so long");
        report_share(t, 1, b->as_held_out[n], b->flows[n], "no flow is so long");
    }
}

static void table_begin(report *r, const eval_world *w, const memory_begin *begin) {
    const char *columns[] = {"",       "n = 4",      "(held out)", "n = 8",     "(held out)",
                             "n = 12", "(held out)", "all",        "(held out)"};
    report_table *t = report_table_new(r, "memory.begin",
                                       "Flows whose first n packets have direction, TCP flags and payload length of "
                                       "some training flow (held-out flow)",
                                       9, columns, 3, NULL);
    size_t ngroups = w->nlabels + 2, all = ngroups - 1;
    for (size_t q = 0; q < QUERY_COUNT; q++)
        row_begin(t, query_titles[q], &begin[q * ngroups + all]);
    for (size_t l = 0; l < w->nlabels; l++) {
        const memory_begin *held_out = &begin[QUERY_HELD_OUT * ngroups + l];
        char *name = text_format("%s, held out", w->label[l]);
        row_begin(t, w->label[l], &begin[l]);
        if (held_out->flows[BEGIN_COUNT - 1] > 0)
            row_begin(t, name, held_out);
        free(name);
    }
}

static void table_leak(report *r, const memory_leak leak[LEAK_COUNT], const memory_macs *macs) {
    const char *columns[] = {"", "real", "synthetic", "shared", "by chance", "example"};
    report_table *t =
        report_table_new(r, "memory.leak", "Identifiers of the real data in the synthetic flows", 6, columns, 3, NULL);
    for (size_t k = 0; k < LEAK_COUNT; k++) {
        report_row(t, memory_leak_names[k]);
        report_number(t, leak[k].real);
        report_number(t, leak[k].synthetic);
        report_number(t, leak[k].shared);
        if (leak[k].chance >= 0)
            report_number(t, leak[k].chance);
        else
            report_nothing(t, "depends on the ranges that addresses are drawn from");
        if (leak[k].example[0])
            report_text(t, leak[k].example);
        else
            report_nothing(t, "none shared");
    }
    report_row(t, "Ethernet addresses");
    report_nothing(t, "a dataset holds none");
    if (macs->captures == 0) {
        for (unsigned i = 0; i < 4; i++)
            report_nothing(t, "no Ethernet captures");
        return;
    }
    char *text = text_format("%.0f of %.0f locally administered (%.0f captures)", macs->addresses - macs->global,
                             macs->addresses, macs->captures);
    report_number(t, macs->addresses);
    report_nothing(t, "no real ones to compare with");
    report_nothing(t, "no real ones to compare with");
    report_text(t, text);
    free(text);
}

static void values(report *r, const memory_near *near, const memory_leak leak[LEAK_COUNT], const memory_macs *macs) {
    if (near->compared > 0)
        report_value(r, "memory.closer_to_train", near->closer);
    if (near->queries > 0) {
        report_value(r, "memory.copies", near->identical / near->queries);
        report_value(r, "memory.near_copies", near->near / near->queries);
    }
    if (near->longer > 0)
        report_value(r, "memory.long_copies", near->longer_identical / near->longer);
    report_value(r, "leak.addresses", leak[LEAK_ADDRESSES].shared);
    report_value(r, "leak.timestamps", leak[LEAK_TIMESTAMPS].shared);
    report_value(r, "leak.ports", leak[LEAK_PORTS].shared);
    if (macs->captures > 0)
        report_value(r, "leak.macs", macs->global);
}

static status write_part(report *r, const eval_world *w, const memory_near *near, const bool sampled[QUERY_COUNT],
                         const memory_begin *begin) {
    memory_leak leak[LEAK_COUNT];
    memory_macs macs;
    TRY(memory_leak_measure(w, leak));
    TRY(memory_macs_scan(w->synthetic_folder, &macs));
    char *text = text_format(
        "Read each figure beside the same figure of real flows: held-out flows repeat training flows too where a class "
        "is short or uniform. Bits are those of the first %zu packets without addresses, checksums, sequence numbers, "
        "IP-ID, client port and timestamp values.%s",
        w->window < 32 ? w->window : (size_t)32,
        sampled[QUERY_SYNTHETIC] || sampled[QUERY_TRAIN] || sampled[QUERY_HELD_OUT]
            ? " Of sets above 4000 flows, 4000 were drawn and looked up (\"drawn\"), against all flows."
            : "");
    report_section(r, "memory", "Memorisation and leaks", text);
    free(text);
    table_near(r, w, near, sampled);
    table_copies(r, w, near);
    table_begin(r, w, begin);
    table_leak(r, leak, &macs);
    values(r, &near[w->nlabels + 1], leak, &macs);
    return report_status(r);
}

status part_memory(const eval_world *w, report *r) {
    memory_near *near = NULL;
    memory_begin *begin = NULL;
    bool sampled[QUERY_COUNT] = {false};
    status st = memory_near_measure(w, &near, sampled);
    if (!st && comm_rank(w->c) == 0) {
        st = memory_begin_measure(w, &begin);
        if (!st)
            st = write_part(r, w, near, sampled, begin);
    }
    memory_free(&near);
    memory_free(&begin);
    return comm_agree(w->c, st);
}
