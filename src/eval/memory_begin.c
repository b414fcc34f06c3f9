/* Equal beginnings: how far flows follow a training flow packet by packet in what shapes a conversation (direction,
 * protocol, TCP flags, payload length), whatever their other bits. */
#include "eval/memory_priv.h"

#include <stdlib.h>
#include "base/memory.h"

const size_t memory_begin_packets[BEGIN_COUNT] = {4, 8, 12, 0};

typedef struct beginnings {
    uint64_t hash[BEGIN_COUNT];
    bool known[BEGIN_COUNT]; /* the flow has so many packets */
} beginnings;

/* The finaliser of SplitMix64 (Steele, Lea, Flood 2014): equal hashes of unequal flows are not to be expected below
 * billions of flows. */
static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t shape_of(const packet *p) {
    unsigned proto = packet_proto(p), flags = proto == PROTO_TCP ? packet_l4(p)[13] : 0;
    return (uint64_t)packet_payload(p) << 17 | proto << 9 | flags << 1 | (p->dir != 0);
}

static beginnings begin(const flow *f) {
    beginnings b = {{0}, {false}};
    uint64_t hash = 0;
    for (size_t i = 0; i < f->npackets; i++) {
        hash = mix(hash ^ shape_of(&f->packets[i]));
        for (size_t n = 0; n < BEGIN_COUNT; n++)
            if (memory_begin_packets[n] == i + 1) {
                b.hash[n] = hash;
                b.known[n] = true;
            }
    }
    b.hash[BEGIN_COUNT - 1] = mix(hash ^ f->npackets);
    b.known[BEGIN_COUNT - 1] = f->npackets > 0;
    return b;
}

static int by_hash(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The hashes of a set's flows, sorted, by number of packets. */
typedef struct hashes {
    size_t n[BEGIN_COUNT];
    uint64_t *hash[BEGIN_COUNT];
} hashes;

static void hashes_clear(hashes *h) {
    for (size_t n = 0; n < BEGIN_COUNT; n++)
        memory_free(&h->hash[n]);
}

static status hashes_new(const eval_set *set, hashes *h) {
    for (size_t n = 0; n < BEGIN_COUNT; n++)
        TRY(NEW(set->n, &h->hash[n]));
    for (size_t i = 0; i < set->n; i++) {
        beginnings b = begin(&set->flows[i].f);
        for (size_t n = 0; n < BEGIN_COUNT; n++)
            if (b.known[n])
                h->hash[n][h->n[n]++] = b.hash[n];
    }
    for (size_t n = 0; n < BEGIN_COUNT; n++)
        qsort(h->hash[n], h->n[n], sizeof *h->hash[n], by_hash);
    return ST_OK;
}

/* Is the hash there, another time than the flow's own if it is one of the set? */
static bool has(const hashes *h, size_t n, uint64_t hash, bool own) {
    const uint64_t *first = h->hash[n], *end = first + h->n[n];
    const uint64_t *at = bsearch(&hash, first, h->n[n], sizeof *first, by_hash);
    return at && (!own || (at > first && at[-1] == hash) || (at + 1 < end && at[1] == hash));
}

static void add(const beginnings *b, const hashes h[QUERY_COUNT], size_t q, memory_begin *r) {
    for (size_t n = 0; n < BEGIN_COUNT; n++) {
        if (!b->known[n])
            continue;
        r->flows[n]++;
        r->as_train[n] += has(&h[QUERY_TRAIN], n, b->hash[n], q == QUERY_TRAIN);
        r->as_held_out[n] += has(&h[QUERY_HELD_OUT], n, b->hash[n], q == QUERY_HELD_OUT);
    }
}

status memory_begin_measure(const eval_world *w, memory_begin **r) {
    const eval_set *set[QUERY_COUNT] = {&w->synthetic, &w->held_out, &w->train};
    hashes h[QUERY_COUNT] = {{{0}, {NULL}}};
    size_t ngroups = w->nlabels + 2;
    status st = NEW(QUERY_COUNT * ngroups, r);
    for (size_t q = QUERY_HELD_OUT; q < QUERY_COUNT && !st; q++)
        st = hashes_new(set[q], &h[q]);
    for (size_t q = 0; q < QUERY_COUNT && !st; q++)
        for (size_t i = 0; i < set[q]->n; i++) {
            const flow *f = &set[q]->flows[i].f;
            bool labelled = f->label >= 0 && (size_t)f->label < w->nlabels;
            beginnings b = begin(f);
            add(&b, h, q, *r + q * ngroups + (labelled ? (size_t)f->label : w->nlabels));
            add(&b, h, q, *r + q * ngroups + w->nlabels + 1);
        }
    for (size_t q = 0; q < QUERY_COUNT; q++)
        hashes_clear(&h[q]);
    if (st)
        memory_free(r);
    return st;
}
