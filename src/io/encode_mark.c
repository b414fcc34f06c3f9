/* Marks in the folder of the parts: what was finished, so that a run that was killed need not be repeated.
 *
 * A mark is a small JSON file, written last and atomically. It names its capture by name, size and time of change, and
 * the files it speaks of by length and CRC-32, which are checked before they are used. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/encode_priv.h"

enum { MARK_LIMIT = 1 << 28 };

status encode_mark_new(encode_mark *m, size_t nlabels, size_t nlines) {
    *m = (encode_mark){.nlabels = nlabels, .nlines = nlines};
    TRY(NEW(nlabels + 1, &m->flows));
    TRY(NEW(nlabels + 1, &m->packets));
    return NEW(nlines + 1, &m->taken);
}

void encode_mark_clear(encode_mark *m) {
    memory_free(&m->flows);
    memory_free(&m->packets);
    memory_free(&m->taken);
    memory_free(&m->raw_nbytes);
    memory_free(&m->raw_crc);
    free(m->damage);
    m->damage = NULL;
}

static char *mark_name(const char *folder, uint32_t file, bool pass, uint64_t partition) {
    return encode_name(folder, file, pass ? 0 : partition, pass ? "pass" : "mark");
}

static json_t *numbers(const uint64_t *x, size_t n) {
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, json_integer((json_int_t)x[i]));
    return array;
}

/* The lines that are true. */
static json_t *lines(const bool *taken, size_t n) {
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        if (taken[i])
            json_array_append_new(array, json_integer((json_int_t)i));
    return array;
}

/* The capture's name as the mark has it. JSON holds UTF-8 only, and a file's name may be any bytes. Caller frees. */
static char *written_name(const char *name) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    for (const uint8_t *at = (const uint8_t *)name; f != NULL && *at != '\0'; at++)
        fprintf(f, *at < 0x20 || *at > 0x7e || *at == '%' ? "%%%02x" : "%c", *at);
    if (f != NULL && fclose(f) == 0)
        return text;
    free(text);
    return NULL;
}

static void set_number(json_t *o, const char *key, uint64_t value) {
    json_object_set_new(o, key, json_integer((json_int_t)value));
}

/* The fields of part_size are all of one type. */
enum { PART_NUMBERS = sizeof(part_size) / sizeof(uint64_t) };

status encode_mark_write(const encode_mark *m, const encode_options *to, const encode_plan *p, uint32_t file, bool pass,
                         uint64_t partition) {
    json_t *o = json_object();
    char *name_text = written_name(p->names.item[file]);
    json_object_set_new(o, "capture", json_string(name_text));
    free(name_text);
    set_number(o, "nbytes", p->files[file].nbytes);
    set_number(o, "mtime_ns", p->files[file].mtime_ns);
    set_number(o, "frames", m->frames);
    json_object_set_new(o, "skipped", numbers(m->skipped, SKIP_COUNT));
    json_object_set_new(o, "sha256", json_string(m->sha256));
    if (m->damage != NULL)
        json_object_set_new(o, "damage", json_string_nocheck(m->damage));
    set_number(o, "link_type", (uint64_t)m->link_type);
    json_object_set_new(o, "raw_nbytes", numbers(m->raw_nbytes, m->npartitions));
    json_object_set_new(o, "raw_crc", numbers(m->raw_crc, m->npartitions));
    json_object_set_new(o, "part", numbers((const uint64_t *)&m->part, PART_NUMBERS));
    json_object_set_new(o, "flows", numbers(m->flows, m->nlabels + 1));
    json_object_set_new(o, "packets", numbers(m->packets, m->nlabels + 1));
    json_object_set_new(o, "taken", lines(m->taken, m->nlines + 1));
    char *text = json_dumps(o, JSON_COMPACT), *name = mark_name(to->folder, file, pass, partition);
    json_decref(o);
    status st =
        text != NULL ? spool_file(name, to->attempt, text, strlen(text)) : FAIL(ST_MEMORY, "%s: no memory", name);
    free(text);
    free(name);
    return st;
}

static bool get_number(const json_t *o, const char *key, uint64_t *value) {
    const json_t *x = json_object_get(o, key);
    *value = (uint64_t)json_integer_value(x);
    return json_is_integer(x);
}

/* Exactly n numbers. */
static bool get_numbers(const json_t *o, const char *key, size_t n, uint64_t *to) {
    const json_t *array = json_object_get(o, key);
    bool good = json_array_size(array) == n;
    for (size_t i = 0; good && i < n; i++) {
        const json_t *x = json_array_get(array, i);
        good = json_is_integer(x);
        to[i] = (uint64_t)json_integer_value(x);
    }
    return good;
}

static bool get_lines(const json_t *o, size_t n, bool *taken) {
    const json_t *array = json_object_get(o, "taken"), *x;
    size_t i;
    json_array_foreach(array, i, x) {
        if (!json_is_integer(x) || json_integer_value(x) < 0 || (uint64_t)json_integer_value(x) >= n)
            return false;
        taken[json_integer_value(x)] = true;
    }
    return json_is_array(array);
}

static bool of_this_capture(const json_t *o, const encode_plan *p, uint32_t file) {
    const char *name = json_string_value(json_object_get(o, "capture"));
    char *wanted = written_name(p->names.item[file]);
    bool same = name != NULL && wanted != NULL && strcmp(name, wanted) == 0;
    uint64_t nbytes, mtime_ns;
    free(wanted);
    return same && get_number(o, "nbytes", &nbytes) && nbytes == p->files[file].nbytes &&
           get_number(o, "mtime_ns", &mtime_ns) && mtime_ns == p->files[file].mtime_ns;
}

static status parse(encode_mark *m, const json_t *o, bool *good) {
    uint64_t link_type = 0;
    const char *hex = json_string_value(json_object_get(o, "sha256")),
               *damage = json_string_value(json_object_get(o, "damage"));
    m->npartitions = json_array_size(json_object_get(o, "raw_nbytes"));
    TRY(NEW(m->npartitions, &m->raw_nbytes));
    TRY(NEW(m->npartitions, &m->raw_crc));
    *good = get_number(o, "frames", &m->frames) && get_numbers(o, "skipped", SKIP_COUNT, m->skipped) && hex != NULL &&
            strlen(hex) < sizeof m->sha256 && get_number(o, "link_type", &link_type) &&
            get_numbers(o, "raw_nbytes", m->npartitions, m->raw_nbytes) &&
            get_numbers(o, "raw_crc", m->npartitions, m->raw_crc) &&
            get_numbers(o, "part", PART_NUMBERS, (uint64_t *)&m->part) &&
            get_numbers(o, "flows", m->nlabels + 1, m->flows) &&
            get_numbers(o, "packets", m->nlabels + 1, m->packets) && get_lines(o, m->nlines + 1, m->taken);
    if (*good) {
        strcpy(m->sha256, hex);
        m->link_type = (int)link_type;
        m->damage = damage != NULL ? text_copy(damage) : NULL;
    }
    return ST_OK;
}

status encode_mark_read(encode_mark *m, const char *folder, const encode_plan *p, uint32_t file, bool pass,
                        uint64_t partition, bool *found) {
    char *name = mark_name(folder, file, pass, partition), *text = NULL;
    size_t nbytes;
    status st = ST_OK;
    *found = false;
    if (file_exists(name))
        st = file_read(name, MARK_LIMIT, &text, &nbytes);
    json_t *o = st == ST_OK && text != NULL ? json_loadb(text, nbytes, 0, NULL) : NULL;
    if (o != NULL && of_this_capture(o, p, file))
        st = parse(m, o, found);
    json_decref(o);
    free(text);
    free(name);
    return st;
}

static status check_file(const char *folder, uint32_t file, uint64_t partition, const char *suffix, uint64_t nbytes,
                         uint64_t crc, bool *good) {
    char *name = encode_name(folder, file, partition, suffix);
    status st = spool_check(name, nbytes, (uint32_t)crc, good);
    free(name);
    return st;
}

static status check_part(const encode_mark *m, const char *folder, uint32_t file, uint64_t partition, bool *good) {
    const part_size *size = &m->part;
    TRY(check_file(folder, file, partition, "rows", size->nflows * sizeof(flow_row), size->rows_crc, good));
    return *good ? check_file(folder, file, partition, "packets", size->nbytes, size->packets_crc, good) : ST_OK;
}

status encode_mark_check(const encode_mark *m, const char *folder, const encode_plan *p, uint32_t file, bool pass,
                         uint64_t partition, bool *good) {
    *good = true;
    if (!pass || m->npartitions == 0)
        return check_part(m, folder, file, partition, good);
    *good = m->npartitions <= p->files[file].npartitions;
    /* Of each partition the raw file or the part. */
    for (uint64_t i = 0; *good && i < m->npartitions; i++) {
        encode_mark part;
        status st = encode_mark_new(&part, m->nlabels, m->nlines);
        if (st == ST_OK)
            st = encode_mark_read(&part, folder, p, file, false, i, good);
        if (st == ST_OK && *good)
            st = check_part(&part, folder, file, i, good);
        encode_mark_clear(&part);
        TRY(st);
        if (!*good)
            TRY(check_file(folder, file, i, "raw", m->raw_nbytes[i], m->raw_crc[i], good));
    }
    return ST_OK;
}
