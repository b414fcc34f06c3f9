/* Messages of the services that nd makes payload for, read back by small parsers of their own, for every size. */
#include "messages.h"

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

/* Whichever of its neighbours came late, and whether it was sent again: one number, one payload. */
static void tls_segments_are_the_same_in_any_order(void **state) {
    static const unsigned sizes[] = {300, 3, 100, 4, 2, 15, 1, 40, 5, 20};
    static const unsigned order[] = {0, 2, 1, 2, 5, 4, 3, 5, 4, 6, 9, 7, 8, 9, 7, 0};
    enum { SEGMENTS = sizeof sizes / sizeof *sizes, SENT = sizeof order / sizeof *order };
    uint8_t *first[SEGMENTS] = {NULL};
    uint32_t seq[SEGMENTS + 1] = {1};
    flow f;
    size_t n;
    for (size_t i = 0; i < SEGMENTS; i++)
        seq[i + 1] = seq[i] + sizes[i];
    flow_init(&f);
    for (size_t i = 0; i < SENT; i++)
        add(&f, message(PROTO_TCP, 0, 443, seq[order[i]], sizes[order[i]]));
    for (size_t i = 0; i < SENT; i++) {
        uint8_t *bytes = payload_of(&f, i, &n), **before = &first[order[i]];
        assert_int_equal(n, sizes[order[i]]);
        if (*before == NULL) {
            *before = bytes;
            continue;
        }
        assert_memory_equal(*before, bytes, n);
        free(bytes);
    }
    for (size_t i = 0; i < SEGMENTS; i++)
        free(first[i]);
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

/* The options behind the cookie end with the end option, within n; the type of the message. */
static unsigned dhcp_type(const uint8_t *m, size_t n) {
    unsigned type = 0;
    size_t at = 240;
    assert_int_equal(get32(m + 236), 0x63825363);
    for (; m[at] != 255; at += 2u + m[at + 1]) {
        assert_true(at + 2u + m[at + 1] < n);
        type = m[at] == 53 ? m[at + 2] : type;
    }
    return type;
}

static void dhcp_is_one_transaction(void **state) {
    static const uint8_t dirs[] = {0, 1, 0, 1}, types[] = {1, 2, 3, 5};
    for (unsigned port = 67; port <= 68; port++)
        for (unsigned size = 244; size <= 600; size += size < 270 ? 1 : 66) {
            flow f;
            size_t n;
            uint32_t transaction = 0;
            flow_init(&f);
            for (size_t i = 0; i < 4; i++) /* the port is the server's, or the client's */
                add(&f, message(PROTO_UDP, port == 67 ? dirs[i] : !dirs[i], port, 0, size));
            for (size_t i = 0; i < 4; i++) {
                uint8_t *m = payload_of(&f, i, &n);
                assert_int_equal(m[0], 1 + dirs[i]);
                assert_int_equal(dhcp_type(m, n), types[i]);
                assert_true(i == 0 || get32(m + 4) == transaction);
                transaction = get32(m + 4);
                free(m);
            }
            flow_clear(&f);
        }
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dns_of_every_size),
        cmocka_unit_test(dns_answers_its_questions),
        cmocka_unit_test(segments_of_every_size),
        cmocka_unit_test(tls_records_go_on_in_the_next_segment),
        cmocka_unit_test(tls_segments_are_the_same_in_any_order),
        cmocka_unit_test(ntp_replies_with_the_request_time),
        cmocka_unit_test(dhcp_is_one_transaction),
        cmocka_unit_test(rtp_numbers_each_side),
        cmocka_unit_test(echoes_are_repeated),
        cmocka_unit_test(errors_quote_what_they_are_about),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
