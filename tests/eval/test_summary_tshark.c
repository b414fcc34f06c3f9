/* The summary's look at captures with tshark: one run for all says of each what a run of its own says. */
#include "eval/validity_bench.h"
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/file.h"
#include "eval/eval_priv.h"

/* A capture of the bench's flows, `nbroken` of them with a wrong IP checksum (malloc'd path). */
static char *write_capture(const char *folder, const char *name, unsigned n, unsigned nbroken, double *npackets) {
    bench b;
    text_list made = {0};
    char *path = text_format("%s/%s.pcap", folder, name);
    bench_open(&b, n, false, false);
    for (unsigned i = 0; i < nbroken; i++)
        synthetic_packet(&b, (int)(i % KINDS), 0)->header[10] ^= 1;
    *npackets = 0;
    for (size_t i = 0; i < b.w.synthetic.n; i++)
        *npackets += (double)b.w.synthetic.flows[i].f.npackets;
    assert_int_equal(captures_make(&b.w, SUBJECT_SYNTHETIC, folder, &made), ST_OK);
    assert_int_equal(made.n, 1);
    assert_int_equal(rename(made.item[0], path), 0);
    text_list_clear(&made);
    bench_close(&b);
    return path;
}

static void every_capture_has_its_own_figures(void **state) {
    enum { CAPTURES = 4 };
    static const unsigned nflows[CAPTURES] = {1, 2, 1, 3}, nbroken[CAPTURES] = {0, 2, 0, 3};
    char *folder = text_copy("/tmp/nd-test-summary-XXXXXX"), *files[CAPTURES + 1], *tshark = tool_find("tshark");
    double npackets[CAPTURES];
    if (!tshark) {
        print_message("tshark is not installed\n");
        free(folder);
        skip();
    }
    assert_non_null(mkdtemp(folder));
    setenv("TMPDIR", folder, 1);
    for (size_t i = 0; i < CAPTURES; i++) {
        char name[] = {(char)('a' + i), 0};
        files[i] = write_capture(folder, name, nflows[i], nbroken[i], &npackets[i]);
    }
    files[CAPTURES] = text_format("%s/rubbish.pcap", folder);
    assert_int_equal(file_write(files[CAPTURES], "no capture", 10), ST_OK);

    /* Apart, together, and together with a file that nobody can read. */
    for (size_t way = 0; way < 3; way++) {
        expert_counts counts[CAPTURES + 1];
        size_t n = way < 2 ? CAPTURES : CAPTURES + 1;
        assert_int_equal(summary_tshark(n, (const char *const *)files, way == 0, counts), ST_OK);
        for (size_t i = 0; i < CAPTURES; i++) {
            assert_true(counts[i].known);
            assert_true(counts[i].packets == npackets[i]);
            assert_true(counts[i].errors == nbroken[i]);
        }
        assert_true(n == CAPTURES || !counts[CAPTURES].known);
    }
    assert_int_equal(summary_tshark(0, NULL, false, NULL), ST_OK);

    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (!strncmp(e->d_name, "nd-summary-", 11))
            fail_msg("%s was left behind", e->d_name);
    closedir(d);
    unsetenv("TMPDIR");
    for (size_t i = 0; i <= CAPTURES; i++)
        free(files[i]);
    assert_int_equal(file_remove_tree(folder), ST_OK);
    free(folder);
    free(tshark);
}

/* A capture that stops tshark takes the value away that limits are put on: the others' figures do not stand for it. */
static void one_capture_stops_tshark(void **state) {
    (void)state;
    static const char script[] = "#!/bin/sh\ncase \"$3\" in *nd-summary-*|*/stops.pcap) exit 2;; esac\n"
                                 "printf '0x800000\\n'\n";
    static const char *const last[] = {"ping", "stops"}; /* the third class's name, and its capture's */
    char *folder = text_copy("/tmp/nd-test-summary-XXXXXX"), *path = text_copy(getenv("PATH"));
    assert_non_null(mkdtemp(folder));
    char *longer = text_format("%s:%s", folder, path), *program = text_format("%s/tshark", folder);
    assert_int_equal(file_write(program, script, strlen(script)), ST_OK);
    assert_int_equal(chmod(program, 0755), 0);
    for (size_t way = 0; way < 2; way++) {
        bench b;
        char *names[KINDS] = {class_names[0], class_names[1], (char *)last[way]};
        bench_open(&b, 1, true, false);
        b.w.label = names;
        b.w.synthetic_folder = folder;
        b.w.named_by_label = true;
        for (size_t l = 0; l < KINDS; l++) {
            char *file = text_format("%s/%s.pcap", folder, names[l]);
            assert_int_equal(file_write(file, "only the script sees it", 23), ST_OK);
            free(file);
        }
        setenv("PATH", longer, 1);
        assert_int_equal(part_summary(&b.w, b.r), ST_OK);
        setenv("PATH", path, 1);
        assert_int_equal(report_status(b.r), ST_OK);
        const report_named_value *v = report_find_value(b.r, "tshark_errors_per_1000", 22);
        assert_true(way == 0 ? v && v->x == 1000 : !v);
        bench_close(&b);
    }
    assert_int_equal(file_remove_tree(folder), ST_OK);
    free(folder);
    free(path);
    free(longer);
    free(program);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_capture_has_its_own_figures),
                                       cmocka_unit_test(one_capture_stops_tshark)};
    if (comm_open(&everyone))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return comm_finish(&everyone, failed ? ST_FORMAT : ST_OK) || failed;
}
