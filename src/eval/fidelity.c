/* Fidelity: how far synthetic flows are from held-out real ones, between the floor (other real flows) and random bytes.
 *
 * This file makes the tables; docs/metrics.md defines what is in them. */
#include "eval/parts.h"

#include "base/memory.h"
#include "eval/fidelity_priv.h"

static const char *const side_names[SIDE_COUNT] = {"floor", "synthetic", "marginal", "random"};

/* Everything that the tables need; the same on every rank. */
typedef struct fidelity {
    const eval_world *w;
    fidelity_sets sets;
    fidelity_fields fields;
    quantity_distance *quantities;
    flow_consistency consistency[CONSISTENCY_SETS];
} fidelity;

typedef enum metric { JSD, TVD, HELLINGER, METRICS } metric;

static double metric_of(const distances *d, metric m) {
    return m == JSD ? d->jsd : m == TVD ? d->tvd : d->hellinger;
}

static const char *group_name(const fidelity *f, size_t g) {
    return g == f->sets.ngroups ? "all classes" : g == f->w->nlabels ? "no label" : f->w->label[g];
}

/* Groups without any flow on one of the sides have no row. */
static bool group_shown(const fidelity *f, size_t g) {
    for (int k = 0; k < SIDE_COUNT; k++)
        if (fidelity_known(&f->sets, (fidelity_side)k, g))
            return true;
    return g < f->w->nlabels || g == f->sets.ngroups;
}

static const char *why_nothing(const fidelity *f, size_t g) {
    const grouped_set *held = &f->sets.set[HELD_OUT];
    bool real = g < f->sets.ngroups ? held->start[g + 1] > held->start[g] : held->start[f->sets.ngroups] > 0;
    return real ? "no such flows" : "no held-out flows";
}

typedef distances (*distances_of)(const fidelity *f, size_t g, field_scope scope, fidelity_side k);

static distances over_fields(const fidelity *f, size_t g, field_scope scope, fidelity_side k) {
    return fidelity_fields_mean(&f->fields, g, scope, k);
}

static distances over_bits(const fidelity *f, size_t g, field_scope scope, fidelity_side k) {
    return f->fields.bits[(g * SCOPE_COUNT + scope) * SIDE_COUNT + k];
}

/* Whatever the scope: its fields are its own. */
static distances over_present(const fidelity *f, size_t g, field_scope scope, fidelity_side k) {
    (void)scope;
    return fidelity_present_mean(&f->fields, g, k);
}

static void put_distances(report_table *t, const fidelity *f, size_t g, field_scope scope, distances_of of) {
    for (int m = 0; m < METRICS; m++)
        for (int k = 0; k < SIDE_COUNT; k++) {
            distances d = of(f, g, scope, (fidelity_side)k);
            if (fidelity_known(&f->sets, (fidelity_side)k, g))
                report_number(t, metric_of(&d, (metric)m));
            else
                report_nothing(t, why_nothing(f, g));
        }
}

/* The plain mean over the classes that are in the total: larger than the total's, for classes are not mixed. */
static void put_class_mean(report_table *t, const fidelity *f, distances_of of) {
    report_row(t, "mean of classes");
    for (int m = 0; m < METRICS; m++)
        for (int k = 0; k < SIDE_COUNT; k++) {
            double sum = 0, n = 0;
            for (size_t g = 0; g < f->sets.ngroups; g++) {
                if (!f->sets.shared[g] || !fidelity_known(&f->sets, (fidelity_side)k, g))
                    continue;
                distances d = of(f, g, SCOPE_ALL, (fidelity_side)k);
                sum += metric_of(&d, (metric)m);
                n++;
            }
            if (n > 0)
                report_number(t, sum / n);
            else
                report_nothing(t, "no class on both sides");
        }
}

/* Published for random values, over all features of the paper. Whether these are bits or fields is not known here, so
 * the row stands below both tables. */
static void put_published(report_table *t) {
    static const double random[METRICS] = {0.82, 0.99, 0.95};
    report_row_published(t, "random, all features", "NetDiffusion, PACMMACS 8(1) art. 11, Table 3");
    for (int m = 0; m < METRICS; m++)
        for (int k = 0; k < SIDE_COUNT; k++) {
            if (k == RANDOM)
                report_number(t, random[m]);
            else
                report_nothing(t, "not quoted");
        }
}

static void put_distance_table(report *r, const fidelity *f, const char *id, const char *title, distances_of of,
                               bool values) {
    static const char *const columns[] = {
        "fields",       "JSD floor",  "JSD synthetic", "JSD marginal", "JSD random",  "TVD floor", "TVD synthetic",
        "TVD marginal", "TVD random", "HD floor",      "HD synthetic", "HD marginal", "HD random",
    };
    static const char *const scopes[SCOPE_COUNT] = {"all fields", "without identifiers", "protocol"};
    report_table *t = report_table_new(r, id, title, sizeof columns / sizeof *columns, columns, 3, NULL);
    for (int scope = 0; scope < SCOPE_COUNT; scope++) {
        report_row(t, scopes[scope]);
        put_distances(t, f, f->sets.ngroups, (field_scope)scope, of);
    }
    if (values) {
        report_row(t, "a byte or more, where present");
        put_distances(t, f, f->sets.ngroups, SCOPE_ALL, over_present);
    }
    put_class_mean(t, f, of);
    for (size_t g = 0; g < f->sets.ngroups; g++)
        if (group_shown(f, g)) {
            report_row(t, group_name(f, g));
            put_distances(t, f, g, SCOPE_ALL, of);
        }
    put_published(t);
}

static void put_field_table(report *r, const fidelity *f) {
    static const char *const columns[] = {"field", "floor", "synthetic", "marginal", "random"};
    report_table *t = report_table_new(r, "fidelity.field", "Each header field, all classes: JSD to the held-out flows",
                                       5, columns, 3, NULL);
    size_t g = f->sets.ngroups;
    for (size_t i = 0; i < nprint_nfields; i++) {
        report_row(t, nprint_fields[i].name);
        for (int k = 0; k < SIDE_COUNT; k++) {
            if (fidelity_known(&f->sets, (fidelity_side)k, g))
                report_number(t, f->fields.field[(g * nprint_nfields + i) * SIDE_COUNT + k].jsd);
            else
                report_nothing(t, why_nothing(f, g));
        }
    }
}

static const quantity_distance *quantity_at(const fidelity *f, size_t g, size_t q, size_t k) {
    return &f->quantities[(g * QUANTITY_COUNT + q) * SIDE_COUNT + k];
}

static void put_quantity(report_table *t, const quantity_distance *d, bool wasserstein) {
    if (d->known > 0)
        report_number(t, wasserstein ? d->wasserstein : d->jsd);
    else
        report_nothing(t, "nothing observed on one side");
}

static void put_quantities(report *r, const fidelity *f) {
    static const char *const columns[] = {
        "quantity",           "Wasserstein floor", "Wasserstein synthetic", "Wasserstein marginal",
        "Wasserstein random", "JSD floor",         "JSD synthetic",         "JSD marginal",
        "JSD random"};
    report_table *t = report_table_new(r, "fidelity.quantity",
                                       "Sizes, times and lengths, all classes: distance to the held-out flows",
                                       sizeof columns / sizeof *columns, columns, 3, NULL);
    for (size_t q = 0; q < QUANTITY_COUNT; q++) {
        report_row(t, fidelity_quantity_titles[q]);
        for (int wasserstein = 1; wasserstein >= 0; wasserstein--)
            for (size_t k = 0; k < SIDE_COUNT; k++)
                put_quantity(t, quantity_at(f, f->sets.ngroups, q, k), wasserstein);
    }
}

static void put_quantities_by_class(report *r, const fidelity *f) {
    static const char *const columns[] = {"class",         "size floor",   "size synthetic",  "gap floor",
                                          "gap synthetic", "length floor", "length synthetic"};
    static const fidelity_quantity shown[] = {QUANTITY_SIZE, QUANTITY_GAP, QUANTITY_LENGTH};
    report_table *t =
        report_table_new(r, "fidelity.quantity_class",
                         "By class: Wasserstein distance of packet size (bytes), gap (log10 s), flow length (packets)",
                         sizeof columns / sizeof *columns, columns, 3, NULL);
    for (size_t g = 0; g < f->sets.ngroups; g++) {
        if (!group_shown(f, g))
            continue;
        report_row(t, group_name(f, g));
        for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
            for (size_t k = FLOOR; k <= SYNTHETIC; k++)
                put_quantity(t, quantity_at(f, g, shown[i], k), true);
    }
}

static void put_consistency(report *r, const fidelity *f) {
    static const char *const columns[] = {"flows", "address pairs", "port pairs",
                                          "TTLs",  "steady (%)",    "seq follows (%)"};
    report_table *t = report_table_new(
        r, "fidelity.consistency", "Within flows: distinct values per direction, and TCP rows that go on from the last",
        sizeof columns / sizeof *columns, columns, 2, NULL);
    for (size_t i = 0; i < CONSISTENCY_SETS; i++) {
        const flow_consistency *c = &f->consistency[i];
        static const char *const names[CONSISTENCY_SETS] = {"train",         "held out", "synthetic",
                                                            "before repair", "marginal", "random"};
        report_row(t, names[i]);
        report_share(t, 1, c->addresses, c->directions, "no flows");
        report_share(t, 1, c->ports, c->with_ports, "no TCP or UDP");
        report_share(t, 1, c->ttls, c->directions, "no flows");
        report_share(t, 100, c->steady, c->directions, "no flows");
        report_share(t, 100, c->tcp_following, c->tcp_rows, "no TCP rows");
    }
}

/* "NAME" of the synthetic flows, "NAME.SIDE" of the others. */
static void put_value(report *r, const char *name, fidelity_side k, double value) {
    char text[64];
    snprintf(text, sizeof text, k == SYNTHETIC ? "%s" : "%s.%s", name, side_names[k]);
    report_value(r, text, value);
}

static void put_distance_values(report *r, const fidelity *f, fidelity_side k) {
    size_t g = f->sets.ngroups;
    distances all = over_fields(f, g, SCOPE_ALL, k), plain = over_fields(f, g, SCOPE_PLAIN, k);
    distances present = over_present(f, g, SCOPE_ALL, k), protocol = over_fields(f, g, SCOPE_PROTOCOL, k),
              bits = over_bits(f, g, SCOPE_ALL, k);
    if (!fidelity_known(&f->sets, k, g))
        return;
    if (k == SYNTHETIC) {
        report_value(r, "jsd.all", all.jsd);
        report_value(r, "tvd.all", all.tvd);
        report_value(r, "hd.all", all.hellinger);
    } else {
        put_value(r, "jsd", k, all.jsd);
        put_value(r, "tvd", k, all.tvd);
        put_value(r, "hd", k, all.hellinger);
    }
    put_value(r, "jsd.plain", k, plain.jsd);
    put_value(r, "jsd.present", k, present.jsd);
    put_value(r, "jsd.protocol", k, protocol.jsd);
    put_value(r, "jsd.bits", k, bits.jsd);
    for (size_t q = 0; q < QUANTITY_COUNT; q++) {
        const quantity_distance *d = quantity_at(f, g, q, k);
        char name[64];
        if (!(d->known > 0))
            continue;
        snprintf(name, sizeof name, "wasserstein.%s", fidelity_quantity_names[q]);
        put_value(r, name, k, d->wasserstein);
        snprintf(name, sizeof name, "jsd.%s", fidelity_quantity_names[q]);
        put_value(r, name, k, d->jsd);
    }
}

static void put_consistency_values(report *r, const fidelity *f) {
    static const struct {
        size_t set;
        const char *suffix;
    } shown[] = {{2, ""}, {1, ".held_out"}};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        const flow_consistency *c = &f->consistency[shown[i].set];
        char name[64];
        snprintf(name, sizeof name, "consistency.steady%s", shown[i].suffix);
        if (c->directions > 0)
            report_value(r, name, c->steady / c->directions);
        snprintf(name, sizeof name, "consistency.seq%s", shown[i].suffix);
        if (c->tcp_rows > 0)
            report_value(r, name, c->tcp_following / c->tcp_rows);
    }
}

static status put_all(report *r, const fidelity *f) {
    report_section(r, "fidelity", "Fidelity",
                   "Distances to real flows of runs that were held out of training, 0 (equal) to 1 (nothing in "
                   "common). The floor is that of the training flows: what a perfect generator would reach. Marginal "
                   "draws each field by itself from its class's training values, random draws every bit. "
                   "Published figures are on other data and by the paper's own definitions.");
    put_distance_table(r, f, "fidelity.values", "Header fields by value, a missing header counting as a value",
                       over_fields, true);
    put_distance_table(r, f, "fidelity.bits", "Header bits: 1, 0 or vacant", over_bits, false);
    put_field_table(r, f);
    put_quantities(r, f);
    put_quantities_by_class(r, f);
    put_consistency(r, f);
    for (int k = 0; k < SIDE_COUNT; k++)
        put_distance_values(r, f, (fidelity_side)k);
    put_consistency_values(r, f);
    return report_status(r);
}

status part_fidelity(const eval_world *w, report *r) {
    fidelity f = {.w = w};
    status st = comm_agree(w->c, fidelity_sets_open(w, &f.sets));
    if (!st)
        st = fidelity_fields_measure(&f.sets, w, &f.fields);
    if (!st)
        st = fidelity_quantities_measure(&f.sets, w, &f.quantities);
    if (!st)
        st = fidelity_consistency_measure(w, f.consistency);
    if (!st && r)
        st = put_all(r, &f);
    memory_free(&f.quantities);
    fidelity_fields_clear(&f.fields);
    fidelity_sets_close(&f.sets);
    return comm_agree(w->c, st);
}
