/* The relative layout's escape: the few bytes of a row that say what the cells have no place for.
 *
 * First come the records that the option symbols RAW ask for (relative_options.c), then items, in the order of their
 * codes, until a zero byte or the end. An item is its code and its value, most significant byte first:
 *
 *    code  | value
 *    1 .. 8| what a header value is, where it is not what follows from the rest (relative_item)
 *    9     | number of 32-bit words, IPv6: protocol number of the first extension header, then the bytes of IPv4's
 *          | options or IPv6's extension headers, with runs
 *
 * With runs: after two equal bytes it says how many more follow.
 *
 * Any bytes decode: what an item does not apply to, or cannot be, is left out. */
#include <string.h>
#include "packet/relative_priv.h"

const uint8_t relative_item_nbytes[ITEM_COUNT] = {
    [ITEM_LENGTH] = 2, [ITEM_FRAGMENT] = 2, [ITEM_CHECKSUM] = 2,   [ITEM_FLOW_LABEL] = 3,
    [ITEM_ACK] = 4,    [ITEM_URGENT] = 2,   [ITEM_UDP_LENGTH] = 2, [ITEM_WIRE] = 3};

void escape_put(relative_escape *e, const uint8_t *bytes, unsigned nbytes) {
    if (e->overflow || nbytes > RELATIVE_ESCAPE_BYTES - e->nbytes) {
        e->overflow = true;
        return;
    }
    memcpy(e->bytes + e->nbytes, bytes, nbytes);
    e->nbytes += nbytes;
}

void escape_store(const relative_escape *e, int8_t *row) {
    rel_put(row, REL_ESCAPE, e->nbytes > 0);
    int8_t *cells = row + relative_fields[REL_ESCAPE_BYTES].first;
    for (unsigned i = 0; e->nbytes > 0 && i < 8 * RELATIVE_ESCAPE_BYTES; i++)
        cells[i] = i < 8 * e->nbytes && e->bytes[i / 8] >> (7 - i % 8) & 1 ? 1 : -1;
}

void escape_load(relative_escape *e, const int8_t *row) {
    *e = (relative_escape){.nbytes = 0};
    if (!rel_get(row, REL_ESCAPE))
        return;
    const int8_t *cells = row + relative_fields[REL_ESCAPE_BYTES].first;
    for (unsigned i = 0; i < 8 * RELATIVE_ESCAPE_BYTES; i++)
        e->bytes[i / 8] = (uint8_t)(e->bytes[i / 8] << 1 | (cells[i] > 0));
}

bool item_applies(relative_item item, const relative_view *v, const packet *p) {
    switch (item) {
    case ITEM_LENGTH:
    case ITEM_WIRE:
        return true;
    case ITEM_FRAGMENT:
    case ITEM_CHECKSUM:
        return !v->ipv6;
    case ITEM_FLOW_LABEL:
        return v->ipv6;
    case ITEM_ACK:
        return v->proto == PROTO_TCP && !(p->header[v->nip + 13] & TCP_ACK);
    case ITEM_URGENT:
        return v->proto == PROTO_TCP;
    case ITEM_UDP_LENGTH:
        return v->proto == PROTO_UDP;
    default:
        return false;
    }
}

uint32_t item_get(relative_item item, const relative_view *v, const packet *p) {
    const uint8_t *h = p->header, *l4 = h + v->nip;
    switch (item) {
    case ITEM_LENGTH:
        return get16(h + (v->ipv6 ? 4 : 2));
    case ITEM_FRAGMENT:
        return get16(h + 6) & 0x1fff;
    case ITEM_CHECKSUM:
        return get16(h + 10);
    case ITEM_FLOW_LABEL:
        return relative_flow_label(p);
    case ITEM_ACK:
        return get32(l4 + 8);
    case ITEM_URGENT:
        return get16(l4 + 18);
    case ITEM_UDP_LENGTH:
        return get16(l4 + 4);
    case ITEM_WIRE:
        return p->wire_len;
    default:
        return 0;
    }
}

void item_set(relative_item item, const relative_view *v, packet *p, uint32_t value) {
    uint8_t *h = p->header, *l4 = h + v->nip;
    switch (item) {
    case ITEM_LENGTH:
        put16(h + (v->ipv6 ? 4 : 2), value & 0xffff);
        break;
    case ITEM_FRAGMENT:
        put16(h + 6, (get16(h + 6) & 0xe000u) | (value & 0x1fff));
        break;
    case ITEM_CHECKSUM:
        put16(h + 10, value & 0xffff);
        break;
    case ITEM_FLOW_LABEL:
        put32(h, (get32(h) & 0xfff00000u) | (value & 0xfffff));
        break;
    case ITEM_ACK:
        put32(l4 + 8, value);
        break;
    case ITEM_URGENT:
        put16(l4 + 18, value & 0xffff);
        break;
    case ITEM_UDP_LENGTH:
        put16(l4 + 4, value & 0xffff);
        break;
    case ITEM_WIRE:
        p->wire_len = value;
        break;
    default:
        break;
    }
}

uint32_t item_expected(relative_item item, const relative_view *v, const relative_state *s, unsigned payload,
                       const packet *p) {
    uint32_t total;
    switch (item) {
    case ITEM_LENGTH:
        return p->nheader + payload - (v->ipv6 ? 40 : 0);
    case ITEM_CHECKSUM:
        return checksum_ipv4(p);
    case ITEM_FLOW_LABEL:
        return s->dir[p->dir].flow_label;
    case ITEM_UDP_LENGTH:
        return 8 + payload;
    case ITEM_WIRE:
        total = packet_total_len(p);
        return total > s->wire_min[p->dir] ? total : s->wire_min[p->dir];
    default:
        return 0;
    }
}

void escape_put_runs(relative_escape *e, const uint8_t *bytes, unsigned nbytes) {
    bool pair = false; /* the byte before is there and no end of a run */
    for (unsigned i = 0; i < nbytes; i++) {
        uint8_t run[2] = {bytes[i], 0};
        bool second = pair && bytes[i] == bytes[i - 1];
        for (; second && i + 1 < nbytes && bytes[i + 1] == bytes[i]; i++)
            run[1]++;
        escape_put(e, run, second ? 2 : 1);
        pair = !second;
    }
}

bool escape_take_runs(const uint8_t *from, unsigned nfrom, unsigned *nused, uint8_t *bytes, unsigned most,
                      unsigned *nbytes) {
    unsigned at = 0, n = 0;
    bool pair = false;
    while (n < most && at < nfrom) {
        uint8_t byte = from[at++];
        bytes[n++] = byte;
        bool second = pair && byte == bytes[n - 2];
        if (second) {
            if (at == nfrom || from[at] > most - n)
                return false;
            memset(bytes + n, byte, from[at]);
            n += from[at++];
        }
        pair = !second;
    }
    *nused = at;
    *nbytes = n;
    return true;
}

static void put_extension(relative_escape *e, const relative_view *v, const packet *p) {
    unsigned at = v->ipv6 ? 40 : 20;
    if (v->nip == at)
        return;
    const uint8_t head[] = {ITEM_EXTENSION, (uint8_t)((v->nip - at) / 4), p->header[6]};
    escape_put(e, head, v->ipv6 ? 3 : 2);
    escape_put_runs(e, p->header + at, v->nip - at);
}

void escape_put_items(relative_escape *e, const relative_view *v, const relative_state *s, const packet *p) {
    unsigned payload = packet_payload(p);
    for (relative_item item = ITEM_END + 1; item < ITEM_EXTENSION; item++) {
        if (!item_applies(item, v, p))
            continue;
        uint32_t value = item_get(item, v, p);
        if (value == item_expected(item, v, s, payload, p))
            continue;
        uint8_t bytes[5] = {(uint8_t)item};
        unsigned n = relative_item_nbytes[item];
        for (unsigned i = 0; i < n; i++)
            bytes[1 + i] = (uint8_t)(value >> 8 * (n - 1 - i));
        escape_put(e, bytes, 1 + n);
    }
    put_extension(e, v, p);
}

/* The words of an extension from e->nbytes on; false where they run past the end or are too many. */
static bool get_extension(relative_escape *e, bool ipv6, relative_items *items) {
    unsigned at = e->nbytes, nused, n;
    if (at + (ipv6 ? 2 : 1) > RELATIVE_ESCAPE_BYTES)
        return false;
    unsigned nbytes = e->bytes[at++] * 4u;
    if (nbytes == 0 || nbytes > (ipv6 ? 4 * EXTENSION_WORDS : 40))
        return false;
    items->next_header = ipv6 ? e->bytes[at++] : 0;
    if (!escape_take_runs(e->bytes + at, RELATIVE_ESCAPE_BYTES - at, &nused, items->extension, nbytes, &n) ||
        n < nbytes)
        return false;
    e->nbytes = at + nused;
    items->nextension = nbytes;
    return true;
}

void escape_get_items(relative_escape *e, bool ipv6, relative_items *items) {
    items->set = 0;
    items->nextension = 0;
    while (e->nbytes < RELATIVE_ESCAPE_BYTES) {
        unsigned item = e->bytes[e->nbytes];
        if (item == ITEM_END || item >= ITEM_COUNT)
            return;
        unsigned n = relative_item_nbytes[item];
        if (n > RELATIVE_ESCAPE_BYTES - 1 - e->nbytes)
            return;
        const uint8_t *bytes = e->bytes + e->nbytes + 1;
        e->nbytes += 1 + n;
        if (item == ITEM_EXTENSION) {
            if (!get_extension(e, ipv6, items))
                return;
            continue;
        }
        uint32_t value = 0;
        for (unsigned i = 0; i < n; i++)
            value = value << 8 | bytes[i];
        items->set |= 1u << item;
        items->value[item] = value;
    }
}
