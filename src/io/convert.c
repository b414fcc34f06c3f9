/* Command line of ndencode's other uses, and --info. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/config.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/convert.h"
#include "io/dataset.h"
#include "io/encode_priv.h"

bool convert_wanted(int argc, char **argv) {
    return argc > 1 &&
           (strcmp(argv[1], "--info") == 0 || strcmp(argv[1], "--export") == 0 || strcmp(argv[1], "--import") == 0);
}

/* nprint, nprint-v6, png, png-v6: a form of row and whether it is a picture. */
static status find_form(const char *option, const char *name, const nprint_form **form, bool *png) {
    *png = strncmp(name, "png", 3) == 0;
    *form = nprint_form_find(name);
    if (strcmp(name, "png") == 0)
        *form = &nprint_ipv4_form;
    else if (strcmp(name, "png-v6") == 0)
        *form = &nprint_ipv6_form;
    return *form != NULL ? ST_OK : FAIL(ST_USAGE, "%s '%s': nprint or png is wanted, or either with -v6", option, name);
}

static status run_export(int argc, char **argv) {
    int64_t limit = 0;
    const nprint_form *form;
    bool png;
    if (argc == 7 && strcmp(argv[5], "--limit") == 0)
        TRY(text_to_int(argv[6], "--limit", 1, INT64_MAX, &limit));
    else if (argc != 5)
        return FAIL(ST_USAGE, "usage: ndencode --export nprint|nprint-v6|png|png-v6 DATASET_OR_CAPTURE FOLDER "
                              "[--limit N]");
    TRY(find_form("--export", argv[2], &form, &png));
    TRY(file_make_folders(argv[4]));
    return png ? export_png(form, argv[3], argv[4], (uint64_t)limit)
               : export_nprint(form, argv[3], argv[4], (uint64_t)limit);
}

static status run_import(int argc, char **argv) {
    const nprint_form *form; /* the inputs say theirs */
    bool png;
    if (argc < 5)
        return FAIL(ST_USAGE, "usage: ndencode --import nprint|png INPUT... OUT.h5");
    TRY(find_form("--import", argv[2], &form, &png));
    return png ? import_png(argc - 4, argv + 3, argv[argc - 1]) : import_nprint(argc - 4, argv + 3, argv[argc - 1]);
}

status convert_run(int argc, char **argv) {
    if (strcmp(argv[1], "--export") == 0)
        return run_export(argc, argv);
    if (strcmp(argv[1], "--import") == 0)
        return run_import(argc, argv);
    if (argc != 3)
        return FAIL(ST_USAGE, "usage: ndencode --info DATASET");
    return convert_info(argv[2]);
}

typedef struct info {
    uint64_t *label_flows, *label_packets, *file_flows, *file_packets, *run_flows;
} info;

static status count(const dataset *d, const dataset_tables *t, info *n) {
    TRY(NEW(t->nlabels + 1, &n->label_flows));
    TRY(NEW(t->nlabels + 1, &n->label_packets));
    TRY(NEW(t->nfiles + 1, &n->file_flows));
    TRY(NEW(t->nfiles + 1, &n->file_packets));
    TRY(NEW(t->nruns + 1, &n->run_flows));
    for (size_t i = 0; i < dataset_nflows(d); i++) {
        flow f;
        dataset_flow_info(d, i, &f);
        size_t label = f.label >= 0 ? (size_t)f.label : t->nlabels, run = f.run >= 0 ? (size_t)f.run : t->nruns;
        n->label_flows[label]++;
        n->label_packets[label] += f.npackets;
        n->file_flows[f.file]++;
        n->file_packets[f.file] += f.npackets;
        n->run_flows[run]++;
    }
    return ST_OK;
}

static void print_info(const char *path, const dataset *d, const dataset_tables *t, const info *n) {
    uint64_t nbytes = 0;
    if (file_size(path, &nbytes) != ST_OK)
        nbytes = 0;
    printf("%s: %zu flows, %" PRIu64 " packets from %" PRIu64 " frames, %.1f MB\n\n", path, dataset_nflows(d),
           dataset_npackets(d), t->frames, (double)nbytes / 1e6);
    encode_print_labels(t, n->label_flows, n->label_packets);
    printf("\n");
    encode_print_skips(t->skipped);
    printf("\n%-40s %12s %14s  %s\n", "source", "flows", "packets", "sha256");
    for (size_t i = 0; i < t->nfiles; i++)
        printf("%-40s %12" PRIu64 " %14" PRIu64 "  %s\n", t->file[i], n->file_flows[i], n->file_packets[i],
               t->sha256[i]);
    printf("\n%-40s %12s\n", "run", "flows");
    for (size_t i = 0; i < t->nruns; i++)
        printf("%-40s %12" PRIu64 "\n", t->run[i], n->run_flows[i]);
    if (n->run_flows[t->nruns] > 0)
        printf("%-40s %12" PRIu64 "\n", "(no run)", n->run_flows[t->nruns]);
    if (t->config[0] != '\0')
        printf("\nmade with\n%s", t->config);
}

status convert_info(const char *path) {
    dataset *d = NULL;
    info n = {.label_flows = NULL};
    TRY(dataset_open(&d, path));
    status st = count(d, dataset_get_tables(d), &n);
    if (st == ST_OK)
        print_info(path, d, dataset_get_tables(d), &n);
    memory_free(&n.label_flows);
    memory_free(&n.label_packets);
    memory_free(&n.file_flows);
    memory_free(&n.file_packets);
    memory_free(&n.run_flows);
    dataset_close(&d);
    return st;
}
