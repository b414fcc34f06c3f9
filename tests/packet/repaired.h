/* What every test of repair asks: the flow is right afterwards, and a second repair changes nothing. */
#ifndef ND_TESTS_PACKET_REPAIRED_H
#define ND_TESTS_PACKET_REPAIRED_H

#include "packet/check.h"
#include "packet/repair.h"
#include "segments.h"

/* Written to a capture and read again, the flow must be one, with the same directions. */
static inline void assert_one_flow(const flow *f, const char *what, uint64_t item) {
    flow_table *table;
    assert_int_equal(flow_table_new(&table, 0), ST_OK);
    for (size_t i = 0; i < f->npackets; i++) {
        size_t number;
        assert_int_equal(flow_table_add(table, &f->packets[i], &number), ST_OK);
        if (number != 0)
            fail_msg("%s %llu: packet %zu starts another flow", what, (unsigned long long)item, i);
    }
    if (f->npackets > 0 && f->key.addr[0] != f->key.addr[1])
        for (size_t i = 0; i < f->npackets; i++)
            assert_int_equal(flow_table_get(table, 0)->packets[i].dir, f->packets[i].dir);
    flow_table_free(&table);
}

/* check_flow with every rule, and what repair promises beyond it. */
static inline void assert_right(const flow *f, const char *what, uint64_t item) {
    check_counts c = {.flows = 0};
    uint32_t *failed = calloc(f->npackets + 1, sizeof *failed);
    assert_non_null(failed);
    check_flow(f, CHECK_PAYLOAD_MADE, &c, failed);
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        for (int r = 0; r < CHECK_COUNT; r++)
            if (failed[i] >> r & 1)
                fail_msg("%s %llu: packet %zu of %zu fails %s after repair", what, (unsigned long long)item, i,
                         f->npackets, check_rules[r].name);
        assert_true(i == 0 || p->time_ns > p[-1].time_ns);
        assert_int_equal(p->wire_len, packet_total_len(p));
        assert_true(p->dir <= 1 && (i > 0 || p->dir == 0));
    }
    free(failed);
    assert_one_flow(f, what, item);
}

/* Repairs f twice; returns the counts of the first time. what, item: for messages. */
static inline repair_counts repair_twice(flow *f, const char *what, uint64_t item) {
    repair_counts first = {.flows = 0}, second = {.flows = 0};
    assert_int_equal(repair_flow(f, NULL, &first), ST_OK);
    assert_right(f, what, item);
    size_t n = f->npackets;
    packet *once = malloc((n + 1) * sizeof *once);
    assert_non_null(once);
    if (n > 0)
        memcpy(once, f->packets, n * sizeof *once);
    assert_int_equal(repair_flow(f, NULL, &second), ST_OK);
    assert_int_equal(f->npackets, n);
    for (size_t i = 0; i < n; i++)
        if (memcmp(&once[i], &f->packets[i], sizeof *once) != 0) {
            for (size_t b = 0; b < PACKET_HEADER_MAX; b++)
                if (once[i].header[b] != f->packets[i].header[b])
                    print_message("byte %zu: %02x %02x\n", b, once[i].header[b], f->packets[i].header[b]);
            for (int r = 0; r < CHECK_COUNT; r++)
                if (second.rule_packets[r] > 0)
                    print_message("rule %s\n", check_rules[r].name);
            fail_msg("%s %llu: a second repair changes packet %zu of %zu", what, (unsigned long long)item, i, n);
        }
    assert_int_equal(second.packets_changed + second.bits_changed + second.packets_dropped, 0);
    free(once);
    return first;
}

#endif
