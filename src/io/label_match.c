/* Finding the label of a flow: by its 5-tuple, then by the filters in the file's order, then by the whole file; then,
 * of a capture that continues others, by a 5-tuple of the nearest file before it, in which the flow may have begun. */
#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/io_priv.h"
#include "io/labels_priv.h"

enum { SNAP_LEN = 262144, LINK_TYPES_MAX = 16 };

typedef struct keyed {
    uint64_t hash; /* of both directions */
    uint64_t back; /* 0: of this capture; of rows of files before it, less the nearer they are */
    const label_row *row;
} keyed;

/* The filters' programs for the frames of one link type. */
typedef struct programs {
    int link_type;
    struct bpf_program *program; /* of each filter; one without instructions has no meaning on this link type */
} programs;

/* Filled as link types turn up; beyond the last one no filter matches. */
typedef struct compiled {
    size_t n;
    programs of[LINK_TYPES_MAX];
} compiled;

struct label_matcher {
    size_t nkeyed, nfiltered;
    keyed *keyed;               /* by hash, then the nearest first, then by line */
    const label_row **filtered; /* rows with a filter, in the file's order */
    compiled *compiled;
    const label_row *whole; /* NULL if no row labels the whole file */
    int32_t run;            /* of every row, or of a capture without rows; -1 if rows differ */
};

static int compare_keyed(const void *a, const void *b) {
    const keyed *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    if (x->back != y->back)
        return x->back < y->back ? -1 : 1;
    return x->row->line < y->row->line ? -1 : x->row->line > y->row->line;
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

static const keyed *find_key(const label_matcher *m, const flow_key *key) {
    uint64_t hash = flow_key_hash(key);
    const keyed *end = m->keyed + m->nkeyed;
    for (const keyed *k = first_with(m, hash); k != NULL && k < end && k->hash == hash; k++)
        if (label_same_flow(&k->row->key, key))
            return k;
    return NULL;
}

static status contradiction(const labels *l, const label_row *a, const label_row *b) {
    return FAIL(ST_FORMAT, "%s:%u: label '%s', run '%s' for the flow that line %u gives label '%s', run '%s'", l->path,
                b->line, b->label, b->run, a->line, a->label, a->run);
}

static bool same_meaning(const label_row *a, const label_row *b) {
    return a->label_index == b->label_index && a->run_index == b->run_index;
}

static status sort_keys(label_matcher *m, const labels *l) {
    if (m->nkeyed > 0)
        qsort(m->keyed, m->nkeyed, sizeof *m->keyed, compare_keyed);
    for (size_t i = 0; i < m->nkeyed; i++) {
        const label_row *row = m->keyed[i].row, *first = find_key(m, &row->key)->row;
        if (m->keyed[i].back == 0 && !same_meaning(first, row))
            return contradiction(l, first, row);
    }
    return ST_OK;
}

/* libpcap's handle for compiling. Its own numbers differ from those in files for some link types, and it translates
 * them where it opens a file: one without records. NULL for a link type that libpcap knows nothing about. */
static status open_link(int link_type, pcap_t **link) {
    const uint32_t header[6] = {0xa1b2c3d4, 2 | 4 << 16, 0, 0, SNAP_LEN, (uint32_t)link_type};
    char why[PCAP_ERRBUF_SIZE];
    FILE *file = fmemopen((void *)header, sizeof header, "rb");
    if (file == NULL)
        return FAIL(ST_MEMORY, "no memory for label filters");
    *link = pcap_fopen_offline(file, why);
    if (*link == NULL)
        fclose(file);
    return ST_OK;
}

/* Compile all filters for a link type; l is NULL where one that does not compile is no error. */
static status compile(const label_matcher *m, const labels *l, int link_type, programs *to) {
    pcap_t *link = NULL;
    to->link_type = link_type;
    TRY(NEW(m->nfiltered, &to->program));
    status st = open_link(link_type, &link);
    for (size_t i = 0; link != NULL && i < m->nfiltered && st == ST_OK; i++) {
        const label_row *row = m->filtered[i];
        if (pcap_compile(link, &to->program[i], row->filter, 1, PCAP_NETMASK_UNKNOWN) == 0)
            continue;
        to->program[i] = (struct bpf_program){.bf_len = 0};
        if (l != NULL)
            st = FAIL(ST_FORMAT, "%s:%u: filter '%s': %s", l->path, row->line, row->filter, pcap_geterr(link));
    }
    if (link != NULL)
        pcap_close(link);
    return st;
}

static status add_row(label_matcher *m, const labels *l, const label_row *row) {
    switch (row->kind) {
    case LABEL_BY_KEY:
        m->keyed[m->nkeyed++] = (keyed){.hash = flow_key_hash(&row->key), .row = row};
        break;
    case LABEL_BY_FILTER:
        m->filtered[m->nfiltered++] = row;
        break;
    case LABEL_WHOLE_FILE:
        if (m->whole != NULL && !same_meaning(m->whole, row))
            return contradiction(l, m->whole, row);
        m->whole = row;
        break;
    }
    return ST_OK;
}

/* A row of a file that the capture continues. */
static void add_earlier(label_matcher *m, const label_row *row, uint64_t number) {
    if (row->kind == LABEL_BY_KEY)
        m->keyed[m->nkeyed++] = (keyed){.hash = flow_key_hash(&row->key), .back = UINT64_MAX - number, .row = row};
}

static status add_rows(label_matcher *m, const labels *l, const char *capture_path) {
    size_t nown = 0, nearlier = 0;
    uint64_t number;
    for (size_t i = 0; i < l->nrows; i++) {
        nown += label_path_matches(l->rows[i].file, capture_path);
        nearlier += label_path_continues(l->rows[i].file, capture_path, &number);
    }
    TRY(NEW(nown + nearlier, &m->keyed));
    TRY(NEW(nown, &m->filtered));
    TRY(NEW(1, &m->compiled));
    bool first = true;
    for (size_t i = 0; i < l->nrows; i++) {
        const label_row *row = &l->rows[i];
        if (label_path_continues(row->file, capture_path, &number))
            add_earlier(m, row, number);
        if (!label_path_matches(row->file, capture_path))
            continue;
        m->run = first || m->run == row->run_index ? row->run_index : -1;
        first = false;
        TRY(add_row(m, l, row));
    }
    if (nown == 0)
        m->run = labels_find_run(l, base_name(capture_path));
    return sort_keys(m, l);
}

status label_matcher_new(label_matcher **out, const labels *l, const char *capture_path, int link_type) {
    label_matcher *m = NULL;
    *out = NULL;
    TRY(NEW(1, &m));
    m->run = -1;
    status st = add_rows(m, l, capture_path);
    if (st == ST_OK && m->nfiltered > 0 && link_type >= 0)
        st = compile(m, l, link_type, &m->compiled->of[m->compiled->n++]);
    if (st != ST_OK)
        label_matcher_free(&m);
    *out = m;
    return st;
}

/* The filters' programs for this link type; NULL where there are none. */
static const struct bpf_program *programs_for(const label_matcher *m, int link_type) {
    compiled *c = m->compiled;
    for (size_t i = 0; i < c->n; i++)
        if (c->of[i].link_type == link_type)
            return c->of[i].program;
    if (c->n == LINK_TYPES_MAX)
        return NULL;
    programs *to = &c->of[c->n++];
    return compile(m, NULL, link_type, to) == ST_OK ? to->program : NULL;
}

static const label_row *find_filter(const label_matcher *m, const capture_record *first) {
    struct pcap_pkthdr header = {.caplen = (bpf_u_int32)first->caplen, .len = (bpf_u_int32)first->wire_len};
    const struct bpf_program *program = m->nfiltered > 0 ? programs_for(m, first->link_type) : NULL;
    for (size_t i = 0; program != NULL && i < m->nfiltered; i++)
        if (program[i].bf_len > 0 && pcap_offline_filter(&program[i], &header, first->bytes) != 0)
            return m->filtered[i];
    return NULL;
}

flow_label label_match(const label_matcher *m, const flow_key *key, const capture_record *first) {
    const keyed *found = m->nkeyed > 0 ? find_key(m, key) : NULL;
    const label_row *row = found != NULL && found->back == 0 ? found->row : NULL;
    if (row == NULL)
        row = find_filter(m, first);
    if (row == NULL)
        row = m->whole;
    if (row == NULL && found != NULL)
        row = found->row;
    if (row == NULL)
        return (flow_label){.label = -1, .run = m->run};
    return (flow_label){.label = row->label_index, .run = row->run_index, .line = row->line};
}

bool label_matcher_reads_frames(const label_matcher *m) {
    return m->nfiltered > 0;
}

void label_matcher_free(label_matcher **out) {
    label_matcher *m = *out;
    if (m == NULL)
        return;
    for (size_t k = 0; m->compiled != NULL && k < m->compiled->n; k++) {
        programs *p = &m->compiled->of[k];
        for (size_t i = 0; p->program != NULL && i < m->nfiltered; i++)
            pcap_freecode(&p->program[i]);
        memory_free(&p->program);
    }
    memory_free(&m->compiled);
    memory_free(&m->keyed);
    memory_free(&m->filtered);
    memory_free(out);
}
