/* Labels: the CSV, what is wrong with one, and which flow gets which label. */
#include "io/io_test.h"
#include "io/csv.h"
#include "io/io_flows.h"
#include "io/labels.h"
#include "io/labels_priv.h"

static char *path;

static int make_path(void **state) {
    int failed = make_folder(state);
    path = in_folder("labels.csv");
    return failed;
}

static int free_path(void **state) {
    free(path);
    return remove_folder(state);
}

static void test_csv(void **state) {
    static const struct {
        const char *text;
        const char *want; /* fields in <>, records ended by / */
    } cases[] = {
        {"a,b\n1,2\n", "<a><b>/<1><2>/"},
        {"a,b\r\n1,\r\n", "<a><b>/<1><>/"},
        {"a", "<a>/"},
        {"", ""},
        {"\n\n\na\n\n", "<a>/"},
        {"\xef\xbb\xbf"
         "a\n",
         "<a>/"},
        {"\"a,b\",\"c\"\"d\"\n\"\",x", "<a,b><c\"d>/<><x>/"},
        {"\"two\nlines\",z\r\n", "<two\nlines><z>/"},
        {"\"end\"", "<end>/"},
        {"\"end\"\r\n", "<end>/"},
        {",\n", "<><>/"},
        {" a ,b", "< a ><b>/"},
        {"x\"y,z", "<x\"y><z>/"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = text_copy(cases[i].text), *got = text_copy("");
        csv c;
        bool end;
        csv_open(&c, "t", text, strlen(text));
        while (assert_int_equal(csv_next(&c, &end), ST_OK), !end) {
            for (size_t k = 0; k < c.nfields; k++) {
                char *more = text_format("%s<%s>", got, c.field[k]);
                free(got);
                got = more;
            }
            char *more = text_format("%s/", got);
            free(got);
            got = more;
        }
        assert_string_equal(got, cases[i].want);
        csv_close(&c);
        free(got);
        free(text);
    }
}

static void test_csv_errors(void **state) {
    static const struct {
        const char *text;
        size_t n;
        const char *want;
    } cases[] = {{"a\n\"b", 4, "t:2: a quote is not closed"},
                 {"a\n\"b\"c\n", 8, "t:2: text behind a closing quote"},
                 {"a\nx\0y\n", 6, "t:2: a NUL byte"},
                 {"\"a\n\n\n\",b\n\"", 10, "t:5: a quote is not closed"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = malloc(cases[i].n + 1);
        assert_non_null(text);
        memcpy(text, cases[i].text, cases[i].n);
        text[cases[i].n] = '\0';
        csv c;
        bool end = false;
        status st = ST_OK;
        csv_open(&c, "t", text, cases[i].n);
        while (st == ST_OK && !end)
            st = csv_next(&c, &end);
        assert_int_equal(st, ST_FORMAT);
        if (strstr(status_message(), cases[i].want) == NULL)
            fail_msg("case %zu: %s", i, status_message());
        csv_close(&c);
        free(text);
    }
}

static void test_paths(void **state) {
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {"pcap/zoom.pcap", "/data/captures/pcap/zoom.pcap", true},
        {"zoom.pcap", "/data/captures/pcap/zoom.pcap", true},
        {"zoom.pcap", "zoom.pcap", true},
        {"pcap/zoom.pcap", "zoom.pcap", true},
        {"./zoom.pcap", "x/./zoom.pcap", true},
        {"a//zoom.pcap", "/b/a/zoom.pcap", true},
        {"oom.pcap", "zoom.pcap", false},
        {"other/zoom.pcap", "pcap/zoom.pcap", false},
        {"run1.pcap", "run1.pcap.gz", false},
        {"run1.pcap.gz", "/x/run1.pcap.gz", true},
        {"", "zoom.pcap", false},
        {"/", "/", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (label_path_matches(cases[i].a, cases[i].b) != cases[i].same ||
            label_path_matches(cases[i].b, cases[i].a) != cases[i].same)
            fail_msg("%s and %s", cases[i].a, cases[i].b);
    }
}

static void test_bad_files(void **state) {
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", "empty"},
        {"file,lable\n", ":1: columns file and label"},
        {"label\n", ":1: columns file and label"},
        {"file,label,micro\n", ":1: column 'micro' is there twice"},
        {"file,label,src,dst\n", ":1: columns proto, src, sport, dst and dport"},
        {"file,label\na.pcap\n", ":2: 1 fields where the header line has 2"},
        {"file,label\na.pcap,b,c\n", ":2: 3 fields where the header line has 2"},
        {"file,label\na.pcap,\n", ":2: file and label must not be empty"},
        {"file,label\n,x\n", ":2: file and label must not be empty"},
        {"file,label\ndir/,x\n", ":2: file and label must not be empty"},
        {"file,label,proto,src,sport,dst,dport\nf,l,tcp,1.2.3.4,80,1.2.3.5,65536\n", ":2: dport '65536'"},
        {"file,label,proto,src,sport,dst,dport\nf,l,tcp,1.2.3.4,-1,1.2.3.5,1\n", ":2: sport '-1'"},
        {"file,label,proto,src,sport,dst,dport\nf,l,tcp,1.2.3.4,,1.2.3.5,1\n", ":2: sport ''"},
        {"file,label,proto,src,sport,dst,dport\nf,l,sctp,1.2.3.4,1,1.2.3.5,1\n", ":2: protocol 'sctp'"},
        {"file,label,proto,src,sport,dst,dport\nf,l,tcp,1.2.3,1,1.2.3.5,1\n", ":2: src '1.2.3' is no IP address"},
        {"file,label,proto,src,sport,dst,dport\nf,l,tcp,1.2.3.4,1,,\n", ":2: dst '' is no IP address"},
        {"file,label,proto,src,sport,dst,dport\nf,l,tcp,::1,1,1.2.3.5,1\n",
         ":2: src '::1' and dst '1.2.3.5' are of different"},
        {"file,label,proto,src,sport,dst,dport\nf,l,tcp,1::2::3,1,::1,1\n", ":2: src '1::2::3' is no IP address"},
        {"file,label,proto,src,sport,dst,dport\nf,l,icmp,::1,1,::2,0\n", ":2: protocol icmp between addresses of IPv6"},
        {"file,label,proto,src,sport,dst,dport\nf,l,58,1.2.3.4,1,1.2.3.5,0\n",
         ":2: protocol icmp6 between addresses of IPv4"},
        {"file,label,proto,src,sport,dst,dport\nf,l,,1.2.3.4,1,1.2.3.5,1\n", ":2: protocol ''"},
        {"file,label,proto,src,sport,dst,dport\nf,l,icmp,1.2.3.4,1,1.2.3.5,9\n", ":2: dport of an ICMP flow is 0"},
        {"file,label,macro\na,x,m\nb,x,\nc,x,n\n", ":4: label 'x' has macro 'n' here and 'm' elsewhere"},
        {"file,label\n\"a,b\n", ":2: a quote is not closed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        labels *l = NULL;
        assert_int_equal(file_write(path, cases[i].text, strlen(cases[i].text)), ST_OK);
        if (labels_open(&l, path) != ST_FORMAT || strstr(status_message(), cases[i].want) == NULL ||
            strstr(status_message(), path) == NULL)
            fail_msg("case %zu: %s", i, status_message());
        assert_null(l);
    }
    labels *l = NULL;
    assert_int_equal(labels_open(&l, folder), ST_IO);
    assert_int_equal(labels_open(&l, "/nonexistent.csv"), ST_IO);
}

static labels *open_text(const char *text) {
    labels *l = NULL;
    assert_int_equal(file_write(path, text, strlen(text)), ST_OK);
    if (labels_open(&l, path) != ST_OK)
        fail_msg("%s", status_message());
    return l;
}

static text_list list_of(const char *a, const char *b) {
    text_list l = {.n = 0};
    assert_int_equal(text_list_add(&l, a), ST_OK);
    if (b != NULL)
        assert_int_equal(text_list_add(&l, b), ST_OK);
    return l;
}

static const char table[] = "micro,extra,file,proto,src,sport,dst,dport,filter,macro,run\n"
                            "zoom,?,p/a.pcap,tcp,10.0.0.1,1000,192.0.2.1,443,,video,\n"
                            "zoom,?,p/a.pcap,UDP,10.0.0.1,1000,192.0.2.1,443,,,\n"
                            "ping,?,p/a.pcap,icmp,10.0.0.1,77,192.0.2.1,0,,,\n"
                            "note,?,p/a.pcap,icmp,10.0.0.1,,192.0.2.9,,,,\n"
                            "dns,?,p/a.pcap,,,,,,\"udp and (port 53 or port 5353)\",infra,\n"
                            "dns,?,p/a.pcap,,,,,,udp,,\n"
                            "whole,?,b.pcap,,,,,,,,run-b\n"
                            "zoom,?,b.pcap,tcp,10.0.0.1,1000,192.0.2.1,443,,,run-c\n"
                            "six,?,b.pcap,tcp,2001:db8::1,1,2001:db8::2,2,tcp,,\n"
                            "other,?,c.pcap,,,,,,,,\n";

static void test_tables(void **state) {
    labels *l = open_text(table);
    static const char *const names[] = {"dns", "note", "other", "ping", "six", "whole", "zoom"},
                             *const macros[] = {"infra", "", "", "", "", "", "video"},
                             *const runs[] = {"a.pcap", "b.pcap", "c.pcap", "run-b", "run-c"};
    assert_int_equal(labels_count(l), 7);
    for (size_t i = 0; i < 7; i++) {
        assert_string_equal(labels_name(l, i), names[i]);
        assert_string_equal(labels_macro(l, i), macros[i]);
    }
    assert_int_equal(labels_nruns(l), 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(labels_run(l, i), runs[i]);

    text_list captures = list_of("/data/p/b.pcap", "/data/p/lonely.pcap");
    assert_int_equal(labels_keep(l, &captures), ST_OK);
    assert_int_equal(labels_count(l), 3);
    assert_string_equal(labels_name(l, 0), "six");
    assert_string_equal(labels_name(l, 1), "whole");
    assert_string_equal(labels_name(l, 2), "zoom");
    assert_int_equal(labels_nruns(l), 4);
    assert_string_equal(labels_run(l, 0), "b.pcap");
    assert_string_equal(labels_run(l, 1), "lonely.pcap");
    labels_free(&l);
    assert_null(l);

    l = open_text(table);
    text_list_clear(&captures);
    captures = list_of("/data/p/none.pcap", NULL);
    assert_int_equal(labels_keep(l, &captures), ST_FORMAT);
    assert_non_null(strstr(status_message(), "none of its 10 rows"));
    labels_free(&l);
    text_list_clear(&captures);
}

static void test_no_labels(void **state) {
    labels *l = NULL;
    label_matcher *m = NULL;
    capture_record r = {.bytes = (const uint8_t *)""};
    flow_key key = {.proto = PROTO_TCP};
    text_list captures = list_of("x/one.pcap", "two.pcap");
    assert_int_equal(labels_open(&l, ""), ST_OK);
    assert_int_equal(labels_keep(l, &captures), ST_OK);
    assert_int_equal(labels_count(l), 0);
    assert_int_equal(labels_nruns(l), 2);
    assert_int_equal(label_matcher_new(&m, l, "two.pcap", 1), ST_OK);
    flow_label got = label_match(m, &key, &r);
    assert_int_equal(got.label, -1);
    assert_int_equal(got.line, 0);
    assert_string_equal(labels_run(l, (size_t)got.run), "two.pcap");
    label_matcher_free(&m);
    labels_free(&l);
    text_list_clear(&captures);
    assert_int_equal(labels_open(&l, NULL), ST_OK);
    labels_free(&l);
}

/* A raw IP frame of the packet. */
static flow_label match(const label_matcher *m, const packet *p) {
    flow_key key = flow_key_of(p);
    capture_record r = {.caplen = p->nheader, .wire_len = p->wire_len, .link_type = 101, .bytes = p->header};
    return label_match(m, &key, &r);
}

static void test_match(void **state) {
    enum { A = 0x0a000001, B = 0xc0000201, C = 0xc0000209 };
    static const struct {
        const char *capture;
        unsigned proto;
        uint32_t from, to;
        unsigned sport, dport;
        const char *label, *run; /* NULL: none */
    } cases[] = {
        {"x/p/a.pcap", PROTO_TCP, A, B, 1000, 443, "zoom", "a.pcap"},
        {"x/p/a.pcap", PROTO_TCP, B, A, 443, 1000, "zoom", "a.pcap"}, /* the capture began with the answer */
        {"x/p/a.pcap", PROTO_TCP, B, A, 1000, 443, NULL, "a.pcap"},   /* not the same sides */
        {"x/p/a.pcap", PROTO_TCP, A, B, 1001, 443, NULL, "a.pcap"},
        {"x/p/a.pcap", PROTO_UDP, A, B, 1000, 443, "zoom", "a.pcap"}, /* the 5-tuple before the filter */
        {"x/p/a.pcap", PROTO_UDP, A, B, 1000, 53, "dns", "a.pcap"},
        {"x/p/a.pcap", PROTO_UDP, A, B, 7, 7, "dns", "a.pcap"},
        {"x/p/a.pcap", PROTO_ICMP, A, B, 77, 0, "ping", "a.pcap"},
        {"x/p/a.pcap", PROTO_ICMP, B, A, 77, 0, "ping", "a.pcap"},
        {"x/p/a.pcap", PROTO_ICMP, A, B, 78, 0, NULL, "a.pcap"},
        {"x/p/a.pcap", PROTO_ICMP, A, C, 0, 0, "note", "a.pcap"},
        {"b.pcap", PROTO_TCP, A, B, 1000, 443, "zoom", "run-c"},
        {"b.pcap", PROTO_TCP, A, B, 9, 9, "whole", "run-b"},
        {"c.pcap", PROTO_TCP, A, B, 9, 9, "other", "c.pcap"},
    };
    labels *l = open_text(table);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        label_matcher *m = NULL;
        packet p = io_packet(cases[i].proto, cases[i].from, cases[i].to, cases[i].sport, cases[i].dport, 10);
        assert_int_equal(label_matcher_new(&m, l, cases[i].capture, 101), ST_OK);
        flow_label found = match(m, &p);
        const char *got = found.label >= 0 ? labels_name(l, (size_t)found.label) : NULL;
        if ((got == NULL) != (cases[i].label == NULL) || (got != NULL && strcmp(got, cases[i].label) != 0))
            fail_msg("case %zu: label %s", i, got != NULL ? got : "none");
        assert_true(found.run >= 0);
        assert_string_equal(labels_run(l, (size_t)found.run), cases[i].run);
        assert_true((found.line > 0) == (got != NULL));
        label_matcher_free(&m);
    }
    labels_free(&l);
}

/* A flow goes on in the next file of a series: it has the label of its 5-tuple in the nearest file before, unless the
 * file's own rows say something. */
static void test_series(void **state) {
    enum { A = 0x0a000001, B = 0xc0000201 };
    static const struct {
        const char *capture;
        unsigned sport;
        const char *label; /* NULL: none */
    } cases[] = {
        {"x/all-0001.pcap", 1, "first"},  {"x/all-0001.pcap", 3, NULL},      {"x/all-0002.pcap", 1, "second"},
        {"x/all-0002.pcap", 2, "first"},  {"x/all-0003.pcap", 1, "second"},  {"x/all-0003.pcap", 2, "first"},
        {"x/all-0003.pcap", 3, "second"}, {"x/all-10000.pcap", 3, "second"}, {"x/web-0002.pcap", 1, NULL},
        {"y/all-0003.pcap", 1, NULL},     {"x/all-003.pcap", 1, NULL},       {"x/all-0003.pcap.gz", 1, NULL},
        {"x/all-0004.pcap", 1, "whole"},
    };
    labels *l = open_text("file,label,proto,src,sport,dst,dport\n"
                          "x/all-0001.pcap,first,tcp,10.0.0.1,1,192.0.2.1,443\n"
                          "x/all-0001.pcap,first,tcp,10.0.0.1,2,192.0.2.1,443\n"
                          "x/all-0002.pcap,second,tcp,10.0.0.1,1,192.0.2.1,443\n"
                          "x/all-0002.pcap,second,tcp,10.0.0.1,3,192.0.2.1,443\n"
                          "x/all-0004.pcap,whole,,,,,\n");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        label_matcher *m = NULL;
        packet p = io_packet(PROTO_TCP, A, B, cases[i].sport, 443, 10);
        assert_int_equal(label_matcher_new(&m, l, cases[i].capture, 101), ST_OK);
        flow_label found = match(m, &p);
        const char *got = found.label >= 0 ? labels_name(l, (size_t)found.label) : NULL;
        if ((got == NULL) != (cases[i].label == NULL) || (got != NULL && strcmp(got, cases[i].label) != 0))
            fail_msg("%s, port %u: label %s", cases[i].capture, cases[i].sport, got != NULL ? got : "none");
        label_matcher_free(&m);
    }
    labels_free(&l);
}

/* Filters see the link layer of their capture. */
static void test_filter_link_type(void **state) {
    labels *l = open_text("file,label,filter\na.pcap,x,vlan 7 and tcp\n");
    label_matcher *m = NULL;
    packet p = io_packet(PROTO_TCP, 1, 2, 3, 4, 0);
    uint8_t frame[18 + PACKET_HEADER_MAX] = {[12] = 0x81, [15] = 7, [16] = 0x08};
    memcpy(frame + 18, p.header, p.nheader);
    capture_record r = {.caplen = 18u + p.nheader, .wire_len = 18u + p.nheader, .link_type = 1, .bytes = frame};
    flow_key key = flow_key_of(&p);
    assert_int_equal(label_matcher_new(&m, l, "a.pcap", 1), ST_OK);
    assert_int_equal(label_match(m, &key, &r).label, 0);
    frame[15] = 8;
    assert_int_equal(label_match(m, &key, &r).label, -1);
    r.caplen = 10; /* a filter that looks past the captured bytes does not match */
    assert_int_equal(label_match(m, &key, &r).label, -1);
    label_matcher_free(&m);
    labels_free(&l);
}

static void test_ipv6(void **state) {
    static const struct {
        unsigned proto, sport, dport;
        bool turned;
        const char *label;
    } cases[] = {
        {PROTO_TCP, 1000, 443, false, "web"},  {PROTO_TCP, 443, 1000, true, "web"},
        {PROTO_TCP, 1001, 443, false, "rest"}, {PROTO_UDP, 1000, 443, false, "quic"},
        {PROTO_ICMPV6, 7, 0, false, "ping"},   {PROTO_ICMPV6, 7, 0, true, "ping"},
        {PROTO_ICMPV6, 8, 0, false, "rest"},
    };
    labels *l = open_text("file,label,proto,src,sport,dst,dport,filter\n"
                          "a,web,tcp,2001:db8::1,1000,2001:DB8:0::2,443,\n"
                          "a,ping,ICMP6,2001:db8::1,7,2001:db8::2,,\n"
                          "a,quic,,,,,,ip6 and udp port 443\n"
                          "a,four,,,,,,ip\n"
                          "a,rest,,,,,,\n");
    label_matcher *m = NULL;
    assert_int_equal(label_matcher_new(&m, l, "a", 101), ST_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        packet p = {.nheader = cases[i].proto == PROTO_TCP ? 60 : 48,
                    .wire_len = 60,
                    .header = {0x60, [5] = 20, (uint8_t)cases[i].proto, 64, [52] = 0x50}};
        for (unsigned side = 0; side < 2; side++) {
            put32(p.header + 8 + 16 * side, 0x20010db8);
            p.header[23 + 16 * side] = side == cases[i].turned ? 1 : 2;
        }
        if (cases[i].proto == PROTO_ICMPV6)
            p.header[40] = 128;
        put16(p.header + (cases[i].proto == PROTO_ICMPV6 ? 44 : 40), cases[i].sport);
        if (cases[i].proto != PROTO_ICMPV6)
            put16(p.header + 42, cases[i].dport);
        int32_t label = match(m, &p).label;
        assert_true(label >= 0);
        if (strcmp(labels_name(l, (size_t)label), cases[i].label) != 0)
            fail_msg("case %zu: label %s", i, labels_name(l, (size_t)label));
    }
    label_matcher_free(&m);
    labels_free(&l);
}

/* Frames of several link types in one file: each is seen with its own link layer, and a filter that has no meaning on
 * one of them matches none of its frames. */
static void test_several_link_types(void **state) {
    labels *l = open_text("file,label,filter\na,mac,ether host 2:0:0:0:0:1\na,tcp,tcp\n");
    label_matcher *m = NULL;
    packet p = io_packet(PROTO_TCP, 1, 2, 3, 4, 0);
    flow_key key = flow_key_of(&p);
    static const struct {
        int link_type;
        size_t nlink;
        const char *link, *label;
    } cases[] = {
        {1, 14, "\2\0\0\0\0\1\2\0\0\0\0\2\x08", "mac"},
        {1, 14, "\2\0\0\0\0\3\2\0\0\0\0\2\x08", "tcp"},
        {101, 0, "", "tcp"},
        {12, 0, "", "tcp"},
        {228, 0, "", "tcp"},
        {0, 4, "\2\0\0", "tcp"},
        {9, 4, "\xff\3\0\x21", "tcp"},
        {113, 16, "\0\0\0\1\0\6\2\0\0\0\0\1\0\0\x08", "tcp"},
        {276, 20, "\x08\0\0\0\0\0\0\1\0\1\0\6\2\0\0\0\0\1\0", "tcp"},
        {105, 32, "\x08\1\0\0\2\0\0\0\0\3\2\0\0\0\0\2\2\0\0\0\0\4\0\0\xaa\xaa\3\0\0\0\x08", "tcp"},
        {147, 0, "", NULL},
        {-1, 0, "", NULL},
    };
    assert_int_equal(label_matcher_new(&m, l, "a", 1), ST_OK);
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) { /* the second time compiled already */
        size_t k = i / 2;
        uint8_t frame[40 + PACKET_HEADER_MAX];
        memcpy(frame, cases[k].link, cases[k].nlink);
        memcpy(frame + cases[k].nlink, p.header, p.nheader);
        size_t n = cases[k].nlink + p.nheader;
        capture_record r = {.caplen = n, .wire_len = n, .link_type = cases[k].link_type, .bytes = frame};
        int32_t label = label_match(m, &key, &r).label;
        const char *got = label >= 0 ? labels_name(l, (size_t)label) : NULL;
        if ((got == NULL) != (cases[k].label == NULL) || (got != NULL && strcmp(got, cases[k].label) != 0))
            fail_msg("link type %d: label %s", cases[k].link_type, got != NULL ? got : "none");
    }
    label_matcher_free(&m);
    labels_free(&l);
}

static void test_bad_matches(void **state) {
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"file,label,filter\na,x,tcp\na,x,this is no filter\n", ":3: filter 'this is no filter'"},
        {"file,label,filter\na,x,ether host 01:02:03:04:05:06\n", ":2: filter 'ether host"}, /* not on raw IP */
        {"file,label\na,x\na,y\n", ":3: label 'y', run 'a' for the flow that line 2 gives label 'x'"},
        {"file,label,proto,src,sport,dst,dport\na,x,tcp,1.1.1.1,1,2.2.2.2,2\na,y,tcp,2.2.2.2,2,1.1.1.1,1\n",
         ":3: label 'y'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        labels *l = open_text(cases[i].text);
        label_matcher *m = NULL;
        if (label_matcher_new(&m, l, "a", 101) != ST_FORMAT || strstr(status_message(), cases[i].want) == NULL)
            fail_msg("case %zu: %s", i, status_message());
        assert_null(m);
        labels_free(&l);
    }
    /* The same row twice is no contradiction. */
    labels *l = open_text("file,label,proto,src,sport,dst,dport\na,x,tcp,1.1.1.1,1,2.2.2.2,2\n"
                          "a,x,tcp,2.2.2.2,2,1.1.1.1,1\n");
    label_matcher *m = NULL;
    assert_int_equal(label_matcher_new(&m, l, "a", 101), ST_OK);
    label_matcher_free(&m);
    labels_free(&l);
}

/* Rows that labelled no flow: by their lines. A 5-tuple that stands twice in a file is used or not as one. */
static void test_unused(void **state) {
    enum { A = 0x0a000001, B = 0xc0000201, LINES = 10 };
    static const struct {
        const char *capture;
        unsigned sport, dport;
        uint32_t line;
    } flows[] = {{"a.pcap", 1, 2, 2}, {"a.pcap", 80, 9, 5}, {"b.pcap", 7, 7, 10}};
    static const unused_row want[] = {{4, "b.pcap", "x"}, {6, "a.pcap", "y"}, {7, "a.pcap", "y"}, {9, "a.pcap", "x"}};
    labels *l = open_text("file,label,proto,src,sport,dst,dport,filter\n"
                          "a.pcap,x,tcp,10.0.0.1,1,192.0.2.1,2,\n"
                          "d/a.pcap,x,tcp,192.0.2.1,2,10.0.0.1,1,\n" /* line 2 the other way round */
                          "b.pcap,x,tcp,10.0.0.1,1,192.0.2.1,2,\n"   /* in another file */
                          "a.pcap,y,,,,,,src port 80\n"
                          "a.pcap,y,,,,,,src port 81\n"
                          "a.pcap,y,tcp,10.0.0.1,3,192.0.2.1,2,\n"
                          "\n"
                          "a.pcap,x,,,,,,\n"
                          "b.pcap,x,,,,,,\n");
    uint64_t taken[LINES + 1] = {0};
    unused_row *rows;
    size_t n;
    assert_int_equal(labels_nlines(l), LINES);
    for (size_t i = 0; i < sizeof flows / sizeof flows[0]; i++) {
        label_matcher *m = NULL;
        packet p = io_packet(PROTO_TCP, A, B, flows[i].sport, flows[i].dport, 10);
        assert_int_equal(label_matcher_new(&m, l, flows[i].capture, 101), ST_OK);
        flow_label found = match(m, &p);
        assert_int_equal(found.line, flows[i].line);
        taken[found.line]++;
        label_matcher_free(&m);
    }
    assert_int_equal(labels_unused(l, taken, &n, &rows), ST_OK);
    assert_int_equal(n, sizeof want / sizeof want[0]);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(rows[i].line, want[i].line);
        assert_string_equal(rows[i].file, want[i].file);
        assert_string_equal(rows[i].label, want[i].label);
    }
    free(rows);
    labels_free(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_csv_errors),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_no_labels),
        cmocka_unit_test(test_match),
        cmocka_unit_test(test_series),
        cmocka_unit_test(test_filter_link_type),
        cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_several_link_types),
        cmocka_unit_test(test_bad_matches),
        cmocka_unit_test(test_unused),
    };
    return cmocka_run_group_tests_name("io.labels", tests, make_path, free_path);
}
