/* The communicator on 1 to 4 ranks: every call, with messages of many pieces.
 *
 * Each rank knows what the others put in (a random stream per rank), so each checks whole results alone; sums are
 * compared by their bytes with a sum in rank order. A rank that finds a fault aborts, and the launcher ends the job. */
#include "base/base_test.h"

#include "base/progress.h"
#include "base/rng.h"
#include "dist/comm.h"
#include "dist/comm_priv.h"
#include "dist/tree.h"
#ifdef ND_HAVE_MPI
#include "dist/comm_mpi_priv.h"
#endif

enum { PIECE_NBYTES = 64, MOST = 5000 };
static const size_t counts[] = {0, 1, 2, 3, 7, 15, 16, 17, 100, MOST};
enum { NCOUNTS = sizeof counts / sizeof counts[0] };

static comm *c; /* the job's one communicator */

static void who_am_i(void **state) {
    const char *size = getenv("OMPI_COMM_WORLD_SIZE"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    assert_int_equal(comm_size(c), size ? atoi(size) : 1);
    assert_int_equal(comm_rank(c), rank ? atoi(rank) : 0);
    assert_int_equal(comm_node_size(c), comm_size(c)); /* the test runs on one node */
    assert_in_range(comm_node_rank(c), 0, comm_node_size(c) - 1);
    uint64_t sum = (uint64_t)comm_node_rank(c), n = (uint64_t)comm_size(c);
    assert_ok(comm_sum_u64(c, &sum, 1));
    assert_true(sum == n * (n - 1) / 2);
    assert_ok(comm_barrier(c));
}

static void threads_share_the_node(void **state) {
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int threads = comm_threads(c, 0);
    assert_in_range(threads, 1, processors);
    assert_int_equal(comm_threads(c, 5), 5);
    uint64_t all = (uint64_t)threads, ranks = (uint64_t)comm_node_size(c);
    assert_ok(comm_sum_u64(c, &all, 1));
    assert_true(all <= ((uint64_t)processors > ranks ? (uint64_t)processors : ranks));
}

/* Sizes differ by 10^16, so that every other order of additions would show in the last bits. */
static double input(int rank, size_t i, uint64_t seed) {
    rng r = rng_make(seed, (uint64_t)rank << 32 | i, RNG_TEST);
    double scale[] = {1e-8, 1, 1e4, 1e8};
    double sign = rng_below(&r, 2) ? 1 : -1;
    return sign * rng_uniform(&r) * scale[rng_below(&r, 4)];
}

static void check_sum_f32(size_t n, bool mean) {
    static float x[MOST], wanted[MOST];
    for (size_t i = 0; i < n; i++) {
        wanted[i] = (float)input(0, i, n);
        for (int r = 1; r < comm_size(c); r++)
            wanted[i] += (float)input(r, i, n);
        if (mean)
            wanted[i] /= (float)comm_size(c);
        x[i] = (float)input(comm_rank(c), i, n);
    }
    assert_ok(mean ? comm_mean_f32(c, x, n) : comm_sum_f32(c, x, n));
    assert_memory_equal(x, wanted, n * sizeof *x);
}

static void check_sum_f64(size_t n) {
    static double x[MOST], wanted[MOST];
    for (size_t i = 0; i < n; i++) {
        wanted[i] = input(0, i, n);
        for (int r = 1; r < comm_size(c); r++)
            wanted[i] += input(r, i, n);
        x[i] = input(comm_rank(c), i, n);
    }
    assert_ok(comm_sum_f64(c, x, n));
    assert_memory_equal(x, wanted, n * sizeof *x);
}

static void sums_are_in_rank_order(void **state) {
    for (size_t k = 0; k < NCOUNTS; k++) {
        check_sum_f32(counts[k], false);
        check_sum_f32(counts[k], true);
        check_sum_f64(counts[k]);
    }
}

static void sums_do_not_depend_on_the_piece(void **state) {
    comm_set_limits(c, 1 << 20, 10);
    check_sum_f32(MOST, false);
    check_sum_f64(MOST);
    comm_set_limits(c, sizeof(double), 10);
    check_sum_f32(100, false);
    check_sum_f64(100);
    comm_set_limits(c, PIECE_NBYTES, 10);
}

/* Many sums under way at once, other calls in between; the bytes are those of a sum in rank order. */
static void check_background_sums(void) {
    enum { SUMS = 12, EACH = 700 };
    static float x[SUMS][EACH], wanted[SUMS][EACH];
    for (int round = 0; round < 3; round++) {
        for (int k = 0; k < SUMS; k++) {
            size_t n = (size_t)(k * k * 5 + round);
            for (size_t i = 0; i < n; i++) {
                wanted[k][i] = (float)input(0, i, (uint64_t)k);
                for (int r = 1; r < comm_size(c); r++)
                    wanted[k][i] += (float)input(r, i, (uint64_t)k);
                x[k][i] = (float)input(comm_rank(c), i, (uint64_t)k);
            }
            assert_ok(comm_sum_start(c, x[k], n));
            if (k % 4 == round)
                check_sum_f32(100, false);
        }
        assert_ok(comm_sum_wait(c));
        assert_ok(comm_sum_wait(c)); /* nothing is under way: returns */
        for (int k = 0; k < SUMS; k++)
            assert_memory_equal(x[k], wanted[k], (size_t)(k * k * 5 + round) * sizeof(float));
    }
}

static void background_sums_are_the_same(void **state) {
    double busy, waited;
    check_background_sums();
    comm_sum_seconds(c, &busy, &waited);
    assert_true(comm_size(c) == 1 ? busy == 0 : busy > 0 && waited >= 0);
}

/* Leaf i of `nleaves` is input(i, ...): the sum is the same bytes however many ranks hold them. */
static void check_tree(uint64_t nleaves, size_t n) {
    static float held[32][300], alone[32][300], sum[300];
    float *block[32];
    tree_stack mine = {.nleaves = nleaves}, all = {.nleaves = nleaves};
    uint64_t first, end;
    tree_share(nleaves, comm_rank(c), comm_size(c), &first, &end);
    for (uint64_t leaf = 0; leaf < nleaves; leaf++) {
        for (int own = 0; own < 2; own++) { /* this rank's leaves, and all of them */
            tree_stack *stack = own ? &mine : &all;
            float(*to)[300] = own ? held : alone;
            size_t top = stack->n;
            if (own && (leaf < first || leaf >= end))
                continue;
            for (size_t i = 0; i < n; i++)
                to[top][i] = (float)input((int)leaf, i, n);
            for (size_t merges = tree_push(stack, (tree_node){leaf, 0}); merges > 0; merges--, top--)
                for (size_t i = 0; i < n; i++)
                    to[top - 1][i] += to[top][i];
        }
    }
    for (size_t i = 0; i < 32; i++)
        block[i] = held[i];
    /* In two parts, as a step does it. */
    assert_ok(comm_sum_tree_start(c, nleaves, block, n / 3, n - n / 3, sum));
    assert_ok(comm_sum_tree_start(c, nleaves, block, 0, n / 3, sum));
    assert_ok(comm_sum_wait(c));
    assert_memory_equal(sum, alone[0], n * sizeof *sum);
}

static void tree_sums_do_not_depend_on_ranks(void **state) {
    static const size_t sizes[] = {0, 1, 2, 5, 33, 300};
    for (uint64_t nleaves = (uint64_t)comm_size(c); nleaves < 14; nleaves++)
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
            check_tree(nleaves, sizes[k]);
}

/* An MPI library without MPI_THREAD_MULTIPLE: the same sums, done when they are asked for. */
static void sums_without_threads_are_the_same(void **state) {
#ifdef ND_HAVE_MPI
    mpi_state *s = c->state;
    if (s) {
        bool before = s->any_thread;
        s->any_thread = comm_rank(c) != comm_size(c) - 1; /* one such rank decides for all */
        check_background_sums();
        check_tree((uint64_t)comm_size(c) + 3, 300);
        check_tree((uint64_t)comm_size(c) + 8, 300);
        assert_null(s->background);
        s->any_thread = before;
        return;
    }
#endif
    print_message("skipped: a case of message passing\n");
    skip();
}

static void other_texts_are_found(void **state) {
    char text[64];
    assert_ok(comm_check_same(c, "text", ""));
    assert_ok(comm_check_same(c, "text", "one: 1\ntwo: 2\n"));
    int odd = comm_size(c) - 1;
    snprintf(text, sizeof text, "one: 1\ntwo: %d\n", comm_rank(c) == odd ? 3 : 2);
    status st = comm_check_same(c, "text", text);
    if (comm_size(c) == 1) {
        assert_int_equal(st, ST_OK);
        return;
    }
    assert_int_equal(st, ST_USAGE);
    char *wanted = text_format("rank %d: another text than rank 0: 'two: 3', there 'two: 2'", odd);
    assert_string_equal(status_message(), wanted);
    free(wanted);
    assert_status(ST_USAGE, comm_check_same(c, "text", comm_rank(c) == odd ? "one: 1\n" : "one: 1\ntwo: 2\n"));
}

static void counts_add_up_exactly(void **state) {
    static uint64_t sum[MOST], most[MOST];
    uint64_t size = (uint64_t)comm_size(c), rank = (uint64_t)comm_rank(c);
    for (size_t k = 0; k < NCOUNTS; k++) {
        for (size_t i = 0; i < counts[k]; i++) {
            sum[i] = ((uint64_t)1 << 60) + i * (rank + 1);
            most[i] = UINT64_MAX - ((rank + i) % size);
        }
        assert_ok(comm_sum_u64(c, sum, counts[k]));
        assert_ok(comm_max_u64(c, most, counts[k]));
        for (size_t i = 0; i < counts[k]; i++) {
            assert_true(sum[i] == (size << 60) + i * (size * (size + 1) / 2));
            assert_true(most[i] == UINT64_MAX);
        }
    }
}

/* Every rank ends with status and message of the lowest rank that failed. */
static void agreement_takes_the_lowest_failure(void **state) {
    static const struct {
        status of[4]; /* by rank */
    } rows[] = {
        {{ST_OK, ST_OK, ST_OK, ST_OK}},
        {{ST_IO, ST_OK, ST_OK, ST_OK}},
        {{ST_OK, ST_FORMAT, ST_OK, ST_RANGE}},
        {{ST_OK, ST_OK, ST_MEMORY, ST_IO}},
        {{ST_USAGE, ST_USAGE, ST_USAGE, ST_USAGE}},
        {{ST_STOPPED, ST_STOPPED, ST_STOPPED, ST_STOPPED}},
        {{ST_STOPPED, ST_IO, ST_OK, ST_FORMAT}}, /* a failure goes before a stop */
        {{ST_OK, ST_STOPPED, ST_OK, ST_OK}},
    };
    int size = comm_size(c);
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        status wanted = ST_OK;
        int by = -1;
        for (int r = size - 1; r >= 0; r--)
            if (rows[k].of[r] != ST_OK && !(rows[k].of[r] == ST_STOPPED && by >= 0 && wanted != ST_STOPPED)) {
                wanted = rows[k].of[r];
                by = r;
            }
        status_set_message("stale");
        status mine = rows[k].of[comm_rank(c)];
        if (mine != ST_OK)
            status_fail(mine, "here.c", 12, "case %zu on %d", k, comm_rank(c));
        assert_status(wanted, comm_agree(c, mine));
        if (wanted == ST_OK)
            continue;
        char *message = size > 1 ? text_format("rank %d: case %zu on %d", by, k, by) : text_format("case %zu on 0", k);
        assert_int_equal(strncmp(status_message(), message, strlen(message)), 0);
        /* Agreed once more, further up: the same, and still one prefix. */
        assert_status(wanted, comm_agree(c, wanted));
        assert_int_equal(strncmp(status_message(), message, strlen(message)), 0);
        free(message);
    }
}

static void any_is_an_or(void **state) {
    for (unsigned set = 0; set < 1u << comm_size(c); set++) {
        bool any = set == 0;
        assert_ok(comm_any(c, set >> comm_rank(c) & 1, &any));
        assert_int_equal(any, set != 0);
    }
}

static void fill(char *bytes, size_t n, int rank) {
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)((size_t)rank * 31 + i * 7 + i / 256);
}

static void broadcasts_reach_all(void **state) {
    static char bytes[MOST + 1], wanted[MOST];
    for (int root = 0; root < comm_size(c); root++)
        for (size_t k = 0; k < NCOUNTS; k++) {
            memset(bytes, 0x55, sizeof bytes);
            fill(wanted, counts[k], root);
            if (comm_rank(c) == root)
                fill(bytes, counts[k], root);
            assert_ok(comm_broadcast(c, bytes, counts[k], root));
            assert_memory_equal(bytes, wanted, counts[k]);
            assert_int_equal(bytes[counts[k]], 0x55);
        }
}

static void check_gather(int root, size_t each) {
    static char mine[4 * MOST], wanted[4 * MOST];
    int size = comm_size(c), rank = comm_rank(c);
    fill(mine, each * (size_t)rank, rank); /* rank 0 has nothing */
    size_t sizes[4] = {99, 99, 99, 99};
    char *all = mine;
    assert_ok(comm_gather(c, mine, each * (size_t)rank, root, &all, sizes));
    if (rank != root) {
        assert_null(all);
        return;
    }
    size_t at = 0;
    for (int r = 0; r < size; r++) {
        size_t n = each * (size_t)r;
        assert_int_equal(sizes[r], n);
        fill(wanted, n, r);
        assert_memory_equal(all + at, wanted, n);
        at += n;
    }
    assert_int_equal(all[at], 0);
    free(all);
}

static void gathered_bytes_are_in_rank_order(void **state) {
    for (int root = 0; root < comm_size(c); root++)
        for (size_t k = 0; k < NCOUNTS; k++)
            check_gather(root, counts[k]);
}

static void one_process_gathers_its_own(void **state) {
    if (comm_size(c) > 1) {
        print_message("skipped: a case of one process\n");
        skip();
    }
    char *all;
    size_t size;
    assert_ok(comm_gather(c, "abc", 3, 0, &all, &size));
    assert_int_equal(size, 3);
    assert_string_equal(all, "abc");
    free(all);
}

/* Take everything that w gives, check the order, and check that all ranks together got each item once. */
static void drain(work *w, uint64_t n) {
    static uint64_t taken[MOST];
    memset(taken, 0, sizeof taken);
    uint64_t item, last = 0;
    for (bool first = true;; first = false) {
        assert_ok(work_next(w, &item));
        if (item == n)
            break;
        assert_true(item < n);
        assert_true(first || item > last);
        taken[item]++;
        last = item;
    }
    assert_ok(work_next(w, &item));
    assert_true(item == n);
    assert_ok(comm_sum_u64(c, taken, n));
    for (uint64_t i = 0; i < n; i++)
        assert_true(taken[i] == 1);
}

static void each_item_goes_to_one_rank(void **state) {
    static const uint64_t sizes[] = {0, 1, 3, 10, 1000};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        work *w;
        assert_ok(work_open(c, sizes[k], &w));
        drain(w, sizes[k]);
        assert_ok(work_close(&w));
        assert_null(w);
        assert_ok(work_close(&w));
    }
}

/* An MPI library without MPI_THREAD_MULTIPLE: items are dealt out in turn. */
static void items_are_dealt_where_threads_may_not_send(void **state) {
#ifdef ND_HAVE_MPI
    mpi_state *s = c->state;
    if (s) {
        bool before = s->any_thread;
        s->any_thread = comm_rank(c) != comm_size(c) - 1; /* one such rank decides for all */
        work *w;
        assert_ok(work_open(c, 10, &w));
        s->any_thread = before;
        drain(w, 10);
        assert_ok(work_close(&w));
        return;
    }
#endif
    print_message("skipped: a case of message passing\n");
    skip();
}

/* Rank 0 is away from message passing for 1 s; the others get their items meanwhile. */
static void nobody_waits_for_rank_0(void **state) {
    if (comm_size(c) == 1) {
        print_message("skipped: a case of several ranks\n");
        skip();
    }
    work *w;
    uint64_t item;
    assert_ok(work_open(c, 1000, &w));
    assert_ok(comm_barrier(c));
    double started = time_seconds();
    if (comm_rank(c) == 0)
        usleep(1000000);
    else
        for (int i = 0; i < 5; i++)
            assert_ok(work_next(w, &item));
    double took = time_seconds() - started;
    if (comm_rank(c) != 0)
        assert_true(took < 0.95);
    assert_ok(work_close(&w));
}

static void two_counters_do_not_mix(void **state) {
    work *a, *b;
    uint64_t item;
    assert_ok(work_open(c, 50, &a));
    assert_ok(work_open(c, 20, &b));
    assert_ok(work_next(a, &item));
    assert_true(item < (uint64_t)comm_size(c));
    drain(b, 20);
    assert_ok(work_close(&a)); /* left before it is empty */
    assert_ok(work_close(&b));
}

int main(void) {
    setenv("CMOCKA_TEST_ABORT", "1", 1); /* a rank that fails must not leave the others waiting */
    if (comm_open(&c) != ST_OK) {
        fprintf(stderr, "%s\n", status_message());
        return 1;
    }
    if (comm_rank(c) != 0 && !freopen("/dev/null", "w", stdout))
        return 1;
    comm_set_limits(c, PIECE_NBYTES, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_am_i),
        cmocka_unit_test(threads_share_the_node),
        cmocka_unit_test(sums_are_in_rank_order),
        cmocka_unit_test(sums_do_not_depend_on_the_piece),
        cmocka_unit_test(sums_without_threads_are_the_same), /* before there are any */
        cmocka_unit_test(background_sums_are_the_same),
        cmocka_unit_test(tree_sums_do_not_depend_on_ranks),
        cmocka_unit_test(other_texts_are_found),
        cmocka_unit_test(counts_add_up_exactly),
        cmocka_unit_test(agreement_takes_the_lowest_failure),
        cmocka_unit_test(any_is_an_or),
        cmocka_unit_test(broadcasts_reach_all),
        cmocka_unit_test(gathered_bytes_are_in_rank_order),
        cmocka_unit_test(one_process_gathers_its_own),
        cmocka_unit_test(each_item_goes_to_one_rank),
        cmocka_unit_test(items_are_dealt_where_threads_may_not_send),
        cmocka_unit_test(nobody_waits_for_rank_0),
        cmocka_unit_test(two_counters_do_not_mix),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    int code = comm_finish(&c, ST_OK);
    return failed || code || c;
}
