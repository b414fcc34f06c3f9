/*
 * wire.c: a user-space wire between two network namespaces.
 *
 *   wire NS_A IF_A NS_B IF_B [delay=MS] [jitter=MS] [loss=PERCENT] [rate=MBIT] [queue=KB] [seed=N]
 *
 * Creates TAP device IF_A in namespace NS_A and IF_B in NS_B, prints "ready", and carries frames both
 * ways until SIGTERM or SIGINT; then it prints its counters.  It stands in for "tc netem", which not
 * every kernel has.
 *
 * Each direction is a rate-limited link with a tail-drop queue, followed by a propagation delay of
 * delay +- jitter.  Frames never overtake each other.  Loss and jitter come from a seeded generator,
 * so that the n-th frame of a direction meets the same fate in every run with the same seed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS 1e6
#define NS_PER_S 1000000000ull
#define MAX_FRAME 65536
#define READ_BURST 64 /* frames taken from one side before the other gets its turn */

struct frame {
    struct frame *next;
    uint64_t due; /* when it leaves the wire, CLOCK_MONOTONIC */
    size_t len;
    unsigned char bytes[];
};

/* One direction of the wire. */
struct lane {
    int in, out;
    struct frame *head, *tail;
    uint64_t link_free; /* when the rate-limited link has sent all it holds */
    uint64_t last_due;
    uint64_t rng;
    uint64_t received, sent, lost, overflowed;
};

struct conditions {
    double delay_ms, jitter_ms, loss_percent, rate_mbit, queue_kb, seed;
};

static volatile sig_atomic_t stopping;

static void on_signal(int sig)
{
    (void)sig;
    stopping = 1;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* xorshift64: a number in [0, 1) */
static double uniform(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (double)(*state >> 11) / 9007199254740992.0;
}

/* A TAP device lives in the namespace of the thread that creates it; its descriptor works from anywhere. */
static int open_tap(const char *ns, const char *ifname, int home)
{
    char path[256];
    snprintf(path, sizeof path, "/run/netns/%s", ns);
    int ns_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (ns_fd < 0 || setns(ns_fd, CLONE_NEWNET) != 0)
        die(path);
    close(ns_fd);

    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        die("/dev/net/tun");
    struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    snprintf(req.ifr_name, sizeof req.ifr_name, "%s", ifname);
    if (ioctl(fd, TUNSETIFF, &req) != 0)
        die("TUNSETIFF");
    if (setns(home, CLONE_NEWNET) != 0)
        die("setns");
    return fd;
}

static void enqueue(struct lane *lane, const unsigned char *bytes, size_t len, uint64_t due)
{
    struct frame *f = malloc(sizeof *f + len);
    if (!f)
        die("malloc");
    f->next = NULL;
    f->due = due;
    f->len = len;
    memcpy(f->bytes, bytes, len);
    if (lane->tail)
        lane->tail->next = f;
    else
        lane->head = f;
    lane->tail = f;
}

/* Decides the fate of one frame that has just arrived. */
static void admit(struct lane *lane, const struct conditions *c, const unsigned char *bytes, size_t len)
{
    uint64_t t = now();
    lane->received++;

    /* both numbers are drawn for every frame, so that one fate does not shift the fates after it */
    double loss_draw = uniform(&lane->rng) * 100;
    double jitter_draw = uniform(&lane->rng) * 2 - 1;
    if (loss_draw < c->loss_percent) {
        lane->lost++;
        return;
    }

    uint64_t sent = t;
    if (c->rate_mbit > 0) {
        uint64_t start = lane->link_free > t ? lane->link_free : t;
        double backlog_bytes = (double)(start - t) * c->rate_mbit / 8e3;
        if (backlog_bytes > c->queue_kb * 1024) {
            lane->overflowed++;
            return;
        }
        sent = lane->link_free = start + (uint64_t)((double)len * 8e3 / c->rate_mbit);
    }

    double travel_ms = c->delay_ms + c->jitter_ms * jitter_draw;
    uint64_t due = sent + (uint64_t)((travel_ms > 0 ? travel_ms : 0) * NS_PER_MS);
    if (due < lane->last_due)
        due = lane->last_due;
    lane->last_due = due;
    enqueue(lane, bytes, len, due);
}

static void take_in(struct lane *lane, const struct conditions *c)
{
    unsigned char buf[MAX_FRAME];
    for (int i = 0; i < READ_BURST; i++) {
        ssize_t n = read(lane->in, buf, sizeof buf);
        if (n <= 0)
            return;
        admit(lane, c, buf, (size_t)n);
    }
}

static void put_out(struct lane *lane)
{
    uint64_t t = now();
    while (lane->head && lane->head->due <= t) {
        struct frame *f = lane->head;
        if (write(lane->out, f->bytes, f->len) == (ssize_t)f->len)
            lane->sent++;
        lane->head = f->next;
        if (!lane->head)
            lane->tail = NULL;
        free(f);
    }
}

static void parse(struct conditions *c, const char *arg)
{
    const struct { const char *key; double *value; } known[] = {
        {"delay=", &c->delay_ms}, {"jitter=", &c->jitter_ms}, {"loss=", &c->loss_percent},
        {"rate=", &c->rate_mbit}, {"queue=", &c->queue_kb},   {"seed=", &c->seed},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i].key);
        char *end;
        if (strncmp(arg, known[i].key, n) != 0)
            continue;
        *known[i].value = strtod(arg + n, &end);
        if (arg[n] && !*end && *known[i].value >= 0)
            return;
    }
    fprintf(stderr, "wire: cannot use '%s'\n", arg);
    exit(2);
}

int main(int argc, char **argv)
{
    struct conditions c = {.queue_kb = 256, .seed = 1};
    if (argc < 5) {
        fprintf(stderr, "usage: wire NS_A IF_A NS_B IF_B [delay=MS] [jitter=MS] [loss=PERCENT] "
                        "[rate=MBIT] [queue=KB] [seed=N]\n");
        return 2;
    }
    for (int i = 5; i < argc; i++)
        parse(&c, argv[i]);

    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (home < 0)
        die("/proc/self/ns/net");
    int a = open_tap(argv[1], argv[2], home);
    int b = open_tap(argv[3], argv[4], home);

    uint64_t seed = (uint64_t)c.seed + 1;
    struct lane lanes[2] = {
        {.in = a, .out = b, .rng = seed * 0x9E3779B97F4A7C15ull},
        {.in = b, .out = a, .rng = seed * 0xD1B54A32D192ED03ull},
    };
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 16; k++) /* small seeds start with mostly zero bits: let them mix */
            uniform(&lanes[i].rng);

    struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    puts("ready");
    fflush(stdout);

    while (!stopping) {
        uint64_t t = now(), wake = t + NS_PER_S;
        for (int i = 0; i < 2; i++)
            if (lanes[i].head && lanes[i].head->due < wake)
                wake = lanes[i].head->due;
        uint64_t wait = wake > t ? wake - t : 0;
        struct timespec timeout = {(time_t)(wait / NS_PER_S), (long)(wait % NS_PER_S)};
        struct pollfd fds[2] = {{a, POLLIN, 0}, {b, POLLIN, 0}};
        if (ppoll(fds, 2, &timeout, NULL) < 0 && errno != EINTR)
            die("ppoll");
        for (int i = 0; i < 2; i++)
            if (fds[i].revents & POLLIN)
                take_in(&lanes[i], &c);
        for (int i = 0; i < 2; i++)
            put_out(&lanes[i]);
    }

    for (int i = 0; i < 2; i++)
        printf("%s received=%llu sent=%llu lost=%llu overflowed=%llu\n", i ? "B->A" : "A->B",
               (unsigned long long)lanes[i].received, (unsigned long long)lanes[i].sent,
               (unsigned long long)lanes[i].lost, (unsigned long long)lanes[i].overflowed);
    return 0;
}
