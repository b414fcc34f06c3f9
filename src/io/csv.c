/* CSV records, parsed in place. See csv.h. */
#include <stdlib.h>
#include <string.h>
#include "base/memory.h"
#include "io/csv.h"

void csv_open(csv *c, const char *path, char *text, size_t nbytes) {
    *c = (csv){.path = path, .next = text, .end = text + nbytes, .line = 1};
    if (nbytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        c->next += 3;
}

static status add_field(csv *c, char *field) {
    TRY(memory_grow(&c->field, &c->capacity, c->nfields + 1, sizeof *c->field));
    c->field[c->nfields++] = field;
    return ST_OK;
}

/* A quoted field whose opening quote was passed: unquote in place, leave *from behind the closing quote. */
static status unquote(csv *c, char **from, char **to) {
    char *in = *from, *out = *to;
    for (;; in++) {
        if (in == c->end)
            return FAIL(ST_FORMAT, "%s:%zu: a quote is not closed", c->path, c->record_line);
        if (*in == '"') {
            if (in + 1 == c->end || in[1] != '"')
                break;
            in++;
        }
        if (*in == '\n')
            c->line++;
        *out++ = *in;
    }
    *from = in + 1;
    *to = out;
    return ST_OK;
}

/* The field at c->next; *last says that its record ends with it. */
static status read_field(csv *c, bool *last) {
    char *in = c->next, *field = in, *out = in;
    if (in < c->end && *in == '"') {
        in++;
        TRY(unquote(c, &in, &out));
        if (in < c->end && *in == '\r' && in + 1 < c->end && in[1] == '\n')
            in++;
        if (in < c->end && *in != ',' && *in != '\n')
            return FAIL(ST_FORMAT, "%s:%zu: text behind a closing quote", c->path, c->line);
    } else {
        while (in < c->end && *in != ',' && *in != '\n')
            in++;
        out = in;
        if ((in == c->end || *in == '\n') && out > field && out[-1] == '\r')
            out--;
    }
    *last = in >= c->end || *in == '\n';
    c->next = in < c->end ? in + 1 : c->end;
    if (*last)
        c->line++;
    *out = '\0'; /* at most the separator, or the NUL after the text */
    if (memchr(field, '\0', (size_t)(out - field)) != NULL)
        return FAIL(ST_FORMAT, "%s:%zu: a NUL byte", c->path, c->record_line);
    return add_field(c, field);
}

status csv_next(csv *c, bool *end) {
    for (;;) {
        c->nfields = 0;
        c->record_line = c->line;
        *end = c->next >= c->end;
        if (*end)
            return ST_OK;
        for (bool last = false; !last;)
            TRY(read_field(c, &last));
        if (c->nfields > 1 || c->field[0][0] != '\0')
            return ST_OK;
    }
}

void csv_close(csv *c) {
    free(c->field);
    *c = (csv){.path = NULL};
}
