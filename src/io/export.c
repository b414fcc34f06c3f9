/* Datasets and captures as nPrint text and as flow pictures. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "io/capture.h"
#include "io/convert.h"
#include "io/dataset.h"
#include "io/io_priv.h"
#include "io/png_image.h"

/* HDF5 files begin with these bytes; every other input is taken for a capture. */
static status is_dataset(const char *path, bool *is) {
    static const char magic[8] = "\211HDF\r\n\032\n";
    char first[8];
    FILE *f = fopen(path, "rbe");
    if (f == NULL)
        return FAIL(ST_IO, "%s: %s", path, strerror(errno));
    *is = fread(first, 1, sizeof first, f) == sizeof first && memcmp(first, magic, sizeof magic) == 0;
    fclose(f);
    return ST_OK;
}

/* FOLDER/NAME.FORM.csv */
static char *csv_path(const nprint_form *form, const char *folder, const char *name) {
    return text_format("%s/%s.%s.csv", folder, name, form->name);
}

/* The name with its folders flattened. */
static char *flat_name(const char *name) {
    char *flat = text_copy(name);
    for (char *at = flat; *at != '\0'; at++)
        if (*at == '/')
            *at = '_';
    return flat;
}

/* Flat names of n files, each another: a/b is a_b, and a file that is called so as well is a_b-2. */
static status flat_names(char *const *files, size_t n, text_list *names) {
    for (size_t i = 0; i < n; i++) {
        char *flat = flat_name(files[i]), *name = text_copy(flat);
        for (unsigned number = 2; text_list_has(names, name); number++) {
            free(name);
            name = text_format("%s-%u", flat, number);
        }
        status st = text_list_add(names, name);
        free(flat);
        free(name);
        TRY(st);
    }
    return ST_OK;
}

/* The packet's row; nothing for a packet that the form does not hold. */
static status put_row(const nprint_form *form, file_writer *w, const packet *p) {
    char text[NPRINT_ROW_MAX];
    const char *why;
    if (!nprint_form_holds(form, p, &why))
        return ST_OK;
    size_t n = nprint_csv_row(form, p, text);
    if (fwrite(text, 1, n, w->stream) != n)
        return FAIL(ST_IO, "%s: writing failed: %s", w->path, strerror(errno));
    return ST_OK;
}

/* --- nPrint text --- */

static status put_frames(const nprint_form *form, capture *c, uint64_t limit, file_writer *w) {
    capture_record r;
    packet p = {.time_ns = 0};
    bool end;
    for (uint64_t frame = 0; limit == 0 || frame < limit; frame++) {
        TRY(capture_next(c, &r, &end));
        if (end)
            break;
        if (packet_decode(r.link_type, r.bytes, r.caplen, r.wire_len, &p) == SKIP_NONE)
            TRY(put_row(form, w, &p));
    }
    return ST_OK;
}

static status export_nprint_capture(const nprint_form *form, const char *input, const char *folder, uint64_t limit) {
    capture *c = NULL;
    file_writer w;
    TRY(capture_open(&c, input));
    char *path = csv_path(form, folder, base_name(input));
    status st = file_begin(&w, path);
    if (st == ST_OK) {
        st = nprint_csv_header(form, w.stream);
        if (st == ST_OK)
            st = put_frames(form, c, limit, &w);
        if (st == ST_OK)
            st = file_commit(&w);
        else
            file_abandon(&w);
    }
    if (st == ST_OK && capture_damage(c) != NULL)
        st = FAIL(ST_FORMAT, "%s: damaged %s; the rows before are in %s", input, capture_damage(c), path);
    free(path);
    capture_close(&c);
    return st;
}

typedef struct place { /* a packet of one source file */
    uint32_t frame;
    size_t order; /* as read: keeps equal frame numbers in place */
    packet p;
} place;

static int compare_place(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (x->frame != y->frame)
        return x->frame < y->frame ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* All packets of source file number `file` that the form holds, in frame order. */
static status collect(const nprint_form *form, dataset *d, uint32_t file, place **places, size_t *n) {
    size_t capacity = 0;
    const char *why;
    flow f, whole;
    flow_init(&whole);
    status st = ST_OK;
    for (size_t i = 0; i < dataset_nflows(d) && st == ST_OK; i++) {
        dataset_flow_info(d, i, &f);
        if (f.file != file)
            continue;
        st = dataset_read(d, i, 0, &whole);
        if (st == ST_OK)
            st = memory_grow(places, &capacity, *n + whole.npackets, sizeof **places);
        for (size_t k = 0; k < whole.npackets && st == ST_OK; k++)
            if (nprint_form_holds(form, &whole.packets[k], &why)) {
                (*places)[*n] = (place){.frame = whole.packets[k].frame, .order = *n, .p = whole.packets[k]};
                (*n)++;
            }
    }
    flow_clear(&whole);
    if (*n > 0)
        qsort(*places, *n, sizeof **places, compare_place);
    return st;
}

static status export_nprint_file(const nprint_form *form, dataset *d, uint32_t file, const char *path, uint64_t limit) {
    place *places = NULL;
    size_t n = 0;
    file_writer w;
    status st = collect(form, d, file, &places, &n);
    if (st == ST_OK)
        st = file_begin(&w, path);
    if (st == ST_OK) {
        st = nprint_csv_header(form, w.stream);
        for (size_t i = 0; i < n && (limit == 0 || i < limit) && st == ST_OK; i++)
            st = put_row(form, &w, &places[i].p);
        if (st == ST_OK)
            st = file_commit(&w);
        else
            file_abandon(&w);
    }
    free(places);
    return st;
}

static status export_nprint_dataset(const nprint_form *form, const char *input, const char *folder, uint64_t limit) {
    dataset *d = NULL;
    TRY(dataset_open(&d, input));
    const dataset_tables *t = dataset_get_tables(d);
    text_list names = {0};
    status st = t->nfiles > 0 ? flat_names(t->file, t->nfiles, &names) : text_list_add(&names, "flows");
    for (size_t i = 0; i < names.n && st == ST_OK; i++) {
        char *path = csv_path(form, folder, names.item[i]);
        st = export_nprint_file(form, d, (uint32_t)i, path, limit);
        free(path);
    }
    text_list_clear(&names);
    dataset_close(&d);
    return st;
}

status export_nprint(const nprint_form *form, const char *input, const char *folder, uint64_t limit) {
    bool from_dataset;
    TRY(is_dataset(input, &from_dataset));
    return from_dataset ? export_nprint_dataset(form, input, folder, limit)
                        : export_nprint_capture(form, input, folder, limit);
}

/* --- pictures --- */

/* What the pictures of an export share. */
typedef struct gallery {
    const nprint_form *form;
    const char *folder;
    size_t nleft_out;    /* flows that the form does not hold */
    const char *why;     /* of the last of them */
    uint64_t limit, put; /* limit 0 = none */
} gallery;

static bool holds_flow(const nprint_form *form, const flow *f, const char **why) {
    for (size_t i = 0; i < f->npackets && i < FLOW_IMAGE_ROWS; i++)
        if (!nprint_form_holds(form, &f->packets[i], why))
            return false;
    return true;
}

static status put_picture(gallery *g, const flow *f, size_t number, const char *label) {
    image m = {.width = 0};
    const char *why;
    if (!holds_flow(g->form, f, &why)) {
        g->nleft_out++;
        g->why = why;
        return ST_OK;
    }
    char *name = file_label_name(label);
    char *path = text_format("%s/flow-%06zu-%s.png", g->folder, number, name);
    status st = flow_image(g->form, f, &m);
    if (st == ST_OK)
        st = image_write(path, &m);
    g->put += st == ST_OK;
    image_clear(&m);
    free(path);
    free(name);
    return st;
}

static bool wants_more(const gallery *g) {
    return g->limit == 0 || g->put < g->limit;
}

static status export_png_dataset(gallery *g, const char *input) {
    dataset *d = NULL;
    flow f;
    TRY(dataset_open(&d, input));
    const dataset_tables *t = dataset_get_tables(d);
    status st = ST_OK;
    flow_init(&f);
    for (size_t i = 0; i < dataset_nflows(d) && wants_more(g) && st == ST_OK; i++) {
        st = dataset_read(d, i, FLOW_IMAGE_ROWS, &f);
        if (st == ST_OK)
            st = put_picture(g, &f, i, f.label >= 0 ? t->label[f.label] : "unlabelled");
    }
    flow_clear(&f);
    dataset_close(&d);
    return st;
}

static status assemble(capture *c, flow_table *flows) {
    capture_record r;
    packet p = {.time_ns = 0};
    bool end;
    size_t number;
    for (uint32_t frame = 0;; frame++) {
        TRY(capture_next(c, &r, &end));
        if (end)
            return ST_OK;
        if (packet_decode(r.link_type, r.bytes, r.caplen, r.wire_len, &p) != SKIP_NONE)
            continue;
        p.time_ns = r.time_ns;
        p.frame = frame;
        TRY(flow_table_add(flows, &p, &number));
    }
}

static status export_png_capture(gallery *g, const char *input) {
    capture *c = NULL;
    flow_table *flows = NULL;
    TRY(capture_open(&c, input));
    status st = flow_table_new(&flows, 0);
    if (st == ST_OK)
        st = assemble(c, flows);
    size_t n = st == ST_OK ? flow_table_count(flows) : 0;
    for (size_t i = 0; i < n && wants_more(g) && st == ST_OK; i++)
        st = put_picture(g, flow_table_get(flows, i), i, "unlabelled");
    if (st == ST_OK && capture_damage(c) != NULL)
        st = FAIL(ST_FORMAT, "%s: damaged %s; the flows before are in %s", input, capture_damage(c), g->folder);
    flow_table_free(&flows);
    capture_close(&c);
    return st;
}

status export_png(const nprint_form *form, const char *input, const char *folder, uint64_t limit) {
    bool from_dataset;
    gallery g = {.form = form, .folder = folder, .limit = limit};
    TRY(is_dataset(input, &from_dataset));
    status st = from_dataset ? export_png_dataset(&g, input) : export_png_capture(&g, input);
    if (g.nleft_out > 0)
        log_warn("%s: %zu flows have no picture: %s", input, g.nleft_out, g.why);
    return st;
}
