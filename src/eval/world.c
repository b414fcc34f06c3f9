/* The flows that are compared, in memory: real ones from the dataset, synthetic ones from a dataset or captures.
 *
 * The window, how many packets of a flow are kept, is the longest synthetic flow, at least eval.packets and 32, at most
 * 1024: what was not generated is not compared. Held-out flows are whole recordings, never packets or flows of a
 * recording that training saw. Flows without a label are kept with label -1. */
#include "eval/world_priv.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "io/capture.h"
#include "io/dataset.h"

enum { WINDOW_MIN = 32 };

/* ---- sets ---- */

static void measure_whole(const flow *f, eval_flow *to) {
    int64_t first = INT64_MAX, last = INT64_MIN;
    to->packets = f->npackets;
    for (size_t i = 0; i < f->npackets; i++) {
        int64_t t = f->packets[i].time_ns;
        to->bytes += packet_total_len(&f->packets[i]);
        first = t < first ? t : first;
        last = t > last ? t : last;
    }
    to->duration = f->npackets ? (double)((uint64_t)last - (uint64_t)first) / 1e9 : 0;
}

status set_take(eval_set *s, flow *whole, int32_t label, size_t window) {
    TRY(memory_grow(&s->flows, &s->capacity, s->n + 1, sizeof *s->flows));
    eval_flow *to = &s->flows[s->n++];
    *to = (eval_flow){0};
    measure_whole(whole, to);
    to->f = *whole;
    to->f.label = label;
    flow_init(whole);
    if (to->f.npackets > window)
        to->f.npackets = window;
    if (to->f.capacity > to->f.npackets && to->f.npackets > 0) {
        packet *packets = realloc(to->f.packets, to->f.npackets * sizeof *packets);
        if (packets) {
            to->f.packets = packets;
            to->f.capacity = to->f.npackets;
        }
    }
    return ST_OK;
}

void set_clear(eval_set *s) {
    for (size_t i = 0; i < s->n; i++)
        flow_clear(&s->flows[i].f);
    free(s->flows);
    *s = (eval_set){.name = s->name};
}

/* ---- labels ---- */

int32_t world_find_label(const eval_world *w, const char *name) {
    for (size_t i = 0; i < w->nlabels; i++)
        if (!strcmp(w->label[i], name))
            return (int32_t)i;
    return -1;
}

/* A class that no macro class was given for is a macro class by itself. */
status world_label(eval_world *w, const char *name, const char *macro, int32_t *label) {
    *label = world_find_label(w, name);
    if (*label >= 0)
        return ST_OK;
    if (!*macro)
        macro = name;
    size_t m = 0, n = w->nlabels;
    while (m < w->nmacros && strcmp(w->macro[m], macro) != 0)
        m++;
    char **labels = realloc(w->label, (n + 1) * sizeof *labels);
    if (labels)
        w->label = labels;
    int *macro_of = realloc(w->macro_of, (n + 1) * sizeof *macro_of);
    if (macro_of)
        w->macro_of = macro_of;
    char **macros = realloc(w->macro, (m + 1 > w->nmacros ? m + 1 : w->nmacros) * sizeof *macros);
    if (macros)
        w->macro = macros;
    if (!labels || !macro_of || !macros)
        return FAIL(ST_MEMORY, "no memory for %zu labels", n + 1);
    if (m == w->nmacros)
        w->macro[w->nmacros++] = text_copy(macro);
    w->label[n] = text_copy(name);
    w->macro_of[n] = (int)m;
    w->nlabels = n + 1;
    *label = (int32_t)n;
    return ST_OK;
}

/* ---- datasets ---- */

/* World's label of each of a dataset's labels, in their order. Labels without a flow are left out. Free with
 * memory_free. */
static status map_labels(eval_world *w, const dataset *d, int32_t **map) {
    const dataset_tables *t = dataset_get_tables(d);
    TRY(NEW(t->nlabels + 1, map)); /* until the second loop: does the label have flows? */
    for (size_t i = 0; i < dataset_nflows(d); i++) {
        flow f;
        dataset_flow_info(d, i, &f);
        if (f.label >= 0)
            (*map)[f.label] = 1;
    }
    for (size_t l = 0; l < t->nlabels; l++) {
        int32_t label = -1;
        if ((*map)[l])
            TRY(world_label(w, t->label[l], t->macro[l], &label));
        (*map)[l] = label;
    }
    return ST_OK;
}

/* The generator writes datasets that no capture stands behind; their payload is that of payload.h. */
static bool is_generated(const dataset_tables *t) {
    for (size_t i = 0; i < t->nfiles; i++)
        if (*t->sha256[i])
            return false;
    return true;
}

static status read_flows(dataset *d, const int32_t *map, eval_set *to, size_t window) {
    status st = ST_OK;
    flow f;
    flow_init(&f);
    for (size_t i = 0; i < dataset_nflows(d) && !st; i++) {
        st = dataset_read(d, i, 0, &f);
        if (!st)
            st = set_take(to, &f, f.label >= 0 ? map[f.label] : -1, window);
    }
    flow_clear(&f);
    return st;
}

/* raw.h5 beside the synthetic dataset: the same flows as decoded, before repair. */
static status read_raw(eval_world *w, const char *folder, const int32_t *map) {
    dataset *d = NULL;
    char *path = text_format("%s/raw.h5", folder);
    status st = file_exists(path) ? dataset_open(&d, path) : ST_OK;
    if (!st && d && dataset_nflows(d) != w->synthetic.n)
        st = FAIL(ST_FORMAT, "%s holds %zu flows, %s holds %zu: not of one run", path, dataset_nflows(d),
                  w->e->eval.synthetic, w->synthetic.n);
    if (!st && d)
        st = read_flows(d, map, &w->raw, w->window);
    for (size_t i = 0; !st && i < w->raw.n; i++)
        w->raw.flows[i].f.label = w->synthetic.flows[i].f.label;
    dataset_close(&d);
    free(path);
    return st;
}

static char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? text_format("%.*s", (int)(slash - path), path) : text_copy(".");
}

static void set_window(eval_world *w) {
    w->window = w->e->eval.packets > WINDOW_MIN ? (size_t)w->e->eval.packets : WINDOW_MIN;
    for (size_t i = 0; i < w->synthetic.n; i++)
        if (w->synthetic.flows[i].f.npackets > w->window)
            w->window = w->synthetic.flows[i].f.npackets;
}

static status read_synthetic_dataset(eval_world *w, const char *path) {
    dataset *d = NULL;
    int32_t *map = NULL;
    char *folder = folder_of(path);
    status st = dataset_open(&d, path);
    if (!st)
        st = map_labels(w, d, &map);
    if (!st) {
        w->payload = is_generated(dataset_get_tables(d)) ? CHECK_PAYLOAD_MADE : CHECK_PAYLOAD_UNKNOWN;
        st = read_flows(d, map, &w->synthetic, WINDOW_MAX);
    }
    if (!st) {
        set_window(w);
        st = read_raw(w, folder, map);
    }
    memory_free(&map);
    dataset_close(&d);
    free(folder);
    return st;
}

/* The folder that other people's tools are shown: of captures, and of nothing but what is judged. */
static status find_captures(eval_world *w, const char *path, bool is_folder, bool is_dataset) {
    char *folder = is_folder ? text_copy(path) : folder_of(path), *entry = folder;
    text_list files = {0};
    status st = capture_list(&(text_list){1, &entry}, &files);
    if (st == ST_IO) { /* a dataset without captures beside it */
        st = ST_OK;
    } else if (!st && (is_folder || is_dataset || files.n == 1)) {
        w->synthetic_folder = text_copy(folder);
        w->named_by_label = is_dataset || !*w->e->eval.labels; /* a CSV has its own idea of a file's flows */
    } else if (!st) {
        log_warn("%s lies among other captures: the tools that read folders of captures are not asked", path);
    }
    text_list_clear(&files);
    free(folder);
    return st;
}

static status read_synthetic(eval_world *w) {
    const char *path = w->e->eval.synthetic;
    struct stat s;
    size_t n = strlen(path);
    bool is_dataset = n > 3 && !strcmp(path + n - 3, ".h5"), is_folder = !stat(path, &s) && S_ISDIR(s.st_mode);
    if (!file_exists(path))
        return FAIL(ST_IO, "%s (eval.synthetic): no such file or folder", path);
    if (is_dataset) {
        TRY(read_synthetic_dataset(w, path));
    } else {
        TRY(world_read_captures(w, path));
        set_window(w);
    }
    if (w->synthetic.n == 0)
        return FAIL(ST_FORMAT, "%s (eval.synthetic) holds no flow", path);
    return find_captures(w, path, is_folder, is_dataset);
}

/* ---- training and held-out flows ---- */

static status join_names(size_t n, char *const *names, char **all) {
    *all = text_copy("");
    for (size_t i = 0; i < n; i++) {
        char *longer = text_format("%s%s%s", *all, i ? ", " : "", names[i]);
        free(*all);
        *all = longer;
    }
    return ST_OK;
}

/* held_out[i]: is run i kept from training? NULL where no run is named. */
static status choose_held_out(const experiment *e, const dataset_tables *t, bool **held_out) {
    const text_list *wanted = &e->data.holdout;
    char *runs = NULL;
    status st = ST_OK;
    if (wanted->n == 0) {
        log_warn("data.holdout names no run: every fourth flow of a label counts as held out, though training has seen "
                 "it; what is copied from training looks good");
        return ST_OK;
    }
    TRY(NEW(t->nruns + 1, held_out));
    TRY(join_names(t->nruns, t->run, &runs));
    for (size_t k = 0; k < wanted->n && !st; k++) {
        size_t i = 0;
        while (i < t->nruns && strcmp(t->run[i], wanted->item[k]) != 0)
            i++;
        if (i == t->nruns)
            st = FAIL(ST_USAGE, "data.holdout: %s has no run \"%s\" (it has: %s)", e->data.dataset, wanted->item[k],
                      runs);
        else
            (*held_out)[i] = true;
    }
    free(runs);
    return st;
}

static size_t count_labelled(const eval_set *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += s->flows[i].f.label >= 0;
    return n;
}

static status split_real(eval_world *w, dataset *d, const int32_t *map, const bool *held_out) {
    size_t *nseen = NULL; /* flows of each label */
    status st = NEW(dataset_get_tables(d)->nlabels + 1, &nseen);
    flow f;
    flow_init(&f);
    for (size_t i = 0; i < dataset_nflows(d) && !st; i++) {
        st = dataset_read(d, i, 0, &f);
        if (st)
            break;
        bool out = held_out ? f.run >= 0 && held_out[f.run] : f.label >= 0 && nseen[f.label]++ % 4 == 1;
        st = set_take(out ? &w->held_out : &w->train, &f, f.label >= 0 ? map[f.label] : -1, w->window);
    }
    flow_clear(&f);
    memory_free(&nseen);
    if (!st && count_labelled(&w->held_out) == 0)
        st = FAIL(ST_FORMAT, "%s: %s", w->e->data.dataset,
                  held_out ? "the held-out runs have no labelled flow" : "no label has two flows");
    if (!st && count_labelled(&w->train) == 0)
        st = FAIL(ST_FORMAT, "%s: no labelled flow is left for training", w->e->data.dataset);
    return st;
}

/* ---- open and close ---- */

static bool has_label(const eval_set *s, size_t label) {
    for (size_t i = 0; i < s->n; i++)
        if (s->flows[i].f.label == (int32_t)label)
            return true;
    return false;
}

/* One line for each side, however many classes it lacks. */
static void warn_of_lonely_classes(const eval_world *w) {
    for (int side = 0; side < 2; side++) {
        char *names = text_copy("");
        for (size_t l = 0; l < w->nlabels; l++) {
            bool real = has_label(&w->train, l) || has_label(&w->held_out, l);
            if (side == 0 ? real : has_label(&w->synthetic, l))
                continue;
            char *longer = text_format("%s%s%s", names, *names ? ", " : "", w->label[l]);
            free(names);
            names = longer;
        }
        if (*names)
            log_warn("classes without %s flows: %s", side == 0 ? "real" : "synthetic", names);
        free(names);
    }
}

static status world_fill(eval_world *w) {
    dataset *real = NULL;
    int32_t *map = NULL;
    bool *held_out = NULL;
    status st = dataset_open(&real, w->e->data.dataset);
    if (!st)
        st = choose_held_out(w->e, dataset_get_tables(real), &held_out);
    if (!st)
        st = map_labels(w, real, &map);
    if (!st)
        st = read_synthetic(w);
    if (!st)
        st = split_real(w, real, map, held_out);
    if (!st)
        st = world_make_controls(w);
    if (!st)
        warn_of_lonely_classes(w);
    memory_free(&map);
    memory_free(&held_out);
    dataset_close(&real);
    return st;
}

status world_open(eval_world **out, const experiment *e, comm *c) {
    eval_world *w = NULL;
    *out = NULL;
    status st = NEW(1, &w);
    if (!st) {
        *w = (eval_world){.e = e,
                          .c = c,
                          .train.name = "train",
                          .held_out.name = e->data.holdout.n > 0 ? "held out" : "held out (training saw them)",
                          .synthetic.name = "synthetic",
                          .raw.name = "before repair",
                          .random.name = "random",
                          .marginal.name = "marginal"};
        st = world_fill(w);
    }
    st = comm_agree(c, st);
    if (st)
        world_close(&w);
    *out = w;
    return st;
}

void world_close(eval_world **world) {
    eval_world *w = *world;
    if (!w)
        return;
    eval_set *sets[] = {&w->train, &w->held_out, &w->synthetic, &w->raw, &w->random, &w->marginal};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        set_clear(sets[i]);
    for (size_t i = 0; i < w->nlabels; i++)
        free(w->label[i]);
    for (size_t i = 0; i < w->nmacros; i++)
        free(w->macro[i]);
    free(w->label);
    free(w->macro);
    free(w->macro_of);
    free(w->synthetic_folder);
    memory_free(world);
}
