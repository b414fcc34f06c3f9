/* Columns of the dataset and what writing, reading and merging share. */
#ifndef ND_IO_DATASET_PRIV_H
#define ND_IO_DATASET_PRIV_H

#include "io/chunk_queue.h"
#include "io/dataset.h"
#include "io/h5_util.h"
#include "io/io_priv.h"

#define DATASET_SCHEMA "nd-dataset"

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

typedef struct column {
    hid_t set;
    uint64_t n;     /* elements in the file */
    uint8_t *block; /* one chunk: being filled, or the one last read */
    uint64_t start; /* reading: first element of block */
    size_t nblock;  /* elements in block */
} column;

struct dataset {
    char *path;
    hid_t file;
    dataset_tables tables;
    column columns[COLUMN_COUNT];
    /* writing */
    bool writing;
    char *part;
    int write_error; /* errno of the first write that failed, 0 if none did */
    int compress;
    chunk_queue *queue;
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

/* Add a flow's row, or packets of the flow whose row comes next. */
status dataset_append_packets(dataset *d, const packet *p, size_t n);
status dataset_append_row(dataset *d, const flow *f, uint64_t npackets);

/* Packets first .. first + n - 1 of flow i, whose header bytes start at header_at; *header_at is moved on. */
status dataset_read_packets(dataset *d, size_t i, uint64_t first, size_t n, uint64_t *header_at, packet *out);

#endif
