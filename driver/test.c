/* netc test: files that say what netc is to make of them, for those who write passes. The format is that of tests/golden/run,
 * with checks. */
#include "driver/driver.h"
#include "driver/process.h"
#include "ir/arena.h"
#include "ir/stream.h"
#include "runtime/json.h"
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- files ---- */

typedef struct Files {
    char **path;
    uint32_t count, capacity;
} Files;

static void add_file(Files *files, const char *path) {
    if (files->count == files->capacity) {
        files->capacity = files->capacity ? 2 * files->capacity : 64;
        char **more = realloc(files->path, files->capacity * sizeof *more);
        if (!more) out_of_memory("no room for the names of tests");
        files->path = more;
    }
    files->path[files->count++] = join("%s", path);
}

static Files *found; /* nftw has no context argument */

static int visit(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info, (void)where;
    if (kind == FTW_F) add_file(found, path);
    return 0;
}

static int by_path(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int find_files(const Options *o, Files *files) {
    found = files;
    for (uint32_t i = 0; i < o->noperands; i++)
        if (nftw(o->operand[i], visit, 16, FTW_PHYS))
            return fail(EXIT_IO, "cannot read '%s': %s", o->operand[i], strerror(errno));
    qsort(files->path, files->count, sizeof *files->path, by_path);
    return EXIT_OK;
}

/* ---- a test ---- */

typedef struct Test {
    const char *path, *name; /* name: within its folder */
    char *text;              /* its lines end in 0, so that members below can point into it */
    char *folder, *expect;
    const char **line; /* of the head: behind "# " */
    uint32_t lines;
    char *out; /* what its commands print */
} Test;

/* What stands behind "# KEY"; NULL: another line. */
static const char *after_key(const char *line, const char *key) {
    size_t length = strlen(key);
    if (strncmp(line, key, length)) return NULL;
    return line[length] == ':' ? line + length + 1 + strspn(line + length + 1, " ") : line[length] == 0 ? "" : NULL;
}

static uint32_t count_key(const Test *t, const char *key) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->lines; i++) count += after_key(t->line[i], key) != NULL;
    return count;
}

/* The lines of comment at the head. False: the file is no test. */
static bool read_head(Test *t, size_t length) {
    t->line = calloc(length + 1, sizeof *t->line);
    if (!t->line) out_of_memory("no room for a test's head");
    for (char *at = t->text; *at == '#';) {
        char *end = strchrnul(at, '\n');
        bool last = !*end;
        *end = 0;
        t->line[t->lines++] = at + 1 + strspn(at + 1, " ");
        if (last) break;
        at = end + 1;
    }
    return count_key(t, "run") || count_key(t, "verify");
}

static void replace_name(const Test *t, const char *command, TextStream *to) {
    for (const char *c = command; *c; c++) {
        if (c[0] == '%' && c[1] == 's')
            fputs(t->name, to->file), c++;
        else
            fputc(*c, to->file);
    }
}

/* Runs a command of the shell in the test's folder and appends what it prints on both streams, and "[exit N]" if N is not 0. */
static int run_command(const Test *t, const char *command, FILE *out) {
    TextStream text;
    text_open(&text);
    fprintf(text.file, "cd '%s' && (", t->folder);
    replace_name(t, command, &text);
    fputs(") </dev/null 2>&1", text.file);
    fflush(stdout);
    FILE *pipe = popen(text_close(&text), "r"); /* NOLINT(bugprone-command-processor): a test is a command */
    free(text.text);
    if (!pipe) return fail(EXIT_IO, "cannot run a shell: %s", strerror(errno));
    char block[4096];
    for (size_t n; (n = fread(block, 1, sizeof block, pipe)) > 0;) fwrite(block, 1, n, out);
    int ended = pclose(pipe), status = WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended);
    if (status) fprintf(out, "[exit %d]\n", status);
    return EXIT_OK;
}

static int run_commands(Test *t) {
    TextStream out;
    int status = EXIT_OK;
    text_open(&out);
    for (uint32_t i = 0; i < t->lines && !status; i++) {
        const char *command = after_key(t->line[i], "run");
        if (command) status = run_command(t, command, out.file);
    }
    t->out = text_close(&out);
    return status;
}

/* ---- what is expected ---- */

/* A run of blanks counts as one, so that columns may move. */
static bool contains(const char *line, size_t length, const char *words) {
    for (size_t from = 0; from <= length; from++) {
        size_t at = from;
        const char *w = words;
        while (*w && at < length) {
            if (*w == ' ' && line[at] == ' ') {
                w += strspn(w, " ");
                while (at < length && line[at] == ' ') at++;
            } else if (*w == line[at])
                w++, at++;
            else
                break;
        }
        if (!*w) return true;
    }
    return false;
}

/* The line after the first one from `at` on that contains the words; NULL if none does. */
static const char *find_line(const char *at, const char *words) {
    while (*at) {
        size_t length = strcspn(at, "\n");
        bool has = contains(at, length, words);
        at += length + (at[length] == '\n');
        if (has) return at;
    }
    return NULL;
}

/* Why checks fail, malloc'd; NULL: they hold. Each `check` is looked for behind the line of the one before; no line may have what
 * a `check-not` says. */
static char *check_lines(const Test *t) {
    const char *at = t->out;
    for (uint32_t i = 0; i < t->lines; i++) {
        const char *check = after_key(t->line[i], "check"), *not = after_key(t->line[i], "check-not");
        if (not&&find_line(t->out, not)) return join("a line has '%s', which none may", not);
        if (!check) continue;
        const char *next = find_line(at, check);
        if (!next) return join("no line%s has '%s'", at == t->out ? "" : " behind those before it", check);
        at = next;
    }
    return NULL;
}

/* Where two texts part. */
static char *first_difference(const char *expected, const char *got) {
    for (int line = 1;; line++) {
        size_t a = strcspn(expected, "\n"), b = strcspn(got, "\n");
        if (a != b || strncmp(expected, got, a) != 0)
            return join("line %d is '%.*s' and should be '%.*s'", line, (int)b, got, (int)a, expected);
        if (!expected[a] || !got[b]) return join("line %d is the last on one side only", line);
        expected += a + 1, got += b + 1;
    }
}

static char *check_exactly(const Test *t) {
    size_t length;
    int status;
    char *expected = read_file(t->expect, &length, &status);
    if (!expected) return join("'%s' cannot be read", t->expect);
    char *why = strcmp(expected, t->out) ? first_difference(expected, t->out) : NULL;
    free(expected);
    return why;
}

static char *bless(const Test *t) {
    FILE *file = fopen(t->expect, "w");
    bool failed = !file || fputs(t->out, file) < 0;
    if (file && fclose(file)) failed = true;
    return failed ? join("cannot write '%s': %s", t->expect, strerror(errno)) : NULL;
}

static char *check_verify(const Test *t) {
    for (uint32_t i = 0; i < t->lines; i++) {
        const char *options = after_key(t->line[i], "verify");
        if (!options) continue;
        TextStream out;
        text_open(&out);
        char *command = join("netc verify %%s %s", options);
        int status = run_command(t, command, out.file);
        free(command);
        text_close(&out);
        bool right = !status && !strstr(out.text, "[exit ");
        char *why = right ? NULL : join("it does not verify:\n%s", out.text);
        free(out.text);
        if (why) return why;
    }
    return NULL;
}

static char *check_test(Test *t, bool blesses) {
    bool checks = count_key(t, "check") || count_key(t, "check-not"), exact = !access(t->expect, F_OK);
    bool runs = count_key(t, "run");
    if (run_commands(t)) return join("it cannot be run");
    if (runs && blesses && (exact || !checks)) return bless(t);
    if (runs && !exact && !checks)
        return join("nothing is expected of it: '# check:' lines, or '--bless', which writes '%s'", t->expect);
    char *why = exact ? check_exactly(t) : NULL;
    if (!why) why = check_lines(t);
    if (!why) why = check_verify(t);
    return why;
}

/* ---- all ---- */

/* "x.ir" -> "x.expect", in the same folder. */
static char *expect_path(const char *path) {
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    size_t length = dot && (!slash || dot > slash) ? (size_t)(dot - path) : strlen(path);
    return join("%.*s.expect", (int)length, path);
}

static void test_free(Test *t) {
    free(t->text);
    free(t->folder);
    free(t->expect);
    free(t->line);
    free(t->out);
}

/* How many tests there were so far. */
typedef struct Tally {
    uint32_t passed, failed;
} Tally;

static void print_outcome(const Test *t, const char *why, const Options *o, const Tally *before) {
    const char *what = why ? "FAIL " : o->bless ? "bless" : "ok   ";
    if (o->json) {
        fputs(before->passed + before->failed ? ", {\"file\": " : "{\"tests\": [{\"file\": ", stdout);
        json_write_string(stdout, t->path);
        json_write_text(stdout, "outcome", why ? "failed" : o->bless ? "blessed" : "passed");
        if (why) json_write_text(stdout, "why", why);
        if (why && t->out) json_write_text(stdout, "printed", t->out);
        putchar('}');
        return;
    }
    printf("%s %s%s%s\n", what, t->path, why ? ": " : "", why ? why : "");
    if (why && t->out && *t->out) printf("---- it prints\n%s----\n", t->out);
}

/* Counted, if it is a test. */
static int run_test(const char *path, const Options *o, Tally *tally) {
    size_t length, ending = strlen(".expect"), name = strlen(path);
    int status = EXIT_OK;
    if (name > ending && !strcmp(path + name - ending, ".expect")) return EXIT_OK;
    Test t = {.path = path, .name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path};
    t.text = read_file(path, &length, &status);
    if (!t.text) return status;
    t.folder = t.name == path ? join(".") : join("%.*s", (int)(t.name - path), path);
    t.expect = expect_path(path);
    if (read_head(&t, length)) {
        char *why = check_test(&t, o->bless);
        print_outcome(&t, why, o, tally);
        ++*(why ? &tally->failed : &tally->passed);
        free(why);
    }
    test_free(&t);
    return status;
}

/* A folder with `netc`, this very program, first in PATH. */
static int put_into_path(char **folder) {
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    *folder = directory_temporary();
    if (!*folder) return EXIT_IO;
    if (length <= 0) return fail(EXIT_IO, "cannot find netc itself: %s", strerror(errno));
    self[length] = 0;
    char *link = join("%s/netc", *folder), *path = join("%s:%s", *folder, getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
    int failed = symlink(self, link) || setenv("PATH", path, 1);
    free(link);
    free(path);
    return failed ? fail(EXIT_IO, "cannot write into '%s': %s", *folder, strerror(errno)) : EXIT_OK;
}

int command_test(const Options *options) {
    if (options->noperands == 0) return usage_error("test", "no directory given");
    Files files = {0};
    char *folder = NULL;
    Tally tally = {0};
    int status = find_files(options, &files);
    if (!status) status = put_into_path(&folder);
    for (uint32_t i = 0; i < files.count && !status; i++) status = run_test(files.path[i], options, &tally);
    for (uint32_t i = 0; i < files.count; i++) free(files.path[i]);
    free(files.path);
    if (folder) directory_remove(folder);
    free(folder);
    uint32_t all = tally.passed + tally.failed;
    if (all && options->json) printf("], \"passed\": %u, \"failed\": %u}\n", tally.passed, tally.failed);
    if (status) return status;
    if (!all) return fail(EXIT_INPUT, "there is no test: a file whose head has a line '# run: netc ...'");
    if (!options->json) printf("%u passed, %u failed\n", tally.passed, tally.failed);
    return tally.failed ? EXIT_INPUT : EXIT_OK;
}
