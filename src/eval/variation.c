/* Part "variation" of the report: bit differences between flows of one label (appendix A of the NetDiffusion paper),
 * and variants of the model side by side (appendix B: base, LoRA, LoRA with ControlNet). */
#include "eval/variation_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "eval/parts.h"

enum { BITS_SETS = 3 };

typedef struct variant {
    const char *name;
    const char *path;    /* dataset to read, or NULL: */
    const eval_set *set; /* in memory */
    const eval_set *raw; /* its flows before repair, NULL where there are none or they are in a file */
} variant;

/* All doubles, so that ranks exchange them as one block. */
typedef struct variant_result {
    variation_figures clean;
    double rows_raw, rows_raw_valid; /* before repair; 0 rows: not known */
} variant_result;

/* raw.h5 beside the variant's dataset, as ndgen writes it. Caller frees. */
static char *raw_path(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? text_format("%.*s/raw.h5", (int)(slash - path), path) : text_copy("raw.h5");
}

static status measure_raw(const variation_real *real, const eval_set *raw, variant_result *r) {
    variation_figures figures;
    TRY(variation_figures_measure(real, raw, &figures));
    r->rows_raw = figures.rows;
    r->rows_raw_valid = figures.rows_valid;
    return ST_OK;
}

static status measure_file(const eval_world *w, const variation_real *real, const char *path, variant_result *r) {
    eval_set set = {0}, raw = {0};
    char *beside = raw_path(path);
    status st = variation_read(w, path, &set);
    if (!st)
        st = variation_figures_measure(real, &set, &r->clean);
    if (!st && strcmp(beside, path) && file_exists(beside)) {
        st = variation_read(w, beside, &raw);
        if (!st && raw.n == set.n) /* else of another run */
            st = measure_raw(real, &raw, r);
    }
    variation_clear(&set);
    variation_clear(&raw);
    free(beside);
    return st;
}

static status measure_variant(const eval_world *w, const variation_real *real, const variant *v, variant_result *r) {
    if (v->path)
        return measure_file(w, real, v->path, r);
    TRY(variation_figures_measure(real, v->set, &r->clean));
    return v->raw && v->raw->n ? measure_raw(real, v->raw, r) : ST_OK;
}

/* Shared among the ranks by variant; the sum is everybody's. */
static status measure_variants(const eval_world *w, const variant *variants, size_t n, variant_result *r) {
    variation_real real = {0};
    status st = variation_real_open(w, &real);
    for (size_t i = 0; i < n && !st; i++)
        if (world_mine(w, i))
            st = measure_variant(w, &real, &variants[i], &r[i]);
    variation_real_close(&real);
    st = comm_agree(w->c, st);
    if (!st)
        st = comm_sum_f64(w->c, (double *)r, n * sizeof *r / sizeof(double));
    return st;
}

static void row_variant(report_table *t, const char *name, const variant_result *v) {
    const variation_figures *c = &v->clean;
    double sum = 0;
    report_row(t, name);
    report_number(t, c->flows);
    report_share(t, 1, v->rows_raw_valid, v->rows_raw, "no flows before repair");
    report_share(t, 1, c->rows_valid, c->rows, "no flows");
    for (size_t q = 0; q < HISTOGRAMS; q++) {
        if (c->labels > 0)
            report_number(t, c->jsd[q]);
        else
            report_nothing(t, "no label in common with held out");
        sum += c->jsd[q];
    }
    report_share(t, 1, sum / HISTOGRAMS, c->labels > 0, "no label in common with held out");
    report_share(t, 1, c->usual, c->placed, "no label in common with train");
}

static void table_variants(report *r, const eval_world *w, const variant *variants, size_t n,
                           const variant_result *results) {
    const char *columns[] = {
        "",    "flows",    "rows valid before repair", "rows valid", "JSD protocol", "size", "direction", "gap",
        "TTL", "JSD mean", "usual direction"};
    enum { COLUMNS = sizeof columns / sizeof *columns };
    report_table *t = report_table_new(
        r, "variation.variants",
        "Variants: JSD to held-out flows (mean over labels), rows in their label's usual direction", COLUMNS, columns,
        3, "ndgen CONFIG gen.variants=base,lora,control; ndeval CONFIG gen.variants=base,lora,control");
    for (size_t i = 0; i < n; i++)
        row_variant(t, variants[i].name, &results[i]);
    if (w->e->eval.variants.n + w->e->gen.variants.n == 0) {
        report_row(t, "other variants");
        for (size_t i = 1; i < COLUMNS; i++)
            report_nothing(t, "none asked for: gen.variants makes them, eval.variants (NAME:DATASET,...) names others");
    }
}

static void cell_bits(report_table *t, const variation_bits *b) {
    report_share(t, 1, b->share, b->pairs, "no pair of flows has such bits");
}

/* bits: (BITS_SETS, nlabels + 1, variation_ngroups + 1), the last label being all. */
static void table_fields(report *r, const eval_world *w, const variation_bits *bits) {
    const char *columns[] = {"", "synthetic", "real train", "real held out", "synthetic - train"};
    report_table *t =
        report_table_new(r, "variation.fields", "Share of bits that differ between two flows of one label, by field", 5,
                         columns, 3, NULL);
    size_t per_label = variation_ngroups + 1, per_set = (w->nlabels + 1) * per_label;
    for (size_t g = 0; g <= variation_ngroups; g++) {
        const variation_bits *b = bits + w->nlabels * per_label + g;
        bool any = b[0].pairs > 0 || b[per_set].pairs > 0 || b[2 * per_set].pairs > 0;
        if (!any && g < variation_ngroups)
            continue; /* a header that no flow has */
        report_row(t, g < variation_ngroups ? variation_groups[g].title : "all bits");
        for (size_t s = 0; s < BITS_SETS; s++)
            cell_bits(t, b + s * per_set);
        if (b[0].pairs > 0 && b[per_set].pairs > 0)
            report_number(t, b[0].share / b[0].pairs - b[per_set].share / b[per_set].pairs);
        else
            report_nothing(t, "not on both sides");
    }
}

static void table_labels(report *r, const eval_world *w, const variation_bits *bits) {
    const char *columns[] = {"", "synthetic", "real train", "real held out"};
    report_table *t = report_table_new(
        r, "variation.labels", "Share of all bits that differ between two flows of one label", 4, columns, 3, NULL);
    size_t per_label = variation_ngroups + 1, per_set = (w->nlabels + 1) * per_label;
    for (size_t l = 0; l < w->nlabels; l++) {
        report_row(t, w->label[l]);
        for (size_t s = 0; s < BITS_SETS; s++)
            cell_bits(t, bits + s * per_set + l * per_label + variation_ngroups);
    }
}

/* Shared among the ranks by (set, label). */
static status measure_bits(const eval_world *w, variation_bits *bits) {
    const eval_set *set[BITS_SETS] = {&w->synthetic, &w->train, &w->held_out};
    size_t per_label = variation_ngroups + 1, per_set = (w->nlabels + 1) * per_label;
    status st = ST_OK;
    for (size_t i = 0; i < BITS_SETS * w->nlabels && !st; i++) {
        size_t s = i / w->nlabels, l = i % w->nlabels;
        if (world_mine(w, i))
            st = variation_bits_measure(w, set[s], l, bits + s * per_set + l * per_label);
    }
    TRY(comm_agree(w->c, st));
    TRY(comm_sum_f64(w->c, (double *)bits, BITS_SETS * per_set * sizeof *bits / sizeof(double)));
    for (size_t s = 0; s < BITS_SETS; s++) {
        variation_bits *all = bits + s * per_set + w->nlabels * per_label;
        for (size_t i = 0; i < w->nlabels * per_label; i++) {
            all[i % per_label].pairs += bits[s * per_set + i].pairs;
            all[i % per_label].share += bits[s * per_set + i].share;
        }
    }
    return ST_OK;
}

/* The world's own sets, then those of the configuration; generated: gen.variants.n texts that the caller frees. */
static void list_variants(const eval_world *w, char **generated, variant *v) {
    const text_map *map = &w->e->eval.variants;
    const text_list *less = &w->e->gen.variants;
    size_t n = 0;
    v[n++] = (variant){"real train", NULL, &w->train, NULL};
    v[n++] = (variant){"synthetic", NULL, &w->synthetic, &w->raw};
    for (size_t i = 0; i < less->n; i++) {
        generated[i] = text_format("%s/variants/%s/dataset.h5", w->e->gen.dir, less->item[i]);
        v[n++] = (variant){less->item[i], generated[i], NULL, NULL};
    }
    for (size_t i = 0; i < map->n; i++)
        v[n++] = (variant){map->key[i], map->value[i], NULL, NULL};
    v[n++] = (variant){"control: fields of the label, each by itself", NULL, &w->marginal, NULL};
    v[n++] = (variant){"control: random bits", NULL, &w->random, NULL};
}

static void write_part(report *r, const eval_world *w, const variation_bits *bits, const variant *variants, size_t n,
                       const variant_result *results) {
    report_section(r, "variation", "Variation and variants",
                   "Flows of one label should differ from each other as much as real flows do: less is one flow made "
                   "over and over, more is noise. Addresses and counters differ as the generator draws them.");
    table_fields(r, w, bits);
    table_labels(r, w, bits);
    table_variants(r, w, variants, n, results);
    const variation_bits *all = bits + w->nlabels * (variation_ngroups + 1) + variation_ngroups;
    if (all->pairs > 0)
        report_value(r, "variation.bits", all->share / all->pairs);
}

status part_variation(const eval_world *w, report *r) {
    size_t ngenerated = w->e->gen.variants.n, n = w->e->eval.variants.n + ngenerated + 4;
    char **generated = NULL;
    variation_bits *bits = NULL;
    variant *variants = NULL;
    variant_result *results = NULL;
    status st = NEW(BITS_SETS * (w->nlabels + 1) * (variation_ngroups + 1), &bits);
    if (!st)
        st = NEW(n, &variants);
    if (!st)
        st = NEW(n, &results);
    if (!st)
        st = NEW(ngenerated + 1, &generated);
    st = comm_agree(w->c, st);
    if (!st)
        st = measure_bits(w, bits);
    if (!st) {
        list_variants(w, generated, variants);
        st = measure_variants(w, variants, n, results);
    }
    if (!st && comm_rank(w->c) == 0) {
        write_part(r, w, bits, variants, n, results);
        st = report_status(r);
    }
    for (size_t i = 0; generated && i < ngenerated; i++)
        free(generated[i]);
    memory_free(&generated);
    memory_free(&bits);
    memory_free(&variants);
    memory_free(&results);
    return comm_agree(w->c, st);
}
