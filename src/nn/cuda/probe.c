/* Device probe with the CUDA runtime, linked statically: without a driver it answers with an error instead of failing
 * to load. */
#include "nn/cuda/probe.h"
#include <cuda_runtime_api.h>
#include <stdio.h>

int nn_cuda_probe(char *text, size_t nbytes) {
    int n = 0;
    struct cudaDeviceProp device;
    cudaError_t error = cudaGetDeviceCount(&n);
    if (error == cudaSuccess && n > 0)
        error = cudaGetDeviceProperties(&device, 0);
    if (error != cudaSuccess || n == 0) {
        snprintf(text, nbytes, "%s", error != cudaSuccess ? cudaGetErrorString(error) : "no device");
        return 0;
    }
    snprintf(text, nbytes, "%s, %zu MiB, compute capability %d.%d", device.name, device.totalGlobalMem >> 20,
             device.major, device.minor);
    return n;
}
