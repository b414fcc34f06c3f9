/* HDF5 at the edge: errors, string tables, attributes. See h5_util.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/h5_util.h"
#include "io/io_priv.h"

enum { TEXT_MAX = 64 << 20 }; /* bytes of a string table */

typedef struct stack_texts {
    char outer[200], inner[200];
} stack_texts;

/* H5E_WALK_UPWARD starts at the innermost function. */
static herr_t note_error(unsigned n, const H5E_error2_t *e, void *data) {
    stack_texts *t = data;
    const char *text = e->desc != NULL ? e->desc : "";
    if (n == 0)
        strncpy(t->inner, text, sizeof t->inner - 1);
    strncpy(t->outer, text, sizeof t->outer - 1);
    return 0;
}

status h5_fail(status st, const char *path, const char *file, int line) {
    stack_texts t = {.outer = ""};
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, note_error, &t);
    H5Eclear2(H5E_DEFAULT);
    if (strcmp(t.outer, t.inner) == 0)
        return status_fail(st, file, line, "%s: HDF5: %s", path, t.outer[0] != '\0' ? t.outer : "unknown error");
    return status_fail(st, file, line, "%s: HDF5: %s: %s", path, t.outer, t.inner);
}

void h5_quiet(void) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

/* Serial driver, no lock: files are written under a private name, and some cluster file systems refuse locks. */
static status access_properties(const char *path, hid_t *fapl) {
    TRY_H5(ST_LIBRARY, path, *fapl = H5Pcreate(H5P_FILE_ACCESS));
    if (H5Pset_fapl_sec2(*fapl) < 0 || H5Pset_libver_bounds(*fapl, H5F_LIBVER_V18, H5F_LIBVER_V18) < 0 ||
        H5Pset_file_locking(*fapl, 0, 1) < 0) {
        H5Pclose(*fapl);
        return h5_fail(ST_LIBRARY, path, __FILE__, __LINE__);
    }
    return ST_OK;
}

status h5_create(const char *path, h5_writes *writes, hid_t *file) {
    status st = ST_OK;
    hid_t fapl = H5I_INVALID_HID, fcpl = H5I_INVALID_HID;
    *writes = (h5_writes){.error = 0};
    TRY(access_properties(path, &fapl));
    TRY_TO(out, h5_set_driver(path, fapl, writes));
    TRY_H5_TO(out, ST_LIBRARY, path, fcpl = H5Pcreate(H5P_FILE_CREATE));
    TRY_H5_TO(out, ST_LIBRARY, path, H5Pset_obj_track_times(fcpl, 0));
    *file = H5Fcreate(path, H5F_ACC_TRUNC, fcpl, fapl);
    if (*file < 0 && writes->error != 0) {
        H5Eclear2(H5E_DEFAULT);
        st = FAIL(ST_IO, "%s: cannot create: %s", path, strerror(writes->error));
    } else if (*file < 0) {
        st = h5_fail(ST_IO, path, __FILE__, __LINE__);
    }
out:
    if (fcpl >= 0)
        H5Pclose(fcpl);
    H5Pclose(fapl);
    return st;
}

status h5_open(const char *path, hid_t *file) {
    hid_t fapl;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return FAIL(ST_IO, "%s: %s", path, strerror(errno));
    close(fd);
    htri_t is = H5Fis_hdf5(path);
    H5Eclear2(H5E_DEFAULT);
    if (is <= 0)
        return FAIL(ST_FORMAT, "%s: not an HDF5 file", path);
    TRY(access_properties(path, &fapl));
    *file = H5Fopen(path, H5F_ACC_RDONLY, fapl);
    status st = *file < 0 ? h5_fail(ST_FORMAT, path, __FILE__, __LINE__) : ST_OK; /* H5Pclose clears the error stack */
    H5Pclose(fapl);
    return st;
}

herr_t h5_close(hid_t file) {
    hid_t fapl = H5Fget_access_plist(file);
    herr_t closed = H5Fclose(file);
    if (fapl >= 0)
        H5Pclose(fapl);
    return closed;
}

status h5_create_group(const char *path, hid_t file, const char *name) {
    hid_t gcpl, group = H5I_INVALID_HID;
    TRY_H5(ST_LIBRARY, path, gcpl = H5Pcreate(H5P_GROUP_CREATE));
    if (H5Pset_obj_track_times(gcpl, 0) >= 0)
        group = H5Gcreate2(file, name, H5P_DEFAULT, gcpl, H5P_DEFAULT);
    status st = group < 0 ? h5_fail(ST_IO, path, __FILE__, __LINE__) : ST_OK;
    if (group >= 0)
        H5Gclose(group);
    H5Pclose(gcpl);
    return st;
}

status h5_dataset_properties(const char *path, hid_t *properties) {
    TRY_H5(ST_LIBRARY, path, *properties = H5Pcreate(H5P_DATASET_CREATE));
    if (H5Pset_obj_track_times(*properties, 0) < 0 || H5Pset_fill_time(*properties, H5D_FILL_TIME_NEVER) < 0) {
        H5Pclose(*properties);
        return h5_fail(ST_LIBRARY, path, __FILE__, __LINE__);
    }
    return ST_OK;
}

static status text_type(const char *path, size_t nbytes, hid_t *type) {
    TRY_H5(ST_LIBRARY, path, *type = H5Tcopy(H5T_C_S1));
    if (H5Tset_size(*type, nbytes) < 0 || H5Tset_cset(*type, H5T_CSET_UTF8) < 0 ||
        H5Tset_strpad(*type, H5T_STR_NULLPAD) < 0) {
        H5Tclose(*type);
        return h5_fail(ST_LIBRARY, path, __FILE__, __LINE__);
    }
    return ST_OK;
}

status h5_write_column(const char *path, hid_t file, const char *name, hid_t type, size_t n, const void *elements) {
    status st = ST_OK;
    hsize_t dims = n;
    hid_t properties, space = H5I_INVALID_HID, set = H5I_INVALID_HID;
    TRY(h5_dataset_properties(path, &properties));
    TRY_H5_TO(out, ST_LIBRARY, path, space = H5Screate_simple(1, &dims, NULL));
    TRY_H5_TO(out, ST_IO, path, set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT));
    if (n > 0)
        TRY_H5_TO(out, ST_IO, path, H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, elements));
out:
    if (set >= 0)
        H5Dclose(set);
    if (space >= 0)
        H5Sclose(space);
    H5Pclose(properties);
    return st;
}

static size_t width_of(size_t n, char *const *texts) {
    size_t width = 1;
    for (size_t i = 0; i < n && texts != NULL; i++)
        if (texts[i] != NULL && strlen(texts[i]) > width)
            width = strlen(texts[i]);
    return width;
}

bool h5_texts_fit(size_t n, char *const *texts) {
    return n <= TEXT_MAX / width_of(n, texts);
}

status h5_write_texts(const char *path, hid_t file, const char *name, size_t n, char *const *texts) {
    status st = ST_OK;
    size_t width = width_of(n, texts);
    char *block = NULL;
    hid_t type = H5I_INVALID_HID;
    TRY_TO(out, memory_new(n, width, &block));
    for (size_t i = 0; i < n && texts != NULL; i++)
        if (texts[i] != NULL)
            memcpy(block + i * width, texts[i], strlen(texts[i]));
    TRY_TO(out, text_type(path, width, &type));
    st = h5_write_column(path, file, name, type, n, block);
out:
    if (type >= 0)
        H5Tclose(type);
    memory_free(&block);
    return st;
}

/* Number and width of the texts of an open table; both within what memory is spent on. */
static status texts_shape(const char *path, const char *name, hid_t set, size_t limit, size_t *n, size_t *width) {
    status st = ST_OK;
    hid_t type = H5I_INVALID_HID, space = H5I_INVALID_HID;
    hsize_t dims = 0;
    TRY_H5_TO(out, ST_FORMAT, path, type = H5Dget_type(set));
    TRY_H5_TO(out, ST_FORMAT, path, space = H5Dget_space(set));
    if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 || H5Sget_simple_extent_ndims(space) != 1 ||
        H5Sget_simple_extent_dims(space, &dims, NULL) < 0) {
        st = FAIL(ST_FORMAT, "%s: /%s is no table of fixed-length texts", path, name);
        goto out;
    }
    *n = (size_t)dims;
    *width = H5Tget_size(type);
    if (dims > limit || *width == 0 || *width > TEXT_MAX || dims > TEXT_MAX / *width ||
        H5Dget_storage_size(set) < dims * *width)
        st = FAIL(ST_FORMAT, "%s: /%s claims %llu texts of %zu bytes", path, name, (unsigned long long)dims, *width);
out:
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    return st;
}

static status texts_split(const char *path, const char *block, size_t n, size_t width, char ***texts) {
    *texts = calloc(n + 1, sizeof **texts);
    if (*texts == NULL)
        return FAIL(ST_MEMORY, "%s: no memory for %zu texts", path, n);
    for (size_t i = 0; i < n; i++) {
        (*texts)[i] = strndup(block + i * width, width);
        if ((*texts)[i] == NULL)
            return FAIL(ST_MEMORY, "%s: no memory for %zu texts", path, n);
    }
    return ST_OK;
}

status h5_read_texts(const char *path, hid_t file, const char *name, size_t limit, size_t *n, char ***texts) {
    status st = ST_OK;
    size_t width = 0;
    char *block = NULL;
    hid_t set, type = H5I_INVALID_HID;
    *texts = NULL;
    *n = 0;
    TRY_H5(ST_FORMAT, path, set = H5Dopen2(file, name, H5P_DEFAULT));
    TRY_TO(out, texts_shape(path, name, set, limit, n, &width));
    TRY_TO(out, memory_new(*n, width, &block));
    TRY_TO(out, text_type(path, width, &type));
    if (*n > 0)
        TRY_H5_TO(out, ST_FORMAT, path, H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, block));
    st = texts_split(path, block, *n, width, texts);
out:
    if (st != ST_OK) {
        if (*texts != NULL)
            h5_free_texts(*n, texts);
        *n = 0;
    }
    if (type >= 0)
        H5Tclose(type);
    H5Dclose(set);
    memory_free(&block);
    return st;
}

void h5_free_texts(size_t n, char ***texts) {
    for (size_t i = 0; i < n && *texts != NULL; i++)
        free((*texts)[i]);
    free(*texts);
    *texts = NULL;
}

static status write_attribute(const char *path, hid_t object, const char *name, hid_t type, const void *value) {
    status st = ST_OK;
    hid_t space = H5I_INVALID_HID, attribute = H5I_INVALID_HID;
    TRY_H5_TO(out, ST_LIBRARY, path, space = H5Screate(H5S_SCALAR));
    TRY_H5_TO(out, ST_IO, path, attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT));
    TRY_H5_TO(out, ST_IO, path, H5Awrite(attribute, type, value));
out:
    if (attribute >= 0)
        H5Aclose(attribute);
    if (space >= 0)
        H5Sclose(space);
    return st;
}

/* The attribute must be a scalar of this class and at most `nbytes`. */
static status read_attribute(const char *path, hid_t object, const char *name, H5T_class_t class, hid_t memory_type,
                             size_t nbytes, void *value) {
    status st = ST_OK;
    hid_t space = H5I_INVALID_HID, type = H5I_INVALID_HID, attribute = H5I_INVALID_HID;
    if (H5Aexists(object, name) <= 0) {
        H5Eclear2(H5E_DEFAULT);
        return FAIL(ST_FORMAT, "%s: attribute '%s' is missing", path, name);
    }
    TRY_H5(ST_FORMAT, path, attribute = H5Aopen(object, name, H5P_DEFAULT));
    TRY_H5_TO(out, ST_FORMAT, path, type = H5Aget_type(attribute));
    TRY_H5_TO(out, ST_FORMAT, path, space = H5Aget_space(attribute));
    if (H5Tget_class(type) != class || (class == H5T_STRING && H5Tis_variable_str(type) != 0) ||
        H5Tget_size(type) > nbytes || H5Sget_simple_extent_npoints(space) != 1)
        st = FAIL(ST_FORMAT, "%s: attribute '%s' is of an unexpected type", path, name);
    else
        TRY_H5_TO(out, ST_FORMAT, path, H5Aread(attribute, memory_type, value));
out:
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    H5Aclose(attribute);
    return st;
}

status h5_write_text_attribute(const char *path, hid_t object, const char *name, const char *text) {
    hid_t type;
    TRY(text_type(path, strlen(text) > 0 ? strlen(text) : 1, &type));
    status st = write_attribute(path, object, name, type, text);
    H5Tclose(type);
    return st;
}

status h5_read_text_attribute(const char *path, hid_t object, const char *name, char *text, size_t nbytes) {
    hid_t type;
    TRY(text_type(path, nbytes - 1, &type));
    memset(text, 0, nbytes);
    status st = read_attribute(path, object, name, H5T_STRING, type, nbytes - 1, text);
    H5Tclose(type);
    return st;
}

status h5_write_u64_attribute(const char *path, hid_t object, const char *name, uint64_t value) {
    return write_attribute(path, object, name, H5T_STD_U64LE, &value);
}

status h5_read_u64_attribute(const char *path, hid_t object, const char *name, uint64_t *value) {
    return read_attribute(path, object, name, H5T_INTEGER, H5T_STD_U64LE, sizeof *value, value);
}

/* deflate cannot shrink better than 1032 to 1, so a column that claims more than that of its stored bytes has chunks
 * that were never written, which HDF5 would hand out as zeros. */
static bool claims_too_much(hid_t id, uint64_t nbytes) {
    hsize_t stored = H5Dget_storage_size(id);
    return nbytes > 0 && (stored == 0 || nbytes / 1040 > stored);
}

status h5_open_column(const char *path, hid_t file, const char *name, hid_t type, size_t width, hid_t *id,
                      uint64_t *n) {
    status st = ST_OK;
    hid_t have = H5I_INVALID_HID, space = H5I_INVALID_HID, access;
    hsize_t dims[2] = {0, 1};
    int rank = width > 1 ? 2 : 1;
    TRY_H5(ST_LIBRARY, path, access = H5Pcreate(H5P_DATASET_ACCESS));
    *id = H5I_INVALID_HID;
    TRY_H5_TO(out, ST_LIBRARY, path, H5Pset_chunk_cache(access, 1, 0, 1)); /* the caller keeps its own windows */
    TRY_H5_TO(out, ST_FORMAT, path, *id = H5Dopen2(file, name, access));
    TRY_H5_TO(out, ST_FORMAT, path, have = H5Dget_type(*id));
    TRY_H5_TO(out, ST_FORMAT, path, space = H5Dget_space(*id));
    if (H5Tequal(have, type) <= 0 || H5Sget_simple_extent_ndims(space) != rank ||
        H5Sget_simple_extent_dims(space, dims, NULL) < 0 || dims[1] != width) {
        st = FAIL(ST_FORMAT, "%s: /%s has not the type and shape of its column", path, name);
        goto out;
    }
    *n = dims[0];
    if (dims[0] > (uint64_t)1 << 48 || claims_too_much(*id, dims[0] * width * H5Tget_size(type)))
        st = FAIL(ST_FORMAT, "%s: /%s claims %llu elements, more than is stored", path, name,
                  (unsigned long long)dims[0]);
out:
    if (st != ST_OK && *id >= 0)
        H5Dclose(*id);
    if (space >= 0)
        H5Sclose(space);
    if (have >= 0)
        H5Tclose(have);
    H5Pclose(access);
    return st;
}
