/* NTP (RFC 5905 7.3): version 4, client or server mode; a reply carries its request's time. */
#include "packet/payload_priv.h"

void payload_ntp(const payload_task *t) {
    enum { CLIENT = 3, SERVER = 4, NTP_2026 = 0xed000000u, WHAT_NTP = 4 };
    uint8_t *b = t->bytes;
    if (t->n < 48)
        return;
    size_t asked = t->from_client ? t->i : payload_answered(t);
    uint64_t fraction = payload_draw(t->f, WHAT_NTP, asked);
    b[0] = (uint8_t)(4 << 3 | (t->from_client ? CLIENT : SERVER));
    b[1] = t->from_client ? 0 : 2; /* stratum */
    b[2] = 6;                      /* poll every 64 s */
    b[3] = 0xe9;                   /* 2^-23 s precise */
    uint32_t seconds = NTP_2026 + 64 * (uint32_t)asked;
    /* A client says when it sends; a server, later, all four times. */
    for (unsigned at = t->from_client ? 40 : 16; at < 48; at += 8) {
        put32(b + at, seconds);
        put32(b + at + 4, (uint32_t)(fraction >> 40) + 4096 * (at + (t->from_client ? 0 : 16)));
    }
    if (!t->from_client) {
        put32(b + 4, 0x00000100); /* root delay and dispersion: 4 ms */
        put32(b + 8, 0x00000100);
        put32(b + 12, 0xc0000201); /* reference: 192.0.2.1 */
        put32(b + 24, seconds);    /* origin: the request's transmit time */
        put32(b + 28, (uint32_t)(fraction >> 40) + 4096 * 40);
    }
}
