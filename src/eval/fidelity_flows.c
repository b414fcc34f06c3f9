/* Within-flow consistency: does a direction keep its addresses, ports and TTL, and does TCP count on?
 *
 * These are the figures that distances of single fields cannot see: rows drawn field by field from the right values
 * are right in each field and in no flow. */
#include "eval/fidelity_priv.h"

const eval_set *fidelity_consistency_set(const eval_world *w, size_t i) {
    const eval_set *const sets[CONSISTENCY_SETS] = {&w->train, &w->held_out, &w->synthetic,
                                                    &w->raw,   &w->marginal, &w->random};
    return sets[i];
}

static bool address_pair(const packet *p, uint64_t *value) {
    if (!packet_is_ipv6(p)) {
        *value = (uint64_t)get32(p->header + 12) << 32 | get32(p->header + 16);
        return p->nheader >= 20;
    }
    *value = 0; /* folded: only whether pairs differ counts */
    for (unsigned at = 8; at < 40; at += 4)
        *value = ((*value ^ *value >> 29) + get32(p->header + at)) * UINT64_C(0x9e3779b97f4a7c15);
    return p->nheader >= 40;
}

static bool ttl(const packet *p, uint64_t *value) {
    *value = p->header[packet_ttl_at(p)];
    return p->nheader >= 20;
}

static bool port_pair(const packet *p, uint64_t *value) {
    unsigned nbytes;
    const uint8_t *l4 = fidelity_l4(p, &nbytes);
    if (l4 == NULL || nbytes < 4 || packet_is_icmp(p))
        return false;
    *value = get32(l4);
    return true;
}

/* Distinct values in the packets of one direction. */
static status distinct(const flow *f, unsigned dir, bool (*of)(const packet *, uint64_t *), sample *values, size_t *n) {
    sample_reset(values);
    for (size_t i = 0; i < f->npackets; i++) {
        uint64_t value;
        if ((f->packets[i].dir != 0) == (dir != 0) && of(&f->packets[i], &value))
            TRY(sample_add(values, value, 1));
    }
    TRY(sample_sort(values));
    *n = values->n;
    return ST_OK;
}

static status add_direction(const flow *f, unsigned dir, sample *values, flow_consistency *r) {
    size_t naddresses, nttls, nports;
    TRY(distinct(f, dir, address_pair, values, &naddresses));
    TRY(distinct(f, dir, ttl, values, &nttls));
    TRY(distinct(f, dir, port_pair, values, &nports));
    if (naddresses == 0)
        return ST_OK;
    r->directions++;
    r->addresses += (double)naddresses;
    r->ttls += (double)nttls;
    r->with_ports += nports > 0;
    r->ports += (double)nports;
    r->steady += naddresses == 1 && nttls == 1 && nports <= 1;
    return ST_OK;
}

/* SYN and FIN count as one (RFC 9293 3.4). */
static void add_tcp(const flow *f, flow_consistency *r) {
    bool known[2] = {false, false};
    uint32_t next[2] = {0, 0};
    for (size_t i = 0; i < f->npackets; i++) {
        const packet *p = &f->packets[i];
        unsigned nbytes, d = p->dir != 0;
        const uint8_t *l4 = fidelity_l4(p, &nbytes);
        if (l4 == NULL || nbytes < 20 || packet_proto(p) != PROTO_TCP)
            continue;
        uint32_t seq = get32(l4 + 4);
        r->tcp_rows += known[d];
        r->tcp_following += known[d] && seq == next[d];
        known[d] = true;
        next[d] = seq + packet_payload(p) + ((l4[13] & TCP_SYN) != 0) + ((l4[13] & TCP_FIN) != 0);
    }
}

status fidelity_consistency_add(const flow *f, sample *values, flow_consistency *r) {
    r->flows++;
    TRY(add_direction(f, 0, values, r));
    TRY(add_direction(f, 1, values, r));
    add_tcp(f, r);
    return ST_OK;
}

status fidelity_consistency_measure(const eval_world *w, flow_consistency r[CONSISTENCY_SETS]) {
    sample values = {0};
    status st = ST_OK;
    for (size_t k = 0; k < CONSISTENCY_SETS; k++) {
        const eval_set *set = fidelity_consistency_set(w, k);
        r[k] = (flow_consistency){0};
        for (size_t i = 0; i < set->n && !st; i++)
            if (world_mine(w, i))
                st = fidelity_consistency_add(&set->flows[i].f, &values, &r[k]);
    }
    sample_clear(&values);
    st = comm_agree(w->c, st);
    if (!st)
        st = comm_sum_f64(w->c, (double *)r, CONSISTENCY_SETS * sizeof *r / sizeof(double));
    return st;
}
