/* The traffic figures of the NetDiffusion paper's Table 11, of real and synthetic flows side by side: volumes,
 * protocols, TCP flags, ports, sizes, TTLs, sessions. */
#include "eval/validity_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"

enum { SIDES = 2, PORTS = 65536, PORTS_SHOWN = 10, SIZE_BINS = 9, TTL_BINS = 5, FLAGS = 8 };
static const subject sides[SIDES] = {SUBJECT_REAL, SUBJECT_SYNTHETIC};

static const unsigned size_top[SIZE_BINS] = {39, 79, 159, 319, 639, 1279, 1500, 2559, 65535};
static const unsigned ttl_top[TTL_BINS] = {31, 63, 64, 128, 255};

typedef struct traffic {
    double flows, packets, bytes, seconds, sessions;
    double window, tcp, udp, icmp;
    double flags[FLAGS], size[SIZE_BINS], ttl[TTL_BINS];
    double port[PORTS]; /* packets of TCP and UDP flows by the port of the side that was called */
} traffic;

/* ---- measuring ---- */

static size_t bin_of(unsigned x, const unsigned *top, size_t n) {
    size_t i = 0;
    while (i + 1 < n && x > top[i])
        i++;
    return i;
}

static void add_packet(const flow *f, const packet *p, traffic *x) {
    unsigned total = packet_total_len(p), proto = packet_proto(p);
    x->bytes += total;
    x->size[bin_of(total, size_top, SIZE_BINS)]++;
    x->ttl[bin_of(p->header[packet_ttl_at(p)], ttl_top, TTL_BINS)]++;
    x->tcp += proto == PROTO_TCP;
    x->udp += proto == PROTO_UDP;
    x->icmp += packet_is_icmp(p);
    if (proto == PROTO_TCP || proto == PROTO_UDP)
        x->port[f->key.port[1]]++;
    if (proto != PROTO_TCP || packet_ip_nheader(p) + 20u > p->nheader)
        return;
    x->window += get16(packet_l4(p) + 14);
    for (unsigned i = 0; i < FLAGS; i++)
        x->flags[i] += packet_l4(p)[13] >> i & 1;
}

/* A flow's key as bytes, the same from both sides. */
enum { KEY_BYTES = 38 };
static void key_bytes(const flow_key *k, uint8_t *to) {
    flow_key other = flow_key_reverse(k);
    bool swap = k->addr[0] > k->addr[1] || (k->addr[0] == k->addr[1] && k->port[0] > k->port[1]);
    const flow_key *use = swap ? &other : k;
    to[0] = use->proto;
    to[1] = use->ipv6;
    ip_address_put(use->addr[0], to + 2, 16);
    ip_address_put(use->addr[1], to + 18, 16);
    put16(to + 34, use->port[0]);
    put16(to + 36, use->port[1]);
}

static int by_key(const void *a, const void *b) {
    return memcmp(a, b, KEY_BYTES);
}

static status count_sessions(const flow_pick *p, double *sessions) {
    uint8_t *keys = NULL;
    TRY(NEW(p->n * KEY_BYTES + 1, &keys));
    for (size_t i = 0; i < p->n; i++)
        key_bytes(&p->flows[i]->key, keys + i * KEY_BYTES);
    qsort(keys, p->n, KEY_BYTES, by_key);
    for (size_t i = 0; i < p->n; i++)
        *sessions += i == 0 || memcmp(keys + (i - 1) * KEY_BYTES, keys + i * KEY_BYTES, KEY_BYTES) != 0;
    memory_free(&keys);
    return ST_OK;
}

static status measure(const eval_world *w, subject s, traffic *x) {
    flow_pick p = {0};
    status st = flow_pick_alike(w, s, &p);
    x->flows = (double)p.n;
    x->packets = (double)p.packets;
    x->seconds = p.seconds;
    for (size_t i = 0; i < p.n && !st; i++)
        for (size_t k = 0; k < p.flows[i]->npackets; k++)
            add_packet(p.flows[i], &p.flows[i]->packets[k], x);
    if (!st)
        st = count_sessions(&p, &x->sessions);
    flow_pick_clear(&p);
    return st;
}

/* ---- reporting ---- */

static void row(report_table *t, const char *name, double factor, const double part[SIDES], const double all[SIDES],
                const char *why) {
    report_row(t, name);
    for (int i = 0; i < SIDES; i++)
        report_share(t, factor, part[i], all[i], why);
}

/* Member m of both sides. */
#define BOTH(m) ((const double[SIDES]){x[0].m, x[1].m})

static void report_volumes(const traffic *x, report *r) {
    static const char *const columns[] = {"quantity", "held out", "synthetic"};
    static const double one[SIDES] = {1, 1};
    report_table *t = report_table_new(
        r, "validity-traffic",
        "Traffic figures (as in the paper's Table 11), of each class as many flows on both sides", 3, columns, 2, NULL);
    row(t, "flows", 1, BOTH(flows), one, "");
    row(t, "sessions (different 5-tuples)", 1, BOTH(sessions), one, "");
    row(t, "packets", 1, BOTH(packets), one, "");
    row(t, "bytes", 1, BOTH(bytes), one, "");
    row(t, "packets per flow", 1, BOTH(packets), BOTH(flows), "no flows");
    row(t, "bytes per packet", 1, BOTH(bytes), BOTH(packets), "no packets");
    row(t, "seconds per flow", 1, BOTH(seconds), BOTH(flows), "no flows");
    row(t, "mean TCP window (unscaled)", 1, BOTH(window), BOTH(tcp), "no TCP packets");
}

static void report_bins(report_table *t, const char *what, const unsigned *top, size_t n, const double *real,
                        const double *synthetic, const double *all) {
    for (size_t i = 0; i < n; i++) {
        unsigned from = i ? top[i - 1] + 1 : 0;
        char *name = from == top[i] ? text_format("%s %u", what, from) : text_format("%s %u to %u", what, from, top[i]);
        row(t, name, 100, (const double[SIDES]){real[i], synthetic[i]}, all, "no packets");
        free(name);
    }
}

static void report_shares(const traffic *x, const double wrong[SUBJECTS], const double packets[SUBJECTS], report *r) {
    static const char *const columns[] = {"share", "held out", "synthetic"};
    static const char *const flags[FLAGS] = {"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"};
    report_table *t =
        report_table_new(r, "validity-traffic-shares", "Traffic figures, percent of packets (flags: of TCP packets)", 3,
                         columns, 2, NULL);
    const double *all = BOTH(packets);
    row(t, "TCP", 100, BOTH(tcp), all, "no packets");
    row(t, "UDP", 100, BOTH(udp), all, "no packets");
    row(t, "ICMP", 100, BOTH(icmp), all, "no packets");
    for (size_t i = 0; i < FLAGS; i++)
        row(t, flags[i], 100, BOTH(flags[i]), BOTH(tcp), "no TCP packets");
    report_bins(t, "bytes", size_top, SIZE_BINS, x[0].size, x[1].size, all);
    report_bins(t, "TTL", ttl_top, TTL_BINS, x[0].ttl, x[1].ttl, all);
    row(t, "packets with an error (tshark)", 100, (const double[SIDES]){wrong[sides[0]], wrong[sides[1]]},
        (const double[SIDES]){packets[sides[0]], packets[sides[1]]}, "tshark was not asked or gave no answer");
}

static size_t next_port(const traffic *x, const bool *shown) {
    size_t best = 0;
    double most = 0;
    for (size_t port = 0; port < PORTS; port++)
        for (int i = 0; i < SIDES; i++) {
            double share = x[i].packets > 0 ? x[i].port[port] / x[i].packets : 0;
            if (!shown[port] && share > most) {
                most = share;
                best = port;
            }
        }
    return most > 0 ? best : PORTS;
}

static status report_ports(const traffic *x, report *r) {
    static const char *const columns[] = {"port", "held out", "synthetic"};
    bool *shown = NULL;
    TRY(NEW(PORTS, &shown));
    report_table *t =
        report_table_new(r, "validity-ports", "Ports that were called most, percent of packets (TCP and UDP together)",
                         3, columns, 2, NULL);
    for (size_t k = 0, port; k < PORTS_SHOWN && (port = next_port(x, shown)) < PORTS; k++) {
        char *name = text_format("%zu", port);
        shown[port] = true;
        row(t, name, 100, BOTH(port[port]), BOTH(packets), "no packets");
        free(name);
    }
    memory_free(&shown);
    return ST_OK;
}

status validity_traffic(const eval_world *w, const double wrong[SUBJECTS], const double packets[SUBJECTS], report *r) {
    traffic *x = NULL;
    TRY(NEW(SIDES, &x));
    status st = ST_OK;
    for (int i = 0; i < SIDES && !st; i++)
        st = measure(w, sides[i], &x[i]);
    if (!st) {
        report_volumes(x, r);
        report_shares(x, wrong, packets, r);
        st = report_ports(x, r);
    }
    memory_free(&x);
    return st;
}
