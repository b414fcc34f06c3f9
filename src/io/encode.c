/* The run of ndencode: plan, captures and partitions over all ranks, sums, one dataset joined by all. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "dist/shared.h"
#include "io/encode_priv.h"

typedef struct encoder {
    const experiment *e;
    comm *c;
    encode_plan plan;
    labels *labels;
    dataset_tables tables;
    encode_totals totals;
    char *folder;     /* of the parts */
    uint64_t attempt; /* differs from that of every other run */
    lock *lock;       /* rank 0's on the dataset, NULL if it has none */
    assembler **kept; /* by file: parts in the memory of the only rank, else NULL */
    uint64_t nkept;   /* bytes of them */
    bool done;        /* the dataset is made */
    bool alone;       /* this rank failed and could not tell those who may wait for it */
} encoder;

/* --- what goes into every part --- */

/* What determines the dataset's content besides the captures, as YAML that ndencode reads. Where things lie and how
 * many ranks there were stays out, so that equal content has equal bytes. */
static char *content_config(const experiment *e) {
    return text_format("encode:\n  timeout: %.17g\n  unlabelled: %s\n", e->encode.timeout,
                       e->encode.unlabelled ? "yes" : "no");
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
    TRY(dataset_tables_check(t, r->e->data.dataset)); /* not only when all is done */
    TRY(NEW(t->nfiles, &r->kept));
    return encode_totals_new(&r->totals, &r->plan, r->labels);
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

/* --- the folder of the parts --- */

/* DATASET without its .h5, and this suffix. */
static char *beside(const char *path, const char *suffix) {
    size_t n = strlen(path);
    if (n > 3 && strcmp(path + n - 3, ".h5") == 0)
        n -= 3;
    return text_format("%.*s%s", (int)n, path, suffix);
}

/* What every part depends on beside its capture. */
static status identity_of(const encoder *r, char **identity) {
    char hex[65] = "";
    const char *path = r->e->data.labels;
    if (path != NULL && path[0] != '\0')
        TRY(file_sha256(path, hex));
    char *text = text_format("nd " ND_VERSION ", rows of %zu bytes, memory %" PRId64 "\n%slabels %s\n",
                             sizeof(flow_row), r->e->encode.memory, r->tables.config, hex);
    for (int list = 0; list < 2; list++) {
        size_t n = list == 0 ? r->tables.nlabels : r->tables.nruns;
        for (size_t i = 0; i < n; i++) {
            char *more = text_format("%s%s\n", text, list == 0 ? r->tables.label[i] : r->tables.run[i]);
            free(text);
            text = more;
        }
    }
    *identity = text;
    return ST_OK;
}

static status open_folder(encoder *r) {
    char *identity = NULL, *saved = beside(r->e->data.dataset, ".yaml"),
         *lock_path = beside(r->e->data.dataset, ".lock");
    status st = experiment_check_saved(r->e, saved);
    if (st == ST_OK)
        st = identity_of(r, &identity);
    if (st == ST_OK)
        st = encode_folder_open(r->folder, lock_path, identity, &r->lock);
    if (st == ST_OK) {
        encode_remove_unfinished(r->e->data.dataset);
        encode_remove_unfinished(saved);
    }
    free(identity);
    free(saved);
    free(lock_path);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (getrandom(&r->attempt, sizeof r->attempt, GRND_NONBLOCK) != (ssize_t)sizeof r->attempt)
        r->attempt = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    return st;
}

/* Running again goes on from the finished parts where the reason of the failure may go away. */
static void close_folder(encoder *r, status st) {
    bool keep = r->lock != NULL && !r->done && (st == ST_IO || st == ST_MEMORY || st == ST_COMM || st == ST_STOPPED) &&
                encode_folder_has_pass(r->folder);
    if (keep)
        log_job("what was finished is kept in %s, for the next run", r->folder);
    encode_folder_close(r->folder, &r->lock, keep);
}

/* --- captures and partitions --- */

/* Wait until the capture has been read by the rank that took it, which waits for nobody; *failed: it will not be. */
static void wait_for_pass(const encoder *r, uint32_t file, bool *failed) {
    *failed = false;
    while (!*failed && !encode_signal_given(r->folder, r->attempt, "ready", file)) {
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        *failed = encode_signal_given(r->folder, r->attempt, "failed", 0);
    }
}

/* Alone, a rank keeps parts in half of its memory; writing and reading them costs as much as decoding. The other half
 * is for the captures that come after them. */
static encode_options options_of(const encoder *r) {
    uint64_t most = comm_size(r->c) == 1 ? (uint64_t)r->e->encode.memory / 2 : 0;
    return (encode_options){.labels = r->labels,
                            .timeout_ns = (int64_t)(r->e->encode.timeout * 1e9),
                            .unlabelled = r->e->encode.unlabelled,
                            .memory = (uint64_t)r->e->encode.memory - r->nkept,
                            .keep = most > r->nkept ? most - r->nkept : 0,
                            .folder = r->folder,
                            .attempt = r->attempt};
}

static status remove_file(const encoder *r, uint32_t file, uint64_t partition, const char *suffix) {
    char *name = encode_name(r->folder, file, partition, suffix);
    status st =
        unlink(name) == 0 || errno == ENOENT ? ST_OK : FAIL(ST_IO, "%s: cannot remove: %s", name, strerror(errno));
    free(name);
    return st;
}

static status new_mark(const encoder *r, encode_mark *m) {
    return encode_mark_new(m, r->tables.nlabels, labels_nlines(r->labels));
}

/* The mark of what an earlier run finished, if that is still whole. */
static status look_for_mark(const encoder *r, encode_mark *m, uint32_t file, bool pass, uint64_t partition,
                            bool *good) {
    TRY(new_mark(r, m));
    TRY(encode_mark_read(m, r->folder, &r->plan, file, pass, partition, good));
    if (*good)
        TRY(encode_mark_check(m, r->folder, &r->plan, file, pass, partition, good));
    if (*good)
        return ST_OK;
    encode_mark_clear(m);
    return new_mark(r, m);
}

static status do_partition(encoder *r, uint32_t file, uint64_t partition, int link_type) {
    encode_mark m;
    encode_options options = options_of(r);
    bool good = false;
    status st = look_for_mark(r, &m, file, false, partition, &good);
    if (st == ST_OK && !good) {
        st = encode_partition(r->plan.captures.item[file], file, partition, link_type, &options, &m);
        if (st == ST_OK)
            st = encode_mark_write(&m, &options, &r->plan, file, false, partition);
    }
    if (st == ST_OK)
        st = remove_file(r, file, partition, "raw");
    if (st == ST_OK)
        encode_totals_add_part(&r->totals, r->plan.first_part[file] + (size_t)partition, &m);
    encode_mark_clear(&m);
    return st;
}

/* Marks of the capture's partitions from an earlier run: this one may choose another number of them. */
static status forget_partitions(const encoder *r, uint32_t file) {
    status st = ST_OK;
    for (uint64_t i = 0; st == ST_OK && i < r->plan.files[file].npartitions; i++)
        st = remove_file(r, file, i, "mark");
    return st;
}

/* Read the capture, which must stay as it was when the run was planned. */
static status read_capture(encoder *r, uint32_t file, encode_mark *m) {
    const char *path = r->plan.captures.item[file];
    const encode_file *planned = &r->plan.files[file];
    encode_options options = options_of(r);
    encode_file now;
    TRY(forget_partitions(r, file));
    TRY(encode_pass(path, file, planned->weight, planned->npartitions, &options, m, &r->kept[file]));
    TRY(encode_file_look(path, &now));
    if (now.nbytes != planned->nbytes || now.mtime_ns != planned->mtime_ns)
        return FAIL(ST_IO, "%s: changed while it was read", path);
    if (r->kept[file] != NULL) {
        r->nkept += assembler_nbytes(r->kept[file]);
        return ST_OK;
    }
    return encode_mark_write(m, &options, &r->plan, file, true, 0);
}

static status do_pass(encoder *r, uint32_t file) {
    encode_mark m;
    bool good = false;
    status st = look_for_mark(r, &m, file, true, 0, &good);
    if (st == ST_OK && !good)
        st = read_capture(r, file, &m);
    if (st == ST_OK)
        st = encode_totals_add_pass(&r->totals, file, &m);
    if (st == ST_OK && m.npartitions == 0)
        encode_totals_add_part(&r->totals, r->plan.first_part[file], &m);
    else if (st == ST_OK && r->plan.files[file].npartitions == 1) /* not on the list of work */
        st = do_partition(r, file, 0, m.link_type);
    if (st == ST_OK && r->plan.files[file].npartitions > 1)
        st = encode_signal_give(r->folder, r->attempt, "ready", file);
    encode_mark_clear(&m);
    return st;
}

/* *failed: another rank has failed, which says why. */
static status do_item(encoder *r, const encode_item *item, bool *failed) {
    encode_mark m;
    bool found = false;
    if (item->pass)
        return do_pass(r, item->file);
    if (r->kept[item->file] != NULL)
        return ST_OK;
    wait_for_pass(r, item->file, failed);
    if (*failed)
        return ST_OK;
    status st = new_mark(r, &m);
    if (st == ST_OK)
        st = encode_mark_read(&m, r->folder, &r->plan, item->file, true, 0, &found);
    if (st == ST_OK && !found)
        st = FAIL(ST_IO, "%s: the mark of capture %s has gone", r->folder, r->plan.names.item[item->file]);
    int link_type = m.link_type;
    bool wanted = item->partition < m.npartitions;
    encode_mark_clear(&m);
    return st == ST_OK && wanted ? do_partition(r, item->file, item->partition, link_type) : st;
}

/* Items until none is left. After an error the rest is taken and dropped, so that the other ranks end soon. Progress on
 * rank 0: what was handed out before the item it now has, which others have done or are doing. */
static status do_items(encoder *r, work *w) {
    status st = ST_OK;
    progress shown;
    const encode_item *items = r->plan.items;
    uint64_t k, before = 0, seen = 0, total = 0;
    for (size_t i = 0; i < r->plan.nitems; i++)
        total += encode_item_weight(&r->plan, &items[i]);
    bool show = comm_rank(r->c) == 0, failed = false;
    if (show)
        progress_start(&shown, "encode", "byte", 0, total);
    for (;;) {
        status got = work_next(w, &k);
        if (got != ST_OK)
            return got;
        if (k >= r->plan.nitems)
            break;
        for (; seen < k; seen++)
            before += encode_item_weight(&r->plan, &items[seen]);
        if (st != ST_OK || failed)
            continue;
        if (show)
            progress_update(&shown, before, r->plan.names.item[items[k].file]);
        st = encode_check_stop(r->folder);
        if (st == ST_OK)
            st = lock_check(r->lock);
        if (st == ST_OK)
            st = do_item(r, &items[k], &failed);
        if (st != ST_OK) {
            char *message = text_copy(status_message());
            r->alone = comm_size(r->c) > 1 && encode_signal_give(r->folder, r->attempt, "failed", 0) != ST_OK;
            status_set_message(message);
            free(message);
            if (r->alone)
                break;
        }
    }
    if (show) {
        if (st == ST_OK && !failed)
            progress_update(&shown, total, NULL);
        progress_end(&shown);
    }
    return st;
}

/* --- the dataset --- */

static void complete_tables(encoder *r) {
    for (size_t i = 0; i < r->tables.nfiles; i++) {
        const uint64_t *w = r->totals.sha256 + 4 * i;
        free(r->tables.sha256[i]);
        r->tables.sha256[i] =
            text_format("%016" PRIx64 "%016" PRIx64 "%016" PRIx64 "%016" PRIx64, w[0], w[1], w[2], w[3]);
    }
    memcpy(r->tables.skipped, r->totals.skipped, sizeof r->tables.skipped);
    r->tables.frames = r->totals.frames;
}

static status join(encoder *r) {
    const experiment *e = r->e;
    encode_catalog k = {.folder = r->folder,
                        .attempt = r->attempt,
                        .nfiles = r->tables.nfiles,
                        .first_part = r->plan.first_part,
                        .split = r->totals.split,
                        .parts = r->totals.parts,
                        .frames = r->totals.file_frames,
                        .sha256 = r->totals.sha256,
                        .kept = r->kept,
                        .lock = r->lock};
    complete_tables(r);
    return encode_join(&k, &r->tables, e->data.dataset, (int)e->encode.compress, comm_threads(r->c, e->threads), r->c);
}

static status finish(encoder *r) {
    char *saved = beside(r->e->data.dataset, ".yaml");
    status st = experiment_save(r->e, saved);
    free(saved);
    if (st == ST_OK)
        encode_report(r->e->data.dataset, &r->tables, &r->totals);
    return st;
}

/* Every rank has the same sums; rank 0 speaks for all. */
static status judge(const encoder *r) {
    TRY(encode_totals_check(&r->totals, &r->tables, r->e->data.labels));
    return encode_totals_warn(&r->totals, r->labels, r->e->data.labels);
}

static status run_items(encoder *r) {
    work *w = NULL;
    status st = comm_rank(r->c) == 0 ? open_folder(r) : ST_OK;
    TRY(comm_agree(r->c, st));
    TRY(comm_broadcast(r->c, &r->attempt, sizeof r->attempt, 0));
    TRY(comm_check_shared(r->c, r->folder));
    TRY(work_open(r->c, r->plan.nitems, &w));
    st = do_items(r, w);
    if (r->alone) /* comm_finish ends the others */
        return st;
    status closed = work_close(&w);
    TRY(comm_agree(r->c, st != ST_OK ? st : closed));
    TRY(encode_totals_sum(&r->totals, &r->plan, &r->tables, r->c));
    if (comm_rank(r->c) == 0)
        st = judge(r);
    TRY(comm_agree(r->c, st));
    TRY(join(r));
    r->done = true;
    if (comm_rank(r->c) == 0)
        st = finish(r);
    return comm_agree(r->c, st);
}

static void clear(encoder *r) {
    for (size_t i = 0; r->kept != NULL && i < r->plan.captures.n; i++)
        assembler_free(&r->kept[i]);
    memory_free(&r->kept);
    encode_totals_clear(&r->totals, r->tables.nfiles);
    encode_plan_clear(&r->plan);
    labels_free(&r->labels);
    dataset_tables_clear(&r->tables);
    free(r->folder);
}

status encode_run(const experiment *e, comm *c) {
    encoder r = {.e = e, .c = c, .folder = beside(e->data.dataset, ".parts")};
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
    close_folder(&r, st);
    clear(&r);
    return st;
}
