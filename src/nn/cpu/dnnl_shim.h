/* What differs between oneDNN 2.x and 3.x, for the one primitive used here: matmul with weights in a layout of the
 * library's choice, and the reorder that packs them.
 *
 * 3.x made memory descriptors opaque (created, destroyed) and merged operation descriptors into primitive descriptors.
 * Here a descriptor is always owned and given back with shim_md_free, which does nothing with 2.x. */
#ifndef ND_NN_CPU_DNNL_SHIM_H
#define ND_NN_CPU_DNNL_SHIM_H

#include <dnnl.h>
#include <dnnl_debug.h>
#include <stdbool.h>
#include <stddef.h>

typedef dnnl_memory_desc_t shim_md;

#if DNNL_VERSION_MAJOR >= 3

static inline dnnl_status_t shim_md_new(shim_md *md, dnnl_dim_t rows, dnnl_dim_t columns, dnnl_format_tag_t tag) {
    dnnl_dims_t dim = {rows, columns};
    return dnnl_memory_desc_create_with_tag(md, 2, dim, dnnl_f32, tag);
}

static inline void shim_md_free(shim_md *md) {
    if (*md != NULL)
        dnnl_memory_desc_destroy(*md);
    *md = NULL;
}

static inline dnnl_status_t shim_md_copy(shim_md *md, const_dnnl_memory_desc_t from) {
    return dnnl_memory_desc_clone(md, from);
}

static inline dnnl_status_t shim_md_of(const_dnnl_primitive_desc_t pd, dnnl_query_t what, shim_md *md) {
    return dnnl_memory_desc_clone(md, dnnl_primitive_desc_query_md(pd, what, 0));
}

static inline bool shim_md_equal(shim_md a, shim_md b) {
    return dnnl_memory_desc_equal(a, b) != 0;
}

static inline size_t shim_md_nbytes(shim_md md) {
    return dnnl_memory_desc_get_size(md);
}

static inline dnnl_status_t shim_memory_new(dnnl_memory_t *memory, shim_md md, dnnl_engine_t engine) {
    return dnnl_memory_create(memory, md, engine, DNNL_MEMORY_NONE);
}

static inline dnnl_status_t shim_matmul_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, shim_md src,
                                             shim_md weights, const shim_md *bias, shim_md dst,
                                             const_dnnl_primitive_attr_t attr) {
    return dnnl_matmul_primitive_desc_create(pd, engine, src, weights, bias == NULL ? NULL : *bias, dst, attr);
}

static inline dnnl_status_t shim_reorder_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, shim_md from,
                                              shim_md to) {
    return dnnl_reorder_primitive_desc_create(pd, from, engine, to, engine, NULL);
}

#else

static inline dnnl_status_t shim_md_new(shim_md *md, dnnl_dim_t rows, dnnl_dim_t columns, dnnl_format_tag_t tag) {
    dnnl_dims_t dim = {rows, columns};
    return dnnl_memory_desc_init_by_tag(md, 2, dim, dnnl_f32, tag);
}

static inline void shim_md_free(shim_md *md) {
    (void)md;
}

static inline dnnl_status_t shim_md_copy(shim_md *md, dnnl_memory_desc_t from) {
    *md = from;
    return dnnl_success;
}

static inline dnnl_status_t shim_md_of(const_dnnl_primitive_desc_t pd, dnnl_query_t what, shim_md *md) {
    const dnnl_memory_desc_t *found = dnnl_primitive_desc_query_md(pd, what, 0);
    if (found == NULL)
        return dnnl_runtime_error;
    *md = *found;
    return dnnl_success;
}

static inline bool shim_md_equal(shim_md a, shim_md b) {
    return dnnl_memory_desc_equal(&a, &b) != 0;
}

static inline size_t shim_md_nbytes(shim_md md) {
    return dnnl_memory_desc_get_size(&md);
}

static inline dnnl_status_t shim_memory_new(dnnl_memory_t *memory, shim_md md, dnnl_engine_t engine) {
    return dnnl_memory_create(memory, &md, engine, DNNL_MEMORY_NONE);
}

static inline dnnl_status_t shim_matmul_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, shim_md src,
                                             shim_md weights, const shim_md *bias, shim_md dst,
                                             const_dnnl_primitive_attr_t attr) {
    dnnl_matmul_desc_t d;
    dnnl_status_t st = dnnl_matmul_desc_init(&d, &src, &weights, bias, &dst);
    return st != dnnl_success ? st : dnnl_primitive_desc_create(pd, &d, attr, engine, NULL);
}

static inline dnnl_status_t shim_reorder_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, shim_md from,
                                              shim_md to) {
    return dnnl_reorder_primitive_desc_create(pd, &from, engine, &to, engine, NULL);
}

#endif
#endif
