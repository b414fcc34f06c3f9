/* file.c: a file appears whole or not at all, also when the disk is full; reads are bounded; paths. */
#include "base_test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <dirent.h>

static size_t entries_in(const char *folder) {
    DIR *d = opendir(folder);
    assert_non_null(d);
    size_t n = 0;
    for (struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

static char *fresh_folder(void **state, const char *name) {
    char *folder = text_format("%s/%s", (const char *)*state, name);
    assert_ok(file_make_folders(folder));
    return folder;
}

static void assert_file_holds(const char *path, const char *wanted) {
    char *bytes;
    size_t nbytes;
    assert_ok(file_read(path, 1 << 20, &bytes, &nbytes));
    assert_int_equal(nbytes, strlen(wanted));
    assert_string_equal(bytes, wanted);
    free(bytes);
}

static void commit_replaces_and_abandon_does_not(void **state) {
    char *folder = fresh_folder(state, "atomic"), *path = text_format("%s/f", folder);
    file_writer w;
    assert_ok(file_begin(&w, path));
    fputs("first", w.stream);
    assert_false(file_exists(path));
    assert_ok(file_commit(&w));
    assert_file_holds(path, "first");

    assert_ok(file_begin(&w, path));
    fputs("second", w.stream);
    fflush(w.stream);
    assert_file_holds(path, "first");
    file_abandon(&w);
    assert_file_holds(path, "first");
    file_abandon(&w); /* of a writer that is done: nothing */

    assert_ok(file_write(path, "third", 5));
    assert_file_holds(path, "third");
    assert_ok(file_write(path, NULL, 0));
    assert_file_holds(path, "");
    assert_int_equal(entries_in(folder), 1);
    free(folder);
    free(path);
}

static void publish_names_a_librarys_file(void **state) {
    char *folder = fresh_folder(state, "publish"), *path = text_format("%s/f", folder);
    char *part = file_part_name(path);
    assert_status(ST_IO, file_publish(part, path));
    assert_contains(status_message(), part);
    FILE *f = fopen(part, "w");
    assert_non_null(f);
    fputs("by a library", f);
    fclose(f);
    assert_ok(file_publish(part, path));
    assert_file_holds(path, "by a library");
    assert_int_equal(entries_in(folder), 1);
    free(folder);
    free(path);
    free(part);
}

static void a_missing_folder_is_named(void **state) {
    file_writer w;
    assert_status(ST_IO, file_begin(&w, "/nonexistent/folder/f"));
    assert_contains(status_message(), "/nonexistent/folder/f: cannot create: No such file");
    assert_status(ST_IO, file_write("/nonexistent/f", "x", 1));
}

/* Runs in a process of its own, where files may not grow above 100 kB. The old file must stay, and nothing else. */
static int write_over_the_limit(const char *folder, const char *path) {
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {100000, 100000};
    static char bytes[300000];
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        return 10;
    if (file_write(path, bytes, sizeof bytes) != ST_IO)
        return 11;
    if (!strstr(status_message(), path) || !strstr(status_message(), "cannot write"))
        return 12;
    return entries_in(folder) == 1 ? 0 : 13;
}

/* The same on a disk of 64 kB that is full: a tmpfs in a mount namespace of this process alone. 77 if not allowed. */
static int write_to_a_full_disk(const char *folder) {
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", folder, "tmpfs", 0, "size=64k") != 0)
        return 77;
    char *path = text_format("%s/f", folder);
    static char bytes[200000];
    if (file_write(path, "old", 3) != ST_OK)
        return 10;
    if (file_write(path, bytes, sizeof bytes) != ST_IO)
        return 11;
    if (!strstr(status_message(), path) || !strstr(status_message(), "No space left"))
        return 12;
    uint64_t nbytes;
    if (entries_in(folder) != 1 || file_size(path, &nbytes) != ST_OK || nbytes != 3)
        return 13;
    free(path);
    return 0;
}

static int exit_code_of(pid_t child) {
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    return WEXITSTATUS(how);
}

static void a_file_that_cannot_grow_leaves_the_old_one(void **state) {
    char *folder = fresh_folder(state, "limit"), *path = text_format("%s/f", folder);
    assert_ok(file_write(path, "old", 3));
    pid_t child = fork();
    if (child == 0)
        _exit(write_over_the_limit(folder, path));
    assert_int_equal(exit_code_of(child), 0);
    assert_file_holds(path, "old");
    free(folder);
    free(path);
}

static void a_full_disk_leaves_the_old_file(void **state) {
    char *folder = fresh_folder(state, "full");
    pid_t child = fork();
    if (child == 0)
        _exit(write_to_a_full_disk(folder));
    int code = exit_code_of(child);
    free(folder);
    if (code == 77) {
        print_message("skipped: a tmpfs cannot be mounted here\n");
        skip();
    }
    assert_int_equal(code, 0);
}

static void reads_are_whole_and_bounded(void **state) {
    char *path = text_format("%s/big", (const char *)*state);
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 131072, 1000000};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        size_t n = sizes[k], got;
        char *bytes = malloc(n + 1), *back;
        assert_non_null(bytes);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)(i * 7 + i / 256);
        assert_ok(file_write(path, bytes, n));
        uint64_t size;
        assert_ok(file_size(path, &size));
        assert_true(size == n);
        assert_ok(file_read(path, n, &back, &got));
        assert_int_equal(got, n);
        assert_memory_equal(back, bytes, n);
        assert_int_equal(back[n], 0);
        free(back);
        if (n) {
            assert_status(ST_RANGE, file_read(path, n - 1, &back, &got));
            assert_null(back);
            assert_contains(status_message(), path);
        }
        free(bytes);
    }
    free(path);
    char *bytes;
    size_t nbytes;
    uint64_t size;
    assert_status(ST_IO, file_read(*state, 100, &bytes, &nbytes)); /* a folder */
    assert_status(ST_RANGE, file_read("/dev/zero", 1000, &bytes, &nbytes));
    assert_status(ST_IO, file_size(*state, &size));
    assert_status(ST_IO, file_size("/nonexistent", &size));
}

static void folders_are_made_and_removed(void **state) {
    char *top = text_format("%s/a", (const char *)*state), *deep = text_format("%s//b/c/", top);
    char *file = text_format("%s/f", deep), *below_file = text_format("%s/g", file);
    assert_ok(file_make_folders(deep));
    assert_ok(file_make_folders(deep));
    assert_ok(file_write(file, "x", 1));
    assert_status(ST_IO, file_make_folders(file));
    assert_status(ST_IO, file_make_folders(below_file));

    /* A link in the tree is removed, what it points to is not. */
    char *kept = text_format("%s/kept", (const char *)*state), *link = text_format("%s/link", deep);
    char *inside = text_format("%s/f", kept);
    assert_ok(file_make_folders(kept));
    assert_ok(file_write(inside, "x", 1));
    assert_int_equal(symlink(kept, link), 0);
    assert_ok(file_remove_tree(top));
    assert_false(file_exists(top));
    assert_true(file_exists(inside));
    assert_ok(file_remove_tree(top)); /* already gone */
    assert_status(ST_USAGE, file_remove_tree("/"));
    assert_status(ST_USAGE, file_remove_tree(""));
    free(top);
    free(deep);
    free(file);
    free(below_file);
    free(kept);
    free(link);
    free(inside);
}

static void sha256_known_answers(void **state) {
    /* FIPS 180-2, appendix B: "abc", one million "a"; and the empty text. */
    static const struct {
        const char *unit;
        size_t times;
        const char *hex;
    } rows[] = {
        {"", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    };
    char *path = text_format("%s/hashed", (const char *)*state);
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        file_writer w;
        assert_ok(file_begin(&w, path));
        for (size_t i = 0; i < rows[k].times; i++)
            fputs(rows[k].unit, w.stream);
        assert_ok(file_commit(&w));
        char hex[65];
        assert_ok(file_sha256(path, hex));
        assert_string_equal(hex, rows[k].hex);
    }
    char hex[65];
    assert_status(ST_IO, file_sha256("/nonexistent", hex));
    assert_status(ST_IO, file_sha256(*state, hex));
    free(path);
}

static void labels_become_file_names(void **state) {
    static const struct {
        const char *label, *name; /* NULL: changed, and told apart by a number */
    } rows[] = {{"web", "web"}, {"a-b_c.2", "a-b_c.2"}, {"../../etc", NULL}, {"a/b", NULL}, {"a b", NULL},
                {"", NULL},     {".hidden", NULL},      {"all", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *name = file_label_name(rows[i].label);
        if (rows[i].name != NULL)
            assert_string_equal(name, rows[i].name);
        else
            assert_string_not_equal(name, rows[i].label);
        assert_null(strchr(name, '/'));
        assert_true(name[0] != '.' && name[0] != 0 && strlen(name) < 128);
        free(name);
    }
    char *a = file_label_name("a/b"), *b = file_label_name("a b");
    assert_string_not_equal(a, b);
    free(a);
    free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_become_file_names),
        cmocka_unit_test(commit_replaces_and_abandon_does_not),
        cmocka_unit_test(publish_names_a_librarys_file),
        cmocka_unit_test(a_missing_folder_is_named),
        cmocka_unit_test(a_file_that_cannot_grow_leaves_the_old_one),
        cmocka_unit_test(a_full_disk_leaves_the_old_file),
        cmocka_unit_test(reads_are_whole_and_bounded),
        cmocka_unit_test(folders_are_made_and_removed),
        cmocka_unit_test(sha256_known_answers),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
