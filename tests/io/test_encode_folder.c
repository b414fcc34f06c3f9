/* The folder of ndencode's parts: signals that several ranks give at one moment, and the lock that keeps runs apart. */
#include "io/io_test.h"
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "io/encode_priv.h"

enum { RANKS = 4, ROUNDS = 500 };

typedef struct meeting {
    _Atomic int come[ROUNDS];
    _Atomic int failed, unseen;
} meeting;

/* One rank: in each round it waits for the others and gives the round's signal with them. */
static void give_signals(meeting *m) {
    for (int i = 0; i < ROUNDS; i++) {
        m->come[i]++;
        while (m->come[i] < RANKS)
            sched_yield();
        m->failed += encode_signal_give(folder, (uint64_t)i, "failed", 0) != ST_OK;
        m->unseen += !encode_signal_given(folder, (uint64_t)i, "failed", 0);
    }
}

static void test_signals_at_one_moment(void **state) {
    meeting *m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(m, MAP_FAILED);
    assert_false(encode_signal_given(folder, 0, "failed", 0));
    pid_t ranks[RANKS];
    for (int i = 0; i < RANKS; i++) {
        ranks[i] = fork();
        if (ranks[i] == 0) {
            give_signals(m);
            _exit(0);
        }
        assert_true(ranks[i] > 0);
    }
    for (int i = 0; i < RANKS; i++) {
        int end = -1;
        assert_int_equal(waitpid(ranks[i], &end, 0), ranks[i]);
        assert_int_equal(end, 0);
    }
    assert_int_equal(m->failed, 0);
    assert_int_equal(m->unseen, 0);
    assert_false(encode_signal_given(folder, ROUNDS, "failed", 0));
    assert_false(encode_signal_given(folder, 0, "failed", 1));
    assert_false(encode_signal_given(folder, 0, "ready", 0));
    munmap(m, sizeof *m);
}

typedef struct paths {
    char *parts, *lock, *rows, *rest;
} paths;

static paths make_paths(void) {
    return (paths){.parts = text_format("%s/d/dataset.parts", folder),
                   .lock = text_format("%s/d/dataset.lock", folder),
                   .rows = text_format("%s/d/dataset.parts/0-0.rows", folder),
                   .rest = text_format("%s/d/dataset.parts/0-0.rows-7", folder)};
}

static void free_paths(paths *p) {
    free(p->parts);
    free(p->lock);
    free(p->rows);
    free(p->rest);
}

static void make_parts(const paths *p) {
    assert_int_equal(file_write(p->rows, "x", 1), ST_OK);
    assert_int_equal(file_write(p->rest, "x", 1), ST_OK);
}

static void test_what_stays(void **state) {
    static const struct {
        const char *identity; /* of the second run */
        bool keep, stays;
    } cases[] = {{"one", true, true}, {"two", true, false}, {"one", false, false}};
    paths p = make_paths();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lock *l = NULL;
        assert_int_equal(encode_folder_open(p.parts, p.lock, "one", &l), ST_OK);
        make_parts(&p);
        encode_folder_close(p.parts, &l, cases[i].keep);
        assert_null(l);
        assert_false(file_exists(p.lock));
        assert_true(file_exists(p.rows) == cases[i].keep);
        assert_false(file_exists(p.rest));
        assert_int_equal(encode_folder_open(p.parts, p.lock, cases[i].identity, &l), ST_OK);
        assert_true(file_exists(p.rows) == cases[i].stays);
        encode_folder_close(p.parts, &l, false);
        assert_false(file_exists(p.parts));
    }
    free_paths(&p);
}

static void test_lock(void **state) {
    paths p = make_paths();
    lock *first = NULL, *second = NULL;
    assert_int_equal(encode_folder_open(p.parts, p.lock, "one", &first), ST_OK);
    make_parts(&p);
    assert_int_equal(encode_folder_open(p.parts, p.lock, "two", &second), ST_IO);
    assert_non_null(strstr(status_message(), "has been at work here since"));
    encode_folder_close(p.parts, &second, false);
    assert_true(file_exists(p.rest)); /* the refused run touched nothing */

    /* Another run has put its own lock in this one's place: what lies here is that run's now. */
    assert_int_equal(unlink(p.lock), 0);
    assert_int_equal(lock_take(p.lock, &second), ST_OK);
    encode_folder_close(p.parts, &first, false);
    assert_true(file_exists(p.rest));
    assert_int_equal(lock_check(second), ST_OK);
    encode_folder_close(p.parts, &second, false);
    assert_false(file_exists(p.parts));
    free_paths(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signals_at_one_moment),
        cmocka_unit_test(test_what_stays),
        cmocka_unit_test(test_lock),
    };
    return cmocka_run_group_tests_name("io.encode_folder", tests, make_folder, remove_folder);
}
