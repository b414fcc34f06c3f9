/* Payload: messages are read back by small parsers of their own, for every size; checksums are summed naively. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "packet/check.h"
#include "packet/payload.h"
#include "packet/repair.h"
#include "segments.h"

enum { CLIENT_PORT = 50000 };

/* A datagram or segment of the conversation between CLIENT_PORT and port; dir 0 is the client's. */
static packet message(unsigned proto, unsigned dir, unsigned port, uint32_t seq, unsigned payload) {
    line l = {(uint8_t)dir, A | P, seq, 1, payload, NULL, 0};
    packet p = line_packet(&l, 0);
    uint8_t *l4 = p.header + 20;
    put16(l4 + (dir ? 0 : 2), port);
    if (proto != PROTO_TCP) {
        p.header[9] = (uint8_t)proto;
        p.nheader = 28;
        put16(p.header + 2, 28 + payload);
        put16(l4 + 4, 8 + payload);
        put16(l4 + 6, 1);
    }
    p.wire_len = p.nheader + payload;
    return p;
}

static packet icmp(unsigned dir, unsigned type, unsigned payload) {
    packet p = message(PROTO_ICMP, dir, 0, 0, payload);
    memset(p.header + 20, 0, 8);
    p.header[20] = (uint8_t)type;
    return p;
}

static void add(flow *f, packet p) {
    assert_int_equal(flow_add(f, &p), ST_OK);
}

/* All payload bytes of packet i, in a block of their size so that AddressSanitizer sees a write beyond; the caller
 * frees. */
static uint8_t *payload_of(const flow *f, size_t i, size_t *n) {
    *n = packet_payload(&f->packets[i]);
    uint8_t *bytes = malloc(*n + (*n == 0));
    assert_non_null(bytes);
    memset(bytes, 0xee, *n); /* every byte must be written */
    payload_make(f, i, bytes, *n);
    return bytes;
}

/* ---- DNS ---- */

/* Skip a name, following no pointer but checking that it goes back; returns false where it is no name. */
static bool name_skip(const uint8_t *m, size_t n, size_t *at) {
    for (size_t total = 0; *at < n;) {
        unsigned length = m[*at];
        if (length >> 6 == 3) {
            bool back = *at + 1 < n && (unsigned)((length & 63) << 8 | m[*at + 1]) < *at;
            *at += 2;
            return back;
        }
        if (length > 63 || (total += 1 + length) > 255)
            return false;
        *at += 1 + length;
        if (length == 0)
            return *at <= n;
    }
    return false;
}

static bool record_skip(const uint8_t *m, size_t n, size_t *at) {
    if (!name_skip(m, n, at) || *at + 10 > n)
        return false;
    unsigned type = get16(m + *at), ndata = get16(m + *at + 8);
    size_t data = *at + 10;
    *at = data + ndata;
    if (*at > n)
        return false;
    if (type == 1)
        return ndata == 4;
    if (type == 2 || type == 5)
        return name_skip(m, n, &data) && data == *at;
    return type == 41 && (ndata == 0 || (ndata >= 4 && get16(m + data + 2) == ndata - 4u));
}

static bool dns_well_formed(const uint8_t *m, size_t n, bool response) {
    size_t at = 12;
    if (n < 12 || m[2] >> 7 != response)
        return false;
    for (unsigned k = 0; k < get16(m + 4); k++) {
        if (!name_skip(m, n, &at) || at + 4 > n)
            return false;
        at += 4;
    }
    unsigned nrecords = (unsigned)get16(m + 6) + get16(m + 8) + get16(m + 10);
    for (unsigned k = 0; k < nrecords; k++)
        if (!record_skip(m, n, &at))
            return false;
    return at == n;
}

static void dns_of_every_size(void **state) {
    for (unsigned tcp = 0; tcp < 2; tcp++) {
        unsigned proto = tcp ? PROTO_TCP : PROTO_UDP, prefix = tcp ? 2 : 0;
        for (unsigned q = 17; q < 420; q++) {
            if (q == 18) /* a name of two bytes does not exist */
                continue;
            for (unsigned r = 19; r < 420; r += q % 7 + 1) {
                flow f;
                size_t nq, nr;
                flow_init(&f);
                add(&f, message(proto, 0, 53, 1, prefix + q));
                add(&f, message(proto, 1, 53, 1, prefix + r));
                uint8_t *query = payload_of(&f, 0, &nq), *response = payload_of(&f, 1, &nr);
                assert_true(dns_well_formed(query + prefix, nq - prefix, false));
                assert_true(dns_well_formed(response + prefix, nr - prefix, true));
                assert_int_equal(get16(query + prefix), get16(response + prefix));
                if (tcp)
                    assert_int_equal(get16(response), r);
                free(query);
                free(response);
                flow_clear(&f);
            }
        }
    }
}

static void dns_answers_its_questions(void **state) {
    enum { QUERIES = 300 };
    static uint8_t seen[65536];
    static const uint8_t dirs[] = {0, 0, 1, 1, 1}; /* two questions, their answers, and one answer too many */
    flow f;
    size_t n;
    uint16_t ids[5];
    flow_init(&f);
    for (size_t i = 0; i < 5; i++)
        add(&f, message(PROTO_UDP, dirs[i], 53, 0, 60));
    for (size_t i = 0; i < 5; i++) {
        uint8_t *m = payload_of(&f, i, &n);
        ids[i] = get16(m);
        free(m);
    }
    assert_int_not_equal(ids[0], ids[1]);
    assert_int_equal(ids[2], ids[0]);
    assert_int_equal(ids[3], ids[1]);
    for (size_t i = 0; i < 4; i++) /* nothing asked for it: no repetition of another */
        assert_int_not_equal(ids[4], ids[i]);
    flow_clear(&f);
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < QUERIES; i++)
        add(&f, message(PROTO_UDP, 0, 53, 0, 40));
    for (size_t i = 0; i < QUERIES; i++) {
        uint8_t *m = payload_of(&f, i, &n);
        assert_int_equal(seen[get16(m)]++, 0);
        free(m);
    }
    flow_clear(&f);
}

/* ---- services over TCP: whole messages in every segment ---- */

static bool tls_well_formed(const uint8_t *m, size_t n, unsigned first_type) {
    size_t at = 0;
    for (; at + 5 <= n && at + 5 + get16(m + at + 3) <= n; at += 5u + get16(m + at + 3)) {
        if (m[at] < 20 || m[at] > 23 || m[at + 1] != 3 || get16(m + at + 3) == 0 || get16(m + at + 3) > 16640)
            return false;
        if (m[at] == 22 && (get32(m + at + 5) & 0xffffff) + 4 != get16(m + at + 3))
            return false;
    }
    return at == n && m[0] == first_type;
}

/* The extensions of a ClientHello end with it. */
static void assert_hello_ends(const uint8_t *m, size_t n) {
    size_t at = 5 + 4 + 2 + 32;
    at += 1u + m[at];
    at += 2u + get16(m + at);
    at += 1u + m[at];
    assert_int_equal(at + 2 + get16(m + at), n);
    for (at += 2; at + 4 <= n;)
        at += 4u + get16(m + at + 2);
    assert_int_equal(at, n);
}

static bool mqtt_well_formed(const uint8_t *m, size_t n, unsigned first_type) {
    size_t at = 0;
    while (at < n) {
        size_t rest = 0, size = 0;
        do {
            if (at + 1 + size >= n || size > 3)
                return false;
            rest |= (size_t)(m[at + 1 + size] & 127) << 7 * size;
        } while (m[at + 1 + size++] & 128);
        at += 1 + size + rest;
    }
    return at == n && m[0] == first_type;
}

/* Binary packets of SSH behind the line, if there is one. */
static bool ssh_well_formed(const uint8_t *m, size_t n, bool with_line) {
    size_t at = 0;
    if (with_line) {
        const uint8_t *end = memchr(m, '\n', n);
        if (end == NULL || end == m || end[-1] != '\r' || memcmp(m, "SSH-2.0-", 8) != 0 || end - m > 254)
            return false;
        at = (size_t)(end + 1 - m);
    }
    while (at + 6 <= n && at + 4 + get32(m + at) <= n && m[at + 4] >= 4 && m[at + 4] + 2u <= get32(m + at))
        at += 4 + get32(m + at);
    return at == n;
}

/* A stream of segments, some too small for a record, is records from end to end. */
static void tls_records_go_on_in_the_next_segment(void **state) {
    static const unsigned sizes[] = {300, 3, 100, 4, 2, 15, 1, 40, 5, 20, 4, 30, 3, 2, 4, 5, 60, 6, 6, 5, 1400};
    enum { SEGMENTS = sizeof sizes / sizeof *sizes };
    static uint8_t stream[4096];
    flow f;
    size_t total = 0, n;
    flow_init(&f);
    for (size_t i = 0; i < SEGMENTS; i++) {
        add(&f, message(PROTO_TCP, 0, 443, (uint32_t)(1 + total), sizes[i]));
        uint8_t *bytes = payload_of(&f, i, &n);
        memcpy(stream + total, bytes, n);
        total += n;
        free(bytes);
    }
    assert_true(tls_well_formed(stream, total, 22));
    flow_clear(&f);
}

static void segments_of_every_size(void **state) {
    enum { SIZES = 4000, LARGEST = 65000 };
    for (unsigned n = 6; n < LARGEST; n += n < SIZES ? 1 : 977) {
        for (unsigned dir = 0; dir < 2; dir++) {
            flow f;
            size_t got;
            flow_init(&f);
            add(&f, message(PROTO_TCP, dir, 443, 1, n));
            add(&f, message(PROTO_TCP, dir, 443, 1 + n, n));
            add(&f, message(PROTO_TCP, dir, 443, 1, n)); /* sent again */
            uint8_t *first = payload_of(&f, 0, &got), *second = payload_of(&f, 1, &got),
                    *again = payload_of(&f, 2, &got);
            unsigned least = dir == 0 ? 60 : 127, most = 16384 + 256;
            bool hello = dir == 0 ? n >= least && n <= most : n == least || n > least + 5;
            assert_true(tls_well_formed(first, n, hello ? 22 : 23));
            assert_true(tls_well_formed(second, n, 23));
            assert_memory_equal(first, again, n);
            if (hello && dir == 0)
                assert_hello_ends(first, n);
            free(first);
            free(second);
            free(again);
            for (size_t i = 0; i < 3; i++)
                put16(f.packets[i].header + 20 + (dir ? 0 : 2), 1883);
            first = payload_of(&f, 0, &got), second = payload_of(&f, 1, &got);
            bool connect = dir == 0 && n >= 14 && n != 130;
            assert_true(mqtt_well_formed(first, n,
                                         connect              ? 0x10
                                         : dir == 1 && n != 7 ? 0x20
                                         : n == 130           ? 0xc0
                                                              : 0x30));
            assert_true(mqtt_well_formed(second, n, n != 130 ? 0x30 : dir == 0 ? 0xc0 : 0xd0));
            free(first);
            free(second);
            for (size_t i = 0; i < 3; i++)
                put16(f.packets[i].header + 20 + (dir ? 0 : 2), 22);
            first = payload_of(&f, 0, &got), second = payload_of(&f, 1, &got);
            if (n >= 12 && (n <= 255 || n >= 300))
                assert_true(ssh_well_formed(first, n, true));
            if (n >= 14)
                assert_true(ssh_well_formed(second, n, false));
            free(first);
            free(second);
            flow_clear(&f);
        }
    }
}

/* ---- datagrams ---- */

static void ntp_replies_with_the_request_time(void **state) {
    flow f;
    size_t n;
    flow_init(&f);
    add(&f, message(PROTO_UDP, 0, 123, 0, 48));
    add(&f, message(PROTO_UDP, 1, 123, 0, 48));
    uint8_t *request = payload_of(&f, 0, &n), *reply = payload_of(&f, 1, &n);
    assert_int_equal(request[0], 4 << 3 | 3);
    assert_int_equal(reply[0], 4 << 3 | 4);
    assert_memory_equal(reply + 24, request + 40, 8);
    uint64_t sent = (uint64_t)get32(request + 40) << 32 | get32(request + 44);
    uint64_t received = (uint64_t)get32(reply + 32) << 32 | get32(reply + 36);
    uint64_t answered = (uint64_t)get32(reply + 40) << 32 | get32(reply + 44);
    assert_true(sent != 0 && sent < received && received < answered);
    free(request);
    free(reply);
    flow_clear(&f);
}

static void rtp_numbers_each_side(void **state) {
    static const uint8_t dirs[] = {0, 1, 0, 0, 1};
    flow f;
    size_t n;
    uint16_t last[2] = {0, 0};
    bool seen[2] = {false, false};
    flow_init(&f);
    for (size_t i = 0; i < 5; i++)
        add(&f, message(PROTO_UDP, dirs[i], 5004, 0, 172));
    for (size_t i = 0; i < 5; i++) {
        uint8_t *m = payload_of(&f, i, &n);
        assert_int_equal(m[0], 0x80);
        if (seen[dirs[i]])
            assert_int_equal(get16(m + 2), (uint16_t)(last[dirs[i]] + 1));
        last[dirs[i]] = get16(m + 2);
        seen[dirs[i]] = true;
        free(m);
    }
    flow_clear(&f);
}

static void echoes_are_repeated(void **state) {
    flow f;
    size_t n;
    flow_init(&f);
    add(&f, icmp(0, 8, 56));
    add(&f, icmp(1, 0, 56));
    uint8_t *request = payload_of(&f, 0, &n), *reply = payload_of(&f, 1, &n);
    assert_memory_equal(request, reply, 56);
    assert_int_equal(request[55], 55);
    free(request);
    free(reply);
    flow_clear(&f);
}

static void errors_quote_what_they_are_about(void **state) {
    flow f;
    size_t n;
    flow_init(&f);
    add(&f, icmp(0, 8, 56));
    add(&f, icmp(1, 11, 28));
    add(&f, icmp(1, 3, 100)); /* longer than the packet */
    checksum_fill_flow(&f);
    for (size_t i = 1; i < 3; i++) {
        uint8_t *quote = payload_of(&f, i, &n);
        assert_memory_equal(quote, f.packets[0].header, 28);
        if (i == 2)
            for (unsigned k = 0; k < 72; k++)
                assert_int_equal(quote[28 + k], k < 56 ? k : 0);
        free(quote);
    }
    flow_clear(&f);
    add(&f, icmp(0, 3, 64)); /* nothing came before: a datagram that could have */
    add(&f, icmp(1, 3, 64)); /* an error is not answered */
    for (size_t i = 0; i < 2; i++) {
        uint8_t *quote = payload_of(&f, i, &n);
        packet made = {.nheader = 28};
        memcpy(made.header, quote, 28);
        assert_true(packet_is_complete(&made));
        assert_int_equal(packet_total_len(&made), 64);
        assert_int_equal(checksum_ipv4(&made), get16(quote + 10));
        assert_memory_equal(quote + 12, f.packets[i].header + 16, 4);
        assert_memory_equal(quote + 16, f.packets[i].header + 12, 4);
        free(quote);
    }
    flow_clear(&f);
}

static void other_ports_carry_zeros(void **state) {
    flow f;
    uint8_t bytes[100];
    flow_init(&f);
    add(&f, message(PROTO_UDP, 0, 6000, 0, 100));
    add(&f, message(PROTO_TCP, 0, 8000, 1, 100));
    for (size_t i = 0; i < 2; i++) {
        memset(bytes, 1, sizeof bytes);
        assert_false(payload_make(&f, i, bytes, sizeof bytes));
        for (size_t k = 0; k < sizeof bytes; k++)
            assert_int_equal(bytes[k], 0);
        assert_int_equal(payload_sum(&f, i), 0);
    }
    flow_clear(&f);
}

/* ---- checksums, cuts, anything ---- */

/* One's complement sum of pseudo header, header and payload together, byte by byte: 0xffff where it is right. */
static unsigned naive_sum(const packet *p, const uint8_t *payload, size_t n) {
    uint64_t sum = 0;
    unsigned nip = packet_ip_nheader(p), proto = packet_proto(p), l4 = (unsigned)(p->nheader - nip + n);
    for (unsigned k = 0; k < l4; k++) {
        unsigned byte = k < p->nheader - nip ? p->header[nip + k] : payload[k - (p->nheader - nip)];
        sum += k % 2 ? byte : byte << 8;
    }
    if (proto != PROTO_ICMP) {
        for (unsigned k = 0; k < 8; k++)
            sum += k % 2 ? p->header[12 + k] : (unsigned)p->header[12 + k] << 8;
        sum += proto + l4;
    }
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (unsigned)sum;
}

static void checksums_count_the_payload(void **state) {
    static const struct {
        unsigned proto, port;
    } services[] = {{PROTO_UDP, 53},   {PROTO_TCP, 53}, {PROTO_TCP, 443},  {PROTO_TCP, 22},
                    {PROTO_TCP, 1883}, {PROTO_ICMP, 0}, {PROTO_UDP, 6000}, {PROTO_UDP, 123}};
    for (size_t s = 0; s < sizeof services / sizeof *services; s++) {
        flow f;
        flow_init(&f);
        for (unsigned i = 0; i < 40; i++) {
            unsigned dir = i % 3 == 1, payload = 48 + i * 37;
            add(&f, services[s].proto == PROTO_ICMP
                        ? icmp(dir, dir ? 0 : 8, payload)
                        : message(services[s].proto, dir, services[s].port, 1 + i * 3000, payload));
        }
        checksum_fill_flow(&f);
        for (size_t i = 0; i < f.npackets; i++) {
            size_t n;
            uint8_t *bytes = payload_of(&f, i, &n);
            assert_int_equal(naive_sum(&f.packets[i], bytes, n), 0xffff);
            free(bytes);
        }
        check_counts c = {0};
        check_flow(&f, CHECK_PAYLOAD_MADE, &c, NULL);
        assert_int_equal(c.tested[CHECK_CHECKSUM_L4], 40);
        assert_int_equal(c.failed[CHECK_CHECKSUM_L4], 0);
        check_flow(&f, CHECK_PAYLOAD_ZERO, &c, NULL); /* and it is not what zeros would have */
        assert_true(c.failed[CHECK_CHECKSUM_L4] > 0 || services[s].port == 6000);
        flow_clear(&f);
    }
}

static void repaired_flows_have_the_checksums(void **state) {
    flow f;
    size_t n;
    flow_init(&f);
    for (unsigned i = 0; i < 10; i++)
        add(&f, message(PROTO_UDP, i % 2, 53, 0, 40 + i));
    assert_int_equal(repair_flow(&f, NULL, NULL), ST_OK);
    for (size_t i = 0; i < f.npackets; i++) {
        uint8_t *bytes = payload_of(&f, i, &n);
        assert_int_equal(naive_sum(&f.packets[i], bytes, n), 0xffff);
        free(bytes);
    }
    flow_clear(&f);
}

static void a_cut_is_a_prefix(void **state) {
    static const unsigned ports[] = {53, 443, 22, 1883};
    for (size_t s = 0; s < 4; s++) {
        flow f;
        size_t n;
        uint8_t part[300];
        flow_init(&f);
        add(&f, message(PROTO_TCP, 0, ports[s], 1, 300));
        uint8_t *whole = payload_of(&f, 0, &n);
        for (size_t k = 0; k <= n; k++) {
            payload_make(&f, 0, part, k);
            assert_memory_equal(part, whole, k);
        }
        free(whole);
        flow_clear(&f);
    }
}

/* Any headers of any shape or none, of both IP versions: every byte is written, and the same twice. */
static void any_headers_will_do(void **state) {
    static const uint16_t ports[] = {53, 443, 22, 1883, 123, 5353};
    rng r = rng_make(1, 1, RNG_TEST);
    for (unsigned round = 0; round < 300; round++) {
        flow f;
        flow_init(&f);
        for (unsigned i = 0; i < 12; i++) {
            packet p = random_packet(&r);
            unsigned kind = rng_below(&r, 8);
            p.dir = rng_below(&r, 2);
            if (kind == 0) { /* no shape at all */
                for (size_t k = 0; k < PACKET_HEADER_MAX; k++)
                    p.header[k] = (uint8_t)rng_u32(&r);
                p.nheader = (uint8_t)rng_u32(&r);
            } else if (kind < 4) { /* IPv6: without extension headers, and the transport header's length kept */
                unsigned nip = packet_ip_nheader(&p), nl4 = p.nheader - nip;
                uint8_t proto = p.header[9] == PROTO_ICMP ? PROTO_ICMPV6 : p.header[9];
                memmove(p.header + 40, p.header + nip, nl4);
                p.header[0] = 0x60;
                put16(p.header + 4, nl4 + rng_below(&r, 2000));
                p.header[6] = proto;
                p.nheader = (uint8_t)(40 + nl4);
            }
            if (p.nheader <= PACKET_HEADER_MAX && packet_has_shape(&p) && kind % 2)
                put16(p.header + packet_ip_nheader(&p) + 2 * rng_below(&r, 2), ports[rng_below(&r, 6)]);
            add(&f, p);
        }
        for (size_t i = 0; i < f.npackets; i++) {
            size_t n;
            uint8_t *a = payload_of(&f, i, &n), *b = malloc(n + 1);
            assert_non_null(b);
            memset(b, 0x11, n + 1);
            payload_make(&f, i, b, n);
            assert_memory_equal(a, b, n);
            assert_int_equal(b[n], 0x11);
            assert_int_equal(payload_sum(&f, i), checksum_sum(a, n));
            free(a);
            free(b);
        }
        flow_clear(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dns_of_every_size),
        cmocka_unit_test(dns_answers_its_questions),
        cmocka_unit_test(segments_of_every_size),
        cmocka_unit_test(tls_records_go_on_in_the_next_segment),
        cmocka_unit_test(ntp_replies_with_the_request_time),
        cmocka_unit_test(rtp_numbers_each_side),
        cmocka_unit_test(echoes_are_repeated),
        cmocka_unit_test(errors_quote_what_they_are_about),
        cmocka_unit_test(other_ports_carry_zeros),
        cmocka_unit_test(checksums_count_the_payload),
        cmocka_unit_test(repaired_flows_have_the_checksums),
        cmocka_unit_test(a_cut_is_a_prefix),
        cmocka_unit_test(any_headers_will_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
