/* RTP (RFC 3550 5.1): a header before zeros. Media go to even ports; RTCP, on odd ones, is not made.
 *
 * A sender's sequence number goes up by one with each of its packets. Counting them from the flow's beginning would
 * take ever longer, so each block of packets starts at a number of its own: one jump in 4096 packets. */
#include "packet/payload_priv.h"

void payload_rtp(const payload_task *t) {
    enum { HEADER = 12, VERSION_2 = 0x80, DYNAMIC = 96, BLOCK = 4096, WHAT_SOURCE = 48 };
    const uint8_t *l4 = packet_l4(t->p);
    if (t->n < HEADER || get16(l4 + (t->from_client ? 2 : 0)) % 2 != 0)
        return;
    uint64_t source = payload_draw(t->f, WHAT_SOURCE, t->from_client);
    size_t count = t->i - t->i % BLOCK;
    for (size_t k = count; k < t->i; k++)
        count += t->f->packets[k].dir == t->p->dir;
    bool audio = t->n < 320; /* 20 ms at 48 kHz, or a video's frame of 1/30 s at 90 kHz */
    t->bytes[0] = VERSION_2;
    t->bytes[1] = audio ? DYNAMIC + 15 : DYNAMIC;
    put16(t->bytes + 2, (uint16_t)((source >> 32) + count));
    put32(t->bytes + 4, (uint32_t)(source >> 16) + (uint32_t)count * (audio ? 960 : 3000));
    put32(t->bytes + 8, (uint32_t)source);
}
