/* Fields of a header: their values against nPrint's bits, whatever the bytes. */
#include "eval/fidelity_flows.h"

static void set_bits(const packet *p, const nprint_field *field, uint64_t *value, bool *vacant) {
    int8_t bits[NPRINT_COLUMNS];
    nprint_encode(p, bits);
    *value = 0;
    *vacant = bits[field->first] < 0;
    for (unsigned k = 0; k < field->nbits && field->nbits <= 32; k++)
        *value = *value << 1 | (bits[field->first + k] == 1);
}

static void fields_equal_nprint(void **state) {
    size_t seen = 0;
    for (unsigned trial = 0; trial < 300; trial++) {
        rng r = rng_make(3, trial, RNG_TEST);
        packet p = random_packet(&(packet){0}, &r);
        unsigned nip = 20 + 4 * rng_below(&r, 11), doff = 5 + rng_below(&r, 11);
        p.header[0] = (uint8_t)(0x40 | nip / 4);
        p.header[nip + 12] = (uint8_t)(p.header[9] == PROTO_TCP ? doff << 4 : p.header[nip + 12]);
        p.nheader = (uint8_t)(nip + (p.header[9] == PROTO_TCP ? 4 * doff : 8));
        assert_true(packet_is_complete(&p));
        for (size_t i = 0; i < nprint_nfields; i++) {
            uint64_t expected, value = fidelity_field(&p, &nprint_fields[i]);
            bool vacant;
            set_bits(&p, &nprint_fields[i], &expected, &vacant);
            assert_int_equal(value == FIELD_VACANT, vacant);
            if (!vacant && nprint_fields[i].nbits <= 32) {
                assert_true(value == expected);
                seen++;
            }
        }
    }
    assert_true(seen > 300 * 16);
}

static void options_are_told_apart(void **state) {
    const nprint_field *options = &nprint_fields[field_number("tcp_opt")];
    packet p = tcp_packet(0, 1, TCP_SYN, 0), q;
    assert_true(fidelity_field(&p, options) == FIELD_VACANT);
    p.header[32] = 0x60;
    p.nheader = 44;
    put32(p.header + 40, 0x020405b4);
    q = p;
    assert_true(fidelity_field(&p, options) == fidelity_field(&q, options));
    q.header[43] ^= 1;
    assert_true(fidelity_field(&p, options) != fidelity_field(&q, options));
    q = p;
    q.header[32] = 0x70; /* the same and a word of zeros more */
    q.nheader = 48;
    assert_true(fidelity_field(&p, options) != fidelity_field(&q, options));
}

/* Any bytes, cut anywhere: a field is there or not, but never larger than its bits. */
static void any_bytes_are_safe(void **state) {
    for (unsigned n = 0; n < 256; n++) {
        rng r = rng_make(4, n, RNG_TEST);
        packet p = random_packet(&(packet){0}, &r);
        p.nheader = (uint8_t)n;
        for (size_t i = 0; i < nprint_nfields; i++) {
            uint64_t value = fidelity_field(&p, &nprint_fields[i]);
            unsigned nbits = nprint_fields[i].nbits < 63 ? nprint_fields[i].nbits : 63;
            assert_true(value == FIELD_VACANT || value >> nbits == 0);
            assert_true(n >= 20 || nprint_fields[i].first < NPRINT_TCP || value == FIELD_VACANT);
        }
    }
}

static void scopes(void **state) {
    size_t n[SCOPE_COUNT] = {0};
    for (size_t i = 0; i < nprint_nfields; i++)
        for (int scope = 0; scope < SCOPE_COUNT; scope++)
            n[scope] += fidelity_in_scope(i, (field_scope)scope);
    assert_int_equal(n[SCOPE_ALL], nprint_nfields);
    assert_int_equal(n[SCOPE_PLAIN], nprint_nfields - 14);
    assert_int_equal(n[SCOPE_PROTOCOL], 1);
    assert_false(fidelity_in_scope(field_number("tcp_seq"), SCOPE_PLAIN));
    assert_true(fidelity_in_scope(field_number("tcp_wsize"), SCOPE_PLAIN));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_equal_nprint),
        cmocka_unit_test(options_are_told_apart),
        cmocka_unit_test(any_bytes_are_safe),
        cmocka_unit_test(scopes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
