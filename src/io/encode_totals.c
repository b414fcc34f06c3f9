/* What a run of ndencode found: counted by each rank, summed over all, judged. */
#include <inttypes.h>
#include <stdlib.h>
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "io/encode_priv.h"

enum { PART_NUMBERS = sizeof(part_size) / sizeof(uint64_t) }; /* all fields are of one type */

status encode_totals_new(encode_totals *t, const encode_plan *p, const labels *l) {
    size_t n = p->captures.n, nlabels = labels_count(l);
    *t = (encode_totals){.notes = text_copy(""), .nlines = labels_nlines(l)};
    TRY(NEW(nlabels + 1, &t->flows));
    TRY(NEW(nlabels + 1, &t->packets));
    TRY(NEW(t->nlines + 1, &t->taken));
    TRY(NEW(n, &t->file_frames));
    TRY(NEW(n, &t->split));
    TRY(memory_new(n, 4 * sizeof(uint64_t), &t->sha256));
    TRY(NEW(p->first_part[n], &t->parts));
    return NEW(n, &t->damage);
}

void encode_totals_clear(encode_totals *t, size_t nfiles) {
    for (size_t i = 0; t->damage != NULL && i < nfiles; i++)
        free(t->damage[i]);
    memory_free(&t->damage);
    memory_free(&t->flows);
    memory_free(&t->packets);
    memory_free(&t->taken);
    memory_free(&t->file_frames);
    memory_free(&t->split);
    memory_free(&t->sha256);
    memory_free(&t->parts);
    free(t->notes);
}

static void add_note(encode_totals *t, uint32_t file, const char *damage) {
    char *notes = text_format("%s%u %s\n", t->notes, file, damage);
    for (char *at = notes + strlen(t->notes); *at != '\0'; at++)
        if (*at == '\n' && at[1] != '\0')
            *at = ' ';
    free(t->notes);
    t->notes = notes;
}

status encode_totals_add_pass(encode_totals *t, uint32_t file, const encode_mark *m) {
    char word[17] = "";
    if (strlen(m->sha256) != 64)
        return FAIL(ST_FORMAT, "capture %u has no SHA-256", file);
    for (int i = 0; i < 4; i++) {
        memcpy(word, m->sha256 + 16 * i, 16);
        t->sha256[(size_t)file * 4 + (size_t)i] = strtoull(word, NULL, 16);
    }
    t->frames += m->frames;
    t->file_frames[file] = m->frames;
    t->split[file] = m->npartitions;
    for (int i = 0; i < SKIP_COUNT; i++)
        t->skipped[i] += m->skipped[i];
    if (m->damage != NULL)
        add_note(t, file, m->damage);
    return ST_OK;
}

void encode_totals_add_part(encode_totals *t, size_t part, const encode_mark *m) {
    t->parts[part] = m->part;
    for (size_t i = 0; i <= m->nlabels; i++) {
        t->flows[i] += m->flows[i];
        t->packets[i] += m->packets[i];
    }
    for (size_t i = 0; i <= t->nlines; i++)
        t->taken[i] += m->taken[i];
}

static status take_notes(encode_totals *t, size_t nfiles, char *notes) {
    char *save = NULL;
    for (char *line = strtok_r(notes, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        char *text;
        size_t file = strtoul(line, &text, 10);
        if (file >= nfiles || *text != ' ')
            return FAIL(ST_COMM, "a rank sent an unreadable note on a capture");
        if (t->damage[file] == NULL)
            t->damage[file] = text_copy(text + 1);
    }
    return ST_OK;
}

static status gather_notes(encode_totals *t, size_t nfiles, comm *c) {
    char *all = NULL;
    size_t *sizes = NULL;
    status st = NEW((size_t)comm_size(c), &sizes);
    TRY(comm_agree(c, st));
    st = comm_gather(c, t->notes, strlen(t->notes), 0, &all, sizes);
    if (st == ST_OK && comm_rank(c) == 0) {
        size_t nbytes = 0;
        for (int i = 0; i < comm_size(c); i++)
            nbytes += sizes[i];
        char *text = strndup(all, nbytes);
        st = text != NULL ? take_notes(t, nfiles, text) : FAIL(ST_MEMORY, "no memory for notes on captures");
        free(text);
    }
    free(all);
    memory_free(&sizes);
    return st;
}

/* One rank has each entry of the arrays by file and part, the others zero. */
status encode_totals_sum(encode_totals *t, const encode_plan *p, const dataset_tables *tables, comm *c) {
    size_t n = p->captures.n;
    TRY(comm_sum_u64(c, &t->frames, 1));
    TRY(comm_sum_u64(c, t->skipped, SKIP_COUNT));
    TRY(comm_sum_u64(c, t->flows, tables->nlabels + 1));
    TRY(comm_sum_u64(c, t->packets, tables->nlabels + 1));
    TRY(comm_sum_u64(c, t->taken, t->nlines + 1));
    TRY(comm_sum_u64(c, t->file_frames, n));
    TRY(comm_sum_u64(c, t->split, n));
    TRY(comm_sum_u64(c, t->sha256, n * 4));
    TRY(comm_sum_u64(c, (uint64_t *)t->parts, p->first_part[n] * PART_NUMBERS));
    return comm_agree(c, gather_notes(t, n, c));
}

/* Why there is no packet at all. */
static status fail_empty(const encode_totals *t, const dataset_tables *tables) {
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
        st = FAIL(ST_FORMAT, "%s%s holds no frame", tables->file[0], tables->nfiles > 1 ? " and the others" : "");
    else if (skipped < t->frames)
        st = FAIL(ST_FORMAT, "no flow has a label, and encode.unlabelled is no");
    else
        st = FAIL(ST_FORMAT, "none of the %" PRIu64 " frames gave a packet: skipped for %s", t->frames, reasons);
    free(reasons);
    return st;
}

/* Is there anything in it, and has every label a flow? */
status encode_totals_check(const encode_totals *t, const dataset_tables *tables, const char *labels_path) {
    uint64_t packets = 0;
    for (size_t i = 0; i <= tables->nlabels; i++)
        packets += t->packets[i];
    if (t->frames == 0)
        for (size_t i = 0; i < tables->nfiles; i++)
            if (t->damage[i] != NULL)
                return FAIL(ST_FORMAT, "no capture could be read: %s: %s", tables->file[i], t->damage[i]);
    char *missing = text_copy("");
    size_t nmissing = 0;
    for (size_t i = 0; i < tables->nlabels; i++)
        if (t->flows[i] == 0) {
            char *more = text_format("%s%s%s", missing, nmissing > 0 ? ", " : "", tables->label[i]);
            free(missing);
            missing = more;
            nmissing++;
        }
    status st = ST_OK;
    if (nmissing > 0)
        st = FAIL(ST_FORMAT, "%s: rows about these captures match no flow for label%s %s", labels_path,
                  nmissing > 1 ? "s" : "", missing);
    else if (packets == 0)
        st = fail_empty(t, tables);
    free(missing);
    return st;
}

status encode_totals_warn(const encode_totals *t, const labels *l, const char *labels_path) {
    enum { NAMED = 3 };
    unused_row *rows = NULL;
    size_t n = 0;
    status st = labels_unused(l, t->taken, &n, &rows);
    char *named = text_copy("");
    for (size_t i = 0; st == ST_OK && i < n && i < NAMED; i++) {
        char *more = text_format("%s%s%s:%zu (%s, %s)", named, i > 0 ? ", " : "", labels_path, rows[i].line,
                                 rows[i].file, rows[i].label);
        free(named);
        named = more;
    }
    char *rest = n > NAMED ? text_format(" and %zu more", n - NAMED) : text_copy("");
    if (st == ST_OK && n > 0)
        log_warn("%zu row%s of the labels file match%s no flow: %s%s", n, n > 1 ? "s" : "", n > 1 ? "" : "es", named,
                 rest);
    free(named);
    free(rest);
    free(rows);
    return st;
}
