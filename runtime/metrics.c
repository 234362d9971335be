/* metrics.jsonl. See metrics.h. */
#include "runtime/metrics.h"
#include "runtime/json.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The step that a line speaks of; false if it is not one of ours (a line cut short by a crash). */
static bool line_step(const char *line, size_t length, int64_t *step) {
    Json j = json_open(line, length);
    char key[64];
    bool found = false;
    if (!json_begin(&j, '{')) return false;
    for (bool first = true; json_next(&j, '{', first, key, sizeof key); first = false) {
        if (!strcmp(key, "step"))
            found = json_integer(&j, step);
        else
            json_skip(&j);
    }
    return found && json_end(&j);
}

/* How many bytes of the file stay: whole lines up to `step`. */
static long kept_length(FILE *f, uint64_t step) {
    char *line = NULL;
    size_t capacity = 0;
    long kept = 0;
    for (ssize_t n; (n = getline(&line, &capacity, f)) > 0 && line[n - 1] == '\n';) {
        int64_t at;
        if (!line_step(line, (size_t)n, &at) || at < 0 || (uint64_t)at > step) break;
        kept = ftell(f);
    }
    free(line);
    return kept;
}

RtStatus rt_metrics_open(RtMetrics *m, const char *directory, bool resume, uint64_t step, RtError *error) {
    *m = (RtMetrics){0};
    if (asprintf(&m->path, "%s/metrics.jsonl", directory) < 0) return rt_fail(error, RT_MEMORY, "out of memory");
    struct stat s;
    if (!stat(m->path, &s) && !S_ISREG(s.st_mode)) /* a pipe would wait for its other end */
        return rt_fail(error, RT_IO, "cannot write %s: it is not a regular file", m->path);
    m->file = resume ? fopen(m->path, "r+") : fopen(m->path, "w");
    if (!m->file && resume && errno == ENOENT) m->file = fopen(m->path, "w");
    if (!m->file) return rt_fail(error, RT_IO, "cannot write %s: %s", m->path, strerror(errno));
    if (!resume) return RT_OK;
    long kept = kept_length(m->file, step);
    if (ftruncate(fileno(m->file), kept) != 0 || fseek(m->file, kept, SEEK_SET) != 0)
        return rt_fail(error, RT_IO, "cannot write %s: %s", m->path, strerror(errno));
    return RT_OK;
}

void rt_metrics_close(RtMetrics *m) {
    if (m->file) fclose(m->file);
    rt_events_close(&m->events);
    free(m->path);
    *m = (RtMetrics){0};
}

RtStatus rt_metrics_sync(RtMetrics *m, RtError *error) {
    if (fsync(fileno(m->file)) == 0 || errno == EINVAL || errno == EROFS)
        return RT_OK; /* what is no file on a disk cannot be synced */
    return rt_fail(error, RT_IO, "cannot write %s: %s", m->path, strerror(errno));
}

RtStatus rt_metrics_line(RtMetrics *m, RtError *error, const char *format, ...) {
    va_list args;
    char *line;
    va_start(args, format);
    int n = vasprintf(&line, format, args);
    va_end(args);
    if (n < 0) return rt_fail(error, RT_MEMORY, "out of memory");
    bool written = fputs(line, m->file) != EOF && fputc('\n', m->file) != EOF && fflush(m->file) == 0;
    RtStatus status = written ? rt_events_line(&m->events, line, error)
                              : rt_fail(error, RT_IO, "cannot write %s: %s", m->path, strerror(errno));
    free(line);
    return status;
}

const char *rt_metrics_number(char *text, double value) {
    if (isfinite(value))
        snprintf(text, 32, "%.9g", value);
    else
        snprintf(text, 32, "null");
    return text;
}
