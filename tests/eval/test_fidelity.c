/* Fidelity: weights of classes, known distances, the order floor <= marginal <= random on made-up flows and on the
 * sample captures, and consistency in flows written by hand. */
#include "eval/fidelity_flows.h"
#include <math.h>
#include <stdio.h>

#include "eval/parts.h"
#include "io/capture.h"

/* ---- distances of worlds ---- */

typedef struct measured {
    fidelity_sets sets;
    fidelity_fields fields;
    quantity_distance *quantities;
} measured;

static void measure(const eval_world *w, measured *m) {
    assert_int_equal(fidelity_sets_open(w, &m->sets), ST_OK);
    assert_int_equal(fidelity_fields_measure(&m->sets, w, &m->fields), ST_OK);
    assert_int_equal(fidelity_quantities_measure(&m->sets, w, &m->quantities), ST_OK);
}

static void measured_clear(measured *m) {
    memory_free(&m->quantities);
    fidelity_fields_clear(&m->fields);
    fidelity_sets_close(&m->sets);
}

static const quantity_distance *quantity(const measured *m, size_t g, fidelity_quantity q, fidelity_side k) {
    return &m->quantities[(g * QUANTITY_COUNT + q) * SIDE_COUNT + k];
}

/* The same flows, but one class thrice: nothing of that is seen in the total. */
static void class_mix_does_not_count(void **state) {
    eval_world w = world_make(class_names, CLASSES);
    measured m;
    fill(&w.held_out, 20, 20, 1);
    fill(&w.train, 20, 20, 1);
    for (int i = 0; i < 3; i++)
        fill(&w.synthetic, 20, i ? 0 : 20, 1);

    measure(&w, &m);
    assert_true(m.sets.any_shared && m.sets.shared[WEB] && m.sets.shared[VOICE] && !m.sets.shared[CLASSES]);
    for (int k = FLOOR; k <= SYNTHETIC; k++) {
        distances d = fidelity_fields_mean(&m.fields, m.sets.ngroups, SCOPE_ALL, (fidelity_side)k);
        assert_true(d.jsd < 1e-12 && d.tvd < 1e-12 && d.hellinger < 1e-6); /* root of rounding */
        for (size_t q = 0; q < QUANTITY_COUNT; q++) {
            assert_true(quantity(&m, m.sets.ngroups, (fidelity_quantity)q, (fidelity_side)k)->known == 1);
            assert_true(quantity(&m, m.sets.ngroups, (fidelity_quantity)q, (fidelity_side)k)->wasserstein < 1e-9);
        }
        assert_true(m.fields.bits[(m.sets.ngroups * SCOPE_COUNT) * SIDE_COUNT + k].jsd < 1e-12);
    }
    assert_false(fidelity_known(&m.sets, MARGINAL, m.sets.ngroups));
    measured_clear(&m);
    world_clear(&w);
}

/* Classes that share nothing: no weights, all flows as they are. Without held-out flows: nothing known. */
static void unlike_labels(void **state) {
    eval_world w = world_make(class_names, CLASSES);
    measured m;
    fill(&w.held_out, 10, 0, 1);
    fill(&w.synthetic, 10, 0, 1);
    for (size_t i = 0; i < w.synthetic.n; i++)
        w.synthetic.flows[i].f.label = -1;
    measure(&w, &m);
    assert_false(m.sets.any_shared);
    assert_false(fidelity_known(&m.sets, SYNTHETIC, WEB));
    assert_false(fidelity_known(&m.sets, SYNTHETIC, CLASSES));
    assert_true(fidelity_known(&m.sets, SYNTHETIC, m.sets.ngroups));
    assert_true(fidelity_fields_mean(&m.fields, m.sets.ngroups, SCOPE_ALL, SYNTHETIC).jsd == 0);
    measured_clear(&m);
    set_clear(&w.held_out);
    measure(&w, &m);
    assert_false(fidelity_known(&m.sets, SYNTHETIC, m.sets.ngroups));
    measured_clear(&m);
    world_clear(&w);
}

static void known_distances(void **state) {
    eval_world w = world_make(class_names, 1);
    measured m;
    eval_set *const sets[] = {&w.held_out, &w.synthetic};
    for (int k = 0; k < 2; k++) { /* synthetic: 10 bytes more, half the gap, TTL 63 in one packet of two */
        flow f;
        flow_init(&f);
        f.label = 0;
        for (int i = 0; i < 2; i++) {
            packet p = ip_packet(PROTO_UDP, 28, k ? 110 : 100, 1, 2);
            p.header[8] = (uint8_t)(64 - (k && i));
            add_packet(&f, p, k ? 0.5 : 1);
        }
        set_add(sets[k], &f, WINDOW);
    }
    w.synthetic.flows[0].packets = 5; /* of which the window holds two */
    measure(&w, &m);
    size_t all = m.sets.ngroups;
    assert_true(quantity(&m, all, QUANTITY_SIZE, SYNTHETIC)->wasserstein == 10);
    assert_true(quantity(&m, all, QUANTITY_SECONDS, SYNTHETIC)->wasserstein == 0.5);
    assert_true(fabs(quantity(&m, all, QUANTITY_GAP, SYNTHETIC)->wasserstein - log10(2)) < 1e-15);
    assert_true(quantity(&m, all, QUANTITY_GAP, SYNTHETIC)->jsd == 1);
    assert_true(quantity(&m, all, QUANTITY_BYTES, SYNTHETIC)->wasserstein == 20);
    assert_true(quantity(&m, all, QUANTITY_LENGTH, SYNTHETIC)->wasserstein == 3);
    assert_true(quantity(&m, all, QUANTITY_WINDOW, SYNTHETIC)->wasserstein == 0);
    assert_true(quantity(&m, all, QUANTITY_SIZE, FLOOR)->known == 0); /* no training flows */
    const distances *ttl = &m.fields.field[(all * nprint_nfields + field_number("ipv4_ttl")) * SIDE_COUNT + SYNTHETIC];
    assert_true(ttl->tvd == 0.5 && fabs(ttl->jsd - 0.31127812445913283) < 1e-14);
    assert_true(ttl->tvd ==
                m.fields.field[(0 * nprint_nfields + field_number("ipv4_ttl")) * SIDE_COUNT + SYNTHETIC].tvd);
    const present_distance *seq = &m.fields.present[(all * nprint_nfields + field_number("tcp_seq")) * SIDE_COUNT];
    assert_true(seq[SYNTHETIC].known == 0);
    /* TTL: 64 = 01000000, 63 = 00111111, so 7 bits of 1088 differ in half of the packets; length: 128 = 10000000 and
     * 138 = 10001010, two of 16 in all; UDP length is unset */
    distances bits = m.fields.bits[(all * SCOPE_COUNT + SCOPE_ALL) * SIDE_COUNT + SYNTHETIC];
    assert_true(fabs(bits.tvd - (7 * 0.5 + 2) / NPRINT_COLUMNS) < 1e-14);
    measured_clear(&m);
    world_clear(&w);
}

static void log_bins(void **state) {
    const struct {
        double log10_x;
        size_t bin;
    } rows[] = {{-INFINITY, 0}, {-9, 0},      {-6, 0},   {-5.85, 1}, {0, 60},        {3, 90},
                {3.05, 90},     {13.95, 199}, {14, 200}, {300, 200}, {INFINITY, 200}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(fidelity_log_bin(rows[i].log10_x), rows[i].bin);
}

/* The figures must put things in order: other real flows at the floor, then the marginal control (every field from the
 * right values, so near the floor in single fields), then random bytes. slack: by how much sampling may move the floor.
 */
static void assert_order(const eval_world *w, double slack) {
    measured m;
    measure(w, &m);
    size_t all = m.sets.ngroups;
    for (int scope = 0; scope < SCOPE_PROTOCOL; scope++) {
        double jsd[SIDE_COUNT], bits[SIDE_COUNT];
        for (int k = 0; k < SIDE_COUNT; k++) {
            jsd[k] = fidelity_fields_mean(&m.fields, all, (field_scope)scope, (fidelity_side)k).jsd;
            bits[k] = m.fields.bits[(all * SCOPE_COUNT + (size_t)scope) * SIDE_COUNT + (size_t)k].jsd;
        }
        assert_true(fabs(jsd[SYNTHETIC] - jsd[FLOOR]) <= slack);
        assert_true(jsd[MARGINAL] >= jsd[FLOOR] - slack);
        assert_true(jsd[MARGINAL] < 0.75 * jsd[RANDOM]);
        assert_true(jsd[SYNTHETIC] < jsd[RANDOM]);
        assert_true(bits[SYNTHETIC] < 0.2 * bits[RANDOM] && bits[MARGINAL] < 0.2 * bits[RANDOM]);
    }
    distances random = fidelity_present_mean(&m.fields, all, RANDOM);
    assert_true(random.jsd > 0.8 && random.jsd < 0.99 && random.tvd > 0.8 && random.hellinger > 0.8);
    assert_true(fidelity_present_mean(&m.fields, all, SYNTHETIC).jsd < random.jsd);
    assert_true(quantity(&m, all, QUANTITY_SIZE, SYNTHETIC)->wasserstein <
                0.05 * quantity(&m, all, QUANTITY_SIZE, RANDOM)->wasserstein);
    measured_clear(&m);
}

static void assert_consistency_order(const eval_world *w) {
    flow_consistency c[CONSISTENCY_SETS];
    double steady[CONSISTENCY_SETS], follows[CONSISTENCY_SETS];
    assert_int_equal(fidelity_consistency_measure(w, c), ST_OK);
    for (size_t i = 0; i < CONSISTENCY_SETS; i++) {
        assert_int_equal(c[i].flows, fidelity_consistency_set(w, i)->n);
        steady[i] = c[i].directions > 0 ? c[i].steady / c[i].directions : -1;
        follows[i] = c[i].tcp_rows > 0 ? c[i].tcp_following / c[i].tcp_rows : -1;
    }
    for (size_t i = 0; i < 3; i++) { /* train, held out, synthetic: all real */
        assert_true(steady[i] > 0.95 && follows[i] > 0.9);
        assert_true(steady[i] > 2 * steady[4] && steady[i] > 2 * steady[5]);
        assert_true(follows[i] > 2 * follows[4] && follows[i] > 2 * follows[5]);
    }
}

static void order_of_made_up_flows(void **state) {
    eval_world w = world_make(class_names, CLASSES);
    fill(&w.train, 150, 100, 11);
    fill(&w.held_out, 150, 100, 12);
    fill(&w.synthetic, 150, 100, 13);
    make_controls(&w);
    assert_order(&w, 0.01);
    assert_consistency_order(&w);
    world_clear(&w);
}

static void part_gives_its_figures(void **state) {
    eval_world w = world_make(class_names, CLASSES);
    report *r = NULL;
    char *const hold[] = {"jsd.all<=0.3",        "jsd.floor<=0.3",       "tvd.all<0.4",          "hd.all<0.5",
                          "jsd.protocol<=1e-12", "jsd.random>0.3",       "wasserstein.size<100", "wasserstein.gap<0.2",
                          "jsd.size<0.1",        "consistency.seq>0.99", "jsd.marginal<0.35"};
    char *const fails[] = {"jsd.all<=1e-6"};
    fill(&w.train, 30, 30, 11);
    fill(&w.held_out, 30, 30, 12);
    fill(&w.synthetic, 30, 30, 13);
    make_controls(&w);
    if (comm_rank(everyone) == 0)
        assert_int_equal(report_new(&r, "test"), ST_OK);
    assert_int_equal(part_fidelity(&w, r), ST_OK);
    if (r) {
        assert_int_equal(report_check(r, sizeof hold / sizeof *hold, hold), ST_OK);
        assert_int_equal(report_check(r, 1, fails), ST_RANGE);
    }
    report_free(&r);
    set_clear(&w.held_out); /* nothing to compare with: a report without figures, not an error */
    if (comm_rank(everyone) == 0)
        assert_int_equal(report_new(&r, "test"), ST_OK);
    assert_int_equal(part_fidelity(&w, r), ST_OK);
    if (r)
        assert_int_equal(report_check(r, 1, hold), ST_USAGE);
    report_free(&r);
    world_clear(&w);
}

/* ---- sample captures ---- */

enum { BY_TCP, BY_UDP, BY_ICMP };
static char *const protocol_names[] = {"tcp", "udp", "icmp"};

static void read_capture(const char *name, size_t from, size_t step, eval_set *to) {
    char path[4096];
    const char *source = getenv("ND_SOURCE");
    capture *c = NULL;
    capture_record record;
    flow_table *t = NULL;
    bool end = false;
    snprintf(path, sizeof path, "%s/data/sample/%s", source ? source : ".", name);
    assert_int_equal(capture_open(&c, path), ST_OK);
    assert_int_equal(flow_table_new(&t, 0), ST_OK);
    while (capture_next(c, &record, &end) == ST_OK && !end) {
        packet p = {.time_ns = record.time_ns};
        size_t number;
        if (packet_decode(capture_link_type(c), record.bytes, record.caplen, record.wire_len, &p) == SKIP_NONE)
            assert_int_equal(flow_table_add(t, &p, &number), ST_OK);
    }
    assert_true(end);
    for (size_t i = from; i < flow_table_count(t); i += step) {
        flow *f = flow_table_get(t, i);
        f->label = f->key.proto == PROTO_TCP ? BY_TCP : f->key.proto == PROTO_UDP ? BY_UDP : BY_ICMP;
        set_add(to, f, WINDOW);
        f->packets = NULL;
        f->npackets = f->capacity = 0;
    }
    flow_table_free(&t);
    capture_close(&c);
}

/* Half of run 1 held out, a quarter each as training and as synthetic flows: one wire, so one floor. */
static void order_of_sample_captures(void **state) {
    eval_world w = world_make(protocol_names, 3);
    read_capture("run1.pcap.gz", 0, 2, &w.held_out);
    read_capture("run1.pcap.gz", 1, 4, &w.train);
    read_capture("run1.pcap.gz", 3, 4, &w.synthetic);
    assert_true(w.held_out.n > 80 && w.train.n > 40 && w.synthetic.n > 40);
    make_controls(&w);
    assert_order(&w, 0.03);
    assert_consistency_order(&w);
    world_clear(&w);
}

/* ---- consistency ---- */

static void consistency_by_hand(void **state) {
    flow_consistency c = {0};
    sample values = {0};
    flow f;
    const struct {
        unsigned dir;
        uint32_t seq;
        unsigned flags, npayload;
        bool follows;
    } rows[] = {
        {0, UINT32_MAX, TCP_SYN, 0, false},    /* the first of its direction is no row to test */
        {1, 500, TCP_SYN | TCP_ACK, 0, false}, /* so is this */
        {0, 0, TCP_ACK, 100, true},            /* SYN counts as one, past 2^32 */
        {0, 100, TCP_ACK, 50, true},
        {0, 100, TCP_ACK, 50, false}, /* retransmission */
        {1, 501, TCP_ACK | TCP_FIN, 10, true},
        {1, 512, TCP_ACK, 0, true}, /* FIN counts as one */
        {1, 511, TCP_ACK, 0, false},
    };
    flow_init(&f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        add_packet(&f, tcp_packet(rows[i].dir, rows[i].seq, rows[i].flags, rows[i].npayload), 0.1);
    f.packets[3].header[8] = 60;          /* a second TTL in direction 0 */
    put16(f.packets[7].header + 20, 444); /* a second port pair in direction 1 */
    assert_int_equal(fidelity_consistency_add(&f, &values, &c), ST_OK);
    assert_int_equal(c.flows, 1);
    assert_int_equal(c.directions, 2);
    assert_int_equal(c.addresses, 2);
    assert_int_equal(c.ttls, 3);
    assert_int_equal(c.with_ports, 2);
    assert_int_equal(c.ports, 3);
    assert_int_equal(c.steady, 0);
    assert_int_equal(c.tcp_rows, 6);
    assert_int_equal(c.tcp_following, 4);
    flow_clear(&f);

    c = (flow_consistency){0}; /* one direction, no ports */
    add_packet(&f, ip_packet(PROTO_ICMP, 28, 0, 1, 2), 0);
    assert_int_equal(fidelity_consistency_add(&f, &values, &c), ST_OK);
    assert_true(c.directions == 1 && c.with_ports == 0 && c.ports == 0 && c.steady == 1 && c.tcp_rows == 0);
    flow_clear(&f);
    sample_clear(&values);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(class_mix_does_not_count), cmocka_unit_test(unlike_labels),
        cmocka_unit_test(known_distances),          cmocka_unit_test(log_bins),
        cmocka_unit_test(order_of_made_up_flows),   cmocka_unit_test(part_gives_its_figures),
        cmocka_unit_test(order_of_sample_captures), cmocka_unit_test(consistency_by_hand),
    };
    status st = comm_open(&everyone);
    int failed = st ? 0 : cmocka_run_group_tests(tests, NULL, NULL);
    int code = comm_finish(&everyone, st);
    return failed ? 1 : code;
}
