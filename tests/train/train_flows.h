/* A small dataset for the training tests: conversations of three kinds whose fields come from a counter-based stream.
 *
 * Labels web (TCP to port 443), chat (TCP to 5222, another TTL and window) and dns (UDP to 53), and flows without a
 * label (UDP to 123). Runs day-1 (most flows) and day-2 (every fifth). */
#ifndef ND_TESTS_TRAIN_FLOWS_H
#define ND_TESTS_TRAIN_FLOWS_H

#include <string.h>
#include "base/rng.h"
#include "io/dataset.h"

enum { KIND_WEB, KIND_CHAT, KIND_DNS, KIND_NONE, KIND_COUNT };

typedef struct conversation {
    flow *f;
    rng r;
    unsigned proto, ttl, window;
    uint32_t addr[2], seq[2];
    unsigned port[2], id[2];
    int64_t time;
} conversation;

static inline status say(conversation *c, unsigned dir, unsigned tcp_flags, unsigned payload) {
    packet p = {.dir = (uint8_t)dir, .nheader = c->proto == PROTO_TCP ? 40 : 28, .frame = (uint32_t)c->f->npackets};
    uint8_t *ip = p.header, *l4 = p.header + 20;
    ip[0] = 0x45;
    put16(ip + 2, p.nheader + payload);
    put16(ip + 4, c->id[dir]++);
    ip[6] = 0x40;
    ip[8] = (uint8_t)(dir == 0 ? 64 : c->ttl);
    ip[9] = (uint8_t)c->proto;
    put32(ip + 12, c->addr[dir]);
    put32(ip + 16, c->addr[1 - dir]);
    put16(l4, c->port[dir]);
    put16(l4 + 2, c->port[1 - dir]);
    if (c->proto == PROTO_UDP) {
        put16(l4 + 4, 8 + payload);
    } else {
        put32(l4 + 4, c->seq[dir]);
        put32(l4 + 8, tcp_flags & TCP_ACK ? c->seq[1 - dir] : 0);
        l4[12] = 5 << 4;
        l4[13] = (uint8_t)tcp_flags;
        put16(l4 + 14, c->window);
        c->seq[dir] += payload + ((tcp_flags & (TCP_SYN | TCP_FIN)) != 0);
    }
    checksum_fill(&p, false);
    p.wire_len = p.nheader + payload;
    p.time_ns = c->time += 1000 * (1 + rng_below(&c->r, 50000));
    return flow_add(c->f, &p);
}

static inline status say_tcp(conversation *c, unsigned nrequests) {
    TRY(say(c, 0, TCP_SYN, 0));
    TRY(say(c, 1, TCP_SYN | TCP_ACK, 0));
    TRY(say(c, 0, TCP_ACK, 0));
    for (unsigned i = 0; i < nrequests; i++) {
        TRY(say(c, 0, TCP_PSH | TCP_ACK, 60 + rng_below(&c->r, 200)));
        TRY(say(c, 1, TCP_PSH | TCP_ACK, 400 + rng_below(&c->r, 900)));
        TRY(say(c, 0, TCP_ACK, 0));
    }
    TRY(say(c, 0, TCP_FIN | TCP_ACK, 0));
    TRY(say(c, 1, TCP_FIN | TCP_ACK, 0));
    return say(c, 0, TCP_ACK, 0);
}

/* Flow `number` of a kind. Caller clears. */
static inline status train_flow(unsigned kind, uint64_t number, flow *f) {
    static const unsigned port[KIND_COUNT] = {443, 5222, 53, 123};
    conversation c = {.f = f, .r = rng_make(11, number * KIND_COUNT + kind, RNG_TEST)};
    flow_init(f);
    f->label = kind == KIND_NONE ? -1 : (int32_t)kind;
    f->run = number % 5 == 4;
    c.proto = kind == KIND_WEB || kind == KIND_CHAT ? PROTO_TCP : PROTO_UDP;
    c.ttl = kind == KIND_CHAT ? 50 : 57;
    c.window = kind == KIND_CHAT ? 29200 : 64240;
    c.addr[0] = 0x0a000001u + rng_below(&c.r, 60000);
    c.addr[1] = 0xc0000200u + kind;
    c.port[0] = 32768 + rng_below(&c.r, 28000);
    c.port[1] = port[kind];
    c.time = 1700000000000000000 + (int64_t)number * 1000000000;
    for (unsigned dir = 0; dir < 2; dir++) {
        c.seq[dir] = rng_u32(&c.r);
        c.id[dir] = 1 + rng_below(&c.r, 60000);
    }
    if (c.proto == PROTO_TCP) {
        TRY(say_tcp(&c, 1 + rng_below(&c.r, 2)));
    } else {
        TRY(say(&c, 0, 0, 30 + rng_below(&c.r, 20)));
        TRY(say(&c, 1, 0, 80 + rng_below(&c.r, 100)));
    }
    f->key = flow_key_of(&f->packets[0]);
    return ST_OK;
}

/* A dataset with the tables of these flows, and none of them yet. web: that label's prompt. */
static inline status train_dataset_prompted(const char *path, const char *web, dataset **d) {
    char *label[] = {"web", "chat", "dns"}, *macro[] = {"", "", ""};
    char *prompt[] = {(char *)web, "chat messages", "name look-up"};
    char *run[] = {"day-1", "day-2"}, *file[] = {"one.pcap"}, *sha256[] = {"00"}, made_with[] = "";
    dataset_tables tables = {.nlabels = 3,
                             .label = label,
                             .macro = macro,
                             .prompt = prompt,
                             .nruns = 2,
                             .run = run,
                             .nfiles = 1,
                             .file = file,
                             .sha256 = sha256,
                             .config = made_with};
    return dataset_create(d, path, &tables, 1);
}

static inline status train_dataset_create(const char *path, dataset **d) {
    return train_dataset_prompted(path, "encrypted web page", d);
}

/* Append `each` flows of every kind, and finish the dataset. */
static inline status train_dataset_fill(dataset *d, uint64_t each) {
    status st = ST_OK;
    for (uint64_t i = 0; st == ST_OK && i < each * KIND_COUNT; i++) {
        flow f;
        st = train_flow((unsigned)(i % KIND_COUNT), i / KIND_COUNT, &f);
        if (st == ST_OK)
            st = dataset_append(d, &f);
        flow_clear(&f);
    }
    if (st == ST_OK)
        return dataset_commit(&d);
    dataset_abandon(&d);
    return st;
}

static inline status train_dataset(const char *path, uint64_t each) {
    dataset *d = NULL;
    TRY(train_dataset_create(path, &d));
    return train_dataset_fill(d, each);
}

#endif
