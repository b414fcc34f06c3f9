/* A folder of small captures and their labels, made from the flows of io_flows.h.
 *
 *     FOLDER/captures/a.pcap         Ethernet: flows 0 .. NA-1 interleaved by time, then frames that give no packet
 *     FOLDER/captures/deep/b.pcap.gz raw IP: flows NA .. NA+NB-1
 *     FOLDER/captures/cut.pcap       Ethernet: flows NA+NB .. , its last record cut
 *     FOLDER/labels.csv              a: by 5-tuple, label "three" for every third flow and "five" for other fifth ones;
 *                                    b: "all-b" for the whole file, run "lab"; cut: a filter for TCP, "tcp" */
#ifndef ND_TESTS_IO_CAPTURES_H
#define ND_TESTS_IO_CAPTURES_H

#include <arpa/inet.h>
#include <stdlib.h>
#include <zlib.h>
#include "base/file.h"
#include "io/capture.h"
#include "io/io_flows.h"

enum { IO_NA = 150, IO_NB = 60, IO_NCUT = 30, IO_MOST = 25, IO_NOT_IP = 7, IO_IP_BAD = 3 };

static inline int io_compare_time(const void *a, const void *b) {
    const packet *x = a, *y = b;
    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? -1 : 1;
    return x->frame < y->frame ? -1 : x->frame > y->frame;
}

/* Flows from .. to-1 as a capture. */
static inline status io_write_flows(const char *path, int link_type, uint64_t from, uint64_t to) {
    flow all;
    capture_writer *w = NULL;
    flow_init(&all);
    for (uint64_t i = from; i < to; i++) {
        flow f;
        TRY(io_flow(i, IO_MOST, &f));
        for (size_t k = 0; k < f.npackets; k++) {
            f.packets[k].frame = (uint32_t)all.npackets;
            TRY(flow_add(&all, &f.packets[k]));
        }
        flow_clear(&f);
    }
    if (all.npackets > 0)
        qsort(all.packets, all.npackets, sizeof *all.packets, io_compare_time);
    TRY(capture_create(&w, path, link_type, 0));
    for (size_t i = 0; i < all.npackets; i++)
        TRY(capture_write(w, &all.packets[i], false));
    flow_clear(&all);
    return capture_commit(&w);
}

/* Frames that nd skips: ARP, and IPv6 with a payload length of 0. */
static inline status io_append_frames(const char *path) {
    FILE *f = fopen(path, "ab");
    if (f == NULL)
        return FAIL(ST_IO, "%s: cannot append", path);
    for (int i = 0; i < IO_NOT_IP + IO_IP_BAD; i++) {
        uint8_t frame[60] = {[12] = 0x08, [13] = 0x06};
        if (i >= IO_NOT_IP) {
            put16(frame + 12, 0x86dd);
            frame[14] = 0x60;
        }
        const uint32_t header[4] = {1700000100, 0, sizeof frame, sizeof frame};
        fwrite(header, sizeof header, 1, f);
        fwrite(frame, sizeof frame, 1, f);
    }
    return fclose(f) == 0 ? ST_OK : FAIL(ST_IO, "%s: cannot append", path);
}

static inline status io_compress(const char *from, const char *to) {
    char *bytes;
    size_t n;
    TRY(file_read(from, 1 << 28, &bytes, &n));
    gzFile gz = gzopen(to, "wb1");
    bool good = gz != NULL && gzwrite(gz, bytes, (unsigned)n) == (int)n;
    good = (gz == NULL || gzclose(gz) == Z_OK) && good;
    free(bytes);
    return good ? ST_OK : FAIL(ST_IO, "%s: cannot compress", to);
}

static inline status io_cut(const char *path, size_t nbytes) {
    char *bytes;
    size_t n;
    TRY(file_read(path, 1 << 28, &bytes, &n));
    status st = file_write(path, bytes, n - nbytes);
    free(bytes);
    return st;
}

static inline const char *io_label(uint64_t number) { /* of a flow of a.pcap; NULL = none */
    return number % 3 == 0 ? "three" : number % 5 == 0 ? "five" : NULL;
}

static inline status io_write_labels(const char *path) {
    static const char *const names[] = {[PROTO_ICMP] = "icmp", [PROTO_TCP] = "tcp", [PROTO_UDP] = "udp"};
    FILE *f = fopen(path, "w");
    if (f == NULL)
        return FAIL(ST_IO, "%s: cannot write", path);
    fprintf(f, "file,label,macro,run,proto,src,sport,dst,dport,filter\n");
    for (uint64_t i = 0; i < IO_NA; i++) {
        flow g;
        char from[16], to[16];
        if (io_label(i) == NULL)
            continue;
        TRY(io_flow(i, 1, &g));
        inet_ntop(AF_INET, &(struct in_addr){htonl(g.key.addr[0])}, from, sizeof from);
        inet_ntop(AF_INET, &(struct in_addr){htonl(g.key.addr[1])}, to, sizeof to);
        fprintf(f, "captures/a.pcap,%s,number,,%s,%s,%u,%s,%u,\n", io_label(i), names[g.key.proto], from, g.key.port[0],
                to, g.key.port[1]);
        flow_clear(&g);
    }
    fprintf(f, "deep/b.pcap.gz,all-b,whole,lab,,,,,,\ncut.pcap,tcp,,,,,,,,tcp\n");
    fprintf(f, "elsewhere.pcap,unused,,,,,,,,\n");
    return fclose(f) == 0 ? ST_OK : FAIL(ST_IO, "%s: cannot write", path);
}

static inline status io_make_captures(const char *into) {
    char *deep = text_format("%s/captures/deep", into), *a = text_format("%s/captures/a.pcap", into),
         *b = text_format("%s/b.pcap", into), *bgz = text_format("%s/b.pcap.gz", deep),
         *cut = text_format("%s/captures/cut.pcap", into), *table = text_format("%s/labels.csv", into);
    status st = file_make_folders(deep);
    if (st == ST_OK && (st = io_write_flows(a, 1, 0, IO_NA)) == ST_OK)
        st = io_append_frames(a);
    if (st == ST_OK && (st = io_write_flows(b, 101, IO_NA, IO_NA + IO_NB)) == ST_OK)
        st = io_compress(b, bgz);
    if (st == ST_OK && (st = io_write_flows(cut, 1, IO_NA + IO_NB, IO_NA + IO_NB + IO_NCUT)) == ST_OK)
        st = io_cut(cut, 5);
    if (st == ST_OK)
        st = io_write_labels(table);
    free(deep);
    free(a);
    free(b);
    free(bgz);
    free(cut);
    free(table);
    return st;
}

#endif
