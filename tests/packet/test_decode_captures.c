/* packet_decode on the hostile captures, against what their manifest says, and on each of their frames cut at every
 * length. */
#include <dirent.h>
#include "frames.h"

/* What the manifest of the hostile captures says about the packets of a file. */
enum { KIND_TCP, KIND_UDP, KIND_ICMP, KIND_OTHER, KIND_FRAGMENT, KIND_IPV6, KIND_REST, KINDS };
static const char *const kind_names[KINDS] = {"TCP", "UDP", "ICMP", "other protocol", "later fragment", "IPv6", "rest"};

/* Files where nd and the manifest's decoder part ways on purpose: change of TCP, UDP, ... against the manifest. */
static const struct {
    const char *file, *why;
    int change[KINDS];
} known_differences[] = {
    {"real_bigtcp-ipv4.pcap", "a total length above 65535", {[KIND_TCP] = -1, [KIND_REST] = 1}},
    {"caplen_gt_snaplen.pcap", "libpcap cuts packets to the snap length", {[KIND_TCP] = -2, [KIND_REST] = 2}},
    {"linktype_ppp9.pcap", "a PPP protocol of one byte is understood", {[KIND_TCP] = 1, [KIND_REST] = -1}},
    {"linktype_sll113.pcap", "the tag behind a cooked header is followed", {[KIND_TCP] = 1, [KIND_REST] = -1}},
    {"linktype_radiotap127.pcap", "802.11 data frames are followed", {[KIND_TCP] = 1, [KIND_REST] = -1}},
    {"linktype_80211_105.pcap", "802.11 data frames are followed", {[KIND_TCP] = 1, [KIND_REST] = -1}},
    {"real_radiotap.pcap", "802.11 data frames are followed", {[KIND_UDP] = 2, [KIND_IPV6] = 1, [KIND_REST] = -3}},
    {"non_ip.pcap", "MPLS labels are looked through", {[KIND_TCP] = 1, [KIND_REST] = -1}},
    {"real_mpls-traceroute.pcap", "MPLS labels are looked through", {[KIND_UDP] = 9, [KIND_REST] = -9}},
    /* The manifest counts all of IPv6 as one kind. */
    {"bad_version_nibble.pcap", "IPv4 under the version 6", {[KIND_IPV6] = -1, [KIND_REST] = 1}},
    {"pppoe_session.pcap", "data offset 0", {[KIND_IPV6] = -1, [KIND_REST] = 1}},
    {"ipv6.pcap", "no next header; cut", {[KIND_OTHER] = 1, [KIND_IPV6] = -2, [KIND_REST] = 1}},
    {"ipv6_ext.pcap", "later fragment; cut chain", {[KIND_FRAGMENT] = 1, [KIND_IPV6] = -2, [KIND_REST] = 1}},
    {"random_frames.pcap", "random", {[KIND_OTHER] = 40, [KIND_IPV6] = -67, [KIND_REST] = 27}},
    {"mutated_frames.pcap", "IPv4 under the version 6", {[KIND_IPV6] = -1, [KIND_REST] = 1}},
    {"real_ipv6-srh-ext-header.pcap", "IPv6 in IPv6", {[KIND_OTHER] = 1, [KIND_IPV6] = -1}},
    {"real_ipv6_39_byte_header.pcap", "cut", {[KIND_IPV6] = -1, [KIND_REST] = 1}},
    {"real_fuzz-2020-02-16-11740.pcap", "an unknown next header", {[KIND_OTHER] = 1, [KIND_IPV6] = -1}},
    {"real_fuzz-2006-06-26-2594.pcap", "damaged", {[KIND_IPV6] = -1, [KIND_REST] = 1}},
};

static int kind_of(packet_skip skip, const packet *p) {
    switch (skip) {
    case SKIP_NONE:
        if (packet_is_ipv6(p))
            return KIND_IPV6;
        return packet_proto(p) == PROTO_TCP ? KIND_TCP : packet_proto(p) == PROTO_UDP ? KIND_UDP : KIND_ICMP;
    case SKIP_PROTOCOL:
        return KIND_OTHER;
    case SKIP_FRAGMENT:
        return KIND_FRAGMENT;
    default:
        return KIND_REST;
    }
}

static void count_kinds(const char *path, int count[KINDS]) {
    struct pcap_pkthdr h;
    uint8_t *frame;
    pcap_t *from = frames_open(path);
    if (from == NULL)
        fail_msg("libpcap refuses %s", path);
    while (frames_next(from, &h, &frame)) {
        packet p;
        packet_skip skip = packet_decode(pcap_datalink(from), frame, h.caplen, h.len, &p);
        if (skip == SKIP_NONE)
            assert_true(packet_is_complete(&p));
        count[kind_of(skip, &p)]++;
        free(frame);
    }
    pcap_close(from);
}

/* Split a CSV line in place; fields may be quoted. Returns the number of fields. */
static size_t split_csv(char *line, char **field, size_t max) {
    size_t n = 0;
    for (char *at = line; n < max;) {
        char quote = *at == '"' ? *at++ : 0;
        field[n++] = at;
        at += strcspn(at, quote ? "\"" : ",\r\n");
        if (quote && *at == '"')
            *at++ = 0;
        if (*at != ',')
            return *at = 0, n;
        *at++ = 0;
    }
    return n;
}

static void test_manifest(void **state) {
    char path[4096], line[4096], *field[40];
    int compared = 0, wrong = 0;
    (void)state;
    FILE *manifest = fopen(shared_path(path, sizeof path, "data/captures/hostile/manifest.csv"), "r");
    assert_non_null(manifest);
    assert_non_null(fgets(line, sizeof line, manifest));
    while (fgets(line, sizeof line, manifest) != NULL) {
        int expect[KINDS] = {0}, count[KINDS] = {0};
        char capture[4200];
        if (split_csv(line, field, 40) < 22 || strcmp(field[7], "eof") != 0)
            continue; /* where libpcap stops early the manifest counts records it does not deliver */
        for (int k = 0; k < KIND_IPV6; k++)
            expect[k] = atoi(field[12 + k]);
        expect[KIND_IPV6] = atoi(field[19]);
        expect[KIND_REST] = atoi(field[17]) + atoi(field[18]) + atoi(field[20]);
        for (size_t i = 0; i < sizeof known_differences / sizeof *known_differences; i++)
            for (int k = 0; k < KINDS && strcmp(field[0], known_differences[i].file) == 0; k++)
                expect[k] += known_differences[i].change[k];

        snprintf(capture, sizeof capture, "%.*s/%s", (int)(strrchr(path, '/') - path), path, field[0]);
        count_kinds(capture, count);
        for (int k = 0; k < KINDS; k++)
            if (count[k] != expect[k]) {
                print_message("%s: %s: %d instead of %d\n", field[0], kind_names[k], count[k], expect[k]);
                wrong++;
            }
        compared++;
    }
    fclose(manifest);
    assert_int_equal(wrong, 0);
    assert_true(compared > 90);
}

static void test_every_cut_of_captures(void **state) {
    char path[4096], capture[4400];
    struct dirent *entry;
    size_t nframes = 0;
    (void)state;
    DIR *folder = opendir(shared_path(path, sizeof path, "data/captures/hostile"));
    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL) {
        struct pcap_pkthdr h;
        uint8_t *frame;
        snprintf(capture, sizeof capture, "%s/%s", path, entry->d_name);
        pcap_t *from = frames_open(capture);
        if (from == NULL)
            continue;
        for (; frames_next(from, &h, &frame); nframes++) {
            check_every_cut(pcap_datalink(from), frame, h.caplen, h.len, entry->d_name);
            free(frame);
        }
        pcap_close(from);
    }
    closedir(folder);
    assert_true(nframes > 6000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_manifest),
        cmocka_unit_test(test_every_cut_of_captures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
