/* Keys, assembly and the rules that end a flow; the labelled captures' own flow counts as an independent answer. */
#include "base/memory.h"
#include "frames.h"
#include "packet/flow.h"

/* A packet of 20-byte headers; TCP where flags are given, ICMP of type `flags` where proto says so. */
static packet make_packet(uint8_t proto, uint32_t src, uint16_t sport, uint32_t dst, uint16_t dport, uint8_t flags) {
    packet p = {.nheader = proto == PROTO_TCP ? 40 : 28, .header = {0x45}};
    p.wire_len = p.nheader;
    put16(p.header + 2, p.nheader);
    p.header[9] = proto;
    put32(p.header + 12, src);
    put32(p.header + 16, dst);
    if (proto == PROTO_ICMP) {
        p.header[20] = flags;
        put16(p.header + 24, sport);
    } else {
        put16(p.header + 20, sport);
        put16(p.header + 22, dport);
    }
    if (proto == PROTO_TCP) {
        p.header[32] = 0x50;
        p.header[33] = flags;
    }
    return p;
}

static size_t add(flow_table *t, packet p) {
    size_t number = SIZE_MAX;
    assert_int_equal(flow_table_add(t, &p, &number), ST_OK);
    return number;
}

static flow_table *new_table(int64_t timeout_ns) {
    flow_table *t;
    assert_int_equal(flow_table_new(&t, timeout_ns), ST_OK);
    return t;
}

enum { A = 0x0a000001, B = 0xc0a80001 };

static void test_keys(void **state) {
    rng r = rng_make(1, 0, RNG_TEST);
    (void)state;
    for (int i = 0; i < 20000; i++) {
        packet p = random_packet(&r);
        flow_key k = flow_key_of(&p), back = flow_key_reverse(&k), again = flow_key_reverse(&back);
        assert_true(flow_key_equal(&k, &again));
        assert_true(flow_key_hash(&k) == flow_key_hash(&back));
        assert_false(flow_key_equal(&k, &back));
        assert_int_equal(k.addr[0], get32(p.header + 12));

        /* Exchange the sides in the packet itself: the key is the reverse. */
        packet q = p;
        put32(q.header + 12, k.addr[1]);
        put32(q.header + 16, k.addr[0]);
        if (k.proto != PROTO_ICMP) {
            put16(q.header + packet_ip_nheader(&q), k.port[1]);
            put16(q.header + packet_ip_nheader(&q) + 2, k.port[0]);
        }
        flow_key swapped = flow_key_of(&q);
        assert_true(flow_key_equal(&swapped, &back));
        /* Any other change of the 5-tuple is another flow. */
        flow_key other = k;
        other.port[0] ^= (uint16_t)(1u << rng_below(&r, 16));
        assert_true(flow_key_hash(&other) != flow_key_hash(&k));
        other = k, other.addr[rng_below(&r, 2)] ^= 1u << rng_below(&r, 32);
        assert_true(flow_key_hash(&other) != flow_key_hash(&k));
        other = k, other.proto ^= 1;
        assert_true(flow_key_hash(&other) != flow_key_hash(&k));
    }
    /* The value is part of how a capture is split among ranks, so it must not depend on the machine. */
    flow_key k = {.proto = PROTO_TCP, .addr = {A, B}, .port = {40001, 443}};
    assert_true(flow_key_hash(&k) == 0xf77239936d3bacd3u);
}

static packet ipv6_packet(unsigned proto, unsigned from, unsigned to, unsigned sport, unsigned dport) {
    packet p = {.nheader = proto == PROTO_TCP ? 60 : 48, .header = {0x60, [6] = (uint8_t)proto, [52] = 0x50}};
    put32(p.header + 8, 0x20010db8);
    put32(p.header + 24, 0x20010db8);
    put16(p.header + 22, from);
    put16(p.header + 38, to);
    put16(p.header + 40, sport);
    put16(p.header + 42, dport);
    if (proto == PROTO_ICMPV6) { /* sport: type, dport: identifier */
        put16(p.header + 40, sport << 8);
        put16(p.header + 44, dport);
    }
    return p;
}

static void test_ipv6(void **state) {
    (void)state;
    flow_table *t = new_table(0);
    assert_int_equal(add(t, ipv6_packet(PROTO_TCP, 1, 2, 40001, 443)), 0);
    assert_int_equal(add(t, ipv6_packet(PROTO_TCP, 2, 1, 443, 40001)), 0);
    assert_int_equal(add(t, ipv6_packet(PROTO_UDP, 1, 2, 40001, 443)), 1);
    assert_int_equal(add(t, ipv6_packet(PROTO_TCP, 1, 3, 40001, 443)), 2);
    assert_int_equal(add(t, ipv6_packet(PROTO_ICMPV6, 1, 2, 128, 7)), 3);
    assert_int_equal(add(t, ipv6_packet(PROTO_ICMPV6, 2, 1, 129, 7)), 3);
    assert_int_equal(add(t, ipv6_packet(PROTO_ICMPV6, 1, 2, 128, 8)), 4); /* another ping */
    assert_int_equal(add(t, ipv6_packet(PROTO_ICMPV6, 1, 2, 135, 7)), 5); /* no echo: no ports */
    assert_int_equal(add(t, ipv6_packet(PROTO_ICMPV6, 2, 1, 136, 900)), 5);
    const flow *f = flow_table_get(t, 0);
    assert_true(f->key.ipv6 && f->npackets == 2 && f->packets[0].dir == 0 && f->packets[1].dir == 1);
    char text[IP_ADDRESS_TEXT];
    ip_address_format(f->key.addr[1], true, text);
    assert_string_equal(text, "2001:db8::2");
    flow_table_free(&t);

    /* Every bit of the addresses counts, and the version: IPv4's numbers are other flows. */
    flow_key k = {.proto = PROTO_TCP, .ipv6 = true, .addr = {1, 2}, .port = {40001, 443}}, other = k;
    for (unsigned side = 0; side < 2; side++)
        for (unsigned bit = 0; bit < 128; bit++) {
            other = k;
            other.addr[side] ^= (ip_address)1 << bit;
            flow_key back = flow_key_reverse(&other);
            assert_false(flow_key_equal(&k, &other));
            assert_true(flow_key_hash(&k) != flow_key_hash(&other) && flow_key_hash(&other) == flow_key_hash(&back));
        }
    other = k;
    other.ipv6 = false;
    assert_true(!flow_key_equal(&k, &other) && flow_key_hash(&k) != flow_key_hash(&other));
}

/* Slices and slots take the low bits: those of neighbouring keys must spread as random numbers would. */
static void test_hash_spreads(void **state) {
    enum { BUCKETS = 256, KEYS = 65536 };
    unsigned by_port[BUCKETS] = {0}, by_address[BUCKETS] = {0};
    double chi_port = 0, chi_address = 0, mean = KEYS / BUCKETS;
    (void)state;
    for (uint32_t i = 0; i < KEYS; i++) {
        flow_key k = {.proto = PROTO_TCP, .addr = {A, B}, .port = {(uint16_t)i, 443}};
        by_port[flow_key_hash(&k) % BUCKETS]++;
        k = (flow_key){.proto = PROTO_UDP, .addr = {A + (i << 8), B + i}, .port = {i % 7, 53}};
        by_address[flow_key_hash(&k) % BUCKETS]++;
    }
    for (int b = 0; b < BUCKETS; b++) {
        chi_port += (by_port[b] - mean) * (by_port[b] - mean) / mean;
        chi_address += (by_address[b] - mean) * (by_address[b] - mean) / mean;
    }
    /* chi-square of 255 degrees of freedom: mean 255, deviation 22.6; five deviations above. */
    assert_true(chi_port < 368 && chi_address < 368);
}

static void test_directions(void **state) {
    (void)state;
    flow_table *t = new_table(0);
    assert_int_equal(add(t, make_packet(PROTO_TCP, B, 443, A, 40001, TCP_SYN | TCP_ACK)), 0);
    assert_int_equal(add(t, make_packet(PROTO_TCP, A, 40001, B, 443, TCP_ACK)), 0);
    assert_int_equal(add(t, make_packet(PROTO_UDP, A, 40001, B, 443, 0)), 1);
    assert_int_equal(add(t, make_packet(PROTO_TCP, A, 443, B, 40001, TCP_ACK)), 2); /* ports exchanged: another flow */
    assert_int_equal(add(t, make_packet(PROTO_TCP, A, 40001, B, 443, TCP_ACK)), 0);
    assert_int_equal(flow_table_count(t), 3);

    flow *f = flow_table_get(t, 0);
    assert_int_equal(f->npackets, 3);
    assert_true(f->key.addr[0] == B && f->key.port[0] == 443 && f->key.addr[1] == A && f->key.port[1] == 40001);
    assert_true(f->packets[0].dir == 0 && f->packets[1].dir == 1 && f->packets[2].dir == 1);
    assert_true(f->label == -1 && f->run == -1);
    flow_table_free(&t);
    assert_null(t);
    flow_table_free(&t);
}

static void test_same_sides(void **state) {
    (void)state;
    flow_table *t = new_table(0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(add(t, make_packet(PROTO_TCP, A, 80, A, 80, TCP_SYN)), 0);
    assert_int_equal(flow_table_get(t, 0)->npackets, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(flow_table_get(t, 0)->packets[i].dir, 0);
    /* One address, two ports: two directions. */
    assert_int_equal(add(t, make_packet(PROTO_UDP, A, 1, A, 2, 0)), 1);
    assert_int_equal(add(t, make_packet(PROTO_UDP, A, 2, A, 1, 0)), 1);
    assert_int_equal(flow_table_get(t, 1)->packets[1].dir, 1);
    flow_table_free(&t);
}

static void test_icmp(void **state) {
    (void)state;
    flow_table *t = new_table(0);
    assert_int_equal(add(t, make_packet(PROTO_ICMP, A, 7, B, 0, 8)), 0);
    assert_int_equal(add(t, make_packet(PROTO_ICMP, A, 8, B, 0, 8)), 1); /* another ping */
    assert_int_equal(add(t, make_packet(PROTO_ICMP, B, 7, A, 0, 0)), 0); /* the answer to the first */
    assert_int_equal(add(t, make_packet(PROTO_ICMP, B, 99, A, 0, 3)), 2);
    assert_int_equal(add(t, make_packet(PROTO_ICMP, A, 98, B, 0, 11)), 2); /* errors go by addresses */
    flow *f = flow_table_get(t, 0);
    assert_true(f->key.port[0] == 7 && f->key.port[1] == 0 && f->packets[0].dir == 0 && f->packets[1].dir == 1);
    assert_true(flow_table_get(t, 2)->key.port[0] == 0 && flow_table_get(t, 2)->packets[1].dir == 1);
    flow_table_free(&t);
}

/* One letter a packet: from A: s SYN, a ACK, f FIN, r RST; from B in capitals; the digit is the flow it must go to. */
static void check_script(const char *script, const char *flows) {
    flow_table *t = new_table(0);
    for (size_t i = 0; script[i] != 0; i++) {
        bool from_b = script[i] < 'a';
        uint8_t flags = 0;
        switch (script[i] | 0x20) {
        case 's':
            flags = from_b ? TCP_SYN | TCP_ACK : TCP_SYN;
            break;
        case 'a':
            flags = TCP_ACK;
            break;
        case 'f':
            flags = TCP_FIN | TCP_ACK;
            break;
        case 'r':
            flags = TCP_RST;
            break;
        }
        size_t n = add(t, from_b ? make_packet(PROTO_TCP, B, 443, A, 40001, flags)
                                 : make_packet(PROTO_TCP, A, 40001, B, 443, flags));
        if (n != (size_t)(flows[i] - '0'))
            fail_msg("%s: packet %zu went to flow %zu", script, i, n);
    }
    flow_table_free(&t);
}

static void test_port_reuse(void **state) {
    (void)state;
    check_script("sSafFas", "0000001");     /* both FIN, then SYN */
    check_script("sSafas", "000000");       /* one side's FIN only */
    check_script("sSaffs", "000000");       /* the same side's FIN twice */
    check_script("sSarsS", "000011");       /* RST */
    check_script("sSafFaaFS", "000000000"); /* late packets and a SYN-ACK stay */
    check_script("srsrs", "00112");         /* refused again and again */
    check_script("sSass", "00000");         /* SYN without an end */
}

static void test_timeout(void **state) {
    static const struct {
        int64_t time, timeout;
        size_t expect;
    } cases[] = {
        {1000, 100, 0}, {1100, 100, 0},      {1201, 100, 1},      {1000, 100, 1}, /* the clock went back */
        {1301, 100, 1}, /* measured from the latest time, not from the packet before */
        {1402, 100, 2}, {INT64_MIN, 100, 2}, {INT64_MAX, 100, 3},
    };
    (void)state;
    flow_table *t = new_table(100), *forever = new_table(0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        packet p = make_packet(PROTO_UDP, A, 1, B, 2, 0);
        p.time_ns = cases[i].time;
        assert_int_equal(add(t, p), cases[i].expect);
        assert_int_equal(add(forever, p), 0);
    }
    flow_table_free(&t);
    flow_table_free(&forever);
}

/* Many keys, each seen twice and from both sides: numbered by first appearance, nothing lost in growing. */
static void test_many_flows(void **state) {
    enum { FLOWS = 200000 };
    (void)state;
    flow_table *t = new_table(0);
    for (uint32_t i = 0; i < FLOWS; i++)
        assert_int_equal(add(t, make_packet(PROTO_UDP, A + i / 60000, (uint16_t)(i % 60000), B, 53, 0)), i);
    for (uint32_t i = 0; i < FLOWS; i++)
        assert_int_equal(add(t, make_packet(PROTO_UDP, B, 53, A + i / 60000, (uint16_t)(i % 60000), 0)), i);
    assert_int_equal(flow_table_count(t), FLOWS);
    for (uint32_t i = 0; i < FLOWS; i++) {
        flow *f = flow_table_get(t, i);
        assert_true(f->npackets == 2 && f->packets[0].dir == 0 && f->packets[1].dir == 1 && f->key.addr[1] == B);
    }
    flow_table_free(&t);
}

static void test_growth(void **state) {
    flow f;
    (void)state;
    flow_init(&f);
    for (uint32_t i = 0; i < 5000; i++) {
        packet p = make_packet(PROTO_UDP, A, 1, B, 2, 0);
        p.frame = i;
        assert_int_equal(flow_add(&f, &p), ST_OK);
        assert_true(f.capacity <= f.npackets + f.npackets / 2 + 1); /* tiny flows stay tiny */
    }
    for (uint32_t i = 0; i < 5000; i++)
        assert_int_equal(f.packets[i].frame, i);
    flow_clear(&f);
    assert_true(f.packets == NULL && f.npackets == 0 && f.capacity == 0);
}

static flow_table *assemble(const char *path) {
    struct pcap_pkthdr h;
    uint8_t *frame;
    flow_table *t = new_table(0);
    pcap_t *from = frames_open(path);
    if (from == NULL)
        fail_msg("libpcap refuses %s", path);
    for (uint32_t n = 0; frames_next(from, &h, &frame); n++) {
        packet p = {.frame = n, .time_ns = frames_time(&h)};
        if (packet_decode(pcap_datalink(from), frame, h.caplen, h.len, &p) == SKIP_NONE)
            add(t, p);
        free(frame);
    }
    pcap_close(from);
    return t;
}

static void test_hostile_flows(void **state) {
    static const struct {
        const char *file;
        size_t nflows, npackets[4];
    } cases[] = {
        {"port_reuse.pcap", 3, {8, 4, 2}},
        {"self_flow.pcap", 4, {1, 1, 1, 1}},
        {"many_single_packet_flows.pcap", 3000, {1, 1, 1, 1}},
        {"time_backwards.pcap", 1, {8}},
        {"baseline_ok.pcap", 1, {8}},
    };
    char folder[4096], path[4200];
    (void)state;
    shared_path(folder, sizeof folder, "data/captures/hostile");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, cases[i].file);
        flow_table *t = assemble(path);
        if (flow_table_count(t) != cases[i].nflows)
            fail_msg("%s: %zu flows", cases[i].file, flow_table_count(t));
        for (size_t n = 0; n < cases[i].nflows && n < 4; n++)
            assert_int_equal(flow_table_get(t, n)->npackets, cases[i].npackets[n]);
        flow_table_free(&t);
    }
}

/* Packets of a 5-tuple over all flows that have it (reuse may have split it), from and to side 0. */
static void count_packets(flow_table *t, const flow_key *k, size_t *fwd, size_t *bwd) {
    flow_key back = flow_key_reverse(k);
    *fwd = *bwd = 0;
    for (size_t i = 0; i < flow_table_count(t); i++) {
        flow *f = flow_table_get(t, i);
        bool same = flow_key_equal(&f->key, k);
        if (!same && !flow_key_equal(&f->key, &back))
            continue;
        for (size_t n = 0; n < f->npackets; n++)
            *((f->packets[n].dir == 0) == same ? fwd : bwd) += 1;
    }
}

static void test_labelled_flows(void **state) {
    char path[4096], capture[4200], line[4096], last[256] = "";
    flow_table *t = NULL;
    int compared = 0;
    (void)state;
    FILE *labels = fopen(shared_path(path, sizeof path, "data/captures/labels.csv"), "r");
    assert_non_null(labels);
    assert_non_null(fgets(line, sizeof line, labels));
    while (fgets(line, sizeof line, labels) != NULL) {
        char file[256], proto[8], src[64], dst[64], filter[512];
        unsigned sport, dport, ipver, s[4], d[4];
        size_t packets, fwd, bwd, got_fwd, got_bwd;
        assert_int_equal(sscanf(line, "%255[^,],%*u,%7[^,],%63[^,],%u,%63[^,],%u,%u,%511[^,],%zu,%zu,%zu,", file, proto,
                                src, &sport, dst, &dport, &ipver, filter, &packets, &fwd, &bwd),
                         11);
        if (ipver != 4)
            continue;
        if (strcmp(last, file) != 0) {
            flow_table_free(&t);
            snprintf(capture, sizeof capture, "%.*s/%s", (int)(strrchr(path, '/') - path), path, file);
            t = assemble(capture);
            snprintf(last, sizeof last, "%s", file);
        }
        assert_int_equal(sscanf(src, "%u.%u.%u.%u", &s[0], &s[1], &s[2], &s[3]), 4);
        assert_int_equal(sscanf(dst, "%u.%u.%u.%u", &d[0], &d[1], &d[2], &d[3]), 4);
        flow_key k = {.proto = strcmp(proto, "tcp") == 0 ? PROTO_TCP : PROTO_UDP,
                      .addr = {s[0] << 24 | s[1] << 16 | s[2] << 8 | s[3], d[0] << 24 | d[1] << 16 | d[2] << 8 | d[3]},
                      .port = {(uint16_t)sport, (uint16_t)dport}};
        count_packets(t, &k, &got_fwd, &got_bwd);
        if (got_fwd != fwd || got_bwd != bwd)
            fail_msg("%s: %s: %zu + %zu packets instead of %zu + %zu", file, filter, got_fwd, got_bwd, fwd, bwd);
        compared++;
    }
    fclose(labels);
    flow_table_free(&t);
    print_message("%d labelled flows have their packets\n", compared);
    assert_true(compared > 600);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),       cmocka_unit_test(test_ipv6),          cmocka_unit_test(test_hash_spreads),
        cmocka_unit_test(test_directions), cmocka_unit_test(test_same_sides),    cmocka_unit_test(test_icmp),
        cmocka_unit_test(test_port_reuse), cmocka_unit_test(test_timeout),       cmocka_unit_test(test_many_flows),
        cmocka_unit_test(test_growth),     cmocka_unit_test(test_hostile_flows), cmocka_unit_test(test_labelled_flows),
    };
    return cmocka_run_group_tests_name("flow", tests, NULL, NULL);
}
