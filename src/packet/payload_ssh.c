/* SSH until it is encrypted (RFC 4253): line, offer of keys, NEWKEYS; then binary packets. */
#include <string.h>
#include "packet/payload_priv.h"

/* Payload of the direction's first segment with data, as far as the flow shows it. */
static size_t first_size(const payload_task *t) {
    for (size_t k = 0; k < t->i && k < PAYLOAD_BEGINNING; k++) {
        const packet *p = &t->f->packets[k];
        if (p->dir == t->p->dir && packet_payload(p) > 0)
            return packet_payload(p);
    }
    return 0;
}

/* A binary packet (RFC 4253 6) of n bytes around a message of nmessage, which is of this type; returns where its
 * contents go. */
static uint8_t *put_binary(uint8_t *at, size_t n, size_t nmessage, unsigned type) {
    put32(at, (uint32_t)(n - 4));
    at[4] = (uint8_t)(n - 5 - nmessage);
    at[5] = (uint8_t)type;
    return at + 6;
}

enum { SSH_IGNORE = 2, KEXINIT = 20, NEWKEYS = 21, PADDING = 4, IGNORE_LEAST = 14, NEWKEYS_SIZE = 16 };

/* What may come at any time, and be of any size. */
static void put_ignore(uint8_t *at, size_t n) {
    if (n >= IGNORE_LEAST)
        put32(put_binary(at, n, n - 5 - PADDING, SSH_IGNORE), (uint32_t)(n - IGNORE_LEAST));
}

/* An offer of keys (RFC 4253 7.1) of n bytes; a name of our own among the key exchanges takes what is left. */
static void put_kexinit(const payload_task *t, uint8_t *at, size_t n) {
    static const char *const lists[] = {
        "ssh-ed25519", "aes128-ctr", "aes128-ctr", "hmac-sha2-256", "hmac-sha2-256", "none", "none", "", ""};
    static const char exchange[] = "curve25519-sha256,";
    enum { LISTS = sizeof lists / sizeof *lists, COOKIE = 16, EXCHANGE = sizeof exchange - 1, END = 5 };
    uint8_t *list = put_binary(at, n, n - 5 - PADDING, KEXINIT);
    payload_draw_bytes(t->f, KEXINIT, t->from_client, list, COOKIE);
    list += COOKIE;
    size_t left = n - (size_t)(list - at) - PADDING - END - 4;
    for (size_t l = 0; l < LISTS; l++)
        left -= 4 + strlen(lists[l]);
    put32(list, (uint32_t)left);
    memset(list + 4, 'n', left);
    memcpy(list + 4, exchange, EXCHANGE);
    list += 4 + left;
    for (size_t l = 0; l < LISTS; l++) {
        size_t nlist = strlen(lists[l]);
        put32(list, (uint32_t)nlist);
        memcpy(list + 4, lists[l], nlist);
        list += 4 + nlist;
    }
}

/* Keys are offered, where there is room, and taken into use. */
static void put_exchange(const payload_task *t, uint8_t *at, size_t n) {
    enum { KEXINIT_LEAST = 240 };
    size_t offer = n < NEWKEYS_SIZE ? 0 : n - NEWKEYS_SIZE;
    if (offer < IGNORE_LEAST) { /* NEWKEYS is never a side's first message */
        put_ignore(at, n);
        return;
    }
    if (offer >= KEXINIT_LEAST)
        put_kexinit(t, at, offer);
    else
        put_ignore(at, offer);
    put_binary(at + offer, NEWKEYS_SIZE, 1, NEWKEYS);
}

/* Each side's first segment is its line, its second offers keys and takes them into use; of what is encrypted after
 * that, only the lengths have a meaning. */
void payload_ssh(const payload_task *t) {
    static const char version[] = "SSH-2.0-nd";
    enum { VERSION = sizeof version - 1, LINE = 41, LINE_MAX = 255 };
    uint32_t offset = payload_stream_offset(t);
    if (offset == 0 && t->n >= VERSION + 2) {
        size_t nline = t->n <= LINE_MAX ? t->n : LINE;
        memcpy(t->bytes, version, VERSION);
        memset(t->bytes + VERSION, '.', nline - VERSION - 2);
        memcpy(t->bytes + nline - 2, "\r\n", 2);
        if (nline < t->n)
            put_exchange(t, t->bytes + nline, t->n - nline);
    } else if (offset > 0 && offset <= LINE_MAX && offset == first_size(t)) {
        put_exchange(t, t->bytes, t->n);
    } else {
        put_ignore(t->bytes, t->n);
    }
}
