/* Header fields and bits: distances over the values of nPrint's fields, and over 1, 0 and vacant of its columns.
 *
 * Rows before repair and random ones announce headers that are not there: a header is taken to have its fixed part at
 * least, and ends where the stored bytes end. */
#include "eval/fidelity_priv.h"

#include <string.h>
#include "base/memory.h"
#include "eval/features.h"

enum { BLOCKS = 4 }; /* the IPv4 block is vacant in packets of IPv6, and ICMPv6 has none */
static const uint16_t block_start[BLOCKS + 1] = {0, NPRINT_TCP, NPRINT_UDP, NPRINT_ICMP, NPRINT_COLUMNS};

/* The bytes that stand in one of the row's four blocks. */
typedef struct header_block {
    const uint8_t *bytes;
    unsigned nbytes;
} header_block;

static unsigned clip(unsigned wanted, unsigned least, unsigned most) {
    wanted = wanted < least ? least : wanted;
    return wanted > most ? most : wanted;
}

static unsigned stored_bytes(const packet *p) {
    return p->nheader < PACKET_HEADER_MAX ? p->nheader : PACKET_HEADER_MAX;
}

const uint8_t *fidelity_l4(const packet *p, unsigned *nbytes) {
    unsigned stored = stored_bytes(p), nip = clip(packet_ip_nheader(p), 20, stored), proto = packet_proto(p);
    *nbytes = stored < 20 ? 0 : stored - nip;
    if (*nbytes == 0 || (proto != PROTO_TCP && proto != PROTO_UDP && proto != PROTO_ICMP))
        return NULL;
    return p->header + nip;
}

static void blocks_of(const packet *p, header_block block[BLOCKS]) {
    unsigned there;
    const uint8_t *l4 = fidelity_l4(p, &there);
    memset(block, 0, BLOCKS * sizeof *block);
    if (!packet_is_ipv6(p))
        block[0] = (header_block){p->header, clip(packet_ip_nheader(p), 20, stored_bytes(p))};
    if (l4 == NULL)
        return;
    if (packet_proto(p) == PROTO_TCP)
        block[1] = (header_block){l4, there > 12 ? clip((l4[12] >> 4) * 4u, 20, there) : there};
    else
        block[packet_proto(p) == PROTO_UDP ? 2 : 3] = (header_block){l4, clip(8, 0, there)};
}

static unsigned block_of(unsigned column) {
    unsigned b = 0;
    while (column >= block_start[b + 1])
        b++;
    return b;
}

/* FNV-1a over the bytes and their number, then the mixer of MurmurHash3 so that the top bits depend on all. */
static uint64_t hash_bytes(const uint8_t *bytes, unsigned nbytes) {
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ nbytes;
    for (unsigned i = 0; i < nbytes; i++)
        h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
    h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return (h ^ h >> 33) >> 1;
}

uint64_t fidelity_field(const packet *p, const nprint_field *field) {
    header_block block[BLOCKS];
    blocks_of(p, block);
    unsigned number = block_of(field->first), at = field->first - block_start[number], end = at + field->nbits;
    const header_block *b = &block[number];
    if (field->nbits > 32) /* options: as long as the header has them */
        return at / 8 < b->nbytes ? hash_bytes(b->bytes + at / 8, b->nbytes - at / 8) : FIELD_VACANT;
    if (end > b->nbytes * 8)
        return FIELD_VACANT;
    uint64_t value = 0;
    for (unsigned i = at / 8; i <= (end - 1) / 8; i++)
        value = value << 8 | b->bytes[i];
    return value >> (7 - (end - 1) % 8) & ((UINT64_C(1) << field->nbits) - 1);
}

bool fidelity_in_scope(size_t field, field_scope scope) {
    if (scope == SCOPE_PROTOCOL)
        return !strcmp(nprint_fields[field].name, "ipv4_proto");
    return scope == SCOPE_ALL || !features_name_session(field);
}

static status collect_field(const eval_flow *f, const void *what, sample *to) {
    for (size_t i = 0; i < f->f.npackets; i++)
        TRY(sample_add(to, fidelity_field(&f->f.packets[i], what), 1));
    return ST_OK;
}

/* Columns as values of their own would be 1088 samples: they are counted in one pass instead. */
typedef struct bit_counts {
    double packets;
    double count[NPRINT_COLUMNS][2]; /* of 0 and of 1; the rest is vacant */
} bit_counts;

static void count_bits(const packet *p, bit_counts *c) {
    header_block block[BLOCKS];
    blocks_of(p, block);
    c->packets++;
    for (unsigned b = 0; b < BLOCKS; b++) {
        double(*count)[2] = c->count + block_start[b];
        for (unsigned i = 0; i < block[b].nbytes; i++, count += 8)
            for (unsigned k = 0; k < 8; k++)
                count[k][block[b].bytes[i] >> (7 - k) & 1]++;
    }
}

static void count_flows(const grouped_set *set, size_t from, size_t to, bit_counts *c) {
    memset(c, 0, sizeof *c);
    for (size_t i = from; i < to; i++)
        for (size_t k = 0; k < set->flow[i]->f.npackets; k++)
            count_bits(&set->flow[i]->f.packets[k], c);
}

/* The total as fidelity_gather makes it. part: working memory. */
static void count_total(const fidelity_sets *s, fidelity_side k, bit_counts *part, bit_counts *c) {
    memset(c, 0, sizeof *c);
    for (size_t g = 0; g < s->ngroups; g++) {
        if (!s->shared[g])
            continue;
        const grouped_set *set = &s->set[k];
        double held = 0;
        for (size_t i = s->set[HELD_OUT].start[g]; i < s->set[HELD_OUT].start[g + 1]; i++)
            held += (double)s->set[HELD_OUT].flow[i]->f.npackets;
        count_flows(set, set->start[g], set->start[g + 1], part);
        if (!(part->packets > 0))
            continue;
        double weight = held / part->packets;
        c->packets += held;
        for (size_t i = 0; i < NPRINT_COLUMNS; i++)
            for (unsigned v = 0; v < 2; v++)
                c->count[i][v] += weight * part->count[i][v];
    }
}

static void count_group(const fidelity_sets *s, fidelity_side k, size_t g, bit_counts *part, bit_counts *c) {
    const grouped_set *set = &s->set[k];
    if (g < s->ngroups)
        count_flows(set, set->start[g], set->start[g + 1], c);
    else if (!s->any_shared)
        count_flows(set, 0, set->start[s->ngroups], c);
    else
        count_total(s, k, part, c);
}

static distances column_distance(const bit_counts *a, const bit_counts *b, size_t column) {
    double p[3] = {a->count[column][0], a->count[column][1]}, q[3] = {b->count[column][0], b->count[column][1]};
    p[2] = a->packets - p[0] - p[1];
    q[2] = b->packets - q[0] - q[1];
    p[2] = p[2] > 1e-9 * a->packets ? p[2] : 0; /* rounding of class weights is no packet */
    q[2] = q[2] > 1e-9 * b->packets ? q[2] : 0;
    return distance_histograms(p, q, 3);
}

static void add_distances(distances *to, const distances *d, double weight) {
    to->jsd += weight * d->jsd;
    to->tvd += weight * d->tvd;
    to->hellinger += weight * d->hellinger;
}

static void scope_means(const bit_counts *a, const bit_counts *b, distances mean[SCOPE_COUNT], size_t stride) {
    double n[SCOPE_COUNT] = {0};
    for (size_t f = 0; f < nprint_nfields; f++)
        for (int scope = 0; scope < SCOPE_COUNT; scope++)
            n[scope] += fidelity_in_scope(f, (field_scope)scope) ? nprint_fields[f].nbits : 0;
    for (size_t f = 0; f < nprint_nfields; f++) {
        distances sum = {0, 0, 0};
        for (unsigned i = 0; i < nprint_fields[f].nbits; i++) {
            distances d = column_distance(a, b, nprint_fields[f].first + (size_t)i);
            add_distances(&sum, &d, 1);
        }
        for (int scope = 0; scope < SCOPE_COUNT; scope++)
            if (fidelity_in_scope(f, (field_scope)scope))
                add_distances(&mean[(size_t)scope * stride], &sum, 1 / n[scope]);
    }
}

static status measure_bits(const fidelity_sets *s, size_t g, distances *mean) {
    bit_counts *c = NULL; /* held out, the side, working memory */
    TRY(NEW(3, &c));
    count_group(s, HELD_OUT, g, &c[2], &c[0]);
    for (int k = 0; k < SIDE_COUNT; k++) {
        if (!fidelity_known(s, (fidelity_side)k, g))
            continue;
        count_group(s, (fidelity_side)k, g, &c[2], &c[1]);
        scope_means(&c[1], &c[0], mean + k, SIDE_COUNT);
    }
    memory_free(&c);
    return ST_OK;
}

/* The sample without its vacant values: they are the last point. The points stay those of s. */
static sample without_vacant(const sample *s) {
    sample present = *s;
    if (s->n > 0 && s->points[s->n - 1].value == FIELD_VACANT) {
        present.n--;
        present.total -= s->points[present.n].weight;
    }
    if (present.n == 0)
        present.total = 0; /* whatever rounding left */
    return present;
}

static present_distance compare_present(const sample *side, const sample *held) {
    sample a = without_vacant(side), b = without_vacant(held);
    return (present_distance){a.n > 0 || b.n > 0, distance_samples(&a, &b)};
}

static status measure_field(const fidelity_sets *s, size_t g, const nprint_field *field, distances d[SIDE_COUNT],
                            present_distance present[SIDE_COUNT]) {
    sample held = {0}, side = {0};
    double *weights = NULL;
    status st = NEW(s->ngroups, &weights);
    if (!st)
        st = fidelity_gather(s, HELD_OUT, g, collect_field, field, weights, &held);
    for (int k = 0; k < SIDE_COUNT && !st; k++) {
        if (!fidelity_known(s, (fidelity_side)k, g))
            continue;
        st = fidelity_gather(s, (fidelity_side)k, g, collect_field, field, weights, &side);
        if (st)
            break;
        d[k] = distance_samples(&side, &held);
        present[k] = compare_present(&side, &held);
    }
    sample_clear(&held);
    sample_clear(&side);
    memory_free(&weights);
    return st;
}

static status measure_mine(const fidelity_sets *s, const eval_world *w, fidelity_fields *r) {
    for (size_t g = 0; g <= s->ngroups; g++) {
        for (size_t f = 0; f < nprint_nfields; f++) {
            size_t at = (g * nprint_nfields + f) * SIDE_COUNT;
            if (world_mine(w, g + f))
                TRY(measure_field(s, g, &nprint_fields[f], r->field + at, r->present + at));
        }
        if (world_mine(w, g + nprint_nfields))
            TRY(measure_bits(s, g, r->bits + g * SCOPE_COUNT * SIDE_COUNT));
    }
    return ST_OK;
}

status fidelity_fields_measure(const fidelity_sets *s, const eval_world *w, fidelity_fields *r) {
    size_t nfield = (s->ngroups + 1) * nprint_nfields * SIDE_COUNT, nbits = (s->ngroups + 1) * SCOPE_COUNT * SIDE_COUNT;
    *r = (fidelity_fields){NULL, NULL, NULL};
    status st = NEW(nfield, &r->field);
    if (!st)
        st = NEW(nfield, &r->present);
    if (!st)
        st = NEW(nbits, &r->bits);
    if (!st)
        st = measure_mine(s, w, r);
    st = comm_agree(w->c, st);
    if (!st)
        st = comm_sum_f64(w->c, (double *)r->field, nfield * sizeof *r->field / sizeof(double));
    if (!st)
        st = comm_sum_f64(w->c, (double *)r->present, nfield * sizeof *r->present / sizeof(double));
    if (!st)
        st = comm_sum_f64(w->c, (double *)r->bits, nbits * sizeof *r->bits / sizeof(double));
    if (st)
        fidelity_fields_clear(r);
    return st;
}

void fidelity_fields_clear(fidelity_fields *r) {
    memory_free(&r->field);
    memory_free(&r->present);
    memory_free(&r->bits);
}

distances fidelity_fields_mean(const fidelity_fields *r, size_t g, field_scope scope, fidelity_side k) {
    distances mean = {0, 0, 0};
    double n = 0;
    for (size_t f = 0; f < nprint_nfields; f++)
        n += fidelity_in_scope(f, scope);
    for (size_t f = 0; f < nprint_nfields; f++)
        if (fidelity_in_scope(f, scope))
            add_distances(&mean, &r->field[(g * nprint_nfields + f) * SIDE_COUNT + k], 1 / n);
    return mean;
}

distances fidelity_present_mean(const fidelity_fields *r, size_t g, fidelity_side k) {
    distances mean = {0, 0, 0};
    double n = 0;
    for (int round = 0; round < 2; round++) /* count, then add */
        for (size_t f = 0; f < nprint_nfields; f++) {
            const present_distance *p = &r->present[(g * nprint_nfields + f) * SIDE_COUNT + k];
            if (nprint_fields[f].nbits < WIDE_FIELD || !(p->known > 0))
                continue;
            if (round == 0)
                n++;
            else
                add_distances(&mean, &p->d, 1 / n);
        }
    return mean;
}
