/* Retransmissions: counted in training flows, drawn for generated ones without breaking a rule; service ports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>
#include "base/memory.h"
#include "gen/gen_priv.h"
#include "packet/check.h"
#include "packet/payload.h"

enum { ROUNDS = 40, MS = 1000000 };

static void add(flow *f, unsigned dir, uint32_t seq, uint32_t ack, unsigned flags, unsigned payload) {
    static const uint8_t address[2][4] = {{198, 51, 100, 7}, {192, 0, 2, 1}};
    static const uint16_t port[2] = {40000, 8443};
    packet p = {.time_ns = (int64_t)(f->npackets + 1) * 10 * MS, .dir = (uint8_t)dir, .nheader = 40};
    bool syn = flags & TCP_SYN;
    uint8_t *h = p.header, *l4 = h + 20;
    p.nheader = syn ? 44 : 40;
    h[0] = 0x45;
    put16(h + 2, p.nheader + payload);
    put16(h + 4, (unsigned)f->npackets + 1);
    h[8] = 64;
    h[9] = PROTO_TCP;
    memcpy(h + 12, address[dir], 4);
    memcpy(h + 16, address[!dir], 4);
    put16(l4, port[dir]);
    put16(l4 + 2, port[!dir]);
    put32(l4 + 4, seq);
    put32(l4 + 8, ack);
    l4[12] = syn ? 0x60 : 0x50;
    l4[13] = (uint8_t)flags;
    put16(l4 + 14, 60000);
    if (syn)
        memcpy(l4 + 20, (const uint8_t[]){2, 4, 5, 180}, 4);
    p.wire_len = p.nheader + payload;
    assert_int_equal(flow_add(f, &p), ST_OK);
}

/* A download: handshake, a request, rounds of two segments and an acknowledgement, and the end. */
static void make_flow(flow *f) {
    uint32_t seq = 5001;
    flow_init(f);
    add(f, 0, 1000, 0, TCP_SYN, 0);
    add(f, 1, 5000, 1001, TCP_SYN | TCP_ACK, 0);
    add(f, 0, 1001, 5001, TCP_ACK, 0);
    add(f, 0, 1001, 5001, TCP_ACK | TCP_PSH, 100);
    for (int i = 0; i < ROUNDS; i++, seq += 2000) {
        add(f, 1, seq, 1101, TCP_ACK, 1000);
        add(f, 1, seq + 1000, 1101, TCP_ACK, 1000);
        add(f, 0, 1101, seq + 2000, TCP_ACK, 0);
    }
    add(f, 1, seq, 1101, TCP_FIN | TCP_ACK, 0);
    add(f, 0, 1101, seq + 1, TCP_FIN | TCP_ACK, 0);
    add(f, 1, seq + 1, 1102, TCP_ACK, 0);
    checksum_fill_flow(f);
    f->key = flow_key_of(&f->packets[0]);
}

static void test_losses(void **state) {
    flow f;
    check_counts before = {.flows = 0}, after = {.flows = 0};
    class_info counted = {.nflows = 0}, rate = {.nsegments = 10, .nagain = 2}, again = {.nflows = 0};
    size_t capacity = 0, npackets;
    packet_votes *votes = NULL;
    make_flow(&f);
    npackets = f.npackets;
    check_flow(&f, CHECK_PAYLOAD_MADE, &before, NULL);
    assert_int_equal(before.rows_pass, npackets);
    losses_count(&counted, &f);
    assert_int_equal(counted.nsegments, 2 * ROUNDS + 1);
    assert_int_equal(counted.nagain, 0);

    /* At a rate of nothing, nothing happens. */
    rng r = rng_make(1, 1, RNG_LOSS);
    assert_int_equal(losses_add(&counted, &r, &f, &votes, &capacity), ST_OK);
    assert_int_equal(f.npackets, npackets);

    assert_int_equal(memory_grow(&votes, &capacity, npackets, sizeof *votes), ST_OK);
    memset(votes, 0, npackets * sizeof *votes);
    assert_int_equal(losses_add(&rate, &r, &f, &votes, &capacity), ST_OK);
    size_t nagain = f.npackets - npackets;
    assert_in_range(nagain, ROUNDS / 5, ROUNDS);
    losses_count(&again, &f);
    assert_int_equal(again.nagain, nagain);
    assert_int_equal(again.nsegments, 2 * ROUNDS + 1 + nagain);

    /* Every rule holds as before, and a copy comes a timeout after what went before it. */
    checksum_fill_flow(&f);
    check_flow(&f, CHECK_PAYLOAD_MADE, &after, NULL);
    for (int rule = 0; rule < CHECK_COUNT; rule++)
        assert_int_equal(after.failed[rule], 0);
    size_t nlate = 0;
    for (size_t i = 1; i < f.npackets; i++)
        nlate += f.packets[i].time_ns - f.packets[i - 1].time_ns >= 200 * MS;
    assert_in_range(nlate, nagain / 2, nagain);
    free(votes);
    flow_clear(&f);
}

static void test_services(void **state) {
    class_info info[2] = {
        {.nservices = 3, .services = {{PROTO_UDP, 53, 5, 0, 0}, {PROTO_TCP, 443, 9, 0, 0}, {PROTO_TCP, 8443, 2, 0, 0}}},
        {.nservices = CLASS_SERVICES + 1}};
    classes c = {.nlabels = 2, .info = info};
    assert_int_equal(classes_service(&c, 0, PROTO_TCP, 443), 443);
    assert_int_equal(classes_service(&c, 0, PROTO_TCP, 443 ^ 0x10), 443);
    assert_int_equal(classes_service(&c, 0, PROTO_TCP, 8443 ^ 0x2000), 8443);
    assert_int_equal(classes_service(&c, 0, PROTO_UDP, 60), 53);
    assert_int_equal(classes_service(&c, 1, PROTO_TCP, 6881), 6881);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_services),
    };
    return cmocka_run_group_tests_name("gen.losses", tests, NULL, NULL);
}
