/* Speed of encoding on one core: frames a second from a capture file to the dataset, to bits and to nPrint CSV, beside
 * a bare libpcap loop over the same file.
 *
 *     bench_encode [CAPTURE...]      default: the captures of data/sample
 *
 * The frames of the captures are written again and again, each time from other hosts, into one plain pcap of about two
 * million frames in a temporary folder (in TMPDIR), which is then in the page cache. Figures are processor time of this
 * process (worker threads included), best of three. */
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "bench/repeat.h"
#include "io/encode_priv.h"
#include "packet/nprint.h"

enum { FRAMES = 2000000, REPEAT = 3 };

/* ---- What is measured: each returns the number of frames (or rows) ---- */

typedef struct bench {
    const frames *f;
    const char *input, *output;
    dataset_tables tables;
    encode_options options;
    int compress;
    comm *alone;
    uint64_t npackets, nbytes; /* of the latest dataset */
} bench;

static uint64_t loop_libpcap(bench *b) {
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

static uint64_t loop_capture(bench *b) {
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

/* What ndencode does with one capture on one rank. */
static uint64_t to_dataset(bench *b) {
    encode_mark m;
    size_t first_part[2] = {0, 1};
    uint64_t split = 0, sha256[4] = {0}; /* tells chunks of an earlier run, which there is none of */
    MUST(encode_mark_new(&m, 0, 0));
    MUST(file_make_folders(b->options.folder));
    assembler *kept = NULL;
    MUST(encode_pass(b->input, 0, 1, 1, &b->options, &m, &kept));
    encode_catalog k = {.folder = b->options.folder,
                        .nfiles = 1,
                        .first_part = first_part,
                        .split = &split,
                        .parts = &m.part,
                        .frames = &m.frames,
                        .sha256 = sha256,
                        .kept = &kept};
    MUST(encode_join(&k, &b->tables, b->output, b->compress, 1, b->alone));
    MUST(file_size(b->output, &b->nbytes));
    MUST(file_remove_tree(b->options.folder));
    uint64_t nframes = m.frames;
    b->npackets = m.part.npackets;
    assembler_free(&kept);
    encode_mark_clear(&m);
    return nframes;
}

/* Decode and write int8[1088], frames in memory. */
static uint64_t to_bits(bench *b) {
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

static uint64_t to_csv(bench *b) {
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

/* The nPrint tool itself, where it is installed: rows to /dev/null. */
static uint64_t run_nprint(bench *b) {
    pid_t child = fork();
    if (child == 0) {
        execlp("nprint", "nprint", "-P", b->input, "-4", "-t", "-u", "-i", "-W", "/dev/null", "-c", "200000", NULL);
        _exit(127);
    }
    int code = 0;
    return child > 0 && waitpid(child, &code, 0) == child && code == 0 ? 200000 : 0;
}

static double used_seconds(void) {
    struct timespec t[1];
    struct rusage children;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, t);
    getrusage(RUSAGE_CHILDREN, &children);
    return (double)t->tv_sec + 1e-9 * (double)t->tv_nsec +
           (double)(children.ru_utime.tv_sec + children.ru_stime.tv_sec) +
           1e-6 * (double)(children.ru_utime.tv_usec + children.ru_stime.tv_usec);
}

static double report(const char *what, uint64_t (*run)(bench *), bench *b, int repeat, double base) {
    double best = 0;
    for (int i = 0; i < repeat; i++) {
        double began = used_seconds();
        uint64_t n = run(b);
        double rate = (double)n / (used_seconds() - began);
        best = rate > best ? rate : best;
    }
    printf("%-44s %7.2f M/s", what, best / 1e6);
    if (base > 0)
        printf("  %5.1f %% of libpcap's loop", 100 * best / base);
    if (run == to_dataset)
        printf("  %5.2f bytes a packet", (double)b->nbytes / (double)b->npackets);
    printf("\n");
    fflush(stdout);
    return best;
}

int main(int argc, char **argv) {
    frames f = {0};
    const char *base_folder = getenv("TMPDIR");
    char *folder = text_format("%s/nd-bench-XXXXXX", base_folder != NULL ? base_folder : "/tmp");
    char *file[] = {(char *)"bench"}, *none[] = {(char *)""};
    if (!mkdtemp(folder)) {
        perror(folder);
        return 1;
    }
    frames_read_all(&f, argc - 1, argv + 1);
    char *input = text_format("%s/input.pcap", folder), *output = text_format("%s/dataset.h5", folder),
         *parts = text_format("%s/parts", folder);
    bench b = {.f = &f,
               .input = input,
               .output = output,
               .tables = {.nfiles = 1, .file = file, .sha256 = none},
               .options = {.unlabelled = true, .memory = UINT64_MAX, .keep = UINT64_MAX, .folder = parts}};
    MUST(labels_open((labels **)&b.options.labels, NULL));
    MUST(comm_open(&b.alone));
    log_setup("bench_encode", 0, 1, true);
    frames_write(&f, input, FRAMES, UINT64_MAX);

    double base = report("libpcap pcap_next_ex, count only", loop_libpcap, &b, REPEAT, 0);
    report("capture_next, count only", loop_capture, &b, REPEAT, base);
    for (b.compress = 0; b.compress < 2; b.compress++) {
        char *what = text_format("capture -> dataset, deflate %d", b.compress);
        report(what, to_dataset, &b, REPEAT, base);
        free(what);
    }
    report("frames in memory -> int8[1088]", to_bits, &b, REPEAT, 0);
    report("frames in memory -> nPrint CSV to /dev/null", to_csv, &b, REPEAT, 0);
    if (system("command -v nprint > /dev/null") == 0)
        report("nPrint tool, capture -> CSV to /dev/null", run_nprint, &b, 1, base);
    else
        printf("nprint is not installed: left out\n");
    labels_free((labels **)&b.options.labels);
    file_remove_tree(folder);
    free(folder);
    free(input);
    free(output);
    free(parts);
    free(f.item);
    free(f.bytes);
    return comm_finish(&b.alone, ST_OK);
}
