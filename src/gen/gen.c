/* Generation from the request to the merged outputs. */
#include "gen/gen_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "io/capture.h"
#include "packet/payload.h"

static const char *const sampler_names[] = {"ddim", "ancestral", "dpm"};

/* sha256 of a file of the model folder, "" where it is not there. */
static status weights_sha256(const experiment *e, const char *name, char hex[65]) {
    char *path = text_format("%s/%s", e->model.dir, name);
    hex[0] = 0;
    status st = file_exists(path) ? file_sha256(path, hex) : ST_OK;
    free(path);
    return st;
}

/* What determines the flows, as YAML: settings and weights. Where things lie and how many ranks there were stays out,
 * so that equal content has equal bytes. */
static status content_config(const experiment *e, char **text) {
    char base[65], controlnet[65], lora[65];
    TRY(weights_sha256(e, "transformer/diffusion_pytorch_model.safetensors", base));
    TRY(weights_sha256(e, "controlnet/diffusion_pytorch_model.safetensors", controlnet));
    TRY(weights_sha256(e, "lora/pytorch_lora_weights.safetensors", lora));
    *text = text_format("seed: %lld\ndata:\n  max_packets: %lld\n"
                        "gen:\n  sampler: %s\n  steps: %lld\n  guidance: %.9g\n  batch: %lld\n  control: %s\n"
                        "  controlnet: %s\n  lora_scale: %.9g\n  gaps: %s\n  clients: %s\n  servers: %s\n"
                        "  rate: %.9g\n  start: %.17g\n  repair: %s\n"
                        "# transformer %s\n# controlnet %s\n# lora %s\n",
                        (long long)e->seed, (long long)e->data.max_packets, sampler_names[e->gen.sampler],
                        (long long)e->gen.steps, e->gen.guidance, (long long)e->gen.batch, e->gen.control,
                        e->gen.controlnet ? "yes" : "no", e->gen.lora_scale,
                        e->gen.gaps == GAP_CLASS ? "class" : "model", e->gen.clients, e->gen.servers, e->gen.rate,
                        e->gen.start, e->gen.repair ? "yes" : "no", base, controlnet, lora);
    return ST_OK;
}

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
    TRY(content_config(e, &source.config));
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
            (unsigned long long)g->plan->nbatches, g->plan->batch, sampler_names[e->gen.sampler],
            (long long)e->gen.steps, e->gen.dir);
    for (size_t i = 0; i < g->plan->nlabels; i++) {
        const plan_label *l = &g->plan->labels[i];
        log_job("  %-16s %6llu flows  \"%s\"%s", g->tables.label[l->label], (unsigned long long)l->n,
                g->tables.prompt[l->label], l->lora ? "  with LoRA" : "");
    }
}

/* Bring what every rank did to rank 0: paths follow from the rank, flow numbers are gathered. */
static status parts_gather(comm *c, const fanout_part *mine, const char *folder, fanout_part **all) {
    size_t *sizes = NULL;
    char *numbers = NULL;
    int size = comm_size(c);
    status st = NEW((size_t)size, &sizes);
    if (!st)
        st = NEW((size_t)size, all);
    TRY(comm_agree(c, st));
    st = comm_gather(c, mine->numbers, mine->n * sizeof *mine->numbers, 0, &numbers, sizes);
    size_t at = 0;
    for (int rank = 0; rank < size && !st && comm_rank(c) == 0; rank++) {
        fanout_part *part = &(*all)[rank];
        part->clean = text_format("%s/part-%d.h5", folder, rank);
        part->raw = text_format("%s/part-%d-raw.h5", folder, rank);
        part->n = sizes[rank] / sizeof *part->numbers;
        part->numbers = malloc(sizes[rank] ? sizes[rank] : 1);
        if (!part->numbers)
            st = FAIL(ST_MEMORY, "no memory for %zu flow numbers", part->n);
        else
            memcpy(part->numbers, numbers + at, sizes[rank]);
        at += sizes[rank];
    }
    free(numbers);
    memory_free(&sizes);
    return st;
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

static status run_all(const experiment *e, comm *c, const generation *g) {
    char *folder = text_format("%s/parts", e->gen.dir);
    char *effective = text_format("%s/config.yaml", e->gen.dir);
    fanout_part mine = {0}, *parts = NULL;
    double began = time_seconds();
    status st = ST_OK;
    if (comm_rank(c) == 0) { /* parts of a killed run are of no use */
        st = file_exists(folder) ? file_remove_tree(folder) : ST_OK;
        if (!st)
            st = file_make_folders(folder);
    }
    st = comm_agree(c, st);
    if (!st)
        st = fanout_run(e, c, g->plan, g->classes, &g->tables, e->model.dir, folder, &mine);
    double sampled = time_seconds();
    if (!st)
        st = comm_agree(c, parts_gather(c, &mine, folder, &parts));
    if (!st)
        st = comm_sum_u64(c, (uint64_t *)&mine.repaired, sizeof mine.repaired / sizeof(uint64_t));
    if (!st && comm_rank(c) == 0) {
        st = merge_run(e, g->plan, &g->tables, (size_t)comm_size(c), parts, e->gen.dir);
        if (!st)
            st = experiment_save(e, effective);
    }
    st = comm_agree(c, st);
    if (comm_rank(c) == 0 && file_exists(folder)) { /* after an error too; that error is the one to tell */
        char *message = text_copy(status_message());
        if (file_remove_tree(folder) != ST_OK)
            log_warn("%s: could not be removed", folder);
        status_set_message(message);
        free(message);
    }
    if (!st)
        log_job("%llu flows in %.1f s (%.1f flows/s), merged in %.1f s", (unsigned long long)g->plan->nflows,
                sampled - began, (double)g->plan->nflows / (sampled - began), time_seconds() - sampled);
    if (!st)
        report_repair(&mine.repaired);
    for (int rank = 0; parts && rank < comm_size(c); rank++)
        fanout_part_clear(&parts[rank]);
    memory_free(&parts);
    fanout_part_clear(&mine);
    free(folder);
    free(effective);
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
        st = fanout_one(e, g->plan, g->classes, &g->tables, e->model.dir, number, &raw, &clean);
    if (!st)
        st = capture_create(&w, path, e->gen.link == LINK_RAW ? 101 : 1, 262144);
    for (size_t i = 0; i < clean.npackets && !st; i++) {
        payload_make(&clean, i, payload, packet_payload(&clean.packets[i]));
        st = capture_write_payload(w, &clean.packets[i], payload, e->gen.payload == PAYLOAD_TRUNCATE);
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

static status variants_known(const experiment *e) {
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
    TRY(comm_agree(c, variants_known(e)));
    TRY(run_model(e, c, NULL));
    for (size_t i = 0; i < e->gen.variants.n && e->gen.item < 0; i++)
        TRY(run_model(e, c, gen_variant_find(e->gen.variants.item[i])));
    return ST_OK;
}
