/* TLS (RFC 8446): a ClientHello, a ServerHello, and records of application data.
 *
 * Every segment holds whole records where it has room for one, so one that is sent again is the same. The hellos are
 * complete where the first segments have room for them; what would be encrypted is zero bytes. */
#include <string.h>
#include "packet/payload_priv.h"

enum { RECORD = 5, RECORD_MAX = 16384 + 256, HELLO_FIXED = 4 + 2 + 32, SESSION = 1 + 32 };
enum { CHANGE_CIPHER_SPEC = 20, HANDSHAKE = 22, APPLICATION_DATA = 23, CLIENT_HELLO = 1, SERVER_HELLO = 2 };
enum { EXTENSION_SNI = 0, EXTENSION_PADDING = 21 };
enum { WHAT_RANDOM = 16, WHAT_SESSION, WHAT_KEY, LOOK_AROUND = 128 };

static const uint8_t smallest[RECORD + 1] = {APPLICATION_DATA, 3, 3, 0, 1, 0}; /* record */

static uint8_t *put_bytes(uint8_t *at, const void *bytes, size_t n) {
    memcpy(at, bytes, n);
    return at + n;
}

static uint8_t *put_record(uint8_t *at, unsigned type, unsigned version, size_t n) {
    at[0] = (uint8_t)type;
    put16(at + 1, version);
    put16(at + 3, (unsigned)n);
    return at + RECORD;
}

/* Type, length, version and random. */
static uint8_t *put_hello(const payload_task *t, uint8_t *at, unsigned type, size_t nmessage) {
    put32(at, type << 24 | (uint32_t)(nmessage - 4));
    put16(at + 4, 0x0303);
    payload_draw_bytes(t->f, WHAT_RANDOM, type, at + 6, 32);
    return at + HELLO_FIXED;
}

/* A server repeats its client's session id (RFC 8446 4.1.3). */
static uint8_t *put_session(const payload_task *t, uint8_t *at) {
    at[0] = 32;
    payload_draw_bytes(t->f, WHAT_SESSION, 0, at + 1, 32);
    return at + SESSION;
}

static const uint8_t ciphers[] = {0, 6, 0x13, 0x01, 0x13, 0x02, 0x13, 0x03, 1, 0}; /* and no compression */
static const uint8_t client_extensions[] = {
    0, 43, 0, 3,  2, 3,  4,                    /* supported_versions: 1.3 */
    0, 10, 0, 4,  0, 2,  0, 0x1d,              /* supported_groups: x25519 */
    0, 13, 0, 8,  0, 6,  4, 3,    8, 4,  8, 7, /* signature_algorithms */
    0, 51, 0, 38, 0, 36, 0, 0x1d, 0, 32,       /* key_share: a key of 32 bytes follows */
};
static const char server_name[] = "www.example.com";
enum {
    NAME = sizeof server_name - 1,
    SNI = 4 + 5 + NAME,
    CLIENT_FULL = RECORD + HELLO_FIXED + SESSION + sizeof ciphers + 2 + SNI + sizeof client_extensions + 32 + 4,
    SERVER_EXTENSIONS = 6 + 40,
    CLIENT_LEAST = RECORD + HELLO_FIXED + 1 + sizeof ciphers + 2 + 4,
    SERVER_SIZE = RECORD + HELLO_FIXED + SESSION + 3 + 2 + SERVER_EXTENSIONS
};

/* A padding extension of n bytes (RFC 7685). */
static void put_padding(uint8_t *at, size_t n) {
    put16(at, EXTENSION_PADDING);
    put16(at + 2, (unsigned)(n - 4));
}

/* n is at least CLIENT_LEAST; below CLIENT_FULL nothing is offered but ciphers. */
static void put_client_hello(const payload_task *t) {
    bool full = t->n >= CLIENT_FULL;
    const uint8_t *end = t->bytes + t->n;
    uint8_t *at = put_record(t->bytes, HANDSHAKE, 0x0301, t->n - RECORD);
    at = put_hello(t, at, CLIENT_HELLO, t->n - RECORD);
    at = full ? put_session(t, at) : at + 1;
    at = put_bytes(at, ciphers, sizeof ciphers);
    put16(at, (unsigned)(end - at - 2));
    at += 2;
    if (full) {
        put16(at, EXTENSION_SNI);
        put16(at + 2, 5 + NAME);
        put16(at + 4, 3 + NAME);
        put16(at + 7, NAME);
        at = put_bytes(at + 9, server_name, NAME);
        at = put_bytes(at, client_extensions, sizeof client_extensions);
        payload_draw_bytes(t->f, WHAT_KEY, CLIENT_HELLO, at, 32);
        at += 32;
    }
    put_padding(at, (size_t)(end - at));
}

static uint8_t *put_server_hello(const payload_task *t) {
    static const uint8_t chosen[] = {0x13, 0x01, 0, 0, SERVER_EXTENSIONS, 0, 43, 0, 2, 3, 4, 0, 51, 0, 36,
                                     0,    0x1d, 0, 32};
    uint8_t *at = put_record(t->bytes, HANDSHAKE, 0x0303, SERVER_SIZE - RECORD);
    at = put_session(t, put_hello(t, at, SERVER_HELLO, SERVER_SIZE - RECORD));
    at = put_bytes(at, chosen, sizeof chosen);
    payload_draw_bytes(t->f, WHAT_KEY, SERVER_HELLO, at, 32);
    return at + 32;
}

/* Records that fill n bytes; none where n is too small for one. */
static void put_data(uint8_t *at, size_t n) {
    while (n > RECORD) {
        size_t length = n - RECORD < RECORD_MAX ? n - RECORD : RECORD_MAX;
        if (n - RECORD - length > 0 && n - RECORD - length <= RECORD) /* the last would be too small */
            length -= RECORD;
        put_record(at, APPLICATION_DATA, 0x0303, length);
        at += RECORD + length;
        n -= RECORD + length;
    }
}

/* Segments too small for a record are together records of a single byte. Returns how much of one the side's segments
 * right before this one have sent. They are looked for on both sides of it: segments come late, or again. */
static size_t begun(const payload_task *t) {
    enum { ROOM = sizeof smallest, FARTHEST = LOOK_AROUND * (ROOM - 1) };
    uint8_t ending[FARTHEST + 1] = {0}; /* size of the segment that ends so many bytes before this one, up to ROOM */
    uint32_t seq = get32(packet_l4(t->p) + 4);
    size_t from = t->i > LOOK_AROUND ? t->i - LOOK_AROUND : 0, sent = 0;
    size_t end = t->f->npackets - t->i > LOOK_AROUND ? t->i + LOOK_AROUND : t->f->npackets;
    for (size_t step = 1; step < end - from; step++) { /* back to the earliest, then on from this one */
        size_t k = step <= t->i - from ? t->i - step : from + step;
        const packet *p = &t->f->packets[k];
        unsigned n = packet_payload(p);
        if (p->dir != t->p->dir || n == 0 || !packet_has_shape(p) || packet_proto(p) != PROTO_TCP)
            continue;
        uint32_t back = seq - (get32(packet_l4(p) + 4) + n);
        if (back == 0 && n >= ROOM) /* nearly always the first one */
            return 0;
        if (back <= FARTHEST && ending[back] < n)
            ending[back] = (uint8_t)(n < ROOM ? n : ROOM);
    }
    for (unsigned i = 0; i < LOOK_AROUND && ending[sent] > 0 && ending[sent] < ROOM; i++)
        sent += ending[sent];
    return sent % ROOM;
}

/* The first n bytes from there on. */
static void put_smallest(uint8_t *at, size_t from, size_t n) {
    for (size_t k = 0; k < n; k++)
        at[k] = smallest[(from + k) % sizeof smallest];
}

void payload_tls(const payload_task *t) {
    bool first = payload_stream_offset(t) == 0;
    if (t->n < sizeof smallest) {
        put_smallest(t->bytes, begun(t), t->n);
    } else if (first && t->from_client && t->n >= CLIENT_LEAST && t->n - RECORD <= RECORD_MAX) {
        put_client_hello(t);
    } else if (first && !t->from_client && (t->n == SERVER_SIZE || t->n >= SERVER_SIZE + sizeof smallest)) {
        uint8_t *rest = put_server_hello(t);
        size_t left = t->n - SERVER_SIZE;
        if (left == 6 || left >= 6 + sizeof smallest) { /* for the sake of middleboxes (RFC 8446 D.4) */
            put_record(rest, CHANGE_CIPHER_SPEC, 0x0303, 1)[0] = 1;
            rest += 6;
            left -= 6;
        }
        put_data(rest, left);
    } else {
        size_t from = begun(t), taken = from > 0 ? sizeof smallest - from : 0;
        put_smallest(t->bytes, from, taken);
        put_data(t->bytes + taken, t->n - taken);
    }
}
