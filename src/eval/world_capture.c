/* Synthetic flows from the captures of any generator: flows are assembled as ndencode does, labels come from a
 * labels.csv (eval.labels), or else from the files' names: LABEL.pcap, or any capture in a folder LABEL/.
 *
 * Without labels.csv, a file that is named as no class of the real data is left out (all.pcap beside web.pcap), and it
 * is an error if that leaves none. */
#include "eval/world_priv.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "io/capture.h"
#include "io/labels.h"

/* What is seen while reading one capture. */
typedef struct reading {
    const char *path;
    int32_t label;         /* of every flow; -1: by the matcher */
    label_matcher *labels; /* may be NULL */
    const int32_t *map;    /* label of labels.csv -> the world's */
    bool payload_zero;     /* every payload byte is there and zero */
} reading;

/* Headers end `header` bytes into the frame; nd drops the link header, whose length is what is left of the frame. */
static bool payload_is_zero(const capture_record *r, const packet *p) {
    unsigned payload = packet_payload(p);
    if (payload == 0)
        return true;
    if (r->wire_len < p->wire_len)
        return false;
    size_t start = r->wire_len - p->wire_len + p->nheader;
    if (start > r->caplen || payload > r->caplen - start)
        return false;
    for (size_t i = 0; i < payload; i++)
        if (r->bytes[start + i])
            return false;
    return true;
}

static status read_packets(capture *c, reading *in, flow_table *flows) {
    for (uint64_t frame = 0;; frame++) {
        capture_record r;
        packet p;
        bool end;
        size_t before = flow_table_count(flows), number;
        TRY(capture_next(c, &r, &end));
        if (end)
            return ST_OK;
        if (frame > UINT32_MAX)
            return FAIL(ST_RANGE, "%s: more than 2^32 records", in->path);
        if (packet_decode(r.link_type, r.bytes, r.caplen, r.wire_len, &p) != SKIP_NONE)
            continue;
        p.time_ns = r.time_ns;
        p.frame = (uint32_t)frame;
        p.dir = 0;
        in->payload_zero = in->payload_zero && payload_is_zero(&r, &p);
        TRY(flow_table_add(flows, &p, &number));
        if (number < before)
            continue;
        flow *f = flow_table_get(flows, number);
        f->label = in->label;
        if (in->labels) {
            flow_label found = label_match(in->labels, &f->key, &r);
            f->label = found.label >= 0 ? in->map[found.label] : -1;
            f->run = found.run;
        }
    }
}

static status read_capture(eval_world *w, reading *in, const labels *l, const char *name) {
    capture *c = NULL;
    flow_table *flows = NULL;
    status st = capture_open(&c, in->path);
    if (!st)
        st = flow_table_new(&flows, (int64_t)(w->e->encode.timeout * 1e9));
    if (!st && l)
        st = label_matcher_new(&in->labels, l, name, capture_link_type(c));
    if (!st)
        st = read_packets(c, in, flows);
    if (!st && capture_damage(c))
        log_warn("%s: %s", in->path, capture_damage(c));
    for (size_t i = 0; !st && i < flow_table_count(flows); i++) {
        flow *f = flow_table_get(flows, i), whole = *f;
        f->packets = NULL;
        f->npackets = f->capacity = 0;
        st = set_take(&w->synthetic, &whole, whole.label, WINDOW_MAX);
        if (st)
            flow_clear(&whole);
    }
    label_matcher_free(&in->labels);
    flow_table_free(&flows);
    capture_close(&c);
    return st;
}

/* The class whose name, or whose name as ndgen writes it into that of a file, are these n bytes; -1: none. */
static int32_t label_named(const eval_world *w, const char *bytes, size_t n) {
    char *name = text_format("%.*s", (int)n, bytes);
    int32_t label = world_find_label(w, name);
    for (size_t l = 0; l < w->nlabels && label < 0; l++) {
        char *of_file = file_label_name(w->label[l]);
        if (!strcmp(of_file, name))
            label = (int32_t)l;
        free(of_file);
    }
    free(name);
    return label;
}

/* A file's name up to .pcap, .pcapng or .cap. */
static size_t stem_length(const char *base) {
    static const char *const endings[] = {".gz", ".pcap", ".pcapng", ".cap"};
    size_t n = strlen(base);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t length = strlen(endings[i]);
        if (n > length && !strncasecmp(base + n - length, endings[i], length)) {
            n -= length;
            if (i > 0)
                break;
        }
    }
    return n;
}

/* The class that a capture is named after: its name without endings (a class may have dots in its own), its name up to
 * the first dot, or the folder it lies in. */
static int32_t label_of_name(const eval_world *w, const char *path) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *start = path;
    int32_t label = label_named(w, base, stem_length(base));
    if (label < 0)
        label = label_named(w, base, strcspn(base, "."));
    if (label >= 0 || !slash)
        return label;
    for (const char *p = path; p < slash; p++)
        if (*p == '/')
            start = p + 1;
    return label_named(w, start, (size_t)(slash - start));
}

static status read_by_name(eval_world *w, const text_list *files, bool *zero) {
    size_t used = 0;
    for (size_t i = 0; i < files->n; i++) {
        reading in = {.path = files->item[i], .label = label_of_name(w, files->item[i]), .payload_zero = true};
        if (in.label < 0) {
            log_job("%s is named as no class of %s: left out", in.path, w->e->data.dataset);
            continue;
        }
        TRY(read_capture(w, &in, NULL, NULL));
        *zero = *zero && in.payload_zero;
        used++;
    }
    if (!used)
        return FAIL(
            ST_USAGE,
            "%s: no capture is named as a class of %s (LABEL.pcap); say the flows' labels in a CSV, eval.labels",
            w->e->eval.synthetic, w->e->data.dataset);
    return ST_OK;
}

static status map_csv_labels(eval_world *w, const labels *l, int32_t **map) {
    TRY(NEW(labels_count(l) + 1, map));
    for (size_t i = 0; i < labels_count(l); i++)
        TRY(world_label(w, labels_name(l, i), labels_macro(l, i), &(*map)[i]));
    return ST_OK;
}

static status read_by_csv(eval_world *w, const text_list *files, const text_list *names, bool *zero) {
    labels *l = NULL;
    int32_t *map = NULL;
    status st = labels_open(&l, w->e->eval.labels);
    if (!st)
        st = labels_keep(l, names);
    if (!st)
        st = map_csv_labels(w, l, &map);
    for (size_t i = 0; !st && i < files->n; i++) {
        reading in = {.path = files->item[i], .label = -1, .map = map, .payload_zero = true};
        st = read_capture(w, &in, l, names->item[i]);
        *zero = *zero && in.payload_zero;
    }
    memory_free(&map);
    labels_free(&l);
    return st;
}

status world_read_captures(eval_world *w, const char *path) {
    char *entry = (char *)path;
    text_list files = {0}, names = {0};
    bool zero = true;
    TRY(capture_list_names(&(text_list){1, &entry}, &files, &names));
    status st = *w->e->eval.labels ? read_by_csv(w, &files, &names, &zero) : read_by_name(w, &files, &zero);
    w->payload = zero ? CHECK_PAYLOAD_ZERO : CHECK_PAYLOAD_UNKNOWN;
    text_list_clear(&files);
    text_list_clear(&names);
    return st;
}
