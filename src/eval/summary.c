/* The summary: what was compared, and for each label how valid and how close to real the synthetic flows are.
 *
 * Distances are Jensen-Shannon divergences (base 2) of histograms over packets, to the held-out flows: of the synthetic
 * flows, and of the training flows, the floor below which no generator that learnt from those can be expected. Labels
 * are shared among the ranks, results are summed. */
#include "eval/eval_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "packet/check.h"

/* Of one label's flows in one set. */
typedef struct measures {
    double flows, packets;
    histograms shape;
    check_counts checks;
} measures;

/* One label's results; all doubles, so that ranks exchange them as one block. */
typedef struct label_result {
    double flows, packets;
    double rows_raw, rows_raw_valid;   /* before repair */
    double rows_real, rows_real_valid; /* training flows by the same rules */
    double bits, bits_changed;         /* header bits before repair, and changed by it */
    double checksums, checksums_right, flows_valid;
    double tshark_asked, tshark_known; /* captures that tshark was shown, and read to their end */
    double tshark_errors, tshark_warnings, tshark_packets;
    double floor[HISTOGRAMS], synthetic[HISTOGRAMS];
    double held_out_flows, train_flows;
} label_result;

/* ---- measuring ---- */

static void measure_set(const eval_set *s, int32_t label, check_payload payload, measures *m) {
    for (size_t i = 0; i < s->n; i++) {
        const flow *f = &s->flows[i].f;
        if (f->label != label)
            continue;
        m->flows++;
        m->packets += (double)f->npackets;
        histograms_add(&m->shape, f);
        check_flow(f, payload, &m->checks, NULL);
    }
}

static void take_checks(const check_counts *raw, const check_counts *real, const check_counts *clean, label_result *r) {
    const check_rule sums[] = {CHECK_CHECKSUM_IP, CHECK_CHECKSUM_L4};
    r->rows_raw = (double)raw->rows;
    r->rows_raw_valid = (double)raw->rows_pass;
    r->rows_real = (double)real->rows;
    r->rows_real_valid = (double)real->rows_pass;
    r->flows_valid = (double)clean->flows_pass;
    for (unsigned i = 0; i < 2; i++) {
        r->checksums += (double)clean->tested[sums[i]];
        r->checksums_right += (double)(clean->tested[sums[i]] - clean->failed[sums[i]]);
    }
}

static status judge_label(const eval_world *w, size_t l, label_result *r) {
    int32_t label = (int32_t)l;
    measures *m = NULL; /* training, held-out, synthetic, before repair */
    eval_changes changed = {0};
    TRY(NEW(4, &m));
    measure_set(&w->train, label, CHECK_PAYLOAD_UNKNOWN, &m[0]);
    measure_set(&w->held_out, label, CHECK_PAYLOAD_UNKNOWN, &m[1]);
    measure_set(&w->synthetic, label, w->payload, &m[2]);
    measure_set(&w->raw, label, CHECK_PAYLOAD_UNKNOWN, &m[3]);
    for (size_t i = 0; i < w->raw.n; i++)
        if (w->raw.flows[i].f.label == label)
            eval_count_changes(&w->raw.flows[i].f, &w->synthetic.flows[i].f, &changed);
    r->bits = (double)changed.bits;
    r->bits_changed = (double)changed.bits_changed;
    r->flows = m[2].flows;
    r->packets = m[2].packets;
    r->train_flows = m[0].flows;
    r->held_out_flows = m[1].flows;
    take_checks(&m[3].checks, &m[0].checks, &m[2].checks, r);
    for (unsigned q = 0; q < HISTOGRAMS; q++) {
        r->floor[q] = histograms_jsd(&m[0].shape, &m[1].shape, (histogram)q);
        r->synthetic[q] = histograms_jsd(&m[2].shape, &m[1].shape, (histogram)q);
    }
    memory_free(&m);
    return ST_OK;
}

/* ---- tshark ---- */

typedef struct labelled_key {
    uint64_t hash; /* of both directions */
    int32_t label;
} labelled_key;

static int compare_keys(const void *a, const void *b) {
    const labelled_key *x = a, *y = b;
    return x->hash != y->hash ? (x->hash < y->hash ? -1 : 1) : (x->label > y->label) - (x->label < y->label);
}

/* Do flows of two labels have one 5-tuple (or, once in a long time, one hash)? */
static status labels_share_keys(const eval_world *w, bool *share) {
    labelled_key *keys = NULL;
    size_t n = w->synthetic.n;
    TRY(NEW(n + 1, &keys));
    for (size_t i = 0; i < n; i++) {
        const flow *f = &w->synthetic.flows[i].f;
        keys[i] = (labelled_key){.hash = flow_key_hash(&f->key), .label = f->label};
    }
    qsort(keys, n, sizeof *keys, compare_keys);
    *share = false;
    for (size_t i = 1; i < n; i++)
        *share = *share || (keys[i].hash == keys[i - 1].hash && keys[i].label != keys[i - 1].label);
    memory_free(&keys);
    return ST_OK;
}

/* The captures of this rank's labels. */
static status ask_tshark(const eval_world *w, label_result *results) {
    text_list captures = {0};
    size_t *of = NULL;
    expert_counts *counts = NULL;
    bool share = false;
    if (!w->e->eval.tools || !w->synthetic_folder || !w->named_by_label)
        return ST_OK;
    status st = NEW(w->nlabels, &of);
    for (size_t l = 0; l < w->nlabels && !st; l++) {
        char *name = file_label_name(w->label[l]), *path = text_format("%s/%s.pcap", w->synthetic_folder, name);
        if (results[l].flows > 0 && file_exists(path)) { /* of other ranks' labels nothing is known here */
            of[captures.n] = l;
            st = text_list_add(&captures, path);
        }
        free(name);
        free(path);
    }
    if (!st)
        st = NEW(captures.n, &counts);
    if (!st)
        st = labels_share_keys(w, &share);
    if (!st)
        st = summary_tshark(captures.n, (const char *const *)captures.item, share, counts);
    for (size_t i = 0; i < captures.n && !st; i++) {
        label_result *r = &results[of[i]];
        r->tshark_asked = 1;
        r->tshark_known = counts[i].known;
        r->tshark_errors = counts[i].errors;
        r->tshark_warnings = counts[i].warnings;
        r->tshark_packets = counts[i].packets;
    }
    memory_free(&counts);
    memory_free(&of);
    text_list_clear(&captures);
    return st;
}

/* ---- tables ---- */

static void add_results(label_result *to, const label_result *r) {
    double *sum = (double *)to;
    const double *x = (const double *)r;
    for (size_t i = 0; i < sizeof *to / sizeof *sum; i++)
        sum[i] += x[i];
}

/* 0 where tshark did not get through every capture that it was shown: the one that stops it must not be left out. */
static double tshark_packets(const label_result *r) {
    return r->tshark_known == r->tshark_asked ? r->tshark_packets : 0;
}

static void validity_row(report_table *t, const char *name, const label_result *r) {
    report_row(t, name);
    report_number(t, r->flows);
    report_number(t, r->packets);
    report_share(t, 100, r->rows_raw_valid, r->rows_raw, "no flows from before repair (raw.h5)");
    report_share(t, 100, r->rows_real_valid, r->rows_real, "no training flows");
    report_share(t, 100, r->bits_changed, r->bits, "no flows from before repair (raw.h5)");
    report_share(t, 100, r->checksums_right, r->checksums,
                 "no checksum to be judged: IPv6 has none of its own, and the payload is not known");
    report_share(t, 100, r->flows_valid, r->flows, "no synthetic flows");
    const char *why = r->tshark_asked > 0
                          ? "tshark is not installed, or did not get to the end of a capture"
                          : "tshark was not asked: not wanted, or no capture that is named after this label";
    report_share(t, 1000, r->tshark_errors, tshark_packets(r), why);
    report_share(t, 1000, r->tshark_warnings, tshark_packets(r), why);
}

static void add_validity(const eval_world *w, const label_result *results, const label_result *all, report *r) {
    static const char *const columns[] = {"label",         "flows",           "packets",      "rows, %",
                                          "real rows, %",  "bits changed, %", "checksums, %", "flows, %",
                                          "errors / 1000", "warnings / 1000"};
    report_table *t = report_table_new(
        r, "summary-validity",
        "Validity: rows valid before repair (and real training rows), bits changed by repair, right checksums and "
        "valid flows after it; tshark expert items",
        sizeof columns / sizeof *columns, columns, 1,
        "tshark -n -r LABEL.pcap -T fields -e _ws.expert.severity -o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE "
        "-o udp.check_checksum:TRUE");
    for (size_t l = 0; l < w->nlabels; l++)
        if (results[l].flows > 0)
            validity_row(t, w->label[l], &results[l]);
    validity_row(t, "all", all);
}

/* For each quantity the synthetic flows' distance and the floor; the last row is the mean over the labels that have
 * both. */
static void add_distances(const eval_world *w, const label_result *results, report *r) {
    const char *columns[1 + 2 * HISTOGRAMS] = {"label"};
    char floors[HISTOGRAMS][24];
    double sum[2 * HISTOGRAMS] = {0};
    size_t n = 0;
    for (unsigned q = 0; q < HISTOGRAMS; q++) {
        snprintf(floors[q], sizeof floors[q], "%s floor", histogram_names[q]);
        columns[1 + 2 * q] = histogram_names[q];
        columns[2 + 2 * q] = floors[q];
    }
    report_table *t = report_table_new(
        r, "summary-jsd",
        "Jensen-Shannon divergence (base 2) to held-out flows: of synthetic flows, and of training flows (the floor)",
        sizeof columns / sizeof *columns, columns, 3, NULL);
    for (size_t l = 0; l < w->nlabels; l++) {
        const label_result *x = &results[l];
        if (x->flows == 0)
            continue;
        bool both = x->held_out_flows > 0 && x->train_flows > 0;
        report_row(t, w->label[l]);
        for (unsigned q = 0; q < 2 * HISTOGRAMS; q++) {
            double value = q % 2 ? x->floor[q / 2] : x->synthetic[q / 2];
            sum[q] += both ? value : 0;
            if (x->held_out_flows > 0 && (q % 2 == 0 || x->train_flows > 0))
                report_number(t, value);
            else
                report_nothing(t, x->held_out_flows > 0 ? "no training flows" : "no held-out flows");
        }
        n += both;
    }
    report_row(t, "mean");
    for (unsigned q = 0; q < 2 * HISTOGRAMS; q++)
        report_share(t, 1, sum[q], (double)n, "no label has synthetic, training and held-out flows");
    for (unsigned q = 0; q < HISTOGRAMS && n > 0; q++) {
        char *name = text_format("summary.jsd_%s", histogram_names[q]);
        report_value(r, name, sum[2 * q] / (double)n);
        free(name);
    }
}

static void add_sets(const eval_world *w, report *r) {
    static const char *const columns[] = {"flows of",         "flows",          "labelled", "labels",
                                          "packets compared", "packets in all", "from"};
    char *title = text_format("What was compared: the first %zu packets of every flow", w->window);
    report_table *t = report_table_new(r, "summary-sets", title, sizeof columns / sizeof *columns, columns, 0, NULL);
    const struct {
        const eval_set *set;
        const char *from;
    } rows[] = {{&w->train, w->e->data.dataset},         {&w->held_out, w->e->data.dataset},
                {&w->synthetic, w->e->eval.synthetic},   {&w->raw, "raw.h5 beside the synthetic dataset"},
                {&w->random, "control: random headers"}, {&w->marginal, "control: every header field drawn by itself"}};
    free(title);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        const eval_set *s = rows[k].set;
        double labelled = 0, labels = 0, compared = 0, packets = 0;
        for (size_t i = 0; i < s->n; i++) {
            labelled += s->flows[i].f.label >= 0;
            compared += (double)s->flows[i].f.npackets;
            packets += (double)s->flows[i].packets;
        }
        for (size_t l = 0; l < w->nlabels; l++)
            for (size_t i = 0; i < s->n; i++)
                if (s->flows[i].f.label == (int32_t)l) {
                    labels++;
                    break;
                }
        if (s->n == 0)
            continue;
        report_row(t, s->name);
        report_number(t, (double)s->n);
        report_number(t, labelled);
        report_number(t, labels);
        report_number(t, compared);
        report_number(t, packets);
        report_text(t, rows[k].from);
    }
}

static void add_values(const label_result *all, report *r) {
    const struct {
        const char *name;
        double part, of;
    } values[] = {{"rows_valid_before_repair", all->rows_raw_valid, all->rows_raw},
                  {"rows_valid_real", all->rows_real_valid, all->rows_real},
                  {"bits_changed_by_repair", all->bits_changed, all->bits},
                  {"checksums_right", all->checksums_right, all->checksums},
                  {"flows_valid", all->flows_valid, all->flows},
                  {"tshark_errors_per_1000", 1000 * all->tshark_errors, tshark_packets(all)},
                  {"tshark_warnings_per_1000", 1000 * all->tshark_warnings, tshark_packets(all)}};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (values[i].of > 0)
            report_value(r, values[i].name, values[i].part / values[i].of);
}

status part_summary(const eval_world *w, report *r) {
    label_result *results = NULL, all = {0};
    status st = comm_agree(w->c, NEW(w->nlabels + 1, &results));
    if (st)
        return st;
    for (size_t l = 0; l < w->nlabels && !st; l++)
        if (world_mine(w, l))
            st = judge_label(w, l, &results[l]);
    if (!st)
        st = ask_tshark(w, results);
    st = comm_agree(w->c, st);
    if (!st)
        st = comm_sum_f64(w->c, (double *)results, w->nlabels * sizeof *results / sizeof(double));
    if (!st && r) {
        for (size_t l = 0; l < w->nlabels; l++)
            if (results[l].flows > 0)
                add_results(&all, &results[l]);
        report_section(r, "summary", "Summary",
                       "Synthetic flows beside real ones that training saw, and real ones of recordings that it never "
                       "saw. A generator is as good as its distance to the held-out flows is close to the floor.");
        add_sets(w, r);
        add_validity(w, results, &all, r);
        add_distances(w, results, r);
        add_values(&all, r);
    }
    memory_free(&results);
    return st;
}
