/* Which batches are there: the files of the folder are shared out among the ranks, and rank 0 keeps where each batch
 * lies. A record counts when it is whole and its CRC is right; what stands behind one that is not whole is ignored, for
 * nobody appends to another process's file. Of batches that are not wanted only the head is read. */
#include "gen/items_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include "base/config.h"
#include "base/file.h"
#include "base/memory.h"

enum { PIECE_NBYTES = 1 << 20 };

status shard_parse(const char *text, shard *s) {
    *s = (shard){.n = 1};
    if (!*text)
        return ST_OK;
    const char *slash = strchr(text, '/');
    int64_t i = 0, n = 0;
    if (!slash)
        return FAIL(ST_USAGE, "gen.shard: \"%s\" is not I/N, such as 2/8", text);
    char *first = text_format("%.*s", (int)(slash - text), text);
    status st = text_to_int(slash + 1, "gen.shard: N", 1, 1000000, &n);
    if (!st)
        st = text_to_int(first, "gen.shard: I", 0, n, &i);
    free(first);
    *s = (shard){.given = true, .i = (uint64_t)i, .n = (uint64_t)n};
    return st;
}

bool shard_has(const shard *s, uint64_t batch) {
    return s->i == 0 || batch % s->n == s->i - 1;
}

void item_index_clear(item_index *index) {
    text_list_clear(&index->files);
    memory_free(&index->place);
    *index = (item_index){0};
}

/* ---- One file ---- */

typedef struct found {
    uint64_t batch, offset, file;
} found;

typedef struct search {
    const identity *id;
    const shard *share;
    uint64_t nbatches;
    found *found;
    size_t n, capacity;
    uint8_t *piece; /* (PIECE_NBYTES) */
} search;

/* n bytes at `at`; false where the file ends before, or cannot be read there: that record is then made again. */
static bool read_whole(int fd, void *bytes, size_t n, uint64_t at) {
    for (uint8_t *to = bytes; n > 0;) {
        ssize_t got = pread(fd, to, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        to += got;
        n -= (size_t)got;
        at += (uint64_t)got;
    }
    return true;
}

static bool crc_is_right(search *s, int fd, uint64_t at, uint64_t nbytes) {
    uLong crc = 0;
    uint32_t told;
    while (nbytes > 0) {
        size_t n = nbytes < PIECE_NBYTES ? (size_t)nbytes : PIECE_NBYTES;
        if (!read_whole(fd, s->piece, n, at))
            return false;
        crc = crc32_z(crc, s->piece, n);
        at += n;
        nbytes -= n;
    }
    return read_whole(fd, &told, sizeof told, at) && told == (uint32_t)crc;
}

static status search_file(search *s, const char *path, uint64_t file) {
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) /* gone since the folder was read */
        return ST_OK;
    if (fd < 0)
        return FAIL(ST_IO, "%s: cannot open: %s", path, strerror(errno));
    uint64_t size = fstat(fd, &info) == 0 ? (uint64_t)info.st_size : 0, at = 0;
    status st = ST_OK;
    while (!st) {
        item_head h;
        if (size - at < sizeof h + sizeof(uint32_t) || !read_whole(fd, &h, sizeof h, at) || h.magic != ITEM_MAGIC ||
            h.nbytes > size - at - sizeof h - sizeof(uint32_t))
            break;
        bool ours = memcmp(h.identity, s->id->digest, sizeof h.identity) == 0;
        if (ours && h.batch < s->nbatches && shard_has(s->share, h.batch) &&
            crc_is_right(s, fd, at, sizeof h + h.nbytes)) {
            st = memory_grow(&s->found, &s->capacity, s->n + 1, sizeof *s->found);
            if (!st)
                s->found[s->n++] = (found){.batch = h.batch, .offset = at, .file = file};
        }
        at += sizeof h + h.nbytes + sizeof(uint32_t);
    }
    close(fd);
    return st;
}

/* ---- All files ---- */

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

status items_list(const char *folder, text_list *files) {
    DIR *dir = opendir(folder);
    if (!dir)
        return FAIL(ST_IO, "%s: cannot be read: %s", folder, strerror(errno));
    status st = ST_OK;
    for (struct dirent *entry; !st && (entry = readdir(dir)) != NULL;)
        if (strncmp(entry->d_name, ITEM_PREFIX, strlen(ITEM_PREFIX)) == 0)
            st = text_list_add(files, entry->d_name);
    closedir(dir);
    if (!st && files->n > 1)
        qsort(files->item, files->n, sizeof *files->item, by_name);
    return st;
}

/* Rank 0's list on all ranks: names are sent one after another, each with its NUL. */
static status share_list(comm *c, text_list *files) {
    uint64_t nbytes = 0;
    char *text = NULL;
    if (comm_rank(c) == 0)
        for (size_t i = 0; i < files->n; i++)
            nbytes += strlen(files->item[i]) + 1;
    TRY(comm_broadcast(c, &nbytes, sizeof nbytes, 0));
    status st = NEW(nbytes + 1, &text);
    if (!st && comm_rank(c) == 0)
        for (size_t i = 0, at = 0; i < files->n; at += strlen(files->item[i++]) + 1)
            memcpy(text + at, files->item[i], strlen(files->item[i]) + 1);
    st = comm_agree(c, st);
    if (!st)
        st = comm_broadcast(c, text, nbytes, 0);
    for (uint64_t at = 0; at < nbytes && !st && comm_rank(c) != 0; at += strlen(text + at) + 1)
        st = text_list_add(files, text + at);
    memory_free(&text);
    return comm_agree(c, st);
}

/* The first record of a batch stays: all are equal. */
static void note(item_index *index, uint64_t batch, uint64_t offset, uint32_t file) {
    if (index->place[batch].file == ITEM_NONE)
        index->place[batch] = (item_place){.offset = offset, .file = file};
}

static status gather_found(comm *c, const search *s, item_index *index) {
    size_t *sizes = NULL, n = 0;
    char *all = NULL;
    TRY(comm_agree(c, NEW((size_t)comm_size(c), &sizes)));
    status st = comm_gather(c, s->found, s->n * sizeof *s->found, 0, &all, sizes);
    for (int rank = 0; !st && comm_rank(c) == 0 && rank < comm_size(c); rank++)
        n += sizes[rank] / sizeof *s->found;
    for (size_t i = 0; i < n; i++) {
        found f;
        memcpy(&f, all + i * sizeof f, sizeof f);
        note(index, f.batch, f.offset, (uint32_t)f.file);
    }
    free(all);
    memory_free(&sizes);
    return st;
}

/* The share's batches without a record: rank 0 knows, a bit each goes to all. */
static status list_missing(comm *c, const shard *share, uint64_t nbatches, const item_index *index, uint64_t **missing,
                           uint64_t *nmissing) {
    uint8_t *bits = NULL;
    size_t nbytes = (size_t)(nbatches / 8 + 1);
    TRY(comm_agree(c, NEW(nbytes, &bits)));
    for (uint64_t b = 0; b < nbatches && comm_rank(c) == 0; b++)
        if (shard_has(share, b) && index->place[b].file == ITEM_NONE)
            bits[b / 8] |= (uint8_t)(1u << (b % 8));
    status st = comm_broadcast(c, bits, nbytes, 0);
    *nmissing = 0;
    for (size_t i = 0; i < nbytes && !st; i++)
        *nmissing += (uint64_t)__builtin_popcount(bits[i]);
    if (!st)
        st = comm_agree(c, NEW((size_t)*nmissing, missing));
    for (uint64_t b = 0, n = 0; b < nbatches && !st; b++)
        if (bits[b / 8] >> (b % 8) & 1)
            (*missing)[n++] = b;
    memory_free(&bits);
    return st;
}

static status index_open(uint64_t nbatches, item_index *index) {
    index->nbatches = nbatches;
    TRY(NEW((size_t)nbatches, &index->place));
    for (uint64_t b = 0; b < nbatches; b++)
        index->place[b].file = ITEM_NONE;
    return ST_OK;
}

status items_scan(comm *c, const char *folder, const identity *id, const shard *share, uint64_t nbatches,
                  item_index *index, uint64_t **missing, uint64_t *nmissing) {
    search s = {.id = id, .share = share, .nbatches = nbatches};
    bool first = comm_rank(c) == 0;
    status st = first ? index_open(nbatches, index) : ST_OK;
    if (!st && first)
        st = items_list(folder, &index->files);
    TRY(comm_agree(c, st));
    TRY(share_list(c, &index->files));
    st = NEW(PIECE_NBYTES, &s.piece);
    for (size_t i = (size_t)comm_rank(c); i < index->files.n && !st; i += (size_t)comm_size(c)) {
        char *path = text_format("%s/%s", folder, index->files.item[i]);
        st = search_file(&s, path, i);
        free(path);
    }
    memory_free(&s.piece);
    st = comm_agree(c, st);
    if (!st)
        st = comm_agree(c, gather_found(c, &s, index));
    free(s.found);
    return st ? st : list_missing(c, share, nbatches, index, missing, nmissing);
}

status items_share(comm *c, item_index *index) {
    uint64_t nbatches = index->nbatches;
    bool first = comm_rank(c) == 0;
    if (!first)
        text_list_clear(&index->files);
    TRY(comm_broadcast(c, &nbatches, sizeof nbatches, 0));
    TRY(share_list(c, &index->files));
    TRY(comm_agree(c, first ? ST_OK : index_open(nbatches, index)));
    return comm_broadcast(c, index->place, (size_t)nbatches * sizeof *index->place, 0);
}

status items_collect(comm *c, const char *name, const item_made *made, size_t nmade, item_index *index) {
    size_t *name_sizes = NULL, *sizes = NULL;
    char *names = NULL, *all = NULL;
    status st = NEW((size_t)comm_size(c), &name_sizes);
    if (!st)
        st = NEW((size_t)comm_size(c), &sizes);
    st = comm_agree(c, st);
    if (!st)
        st = comm_gather(c, name ? name : "", name ? strlen(name) + 1 : 0, 0, &names, name_sizes);
    if (!st)
        st = comm_gather(c, made, nmade * sizeof *made, 0, &all, sizes);
    size_t name_at = 0, at = 0;
    for (int rank = 0; !st && comm_rank(c) == 0 && rank < comm_size(c); rank++) {
        if (name_sizes[rank] > 0)
            st = text_list_add(&index->files, names + name_at);
        for (size_t i = 0; i < sizes[rank] / sizeof *made && !st; i++) {
            item_made m;
            memcpy(&m, all + at + i * sizeof m, sizeof m);
            ASSERT(m.batch < index->nbatches && name_sizes[rank] > 0);
            note(index, m.batch, m.offset, (uint32_t)(index->files.n - 1));
        }
        name_at += name_sizes[rank];
        at += sizes[rank];
    }
    free(names);
    free(all);
    memory_free(&name_sizes);
    memory_free(&sizes);
    return comm_agree(c, st);
}
