/* netc fmt: .net files in canonical style: to standard output, in place (--write), or only checked (--check). */
#include "driver/driver.h"
#include "frontend/frontend.h"
#include "ir/stream.h"
#include "runtime/json.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *read_stdin(size_t *length) {
    TextStream memory;
    char block[4096];
    size_t n;
    text_open(&memory);
    while ((n = fread(block, 1, sizeof block, stdin)) > 0) fwrite(block, 1, n, memory.file);
    text_close(&memory);
    *length = memory.length;
    return memory.text;
}

/* Written beside the file and renamed, so that an interruption leaves the old text or the new one. */
static int replace_file(const char *path, const char *text) {
    char *temporary = join("%s.netc-fmt", path);
    struct stat info;
    FILE *file = fopen(temporary, "wb");
    bool ok = file && fputs(text, file) >= 0;
    if (file && !stat(path, &info)) ok = ok && !fchmod(fileno(file), info.st_mode & 07777);
    if (file && fclose(file)) ok = false;
    ok = ok && !rename(temporary, path);
    int status = ok ? EXIT_OK : fail(EXIT_IO, "cannot write '%s': %s", path, strerror(errno));
    if (!ok) unlink(temporary);
    free(temporary);
    return status;
}

/* text NULL: it is in the file, or nowhere. */
static void print_json(const char *path, bool canonical, bool written, const char *text) {
    printf("{\"file\": ");
    json_write_string(stdout, path);
    printf(", \"canonical\": %s, \"written\": %s", canonical ? "true" : "false", written ? "true" : "false");
    if (text) json_write_text(stdout, "text", text);
    puts("}");
}

static int format_one(const Options *options, const char *path) {
    bool standard_input = !strcmp(path, "-");
    size_t length = 0;
    int status = EXIT_OK;
    char *text = standard_input ? read_stdin(&length) : read_file(path, &length, &status);
    if (!text) return status;
    Diag *diag = diag_new();
    char *canonical = frontend_format(standard_input ? "<stdin>" : path, text, length, diag);
    if (!canonical) {
        diag_print(diag, stderr, use_color(stderr));
        status = EXIT_INPUT;
    } else {
        bool same = strlen(canonical) == length && !memcmp(canonical, text, length);
        bool writes = options->write && !options->check && !standard_input, prints = !writes && !options->check;
        if (options->check && !same)
            status = fail(EXIT_INPUT, "'%s' is not in canonical form; 'netc fmt --write' rewrites it", path);
        if (writes && !same) status = replace_file(path, canonical);
        if (options->json)
            print_json(path, same, writes && !same && !status, prints ? canonical : NULL);
        else if (prints)
            fputs(canonical, stdout);
    }
    free(canonical);
    diag_free(diag);
    free(text);
    return status;
}

int command_fmt(const Options *options) {
    if (options->noperands == 0) return usage_error("fmt", "no file given");
    int status = EXIT_OK;
    for (uint32_t i = 0; i < options->noperands; i++) {
        int one = format_one(options, options->operand[i]);
        if (one > status) status = one;
    }
    return status;
}
