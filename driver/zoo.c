#include "driver/zoo.h"
#include "driver/session.h"
#include "runtime/rt.h"
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int is_model(const struct dirent *entry) {
    size_t length = strlen(entry->d_name);
    return length > 4 && !strcmp(entry->d_name + length - 4, ".net");
}

/* A file of blocks only is no model. */
static bool has_net(const char *path) {
    size_t length;
    int status;
    char *text = read_file(path, &length, &status);
    bool has = text && (!strncmp(text, "net ", 4) || strstr(text, "\nnet "));
    free(text);
    return has;
}

int zoo_open(Zoo *zoo) {
    *zoo = (Zoo){0};
    char *first = session_shipped_file("models", "resnet20.net");
    if (!first) return fail(EXIT_IO, "the models that come with netc are not there");
    *strrchr(first, '/') = 0;
    struct dirent **found;
    int count = scandir(first, &found, is_model, alphasort);
    zoo->path = calloc(count > 0 ? (size_t)count : 1, sizeof *zoo->path);
    if (count < 0 || !zoo->path) {
        free(first);
        return fail(EXIT_IO, "cannot list the models that come with netc");
    }
    for (int i = 0; i < count; i++) {
        char *path = join("%s/%s", first, found[i]->d_name);
        if (has_net(path))
            zoo->path[zoo->count++] = path;
        else
            free(path);
        free(found[i]);
    }
    free(found);
    free(first);
    return EXIT_OK;
}

void zoo_close(Zoo *zoo) {
    for (uint32_t i = 0; i < zoo->count; i++) free(zoo->path[i]);
    free(zoo->path);
}

/* ---- each in a process ---- */

typedef struct Run {
    pid_t process; /* 0: it has not begun, or has ended */
    FILE *said[2]; /* on standard output and standard error; NULL once it is printed */
    int status;
} Run;

static int begin(Run *run, int (*body)(void *, uint32_t), void *context, uint32_t index) {
    fflush(NULL);
    for (int i = 0; i < 2; i++)
        if (!(run->said[i] = tmpfile())) return fail(EXIT_IO, "cannot make a temporary file: %s", strerror(errno));
    pid_t process = fork();
    if (process < 0) return fail(EXIT_IO, "cannot start a process: %s", strerror(errno));
    if (process) return run->process = process, EXIT_OK;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0; i < 2; i++)
        if (dup2(fileno(run->said[i]), i ? STDERR_FILENO : STDOUT_FILENO) < 0) _exit(EXIT_IO);
    int status = body(context, index);
    fflush(NULL);
    _exit(status);
}

static void print_said(Run *run) {
    for (int i = 0; i < 2; i++) {
        char text[4096];
        if (!run->said[i]) continue;
        if (fseek(run->said[i], 0, SEEK_SET)) continue;
        for (size_t n; (n = fread(text, 1, sizeof text, run->said[i]));) fwrite(text, 1, n, i ? stderr : stdout);
        fflush(i ? stderr : stdout);
        fclose(run->said[i]);
        run->said[i] = NULL;
    }
}

/* The end of any of them. */
static int await(const Zoo *zoo, Run *run) {
    int status;
    pid_t process = waitpid(-1, &status, 0);
    if (process < 0 && errno == EINTR) return EXIT_OK;
    if (process < 0) {
        for (uint32_t i = 0; i < zoo->count; i++)
            if (run[i].process) run[i].process = 0, run[i].status = EXIT_IO;
        return fail(EXIT_IO, "processes are lost: %s", strerror(errno));
    }
    for (uint32_t i = 0; i < zoo->count; i++) {
        if (run[i].process != process) continue;
        run[i].process = 0;
        run[i].status = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_IO;
        if (!WIFEXITED(status)) return fail(EXIT_IO, "'%s': its process was ended by signal %d", zoo->path[i], WTERMSIG(status));
    }
    return EXIT_OK;
}

int zoo_each(const Zoo *zoo, int (*body)(void *context, uint32_t index), void *context) {
    Run *run = calloc(zoo->count + 1, sizeof *run);
    if (!run) return fail(EXIT_IO, "no memory");
    uint32_t most = (uint32_t)rt_processors(), begun = 0, printed = 0;
    signal(SIGCHLD, SIG_DFL); /* who ignores it passes that on, and then nobody can be waited for */
    int status = EXIT_OK, worst = EXIT_OK;
    while (printed < begun || (begun < zoo->count && !status)) {
        uint32_t running = 0;
        for (uint32_t i = printed; i < begun; i++) running += run[i].process != 0;
        for (; begun < zoo->count && running < most && !status; running++)
            status = begin(&run[begun], body, context, begun), begun++;
        if (running) {
            int failed = await(zoo, run);
            status = status ? status : failed;
        }
        for (; printed < begun && !run[printed].process; printed++) {
            print_said(&run[printed]);
            if (run[printed].status == EXIT_INPUT)
                worst = EXIT_INPUT;
            else if (!status)
                status = run[printed].status;
        }
    }
    free(run);
    return status ? status : worst;
}
