/* The background writer of checkpoints. See writer.h. */
#include "train/writer.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "train/weights.h"

enum { MESSAGE_NBYTES = 1024 };

struct writer {
    checkpoint copy; /* its blocks lie in `blocks` */
    train_state state;
    float *blocks;
    char *folder;
    pthread_t thread;
    bool running; /* to be joined */
    atomic_bool busy;
    atomic_int failed; /* a status; the message is complete when it is set */
    char message[MESSAGE_NBYTES];
};

status writer_new(const checkpoint *k, const char *folder, writer **out) {
    writer *w = NULL;
    size_t n = k->p->ntrained;
    *out = NULL;
    TRY(NEW(1, &w));
    status st = NEW((k->best != NULL ? 5 : 4) * n, &w->blocks);
    if (st != ST_OK) {
        memory_free(&w);
        return st;
    }
    w->copy = *k;
    w->copy.weights = w->blocks;
    w->copy.m = w->blocks + n;
    w->copy.v = w->blocks + 2 * n;
    w->copy.average = w->blocks + 3 * n;
    w->copy.best = k->best != NULL ? w->blocks + 4 * n : NULL;
    w->copy.state = &w->state;
    w->folder = text_copy(folder);
    *out = w;
    return ST_OK;
}

static void keep_failure(writer *w, status st) {
    if (st == ST_OK)
        return;
    snprintf(w->message, sizeof w->message, "%s", status_message());
    atomic_store(&w->failed, (int)st);
}

static void *write_copy(void *argument) {
    writer *w = argument;
    keep_failure(w, checkpoint_write(&w->copy, w->folder));
    atomic_store(&w->busy, false);
    return NULL;
}

bool writer_is_busy(writer *w) {
    return atomic_load(&w->busy);
}

status writer_status(writer *w) {
    status st = w == NULL ? ST_OK : (status)atomic_load(&w->failed);
    if (st != ST_OK)
        status_set_message(w->message);
    return st;
}

status writer_wait(writer *w) {
    if (w != NULL && w->running)
        pthread_join(w->thread, NULL);
    if (w != NULL)
        w->running = false;
    return writer_status(w);
}

void writer_start(writer *w, const checkpoint *k) {
    size_t nbytes = k->p->ntrained * sizeof(float);
    sigset_t all, before;
    if (writer_wait(w) != ST_OK)
        return;
    weights_get(k->p, w->copy.weights);
    memcpy(w->copy.m, k->m, nbytes);
    memcpy(w->copy.v, k->v, nbytes);
    memcpy(w->copy.average, k->average, nbytes);
    if (k->best != NULL)
        memcpy(w->copy.best, k->best, nbytes);
    w->state = *k->state;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    atomic_store(&w->busy, true);
    int error = pthread_create(&w->thread, NULL, write_copy, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    w->running = error == 0;
    if (error == 0)
        return;
    atomic_store(&w->busy, false);
    keep_failure(w, FAIL(ST_LIBRARY, "no thread to write a checkpoint: %s", strerror(error)));
}

void writer_free(writer **w) {
    if (*w == NULL)
        return;
    (void)writer_wait(*w);
    memory_free(&(*w)->blocks);
    free((*w)->folder);
    memory_free(w);
}
