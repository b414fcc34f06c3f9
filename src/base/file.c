/* Files: atomic replacement, paths, whole-file reads. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_NBYTES = 1 << 16 };

static char *text_format_list(const char *format, va_list arguments) {
    char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0) {
        fputs("nd: out of memory for a text\n", stderr);
        abort();
    }
    return text;
}

char *text_format(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = text_format_list(format, arguments);
    va_end(arguments);
    return text;
}

char *text_copy(const char *s) {
    return text_format("%s", s);
}

char *file_part_name(const char *path) {
    return text_format("%s.part-%ld", path, (long)getpid());
}

status file_begin(file_writer *w, const char *path) {
    *w = (file_writer){.path = text_copy(path), .part = file_part_name(path)};
    w->stream = fopen(w->part, "wbe");
    if (w->stream)
        return ST_OK;
    int error = errno;
    file_abandon(w);
    return FAIL(ST_IO, "%s: cannot create: %s", path, strerror(error));
}

void file_abandon(file_writer *w) {
    if (w->stream) {
        fclose(w->stream);
        unlink(w->part);
    }
    free(w->path);
    free(w->part);
    *w = (file_writer){0};
}

/* Some file systems refuse to sync a folder: then there is nothing to be done, and no reason to fail. */
status file_sync_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return ST_OK;
    status st = ST_OK;
    if (fsync(fd) != 0 && errno == EIO)
        st = FAIL(ST_IO, "%s: cannot sync the folder: %s", path, strerror(errno));
    close(fd);
    return st;
}

/* A new name lasts through a power cut only when the folder that it stands in is synced too. */
static status sync_folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = !slash          ? text_copy(".")
                   : slash == path ? text_copy("/")
                                   : text_format("%.*s", (int)(slash - path), path);
    status st = file_sync_folder(folder);
    free(folder);
    return st;
}

static status rename_and_sync(const char *part, const char *path) {
    if (rename(part, path) != 0)
        return FAIL(ST_IO, "%s: cannot put the finished file in place: %s", path, strerror(errno));
    return sync_folder_of(path);
}

/* Why an earlier write failed, which ferror does not keep: ask again. The file is going to be removed anyway. */
static int reason_of_failed_write(int fd) {
    static const char probe[4096];
    return write(fd, probe, sizeof probe) < 0 ? errno : EIO;
}

/* 0, or the errno of what went wrong since the stream was opened. */
static int finish_stream(FILE *stream) {
    int error = 0;
    if (ferror(stream))
        error = reason_of_failed_write(fileno(stream));
    else if (fflush(stream) != 0 || fsync(fileno(stream)) != 0)
        error = errno;
    if (fclose(stream) != 0 && !error)
        error = errno;
    return error;
}

status file_commit(file_writer *w) {
    ASSERT(w->stream);
    int error = finish_stream(w->stream);
    w->stream = NULL;
    status st =
        error ? FAIL(ST_IO, "%s: cannot write: %s", w->path, strerror(error)) : rename_and_sync(w->part, w->path);
    if (st != ST_OK)
        unlink(w->part);
    free(w->path);
    free(w->part);
    *w = (file_writer){0};
    return st;
}

status file_publish(const char *part, const char *path) {
    int fd = open(part, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return FAIL(ST_IO, "%s: cannot open: %s", part, strerror(errno));
    int failed = fsync(fd);
    int error = errno;
    close(fd);
    if (failed)
        return FAIL(ST_IO, "%s: cannot write: %s", part, strerror(error));
    return rename_and_sync(part, path);
}

/* Appends everything to *bytes; on error the caller frees what there is. */
static status read_all(FILE *stream, const char *path, size_t limit, char **bytes, size_t *nbytes) {
    size_t capacity = 0;
    for (;;) {
        if (capacity - *nbytes < READ_NBYTES + 1) {
            capacity = capacity < READ_NBYTES ? 2 * (READ_NBYTES + 1) : 2 * capacity;
            char *grown = realloc(*bytes, capacity);
            if (!grown)
                return FAIL(ST_MEMORY, "%s: no memory for %zu bytes", path, capacity);
            *bytes = grown;
        }
        size_t n = fread(*bytes + *nbytes, 1, READ_NBYTES, stream);
        *nbytes += n;
        if (*nbytes > limit)
            return FAIL(ST_RANGE, "%s: larger than the limit of %zu bytes", path, limit);
        if (n < READ_NBYTES && ferror(stream))
            return FAIL(ST_IO, "%s: cannot read: %s", path, strerror(errno));
        if (n == 0 && feof(stream))
            break;
    }
    (*bytes)[*nbytes] = 0;
    return ST_OK;
}

status file_read(const char *path, size_t limit, char **bytes, size_t *nbytes) {
    *bytes = NULL;
    *nbytes = 0;
    FILE *stream = fopen(path, "rbe");
    if (!stream)
        return FAIL(ST_IO, "%s: cannot open: %s", path, strerror(errno));
    status st = read_all(stream, path, limit, bytes, nbytes);
    fclose(stream);
    if (st != ST_OK) {
        free(*bytes);
        *bytes = NULL;
        *nbytes = 0;
    }
    return st;
}

status file_write(const char *path, const void *bytes, size_t nbytes) {
    file_writer w;
    TRY(file_begin(&w, path));
    /* A short write leaves ferror set, which the commit reports. */
    if (nbytes)
        fwrite(bytes, 1, nbytes, w.stream);
    return file_commit(&w);
}

status file_make_folders(const char *path) {
    char *partial = text_copy(path);
    status st = ST_OK;
    for (char *end = partial;;) {
        end += strspn(end, "/");
        end += strcspn(end, "/");
        char kept = *end;
        *end = 0;
        /* Another rank may make the same folder at the same moment. */
        struct stat info;
        bool made = *partial && mkdir(partial, 0777) == 0;
        int error = errno;
        if (made)
            st = sync_folder_of(partial);
        else if (*partial && !(stat(partial, &info) == 0 && S_ISDIR(info.st_mode)))
            st = FAIL(ST_IO, "%s: cannot make the folder: %s", partial, strerror(error));
        if (st != ST_OK)
            break;
        *end = kept;
        if (!kept)
            break;
    }
    free(partial);
    return st;
}

bool file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

status file_size(const char *path, uint64_t *nbytes) {
    struct stat info;
    *nbytes = 0;
    if (stat(path, &info) != 0)
        return FAIL(ST_IO, "%s: cannot open: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return FAIL(ST_IO, "%s: not a regular file", path);
    *nbytes = (uint64_t)info.st_size;
    return ST_OK;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place) {
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

status file_remove_tree(const char *path) {
    if (!*path || strspn(path, "/") == strlen(path))
        return FAIL(ST_USAGE, "'%s' is no folder to remove", path);
    struct stat info;
    if (lstat(path, &info) != 0 && errno == ENOENT)
        return ST_OK;
    if (nftw(path, remove_entry, 32, FTW_DEPTH | FTW_PHYS) != 0)
        return FAIL(ST_IO, "%s: cannot remove: %s", path, strerror(errno));
    return ST_OK;
}

struct sha256_state {
    EVP_MD_CTX *context;
};

status sha256_new(sha256_state **out) {
    sha256_state *s = calloc(1, sizeof *s);
    *out = s;
    if (s && (s->context = EVP_MD_CTX_new()) && EVP_DigestInit_ex(s->context, EVP_sha256(), NULL) == 1)
        return ST_OK;
    sha256_free(out);
    return FAIL(ST_LIBRARY, "libcrypto offers no SHA-256");
}

status sha256_add(sha256_state *s, const void *bytes, size_t nbytes) {
    return EVP_DigestUpdate(s->context, bytes, nbytes) == 1 ? ST_OK : FAIL(ST_LIBRARY, "SHA-256 failed");
}

status sha256_end(sha256_state **s, char hex[65]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_nbytes = 0;
    bool good = EVP_DigestFinal_ex((*s)->context, digest, &digest_nbytes) == 1 && digest_nbytes == 32;
    sha256_free(s);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", good ? digest[i] : 0);
    return good ? ST_OK : FAIL(ST_LIBRARY, "SHA-256 failed");
}

void sha256_free(sha256_state **s) {
    if (*s)
        EVP_MD_CTX_free((*s)->context);
    free(*s);
    *s = NULL;
}

status file_sha256(const char *path, char hex[65]) {
    unsigned char buffer[READ_NBYTES];
    sha256_state *s = NULL;
    size_t n;
    hex[0] = 0;
    FILE *stream = fopen(path, "rbe");
    if (!stream)
        return FAIL(ST_IO, "%s: cannot open: %s", path, strerror(errno));
    status st = sha256_new(&s);
    while (st == ST_OK && (n = fread(buffer, 1, sizeof buffer, stream)) > 0)
        st = sha256_add(s, buffer, n);
    if (st == ST_OK && ferror(stream))
        st = FAIL(ST_IO, "%s: cannot read: %s", path, strerror(errno));
    if (st == ST_OK)
        st = sha256_end(&s, hex);
    sha256_free(&s);
    fclose(stream);
    return st;
}

char *file_label_name(const char *label) {
    enum { LONGEST = 100 };
    char name[LONGEST + 1];
    size_t n = 0;
    bool changed = *label == 0 || *label == '.' || strcmp(label, "all") == 0 || strlen(label) > LONGEST;
    uint32_t number = 2166136261u; /* FNV-1a */
    for (const char *c = label; *c; c++)
        number = (number ^ (unsigned char)*c) * 16777619u;
    for (; label[n] && n < LONGEST; n++) {
        bool plain = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", label[n]) != NULL;
        name[n] = label[n];
        if (!plain || (n == 0 && label[n] == '.'))
            name[n] = '_';
        changed = changed || !plain;
    }
    name[n] = 0;
    return changed ? text_format("%s-%08x", name, number) : text_copy(name);
}
