/* memory.c: products that overflow, alignment, zeroes, growth, and the arena's reuse. */
#include "base_test.h"

#include "base/memory.h"

static void new_memory_is_aligned_and_zero(void **state) {
    static const size_t counts[] = {0, 1, 15, 16, 17, 100000};
    for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
        float *x = NULL;
        assert_ok(NEW(counts[k], &x));
        assert_non_null(x);
        assert_int_equal((uintptr_t)x % 64, 0);
        for (size_t i = 0; i < counts[k]; i++)
            assert_true(x[i] == 0);
        if (counts[k])
            memset(x, 1, counts[k] * sizeof *x); /* so that reused memory would show */
        memory_free(&x);
        assert_null(x);
        memory_free(&x);
    }
}

static void sizes_that_overflow_are_refused(void **state) {
    static const struct {
        size_t n, size;
    } rows[] = {
        {SIZE_MAX, 2},    {SIZE_MAX / 8 + 1, 8}, {SIZE_MAX, 1}, {SIZE_MAX - 32, 1}, {(size_t)1 << 33, (size_t)1 << 33},
        {PTRDIFF_MAX, 1}, {1, SIZE_MAX}};
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        char other;
        void *x = &other;
        assert_status(ST_MEMORY, memory_new(rows[k].n, rows[k].size, &x));
        assert_null(x);
        size_t capacity = 0;
        if (rows[k].n > 1) {
            void *array = NULL;
            assert_status(ST_MEMORY, memory_grow(&array, &capacity, rows[k].n, rows[k].size < 2 ? 4 : rows[k].size));
            assert_null(array);
            assert_int_equal(capacity, 0);
        }
    }
}

static void an_array_grows_and_keeps_its_elements(void **state) {
    uint32_t *x = NULL;
    size_t capacity = 0, grown = 0, before = 0;
    for (size_t n = 0; n < 100000; n++) {
        assert_ok(memory_grow(&x, &capacity, n + 1, sizeof *x));
        assert_true(capacity > n);
        grown += capacity != before;
        before = capacity;
        x[n] = (uint32_t)n;
    }
    for (size_t n = 0; n < 100000; n++)
        assert_int_equal(x[n], n);
    assert_true(grown < 40); /* geometric, or a long capture costs the square of its length */
    free(x);
}

static void an_arena_gives_distinct_aligned_memory(void **state) {
    arena *a = NULL;
    assert_ok(arena_new(&a, 1000));
    unsigned char *part[200];
    for (size_t i = 0; i < 200; i++) {
        part[i] = arena_take(a, i * 7);
        assert_non_null(part[i]);
        assert_int_equal((uintptr_t)part[i] % 64, 0);
        memset(part[i], (int)i, i * 7);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t j = 0; j < i * 7; j++)
            assert_int_equal(part[i][j], i);
    arena_free(&a);
    assert_null(a);
    arena_free(&a);
}

static void a_reset_arena_needs_one_block(void **state) {
    arena *a = NULL;
    assert_ok(arena_new(&a, 128));
    for (int i = 0; i < 50; i++)
        assert_non_null(arena_take(a, 640));
    size_t peak = arena_peak(a);
    assert_int_equal(peak, 50 * 640);
    arena_reset(a);
    char *first = arena_take(a, 640);
    for (int i = 1; i < 50; i++)
        assert_ptr_equal(arena_take(a, 640), first + i * 640); /* one block: the parts lie side by side */
    assert_int_equal(arena_peak(a), peak);
    arena_reset(a);
    assert_ptr_equal(arena_take(a, 1), first); /* and it is used again */
    arena_free(&a);
}

static void an_arena_refuses_what_cannot_be(void **state) {
    arena *a = NULL;
    assert_ok(arena_new(&a, 1 << 10));
    arena_reset(a);
    assert_null(arena_take(a, SIZE_MAX));
    assert_null(arena_take(a, SIZE_MAX - 100));
    assert_null(arena_take(a, PTRDIFF_MAX - 100));
    assert_int_equal(arena_peak(a), 0);
    assert_non_null(arena_take(a, 0));
    arena_free(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_memory_is_aligned_and_zero),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(an_array_grows_and_keeps_its_elements),
        cmocka_unit_test(an_arena_gives_distinct_aligned_memory),
        cmocka_unit_test(a_reset_arena_needs_one_block),
        cmocka_unit_test(an_arena_refuses_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
