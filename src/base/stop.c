/* The stop flag: set by signal handlers, read anywhere. */
#include "base/stop.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t requested;

static void on_signal(int number) {
    (void)number;
    requested = 1;
}

void stop_install(void) {
    /* SA_RESTART: reads and writes in progress go on; the loops of the program look at the flag. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
}

bool stop_requested(void) {
    return requested != 0;
}
