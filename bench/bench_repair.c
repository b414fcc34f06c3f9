/* Speed of repair on one core: a flow of 1024 packets, repaired and written as a capture.
 *
 *     bench_repair
 *
 * The flow is a TLS conversation with time stamps in the relative layout, with one present cell in a hundred turned, as
 * a model gets them wrong; "right" is the same without wrong cells, "random" has random cells all over. It is written
 * with the payload that generated flows get, into a file in TMPDIR that is synced and renamed; beside it stands what
 * the same bytes take as one piece. Figures are processor time of one thread, best of many; the flow is copied anew
 * before each repair, which is not counted. */
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/rng.h"
#include "bench/bench.h"
#include "io/capture.h"
#include "packet/check.h"
#include "packet/layout.h"
#include "packet/payload.h"
#include "packet/repair.h"

enum { PACKETS = 1024, REPEAT = 50 };

typedef struct endpoint {
    uint32_t next, tsval;
} endpoint;

/* A segment that acknowledges all that came. */
static void add_segment(flow *f, endpoint side[2], unsigned dir, unsigned flags, unsigned payload) {
    static const uint8_t syn_options[] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7};
    static const uint8_t options[] = {1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0};
    bool syn = flags & TCP_SYN;
    unsigned noptions = syn ? sizeof syn_options : sizeof options, stamps = syn ? 48 : 44;
    packet p = {.dir = (uint8_t)dir, .nheader = (uint8_t)(40 + noptions), .frame = (uint32_t)f->npackets};
    uint8_t *h = p.header;
    p.time_ns = (int64_t)f->npackets * 500000;
    h[0] = 0x45;
    put16(h + 2, p.nheader + payload);
    put16(h + 4, (unsigned)f->npackets + 1);
    h[6] = 0x40;
    h[8] = dir ? 57 : 64;
    h[9] = PROTO_TCP;
    put32(h + (dir ? 16 : 12), 0xc6336401);
    put32(h + (dir ? 12 : 16), 0xc0000201);
    put16(h + (dir ? 22 : 20), 50000);
    put16(h + (dir ? 20 : 22), 443);
    put32(h + 24, side[dir].next);
    put32(h + 28, flags & TCP_ACK ? side[!dir].next : 0);
    put16(h + 32, (p.nheader / 4u - 5) << 12 | flags);
    put16(h + 34, 501);
    memcpy(h + 40, syn ? syn_options : options, noptions);
    put32(h + stamps, ++side[dir].tsval);
    put32(h + stamps + 4, flags & TCP_ACK ? side[!dir].tsval : 0);
    side[dir].next += payload + syn;
    p.wire_len = p.nheader + payload;
    checksum_fill(&p, false);
    MUST(flow_add(f, &p));
}

static void conversation(flow *f) {
    endpoint side[2] = {{1000, 10}, {2000, 77}};
    flow_init(f);
    add_segment(f, side, 0, TCP_SYN, 0);
    add_segment(f, side, 1, TCP_SYN | TCP_ACK, 0);
    add_segment(f, side, 0, TCP_ACK, 0);
    while (f->npackets + 6 <= PACKETS) { /* a question, four segments of answer, acknowledged */
        add_segment(f, side, 0, TCP_ACK | TCP_PSH, 200);
        for (int i = 0; i < 4; i++)
            add_segment(f, side, 1, TCP_ACK, 1400);
        add_segment(f, side, 0, TCP_ACK, 0);
    }
    while (f->npackets < PACKETS)
        add_segment(f, side, 1, TCP_ACK | TCP_PSH, 100);
    f->key = flow_key_of(&f->packets[0]);
}

/* The conversation through the layout, with one cell in `wrong` turned (0: none, 1: all drawn). */
static void decode_with_errors(const flow *right, unsigned wrong, flow *f) {
    const layout *l = &layout_relative;
    int8_t *cells = malloc(PACKETS * l->ncells);
    flow_plan plan;
    rng r = rng_make(1, wrong, RNG_TEST);
    if (cells == NULL)
        exit(1);
    MUST(l->encode(right, PACKETS, cells));
    for (size_t i = 0; i < PACKETS * l->ncells; i++) {
        if (cells[i] == 0 || wrong == 1)
            cells[i] = rng_below(&r, 2) ? 1 : -1;
        else if (wrong > 1 && rng_below(&r, wrong) == 0)
            cells[i] = (int8_t)-cells[i];
    }
    l->plan_of(right, &plan);
    flow_init(f);
    MUST(l->decode(cells, NULL, PACKETS, &plan, f, NULL));
    free(cells);
}

typedef struct job {
    flow work;
    const char *path;
    char *bytes; /* of the file */
    size_t nbytes;
} job;

static void run_repair(void *arg) {
    job *j = arg;
    MUST(repair_flow(&j->work, NULL, NULL));
}

static void run_write(void *arg) {
    job *j = arg;
    uint8_t payload[PAYLOAD_MAX];
    capture_writer *w;
    MUST(capture_create(&w, j->path, 101, 65535));
    for (size_t i = 0; i < j->work.npackets; i++) {
        payload_make(&j->work, i, payload, packet_payload(&j->work.packets[i]));
        MUST(capture_write_payload(w, &j->work.packets[i], payload, false));
    }
    MUST(capture_commit(&w));
}

static void run_write_piece(void *arg) {
    job *j = arg;
    MUST(file_write(j->path, j->bytes, j->nbytes));
}

/* Of a file that is new each time, as a generated capture is: to remove the previous one is not part of it. */
static seconds best_of_new_files(void (*run)(void *), job *j) {
    seconds best = {INFINITY, INFINITY};
    for (int i = 0; i < REPEAT; i++) {
        unlink(j->path);
        best.cpu = fmin(best.cpu, best_of(1, run, j).cpu);
    }
    return best;
}

static void measure(const char *what, const flow *f, const char *path) {
    seconds repair = {INFINITY, INFINITY};
    job j = {.path = path};
    check_counts c = {.flows = 0};
    flow_init(&j.work);
    for (int i = 0; i < REPEAT; i++) {
        j.work.npackets = 0;
        for (size_t k = 0; k < f->npackets; k++)
            MUST(flow_add(&j.work, &f->packets[k]));
        seconds one = best_of(1, run_repair, &j);
        repair.cpu = fmin(repair.cpu, one.cpu);
    }
    check_flow(&j.work, CHECK_PAYLOAD_MADE, &c, NULL);
    if (c.flows_pass != 1) {
        fprintf(stderr, "%s: the repaired flow fails a rule\n", what);
        exit(1);
    }
    seconds writing = best_of_new_files(run_write, &j);
    MUST(file_read(path, SIZE_MAX, &j.bytes, &j.nbytes));
    seconds piece = best_of_new_files(run_write_piece, &j);
    printf("%-8s repair %6.3f ms (%5.0f ns/packet)  writing %6.3f ms  together %6.3f ms  (%4zu packets are left, %7zu "
           "bytes, as one piece %6.3f ms)\n",
           what, 1e3 * repair.cpu, 1e9 * repair.cpu / PACKETS, 1e3 * writing.cpu, 1e3 * (repair.cpu + writing.cpu),
           j.work.npackets, j.nbytes, 1e3 * piece.cpu);
    free(j.bytes);
    flow_clear(&j.work);
}

int main(void) {
    static const struct {
        const char *what;
        unsigned wrong;
    } rows[] = {{"right", 0}, {"wrong", 100}, {"random", 1}};
    const char *folder = getenv("TMPDIR");
    char *path = text_format("%s/bench_repair_XXXXXX", folder != NULL ? folder : "/tmp");
    int fd = mkstemp(path);
    flow right;
    if (fd < 0) {
        perror(path);
        return 1;
    }
    close(fd);
    conversation(&right);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        flow f;
        decode_with_errors(&right, rows[i].wrong, &f);
        measure(rows[i].what, &f, path);
        flow_clear(&f);
    }
    flow_clear(&right);
    unlink(path);
    free(path);
    return 0;
}
