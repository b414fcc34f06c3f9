/* Which captures there are, and how they are cut into work items. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "io/capture.h"
#include "io/encode_priv.h"

enum { GZIP_RATIO = 4 };

static uint64_t weight_of(const char *path, uint64_t nbytes) {
    size_t n = strlen(path);
    return n > 3 && strcmp(path + n - 3, ".gz") == 0 ? nbytes * GZIP_RATIO : nbytes;
}

/* Rank 0's view: paths, names and sizes. */
static status look(encode_plan *p, const experiment *e) {
    if (e->data.captures.n == 0)
        return FAIL(ST_USAGE, "data.captures: at least one capture, folder or pattern is wanted");
    TRY(capture_list_names(&e->data.captures, &p->captures, &p->names));
    if (p->captures.n >= UINT32_MAX)
        return FAIL(ST_RANGE, "%zu captures are too many", p->captures.n);
    TRY(NEW(p->captures.n, &p->nbytes));
    for (size_t i = 0; i < p->captures.n; i++) {
        uint64_t n = 0;
        TRY(file_size(p->captures.item[i], &n));
        p->nbytes[i] = weight_of(p->captures.item[i], n);
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
        st = NEW(n, &p->nbytes);
    TRY(comm_agree(c, st));
    return comm_broadcast(c, p->nbytes, n * sizeof *p->nbytes, 0);
}

uint64_t encode_item_nbytes(const encode_plan *p, size_t item) {
    return p->nbytes[p->items[item].file] / p->items[item].nslices;
}

static int compare_work(const void *a, const void *b, void *plan) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    uint64_t nx = encode_item_nbytes(plan, x), ny = encode_item_nbytes(plan, y);
    if (nx != ny)
        return nx > ny ? -1 : 1;
    return x < y ? -1 : x > y;
}

static uint64_t slices_of(uint64_t nbytes, uint64_t slice_nbytes) {
    uint64_t n = nbytes / slice_nbytes + (nbytes % slice_nbytes != 0);
    return n > 0 ? n : 1;
}

static status cut(encode_plan *p, uint64_t slice_nbytes) {
    for (size_t i = 0; i < p->captures.n; i++)
        p->nitems += (size_t)slices_of(p->nbytes[i], slice_nbytes);
    TRY(NEW(p->nitems, &p->items));
    TRY(NEW(p->nitems, &p->order));
    size_t n = 0;
    for (size_t i = 0; i < p->captures.n; i++) {
        uint64_t nslices = slices_of(p->nbytes[i], slice_nbytes);
        for (uint64_t slice = 0; slice < nslices; slice++)
            p->items[n++] =
                (encode_item){.capture = p->captures.item[i], .file = (uint32_t)i, .slice = slice, .nslices = nslices};
    }
    for (size_t i = 0; i < n; i++)
        p->order[i] = i;
    qsort_r(p->order, n, sizeof *p->order, compare_work, p);
    return ST_OK;
}

status encode_plan_make(encode_plan *p, const experiment *e, comm *c) {
    *p = (encode_plan){.nitems = 0};
    status st = comm_rank(c) == 0 ? look(p, e) : ST_OK;
    TRY(comm_agree(c, st));
    st = share(p, c);
    if (st == ST_OK)
        st = cut(p, (uint64_t)e->encode.slice);
    return comm_agree(c, st);
}

void encode_plan_clear(encode_plan *p) {
    text_list_clear(&p->captures);
    text_list_clear(&p->names);
    memory_free(&p->nbytes);
    memory_free(&p->items);
    memory_free(&p->order);
}
