/* Captures made longer for benchmarks: their frames again and again, each time from other hosts and an hour later. */
#ifndef ND_BENCH_REPEAT_H
#define ND_BENCH_REPEAT_H

#include <pcap/pcap.h>
#include <string.h>
#include "base/memory.h"
#include "bench/bench.h"
#include "io/capture.h"

enum { SNAP = 262144 };

typedef struct frame {
    size_t at, caplen, wire_len;
    int64_t time_ns;
} frame;

typedef struct frames {
    size_t n, capacity, nbytes, bytes_capacity;
    frame *item;
    uint8_t *bytes;
} frames;

static inline void frames_read(frames *f, const char *path) {
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

/* All of f, repeated until there are nframes frames or nbytes bytes, with the first two address bytes changed, so that
 * every round has its own flows. */
static inline void frames_write(const frames *f, const char *path, uint64_t nframes, uint64_t nbytes) {
    pcap_t *p = pcap_open_dead_with_tstamp_precision(1, SNAP, PCAP_TSTAMP_PRECISION_NANO);
    pcap_dumper_t *to = p ? pcap_dump_open(p, path) : NULL;
    uint8_t copy[SNAP];
    if (!to) {
        fprintf(stderr, "cannot write %s\n", path);
        exit(1);
    }
    uint64_t written = 0;
    for (size_t round = 0; f->n > 0 && round * f->n < nframes && written < nbytes; round++) {
        for (size_t i = 0; i < f->n && written < nbytes; i++) {
            const frame *x = &f->item[i];
            struct pcap_pkthdr h = {.caplen = (bpf_u_int32)x->caplen, .len = (bpf_u_int32)x->wire_len};
            h.ts.tv_sec = (time_t)(x->time_ns / 1000000000) + (time_t)(round * 3600);
            h.ts.tv_usec = (suseconds_t)(x->time_ns % 1000000000);
            memcpy(copy, f->bytes + x->at, x->caplen);
            if (x->caplen > 34) {
                copy[26] = (uint8_t)(copy[26] + round);
                copy[30] = (uint8_t)(copy[30] + round);
                copy[27] = (uint8_t)(copy[27] + (round >> 8));
                copy[31] = (uint8_t)(copy[31] + (round >> 8));
            }
            written += 16 + x->caplen;
            pcap_dump((uint8_t *)to, &h, copy);
        }
    }
    pcap_dump_close(to);
    pcap_close(p);
}

static const char *const bench_samples[] = {"data/sample/run1.pcap.gz", "data/sample/run2.pcapng.gz",
                                            "data/sample/run3.pcap.gz", "data/sample/run4.pcap.gz"};

/* The captures named, or those of data/sample where none is. */
static inline void frames_read_all(frames *f, int n, char **paths) {
    for (int i = 0; i < n; i++)
        frames_read(f, paths[i]);
    for (size_t i = 0; n == 0 && i < sizeof bench_samples / sizeof *bench_samples; i++)
        frames_read(f, bench_samples[i]);
}

#endif
