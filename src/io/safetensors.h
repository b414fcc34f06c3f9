/* safetensors files (float32 only is written; F32, F16 and BF16 are read as float). Local.
 * Format: 8-byte little-endian header length, JSON header, tensor bytes. Everything read is bounds-checked. */
#ifndef ND_IO_SAFETENSORS_H
#define ND_IO_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>
#include "base/config.h"
#include "base/status.h"

typedef struct safetensor {
    const char *name;
    int ndim;
    size_t dim[8];
    const float *data;
} safetensor;

/* Atomic. Tensors are written in the order given; metadata (string -> string) may be NULL. */
status safetensors_write(const char *path, const safetensor *tensors, size_t n, const text_map *metadata);

typedef struct safetensors safetensors;
status safetensors_open(safetensors **s, const char *path);
size_t safetensors_count(const safetensors *s);
const safetensor *safetensors_get(const safetensors *s, size_t i);
const safetensor *safetensors_find(const safetensors *s, const char *name); /* NULL if absent */
const char *safetensors_metadata(const safetensors *s, const char *key);    /* NULL if absent */
void safetensors_close(safetensors **s);

#endif
