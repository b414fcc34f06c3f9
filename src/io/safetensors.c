/* safetensors files: 8-byte little-endian header length, JSON header, tensor bytes.
 *
 * A header entry is "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, offsets counted from the
 * end of the header; "__metadata__" maps strings to strings. As in the reference reader, tensors must cover the data
 * without holes or overlap, so that a cut or lengthened file never loads.
 * Reference: https://github.com/huggingface/safetensors, README section "Format". */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/io_priv.h"
#include "io/safetensors.h"

enum { HEADER_MAX = 100000000, DIM_MAX = 8, PREFIX = 8 };

typedef enum dtype { DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_OTHER } dtype;

typedef struct entry { /* one tensor of the header */
    const char *name;  /* the JSON object's */
    dtype type;
    int ndim;
    size_t dim[DIM_MAX];
    size_t count;        /* elements */
    uint64_t begin, end; /* within the data */
} entry;

struct safetensors {
    json_t *header;
    size_t n;
    safetensor *tensor; /* in the order of their bytes */
    const safetensor **by_name;
};

/* Elements of a tensor to be written; no overflow, since the caller holds that many floats. */
static size_t count_of(const safetensor *t) {
    size_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->dim[i];
    return n;
}

static json_t *tensor_json(const safetensor *t, uint64_t begin) {
    json_t *shape = json_array();
    for (int i = 0; i < t->ndim; i++)
        json_array_append_new(shape, json_integer((json_int_t)t->dim[i]));
    uint64_t end = begin + count_of(t) * sizeof(float);
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape, "data_offsets", (json_int_t)begin,
                     (json_int_t)end);
}

/* The header text, padded with spaces so that the data are 8-byte aligned. */
static status header_text(const char *path, const safetensor *tensors, size_t n, const text_map *metadata, char **text,
                          size_t *nbytes) {
    json_t *root = json_object();
    status st = ST_OK;
    if (metadata != NULL && metadata->n > 0) {
        json_t *map = json_object();
        for (size_t i = 0; i < metadata->n; i++)
            if (json_object_set_new(map, metadata->key[i], json_string(metadata->value[i])) != 0)
                st = FAIL(ST_FORMAT, "%s: metadata '%s' is not UTF-8 text", path, metadata->key[i]);
        json_object_set_new(root, "__metadata__", map);
    }
    uint64_t begin = 0;
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        const safetensor *t = &tensors[i];
        if (t->ndim < 0 || t->ndim > DIM_MAX)
            st = FAIL(ST_RANGE, "%s: tensor '%s' has %d dimensions", path, t->name, t->ndim);
        else if (json_object_get(root, t->name) != NULL)
            st = FAIL(ST_FORMAT, "%s: tensor '%s' is there twice", path, t->name);
        else if (json_object_set_new(root, t->name, tensor_json(t, begin)) != 0)
            st = FAIL(ST_FORMAT, "%s: the name of tensor %zu is not UTF-8 text", path, i);
        else
            begin += count_of(t) * sizeof(float);
    }
    char *json = st == ST_OK ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    TRY(st);
    if (json == NULL)
        return FAIL(ST_MEMORY, "%s: no memory for the header", path);
    size_t length = strlen(json), padded = (length + 7) / 8 * 8;
    *text = malloc(padded + 1);
    if (*text == NULL) {
        free(json);
        return FAIL(ST_MEMORY, "%s: no memory for the header", path);
    }
    memcpy(*text, json, length);
    memset(*text + length, ' ', padded - length);
    *nbytes = padded;
    free(json);
    return ST_OK;
}

static status write_bytes(file_writer *w, const void *bytes, size_t nbytes) {
    if (nbytes > 0 && fwrite(bytes, 1, nbytes, w->stream) != nbytes)
        return FAIL(ST_IO, "%s: writing failed: %s", w->path, strerror(errno));
    return ST_OK;
}

status safetensors_write(const char *path, const safetensor *tensors, size_t n, const text_map *metadata) {
    char *header = NULL;
    size_t nheader = 0;
    TRY(header_text(path, tensors, n, metadata, &header, &nheader));
    file_writer w;
    status st = file_begin(&w, path);
    if (st != ST_OK) {
        free(header);
        return st;
    }
    uint64_t length = nheader;
    TRY_TO(out, write_bytes(&w, &length, sizeof length));
    TRY_TO(out, write_bytes(&w, header, nheader));
    for (size_t i = 0; i < n; i++)
        TRY_TO(out, write_bytes(&w, tensors[i].data, count_of(&tensors[i]) * sizeof(float)));
out:
    free(header);
    if (st != ST_OK) {
        file_abandon(&w);
        return st;
    }
    return file_commit(&w);
}

/* Read exactly nbytes at `offset`; a shorter file is ST_FORMAT (it shrank since its size was taken). */
static status read_at(const char *path, int fd, uint64_t offset, void *bytes, size_t nbytes) {
    uint8_t *to = bytes;
    while (nbytes > 0) {
        ssize_t got = pread(fd, to, nbytes < (1u << 30) ? nbytes : 1u << 30, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return FAIL(ST_IO, "%s: reading at byte %llu failed: %s", path, (unsigned long long)offset,
                        strerror(errno));
        if (got == 0)
            return FAIL(ST_FORMAT, "%s: the file ends at byte %llu", path, (unsigned long long)offset);
        to += got;
        offset += (uint64_t)got;
        nbytes -= (size_t)got;
    }
    return ST_OK;
}

static status parse_dtype(const char *path, const char *name, const char *text, dtype *type, size_t *size) {
    static const struct {
        const char *name;
        dtype type;
        size_t size;
    } known[] = {{"F32", DTYPE_F32, 4},    {"F16", DTYPE_F16, 2},       {"BF16", DTYPE_BF16, 2},
                 {"F64", DTYPE_OTHER, 8},  {"I64", DTYPE_OTHER, 8},     {"I32", DTYPE_OTHER, 4},
                 {"I16", DTYPE_OTHER, 2},  {"I8", DTYPE_OTHER, 1},      {"U64", DTYPE_OTHER, 8},
                 {"U32", DTYPE_OTHER, 4},  {"U16", DTYPE_OTHER, 2},     {"U8", DTYPE_OTHER, 1},
                 {"BOOL", DTYPE_OTHER, 1}, {"F8_E4M3", DTYPE_OTHER, 1}, {"F8_E5M2", DTYPE_OTHER, 1}};
    for (size_t i = 0; text != NULL && i < sizeof known / sizeof known[0]; i++)
        if (strcmp(text, known[i].name) == 0) {
            *type = known[i].type;
            *size = known[i].size;
            return ST_OK;
        }
    return FAIL(ST_FORMAT, "%s: tensor '%s': unknown dtype '%s'", path, name, text != NULL ? text : "(none)");
}

/* A count or offset of the header: an integer that is not negative. */
static bool parse_count(const json_t *j, uint64_t *out) {
    if (!json_is_integer(j) || json_integer_value(j) < 0)
        return false;
    *out = (uint64_t)json_integer_value(j);
    return true;
}

static status parse_entry(const char *path, const char *name, json_t *j, uint64_t ndata, entry *e) {
    size_t size = 0;
    json_t *shape = json_object_get(j, "shape"), *offsets = json_object_get(j, "data_offsets");
    *e = (entry){.name = name};
    if (!json_is_object(j) || !json_is_array(shape) || !json_is_array(offsets) || json_array_size(offsets) != 2)
        return FAIL(ST_FORMAT, "%s: tensor '%s': no shape or data_offsets", path, name);
    TRY(parse_dtype(path, name, json_string_value(json_object_get(j, "dtype")), &e->type, &size));
    if (json_array_size(shape) > DIM_MAX)
        return FAIL(ST_RANGE, "%s: tensor '%s' has %zu dimensions, more than %d", path, name, json_array_size(shape),
                    DIM_MAX);
    e->ndim = (int)json_array_size(shape);
    e->count = 1;
    size_t nbytes = size;
    for (int i = 0; i < e->ndim; i++) {
        uint64_t d;
        if (!parse_count(json_array_get(shape, (size_t)i), &d) || __builtin_mul_overflow(e->count, d, &e->count))
            return FAIL(ST_FORMAT, "%s: tensor '%s': impossible shape", path, name);
        e->dim[i] = (size_t)d;
    }
    if (__builtin_mul_overflow(e->count, size, &nbytes))
        return FAIL(ST_FORMAT, "%s: tensor '%s': impossible shape", path, name);
    if (!parse_count(json_array_get(offsets, 0), &e->begin) || !parse_count(json_array_get(offsets, 1), &e->end) ||
        e->begin > e->end || e->end > ndata)
        return FAIL(ST_FORMAT, "%s: tensor '%s': offsets outside the %llu bytes of data", path, name,
                    (unsigned long long)ndata);
    if (e->end - e->begin != nbytes)
        return FAIL(ST_FORMAT, "%s: tensor '%s': %llu bytes of data where its shape needs %zu", path, name,
                    (unsigned long long)(e->end - e->begin), nbytes);
    return ST_OK;
}

static int compare_begin(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end; /* an empty tensor before the one that starts where it lies */
}

static int compare_name(const void *a, const void *b) {
    const safetensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int compare_key(const void *key, const void *element) {
    const safetensor *const *t = element;
    return strcmp(key, (*t)->name);
}

static status parse_entries(const char *path, json_t *header, uint64_t ndata, entry *entries, size_t *n) {
    const char *name;
    json_t *value;
    json_object_foreach(header, name, value) {
        if (strcmp(name, "__metadata__") != 0) {
            TRY(parse_entry(path, name, value, ndata, &entries[*n]));
            (*n)++;
            continue;
        }
        const char *key;
        json_t *text;
        if (!json_is_object(value))
            return FAIL(ST_FORMAT, "%s: __metadata__ is no map", path);
        json_object_foreach(value, key, text) {
            if (!json_is_string(text))
                return FAIL(ST_FORMAT, "%s: __metadata__ '%s' is no text", path, key);
        }
    }
    qsort(entries, *n, sizeof *entries, compare_begin);
    uint64_t end = 0;
    for (size_t i = 0; i < *n; i++) {
        if (entries[i].begin != end)
            return FAIL(ST_FORMAT, "%s: tensor '%s' begins at byte %llu of the data where %llu was expected", path,
                        entries[i].name, (unsigned long long)entries[i].begin, (unsigned long long)end);
        end = entries[i].end;
    }
    if (end != ndata)
        return FAIL(ST_FORMAT, "%s: %llu bytes of data behind the last tensor", path,
                    (unsigned long long)(ndata - end));
    return ST_OK;
}

static float float_of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* IEEE 754 half: 1 sign, 5 exponent (bias 15), 10 fraction. */
static float float_of_half(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 0x3ffu;
    if (exponent == 31)
        return float_of_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent != 0)
        return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float f = (float)fraction * 0x1p-24f; /* zero and subnormal */
    return sign != 0 ? -f : f;
}

static status read_data(const char *path, int fd, uint64_t offset, const entry *e, float *data) {
    if (e->type == DTYPE_F32)
        return read_at(path, fd, offset, data, e->count * sizeof(float));
    /* The 16-bit values go to the upper half of the floats' memory, and are widened from the front. */
    uint16_t *narrow = (uint16_t *)data + e->count;
    TRY(read_at(path, fd, offset, narrow, e->count * sizeof *narrow));
    for (size_t i = 0; i < e->count; i++) {
        uint16_t bits;
        memcpy(&bits, narrow + i, sizeof bits);
        float f = e->type == DTYPE_F16 ? float_of_half(bits) : float_of_bits((uint32_t)bits << 16);
        memcpy(data + i, &f, sizeof f);
    }
    return ST_OK;
}

static status read_header(const char *path, int fd, uint64_t nfile, json_t **header, uint64_t *ndata) {
    uint64_t length = 0;
    if (nfile < PREFIX)
        return FAIL(ST_FORMAT, "%s: %llu bytes are no safetensors file", path, (unsigned long long)nfile);
    TRY(read_at(path, fd, 0, &length, sizeof length));
    if (length > HEADER_MAX || length > nfile - PREFIX)
        return FAIL(ST_FORMAT, "%s: header of %llu bytes in a file of %llu", path, (unsigned long long)length,
                    (unsigned long long)nfile);
    char *text = malloc(length + 1);
    if (text == NULL)
        return FAIL(ST_MEMORY, "%s: no memory for a header of %llu bytes", path, (unsigned long long)length);
    status st = read_at(path, fd, PREFIX, text, length);
    json_error_t why = {.line = 0};
    if (st == ST_OK) {
        *header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &why);
        if (*header == NULL)
            st = FAIL(ST_FORMAT, "%s: header, byte %d: %s", path, PREFIX + why.position, why.text);
        else if (!json_is_object(*header))
            st = FAIL(ST_FORMAT, "%s: the header is no map", path);
    }
    free(text);
    *ndata = nfile - PREFIX - length;
    return st;
}

static status load_tensors(const char *path, int fd, uint64_t data_at, const entry *entries, size_t n, safetensors *s) {
    TRY(NEW(n, &s->tensor));
    TRY(NEW(n, &s->by_name));
    for (size_t i = 0; i < n; i++) {
        const entry *e = &entries[i];
        if (e->type == DTYPE_OTHER)
            continue;
        safetensor *t = &s->tensor[s->n];
        float *data = NULL;
        TRY(NEW(e->count, &data));
        *t = (safetensor){.name = e->name, .ndim = e->ndim, .data = data};
        memcpy(t->dim, e->dim, sizeof t->dim);
        s->by_name[s->n++] = t;
        TRY(read_data(path, fd, data_at + e->begin, e, data));
    }
    qsort(s->by_name, s->n, sizeof *s->by_name, compare_name);
    return ST_OK;
}

status safetensors_open(safetensors **out, const char *path) {
    status st = ST_OK;
    safetensors *s = NULL;
    entry *entries = NULL;
    struct stat info;
    uint64_t ndata = 0;
    size_t n = 0;
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return FAIL(ST_IO, "%s: %s", path, strerror(errno));
    TRY_TO(out, NEW(1, &s));
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        st = FAIL(ST_IO, "%s: not a regular file", path);
        goto out;
    }
    TRY_TO(out, read_header(path, fd, (uint64_t)info.st_size, &s->header, &ndata));
    TRY_TO(out, NEW(json_object_size(s->header), &entries));
    TRY_TO(out, parse_entries(path, s->header, ndata, entries, &n));
    st = load_tensors(path, fd, (uint64_t)info.st_size - ndata, entries, n, s);
out:
    close(fd);
    memory_free(&entries);
    if (st != ST_OK) {
        safetensors_close(&s);
        return st;
    }
    *out = s;
    return ST_OK;
}

size_t safetensors_count(const safetensors *s) {
    return s->n;
}

const safetensor *safetensors_get(const safetensors *s, size_t i) {
    ASSERT(i < s->n);
    return &s->tensor[i];
}

const safetensor *safetensors_find(const safetensors *s, const char *name) {
    const safetensor *const *found = bsearch(name, s->by_name, s->n, sizeof *s->by_name, compare_key);
    return found != NULL ? *found : NULL;
}

const char *safetensors_metadata(const safetensors *s, const char *key) {
    return json_string_value(json_object_get(json_object_get(s->header, "__metadata__"), key));
}

void safetensors_close(safetensors **s) {
    if (*s == NULL)
        return;
    for (size_t i = 0; i < (*s)->n; i++) {
        void *data = (void *)(*s)->tensor[i].data;
        memory_free(&data);
    }
    memory_free(&(*s)->tensor);
    memory_free(&(*s)->by_name);
    json_decref((*s)->header);
    memory_free(s);
}
