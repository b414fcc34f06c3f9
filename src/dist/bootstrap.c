/* Bootstrap by TCP or by files. See bootstrap.h.
 *
 * TCP: a peer connects and sends (magic, rank, size, nbytes); rank 0 answers with (magic, bytes). Strangers are hung up
 * on. Rank 0 is done when every rank has confirmed.
 *
 * Files: a peer writes NAME.<rank> with a random number, rank 0 answers NAME.<rank>.answer with the same number and the
 * bytes, the peer removes both. An answer to an earlier attempt has another number; rank 0 goes on answering until the
 * question is gone, so what a killed attempt left is harmless. */
#include "dist/bootstrap.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"

enum { STRANGER_SECONDS = 2, POLL_NANOSECONDS = 20000000 };
static const uint64_t MAGIC = 0x6e642d626f6f7431;

typedef struct hello {
    uint64_t magic;
    uint64_t rank, size, nbytes; /* or, in files, rank and a random number */
} hello;

static void nap(void) {
    nanosleep(&(struct timespec){.tv_nsec = POLL_NANOSECONDS}, NULL);
}

/* ---- TCP ---- */

static status split_address(const char *how, char host[256], char port[16]) {
    const char *at = how + strlen("tcp://"), *colon = strrchr(at, ':');
    size_t n = colon == NULL ? 0 : (size_t)(colon - at);
    if (n == 0 || n >= 256 || colon[1] == '\0' || strlen(colon + 1) >= 16)
        return FAIL(ST_USAGE, "bootstrap '%s': tcp://HOST:PORT is wanted", how);
    memcpy(host, at, n);
    host[n] = '\0';
    strcpy(port, colon + 1);
    return ST_OK;
}

/* All of it or failure, until the time is over. */
static bool send_all(int fd, const void *bytes, size_t nbytes, double until) {
    const char *at = bytes;
    while (nbytes > 0) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        double left = until - time_seconds();
        if (left <= 0 || poll(&p, 1, (int)(left * 1000) + 1) <= 0)
            return false;
        ssize_t n = send(fd, at, nbytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        at += n > 0 ? n : 0;
        nbytes -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

static bool receive_all(int fd, void *bytes, size_t nbytes, double until) {
    char *at = bytes;
    while (nbytes > 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        double left = until - time_seconds();
        if (left <= 0 || poll(&p, 1, (int)(left * 1000) + 1) <= 0)
            return false;
        ssize_t n = recv(fd, at, nbytes, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        at += n > 0 ? n : 0;
        nbytes -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* A socket that listens on the port, on any of this host's addresses: HOST may be a name that only others resolve to
 * the right one. */
static status listen_on(const char *port, int *fd) {
    struct addrinfo wanted = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list;
    int error = getaddrinfo(NULL, port, &wanted, &list), on = 1, failure = 0;
    *fd = -1;
    if (error != 0)
        return FAIL(ST_USAGE, "bootstrap: port '%s': %s", port, gai_strerror(error));
    for (int family = AF_INET6; *fd < 0; family = AF_INET) { /* an IPv6 socket takes IPv4 as well */
        for (struct addrinfo *a = list; a != NULL && *fd < 0; a = a->ai_next) {
            if (a->ai_family != family)
                continue;
            *fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
            int off = 0;
            if (*fd >= 0 &&
                (setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
                 (family == AF_INET6 && setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0) ||
                 bind(*fd, a->ai_addr, a->ai_addrlen) != 0 || listen(*fd, 128) != 0)) {
                failure = errno;
                close(*fd);
                *fd = -1;
            }
        }
        if (family == AF_INET)
            break;
    }
    freeaddrinfo(list);
    return *fd >= 0 ? ST_OK : FAIL(ST_COMM, "bootstrap: cannot listen on port %s: %s", port, strerror(failure));
}

/* One connection: a peer that is not served yet gets the bytes and confirms. */
static int serve_peer(int fd, int size, const void *bytes, size_t nbytes, const bool *served, double until) {
    hello h;
    double soon = time_seconds() + STRANGER_SECONDS;
    char confirmed = 0;
    until = until < soon ? until : soon;
    if (!receive_all(fd, &h, sizeof h, until) || h.magic != MAGIC || h.size != (uint64_t)size || h.nbytes != nbytes ||
        h.rank == 0 || h.rank >= (uint64_t)size || served[h.rank])
        return 0;
    if (!send_all(fd, &MAGIC, sizeof MAGIC, until) || !send_all(fd, bytes, nbytes, until) ||
        !receive_all(fd, &confirmed, 1, until))
        return 0;
    return (int)h.rank;
}

static status serve_by_tcp(const char *port, int size, double until, const void *bytes, size_t nbytes) {
    bool *served = NULL;
    int fd, left = size - 1;
    TRY(NEW((size_t)size, &served));
    status st = listen_on(port, &fd);
    while (st == ST_OK && left > 0 && time_seconds() < until) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 100) <= 0)
            continue;
        int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        int rank = peer >= 0 ? serve_peer(peer, size, bytes, nbytes, served, until) : 0;
        if (peer >= 0)
            close(peer);
        left -= rank > 0;
        served[rank] = rank > 0;
    }
    for (int r = 1; st == ST_OK && left > 0 && r < size; r++)
        if (!served[r])
            st = FAIL(ST_COMM, "bootstrap: rank %d and %d others have not come to port %s in time", r, left - 1, port);
    if (fd >= 0)
        close(fd);
    memory_free(&served);
    return st;
}

/* Connect without waiting longer than the time that is left. */
static int connect_to(const struct addrinfo *a, double until) {
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol), error = 0;
    socklen_t n = sizeof error;
    if (fd < 0)
        return -1;
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
        return fd;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    double left = until - time_seconds();
    if (errno == EINPROGRESS && left > 0 && poll(&p, 1, (int)(left * 1000) + 1) == 1 &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 && error == 0)
        return fd;
    close(fd);
    return -1;
}

static bool ask_by_tcp(int fd, const hello *h, double until, void *bytes) {
    uint64_t magic = 0;
    return send_all(fd, h, sizeof *h, until) && receive_all(fd, &magic, sizeof magic, until) && magic == MAGIC &&
           receive_all(fd, bytes, h->nbytes, until) && send_all(fd, "!", 1, until);
}

static status fetch_by_tcp(const char *host, const char *port, const hello *h, double until, void *bytes) {
    struct addrinfo wanted = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int error = 0;
    while (time_seconds() < until) { /* rank 0 may come later, and so may its name */
        struct addrinfo *list = NULL;
        error = getaddrinfo(host, port, &wanted, &list);
        for (struct addrinfo *a = error == 0 ? list : NULL; a != NULL; a = a->ai_next) {
            int fd = connect_to(a, until);
            bool got = fd >= 0 && ask_by_tcp(fd, h, until, bytes);
            if (fd >= 0)
                close(fd);
            if (got) {
                freeaddrinfo(list);
                return ST_OK;
            }
        }
        if (error == 0)
            freeaddrinfo(list);
        nap();
    }
    return FAIL(ST_COMM, "bootstrap: rank 0 does not answer at %s:%s%s%s", host, port, error == 0 ? "" : ": ",
                error == 0 ? "" : gai_strerror(error));
}

/* ---- Files ---- */

typedef struct answer {
    hello to;
    unsigned char bytes[BOOTSTRAP_MAX];
} answer;

static bool read_exactly(const char *path, void *to, size_t nbytes) {
    char *text = NULL;
    size_t n = 0;
    bool good = file_exists(path) && file_read(path, nbytes, &text, &n) == ST_OK && n == nbytes;
    if (good)
        memcpy(to, text, nbytes);
    free(text);
    return good;
}

/* Answer rank's question if it is there. *done: it was answered and has gone. */
static status answer_file(const char *path, int rank, const void *bytes, size_t nbytes, hello *last, bool *done) {
    char *question = text_format("%s.%d", path, rank), *reply = text_format("%s.answer", question);
    hello h = {0};
    status st = ST_OK;
    answer a = {0};
    if (!file_exists(question)) {
        *done = last->magic == MAGIC;
    } else if (read_exactly(question, &h, sizeof h) && h.magic == MAGIC && memcmp(&h, last, sizeof h) != 0) {
        a.to = h;
        memcpy(a.bytes, bytes, nbytes);
        st = file_write(reply, &a, sizeof h + nbytes);
        *last = h;
    }
    free(reply);
    free(question);
    return st;
}

static status serve_by_file(const char *path, int size, double until, const void *bytes, size_t nbytes) {
    hello *last = NULL;
    bool *done = NULL;
    int left = size - 1;
    status st;
    TRY_TO(end, NEW((size_t)size, &last));
    TRY_TO(end, NEW((size_t)size, &done));
    while (left > 0 && time_seconds() < until) {
        for (int r = 1; r < size; r++) {
            if (done[r])
                continue;
            TRY_TO(end, answer_file(path, r, bytes, nbytes, &last[r], &done[r]));
            left -= done[r];
        }
        if (left > 0)
            nap();
    }
    for (int r = 1; left > 0 && r < size && st == ST_OK; r++)
        if (!done[r])
            st = FAIL(ST_COMM, "bootstrap: rank %d and %d others have not come to %s in time", r, left - 1, path);
end:
    memory_free(&last);
    memory_free(&done);
    return st;
}

static status fetch_by_file(const char *path, int rank, double until, void *bytes, size_t nbytes) {
    hello h = {.magic = MAGIC, .rank = (uint64_t)rank};
    answer a;
    uint64_t number[2];
    if (getrandom(number, sizeof number, 0) != sizeof number)
        return FAIL(ST_LIBRARY, "bootstrap: no random number: %s", strerror(errno));
    h.size = number[0];
    h.nbytes = number[1];
    char *question = text_format("%s.%d", path, rank), *reply = text_format("%s.answer", question);
    status st = file_write(question, &h, sizeof h);
    bool got = false;
    while (st == ST_OK && !got && time_seconds() < until) {
        got = read_exactly(reply, &a, sizeof h + nbytes) && memcmp(&a.to, &h, sizeof h) == 0;
        if (!got)
            nap();
    }
    if (got)
        memcpy(bytes, a.bytes, nbytes);
    else if (st == ST_OK)
        st = FAIL(ST_COMM, "bootstrap: rank 0 does not answer at %s", path);
    unlink(reply); /* before the question: once that is gone, rank 0 may leave */
    unlink(question);
    free(reply);
    free(question);
    return st;
}

/* ---- Choice ---- */

static bool starts_with(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

status bootstrap_share(const char *how, int rank, int size, double seconds, void *bytes, size_t nbytes) {
    double until = time_seconds() + seconds;
    ASSERT(nbytes <= BOOTSTRAP_MAX && rank >= 0 && rank < size);
    if (starts_with(how, "tcp://")) {
        char host[256], port[16];
        TRY(split_address(how, host, port));
        if (size == 1)
            return ST_OK;
        hello h = {MAGIC, (uint64_t)rank, (uint64_t)size, nbytes};
        return rank == 0 ? serve_by_tcp(port, size, until, bytes, nbytes) : fetch_by_tcp(host, port, &h, until, bytes);
    }
    if (starts_with(how, "file:///")) {
        const char *path = how + strlen("file://");
        if (size == 1)
            return ST_OK;
        return rank == 0 ? serve_by_file(path, size, until, bytes, nbytes)
                         : fetch_by_file(path, rank, until, bytes, nbytes);
    }
    return FAIL(ST_USAGE, "bootstrap '%s': mpi, tcp://HOST:PORT or file:///PATH is wanted", how);
}

status comm_bootstrap(comm *c, const char *how, double seconds, void *bytes, size_t nbytes) {
    if (how == NULL)
        how = getenv("ND_BOOTSTRAP");
    if (how == NULL || *how == '\0' || strcmp(how, "mpi") == 0)
        return comm_broadcast(c, bytes, nbytes, 0);
    return bootstrap_share(how, comm_rank(c), comm_size(c), seconds, bytes, nbytes);
}
