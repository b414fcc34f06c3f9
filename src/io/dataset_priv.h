/* Columns of the dataset, what writing and reading share, and datasets that several writers make. */
#ifndef ND_IO_DATASET_PRIV_H
#define ND_IO_DATASET_PRIV_H

#include "io/chunk_queue.h"
#include "io/dataset.h"
#include "io/h5_util.h"
#include "io/io_priv.h"

/* A packet in memory: followed by nheader bytes. */
typedef struct __attribute__((packed)) packet_record {
    int64_t time_ns;
    uint32_t wire_len, frame;
    uint8_t dir, nheader;
} packet_record;

enum { PACKET_RECORD_MAX = sizeof(packet_record) + PACKET_HEADER_MAX };

#define DATASET_SCHEMA "nd-dataset"

enum { LABELS_MAX = 1 << 20, FILES_MAX = 1 << 24 }; /* entries of tables */
enum { PACKETS_PER_CHUNK = 65536, FLOWS_PER_CHUNK = 16384, HEADER_CHUNK = 1 << 20 };

typedef enum column_id {
    COLUMN_TIME,
    COLUMN_WIRE_LEN,
    COLUMN_FRAME,
    COLUMN_DIR,
    COLUMN_NHEADER,
    COLUMN_HEADER,
    COLUMN_NPACKETS,
    COLUMN_LABEL,
    COLUMN_FILE,
    COLUMN_RUN,
    COLUMN_IP_VERSION,
    COLUMN_PROTO,
    COLUMN_ADDR,
    COLUMN_PORT,
    COLUMN_COUNT,
    COLUMN_FIRST_FLOW = COLUMN_NPACKETS
} column_id;

typedef struct column_spec {
    const char *name;
    size_t size;  /* bytes of a number */
    size_t width; /* numbers an element */
    size_t chunk; /* elements a chunk */
} column_spec;

extern const column_spec dataset_columns[COLUMN_COUNT];
/* Addresses of version 1, which has no column of IP versions. */
extern const column_spec dataset_addr_version_1;
hid_t dataset_column_type(column_id c);

/* ST_RANGE where a table is larger than readers take. */
status dataset_tables_check(const dataset_tables *t, const char *path);

typedef struct column {
    hid_t set;
    uint64_t n;        /* elements in the file */
    uint8_t *block;    /* one chunk: being filled, or the one last read */
    uint64_t start;    /* reading: first element of block */
    size_t nblock;     /* elements in block */
    uint64_t from, to; /* writing: chunks that start in from .. to - 1 are this writer's */
} column;

struct dataset {
    char *path;
    hid_t file;
    dataset_tables tables;
    column columns[COLUMN_COUNT];
    /* writing */
    bool writing;
    char *part;
    h5_writes writes;
    int compress;
    chunk_queue *queue;
    uint32_t *header_start; /* of the headers that begin in the block of COLUMN_HEADER */
    size_t nheader_starts, header_start_capacity;
    uint64_t packet_number; /* of the next packet, in the whole dataset */
    /* reading */
    uint64_t version;
    uint64_t *first_packet, *first_header; /* nflows + 1: of each flow */
    int32_t *label, *run;                  /* columns of the flows */
    uint32_t *file_index;
    uint16_t *port;
    uint8_t *ip_version, *proto;
    uint8_t *addr; /* 2 x 16 bytes a flow */
};

static inline size_t column_element(column_id c) {
    return dataset_columns[c].size * dataset_columns[c].width;
}

/* A dataset in stretches: each writer makes the chunks that start in its stretch and hands them to `take`; it needs the
 * flows from the stretch's beginning until dataset_stretch_done, which may lie beyond the stretch. from, to: flows,
 * packets, header bytes. Freed by dataset_abandon. */
status dataset_stretch_new(dataset **d, const char *path, int compress, int threads, const uint64_t from[3],
                           const uint64_t to[3], chunk_sink *take, void *data);
bool dataset_stretch_done(const dataset *d);
/* Are packets still wanted, or rows alone? Where not, dataset_pass_packets stands for them. */
bool dataset_stretch_wants_packets(const dataset *d);
void dataset_pass_packets(dataset *d, uint64_t npackets);
/* end: there are no more flows, so that the last chunks are complete. */
status dataset_stretch_finish(dataset *d, bool end);
/* Make room for the next chunk of a file whose bytes somebody else writes: at *address of dataset_file_name. Chunks
 * must come in the order of chunk_compare. dataset_commit then expects the bytes there. */
status dataset_place_chunk(dataset *d, const chunk_place *place, uint32_t mask, size_t nbytes, uint64_t *address);
const char *dataset_file_name(const dataset *d);
/* The order in which one writer of the whole dataset completes its chunks. */
int chunk_compare(const chunk_place *a, const chunk_place *b);

/* Add a flow's row, or packets (packet_record) of the flow whose row comes next. */
status dataset_append_records(dataset *d, const uint8_t *records, size_t nbytes);
status dataset_append_row(dataset *d, const flow *f, uint64_t npackets);

#endif
