/* Preloaded into a process of join.sh: its wall clock is CLOCK_SHIFT seconds ahead, as that of a badly set node. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *t) {
    int code = (int)syscall(SYS_clock_gettime, id, t);
    const char *shift = getenv("CLOCK_SHIFT");
    if (id == CLOCK_REALTIME && shift != NULL)
        t->tv_sec += atol(shift);
    return code;
}
