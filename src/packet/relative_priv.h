/* The relative layout inside: its fields, the state that encoding and decoding carry from row to row, and the escape.
 */
#ifndef ND_PACKET_RELATIVE_PRIV_H
#define ND_PACKET_RELATIVE_PRIV_H

#include "packet/connection_priv.h"
#include "packet/layout_priv.h"
#include "packet/tcp_options.h"

enum { RELATIVE_OPTIONS = 12, RELATIVE_ESCAPE_BYTES = 32, RELATIVE_CELLS = 392 + 8 * RELATIVE_ESCAPE_BYTES };

/* Index into relative_fields. */
typedef enum relative_field {
    REL_VALID,
    REL_DIRECTION,
    REL_TCP,
    REL_ICMP,
    REL_IPV6,
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
    REL_PEER_ABSENT,
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
    REL_ESCAPE,
    REL_ESCAPE_BYTES, /* wider than rel_get and rel_put: escape_load, escape_store */
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
    SYMBOL_SACK = 6, /* to 9: one to four blocks, with the edges that relative_sack gives */
    SYMBOL_RAW = 10, /* the escape's next record */
    SYMBOL_EOL = 11
};

/* Values of the index fields beyond the indexes themselves. */
enum { NUMBER_ESCAPE = 15, TSECR_ZERO = 62, TSECR_ESCAPE = 63 };

/* ---- What a packet is, and what is known before it ---- */

typedef struct relative_view {
    bool ipv6;
    unsigned proto, nip, nl4;
} relative_view;

/* p has passed relative_uncovered. */
relative_view relative_look(const packet *p);
uint8_t relative_tos(const packet *p);
uint8_t relative_ttl(const packet *p);
uint32_t relative_flow_label(const packet *p);
/* ICMP_ECHO_REQUEST and ICMP_ECHO_REPLY for those of either IP version; -1 for any other type. */
int relative_echo(bool ipv6, unsigned type);

typedef struct relative_direction { /* of the direction's previous packet */
    uint8_t tos, ip_flags, ttl;     /* before the first: 0, the responder's: the first row's */
    bool started;
    uint16_t ip_id, window;
    uint32_t flow_label;
} relative_direction;

typedef struct relative_blocks {
    unsigned n;
    uint32_t edges[2 * SACK_BLOCKS];
} relative_blocks;

typedef struct relative_state {
    relative_direction dir[2];
    connection_side side[2];
    relative_blocks sack[2]; /* each direction's latest SACK */
    uint32_t segment[2][2];  /* and latest data: its first number, and the one behind it */
    connection_echo echo;
    uint8_t wire_min[2];
} relative_state;

void relative_start(relative_state *s, const flow_plan *plan);
/* The packet as it is passes by: the only change of the state, the same when encoding and when decoding. */
void relative_pass(relative_state *s, const packet *p);
void relative_plan_of(const flow *f, flow_plan *plan);
void relative_open_and_close(int8_t *row, float *soft, unsigned tcp_flags);
/* Edges of the n blocks that a SACK of this direction is expected to have; returns how many were found, at most n. */
unsigned relative_sack(const relative_state *s, unsigned dir, uint32_t ack, unsigned n,
                       uint32_t edges[2 * SACK_BLOCKS]);

/* ---- The escape: what the cells have no place for ---- */

/* First a record for each SYMBOL_RAW, then items until a zero byte or the end. */
typedef struct relative_escape {
    unsigned nbytes; /* written, or where to read on */
    bool overflow;   /* more was written than there is room for */
    uint8_t bytes[RELATIVE_ESCAPE_BYTES];
} relative_escape;

void escape_put(relative_escape *e, const uint8_t *bytes, unsigned nbytes);
/* The same, a run of equal bytes in three. */
void escape_put_runs(relative_escape *e, const uint8_t *bytes, unsigned nbytes);
/* Back: until there are `most` bytes, or all of from is used. false where a run is cut or too long. */
bool escape_take_runs(const uint8_t *from, unsigned nfrom, unsigned *nused, uint8_t *bytes, unsigned most,
                      unsigned *nbytes);
/* Into the row's cells: nothing where nothing was written. */
void escape_store(const relative_escape *e, int8_t *row);
/* All bytes zero where the row has no escape. */
void escape_load(relative_escape *e, const int8_t *row);

/* Header values that follow from the rest, in the order in which they do. An item says that one is another. */
typedef enum relative_item {
    ITEM_END,
    ITEM_LENGTH,     /* IPv4's total length, IPv6's payload length */
    ITEM_FRAGMENT,   /* IPv4's fragment offset */
    ITEM_CHECKSUM,   /* IPv4's header checksum */
    ITEM_FLOW_LABEL, /* IPv6: expected is the direction's previous */
    ITEM_ACK,        /* acknowledgement number without the flag */
    ITEM_URGENT,
    ITEM_UDP_LENGTH,
    ITEM_WIRE,      /* wire_len */
    ITEM_EXTENSION, /* IPv4's options, IPv6's extension headers */
    ITEM_COUNT
} relative_item;
/* Bytes of an item's value; 0 for the two that are not values. */
extern const uint8_t relative_item_nbytes[ITEM_COUNT];

enum { EXTENSION_WORDS = 31 };
typedef struct relative_items {
    uint32_t set; /* bit mask of relative_item */
    uint32_t value[ITEM_COUNT];
    unsigned nextension;
    uint8_t next_header; /* of IPv6: the first extension's protocol number */
    uint8_t extension[4 * EXTENSION_WORDS];
} relative_items;

bool item_applies(relative_item item, const relative_view *v, const packet *p);
uint32_t item_get(relative_item item, const relative_view *v, const packet *p);
void item_set(relative_item item, const relative_view *v, packet *p, uint32_t value);
/* What the decoder writes where the escape does not say otherwise; all of the packet that is earlier in the order is
 * there. */
uint32_t item_expected(relative_item item, const relative_view *v, const relative_state *s, unsigned payload,
                       const packet *p);
/* p's odd values and its extension, as items. */
void escape_put_items(relative_escape *e, const relative_view *v, const relative_state *s, const packet *p);
void escape_get_items(relative_escape *e, bool ipv6, relative_items *items);

/* ---- TCP options ---- */

/* What the escape has for SYMBOL_RAW. */
enum { RECORD_SACK = 0, RECORD_TAIL = 1, RECORD_NHEAD = 2, EDGE_INDEXES = 128 };
typedef struct escape_record {
    unsigned at, nbytes;
    unsigned nlist; /* bytes of the list that it makes */
} escape_record;

/* The records that the escape may begin with: as many as can be read as such. */
unsigned escape_records(const relative_escape *e, escape_record r[RELATIVE_OPTIONS]);
/* Bytes of the edge that begins with this code; 0 where it is none. */
unsigned escape_edge_nbytes(uint8_t code);

/* The row's option symbols: those of the cells where they make a list that can be (each option once, at most 40 bytes,
 * END and EOL last, a record in the escape for each RAW), else the likeliest that does. soft as for layout.decode.
 * Returns how many symbols stand before END. */
unsigned relative_symbols(const int8_t *row, const float *soft, uint8_t symbol[RELATIVE_OPTIONS]);
/* At most so many bytes of the escape does a list take, whatever the state. */
unsigned relative_options_bound(const uint8_t *list, unsigned nbytes);
/* The list of packet p into the row and the escape. */
void relative_encode_options(const relative_state *s, const packet *p, const relative_view *v, relative_escape *e,
                             int8_t *row);
/* The row's list; ack, acks: the packet's acknowledgement number and whether it has one. Leaves *e behind the records.
 */
void relative_decode_options(const relative_state *s, unsigned dir, bool acks, uint32_t ack, const int8_t *row,
                             const float *soft, relative_escape *e, tcp_option_list *list);
/* Of the TSecr field: the peer's TSval that an index stands for, -1 = none. */
int relative_tsecr_index(const connection_side *peer, uint32_t tsecr);

/* The value of a field as its cells say, or where that is not below `limit`, the likeliest that is. */
unsigned relative_below(const int8_t *row, const float *soft, unsigned field, unsigned limit);

/* ---- The layout ---- */

/* Why the layout cannot write this packet; NULL if it can, as far as its bytes tell. */
const char *relative_uncovered(const packet *p);
/* At most this many bytes of escape, whatever the state. */
unsigned relative_escape_bound(const packet *p);

bool relative_accepts(const flow *f, const char **why);
void relative_presence(const int8_t *row, size_t number, uint8_t *mask);
status relative_encode(const flow *f, size_t nrows, int8_t *cells);
/* Does the escape of every packet have room? */
bool relative_fits(const flow *f);
status relative_decode(const int8_t *cells, const float *soft, size_t nexist, const flow_plan *plan, flow *f,
                       packet_votes *votes);

static inline void rel_put(int8_t *row, unsigned field, uint32_t value) {
    layout_put(row, &relative_fields[field], value);
}
static inline uint32_t rel_get(const int8_t *row, unsigned field) {
    return layout_get(row, &relative_fields[field]);
}

#endif
