/* The dataset: flows and packets in one HDF5 file, real or synthetic alike.
 *
 * /packet/{time,wire_len,frame,dir,nheader} and /packet/header (bytes of all headers one after another),
 * /flow/{npackets,label,file,run,ip_version,proto,addr,port}, /table/{label,macro,prompt,file,sha256,run},
 * /skip/{reason,count}; attributes schema = "nd-dataset", version, created_by, config. Counts, not offsets, are stored,
 * so that a flow's bytes do not depend on the flows before it. All integers little-endian; columns chunked, shuffled
 * and deflated. docs/dataset.md is the reference. Local: one process writes one file with the serial driver; several
 * ranks make one by dataset_stretch_new and dataset_place_chunk (dataset_priv.h). */
#ifndef ND_IO_DATASET_H
#define ND_IO_DATASET_H

#include "base/config.h"
#include "packet/flow.h"

enum { DATASET_VERSION = 2 }; /* written; 1, without IPv6, is read too */

typedef struct dataset_tables {
    size_t nlabels;
    char **label, **macro, **prompt; /* by label index */
    size_t nfiles;
    char **file, **sha256;
    size_t nruns;
    char **run;
    char *config; /* YAML of the run that made it */
    uint64_t skipped[SKIP_COUNT];
    uint64_t frames; /* records seen, skipped ones included */
} dataset_tables;

void dataset_tables_clear(dataset_tables *t);
status dataset_tables_copy(const dataset_tables *from, dataset_tables *to);

typedef struct dataset dataset;

/* Write: the file appears at commit and not before. tables is copied. */
status dataset_create(dataset **d, const char *path, const dataset_tables *tables, int compress);
/* Threads that deflate beside the caller (default 1: none). The bytes of the file do not depend on it. Before the first
 * append. */
status dataset_set_threads(dataset *d, int threads);
/* One whole flow. ST_RANGE for a flow without packets or with an index outside the tables, ST_FORMAT for a packet whose
 * headers are inconsistent (packet_has_shape). After an error only dataset_abandon is allowed. */
status dataset_append(dataset *d, const flow *f);
/* Replace the skip counts written at commit (they are known only at the end). */
void dataset_set_skipped(dataset *d, const uint64_t skipped[SKIP_COUNT], uint64_t frames);
/* Ends the file, reads its structure back and publishes it. After an error nothing has appeared, and *d is gone. */
status dataset_commit(dataset **d);
void dataset_abandon(dataset **d);

/* Read: tables and flow columns are held in memory, packets are read on demand. Everything is bounds-checked: a file
 * that is incomplete, newer, or whose columns contradict each other is ST_FORMAT here, and so is a packet whose headers
 * are not complete when it is read. */
status dataset_open(dataset **d, const char *path);
const dataset_tables *dataset_get_tables(const dataset *d);
size_t dataset_nflows(const dataset *d);
uint64_t dataset_npackets(const dataset *d);
/* Header of flow i without packets (key, label, file, run; npackets = its count, packets = NULL). */
void dataset_flow_info(const dataset *d, size_t i, flow *f);
/* Flow i with at most max_packets of its packets (0 = all); f is cleared first. Cheap for rising i. */
status dataset_read(dataset *d, size_t i, size_t max_packets, flow *f);
void dataset_close(dataset **d);

#endif
