/* A thread that sleeps until it is called off, or until it is too late. See deadline.h. */
#include "dist/deadline.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"

struct deadline {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool over;
    struct timespec until; /* monotonic */
    double seconds;
    const char *what;
};

static void *wait_for_it(void *argument) {
    deadline *d = argument;
    int error = 0;
    pthread_mutex_lock(&d->mutex);
    while (!d->over && error != ETIMEDOUT)
        error = pthread_cond_timedwait(&d->changed, &d->mutex, &d->until);
    bool over = d->over;
    pthread_mutex_unlock(&d->mutex);
    if (over)
        return NULL;
    char host[256] = "", line[512];
    gethostname(host, sizeof host - 1);
    int n = snprintf(line, sizeof line,
                     "nd: error: %s (process %ld): %s has not ended after %g seconds: another rank is stopped, or "
                     "cannot be reached (comm.timeout)\n",
                     host, (long)getpid(), d->what, d->seconds);
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        _exit(1);
    _exit(1);
}

status deadline_begin(deadline **out, double seconds, const char *what) {
    deadline *d = NULL;
    pthread_condattr_t attributes;
    *out = NULL;
    TRY(NEW(1, &d));
    d->seconds = seconds;
    d->what = what;
    clock_gettime(CLOCK_MONOTONIC, &d->until);
    d->until.tv_sec += (time_t)ceil(seconds);
    pthread_mutex_init(&d->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&d->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    int error = pthread_create(&d->thread, NULL, wait_for_it, d);
    if (error != 0) {
        pthread_cond_destroy(&d->changed);
        pthread_mutex_destroy(&d->mutex);
        memory_free(&d);
        return FAIL(ST_LIBRARY, "no thread for a deadline: %s", strerror(error));
    }
    *out = d;
    return ST_OK;
}

void deadline_end(deadline **out) {
    deadline *d = *out;
    if (d == NULL)
        return;
    pthread_mutex_lock(&d->mutex);
    d->over = true;
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->mutex);
    pthread_join(d->thread, NULL);
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->mutex);
    memory_free(out);
}
