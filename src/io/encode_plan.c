/* Which captures there are, and the list of work. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/capture.h"
#include "io/encode_priv.h"

enum { GZIP_RATIO = 4 };
/* Memory that a byte of a capture can come to need (a flow a packet, as in a scan), and files open at once. */
enum { MEMORY_RATIO = 4, PARTITIONS_MAX = 512 };

static uint64_t weight_of(const char *path, uint64_t nbytes) {
    size_t n = strlen(path);
    return n > 3 && strcmp(path + n - 3, ".gz") == 0 ? nbytes * GZIP_RATIO : nbytes;
}

status encode_file_look(const char *path, encode_file *f) {
    struct stat info;
    if (stat(path, &info) != 0)
        return FAIL(ST_IO, "%s: cannot open: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return FAIL(ST_IO, "%s: not a regular file", path);
    f->nbytes = (uint64_t)info.st_size;
    f->mtime_ns = (uint64_t)info.st_mtim.tv_sec * 1000000000 + (uint64_t)info.st_mtim.tv_nsec;
    return ST_OK;
}

/* Rank 0's view: paths, names and sizes. */
static status look(encode_plan *p, const experiment *e) {
    if (e->data.captures.n == 0)
        return FAIL(ST_USAGE, "data.captures: at least one capture, folder or pattern is wanted");
    TRY(capture_list_names(&e->data.captures, &p->captures, &p->names));
    if (p->captures.n >= UINT32_MAX)
        return FAIL(ST_RANGE, "%zu captures are too many", p->captures.n);
    TRY(NEW(p->captures.n, &p->files));
    for (size_t i = 0; i < p->captures.n; i++) {
        encode_file *f = &p->files[i];
        TRY(encode_file_look(p->captures.item[i], f));
        f->weight = weight_of(p->captures.item[i], f->nbytes);
        uint64_t n = f->weight / ((uint64_t)e->encode.memory / MEMORY_RATIO) + 1;
        f->npartitions = n < PARTITIONS_MAX ? n : PARTITIONS_MAX;
    }
    return ST_OK;
}

/* The list as one block of NUL-terminated texts. */
static status pack(const text_list *l, char **block, size_t *nbytes) {
    *nbytes = 0;
    for (size_t i = 0; i < l->n; i++)
        *nbytes += strlen(l->item[i]) + 1;
    *block = malloc(*nbytes + 1);
    if (*block == NULL)
        return FAIL(ST_MEMORY, "no memory for the list of captures");
    char *to = *block;
    for (size_t i = 0; i < l->n; i++)
        to = stpcpy(to, l->item[i]) + 1;
    return ST_OK;
}

static status unpack(text_list *l, const char *block, size_t n) {
    for (size_t i = 0; i < n; i++, block += strlen(block) + 1)
        TRY(text_list_add(l, block));
    return ST_OK;
}

static status share_list(text_list *l, uint64_t n, comm *c) {
    char *block = NULL;
    size_t size = 0;
    status st = comm_rank(c) == 0 ? pack(l, &block, &size) : ST_OK;
    uint64_t nbytes = size;
    TRY_TO(out, comm_agree(c, st));
    TRY_TO(out, comm_broadcast(c, &nbytes, sizeof nbytes, 0));
    if (comm_rank(c) != 0) {
        block = malloc(nbytes + 1);
        st = block != NULL ? ST_OK : FAIL(ST_MEMORY, "no memory for the list of captures");
    }
    TRY_TO(out, comm_agree(c, st));
    TRY_TO(out, comm_broadcast(c, block, nbytes, 0));
    if (comm_rank(c) != 0)
        st = unpack(l, block, n);
out:
    free(block);
    return st;
}

static status share(encode_plan *p, comm *c) {
    if (comm_size(c) == 1)
        return ST_OK;
    uint64_t n = p->captures.n;
    TRY(comm_broadcast(c, &n, sizeof n, 0));
    status st = share_list(&p->captures, n, c);
    TRY(comm_agree(c, st));
    st = share_list(&p->names, n, c);
    TRY(comm_agree(c, st));
    if (comm_rank(c) != 0)
        st = NEW(n, &p->files);
    TRY(comm_agree(c, st));
    return comm_broadcast(c, p->files, n * sizeof *p->files, 0);
}

uint64_t encode_item_weight(const encode_plan *p, const encode_item *item) {
    const encode_file *f = &p->files[item->file];
    return item->pass ? f->weight : f->weight / f->npartitions;
}

/* Captures first, the largest of them first; then partitions, in the order in which their captures were begun. */
static int compare_items(const void *a, const void *b, void *plan) {
    const encode_item *x = a, *y = b;
    const encode_plan *p = plan;
    uint64_t nx = p->files[x->file].weight, ny = p->files[y->file].weight;
    if (x->pass != y->pass)
        return x->pass ? -1 : 1;
    if (nx != ny)
        return nx > ny ? -1 : 1;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return x->partition < y->partition ? -1 : x->partition > y->partition;
}

static status list_work(encode_plan *p) {
    size_t n = p->captures.n, nparts = 0;
    TRY(NEW(n + 1, &p->first_part));
    for (size_t i = 0; i < n; i++) {
        p->first_part[i] = nparts;
        nparts += (size_t)p->files[i].npartitions;
    }
    p->first_part[n] = nparts;
    TRY(NEW(n + nparts, &p->items));
    for (size_t i = 0; i < n; i++) {
        p->items[p->nitems++] = (encode_item){.file = (uint32_t)i, .pass = true};
        for (uint64_t k = 0; p->files[i].npartitions > 1 && k < p->files[i].npartitions; k++)
            p->items[p->nitems++] = (encode_item){.file = (uint32_t)i, .partition = k};
    }
    if (p->nitems > 0)
        qsort_r(p->items, p->nitems, sizeof *p->items, compare_items, p);
    return ST_OK;
}

status encode_plan_make(encode_plan *p, const experiment *e, comm *c) {
    *p = (encode_plan){.nitems = 0};
    status st = comm_rank(c) == 0 ? look(p, e) : ST_OK;
    TRY(comm_agree(c, st));
    st = share(p, c);
    if (st == ST_OK)
        st = list_work(p);
    return comm_agree(c, st);
}

void encode_plan_clear(encode_plan *p) {
    text_list_clear(&p->captures);
    text_list_clear(&p->names);
    memory_free(&p->files);
    memory_free(&p->first_part);
    memory_free(&p->items);
}
