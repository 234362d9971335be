/* What main() of a test program does: runs one suite of one test case. */
#ifndef NETC_TESTS_RUN_CASES_H
#define NETC_TESTS_RUN_CASES_H
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>

/* Under ASan compiling takes four times as long, most of it in LLVM, which is not instrumented: tables of hundreds of
 * compilations that differ by lanes only are cut there. */
#ifdef __SANITIZE_ADDRESS__
static const bool sanitized = true;
#else
static const bool sanitized = false;
#endif

static inline int run_cases(const char *name, TCase *cases) {
    Suite *suite = suite_create(name);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
#endif
