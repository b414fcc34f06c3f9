/* Flows and their assembly.
 *
 * The table is an open-addressing hash (linear probing, at most half full) from the direction-free form of a key to the
 * newest flow with that key. A flow that has ended stays in the array of flows and only loses its slot. The hash is
 * seeded per table, so that nobody can prepare a capture that fills one chain; no result depends on the seed, because
 * flows are numbered by their first packets. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "base/memory.h"
#include "packet/flow.h"

/* Direction-free form: the smaller (address, port) first; equal exactly where the flows are. */
typedef struct pair_key {
    ip_address low, high;
    uint64_t rest; /* their ports (an echo identifier belongs to both), protocol, IP version */
} pair_key;

/* What the end-of-flow rules need to know about the past of a flow. */
typedef struct flow_state {
    int64_t last_ns; /* latest time seen: a clock that went back and returns does not end the flow */
    bool fin[2], reset;
} flow_state;

typedef struct slot {
    uint32_t hash;
    uint32_t number; /* flow number + 1; 0 = empty */
} slot;

struct flow_table {
    int64_t timeout_ns;
    uint64_t seed;
    size_t nflows, flow_capacity, state_capacity;
    flow *flows;
    flow_state *states;
    size_t nslots, nused; /* nslots is a power of two */
    slot *slots;
};

void flow_init(flow *f) {
    *f = (flow){.label = -1, .run = -1};
}

void flow_clear(flow *f) {
    free(f->packets);
    f->packets = NULL;
    f->npackets = f->capacity = 0;
}

status flow_add(flow *f, const packet *p) {
    if (f->npackets == f->capacity) {
        /* Half of all real flows have one or two packets: start there, then grow by half. */
        size_t capacity = f->capacity < 2 ? f->capacity + 1 : f->capacity + f->capacity / 2 + 1;
        packet *packets =
            capacity > SIZE_MAX / sizeof *packets ? NULL : realloc(f->packets, capacity * sizeof *packets);
        if (packets == NULL)
            return FAIL(ST_MEMORY, "no memory for a flow of %zu packets", capacity);
        f->packets = packets;
        f->capacity = capacity;
    }
    f->packets[f->npackets++] = *p;
    return ST_OK;
}

ip_address ip_address_get(const uint8_t *bytes, unsigned nbytes) {
    ip_address a = 0;
    for (unsigned i = 0; i < nbytes; i += 4)
        a = a << 32 | get32(bytes + i);
    return a;
}

void ip_address_put(ip_address a, uint8_t *bytes, unsigned nbytes) {
    for (unsigned i = nbytes; i > 0; i -= 4, a >>= 32)
        put32(bytes + i - 4, (uint32_t)a);
}

void ip_address_format(ip_address a, bool ipv6, char text[IP_ADDRESS_TEXT]) {
    uint8_t bytes[16];
    ip_address_put(a, bytes, ipv6 ? 16 : 4);
    inet_ntop(ipv6 ? AF_INET6 : AF_INET, bytes, text, IP_ADDRESS_TEXT);
}

static bool is_echo(unsigned proto, unsigned type) {
    return proto == PROTO_ICMP ? type == 8 || type == 0 : type == 128 || type == 129;
}

static bool has_ports(unsigned proto) {
    return proto != PROTO_ICMP && proto != PROTO_ICMPV6;
}

flow_key flow_key_of(const packet *p) {
    const uint8_t *l4 = packet_l4(p);
    unsigned n = packet_naddress(p);
    flow_key k = {.proto = (uint8_t)packet_proto(p), .ipv6 = packet_is_ipv6(p)};
    for (unsigned side = 0; side < 2; side++)
        k.addr[side] = ip_address_get(p->header + packet_address_at(p, side), n);
    if (has_ports(k.proto)) {
        k.port[0] = get16(l4);
        k.port[1] = get16(l4 + 2);
    } else if (is_echo(k.proto, l4[0])) {
        k.port[0] = get16(l4 + 4);
    }
    return k;
}

bool flow_key_equal(const flow_key *a, const flow_key *b) {
    return a->proto == b->proto && a->ipv6 == b->ipv6 && a->addr[0] == b->addr[0] && a->addr[1] == b->addr[1] &&
           a->port[0] == b->port[0] && a->port[1] == b->port[1];
}

flow_key flow_key_reverse(const flow_key *k) {
    flow_key r = *k;
    r.addr[0] = k->addr[1];
    r.addr[1] = k->addr[0];
    if (has_ports(k->proto)) { /* an echo identifier belongs to both sides */
        r.port[0] = k->port[1];
        r.port[1] = k->port[0];
    }
    return r;
}

static pair_key pair_of(const flow_key *k) {
    bool ports = has_ports(k->proto);
    bool turn = k->addr[0] > k->addr[1] || (k->addr[0] == k->addr[1] && ports && k->port[0] > k->port[1]);
    uint64_t first = k->port[ports && turn], second = ports ? k->port[!turn] : 0;
    return (pair_key){.low = k->addr[turn],
                      .high = k->addr[!turn],
                      .rest = first << 48 | second << 32 | (uint64_t)k->ipv6 << 8 | k->proto};
}

static bool pair_equal(const pair_key *a, const pair_key *b) {
    return a->low == b->low && a->high == b->high && a->rest == b->rest;
}

/* 64 x 64 -> 128 bit multiplication with both halves folded: every input bit reaches every output bit. */
static uint64_t fold_multiply(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t mix_pair(pair_key k, uint64_t seed) {
    /* Odd constants with half of their bits set; the first multiplication depends on the seed in both factors. */
    uint64_t turned = seed << 32 | seed >> 32;
    uint64_t h = fold_multiply((uint64_t)k.low ^ seed ^ 0x9e3779b97f4a7c15u, k.rest ^ turned ^ 0xd1b54a32d192ed03u);
    h = fold_multiply(h ^ (uint64_t)k.high ^ 0x8ebc6af09c88c6e3u, k.rest ^ seed ^ 0x589965cc75374cc3u);
    uint64_t upper = (uint64_t)(k.low >> 64), other = (uint64_t)(k.high >> 64);
    if (upper | other)
        h = fold_multiply(fold_multiply(h ^ upper ^ 0x1d8e4e27c47d124fu, seed ^ 0xeb44accab455d165u) ^ other, h | 1);
    return fold_multiply(h ^ 0xa0761d6478bd642fu, 0xe7037ed1a0b428dbu);
}

uint64_t flow_key_hash(const flow_key *k) {
    return mix_pair(pair_of(k), 0);
}

enum { FIRST_SLOTS = 256 };

status flow_table_new(flow_table **out, int64_t timeout_ns) {
    flow_table *t = NULL;
    *out = NULL;
    TRY(NEW(1, &t));
    status st = NEW(FIRST_SLOTS, &t->slots);
    if (st != ST_OK) {
        memory_free(&t);
        return st;
    }
    t->nslots = FIRST_SLOTS;
    t->timeout_ns = timeout_ns;
    if (getrandom(&t->seed, sizeof t->seed, GRND_NONBLOCK) != (ssize_t)sizeof t->seed)
        t->seed = 0x2545f4914f6cdd1du; /* no entropy this early: correct all the same, only predictable */
    *out = t;
    return ST_OK;
}

void flow_table_free(flow_table **table) {
    flow_table *t = *table;
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->nflows; i++)
        flow_clear(&t->flows[i]);
    free(t->flows);
    free(t->states);
    memory_free(&t->slots);
    memory_free(table);
}

size_t flow_table_count(const flow_table *t) {
    return t->nflows;
}

flow *flow_table_get(flow_table *t, size_t flow_number) {
    ASSERT(flow_number < t->nflows);
    return &t->flows[flow_number];
}

static status grow_slots(flow_table *t) {
    size_t nslots = t->nslots * 2;
    slot *slots = NULL;
    TRY(NEW(nslots, &slots));
    for (size_t i = 0; i < t->nslots; i++) {
        if (t->slots[i].number == 0)
            continue;
        size_t at = t->slots[i].hash & (nslots - 1);
        while (slots[at].number != 0)
            at = (at + 1) & (nslots - 1);
        slots[at] = t->slots[i];
    }
    memory_free(&t->slots);
    t->slots = slots;
    t->nslots = nslots;
    return ST_OK;
}

/* The slot of this key, or the empty slot where it belongs. */
static slot *find_slot(flow_table *t, pair_key key, uint32_t hash) {
    for (size_t at = hash & (t->nslots - 1);; at = (at + 1) & (t->nslots - 1)) {
        slot *s = &t->slots[at];
        if (s->number == 0)
            return s;
        if (s->hash == hash) {
            pair_key other = pair_of(&t->flows[s->number - 1].key);
            if (pair_equal(&other, &key))
                return s;
        }
    }
}

static unsigned tcp_flags(const packet *p) {
    return packet_proto(p) == PROTO_TCP ? packet_l4(p)[13] : 0;
}

/* Does p begin a new flow with the key of a flow in state s? */
static bool begins_anew(const flow_table *t, const flow_state *s, const packet *p) {
    /* As unsigned numbers the difference of any two times fits. */
    if (t->timeout_ns > 0 && p->time_ns > s->last_ns &&
        (uint64_t)p->time_ns - (uint64_t)s->last_ns > (uint64_t)t->timeout_ns)
        return true;
    return (tcp_flags(p) & (TCP_SYN | TCP_ACK)) == TCP_SYN && (s->reset || (s->fin[0] && s->fin[1]));
}

/* Append an empty flow with the key of p; on failure the table is as before. */
static status append_flow(flow_table *t, const flow_key *key, const packet *p) {
    if (t->nflows >= UINT32_MAX - 1)
        return FAIL(ST_RANGE, "more than %zu flows in one capture", t->nflows);
    TRY(memory_grow(&t->flows, &t->flow_capacity, t->nflows + 1, sizeof *t->flows));
    TRY(memory_grow(&t->states, &t->state_capacity, t->nflows + 1, sizeof *t->states));
    flow_init(&t->flows[t->nflows]);
    t->flows[t->nflows].key = *key;
    t->states[t->nflows] = (flow_state){.last_ns = p->time_ns};
    t->nflows++;
    return ST_OK;
}

status flow_table_place(flow_table *t, const packet *p, size_t *flow_number, uint8_t *dir) {
    flow_key key = flow_key_of(p);
    pair_key pair = pair_of(&key);
    uint32_t hash = (uint32_t)mix_pair(pair, t->seed);

    if (t->nused * 2 >= t->nslots)
        TRY(grow_slots(t));
    slot *s = find_slot(t, pair, hash);
    if (s->number == 0 || begins_anew(t, &t->states[s->number - 1], p)) {
        TRY(append_flow(t, &key, p));
        t->nused += s->number == 0;
        *s = (slot){.hash = hash, .number = (uint32_t)t->nflows};
    }

    size_t number = s->number - 1;
    flow_state *state = &t->states[number];
    *dir = !flow_key_equal(&key, &t->flows[number].key);
    unsigned flags = tcp_flags(p);
    state->fin[*dir] |= (flags & TCP_FIN) != 0;
    state->reset |= (flags & TCP_RST) != 0;
    if (p->time_ns > state->last_ns)
        state->last_ns = p->time_ns;
    *flow_number = number;
    return ST_OK;
}

status flow_table_add(flow_table *t, const packet *p, size_t *flow_number) {
    uint8_t dir;
    TRY(flow_table_place(t, p, flow_number, &dir));
    flow *f = &t->flows[*flow_number];
    TRY(flow_add(f, p));
    f->packets[f->npackets - 1].dir = dir;
    return ST_OK;
}
