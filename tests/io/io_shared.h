/* The captures outside the project: their folder, or a skip that says why. */
#ifndef ND_TESTS_IO_SHARED_H
#define ND_TESTS_IO_SHARED_H

#include <stdio.h>
#include <stdlib.h>
#include "base/file.h"

/* malloc'ed path of `name` below the shared folder; NULL, with the reason printed, where it is absent. */
static inline char *io_shared(const char *name) {
    const char *shared = getenv("ND_SHARED");
    char *path = text_format("%s/%s", shared != NULL ? shared : "", name);
    if (shared != NULL && file_exists(path))
        return path;
    print_message("skipped: %s is not there (ND_SHARED names the folder of shared captures)\n", path);
    free(path);
    return NULL;
}

#endif
