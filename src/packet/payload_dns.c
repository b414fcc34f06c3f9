/* DNS messages of any given size (RFC 1035 section 4, RFC 6891).
 *
 * A query's question takes what is there: the name is padded with labels; there is an OPT record where there is room,
 * with padding (RFC 7830) beyond the size of a usual name. A response repeats the question and fills the rest:
 * addresses; an alias whose name takes the odd bytes, and its addresses; an OPT record; a referral. Where a size allows
 * none of these, the response is an error without the question, or with one of its own. Sizes below the smallest query
 * (17 bytes, but not 18) get what fits.
 *
 * Over UDP the k-th packet has an id of its own, so no query looks like a retransmission; a response answers the oldest
 * open query. Over TCP (two bytes of length before each message) the id follows the sequence number, so that a segment
 * sent again has the same bytes. */
#include <string.h>
#include "packet/payload_priv.h"

enum { HEADER = 12, QUESTION = 4, RECORD = 10, OPT = 11, OPTION = 4, LABEL_MAX = 63, USUAL_NAME = 13 };
enum { TYPE_A = 1, TYPE_NS = 2, TYPE_CNAME = 5, TYPE_OPT = 41, CLASS_IN = 1, OPTION_PADDING = 12 };
enum {
    POINTER = 0xc000,
    QUERY_FLAGS = 0x0100,
    RESPONSE_FLAGS = 0x8180,
    FORMAT_ERROR = 1,
    NO_SUCH_NAME = 3,
    LIFETIME = 300
};
enum { MDNS_PORT = 5353, MDNS_RESPONSE_FLAGS = 0x8400 };
enum { WHAT_ID = 1, WHAT_NAME, WHAT_ADDRESS };

static const char short_suffix[] = "\7example", long_suffix[] = "\7example\3com"; /* RFC 2606; the end is the root */

/* A name of exactly n bytes, 1..255 but not 2: labels before example.com as there is room. */
static void put_name(const flow *f, uint64_t which, uint8_t *at, size_t n) {
    const char *suffix = long_suffix;
    size_t nsuffix = sizeof long_suffix;
    if (n < nsuffix || n == nsuffix + 1) {
        suffix = short_suffix;
        nsuffix = sizeof short_suffix;
    }
    if (n < nsuffix || n == nsuffix + 1) {
        suffix = "";
        nsuffix = 1;
    }
    size_t left = n - nsuffix;
    while (left > 0) {
        size_t length = left - 1 > LABEL_MAX ? LABEL_MAX : left - 1;
        if (left - 1 - length == 1) /* one byte would be left, and a label has two */
            length--;
        *at++ = (uint8_t)length;
        payload_draw_bytes(f, WHAT_NAME, which + left, at, length);
        for (size_t k = 0; k < length; k++, at++)
            *at = (uint8_t)('a' + *at % 26);
        left -= 1 + length;
    }
    memcpy(at, suffix, nsuffix);
}

/* Bytes of the name that a query of n bytes asks for; 0 where it has no question. Where there is room for an OPT record
 * it takes what a usual name leaves, so that smaller responses can hold the name too. */
static size_t name_size(size_t n) {
    size_t room = n >= HEADER + QUESTION ? n - HEADER - QUESTION : 0;
    if (room >= USUAL_NAME + OPT + OPTION)
        return USUAL_NAME;
    if (room >= 3 + OPT)
        return room - OPT > USUAL_NAME ? room - OPT - OPTION : room - OPT;
    return room == 2 ? 1 : room;
}

static uint8_t *put_question(const flow *f, uint64_t which, uint8_t *at, size_t nname) {
    put_name(f, which, at, nname);
    put16(at + nname, TYPE_A);
    put16(at + nname + 2, CLASS_IN);
    return at + nname + QUESTION;
}

/* What follows a record's owner; returns where its data go. */
static uint8_t *put_record(uint8_t *at, unsigned type, unsigned class, uint32_t lifetime, size_t ndata) {
    put16(at, type);
    put16(at + 2, class);
    put32(at + 4, lifetime);
    put16(at + 8, (unsigned)ndata);
    return at + RECORD;
}

/* An OPT record of n bytes: 11, or 15 and more. */
static void put_opt(uint8_t *at, size_t n) {
    uint8_t *data = put_record(at + 1, TYPE_OPT, 1232, 0, n - OPT); /* the class is the sender's UDP size */
    if (n > OPT) {
        put16(data, OPTION_PADDING);
        put16(data + 2, (unsigned)(n - OPT - OPTION));
    }
}

/* n / 16 addresses of the name at `owner`; 192.0.2.0/24 is for examples (RFC 5737). */
static void put_addresses(const flow *f, uint64_t which, unsigned owner, uint8_t *at, size_t n) {
    for (size_t k = 0; k < n / 16; k++, at += 16) {
        put16(at, POINTER | owner);
        put32(put_record(at + 2, TYPE_A, CLASS_IN, LIFETIME, 4),
              0xc0000200u | (uint8_t)(payload_draw(f, WHAT_ADDRESS, which) + k));
    }
}

/* The n bytes behind a response's question: 0, 11 or more. message: its beginning, counts are set there. */
static void put_answers(const flow *f, uint64_t which, uint8_t *message, uint8_t *at, size_t n) {
    size_t odd = n % 16, naddresses = n / 16;
    if (n == 0)
        return;
    if (n == OPT || n == OPT + OPTION) {
        put16(message + 10, 1);
        put_opt(at, n);
    } else if (n < 16) { /* a referral: "." or the name, and its server, both as short as they can be written */
        put16(message + 8, 1);
        if (n == 14) {
            put16(at, POINTER | HEADER);
            put16(put_record(at + 2, TYPE_NS, CLASS_IN, LIFETIME, 2), POINTER | HEADER);
        } else {
            uint8_t *data = put_record(at + 1, TYPE_NS, CLASS_IN, LIFETIME, n - OPT);
            if (n == 13)
                put16(data, POINTER | HEADER);
        }
    } else if (odd == 0) {
        put16(message + 6, (unsigned)naddresses);
        put_addresses(f, which, HEADER, at, n);
    } else { /* name -> label.name, then the addresses of that */
        put16(message + 6, (unsigned)naddresses);
        put16(at, POINTER | HEADER);
        uint8_t *alias = put_record(at + 2, TYPE_CNAME, CLASS_IN, LIFETIME, 4 + odd);
        alias[0] = (uint8_t)(1 + odd);
        memset(alias + 1, 'c', 1 + odd);
        put16(alias + 2 + odd, POINTER | HEADER);
        put_addresses(f, which, (unsigned)(alias - message), at + 16 + odd, n - 16 - odd);
    }
}

static void put_query(const flow *f, uint64_t which, uint8_t *message, size_t n) {
    size_t nname = name_size(n);
    if (nname == 0)
        return;
    put16(message + 4, 1);
    uint8_t *rest = put_question(f, which, message + HEADER, nname);
    size_t left = n - (size_t)(rest - message);
    if (left >= OPT) {
        put16(message + 10, 1);
        put_opt(rest, left);
    }
}

/* nname: of the query's name, 0 = nothing was asked. */
static void put_response(const flow *f, uint64_t which, uint8_t *message, size_t n, size_t nname) {
    size_t taken = HEADER + nname + QUESTION;
    if (nname > 0 && (n == taken || n >= taken + OPT)) {
        put16(message + 4, 1);
        put_answers(f, which, message, put_question(f, which, message + HEADER, nname), n - taken);
        return;
    }
    if (n == HEADER + OPT || n >= HEADER + OPT + OPTION) { /* a server may send an error without the question */
        message[3] |= FORMAT_ERROR;
        put16(message + 10, 1);
        put_opt(message + HEADER, n - HEADER);
    } else {
        message[3] |= NO_SUCH_NAME;
        put_query(f, which, message, n);
    }
}

void payload_dns(const payload_task *t) {
    bool tcp = packet_proto(t->p) == PROTO_TCP, query = t->from_client;
    size_t prefix = tcp ? 2 : 0, asked = query ? t->i : payload_answered(t);
    if (t->n < prefix + HEADER)
        return;
    uint8_t *message = t->bytes + prefix;
    size_t n = t->n - prefix;
    if (tcp)
        put16(t->bytes, (unsigned)n);
    const packet *q = &t->f->packets[asked];
    uint64_t which = tcp ? get32(packet_l4(q) + 4) : asked;
    bool multicast = t->port == MDNS_PORT;
    /* An odd factor: 65536 packets in a row have 65536 ids. */
    put16(message, multicast ? 0 : (uint16_t)(payload_draw(t->f, WHAT_ID, 0) + which * 40503));
    put16(message + 2, query ? (multicast ? 0 : QUERY_FLAGS) : multicast ? MDNS_RESPONSE_FLAGS : RESPONSE_FLAGS);
    if (query) {
        put_query(t->f, which, message, n);
    } else {
        size_t nquery = packet_payload(q);
        put_response(t->f, which, message, n, asked != t->i && nquery > prefix ? name_size(nquery - prefix) : 0);
    }
}
