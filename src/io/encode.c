/* The run of ndencode: plan, work items over all ranks, sums, one merged dataset. */
#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "io/encode_priv.h"

typedef struct encoder {
    const experiment *e;
    comm *c;
    encode_plan plan;
    labels *labels;
    dataset_tables tables;
    encode_totals totals;
    char *folder; /* of the parts */
    char *notes;  /* this rank's damaged captures: "NUMBER TEXT\n" each */
} encoder;

/* --- what goes into every part --- */

/* What determines the dataset's content besides the captures, as YAML that ndencode reads. Where things lie and how
 * many ranks there were stays out, so that equal content has equal bytes. */
static char *content_config(const experiment *e) {
    return text_format("encode:\n  timeout: %.17g\n  slice: %" PRId64 "\n  unlabelled: %s\n", e->encode.timeout,
                       e->encode.slice, e->encode.unlabelled ? "yes" : "no");
}

static char *prompt_of(const experiment *e, const char *label, size_t i) {
    const char *given = text_map_get(&e->data.prompts, label);
    return given != NULL ? text_copy(given) : text_format("pixelated network data, type-%zu", i);
}

static status new_texts(size_t n, char ***texts) {
    *texts = calloc(n + 1, sizeof **texts);
    return *texts != NULL ? ST_OK : FAIL(ST_MEMORY, "no memory for a table of %zu texts", n);
}

static status make_tables(encoder *r) {
    dataset_tables *t = &r->tables;
    t->nlabels = labels_count(r->labels);
    t->nfiles = r->plan.names.n;
    t->nruns = labels_nruns(r->labels);
    TRY(new_texts(t->nlabels, &t->label));
    TRY(new_texts(t->nlabels, &t->macro));
    TRY(new_texts(t->nlabels, &t->prompt));
    TRY(new_texts(t->nfiles, &t->file));
    TRY(new_texts(t->nfiles, &t->sha256));
    TRY(new_texts(t->nruns, &t->run));
    for (size_t i = 0; i < t->nlabels; i++) {
        t->label[i] = text_copy(labels_name(r->labels, i));
        t->macro[i] = text_copy(labels_macro(r->labels, i));
        t->prompt[i] = prompt_of(r->e, t->label[i], i);
    }
    for (size_t i = 0; i < t->nfiles; i++) {
        t->file[i] = text_copy(r->plan.names.item[i]);
        t->sha256[i] = text_copy("");
    }
    for (size_t i = 0; i < t->nruns; i++)
        t->run[i] = text_copy(labels_run(r->labels, i));
    t->config = content_config(r->e);
    TRY(NEW(t->nlabels + 1, &r->totals.flows));
    TRY(NEW(t->nlabels + 1, &r->totals.packets));
    TRY(memory_new(t->nfiles, 4 * sizeof(uint64_t), &r->totals.sha256));
    return NEW(t->nfiles, &r->totals.damage);
}

static status prepare(encoder *r) {
    TRY(labels_open(&r->labels, r->e->data.labels));
    TRY(labels_keep(r->labels, &r->plan.captures));
    return make_tables(r);
}

static void note_surprises(const encoder *r) {
    const text_map *prompts = &r->e->data.prompts;
    for (size_t i = 0; i < prompts->n; i++) {
        bool known = false;
        for (size_t k = 0; k < r->tables.nlabels; k++)
            known = known || strcmp(prompts->key[i], r->tables.label[k]) == 0;
        if (!known)
            log_warn("data.prompts: no flow of these captures can have the label '%s'", prompts->key[i]);
    }
}

/* --- parts --- */

static char *part_path(const encoder *r, size_t item) {
    return text_format("%s/%08zu.h5", r->folder, item);
}

/* Whatever a killed run left: its parts, and the unfinished dataset. */
static status remove_leftovers(const encoder *r) {
    glob_t g;
    char *pattern = text_format("%s.part-[0-9]*", r->e->data.dataset);
    if (glob(pattern, GLOB_NOSORT, NULL, &g) == 0) {
        for (size_t i = 0; i < g.gl_pathc; i++)
            unlink(g.gl_pathv[i]);
        globfree(&g);
    }
    free(pattern);
    return file_exists(r->folder) ? file_remove_tree(r->folder) : ST_OK;
}

static status make_folder(encoder *r) {
    TRY(remove_leftovers(r));
    return file_make_folders(r->folder);
}

static status add_sha256(encoder *r, const encode_item *item) {
    char hex[65], word[17] = "";
    TRY(file_sha256(item->capture, hex));
    for (int i = 0; i < 4; i++) {
        memcpy(word, hex + 16 * i, 16);
        r->totals.sha256[(size_t)item->file * 4 + (size_t)i] = strtoull(word, NULL, 16);
    }
    return ST_OK;
}

/* Counts of a whole capture are taken from its first slice. */
static status add_counts(encoder *r, const encode_item *item, const encode_counts *counts) {
    if (item->slice != 0)
        return ST_OK;
    r->totals.frames += counts->frames;
    for (int i = 0; i < SKIP_COUNT; i++)
        r->totals.skipped[i] += counts->skipped[i];
    if (counts->damage != NULL) {
        char *notes = text_format("%s%u %s\n", r->notes, item->file, counts->damage);
        for (char *at = notes + strlen(r->notes); *at != '\0'; at++)
            if (*at == '\n' && at[1] != '\0')
                *at = ' ';
        free(r->notes);
        r->notes = notes;
    }
    return add_sha256(r, item);
}

static status do_item(encoder *r, size_t number) {
    const encode_item *item = &r->plan.items[number];
    /* Parts are read once, soon: they are not deflated. */
    encode_options options = {.labels = r->labels,
                              .timeout_ns = (int64_t)(r->e->encode.timeout * 1e9),
                              .unlabelled = r->e->encode.unlabelled,
                              .compress = 0};
    encode_counts counts = {.flows = r->totals.flows, .packets = r->totals.packets};
    char *part = part_path(r, number);
    status st = encode_part(item, &options, &r->tables, part, &counts);
    free(part);
    if (st == ST_OK)
        st = add_counts(r, item, &counts);
    free(counts.damage);
    return st;
}

/* Items until none is left. After an error the rest is taken and dropped, so that the other ranks end soon. Progress on
 * rank 0: what was handed out before the item it now has, which others have done or are doing. */
static status do_items(encoder *r, work *w) {
    status st = ST_OK;
    progress shown;
    uint64_t k, before = 0, seen = 0, total = 0;
    for (size_t i = 0; i < r->plan.nitems; i++)
        total += encode_item_nbytes(&r->plan, i);
    bool show = comm_rank(r->c) == 0;
    if (show)
        progress_start(&shown, "encode", "byte", 0, total);
    for (;;) {
        status got = work_next(w, &k);
        if (got != ST_OK)
            return got;
        if (k >= r->plan.nitems)
            break;
        for (; seen < k; seen++)
            before += encode_item_nbytes(&r->plan, r->plan.order[seen]);
        if (show && st == ST_OK)
            progress_update(&shown, before, r->plan.names.item[r->plan.items[r->plan.order[k]].file]);
        if (st == ST_OK)
            st = do_item(r, r->plan.order[k]);
    }
    if (show) {
        if (st == ST_OK)
            progress_update(&shown, total, NULL);
        progress_end(&shown);
    }
    return st;
}

/* --- bringing together --- */

static status take_notes(encoder *r, char *notes) {
    char *save = NULL;
    for (char *line = strtok_r(notes, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        char *text;
        size_t file = strtoul(line, &text, 10);
        if (file >= r->tables.nfiles || *text != ' ')
            return FAIL(ST_COMM, "a rank sent an unreadable note on a capture");
        if (r->totals.damage[file] == NULL)
            r->totals.damage[file] = text_copy(text + 1);
    }
    return ST_OK;
}

static status sum_totals(encoder *r) {
    encode_totals *t = &r->totals;
    char *all = NULL;
    size_t *sizes = NULL;
    TRY(comm_sum_u64(r->c, &t->frames, 1));
    TRY(comm_sum_u64(r->c, t->skipped, SKIP_COUNT));
    TRY(comm_sum_u64(r->c, t->flows, r->tables.nlabels + 1));
    TRY(comm_sum_u64(r->c, t->packets, r->tables.nlabels + 1));
    TRY(comm_sum_u64(r->c, t->sha256, r->tables.nfiles * 4)); /* one rank has each, the others zero */
    status st = NEW((size_t)comm_size(r->c), &sizes);
    TRY(comm_agree(r->c, st));
    st = comm_gather(r->c, r->notes, strlen(r->notes), 0, &all, sizes);
    if (st == ST_OK && comm_rank(r->c) == 0) {
        size_t nbytes = 0;
        for (int i = 0; i < comm_size(r->c); i++)
            nbytes += sizes[i];
        char *text = strndup(all, nbytes);
        st = text != NULL ? take_notes(r, text) : FAIL(ST_MEMORY, "no memory for notes on captures");
        free(text);
    }
    free(all);
    memory_free(&sizes);
    return st;
}

/* Why there is no packet at all. */
static status fail_empty(const encoder *r) {
    const encode_totals *t = &r->totals;
    uint64_t skipped = 0;
    char *reasons = text_copy("");
    for (int i = 1; i < SKIP_COUNT; i++) {
        if (t->skipped[i] == 0)
            continue;
        char *more = text_format("%s%s%s %" PRIu64, reasons, skipped > 0 ? ", " : "", packet_skip_name((packet_skip)i),
                                 t->skipped[i]);
        free(reasons);
        reasons = more;
        skipped += t->skipped[i];
    }
    status st;
    if (t->frames == 0)
        st = FAIL(ST_FORMAT, "%s%s holds no frame", r->tables.file[0], r->tables.nfiles > 1 ? " and the others" : "");
    else if (skipped < t->frames)
        st = FAIL(ST_FORMAT, "no flow has a label, and encode.unlabelled is no");
    else
        st = FAIL(ST_FORMAT, "none of the %" PRIu64 " frames gave a packet: skipped for %s", t->frames, reasons);
    free(reasons);
    return st;
}

/* Is there anything in it, and has every label a flow? */
static status check_totals(const encoder *r) {
    const encode_totals *t = &r->totals;
    uint64_t packets = 0;
    for (size_t i = 0; i <= r->tables.nlabels; i++)
        packets += t->packets[i];
    if (t->frames == 0)
        for (size_t i = 0; i < r->tables.nfiles; i++)
            if (t->damage[i] != NULL)
                return FAIL(ST_FORMAT, "no capture could be read: %s: %s", r->tables.file[i], t->damage[i]);
    char *missing = text_copy("");
    size_t nmissing = 0;
    for (size_t i = 0; i < r->tables.nlabels; i++)
        if (t->flows[i] == 0) {
            char *more = text_format("%s%s%s", missing, nmissing > 0 ? ", " : "", r->tables.label[i]);
            free(missing);
            missing = more;
            nmissing++;
        }
    status st = ST_OK;
    if (nmissing > 0)
        st = FAIL(ST_FORMAT, "%s: rows about these captures match no flow for label%s %s", r->e->data.labels,
                  nmissing > 1 ? "s" : "", missing);
    else if (packets == 0)
        st = fail_empty(r);
    free(missing);
    return st;
}

static void part_merged(void *data, size_t part) {
    progress_update(data, part + 1, NULL);
}

static status merge(encoder *r) {
    const experiment *e = r->e;
    size_t n = r->plan.nitems;
    char **parts = NULL;
    progress shown;
    for (size_t i = 0; i < r->tables.nfiles; i++) {
        const uint64_t *w = r->totals.sha256 + 4 * i;
        free(r->tables.sha256[i]);
        r->tables.sha256[i] =
            text_format("%016" PRIx64 "%016" PRIx64 "%016" PRIx64 "%016" PRIx64, w[0], w[1], w[2], w[3]);
    }
    memcpy(r->tables.skipped, r->totals.skipped, sizeof r->tables.skipped);
    r->tables.frames = r->totals.frames;
    TRY(new_texts(n, &parts));
    for (size_t i = 0; i < n; i++)
        parts[i] = part_path(r, i);
    /* The other ranks of this node wait meanwhile. */
    int threads = e->threads > 0 ? (int)e->threads : comm_threads(r->c, 0) * comm_node_size(r->c);
    progress_start(&shown, "merge", "part", 0, n);
    status st =
        dataset_merge_as(n, parts, &r->tables, e->data.dataset, (int)e->encode.compress, threads, part_merged, &shown);
    progress_end(&shown);
    for (size_t i = 0; i < n; i++)
        free(parts[i]);
    free(parts);
    return st;
}

/* DATASET without its .h5, and this suffix. */
static char *beside(const char *path, const char *suffix) {
    size_t n = strlen(path);
    if (n > 3 && strcmp(path + n - 3, ".h5") == 0)
        n -= 3;
    return text_format("%.*s%s", (int)n, path, suffix);
}

static status finish(encoder *r) {
    TRY(check_totals(r));
    TRY(merge(r));
    char *saved = beside(r->e->data.dataset, ".yaml");
    status st = experiment_save(r->e, saved);
    free(saved);
    if (st == ST_OK)
        encode_report(r->e->data.dataset, &r->tables, &r->totals);
    return st;
}

static status run_items(encoder *r) {
    work *w = NULL;
    status st = comm_rank(r->c) == 0 ? make_folder(r) : ST_OK;
    TRY(comm_agree(r->c, st));
    TRY(work_open(r->c, r->plan.nitems, &w));
    st = do_items(r, w);
    status closed = work_close(&w);
    TRY(comm_agree(r->c, st != ST_OK ? st : closed));
    st = sum_totals(r);
    TRY(comm_agree(r->c, st));
    if (comm_rank(r->c) == 0)
        st = finish(r);
    return comm_agree(r->c, st);
}

static void clear(encoder *r) {
    encode_plan_clear(&r->plan);
    labels_free(&r->labels);
    for (size_t i = 0; r->totals.damage != NULL && i < r->tables.nfiles; i++)
        free(r->totals.damage[i]);
    memory_free(&r->totals.damage);
    memory_free(&r->totals.flows);
    memory_free(&r->totals.packets);
    memory_free(&r->totals.sha256);
    dataset_tables_clear(&r->tables);
    free(r->folder);
    free(r->notes);
}

status encode_run(const experiment *e, comm *c) {
    encoder r = {.e = e, .c = c, .folder = beside(e->data.dataset, ".parts"), .notes = text_copy("")};
    status st = encode_plan_make(&r.plan, e, c);
    if (st == ST_OK) {
        st = prepare(&r);
        st = comm_agree(c, st);
    }
    if (st == ST_OK) {
        note_surprises(&r);
        if (!e->dry_run)
            st = run_items(&r);
        else if (comm_rank(c) == 0)
            encode_report_plan(&r.plan, &r.tables, e->data.dataset);
    }
    if (!e->dry_run && comm_rank(c) == 0 && file_exists(r.folder)) {
        char *message = text_copy(status_message());
        if (file_remove_tree(r.folder) != ST_OK)
            log_warn("%s: could not be removed", r.folder);
        status_set_message(message);
        free(message);
    }
    clear(&r);
    return st;
}
