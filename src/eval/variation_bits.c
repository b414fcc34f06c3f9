/* How much flows of one label differ, field by field (appendix A of the NetDiffusion paper): a generator that copies
 * one flow over and over shows less than real flows do, one that makes noise shows more. */
#include "eval/variation_priv.h"

#include <string.h>
#include "base/memory.h"
#include "packet/nprint.h"

const variation_group variation_groups[] = {
    {"IPv4 version, header length", "ipv4_ver", "ipv4_hl"},
    {"IPv4 type of service", "ipv4_tos", "ipv4_tos"},
    {"IPv4 total length", "ipv4_tl", "ipv4_tl"},
    {"IPv4 identification", "ipv4_id", "ipv4_id"},
    {"IPv4 flags, fragment offset", "ipv4_rbit", "ipv4_foff"},
    {"IPv4 time to live", "ipv4_ttl", "ipv4_ttl"},
    {"IPv4 protocol", "ipv4_proto", "ipv4_proto"},
    {"IPv4 checksum", "ipv4_cksum", "ipv4_cksum"},
    {"IPv4 addresses", "ipv4_src", "ipv4_dst"},
    {"IPv4 options", "ipv4_opt", "ipv4_opt"},
    {"TCP ports", "tcp_sprt", "tcp_dprt"},
    {"TCP sequence number", "tcp_seq", "tcp_seq"},
    {"TCP acknowledgement number", "tcp_ackn", "tcp_ackn"},
    {"TCP data offset", "tcp_doff", "tcp_res"},
    {"TCP flags", "tcp_ns", "tcp_fin"},
    {"TCP window", "tcp_wsize", "tcp_wsize"},
    {"TCP checksum", "tcp_cksum", "tcp_cksum"},
    {"TCP urgent pointer", "tcp_urp", "tcp_urp"},
    {"TCP options", "tcp_opt", "tcp_opt"},
    {"UDP ports", "udp_sport", "udp_dport"},
    {"UDP length", "udp_len", "udp_len"},
    {"UDP checksum", "udp_cksum", "udp_cksum"},
    {"ICMP type, code", "icmp_type", "icmp_code"},
    {"ICMP checksum", "icmp_cksum", "icmp_cksum"},
    {"ICMP rest of header", "icmp_roh", "icmp_roh"},
};
const size_t variation_ngroups = sizeof variation_groups / sizeof *variation_groups;

enum { GROUPS = sizeof variation_groups / sizeof *variation_groups };

static const nprint_field *field_named(const char *name) {
    for (size_t i = 0; i < nprint_nfields; i++)
        if (!strcmp(nprint_fields[i].name, name))
            return &nprint_fields[i];
    ASSERT(!"a field of the nPrint row");
    return NULL;
}

/* ends: column behind each group. The groups cover the row, in order. */
static void group_ends(size_t ends[GROUPS]) {
    for (size_t g = 0; g < GROUPS; g++) {
        const nprint_field *last = field_named(variation_groups[g].last);
        ASSERT(field_named(variation_groups[g].first)->first == (g ? ends[g - 1] : 0));
        ends[g] = (size_t)last->first + last->nbits;
    }
    ASSERT(ends[GROUPS - 1] == NPRINT_COLUMNS);
}

static void encode_row(const flow *f, size_t i, int8_t *bits) {
    if (i < f->npackets)
        nprint_encode(&f->packets[i], bits);
    else
        memset(bits, -1, NPRINT_COLUMNS);
}

static void compare_pair(const flow *a, const flow *b, const size_t ends[GROUPS], variation_bits *r) {
    double differ[GROUPS + 1] = {0}, either[GROUPS + 1] = {0};
    for (size_t i = 0; i < VARIATION_PACKETS && (i < a->npackets || i < b->npackets); i++) {
        int8_t x[NPRINT_COLUMNS], y[NPRINT_COLUMNS];
        encode_row(a, i, x);
        encode_row(b, i, y);
        for (size_t g = 0, c = 0; g < GROUPS; g++) {
            unsigned unequal = 0, present = 0;
            for (; c < ends[g]; c++) {
                unequal += x[c] != y[c];
                present += (x[c] & y[c]) >= 0; /* only -1 & -1 is negative */
            }
            differ[g] += unequal;
            either[g] += present;
            differ[GROUPS] += unequal;
            either[GROUPS] += present;
        }
    }
    for (size_t g = 0; g <= GROUPS; g++)
        if (either[g] > 0) {
            r[g].pairs++;
            r[g].share += differ[g] / either[g];
        }
}

status variation_bits_measure(const eval_world *w, const eval_set *set, size_t label, variation_bits *r) {
    size_t ends[GROUPS], n = 0;
    const flow **f = NULL;
    TRY(NEW(set->n, &f));
    for (size_t i = 0; i < set->n; i++)
        if (set->flows[i].f.label == (int32_t)label)
            f[n++] = &set->flows[i].f;
    group_ends(ends);
    if (n > 1 && n * (n - 1) / 2 <= VARIATION_PAIRS) {
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < i; k++)
                compare_pair(f[k], f[i], ends, r);
    } else if (n > 1) {
        rng draw = rng_make((uint64_t)w->e->seed, label, RNG_VARIATION);
        for (size_t pair = 0; pair < VARIATION_PAIRS; pair++) {
            size_t i = rng_below(&draw, (uint32_t)n), k = rng_below(&draw, (uint32_t)n - 1);
            compare_pair(f[i], f[k < i ? k : k + 1], ends, r);
        }
    }
    memory_free(&f);
    return ST_OK;
}
