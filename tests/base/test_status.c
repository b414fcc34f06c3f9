/* status.c: messages, names, exit codes, what TRY passes on. */
#include "base_test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

static status fails(status st) {
    return FAIL(st, "file %s: value %d", "a.pcap", 7);
}

static status passes_on(status st) {
    TRY(fails(st));
    return ST_OK;
}

static status unwinds(status inner, int *undone) {
    status st = ST_OK;
    TRY_TO(undo, inner);
    return ST_OK;
undo:
    ++*undone;
    return st;
}

static void messages_are_kept_and_passed_on(void **state) {
    assert_status(ST_FORMAT, passes_on(ST_FORMAT));
    assert_string_equal(status_message(), "file a.pcap: value 7");
    int undone = 0;
    assert_status(ST_RANGE, unwinds(ST_RANGE, &undone));
    assert_int_equal(undone, 1);
    assert_ok(unwinds(ST_OK, &undone));
    assert_int_equal(undone, 1);
}

static void developers_errors_name_their_source_line(void **state) {
    static const status with[] = {ST_MEMORY, ST_COMM, ST_LIBRARY};
    static const status without[] = {ST_USAGE, ST_IO, ST_FORMAT, ST_RANGE, ST_STOPPED};
    for (size_t i = 0; i < sizeof with / sizeof with[0]; i++) {
        fails(with[i]);
        assert_contains(status_message(), " [test_status.c:");
    }
    for (size_t i = 0; i < sizeof without / sizeof without[0]; i++) {
        fails(without[i]);
        assert_lacks(status_message(), "test_status.c");
    }
}

static void a_message_is_one_line_of_bounded_length(void **state) {
    FAIL(ST_IO, "%s", "two\nlines\x1b[2J\r");
    assert_string_equal(status_message(), "two?lines?[2J?");
    char text[8000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    FAIL(ST_MEMORY, "%s", text);
    assert_in_range(strlen(status_message()), 1000, 4000);
}

static void a_message_can_be_wrapped(void **state) {
    FAIL(ST_IO, "inner");
    FAIL(ST_IO, "outer: %s", status_message());
    assert_string_equal(status_message(), "outer: inner");
    status_set_message("from a peer");
    assert_string_equal(status_message(), "from a peer");
    status_set_message(status_message());
    assert_string_equal(status_message(), "from a peer");
    status_set_message(NULL);
    assert_string_equal(status_message(), "");
}

static void *fail_in_thread(void *argument) {
    FAIL(ST_IO, "of the thread");
    return strcmp(status_message(), "of the thread") == 0 ? argument : NULL;
}

static void each_thread_has_its_own_message(void **state) {
    FAIL(ST_IO, "of the main thread");
    pthread_t thread;
    int mark;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, fail_in_thread, &mark), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, &mark);
    assert_string_equal(status_message(), "of the main thread");
}

static void names_and_exit_codes(void **state) {
    static const int code[ST_COUNT] = {
        [ST_OK] = 0,     [ST_USAGE] = 2, [ST_IO] = 1,      [ST_FORMAT] = 1,  [ST_RANGE] = 1,
        [ST_MEMORY] = 1, [ST_COMM] = 1,  [ST_LIBRARY] = 1, [ST_STOPPED] = 75};
    for (int i = 0; i < ST_COUNT; i++) {
        assert_int_equal(status_exit_code((status)i), code[i]);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(status_name((status)i), status_name((status)j));
    }
    assert_string_equal(status_name((status)1000), "unknown status");
}

static void a_failed_assertion_aborts_and_says_where(void **state) {
    captured c = capture_begin(STDERR_FILENO);
    pid_t child = fork();
    if (child == 0) {
        ASSERT(1 + 1 == 3);
        _exit(0);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    char *text = capture_end(&c);
    assert_true(WIFSIGNALED(how));
    assert_int_equal(WTERMSIG(how), SIGABRT);
    assert_contains(text, "1 + 1 == 3");
    assert_contains(text, "test_status.c:");
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_kept_and_passed_on),
        cmocka_unit_test(developers_errors_name_their_source_line),
        cmocka_unit_test(a_message_is_one_line_of_bounded_length),
        cmocka_unit_test(a_message_can_be_wrapped),
        cmocka_unit_test(each_thread_has_its_own_message),
        cmocka_unit_test(names_and_exit_codes),
        cmocka_unit_test(a_failed_assertion_aborts_and_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
