/* Records of pcapng files (draft-ietf-opsawg-pcapng).
 *
 * A file is a sequence of blocks: type 32 | length 32 | body, padded to a multiple of four | length 32 again. A section
 * header block says the byte order of what follows it, and forgets the interfaces before it. A block whose own bounds
 * are sound but whose content is not is left out and noted as damage; where the bounds are not, the file ends.
 * Times: units of the interface's if_tsresol since 1970, plus if_tsoffset seconds; nanoseconds of the exact value,
 * rounded down, and the earliest or latest time there is where it does not fit. Simple packet blocks have no time: 0.
 */
#include <stdlib.h>
#include "base/memory.h"
#include "io/capture_priv.h"

enum {
    BLOCK_INTERFACE = 1,
    BLOCK_PACKET = 2, /* obsolete */
    BLOCK_SIMPLE_PACKET = 3,
    BLOCK_ENHANCED_PACKET = 6,
    BLOCK_SECTION = 0x0a0d0d0a
};
enum { BLOCK_HEADER = 8, BLOCK_LEAST = 12, SECTION_LEAST = 28, BLOCK_MAX = 16 << 20 };
enum { BYTE_ORDER_MAGIC = 0x1a2b3c4d };
enum { OPTION_END = 0, OPTION_RESOLUTION = 9, OPTION_OFFSET = 14 };
enum { RESOLUTION_MICRO = 6, RESOLUTION_BINARY = 0x80 };

static int64_t time_of(const capture_interface *from, uint64_t units) {
    __extension__ typedef __int128 wide;
    const wide second = 1000000000;
    unsigned n = from->resolution & 0x7f;
    wide value = units;
    if (from->resolution & RESOLUTION_BINARY) {
        value = n < 95 ? value * second >> n : 0; /* below 2^94 */
    } else {
        for (; n < 9; n++)
            value *= 10;
        for (; n > 9 && value > 0; n--)
            value /= 10;
    }
    value += from->offset * second;
    return value > INT64_MAX ? INT64_MAX : value < INT64_MIN ? INT64_MIN : (int64_t)value;
}

/* Options: code 16 | length 16 | value, padded to a multiple of four. */
static void read_options(capture *c, const uint8_t *at, size_t n, capture_interface *to) {
    while (n >= 4) {
        unsigned code = capture_u16(c, at), length = capture_u16(c, at + 2);
        size_t padded = 4 + (((size_t)length + 3) & ~(size_t)3);
        if (code == OPTION_END)
            return;
        if (padded > n) {
            capture_note(c, "an interface description whose option %u is longer than its block", code);
            return;
        }
        if (code == OPTION_RESOLUTION && length == 1)
            to->resolution = at[4];
        else if (code == OPTION_OFFSET && length == 8)
            to->offset = (int64_t)capture_u64(c, at + 4);
        at += padded;
        n -= padded;
    }
}

/* Link type 16 | reserved 16 | snap length 32 | options. */
static void read_interface(capture *c, const uint8_t *body, size_t n) {
    if (n < 8) {
        capture_note(c, "an interface description of %zu bytes", n);
        return;
    }
    if (memory_grow(&c->interfaces, &c->interface_capacity, c->ninterfaces + 1, sizeof *c->interfaces) != ST_OK) {
        capture_note(c, "no memory for %zu interfaces", c->ninterfaces + 1);
        return;
    }
    capture_interface *to = &c->interfaces[c->ninterfaces++];
    *to = (capture_interface){
        .link_type = capture_u16(c, body), .snap_len = capture_u32(c, body + 4), .resolution = RESOLUTION_MICRO};
    if (c->link_type < 0)
        c->link_type = to->link_type;
    read_options(c, body + 8, n - 8, to);
}

/* A record of caplen bytes at body + at on an interface; false, noted, where there is no such interface or the bytes go
 * beyond the block. */
static bool make_record(capture *c, size_t interface, const uint8_t *body, size_t n, size_t at, uint32_t caplen,
                        uint32_t len, capture_record *r) {
    if (interface >= c->ninterfaces) {
        capture_note(c, "a packet of interface %zu of %zu", interface, c->ninterfaces);
        return false;
    }
    if (caplen > n - at) {
        capture_note(c, "a packet of %u bytes in a block with room for %zu", caplen, n - at);
        return false;
    }
    *r = (capture_record){.caplen = caplen,
                          .wire_len = len > caplen ? len : caplen,
                          .link_type = c->interfaces[interface].link_type,
                          .bytes = body + at};
    return true;
}

/* Interface 32 (obsolete form: 16, and 16 of drops) | time 64, high half first | bytes captured 32 | bytes on the wire
 * 32 | bytes. */
static bool read_packet(capture *c, bool obsolete, const uint8_t *body, size_t n, capture_record *r) {
    if (n < 20) {
        capture_note(c, "a packet block of %zu bytes", n);
        return false;
    }
    size_t interface = obsolete ? capture_u16(c, body) : capture_u32(c, body);
    if (!make_record(c, interface, body, n, 20, capture_u32(c, body + 12), capture_u32(c, body + 16), r))
        return false;
    uint64_t units = (uint64_t)capture_u32(c, body + 4) << 32 | capture_u32(c, body + 8);
    r->time_ns = time_of(&c->interfaces[interface], units);
    return true;
}

/* Bytes on the wire 32 | bytes, of the first interface. How many were captured is not said, but for the snap length. */
static bool read_simple_packet(capture *c, const uint8_t *body, size_t n, capture_record *r) {
    if (n < 4) {
        capture_note(c, "a packet block of %zu bytes", n);
        return false;
    }
    uint32_t len = capture_u32(c, body), snap = c->ninterfaces > 0 ? c->interfaces[0].snap_len : 0;
    return make_record(c, 0, body, n, 4, snap > 0 && len > snap ? snap : len, len, r);
}

/* The byte order of a section, before anything of it is read. Magic 32 | version 16, 16 | section length 64. */
static bool begin_section(capture *c) {
    size_t have;
    const uint8_t *block = source_peek(&c->from, SECTION_LEAST, &have);
    uint32_t magic;
    if (have < SECTION_LEAST) {
        capture_note_cut(c, "a section header", have, SECTION_LEAST);
        return false;
    }
    memcpy(&magic, block + BLOCK_HEADER, sizeof magic);
    if (magic != BYTE_ORDER_MAGIC && magic != __builtin_bswap32(BYTE_ORDER_MAGIC)) {
        capture_note(c, "a section header without byte order");
        return false;
    }
    c->swapped = magic != BYTE_ORDER_MAGIC;
    unsigned major = capture_u16(c, block + 12), minor = capture_u16(c, block + 14);
    if (major != 1) {
        capture_note(c, "pcapng of the unknown version %u.%u", major, minor);
        return false;
    }
    c->ninterfaces = 0;
    return true;
}

/* Pass a block that holds nothing for us, of any size. */
static bool skip_block(capture *c, uint32_t length, size_t padded) {
    size_t have;
    if (!source_skip(&c->from, padded - 4)) {
        capture_note_cut(c, "a block", 0, padded);
        return false;
    }
    const uint8_t *again = source_peek(&c->from, 4, &have);
    if (have < 4 || capture_u32(c, again) != length) {
        capture_note(c, "a block that does not end with its length");
        return false;
    }
    source_take(&c->from, 4);
    return true;
}

/* The next block: its type, and body where it is of a type that is read (else NULL); false at the end. Some writers
 * leave the padding out of the length. */
static bool next_block(capture *c, uint32_t *type, const uint8_t **body, size_t *n) {
    size_t have;
    const uint8_t *block = source_peek(&c->from, BLOCK_HEADER, &have);
    if (have < BLOCK_HEADER) {
        if (have > 0 || c->from.error[0] != '\0')
            capture_note_cut(c, "a block", have, BLOCK_HEADER);
        return false;
    }
    *type = capture_u32(c, block);
    if (*type == BLOCK_SECTION) {
        if (!begin_section(c))
            return false;
        block = source_peek(&c->from, BLOCK_HEADER, &have);
    }
    uint32_t length = capture_u32(c, block + 4);
    size_t padded = ((size_t)length + 3) & ~(size_t)3;
    if (length < (*type == BLOCK_SECTION ? SECTION_LEAST : BLOCK_LEAST)) {
        capture_note(c, "a block of %u bytes", length);
        return false;
    }
    *body = NULL;
    if (*type != BLOCK_INTERFACE && *type != BLOCK_PACKET && *type != BLOCK_SIMPLE_PACKET &&
        *type != BLOCK_ENHANCED_PACKET)
        return skip_block(c, length, padded);
    if (padded > BLOCK_MAX) {
        capture_note(c, "a block of %u bytes, more than %d", length, BLOCK_MAX);
        return false;
    }
    block = source_peek(&c->from, padded, &have);
    if (have < padded) {
        capture_note_cut(c, "a block", have, padded);
        return false;
    }
    if (capture_u32(c, block + padded - 4) != length) {
        capture_note(c, "a block that does not end with its length");
        return false;
    }
    source_take(&c->from, padded);
    *body = block + BLOCK_HEADER;
    *n = padded - BLOCK_LEAST;
    return true;
}

static bool next_ng(capture *c, capture_record *r) {
    uint32_t type;
    const uint8_t *body;
    size_t n;
    while (next_block(c, &type, &body, &n)) {
        if (body == NULL)
            continue;
        if (type == BLOCK_INTERFACE)
            read_interface(c, body, n);
        else if (type == BLOCK_SIMPLE_PACKET ? read_simple_packet(c, body, n, r)
                                             : read_packet(c, type == BLOCK_PACKET, body, n, r))
            return true;
    }
    return false;
}

status capture_open_ng(capture *c) {
    uint32_t type;
    const uint8_t *body;
    size_t n;
    c->link_type = -1;
    c->next = next_ng;
    if (!next_block(c, &type, &body, &n)) {
        const char *why = strchr(c->damage, ':'); /* without "after record 0" */
        return FAIL(ST_FORMAT, "%s: no capture%s", c->path, why != NULL ? why : "");
    }
    c->pending = next_ng(c, &c->first);
    c->ended = !c->pending;
    if (c->pending)
        c->link_type = c->first.link_type;
    return ST_OK;
}
