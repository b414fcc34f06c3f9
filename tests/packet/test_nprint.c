/* The nPrint row: byte-identical CSV against files written by nPrint itself, and the way back. */
#include "frames.h"
#include "packet/nprint.h"

/* Does nPrint 1.2.1 (-4 -t -u -i) print a row for this frame? It looks at bytes 12-13 whatever the link type (a cooked
 * header first loses 16 bytes), takes the version nibble there or at the start, and wants TCP, UDP or ICMP; fragment
 * offsets, lengths and what was captured are not looked at. IPv6 is left out: no golden file has any. */
static bool nprint_prints(int link_type, const uint8_t *frame, size_t caplen) {
    size_t at = link_type == 113 ? 16 : 0;
    if (caplen >= at + 14 && (get16(frame + at + 12) == 0x0800 || get16(frame + at + 12) == 0x86dd))
        at += 14;
    if (caplen < at + 20 || frame[at] >> 4 != 4)
        return false;
    return frame[at + 9] == PROTO_TCP || frame[at + 9] == PROTO_UDP || frame[at + 9] == PROTO_ICMP;
}

typedef struct golden {
    const char *file;
    int nframes; /* considered by nPrint (-c) */
    int nrows;
} golden;

static const golden goldens[] = {
    {"captures/pcap/netflix.shared.pcap", 1024, 1023},
    {"captures/pcap/KakaoTalk_chat.pcap", 347, 347},
    {"captures/pcap/skype.pcap", 1024, 970},
    {"captures/hostile/ip_options.pcap", 8, 8},
};

static FILE *open_golden(const char *file) {
    char path[4096], command[4200], name[256];
    snprintf(name, sizeof name, "data/nprint-golden/%s.npt.xz", strrchr(file, '/') + 1);
    snprintf(command, sizeof command, "xz -dc '%s'", shared_path(path, sizeof path, name));
    FILE *from = popen(command, "r");
    assert_non_null(from);
    return from;
}

static void compare_header(FILE *from) {
    char *expect = NULL, *got = NULL;
    size_t capacity = 0, nbytes;
    ssize_t n = getline(&expect, &capacity, from);
    FILE *to = open_memstream(&got, &nbytes);
    assert_non_null(to);
    assert_int_equal(nprint_csv_header(&nprint_ipv4_form, to), ST_OK);
    fclose(to);
    assert_int_equal(n, nbytes);
    assert_memory_equal(got, expect, nbytes);
    free(expect);
    free(got);
}

/* Compare the next golden line with the packet's, and read it back. */
static void compare_row(FILE *from, const packet *p, const char *file) {
    static char text[NPRINT_ROW_MAX];
    char *expect = NULL;
    size_t capacity = 0;
    ssize_t n = getline(&expect, &capacity, from);
    size_t nbytes = nprint_csv_row(&nprint_ipv4_form, p, text);
    assert_true(nbytes <= NPRINT_ROW_MAX);
    if (n != (ssize_t)nbytes || memcmp(text, expect, nbytes) != 0)
        fail_msg("%s: frame %u differs from nPrint's row", file, p->frame);
    packet back = {.dir = 9};
    if (nprint_csv_parse(&nprint_ipv4_form, expect, nbytes - 1, &back) != ST_OK)
        fail_msg("%s: frame %u: %s", file, p->frame, status_message());
    assert_same_headers(p, &back);
    assert_true(back.wire_len == packet_total_len(p) && back.dir == 9);
    free(expect);
}

static void test_golden(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        char path[4096], name[256];
        struct pcap_pkthdr h;
        uint8_t *frame;
        int nrows = 0;
        const golden *g = &goldens[i];
        FILE *from = open_golden(g->file);
        snprintf(name, sizeof name, "data/%s", g->file);
        pcap_t *capture = frames_open(shared_path(path, sizeof path, name));
        assert_non_null(capture);

        compare_header(from);
        for (int n = 0; n < g->nframes && frames_next(capture, &h, &frame); n++) {
            packet p = {.frame = (uint32_t)n};
            packet_skip skip = packet_decode(pcap_datalink(capture), frame, h.caplen, h.len, &p);
            if (nprint_prints(pcap_datalink(capture), frame, h.caplen) != (skip == SKIP_NONE))
                fail_msg("%s: frame %d: nPrint and nd disagree about a row (%s)", g->file, n, packet_skip_name(skip));
            if (skip == SKIP_NONE) {
                compare_row(from, &p, g->file);
                nrows++;
            }
            free(frame);
        }
        pcap_close(capture);
        assert_int_equal(fgetc(from), EOF);
        assert_int_equal(pclose(from), 0);
        assert_int_equal(nrows, g->nrows);
    }
}

/* Bits one by one from the definition, for comparison with the table look-up. */
static void encode_plainly(const nprint_form *form, const packet *p, int8_t *bits) {
    const uint8_t *l4 = packet_l4(p);
    unsigned nip = packet_ip_nheader(p), nl4 = p->nheader - nip, proto = packet_proto(p);
    unsigned first = proto == PROTO_TCP ? form->tcp : proto == PROTO_UDP ? form->udp : form->icmp;
    unsigned ip = packet_is_ipv6(p) ? form->ipv6 : 0;
    memset(bits, -1, form->ncolumns);
    for (unsigned c = 0; c < (packet_is_ipv6(p) ? 40 : nip) * 8; c++)
        if (!packet_is_ipv6(p) || form == &nprint_ipv6_form)
            bits[ip + c] = p->header[c / 8] >> (7 - c % 8) & 1;
    for (unsigned c = 0; c < nl4 * 8; c++)
        if (proto != PROTO_ICMPV6)
            bits[first + c] = l4[c / 8] >> (7 - c % 8) & 1;
}

static void check_round_trip(const nprint_form *form, const packet *p) {
    static char text[NPRINT_ROW_MAX];
    int8_t bits[NPRINT_MOST_COLUMNS], plain[NPRINT_MOST_COLUMNS];
    packet back = {.time_ns = 3, .frame = 4, .dir = 1};
    const char *why;
    encode_plainly(form, p, plain);
    memset(bits, 77, sizeof bits);
    nprint_form_encode(form, p, bits);
    assert_memory_equal(bits, plain, form->ncolumns);
    if (!nprint_form_holds(form, p, &why)) {
        assert_non_null(why);
        return;
    }
    assert_int_equal(nprint_form_decode(form, bits, &back), ST_OK);
    assert_same_headers(p, &back);
    assert_int_equal(back.wire_len, packet_total_len(p));
    assert_true(back.time_ns == 3 && back.frame == 4 && back.dir == 1);

    packet parsed = {.nheader = 0};
    size_t nbytes = nprint_csv_row(form, p, text);
    assert_true(nbytes <= NPRINT_ROW_MAX && text[nbytes - 1] == '\n');
    assert_int_equal(nprint_csv_parse(form, text, nbytes - 1, &parsed), ST_OK);
    assert_same_headers(p, &parsed);
}

static void check_both_forms(const packet *p) {
    check_round_trip(&nprint_ipv4_form, p);
    check_round_trip(&nprint_ipv6_form, p);
}

static void test_round_trip_of_random_packets(void **state) {
    rng r = rng_make(5, 0, RNG_TEST);
    (void)state;
    for (int i = 0; i < 5000; i++) {
        packet p = random_packet(&r);
        check_both_forms(&p);
        p = random_ipv6_packet(&r, i % 2);
        assert_true(packet_is_complete(&p));
        check_both_forms(&p);
    }
}

/* What no form holds, and what the form nprint does not. */
static void test_holds(void **state) {
    static const struct {
        unsigned next;
        bool v6_holds;
    } cases[] = {{PROTO_TCP, true}, {PROTO_UDP, true}, {PROTO_ICMPV6, false}, {60, false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        packet p = {.nheader = 60, .header = {0x60, [6] = (uint8_t)cases[i].next, [40] = PROTO_UDP, [52] = 0x50}};
        const char *why;
        assert_false(nprint_form_holds(&nprint_ipv4_form, &p, &why));
        assert_int_equal(nprint_form_holds(&nprint_ipv6_form, &p, &why), cases[i].v6_holds);
        assert_int_equal(why == NULL, cases[i].v6_holds);
    }
    assert_ptr_equal(nprint_form_find("nprint"), &nprint_ipv4_form);
    assert_ptr_equal(nprint_form_find("nprint-v6"), &nprint_ipv6_form);
    assert_null(nprint_form_find("png"));
}

/* One row by hand: a datagram from 2001:db8::1, as nPrint -4 -6 -t -u -i prints it. */
static void test_ipv6_row(void **state) {
    static const char payload[48] =
        "\x60\0\0\0\0\x08\x11\x40\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2"
        "\0\x35\0\x35\0\x08\0\0";
    static char text[NPRINT_ROW_MAX + 1];
    packet p = {.nheader = 48};
    (void)state;
    memcpy(p.header, payload, 48);
    text[nprint_csv_row(&nprint_ipv6_form, &p, text)] = 0;
    char *at = strchr(text, ',');
    assert_int_equal(at - text, 11);
    assert_memory_equal(text, "2001:db8::1", 11);
    for (unsigned c = 0; c < NPRINT_V6_COLUMNS; c++, at += 1 + strcspn(at + 1, ",\n")) {
        int byte = c >= 480 && c < 800     ? (uint8_t)payload[(c - 480) / 8]
                   : c >= 1280 && c < 1344 ? (uint8_t)payload[40 + (c - 1280) / 8]
                                           : -1;
        int want = byte < 0 ? -1 : byte >> (7 - c % 8) & 1;
        if (atoi(at + 1) != want)
            fail_msg("column %u", c);
    }
    assert_string_equal(at, "\n");
}

static void test_round_trip_of_captures(void **state) {
    static const char *const files[] = {"netflix.shared.pcap", "KakaoTalk_chat.pcap",      "skype.pcap",
                                        "wa_voice.pcap",       "whatsapp_login_call.pcap", "telegram.pcap",
                                        "teams.shared.pcap"};
    char path[4096], name[256];
    struct pcap_pkthdr h;
    uint8_t *frame;
    size_t n = 0;
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(name, sizeof name, "data/captures/pcap/%s", files[i]);
        pcap_t *from = frames_open(shared_path(path, sizeof path, name));
        assert_non_null(from);
        while (frames_next(from, &h, &frame)) {
            packet p;
            if (packet_decode(pcap_datalink(from), frame, h.caplen, h.len, &p) == SKIP_NONE) {
                check_both_forms(&p);
                n++;
            }
            free(frame);
        }
        pcap_close(from);
    }
    print_message("%zu packets\n", n);
    assert_true(n > 10000);
}

/* Whatever the header bytes say, encoding stays inside the packet and the row. */
static void test_inconsistent_bytes(void **state) {
    rng r = rng_make(6, 0, RNG_TEST);
    packet *p = malloc(sizeof *p);
    int8_t *bits = malloc(NPRINT_COLUMNS);
    char *text = malloc(NPRINT_ROW_MAX);
    (void)state;
    assert_true(p != NULL && bits != NULL && text != NULL);
    for (int i = 0; i < 20000; i++) {
        for (size_t k = 0; k < PACKET_HEADER_MAX; k++)
            p->header[k] = (uint8_t)rng_u32(&r);
        p->nheader = (uint8_t)rng_u32(&r);
        p->header[9] = (uint8_t[]){PROTO_TCP, PROTO_UDP, PROTO_ICMP, 50}[rng_below(&r, 4)];
        nprint_encode(p, bits);
        for (size_t c = 0; c < NPRINT_COLUMNS; c++)
            assert_true(bits[c] >= -1 && bits[c] <= 1);
        assert_true(nprint_csv_row(&nprint_ipv4_form, p, text) <= NPRINT_ROW_MAX);
        assert_true(nprint_csv_row(&nprint_ipv6_form, p, text) <= NPRINT_ROW_MAX);
    }
    free(p);
    free(bits);
    free(text);
}

static void test_fields(void **state) {
    static const nprint_form *const forms[] = {&nprint_ipv4_form, &nprint_ipv6_form};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        size_t next = 0;
        for (size_t f = 0; f < forms[i]->nfields; f++) {
            assert_int_equal(forms[i]->fields[f].first, next);
            next += forms[i]->fields[f].nbits;
        }
        assert_int_equal(next, forms[i]->ncolumns);
    }
    assert_ptr_equal(nprint_ipv4_form.fields, nprint_fields);
    assert_int_equal(nprint_ipv4_form.nfields, nprint_nfields);
}

static packet plain_packet(unsigned proto) {
    packet p = {.nheader = proto == PROTO_TCP ? 40 : 28, .header = {0x45}};
    put16(p.header + 2, p.nheader);
    p.header[9] = (uint8_t)proto;
    if (proto == PROTO_TCP)
        p.header[32] = 0x50;
    return p;
}

static void test_decode_errors(void **state) {
    static const struct {
        unsigned proto, column;
        int8_t value;
        const char *names;
    } cases[] = {
        {PROTO_TCP, 0, -1, "ipv4_ver_0"},      {PROTO_TCP, 3, 1, "ipv4_ver_0"},
        {PROTO_TCP, 5, 0, "ipv4_hl_0"},        {PROTO_TCP, 4, 1, "ipv4_opt_0"},
        {PROTO_TCP, 79, 1, "ipv4_proto_0"},    {PROTO_TCP, 159, -1, "ipv4_dst_31"},
        {PROTO_TCP, 577, 0, "tcp_doff_0"},     {PROTO_TCP, 576, 1, "tcp_opt_0"},
        {PROTO_TCP, 480, -1, "tcp_sprt_0"},    {PROTO_TCP, 639, 2, "tcp_urp_15"},
        {PROTO_UDP, 1023, -1, "udp_cksum_15"}, {PROTO_ICMP, 1087, -1, "icmp_roh_31"},
        {PROTO_ICMP, 1024, -2, "icmp_type_0"}, {PROTO_TCP, 74, 1, "ipv4_proto_0"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int8_t bits[NPRINT_COLUMNS];
        packet p = plain_packet(cases[i].proto), out = {.nheader = 99};
        nprint_encode(&p, bits);
        assert_int_equal(nprint_decode(bits, &out), ST_OK);
        out.nheader = 99;
        bits[cases[i].column] = cases[i].value;
        assert_int_equal(nprint_decode(bits, &out), ST_FORMAT);
        if (strstr(status_message(), cases[i].names) == NULL)
            fail_msg("case %zu: \"%s\" does not name %s", i, status_message(), cases[i].names);
        assert_int_equal(out.nheader, 99);
    }
}

/* Bits past the headers that decode does not need: ignored by decode, refused by the strict CSV reader. */
static void test_csv_errors(void **state) {
    static const struct {
        unsigned at;         /* value number */
        const char *value;   /* what stands there instead; NULL ends the line before it */
        const char *message; /* part of the error; NULL = none */
    } cases[] = {
        {1087, "-1", NULL},
        {0, "2", "ipv4_ver_0"},
        {7, "", "ipv4_hl_3"},
        {9, " 1", "ipv4_tos_1"},
        {20, "01", "ipv4_tl_4"},
        {600, "-", "tcp_wsize_8"},
        {601, "1.0", "tcp_wsize_9"},
        {1087, "-2", "icmp_roh_31"},
        {1087, "1,1", "more than 1088"},
        {1087, NULL, "icmp_roh_31: missing"},
        {0, NULL, "ipv4_ver_0: missing"},
        {500, NULL, "tcp_dprt_4: missing"},
        {1087, "1", "icmp_roh_31"},
        {160, "0", "ipv4_opt_0"},
        {640, "1", "tcp_opt_0"},
        {1087, "-1\r", "icmp_roh_31"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static char row[NPRINT_ROW_MAX + 1], line[NPRINT_ROW_MAX + 100];
        packet p = plain_packet(PROTO_TCP), out = {.nheader = 99};
        row[nprint_csv_row(&nprint_ipv4_form, &p, row) - 1] = 0;
        size_t n = (size_t)sprintf(line, "any text at all");
        char *at = strchr(row, ',');
        for (unsigned c = 0; c < NPRINT_COLUMNS; c++, at += 1 + strcspn(at + 1, ",")) {
            if (c == cases[i].at && cases[i].value == NULL)
                break;
            if (c == cases[i].at)
                n += (size_t)sprintf(line + n, ",%s", cases[i].value);
            else
                n += (size_t)sprintf(line + n, "%.*s", (int)(1 + strcspn(at + 1, ",")), at);
        }
        char *exact = malloc(n); /* no byte behind the line may be read */
        assert_non_null(exact);
        memcpy(exact, line, n);
        status st = nprint_csv_parse(&nprint_ipv4_form, exact, n, &out);
        free(exact);
        if (cases[i].message == NULL) {
            assert_int_equal(st, ST_OK);
            assert_same_headers(&p, &out);
            continue;
        }
        assert_int_equal(st, ST_FORMAT);
        assert_int_equal(out.nheader, 99);
        if (strstr(status_message(), cases[i].message) == NULL)
            fail_msg("case %zu: \"%s\" does not say %s", i, status_message(), cases[i].message);
    }
    packet out;
    assert_int_equal(nprint_csv_parse(&nprint_ipv4_form, "", 0, &out), ST_FORMAT);
    assert_int_equal(nprint_csv_parse(&nprint_ipv4_form, "10.0.0.1", 8, &out), ST_FORMAT);
}

static void test_full_device(void **state) {
    (void)state;
    FILE *to = fopen("/dev/full", "w");
    assert_non_null(to);
    setvbuf(to, NULL, _IONBF, 0);
    assert_int_equal(nprint_csv_header(&nprint_ipv4_form, to), ST_IO);
    fclose(to);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_round_trip_of_random_packets),
        cmocka_unit_test(test_holds),
        cmocka_unit_test(test_ipv6_row),
        cmocka_unit_test(test_round_trip_of_captures),
        cmocka_unit_test(test_inconsistent_bytes),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_decode_errors),
        cmocka_unit_test(test_csv_errors),
        cmocka_unit_test(test_full_device),
    };
    return cmocka_run_group_tests_name("nprint", tests, NULL, NULL);
}
