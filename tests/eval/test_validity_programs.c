/* Validity: programs see what was written and what is broken; captures that came are shown packet for packet, real
 * flows with right checksums; nothing is left in the temporary folder. */
#include "eval/validity_bench.h"
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "io/capture.h"

/* ---- programs ---- */

/* A folder of our own for the temporary ones, so that it can be seen that nothing stays. */
static char *new_folder(void) {
    char *folder = text_copy("/tmp/nd-test-validity-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return folder;
}

static void assert_empty_and_remove(char *folder) {
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (*e->d_name != '.')
            fail_msg("%s was left behind", e->d_name);
    closedir(d);
    assert_int_equal(file_remove_tree(folder), ST_OK);
    free(folder);
}

static void judge_with_tools(bench *b) {
    char *folder = new_folder();
    setenv("TMPDIR", folder, 1);
    judge(b);
    unsetenv("TMPDIR");
    assert_empty_and_remove(folder);
}

static bool has(const char *program) {
    char *path = tool_find(program);
    if (!path)
        print_message("%s is not installed: its figures are not looked at\n", program);
    free(path);
    return path != NULL;
}

static void programs_see_what_was_written(void **state) {
    (void)state;
    const struct {
        const char *program, *table, *row;
        double synthetic, real;
    } rows[] = {{"tshark", "validity-seen", "tshark: packets", 66, 66},
                {"tshark", "validity-tshark", "errors", 0, 0},
                {"tshark", "validity-tshark", "checksums right, percent", 100, 100},
                {"tshark", "validity-marks", "lost_segment", 0, 0},
                {"tshark", "validity-marks", "retransmission", 0, 0},
                {"capinfos", "validity-seen", "capinfos: packets", 66, 66},
                {"capinfos", "validity-tools", "capinfos: captures in order of time", 100, 100},
                {"tcptrace", "validity-seen", "tcptrace: TCP connections", 3, 3},
                {"tcptrace", "validity-seen", "tcptrace: TCP packets", 30, 30},
                {"tcptrace", "validity-tools", "tcptrace: connections complete", 100, 100},
                {"tcptrace", "validity-tools", "tcptrace: connections with both SYNs", 100, 100},
                {"tcprewrite", "validity-seen", "tcprewrite: packets rewritten", 66, 66},
                {"tcprewrite", "validity-tools", "tcprewrite: packets changed", 0, 0},
                {"tcpprep", "validity-seen", "tcpprep: packets divided", 66, 66},
                {"p0f", "validity-seen", "p0f: SYNs", 3, 3},
                {"p0f", "validity-seen", "p0f: SYN+ACKs", 3, 3},
                {"ndpiReader", "validity-seen", "ndpiReader: flows", 9, 9}};
    bench b;
    bench_open(&b, 3, true, false);
    judge_with_tools(&b);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!has(rows[i].program)) {
            const report_cell *c = cell(b.r, "validity-seen", rows[i].program, 0);
            assert_true(!c || c->kind == CELL_NOTHING);
            continue;
        }
        print_message("%s\n", rows[i].row);
        assert_float_equal(number(b.r, rows[i].table, rows[i].row, SUBJECT_SYNTHETIC), rows[i].synthetic, 1e-9);
        assert_float_equal(number(b.r, rows[i].table, rows[i].row, SUBJECT_REAL), rows[i].real, 1e-9);
    }
    if (has("tshark"))
        assert_true(value(b.r, "validity.tshark_errors") == 0);
    bench_close(&b);
}

/* What is broken in a synthetic packet is seen by others too, and only there. */
static void programs_see_what_is_broken(void **state) {
    (void)state;
    bench b;
    bench_open(&b, 3, true, false);
    synthetic_packet(&b, FLOW_TCP, 3)->header[36] ^= 1;
    flow *f = &b.w.synthetic.flows[FLOW_TCP + KINDS].f; /* loses the first segment of the answer */
    memmove(f->packets + 4, f->packets + 5, (f->npackets - 5) * sizeof *f->packets);
    f->npackets--;
    f = &b.w.synthetic.flows[FLOW_TCP + 2 * KINDS].f; /* is never closed */
    f->npackets = 7;
    judge_with_tools(&b);
    if (has("tshark")) {
        double packets = number(b.r, "validity-seen", "tshark: packets", SUBJECT_SYNTHETIC);
        assert_true(packets == 62);
        assert_float_equal(value(b.r, "validity.tshark_errors"), 1000 / packets, 1e-9);
        assert_true(number(b.r, "validity-tshark", "checksums right, percent", SUBJECT_SYNTHETIC) < 100);
        assert_true(number(b.r, "validity-tshark", "errors", SUBJECT_REAL) == 0);
        assert_float_equal(number(b.r, "validity-marks", "lost_segment", SUBJECT_SYNTHETIC), 1000 / packets, 1e-9);
    }
    if (has("tcprewrite")) {
        assert_float_equal(number(b.r, "validity-tools", "tcprewrite: packets changed", SUBJECT_SYNTHETIC), 100 / 62.0,
                           1e-9);
        assert_true(number(b.r, "validity-tools", "tcprewrite: packets changed", SUBJECT_REAL) == 0);
    }
    if (has("tcptrace"))
        assert_float_equal(number(b.r, "validity-tools", "tcptrace: connections complete", SUBJECT_SYNTHETIC),
                           100 * 2 / 3.0, 1e-9);
    bench_close(&b);
}

/* Zeek and Suricata write logs. Scripts stand for them here: what is tested is that logs of the documented form are
 * read, in whatever order the columns are, and those of this run only. */
static void install_script(const char *folder, const char *name, const char *text) {
    char *path = text_format("%s/%s", folder, name);
    assert_int_equal(file_write(path, text, strlen(text)), ST_OK);
    assert_int_equal(chmod(path, 0755), 0);
    free(path);
}

static void reads_logs_of_detectors(void **state) {
    (void)state;
    char *folder = new_folder(), *path = text_copy(getenv("PATH")), *longer = text_format("%s:%s", folder, path);
    install_script(folder, "zeek",
                   "#!/bin/sh\n[ \"$1\" = -r ] && [ -f \"$2\" ] || exit 1\n"
                   "printf '#separator \\\\x09\\n#fields\\tts\\tuid\\tconn_state\\tproto\\n#types\\ttime\\tstring\\t"
                   "string\\tenum\\n1.0\\tA\\tSF\\ttcp\\n2.0\\tB\\tS0\\ttcp\\n3.0\\tC\\tS1\\ttcp\\n"
                   "4.0\\tSF\\tOTH\\ttcp\\n#close\\n' > conn.log\n"
                   "printf '#fields\\tts\\tname\\n1.0\\tdata_before_established\\n' > weird.log\n");
    install_script(
        folder, "suricata",
        "#!/bin/sh\n[ \"$3\" = -l ] && cd \"$4\" || exit 1\n[ -e stats.log ] && exit 2\n"
        "printf 'Counter | TM Name | Value\\n-----\\ndecoder.pkts | Total | 30\\ndecoder.pkts  | Total | 50\\n"
        "decoder.invalid | Total | 5\\ntcp.invalid_checksum | Total | 10\\ntcp.sessions | Total | 3\\n'"
        " > stats.log\n");
    bench b;
    bench_open(&b, 1, true, false);
    setenv("PATH", longer, 1);
    judge_with_tools(&b);
    setenv("PATH", path, 1);
    assert_true(number(b.r, "validity-seen", "zeek: connections", SUBJECT_SYNTHETIC) == 4);
    assert_true(number(b.r, "validity-tools", "zeek: connections opened", SUBJECT_SYNTHETIC) == 50);
    assert_true(number(b.r, "validity-tools", "zeek: connections ended", SUBJECT_REAL) == 25);
    assert_true(number(b.r, "validity-tools", "zeek: oddities per connection", SUBJECT_REAL) == 0.25);
    assert_true(number(b.r, "validity-seen", "suricata: packets", SUBJECT_SYNTHETIC) == 50);
    assert_true(number(b.r, "validity-seen", "suricata: TCP sessions", SUBJECT_SYNTHETIC) == 3);
    assert_true(number(b.r, "validity-tools", "suricata: packets invalid", SUBJECT_REAL) == 10);
    assert_true(number(b.r, "validity-tools", "suricata: TCP checksums wrong", SUBJECT_REAL) == 20);
    bench_close(&b);
    assert_int_equal(file_remove_tree(folder), ST_OK);
    free(folder);
    free(path);
    free(longer);
}

/* ---- captures that came ---- */

static size_t assert_same_records(const char *came, const char *shown) {
    capture *a = NULL, *b = NULL;
    capture_record p, q;
    bool end_a = false, end_b = false;
    size_t n = 0;
    assert_int_equal(capture_open(&a, came), ST_OK);
    assert_int_equal(capture_open(&b, shown), ST_OK);
    assert_int_equal(capture_link_type(a), capture_link_type(b));
    for (;; n++) {
        assert_int_equal(capture_next(a, &p, &end_a), ST_OK);
        assert_int_equal(capture_next(b, &q, &end_b), ST_OK);
        if (end_b)
            break; /* where there is more than programs are shown, it ends early */
        assert_false(end_a);
        assert_int_equal(p.time_ns, q.time_ns);
        assert_int_equal(p.caplen, q.caplen);
        assert_int_equal(p.wire_len, q.wire_len);
        assert_memory_equal(p.bytes, q.bytes, p.caplen);
    }
    capture_close(&a);
    capture_close(&b);
    return n;
}

static void shows_captures_as_they_came(void **state) {
    (void)state;
    const char *source = getenv("ND_SOURCE");
    if (!source) {
        print_message("ND_SOURCE is not set: no sample captures\n");
        skip();
    }
    char *folder = new_folder(), *samples = text_format("%s/data/sample", source);
    text_list files = {0}, shown = {0};
    bench b;
    bench_open(&b, 1, false, false);
    b.w.synthetic_folder = samples;
    assert_int_equal(capture_list(&(text_list){1, &samples}, &files), ST_OK);
    assert_int_equal(captures_make(&b.w, SUBJECT_SYNTHETIC, folder, &shown), ST_OK);
    assert_int_equal(files.n, shown.n);
    size_t n = 0;
    for (size_t i = 0; i < files.n; i++)
        n += assert_same_records(files.item[i], shown.item[i]);
    assert_true(n > 10000);
    text_list_clear(&files);
    text_list_clear(&shown);
    bench_close(&b);
    assert_int_equal(file_remove_tree(folder), ST_OK);
    free(folder);
    free(samples);
}

/* The real flows that are shown carry right checksums for the payload they are given, and are in order of time. */
static void rewrites_real_flows(void **state) {
    (void)state;
    char *folder = new_folder();
    text_list shown = {0};
    bench b;
    bench_open(&b, 2, false, false);
    for (size_t i = 0; i < b.w.held_out.n; i++) /* that of a payload which is not known */
        b.w.held_out.flows[i].f.packets[3].header[36 % b.w.held_out.flows[i].f.packets[3].nheader] ^= 0xff;
    assert_int_equal(captures_make(&b.w, SUBJECT_REAL, folder, &shown), ST_OK);
    assert_int_equal(shown.n, 1);
    capture *c = NULL;
    assert_int_equal(capture_open(&c, shown.item[0]), ST_OK);
    int64_t last = 0;
    for (size_t n = 0;; n++) {
        capture_record r;
        packet p;
        bool end;
        assert_int_equal(capture_next(c, &r, &end), ST_OK);
        if (end) {
            assert_int_equal(n, 44);
            break;
        }
        assert_true(r.time_ns >= last);
        last = r.time_ns;
        assert_int_equal(packet_decode(1, r.bytes, r.caplen, r.wire_len, &p), SKIP_NONE);
        packet q = p;
        checksum_fill_over(&q, false, checksum_sum(r.bytes + 14 + p.nheader, packet_payload(&p)));
        assert_memory_equal(p.header, q.header, p.nheader);
    }
    capture_close(&c);
    text_list_clear(&shown);
    bench_close(&b);
    assert_int_equal(file_remove_tree(folder), ST_OK);
    free(folder);
}

static void names(void **state) {
    (void)state;
    name_counts c = {0};
    assert_int_equal(name_counts_add(&c, "rare", SUBJECT_REAL, 1), ST_OK);
    assert_int_equal(name_counts_add(&c, "often", SUBJECT_RANDOM, 3), ST_OK);
    assert_int_equal(name_counts_add(&c, "rare", SUBJECT_SYNTHETIC, 1), ST_OK);
    name_counts_sort(&c);
    assert_int_equal(c.n, 2);
    assert_string_equal(c.items[0].name, "often");
    assert_true(c.items[1].count[SUBJECT_REAL] == 1 && c.items[1].count[SUBJECT_SYNTHETIC] == 1);
    for (int i = 0; i < 3000; i++) {
        char name[16];
        snprintf(name, sizeof name, "name %d", i);
        assert_int_equal(name_counts_add(&c, name, SUBJECT_REAL, 1), ST_OK);
    }
    assert_int_equal(c.n, 1002); /* "often" is another subject's; the rest under one name */
    assert_true(c.items[1001].count[SUBJECT_REAL] == 3000 - 999);
    name_counts_clear(&c);
}

/* Ranks count subjects apart and put them together afterwards: the names are those of one rank that counted all. */
static void names_of_many_ranks(void **state) {
    (void)state;
    name_counts one = {0}, parts[SUBJECTS] = {{0}}, together = {0};
    for (int s = 0; s < SUBJECTS; s++)
        for (int i = 0; i < 1500; i++) {
            char name[24];
            snprintf(name, sizeof name, "name %d", s == SUBJECT_REAL ? 3000 - i : i * (s + 1));
            assert_int_equal(name_counts_add(&one, name, (subject)s, 1 + i % 7), ST_OK);
            assert_int_equal(name_counts_add(&parts[s], name, (subject)s, 1 + i % 7), ST_OK);
        }
    for (int s = SUBJECTS - 1; s >= 0; s--) /* whatever the order */
        for (size_t i = 0; i < parts[s].n; i++)
            assert_int_equal(name_counts_add(&together, parts[s].items[i].name, (subject)s, parts[s].items[i].count[s]),
                             ST_OK);
    name_counts_sort(&one);
    name_counts_sort(&together);
    assert_int_equal(one.n, together.n);
    for (size_t i = 0; i < one.n; i++) {
        assert_string_equal(one.items[i].name, together.items[i].name);
        assert_memory_equal(one.items[i].count, together.items[i].count, sizeof one.items[i].count);
    }
    for (int s = 0; s < SUBJECTS; s++)
        name_counts_clear(&parts[s]);
    name_counts_clear(&one);
    name_counts_clear(&together);
}

/* A program that stops at one of the captures has no figures, however well it read the others: the one that stops
 * tshark must not let a limit on its errors hold. */
static void one_capture_stops_a_program(void **state) {
    (void)state;
    char *captures = new_folder(), *programs = new_folder(), *path = text_copy(getenv("PATH"));
    install_script(programs, "tshark",
                   "#!/bin/sh\ncase \"$3\" in *came-1.pcap) exit 2;; esac\n"
                   "printf '0x800000\\0010x800000\\tbad\\001worse\\t0\\t\\t\\t\\n'\n");
    for (int stops = 0; stops < 2; stops++) {
        bench b;
        text_list made = {0};
        char *to = text_format("%s/%d.pcap", captures, stops);
        bench_open(&b, 1, false, false);
        assert_int_equal(captures_make(&b.w, SUBJECT_SYNTHETIC, captures, &made), ST_OK);
        assert_int_equal(rename(made.item[0], to), 0);
        text_list_clear(&made);
        b.e.eval.tools = true;
        b.w.synthetic_folder = captures;
        setenv("PATH", programs, 1); /* no other program */
        judge_with_tools(&b);
        setenv("PATH", path, 1);
        const report_cell *c = cell(b.r, "validity-tshark", "errors", SUBJECT_SYNTHETIC);
        assert_int_equal(c->kind, stops ? CELL_NOTHING : CELL_NUMBER);
        c = cell(b.r, "validity-traffic-shares", "packets with an error (tshark)", 1);
        assert_int_equal(c->kind, stops ? CELL_NOTHING : CELL_NUMBER);
        assert_true(stops || c->x == 100);
        c = cell(b.r, "validity-tshark", "errors", SUBJECT_SYNTHETIC);
        if (stops) {
            assert_string_equal(c->text, "tshark failed");
            assert_null(report_find_value(b.r, "validity.tshark_errors", strlen("validity.tshark_errors")));
        } else {
            assert_true(value(b.r, "validity.tshark_errors") == 2000); /* two errors, one packet */
        }
        free(to);
        bench_close(&b);
    }
    assert_int_equal(file_remove_tree(captures), ST_OK);
    assert_int_equal(file_remove_tree(programs), ST_OK);
    free(captures);
    free(programs);
    free(path);
}

/* Programs run elsewhere, so a temporary folder that is named from here must be found from there. */
static void relative_temporary_folder(void **state) {
    (void)state;
    char *capinfos = tool_find("capinfos"), *path = text_copy(getenv("PATH")), here[4096];
    if (!capinfos) {
        print_message("capinfos is not installed\n");
        free(path);
        skip();
    }
    char *folder = new_folder(), *programs = new_folder(), *link = text_format("%s/capinfos", programs);
    bench b;
    assert_int_equal(symlink(capinfos, link), 0);
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(folder), 0);
    setenv("TMPDIR", ".", 1);
    setenv("PATH", programs, 1);
    bench_open(&b, 1, true, false);
    judge(&b);
    setenv("PATH", path, 1);
    unsetenv("TMPDIR");
    assert_int_equal(chdir(here), 0);
    assert_true(number(b.r, "validity-seen", "capinfos: packets", SUBJECT_SYNTHETIC) == 22);
    bench_close(&b);
    assert_empty_and_remove(folder);
    assert_int_equal(file_remove_tree(programs), ST_OK);
    free(programs);
    free(link);
    free(capinfos);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_see_what_was_written), cmocka_unit_test(programs_see_what_is_broken),
        cmocka_unit_test(reads_logs_of_detectors),       cmocka_unit_test(shows_captures_as_they_came),
        cmocka_unit_test(rewrites_real_flows),           cmocka_unit_test(names),
        cmocka_unit_test(names_of_many_ranks),           cmocka_unit_test(one_capture_stops_a_program),
        cmocka_unit_test(relative_temporary_folder),
    };
    if (comm_open(&everyone))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return comm_finish(&everyone, failed ? ST_FORMAT : ST_OK) || failed;
}
