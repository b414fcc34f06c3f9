/* What ndencode and its --info print on stdout. */
#include <inttypes.h>
#include <stdio.h>
#include "base/file.h"
#include "io/encode_priv.h"

void encode_print_skips(const uint64_t skipped[SKIP_COUNT]) {
    uint64_t all = 0;
    for (int i = 1; i < SKIP_COUNT; i++)
        all += skipped[i];
    printf("skipped frames: %" PRIu64 "\n", all);
    for (int i = 1; i < SKIP_COUNT; i++)
        if (skipped[i] > 0)
            printf("  %-20s %12" PRIu64 "\n", packet_skip_name((packet_skip)i), skipped[i]);
}

void encode_print_labels(const dataset_tables *t, const uint64_t *flows, const uint64_t *packets) {
    printf("%-24s %-20s %12s %14s  %s\n", "label", "macro", "flows", "packets", "prompt");
    for (size_t i = 0; i < t->nlabels; i++)
        printf("%-24s %-20s %12" PRIu64 " %14" PRIu64 "  %s\n", t->label[i], t->macro[i], flows[i], packets[i],
               t->prompt[i]);
    printf("%-24s %-20s %12" PRIu64 " %14" PRIu64 "\n", "(no label)", "", flows[t->nlabels], packets[t->nlabels]);
}

void encode_report(const char *path, const dataset_tables *t, const encode_totals *totals) {
    uint64_t flows = 0, packets = 0, nbytes = 0;
    size_t ndamaged = 0;
    for (size_t i = 0; i <= t->nlabels; i++) {
        flows += totals->flows[i];
        packets += totals->packets[i];
    }
    for (size_t i = 0; i < t->nfiles; i++)
        ndamaged += totals->damage[i] != NULL;
    if (file_size(path, &nbytes) != ST_OK)
        nbytes = 0;
    encode_print_labels(t, totals->flows, totals->packets);
    encode_print_skips(totals->skipped);
    if (ndamaged > 0)
        printf("damaged captures: %zu (what was readable is in the dataset)\n", ndamaged);
    for (size_t i = 0; i < t->nfiles; i++)
        if (totals->damage[i] != NULL)
            printf("  %s: %s\n", t->file[i], totals->damage[i]);
    printf("%s: %" PRIu64 " flows, %" PRIu64 " packets from %" PRIu64 " frames of %zu captures, %.1f MB\n", path, flows,
           packets, totals->frames, t->nfiles, (double)nbytes / 1e6);
}

void encode_report_plan(const encode_plan *p, const dataset_tables *t, const char *path) {
    uint64_t nbytes = 0;
    printf("%-40s %14s %10s\n", "capture", "bytes", "partitions");
    for (size_t i = 0; i < p->captures.n; i++) {
        const encode_file *f = &p->files[i];
        nbytes += f->nbytes;
        printf("%-40s %14" PRIu64 " %10" PRIu64 "\n", p->names.item[i], f->nbytes, f->npartitions);
    }
    printf("%zu captures, %" PRIu64 " bytes, %zu work items, %zu labels, %zu runs; would write %s\n", p->captures.n,
           nbytes, p->nitems, t->nlabels, t->nruns, path);
}
