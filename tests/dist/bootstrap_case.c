/* One process of a bootstrap. usage: bootstrap_case alone HOW RANK SIZE SECONDS, or (under a launcher) ranks HOW SECONDS.
 * Rank 0 hands out 128 random bytes; each prints what it has in hexadecimal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "dist/bootstrap.h"

enum { ID_NBYTES = 128 };

static status run(comm *c, int argc, char **argv) {
    unsigned char id[ID_NBYTES] = {0};
    bool alone = c == NULL;
    int rank = alone ? atoi(argv[3]) : comm_rank(c);
    if (rank == 0 && getrandom(id, sizeof id, 0) != sizeof id)
        return FAIL(ST_LIBRARY, "no random bytes");
    if (alone)
        TRY(bootstrap_share(argv[2], rank, atoi(argv[4]), atof(argv[5]), id, sizeof id));
    else
        TRY(comm_agree(c, comm_bootstrap(c, strcmp(argv[2], "environment") == 0 ? NULL : argv[2], atof(argv[3]), id,
                                         sizeof id)));
    char text[2 * ID_NBYTES + 2];
    for (size_t i = 0; i < sizeof id; i++)
        snprintf(text + 2 * i, 3, "%02x", id[i]);
    strcat(text, "\n");
    fputs(text, stdout);
    return ST_OK;
}

int main(int argc, char **argv) {
    comm *c = NULL;
    if (argc != 6 && argc != 4)
        return 2;
    status st = argc == 6 ? ST_OK : comm_open(&c);
    log_setup("bootstrap_case", c ? comm_rank(c) : 0, c ? comm_size(c) : 1, false);
    if (st == ST_OK)
        st = run(c, argc, argv);
    return comm_finish(&c, st);
}
