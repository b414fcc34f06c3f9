/* The lines of loss.jsonl. See record.h. */
#include "train/record.h"
#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const size_t RECORD_MAX = (size_t)1 << 32;

/* Is this whole line (without newline) a record of a step up to `step`? */
static bool keeps(const char *line, size_t nbytes, uint64_t step) {
    json_t *object = json_loadb(line, nbytes, 0, NULL);
    json_t *of = json_object_get(object, "step");
    bool keep = json_is_integer(of) && json_integer_value(of) >= 0 && (uint64_t)json_integer_value(of) <= step;
    json_decref(object);
    return keep;
}

/* Length of the leading lines to keep. */
static size_t kept_nbytes(const char *text, size_t nbytes, uint64_t step) {
    size_t at = 0;
    while (at < nbytes) {
        const char *end = memchr(text + at, '\n', nbytes - at);
        if (end == NULL || !keeps(text + at, (size_t)(end - text) - at, step))
            break;
        at = (size_t)(end - text) + 1;
    }
    return at;
}

status record_open(record *r, const char *path, uint64_t step) {
    *r = (record){0};
    if (file_exists(path)) {
        char *text = NULL;
        size_t nbytes;
        TRY(file_read(path, RECORD_MAX, &text, &nbytes));
        status st = file_write(path, text, kept_nbytes(text, nbytes, step));
        free(text);
        TRY(st);
    }
    r->to = fopen(path, "a");
    if (r->to == NULL)
        return FAIL(ST_IO, "%s: cannot be written: %s", path, strerror(errno));
    r->path = text_copy(path);
    return ST_OK;
}

static status line_done(record *r) {
    if (fflush(r->to) != 0 || ferror(r->to))
        return FAIL(ST_IO, "%s: cannot be written: %s", r->path, strerror(errno));
    return ST_OK;
}

status record_step(record *r, uint64_t step, double loss, double norm, double rate, double flows_per_second,
                   double seconds) {
    fprintf(r->to,
            "{\"step\": %llu, \"loss\": %.9g, \"gradient_norm\": %.9g, \"learning_rate\": %.9g, "
            "\"flows_per_second\": %.4g, \"seconds\": %.3f}\n",
            (unsigned long long)step, loss, norm, rate, flows_per_second, seconds);
    return line_done(r);
}

status record_validation(record *r, uint64_t step, double loss, double best, double seconds) {
    fprintf(r->to, "{\"step\": %llu, \"validation_loss\": %.9g, \"best\": %.9g, \"seconds\": %.3f}\n",
            (unsigned long long)step, loss, best, seconds);
    return line_done(r);
}

status record_sync(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return FAIL(ST_IO, "%s: cannot open: %s", path, strerror(errno));
    status st = fsync(fd) == 0 ? ST_OK : FAIL(ST_IO, "%s: cannot be written: %s", path, strerror(errno));
    close(fd);
    return st;
}

void record_close(record *r) {
    if (r->to != NULL)
        fclose(r->to);
    free(r->path);
    *r = (record){0};
}
