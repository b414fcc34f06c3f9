/* Joining parts: every part's packets and rows are appended in order, a block of packets at a time. */
#include <string.h>
#include "base/memory.h"
#include "io/dataset_priv.h"

enum { BLOCK = 4096 };

static status append_part(dataset *to, dataset *from, packet *block) {
    flow f;
    for (size_t i = 0; i < dataset_nflows(from); i++) {
        dataset_flow_info(from, i, &f);
        uint64_t header_at = from->first_header[i];
        for (uint64_t first = 0; first < f.npackets; first += BLOCK) {
            size_t n = f.npackets - first < BLOCK ? (size_t)(f.npackets - first) : BLOCK;
            TRY(dataset_read_packets(from, i, first, n, &header_at, block));
            TRY(dataset_append_packets(to, block, n));
        }
        TRY(dataset_append_row(to, &f, f.npackets));
    }
    return ST_OK;
}

/* The part's flows must mean the same under the tables of the whole. */
static status check_tables(const dataset *part, const dataset_tables *whole) {
    const dataset_tables *t = &part->tables;
    bool same = t->nlabels == whole->nlabels && t->nfiles == whole->nfiles && t->nruns == whole->nruns;
    for (size_t i = 0; same && i < t->nlabels; i++)
        same = strcmp(t->label[i], whole->label[i]) == 0;
    for (size_t i = 0; same && i < t->nfiles; i++)
        same = strcmp(t->file[i], whole->file[i]) == 0;
    for (size_t i = 0; same && i < t->nruns; i++)
        same = strcmp(t->run[i], whole->run[i]) == 0;
    return same ? ST_OK : FAIL(ST_FORMAT, "%s: its labels, files or runs are not those of the other parts", part->path);
}

static status merge_parts(dataset *to, size_t nparts, char *const *parts, bool sum, packet *block,
                          void (*done)(void *data, size_t part), void *data) {
    uint64_t skipped[SKIP_COUNT] = {0}, frames = 0;
    for (size_t i = 0; i < nparts; i++) {
        dataset *from = NULL;
        TRY(dataset_open(&from, parts[i]));
        status st = check_tables(from, &to->tables);
        if (st == ST_OK)
            st = append_part(to, from, block);
        for (int reason = 0; reason < SKIP_COUNT; reason++)
            skipped[reason] += from->tables.skipped[reason];
        frames += from->tables.frames;
        dataset_close(&from);
        TRY(st);
        if (done != NULL)
            done(data, i);
    }
    if (sum)
        dataset_set_skipped(to, skipped, frames);
    return ST_OK;
}

status dataset_merge_as(size_t nparts, char *const *parts, const dataset_tables *tables, const char *path, int compress,
                        int threads, void (*done)(void *data, size_t part), void *data) {
    status st = ST_OK;
    dataset *to = NULL, *first = NULL;
    packet *block = NULL;
    if (nparts == 0 && tables == NULL)
        return FAIL(ST_USAGE, "%s: no parts to join", path);
    TRY_TO(out, NEW(BLOCK, &block));
    if (tables == NULL)
        TRY_TO(out, dataset_open(&first, parts[0]));
    TRY_TO(out, dataset_create(&to, path, tables != NULL ? tables : dataset_get_tables(first), compress));
    dataset_close(&first);
    TRY_TO(out, dataset_set_threads(to, threads));
    TRY_TO(out, merge_parts(to, nparts, parts, tables == NULL, block, done, data));
    st = dataset_commit(&to);
out:
    dataset_abandon(&to);
    dataset_close(&first);
    memory_free(&block);
    return st;
}

status dataset_merge(size_t nparts, char *const *parts, const char *path, int compress) {
    return dataset_merge_as(nparts, parts, NULL, path, compress, 1, NULL, NULL);
}
