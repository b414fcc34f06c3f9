/* log.c, progress.c, stop.c: who prints what, and when. */
#include "base_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "base/log.h"
#include "base/progress.h"
#include "base/stop.h"

static char *all_kinds(int rank, int size, bool quiet) {
    captured c = capture_begin(STDERR_FILENO);
    log_setup("/usr/bin/ndtest", rank, size, quiet);
    log_job("job %d", 1);
    log_rank("rank %d", 2);
    log_warn("warn %d", 3);
    log_error("broken 100%s");
    return capture_end(&c);
}

static void lines_by_rank_and_quiet(void **state) {
    static const struct {
        int rank, size;
        bool quiet;
        const char *text;
    } rows[] = {
        {0, 1, false, "ndtest: job 1\nndtest: rank 2\nndtest: warning: warn 3\nndtest: error: broken 100%s\n"},
        {0, 2, false, "ndtest: job 1\nndtest[0]: rank 2\nndtest: warning: warn 3\nndtest: error: broken 100%s\n"},
        {1, 2, false, "ndtest[1]: rank 2\nndtest: error: broken 100%s\n"},
        {0, 2, true, "ndtest: warning: warn 3\nndtest: error: broken 100%s\n"},
        {1, 2, true, "ndtest: error: broken 100%s\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text = all_kinds(rows[i].rank, rows[i].size, rows[i].quiet);
        assert_string_equal(text, rows[i].text);
        assert_int_equal(log_job_rank(), rows[i].rank);
        assert_int_equal(log_is_quiet(), rows[i].quiet);
        free(text);
    }
}

static void a_long_line_is_cut_and_ended(void **state) {
    char text[10000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    captured c = capture_begin(STDERR_FILENO);
    log_setup("ndtest", 0, 1, false);
    log_job("%s", text);
    log_error(text);
    char *lines = capture_end(&c);
    size_t n = strlen(lines);
    assert_in_range(n, 4000, 9000);
    assert_int_equal(lines[n - 1], '\n');
    assert_non_null(strstr(lines, "\nndtest: error: "));
    free(lines);
}

/* A run whose clock is set back by `seconds`: as if it had worked that long. */
static char *progress_text(int rank, bool quiet, double seconds) {
    captured c = capture_begin(STDERR_FILENO);
    log_setup("ndtest", rank, 2, quiet);
    progress p;
    progress_start(&p, "encode", "flows", 100, 1100);
    p.started -= seconds;
    p.shown -= seconds;
    progress_update(&p, 600, "loss 0.5");
    progress_update(&p, 601, NULL);
    progress_end(&p);
    return capture_end(&c);
}

static void progress_shows_rate_and_time_left(void **state) {
    char *text = progress_text(0, false, 5000);
    assert_string_equal(text, "ndtest: encode: 600 of 1100 flows, 0.1 flows/s, 1 h 23 min left, loss 0.5\n"
                              "ndtest: encode: 601 of 1100 flows, 0.1 flows/s, 1 h 23 min left, took 1 h 23 min\n");
    free(text);
}

static void progress_is_silent_where_it_should_be(void **state) {
    static const struct {
        int rank;
        bool quiet;
        double seconds;
    } rows[] = {{1, false, 50}, {0, true, 50}, {0, false, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text = progress_text(rows[i].rank, rows[i].quiet, rows[i].seconds);
        assert_string_equal(text, "");
        free(text);
    }
}

/* On a terminal the line is rewritten, and wiped before anything else is printed. */
static void a_terminal_gets_one_rewritten_line(void **state) {
    int master = posix_openpt(O_RDWR | O_NOCTTY), terminal = -1;
    if (master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0)
        terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (terminal < 0) {
        print_message("skipped: no pseudo terminal can be had here\n");
        skip();
    }
    int saved = dup(STDERR_FILENO);
    assert_int_equal(dup2(terminal, STDERR_FILENO), STDERR_FILENO);
    log_setup("ndtest", 0, 1, false);
    progress p;
    progress_start(&p, "encode", "flows", 0, 1000);
    p.started -= 5000;
    p.shown -= 1;
    progress_update(&p, 100, NULL);
    progress_update(&p, 101, NULL); /* too soon after the last */
    log_job("note");
    progress_end(&p);
    dup2(saved, STDERR_FILENO);
    close(saved);
    char text[1000];
    size_t n = 0;
    close(terminal);
    /* One read may give a part; after the last byte a master without a terminal fails or ends. */
    for (ssize_t got; n < sizeof text - 1 && (got = read(master, text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = 0;
    close(master);
    assert_string_equal(
        text, "\r\033[Kndtest: encode: 100 of 1000 flows, 0.02 flows/s, 12 h 30 min left"
              "\r\033[Kndtest: note\r\n"
              "\r\033[Kndtest: encode: 101 of 1000 flows, 0.02 flows/s, 12 h 21 min left, took 1 h 23 min\r\n");
}

static void time_goes_on(void **state) {
    double before = time_seconds();
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    double elapsed = time_seconds() - before;
    assert_true(elapsed >= 0.02 && elapsed < 20);
}

/* The answer stays true, so each signal is tried in a process of its own. */
static void each_signal_asks_to_stop(void **state) {
    static const int numbers[] = {SIGTERM, SIGUSR1};
    for (size_t i = 0; i < 2; i++) {
        pid_t child = fork();
        if (child == 0) {
            stop_install();
            bool before = stop_requested();
            raise(numbers[i]);
            _exit(!before && stop_requested() ? 42 : 1);
        }
        int how = 0;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFEXITED(how));
        assert_int_equal(WEXITSTATUS(how), 42);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_by_rank_and_quiet),
        cmocka_unit_test(a_long_line_is_cut_and_ended),
        cmocka_unit_test(progress_shows_rate_and_time_left),
        cmocka_unit_test(progress_is_silent_where_it_should_be),
        cmocka_unit_test(a_terminal_gets_one_rewritten_line),
        cmocka_unit_test(time_goes_on),
        cmocka_unit_test(each_signal_asks_to_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
