/* A file with a name of its own, put into the folder by rank 0 and looked for by all others. See shared.h. */
#include "dist/shared.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

/* A name that nobody has asked for before cannot be in a client's cache; still, some file systems take a moment. */
enum { LOOKS = 20, PAUSE_NS = 100000000 };

typedef struct token {
    uint64_t number;
    char host[65];
} token;

static token token_new(void) {
    token t = {.number = 0};
    if (getrandom(&t.number, sizeof t.number, GRND_NONBLOCK) != (ssize_t)sizeof t.number) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        t.number = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    }
    gethostname(t.host, sizeof t.host - 1);
    return t;
}

static status look_for(const char *path, const char *folder, const char *first_host) {
    char host[65] = "unknown";
    for (int i = 0; i < LOOKS; i++) {
        if (file_exists(path))
            return ST_OK;
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
    }
    gethostname(host, sizeof host - 1);
    return FAIL(ST_IO,
                "%s on %s is not the folder that rank 0 on %s has under this name: all ranks need one file system",
                folder, host, first_host);
}

status comm_check_shared(comm *c, const char *folder) {
    bool first = comm_rank(c) == 0;
    token t = token_new();
    if (comm_size(c) == 1)
        return ST_OK;
    TRY(comm_broadcast(c, &t, sizeof t, 0));
    char *path = text_format("%s/shared-%016" PRIx64, folder, t.number);
    status st = comm_agree(c, first ? file_write(path, "", 0) : ST_OK);
    if (!st)
        st = comm_agree(c, first ? ST_OK : look_for(path, folder, t.host));
    if (first)
        unlink(path);
    free(path);
    return st;
}
