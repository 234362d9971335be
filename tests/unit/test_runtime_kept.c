/* What is kept from run to run: directories, and holding them to a size beside another process that does the same. */
#include "run_cases.h"
#include "runtime/kept.h"
#include "runtime_softmax.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

START_TEST(a_file_is_no_directory) {
    char *directory = directory_new();
    spill(path_in(directory, "file"), "", 0);
    ck_assert(rt_make_directories(path_in(directory, "a/b/c/")) && rt_make_directories(path_in(directory, "a/b")));
    errno = 0;
    ck_assert(!rt_make_directories(path_in(directory, "file")) && errno == ENOTDIR);
    errno = 0;
    ck_assert(!rt_make_directories(path_in(directory, "file/below")) && errno == ENOTDIR);
    directory_free(directory);
}
END_TEST

static const char *where;
static char oldest[64];
static int asked;

/* The first that is listed is made the oldest, and is gone when the last one is asked for: another process trims, too. */
static RtKeptFile counted(const char *name) {
    if (strlen(name) != 1 || *name == '.') return RT_KEPT_NOT;
    if (++asked == 1) {
        snprintf(oldest, sizeof oldest, "%s", name);
        ck_assert_int_eq(utimensat(AT_FDCWD, path_in(where, name), (struct timespec[]){{1, 0}, {1, 0}}, 0), 0);
    }
    if (asked == 3) ck_assert_int_eq(unlink(path_in(where, oldest)), 0);
    return RT_KEPT_ONE;
}

START_TEST(what_another_removed_is_gone) {
    char *directory = directory_new();
    where = directory;
    for (const char *c = "abc"; *c; c++) spill(path_in(directory, (char[]){*c, 0}), "0123456789", 10);
    rt_kept_trim(directory, counted, 20);
    RtKept left = rt_kept_info(directory, counted);
    ck_assert_msg(left.files == 2 && left.bytes == 20, "%d files are left", (int)left.files);
    directory_free(directory);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("kept");
    tcase_add_test(cases, a_file_is_no_directory);
    tcase_add_test(cases, what_another_removed_is_gone);
    return run_cases("runtime/kept", cases);
}
