/* Pictures through libpng's simplified interface, which reports errors by return value. */
#include <errno.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/png_image.h"

enum { PIXELS_MAX = 64 << 20 };

static const uint8_t colour_one[3] = {0, 255, 0}, colour_zero[3] = {255, 0, 0}, colour_vacant[3] = {128, 128, 128};

status image_new(image *m, size_t width, size_t height, uint8_t grey) {
    *m = (image){.width = width, .height = height};
    if (width == 0 || height == 0 || width > PIXELS_MAX / height)
        return FAIL(ST_RANGE, "a picture of %zu x %zu pixels", width, height);
    TRY(memory_new(width * height, 3, &m->rgb));
    memset(m->rgb, grey, width * height * 3);
    return ST_OK;
}

void image_clear(image *m) {
    memory_free(&m->rgb);
    *m = (image){.width = 0};
}

status image_write(const char *path, const image *m) {
    png_image p = {.version = PNG_IMAGE_VERSION,
                   .width = (png_uint_32)m->width,
                   .height = (png_uint_32)m->height,
                   .format = PNG_FORMAT_RGB};
    file_writer w;
    TRY(file_begin(&w, path));
    errno = 0;
    if (png_image_write_to_stdio(&p, w.stream, 0, m->rgb, 0, NULL) == 0) {
        const char *why = errno != 0 ? strerror(errno) : p.message; /* libpng's is "Write Error" */
        status st = FAIL(ST_IO, "%s: %s", path, why);
        file_abandon(&w);
        png_image_free(&p);
        return st;
    }
    return file_commit(&w);
}

static status read_pixels(const char *path, FILE *stream, png_image *p, image *m) {
    if (png_image_begin_read_from_stdio(p, stream) == 0)
        return FAIL(ST_FORMAT, "%s: %s", path, p->message);
    if (p->width == 0 || p->height == 0 || p->width > PIXELS_MAX / p->height)
        return FAIL(ST_RANGE, "%s: a picture of %u x %u pixels", path, p->width, p->height);
    p->format = PNG_FORMAT_RGB;
    TRY(image_new(m, p->width, p->height, 0));
    static const png_color black = {0, 0, 0}; /* behind transparent pixels */
    if (png_image_finish_read(p, &black, m->rgb, 0, NULL) == 0)
        return FAIL(ST_FORMAT, "%s: %s", path, p->message);
    return ST_OK;
}

status image_read(const char *path, image *m) {
    png_image p = {.version = PNG_IMAGE_VERSION};
    *m = (image){.width = 0};
    FILE *stream = fopen(path, "rbe");
    if (stream == NULL)
        return FAIL(ST_IO, "%s: %s", path, strerror(errno));
    status st = read_pixels(path, stream, &p, m);
    png_image_free(&p);
    fclose(stream);
    if (st != ST_OK)
        image_clear(m);
    return st;
}

status flow_image(const nprint_form *form, const flow *f, image *m) {
    int8_t bits[NPRINT_MOST_COLUMNS];
    TRY(image_new(m, form->ncolumns, FLOW_IMAGE_ROWS, colour_vacant[0]));
    for (size_t row = 0; row < f->npackets && row < FLOW_IMAGE_ROWS; row++) {
        nprint_form_encode(form, &f->packets[row], bits);
        uint8_t *rgb = m->rgb + row * form->ncolumns * 3;
        for (size_t i = 0; i < form->ncolumns; i++)
            if (bits[i] >= 0)
                memcpy(rgb + i * 3, bits[i] > 0 ? colour_one : colour_zero, 3);
    }
    return ST_OK;
}

static int distance(const uint8_t *a, const uint8_t *b) {
    int r = a[0] - b[0], g = a[1] - b[1], blue = a[2] - b[2];
    return r * r + g * g + blue * blue;
}

/* The bits of a row of pixels; false if it is wholly vacant. */
static bool bits_of_row(const uint8_t *rgb, size_t ncolumns, int8_t *bits) {
    bool any = false;
    for (size_t i = 0; i < ncolumns; i++, rgb += 3) {
        int one = distance(rgb, colour_one), zero = distance(rgb, colour_zero), vacant = distance(rgb, colour_vacant);
        bits[i] = vacant <= one && vacant <= zero ? -1 : one < zero;
        any = any || bits[i] >= 0;
    }
    return any;
}

status flow_from_image(const image *m, flow *f) {
    int8_t bits[NPRINT_MOST_COLUMNS];
    flow_clear(f);
    flow_init(f);
    const nprint_form *form = m->width == nprint_ipv6_form.ncolumns ? &nprint_ipv6_form : &nprint_ipv4_form;
    if (m->width != form->ncolumns)
        return FAIL(ST_FORMAT, "a picture %zu pixels wide; a flow picture has %d or %d", m->width,
                    nprint_ipv4_form.ncolumns, nprint_ipv6_form.ncolumns);
    for (size_t row = 0; row < m->height; row++) {
        packet p = {.time_ns = 0};
        if (!bits_of_row(m->rgb + row * m->width * 3, m->width, bits))
            break;
        status st = nprint_form_decode(form, bits, &p);
        if (st != ST_OK) {
            char *why = text_copy(status_message());
            st = FAIL(st, "row %zu: %s", row, why);
            free(why);
            return st;
        }
        flow_key key = flow_key_of(&p);
        if (f->npackets == 0)
            f->key = key;
        flow_key reverse = flow_key_reverse(&f->key);
        p.dir = !flow_key_equal(&key, &f->key) && flow_key_equal(&key, &reverse);
        TRY(flow_add(f, &p));
    }
    return f->npackets > 0 ? ST_OK : FAIL(ST_FORMAT, "a picture without a packet: its first row is vacant");
}
