/* The request to stop is a blocked signal that is pending: nothing is ever interrupted.
 *
 * A handler would run on the stack of whatever it interrupts. The packing kernels of oneDNN's sgemm keep data below
 * the stack pointer, outside the red zone that the kernel spares: a handler's frame overwrites it, and the heap with
 * it (oneDNN 2.6.3; tests/nn/test_sessions.c). */
#include "base/stop.h"

#include <signal.h>
#include <stddef.h>

void stop_install(void) {
    sigset_t asked;
    sigemptyset(&asked);
    sigaddset(&asked, SIGTERM);
    sigaddset(&asked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &asked, NULL);
}

bool stop_requested(void) {
    sigset_t pending;
    return sigpending(&pending) == 0 && (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGUSR1) == 1);
}
