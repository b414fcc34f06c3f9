/* Flows, worlds and the report of the validity part, for its tests. */
#ifndef ND_TESTS_EVAL_VALIDITY_BENCH_H
#define ND_TESTS_EVAL_VALIDITY_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "eval/parts.h"
#include "eval/report_priv.h"
#include "eval/validity_priv.h"
#include "packet/check.h"

static comm *everyone; /* opened by main */

/* ---- flows ---- */

enum { COLUMN_TRAIN, COLUMN_HELD_OUT, COLUMN_RAW, COLUMN_SYNTHETIC, COLUMN_RANDOM, COLUMN_MARGINAL };
enum { FLOW_TCP, FLOW_UDP, FLOW_ICMP, KINDS };
static char *const class_names[KINDS] = {"web", "voice", "ping"};

static inline packet ip_packet(unsigned proto, unsigned nl4, unsigned npayload, unsigned dir, unsigned number) {
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

static inline void add(flow *f, packet p) {
    size_t n = f->npackets;
    p.frame = (uint32_t)n;
    p.time_ns = n ? f->packets[n - 1].time_ns + 1000000 : 1700000000000000000;
    checksum_fill(&p, false);
    assert_int_equal(flow_add(f, &p), ST_OK);
}

static inline packet segment(unsigned dir, unsigned number, uint32_t seq, uint32_t ack, unsigned flags,
                             unsigned npayload) {
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
static inline void tcp_flow(flow *f, unsigned number) {
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

static inline void udp_flow(flow *f, unsigned number) {
    for (unsigned i = 0; i < 6; i++) {
        packet p = ip_packet(PROTO_UDP, 8, 160, i % 2, number);
        put16(p.header + 20, i % 2 ? 5004 : 30000 + number);
        put16(p.header + 22, i % 2 ? 30000 + number : 5004);
        put16(p.header + 24, 168);
        add(f, p);
    }
}

static inline void icmp_flow(flow *f, unsigned number) {
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

static inline void add_flow(eval_set *s, int kind, unsigned number) {
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
static inline void bench_open(bench *b, unsigned n, bool ask, bool raw) {
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

static inline void bench_close(bench *b) {
    eval_set *sets[] = {&b->w.train, &b->w.held_out, &b->w.synthetic, &b->w.raw};
    for (size_t k = 0; k < sizeof sets / sizeof *sets; k++) {
        for (size_t i = 0; i < sets[k]->n; i++)
            flow_clear(&sets[k]->flows[i].f);
        free(sets[k]->flows);
    }
    report_free(&b->r);
}

static inline void judge(bench *b) {
    assert_int_equal(part_validity(&b->w, b->r), ST_OK);
    assert_int_equal(report_status(b->r), ST_OK);
}

static inline packet *synthetic_packet(bench *b, int kind, size_t k) {
    return &b->w.synthetic.flows[kind].f.packets[k];
}

/* ---- reading the report ---- */

static inline const report_cell *cell(const report *r, const char *table, const char *row, size_t column) {
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

static inline double number(const report *r, const char *table, const char *row, size_t column) {
    const report_cell *c = cell(r, table, row, column);
    if (!c || c->kind != CELL_NUMBER)
        fail_msg("no number in %s, row %s, column %zu (%s)", table, row, column, c ? c->text : "no such row");
    return c->x;
}

static inline double value(const report *r, const char *name) {
    const report_named_value *v = report_find_value(r, name, strlen(name));
    if (!v)
        fail_msg("no value %s", name);
    return v->x;
}

#endif
