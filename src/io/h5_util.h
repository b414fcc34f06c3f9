/* HDF5 at the edge: its errors as statuses with its own text, string tables, attributes. Serial driver only. */
#ifndef ND_IO_H5_UTIL_H
#define ND_IO_H5_UTIL_H

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/status.h"

/* Evaluate an HDF5 call whose negative result is a failure; `path` is the file it works on. */
#define TRY_H5(st, path, expression)                                                                                   \
    do {                                                                                                               \
        if ((expression) < 0)                                                                                          \
            return h5_fail((st), (path), __FILE__, __LINE__);                                                          \
    } while (0)
#define TRY_H5_TO(label, code, path, expression)                                                                       \
    do {                                                                                                               \
        if ((expression) < 0) {                                                                                        \
            st = h5_fail((code), (path), __FILE__, __LINE__);                                                          \
            goto label;                                                                                                \
        }                                                                                                              \
    } while (0)

/* Records what HDF5's error stack says (outermost and innermost) and returns st. */
status h5_fail(status st, const char *path, const char *file, int line);
/* HDF5's own printing of errors off. Call before any other call of a file. */
void h5_quiet(void);

/* What the driver of a file that is written tells and is told (h5_driver.c). */
typedef struct h5_writes {
    int error;   /* errno of the first write that failed, be it when the file is closed: HDF5 itself reports none */
    bool hollow; /* do not write raw data; `at` becomes the place where the latest belongs */
    haddr_t at;
} h5_writes;

/* A new file without anything that differs between two runs (no times); ST_IO. *writes must outlive the file. */
status h5_create(const char *path, h5_writes *writes, hid_t *file);
status h5_set_driver(const char *path, hid_t access_properties, h5_writes *writes);
/* Read-only. ST_IO if it cannot be opened, ST_FORMAT if it is no HDF5 file. */
status h5_open(const char *path, hid_t *file);
/* What H5Fclose does. HDF5 1.10 calls a driver to close its file after letting go of the driver, which is freed memory
 * where the file was the last to use it: a property list holds it until the file is closed. */
herr_t h5_close(hid_t file);
status h5_create_group(const char *path, hid_t file, const char *name);
/* Creation properties of a dataset: no times, no fill values. Caller closes. */
status h5_dataset_properties(const char *path, hid_t *properties);

/* A one-dimensional dataset of n elements of the type, which they have in memory too. */
status h5_write_column(const char *path, hid_t file, const char *name, hid_t type, size_t n, const void *elements);
/* One-dimensional table of n texts as NUL-padded UTF-8 of one length; NULL entries are written as "". */
status h5_write_texts(const char *path, hid_t file, const char *name, size_t n, char *const *texts);
/* Does h5_read_texts take a table of these? */
bool h5_texts_fit(size_t n, char *const *texts);
/* n texts (malloc each, and the array; free with h5_free_texts). At most `limit` of them. */
status h5_read_texts(const char *path, hid_t file, const char *name, size_t limit, size_t *n, char ***texts);
void h5_free_texts(size_t n, char ***texts);

status h5_write_text_attribute(const char *path, hid_t object, const char *name, const char *text);
status h5_read_text_attribute(const char *path, hid_t object, const char *name, char *text, size_t nbytes);
status h5_write_u64_attribute(const char *path, hid_t object, const char *name, uint64_t value);
status h5_read_u64_attribute(const char *path, hid_t object, const char *name, uint64_t *value);

/* Open a dataset of exactly this type and these dimensions (rank 1, or rank 2 with `width` columns); *n = its length. A
 * file that claims far more than its stored bytes could hold is ST_FORMAT. Caller closes *id. */
status h5_open_column(const char *path, hid_t file, const char *name, hid_t type, size_t width, hid_t *id, uint64_t *n);

#endif
