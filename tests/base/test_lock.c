/* The lock of an output between real processes: refused, taken over after a kill, lost to a later attempt. */
#include "base_test.h"

#include <signal.h>
#include <sys/wait.h>

#include "base/lock.h"
#include "base/log.h"

static char *lock_path(void **state) {
    return text_format("%s/lock", (char *)*state);
}

/* A child that takes the lock, says so through a pipe and waits for its end. Returns its number. */
static pid_t start_holder(const char *path) {
    int ends[2];
    char word = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        lock *l;
        word = lock_take(path, &l) == ST_OK ? 'y' : 'n';
        if (write(ends[1], &word, 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &word, 1), 1);
    close(ends[0]);
    assert_int_equal(word, 'y');
    return child;
}

static void end_holder(pid_t child) {
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static void test_one_at_a_time(void **state) {
    char *path = lock_path(state);
    lock *l = NULL;
    pid_t child = start_holder(path);
    assert_status(ST_IO, lock_take(path, &l));
    assert_null(l);
    char *who = text_format("process %ld on ", (long)child);
    assert_contains(status_message(), who);
    free(who);
    /* What a killed holder leaves is no obstacle. */
    end_holder(child);
    assert_true(file_exists(path));
    assert_ok(lock_take(path, &l));
    assert_ok(lock_check(l));
    lock_release(&l);
    assert_null(l);
    assert_false(file_exists(path));
    free(path);
}

static void test_two_in_one_process(void **state) {
    char *path = lock_path(state);
    lock *l, *other;
    assert_ok(lock_take(path, &l));
    assert_status(ST_IO, lock_take(path, &other));
    lock_release(&l);
    free(path);
}

static void test_lost(void **state) {
    char *path = lock_path(state);
    lock *old, *next;
    setenv("SLURM_JOB_ID", "77", 1);
    assert_ok(lock_take(path, &old));
    /* The same attempt twice is refused; a requeued one takes over, and its forerunner finds out. */
    assert_status(ST_IO, lock_take(path, &next));
    setenv("SLURM_RESTART_COUNT", "1", 1);
    assert_ok(lock_take(path, &next));
    assert_status(ST_IO, lock_check(old));
    assert_contains(status_message(), "took this attempt's place");
    assert_ok(lock_check(next));
    /* The forerunner leaves, and the lock stays with its successor. */
    lock_release(&old);
    assert_ok(lock_check(next));
    /* Another job is refused whatever its count. */
    setenv("SLURM_JOB_ID", "78", 1);
    setenv("SLURM_RESTART_COUNT", "9", 1);
    assert_status(ST_IO, lock_take(path, &old));
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_RESTART_COUNT");
    assert_int_equal(unlink(path), 0);
    assert_status(ST_IO, lock_check(next));
    assert_contains(status_message(), "is gone");
    lock_release(&next);
    free(path);
}

/* Bytes that are no lock's, held by nobody. */
static void test_damaged(void **state) {
    char *path = lock_path(state);
    lock *l;
    assert_ok(file_write(path, "host x\npid", 10));
    assert_ok(lock_take(path, &l));
    assert_ok(lock_check(l));
    lock_release(&l);
    free(path);
}

/* Killed between making its file and putting it in place: the next holder clears it away. */
static void test_leftovers(void **state) {
    char *path = lock_path(state), *dead = text_format("%s.host-1-0123", path), *other = text_format("%s-other", path);
    lock *l;
    assert_ok(file_write(dead, "x", 1));
    assert_ok(file_write(other, "x", 1));
    assert_ok(lock_take(path, &l));
    assert_false(file_exists(dead));
    assert_true(file_exists(other));
    lock_release(&l);
    free(other);
    free(dead);
    free(path);
}

/* Children race for one stale lock: exactly one has it. */
static void test_race(void **state) {
    enum { CHILDREN = 8, ROUNDS = 10 };
    char *path = lock_path(state);
    for (int round = 0; round < ROUNDS; round++) {
        int go[2], won[2];
        char word, got[CHILDREN + 1];
        assert_ok(file_write(path, "stale", 5));
        assert_int_equal(pipe(go) | pipe(won), 0);
        pid_t child[CHILDREN];
        for (int i = 0; i < CHILDREN; i++) {
            child[i] = fork();
            if (child[i] == 0) {
                lock *l = NULL;
                close(go[1]);
                ssize_t n = read(go[0], &word, 1); /* all at once, when the parent closes its end */
                word = n == 0 && lock_take(path, &l) == ST_OK ? 'y' : 'n';
                if (write(won[1], &word, 1) != 1)
                    _exit(1);
                for (;;)
                    pause();
            }
        }
        close(go[0]);
        close(go[1]);
        int winners = 0;
        for (int i = 0; i < CHILDREN; i++) {
            assert_int_equal(read(won[0], &got[i], 1), 1);
            winners += got[i] == 'y';
        }
        assert_int_equal(winners, 1);
        for (int i = 0; i < CHILDREN; i++)
            end_holder(child[i]);
        close(won[0]);
        close(won[1]);
    }
    assert_int_equal(unlink(path), 0);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_at_a_time), cmocka_unit_test(test_two_in_one_process), cmocka_unit_test(test_lost),
        cmocka_unit_test(test_damaged),       cmocka_unit_test(test_leftovers),          cmocka_unit_test(test_race),
    };
    log_setup("test", 0, 1, true);
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
