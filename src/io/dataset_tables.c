/* The small tables of a dataset: copies and release. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "io/dataset_priv.h"

const column_spec dataset_columns[COLUMN_COUNT] = {
    [COLUMN_TIME] = {"packet/time", 8, 1, PACKETS_PER_CHUNK},
    [COLUMN_WIRE_LEN] = {"packet/wire_len", 4, 1, PACKETS_PER_CHUNK},
    [COLUMN_FRAME] = {"packet/frame", 4, 1, PACKETS_PER_CHUNK},
    [COLUMN_DIR] = {"packet/dir", 1, 1, PACKETS_PER_CHUNK},
    [COLUMN_NHEADER] = {"packet/nheader", 1, 1, PACKETS_PER_CHUNK},
    [COLUMN_HEADER] = {"packet/header", 1, 1, HEADER_CHUNK},
    [COLUMN_NPACKETS] = {"flow/npackets", 8, 1, FLOWS_PER_CHUNK},
    [COLUMN_LABEL] = {"flow/label", 4, 1, FLOWS_PER_CHUNK},
    [COLUMN_FILE] = {"flow/file", 4, 1, FLOWS_PER_CHUNK},
    [COLUMN_RUN] = {"flow/run", 4, 1, FLOWS_PER_CHUNK},
    [COLUMN_IP_VERSION] = {"flow/ip_version", 1, 1, FLOWS_PER_CHUNK},
    [COLUMN_PROTO] = {"flow/proto", 1, 1, FLOWS_PER_CHUNK},
    [COLUMN_ADDR] = {"flow/addr", 1, 32, FLOWS_PER_CHUNK},
    [COLUMN_PORT] = {"flow/port", 2, 2, FLOWS_PER_CHUNK},
};

const column_spec dataset_addr_version_1 = {"flow/addr", 4, 2, FLOWS_PER_CHUNK};

hid_t dataset_column_type(column_id c) {
    switch (c) {
    case COLUMN_TIME:
        return H5T_STD_I64LE;
    case COLUMN_LABEL:
    case COLUMN_RUN:
        return H5T_STD_I32LE;
    case COLUMN_NPACKETS:
        return H5T_STD_U64LE;
    case COLUMN_PORT:
        return H5T_STD_U16LE;
    case COLUMN_WIRE_LEN:
    case COLUMN_FRAME:
    case COLUMN_FILE:
        return H5T_STD_U32LE;
    default:
        return H5T_STD_U8LE;
    }
}

void dataset_tables_clear(dataset_tables *t) {
    h5_free_texts(t->nlabels, &t->label);
    h5_free_texts(t->nlabels, &t->macro);
    h5_free_texts(t->nlabels, &t->prompt);
    h5_free_texts(t->nfiles, &t->file);
    h5_free_texts(t->nfiles, &t->sha256);
    h5_free_texts(t->nruns, &t->run);
    free(t->config);
    *t = (dataset_tables){.nlabels = 0};
}

status dataset_tables_check(const dataset_tables *t, const char *path) {
    const struct {
        const char *name;
        size_t n, limit;
        char *const *texts;
    } tables[] = {{"label", t->nlabels, LABELS_MAX, t->label},
                  {"macro", t->nlabels, LABELS_MAX, t->macro},
                  {"prompt", t->nlabels, LABELS_MAX, t->prompt},
                  {"file", t->nfiles, FILES_MAX, t->file},
                  {"sha256", t->nfiles, FILES_MAX, t->sha256},
                  {"run", t->nruns, FILES_MAX, t->run},
                  {"config", 1, 1, &t->config}};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        if (tables[i].n > tables[i].limit || !h5_texts_fit(tables[i].n, tables[i].texts))
            return FAIL(ST_RANGE, "%s: the %zu texts of table/%s are more than a dataset holds", path, tables[i].n,
                        tables[i].name);
    return ST_OK;
}

/* from may be NULL, or hold NULLs: empty texts. */
static status copy_texts(size_t n, char *const *from, char ***to) {
    *to = calloc(n + 1, sizeof **to);
    if (*to == NULL)
        return FAIL(ST_MEMORY, "no memory for a table of %zu texts", n);
    for (size_t i = 0; i < n; i++)
        (*to)[i] = text_copy(from != NULL && from[i] != NULL ? from[i] : "");
    return ST_OK;
}

status dataset_tables_copy(const dataset_tables *from, dataset_tables *to) {
    *to = (dataset_tables){
        .nlabels = from->nlabels, .nfiles = from->nfiles, .nruns = from->nruns, .frames = from->frames};
    memcpy(to->skipped, from->skipped, sizeof to->skipped);
    to->config = text_copy(from->config != NULL ? from->config : "");
    status st = ST_OK;
    TRY_TO(failed, copy_texts(from->nlabels, from->label, &to->label));
    TRY_TO(failed, copy_texts(from->nlabels, from->macro, &to->macro));
    TRY_TO(failed, copy_texts(from->nlabels, from->prompt, &to->prompt));
    TRY_TO(failed, copy_texts(from->nfiles, from->file, &to->file));
    TRY_TO(failed, copy_texts(from->nfiles, from->sha256, &to->sha256));
    TRY_TO(failed, copy_texts(from->nruns, from->run, &to->run));
    return ST_OK;
failed:
    dataset_tables_clear(to);
    return st;
}
