/* Files: atomic replacement, paths, whole-file reads. Local (not collective). */
#ifndef ND_BASE_FILE_H
#define ND_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "base/status.h"

/* A file that appears whole or not at all: written as PATH.part-PID, then fsync, rename, fsync of the folder.
 *
 *     file_writer w;
 *     TRY(file_begin(&w, path));
 *     ... fprintf(w.stream, ...), or any library writing to w.part ...
 *     TRY(file_commit(&w));       or file_abandon(&w) after an error
 * commit checks ferror, so that a full disk is an error that names the file. */
typedef struct file_writer {
    FILE *stream;
    char *path, *part;
} file_writer;

status file_begin(file_writer *w, const char *path);
status file_commit(file_writer *w);
void file_abandon(file_writer *w);

/* Path of the temporary name that a library should write for `path` (malloc, caller frees), and the rename with fsync
 * that publishes it. */
char *file_part_name(const char *path);
status file_publish(const char *part, const char *path);

/* Read all bytes (NUL added after them, not counted). Caller frees with free(). Files above `limit` bytes are ST_RANGE.
 */
status file_read(const char *path, size_t limit, char **bytes, size_t *nbytes);
/* Write all bytes atomically. */
status file_write(const char *path, const void *bytes, size_t nbytes);

status file_make_folders(const char *path); /* mkdir -p; synced as below */
/* Make the names in a folder last through a power cut. */
status file_sync_folder(const char *path);
bool file_exists(const char *path);
status file_size(const char *path, uint64_t *nbytes);
/* rm -r; links are removed, not followed. A path that does not exist is fine. */
status file_remove_tree(const char *path);
/* printf into a fresh string: paths above all. Caller frees. Never NULL (aborts when memory is out). */
char *text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *text_copy(const char *s);

/* A label as the name of a file (no folder, no suffix; malloc, caller frees): letters, digits, '-', '_' and '.' stay,
 * and whatever else it holds, a name too long, one that starts with '.' or "all" (the capture of all labels) is changed
 * and told apart by a number made from the label. */
char *file_label_name(const char *label);

/* SHA-256 of a file, as 64 hex digits and NUL. */
status file_sha256(const char *path, char hex[65]);

/* SHA-256 of bytes that come piece by piece; sha256_end frees *s, also after an error. */
typedef struct sha256_state sha256_state;
status sha256_new(sha256_state **s);
status sha256_add(sha256_state *s, const void *bytes, size_t nbytes);
status sha256_end(sha256_state **s, char hex[65]);
void sha256_free(sha256_state **s);

#endif
