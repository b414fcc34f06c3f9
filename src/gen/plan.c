/* The plan: a request (label: flows, or a mix and a total) becomes numbered flows, grouped by label and in batches.
 *
 * Everything here is arithmetic on (seed, flow number). Addresses: the flows of a label use pairs (client, server) that
 * no other flow uses, as far as the prefixes go, so that 5-tuples cannot meet in the merged capture. */
#include "gen/gen_priv.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"

static status prefix_parse(const char *text, const char *key, uint32_t *first, uint64_t *n) {
    char address[32];
    const char *slash = strchr(text, '/');
    size_t length = slash ? (size_t)(slash - text) : strlen(text);
    int64_t bits = 32;
    struct in_addr in;
    if (length < sizeof address) {
        memcpy(address, text, length);
        address[length] = 0;
    }
    if (length >= sizeof address || inet_pton(AF_INET, address, &in) != 1)
        return FAIL(ST_USAGE, "%s: \"%s\" is not an IPv4 prefix such as 192.0.2.0/24", key, text);
    if (slash)
        TRY(text_to_int(slash + 1, key, 1, 32, &bits));
    uint64_t size = 1ull << (32 - bits);
    uint32_t base = ntohl(in.s_addr) & (uint32_t) ~(size - 1);
    bool hosts_only = size > 2; /* leave out network and broadcast address (RFC 3021 for /31) */
    *first = base + hosts_only;
    *n = size - 2 * hosts_only;
    return ST_OK;
}

/* Flows per label: gen.flows as it stands, or gen.total shared by gen.mix, else in the proportions of gen.flows, else
 * in those of the training flows. */
static status counts_make(const experiment *e, const dataset_tables *t, const classes *c, double *weight,
                          uint64_t *counts) {
    for (size_t i = 0; i < e->gen.flows.n + e->gen.mix.n; i++) {
        bool given = i < e->gen.flows.n;
        const char *name = given ? e->gen.flows.key[i] : e->gen.mix.key[i - e->gen.flows.n];
        size_t l = 0;
        while (l < t->nlabels && strcmp(t->label[l], name) != 0)
            l++;
        if (l == t->nlabels)
            return FAIL(ST_USAGE, "%s: the dataset has no label \"%s\"", given ? "gen.flows" : "gen.mix", name);
        int64_t n = 0;
        if (given)
            TRY(text_to_int(e->gen.flows.value[i], "gen.flows", 0, (int64_t)1e12, &n));
        if (given)
            counts[l] = (uint64_t)n;
    }
    if (e->gen.total > 0) {
        double sum = 0;
        for (size_t l = 0; l < t->nlabels; l++) {
            const char *value = text_map_get(&e->gen.mix, t->label[l]);
            weight[l] = e->gen.mix.n ? 0 : e->gen.flows.n ? (double)counts[l] : (double)c->info[l].nflows;
            if (value)
                TRY(text_to_real(value, "gen.mix", 0, 1e12, &weight[l]));
            sum += weight[l];
        }
        if (sum <= 0)
            return FAIL(ST_USAGE, "gen.total: no label has a weight above zero");
        /* Rounding the cumulative share keeps the total exact and every label within one flow of its share. */
        double reached = 0;
        uint64_t given = 0;
        for (size_t l = 0; l < t->nlabels; l++) {
            reached += weight[l] / sum * (double)e->gen.total;
            uint64_t upto = (uint64_t)llround(reached);
            counts[l] = upto - given;
            given = upto;
        }
    } else if (e->gen.flows.n == 0) {
        return FAIL(ST_USAGE, "nothing to generate: set gen.flows (label: number) or gen.total");
    }
    return ST_OK;
}

/* Conversations given by hand: a YAML file with "templates: {label: \"S> S< > P517> 1400<\"}". */
static status templates_load(const experiment *e, const dataset_tables *t, size_t nrows, plan *p) {
    static const config_key keys[] = {
        {.name = "templates", .type = CONFIG_MAP, .offset = 0, .fallback = "", .programs = PROGRAM_GEN, .help = ""}};
    const char *kind = e->gen.control;
    if (!strcmp(kind, "none") || !strcmp(kind, "real") || !strcmp(kind, "sampled"))
        return ST_OK;
    if (!file_exists(kind))
        return FAIL(ST_USAGE, "gen.control: \"%s\" is neither none, real or sampled nor a file of templates", kind);
    text_map given = {0};
    config *file = NULL;
    TRY(config_load(&file, keys, 1, &given, kind, 0, NULL));
    status st = ST_OK;
    for (size_t i = 0; i < p->nlabels && !st; i++) {
        plan_label *l = &p->labels[i];
        const char *text = text_map_get(&given, t->label[l->label]);
        char *what = text_format("%s: label \"%s\"", kind, t->label[l->label]);
        if (!text)
            st = FAIL(ST_USAGE, "%s: no template for it", what);
        if (!st)
            st = NEW(nrows, &l->template_shapes);
        if (!st)
            st = shape_parse(text, what, l->template_shapes, nrows, &l->ntemplate);
        free(what);
    }
    config_free(&file);
    return st;
}

status plan_make(plan **out, const experiment *e, const dataset_tables *tables, const classes *c,
                 const text_list *lora_labels) {
    status st;
    plan *p = NULL;
    uint64_t *counts = NULL;
    double *weight = NULL;
    TRY_TO(fail, NEW(1, &p));
    TRY_TO(fail, NEW(tables->nlabels + 1, &counts));
    TRY_TO(fail, NEW(tables->nlabels + 1, &weight));
    TRY_TO(fail, NEW(tables->nlabels + 1, &p->labels));
    TRY_TO(fail, prefix_parse(e->gen.clients, "gen.clients", &p->client_first, &p->nclients));
    TRY_TO(fail, prefix_parse(e->gen.servers, "gen.servers", &p->server_first, &p->nservers));
    TRY_TO(fail, counts_make(e, tables, c, weight, counts));
    p->batch = (size_t)e->gen.batch;
    p->seed = (uint64_t)e->seed;
    p->start = e->gen.start;
    p->rate = e->gen.rate;
    for (size_t l = 0; l < tables->nlabels; l++) {
        if (!counts[l])
            continue;
        if (!c->info[l].nflows) {
            st =
                FAIL(ST_FORMAT, "label \"%s\" has no flow outside the held-out runs: nothing to learn its lengths from",
                     tables->label[l]);
            goto fail;
        }
        p->labels[p->nlabels++] = (plan_label){.label = l,
                                               .first = p->nflows,
                                               .n = counts[l],
                                               .first_batch = p->nbatches,
                                               .lora = text_list_has(lora_labels, tables->label[l])};
        p->nflows += counts[l];
        p->nbatches += (counts[l] + p->batch - 1) / p->batch;
    }
    if (p->nflows == 0) {
        st = FAIL(ST_USAGE, "nothing to generate: gen.flows asks for no flow");
        goto fail;
    }
    if (p->start + (double)p->nflows / p->rate > UINT32_MAX) { /* seconds of a capture's record */
        st = FAIL(ST_USAGE, "gen.start %.10g and %llu flows at gen.rate %g a second: the last would start after 2106",
                  p->start, (unsigned long long)p->nflows, p->rate);
        goto fail;
    }
    if (p->client_first < p->server_first + p->nservers && p->server_first < p->client_first + p->nclients) {
        st = FAIL(ST_USAGE, "gen.clients %s and gen.servers %s overlap: a flow could talk to itself", e->gen.clients,
                  e->gen.servers);
        goto fail;
    }
    if (p->nservers < p->nlabels) {
        st = FAIL(ST_USAGE, "gen.servers %s holds fewer addresses than there are labels (%zu)", e->gen.servers,
                  p->nlabels);
        goto fail;
    }
    for (size_t i = 0; i < p->nlabels; i++) {
        uint64_t pairs = p->nclients * (p->nservers / p->nlabels);
        if (p->labels[i].n > pairs) {
            st = FAIL(ST_USAGE,
                      "gen.clients %s and gen.servers %s give a label %llu address pairs, \"%s\" wants %llu flows",
                      e->gen.clients, e->gen.servers, (unsigned long long)pairs, tables->label[p->labels[i].label],
                      (unsigned long long)p->labels[i].n);
            goto fail;
        }
    }
    TRY_TO(fail, templates_load(e, tables, c->nrows, p));
    memory_free(&weight);
    memory_free(&counts);
    *out = p;
    return ST_OK;
fail:
    memory_free(&weight);
    memory_free(&counts);
    plan_free(&p);
    return st;
}

void plan_free(plan **p) {
    if (!*p)
        return;
    for (size_t i = 0; i < (*p)->nlabels; i++)
        memory_free(&(*p)->labels[i].template_shapes);
    memory_free(&(*p)->labels);
    memory_free(p);
}

const plan_label *plan_batch(const plan *p, uint64_t batch, uint64_t *first, size_t *n) {
    size_t i = p->nlabels - 1;
    while (p->labels[i].first_batch > batch)
        i--;
    const plan_label *l = &p->labels[i];
    uint64_t skip = (batch - l->first_batch) * p->batch;
    *first = l->first + skip;
    *n = l->n - skip < p->batch ? (size_t)(l->n - skip) : p->batch;
    return l;
}

const plan_label *plan_flow(const plan *p, uint64_t number) {
    size_t i = p->nlabels - 1;
    while (p->labels[i].first > number)
        i--;
    return &p->labels[i];
}

void plan_initial(const plan *p, uint64_t number, flow_plan *initial) {
    static const ip_address documentation = (ip_address)0x20010db8 << 96; /* 2001:db8::/32, RFC 3849 */
    rng r = rng_make(p->seed, number, RNG_PLAN);
    *initial = (flow_plan){0};
    const plan_label *l = plan_flow(p, number);
    size_t role = (size_t)(l - p->labels);
    uint64_t nth = number - l->first;
    uint64_t turn = nth / p->nclients;
    initial->addr[0] = p->client_first + (uint32_t)((nth + role * 17) % p->nclients);
    initial->addr[1] = p->server_first + (uint32_t)(role + turn * p->nlabels);
    for (unsigned side = 0; side < 2; side++) {
        initial->isn[side] = rng_u32(&r);
        initial->ip_id[side] = (uint16_t)(1 + rng_below(&r, 65535));
        initial->tsval[side] = rng_u32(&r);
    }
    initial->icmp_id = (uint16_t)(1 + rng_below(&r, 65535));
    initial->icmp_seq = 1;
    /* Each in its own slot of the label's time: starts rise with the flow's number, which the merge relies on for
     * speed. */
    double span = (double)p->nflows / p->rate, slot = ((double)nth + rng_uniform(&r)) / (double)l->n;
    initial->start_ns = (int64_t)(p->start * 1e9) + (int64_t)(slot * span * 1e9);
    /* Should the flow turn out to be one of IPv6: the same hosts under the documentation prefix. */
    for (unsigned side = 0; side < 2; side++) {
        initial->addr6[side] = documentation | initial->addr[side];
        initial->flow_label[side] = 1 + rng_below(&r, 0xfffff);
    }
}
