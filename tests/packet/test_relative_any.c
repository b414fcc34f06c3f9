/* The relative layout on any cells: what decodes is a flow; where it is accepted it comes back, and its rows are then a
 * fixed point. */
#include "exact.h"

/* Escape bytes that begin with something: an item, a record, or an extension that leads to the row's protocol. */
static void put_escape(rng *r, int8_t *row) {
    uint8_t bytes[3] = {(uint8_t)rng_u32(r), (uint8_t)(2 + rng_below(r, 12)), (uint8_t)rng_u32(r)};
    uint32_t kind = rng_below(r, 4);
    if (kind == 0)
        bytes[0] = (uint8_t)(1 + rng_below(r, ITEM_COUNT - 1u));
    else if (kind == 1)
        bytes[0] = (uint8_t)rng_below(r, 2);
    else if (kind == 2)
        memcpy(bytes, (const uint8_t[]){ITEM_EXTENSION, 2, 60}, sizeof bytes);
    for (unsigned b = 0; b < 24; b++)
        row[relative_fields[REL_ESCAPE_BYTES].first + b] = bytes[b / 8] >> (7 - b % 8) & 1 ? 1 : -1;
    if (kind != 2)
        return;
    const uint8_t proto = rel_get(row, REL_TCP) ? PROTO_TCP : rel_get(row, REL_ICMP) ? PROTO_ICMPV6 : PROTO_UDP;
    for (unsigned b = 0; b < 16; b++)
        row[relative_fields[REL_ESCAPE_BYTES].first + 24 + b] = b < 8 && proto >> (7 - b) & 1 ? 1 : -1;
}

/* encode(decode(rows)) is rows. */
static void test_any_cells(void **state) {
    enum { ROWS = 20 };
    static int8_t cells[ROWS * RELATIVE_CELLS], again[ROWS * RELATIVE_CELLS], third[ROWS * RELATIVE_CELLS];
    static refusals refused;
    uint64_t nextended = 0, naccepted = 0, nflows = 0;
    for (uint64_t item = 0; item < 3000; item++) {
        rng r = rng_make(6, item, RNG_TEST);
        flow_plan plan = {.addr = {rng_u32(&r), rng_u32(&r)},
                          .addr6 = {rng_u64(&r), rng_u64(&r)},
                          .flow_label = {3, 4},
                          .isn = {rng_u32(&r), rng_u32(&r)},
                          .ip_id = {5, 6},
                          .tsval = {rng_u32(&r), rng_u32(&r)},
                          .icmp_id = 9,
                          .icmp_seq = 65535};
        size_t nrows = 1 + rng_below(&r, ROWS);
        random_cells(&r, cells, sizeof cells);
        for (size_t i = 0; i < nrows; i++) {
            int8_t *row = cells + i * RELATIVE_CELLS;
            rel_put(row, REL_TCP, item % 3 == 0);
            rel_put(row, REL_ICMP, item % 3 == 1);
            rel_put(row, REL_IPV6, item / 3 % 2);
            if (item % 4 != 0) /* bytes that say something are rare in practice, as are indexes that are none */
                rel_put(row, REL_ESCAPE, 0);
            else if (rng_below(&r, 2))
                put_escape(&r, row);
            if (item % 2)
                rel_put(row, REL_SEQ_INDEX, rng_below(&r, 4));
        }
        flow f, g;
        flow_init(&f);
        flow_init(&g);
        const char *why;
        assert_int_equal(layout_relative.decode(cells, NULL, nrows, &plan, &f, NULL), ST_OK);
        assert_int_equal(f.packets[0].dir, 0);
        for (size_t i = 0; i < nrows; i++) {
            const packet *p = &f.packets[i];
            assert_true(packet_has_shape(p));
            nextended += packet_ip_nheader(p) > (packet_is_ipv6(p) ? 40 : 20);
        }
        nflows++;
        if (layout_relative.accepts(&f, &why)) {
            naccepted++;
            layout_relative.plan_of(&f, &plan);
            assert_int_equal(layout_relative.encode(&f, nrows, again), ST_OK);
            assert_int_equal(layout_relative.decode(again, NULL, nrows, &plan, &g, NULL), ST_OK);
            for (size_t i = 0; i < nrows; i++)
                assert_null(difference(&f.packets[i], &g.packets[i]));
            assert_int_equal(layout_relative.encode(&g, nrows, third), ST_OK);
            for (size_t i = 0; i < nrows; i++) { /* gaps below 31 us are not all told apart in whole microseconds */
                rel_put(again + i * RELATIVE_CELLS, REL_GAP, 0);
                rel_put(third + i * RELATIVE_CELLS, REL_GAP, 0);
            }
            assert_memory_equal(again, third, nrows * RELATIVE_CELLS);
        } else {
            refusals_add(&refused, why);
        }
        flow_clear(&f);
        flow_clear(&g);
    }
    print_message("any cells: %llu of %llu flows are accepted again\n", (unsigned long long)naccepted,
                  (unsigned long long)nflows);
    refusals_print(&refused);
    assert_true(nextended > 100);
    assert_true(naccepted * 100 >= nflows * 90);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_cells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
