/* Generation from the request to the merged outputs. */
#include "gen/gen_priv.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "dist/shared.h"
#include "io/capture.h"
#include "packet/payload.h"

/* Tables of a synthetic dataset: the labels of the real one, one source. */
static status tables_make(const experiment *e, const dataset_tables *real, dataset_tables *t) {
    dataset_tables source = *real;
    char *one[] = {(char *)"generated"}, *none[] = {(char *)""}, *run[] = {(char *)"synthetic"};
    source.nfiles = 1;
    source.file = one;
    source.sha256 = none;
    source.nruns = 1;
    source.run = run;
    source.frames = 0;
    memset(source.skipped, 0, sizeof source.skipped);
    TRY(identity_config(e, &source.config));
    status st = dataset_tables_copy(&source, t);
    free(source.config);
    return st;
}

typedef struct generation {
    classes *classes;
    plan *plan;
    dataset_tables tables;
    text_list lora_labels;
} generation;

static void generation_close(generation *g) {
    plan_free(&g->plan);
    classes_close(&g->classes);
    dataset_tables_clear(&g->tables);
    text_list_clear(&g->lora_labels);
}

/* Labels that need the LoRA: those it was tuned for. */
static status lora_find(const experiment *e, text_list *labels) {
    char *path = text_format("%s/lora/pytorch_lora_weights.safetensors", e->model.dir);
    status st = file_exists(path) && e->gen.lora_scale > 0 ? model_lora_labels(path, labels) : ST_OK;
    free(path);
    return st;
}

/* A label that neither the base nor the LoRA was trained on would be generated from an untrained prompt. */
static status labels_trained(const experiment *e, const generation *g) {
    for (size_t i = 0; i < g->plan->nlabels; i++) {
        const char *name = g->tables.label[g->plan->labels[i].label];
        if (text_list_has(&e->train.exclude, name) && !g->plan->labels[i].lora)
            return FAIL(
                ST_USAGE,
                "label \"%s\" was kept out of the base (train.base.exclude) and no LoRA in %s was tuned for it: "
                "run ndtrain train.mode=lora first",
                name, e->model.dir);
    }
    return ST_OK;
}

static status generation_open(const experiment *e, bool trained_only, generation *g) {
    dataset *d = NULL;
    model *m = NULL;
    status st = dataset_open(&d, e->data.dataset);
    if (!st)
        st = tables_make(e, dataset_get_tables(d), &g->tables);
    dataset_close(&d);
    if (!st)
        st = lora_find(e, &g->lora_labels);
    if (!st)
        st = model_load(&m, e->model.dir);
    if (!st)
        st = classes_open(&g->classes, e->data.dataset, e, (size_t)e->data.max_packets);
    model_free(&m);
    if (!st)
        st = plan_make(&g->plan, e, &g->tables, g->classes, &g->lora_labels);
    return st || !trained_only ? st : labels_trained(e, g);
}

static void describe(const experiment *e, const generation *g) {
    log_job("%llu flows in %llu batches of %zu, %s, %lld steps, into %s", (unsigned long long)g->plan->nflows,
            (unsigned long long)g->plan->nbatches, g->plan->batch, sampler_name(e), (long long)e->gen.steps,
            e->gen.dir);
    for (size_t i = 0; i < g->plan->nlabels; i++) {
        const plan_label *l = &g->plan->labels[i];
        log_job("  %-16s %6llu flows  \"%s\"%s", g->tables.label[l->label], (unsigned long long)l->n,
                g->tables.prompt[l->label], l->lora ? "  with LoRA" : "");
    }
}

/* What repair changed, and the rules that changed most packets. */
static void report_repair(const repair_counts *c) {
    enum { MOST = 6 };
    char text[512] = "";
    uint32_t told = 0;
    if (c->packets == 0)
        return;
    double percent = 100 / (double)c->packets;
    for (int k = 0; k < MOST; k++) {
        int most = -1;
        for (int rule = 0; rule < CHECK_CHECKSUM_IP; rule++)
            if (!(told >> rule & 1) && c->rule_packets[rule] > 0 &&
                (most < 0 || c->rule_packets[rule] > c->rule_packets[most]))
                most = rule;
        if (most < 0)
            break;
        told |= 1u << most;
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%s%s %.1f %%", k > 0 ? ", " : ": ", check_rules[most].name,
                 percent * (double)c->rule_packets[most]);
    }
    log_job("repair changed %.1f %% of the packets, %.2f %% of the header bits, and left out %.1f %%%s",
            percent * (double)c->packets_changed, 100 * (double)c->bits_changed / (double)c->bits,
            percent * (double)c->packets_dropped, text);
}

/* One attempt on a folder, on the ranks it runs on. */
typedef struct attempt {
    const experiment *e;
    comm *c;
    const generation *g;
    shard share;
    bool merges;
    char *parts;      /* folder of records */
    bool began_parts; /* rank 0's: it was not there before */
    identity id;
    lock *lock; /* rank 0's, where it merges: shares run beside each other */
    item_index index;
    uint64_t *missing, nmissing;
    fanout made;
    double began, sampled;
} attempt;

/* Rank 0 looks whether there is anything to do, and makes the folder one of this run. */
static status take_folder(attempt *a, bool *finished) {
    const experiment *e = a->e;
    char *path = text_format("%s/generate.lock", e->gen.dir), *saved = text_format("%s/config.yaml", e->gen.dir);
    status st = e->gen.resume ? experiment_check_saved(e, saved) : ST_OK;
    if (!st)
        st = file_make_folders(e->gen.dir);
    if (!st && a->merges)
        st = lock_take(path, &a->lock);
    free(saved);
    free(path);
    TRY(st);
    if (!e->gen.resume)
        TRY(file_remove_tree(a->parts));
    *finished = e->gen.resume && outputs_finished(e, &a->id);
    if (!*finished)
        return identity_claim(&a->id, a->parts, &a->began_parts);
    return a->merges && file_exists(a->parts) ? file_remove_tree(a->parts) : ST_OK; /* killed in its last moment */
}

/* A folder without a single record is of no use, and would only hold up a run with other settings. One that was there
 * before may be that of shares at work, which have not recorded anything yet. */
static void leave_folder(const attempt *a) {
    char *manifest = text_format("%s/manifest", a->parts);
    text_list files = {0};
    if (a->merges && a->began_parts && file_exists(a->parts) && items_list(a->parts, &files) == ST_OK && files.n == 0) {
        (void)unlink(manifest);
        (void)rmdir(a->parts);
    }
    text_list_clear(&files);
    free(manifest);
}

static status make_missing(attempt *a) {
    const generation *g = a->g;
    TRY(items_scan(a->c, a->parts, &a->id, &a->share, g->plan->nbatches, &a->index, &a->missing, &a->nmissing));
    uint64_t wanted = 0;
    for (uint64_t b = 0; b < g->plan->nbatches; b++)
        wanted += shard_has(&a->share, b);
    if (a->nmissing < wanted)
        log_job("%llu of %llu batches are there already", (unsigned long long)(wanted - a->nmissing),
                (unsigned long long)wanted);
    a->made = (fanout){.folder = a->parts, .id = &a->id, .batches = a->missing, .nbatches = a->nmissing};
    status st = a->nmissing > 0 ? fanout_run(a->e, a->c, g->plan, g->classes, &g->tables, &a->made) : ST_OK;
    a->sampled = time_seconds();
    return st;
}

static uint64_t count_made(const attempt *a) {
    uint64_t nflows = 0;
    for (uint64_t i = 0; i < a->nmissing; i++) {
        uint64_t first;
        size_t n;
        plan_batch(a->g->plan, a->missing[i], &first, &n);
        nflows += n;
    }
    return nflows;
}

/* Rank 0, when the outputs are there. */
static status publish(const attempt *a, const text_list *files) {
    char *effective = text_format("%s/config.yaml", a->e->gen.dir);
    status st = lock_check(a->lock);
    if (!st)
        st = experiment_save(a->e, effective);
    if (!st)
        st = outputs_finish(a->e, &a->id, files);
    if (!st && file_remove_tree(a->parts) != ST_OK)
        log_warn("%s: could not be removed", a->parts);
    free(effective);
    return st;
}

static status merge_all(attempt *a) {
    repair_counts repaired = {.flows = 0};
    text_list files = {0};
    double seconds = a->sampled - a->began;
    uint64_t nflows = count_made(a);
    TRY(items_collect(a->c, a->made.name, a->made.made, a->made.nmade, &a->index));
    TRY(comm_agree(a->c, lock_check(a->lock)));
    status st = merge_run(a->e, a->c, a->g->plan, &a->g->tables, a->parts, &a->index, &a->id, &repaired, &files);
    if (!st)
        st = comm_agree(a->c, comm_rank(a->c) == 0 ? publish(a, &files) : ST_OK);
    text_list_clear(&files);
    TRY(st);
    log_job("%llu flows in %.1f s (%.1f flows/s), merged in %.1f s", (unsigned long long)nflows, seconds,
            (double)nflows / seconds, time_seconds() - a->sampled);
    report_repair(&repaired);
    return ST_OK;
}

static status attempt_run(attempt *a) {
    bool finished = false;
    a->began = time_seconds();
    TRY(comm_agree(a->c, comm_rank(a->c) == 0 ? take_folder(a, &finished) : ST_OK));
    TRY(comm_broadcast(a->c, &finished, sizeof finished, 0));
    if (finished) {
        log_job("%s: finished before (gen.resume=no makes it again)", a->e->gen.dir);
        return ST_OK;
    }
    TRY(comm_check_shared(a->c, a->parts));
    TRY(make_missing(a));
    if (a->merges)
        return merge_all(a);
    log_job("share %llu of %llu done: %llu flows in %.1f s", (unsigned long long)a->share.i,
            (unsigned long long)a->share.n, (unsigned long long)count_made(a), a->sampled - a->began);
    return ST_OK;
}

static status run_all(const experiment *e, comm *c, const generation *g) {
    attempt a = {.e = e, .c = c, .g = g, .parts = text_format("%s/parts", e->gen.dir)};
    status st = shard_parse(e->gen.shard, &a.share);
    a.merges = a.share.i == 0;
    if (!st)
        st = identity_make(e, g->plan, g->classes, &g->tables, &a.id);
    st = comm_agree(c, st);
    if (!st)
        st = attempt_run(&a);
    if (st && comm_rank(c) == 0) {
        char *message = text_copy(status_message()); /* that error is the one to tell */
        leave_folder(&a);
        status_set_message(message);
        free(message);
    }
    lock_release(&a.lock);
    item_index_clear(&a.index);
    memory_free(&a.missing);
    fanout_clear(&a.made);
    identity_clear(&a.id);
    free(a.parts);
    return st;
}

/* gen.item: one flow of the plan alone, as a capture of its own. */
static status run_one(const experiment *e, const generation *g) {
    uint64_t number = (uint64_t)e->gen.item;
    if (number >= g->plan->nflows)
        return FAIL(ST_USAGE, "gen.item %llu: the plan has flows 0 to %llu", (unsigned long long)number,
                    (unsigned long long)g->plan->nflows - 1);
    flow raw, clean;
    capture_writer *w = NULL;
    uint8_t payload[PAYLOAD_MAX];
    flow_init(&raw);
    flow_init(&clean);
    char *path = text_format("%s/flow-%llu.pcap", e->gen.dir, (unsigned long long)number);
    status st = file_make_folders(e->gen.dir);
    if (!st)
        st = fanout_one(e, g->plan, g->classes, &g->tables, number, &raw, &clean);
    if (!st)
        st = capture_create(&w, path, e->gen.link == LINK_RAW ? 101 : 1, 262144);
    for (size_t i = 0; i < clean.npackets && !st; i++) {
        payload_make(&clean, i, payload, packet_payload(&clean.packets[i]));
        st = capture_write_payload(w, &clean.packets[i], payload, outputs_truncate(e, &clean.packets[i]));
    }
    if (!st)
        st = capture_commit(&w);
    capture_abandon(&w);
    if (!st)
        log_job("flow %llu: %zu packets -> %s", (unsigned long long)number, clean.npackets, path);
    free(path);
    flow_clear(&raw);
    flow_clear(&clean);
    return st;
}

const gen_variant *gen_variant_find(const char *name) {
    static const gen_variant variants[] = {{"base", false, false}, {"lora", true, false}, {"control", false, true}};
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
        if (strcmp(name, variants[i].name) == 0)
            return &variants[i];
    return NULL;
}

static status settings_known(const experiment *e) {
    shard share;
    TRY(shard_parse(e->gen.shard, &share));
    if (share.given && !e->gen.resume)
        return FAIL(ST_USAGE,
                    "gen.resume=no with gen.shard=%s would throw away other shares' flows: remove %s/parts "
                    "before the first share instead",
                    e->gen.shard, e->gen.dir);
    for (size_t i = 0; i < e->gen.variants.n; i++)
        if (!gen_variant_find(e->gen.variants.item[i]))
            return FAIL(ST_USAGE, "gen.variants: \"%s\" is none of base, lora, control", e->gen.variants.item[i]);
    return ST_OK;
}

/* The model as it is configured (variant NULL), or with less of it, into a folder of its own. */
static status run_model(const experiment *whole, comm *c, const gen_variant *variant) {
    generation g = {0};
    experiment copy = *whole, *e = &copy;
    char *folder = variant ? text_format("%s/variants/%s", whole->gen.dir, variant->name) : NULL;
    if (variant) {
        e->gen.dir = folder;
        e->gen.controlnet = e->gen.controlnet && variant->controlnet;
        e->gen.lora_scale = variant->lora ? e->gen.lora_scale : 0;
    }
    status st = comm_agree(c, generation_open(e, variant == NULL, &g));
    if (!st) {
        describe(e, &g);
        if (e->dry_run)
            log_job("dry run: nothing was generated");
        else if (e->gen.item >= 0)
            st = comm_agree(c, comm_rank(c) == 0 ? run_one(e, &g) : ST_OK);
        else
            st = run_all(e, c, &g);
    }
    generation_close(&g);
    free(folder);
    return st;
}

status gen_run(const experiment *e, comm *c) {
    TRY(comm_agree(c, settings_known(e)));
    TRY(run_model(e, c, NULL));
    for (size_t i = 0; i < e->gen.variants.n && e->gen.item < 0; i++)
        TRY(run_model(e, c, gen_variant_find(e->gen.variants.item[i])));
    return ST_OK;
}
