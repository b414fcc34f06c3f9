/* Writes the captures and labels of io_captures.h into the folder given; the script tests start from them. With a
 * second argument, one large Ethernet capture instead: FOLDER is a file's name, and the number says how many flows. A
 * third of its packets belong to one flow that lasts from the first to the last. */
#include <stdio.h>
#include "io/io_captures.h"

enum { AT_ONCE = 2000, MOST = 40 };

/* Flows `from` .. `to` - 1, begun within the same second, and packets of the long flow between theirs. */
static status write_window(capture_writer *w, uint64_t from, uint64_t to, const packet *lasting, flow *all) {
    all->npackets = 0;
    int64_t later = (int64_t)(from / AT_ONCE) * 1000000000;
    for (uint64_t i = from; i < to; i++) {
        flow f;
        TRY(io_flow(i, MOST, &f));
        for (size_t k = 0; k < f.npackets; k++) {
            f.packets[k].time_ns += later;
            f.packets[k].frame = (uint32_t)all->npackets;
            TRY(flow_add(all, &f.packets[k]));
            if (k % 2 == 0) {
                packet p = *lasting;
                p.time_ns = f.packets[k].time_ns;
                p.frame = (uint32_t)all->npackets;
                TRY(flow_add(all, &p));
            }
        }
        flow_clear(&f);
    }
    qsort(all->packets, all->npackets, sizeof *all->packets, io_compare_time);
    for (size_t i = 0; i < all->npackets; i++)
        TRY(capture_write(w, &all->packets[i], false));
    return ST_OK;
}

static status write_large(const char *path, uint64_t nflows) {
    capture_writer *w = NULL;
    packet lasting = io_packet(PROTO_UDP, 0xcb007101u, 0xcb007102u, 5000, 5001, 100);
    flow all;
    flow_init(&all);
    TRY(capture_create(&w, path, 1, 0));
    status st = ST_OK;
    for (uint64_t i = 0; st == ST_OK && i < nflows; i += AT_ONCE)
        st = write_window(w, i, nflows - i < AT_ONCE ? nflows : i + AT_ONCE, &lasting, &all);
    flow_clear(&all);
    if (st == ST_OK)
        return capture_commit(&w);
    capture_abandon(&w);
    return st;
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 3)
        return 2;
    status st = argc == 2 ? io_make_captures(argv[1]) : write_large(argv[1], strtoull(argv[2], NULL, 10));
    if (st != ST_OK)
        fprintf(stderr, "%s\n", status_message());
    return status_exit_code(st);
}
