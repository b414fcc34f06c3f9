/* The files of GEN.DIR: how they are called, and the manifest that says that a run ended and what it left. */
#include "gen/gen_priv.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "packet/payload.h"

static const char *const separators[] = {"-", "--", "---", "----"};
enum { NSEPARATORS = sizeof separators / sizeof *separators, DIGITS = 4 };

char *outputs_stem(const dataset_tables *t, int32_t label) {
    return label < 0 ? text_copy("all") : file_label_name(t->label[label]);
}

/* Is `name` the stem, a separator and a number? */
static bool is_numbered(const char *name, const char *stem, const char *separator) {
    size_t n = strlen(stem), m = strlen(separator);
    if (strncmp(name, stem, n) != 0 || strncmp(name + n, separator, m) != 0)
        return false;
    size_t digits = strspn(name + n + m, "0123456789");
    return digits >= DIGITS && name[n + m + digits] == 0;
}

const char *outputs_separator(const dataset_tables *t, const char *stem) {
    for (size_t i = 0; i < NSEPARATORS; i++) {
        bool taken = false;
        for (size_t l = 0; l < t->nlabels && !taken; l++) {
            char *other = outputs_stem(t, (int32_t)l);
            taken = is_numbered(other, stem, separators[i]);
            free(other);
        }
        if (!taken)
            return separators[i];
    }
    return "-----";
}

bool outputs_truncate(const experiment *e, const packet *p) {
    return e->gen.payload == PAYLOAD_TRUNCATE || (e->gen.payload == PAYLOAD_MADE && payload_is_left_out(p));
}

/* ---- The manifest ---- */

/* Flows and forms of output. Caller frees. */
static char *manifest_head(const experiment *e, const identity *id) {
    static const char *const policies[] = {
        [PAYLOAD_MADE] = "made", [PAYLOAD_WHOLE] = "whole", [PAYLOAD_TRUNCATE] = "truncate"};
    return text_format("%slink: %s\npayload: %s\ncapture_bytes: %lld\ncompress: %lld\n", id->text,
                       e->gen.link == LINK_RAW ? "raw" : "ethernet", policies[e->gen.payload],
                       (long long)e->gen.capture_bytes, (long long)e->encode.compress);
}

static char *manifest_path(const experiment *e) {
    return text_format("%s/manifest", e->gen.dir);
}

/* "file BYTES NAME" of each line: is it there with as many? */
static bool files_are_there(const char *folder, char *lines) {
    char *rest = NULL;
    for (char *line = strtok_r(lines, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        unsigned long long nbytes;
        uint64_t now = 0;
        int at = 0;
        if (sscanf(line, "file %llu %n", &nbytes, &at) != 1 || at == 0)
            return false;
        char *path = text_format("%s/%s", folder, line + at);
        bool same = file_exists(path) && file_size(path, &now) == ST_OK && now == nbytes;
        free(path);
        if (!same)
            return false;
    }
    return true;
}

bool outputs_finished(const experiment *e, const identity *id) {
    char *path = manifest_path(e), *head = manifest_head(e, id), *there = NULL;
    size_t n, nhead = strlen(head);
    bool finished = file_exists(path) && file_read(path, 1 << 26, &there, &n) == ST_OK &&
                    strncmp(there, head, nhead) == 0 && files_are_there(e->gen.dir, there + nhead);
    free(there);
    free(head);
    free(path);
    return finished;
}

status outputs_finish(const experiment *e, const identity *id, const text_list *files) {
    char *path = manifest_path(e), *head = manifest_head(e, id);
    file_writer w;
    status st = file_begin(&w, path);
    if (!st) {
        fputs(head, w.stream);
        for (size_t i = 0; i < files->n && !st; i++) {
            char *file = text_format("%s/%s", e->gen.dir, files->item[i]);
            uint64_t nbytes = 0;
            st = file_size(file, &nbytes);
            fprintf(w.stream, "file %llu %s\n", (unsigned long long)nbytes, files->item[i]);
            free(file);
        }
        if (st)
            file_abandon(&w);
        else
            st = file_commit(&w);
    }
    free(head);
    free(path);
    return st;
}

/* ---- Removing ---- */

static status remove_file(const char *folder, const char *name) {
    char *path = text_format("%s/%s", folder, name);
    bool failed = unlink(path) != 0 && errno != ENOENT;
    status st = failed ? FAIL(ST_IO, "%s: cannot be replaced: %s", path, strerror(errno)) : ST_OK;
    free(path);
    return st;
}

/* NAME.pcap of all or of a label, or one of its numbered files. */
static bool is_capture(const dataset_tables *t, const char *name) {
    size_t n = strlen(name);
    if (n < 5 || strcmp(name + n - 5, ".pcap") != 0)
        return false;
    char *base = text_format("%.*s", (int)(n - 5), name);
    bool found = false;
    for (int32_t label = -1; label < (int32_t)t->nlabels && !found; label++) {
        char *stem = outputs_stem(t, label);
        found = strcmp(base, stem) == 0;
        for (size_t i = 0; i < NSEPARATORS && !found; i++)
            found = is_numbered(base, stem, separators[i]);
        free(stem);
    }
    free(base);
    return found;
}

/* NAME, or NAME.part-NUMBER, which a killed run was writing. */
static bool is_output(const dataset_tables *t, const char *name) {
    static const char *const names[] = {"manifest", "dataset.h5", "raw.h5", "flows.csv", "config.yaml"};
    const char *part = strstr(name, ".part-");
    size_t n = part && part[strspn(part + 6, "0123456789") + 6] == 0 ? (size_t)(part - name) : strlen(name);
    char *whole = text_format("%.*s", (int)n, name);
    bool found = is_capture(t, whole);
    for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++)
        found = strcmp(whole, names[i]) == 0;
    free(whole);
    return found;
}

status outputs_remove(const experiment *e, const dataset_tables *t) {
    TRY(remove_file(e->gen.dir, "manifest")); /* the rest is no finished output from here on */
    DIR *dir = opendir(e->gen.dir);
    if (!dir)
        return FAIL(ST_IO, "%s: cannot be read: %s", e->gen.dir, strerror(errno));
    status st = ST_OK;
    for (struct dirent *entry; !st && (entry = readdir(dir)) != NULL;)
        if (is_output(t, entry->d_name))
            st = remove_file(e->gen.dir, entry->d_name);
    closedir(dir);
    return st;
}
