/* posix_spawn, and a progress line drawn from the size of the directory that the program fills. */
#include "driver/process.h"
#include "cli/report.h"
#include "ir/arena.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* nftw has no context argument; this is the one sum it may write to. */
static __thread int64_t visited_bytes;

static int add_size(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)path, (void)where;
    if (kind == FTW_F) visited_bytes += info->st_size;
    return 0;
}

int64_t directory_bytes(const char *directory) {
    visited_bytes = 0;
    nftw(directory, add_size, 16, FTW_PHYS);
    return visited_bytes;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info, (void)kind, (void)where;
    return remove(path);
}

bool directory_remove(const char *directory) { return !nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS) || errno == ENOENT; }

bool process_fork(int (*body)(void *context), void *context, bool loud, unsigned seconds, int *status) {
    fflush(NULL);
    pid_t process = fork();
    if (process < 0) return fail(EXIT_IO, "cannot start a process: %s", strerror(errno)), false;
    if (process == 0) {
        if (!freopen("/dev/null", "w", stdout) || (!loud && !freopen("/dev/null", "w", stderr))) _exit(EXIT_IO);
        if (seconds) setpgid(0, 0), prctl(PR_SET_PDEATHSIG, SIGKILL), alarm(seconds); /* a group, which Ctrl-C does not reach */
        _exit(body(context));
    }
    while (waitpid(process, status, 0) < 0)
        if (errno != EINTR) return fail(EXIT_IO, "a process is lost: %s", strerror(errno)), false;
    if (seconds) kill(-process, SIGKILL); /* what it started and left behind */
    return true;
}

/* Ctrl-C, a closed pipe or a kill end a program wherever it is. A child, in a session of its own so that none of them reaches it,
 * sees that end by a pipe that nobody writes to, and removes what is still there. */
static void remove_at_end(const char *directory) {
    int end[2];
    if (pipe2(end, O_CLOEXEC)) return;
    pid_t child = fork();
    if (!child) {
        char nothing;
        ssize_t n;
        close(end[1]);
        setsid();
        do n = read(end[0], &nothing, 1);
        while (n < 0 && errno == EINTR);
        directory_remove(directory);
        _exit(EXIT_OK);
    }
    close(end[0]);
    if (child < 0) close(end[1]); /* else it closes with this program */
}

char *directory_temporary(void) {
    const char *temporary = getenv("TMPDIR");
    char *path = join("%s/netc-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (mkdtemp(path)) {
        remove_at_end(path);
        return path;
    }
    fail(EXIT_IO, "cannot make a directory like '%s': %s", path, strerror(errno));
    free(path);
    return NULL;
}

static void draw_progress(const Watch *watch, bool last) {
    double mb = 1e-6 * (double)directory_bytes(watch->directory);
    fprintf(stderr, "\r%s: %.0f MB", watch->label, mb);
    if (watch->expected) {
        double percent = 1e8 * mb / (double)watch->expected;
        fprintf(stderr, " of %.0f MB, %.0f %%", 1e-6 * (double)watch->expected, percent < 100 ? percent : 100);
    }
    fputs(last ? "\033[K\n" : "\033[K", stderr);
}

/* Waits for the child; on a terminal draws the line four times a second. */
static int wait_for(pid_t child, const Watch *watch) {
    bool live = watch && isatty(STDERR_FILENO);
    if (watch && !live) fprintf(stderr, "%s\n", watch->label);
    for (;;) {
        int status;
        pid_t ended = waitpid(child, &status, live ? WNOHANG : 0);
        if (ended < 0 && errno == EINTR) continue;
        if (ended < 0) return PROGRAM_KILLED;
        if (ended > 0) {
            if (live) draw_progress(watch, true);
            return WIFEXITED(status) ? WEXITSTATUS(status) : PROGRAM_KILLED;
        }
        draw_progress(watch, false);
        nanosleep(&(struct timespec){.tv_nsec = 250000000}, NULL);
    }
}

int process_run(char *const argv[], const char *output, bool quiet, const Watch *watch) {
    posix_spawn_file_actions_t actions;
    pid_t child;
    if (posix_spawn_file_actions_init(&actions)) out_of_memory("cannot start '%s'", argv[0]);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output ? output : "/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (quiet) posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    int spawned = posix_spawnp(&child, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (spawned == ENOMEM || spawned == EAGAIN)
        out_of_memory("cannot start '%s'", argv[0]); /* there it is, so no other will do */
    return spawned ? PROGRAM_MISSING : wait_for(child, watch);
}
