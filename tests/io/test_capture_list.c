/* From entries of the configuration to capture files: folders, patterns, links, names. */
#include "io/io_test.h"
#include "io/capture.h"

static void test_list(void **state) {
    static const char *const files[] = {"b.pcap", "a.PCAPNG", "deep/er/c.cap.gz", "deep/d.pcap.gz", "deep/notes.txt"};
    char *root = in_folder("list");
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *path = text_format("%s/%s", root, files[i]), *parent = text_copy(path);
        *strrchr(parent, '/') = '\0';
        assert_int_equal(file_make_folders(parent), ST_OK);
        save(path, "x", 1);
        free(path);
        free(parent);
    }
    char *link = text_format("%s/deep/circle", root), *again = text_format("%s/zzz.pcap", root),
         *original = text_format("%s/b.pcap", root);
    assert_int_equal(symlink(root, link), 0);
    assert_int_equal(symlink(original, again), 0);
    free(link);

    static const struct {
        const char *entries[3], *names[5];
    } cases[] = {
        {{""}, {"a.PCAPNG", "b.pcap", "deep/d.pcap.gz", "deep/er/c.cap.gz"}},
        {{"b.pcap"}, {"b.pcap"}},
        {{"b.pcap", "b.pcap", "zzz.pcap"}, {"b.pcap"}},
        {{"zzz.pcap"}, {"zzz.pcap"}},
        {{"deep/*.gz"}, {"d.pcap.gz"}},
        {{"*/er/*.gz", "b.pcap"}, {"b.pcap", "deep/er/c.cap.gz"}},
        {{"d*p/er"}, {"deep/er/c.cap.gz"}},  /* a folder found by a pattern */
        {{"deep/notes.txt"}, {"notes.txt"}}, /* named by the user: taken as it is */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        text_list entries = {.n = 0}, paths = {.n = 0}, names = {.n = 0};
        for (int k = 0; k < 3 && cases[i].entries[k] != NULL; k++) {
            char *entry = text_format("%s/%s", root, cases[i].entries[k]);
            assert_int_equal(text_list_add(&entries, entry), ST_OK);
            free(entry);
        }
        if (capture_list_names(&entries, &paths, &names) != ST_OK)
            fail_msg("case %zu: %s", i, status_message());
        assert_int_equal(paths.n, names.n);
        size_t n = 0;
        for (; n < 5 && cases[i].names[n] != NULL; n++) {
            assert_true(n < names.n);
            assert_string_equal(names.item[n], cases[i].names[n]);
            assert_true(file_exists(paths.item[n]));
        }
        assert_int_equal(names.n, n);
        text_list_clear(&entries);
        text_list_clear(&paths);
        text_list_clear(&names);
    }

    static const char *const nothing[] = {"none.pcap", "*.none", "empty"};
    char *empty = text_format("%s/empty", root);
    assert_int_equal(file_make_folders(empty), ST_OK);
    for (size_t i = 0; i < sizeof nothing / sizeof nothing[0]; i++) {
        text_list entries = {.n = 0}, paths = {.n = 0};
        char *entry = text_format("%s/%s", root, nothing[i]);
        assert_int_equal(text_list_add(&entries, entry), ST_OK);
        assert_int_equal(capture_list(&entries, &paths), ST_IO);
        assert_non_null(strstr(status_message(), nothing[i]));
        text_list_clear(&entries);
        text_list_clear(&paths);
        free(entry);
    }
    /* A link to nothing is not passed over where it is called like a capture. */
    text_list entries = {.n = 0}, paths = {.n = 0};
    char *lost = text_format("%s/lost.pcap", root);
    assert_int_equal(symlink(empty, link = text_format("%s/lost", root)), 0);
    assert_int_equal(text_list_add(&entries, root), ST_OK);
    assert_int_equal(rmdir(empty), 0);
    assert_int_equal(capture_list(&entries, &paths), ST_OK);
    assert_int_equal(symlink(empty, lost), 0);
    assert_int_equal(capture_list(&entries, &paths), ST_IO);
    assert_non_null(strstr(status_message(), "lost.pcap: No such file"));
    text_list_clear(&entries);
    text_list_clear(&paths);
    free(lost);
    free(link);
    free(empty);
    free(again);
    free(original);
    free(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
    };
    return cmocka_run_group_tests_name("io.capture_list", tests, make_folder, remove_folder);
}
