/* Client ports: of the block that the model chose, or of those that operating systems draw from, and never one with a
 * dissector of its own; or the one that the clients of a service always have. */
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

static classes *classes_of(class_info *info, classes *c) {
    *c = (classes){.nlabels = 1, .info = info};
    return c;
}

/* DHCP's 68 and NetBIOS's 137 stay, whichever of close ports the model got wrong; which side is the client is read from
 * both ports together. */
static void fixed_client_ports_are_kept(void **state) {
    static const struct {
        uint16_t service, client, from, to;
        unsigned side;
    } rows[] = {
        {67, 68, 68, 67, 0},     {67, 68, 67, 68, 1},         {67, 68, 66, 67, 0},     {67, 68, 68, 71, 0},
        {67, 68, 67, 70, 1},     {67, 68, 3, 68, 1},          {137, 137, 137, 137, 0}, {137, 137, 137, 136, 0},
        {137, 137, 129, 137, 0}, {443, 22001, 22001, 443, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        classes c;
        class_info info = {.nservices = 1, .services = {{PROTO_UDP, rows[i].service, 3, rows[i].client, 3}}};
        flow_key key = {.proto = PROTO_UDP, .port = {rows[i].from, rows[i].to}};
        rng r = rng_make(3, i, RNG_PORT);
        flow_ports p = ports_settle(classes_of(&info, &c), 0, &key, &r);
        if (p.client != rows[i].side)
            fail_msg("row %zu: side %u is the client", i, p.client);
        assert_int_equal(p.port[p.client], rows[i].client);
        assert_int_equal(p.port[!p.client], rows[i].service);
    }
}

/* Nine in ten of at least three flows, of that transport, and of a class with few services. */
static void other_client_ports_are_drawn(void **state) {
    static const struct {
        class_service known;
        size_t nservices;
        bool fixed;
    } rows[] = {
        {{PROTO_UDP, 123, 3, 123, 3}, 1, true},    {{PROTO_UDP, 123, 2, 123, 2}, 1, false},
        {{PROTO_TCP, 123, 3, 123, 3}, 1, false},   {{PROTO_UDP, 123, 20, 123, 18}, 1, true},
        {{PROTO_UDP, 123, 20, 123, 17}, 1, false}, {{PROTO_UDP, 123, 9, 123, 9}, CLASS_SERVICES + 1, false},
        {{PROTO_UDP, 5353, 3, 5353, 3}, 1, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        classes c;
        class_info info = {.nservices = rows[i].nservices, .services = {rows[i].known}};
        assert_int_equal(classes_client(classes_of(&info, &c), 0, PROTO_UDP, 123), rows[i].fixed ? 123 : 0);
    }
    classes c;
    class_info one_host = {.nservices = 1, .services = {{PROTO_UDP, 123, 9, 40000, 9}}};
    assert_int_equal(classes_client(classes_of(&one_host, &c), 0, PROTO_UDP, 123), 0);
    class_info info = {.nservices = 1, .services = {{PROTO_UDP, 123, 2, 123, 2}}};
    flow_key key = {.proto = PROTO_UDP, .port = {123, 123}};
    for (unsigned number = 0; number < 100; number++) {
        rng r = rng_make(4, number, RNG_PORT);
        flow_ports p = ports_settle(classes_of(&info, &c), 0, &key, &r);
        assert_int_equal(p.port[1], 123);
        assert_in_range(p.port[0], 32768, 61439);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taken_ports_are_known),        cmocka_unit_test(ports_stay_in_their_block),
        cmocka_unit_test(ports_stay_above_the_service), cmocka_unit_test(fixed_client_ports_are_kept),
        cmocka_unit_test(other_client_ports_are_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
