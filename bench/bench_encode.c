/* Speed of encoding on one core: frames a second from a capture file to the dataset, to bits and to nPrint CSV, beside
 * a bare libpcap loop over the same file.
 *
 *     bench_encode [CAPTURE...]      default: the captures of data/sample
 *
 * The frames of the captures are written again and again, each time from other hosts, into one plain pcap of about two
 * million frames in a temporary folder, which is then in the page cache. Figures are processor time of this process
 * (worker threads included), best of three. */
#include <pcap/pcap.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "bench/bench.h"
#include "io/encode.h"
#include "packet/nprint.h"

enum { FRAMES = 2000000, REPEAT = 3, SNAP = 262144 };

/* ---- The input ---- */

typedef struct frame {
    size_t at, caplen, wire_len;
    int64_t time_ns;
} frame;

typedef struct frames {
    size_t n, capacity, nbytes, bytes_capacity;
    frame *item;
    uint8_t *bytes;
} frames;

static void frames_read(frames *f, const char *path) {
    capture *c = NULL;
    capture_record r;
    bool end = false;
    MUST(capture_open(&c, path));
    if (capture_link_type(c) != 1) {
        fprintf(stderr, "%s: not Ethernet, left out\n", path);
        capture_close(&c);
        return;
    }
    for (;;) {
        MUST(capture_next(c, &r, &end));
        if (end)
            break;
        MUST(memory_grow(&f->item, &f->capacity, f->n + 1, sizeof *f->item));
        MUST(memory_grow(&f->bytes, &f->bytes_capacity, f->nbytes + r.caplen, 1));
        memcpy(f->bytes + f->nbytes, r.bytes, r.caplen);
        f->item[f->n++] = (frame){.at = f->nbytes, .caplen = r.caplen, .wire_len = r.wire_len, .time_ns = r.time_ns};
        f->nbytes += r.caplen;
    }
    capture_close(&c);
}

/* About FRAMES frames: all of f, repeated with the first address byte raised, so that every round has its own flows. */
static void input_write(const frames *f, const char *path) {
    pcap_t *p = pcap_open_dead_with_tstamp_precision(1, SNAP, PCAP_TSTAMP_PRECISION_NANO);
    pcap_dumper_t *to = p ? pcap_dump_open(p, path) : NULL;
    uint8_t copy[SNAP];
    if (!to) {
        fprintf(stderr, "cannot write %s\n", path);
        exit(1);
    }
    for (size_t round = 0; round * f->n < FRAMES; round++) {
        for (size_t i = 0; i < f->n; i++) {
            const frame *x = &f->item[i];
            struct pcap_pkthdr h = {.caplen = (bpf_u_int32)x->caplen, .len = (bpf_u_int32)x->wire_len};
            h.ts.tv_sec = (time_t)(x->time_ns / 1000000000) + (time_t)(round * 3600);
            h.ts.tv_usec = (suseconds_t)(x->time_ns % 1000000000);
            memcpy(copy, f->bytes + x->at, x->caplen);
            if (x->caplen > 34) {
                copy[26] = (uint8_t)(copy[26] + round);
                copy[30] = (uint8_t)(copy[30] + round);
            }
            pcap_dump((uint8_t *)to, &h, copy);
        }
    }
    pcap_dump_close(to);
    pcap_close(p);
}

/* ---- What is measured: each returns the number of frames (or rows) ---- */

typedef struct bench {
    const frames *f;
    const char *input, *part;
    dataset_tables tables;
    encode_options options;
} bench;

static uint64_t loop_libpcap(const bench *b) {
    char error[PCAP_ERRBUF_SIZE];
    struct pcap_pkthdr *h;
    const u_char *bytes;
    uint64_t n = 0;
    pcap_t *p = pcap_open_offline(b->input, error);
    while (p && pcap_next_ex(p, &h, &bytes) == 1)
        n++;
    pcap_close(p);
    return n;
}

static uint64_t loop_capture(const bench *b) {
    capture *c = NULL;
    capture_record r;
    uint64_t n = 0;
    MUST(capture_open(&c, b->input));
    for (bool end = false;; n++) {
        MUST(capture_next(c, &r, &end));
        if (end)
            break;
    }
    capture_close(&c);
    return n;
}

static uint64_t to_dataset(const bench *b) {
    uint64_t flows[1] = {0}, packets[1] = {0};
    encode_counts counts = {.flows = flows, .packets = packets};
    encode_item item = {.capture = b->input, .nslices = 1};
    MUST(encode_part(&item, &b->options, &b->tables, b->part, &counts));
    free(counts.damage);
    return counts.frames;
}

/* Decode and write int8[1088], frames in memory. */
static uint64_t to_bits(const bench *b) {
    int8_t bits[NPRINT_COLUMNS];
    uint64_t n = 0, sum = 0;
    for (unsigned round = 0; n < FRAMES; round++) {
        for (size_t i = 0; i < b->f->n; i++) {
            const frame *x = &b->f->item[i];
            packet p;
            n++;
            if (packet_decode(1, b->f->bytes + x->at, x->caplen, x->wire_len, &p) == SKIP_NONE) {
                nprint_encode(&p, bits);
                sum += (uint64_t)bits[round % NPRINT_COLUMNS];
            }
        }
    }
    return sum == 1 ? n + 1 : n; /* the sum is used, so the work is done */
}

static uint64_t to_csv(const bench *b) {
    static char text[64 * NPRINT_ROW_MAX];
    FILE *null = fopen("/dev/null", "w");
    uint64_t n = 0;
    size_t used = 0;
    while (null && n < FRAMES) {
        for (size_t i = 0; i < b->f->n; i++) {
            const frame *x = &b->f->item[i];
            packet p;
            n++;
            if (packet_decode(1, b->f->bytes + x->at, x->caplen, x->wire_len, &p) != SKIP_NONE)
                continue;
            if (used + NPRINT_ROW_MAX > sizeof text) {
                fwrite(text, 1, used, null);
                used = 0;
            }
            used += nprint_csv_row(&nprint_ipv4_form, &p, text + used);
        }
    }
    if (null)
        fclose(null);
    return n;
}

static double report(const char *what, uint64_t (*run)(const bench *), const bench *b, double base) {
    double best = 0;
    for (int i = 0; i < REPEAT; i++) {
        double began = clock_of(CLOCK_PROCESS_CPUTIME_ID);
        uint64_t n = run(b);
        double rate = (double)n / (clock_of(CLOCK_PROCESS_CPUTIME_ID) - began);
        best = rate > best ? rate : best;
    }
    printf("%-44s %7.2f M/s", what, best / 1e6);
    if (base > 0)
        printf("  %5.1f %% of libpcap's loop", 100 * best / base);
    printf("\n");
    return best;
}

int main(int argc, char **argv) {
    static const char *const samples[] = {"data/sample/run1.pcap.gz", "data/sample/run2.pcapng.gz",
                                          "data/sample/run3.pcap.gz", "data/sample/run4.pcap.gz"};
    frames f = {0};
    char folder[] = "/tmp/nd-bench-XXXXXX";
    char *file[] = {(char *)"bench"}, *none[] = {(char *)""};
    if (!mkdtemp(folder))
        return 1;
    for (int i = 1; i < argc; i++)
        frames_read(&f, argv[i]);
    for (size_t i = 0; argc == 1 && i < sizeof samples / sizeof *samples; i++)
        frames_read(&f, samples[i]);
    char *input = text_format("%s/input.pcap", folder), *part = text_format("%s/part.h5", folder);
    bench b = {.f = &f, .input = input, .part = part, .tables = {.nfiles = 1, .file = file, .sha256 = none}};
    MUST(labels_open((labels **)&b.options.labels, NULL));
    b.options.unlabelled = true;
    input_write(&f, input);

    double base = report("libpcap pcap_next_ex, count only", loop_libpcap, &b, 0);
    report("capture_next, count only", loop_capture, &b, base);
    b.options.compress = 1;
    report("capture -> dataset part, deflate 1", to_dataset, &b, base);
    b.options.compress = 0;
    report("capture -> dataset part, uncompressed", to_dataset, &b, base);
    report("frames in memory -> int8[1088]", to_bits, &b, 0);
    report("frames in memory -> nPrint CSV to /dev/null", to_csv, &b, 0);
    labels_free((labels **)&b.options.labels);
    file_remove_tree(folder);
    free(input);
    free(part);
    free(f.item);
    free(f.bytes);
    return 0;
}
