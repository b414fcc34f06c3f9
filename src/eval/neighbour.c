/* Packing of flows into words, and Hamming distances by population count.
 *
 * A packet's 112 bytes, ordered so that what most packets have shares few words: IPv4 8, TCP 10, TCP options 40 (padded
 * to 46), UDP 6, ICMP 2, IPv4 options 40. IPv6 lends its fields of the same meaning to the IPv4 bytes. The bits present
 * in either of two flows need no third count: they are (bits of a + bits of b + bits present in one only) / 2. */
#include "eval/neighbour.h"

#include <string.h>
#include "base/memory.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    AT_IP = 0,
    AT_TCP = 8,
    AT_TCP_OPTIONS = 18,
    AT_UDP = 64,
    AT_ICMP = 70,
    AT_IP_OPTIONS = 72,
    ROW_BYTES = NEIGHBOUR_ROW_WORDS * 8
};
enum { OPTION_EOL = 0, OPTION_NOP = 1, OPTION_SACK = 5, OPTION_TIMESTAMPS = 8 };

typedef struct row_bytes {
    uint8_t value[ROW_BYTES], present[ROW_BYTES];
} row_bytes;

/* n header bytes from offset `from` to place `at`, as many as the packet has and the place holds. */
static void take(row_bytes *b, unsigned at, const packet *p, unsigned from, unsigned n) {
    unsigned nheader = p->nheader < PACKET_HEADER_MAX ? p->nheader : PACKET_HEADER_MAX;
    for (unsigned i = 0; i < n && from + i < nheader; i++) {
        b->value[at + i] = p->header[from + i];
        b->present[at + i] = 0xff;
    }
}

static void vacate(row_bytes *b, unsigned at, unsigned n) {
    memset(b->value + at, 0, n);
    memset(b->present + at, 0, n);
}

/* The values of timestamps, and the sequence numbers of selective acknowledgements; kinds and lengths stay. */
static void vacate_option_values(row_bytes *b, unsigned nbytes) {
    const uint8_t *list = b->value + AT_TCP_OPTIONS;
    unsigned at = 0;
    while (at + 1 < nbytes && list[at] != OPTION_EOL) {
        if (list[at] == OPTION_NOP) {
            at++;
            continue;
        }
        unsigned length = list[at + 1];
        if (length < 2 || at + length > nbytes)
            return;
        if (list[at] == OPTION_TIMESTAMPS || list[at] == OPTION_SACK)
            vacate(b, AT_TCP_OPTIONS + at + 2, length - 2);
        at += length;
    }
}

/* The port of the side that is not the client. */
static void take_service_port(row_bytes *b, unsigned at, const packet *p, unsigned l4, unsigned client) {
    unsigned skip = p->dir == client ? 2 : 0;
    take(b, at + skip, p, l4 + skip, 2);
}

void neighbour_pack(const packet *p, unsigned client, neighbour_row *row) {
    row_bytes b = {{0}, {0}};
    unsigned l4 = packet_ip_nheader(p);
    if (packet_is_ipv6(p)) { /* in the places of IPv4's: version, payload length, hop limit, next header */
        take(&b, AT_IP, p, 0, 1);
        take(&b, AT_IP + 2, p, 4, 2);
        take(&b, AT_IP + 6, p, 7, 1);
        take(&b, AT_IP + 7, p, 6, 1);
    } else {
        take(&b, AT_IP, p, 0, 4);
        take(&b, AT_IP + 4, p, 6, 4); /* flags, offset, TTL, protocol */
        if (l4 > 20)
            take(&b, AT_IP_OPTIONS, p, 20, l4 - 20);
    }
    if (packet_proto(p) == PROTO_TCP) {
        unsigned nbytes = (packet_l4(p)[12] >> 4) * 4u;
        take_service_port(&b, AT_TCP, p, l4, client);
        take(&b, AT_TCP + 4, p, l4 + 12, 4); /* data offset, flags, window */
        take(&b, AT_TCP + 8, p, l4 + 18, 2); /* urgent pointer */
        if (nbytes > 20) {
            take(&b, AT_TCP_OPTIONS, p, l4 + 20, nbytes - 20);
            vacate_option_values(&b, nbytes - 20);
        }
    } else if (packet_proto(p) == PROTO_UDP) {
        take_service_port(&b, AT_UDP, p, l4, client);
        take(&b, AT_UDP + 4, p, l4 + 4, 2); /* length */
    } else if (packet_is_icmp(p)) {
        take(&b, AT_ICMP, p, l4, 2); /* type, code */
    }
    memcpy(row->value, b.value, ROW_BYTES);
    memcpy(row->present, b.present, ROW_BYTES);
}

unsigned neighbour_client(const flow *f) {
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        unsigned flags = packet_l4(p)[13];
        if (packet_proto(p) == PROTO_TCP && (flags & TCP_SYN))
            return flags & TCP_ACK ? !p->dir : p->dir != 0;
    }
    return f->key.port[0] < f->key.port[1];
}

typedef struct packed_set {
    size_t n;
    uint64_t *words;  /* (n, 2, nwords): values, presences */
    uint32_t *nbits;  /* (n) present bits */
    uint32_t *extent; /* (n) words up to the last that is not vacant, a multiple of 8 */
} packed_set;

struct neighbours {
    size_t nsets, npackets, nwords;
    uint32_t place[NEIGHBOUR_PACKETS * NEIGHBOUR_ROW_WORDS]; /* of a stored word */
    bool stored[NEIGHBOUR_PACKETS * NEIGHBOUR_ROW_WORDS];
    neighbour_count *count;
    packed_set set[NEIGHBOUR_SETS];
};

static size_t packets_of(const neighbours *x, const flow *f) {
    return f->npackets < x->npackets ? f->npackets : x->npackets;
}

/* Mark the words that flow f has. */
static void mark(neighbours *x, const flow *f) {
    unsigned client = neighbour_client(f);
    for (size_t i = 0; i < packets_of(x, f); i++) {
        neighbour_row row;
        neighbour_pack(&f->packets[i], client, &row);
        for (size_t k = 0; k < NEIGHBOUR_ROW_WORDS; k++)
            x->stored[i * NEIGHBOUR_ROW_WORDS + k] |= row.present[k] != 0;
    }
}

static void store(const neighbours *x, const flow *f, packed_set *to, size_t at) {
    uint64_t *value = to->words + at * 2 * x->nwords, *present = value + x->nwords;
    unsigned client = neighbour_client(f);
    size_t extent = 0;
    uint32_t nbits = 0;
    for (size_t i = 0; i < packets_of(x, f); i++) {
        neighbour_row row;
        neighbour_pack(&f->packets[i], client, &row);
        for (size_t k = 0; k < NEIGHBOUR_ROW_WORDS; k++) {
            if (!row.present[k])
                continue;
            size_t place = x->place[i * NEIGHBOUR_ROW_WORDS + k];
            value[place] = row.value[k];
            present[place] = row.present[k];
            nbits += (uint32_t)__builtin_popcountll(row.present[k]);
            extent = place + 1;
        }
    }
    to->nbits[at] = nbits;
    to->extent[at] = (uint32_t)((extent + 7) / 8 * 8);
}

static status pack_sets(neighbours *x, const eval_set *const *sets) {
    for (size_t s = 0; s < x->nsets; s++)
        for (size_t i = 0; i < sets[s]->n; i++)
            mark(x, &sets[s]->flows[i].f);
    for (size_t i = 0; i < x->npackets * NEIGHBOUR_ROW_WORDS; i++)
        if (x->stored[i])
            x->place[i] = (uint32_t)x->nwords++;
    x->nwords = (x->nwords + 7) / 8 * 8;
    for (size_t s = 0; s < x->nsets; s++) {
        packed_set *to = &x->set[s];
        to->n = sets[s]->n;
        TRY(memory_new(to->n, 2 * x->nwords * sizeof *to->words, &to->words));
        TRY(NEW(to->n, &to->nbits));
        TRY(NEW(to->n, &to->extent));
        for (size_t i = 0; i < to->n; i++)
            store(x, &sets[s]->flows[i].f, to, i);
    }
    return ST_OK;
}

status neighbours_new(neighbours **out, size_t nsets, const eval_set *const *sets, size_t npackets) {
    ASSERT(nsets <= NEIGHBOUR_SETS);
    neighbours *x;
    *out = NULL;
    TRY(NEW(1, &x));
    x->nsets = nsets;
    x->npackets = npackets < NEIGHBOUR_PACKETS ? npackets : NEIGHBOUR_PACKETS;
    bool usable;
    neighbour_count *way;
    for (size_t i = 0; (way = neighbour_way(i, &usable)); i++)
        if (usable)
            x->count = way;
    status st = pack_sets(x, sets);
    if (st)
        neighbours_free(&x);
    *out = x;
    return st;
}

void neighbours_free(neighbours **x) {
    if (!*x)
        return;
    for (size_t s = 0; s < NEIGHBOUR_SETS; s++) {
        memory_free(&(*x)->set[s].words);
        memory_free(&(*x)->set[s].nbits);
        memory_free(&(*x)->set[s].extent);
    }
    memory_free(x);
}

static float distance_of(const neighbours *x, const packed_set *a, size_t i, const packed_set *b, size_t j) {
    uint64_t vacancy;
    size_t extent = a->extent[i] > b->extent[j] ? a->extent[i] : b->extent[j], each = 2 * x->nwords;
    uint64_t differ = x->count(a->words + i * each, b->words + j * each, extent, x->nwords, &vacancy);
    uint64_t either = (a->nbits[i] + b->nbits[j] + vacancy) / 2;
    return either ? (float)differ / (float)either : 0;
}

void neighbours_distances(const neighbours *x, size_t from, size_t n, const uint32_t *number, size_t to,
                          float *distance) {
    const packed_set *a = &x->set[from], *b = &x->set[to];
    for (size_t j = 0; j < b->n; j++)
        for (size_t i = 0; i < n; i++)
            distance[i * b->n + j] = distance_of(x, a, number[i], b, j);
}

/* Bits set in x, without the processor's help (Warren, Hacker's Delight, 5-1). */
static inline uint64_t bits_set(uint64_t x) {
    x -= x >> 1 & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return x * 0x0101010101010101u >> 56;
}

static uint64_t count_portable(const uint64_t *a, const uint64_t *b, size_t nwords, size_t stride, uint64_t *vacancy) {
    uint64_t differ = 0, vacant = 0;
    for (size_t i = 0; i < nwords; i++) {
        uint64_t one_only = a[stride + i] ^ b[stride + i];
        vacant += bits_set(one_only);
        differ += bits_set((a[i] ^ b[i]) | one_only);
    }
    *vacancy = vacant;
    return differ;
}

#if defined(__x86_64__)
__attribute__((target("popcnt"))) static uint64_t count_popcnt(const uint64_t *a, const uint64_t *b, size_t nwords,
                                                               size_t stride, uint64_t *vacancy) {
    uint64_t differ = 0, vacant = 0;
    for (size_t i = 0; i < nwords; i++) {
        uint64_t one_only = a[stride + i] ^ b[stride + i];
        vacant += (uint64_t)__builtin_popcountll(one_only);
        differ += (uint64_t)__builtin_popcountll((a[i] ^ b[i]) | one_only);
    }
    *vacancy = vacant;
    return differ;
}

__attribute__((target("avx512f,avx512vpopcntdq"))) static uint64_t
count_avx512(const uint64_t *a, const uint64_t *b, size_t nwords, size_t stride, uint64_t *vacancy) {
    __m512i differ = _mm512_setzero_si512(), vacant = _mm512_setzero_si512();
    for (size_t i = 0; i < nwords; i += 8) {
        __m512i one_only = _mm512_xor_si512(_mm512_loadu_si512(a + stride + i), _mm512_loadu_si512(b + stride + i));
        __m512i values = _mm512_xor_si512(_mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i));
        vacant = _mm512_add_epi64(vacant, _mm512_popcnt_epi64(one_only));
        differ = _mm512_add_epi64(differ, _mm512_popcnt_epi64(_mm512_or_si512(values, one_only)));
    }
    *vacancy = (uint64_t)_mm512_reduce_add_epi64(vacant);
    return (uint64_t)_mm512_reduce_add_epi64(differ);
}
#endif

neighbour_count *neighbour_way(size_t i, bool *usable) {
    *usable = true;
    switch (i) {
    case 0:
        return count_portable;
#if defined(__x86_64__)
    case 1:
        *usable = __builtin_cpu_supports("popcnt");
        return count_popcnt;
    case 2:
        *usable = __builtin_cpu_supports("avx512vpopcntdq");
        return count_avx512;
#endif
    default:
        return NULL;
    }
}
