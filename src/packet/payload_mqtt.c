/* MQTT 3.1.1 (OASIS): every segment holds whole control packets. */
#include <string.h>
#include "packet/payload_priv.h"

enum { CONNECT = 0x10, CONNACK = 0x20, PUBLISH = 0x30, PUBACK = 0x40, PINGREQ = 0xc0, PINGRESP = 0xd0 };

/* Bytes of the length field of a control packet of n bytes, 0 where there is none of that size (2.2.3). */
static size_t length_size(size_t n) {
    for (size_t size = 1; size <= 3; size++) {
        size_t least = size == 1 ? 0 : size == 2 ? 128 : 16384, most = size == 1 ? 127 : size == 2 ? 16383 : 2097151;
        if (n >= 1 + size + least && n <= 1 + size + most)
            return size;
    }
    return 0;
}

/* Type and length of a control packet of n bytes; returns where the rest goes. */
static uint8_t *put_fixed_header(uint8_t *at, unsigned type, size_t n) {
    size_t size = length_size(n), rest = n - 1 - size;
    *at++ = (uint8_t)type;
    for (size_t k = 0; k < size; k++, rest >>= 7)
        *at++ = (uint8_t)((rest & 127) | (k + 1 < size ? 128 : 0));
    return at;
}

static void put_connect(const payload_task *t) {
    static const uint8_t header[] = {0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60}; /* version 4, clean session, 60 s */
    uint8_t *at = put_fixed_header(t->bytes, CONNECT, t->n);
    memcpy(at, header, sizeof header);
    at += sizeof header;
    size_t nclient = (size_t)(t->bytes + t->n - at - 2);
    put16(at, (unsigned)nclient);
    memset(at + 2, 'n', nclient);
}

/* n bytes of control packets of an open session. */
static void put_session(uint8_t *at, size_t n, bool from_client) {
    if (n >= 4 && length_size(n) == 0) { /* a size that no single packet has */
        put_fixed_header(at, from_client ? PINGREQ : PINGRESP, 2);
        at += 2;
        n -= 2;
    }
    if (n == 2) {
        put_fixed_header(at, from_client ? PINGREQ : PINGRESP, 2);
    } else if (n == 4) {
        put16(put_fixed_header(at, PUBACK, 4), 1);
    } else if (n >= 5) { /* at most once: no identifier; one letter for topic, the rest is the message */
        uint8_t *topic = put_fixed_header(at, PUBLISH, n);
        put16(topic, 1);
        topic[2] = 't';
    }
}

void payload_mqtt(const payload_task *t) {
    bool first = payload_stream_offset(t) == 0;
    if (first && t->from_client && t->n >= 2 + 12 && length_size(t->n) > 0) {
        put_connect(t);
    } else if (first && !t->from_client && t->n >= 4 && t->n != 5 && t->n != 7) {
        put_fixed_header(t->bytes, CONNACK, 4);
        if (t->n > 4)
            put_session(t->bytes + 4, t->n - 4, false);
    } else {
        put_session(t->bytes, t->n, t->from_client);
    }
}
