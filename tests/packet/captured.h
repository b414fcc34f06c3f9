/* The flows of every shared capture, through packet_decode and the flow table. */
#ifndef ND_TESTS_PACKET_CAPTURED_H
#define ND_TESTS_PACKET_CAPTURED_H

#include <dirent.h>
#include "frames.h"
#include "packet/flow.h"

typedef void captured_visit(const char *file, flow *f, void *user);

static inline void captured_file(const char *path, const char *name, captured_visit *visit, void *user) {
    pcap_t *from = frames_open(path);
    if (from == NULL)
        return;
    flow_table *table;
    assert_int_equal(flow_table_new(&table, 0), ST_OK);
    struct pcap_pkthdr h;
    uint8_t *frame;
    for (uint32_t number = 0; frames_next(from, &h, &frame); number++) {
        packet p = {.frame = number, .time_ns = frames_time(&h)};
        size_t flow_number;
        if (packet_decode(pcap_datalink(from), frame, h.caplen, h.len, &p) == SKIP_NONE)
            assert_int_equal(flow_table_add(table, &p, &flow_number), ST_OK);
        free(frame);
    }
    for (size_t i = 0; i < flow_table_count(table); i++)
        visit(name, flow_table_get(table, i), user);
    flow_table_free(&table);
    pcap_close(from);
}

/* Calls visit for each flow, files in the order of their names. Skips the test where there are no shared captures. */
static inline void captured_flows(const char *folder, captured_visit *visit, void *user) {
    char directory[512], path[1024];
    shared_path(directory, sizeof directory, folder);
    struct dirent **entry;
    int n = scandir(directory, &entry, NULL, alphasort);
    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, entry[i]->d_name);
        if (entry[i]->d_name[0] != '.')
            captured_file(path, entry[i]->d_name, visit, user);
        free(entry[i]);
    }
    free(entry);
}

/* Random signs. */
static inline void random_cells(rng *r, int8_t *cells, size_t n) {
    for (size_t i = 0; i < n; i += 32) {
        uint32_t word = rng_u32(r);
        for (size_t k = i; k < n && k < i + 32; k++, word >>= 1)
            cells[k] = word & 1 ? 1 : -1;
    }
}

#endif
