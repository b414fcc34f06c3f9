/* DHCP (RFC 2131, 2132): DISCOVER, then REQUEST; OFFER and ACK carry the transaction of what they answer. */
#include "packet/payload_priv.h"

enum { BOOTP = 236, COOKIE = 4, TYPE = 3, LONG_OPTION = 6, END = 1, CLIENT_PORT = 68 };
enum { DISCOVER = 1, OFFER = 2, REQUEST = 3, ACK = 5 };
enum { OPTION_LEASE = 51, OPTION_TYPE = 53, OPTION_SERVER = 54, OPTION_END = 255 };

/* An option of four bytes. */
static uint8_t *put_option(uint8_t *at, unsigned option, uint32_t value) {
    at[0] = (uint8_t)option;
    at[1] = 4;
    put32(at + 2, value);
    return at + LONG_OPTION;
}

void payload_dhcp(const payload_task *task) {
    enum { WHAT_DHCP = 20, DOCUMENTATION = 0xc0000200u /* 192.0.2.0/24 */ };
    payload_task t = *task;
    uint8_t *b = t.bytes;
    if (t.n < BOOTP + COOKIE + TYPE + END)
        return;
    if (t.port == CLIENT_PORT) /* the port that is known is the client's */
        t.from_client = !t.from_client;
    size_t asked = t.from_client ? t.i : payload_answered(&t);
    uint64_t host = payload_draw(t.f, WHAT_DHCP, 0);
    bool begins = asked == 0;
    b[0] = t.from_client ? 1 : 2; /* request, reply */
    b[1] = 1;                     /* Ethernet */
    b[2] = 6;
    put32(b + 4, (uint32_t)payload_draw(t.f, WHAT_DHCP, 1));
    if (!t.from_client)
        put32(b + 16, DOCUMENTATION | (2 + host % 250)); /* the client's address to be */
    b[28] = 2;                                           /* a hardware address of local administration */
    put32(b + 30, (uint32_t)(host >> 8));
    uint8_t *at = b + BOOTP;
    put32(at, 0x63825363);
    at += COOKIE;
    *at++ = OPTION_TYPE;
    *at++ = 1;
    *at++ = t.from_client ? (begins ? DISCOVER : REQUEST) : (begins ? OFFER : ACK);
    if (t.n >= (size_t)(at - b) + 2 * LONG_OPTION + END && !(t.from_client && begins)) {
        at = put_option(at, OPTION_SERVER, DOCUMENTATION | 1);
        if (!t.from_client)
            at = put_option(at, OPTION_LEASE, 86400);
    }
    *at = OPTION_END;
}
