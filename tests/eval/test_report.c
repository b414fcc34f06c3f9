/* The report: what goes in comes out of all three files, escaped, and limits hold or do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "eval/report.h"

static char folder[64];

static int make_folder(void **state) {
    strcpy(folder, "/tmp/nd-report-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    return file_remove_tree(folder) ? -1 : 0;
}

static char *slurp(const char *name) {
    char *path = text_format("%s/%s", folder, name), *bytes = NULL;
    size_t nbytes;
    assert_int_equal(file_read(path, 1 << 24, &bytes, &nbytes), ST_OK);
    free(path);
    return bytes;
}

static void want(const char *text, const char *part) {
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in:\n%s", part, text);
}

static void want_not(const char *text, const char *part) {
    if (strstr(text, part))
        fail_msg("\"%s\" is in:\n%s", part, text);
}

static report *sample(void) {
    static const char *const columns[] = {"row", "distance", "count", "note"};
    report *r = NULL;
    assert_int_equal(report_new(&r, "<script>alert('x')</script> & co"), ST_OK);
    report_section(r, "one", "First | section", "How to read it.");
    report_table *t = report_table_new(r, "t", "A table", 4, columns, 3, "ndeval a.yaml < b > c");
    report_row(t, "plain");
    report_number(t, 0.123456789012);
    report_number(t, 24);
    report_text(t, "a|b <i>");
    report_row(t, "bad \xff\xfe bytes \xe2\x82"); /* neither is UTF-8, and the last character is cut */
    report_number(t, NAN);
    report_number(t, 1200);
    report_nothing(t, "no tool");
    report_row_published(t, "theirs", "A paper, Table 3");
    report_number_spread(t, 0.5, 0.0625);
    report_number(t, 7);
    report_row(t, "short");
    report_number(t, INFINITY);
    report_row(t, "small");
    report_number(t, 1e-7);
    report_row(t, "small, below zero");
    report_number(t, -1e-7);
    return r;
}

static void texts_and_numbers(void **state) {
    report *r = sample();
    assert_int_equal(report_write_all(r, folder), ST_OK);
    report_free(&r);
    assert_null(r);

    char *html = slurp("report.html"), *md = slurp("report.md");
    want_not(html, "<script");
    want(html, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; co");
    want(html, "0.123</td><td>24</td>"); /* counts have no digits */
    want(html, "<td>1200</td>");
    want(html, "0.500 ± 0.062");
    want(html, "&lt;0.001");
    want(html, "&gt;-0.001");
    want(html, "published: A paper, Table 3");
    want(html, "ndeval a.yaml &lt; b &gt; c");
    want(html, "<li>not defined</li><li>no tool</li>");
    want(html, "bad ?? bytes ??");
    want(md, "a\\|b &lt;i>");
    want(md, "(published: A paper, Table 3)");
    want(md, "(1) not defined; (2) no tool");
    want(md, "ndeval a.yaml < b > c");
    char *lower[] = {html, md};
    for (size_t i = 0; i < 2; i++) {
        want_not(lower[i], "nan");
        want_not(lower[i], ">inf");
        free(lower[i]);
    }
}

/* Every line of a Markdown table has as many bars as its head. */
static void markdown_is_rectangular(void **state) {
    report *r = sample();
    const char *const names[] = {"a|b", "c"};
    report_matrix(r, "m", "matrix", 2, names, (const double[]){1, 2, 3, 4});
    assert_int_equal(report_write_all(r, folder), ST_OK);
    report_free(&r);
    char *md = slurp("report.md");
    size_t expected = 0, tables = 0;
    for (char *line = md, *end; line; line = end) {
        end = strchr(line, '\n');
        if (end)
            *end++ = 0;
        size_t bars = 0;
        for (char *s = line; *s; s++)
            bars += *s == '|' && (s == line || s[-1] != '\\');
        if (*line != '|') {
            expected = 0;
            continue;
        }
        tables += expected == 0;
        expected = expected ? expected : bars;
        assert_int_equal(bars, expected);
    }
    assert_int_equal(tables, 2);
    free(md);
}

/* Labels come from files: whatever Markdown reads into their characters is not meant. */
static void markdown_marks_nothing(void **state) {
    static const char *const rows[][2] = {
        {"_dns._udp", "| \\_dns.\\_udp |"}, {"~~gone~~", "| \\~\\~gone\\~\\~ |"},
        {"long_name", "| long_name |"},     {"*x*", "| \\*x\\* |"},
        {"[a](b)", "| \\[a\\](b) |"},       {"end_", "| end\\_ |"},
        {"<b>&", "| &lt;b>&amp; |"},        {"two\nlines", "| two lines |"},
    };
    report *r = NULL;
    const char *columns[] = {"", "x"};
    assert_int_equal(report_new(&r, "t"), ST_OK);
    report_section(r, "s", "s", "s");
    report_table *t = report_table_new(r, "t", "t", 2, columns, 1, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        report_row(t, rows[i][0]);
    assert_int_equal(report_write_all(r, folder), ST_OK);
    report_free(&r);
    char *md = slurp("report.md");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strstr(md, rows[i][1]))
            fail_msg("no \"%s\" in:\n%s", rows[i][1], md);
    free(md);
}

static void json_has_all(void **state) {
    report *r = sample();
    report_value(r, "a", 1);
    report_value(r, "nothing", NAN);
    report_value(r, "a", 2);
    const double x[] = {1, 10, 0, 100}, y[] = {0.1, 0.2, 0.3, NAN};
    const report_series series[] = {{"s", 4, x, y}, {"empty", 0, NULL, NULL}};
    report_chart(r, "c", "chart", "x", "y", true, 2, series);
    assert_int_equal(report_write_all(r, folder), ST_OK);
    report_free(&r);
    char *text = slurp("report.json"), *html = slurp("report.html");
    json_error_t error;
    json_t *root = json_loads(text, 0, &error);
    assert_non_null(root);
    json_t *values = json_object_get(root, "values");
    assert_int_equal(json_object_size(values), 1);
    assert_float_equal(json_real_value(json_object_get(values, "a")), 2, 0);
    json_t *section = json_array_get(json_object_get(root, "sections"), 0);
    json_t *rows = json_object_get(json_array_get(json_object_get(section, "tables"), 0), "rows");
    assert_int_equal(json_array_size(rows), 6);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(json_array_size(json_object_get(json_array_get(rows, i), "cells")), 3);
    json_t *cells = json_object_get(json_array_get(rows, 0), "cells"), *second;
    assert_float_equal(json_real_value(json_array_get(cells, 0)), 0.123456789012, 0);
    second = json_object_get(json_array_get(rows, 1), "cells");
    assert_string_equal(json_string_value(json_object_get(json_array_get(second, 0), "nothing")), "not defined");
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 2), "published")), "A paper, Table 3");
    /* Of the points, two are numbers above zero. */
    json_t *chart = json_array_get(json_object_get(section, "charts"), 0);
    json_t *line = json_array_get(json_object_get(chart, "series"), 0);
    assert_int_equal(json_array_size(json_object_get(line, "x")), 2);
    want(html, "<svg class=\"chart\"");
    want(html, "empty (none)");
    want_not(html, "nan");
    json_decref(root);
    free(text);
    free(html);
}

static void charts_of_odd_data(void **state) {
    const double zero[] = {0, 0}, same[] = {3, 3}, down[] = {-5, -7}, huge[] = {1e-100, 1e100},
                 near[] = {1e18, 1e18 + 256};
    const struct {
        const double *x, *y;
        size_t n;
    } rows[] = {{zero, zero, 2}, {same, same, 1},         {same, down, 2}, {zero, huge, 2},
                {huge, huge, 2}, {huge + 1, huge + 1, 1}, {near, near, 2}, {NULL, NULL, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int log_x = 0; log_x < 2; log_x++) {
            report *r = NULL;
            assert_int_equal(report_new(&r, "odd"), ST_OK);
            const report_series s = {"s", rows[i].n, rows[i].x, rows[i].y};
            report_chart(r, "c", "c", "x", "y", log_x, 1, &s);
            assert_int_equal(report_write_all(r, folder), ST_OK);
            report_free(&r);
            char *html = slurp("report.html");
            want_not(html, "nan");
            want_not(html, "=\"inf");
            free(html);
        }
}

static void pictures(void **state) {
    char *png = text_format("%s/p.png", folder);
    const char *bytes[] = {"", "M", "Ma", "Man", "Many"}, *coded[] = {"", "TQ==", "TWE=", "TWFu", "TWFueQ=="};
    for (size_t i = 0; i < 5; i++) {
        report *r = NULL;
        assert_int_equal(file_write(png, bytes[i], strlen(bytes[i])), ST_OK);
        assert_int_equal(report_new(&r, "pictures"), ST_OK);
        report_picture(r, "p](http://x)", "p", png);
        assert_int_equal(report_write_all(r, folder), ST_OK);
        report_free(&r);
        char *html = slurp("report.html"), *md = slurp("report.md"), *line = text_format("base64,%s\"", coded[i]);
        want(html, line);
        want(md, "![p\\](http://x)](<p.png>)");
        free(html);
        free(md);
        free(line);
    }
    report *r = NULL;
    unlink(png);
    assert_int_equal(report_new(&r, "pictures"), ST_OK);
    report_picture(r, "p", "p", png);
    assert_int_equal(report_write_all(r, folder), ST_IO);
    want(status_message(), "p.png");
    report_free(&r);
    free(png);
}

static void limits(void **state) {
    const struct {
        const char *limits[2];
        status read, check; /* at the start, and against the report */
        const char *message;
    } rows[] = {
        {{"jsd.all<=0.5"}, ST_OK, ST_OK, NULL},
        {{"jsd.all>=0.5", "leak.macs<4"}, ST_OK, ST_OK, NULL},
        {{"jsd.all<0.5"}, ST_OK, ST_RANGE, "jsd.all<0.5 does not hold: jsd.all is 0.5"},
        {{"jsd.all>0.5"}, ST_OK, ST_RANGE, "jsd.all>0.5"},
        {{"leak.macs<=3", "jsd.all>=0.6"}, ST_OK, ST_RANGE, "jsd.all>=0.6"},
        {{"jsd.all>=0.6", "leak.macs<=2"}, ST_OK, ST_RANGE, "jsd.all>=0.6"}, /* the first */
        {{"leak.macs<=2.999"}, ST_OK, ST_RANGE, "leak.macs is 3"},
        {{"jsd.all=0.5"}, ST_USAGE, ST_USAGE, "jsd.all=0.5"},
        {{"jsd.all<=x"}, ST_USAGE, ST_USAGE, "eval.fail_on"},
        {{"<=1"}, ST_USAGE, ST_USAGE, "<=1"},
        {{"jsd.gap<=1"}, ST_OK, ST_USAGE, "no such value"},           /* known, but nothing was measured */
        {{"jsd.all>=0.6", "typing<1"}, ST_USAGE, ST_USAGE, "typing"}, /* before limits that fail */
    };
    report *r = NULL;
    assert_int_equal(report_new(&r, "limits"), ST_OK);
    report_value(r, "jsd.all", 0.5);
    report_value(r, "leak.macs", 3);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = rows[i].limits[1] ? 2 : 1;
        assert_int_equal(report_limits_read(n, (char *const *)rows[i].limits), rows[i].read);
        assert_int_equal(report_check(r, n, (char *const *)rows[i].limits), rows[i].check);
        if (rows[i].message)
            want(status_message(), rows[i].message);
    }
    assert_true(report_names_are_known(r));
    report_value(r, "leak.macs2", 3);
    assert_false(report_names_are_known(r));
    report_free(&r);
}

static void names_of_limits(void **state) {
    static const struct {
        const char *limit, *nearest; /* NULL: the name is known */
    } rows[] = {
        {"flows_valid>=1", NULL},
        {"hd.random<1", NULL},
        {"jsd.bits.marginal<1", NULL},
        {"wasserstein.gap_s.floor<1", NULL},
        {"consistency.seq.held_out>0", NULL},
        {"utility.seen_real.svm.macro.statistics>0", NULL},
        {"utility.real_real.rf.micro>0", NULL},
        {"flow_valid>=1", "\"flows_valid\""},
        {"jsd.al<1", "\"jsd.all\""},
        {"utility.sythetic_real.rf.mirco>0", "\"utility.synthetic_real.rf.micro\""},
        {"flows_valid,rows>1", "\"flows_valid\""},
        {"jsd.all.floor<1", "\"jsd."},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *limit = (char *)rows[i].limit;
        assert_int_equal(report_limits_read(1, &limit), rows[i].nearest ? ST_USAGE : ST_OK);
        if (!rows[i].nearest)
            continue;
        char *question = text_format("did you mean %s", rows[i].nearest);
        want(status_message(), question);
        want(status_message(), "{jsd,tvd,hd}.{all,floor,marginal,random}");
        want(status_message(), "leak.{addresses,timestamps,ports,macs}");
        free(question);
    }
}

/* Ranks other than the first have no report. */
static void without_a_report(void **state) {
    static const char *const columns[] = {"row", "x"};
    report_section(NULL, "s", "s", "s");
    report_table *t = report_table_new(NULL, "t", "t", 2, columns, 1, NULL);
    assert_null(t);
    report_row(t, "row");
    report_number(t, 1);
    report_chart(NULL, "c", "c", "x", "y", false, 0, NULL);
    report_matrix(NULL, "m", "m", 0, NULL, NULL);
    report_picture(NULL, "p", "p", "p");
    report_value(NULL, "v", 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_and_numbers),
        cmocka_unit_test(markdown_is_rectangular),
        cmocka_unit_test(markdown_marks_nothing),
        cmocka_unit_test(json_has_all),
        cmocka_unit_test(charts_of_odd_data),
        cmocka_unit_test(pictures),
        cmocka_unit_test(limits),
        cmocka_unit_test(names_of_limits),
        cmocka_unit_test(without_a_report),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
