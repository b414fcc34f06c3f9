/* Two tables over the values of a byte, written by the preprocessor: its eight bits as int8_t, most significant first,
 * and the same as CSV text (",0,1,..."). Included by nprint.c only. */
#ifndef ND_PACKET_NPRINT_PRIV_H
#define ND_PACKET_NPRINT_PRIV_H

#include <stdint.h>

#define BIT(v, i) ((v) >> (7 - (i)) & 1)
#define EIGHT(v)                                                                                                       \
    { BIT(v, 0), BIT(v, 1), BIT(v, 2), BIT(v, 3), BIT(v, 4), BIT(v, 5), BIT(v, 6), BIT(v, 7) }
#define DIGIT(v, i) ',', '0' + BIT(v, i)
#define TEXT(v)                                                                                                        \
    { DIGIT(v, 0), DIGIT(v, 1), DIGIT(v, 2), DIGIT(v, 3), DIGIT(v, 4), DIGIT(v, 5), DIGIT(v, 6), DIGIT(v, 7) }
#define FOUR(row, v) row(v), row((v) + 1), row((v) + 2), row((v) + 3)
#define SIXTEEN(row, v) FOUR(row, v), FOUR(row, (v) + 4), FOUR(row, (v) + 8), FOUR(row, (v) + 12)
#define SIXTY_FOUR(row, v) SIXTEEN(row, v), SIXTEEN(row, (v) + 16), SIXTEEN(row, (v) + 32), SIXTEEN(row, (v) + 48)
#define ALL_BYTES(row) SIXTY_FOUR(row, 0), SIXTY_FOUR(row, 64), SIXTY_FOUR(row, 128), SIXTY_FOUR(row, 192)

static const int8_t byte_bits[256][8] = {ALL_BYTES(EIGHT)};
static const char byte_text[256][16] = {ALL_BYTES(TEXT)};

#define VACANT_8 ",-1,-1,-1,-1,-1,-1,-1,-1"
#define VACANT_64 VACANT_8 VACANT_8 VACANT_8 VACANT_8 VACANT_8 VACANT_8 VACANT_8 VACANT_8
#define VACANT_160 VACANT_64 VACANT_64 VACANT_8 VACANT_8 VACANT_8 VACANT_8
#define VACANT_480 VACANT_160 VACANT_160 VACANT_160

/* As text for the longest run of vacant columns inside one block. */
static const char vacant_text[] = VACANT_480;

#undef BIT
#undef EIGHT
#undef DIGIT
#undef TEXT
#undef FOUR
#undef SIXTEEN
#undef SIXTY_FOUR
#undef ALL_BYTES
#undef VACANT_8
#undef VACANT_64
#undef VACANT_160
#undef VACANT_480

#endif
