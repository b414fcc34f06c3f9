/* Choice of the level: the best of those that were built and that this processor has. Results differ between levels
 * (width of partial sums, fused multiply-add), hence between machines, never between runs. */
#include "nn/backend.h"

extern const backend cpu_backend_base;
#if defined(__x86_64__)
extern const backend cpu_backend_avx2, cpu_backend_avx512;
#endif

const backend *backend_cpu_level(int level) {
#if defined(__x86_64__)
    if (level == 2)
        return __builtin_cpu_supports("x86-64-v4") ? &cpu_backend_avx512 : NULL;
    if (level == 1)
        return __builtin_cpu_supports("x86-64-v3") ? &cpu_backend_avx2 : NULL;
#endif
    return level == 0 ? &cpu_backend_base : NULL;
}

const backend *backend_cpu(void) {
    for (int level = 2; level > 0; level--)
        if (backend_cpu_level(level) != NULL)
            return backend_cpu_level(level);
    return &cpu_backend_base;
}
