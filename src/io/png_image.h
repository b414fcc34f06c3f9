/* 8-bit RGB pictures, and the flow picture of the paper: one row a packet, one column a bit; green 1, red 0, grey
 * vacant. */
#ifndef ND_IO_PNG_IMAGE_H
#define ND_IO_PNG_IMAGE_H

#include "packet/flow.h"
#include "packet/nprint.h"

typedef struct image {
    size_t width, height;
    uint8_t *rgb; /* height x width x 3, owned */
} image;

status image_new(image *m, size_t width, size_t height, uint8_t grey);
void image_clear(image *m);
status image_write(const char *path, const image *m); /* atomic */
status image_read(const char *path, image *m);        /* any PNG, converted to 8-bit RGB; at most 64 Mi pixels */

enum { FLOW_IMAGE_ROWS = 1024 };
/* Picture of the flow's first 1024 packets, as many pixels wide as the form has columns; rows past the flow's end are
 * vacant. */
status flow_image(const nprint_form *form, const flow *f, image *m);
/* Bits back from such a picture (nearest of the three colours), whose width tells the form: rows until the first wholly
 * vacant one, decoded as packets (times, frames 0). */
status flow_from_image(const image *m, flow *f);

#endif
