/* Identifiers of the real hosts and connections that came out again: exact values in common, beside how many chance
 * gives. Generated addresses, sequence numbers, timestamps and ports are drawn and not learnt, so anything beyond
 * chance is a fault. */
#include "eval/memory_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/memory.h"
#include "eval/neighbour.h"
#include "io/capture.h"

const char *const memory_leak_names[LEAK_COUNT] = {
    "IP addresses",         "IP addresses that identify nobody (documentation, multicast)",
    "TCP timestamp values", "TCP initial sequence numbers",
    "client ports",         "runs of three client ports",
};

typedef struct value_list {
    size_t n, capacity;
    ip_address *x; /* or any shorter value */
} value_list;

static status list_add(value_list *l, ip_address x) {
    if (l->n && l->x[l->n - 1] == x)
        return ST_OK;
    TRY(memory_grow(&l->x, &l->capacity, l->n + 1, sizeof *l->x));
    l->x[l->n++] = x;
    return ST_OK;
}

static int by_value(const void *a, const void *b) {
    ip_address x = *(const ip_address *)a, y = *(const ip_address *)b;
    return (x > y) - (x < y);
}

static void list_sort(value_list *l) {
    size_t kept = 0;
    if (l->n)
        qsort(l->x, l->n, sizeof *l->x, by_value);
    for (size_t i = 0; i < l->n; i++)
        if (!kept || l->x[kept - 1] != l->x[i])
            l->x[kept++] = l->x[i];
    l->n = kept;
}

/* A block of addresses that identifies nobody; of IPv6 its first 32 bits. */
typedef struct address_block {
    uint32_t first;
    unsigned nbits;
} address_block;

static bool is_reserved(ip_address address, bool ipv6) {
    static const address_block blocks[] = {
        {0x00000000, 8},  /* 0.0.0.0/8, this network (RFC 791) */
        {0x7f000000, 8},  /* 127.0.0.0/8, loopback (RFC 1122) */
        {0xc0000200, 24}, /* 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24: documentation (RFC 5737) */
        {0xc6336400, 24}, {0xcb007100, 24}, {0xe0000000, 4}, /* 224.0.0.0/4, multicast (RFC 5771) */
        {0xf0000000, 4},                                     /* 240.0.0.0/4, reserved and broadcast (RFC 1112, 919) */
    };
    static const address_block v6_blocks[] = {
        {0x00000000, 16},                  /* unspecified, loopback, IPv4-mapped (RFC 4291) */
        {0x20010db8, 32},                  /* 2001:db8::/32, 3fff::/20: documentation (RFC 3849, 9637) */
        {0x3fff0000, 20}, {0xfc000000, 7}, /* fc00::/7, of one site (RFC 4193) */
        {0xff000000, 8},                   /* ff00::/8, multicast (RFC 4291) */
    };
    const address_block *block = ipv6 ? v6_blocks : blocks;
    size_t n = ipv6 ? sizeof v6_blocks / sizeof *v6_blocks : sizeof blocks / sizeof *blocks;
    uint32_t first = (uint32_t)(ipv6 ? address >> 96 : address);
    for (size_t i = 0; i < n; i++)
        if ((uint64_t)(first ^ block[i].first) >> (32 - block[i].nbits) == 0)
            return true;
    return false;
}

/* Addresses of both versions are in one list: those of IPv6 below 2^32 are all reserved. */
static status add_address(value_list lists[LEAK_COUNT], ip_address address, bool ipv6) {
    return list_add(&lists[is_reserved(address, ipv6) ? LEAK_RESERVED : LEAK_ADDRESSES], address);
}

/* TSval of a TCP header of nbytes (RFC 7323); 0 where there is none. */
static uint32_t timestamp_of(const uint8_t *tcp, unsigned nbytes) {
    unsigned at = 20;
    while (at + 1 < nbytes && tcp[at] != 0) {
        unsigned length = tcp[at] == 1 ? 1 : tcp[at + 1];
        if (length == 0 || at + length > nbytes || (tcp[at] != 1 && length < 2))
            return 0;
        if (tcp[at] == 8 && length == 10)
            return get32(tcp + at + 2);
        at += length;
    }
    return 0;
}

static status scan_packet(const packet *p, value_list lists[LEAK_COUNT]) {
    unsigned nheader = p->nheader < PACKET_HEADER_MAX ? p->nheader : PACKET_HEADER_MAX, nip = packet_ip_nheader(p);
    if (nheader < (packet_is_ipv6(p) ? 40 : 20))
        return ST_OK;
    for (unsigned side = 0; side < 2; side++)
        TRY(add_address(lists, ip_address_get(p->header + packet_address_at(p, side), packet_naddress(p)),
                        packet_is_ipv6(p)));
    if (packet_proto(p) != PROTO_TCP || nip + 20 > nheader)
        return ST_OK;
    const uint8_t *tcp = p->header + nip;
    unsigned nbytes = (tcp[12] >> 4) * 4u;
    uint32_t timestamp = timestamp_of(tcp, nip + nbytes < nheader ? nbytes : nheader - nip);
    if (timestamp)
        TRY(list_add(&lists[LEAK_TIMESTAMPS], timestamp));
    return tcp[13] & TCP_SYN ? list_add(&lists[LEAK_FIRST_SEQUENCE], get32(tcp + 4)) : ST_OK;
}

/* The port a flow's client chose; 0 where there is none, or where it is a service's (as in NTP between servers). */
static uint16_t client_port(const flow *f) {
    unsigned client = neighbour_client(f);
    uint16_t port = f->key.port[client];
    bool chosen =
        (f->key.proto == PROTO_TCP || f->key.proto == PROTO_UDP) && port >= 1024 && port != f->key.port[!client];
    return chosen ? port : 0;
}

static status scan_ports(const eval_set *set, value_list lists[LEAK_COUNT]) {
    uint16_t a = 0, b = 0;
    for (size_t i = 0; i < set->n; i++) {
        uint16_t c = client_port(&set->flows[i].f);
        if (!c)
            continue;
        TRY(list_add(&lists[LEAK_PORTS], c));
        if (a && a != b && b != c && a != c)
            TRY(list_add(&lists[LEAK_PORT_RUNS], (uint64_t)a << 32 | (uint64_t)b << 16 | c));
        a = b;
        b = c;
    }
    return ST_OK;
}

static status scan_set(const eval_set *set, value_list lists[LEAK_COUNT]) {
    for (size_t i = 0; i < set->n; i++) {
        const flow *f = &set->flows[i].f;
        TRY(add_address(lists, f->key.addr[0], f->key.ipv6));
        TRY(add_address(lists, f->key.addr[1], f->key.ipv6));
        for (size_t k = 0; k < f->npackets; k++)
            TRY(scan_packet(&f->packets[k], lists));
    }
    return scan_ports(set, lists);
}

static void describe(memory_identifier what, ip_address x, char *text, size_t nbytes) {
    unsigned a = (unsigned)(x >> 32), b = (unsigned)(x >> 16 & 0xffff), c = (unsigned)(x & 0xffff);
    char address[IP_ADDRESS_TEXT];
    if (what == LEAK_ADDRESSES || what == LEAK_RESERVED) {
        ip_address_format(x, x > UINT32_MAX, address);
        snprintf(text, nbytes, "%s", address);
    } else if (what == LEAK_PORT_RUNS) {
        snprintf(text, nbytes, "%u, %u, %u", a, b, c);
    } else {
        snprintf(text, nbytes, "%llu", (unsigned long long)x);
    }
}

static void intersect(memory_identifier what, const value_list *real, const value_list *synthetic, memory_leak *r) {
    r->real = (double)real->n;
    r->synthetic = (double)synthetic->n;
    for (size_t i = 0, k = 0; i < real->n && k < synthetic->n;) {
        if (real->x[i] == synthetic->x[k]) {
            if (r->shared++ == 0)
                describe(what, real->x[i], r->example, sizeof r->example);
            i++;
            k++;
        } else if (real->x[i] < synthetic->x[k]) {
            i++;
        } else {
            k++;
        }
    }
}

/* Values that two independent sets share: drawn evenly from all 32-bit numbers, ports from the range that was seen. */
static void expect(memory_leak r[LEAK_COUNT], const value_list *real, const value_list *synthetic) {
    const double words = 4294967296.0;
    double low = 65536, high = 0;
    const value_list *ports[2] = {&real[LEAK_PORTS], &synthetic[LEAK_PORTS]};
    for (size_t i = 0; i < 2; i++)
        if (ports[i]->n) {
            double first = (double)ports[i]->x[0], last = (double)ports[i]->x[ports[i]->n - 1];
            low = first < low ? first : low;
            high = last > high ? last : high;
        }
    double range = high >= low ? high - low + 1 : 1;
    const double choices[LEAK_COUNT] = {
        [LEAK_TIMESTAMPS] = words,
        [LEAK_FIRST_SEQUENCE] = words,
        [LEAK_PORTS] = range,
        [LEAK_PORT_RUNS] = range * range * range,
    };
    for (size_t k = 0; k < LEAK_COUNT; k++)
        r[k].chance = choices[k] > 0 ? r[k].real * r[k].synthetic / choices[k] : -1;
}

status memory_leak_measure(const eval_world *w, memory_leak r[LEAK_COUNT]) {
    value_list real[LEAK_COUNT] = {{0, 0, NULL}}, synthetic[LEAK_COUNT] = {{0, 0, NULL}};
    status st = scan_set(&w->train, real);
    if (!st)
        st = scan_set(&w->held_out, real);
    if (!st)
        st = scan_set(&w->synthetic, synthetic);
    for (size_t k = 0; k < LEAK_COUNT; k++) {
        list_sort(&real[k]);
        list_sort(&synthetic[k]);
        r[k] = (memory_leak){0};
        intersect((memory_identifier)k, &real[k], &synthetic[k], &r[k]);
    }
    expect(r, real, synthetic);
    for (size_t k = 0; k < LEAK_COUNT; k++) {
        free(real[k].x);
        free(synthetic[k].x);
    }
    return st;
}

static uint64_t mac_of(const uint8_t *b) {
    return (uint64_t)get16(b) << 32 | get32(b + 2);
}

enum { ETHERNET = 1 }; /* LINKTYPE_ */

static status scan_capture(capture *c, value_list *macs, memory_macs *r) {
    capture_record record;
    bool end = false;
    for (size_t i = 0; i < MEMORY_FRAMES_MAX; i++) {
        TRY(capture_next(c, &record, &end));
        if (end)
            break;
        if (record.link_type != ETHERNET || record.caplen < 14)
            continue;
        r->frames++;
        TRY(list_add(macs, mac_of(record.bytes)));
        TRY(list_add(macs, mac_of(record.bytes + 6)));
    }
    list_sort(macs);
    return ST_OK;
}

status memory_macs_scan(const char *folder, memory_macs *r) {
    char *entry = (char *)folder;
    text_list entries = {1, &entry}, files = {0, NULL};
    value_list macs = {0, 0, NULL};
    status st = ST_OK;
    *r = (memory_macs){0};
    if (!folder || capture_list(&entries, &files) != ST_OK)
        return ST_OK;
    for (size_t i = 0; i < files.n && !st; i++) {
        capture *c = NULL;
        if (capture_open(&c, files.item[i]) != ST_OK)
            continue; /* the other parts say so */
        double before = r->frames;
        st = scan_capture(c, &macs, r);
        r->captures += capture_link_type(c) == ETHERNET || r->frames > before;
        capture_close(&c);
    }
    r->addresses = (double)macs.n;
    for (size_t i = 0; i < macs.n; i++)
        r->global += (macs.x[i] >> 40 & 2) == 0;
    free(macs.x);
    text_list_clear(&files);
    return st;
}
