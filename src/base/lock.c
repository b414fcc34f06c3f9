/* The lock of an output. See lock.h. */
#include "base/lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"

enum { TEXT_MAX = 1024, TRIES = 20 };

struct lock {
    int fd; /* of the file, with the flock */
    char *path;
    char token[128];
};

/* What a lock file says. */
typedef struct holder {
    char host[65], token[128], since[32], job[65];
    long pid;
    long restarts;
} holder;

static long restarts_of_job(void) {
    const char *text = getenv("SLURM_RESTART_COUNT");
    return text ? strtol(text, NULL, 10) : 0;
}

static void describe_self(holder *h) {
    *h = (holder){.pid = (long)getpid(), .restarts = restarts_of_job()};
    const char *job = getenv("SLURM_JOB_ID");
    snprintf(h->job, sizeof h->job, "%.64s", job && *job ? job : "-");
    if (gethostname(h->host, sizeof h->host - 1) != 0 || !*h->host)
        snprintf(h->host, sizeof h->host, "unknown");
    uint64_t number = 0;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (getrandom(&number, sizeof number, 0) != sizeof number)
        number = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    snprintf(h->token, sizeof h->token, "%s-%ld-%016llx", h->host, h->pid, (unsigned long long)number);
    struct tm utc;
    gmtime_r(&now.tv_sec, &utc);
    strftime(h->since, sizeof h->since, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static bool parse_holder(const char *text, holder *h) {
    *h = (holder){0};
    return sscanf(text, "host %64s\npid %ld\nsince %31s\njob %64s\nrestarts %ld\ntoken %127s\n", h->host, &h->pid,
                  h->since, h->job, &h->restarts, h->token) == 6;
}

static bool read_holder(int fd, holder *h) {
    char text[TEXT_MAX];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return parse_holder(text, h);
}

static bool same_file(int fd, const char *path) {
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* A file of its own name with the flock held, ready to be linked or renamed to the lock's. */
static status make_candidate(const char *path, const holder *h, char **candidate, int *fd) {
    *candidate = text_format("%s.%s", path, h->token);
    *fd = open(*candidate, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (*fd < 0)
        return FAIL(ST_IO, "%s: cannot create: %s", *candidate, strerror(errno));
    char text[TEXT_MAX];
    int n = snprintf(text, sizeof text, "host %s\npid %ld\nsince %s\njob %s\nrestarts %ld\ntoken %s\n", h->host, h->pid,
                     h->since, h->job, h->restarts, h->token);
    if (write(*fd, text, (size_t)n) != n || fsync(*fd) != 0)
        return FAIL(ST_IO, "%s: cannot write: %s", *candidate, strerror(errno));
    /* A file system without flock: existence alone is the lock then, and a stale one is told by its host and process.
     */
    if (flock(*fd, LOCK_EX | LOCK_NB) != 0 && errno != ENOLCK && errno != EOPNOTSUPP && errno != EINVAL)
        return FAIL(ST_IO, "%s: cannot be locked: %s", *candidate, strerror(errno));
    return ST_OK;
}

static status refuse(const char *path, const holder *was) {
    return FAIL(ST_IO, "%s: process %ld on %s has been at work here since %s; wait for it, or use another output", path,
                was->pid, was->host, was->since);
}

/* The lock exists. *again: it went away or changed meanwhile. On success the candidate has taken its place. */
static status take_over(const char *path, const holder *self, const char *candidate, bool *again) {
    holder was;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    *again = fd < 0 && errno == ENOENT;
    if (fd < 0)
        return *again ? ST_OK : FAIL(ST_IO, "%s: %s", path, strerror(errno));
    bool readable = read_holder(fd, &was);
    bool free_now = flock(fd, LOCK_EX | LOCK_NB) == 0;
    bool unsupported = !free_now && errno != EWOULDBLOCK;
    if (unsupported && readable && strcmp(was.host, self->host) == 0)
        free_now = kill(was.pid, 0) != 0 && errno == ESRCH;
    bool cut_off =
        readable && strcmp(was.job, "-") != 0 && strcmp(was.job, self->job) == 0 && was.restarts < self->restarts;
    status st = ST_OK;
    if (!same_file(fd, path))
        *again = true;
    else if (!free_now && !cut_off)
        st = readable ? refuse(path, &was) : FAIL(ST_IO, "%s: another process is at work here", path);
    else if (rename(candidate, path) != 0)
        st = FAIL(ST_IO, "%s: cannot be taken over: %s", path, strerror(errno));
    else if (readable)
        log_job("%s: taken over from process %ld on %s, which began %s and %s", path, was.pid, was.host, was.since,
                free_now ? "is gone" : "was requeued");
    close(fd); /* only now: two that find a stale lock exclude each other by its flock */
    return st;
}

static status place(const char *path, const holder *self, const char *candidate) {
    for (int i = 0; i < TRIES; i++) {
        bool again = false;
        if (link(candidate, path) == 0) {
            unlink(candidate);
            return ST_OK;
        }
        if (errno != EEXIST)
            return FAIL(ST_IO, "%s: cannot create: %s", path, strerror(errno));
        TRY(take_over(path, self, candidate, &again));
        if (!again)
            return ST_OK;
    }
    return FAIL(ST_IO, "%s: changes hands all the time", path);
}

/* Files of attempts that were killed between making one and putting it in place. One that is not held yet belongs to
 * somebody who is about to be refused. */
static void remove_candidates(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    char *folder = slash == NULL ? text_copy(".") : text_format("%.*s", (int)(slash - path) + 1, path);
    size_t n = strlen(name);
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (strncmp(entry->d_name, name, n) != 0 || entry->d_name[n] != '.')
            continue;
        char *dead = text_format("%s/%s", folder, entry->d_name);
        int fd = open(dead, O_RDWR | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlink(dead);
        if (fd >= 0)
            close(fd);
        free(dead);
    }
    if (dir != NULL)
        closedir(dir);
    free(folder);
}

status lock_take(const char *path, lock **out) {
    holder self;
    char *candidate = NULL;
    lock *l = NULL;
    *out = NULL;
    TRY(NEW(1, &l));
    l->path = text_copy(path);
    describe_self(&self);
    memcpy(l->token, self.token, sizeof l->token);
    status st = make_candidate(path, &self, &candidate, &l->fd);
    if (st == ST_OK)
        st = place(path, &self, candidate);
    if (st != ST_OK) {
        if (l->fd >= 0) {
            unlink(candidate);
            close(l->fd);
        }
        free(l->path);
        memory_free(&l);
    }
    free(candidate);
    if (st == ST_OK)
        remove_candidates(path);
    *out = l;
    return st;
}

status lock_check(const lock *l) {
    holder now = {0};
    if (l == NULL || same_file(l->fd, l->path))
        return ST_OK;
    int fd = open(l->path, O_RDONLY | O_CLOEXEC);
    bool readable = fd >= 0 && read_holder(fd, &now);
    if (fd >= 0)
        close(fd);
    if (!readable)
        return FAIL(ST_IO, "%s: the lock of this attempt is gone; nothing more is written", l->path);
    if (strcmp(now.token, l->token) == 0)
        return ST_OK; /* the file system gave the same file another number */
    return FAIL(ST_IO, "%s: process %ld on %s took this attempt's place at %s; nothing more is written", l->path,
                now.pid, now.host, now.since);
}

const char *lock_token(const lock *l) {
    return l->token;
}

void lock_release(lock **l) {
    if (*l == NULL)
        return;
    if (same_file((*l)->fd, (*l)->path))
        unlink((*l)->path);
    close((*l)->fd);
    free((*l)->path);
    memory_free(l);
}
