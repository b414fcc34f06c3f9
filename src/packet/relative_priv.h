/* The relative layout inside: its fields, and the state that encoding and decoding carry from row to row. */
#ifndef ND_PACKET_RELATIVE_PRIV_H
#define ND_PACKET_RELATIVE_PRIV_H

#include "packet/connection_priv.h"
#include "packet/layout_priv.h"
#include "packet/tcp_options_priv.h"

enum { RELATIVE_CELLS = 387, RELATIVE_OPTIONS = 12 };

/* Index into relative_fields. */
typedef enum relative_field {
    REL_VALID,
    REL_DIRECTION,
    REL_TCP,
    REL_ICMP,
    REL_GAP,
    REL_PAYLOAD,
    REL_TOS_SAME, /* each "same" stands before its value */
    REL_TOS,
    REL_IP_FLAGS_SAME,
    REL_IP_FLAGS,
    REL_TTL_SAME,
    REL_TTL,
    REL_ID_SAME,
    REL_ID_NEXT,
    REL_ID_STEP,
    REL_SERVICE_FIRST,
    REL_SERVICE_PORT,
    REL_CLIENT_PORT,
    REL_RESPONDER_TOS,
    REL_RESPONDER_IP_FLAGS,
    REL_RESPONDER_TTL,
    REL_UDP_NO_CHECKSUM,
    REL_TCP_FLAGS,
    REL_SEQ_INDEX,
    REL_SEQ_STEP,
    REL_ACK_INDEX,
    REL_ACK_STEP,
    REL_WINDOW_SAME,
    REL_WINDOW,
    REL_OPTION,
    REL_MSS = REL_OPTION + RELATIVE_OPTIONS,
    REL_WINDOW_SCALE,
    REL_TSVAL_STEP,
    REL_TSECR_INDEX,
    REL_TSECR_STEP,
    REL_ICMP_TYPE,
    REL_ICMP_CODE,
    REL_ICMP_SEQ_SAME,
    REL_ICMP_SEQ_NEXT,
    REL_ICMP_WORD,
    REL_ICMP_STEP,
    RELATIVE_FIELDS
} relative_field;
extern const layout_field relative_fields[RELATIVE_FIELDS];

/* Values of an option cell group. Padding to whole words is not written: END says where it starts; EOL stands for a
 * byte of padding beyond it. */
enum {
    SYMBOL_END = 0,
    SYMBOL_NOP = 1,
    SYMBOL_MSS = 2,
    SYMBOL_WINDOW_SCALE = 3,
    SYMBOL_SACK_PERMITTED = 4,
    SYMBOL_TIMESTAMPS = 5,
    SYMBOL_SACK = 6, /* to 9: one to four blocks */
    SYMBOL_EOL = 11
};

/* Values of the index fields beyond the indexes themselves. */
enum { NUMBER_ESCAPE = 15, TSECR_ZERO = 62, TSECR_ESCAPE = 63 };

typedef struct relative_direction {
    uint8_t tos, ip_flags,
        ttl; /* of the direction's previous packet; before the first: 0, the responder's: the first row's */
    bool started;
    uint16_t ip_id, window;
} relative_direction;

typedef struct relative_state {
    relative_direction dir[2];
    connection_side side[2];
    connection_echo echo;
} relative_state;

void relative_start(relative_state *s, const flow_plan *plan);

/* Why the layout cannot write this packet; NULL if it can. */
const char *relative_uncovered(const packet *p);

/* Is there an option with a symbol in first..last before the list's end? Any cells are allowed. */
bool relative_has_option(const int8_t *row, unsigned first, unsigned last);

bool relative_accepts(const flow *f, const char **why);
void relative_presence(const int8_t *row, size_t number, uint8_t *mask);
void relative_plan_of(const flow *f, flow_plan *plan);
status relative_encode(const flow *f, size_t nrows, int8_t *cells);
status relative_decode(const int8_t *cells, const float *soft, size_t nexist, const flow_plan *plan, flow *f,
                       packet_votes *votes);

static inline void rel_put(int8_t *row, unsigned field, uint32_t value) {
    layout_put(row, &relative_fields[field], value);
}
static inline uint32_t rel_get(const int8_t *row, unsigned field) {
    return layout_get(row, &relative_fields[field]);
}

#endif
