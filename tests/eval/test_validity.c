/* Validity: every rule's figure moves when that rule is broken; programs see what was written; captures that came are
 * shown packet for packet; nothing is left in the temporary folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "eval/parts.h"
#include "eval/report_priv.h"
#include "eval/validity_priv.h"
#include "io/capture.h"
#include "packet/check.h"

static comm *everyone; /* opened by main */

/* ---- flows ---- */

enum { COLUMN_TRAIN, COLUMN_HELD_OUT, COLUMN_RAW, COLUMN_SYNTHETIC, COLUMN_RANDOM, COLUMN_MARGINAL };
enum { FLOW_TCP, FLOW_UDP, FLOW_ICMP, KINDS };
static char *const class_names[KINDS] = {"web", "voice", "ping"};

static packet ip_packet(unsigned proto, unsigned nl4, unsigned npayload, unsigned dir, unsigned number) {
    packet p = {.nheader = (uint8_t)(20 + nl4), .dir = (uint8_t)dir};
    uint32_t client = 0xc6336401 + number, server = 0xc0000201;
    p.header[0] = 0x45;
    put16(p.header + 2, 20 + nl4 + npayload);
    p.header[6] = 0x40;
    p.header[8] = dir ? 60 : 64;
    p.header[9] = (uint8_t)proto;
    put32(p.header + 12, dir ? server : client);
    put32(p.header + 16, dir ? client : server);
    p.wire_len = 20 + nl4 + npayload;
    return p;
}

static void add(flow *f, packet p) {
    size_t n = f->npackets;
    p.frame = (uint32_t)n;
    p.time_ns = n ? f->packets[n - 1].time_ns + 1000000 : 1700000000000000000;
    checksum_fill(&p, false);
    assert_int_equal(flow_add(f, &p), ST_OK);
}

static packet segment(unsigned dir, unsigned number, uint32_t seq, uint32_t ack, unsigned flags, unsigned npayload) {
    unsigned nl4 = flags & TCP_SYN ? 24 : 20; /* with the option MSS */
    packet p = ip_packet(PROTO_TCP, nl4, npayload, dir, number);
    uint8_t *l4 = p.header + 20;
    put16(l4, dir ? 443 : 40000 + number);
    put16(l4 + 2, dir ? 40000 + number : 443);
    put32(l4 + 4, seq);
    put32(l4 + 8, ack);
    l4[12] = (uint8_t)(nl4 / 4 << 4);
    l4[13] = (uint8_t)flags;
    put16(l4 + 14, 64000);
    if (flags & TCP_SYN)
        memcpy(l4 + 20, "\2\4\5\264", 4);
    return p;
}

/* Opened, one question, two segments of answer, closed by both. */
static void tcp_flow(flow *f, unsigned number) {
    add(f, segment(0, number, 1000, 0, TCP_SYN, 0));
    add(f, segment(1, number, 9000, 1001, TCP_SYN | TCP_ACK, 0));
    add(f, segment(0, number, 1001, 9001, TCP_ACK, 0));
    add(f, segment(0, number, 1001, 9001, TCP_ACK | TCP_PSH, 100));
    add(f, segment(1, number, 9001, 1101, TCP_ACK, 500));
    add(f, segment(1, number, 9501, 1101, TCP_ACK | TCP_PSH, 300));
    add(f, segment(0, number, 1101, 9801, TCP_ACK | TCP_PSH, 50));
    add(f, segment(0, number, 1151, 9801, TCP_ACK | TCP_FIN, 0));
    add(f, segment(1, number, 9801, 1152, TCP_ACK | TCP_FIN, 0));
    add(f, segment(0, number, 1152, 9802, TCP_ACK, 0));
}

static void udp_flow(flow *f, unsigned number) {
    for (unsigned i = 0; i < 6; i++) {
        packet p = ip_packet(PROTO_UDP, 8, 160, i % 2, number);
        put16(p.header + 20, i % 2 ? 5004 : 30000 + number);
        put16(p.header + 22, i % 2 ? 30000 + number : 5004);
        put16(p.header + 24, 168);
        add(f, p);
    }
}

static void icmp_flow(flow *f, unsigned number) {
    for (unsigned i = 0; i < 6; i++) {
        packet p = ip_packet(PROTO_ICMP, 8, 56, i % 2, number);
        p.header[20] = i % 2 ? 0 : 8;
        put16(p.header + 24, 77 + number);
        put16(p.header + 26, 1 + i / 2);
        add(f, p);
    }
}

/* ---- worlds ---- */

typedef struct bench {
    experiment e;
    eval_world w;
    report *r;
    int label_macro[KINDS];
} bench;

static void add_flow(eval_set *s, int kind, unsigned number) {
    eval_flow e = {0};
    flow_init(&e.f);
    if (kind == FLOW_TCP)
        tcp_flow(&e.f, number);
    else if (kind == FLOW_UDP)
        udp_flow(&e.f, number);
    else
        icmp_flow(&e.f, number);
    e.f.key = flow_key_of(&e.f.packets[0]);
    e.f.label = kind;
    e.packets = e.f.npackets;
    assert_int_equal(memory_grow(&s->flows, &s->capacity, s->n + 1, sizeof *s->flows), ST_OK);
    s->flows[s->n++] = e;
}

/* Per kind `n` synthetic flows and one more held-out and training ones; flow i of kind k is number k + KINDS * i. */
static void bench_open(bench *b, unsigned n, bool ask, bool raw) {
    *b = (bench){.e.eval.tools = ask};
    b->w = (eval_world){.e = &b->e,
                        .c = everyone,
                        .window = 32,
                        .nlabels = KINDS,
                        .label = (char **)class_names,
                        .nmacros = KINDS,
                        .macro = (char **)class_names,
                        .macro_of = b->label_macro,
                        .payload = CHECK_PAYLOAD_ZERO};
    for (unsigned i = 0; i <= n; i++)
        for (int k = 0; k < KINDS; k++) {
            add_flow(&b->w.held_out, k, (unsigned)k + KINDS * i);
            add_flow(&b->w.train, k, (unsigned)k + KINDS * i);
            if (i < n)
                add_flow(&b->w.synthetic, k, (unsigned)k + KINDS * i);
            if (i < n && raw)
                add_flow(&b->w.raw, k, (unsigned)k + KINDS * i);
        }
    assert_int_equal(report_new(&b->r, "test"), ST_OK);
}

static void bench_close(bench *b) {
    eval_set *sets[] = {&b->w.train, &b->w.held_out, &b->w.synthetic, &b->w.raw};
    for (size_t k = 0; k < sizeof sets / sizeof *sets; k++) {
        for (size_t i = 0; i < sets[k]->n; i++)
            flow_clear(&sets[k]->flows[i].f);
        free(sets[k]->flows);
    }
    report_free(&b->r);
}

static void judge(bench *b) {
    assert_int_equal(part_validity(&b->w, b->r), ST_OK);
    assert_int_equal(report_status(b->r), ST_OK);
}

static packet *synthetic_packet(bench *b, int kind, size_t k) {
    return &b->w.synthetic.flows[kind].f.packets[k];
}

/* ---- reading the report ---- */

static const report_cell *cell(const report *r, const char *table, const char *row, size_t column) {
    const report_section_data *s = report_find(r, "validity");
    assert_non_null(s);
    for (size_t i = 0; i < s->nitems; i++) {
        if (strcmp(s->items[i].id, table) != 0)
            continue;
        const report_table *t = s->items[i].table;
        for (size_t k = 0; k < t->nrows; k++)
            if (!strcmp(t->rows[k].name, row) && column < t->rows[k].ncells)
                return &t->rows[k].cells[column];
    }
    return NULL;
}

static double number(const report *r, const char *table, const char *row, size_t column) {
    const report_cell *c = cell(r, table, row, column);
    if (!c || c->kind != CELL_NUMBER)
        fail_msg("no number in %s, row %s, column %zu (%s)", table, row, column, c ? c->text : "no such row");
    return c->x;
}

static double value(const report *r, const char *name) {
    const report_named_value *v = report_find_value(r, name, strlen(name));
    if (!v)
        fail_msg("no value %s", name);
    return v->x;
}

/* ---- rules ---- */

static void set8(packet *p, unsigned at, unsigned v) {
    p->header[at] = (uint8_t)v;
}

/* False for a rule that no flow here can break alone; tests/packet/test_check.c breaks every one. */
static bool break_rule(bench *b, check_rule rule) {
    packet *tcp = synthetic_packet(b, FLOW_TCP, 5), *udp = synthetic_packet(b, FLOW_UDP, 3),
           *icmp = synthetic_packet(b, FLOW_ICMP, 2);
    switch (rule) {
    case CHECK_VERSION:
        set8(tcp, 0, 0x55);
        break;
    case CHECK_IHL:
        set8(tcp, 0, 0x44);
        break;
    case CHECK_PROTOCOL:
        set8(udp, 9, PROTO_ICMP);
        break;
    case CHECK_LENGTH:
        put16(icmp->header + 2, 27);
        break;
    case CHECK_PORTS:
        put16(udp->header + 20, 5005);
        break;
    case CHECK_ADDRESSES:
        set8(udp, 15, 99);
        break;
    case CHECK_TTL:
        set8(icmp, 8, 63);
        break;
    case CHECK_OPTIONS: /* length of the SYN's MSS */
        set8(synthetic_packet(b, FLOW_TCP, 0), 41, 3);
        break;
    case CHECK_UDP_LENGTH:
        put16(udp->header + 24, 167);
        break;
    case CHECK_FLAGS:
        set8(tcp, 33, TCP_SYN | TCP_FIN | TCP_ACK);
        break;
    case CHECK_SEQ:
        put32(tcp->header + 24, 12345);
        break;
    case CHECK_ACK:
        put32(tcp->header + 28, 1077);
        break;
    case CHECK_FIN: /* too early: more data follow */
        set8(synthetic_packet(b, FLOW_TCP, 4), 33, TCP_ACK | TCP_FIN);
        break;
    case CHECK_ICMP:
        set8(icmp, 20, 200);
        break;
    case CHECK_CHECKSUM_IP:
        tcp->header[10] ^= 1;
        break;
    case CHECK_CHECKSUM_L4:
        tcp->header[36] ^= 1;
        break;
    case CHECK_TIME:
        udp->time_ns -= 1000000000;
        break;
    case CHECK_FRAGMENT:
        set8(udp, 6, 0x80);
        break;
    case CHECK_RESERVED:
        put16(tcp->header + 38, 7);
        break;
    case CHECK_DSCP:
        set8(udp, 1, 4);
        break;
    case CHECK_IP_ID:
        set8(udp, 6, 0);
        break;
    case CHECK_HANDSHAKE:
        set8(synthetic_packet(b, FLOW_TCP, 9), 33, TCP_SYN | TCP_ACK);
        break;
    case CHECK_RESET:
        set8(synthetic_packet(b, FLOW_TCP, 7), 33, TCP_RST | TCP_ACK);
        break;
    case CHECK_WINDOW:
        put16(synthetic_packet(b, FLOW_TCP, 9)->header + 34, 0);
        break;
    case CHECK_REPEAT: /* data that shrink to nothing */
        put16(synthetic_packet(b, FLOW_TCP, 6)->header + 2, 40);
        set8(synthetic_packet(b, FLOW_TCP, 6), 33, TCP_ACK);
        set8(tcp, 33, TCP_ACK);
        put16(tcp->header + 2, 40);
        break;
    case CHECK_NEGOTIATED: /* a SYN without MSS */
        memset(synthetic_packet(b, FLOW_TCP, 0)->header + 40, 1, 4);
        break;
    case CHECK_ECHO:
        put16(synthetic_packet(b, FLOW_ICMP, 3)->header + 26, 99);
        break;
    case CHECK_COUNT:
        break;
    default:
        return false;
    }
    return true;
}

/* Rows fail the rule; false too where none is subject to it. */
static bool fails(const report *r, const char *rule, size_t column) {
    const report_cell *c = cell(r, "validity-rules", rule, column);
    assert_non_null(c);
    return c->kind == CELL_NUMBER && c->x > 0;
}

static void every_rule_moves_its_figure(void **state) {
    (void)state;
    for (int rule = 0; rule <= CHECK_COUNT; rule++) {
        bench b;
        bench_open(&b, 1, false, false);
        if (!break_rule(&b, (check_rule)rule)) { /* CHECK_COUNT: nothing is broken */
            bench_close(&b);
            continue;
        }
        judge(&b);
        print_message("%s\n", rule < CHECK_COUNT ? check_rules[rule].name : "nothing broken");
        if (rule < CHECK_COUNT)
            assert_true(number(b.r, "validity-rules", check_rules[rule].name, COLUMN_SYNTHETIC) > 0);
        for (int k = 0; k < CHECK_COUNT && rule == CHECK_COUNT; k++)
            assert_false(fails(b.r, check_rules[k].name, COLUMN_SYNTHETIC));
        for (int k = 0; k < CHECK_CHECKSUM_IP; k++)
            assert_false(fails(b.r, check_rules[k].name, COLUMN_HELD_OUT));
        bool row_rule = rule < CHECK_COUNT && (check_row_rules >> rule & 1);
        assert_int_equal(value(b.r, "validity.after") < 1, row_rule);
        assert_int_equal(number(b.r, "validity-passing", "flows passing all", COLUMN_SYNTHETIC) < 100, row_rule);
        assert_true(value(b.r, "validity.real") == 1);
        if (rule >= CHECK_CHECKSUM_IP && rule <= CHECK_CHECKSUM_L4)
            assert_true(value(b.r, "validity.checksums") < 1);
        bench_close(&b);
    }
}

static void unknown_is_empty(void **state) {
    (void)state;
    bench b;
    bench_open(&b, 1, false, false);
    judge(&b);
    assert_int_equal(cell(b.r, "validity-rules", "checksum_l4", COLUMN_HELD_OUT)->kind, CELL_NOTHING);
    assert_int_equal(cell(b.r, "validity-rules", "version", COLUMN_RAW)->kind, CELL_NOTHING);
    assert_int_equal(cell(b.r, "validity-tools", "all", 0)->kind, CELL_NOTHING);
    assert_int_equal(cell(b.r, "validity-traffic-shares", "packets with an error (tshark)", 1)->kind, CELL_NOTHING);
    assert_null(report_find_value(b.r, "validity.before", strlen("validity.before")));
    bench_close(&b);
}

/* One TTL bit, and one packet that repair took away, among the bits of all headers before repair. */
static void counts_what_repair_changed(void **state) {
    (void)state;
    bench b;
    bench_open(&b, 2, false, true);
    double bits = 0, packets = 0;
    for (size_t i = 0; i < b.w.raw.n; i++)
        for (size_t k = 0; k < b.w.raw.flows[i].f.npackets; k++, packets++)
            bits += 8.0 * (b.w.raw.flows[i].f.packets[k].nheader - 4); /* two checksums */
    b.w.raw.flows[FLOW_UDP].f.packets[2].header[8] ^= 2;
    judge(&b);
    assert_true(number(b.r, "validity-repair", "header bits (without checksums)", 0) == bits);
    assert_float_equal(number(b.r, "validity-repair", "header bits (without checksums)", 1), 100 / bits, 1e-9);
    assert_float_equal(number(b.r, "validity-repair", "packets", 1), 100 / packets, 1e-9);
    assert_true(number(b.r, "validity-repair", "packets, by leaving them out", 1) == 0);
    assert_float_equal(value(b.r, "validity.before"), 1 - 1 / packets, 1e-9);
    assert_true(value(b.r, "validity.after") == 1);
    report_free(&b.r);
    assert_int_equal(report_new(&b.r, "test"), ST_OK);
    b.w.synthetic.flows[FLOW_ICMP].f.npackets--;
    judge(&b);
    assert_float_equal(number(b.r, "validity-repair", "packets, by leaving them out", 1), 100 / packets, 1e-9);
    bench_close(&b);
}

/* ---- traffic ---- */

static void traffic_figures(void **state) {
    (void)state;
    bench b;
    bench_open(&b, 2, false, false);
    judge(&b);
    for (size_t side = 0; side < 2; side++) { /* three held-out flows of a class, two synthetic: two of each */
        assert_true(number(b.r, "validity-traffic", "flows", side) == 6);
        assert_true(number(b.r, "validity-traffic", "sessions (different 5-tuples)", side) == 6);
        assert_true(number(b.r, "validity-traffic", "packets", side) == 44);
        assert_true(number(b.r, "validity-traffic", "bytes", side) == 2.0 * (10 * 40 + 2 * 4 + 950 + 6 * 188 + 6 * 84));
        assert_true(number(b.r, "validity-traffic", "mean TCP window (unscaled)", side) == 64000);
        assert_float_equal(number(b.r, "validity-traffic-shares", "TCP", side), 100 * 20 / 44.0, 1e-9);
        assert_float_equal(number(b.r, "validity-traffic-shares", "SYN", side), 20, 1e-9);
        assert_float_equal(number(b.r, "validity-traffic-shares", "TTL 64", side), 100 * 24 / 44.0, 1e-9);
        assert_float_equal(number(b.r, "validity-ports", "443", side), 100 * 20 / 44.0, 1e-9);
        assert_float_equal(number(b.r, "validity-ports", "5004", side), 100 * 12 / 44.0, 1e-9);
    }
    bench_close(&b);
}

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
    assert_int_equal(c.n, 1001); /* the rest under one name */
    assert_true(c.items[1000].count[SUBJECT_REAL] == 3000 - 998);
    name_counts_clear(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_moves_its_figure),
        cmocka_unit_test(unknown_is_empty),
        cmocka_unit_test(counts_what_repair_changed),
        cmocka_unit_test(traffic_figures),
        cmocka_unit_test(programs_see_what_was_written),
        cmocka_unit_test(programs_see_what_is_broken),
        cmocka_unit_test(shows_captures_as_they_came),
        cmocka_unit_test(rewrites_real_flows),
        cmocka_unit_test(names),
        cmocka_unit_test(reads_logs_of_detectors),
    };
    if (comm_open(&everyone))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return comm_finish(&everyone, failed ? ST_FORMAT : ST_OK) || failed;
}
