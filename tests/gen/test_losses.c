/* Losses: counted in training flows, drawn for generated ones without breaking a rule; service ports. */
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

static const uint8_t plain_options[] = {2, 4, 5, 180, 3, 3, 0, 1}, block_options[] = {2, 4, 5, 180, 4, 2, 1, 1};

static void add(flow *f, unsigned dir, uint32_t seq, uint32_t ack, unsigned flags, unsigned payload) {
    static const uint8_t address[2][4] = {{198, 51, 100, 7}, {192, 0, 2, 1}};
    static const uint16_t port[2] = {40000, 8443};
    packet p = {.time_ns = (int64_t)(f->npackets + 1) * 10 * MS, .dir = (uint8_t)dir, .nheader = 40};
    bool syn = flags & TCP_SYN;
    uint8_t *h = p.header, *l4 = h + 20;
    p.nheader = syn ? 48 : 40;
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
    l4[12] = syn ? 0x70 : 0x50;
    l4[13] = (uint8_t)flags;
    put16(l4 + 14, 60000);
    if (syn)
        memcpy(l4 + 20, plain_options, sizeof plain_options);
    p.wire_len = p.nheader + payload;
    assert_int_equal(flow_add(f, &p), ST_OK);
}

/* A download: handshake, a request, rounds of two segments and an acknowledgement, and the end. */
static void make_flow(flow *f, bool blocks) {
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
    for (size_t i = 0; i < 2 && blocks; i++)
        memcpy(f->packets[i].header + 40, block_options, sizeof block_options);
    checksum_fill_flow(f);
    f->key = flow_key_of(&f->packets[0]);
}

/* Time stamps in every packet, a tick a packet. Who acknowledges echoes the earliest of the other side's packets since
 * its own last one (RFC 7323 4.3). */
static void add_stamps(flow *f) {
    uint32_t latest[2] = {0, 0}, waiting[2] = {0, 0};
    for (size_t i = 0; i < f->npackets; i++) {
        packet *p = &f->packets[i];
        uint8_t *option = p->header + p->nheader;
        unsigned d = p->dir, total = packet_total_len(p) + 12;
        bool syn = packet_l4(p)[13] & TCP_SYN; /* its other options end with NOPs */
        memset(option, 1, 12);
        option += syn ? 0 : 2;
        option[0] = 8;
        option[1] = 10;
        latest[d] = 100 * (d + 1) + (uint32_t)i;
        put32(option + 2, latest[d]);
        put32(option + 6, waiting[!d] != 0 ? waiting[!d] : latest[!d]);
        waiting[!d] = 0;
        if (waiting[d] == 0)
            waiting[d] = latest[d];
        p->header[20 + 12] = (uint8_t)(p->header[20 + 12] + 0x30);
        p->nheader = (uint8_t)(p->nheader + 12);
        put16(p->header + 2, total);
        p->wire_len = total;
    }
    checksum_fill_flow(f);
}

static bool is_equal(const class_losses *a, const class_losses *b) {
    return a->nsegments == b->nsegments && a->nagain == b->nagain && a->nlate == b->nlate && a->nunseen == b->nunseen;
}

static class_losses counted(const flow *f) {
    class_losses c = {.nsegments = 0};
    losses_count(&c, f);
    return c;
}

static void assert_rules_hold(const flow *f, const char *what) {
    check_counts c = {.flows = 0};
    check_flow(f, CHECK_PAYLOAD_MADE, &c, NULL);
    for (int rule = 0; rule < CHECK_COUNT; rule++)
        if (c.failed[rule] > 0)
            fail_msg("%s: %llu packets fail %s", what, (unsigned long long)c.failed[rule], check_rules[rule].name);
}

/* What is drawn at a rate is counted again afterwards, breaks no rule, and repair leaves it alone. */
static void test_losses(void **state) {
    enum { SEEDS = 20, SEGMENTS = 2 * ROUNDS + 1 };
    static const struct {
        const char *name;
        bool blocks, stamps;
        class_losses rate;
        unsigned least, most; /* of what came of it, in all flows, by the segments it could have come of */
    } table[] = {
        {"none", true, false, {.nsegments = 10}, 0, 0},
        {"again", false, false, {.nsegments = 10, .nagain = 2}, 15, 25},
        {"late", false, false, {.nsegments = 10, .nlate = 2, .ndelays = 2, .delays = {5 * MS, 90 * MS}}, 3, 15},
        {"late, with blocks",
         true,
         false,
         {.nsegments = 10, .nlate = 2, .ndelays = 2, .delays = {5 * MS, 90 * MS}},
         3,
         15},
        {"unseen", true, false, {.nsegments = 10, .nunseen = 2}, 10, 25},
        {"again, with time stamps", false, true, {.nsegments = 10, .nagain = 2}, 15, 25},
        {"late, with time stamps", true, true, {.nsegments = 10, .nlate = 2, .ndelays = 1, .delays = {90 * MS}}, 3, 15},
        {"unseen, with time stamps", true, true, {.nsegments = 10, .nunseen = 2}, 10, 25},
        {"all",
         true,
         false,
         {.nsegments = 20, .nagain = 1, .nlate = 4, .nunseen = 1, .ndelays = 1, .delays = {33 * MS}},
         8,
         30},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint64_t nlost = 0, nblocks = 0;
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            flow f;
            size_t capacity = 0;
            packet_votes *votes = NULL;
            make_flow(&f, table[i].blocks);
            if (table[i].stamps)
                add_stamps(&f);
            size_t npackets = f.npackets;
            assert_rules_hold(&f, "before");
            class_losses before = counted(&f);
            assert_int_equal(before.nsegments, SEGMENTS);
            assert_int_equal(before.nagain + before.nlate + before.nunseen, 0);
            assert_int_equal(memory_grow(&votes, &capacity, npackets, sizeof *votes), ST_OK);
            for (size_t k = 0; k < npackets; k++)
                votes[k] = (packet_votes){.weight = {(float)f.packets[k].dir}};
            rng r = rng_make(seed, 1, RNG_LOSS);
            assert_int_equal(losses_add(&table[i].rate, &r, &f, &votes, &capacity), ST_OK);
            checksum_fill_flow(&f);
            assert_rules_hold(&f, table[i].name);
            class_losses after = counted(&f);
            assert_true(after.nagain == 0 || table[i].rate.nagain > 0);
            assert_true(after.nlate == 0 || table[i].rate.nlate > 0);
            assert_true(after.nunseen == 0 || table[i].rate.nunseen > 0);
            assert_int_equal(after.nsegments, before.nsegments + f.npackets - npackets);
            for (size_t k = 1; k < f.npackets; k++) {
                assert_true(f.packets[k].time_ns > f.packets[k - 1].time_ns);
                assert_true(votes[k].weight[0] == (float)f.packets[k].dir);
                nblocks += f.packets[k].nheader == (table[i].stamps ? 64 : 52);
            }
            repair_counts repaired = {.flows = 0};
            assert_int_equal(repair_flow(&f, votes, &repaired), ST_OK);
            assert_int_equal(repaired.packets_changed + repaired.packets_dropped, 0);
            class_losses left = counted(&f);
            assert_true(is_equal(&after, &left));
            nlost += after.nagain + after.nlate + after.nunseen;
            free(votes);
            flow_clear(&f);
        }
        if (nlost * 100 < table[i].least * SEEDS * SEGMENTS || nlost * 100 > table[i].most * SEEDS * SEGMENTS)
            fail_msg("%s: %llu of %d segments", table[i].name, (unsigned long long)nlost, SEEDS * SEGMENTS);
        assert_true((nblocks > 0) == (table[i].blocks && table[i].rate.nlate > 0));
    }
}

/* A retransmission comes a timeout after what went before it. */
static void test_timeout(void **state) {
    flow f;
    size_t capacity = 0, nlate = 0;
    packet_votes *votes = NULL;
    class_losses rate = {.nsegments = 10, .nagain = 2};
    rng r = rng_make(1, 1, RNG_LOSS);
    make_flow(&f, false);
    assert_int_equal(memory_grow(&votes, &capacity, f.npackets, sizeof *votes), ST_OK);
    assert_int_equal(losses_add(&rate, &r, &f, &votes, &capacity), ST_OK);
    class_losses c = counted(&f);
    for (size_t i = 1; i < f.npackets; i++)
        nlate += f.packets[i].time_ns - f.packets[i - 1].time_ns >= 200 * MS;
    assert_in_range(c.nagain, ROUNDS / 5, ROUNDS);
    assert_in_range(nlate, c.nagain / 2, c.nagain);
    free(votes);
    flow_clear(&f);
}

static void assert_rules_hold_after(const flow *from, const class_losses *rate, uint64_t seed, const char *what) {
    flow f;
    size_t capacity = 0;
    packet_votes *votes = NULL;
    rng r = rng_make(seed, 1, RNG_LOSS);
    flow_init(&f);
    assert_int_equal(studio_copy(&f, from), ST_OK);
    assert_int_equal(memory_grow(&votes, &capacity, f.npackets, sizeof *votes), ST_OK);
    memset(votes, 0, f.npackets * sizeof *votes);
    assert_int_equal(losses_add(rate, &r, &f, &votes, &capacity), ST_OK);
    checksum_fill_flow(&f);
    assert_rules_hold(&f, what);
    free(votes);
    flow_clear(&f);
}

/* A side that resets says nothing afterwards, though what acknowledges its data was on its way. */
static void test_reset(void **state) {
    static const class_losses rate = {.nsegments = 2, .nagain = 1};
    flow f;
    flow_init(&f);
    add(&f, 0, 1000, 0, TCP_SYN, 0);
    add(&f, 1, 5000, 1001, TCP_SYN | TCP_ACK, 0);
    add(&f, 0, 1001, 5001, TCP_ACK, 0);
    add(&f, 0, 1001, 5001, TCP_ACK, 100);
    add(&f, 0, 1101, 5001, TCP_RST | TCP_ACK, 0);
    add(&f, 1, 5001, 1101, TCP_ACK, 0);
    checksum_fill_flow(&f);
    f.key = flow_key_of(&f.packets[0]);
    assert_rules_hold(&f, "before");
    for (uint64_t seed = 0; seed < 20; seed++)
        assert_rules_hold_after(&f, &rate, seed, "reset");
    flow_clear(&f);
}

/* An acknowledgement that has blocks already keeps those, and gets no others. */
static void test_blocks(void **state) {
    static const class_losses rate = {.nsegments = 2, .nlate = 1, .ndelays = 1, .delays = {90 * MS}};
    static const uint8_t head[] = {1, 1, 5, 10};
    flow f;
    make_flow(&f, true);
    for (size_t i = 7; i < f.npackets; i++) {
        packet *p = &f.packets[i];
        if (p->dir == 1 || packet_l4(p)[13] != TCP_ACK)
            continue;
        memcpy(p->header + 40, head, sizeof head); /* of a segment that came twice */
        put32(p->header + 44, get32(packet_l4(p) + 8) - 1000);
        put32(p->header + 48, get32(packet_l4(p) + 8));
        p->header[20 + 12] = 0x80;
        p->nheader = 52;
        put16(p->header + 2, 52);
        p->wire_len = 52;
    }
    checksum_fill_flow(&f);
    assert_rules_hold(&f, "before");
    for (uint64_t seed = 0; seed < 20; seed++)
        assert_rules_hold_after(&f, &rate, seed, "blocks");
    flow_clear(&f);
}

/* Segments by hand: what each counts as, and by how much it is late. */
static void test_count(void **state) {
    flow f;
    flow_init(&f);
    add(&f, 0, 1000, 0, TCP_SYN, 0);
    add(&f, 1, 5000, 1001, TCP_SYN | TCP_ACK, 0);
    add(&f, 1, 5001, 1001, TCP_ACK, 100);
    add(&f, 1, 5301, 1001, TCP_ACK, 100); /* 200 bytes are missing */
    add(&f, 0, 1001, 5101, TCP_ACK, 0);
    add(&f, 1, 5101, 1001, TCP_ACK, 100); /* late by two packets */
    add(&f, 1, 5201, 1001, TCP_ACK, 100); /* by three */
    add(&f, 1, 5201, 1001, TCP_ACK, 100); /* again */
    add(&f, 1, 5501, 1001, TCP_ACK, 100); /* 100 bytes are missing, */
    add(&f, 0, 1001, 5601, TCP_ACK, 0);   /* but not at the other side */
    add(&f, 1, 5901, 1001, TCP_ACK, 100); /* 300 bytes are missing */
    add(&f, 1, 6301, 1001, TCP_ACK, 100); /* 300 bytes are missing */
    add(&f, 1, 6101, 1001, TCP_ACK, 100); /* late by one packet, in their middle */
    add(&f, 1, 6201, 1001, TCP_ACK, 100);
    f.packets[f.npackets - 1].time_ns = INT64_MAX; /* as late as can be */
    add(&f, 1, 6001, 1001, TCP_ACK, 100);
    f.packets[f.npackets - 1].time_ns = INT64_MIN;
    add(&f, 1, 6001, 1001, TCP_ACK, 100); /* again */
    add(&f, 0, 1001, 6401, TCP_ACK, 0);   /* those before were not missing there */
    class_losses c = counted(&f);
    assert_int_equal(c.nsegments, 12);
    assert_int_equal(c.nagain, 2);
    assert_int_equal(c.nlate, 5);
    assert_int_equal(c.nunseen, 2);
    assert_int_equal(c.ndelays, 5);
    assert_int_equal(c.delays[2], 10 * MS);
    assert_int_equal(c.delays[3], INT64_C(60000) * MS);
    assert_int_equal(c.delays[4], 0);
    assert_int_equal(c.delays[0], 20 * MS);
    assert_int_equal(c.delays[1], 30 * MS);
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
        cmocka_unit_test(test_losses), cmocka_unit_test(test_timeout), cmocka_unit_test(test_reset),
        cmocka_unit_test(test_blocks), cmocka_unit_test(test_count),   cmocka_unit_test(test_services),
    };
    return cmocka_run_group_tests_name("gen.losses", tests, NULL, NULL);
}
