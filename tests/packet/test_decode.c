/* packet_decode on hand-made frames of every link layer, whole, cut at every length, and with random packets in them.
 */
#include "frames.h"

/* What the link layer cases carry: the IPv4 and UDP headers of an empty datagram. */
#define UDP_PACKET "\x45\0\0\x1c\0\1\0\0\x40\x11\0\0\x0a\0\0\1\x0a\0\0\2\x30\x39\0\x35\0\x08\0\0"
#define MACS "\2\0\0\0\0\1\2\0\0\0\0\2"
#define SLL "\0\0\0\1\0\6\2\0\0\0\0\1\0\0"
#define SLL2_REST "\0\0\0\0\0\1\0\1\0\6\2\0\0\0\0\1\0\0"

#define MAC "\2\0\0\0\0\1"
#define SNAP "\xaa\xaa\3\0\0\0\x08\0"
/* 802.11 header with three addresses: the two bytes of frame control, and the sequence number. */
#define DOT11_SEQUENCE(first, second, sequence) first second "\0\0" MAC MAC MAC sequence
#define DOT11(first, second) DOT11_SEQUENCE(first, second, "\x10\0")

typedef struct link_case {
    const char *name;
    int link_type;
    packet_skip expect;
    size_t nlink, nbytes;
    const char *bytes;
} link_case;

#define LINK(name, type, expect, link)                                                                                 \
    { name, type, expect, sizeof link - 1, sizeof link UDP_PACKET - 1, link UDP_PACKET }

static const link_case link_cases[] = {
    LINK("ethernet", 1, SKIP_NONE, MACS "\x08\0"),
    LINK("802.1Q", 1, SKIP_NONE, MACS "\x81\0\0\5\x08\0"),
    LINK("802.1ad and 802.1Q", 1, SKIP_NONE, MACS "\x88\xa8\0\5\x81\0\0\6\x08\0"),
    LINK("old QinQ", 1, SKIP_NONE, MACS "\x91\0\0\5\x91\0\0\6\x81\0\0\7\x08\0"),
    LINK("PPPoE session", 1, SKIP_NONE, MACS "\x88\x64\x11\0\0\1\0\x1e\0\x21"),
    LINK("PPPoE session behind a tag", 1, SKIP_NONE, MACS "\x81\0\0\5\x88\x64\x11\0\0\1\0\x1e\0\x21"),
    LINK("PPPoE session, LCP", 1, SKIP_NOT_IP, MACS "\x88\x64\x11\0\0\1\0\x1e\xc0\x21"),
    LINK("PPPoE session, wrong version", 1, SKIP_NOT_IP, MACS "\x88\x64\x21\0\0\1\0\x1e\0\x21"),
    LINK("PPPoE discovery", 1, SKIP_NOT_IP, MACS "\x88\x63\x11\x09\0\0\0\0"),
    LINK("SNAP", 1, SKIP_NONE, MACS "\0\x24\xaa\xaa\3\0\0\0\x08\0"),
    LINK("SNAP of another organisation", 1, SKIP_NOT_IP, MACS "\0\x24\xaa\xaa\3\0\0\x0c\x08\0"),
    LINK("802.3 with LLC", 1, SKIP_NOT_IP, MACS "\0\x24\x42\x42\3"),
    LINK("ARP", 1, SKIP_NOT_IP, MACS "\x08\6"),
    LINK("MPLS", 1, SKIP_NONE, MACS "\x88\x47\0\0\x11\x40"),
    LINK("MPLS, two labels behind a tag", 1, SKIP_NONE, MACS "\x81\0\0\5\x88\x47\0\0\x10\x40\0\0\x21\x40"),
    LINK("MPLS, Ethernet inside", 1, SKIP_NOT_IP, MACS "\x88\x47\0\0\x11\x40\0\0\0\0"),
    LINK("IPv6 EtherType with IPv4 inside", 1, SKIP_NONE, MACS "\x86\xdd"),
    LINK("null, little-endian", 0, SKIP_NONE, "\2\0\0\0"),
    LINK("null, big-endian", 0, SKIP_NONE, "\0\0\0\2"),
    LINK("null, EtherType", 0, SKIP_NONE, "\x0f\0\x08\0"),
    LINK("null, AppleTalk", 0, SKIP_NOT_IP, "\x10\0\0\0"),
    LINK("loop", 108, SKIP_NONE, "\0\0\0\2"),
    LINK("PPP", 9, SKIP_NONE, "\0\x21"),
    LINK("PPP, protocol of one byte", 9, SKIP_NONE, "\x21"),
    LINK("PPP, HDLC-like framing", 9, SKIP_NONE, "\xff\3\0\x21"),
    LINK("PPP, HDLC-like framing, protocol of one byte", 9, SKIP_NONE, "\xff\3\x21"),
    LINK("PPP, LCP", 9, SKIP_NOT_IP, "\xff\3\xc0\x21"),
    LINK("PPP, MPLS", 9, SKIP_NONE, "\xff\3\2\x81\0\0\x11\x40"),
    LINK("raw, 12", 12, SKIP_NONE, ""),
    LINK("raw, 14", 14, SKIP_NONE, ""),
    LINK("raw, 101", 101, SKIP_NONE, ""),
    LINK("IPv4", 228, SKIP_NONE, ""),
    LINK("Linux cooked", 113, SKIP_NONE, SLL "\x08\0"),
    LINK("Linux cooked with a tag", 113, SKIP_NONE, SLL "\x81\0\0\5\x08\0"),
    LINK("Linux cooked, ARP", 113, SKIP_NOT_IP, SLL "\x08\6"),
    LINK("Linux cooked 2", 276, SKIP_NONE, "\x08\0" SLL2_REST),
    LINK("Linux cooked 2, ARP", 276, SKIP_NOT_IP, "\x08\6" SLL2_REST),
    LINK("802.11, to the access point", 105, SKIP_NONE, DOT11("\x08", "\1") SNAP),
    LINK("802.11, QoS", 105, SKIP_NONE, DOT11("\x88", "\2") "\0\0" SNAP),
    LINK("802.11, QoS with HT control", 105, SKIP_NONE, DOT11("\x88", "\x81") "\0\0\0\0\0\0" SNAP),
    LINK("802.11, four addresses", 105, SKIP_NONE, DOT11("\x08", "\3") MAC SNAP),
    LINK("802.11, four addresses, QoS", 105, SKIP_NONE, DOT11("\x88", "\3") MAC "\7\0" SNAP),
    LINK("802.11, tagged", 105, SKIP_NONE, DOT11("\x08", "\1") "\xaa\xaa\3\0\0\0\x81\0\0\5\x08\0"),
    LINK("802.11, protected", 105, SKIP_PROTECTED, DOT11("\x08", "\x41") SNAP),
    LINK("802.11, later fragment", 105, SKIP_FRAGMENT, DOT11_SEQUENCE("\x08", "\1", "\x11\0") SNAP),
    LINK("802.11, several packets in a frame", 105, SKIP_LINK, DOT11("\x88", "\1") "\x80\0" SNAP),
    LINK("802.11, without data", 105, SKIP_NOT_IP, DOT11("\x48", "\1") SNAP),
    LINK("802.11, beacon", 105, SKIP_NOT_IP, DOT11("\x80", "\0") SNAP),
    LINK("802.11, acknowledgement", 105, SKIP_NOT_IP, "\xd4\0\0\0" MAC),
    LINK("802.11, ARP", 105, SKIP_NOT_IP, DOT11("\x08", "\1") "\xaa\xaa\3\0\0\0\x08\6"),
    LINK("radiotap", 127, SKIP_NONE, "\0\0\x08\0\0\0\0\0" DOT11("\x08", "\1") SNAP),
    LINK("radiotap with flags", 127, SKIP_NONE, "\0\0\x09\0\2\0\0\0\x10" DOT11("\x88", "\1") "\0\0" SNAP),
    LINK("radiotap, padded after the header", 127, SKIP_NONE,
         "\0\0\x09\0\2\0\0\0\x20" DOT11("\x88", "\1") "\0\0\x99\x99" SNAP),
    LINK("radiotap, two presence words, time, padded", 127, SKIP_NONE,
         "\0\0\x1a\0\3\0\0\x80\0\0\0\0\0\0\0\0\1\2\3\4\5\6\7\x08\x20\0" DOT11("\x88", "\1") "\0\0\x99\x99" SNAP),
    LINK("radiotap, protected", 127, SKIP_PROTECTED, "\0\0\x08\0\0\0\0\0" DOT11("\x08", "\x42") SNAP),
    LINK("radiotap of version 1", 127, SKIP_NOT_IP, "\1\0\x08\0\0\0\0\0" DOT11("\x08", "\1") SNAP),
    LINK("radiotap shorter than itself", 127, SKIP_NOT_IP, "\0\0\x07\0\0\0\0\0" DOT11("\x08", "\1") SNAP),
    LINK("user 0", 147, SKIP_LINK, ""),
    LINK("negative", -1, SKIP_LINK, ""),
};

static void test_link_layers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof link_cases / sizeof *link_cases; i++) {
        const link_case *c = &link_cases[i];
        packet p = {.wire_len = 77, .time_ns = 5, .frame = 6, .dir = 1};
        packet_skip got = packet_decode(c->link_type, (const uint8_t *)c->bytes, c->nbytes, c->nbytes + 3, &p);
        if (got != c->expect)
            fail_msg("%s: %s instead of %s", c->name, packet_skip_name(got), packet_skip_name(c->expect));
        assert_int_equal(p.wire_len, got == SKIP_NONE ? c->nbytes - c->nlink + 3 : 77);
        assert_int_equal(p.nheader, got == SKIP_NONE ? 28 : 0);
        if (got == SKIP_NONE)
            assert_memory_equal(p.header, UDP_PACKET, 28);
        assert_true(p.time_ns == 5 && p.frame == 6 && p.dir == 1 && p.header[28] == 0);
    }
}

typedef struct ip_case {
    const char *name;
    size_t nheader; /* expected, 0 with a skip */
    packet_skip expect;
    uint8_t set[6][2]; /* (offset, value) changes to the TCP packet below; offset 0 twice ends the list */
} ip_case;

static const uint8_t tcp_packet[64] = {0x45, 0, 0,    64,   0, 1,    0, 0, 64, 6, 0, 0, 10, 0, 0,    1,    10, 0,
                                       0,    2, 0x9c, 0x41, 1, 0xbb, 0, 0, 0,  1, 0, 0, 0,  2, 0x50, 0x18, 1};

static const ip_case ip_cases[] = {
    {"plain", 40, SKIP_NONE, {{0, 0x45}}},
    {"version 0", 0, SKIP_IP_BAD, {{0, 0x05}}},
    {"version 5", 0, SKIP_IP_BAD, {{0, 0x55}}},
    {"version 6, whose header chain is too short", 0, SKIP_IP_BAD, {{0, 0x65}}},
    {"IHL 4", 0, SKIP_IP_BAD, {{0, 0x44}}},
    {"IHL 0", 0, SKIP_IP_BAD, {{0, 0x40}}},
    {"IHL 6: the TCP header moves", 0, SKIP_L4_BAD, {{0, 0x46}}},
    {"IHL 6, data offset 5", 44, SKIP_NONE, {{0, 0x46}, {36, 0x50}}},
    {"IHL 15 with 64 bytes", 0, SKIP_L4_BAD, {{0, 0x4f}}},
    {"total length 1", 0, SKIP_IP_BAD, {{3, 1}}},
    {"total length 19", 0, SKIP_IP_BAD, {{3, 19}}},
    {"total length 20", 0, SKIP_L4_BAD, {{3, 20}}},
    {"total length 39", 0, SKIP_L4_BAD, {{3, 39}}},
    {"total length 40", 40, SKIP_NONE, {{3, 40}}},
    {"total length beyond the frame", 40, SKIP_NONE, {{2, 0xff}, {3, 0xff}}},
    {"data offset 4", 0, SKIP_L4_BAD, {{32, 0x40}}},
    {"data offset 11", 64, SKIP_NONE, {{32, 0xb0}}},
    {"data offset 11, total length 63", 0, SKIP_L4_BAD, {{32, 0xb0}, {3, 63}}},
    {"data offset 12", 0, SKIP_L4_BAD, {{32, 0xc0}}},
    {"data offset 12, total length 68 of 64 captured", 0, SKIP_CUT, {{32, 0xc0}, {3, 68}}},
    {"first fragment", 40, SKIP_NONE, {{6, 0x20}}},
    {"later fragment", 0, SKIP_FRAGMENT, {{7, 1}}},
    {"last fragment of offset 4096", 0, SKIP_FRAGMENT, {{6, 0x10}}},
    {"later fragment of another protocol", 0, SKIP_FRAGMENT, {{7, 1}, {9, 50}}},
    {"reserved and do-not-fragment bits", 40, SKIP_NONE, {{6, 0xc0}}},
    {"ESP", 0, SKIP_PROTOCOL, {{9, 50}}},
    {"ICMPv6 over IPv4", 0, SKIP_PROTOCOL, {{9, 58}}},
    {"UDP", 28, SKIP_NONE, {{9, 17}}},
    {"UDP, total length 27", 0, SKIP_L4_BAD, {{9, 17}, {3, 27}}},
    {"ICMP", 28, SKIP_NONE, {{9, 1}}},
    {"ICMP of 4 bytes", 0, SKIP_L4_BAD, {{9, 1}, {3, 24}}},
};

static void test_ip_headers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof ip_cases / sizeof *ip_cases; i++) {
        const ip_case *c = &ip_cases[i];
        uint8_t bytes[sizeof tcp_packet];
        packet p = {0};
        memcpy(bytes, tcp_packet, sizeof bytes);
        for (size_t k = 0; k < 6 && (k == 0 || c->set[k][0] != 0); k++)
            if (c->set[k][0] != 0 || c->set[k][1] != 0)
                bytes[c->set[k][0]] = c->set[k][1];
        packet_skip got = packet_decode(101, bytes, sizeof bytes, sizeof bytes, &p);
        if (got != c->expect || p.nheader != c->nheader)
            fail_msg("%s: %s, %u bytes", c->name, packet_skip_name(got), p.nheader);
        assert_memory_equal(p.header, bytes, p.nheader);
        assert_int_equal(packet_is_complete(&p), got == SKIP_NONE);
    }
}

/* IPv6: a next header, the chain of headers behind the fixed one, and how many bytes of payload the header claims. */
typedef struct ipv6_case {
    const char *name;
    unsigned next;
    size_t nchain;
    const char *chain;
    int payload; /* -1: as many as there are */
    packet_skip expect;
    unsigned proto;  /* of a packet */
    size_t nip, nl4; /* 0 with a skip */
} ipv6_case;

#define TCP_HEADER "\x9c\x41\1\xbb\0\0\0\1\0\0\0\2\x50\x10\1\0\0\0\0\0"
#define UDP_HEADER "\x30\x39\0\x35\0\x08\0\0"
#define ECHO_HEADER "\x80\0\0\0\0\1\0\2"
#define OPTIONS(next, words) next words "\1\4\0\0\0\0"
#define CHAIN(text) sizeof text - 1, text
#define ZEROS_8 "\0\0\0\0\0\0\0\0"
#define ZEROS_32 ZEROS_8 ZEROS_8 ZEROS_8 ZEROS_8

static const ipv6_case ipv6_cases[] = {
    {"TCP", 6, CHAIN(TCP_HEADER), -1, SKIP_NONE, 6, 40, 20},
    {"UDP", 17, CHAIN(UDP_HEADER), -1, SKIP_NONE, 17, 40, 8},
    {"ICMPv6", 58, CHAIN(ECHO_HEADER), -1, SKIP_NONE, 58, 40, 8},
    {"ICMP of IPv4", 1, CHAIN(ECHO_HEADER), -1, SKIP_PROTOCOL, 0, 0, 0},
    {"no next header", 59, CHAIN(ZEROS_8), -1, SKIP_PROTOCOL, 0, 0, 0},
    {"ESP", 50, CHAIN(ZEROS_32), -1, SKIP_PROTOCOL, 0, 0, 0},
    {"hop-by-hop", 0, CHAIN(OPTIONS("\x11", "\0") UDP_HEADER), -1, SKIP_NONE, 17, 48, 8},
    {"hop-by-hop of two words", 0, CHAIN(OPTIONS("\x11", "\1") ZEROS_8 UDP_HEADER), -1, SKIP_NONE, 17, 56, 8},
    {"routing", 43, CHAIN("\6\2\0\1\0\0\0\0" ZEROS_8 ZEROS_8 TCP_HEADER), -1, SKIP_NONE, 6, 64, 20},
    {"destination options", 60, CHAIN(OPTIONS("\x3a", "\0") ECHO_HEADER), -1, SKIP_NONE, 58, 48, 8},
    {"authentication", 51, CHAIN("\x11\4\0\0\0\0\0\1" ZEROS_8 ZEROS_8 UDP_HEADER), -1, SKIP_NONE, 17, 64, 8},
    {"mobility before UDP", 135, CHAIN(OPTIONS("\x11", "\0") UDP_HEADER), -1, SKIP_NONE, 17, 48, 8},
    {"mobility alone", 135, CHAIN(OPTIONS("\x3b", "\0")), -1, SKIP_PROTOCOL, 0, 0, 0},
    {"first fragment", 44, CHAIN("\x11\0\0\1\0\0\0\7" UDP_HEADER), -1, SKIP_NONE, 17, 48, 8},
    {"atomic fragment", 44, CHAIN("\6\0\0\0\0\0\0\7" TCP_HEADER), -1, SKIP_NONE, 6, 48, 20},
    {"later fragment", 44, CHAIN("\6\0\0\x08\0\0\0\7" TCP_HEADER), -1, SKIP_FRAGMENT, 0, 0, 0},
    {"last fragment of another protocol", 44, CHAIN("\x32\0\1\0\0\0\0\7" ZEROS_8), -1, SKIP_FRAGMENT, 0, 0, 0},
    {"first fragment that ends inside the TCP header", 44, CHAIN("\6\0\0\1\0\0\0\7" TCP_HEADER), 24, SKIP_L4_BAD, 0, 0,
     0},
    {"chain of four", 0,
     CHAIN(OPTIONS("\x3c", "\0") OPTIONS("\x2b", "\0") "\x2c\0\0\0\0\0\0\0"
                                                       "\6\0\0\1\0\0\0\7" TCP_HEADER),
     -1, SKIP_NONE, 6, 72, 20},
    {"the longest chain before UDP", 60,
     CHAIN(OPTIONS("\x11", "\x11") ZEROS_32 ZEROS_32 ZEROS_32 ZEROS_32 ZEROS_8 UDP_HEADER), -1, SKIP_NONE, 17, 184, 8},
    {"the same before TCP", 60, CHAIN(OPTIONS("\6", "\x11") ZEROS_32 ZEROS_32 ZEROS_32 ZEROS_32 ZEROS_8 TCP_HEADER), -1,
     SKIP_EXTENSIONS, 0, 0, 0},
    {"a longer chain", 60,
     CHAIN(OPTIONS("\x11", "\x12") ZEROS_32 ZEROS_32 ZEROS_32 ZEROS_32 ZEROS_8 ZEROS_8 UDP_HEADER), -1, SKIP_EXTENSIONS,
     0, 0, 0},
    {"payload length 0", 6, CHAIN(TCP_HEADER), 0, SKIP_IP_BAD, 0, 0, 0},
    {"payload length beyond the frame", 6, CHAIN(TCP_HEADER), 1400, SKIP_NONE, 6, 40, 20},
    {"payload length 19", 6, CHAIN(TCP_HEADER), 19, SKIP_L4_BAD, 0, 0, 0},
    {"payload that ends inside an extension header", 0, CHAIN(OPTIONS("\x11", "\1") ZEROS_8 UDP_HEADER), 12,
     SKIP_IP_BAD, 0, 0, 0},
    {"extension header without its transport header", 0, CHAIN(OPTIONS("\x11", "\0")), -1, SKIP_L4_BAD, 0, 0, 0},
    {"cut in an extension header", 0, CHAIN(OPTIONS("\x11", "\1")), 40, SKIP_CUT, 0, 0, 0},
    {"cut before the transport header", 0, CHAIN(OPTIONS("\x11", "\0")), 40, SKIP_CUT, 0, 0, 0},
    {"data offset 4", 6, CHAIN("\x9c\x41\1\xbb\0\0\0\1\0\0\0\2\x40\x10\1\0\0\0\0\0"), -1, SKIP_L4_BAD, 0, 0, 0},
};

/* The frame of a case, raw; returns its length. */
static size_t ipv6_frame(const ipv6_case *c, uint8_t *frame) {
    static const uint8_t fixed[40] = {0x60, [7] = 64, [8] = 0x20, 1, 0xd, 0xb8, [23] = 1, 0x20, 1, 0xd, 0xb8, [39] = 2};
    memcpy(frame, fixed, sizeof fixed);
    put16(frame + 4, (unsigned)(c->payload < 0 ? (int)c->nchain : c->payload));
    frame[6] = (uint8_t)c->next;
    memcpy(frame + 40, c->chain, c->nchain);
    return 40 + c->nchain;
}

static void test_ipv6_headers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof ipv6_cases / sizeof *ipv6_cases; i++) {
        const ipv6_case *c = &ipv6_cases[i];
        uint8_t frame[400];
        packet p = {0};
        size_t n = ipv6_frame(c, frame);
        packet_skip got = packet_decode(101, frame, n, n + 7, &p);
        if (got != c->expect || p.nheader != c->nip + c->nl4)
            fail_msg("%s: %s, %u bytes", c->name, packet_skip_name(got), p.nheader);
        if (got != SKIP_NONE)
            continue;
        assert_true(packet_is_complete(&p) && packet_is_ipv6(&p));
        assert_memory_equal(p.header, frame, p.nheader);
        assert_int_equal(p.wire_len, n + 7);
        assert_int_equal(packet_ip_nheader(&p), c->nip);
        assert_int_equal(packet_proto(&p), c->proto);
        packet q = p;
        q.nheader++;
        assert_false(packet_has_shape(&q));
        q.nheader = (uint8_t)(c->nip + 4);
        assert_false(packet_has_shape(&q));
    }
}

/* Any bytes and any length may be asked about, and those with shape can be viewed and summed. */
static void test_random_shapes(void **state) {
    rng r = rng_make(9, 0, RNG_TEST);
    size_t n[2] = {0};
    (void)state;
    packet *p = malloc(sizeof *p); /* a block of its own, for AddressSanitizer */
    assert_non_null(p);
    for (int i = 0; i < 300000; i++) {
        static const uint8_t next[] = {0, 43, 44, 51, 60, 135, 6, 17, 58, 99};
        for (size_t k = 0; k < PACKET_HEADER_MAX; k++)
            p->header[k] = (uint8_t)rng_u32(&r);
        p->header[0] = (uint8_t)(rng_below(&r, 3) > 0 ? 0x60 : 0x40 + rng_below(&r, 16));
        p->header[6] = next[rng_below(&r, sizeof next)];
        p->header[40] = next[rng_below(&r, sizeof next)];
        p->header[41] &= 7;
        p->nheader = (uint8_t)(rng_below(&r, 4) == 0 ? rng_u32(&r) : 4 * (5 + rng_below(&r, 30)));
        if (!packet_has_shape(p))
            continue;
        n[packet_is_ipv6(p)]++;
        assert_true(p->nheader >= packet_ip_nheader(p) + 8u && p->nheader <= PACKET_HEADER_MAX);
        assert_true(packet_l4(p) < p->header + p->nheader);
        checksum_fill(p, false);
        assert_true(packet_has_shape(p));
    }
    assert_true(n[0] > 1000 && n[1] > 1000);
    free(p);
}

static void test_wire_length(void **state) {
    static const struct {
        size_t wire, expect;
    } cases[] = {{46, 32}, {0, 28}, {13, 28}, {14, 28}, {60, 46}, {SIZE_MAX, UINT32_MAX}};
    uint8_t frame[42];
    packet p;
    (void)state;
    memcpy(frame, MACS "\x08\0", 14);
    memcpy(frame + 14, UDP_PACKET, 28);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(packet_decode(1, frame, sizeof frame, cases[i].wire, &p), SKIP_NONE);
        assert_int_equal(p.wire_len, cases[i].expect);
    }
}

/* A total length of 0 is that of the frame, behind its link header; the checksum stays as right or wrong as it was. */
static void test_total_length_of_the_frame(void **state) {
    static const struct {
        size_t wire; /* from the IP header on */
        packet_skip expect;
    } cases[] = {{64, SKIP_NONE},    {65, SKIP_NONE},      {1500, SKIP_NONE},     {40000, SKIP_NONE},
                 {65535, SKIP_NONE}, {65536, SKIP_IP_BAD}, {200000, SKIP_IP_BAD}, {SIZE_MAX - 14, SKIP_IP_BAD}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (unsigned wrong = 0; wrong < 2; wrong++) {
            uint8_t frame[14 + sizeof tcp_packet];
            packet p = {.nheader = 40}, zero = {.nheader = 40};
            memcpy(frame, MACS "\x08\0", 14);
            memcpy(frame + 14, tcp_packet, sizeof tcp_packet);
            put16(frame + 14 + 2, 0);
            memcpy(zero.header, frame + 14, 40);
            put16(frame + 14 + 10, checksum_ipv4(&zero) ^ wrong);
            assert_int_equal(packet_decode(1, frame, sizeof frame, 14 + cases[i].wire, &p), cases[i].expect);
            if (cases[i].expect == SKIP_NONE) {
                assert_int_equal(p.wire_len, cases[i].wire);
                assert_int_equal(packet_total_len(&p), cases[i].wire);
                assert_int_equal(packet_payload(&p), cases[i].wire - 40);
                assert_true((get16(p.header + 10) == checksum_ipv4(&p)) == !wrong);
                put16(p.header + 2, 0);
                put16(p.header + 10, get16(frame + 14 + 10));
                assert_memory_equal(p.header, frame + 14, 40); /* nothing else is changed */
            }
            check_every_cut(1, frame, sizeof frame, 14 + cases[i].wire, "total length 0");
        }
    uint8_t bytes[39];
    packet p;
    memcpy(bytes, tcp_packet, sizeof bytes);
    put16(bytes + 2, 0);
    assert_int_equal(packet_decode(101, bytes, 39, 39, &p), SKIP_L4_BAD);
    assert_int_equal(packet_decode(101, bytes, 39, 40, &p), SKIP_CUT);
    assert_int_equal(packet_decode(101, bytes, 19, 19, &p), SKIP_CUT);
}

static void test_incomplete_packets(void **state) {
    rng r = rng_make(1, 0, RNG_TEST);
    (void)state;
    for (int i = 0; i < 1000; i++) {
        packet p = random_packet(&r), q = p;
        assert_true(packet_is_complete(&p));
        q.nheader++;
        assert_false(packet_is_complete(&q));
        q = p, q.nheader = 255;
        assert_false(packet_is_complete(&q));
        q = p, q.header[0] ^= 0x10;
        assert_false(packet_is_complete(&q));
        q = p, q.header[0] = 0x44;
        assert_false(packet_is_complete(&q));
        q = p, q.header[9] = 2;
        assert_false(packet_is_complete(&q));
    }
}

static void test_every_cut_of_link_layers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof link_cases / sizeof *link_cases; i++) {
        const link_case *c = &link_cases[i];
        check_every_cut(c->link_type, (const uint8_t *)c->bytes, c->nbytes, c->nbytes, c->name);
    }
}

static void test_every_cut_of_ipv6(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof ipv6_cases / sizeof *ipv6_cases; i++) {
        uint8_t frame[400];
        size_t n = ipv6_frame(&ipv6_cases[i], frame);
        check_every_cut(101, frame, n, n, ipv6_cases[i].name);
    }
}

/* Behind every link header that is understood: an IP header whose start is plausible and whose rest is random. */
static void test_random_packets(void **state) {
    rng r = rng_make(2, 0, RNG_TEST);
    size_t decoded = 0, n_cases = sizeof link_cases / sizeof *link_cases;
    (void)state;
    for (int i = 0; i < 60000; i++) {
        const link_case *c = &link_cases[rng_below(&r, (uint32_t)n_cases)];
        size_t n = c->nlink + rng_below(&r, 130);
        uint8_t *frame = malloc(n > 0 ? n : 1);
        assert_non_null(frame);
        memcpy(frame, c->bytes, c->nlink);
        for (size_t k = c->nlink; k < n; k++)
            frame[k] = (uint8_t)rng_u32(&r);
        if (n >= c->nlink + 20) {
            uint8_t *ip = frame + c->nlink;
            ip[0] = (uint8_t)(0x44 + rng_below(&r, 12));
            ip[6] = ip[7] = 0;
            ip[9] = rng_below(&r, 2) ? PROTO_TCP : PROTO_UDP;
        }
        packet p;
        if (packet_decode(c->link_type, frame, n, rng_u32(&r), &p) == SKIP_NONE) {
            decoded++;
            assert_true(packet_is_complete(&p));
        }
        free(frame);
    }
    assert_true(decoded > 5000);
}

static void test_skip_names(void **state) {
    (void)state;
    for (int a = 0; a < SKIP_COUNT; a++)
        for (int b = 0; b < a; b++)
            assert_string_not_equal(packet_skip_name((packet_skip)a), packet_skip_name((packet_skip)b));
    assert_string_equal(packet_skip_name(SKIP_COUNT), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_link_layers),        cmocka_unit_test(test_ip_headers),
        cmocka_unit_test(test_ipv6_headers),       cmocka_unit_test(test_random_shapes),
        cmocka_unit_test(test_wire_length),        cmocka_unit_test(test_total_length_of_the_frame),
        cmocka_unit_test(test_incomplete_packets), cmocka_unit_test(test_every_cut_of_link_layers),
        cmocka_unit_test(test_every_cut_of_ipv6),  cmocka_unit_test(test_random_packets),
        cmocka_unit_test(test_skip_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
