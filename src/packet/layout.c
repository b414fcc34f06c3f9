/* The table of layouts, and the bit fields and inter-arrival code that they share. */
#include <string.h>
#include "packet/layout_priv.h"

static const layout *const layouts[] = {&layout_relative, &layout_nprint, &layout_nprint_v6};

const layout *layout_find(const char *name) {
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (strcmp(name, layouts[i]->name) == 0)
            return layouts[i];
    return NULL;
}

const char *layout_names(void) {
    return "relative, nprint, nprint-v6";
}

void layout_put(int8_t *row, const layout_field *field, uint32_t value) {
    for (unsigned i = 0; i < field->nbits; i++)
        row[field->first + i] = value >> (field->nbits - 1u - i) & 1u ? 1 : -1;
}

uint32_t layout_get(const int8_t *row, const layout_field *field) {
    uint32_t value = 0;
    for (unsigned i = 0; i < field->nbits; i++)
        value = value << 1 | (row[field->first + i] > 0);
    return value;
}

uint32_t layout_sign_magnitude(int32_t step, unsigned nbits) {
    uint32_t sign = 1u << (nbits - 1), largest = sign - 1;
    uint32_t magnitude = step < 0 ? 0u - (uint32_t)step : (uint32_t)step;
    if (magnitude > largest)
        magnitude = nbits == 32 ? 0 : largest; /* in 32 bits only -2^31 gets here */
    return (step < 0 ? sign : 0) | magnitude;
}

int32_t layout_step(uint32_t code, unsigned nbits) {
    uint32_t sign = 1u << (nbits - 1), magnitude = code & (sign - 1);
    if (!(code & sign))
        return (int32_t)magnitude;
    if (magnitude == 0)
        return nbits == 32 ? INT32_MIN : 0;
    return -(int32_t)magnitude;
}

/* 2^(i/16) with 32 fractional bits. */
static const uint64_t octave_step[16] = {0x100000000, 0x10b5586d0, 0x1172b83c8, 0x12387a6e7, 0x1306fe0a3, 0x13dea64c1,
                                         0x14bfdad53, 0x15ab07dd5, 0x16a09e668, 0x17a11473f, 0x18ace5423, 0x19c49182a,
                                         0x1ae89f996, 0x1c199bdd8, 0x1d5818dd0, 0x1ea4afa2a};
/* 2^((i + 1/2)/16) with 63 fractional bits: the borders between the steps. */
static const uint64_t octave_border[16] = {
    0x82cd8698ac2ba1d7, 0x88980e8092da8527, 0x8ea4398b45cd53c0, 0x94f4efa8fef70961,
    0x9b8d39b9d54e5539, 0xa27043030c496819, 0xa9a15ab4ea7c0ef8, 0xb123f581d2ac2590,
    0xb8fbaf4762fb9ee9, 0xc12c4cca66709456, 0xc9b9bd866e2f27a3, 0xd2a81d91f12ae45a,
    0xdbfbb797daf23755, 0xe5b906e77c8348a8, 0xefe4b99bdcdaf5cb, 0xfa83b2db722a033a};

uint32_t layout_gap_code(int64_t gap_ns) {
    uint64_t x = gap_ns > 0 ? 1 + (uint64_t)gap_ns / 1000 : 1;
    unsigned octave = 63u - (unsigned)__builtin_clzll(x);
    uint64_t mantissa = x << (63u - octave);
    uint32_t step = octave * 16;
    for (unsigned i = 0; i < 16 && mantissa >= octave_border[i]; i++)
        step++;
    if (step > 511)
        step = 511;
    return step ^ step >> 1;
}

int64_t layout_gap_ns(uint32_t code) {
    uint32_t step = code & 511u;
    for (unsigned shift = 8; shift > 0; shift >>= 1)
        step ^= step >> shift;
    uint64_t rounded = (((octave_step[step % 16] << (step / 16)) >> 31) + 1) >> 1;
    int64_t microseconds = (int64_t)rounded - 1;
    return (microseconds > 0 ? microseconds : 1) * 1000;
}
