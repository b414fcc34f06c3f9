/* Frames of the shared captures, read with libpcap itself, and small helpers for hand-made packets. */
#ifndef ND_TESTS_PACKET_FRAMES_H
#define ND_TESTS_PACKET_FRAMES_H

#include <pcap/pcap.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/rng.h"
#include "packet/packet.h"

/* PATH under $ND_SHARED; skips the test with a printed reason where that is absent. The result is valid until the next
 * call with the same buffer. */
static inline const char *shared_path(char *buffer, size_t nbytes, const char *path) {
    const char *shared = getenv("ND_SHARED");
    snprintf(buffer, nbytes, "%s/%s", shared != NULL ? shared : "", path);
    if (shared == NULL || access(buffer, R_OK) != 0) {
        print_message("skipped: %s is not readable (ND_SHARED names the folder of shared captures)\n", buffer);
        skip();
    }
    return buffer;
}

/* NULL where libpcap refuses the file. */
static inline pcap_t *frames_open(const char *path) {
    char why[PCAP_ERRBUF_SIZE];
    return pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, why);
}

/* The next frame in a block of exactly its captured size, so that AddressSanitizer sees a read beyond it. The caller
 * frees it. false at the end or at libpcap's first error. */
static inline bool frames_next(pcap_t *from, struct pcap_pkthdr *header, uint8_t **frame) {
    struct pcap_pkthdr *h;
    const u_char *data;
    if (pcap_next_ex(from, &h, &data) != 1)
        return false;
    *header = *h;
    *frame = malloc(h->caplen);
    assert_true(*frame != NULL || h->caplen == 0);
    if (h->caplen > 0)
        memcpy(*frame, data, h->caplen);
    return true;
}

static inline int64_t frames_time(const struct pcap_pkthdr *h) {
    return (int64_t)h->ts.tv_sec * 1000000000 + h->ts.tv_usec; /* tv_usec holds nanoseconds */
}

/* A packet with random but legal headers: any options, flags and addresses. */
static inline packet random_packet(rng *r) {
    static const uint8_t protocols[] = {PROTO_TCP, PROTO_UDP, PROTO_ICMP};
    packet p = {.frame = rng_u32(r)};
    for (size_t i = 0; i < PACKET_HEADER_MAX; i++)
        p.header[i] = (uint8_t)rng_u32(r);
    unsigned nip = 20 + 4 * rng_below(r, 11), nl4 = 8;
    p.header[0] = (uint8_t)(0x40 | nip / 4);
    p.header[6] &= 0xe0;
    p.header[7] = 0;
    p.header[9] = protocols[rng_below(r, 3)];
    if (p.header[9] == PROTO_TCP) {
        nl4 = 20 + 4 * rng_below(r, 11);
        p.header[nip + 12] = (uint8_t)(nl4 / 4 << 4 | (p.header[nip + 12] & 15));
    }
    p.nheader = (uint8_t)(nip + nl4);
    p.wire_len = p.nheader + rng_below(r, 1400);
    put16(p.header + 2, p.wire_len);
    memset(p.header + p.nheader, 0, PACKET_HEADER_MAX - p.nheader);
    return p;
}

/* The same of IPv6; with `extensions` some have up to two options headers. */
static inline packet random_ipv6_packet(rng *r, bool extensions) {
    static const uint8_t protocols[] = {PROTO_TCP, PROTO_UDP, PROTO_ICMPV6};
    packet p = {.frame = rng_u32(r)};
    for (size_t i = 0; i < PACKET_HEADER_MAX; i++)
        p.header[i] = (uint8_t)rng_u32(r);
    unsigned nip = 40, nl4 = 8, next = 6; /* where the number of what comes next stands */
    p.header[0] = (uint8_t)(0x60 | (p.header[0] & 15));
    for (unsigned n = extensions ? rng_below(r, 3) : 0; n > 0; n--) {
        p.header[next] = n == 2 ? 0 : 60;
        next = nip;
        p.header[nip + 1] = (uint8_t)rng_below(r, 3);
        nip += 8 + 8u * p.header[nip + 1];
    }
    p.header[next] = protocols[rng_below(r, 3)];
    if (p.header[next] == PROTO_TCP) {
        nl4 = 20 + 4 * rng_below(r, 11);
        p.header[nip + 12] = (uint8_t)(nl4 / 4 << 4 | (p.header[nip + 12] & 15));
    }
    p.nheader = (uint8_t)(nip + nl4);
    p.wire_len = p.nheader + rng_below(r, 1400);
    put16(p.header + 4, p.wire_len - 40);
    memset(p.header + p.nheader, 0, PACKET_HEADER_MAX - p.nheader);
    return p;
}

static inline void assert_same_headers(const packet *a, const packet *b) {
    assert_int_equal(a->nheader, b->nheader);
    assert_memory_equal(a->header, b->header, a->nheader);
}

/* A decision is made on bytes in front of the cut only: a cut frame gives the same result, or SKIP_CUT. */
static inline void check_every_cut(int link_type, const uint8_t *frame, size_t caplen, size_t wire_len,
                                   const char *file) {
    packet whole, p;
    packet_skip full = packet_decode(link_type, frame, caplen, wire_len, &whole);
    size_t longest = caplen < 300 ? caplen : 300; /* link and IP headers of all these frames end before */
    bool decided = false;

    for (size_t n = 0; n <= longest; n++) {
        uint8_t *cut = malloc(n > 0 ? n : 1); /* its own block, so that any byte read behind it is seen */
        assert_non_null(cut);
        memcpy(cut, frame, n);
        packet_skip got = packet_decode(link_type, n > 0 ? cut : cut + 1, n, wire_len, &p);
        if (got != SKIP_CUT && got != full)
            fail_msg("%s: cut at %zu: %s, whole: %s", file, n, packet_skip_name(got), packet_skip_name(full));
        if (decided && got != full)
            fail_msg("%s: cut at %zu: %s again after a decision", file, n, packet_skip_name(got));
        if (got == SKIP_NONE)
            assert_same_headers(&p, &whole);
        decided = got != SKIP_CUT;
        free(cut);
    }
}

#endif
