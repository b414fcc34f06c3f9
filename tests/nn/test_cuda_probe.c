/* The device probe answers, with or without a driver: a count and a name, or 0 and a reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>
#include "nn/cuda/probe.h"

static void test_probe(void **state) {
    char text[256] = "";
    int n = nn_cuda_probe(text, sizeof text);
    print_message("CUDA devices: %d (%s)\n", n, text);
    assert_true(n >= 0);
    assert_true(strlen(text) > 0);
    assert_int_equal(strstr(text, "compute capability") != NULL, n > 0);
}

static void test_short_text(void **state) {
    char text[4] = {'x', 'x', 'x', 'x'};
    nn_cuda_probe(text, 3);
    assert_int_equal(strlen(text), 2);
    assert_int_equal(text[3], 'x');
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_probe), cmocka_unit_test(test_short_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
