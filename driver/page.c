#include "driver/page.h"
#include "cli/report.h"
#include <errno.h>
#include <string.h>

static const char *const MARK = "@DATA@";

int page_write(const char *page, const char *path, const char *data) {
    const char *mark = strstr(page, MARK);
    FILE *out = fopen(path, "w");
    if (!out) return fail(EXIT_IO, "cannot write '%s': %s", path, strerror(errno));
    fwrite(page, 1, (size_t)(mark - page), out);
    /* What HTML would take for the end of the script is written as JSON may. */
    for (const char *c = data; *c; c++) fputs(c[0] == '<' ? "\\u003c" : (const char[]){*c, 0}, out);
    fputs(mark + strlen(MARK), out);
    bool failed = ferror(out);
    return fclose(out) || failed ? fail(EXIT_IO, "cannot write '%s'", path) : EXIT_OK;
}
