/* Finding the label of a flow: by its 5-tuple, then by the filters in the file's order, then by the whole file. */
#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/labels_priv.h"

enum { SNAP_LEN = 262144 };

typedef struct keyed {
    uint64_t hash; /* of both directions */
    const label_row *row;
} keyed;

typedef struct filtered {
    struct bpf_program program;
    const label_row *row;
} filtered;

struct label_matcher {
    size_t nkeyed, nfiltered;
    keyed *keyed;
    filtered *filtered;
    const label_row *whole; /* NULL if no row labels the whole file */
    int32_t run;            /* of every row, or of a capture without rows; -1 if rows differ */
};

static int compare_keyed(const void *a, const void *b) {
    const keyed *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->row->line < y->row->line ? -1 : x->row->line > y->row->line;
}

static bool same_flow(const flow_key *a, const flow_key *b) {
    flow_key reverse = flow_key_reverse(b);
    return flow_key_equal(a, b) || flow_key_equal(a, &reverse);
}

/* The first of the sorted rows with this hash, or NULL. */
static const keyed *first_with(const label_matcher *m, uint64_t hash) {
    size_t low = 0, high = m->nkeyed;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (m->keyed[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low < m->nkeyed && m->keyed[low].hash == hash ? &m->keyed[low] : NULL;
}

static const label_row *find_key(const label_matcher *m, const flow_key *key) {
    uint64_t hash = flow_key_hash(key);
    const keyed *end = m->keyed + m->nkeyed;
    for (const keyed *k = first_with(m, hash); k != NULL && k < end && k->hash == hash; k++)
        if (same_flow(&k->row->key, key))
            return k->row;
    return NULL;
}

static status contradiction(const labels *l, const label_row *a, const label_row *b) {
    return FAIL(ST_FORMAT, "%s:%zu: label '%s', run '%s' for the flow that line %zu gives label '%s', run '%s'",
                l->path, b->line, b->label, b->run, a->line, a->label, a->run);
}

static bool same_meaning(const label_row *a, const label_row *b) {
    return a->label_index == b->label_index && a->run_index == b->run_index;
}

static status sort_keys(label_matcher *m, const labels *l) {
    if (m->nkeyed > 0)
        qsort(m->keyed, m->nkeyed, sizeof *m->keyed, compare_keyed);
    for (size_t i = 0; i < m->nkeyed; i++) {
        const label_row *row = m->keyed[i].row, *first = find_key(m, &row->key);
        if (!same_meaning(first, row))
            return contradiction(l, first, row);
    }
    return ST_OK;
}

static status add_filter(label_matcher *m, const labels *l, const label_row *row, pcap_t *link) {
    filtered *f = &m->filtered[m->nfiltered];
    if (pcap_compile(link, &f->program, row->filter, 1, PCAP_NETMASK_UNKNOWN) != 0)
        return FAIL(ST_FORMAT, "%s:%zu: filter '%s': %s", l->path, row->line, row->filter, pcap_geterr(link));
    f->row = row;
    m->nfiltered++;
    return ST_OK;
}

static status add_row(label_matcher *m, const labels *l, const label_row *row, pcap_t *link) {
    switch (row->kind) {
    case LABEL_BY_KEY:
        m->keyed[m->nkeyed++] = (keyed){.hash = flow_key_hash(&row->key), .row = row};
        return ST_OK;
    case LABEL_BY_FILTER:
        return add_filter(m, l, row, link);
    case LABEL_WHOLE_FILE:
        if (m->whole != NULL && !same_meaning(m->whole, row))
            return contradiction(l, m->whole, row);
        m->whole = row;
        return ST_OK;
    default: /* LABEL_IPV6 */
        return ST_OK;
    }
}

status label_matcher_new(label_matcher **out, const labels *l, const char *capture_path, int link_type) {
    status st = ST_OK;
    label_matcher *m = NULL;
    *out = NULL;
    TRY(NEW(1, &m));
    m->run = -1;
    pcap_t *link = pcap_open_dead(link_type, SNAP_LEN);
    if (link == NULL) {
        st = FAIL(ST_MEMORY, "%s: no memory for filters", capture_path);
        goto failed;
    }
    size_t nrows = 0;
    for (size_t i = 0; i < l->nrows; i++)
        nrows += label_path_matches(l->rows[i].file, capture_path);
    TRY_TO(failed, NEW(nrows, &m->keyed));
    TRY_TO(failed, NEW(nrows, &m->filtered));
    bool first = true;
    for (size_t i = 0; i < l->nrows; i++) {
        const label_row *row = &l->rows[i];
        if (!label_path_matches(row->file, capture_path))
            continue;
        m->run = first || m->run == row->run_index ? row->run_index : -1;
        first = false;
        TRY_TO(failed, add_row(m, l, row, link));
    }
    TRY_TO(failed, sort_keys(m, l));
    if (nrows == 0)
        m->run = labels_find_run(l, label_base_name(capture_path));
    pcap_close(link);
    *out = m;
    return ST_OK;
failed:
    if (link != NULL)
        pcap_close(link);
    label_matcher_free(&m);
    return st;
}

void label_match(const label_matcher *m, const flow_key *key, const capture_record *first, int32_t *label,
                 int32_t *run) {
    const label_row *row = m->nkeyed > 0 ? find_key(m, key) : NULL;
    struct pcap_pkthdr header = {.caplen = (bpf_u_int32)first->caplen, .len = (bpf_u_int32)first->wire_len};
    for (size_t i = 0; row == NULL && i < m->nfiltered; i++)
        if (pcap_offline_filter(&m->filtered[i].program, &header, first->bytes) != 0)
            row = m->filtered[i].row;
    if (row == NULL)
        row = m->whole;
    *label = row != NULL ? row->label_index : -1;
    *run = row != NULL ? row->run_index : m->run;
}

bool label_matcher_reads_frames(const label_matcher *m) {
    return m->nfiltered > 0;
}

void label_matcher_free(label_matcher **out) {
    label_matcher *m = *out;
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->nfiltered; i++)
        pcap_freecode(&m->filtered[i].program);
    memory_free(&m->keyed);
    memory_free(&m->filtered);
    memory_free(out);
}
