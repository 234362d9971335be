#include "driver/watch.h"
#include "cli/report.h"
#include "ir/diff.h"
#include "ir/text.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int write_file(const PassWatch *w, const char *path, const char *remark, const Graph *g) {
    FILE *file = fopen(path, "w");
    if (!file) return fail(EXIT_IO, "cannot write '%s': %s", path, strerror(errno));
    fprintf(file, "# %s\n", remark);
    graph_print(g, w->sources, file);
    bool failed = ferror(file);
    if (fclose(file) || failed) return fail(EXIT_IO, "cannot write '%s': %s", path, strerror(errno));
    return EXIT_OK;
}

/* DIR/train-00-source.ir, DIR/train-01-lower.ir, DIR/train-04-cse-1.ir, …: they sort as they ran. */
static int split(const PassWatch *w, const char *name, const char *remark, const Graph *g) {
    if (mkdir(w->directory, 0777) && errno != EEXIST) return fail(EXIT_IO, "cannot make '%s': %s", w->directory, strerror(errno));
    char *path = join("%s/%s-%02d-%s.ir", w->directory, mode_text(g->mode), w->run[g->mode], name);
    for (char *hash = path + strlen(w->directory); (hash = strchr(hash, '#')) != NULL;) *hash = '-';
    int status = write_file(w, path, remark, g);
    free(path);
    return status;
}

void watch_pass(void *context, const PassRun *run, const Graph *before, const Graph *after) {
    PassWatch *w = context;
    Mode mode = before->mode;
    if (w->directory && !w->status && w->run[mode] == 0) w->status = split(w, "source", "what the passes get", before);
    w->run[mode]++;
    if (w->directory && !w->status) {
        char *remark = join("after %s", run->name);
        w->status = split(w, run->name, remark, after);
        free(remark);
    }
    if (!w->changed) return;
    fflush(stdout);
    fprintf(stderr, "# %s: %s", mode_text(mode), run->name);
    if (!graph_diff(before, after, NULL)) {
        fputs(" changed nothing\n", stderr);
        return;
    }
    fputc('\n', stderr);
    graph_diff(before, after, stderr);
}
