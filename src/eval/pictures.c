/* Pictures for people: the bits of a real and a synthetic flow side by side, rows stretched so that they can be seen.
 */
#include "eval/eval_priv.h"
#include "io/png_image.h"

#include <string.h>

enum { PAIR_GAP = 24, PAIR_HEIGHT = 512 };

/* Copy rows 0..nrows-1 of `from` into `to` at column x, each `stretch` pixels high. */
static void paste(image *to, const image *from, size_t x, size_t nrows, size_t stretch) {
    for (size_t y = 0; y < nrows * stretch; y++)
        memcpy(to->rgb + (y * to->width + x) * 3, from->rgb + y / stretch * from->width * 3, from->width * 3);
}

static bool has_ipv6(const flow *f) {
    for (size_t i = 0; i < f->npackets; i++)
        if (packet_is_ipv6(&f->packets[i]))
            return true;
    return false;
}

status pictures_pair(const char *path, const flow *real, const flow *synthetic) {
    image left = {0}, right = {0}, pair = {0};
    size_t nrows = real->npackets > synthetic->npackets ? real->npackets : synthetic->npackets;
    nrows = nrows > FLOW_IMAGE_ROWS ? FLOW_IMAGE_ROWS : nrows ? nrows : 1;
    size_t stretch = nrows < PAIR_HEIGHT ? PAIR_HEIGHT / nrows : 1;
    const nprint_form *form = has_ipv6(real) || has_ipv6(synthetic) ? &nprint_ipv6_form : &nprint_ipv4_form;
    status st = flow_image(form, real, &left);
    if (!st)
        st = flow_image(form, synthetic, &right);
    if (!st)
        st = image_new(&pair, 2 * left.width + PAIR_GAP, nrows * stretch, 255);
    if (!st) {
        paste(&pair, &left, 0, nrows, stretch);
        paste(&pair, &right, left.width + PAIR_GAP, nrows, stretch);
        st = image_write(path, &pair);
    }
    image_clear(&left);
    image_clear(&right);
    image_clear(&pair);
    return st;
}
