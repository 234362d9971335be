/* Messages, small texts and files for the subcommands. They speak in the name of the program that runs: netc, or an executable.
 */
#include "cli/report.h"
#include "runtime/file.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int fail(int status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "%s: error: ", program_invocation_short_name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return status;
}

int fail_rt(RtStatus status, const RtError *error) {
    if (status != RT_INTERRUPTED) return fail(rt_exit_code(status), "%s", error->text);
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, error->text); /* asked for, so not an error */
    return rt_exit_code(status);
}

void say(RtSaying kind, const char *text) {
    fflush(stdout);
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, kind == RT_WARNING ? "warning" : "note", text);
}

int prepare_openblas(bool (*reserve)(int threads), int threads) {
    const char *type = getenv("OPENBLAS_CORETYPE");
    char text[256];
    snprintf(text, sizeof text,
             "OPENBLAS_CORETYPE=%.40s is set: this model calls OpenBLAS, which runs its code for that CPU, perhaps several times "
             "slower",
             type ? type : "");
    if (type && *type) say(RT_NOTE, text);
    if (reserve(threads)) return EXIT_OK;
    return fail(EXIT_IO, "out of memory: OpenBLAS, which this model calls, needs 136 MB of addresses for each of %d threads",
                threads);
}

bool use_color(FILE *stream) {
    const char *no_color = getenv("NO_COLOR"); /* no-color.org: set and not empty */
    return isatty(fileno(stream)) && !(no_color && *no_color);
}

char *join(const char *format, ...) {
    va_list args;
    char *text;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0) exit(fail(EXIT_IO, "out of memory"));
    return text;
}

static const int64_t TEXT_LIMIT = (int64_t)1 << 30;

char *read_file(const char *path, size_t *length, int *status) { return read_large_file(path, TEXT_LIMIT, length, status); }

char *read_large_file(const char *path, int64_t limit, size_t *length, int *status) {
    int64_t size;
    const char *why;
    FILE *file = file_open(path, &size, &why);
    char *text = NULL;
    if (!file) {
        *status = fail(file_misnamed() ? EXIT_INPUT : EXIT_IO, "cannot open '%s': %s", path, why);
    } else if (size > limit) {
        *status = fail(EXIT_INPUT, "'%s' is too large to be read whole: it has %lld bytes", path, (long long)size);
    } else if (!(text = malloc((size_t)size + 1))) {
        *status = fail(EXIT_IO, "out of memory");
    } else if (fread(text, 1, (size_t)size, file) != (size_t)size) {
        *status = fail(EXIT_IO, "cannot read '%s': %s", path, ferror(file) ? strerror(errno) : "the file became shorter");
        free(text);
        text = NULL;
    } else {
        text[size] = 0;
        *length = (size_t)size;
    }
    if (file) fclose(file);
    return text;
}
