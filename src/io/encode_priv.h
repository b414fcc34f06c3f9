/* What the stages of ndencode share.
 *
 *     captures --encode_pass--> parts, or raw partitions --encode_assemble--> parts --encode_join--> dataset
 *
 * A part is two files: rows (one a flow, in the order of their first packets) and packets (of flow after flow). Marks
 * say which of them are whole. All of it lies in one folder, DATASET.parts, which all ranks see. */
#ifndef ND_IO_ENCODE_PRIV_H
#define ND_IO_ENCODE_PRIV_H

#include <string.h>
#include <sys/types.h>
#include "base/lock.h"
#include "dist/comm.h"
#include "io/dataset_priv.h"
#include "io/encode.h"

/* --- files that are written and read once, from front to back (encode_spool.c) --- */

typedef struct spool_writer {
    char *path, *part; /* part: its name until it is whole */
    int fd;
    uint8_t *buffer;
    size_t used, capacity;
    uint64_t nbytes; /* so far */
    uint32_t crc;    /* CRC-32 of what left the buffer; of all of it once it is closed */
} spool_writer;

/* attempt: makes the name of the unfinished file differ from that of any other run. */
status spool_begin(spool_writer *w, const char *path, uint64_t attempt, size_t buffer_nbytes);
status spool_put_slowly(spool_writer *w, const void *bytes, size_t nbytes);
static inline status spool_put(spool_writer *w, const void *bytes, size_t nbytes) {
    if (nbytes > w->capacity - w->used)
        return spool_put_slowly(w, bytes, nbytes);
    memcpy(w->buffer + w->used, bytes, nbytes);
    w->used += nbytes;
    w->nbytes += nbytes;
    return ST_OK;
}
/* The file appears under its name; w keeps nbytes and crc. */
status spool_commit(spool_writer *w);
/* A whole small file. Not synced to the disk: after a power cut its reader must see that it is not what was written. */
status spool_file(const char *path, uint64_t attempt, const void *bytes, size_t nbytes);
void spool_abandon(spool_writer *w); /* also after a commit, or of a writer of zeros */

typedef struct spool_reader {
    char *path;
    int fd;
    uint8_t *buffer;
    size_t at, n, capacity; /* unread bytes: buffer[at] .. buffer[n - 1] */
    uint64_t next;          /* place in the file of buffer[n] */
    bool end;
} spool_reader;

status spool_open(spool_reader *r, const char *path, uint64_t at, size_t buffer_nbytes);
status spool_fill(spool_reader *r);
/* Have n bytes (at most the capacity) in the buffer if the file has as many. */
static inline status spool_want(spool_reader *r, size_t n) {
    return r->n - r->at >= n || r->end ? ST_OK : spool_fill(r);
}
static inline size_t spool_have(const spool_reader *r) {
    return r->n - r->at;
}
status spool_seek(spool_reader *r, uint64_t at);
void spool_close(spool_reader *r);
/* CRC-32 of a whole file; *same is false where it is missing or has another length or CRC. */
status spool_check(const char *path, uint64_t nbytes, uint32_t crc, bool *same);
/* All nbytes at a place of an open file; the message names `path`. */
status spool_write_at(int fd, const char *path, const void *bytes, size_t nbytes, uint64_t at);
status spool_read_at(int fd, const char *path, void *bytes, size_t nbytes, uint64_t at);

/* --- packets and flows in the files of a part --- */

/* A flow; `before` counts what the flows before it in the same part have. */
typedef struct flow_row {
    flow_key key;
    int32_t label, run;
    uint32_t frame; /* of its first packet */
    uint64_t npackets;
    struct {
        uint64_t nflows, npackets, nheader, nbytes; /* nbytes: place in the file of packets */
    } before;
} flow_row;

typedef struct part_size {
    uint64_t nflows, npackets, nheader, nbytes; /* nbytes of the packets' file */
    uint64_t rows_crc, packets_crc;
} part_size;

/* Names in the folder of the parts: NUMBER-PARTITION.rows, ... Caller frees. */
char *encode_name(const char *folder, size_t file, uint64_t partition, const char *suffix);

/* --- packets of many flows in memory, brought into the order of flows (encode_assemble.c) --- */

status assembler_new(assembler **a, const encode_options *o);
/* *fresh: p begins a flow, whose label and run are to be set. */
status assembler_add(assembler *a, const packet *p, bool *fresh);
void assembler_label(assembler *a, flow_label label);
uint64_t assembler_nbytes(const assembler *a); /* of memory, with what writing will need */
/* Hand out all packets in the order they came in, with the label of their flows. */
status assembler_each(assembler *a, status (*take)(void *data, const packet *p, flow_label label), void *data);
/* The part: flows without a label are left out unless o->unlabelled. Fills m->part and adds to what follows it. */
status assembler_write(assembler *a, const encode_options *o, size_t file, uint64_t partition, struct encode_mark *m);
/* The part in memory instead: the order of flows, for the calls below. */
status assembler_finish(assembler *a, const encode_options *o, struct encode_mark *m);
/* The first flow from number *i on that is in the part: its row, and *i is moved behind it. False if there is none. */
bool assembler_row(const assembler *a, size_t *i, flow_row *row);
/* Number of the first flow whose first frame is `frame` or later. */
size_t assembler_find(const assembler *a, uint32_t frame);
const packet_record *assembler_packet(const assembler *a, uint64_t place);
void assembler_free(assembler **a);

/* --- plan --- */

typedef struct encode_file {
    uint64_t nbytes, mtime_ns;
    uint64_t weight;      /* bytes, gzip-compressed ones taken four times */
    uint64_t npartitions; /* that it is split into at most where its packets do not fit into memory */
} encode_file;

typedef struct encode_item {
    uint32_t file;
    bool pass; /* read the capture; else assemble the partition, if there is one */
    uint64_t partition;
} encode_item;

typedef struct encode_plan {
    text_list captures, names; /* path of each, and what it is called in the dataset */
    encode_file *files;        /* as many */
    size_t *first_part;        /* files + 1: number of each file's first part among all */
    size_t nitems;
    encode_item *items; /* in the order of work: captures, largest first, then partitions */
} encode_plan;

/* Collective: rank 0 looks, all get the same plan. */
status encode_plan_make(encode_plan *p, const experiment *e, comm *c);
void encode_plan_clear(encode_plan *p);
/* Size and time of change of a capture. */
status encode_file_look(const char *path, encode_file *f);
/* Of an item, in bytes of captures. */
uint64_t encode_item_weight(const encode_plan *p, const encode_item *item);

/* --- marks: what was finished (encode_mark.c) --- */

/* What reading a capture gave, and what a part holds. A capture whose packets fitted into memory is one part. */
typedef struct encode_mark {
    uint64_t frames, skipped[SKIP_COUNT];
    char sha256[65];
    char *damage; /* NULL if the capture was whole */
    int link_type;
    uint64_t npartitions;           /* 0: not split */
    uint64_t *raw_nbytes, *raw_crc; /* by partition */
    part_size part;
    size_t nlabels, nlines; /* entries of the arrays below, less one */
    uint64_t *flows, *packets;
    bool *taken; /* by line of the labels file: a flow has its label from the row that begins there */
} encode_mark;

status encode_mark_new(encode_mark *m, size_t nlabels, size_t nlines);
void encode_mark_clear(encode_mark *m);
/* Of a capture, or (partition) of one of its partitions. */
status encode_mark_write(const encode_mark *m, const encode_options *to, const encode_plan *p, uint32_t file, bool pass,
                         uint64_t partition);
/* *found is false where there is none, or one of another capture. m is new. */
status encode_mark_read(encode_mark *m, const char *folder, const encode_plan *p, uint32_t file, bool pass,
                        uint64_t partition, bool *found);
/* Are the files that the mark speaks of as it says? */
status encode_mark_check(const encode_mark *m, const char *folder, const encode_plan *p, uint32_t file, bool pass,
                         uint64_t partition, bool *good);

/* --- the folder of the parts (encode_folder.c) --- */

/* The folder, for this run alone: *l is its lock. Local to rank 0. Parts of a run with another `identity` go away. */
status encode_folder_open(const char *folder, const char *lock_path, const char *identity, lock **l);
/* Has a capture been read whole? */
bool encode_folder_has_pass(const char *folder);
/* Remove what killed runs were writing: this file under another name (file_part_name). */
void encode_remove_unfinished(const char *path);
/* Does nothing without a lock, and leaves the folder to a run that has taken the lock over. */
void encode_folder_close(const char *folder, lock **l, bool keep);
/* Tell the other ranks of this attempt, who look for it. Any number of them may do so at one moment. Local. */
status encode_signal_give(const char *folder, uint64_t attempt, const char *what, uint32_t file);
bool encode_signal_given(const char *folder, uint64_t attempt, const char *what, uint32_t file);
/* ST_STOPPED where this process was asked to stop (base/stop.h). Local. */
status encode_check_stop(const char *folder);

/* --- joining (encode_join.c) --- */

typedef struct encode_catalog {
    const char *folder;
    uint64_t attempt;
    size_t nfiles;
    const size_t *first_part; /* files + 1 */
    const uint64_t *split;    /* by file: partitions, 0 where only its first part exists */
    const part_size *parts;
    const uint64_t *frames; /* by file */
    const uint64_t *sha256; /* 4 words a file */
    assembler *const *kept; /* by file: its part in memory, NULL where it is in files; NULL if all are */
    const lock *lock;       /* no dataset is put in place after it was lost; NULL: none */
} encode_catalog;

/* Collective. tables count on rank 0. */
status encode_join(const encode_catalog *k, const dataset_tables *tables, const char *path, int compress, int threads,
                   comm *c);

/* Flows of all parts in the order of the dataset: by file, then by first packet (encode_stream.c). */
typedef struct flow_stream flow_stream;
/* From the first flow of `file` whose first frame is `frame` or later. */
status flow_stream_open(flow_stream **s, const encode_catalog *k, size_t file, uint32_t frame);
/* The next flow and its file, NULL at the end. Packets of the flow before that were not taken are passed over. */
status flow_stream_next(flow_stream *s, const flow_row **row, uint32_t *file);
/* The next packets of the flow: whole records that lie one after another. *nbytes = 0: none is left. */
status flow_stream_packets(flow_stream *s, const uint8_t **records, size_t *nbytes);
void flow_stream_close(flow_stream **s);
/* Flows, packets and header bytes of the file's flows that begin before `frame`. */
status flow_stream_before(const encode_catalog *k, size_t file, uint32_t frame, uint64_t counts[3]);

/* --- totals and report --- */

typedef struct encode_totals {
    uint64_t frames, skipped[SKIP_COUNT];
    uint64_t *flows, *packets; /* labels + 1 */
    size_t nlines;
    uint64_t *taken; /* nlines + 1: by line of the labels file, parts with flows that its row labels */
    uint64_t *file_frames, *split;
    uint64_t *sha256; /* 4 words a file */
    part_size *parts;
    char **damage; /* a file's, or NULL; on rank 0 */
    char *notes;   /* this rank's damaged captures: "NUMBER TEXT\n" each */
} encode_totals;

status encode_totals_new(encode_totals *t, const encode_plan *p, const labels *l);
void encode_totals_clear(encode_totals *t, size_t nfiles);
status encode_totals_add_pass(encode_totals *t, uint32_t file, const encode_mark *m);
void encode_totals_add_part(encode_totals *t, size_t part, const encode_mark *m);
/* Collective: all ranks get the sums, rank 0 the damage. */
status encode_totals_sum(encode_totals *t, const encode_plan *p, const dataset_tables *tables, comm *c);
/* Is there anything in it, and has every label a flow? */
status encode_totals_check(const encode_totals *t, const dataset_tables *tables, const char *labels_path);
/* A warning that names rows of the labels file about these captures that labelled no flow, if there are any. */
status encode_totals_warn(const encode_totals *t, const labels *l, const char *labels_path);

/* The result on stdout. */
void encode_report(const char *path, const dataset_tables *t, const encode_totals *totals);
void encode_report_plan(const encode_plan *p, const dataset_tables *t, const char *path);
void encode_print_labels(const dataset_tables *t, const uint64_t *flows, const uint64_t *packets);
void encode_print_skips(const uint64_t skipped[SKIP_COUNT]);

#endif
