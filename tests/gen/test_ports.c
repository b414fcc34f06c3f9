/* Client ports: of the block that the model chose, or of those that operating systems draw from, and never one with a
 * dissector of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "gen/gen_priv.h"

static void taken_ports_are_known(void **state) {
    static const uint16_t taken[] = {17500, 20000, 22222, 26000, 30000, 30100, 30200, 34962,
                                     34963, 34964, 44818, 47808, 48898, 55555, 60001},
                          others[] = {16384, 29999, 30201, 32768, 34961, 34965, 49152, 60999, 65535};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        assert_true(port_is_taken(taken[i]));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(port_is_taken(others[i]));
}

static void ports_stay_in_their_block(void **state) {
    for (unsigned block = 0; block < 16; block++) {
        bool seen[16] = {false}, distinct = false;
        uint16_t first = 0;
        for (unsigned number = 0; number < 2000; number++) {
            rng r = rng_make(1, number, RNG_PORT), again = r;
            uint16_t chosen = (uint16_t)(block * 4096 + number % 4096), port = port_draw(&r, chosen, 443);
            assert_int_equal(port, port_draw(&again, chosen, 443));
            assert_false(port_is_taken(port));
            assert_in_range(port, 16384, 65535);
            if (block >= 4)
                assert_int_equal(port / 4096, block);
            else
                assert_in_range(port, 32768, 61439);
            seen[port / 4096] = true;
            first = number == 0 ? port : first;
            distinct = distinct || port != first;
        }
        unsigned blocks = 0;
        for (unsigned b = 0; b < 16; b++)
            blocks += seen[b];
        assert_int_equal(blocks, 1);
        assert_true(distinct);
    }
}

/* The service is the lower port: a client's stays above it, or is left as it was where there is none. */
static void ports_stay_above_the_service(void **state) {
    for (unsigned number = 0; number < 500; number++) {
        rng r = rng_make(2, number, RNG_PORT);
        assert_in_range(port_draw(&r, 33000, 32900), 32901, 36863);
        assert_int_equal(port_draw(&r, 65535, 65535), 65535);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taken_ports_are_known),
        cmocka_unit_test(ports_stay_in_their_block),
        cmocka_unit_test(ports_stay_above_the_service),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
