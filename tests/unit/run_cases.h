/* What main() of a test program does: runs one suite of one test case. */
#ifndef NETC_TESTS_RUN_CASES_H
#define NETC_TESTS_RUN_CASES_H
#include <check.h>
#include <stdlib.h>

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
