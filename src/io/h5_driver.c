/* The HDF5 file driver that datasets are written through: POSIX calls, and failures that HDF5 does not see.
 *
 * HDF5 cannot let go of a file whose metadata it could not write: closing fails, and the library crashes when the
 * program ends. So a failed write is noted for the caller, who gives the file up, and HDF5 goes on as if it had been
 * written. And the bytes of a chunk may be left to another process, which is told where they belong. Reference: "HDF5
 * Virtual File Layer", and H5FDsec2.c for what a driver must answer. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "io/h5_util.h"
#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

typedef struct driver_info {
    h5_writes *writes; /* the caller's */
} driver_info;

typedef struct driver_file {
    H5FD_t base; /* first: HDF5 fills it */
    int fd;
    haddr_t eoa, eof; /* end of what is allocated, of what was written */
    h5_writes *writes;
} driver_file;

static void note(driver_file *f) {
    if (f->writes->error == 0)
        f->writes->error = errno;
}

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t fapl, haddr_t maxaddr) {
    const driver_info *info = H5Pget_driver_info(fapl);
    if (info == NULL || (flags & H5F_ACC_CREAT) == 0)
        return NULL;
    driver_file *f = calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    f->writes = info->writes;
    f->fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (f->fd < 0) {
        note(f);
        free(f);
        return NULL;
    }
    return &f->base;
}

static herr_t driver_close(H5FD_t *file) {
    driver_file *f = (driver_file *)file;
    if (close(f->fd) != 0) /* where network file systems report what did not fit */
        note(f);
    free(f);
    return 0;
}

static herr_t driver_query(const H5FD_t *file, unsigned long *flags) {
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA;
    return 0;
}

static haddr_t driver_get_eoa(const H5FD_t *file, H5FD_mem_t type) {
    return ((const driver_file *)file)->eoa;
}

static herr_t driver_set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t eoa) {
    ((driver_file *)file)->eoa = eoa;
    return 0;
}

static haddr_t driver_get_eof(const H5FD_t *file, H5FD_mem_t type) {
    return ((const driver_file *)file)->eof;
}

/* What lies behind the end of the file reads as zeros. */
static herr_t driver_read(H5FD_t *file, H5FD_mem_t type, hid_t dxpl, haddr_t at, size_t n, void *buffer) {
    driver_file *f = (driver_file *)file;
    uint8_t *to = buffer;
    while (n > 0) {
        ssize_t got = pread(f->fd, to, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0) {
            memset(to, 0, n);
            break;
        }
        to += got;
        at += (haddr_t)got;
        n -= (size_t)got;
    }
    return 0;
}

static herr_t driver_write(H5FD_t *file, H5FD_mem_t type, hid_t dxpl, haddr_t at, size_t n, const void *buffer) {
    driver_file *f = (driver_file *)file;
    const uint8_t *from = buffer;
    if (f->eof < at + n)
        f->eof = at + n;
    if (f->writes->hollow && type == H5FD_MEM_DRAW) {
        f->writes->at = at;
        return 0;
    }
    while (n > 0) {
        ssize_t put = pwrite(f->fd, from, n, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            note(f);
            return 0;
        }
        from += put;
        at += (haddr_t)put;
        n -= (size_t)put;
    }
    return 0;
}

static herr_t driver_truncate(H5FD_t *file, hid_t dxpl, hbool_t closing) {
    driver_file *f = (driver_file *)file;
    if (f->eoa != f->eof) {
        if (ftruncate(f->fd, (off_t)f->eoa) != 0)
            note(f);
        f->eof = f->eoa;
    }
    return 0;
}

static const H5FD_class_t driver = {
#if H5_VERSION_GE(1, 13, 0)
    .version = H5FD_CLASS_VERSION,
    .value = (H5FD_class_value_t)600, /* of the range that is free for drivers outside the library */
#endif
    .name = "nd",
    .maxaddr = ((haddr_t)1 << 62) - 1,
    .fc_degree = H5F_CLOSE_WEAK,
    .fapl_size = sizeof(driver_info),
    .open = driver_open,
    .close = driver_close,
    .query = driver_query,
    .get_eoa = driver_get_eoa,
    .set_eoa = driver_set_eoa,
    .get_eof = driver_get_eof,
    .read = driver_read,
    .write = driver_write,
    .truncate = driver_truncate,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

status h5_set_driver(const char *path, hid_t fapl, h5_writes *writes) {
    driver_info info = {.writes = writes};
    hid_t id = H5FDregister(&driver);
    TRY_H5(ST_LIBRARY, path, id);
    herr_t set = H5Pset_driver(fapl, id, &info);
    H5FDunregister(id); /* the property list keeps it */
    TRY_H5(ST_LIBRARY, path, set);
    return ST_OK;
}
