/* Variation: bit differences against counts by hand, figures of variants, datasets read by label name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>

#include "base/memory.h"
#include "eval/parts.h"
#include "eval/variation_priv.h"
#include "io/dataset.h"
#include "memory_flows.h"

static size_t group_named(const char *title) {
    for (size_t g = 0; g < variation_ngroups; g++)
        if (!strcmp(variation_groups[g].title, title))
            return g;
    fail_msg("no group %s", title);
    return 0;
}

/* A set of one label: `n` times the same flow. */
static void repeat_flow(eval_set *s, size_t n, const eval_flow *f) {
    s->flows = calloc(n, sizeof *s->flows);
    for (s->n = 0; s->n < n; s->n++) {
        flow_init(&s->flows[s->n].f);
        s->flows[s->n].f.label = 0;
        s->flows[s->n].f.key = f->f.key;
        for (size_t k = 0; k < f->f.npackets; k++)
            assert_int_equal(flow_add(&s->flows[s->n].f, &f->f.packets[k]), ST_OK);
    }
}

static void differences_are_shares_of_a_field(void **state) {
    made_world m;
    eval_set s = {0};
    variation_bits *bits = NULL;
    make_world(&m, 1, 1, *state);
    repeat_flow(&s, 2, &m.w.train.flows[0]);
    size_t npackets = s.flows[0].f.npackets, ttl = group_named("IPv4 time to live"), all = variation_ngroups;
    assert_int_equal(NEW(variation_ngroups + 1, &bits), ST_OK);
    assert_int_equal(variation_bits_measure(&m.w, &s, 0, bits), ST_OK);
    for (size_t g = 0; g <= variation_ngroups; g++)
        assert_true(bits[g].share == 0);
    assert_true(bits[all].pairs == 1 && bits[group_named("UDP ports")].pairs == 0);

    for (size_t i = 0; i < npackets; i++)
        s.flows[1].f.packets[i].header[8] ^= 0x11; /* two of eight bits of every TTL */
    memset(bits, 0, (variation_ngroups + 1) * sizeof *bits);
    assert_int_equal(variation_bits_measure(&m.w, &s, 0, bits), ST_OK);
    assert_float_equal(bits[ttl].share, 0.25, 1e-12);
    assert_float_equal(bits[all].share, 2.0 / (8 * MADE_HEADER), 1e-12);
    for (size_t g = 0; g < variation_ngroups; g++)
        assert_true(g == ttl || bits[g].share == 0);

    s.flows[1].f.npackets = npackets / 2; /* what one flow lacks differs in every bit */
    memset(bits, 0, (variation_ngroups + 1) * sizeof *bits);
    assert_int_equal(variation_bits_measure(&m.w, &s, 0, bits), ST_OK);
    double gone = (double)(npackets - npackets / 2) / (double)npackets;
    assert_float_equal(bits[ttl].share, gone + (1 - gone) * 0.25, 1e-12);
    memory_free(&bits);
    clear_set(&s);
    clear_world(&m);
}

static void pairs_are_all_or_a_hundred(void **state) {
    static const struct {
        size_t n;
        double pairs;
    } rows[] = {{0, 0}, {1, 0}, {2, 1}, {5, 10}, {14, 91}, {15, 100}, {60, 100}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        made_world m;
        variation_bits *bits = NULL, *again = NULL;
        make_world(&m, 2 * rows[i].n, 2, *state); /* half of them of label 0 */
        assert_int_equal(NEW(variation_ngroups + 1, &bits), ST_OK);
        assert_int_equal(NEW(variation_ngroups + 1, &again), ST_OK);
        assert_int_equal(variation_bits_measure(&m.w, &m.w.train, 0, bits), ST_OK);
        assert_int_equal(variation_bits_measure(&m.w, &m.w.train, 0, again), ST_OK);
        assert_true(bits[variation_ngroups].pairs == rows[i].pairs);
        assert_memory_equal(bits, again, (variation_ngroups + 1) * sizeof *bits);
        if (rows[i].n > 1) { /* numbers drawn evenly differ in half of their bits, where both flows go on */
            variation_bits b = bits[group_named("TCP sequence number")];
            assert_true(b.share / b.pairs > 0.45 && b.share / b.pairs < 0.9);
        }
        memory_free(&bits);
        memory_free(&again);
        clear_world(&m);
    }
}

/* An IPv6 packet has its own places for length and hop limit, and may be longer than any of IPv4; times may be any. */
static void histograms_of_any_packets(void **state) {
    static histograms h, none;
    packet p[3] = {{.nheader = 48}, {.nheader = 48, .dir = 1}, {.nheader = 28}};
    for (size_t i = 0; i < 2; i++) {
        p[i].header[0] = 0x60;
        put16(p[i].header + 4, i == 0 ? 65535 : 8);
        p[i].header[6] = PROTO_UDP;
        p[i].header[7] = 61;
        p[i].header[8] = 0x20; /* of the source address */
    }
    p[2].header[0] = 0x45;
    put16(p[2].header + 2, 28);
    p[2].header[8] = 64;
    p[2].header[9] = PROTO_ICMP;
    p[0].time_ns = INT64_MIN;
    p[1].time_ns = INT64_MAX;
    p[2].time_ns = INT64_MIN + 1500;
    assert_true(packet_gap(&p[0], &p[1]) == INT64_MAX && packet_gap(&p[1], &p[2]) == INT64_MIN);
    assert_int_equal(packet_gap(&p[0], &p[2]), 1500);
    histograms_add(&h, &(flow){.npackets = 3, .packets = p});
    const struct {
        histogram which;
        size_t bin;
        double count;
    } rows[] = {
        {HISTOGRAM_PROTOCOL, PROTO_UDP, 2},
        {HISTOGRAM_PROTOCOL, PROTO_ICMP, 1},
        {HISTOGRAM_SIZE, HISTOGRAM_BINS - 1, 1},
        {HISTOGRAM_SIZE, 48 / 32, 1},
        {HISTOGRAM_SIZE, 28 / 32, 1},
        {HISTOGRAM_DIRECTION, 0, 2},
        {HISTOGRAM_DIRECTION, 1, 1},
        {HISTOGRAM_TTL, 61, 2},
        {HISTOGRAM_TTL, 64, 1},
        {HISTOGRAM_GAP, 0, 1}, /* backwards */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_float_equal(h.bin[rows[i].which][rows[i].bin], rows[i].count, 0);
    for (int q = 0; q < HISTOGRAMS; q++) {
        double sum = 0;
        for (size_t i = 0; i < HISTOGRAM_BINS; i++)
            sum += h.bin[q][i];
        assert_float_equal(sum, q == HISTOGRAM_GAP ? 2 : 3, 0);
        assert_float_equal(histograms_jsd(&h, &h, (histogram)q), 0, 0);
        assert_float_equal(histograms_jsd(&h, &none, (histogram)q), 1, 0);
    }
}

static void figures_of_a_set(void **state) {
    made_world m;
    variation_real real;
    variation_figures r;
    make_world(&m, 40, 3, *state);
    assert_int_equal(variation_real_open(&m.w, &real), ST_OK);
    assert_int_equal(variation_figures_measure(&real, &m.w.held_out, &r), ST_OK);
    assert_true(r.flows == 40 && r.labels == 2);
    for (size_t q = 0; q < HISTOGRAMS; q++)
        assert_float_equal(r.jsd[q], 0, 1e-12); /* to itself */
    variation_real_close(&real);

    /* Train of one direction: the share that goes that way is counted by hand. */
    double there = 0, packets = 0;
    for (size_t i = 0; i < m.w.train.n; i++)
        for (size_t k = 0; k < m.w.train.flows[i].f.npackets; k++)
            m.w.train.flows[i].f.packets[k].dir = 1;
    for (size_t i = 0; i < m.w.synthetic.n; i++) {
        flow *f = &m.w.synthetic.flows[i].f;
        f->npackets = f->npackets < 10 ? f->npackets : 10; /* every training flow has 10 */
        for (size_t k = 0; k < f->npackets; k++, packets++)
            there += f->packets[k].dir;
        for (size_t k = 0; k < f->npackets; k++)
            f->packets[k].header[8] = 200; /* a TTL that no held-out flow has */
    }
    assert_int_equal(variation_real_open(&m.w, &real), ST_OK);
    assert_int_equal(variation_figures_measure(&real, &m.w.synthetic, &r), ST_OK);
    assert_true(r.placed == packets && r.usual == there && there > 0 && there < packets);
    assert_float_equal(r.jsd[HISTOGRAM_TTL], 1, 1e-12);
    assert_float_equal(r.jsd[HISTOGRAM_PROTOCOL], 0, 1e-12);
    variation_real_close(&real);
    clear_world(&m);
}

/* The same flows as a dataset whose labels are in another order, one of them unknown here. */
static void write_dataset(const eval_set *set, const char *path) {
    char *label[] = {"beta", "gamma", "alpha"}, *none[] = {"", "", ""}, *file[] = {"made"}, *sha[] = {""};
    dataset_tables t = {.nlabels = 3,
                        .label = label,
                        .macro = none,
                        .prompt = none,
                        .nfiles = 1,
                        .file = file,
                        .sha256 = sha,
                        .config = ""};
    dataset *d = NULL;
    assert_int_equal(dataset_create(&d, path, &t, 1), ST_OK);
    for (size_t i = 0; i < set->n; i++) {
        flow f = set->flows[i].f;
        f.label = i == 0 ? 1 : f.label == 0 ? 2 : 0;
        f.file = 0;
        assert_int_equal(dataset_append(d, &f), ST_OK);
    }
    assert_int_equal(dataset_commit(&d), ST_OK);
}

static void variants_are_read_by_label_name(void **state) {
    char folder[] = "/tmp/nd-variation-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = text_format("%s/dataset.h5", folder), *raw = text_format("%s/raw.h5", folder);
    made_world m;
    eval_set s;
    make_world(&m, 10, 4, *state);
    write_dataset(&m.w.synthetic, path);
    write_dataset(&m.w.train, raw);
    m.w.window = 4;
    assert_int_equal(variation_read(&m.w, path, &s), ST_OK);
    assert_true(s.n == 10);
    for (size_t i = 0; i < s.n; i++) {
        assert_int_equal(s.flows[i].f.label, i == 0 ? -1 : m.w.synthetic.flows[i].f.label);
        assert_int_equal(s.flows[i].f.npackets, 4);
        assert_memory_equal(s.flows[i].f.packets[3].header, m.w.synthetic.flows[i].f.packets[3].header, MADE_HEADER);
    }
    variation_clear(&s);
    assert_int_equal(variation_read(&m.w, "/nowhere/dataset.h5", &s), ST_IO);
    variation_clear(&s);

    report *r = NULL;
    char *key[] = {"copy"}, *value[] = {path};
    m.e.eval.variants = (text_map){1, key, value};
    assert_int_equal(report_new(&r, "test"), ST_OK);
    assert_int_equal(part_variation(&m.w, r), ST_OK);
    char *limits[] = {"variation.bits>0", "variation.bits<1"};
    assert_int_equal(report_check(r, 2, limits), ST_OK);
    report_free(&r);

    value[0] = "/nowhere/dataset.h5";
    assert_int_equal(report_new(&r, "test"), ST_OK);
    assert_int_equal(part_variation(&m.w, r), ST_IO);
    report_free(&r);
    m.e.eval.variants = (text_map){0, NULL, NULL};
    assert_int_equal(report_new(&r, "test"), ST_OK);
    assert_int_equal(part_variation(&m.w, r), ST_OK);
    report_free(&r);
    clear_world(&m);
    assert_int_equal(file_remove_tree(folder), ST_OK);
    free(path);
    free(raw);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(differences_are_shares_of_a_field), cmocka_unit_test(pairs_are_all_or_a_hundred),
        cmocka_unit_test(histograms_of_any_packets),         cmocka_unit_test(figures_of_a_set),
        cmocka_unit_test(variants_are_read_by_label_name),
    };
    return cmocka_run_group_tests(tests, open_comm, close_comm);
}
