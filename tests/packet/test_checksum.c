/* Checksums of random packets of both IP versions as a receiver sums them, and those that real senders computed. */
#include "frames.h"

/* The ones' complement sum over what a receiver sums must be all ones. */
static uint32_t receiver_sum(const packet *p) {
    const uint8_t *l4 = packet_l4(p);
    unsigned nip = packet_ip_nheader(p), proto = packet_proto(p);
    uint32_t sum = 0;
    for (unsigned i = 0; i + nip < p->nheader; i += 2)
        sum += get16(l4 + i);
    if (proto != PROTO_ICMP) {
        unsigned first = packet_address_at(p, 0);
        for (unsigned i = first; i < first + 2 * packet_naddress(p); i += 2)
            sum += get16(p->header + i);
        sum += proto + (proto == PROTO_UDP ? get16(l4 + 4) : packet_total_len(p) - nip);
    }
    while (sum > 0xffff)
        sum = (sum >> 16) + (sum & 0xffff);
    return sum;
}

static void test_ipv6_checksums(void **state) {
    rng r = rng_make(4, 0, RNG_TEST);
    (void)state;
    for (int i = 0; i < 2000; i++) {
        packet p = random_ipv6_packet(&r, true), before = p;
        checksum_fill(&p, false);
        assert_int_equal(receiver_sum(&p), 0xffff);
        assert_memory_equal(p.header, before.header, packet_ip_nheader(&p)); /* IPv6 has no checksum of its own */
        assert_int_equal(checksum_ipv4(&p), 0);
    }
}

/* The final destination of each routing header: what the receiver will have in its IPv6 header. */
static void test_routing_checksums(void **state) {
    static const struct {
        unsigned type, left, at; /* of the final address in the header; 0: the IPv6 destination */
    } cases[] = {{0, 2, 24}, {0, 0, 0}, {2, 1, 24}, {3, 1, 0}, {4, 1, 8}, {4, 0, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        packet p = {.nheader = 40 + 40 + 8, .header = {0x60, [5] = 48, 43, 64}}, arrived;
        for (unsigned k = 8; k < 80; k++)
            p.header[k] = (uint8_t)(k * 37);
        const uint8_t routing[8] = {PROTO_UDP, 4, (uint8_t)cases[i].type, (uint8_t)cases[i].left};
        memcpy(p.header + 40, routing, sizeof routing);
        memcpy(p.header + 80, "\x30\x39\0\x35\0\x08\0\0", 8); /* UDP */
        assert_true(packet_is_complete(&p));
        checksum_fill(&p, false);
        arrived = p;
        if (cases[i].at > 0)
            memcpy(arrived.header + 24, p.header + 40 + cases[i].at, 16);
        if (receiver_sum(&arrived) != 0xffff)
            fail_msg("routing type %u, %u segments left", cases[i].type, cases[i].left);
    }
}

static void test_checksums(void **state) {
    static const uint8_t known[20] = {0x45, 0,    0,    0x73, 0, 0, 0x40, 0,    0x40, 0x11,
                                      0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,    0xc7};
    packet p = {.nheader = 28};
    rng r = rng_make(3, 0, RNG_TEST);
    (void)state;
    memcpy(p.header, known, sizeof known);
    assert_int_equal(checksum_ipv4(&p), 0xb861);

    for (int i = 0; i < 2000; i++) {
        p = random_packet(&r);
        checksum_fill(&p, false);
        assert_int_equal(receiver_sum(&p), 0xffff);
        assert_int_equal(get16(p.header + 10), checksum_ipv4(&p));
        if (packet_proto(&p) == PROTO_UDP) {
            uint8_t *field = p.header + packet_ip_nheader(&p) + 6;
            assert_int_not_equal(get16(field), 0);
            put16(field, 0);
            checksum_fill(&p, true);
            assert_int_equal(get16(field), 0);
        }
    }
}

/* A sum of all ones would give the UDP checksum 0, which means "none": it is sent as all ones (RFC 768). */
static void test_udp_checksum_is_never_zero(void **state) {
    packet p = {.nheader = 28, .header = "\x45\0\0\x1c\0\0\0\0\x40\x11"};
    (void)state;
    put16(p.header + 24, 8);
    unsigned sum = PROTO_UDP + 8 + 8; /* pseudo header: protocol, length; header: length */
    put16(p.header + 20, 0xffff - sum - 1);
    assert_int_equal(checksum_transport(&p), 1);
    put16(p.header + 20, 0xffff - sum);
    assert_int_equal(checksum_transport(&p), 0xffff);
}

/* Checksums that real senders computed. Left out: packets with payload, whose sum needs bytes that are not kept, and
 * what the capturing host sent itself (the card fills those in later). */
static void test_checksums_of_real_packets(void **state) {
    char path[4096];
    struct pcap_pkthdr h;
    uint8_t *frame;
    size_t n = 0, ip_right = 0, nempty = 0, l4_right = 0;
    (void)state;
    pcap_t *from = frames_open(shared_path(path, sizeof path, "data/captures/pcap/viber_mobile.pcap"));
    assert_non_null(from);
    while (frames_next(from, &h, &frame)) {
        packet p;
        if (packet_decode(pcap_datalink(from), frame, h.caplen, h.len, &p) == SKIP_NONE) {
            n++;
            ip_right += checksum_ipv4(&p) == get16(p.header + 10);
            if (packet_proto(&p) == PROTO_TCP && packet_payload(&p) == 0) {
                nempty++;
                l4_right += checksum_transport(&p) == get16(packet_l4(&p) + 16);
            }
        }
        free(frame);
    }
    pcap_close(from);
    print_message("%zu of %zu IPv4 and %zu of %zu TCP checksums right\n", ip_right, n, l4_right, nempty);
    assert_int_equal(ip_right, n);
    assert_int_equal(l4_right, nempty);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checksums),
        cmocka_unit_test(test_ipv6_checksums),
        cmocka_unit_test(test_routing_checksums),
        cmocka_unit_test(test_udp_checksum_is_never_zero),
        cmocka_unit_test(test_checksums_of_real_packets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
