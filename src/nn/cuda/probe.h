/* Which CUDA devices this process could use. Built where the CUDA Toolkit is found (ND_HAVE_CUDA); the engine itself
 * computes on the CPU. */
#ifndef ND_NN_CUDA_PROBE_H
#define ND_NN_CUDA_PROBE_H

#include <stddef.h>

/* Number of devices; text becomes the first one's name and memory, or, with 0, the runtime's reason why there is none.
 */
int nn_cuda_probe(char *text, size_t nbytes);

#endif
