/* What an evaluation looks at: which flows get into which set, from datasets and from captures, and the controls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "eval/world_priv.h"
#include "io/capture.h"
#include "io/dataset.h"
#include "packet/nprint.h"

static char folder[64], real_path[96], synthetic_path[96];
static comm *job;

/* ---- flows ---- */

/* A flow of n packets a millisecond apart, TCP or UDP; i makes it another one. */
static flow make_flow(unsigned proto, unsigned i, size_t n, int32_t label, int32_t run) {
    flow f;
    flow_init(&f);
    for (size_t k = 0; k < n; k++) {
        packet p = {.nheader = proto == PROTO_TCP ? 40 : 28, .frame = (uint32_t)k, .dir = k % 2};
        unsigned payload = 10 * (unsigned)(k + 1) + i % 7;
        uint8_t *l4 = p.header + 20;
        p.header[0] = 0x45;
        put16(p.header + 2, p.nheader + payload);
        p.header[8] = (uint8_t)(60 + i % 4);
        p.header[9] = (uint8_t)proto;
        put32(p.header + (p.dir ? 16 : 12), 0xc6336400u + i);
        put32(p.header + (p.dir ? 12 : 16), 0xc0000201u);
        put16(l4 + (p.dir ? 2 : 0), 1024 + i);
        put16(l4 + (p.dir ? 0 : 2), proto == PROTO_TCP ? 443 : 53);
        if (proto == PROTO_TCP) {
            l4[12] = 5 << 4;
            l4[13] = TCP_ACK;
        } else {
            put16(l4 + 4, 8 + payload);
        }
        checksum_fill(&p, false);
        p.time_ns = (int64_t)1e18 + (int64_t)i * 1000000000 + (int64_t)k * 1000000;
        p.wire_len = packet_total_len(&p);
        assert_int_equal(flow_add(&f, &p), ST_OK);
    }
    f.key = flow_key_of(&f.packets[0]);
    f.label = label;
    f.run = run;
    return f;
}

typedef struct flow_spec {
    unsigned proto;
    size_t n;
    int32_t label, run;
    uint32_t file;
} flow_spec;

static void write_dataset(const char *path, dataset_tables t, size_t n, const flow_spec *specs) {
    dataset *d = NULL;
    assert_int_equal(dataset_create(&d, path, &t, 1), ST_OK);
    for (size_t i = 0; i < n; i++) {
        flow f = make_flow(specs[i].proto, (unsigned)i, specs[i].n, specs[i].label, specs[i].run);
        f.file = specs[i].file;
        assert_int_equal(dataset_append(d, &f), ST_OK);
        flow_clear(&f);
    }
    assert_int_equal(dataset_commit(&d), ST_OK);
}

/* "ghost" has no flows. web and chat are of one macro class, dns is of none. */
static char *labels[] = {"chat", "dns", "ghost", "web"}, *macros[] = {"talk", "", "talk", "talk"};
static char *prompts[] = {"a", "b", "c", "d"}, *files[] = {"a.pcap", "b.pcap"}, *runs[] = {"1", "2"};
static char *sha256[] = {"11", "22"}, *no_sha256[] = {""}, *generated[] = {"generated"},
            *synthetic_run[] = {"synthetic"};
enum { CHAT, DNS, GHOST, WEB };

/* n files and as many runs. */
static dataset_tables tables_of(size_t n, char **file, char **hash, char **run) {
    return (dataset_tables){.nlabels = 4,
                            .label = labels,
                            .macro = macros,
                            .prompt = prompts,
                            .nfiles = n,
                            .file = file,
                            .sha256 = hash,
                            .nruns = n,
                            .run = run,
                            .config = ""};
}

static dataset_tables real_tables(void) {
    return tables_of(2, files, sha256, runs);
}

static dataset_tables synthetic_tables(void) {
    return tables_of(1, generated, no_sha256, synthetic_run);
}

static const flow_spec real_flows[] = {
    {PROTO_TCP, 100, WEB, 0, 0}, {PROTO_TCP, 20, WEB, 1, 1},  {PROTO_UDP, 2, DNS, 0, 0}, {PROTO_UDP, 2, DNS, 1, 1},
    {PROTO_TCP, 5, -1, 0, 0},    {PROTO_TCP, 30, CHAT, 0, 0}, {PROTO_TCP, 9, WEB, 0, 0}, {PROTO_TCP, 12, CHAT, 1, 1},
};
static const flow_spec synthetic_flows[] = {
    {PROTO_TCP, 40, WEB, 0, 0}, {PROTO_UDP, 2, DNS, 0, 0}, {PROTO_TCP, 7, WEB, 0, 0}, {PROTO_TCP, 3, CHAT, 0, 0}};
enum { NREAL = 8, NSYNTHETIC = 4 };

static int set_up(void **state) {
    strcpy(folder, "/tmp/nd-world-XXXXXX");
    if (!mkdtemp(folder) || comm_open(&job))
        return -1;
    log_setup("test", 0, 1, true);
    snprintf(real_path, sizeof real_path, "%s/real.h5", folder);
    snprintf(synthetic_path, sizeof synthetic_path, "%s/synthetic.h5", folder);
    write_dataset(real_path, real_tables(), NREAL, real_flows);
    write_dataset(synthetic_path, synthetic_tables(), NSYNTHETIC, synthetic_flows);
    return 0;
}

static int tear_down(void **state) {
    status st = file_remove_tree(folder);
    return comm_finish(&job, st);
}

static experiment sample_experiment(char **holdout) {
    experiment e = {.out = folder, .seed = 3};
    e.data.dataset = real_path;
    e.data.holdout = (text_list){holdout ? 1 : 0, holdout};
    e.eval.synthetic = synthetic_path;
    e.eval.labels = "";
    e.eval.packets = 16;
    return e;
}

static char *second[] = {"2"};

/* ---- tests ---- */

static void sets_from_datasets(void **state) {
    experiment e = sample_experiment(second);
    eval_world *w = NULL;
    assert_int_equal(world_open(&w, &e, job), ST_OK);
    assert_int_equal(w->nlabels, 3);
    assert_string_equal(w->label[0], "chat");
    assert_string_equal(w->label[1], "dns");
    assert_string_equal(w->label[2], "web");
    assert_int_equal(w->nmacros, 2);
    assert_string_equal(w->macro[w->macro_of[0]], "talk");
    assert_string_equal(w->macro[w->macro_of[1]], "dns");
    assert_int_equal(w->macro_of[2], w->macro_of[0]);

    assert_int_equal(w->window, 40); /* the longest synthetic flow */
    assert_int_equal(w->train.n, 5);
    assert_int_equal(w->held_out.n, 3);
    assert_int_equal(w->synthetic.n, NSYNTHETIC);
    assert_int_equal(w->raw.n, 0);
    assert_int_equal(w->payload, CHECK_PAYLOAD_MADE);
    assert_null(w->synthetic_folder);

    const eval_flow *f = &w->train.flows[0]; /* the web flow of 100 packets: cut, but its figures are of all */
    uint64_t bytes = 0;
    for (unsigned k = 0; k < 100; k++)
        bytes += 40 + 10 * (k + 1);
    assert_int_equal(f->f.npackets, 40);
    assert_int_equal(f->packets, 100);
    assert_int_equal(f->bytes, bytes);
    assert_float_equal(f->duration, 0.099, 1e-9);
    assert_int_equal(f->f.label, 2);
    assert_int_equal(w->train.flows[2].f.label, -1);
    world_close(&w);
    assert_null(w);
}

static void before_repair(void **state) {
    experiment e = sample_experiment(second);
    eval_world *w = NULL;
    char *raw = text_format("%s/raw.h5", folder);
    write_dataset(raw, synthetic_tables(), NSYNTHETIC, synthetic_flows);
    assert_int_equal(world_open(&w, &e, job), ST_OK);
    assert_int_equal(w->raw.n, NSYNTHETIC);
    for (size_t i = 0; i < NSYNTHETIC; i++)
        assert_int_equal(w->raw.flows[i].f.label, w->synthetic.flows[i].f.label);
    world_close(&w);
    write_dataset(raw, synthetic_tables(), NSYNTHETIC - 1, synthetic_flows);
    assert_int_equal(world_open(&w, &e, job), ST_FORMAT);
    assert_non_null(strstr(status_message(), "not of one run"));
    assert_null(w);
    assert_int_equal(file_remove_tree(raw), ST_OK);
    free(raw);
}

/* Without held-out runs every fourth flow of a label, from its second on, stands for them. */
static void held_out(void **state) {
    static char *third[] = {"3"};
    experiment e = sample_experiment(third);
    eval_world *w = NULL;
    assert_int_equal(world_open(&w, &e, job), ST_USAGE);
    assert_non_null(strstr(status_message(), "no run \"3\" (it has: 1, 2)"));

    size_t nlabelled[NREAL] = {0}, nout = 0, at = 0;
    e = sample_experiment(NULL);
    assert_int_equal(world_open(&w, &e, job), ST_OK);
    for (size_t i = 0; i < NREAL; i++)
        if (real_flows[i].label >= 0 && nlabelled[real_flows[i].label]++ % 4 == 1)
            nout++;
    assert_true(nout > 0);
    assert_int_equal(w->held_out.n, nout);
    assert_int_equal(w->train.n, NREAL - nout);
    for (size_t i = 0; i < w->held_out.n; i++)
        at += w->held_out.flows[i].f.label >= 0;
    assert_int_equal(at, nout);
    world_close(&w);
}

static bool same_flow(const flow *a, const flow *b) {
    if (a->npackets != b->npackets || a->label != b->label)
        return false;
    for (size_t i = 0; i < a->npackets; i++) {
        const packet *p = &a->packets[i], *q = &b->packets[i];
        if (p->nheader != q->nheader || memcmp(p->header, q->header, p->nheader) || p->time_ns != q->time_ns)
            return false;
    }
    return true;
}

static bool same_sets(const eval_set *a, const eval_set *b) {
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = same_flow(&a->flows[i].f, &b->flows[i].f);
    return same;
}

static void controls(void **state) {
    experiment e = sample_experiment(second);
    eval_world *w = NULL, *again = NULL, *other = NULL;
    assert_int_equal(world_open(&w, &e, job), ST_OK);
    assert_int_equal(world_open(&again, &e, job), ST_OK);
    e.seed = 4;
    assert_int_equal(world_open(&other, &e, job), ST_OK);
    assert_true(same_sets(&w->random, &again->random));
    assert_true(same_sets(&w->marginal, &again->marginal));
    assert_false(same_sets(&w->random, &other->random));
    assert_false(same_sets(&w->marginal, &other->marginal));

    assert_int_equal(w->random.n, NSYNTHETIC);
    for (size_t i = 0; i < NSYNTHETIC; i++) {
        const flow *f = &w->random.flows[i].f, *g = &w->synthetic.flows[i].f;
        assert_int_equal(f->npackets, g->npackets);
        assert_int_equal(f->label, g->label);
        for (size_t k = 0; k < f->npackets; k++) {
            unsigned proto = packet_proto(&f->packets[k]);
            assert_true(proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_ICMP);
            assert_true(packet_ip_nheader(&f->packets[k]) >= 20);
            assert_true(f->packets[k].nheader >= packet_ip_nheader(&f->packets[k]) + 8);
        }
    }
    world_close(&w);
    world_close(&again);
    world_close(&other);
}

/* Every field's value is one that the field has in the class's training flows, and ports of one packet come from
 * different flows sooner or later. */
static void marginal_values(void **state) {
    experiment e = sample_experiment(second);
    eval_world *w = NULL;
    size_t looked = 0;
    assert_int_equal(world_open(&w, &e, job), ST_OK);
    assert_int_equal(w->marginal.n, NSYNTHETIC);
    for (size_t i = 0; i < w->marginal.n; i++) {
        const flow *f = &w->marginal.flows[i].f;
        for (size_t k = 0; k < f->npackets; k++)
            for (size_t n = 0; n < nprint_nfields; n++) {
                const nprint_field *field = &nprint_fields[n];
                int8_t bits[NPRINT_COLUMNS], seen[NPRINT_COLUMNS];
                bool found = false;
                nprint_encode(&f->packets[k], bits);
                for (size_t j = 0; j < w->train.n && !found; j++) {
                    const flow *g = &w->train.flows[j].f;
                    for (size_t m = 0; m < g->npackets && g->label == f->label && !found; m++) {
                        nprint_encode(&g->packets[m], seen);
                        found = !memcmp(bits + field->first, seen + field->first, field->nbits);
                    }
                }
                if (!found)
                    fail_msg("flow %zu packet %zu: %s has a value that training never saw", i, k, field->name);
                looked++;
            }
    }
    assert_true(looked > 1000);
    world_close(&w);
}

/* ---- captures ---- */

static void write_capture(const char *name, size_t n, const flow_spec *specs, int32_t only) {
    capture_writer *c = NULL;
    char *path = text_format("%s/captures/%s", folder, name);
    assert_int_equal(capture_create(&c, path, 1, 65535), ST_OK);
    for (size_t i = 0; i < n; i++) {
        if (only >= 0 && specs[i].label != only)
            continue;
        flow f = make_flow(specs[i].proto, (unsigned)i, specs[i].n, specs[i].label, 0);
        for (size_t k = 0; k < f.npackets; k++)
            assert_int_equal(capture_write(c, &f.packets[k], false), ST_OK);
        flow_clear(&f);
    }
    assert_int_equal(capture_commit(&c), ST_OK);
    free(path);
}

/* The flows of the world of captures are those of the world of the dataset, but for their order. */
static void check_same_flows(const experiment *e) {
    experiment datasets = sample_experiment(second);
    eval_world *w = NULL, *d = NULL;
    assert_int_equal(world_open(&w, e, job), ST_OK);
    assert_int_equal(world_open(&d, &datasets, job), ST_OK);
    assert_int_equal(w->synthetic.n, d->synthetic.n);
    assert_int_equal(w->nlabels, d->nlabels);
    assert_int_equal(w->window, d->window);
    for (size_t i = 0; i < d->synthetic.n; i++) {
        size_t found = 0;
        for (size_t k = 0; k < w->synthetic.n; k++)
            found += same_flow(&w->synthetic.flows[k].f, &d->synthetic.flows[i].f);
        assert_int_equal(found, 1);
    }
    assert_int_equal(w->payload, CHECK_PAYLOAD_ZERO);
    world_close(&w);
    world_close(&d);
}

static void captures(void **state) {
    char *path = text_format("%s/captures", folder), *csv = text_format("%s/labels.csv", folder);
    assert_int_equal(file_make_folders(path), ST_OK);
    write_capture("all.pcap", NSYNTHETIC, synthetic_flows, -1);
    experiment e = sample_experiment(second);
    eval_world *w = NULL;
    e.eval.synthetic = path;
    assert_int_equal(world_open(&w, &e, job), ST_USAGE); /* named as no class */
    assert_non_null(strstr(status_message(), "eval.labels"));

    /* By names: all.pcap is left out, or every flow would be there twice. */
    write_capture("web.pcap", NSYNTHETIC, synthetic_flows, WEB);
    write_capture("dns.pcap", NSYNTHETIC, synthetic_flows, DNS);
    char *below = text_format("%s/chat", path);
    assert_int_equal(file_make_folders(below), ST_OK);
    write_capture("chat/first.pcap", NSYNTHETIC, synthetic_flows, CHAT);
    check_same_flows(&e);
    assert_int_equal(world_open(&w, &e, job), ST_OK);
    assert_string_equal(w->synthetic_folder, path);
    assert_true(w->named_by_label);
    world_close(&w);

    /* By a table, of one file. */
    const char text[] = "file,proto,src,sport,dst,dport,label\n"
                        "all.pcap,tcp,198.51.100.0,1024,192.0.2.1,443,web\n"
                        "all.pcap,udp,198.51.100.1,1025,192.0.2.1,53,dns\n"
                        "all.pcap,tcp,198.51.100.2,1026,192.0.2.1,443,web\n"
                        "all.pcap,tcp,198.51.100.3,1027,192.0.2.1,443,chat\n";
    assert_int_equal(file_write(csv, text, sizeof text - 1), ST_OK);
    char *file = text_format("%s/all.pcap", path);
    e.eval.synthetic = path;
    e.eval.labels = csv;
    assert_int_equal(world_open(&w, &e, job), ST_OK);
    assert_false(w->named_by_label); /* web.pcap may hold other flows */
    world_close(&w);
    e.eval.synthetic = file;
    check_same_flows(&e);
    free(file);
    free(below);
    free(path);
    free(csv);
}

/* Captures are found under the names that ndgen gives them, whatever is in a label. */
static void captures_of_odd_labels(void **state) {
    static const struct {
        const char *file, *label;
    } rows[] = {
        {"dns.google.pcap", "dns.google"},
        {"dns.pcap", "dns"},
        {"dns.1.pcapng", "dns"},
        {"web.v2.cap", "web.v2"},
        {"WEB.V2/a.b.pcap", NULL},
        {"web.v2/a.pcap", "web.v2"},
        {"other.pcap", NULL},
    };
    char *classes[] = {(char *)"dns", (char *)"dns.google", (char *)"web.v2", (char *)"voice call/1"};
    enum { LABELS = sizeof classes / sizeof *classes, ROWS = sizeof rows / sizeof *rows };
    experiment e = sample_experiment(second);
    e.eval.labels = (char *)"";
    for (size_t i = 0; i <= ROWS; i++) {
        eval_world w = {.e = &e, .nlabels = LABELS, .label = classes};
        char *odd = file_label_name(classes[LABELS - 1]), *odd_file = text_format("%s.pcap", odd);
        const char *file = i < ROWS ? rows[i].file : odd_file, *label = i < ROWS ? rows[i].label : classes[LABELS - 1];
        char *path = text_format("%s/captures/odd/%zu/%s", folder, i, file), *slash = strrchr(path, '/');
        *slash = 0;
        assert_int_equal(file_make_folders(path), ST_OK);
        *slash = '/';
        write_capture(path + strlen(folder) + strlen("/captures/"), 1, synthetic_flows, -1);
        print_message("%s\n", file);
        assert_int_equal(world_read_captures(&w, path), label ? ST_OK : ST_USAGE);
        if (label)
            assert_string_equal(classes[w.synthetic.flows[0].f.label], label);
        set_clear(&w.synthetic);
        free(path);
        free(odd);
        free(odd_file);
    }
}

static void nothing_there(void **state) {
    experiment e = sample_experiment(second);
    eval_world *w = NULL;
    char *none = text_format("%s/none", folder);
    e.eval.synthetic = none;
    assert_int_equal(world_open(&w, &e, job), ST_IO);
    assert_non_null(strstr(status_message(), "eval.synthetic"));
    assert_null(w);
    free(none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_from_datasets),
        cmocka_unit_test(before_repair),
        cmocka_unit_test(held_out),
        cmocka_unit_test(controls),
        cmocka_unit_test(marginal_values),
        cmocka_unit_test(captures),
        cmocka_unit_test(captures_of_odd_labels),
        cmocka_unit_test(nothing_there),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
