/* What layouts share: bit fields of a row, and the inter-arrival code.
 *
 * A field's bits stand most significant first; a cell above 0 is a one, anything else a zero. */
#ifndef ND_PACKET_LAYOUT_PRIV_H
#define ND_PACKET_LAYOUT_PRIV_H

#include "packet/layout.h"

/* Write value into the field's cells as -1 / +1, and read it back. */
void layout_put(int8_t *row, const layout_field *field, uint32_t value);
uint32_t layout_get(const int8_t *row, const layout_field *field);

/* Sign and magnitude in nbits bits (sign first): small steps of either sign share their high cells. A step that does
 * not fit takes the largest magnitude of its sign, but for -2^31 in 32 bits, which is the otherwise unused "minus 0".
 */
uint32_t layout_sign_magnitude(int32_t step, unsigned nbits);
int32_t layout_step(uint32_t code, unsigned nbits);

/* Inter-arrival time on a logarithmic scale of 16 steps an octave (4.4 % a step), 9 bits:
 * round(16 log2(1 + microseconds)), at most 511 (68 minutes), as a Gray code, so that neighbours differ in one cell.
 * Integers only: the same on every machine. */
enum { GAP_NBITS = 9 };
uint32_t layout_gap_code(int64_t gap_ns);
/* The step's middle in ns: a whole number of microseconds, at least one, so that decoded times always increase. */
int64_t layout_gap_ns(uint32_t code);

#endif
