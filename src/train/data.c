/* Choosing and encoding the flows of one training run. See data.h. */
#include "train/data.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "io/dataset.h"
#include "train/hash.h"
#include <math.h>
#include <stdlib.h>

/* More validation flows than this cost time and tell nothing new. */
enum { VALIDATE_MAX = 1024, VALIDATE_MIN_FLOWS = 8 };
static const double UNLABELLED_MOST = 0.25;

/* ---- What the configuration names must be in the dataset: a slip of the pen would spoil a held-out set silently ----
 */

static status check_names(const char *key, const text_list *wanted, size_t n, char *const *known, const char *what) {
    for (size_t i = 0; i < wanted->n; i++) {
        bool found = false;
        for (size_t k = 0; k < n; k++)
            found = found || strcmp(wanted->item[i], known[k]) == 0;
        if (found)
            continue;
        char list[256] = "none";
        for (size_t k = 0, at = 0; k < n && at < sizeof list; k++)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", k > 0 ? ", " : "", known[k]);
        return FAIL(ST_USAGE, "%s: the dataset has no %s \"%s\"; it has: %s", key, what, wanted->item[i], list);
    }
    return ST_OK;
}

static status check_configuration(const experiment *e, const dataset_tables *tables) {
    TRY(check_names("data.holdout", &e->data.holdout, tables->nruns, tables->run, "run"));
    TRY(check_names("train.base.exclude", &e->train.exclude, tables->nlabels, tables->label, "label"));
    if (e->train.mode != TRAIN_LORA)
        return ST_OK;
    if (e->train.lora_labels.n == 0)
        return FAIL(ST_USAGE,
                    "train.lora.labels and train.base.exclude are empty: name the labels to tune the LoRA on");
    return check_names("train.lora.labels", &e->train.lora_labels, tables->nlabels, tables->label, "label");
}

/* ---- Selection ---- */

/* Does the run want this flow (by its header alone)? */
static bool wanted(const experiment *e, const dataset_tables *tables, const flow *f, data_left *left) {
    if (f->run >= 0 && text_list_has(&e->data.holdout, tables->run[f->run])) {
        left->holdout++;
        return false;
    }
    bool lora = e->train.mode == TRAIN_LORA;
    bool named =
        f->label >= 0 && text_list_has(lora ? &e->train.lora_labels : &e->train.exclude, tables->label[f->label]);
    if (named != lora) {
        left->excluded++;
        return false;
    }
    if (f->npackets == 0) {
        left->empty++;
        return false;
    }
    return true;
}

static void count_refusal(data_left *left, const char *why) {
    size_t i = 0;
    while (i < left->nreasons && strcmp(left->reason[i], why) != 0)
        i++;
    if (i == DATA_REASONS)
        i = DATA_REASONS - 1; /* more reasons than any layout has: counted under the last */
    else if (i == left->nreasons)
        left->reason[left->nreasons++] = why;
    left->refused[i]++;
}

/* The same value wherever the flow stands in whichever dataset: its capture's content, its addresses, its first frame.
 */
static uint64_t flow_identity(const dataset_tables *tables, const flow *f) {
    const char *sha = f->file < tables->nfiles ? tables->sha256[f->file] : "";
    uint64_t h = hash_bytes(HASH_START, sha, strlen(sha));
    h = hash_word(h, f->key.proto);
    if (f->key.ipv6)
        for (unsigned side = 0; side < 2; side++)
            h = hash_word(hash_word(h, (uint64_t)(f->key.addr[side] >> 64)), (uint64_t)f->key.addr[side]);
    else
        h = hash_word(h, (uint64_t)(f->key.addr[0] << 32 | f->key.addr[1]));
    h = hash_word(h, (uint64_t)f->key.port[0] << 16 | f->key.port[1]);
    return hash_word(h, f->packets[0].frame);
}

/* Rows as they are read: growing arrays, and one flow's cells. */
typedef struct reading {
    size_t signs_capacity, shapes_capacity, cells_capacity;
    int8_t *cells;
} reading;

static void pack_signs(size_t n, const int8_t *cells, uint8_t *signs) {
    memset(signs, 0, (n + 7) / 8);
    for (size_t i = 0; i < n; i++)
        if (cells[i] > 0)
            signs[i / 8] |= (uint8_t)(0x80 >> i % 8);
}

static void unpack_signs(size_t n, const uint8_t *signs, int8_t *cells) {
    for (size_t i = 0; i < n; i++)
        cells[i] = signs[i / 8] << i % 8 & 0x80 ? 1 : -1;
}

/* f holds the first packets of a flow of npackets. */
static status encode_flow(data *d, reading *r, const flow *f, size_t npackets) {
    size_t first = d->first[d->nflows], end = first + f->npackets, nbytes = data_row_nbytes(d);
    TRY(memory_grow(&d->signs, &r->signs_capacity, end, nbytes));
    TRY(memory_grow(&d->shapes, &r->shapes_capacity, end, sizeof *d->shapes));
    TRY(memory_grow(&r->cells, &r->cells_capacity, f->npackets, d->cells));
    TRY(d->layout->encode(f, f->npackets, r->cells));
    for (size_t i = 0; i < f->npackets; i++) {
        pack_signs(d->cells, r->cells + i * d->cells, d->signs + (first + i) * nbytes);
        d->shapes[first + i] = packet_shape_of(&f->packets[i]);
    }
    d->first[d->nflows + 1] = end;
    d->npackets[d->nflows] = npackets;
    d->label[d->nflows] = f->label;
    d->hash = hash_word(d->hash, (uint64_t)(int64_t)f->label);
    d->hash = hash_word(d->hash, npackets);
    d->hash = hash_bytes(d->hash, d->signs + first * nbytes, f->npackets * nbytes);
    d->hash = hash_bytes(d->hash, d->shapes + first, f->npackets * sizeof *d->shapes);
    d->nflows++;
    return ST_OK;
}

static status read_flows(data *d, const experiment *e, dataset *from, uint64_t *identity) {
    const dataset_tables *tables = dataset_get_tables(from);
    data_left scratch = {0};
    reading r = {0};
    flow f;
    flow_init(&f);
    status st = ST_OK;
    for (size_t i = 0; i < dataset_nflows(from); i++) {
        dataset_flow_info(from, i, &f);
        size_t npackets = f.npackets;
        if (!wanted(e, tables, &f, &scratch))
            continue;
        TRY_TO(out, dataset_read(from, i, (size_t)e->data.max_packets, &f));
        const char *why = "";
        if (d->layout->accepts(&f, &why)) {
            identity[d->nflows] = flow_identity(tables, &f);
            TRY_TO(out, encode_flow(d, &r, &f, npackets));
        } else {
            count_refusal(&d->left, why);
        }
        flow_clear(&f);
    }
out:
    flow_clear(&f);
    free(r.cells);
    return st;
}

/* ---- Windows ---- */

size_t data_nwindows(const data *d, size_t i) {
    return control_nwindows(d->first[i + 1] - d->first[i], d->rows, d->context);
}

size_t data_last_window(const data *d, size_t i) {
    size_t kept = d->first[i + 1] - d->first[i];
    return kept > d->rows ? kept - d->context - 1 : 0;
}

size_t data_window(const data *d, size_t i, size_t first, float *cells, float *control, uint8_t *scratch) {
    size_t kept = d->first[i + 1] - d->first[i], nbytes = data_row_nbytes(d);
    control_window w = {
        .first = first, .nrows = d->rows, .ngiven = first > 0 ? d->context : 0, .nflow = d->npackets[i], .kept = kept};
    ASSERT(first == 0 || first + d->context < kept);
    uint8_t *mask = scratch;
    int8_t *row_cells = (int8_t *)scratch + d->cells;
    for (size_t row = 0; row < d->rows; row++, cells += d->cells) {
        memset(row_cells, -1, d->cells); /* past the end: not valid, and so nothing else is there */
        if (first + row < kept)
            unpack_signs(d->cells, d->signs + (d->first[i] + first + row) * nbytes, row_cells);
        d->layout->presence(row_cells, first + row, mask);
        for (size_t c = 0; c < d->cells; c++)
            cells[c] = mask[c] ? (float)row_cells[c] : 0;
    }
    control_encode(d->shapes + d->first[i], &w, control);
    return w.ngiven;
}

/* ---- Groups and validation ---- */

typedef struct ordered {
    uint64_t identity;
    size_t flow;
} ordered;

static int by_identity(const void *a, const void *b) {
    const ordered *x = a, *y = b;
    if (x->identity != y->identity)
        return x->identity < y->identity ? -1 : 1;
    return (x->flow > y->flow) - (x->flow < y->flow);
}

/* The flows of one label; those of the smallest identity are kept for validation. */
static status make_group(data *d, data_group *g, int32_t label, double share, const uint64_t *identity,
                         ordered *sorted) {
    size_t n = 0;
    for (size_t i = 0; i < d->nflows; i++)
        if (d->label[i] == label)
            sorted[n++] = (ordered){identity[i], i};
    qsort(sorted, n, sizeof *sorted, by_identity);
    g->label = label;
    g->nvalidate = (size_t)(share * (double)n);
    if (share > 0 && g->nvalidate == 0 && n >= VALIDATE_MIN_FLOWS)
        g->nvalidate = 1;
    g->n = n - g->nvalidate;
    TRY(NEW(n, &g->flow));
    for (size_t i = 0; i < n; i++)
        g->flow[i < g->nvalidate ? g->n + i : i - g->nvalidate] = sorted[i].flow;
    for (size_t i = 0; i < g->nvalidate; i++)
        d->validate[d->nvalidate++] = sorted[i].flow;
    return ST_OK;
}

static status make_groups(data *d, double share, const uint64_t *identity) {
    ordered *sorted = NULL;
    status st;
    if (share * (double)d->nflows > VALIDATE_MAX)
        share = VALIDATE_MAX / (double)d->nflows;
    TRY(NEW(d->nflows, &d->validate));
    TRY(NEW(d->nlabels, &d->group));
    TRY(NEW(d->nlabels, &d->weight));
    TRY(NEW(d->nflows, &sorted));
    for (size_t label = 0; label < d->nlabels; label++) {
        data_group *g = &d->group[d->ngroups];
        TRY_TO(out, make_group(d, g, (int32_t)label, share, identity, sorted));
        d->weight[d->ngroups] = sqrt((double)g->n);
        if (g->n > 0)
            d->ngroups++;
        else
            memory_free(&g->flow);
    }
    TRY_TO(out, make_group(d, &d->unlabelled, -1, share, identity, sorted));
    if (d->unlabelled.n > 0) {
        double among = (double)d->unlabelled.n / (double)(d->nflows - d->nvalidate);
        d->unlabelled_share = d->ngroups == 0 ? 1 : among < UNLABELLED_MOST ? among : UNLABELLED_MOST;
    }
out:
    memory_free(&sorted);
    return st;
}

/* A text for each label. They are learnt from too, so they enter the hash. */
static status copy_texts(data *d, char *const *from, char ***to) {
    TRY(NEW(d->nlabels, to));
    for (size_t i = 0; i < d->nlabels; i++) {
        (*to)[i] = text_copy(from[i]);
        d->hash = hash_bytes(d->hash, from[i], strlen(from[i]));
    }
    return ST_OK;
}

static status data_fill(data *d, const experiment *e, dataset *from) {
    const dataset_tables *tables = dataset_get_tables(from);
    TRY(check_configuration(e, tables));
    d->nlabels = tables->nlabels;
    TRY(copy_texts(d, tables->label, &d->label_name));
    TRY(copy_texts(d, tables->prompt, &d->prompt));

    size_t n = 0;
    for (size_t i = 0; i < dataset_nflows(from); i++) {
        flow f;
        dataset_flow_info(from, i, &f);
        n += wanted(e, tables, &f, &d->left);
    }
    uint64_t *identity = NULL;
    TRY(NEW(n + 1, &d->first));
    TRY(NEW(n, &d->npackets));
    TRY(NEW(n, &d->label));
    TRY(NEW(n, &identity));
    status st = read_flows(d, e, from, identity);
    if (st == ST_OK && d->nflows == 0)
        st = FAIL(ST_USAGE,
                  "%s: no flow to learn from: %zu held out, %zu of labels not asked for, %zu the layout \"%s\" "
                  "does not take",
                  e->data.dataset, d->left.holdout, d->left.excluded, n, d->layout->name);
    if (st == ST_OK)
        st = make_groups(d, e->train.validate_share, identity);
    memory_free(&identity);
    return st;
}

status data_open(data **d, const experiment *e, const layout *l, size_t rows, size_t context) {
    dataset *from = NULL;
    if (!file_exists(e->data.dataset))
        return FAIL(ST_IO, "%s: there is no dataset; ndencode makes it from captures", e->data.dataset);
    TRY(NEW(1, d));
    (*d)->layout = l;
    (*d)->rows = rows;
    (*d)->context = context;
    (*d)->cells = l->ncells;
    (*d)->hash = HASH_START;
    status st = dataset_open(&from, e->data.dataset);
    if (st == ST_OK)
        st = data_fill(*d, e, from);
    dataset_close(&from);
    if (st != ST_OK)
        data_close(d);
    return st;
}

static void free_texts(size_t n, char ***texts) {
    for (size_t i = 0; *texts != NULL && i < n; i++)
        free((*texts)[i]);
    memory_free(texts);
}

void data_close(data **d) {
    data *x = *d;
    if (x == NULL)
        return;
    memory_free(&x->first);
    memory_free(&x->npackets);
    free(x->signs);
    free(x->shapes);
    memory_free(&x->label);
    free_texts(x->nlabels, &x->label_name);
    free_texts(x->nlabels, &x->prompt);
    for (size_t i = 0; x->group != NULL && i < x->nlabels; i++)
        memory_free(&x->group[i].flow);
    memory_free(&x->group);
    memory_free(&x->weight);
    memory_free(&x->unlabelled.flow);
    memory_free(&x->validate);
    memory_free(d);
}
