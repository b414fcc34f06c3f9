/* nPrint text and flow pictures into a dataset. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/convert.h"
#include "io/dataset.h"
#include "io/import_priv.h"
#include "io/io_priv.h"
#include "io/png_image.h"

static int compare_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted list of the different texts, "" left out. Takes the texts over. */
static size_t unique_texts(char **texts, size_t n) {
    size_t kept = 0;
    qsort(texts, n, sizeof *texts, compare_text);
    for (size_t i = 0; i < n; i++)
        if (texts[i][0] == '\0' || (kept > 0 && strcmp(texts[kept - 1], texts[i]) == 0))
            free(texts[i]);
        else
            texts[kept++] = texts[i];
    return kept;
}

static int32_t index_of(size_t n, char *const *texts, const char *text) {
    char *const *found = bsearch(&text, texts, n, sizeof *texts, compare_text);
    return found != NULL ? (int32_t)(found - texts) : -1;
}

/* LABEL of flow-NNNNNN-LABEL.png, else "". Caller frees. */
static char *label_of(const char *path) {
    const char *name = base_name(path);
    size_t n = strlen(name);
    if (strncmp(name, "flow-", 5) != 0 || n < 5 + 1 + 1 + 4 || strcmp(name + n - 4, ".png") != 0)
        return text_copy("");
    size_t at = 5;
    while (isdigit((unsigned char)name[at]))
        at++;
    if (at == 5 || name[at] != '-')
        return text_copy("");
    char *label = text_format("%.*s", (int)(n - 4 - (at + 1)), name + at + 1);
    if (strcmp(label, "unlabelled") == 0)
        label[0] = '\0';
    return label;
}

/* Tables with one file and one run an input; labels from the names where `labelled`. */
static status make_tables(int ninputs, char *const *inputs, bool labelled, dataset_tables *t) {
    size_t n = (size_t)ninputs;
    *t = (dataset_tables){.nfiles = n};
    t->file = calloc(n + 1, sizeof *t->file);
    t->sha256 = calloc(n + 1, sizeof *t->sha256);
    t->run = calloc(n + 1, sizeof *t->run);
    t->label = calloc(n + 1, sizeof *t->label);
    t->macro = calloc(n + 1, sizeof *t->macro);
    t->prompt = calloc(n + 1, sizeof *t->prompt);
    if (!t->file || !t->sha256 || !t->run || !t->label || !t->macro || !t->prompt) {
        dataset_tables_clear(t);
        return FAIL(ST_MEMORY, "no memory for the tables of %zu inputs", n);
    }
    status st = ST_OK;
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        char hex[65] = "";
        st = file_sha256(inputs[i], hex);
        t->file[i] = text_copy(base_name(inputs[i]));
        t->sha256[i] = text_copy(hex);
        t->run[i] = text_copy(base_name(inputs[i]));
        t->label[i] = labelled ? label_of(inputs[i]) : text_copy("");
    }
    if (st != ST_OK) {
        dataset_tables_clear(t);
        return st;
    }
    t->nruns = unique_texts(t->run, n);
    t->nlabels = unique_texts(t->label, n);
    for (size_t i = 0; i < t->nlabels; i++) {
        t->macro[i] = text_copy("");
        t->prompt[i] = text_format("pixelated network data, type-%zu", i);
    }
    return ST_OK;
}

/* --- nPrint text --- */

/* An index column and exactly ncolumns values, each 0, 1 or -1. Says nothing about the packet in it. */
static bool is_row(const char *line, size_t nbytes, size_t ncolumns) {
    const char *at = memchr(line, ',', nbytes), *end = line + nbytes;
    size_t n = 0;
    for (; at != NULL && at < end; n++) {
        at++; /* the comma */
        at += at < end && *at == '-' && at + 1 < end && at[1] == '1';
        if (at == end || (*at != '0' && *at != '1'))
            return false;
        at++;
        if (at < end && *at != ',')
            return false;
    }
    return n == ncolumns;
}

/* Does the header line name the columns of the form, whatever the index column is? */
static status header_is(const nprint_form *form, const char *line, size_t nbytes, bool *is) {
    char *want = NULL;
    size_t nwant = 0;
    FILE *f = open_memstream(&want, &nwant);
    status st = f != NULL ? nprint_csv_header(form, f) : FAIL(ST_MEMORY, "no memory for a header line");
    if (f != NULL)
        fclose(f);
    const char *columns = st == ST_OK ? strchr(want, ',') : NULL, *have = memchr(line, ',', nbytes);
    if (st == ST_OK) {
        size_t n = (size_t)(want + nwant - 1 - columns); /* without the line's end */
        *is = have != NULL && (size_t)(line + nbytes - have) == n && memcmp(have, columns, n) == 0;
    }
    free(want);
    return st;
}

static status find_form(const char *path, const char *line, size_t nbytes, const nprint_form **form) {
    static const nprint_form *const forms[] = {&nprint_ipv4_form, &nprint_ipv6_form};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        bool is = false;
        TRY(header_is(forms[i], line, nbytes, &is));
        *form = forms[i];
        if (is)
            return ST_OK;
    }
    return FAIL(ST_FORMAT, "%s:1: the columns are not those of nprint %s or %s", path, forms[0]->options,
                forms[1]->options);
}

/* Why a row that is one holds no packet. Where IPv6 has no columns, nPrint leaves those of IPv4 vacant. */
static packet_skip skip_of(const nprint_form *form, const char *values) {
    return form == &nprint_ipv4_form && values[1] == '-' ? SKIP_IPV6 : SKIP_IP_BAD;
}

static status take_row(const char *path, size_t number, const char *line, size_t n, import_rows *r, flow_table *flows) {
    packet p = {.time_ns = (int64_t)(r->nrows++ * 1000), .frame = (uint32_t)(number - 2)};
    size_t flow_number;
    if (!is_row(line, n, r->form->ncolumns))
        return FAIL(ST_FORMAT, "%s:%zu: not an index and %d values 0, 1 or -1", path, number, r->form->ncolumns);
    if (nprint_csv_parse(r->form, line, n, &p) == ST_OK)
        return flow_table_add(flows, &p, &flow_number);
    r->skipped[skip_of(r->form, memchr(line, ',', n))]++;
    return ST_OK;
}

status import_read_rows(const char *path, FILE *f, import_rows *r, flow_table *flows) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    status st = ST_OK;
    size_t number = 1;
    for (; st == ST_OK && (n = getline(&line, &capacity, f)) > 0; number++) {
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            n--;
        if (number > UINT32_MAX)
            st = FAIL(ST_RANGE, "%s: more than 2^32 rows", path);
        else if (number == 1)
            st = find_form(path, line, (size_t)n, &r->form);
        else
            st = take_row(path, number, line, (size_t)n, r, flows);
    }
    if (st == ST_OK && !feof(f)) /* getline had no memory, or the file could not be read */
        st = FAIL(ST_IO, "%s: %s", path, strerror(errno));
    else if (st == ST_OK && number == 1)
        st = FAIL(ST_FORMAT, "%s: empty: a header line is needed", path);
    free(line);
    return st;
}

static status append_flows(dataset *d, flow_table *flows, uint32_t file, int32_t run) {
    for (size_t i = 0; i < flow_table_count(flows); i++) {
        flow *f = flow_table_get(flows, i);
        f->file = file;
        f->run = run;
        TRY(dataset_append(d, f));
    }
    return ST_OK;
}

static status import_csv(dataset *d, const char *path, uint32_t file, import_rows *r) {
    flow_table *flows = NULL;
    FILE *f = fopen(path, "rbe");
    if (f == NULL)
        return FAIL(ST_IO, "%s: %s", path, strerror(errno));
    status st = flow_table_new(&flows, 0);
    if (st == ST_OK)
        st = import_read_rows(path, f, r, flows);
    fclose(f);
    const dataset_tables *t = dataset_get_tables(d);
    if (st == ST_OK)
        st = append_flows(d, flows, file, index_of(t->nruns, t->run, base_name(path)));
    flow_table_free(&flows);
    return st;
}

status import_nprint(int ninputs, char *const *inputs, const char *path) {
    dataset_tables t;
    dataset *d = NULL;
    import_rows r = {.nrows = 0};
    TRY(make_tables(ninputs, inputs, false, &t));
    status st = dataset_create(&d, path, &t, 1);
    for (int i = 0; i < ninputs && st == ST_OK; i++)
        st = import_csv(d, inputs[i], (uint32_t)i, &r);
    dataset_tables_clear(&t);
    if (st != ST_OK) {
        dataset_abandon(&d);
        return st;
    }
    dataset_set_skipped(d, r.skipped, r.nrows);
    return dataset_commit(&d);
}

/* --- pictures --- */

static status import_picture(dataset *d, const char *path, uint32_t file, uint64_t *npackets) {
    image m = {.width = 0};
    flow f;
    const dataset_tables *t = dataset_get_tables(d);
    TRY(image_read(path, &m));
    flow_init(&f);
    status st = flow_from_image(&m, &f);
    image_clear(&m);
    if (st == ST_OK) {
        char *label = label_of(path);
        f.file = file;
        f.run = index_of(t->nruns, t->run, base_name(path));
        f.label = index_of(t->nlabels, t->label, label);
        free(label);
        for (size_t i = 0; i < f.npackets; i++) {
            f.packets[i].time_ns = (int64_t)((*npackets)++ * 1000);
            f.packets[i].frame = (uint32_t)i;
        }
        st = dataset_append(d, &f);
    } else {
        char *why = text_copy(status_message());
        st = FAIL(st, "%s: %s", path, why);
        free(why);
    }
    flow_clear(&f);
    return st;
}

status import_png(int ninputs, char *const *inputs, const char *path) {
    dataset_tables t;
    dataset *d = NULL;
    uint64_t npackets = 0;
    static const uint64_t none[SKIP_COUNT];
    TRY(make_tables(ninputs, inputs, true, &t));
    status st = dataset_create(&d, path, &t, 1);
    for (int i = 0; i < ninputs && st == ST_OK; i++)
        st = import_picture(d, inputs[i], (uint32_t)i, &npackets);
    dataset_tables_clear(&t);
    if (st != ST_OK) {
        dataset_abandon(&d);
        return st;
    }
    dataset_set_skipped(d, none, npackets);
    return dataset_commit(&d);
}
