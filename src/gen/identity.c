/* Identity of a run: a text of everything that determines the flows, and its SHA-256, cut to 16 bytes, which every
 * record of a batch carries. The text is the manifest of the folder of records, so that what differs can be named. */
#include "gen/gen_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"

const char *sampler_name(const experiment *e) {
    static const char *const names[] = {"ddim", "ancestral", "dpm"};
    return names[e->gen.sampler];
}

/* sha256 of a file of the model folder, "" where it is not there. */
static status model_sha256(const experiment *e, const char *name, char hex[65]) {
    char *path = text_format("%s/%s", e->model.dir, name);
    hex[0] = 0;
    status st = file_exists(path) ? file_sha256(path, hex) : ST_OK;
    free(path);
    return st;
}

status identity_config(const experiment *e, char **text) {
    char base[65], controlnet[65], lora[65];
    TRY(model_sha256(e, "transformer/diffusion_pytorch_model.safetensors", base));
    TRY(model_sha256(e, "controlnet/diffusion_pytorch_model.safetensors", controlnet));
    TRY(model_sha256(e, "lora/pytorch_lora_weights.safetensors", lora));
    *text = text_format("seed: %lld\ndata:\n  max_packets: %lld\n"
                        "gen:\n  sampler: %s\n  steps: %lld\n  guidance: %.9g\n  batch: %lld\n  control: %s\n"
                        "  controlnet: %s\n  lora_scale: %.9g\n  gaps: %s\n  clients: %s\n  servers: %s\n"
                        "  rate: %.9g\n  start: %.17g\n  repair: %s\n"
                        "# transformer %s\n# controlnet %s\n# lora %s\n",
                        (long long)e->seed, (long long)e->data.max_packets, sampler_name(e), (long long)e->gen.steps,
                        e->gen.guidance, (long long)e->gen.batch, e->gen.control, e->gen.controlnet ? "yes" : "no",
                        e->gen.lora_scale, e->gen.gaps == GAP_CLASS ? "class" : "model", e->gen.clients, e->gen.servers,
                        e->gen.rate, e->gen.start, e->gen.repair ? "yes" : "no", base, controlnet, lora);
    return ST_OK;
}

static status add_text(sha256_state *s, const char *text) {
    return sha256_add(s, text, strlen(text) + 1);
}

/* Of a class: service ports, losses, lengths, shapes and gaps. */
static status add_class(sha256_state *s, const class_info *c) {
    status st = sha256_add(s, &c->losses, sizeof c->losses);
    for (size_t i = 0; i < c->nservices && i < CLASS_SERVICES && !st; i++) {
        const class_service *known = &c->services[i];
        uint64_t service[5] = {known->proto, known->port, known->nflows, known->client, known->lead};
        st = sha256_add(s, service, sizeof service);
    }
    for (size_t f = 0; f < c->nflows && !st; f++) {
        uint64_t lengths[2] = {c->flows[f].n, c->flows[f].npackets};
        st = sha256_add(s, lengths, sizeof lengths);
    }
    if (!st)
        st = sha256_add(s, c->shapes, c->nshapes * sizeof *c->shapes);
    for (unsigned pair = 0; pair < 4 && !st; pair++)
        st = sha256_add(s, c->gaps[pair], c->ngaps[pair] * sizeof *c->gaps[pair]);
    return st;
}

/* What generation takes from the dataset: its tables, and what is known of the classes. */
static status learnt_sha256(const classes *k, const dataset_tables *t, char hex[65]) {
    sha256_state *s = NULL;
    TRY(sha256_new(&s));
    status st = ST_OK;
    for (size_t i = 0; i < t->nlabels && !st; i++) {
        st = add_text(s, t->label[i]);
        if (!st)
            st = add_text(s, t->macro[i]);
        if (!st)
            st = add_text(s, t->prompt[i]);
    }
    for (size_t i = 0; i < k->nlabels && !st; i++)
        st = add_class(s, &k->info[i]);
    if (st)
        sha256_free(&s);
    return st ? st : sha256_end(&s, hex);
}

/* One line a label: what the plan makes of it. Caller frees. */
static char *describe_label(const plan_label *l, const dataset_tables *t) {
    char *text =
        text_format("flows of %s: %llu%s", t->label[l->label], (unsigned long long)l->n, l->lora ? ", with LoRA" : "");
    if (l->ntemplate == 0)
        return text;
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (size_t i = 0; i < l->ntemplate; i++)
        hash = (hash ^ l->template_shapes[i]) * UINT64_C(1099511628211);
    char *whole = text_format("%s, template of %zu packets %016llx", text, l->ntemplate, (unsigned long long)hash);
    free(text);
    return whole;
}

static status digest_text(identity *id) {
    char hex[65];
    sha256_state *s = NULL;
    TRY(sha256_new(&s));
    status st = sha256_add(s, id->text, strlen(id->text));
    if (st) {
        sha256_free(&s);
        return st;
    }
    TRY(sha256_end(&s, hex));
    for (size_t i = 0; i < IDENTITY_NBYTES; i++) {
        char byte[3] = {hex[2 * i], hex[2 * i + 1], 0};
        id->digest[i] = (uint8_t)strtoul(byte, NULL, 16);
    }
    return ST_OK;
}

status identity_make(const experiment *e, const plan *p, const classes *k, const dataset_tables *t, identity *id) {
    static const char *const files[] = {"transformer/config.json",        "text_encoder/config.json",
                                        "text_encoder/model.safetensors", "tokenizer/vocab.json",
                                        "tokenizer/merges.txt",           "scheduler/scheduler_config.json"};
    char *settings = NULL, learnt[65];
    *id = (identity){0};
    TRY(learnt_sha256(k, t, learnt));
    TRY(identity_config(e, &settings));
    char *text = text_format("nd-generation 1\n%s# learnt from the dataset %s\n", settings, learnt);
    free(settings);
    status st = ST_OK;
    for (size_t i = 0; i < sizeof files / sizeof *files && !st; i++) {
        char hex[65];
        st = model_sha256(e, files[i], hex);
        char *longer = text_format("%s# %s %s\n", text, files[i], st ? "" : hex);
        free(text);
        text = longer;
    }
    for (size_t i = 0; i < p->nlabels && !st; i++) {
        char *line = describe_label(&p->labels[i], t), *longer = text_format("%s%s\n", text, line);
        free(line);
        free(text);
        text = longer;
    }
    id->text = text;
    return st ? st : digest_text(id);
}

void identity_clear(identity *id) {
    free(id->text);
    *id = (identity){0};
}

/* ---- The manifest of a folder ---- */

/* The first line in which the texts differ, without indentation. */
static status refuse(const char *folder, const char *there, const char *now) {
    while (*there && *now) {
        size_t a = strcspn(there, "\n"), b = strcspn(now, "\n");
        if (a != b || memcmp(there, now, a) != 0)
            break;
        there += a + (there[a] == '\n');
        now += b + (now[b] == '\n');
    }
    there += strspn(there, " #");
    now += strspn(now, " #");
    return FAIL(ST_USAGE,
                "%s holds batches of other flows: \"%.*s\" there, \"%.*s\" now; go on with the settings of before, or "
                "start over with gen.resume=no",
                folder, (int)strcspn(there, "\n"), there, (int)strcspn(now, "\n"), now);
}

/* Put the text in place under a name that exists at most once; false where somebody else was first. */
static status place(const char *path, const char *text, bool *first) {
    char host[65] = "unknown";
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    (void)gethostname(host, sizeof host - 1);
    char *mine =
        text_format("%s.%s-%ld-%lld", path, host, (long)getpid(), (long long)now.tv_sec * 1000000000 + now.tv_nsec);
    status st = file_write(mine, text, strlen(text));
    *first = false;
    if (!st) {
        *first = link(mine, path) == 0;
        if (!*first && errno != EEXIST && rename(mine, path) == 0) /* a file system without links */
            *first = true;
        else if (!*first && errno != EEXIST)
            st = FAIL(ST_IO, "%s: cannot create: %s", path, strerror(errno));
        unlink(mine);
    }
    free(mine);
    return st;
}

status identity_claim(const identity *id, const char *folder, bool *first) {
    char *path = text_format("%s/manifest", folder), *there = NULL;
    *first = false;
    status st = file_make_folders(folder);
    if (!st && !file_exists(path))
        st = place(path, id->text, first);
    if (!st && !*first) {
        size_t n;
        st = file_read(path, 1 << 24, &there, &n);
        if (!st && strcmp(there, id->text) != 0)
            st = refuse(folder, there, id->text);
    }
    free(there);
    free(path);
    return st;
}
