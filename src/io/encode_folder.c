/* The folder of the parts: whose it is, what of an earlier run stays in it, and how ranks tell each other something.
 *
 * What all parts depend on beside their captures is the text in `identity`: where it differs, all are thrown away. A
 * lock (base/lock.h) keeps two runs apart; it lies beside the dataset, since the folder comes and goes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "base/stop.h"
#include "io/encode_priv.h"

enum { IDENTITY_LIMIT = 1 << 28 };

static char *in_folder(const char *folder, const char *name) {
    return text_format("%s/%s", folder, name);
}

/* Does the name belong to a finished file? Others are what a killed run was writing. */
static bool is_finished(const char *name) {
    static const char *const kept[] = {"*.rows", "*.packets", "*.raw",   "*.pass",
                                       "*.mark", "*.chunks",  "*.index", "identity"};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (fnmatch(kept[i], name, 0) == 0)
            return true;
    return false;
}

static status remove_files(const char *folder, bool all) {
    DIR *d = opendir(folder);
    if (d == NULL)
        return FAIL(ST_IO, "%s: %s", folder, strerror(errno));
    status st = ST_OK;
    for (struct dirent *entry; st == ST_OK && (entry = readdir(d)) != NULL;) {
        const char *name = entry->d_name;
        if (name[0] == '.' || (!all && is_finished(name)))
            continue;
        char *path = in_folder(folder, name);
        if (unlink(path) != 0 && errno != ENOENT)
            st = FAIL(ST_IO, "%s: cannot remove: %s", path, strerror(errno));
        free(path);
    }
    closedir(d);
    return st;
}

static status same_identity(const char *path, const char *identity, bool *same) {
    char *text = NULL;
    size_t nbytes;
    *same = false;
    if (!file_exists(path))
        return ST_OK;
    TRY(file_read(path, IDENTITY_LIMIT, &text, &nbytes));
    *same = nbytes == strlen(identity) && memcmp(text, identity, nbytes) == 0;
    free(text);
    return ST_OK;
}

/* Local to rank 0, which has the lock. */
static status take(const char *folder, const char *identity) {
    char *path = in_folder(folder, "identity");
    bool same = false;
    status st = file_make_folders(folder);
    if (st == ST_OK)
        st = same_identity(path, identity, &same);
    if (st == ST_OK)
        st = remove_files(folder, !same);
    if (st == ST_OK && !same)
        st = file_write(path, identity, strlen(identity));
    free(path);
    return st;
}

status encode_folder_open(const char *folder, const char *lock_path, const char *identity, lock **l) {
    const char *slash = strrchr(lock_path, '/');
    char *parent = slash != NULL ? text_format("%.*s", (int)(slash - lock_path) + 1, lock_path) : text_copy(".");
    status st = file_make_folders(parent);
    free(parent);
    TRY(st);
    TRY(lock_take(lock_path, l));
    return take(folder, identity);
}

void encode_folder_close(const char *folder, lock **l, bool keep) {
    if (*l == NULL) /* another's */
        return;
    char *message = text_copy(status_message());
    if (lock_check(*l) == ST_OK && (keep ? remove_files(folder, false) : file_remove_tree(folder)) != ST_OK)
        log_warn("%s: could not be removed", folder);
    lock_release(l);
    status_set_message(message);
    free(message);
}

bool encode_folder_has_pass(const char *folder) {
    DIR *d = opendir(folder);
    bool has = false;
    for (struct dirent *entry; d != NULL && !has && (entry = readdir(d)) != NULL;)
        has = fnmatch("*.pass", entry->d_name, 0) == 0;
    if (d != NULL)
        closedir(d);
    return has;
}

void encode_remove_unfinished(const char *path) {
    static const char suffix[] = ".part-";
    const char *name = base_name(path);
    size_t n = strlen(name);
    char *folder = name > path ? text_format("%.*s", (int)(name - path), path) : text_copy(".");
    DIR *d = opendir(folder);
    for (struct dirent *entry; d != NULL && (entry = readdir(d)) != NULL;) {
        const char *found = entry->d_name;
        if (strncmp(found, name, n) != 0 || strncmp(found + n, suffix, sizeof suffix - 1) != 0)
            continue;
        char *dead = in_folder(folder, found);
        unlink(dead);
        free(dead);
    }
    if (d != NULL)
        closedir(d);
    free(folder);
}

/* --- what ranks tell each other --- */

static char *signal_name(const char *folder, uint64_t attempt, const char *what, uint32_t file) {
    return text_format("%s/%s-%u-%016" PRIx64, folder, what, file, attempt);
}

/* Several ranks may do so at the same moment, so the file is made in place: it is empty, and nobody's to take away. */
status encode_signal_give(const char *folder, uint64_t attempt, const char *what, uint32_t file) {
    char *name = signal_name(folder, attempt, what, file);
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    status st = fd >= 0 ? ST_OK : FAIL(ST_IO, "%s: cannot be made: %s", name, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(name);
    return st;
}

bool encode_signal_given(const char *folder, uint64_t attempt, const char *what, uint32_t file) {
    char *name = signal_name(folder, attempt, what, file);
    bool given = file_exists(name);
    free(name);
    return given;
}

status encode_check_stop(const char *folder) {
    if (!stop_requested())
        return ST_OK;
    return FAIL(ST_STOPPED, "stopped on request; the same command goes on with what is whole in %s", folder);
}
