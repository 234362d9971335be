/* Run directories: nothing of an earlier training is lost, one process at a time, what a killed one left is cleaned. */
#include "run_cases.h"
#include "runtime_softmax.h"
#include <signal.h>
#include <sys/wait.h>

static RtError error;

static RtDirectory *take(const char *path, RtDirectoryUse use) {
    RtDirectory *d;
    ck_assert_msg(rt_directory_take(path, use, &d, &error) == RT_OK, "%s", error.text);
    return d;
}

static void refuses(const char *path, RtDirectoryUse use, RtStatus status, const char *says) {
    RtDirectory *d;
    ck_assert_int_eq(rt_directory_take(path, use, &d, &error), status);
    ck_assert_msg(strstr(error.text, says), "%s", error.text);
    ck_assert_ptr_null(d);
}

static bool there(const char *directory, const char *name) { return access(path_in(directory, name), F_OK) == 0; }
static void put(const char *directory, const char *name) { spill(path_in(directory, name), name, strlen(name)); }

static void holds(const char *directory, const char *name, const char *text) {
    size_t length;
    char *found = slurp(path_in(directory, name), &length);
    ck_assert_msg(found && !strcmp(found, text), "%s holds %s", name, found ? found : "nothing");
    free(found);
}

START_TEST(a_used_directory_is_kept) {
    static const char *const files[] = {"metrics.jsonl", "last.safetensors", "last-1.safetensors", "best.safetensors"};
    char *directory = directory_new();
    put(directory, "notes.txt"); /* not ours */
    rt_directory_release(take(directory, RT_DIRECTORY_NEW));
    put(directory, files[_i]);
    refuses(directory, RT_DIRECTORY_NEW, RT_USAGE, "--resume");
    ck_assert(strstr(error.text, "--overwrite") && strstr(error.text, "--out"));
    holds(directory, files[_i], files[_i]);
    RtDirectory *d = take(directory, RT_DIRECTORY_OVERWRITE);
    ck_assert(there(directory, files[_i])); /* until the new training begins */
    rt_directory_release(d);
    ck_assert(!there(directory, "lock") && there(directory, "notes.txt"));
    directory_free(directory);
}
END_TEST

START_TEST(made_and_gone) {
    char *directory = directory_new(), *deep = strdup(path_in(directory, "a/b"));
    rt_directory_release(take(deep, RT_DIRECTORY_NEW));
    ck_assert(!there(directory, "a/b")); /* nothing was written */
    RtDirectory *d = take(deep, RT_DIRECTORY_NEW);
    ck_assert(there(deep, "lock"));
    put(deep, "metrics.jsonl");
    rt_directory_release(d);
    ck_assert(there(deep, "metrics.jsonl") && !there(deep, "lock"));
    put(directory, "empty");
    free(deep);
    deep = strdup(path_in(directory, "never"));
    refuses(deep, RT_DIRECTORY_RESUME, RT_INPUT, "never/last.safetensors to resume from");
    ck_assert(!there(directory, "never"));
    refuses("", RT_DIRECTORY_NEW, RT_USAGE, "no name");
    free(deep);
    directory_free(directory);
}
END_TEST

START_TEST(latest) {
    char *directory = directory_new(), *base = strdup(path_in(directory, "m-1"));
    static const char *const others[] = {"m-12", "m-1-", "m-1-x", "m-1-07", "m-1-1", "m-1-3x", "m", "m-1-99999999999999999999"};
    ck_assert_int_eq(rt_directory_latest(base), 0);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *path = strdup(path_in(directory, others[i]));
        mkdir(path, 0777);
        put(path, "last.safetensors");
        free(path);
    }
    ck_assert_int_eq(rt_directory_latest(base), 0);
    static const int numbers[] = {1, 2, 7, 40};
    for (int i = 0; i < 4; i++) {
        char path[4096];
        snprintf(path, sizeof path, i ? "%s-%d" : "%s", base, numbers[i]);
        mkdir(path, 0777);
        ck_assert_int_eq(rt_directory_latest(base), i ? numbers[i - 1] : 0); /* empty: not used */
        put(path, i % 2 ? "metrics.jsonl" : "last.safetensors");
        ck_assert_int_eq(rt_directory_latest(base), numbers[i]);
    }
    ck_assert_int_eq(rt_directory_latest("/nowhere/m-1"), 0);
    free(base);
    directory_free(directory);
}
END_TEST

/* Another process that holds the directory until it is told, or killed. Returns its pid when it has it. */
static pid_t hold(const char *directory) {
    int ready[2];
    char byte;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        RtDirectory *d;
        if (rt_directory_take(directory, RT_DIRECTORY_OVERWRITE, &d, &error) != RT_OK) _exit(1);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) pause();
    }
    ck_assert(pid > 0 && read(ready[0], &byte, 1) == 1);
    close(ready[0]), close(ready[1]);
    return pid;
}

START_TEST(one_process_at_a_time) {
    char *directory = directory_new(), says[64];
    put(directory, "last.safetensors");
    pid_t pid = hold(directory);
    snprintf(says, sizeof says, "process %ld is training in /tmp", (long)pid);
    for (int use = RT_DIRECTORY_NEW; use <= RT_DIRECTORY_OVERWRITE; use++)
        refuses(directory, (RtDirectoryUse)use, RT_LOCKED, says);
    ck_assert_int_eq(rt_exit_code(RT_LOCKED), 3);
    ck_assert(there(directory, "lock")); /* not ours to remove */
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    ck_assert(there(directory, "lock")); /* what it left does not block */
    rt_directory_release(take(directory, RT_DIRECTORY_RESUME));
    ck_assert(!there(directory, "lock"));
    directory_free(directory);
}
END_TEST

/* Many processes take and release the same directory in turn: never two at once. */
START_TEST(never_two) {
    enum { PROCESSES = 6, TURNS = 200 };
    char *directory = directory_new(), *inside = strdup(path_in(directory, "inside"));
    for (int i = 0; i < PROCESSES; i++)
        if (fork() == 0) {
            for (int turn = 0; turn < TURNS;) {
                RtDirectory *d;
                RtStatus status = rt_directory_take(directory, RT_DIRECTORY_NEW, &d, &error);
                if (status == RT_LOCKED) continue;
                if (status != RT_OK || mkdir(inside, 0777) != 0 || rmdir(inside) != 0) _exit(1);
                rt_directory_release(d);
                turn++;
            }
            _exit(0);
        }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        wait(&status);
        ck_assert_int_eq(status, 0);
    }
    ck_assert(!there(directory, "lock"));
    free(inside);
    directory_free(directory);
}
END_TEST

START_TEST(what_a_killed_run_left) {
    static const char *const half[] = {"last.safetensors.new.tmp-4194303", "best.safetensors.tmp-1", "last.safetensors.new"};
    static const char *const others[] = {"best.safetensors", "w.safetensors.tmp-1", "last.safetensors.txt", "log"};
    char *directory = directory_new();
    put(directory, "last.safetensors");
    for (int i = 0; i < 3; i++) put(directory, half[i]);
    for (int i = 0; i < 4; i++) put(directory, others[i]);
    RtDirectory *d = take(directory, RT_DIRECTORY_RESUME);
    for (int i = 0; i < 3; i++) ck_assert_msg(!there(directory, half[i]), "%s is still there", half[i]);
    for (int i = 0; i < 4; i++) holds(directory, others[i], others[i]);
    holds(directory, "last.safetensors", "last.safetensors");
    rt_directory_release(d);
    directory_free(directory);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("directory");
    tcase_add_loop_test(cases, a_used_directory_is_kept, 0, 4);
    tcase_add_test(cases, made_and_gone);
    tcase_add_test(cases, latest);
    tcase_add_test(cases, one_process_at_a_time);
    tcase_add_test(cases, never_two);
    tcase_add_test(cases, what_a_killed_run_left);
    return run_cases("runtime/directory", cases);
}
