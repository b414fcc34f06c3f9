/* Validity by our own rules (packet/check.h), and how much repair had to change. */
#include "eval/eval_priv.h"
#include "eval/validity_priv.h"

#include <limits.h>

#include <stdio.h>
#include "packet/check.h"
#include "packet/repair.h"

enum { SETS = 6 };
enum { SET_TRAIN, SET_HELD_OUT, SET_RAW, SET_SYNTHETIC, SET_RANDOM, SET_MARGINAL };

typedef struct rule_results {
    check_counts checks[SETS];
    eval_changes changed;
    repair_counts repaired; /* by the rules, of the flows from before repair */
} rule_results;

static const eval_set *set_of(const eval_world *w, size_t k) {
    const eval_set *sets[SETS] = {&w->train, &w->held_out, &w->raw, &w->synthetic, &w->random, &w->marginal};
    return sets[k];
}

/* Checksums cover the payload, and that of captured packets is not kept. */
static check_payload payload_known(const eval_world *w, size_t k) {
    if (k == SET_RANDOM || k == SET_MARGINAL)
        return CHECK_PAYLOAD_ZERO;
    return k == SET_RAW || k == SET_SYNTHETIC ? w->payload : CHECK_PAYLOAD_UNKNOWN;
}

/* ---- measuring ---- */

/* Two headers side by side, but for the checksum at `except`: it follows from the rest, and a changed bit would count
 * twice. What only one of them has counts as changed. Returns the changed bits. */
static uint64_t count_header(const uint8_t *a, unsigned na, const uint8_t *b, unsigned nb, unsigned except,
                             uint64_t *bits) {
    unsigned shorter = na < nb ? na : nb, longer = na < nb ? nb : na;
    uint64_t changed = 0;
    for (unsigned i = 0; i < longer; i++) {
        if (i == except || i == except + 1)
            continue;
        *bits += 8;
        changed += i < shorter ? (unsigned)__builtin_popcount((unsigned)(a[i] ^ b[i])) : 8;
    }
    return changed;
}

/* Packets of datasets are complete: their header lengths can be believed. */
static void count_packet(const packet *before, const packet *after, eval_changes *c) {
    static const packet nothing = {0};
    const packet *b = after ? after : &nothing;
    unsigned na = packet_ip_nheader(before), nb = packet_ip_nheader(b), proto = packet_proto(before);
    unsigned checksum = proto == PROTO_TCP ? 16 : proto == PROTO_UDP ? 6 : 2;
    unsigned ip_checksum = packet_is_ipv6(before) ? UINT_MAX - 1 : 10; /* IPv6 has none */
    uint64_t changed =
        count_header(before->header, na, b->header, nb, ip_checksum, &c->bits) +
        count_header(before->header + na, before->nheader - na, b->header + nb, b->nheader - nb, checksum, &c->bits);
    c->packets++;
    c->packets_changed += changed > 0;
    c->packets_dropped += !after;
    c->bits_changed += changed;
}

void eval_count_changes(const flow *before, const flow *after, eval_changes *c) {
    size_t k = 0;
    for (size_t i = 0; i < before->npackets; i++) {
        const packet *p = &before->packets[i];
        while (k < after->npackets && after->packets[k].frame < p->frame)
            k++;
        if (packet_has_shape(p))
            count_packet(p, k < after->npackets && after->packets[k].frame == p->frame ? &after->packets[k] : NULL, c);
    }
}

/* A copy of the flow is repaired: the rules say themselves what they change. */
static status count_rules(const flow *raw, repair_counts *counts) {
    flow copy;
    flow_init(&copy);
    status st = ST_OK;
    for (size_t i = 0; i < raw->npackets && !st; i++)
        st = flow_add(&copy, &raw->packets[i]);
    if (!st)
        st = repair_flow(&copy, NULL, counts);
    flow_clear(&copy);
    return st;
}

static status measure_here(const eval_world *w, rule_results *x) {
    for (size_t k = 0; k < SETS; k++) {
        const eval_set *s = set_of(w, k);
        for (size_t i = 0; i < s->n; i++)
            if (world_mine(w, i))
                check_flow(&s->flows[i].f, payload_known(w, k), &x->checks[k], NULL);
    }
    for (size_t i = 0; i < w->raw.n && i < w->synthetic.n; i++)
        if (world_mine(w, i))
            eval_count_changes(&w->raw.flows[i].f, &w->synthetic.flows[i].f, &x->changed);
    for (size_t i = 0; i < w->raw.n; i++)
        if (world_mine(w, i))
            TRY(count_rules(&w->raw.flows[i].f, &x->repaired));
    return ST_OK;
}

static status measure(const eval_world *w, rule_results *x) {
    TRY(comm_agree(w->c, measure_here(w, x)));
    return comm_sum_u64(w->c, (uint64_t *)x, sizeof *x / sizeof(uint64_t));
}

/* ---- reporting ---- */

static double share(uint64_t part, uint64_t all) {
    return all ? (double)part / (double)all : 0;
}

static const char *why_empty(const eval_world *w, size_t k) {
    return set_of(w, k)->n > 0 ? "no row that the rule applies to"
           : k == SET_RAW      ? "no flows from before repair (raw.h5)"
           : k == SET_MARGINAL ? "no class with training flows"
                               : "no such flows";
}

static void rule_row(const eval_world *w, const rule_results *x, check_rule rule, report_table *t) {
    report_row(t, check_rules[rule].name);
    for (size_t k = 0; k < SETS; k++) {
        const check_counts *c = &x->checks[k];
        if (rule == CHECK_CHECKSUM_L4 && payload_known(w, k) == CHECK_PAYLOAD_UNKNOWN && set_of(w, k)->n > 0)
            report_nothing(t, "the payload is not known, so its checksum is not either");
        else
            report_share(t, 100, (double)c->failed[rule], (double)c->tested[rule], why_empty(w, k));
    }
}

static void passing_row(const eval_world *w, const rule_results *x, bool rows, report_table *t) {
    report_row(t, rows ? "rows passing all" : "flows passing all");
    for (size_t k = 0; k < SETS; k++) {
        const check_counts *c = &x->checks[k];
        report_share(t, 100, (double)(rows ? c->rows_pass : c->flows_pass), (double)(rows ? c->rows : c->flows),
                     why_empty(w, k));
    }
}

static void report_rules(const eval_world *w, const rule_results *x, report *r) {
    static const char *const columns[] = {"rule",      "train",  "held out", "before repair",
                                          "synthetic", "random", "marginal"};
    report_table *t =
        report_table_new(r, "validity-rules", "Rows that fail a rule, percent of the rows it applies to", SETS + 1,
                         columns, 2, "src/packet/check.h says what each rule is; ndeval CONFIG");
    for (int rule = 0; rule < CHECK_COUNT; rule++)
        rule_row(w, x, (check_rule)rule, t);
    t = report_table_new(r, "validity-passing",
                         "Rows and flows that pass all rules, percent (checksums and time are not among them)",
                         SETS + 1, columns, 2, NULL);
    passing_row(w, x, true, t);
    passing_row(w, x, false, t);
}

static void report_changes(const eval_changes *c, report *r) {
    static const char *const columns[] = {"repair changed", "of all", "percent"};
    const struct {
        const char *name;
        uint64_t part, all;
    } rows[] = {{"header bits (without checksums)", c->bits_changed, c->bits},
                {"packets", c->packets_changed, c->packets},
                {"packets, by leaving them out", c->packets_dropped, c->packets}};
    report_table *t = report_table_new(r, "validity-repair", "What repair changed", 3, columns, 3, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        report_row(t, rows[i].name);
        if (c->packets == 0) {
            report_nothing(t, "no flows from before repair (raw.h5)");
            report_nothing(t, "no flows from before repair (raw.h5)");
            continue;
        }
        report_number(t, (double)rows[i].all);
        report_number(t, 100 * share(rows[i].part, rows[i].all));
    }
}

static void report_repaired(const repair_counts *c, report *r) {
    static const char *const columns[] = {"rule", "packets", "percent", "bits"};
    report_table *t =
        report_table_new(r, "validity-repair-rules", "What each rule of the repair changes", 4, columns, 3,
                         "docs/repair.md says what each rule does; every packet of raw.h5 counts alike");
    for (int rule = 0; rule < CHECK_COUNT; rule++) {
        report_row(t, check_rules[rule].name);
        for (int column = 0; column < 3; column++) {
            if (c->packets == 0)
                report_nothing(t, "no flows from before repair (raw.h5)");
            else if (column == 1)
                report_number(t, 100 * share(c->rule_packets[rule], c->packets));
            else
                report_number(t, (double)(column == 0 ? c->rule_packets[rule] : c->rule_bits[rule]));
        }
    }
}

static void report_values(const rule_results *x, report *r) {
    const struct {
        const char *name;
        size_t set;
    } passing[] = {{"validity.before", SET_RAW}, {"validity.after", SET_SYNTHETIC}, {"validity.real", SET_HELD_OUT}};
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++) {
        const check_counts *c = &x->checks[passing[i].set];
        if (c->rows > 0)
            report_value(r, passing[i].name, share(c->rows_pass, c->rows));
    }
    const check_counts *c = &x->checks[SET_SYNTHETIC];
    uint64_t tested = c->tested[CHECK_CHECKSUM_IP] + c->tested[CHECK_CHECKSUM_L4];
    uint64_t failed = c->failed[CHECK_CHECKSUM_IP] + c->failed[CHECK_CHECKSUM_L4];
    if (tested > 0)
        report_value(r, "validity.checksums", share(tested - failed, tested));
}

status validity_rules(const eval_world *w, report *r) {
    rule_results x = {0};
    TRY(measure(w, &x));
    report_rules(w, &x, r);
    report_changes(&x.changed, r);
    report_repaired(&x.repaired, r);
    if (r)
        report_values(&x, r);
    return ST_OK;
}
