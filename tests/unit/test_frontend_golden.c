/* Golden tests of the frontend, under tests/golden/frontend:
 *     bad/x.net   does not compile; x.expect holds exactly what it is told
 *     good/x.net  compiles; x.expect holds its source graph (batch 2) and its recipe
 *     fmt/x.net   x.expect holds its canonical form
 * Comments at the head of a file stand for options: `# set: key=value`, `# net: name`, `# mode: infer`.
 * NETC_BLESS=1 in the environment rewrites the .expect files. */
#include "frontend/frontend.h"
#include "ir/text.h"
#include "run_cases.h"
#include <check.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILES = 512, MAX_SETS = 16 };

static char *read_all(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t size = 0, n;
    char block[4096];
    if (!file) return NULL;
    FILE *memory = open_memstream(&text, &size);
    while ((n = fread(block, 1, sizeof block, file)) > 0) fwrite(block, 1, n, memory);
    fclose(memory);
    fclose(file);
    if (length) *length = size;
    return text;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Paths of the .net files of one folder, sorted; free each. */
static int list_files(const char *folder, char **path) {
    DIR *dir = opendir(folder);
    int count = 0;
    ck_assert_msg(dir != NULL, "cannot open %s", folder);
    for (struct dirent *entry; (entry = readdir(dir));) {
        size_t length = strlen(entry->d_name);
        if (length < 5 || strcmp(entry->d_name + length - 4, ".net")) continue;
        ck_assert_int_lt(count, MAX_FILES);
        ck_assert_int_ge(asprintf(&path[count++], "%s/%s", folder, entry->d_name), 0);
    }
    closedir(dir);
    qsort(path, (size_t)count, sizeof *path, by_name);
    return count;
}

/* ---- options in comments ---- */

typedef struct Directives {
    FrontendOptions options;
    const char *set[MAX_SETS];
    char *text; /* owns all of them */
} Directives;

static void read_directives(const char *path, Directives *d) {
    *d = (Directives){.options = {.mode = MODE_TRAIN, .batch = 2}};
    d->options.sets = d->set;
    d->text = read_all(path, NULL);
    char *save = NULL;
    for (char *line = strtok_r(d->text, "\n", &save); line && *line == '#'; line = strtok_r(NULL, "\n", &save)) {
        if (!strncmp(line, "# set: ", 7) && d->options.nsets < MAX_SETS) d->set[d->options.nsets++] = line + 7;
        if (!strncmp(line, "# net: ", 7)) d->options.net = line + 7;
        if (!strcmp(line, "# mode: infer")) d->options.mode = MODE_INFER;
    }
}

/* ---- what each folder is held to ---- */

static char *diagnostics(Diag *diag) {
    char *text = NULL;
    size_t length;
    FILE *memory = open_memstream(&text, &length);
    diag_print(diag, memory, false);
    fclose(memory);
    return text;
}

static char *result_bad(const char *path) {
    Directives d;
    Model model;
    Diag *diag = diag_new();
    read_directives(path, &d);
    bool ok = frontend_compile(path, &d.options, diag, &model);
    char *text = diagnostics(diag);
    ck_assert_msg(!ok, "%s compiles, and should not", path);
    ck_assert_msg(diag_error_count(diag) > 0, "%s fails without an error", path);
    diag_free(diag);
    free(d.text);
    return text;
}

static char *result_good(const char *path) {
    Directives d;
    Model model;
    Diag *diag = diag_new();
    read_directives(path, &d);
    bool ok = frontend_compile(path, &d.options, diag, &model);
    char *told = diagnostics(diag);
    ck_assert_msg(ok, "%s does not compile:\n%s", path, told);
    char *unsound = graph_verify(model.graph, TIER_SOURCE | TIER_NET);
    ck_assert_msg(!unsound, "%s: %s", path, unsound);
    char *graph = graph_to_string(model.graph), *text = NULL;
    ck_assert_int_ge(asprintf(&text, "%s%s", graph, model.recipe_text), 0);
    free(graph);
    free(told);
    graph_free(model.graph);
    diag_free(diag);
    free(d.text);
    return text;
}

static char *result_fmt(const char *path) {
    size_t length = 0;
    Diag *diag = diag_new();
    char *source = read_all(path, &length), *text = frontend_format(path, source, length, diag);
    ck_assert_msg(text != NULL, "%s cannot be formatted", path);
    diag_free(diag);
    free(source);
    return text;
}

static void compare_folder(const char *folder, char *(*result)(const char *)) {
    static char *path[MAX_FILES];
    int count = list_files(folder, path), wrong = 0;
    bool bless = getenv("NETC_BLESS") != NULL;
    ck_assert_int_gt(count, 0);
    for (int i = 0; i < count; i++) {
        char *expect_path = NULL, *actual = result(path[i]);
        ck_assert_int_ge(asprintf(&expect_path, "%.*s.expect", (int)strlen(path[i]) - 4, path[i]), 0);
        char *expected = read_all(expect_path, NULL);
        if (bless) {
            FILE *file = fopen(expect_path, "wb");
            ck_assert(file && fputs(actual, file) >= 0 && fclose(file) == 0);
        } else if (!expected || strcmp(expected, actual)) {
            wrong++;
            fprintf(stderr, "%s differs.\n--- expected\n%s--- found\n%s", path[i], expected ? expected : "(no file)\n", actual);
        }
        free(expected);
        free(expect_path);
        free(actual);
        free(path[i]);
    }
    ck_assert_msg(wrong == 0, "%d of %d files differ; NETC_BLESS=1 accepts what was found", wrong, count);
}

START_TEST(bad_files_get_their_messages) { compare_folder("tests/golden/frontend/bad", result_bad); }
END_TEST

START_TEST(good_files_make_their_graphs) { compare_folder("tests/golden/frontend/good", result_good); }
END_TEST

START_TEST(files_take_their_canonical_form) { compare_folder("tests/golden/frontend/fmt", result_fmt); }
END_TEST

int main(void) {
    TCase *tests = tcase_create("golden");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, bad_files_get_their_messages);
    tcase_add_test(tests, good_files_make_their_graphs);
    tcase_add_test(tests, files_take_their_canonical_form);
    return run_cases("frontend: golden", tests);
}
