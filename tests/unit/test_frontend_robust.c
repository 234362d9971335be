/* No text may crash, hang or leak the frontend, and formatting changes nothing but white space: .net files of the tree are
 * cut at every byte, damaged, formatted, formatted again. Meant to be run under ASan too. */
#include "frontend/frontend.h"
#include "frontend/lexer.h"
#include "run_cases.h"
#include <check.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *read_all(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    char block[4096];
    size_t n;
    ck_assert_msg(file != NULL, "cannot open %s", path);
    FILE *memory = open_memstream(&text, length);
    while ((n = fread(block, 1, sizeof block, file)) > 0) fwrite(block, 1, n, memory);
    fclose(memory);
    fclose(file);
    return text;
}

typedef void Visit(const char *path, const char *text, size_t length);

static void for_each_file(const char *folder, Visit *visit) {
    DIR *dir = opendir(folder);
    int count = 0;
    ck_assert_msg(dir != NULL, "cannot open %s", folder);
    for (struct dirent *entry; (entry = readdir(dir));) {
        size_t n = strlen(entry->d_name), length = 0;
        char path[512];
        if (n < 5 || strcmp(entry->d_name + n - 4, ".net")) continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        char *text = read_all(path, &length);
        visit(path, text, length);
        free(text);
        count++;
    }
    closedir(dir);
    ck_assert_int_gt(count, 0);
}

/* Formatted text, or NULL; the diagnostics are printed too, as printing has to bear any text. */
static char *format(const char *text, size_t length) {
    Diag *diag = diag_new();
    char *result = frontend_format("x.net", text, length, diag), *told = NULL;
    size_t told_length;
    FILE *memory = open_memstream(&told, &told_length);
    diag_print(diag, memory, false);
    fclose(memory);
    ck_assert_msg((result != NULL) == (told_length == 0), "no result and no error, or both:\n%.2000s", told);
    free(told);
    diag_free(diag);
    return result;
}

/* ---- formatting ---- */

/* Equal tokens and comments, but for commas that a closing bracket follows and blanks at the ends of comments. */
static void check_same_tokens(const char *path, const char *a, size_t na, const char *b, size_t nb) {
    Arena *arena = arena_new();
    Diag *diag = diag_new();
    uint32_t count[2], i = 0, k = 0;
    Token *s = lex(arena, diag, 1, a, na, &count[0]), *t = lex(arena, diag, 1, b, nb, &count[1]);
    for (;; i++, k++) {
        while (s[i].kind == TOKEN_COMMA && (s[i + 1].kind == TOKEN_RIGHT_PAREN || s[i + 1].kind == TOKEN_RIGHT_BRACKET)) i++;
        while (t[k].kind == TOKEN_COMMA && (t[k + 1].kind == TOKEN_RIGHT_PAREN || t[k + 1].kind == TOKEN_RIGHT_BRACKET)) k++;
        ck_assert_msg(s[i].kind == t[k].kind, "%s: formatting changed token %u", path, i);
        if (s[i].kind == TOKEN_END) break;
        uint32_t length = s[i].span.end - s[i].span.begin;
        if (s[i].kind == TOKEN_COMMENT) continue;
        ck_assert_msg(length == t[k].span.end - t[k].span.begin && !memcmp(a + s[i].span.begin, b + t[k].span.begin, length),
                      "%s: formatting changed the text of token %u", path, i);
    }
    diag_free(diag);
    arena_free(arena);
}

static void check_format(const char *path, const char *text, size_t length) {
    char *once = format(text, length);
    if (!once) return;
    check_same_tokens(path, text, length, once, strlen(once));
    char *twice = format(once, strlen(once));
    ck_assert_msg(twice != NULL, "%s: the formatted text does not parse:\n%.2000s", path, once);
    ck_assert_msg(!strcmp(once, twice), "%s: formatting again changes it:\n%.2000s\n----\n%.2000s", path, once, twice);
    free(once);
    free(twice);
}

static void check_canonical(const char *path, const char *text, size_t length) {
    char *once = format(text, length);
    ck_assert_msg(once && !strcmp(once, text), "%s is not in canonical form", path);
    free(once);
}

START_TEST(formatting_twice_is_formatting_once) {
    for_each_file("models", check_format);
    for_each_file("tests/golden/frontend/good", check_format);
    for_each_file("tests/golden/frontend/bad", check_format);
    for_each_file("tests/golden/frontend/fmt", check_format);
}
END_TEST

START_TEST(our_own_files_are_canonical) {
    for_each_file("models", check_canonical);
    for_each_file("tests/golden/frontend/good", check_canonical);
}
END_TEST

START_TEST(recipes_print_in_canonical_form) {
    Model model;
    Diag *diag = diag_new();
    ck_assert(frontend_compile("models/se_resnet20.net", &(FrontendOptions){.mode = MODE_TRAIN}, diag, &model));
    check_canonical("recipe", model.recipe_text, strlen(model.recipe_text));
    graph_free(model.graph);
    diag_free(diag);
}
END_TEST

/* ---- damaged text ---- */

static void cut_everywhere(const char *path, const char *text, size_t length) {
    for (size_t n = 0; n < length; n++) check_format(path, text, n);
}

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void damage(const char *path, const char *text, size_t length) {
    static const char *const splice[] = {"{", "}",    "(",  ")",      "[",      "]",    "\"",      "\n",
                                         "#", "=",    ",",  "if ",    "else ",  "for ", "as ",     "0..",
                                         "-", "\xff", "\0", "train ", "block ", "net ", "import ", "9999999999999999999",
                                         "e9"};
    uint32_t state = (uint32_t)length;
    char *copy = malloc(length + 64);
    ck_assert_ptr_nonnull(copy);
    for (int round = 0; round < 60 && length > 0; round++) {
        size_t at = next_random(&state) % length, size = length;
        memcpy(copy, text, length);
        if (round % 2) {
            copy[at] = (char)next_random(&state);
        } else {
            const char *s = splice[next_random(&state) % (sizeof splice / sizeof *splice)];
            size_t n = strlen(s) ? strlen(s) : 1;
            memmove(copy + at + n, copy + at, length - at);
            memcpy(copy + at, s, n);
            size += n;
        }
        check_format(path, copy, size);
    }
    free(copy);
}

START_TEST(text_cut_at_every_byte) { for_each_file("models", cut_everywhere); }
END_TEST

START_TEST(damaged_text) {
    for_each_file("models", damage);
    for_each_file("tests/golden/frontend/good", damage);
}
END_TEST

/* Whole compilations of damaged nets, which must end, with a graph or with an error. */
static void compile_text(const char *text, size_t length) {
    char path[] = "/tmp/netc-robust-XXXXXX";
    int file = mkstemp(path);
    ck_assert(file >= 0 && write(file, text, length) == (ssize_t)length && close(file) == 0);
    Model model;
    Diag *diag = diag_new();
    FrontendOptions options = {.mode = MODE_TRAIN, .batch = 2};
    bool ok = frontend_compile(path, &options, diag, &model);
    ck_assert_msg(ok == (diag_error_count(diag) == 0), "no result and no error, or both");
    if (ok) graph_free(model.graph);
    diag_free(diag);
    unlink(path);
}

START_TEST(damaged_nets_compile_or_are_refused) {
    size_t n[2], length;
    char *blocks = read_all("models/blocks.net", &n[0]), *net = read_all("models/resnet_v1.net", &n[1]), *text;
    FILE *memory = open_memstream(&text, &length);
    fprintf(memory, "%s\n%s\nnet small = resnet_v1(depth = 8, se = true)\n", blocks, strstr(net, "net resnet_v1"));
    fclose(memory);
    compile_text(text, length);
    uint32_t state = 7;
    for (size_t cut = 0; cut < length; cut += 7) compile_text(text, cut);
    for (int round = 0; round < 400; round++) {
        size_t at = next_random(&state) % length, from = next_random(&state) % length;
        char kept = text[at];
        text[at] = text[from];
        compile_text(text, length);
        if (round % 4) text[at] = kept; /* some damage stays */
    }
    free(text);
    free(net);
    free(blocks);
}
END_TEST

/* ---- sizes ---- */

static void compile_repeated(const char *before, const char *middle, size_t times, const char *after) {
    char *text;
    size_t length;
    FILE *memory = open_memstream(&text, &length);
    fputs(before, memory);
    for (size_t i = 0; i < times; i++) fputs(middle, memory);
    fputs(after, memory);
    fclose(memory);
    compile_text(text, length);
    check_format("repeated", text, length);
    free(text);
}

START_TEST(hostile_sizes) {
    compile_repeated("net n() { x = ", "(", 500000, "");
    compile_repeated("net n() { x = ", "[", 500000, "");
    compile_repeated("net n() { x = ", "-", 500000, "1 }");
    compile_repeated("net n() { x = ", "not ", 200000, "true }");
    compile_repeated("net n() { x = 1", " + 1", 200000, " }");
    compile_repeated("net n() { x = f", "(f", 200000, " }");
    compile_repeated("net n() { x = a", "[0]", 200000, " }");
    compile_repeated("net n() { x = a() ", " as \"b\"", 100000, " }");
    compile_repeated("net n() { ", "if true {\n", 100000, " }");
    compile_repeated("net n() {\n if true { } ", "else if true { } ", 50000, " }");
    compile_repeated("net n() { x = ", "if true then ", 50000, "1 }");
    compile_repeated("net n() {\n", "x = relu(image)\n", 45000, " }");
    compile_repeated("net n() { x = [", "1, ", 300000, "] }");
    compile_repeated("net n(", "a = 1, ", 100000, ") { }");
    compile_repeated("train {\n", "epochs = 1\n", 90000, "}");
    compile_repeated("", "net a = a()\n", 80000, "");
    compile_repeated("", "block f(x) { return f(x) }\n", 30000, "");
    compile_repeated("", "}", 1000000, "");
    compile_repeated("# ", "x", 2000000, ""); /* over the limit of a file */
}
END_TEST

/* Blocks that call blocks a hundred deep, each call inside deep expressions: the evaluator's own recursion is bounded. */
START_TEST(deep_calls) {
    char *text;
    size_t length;
    FILE *memory = open_memstream(&text, &length);
    for (int i = 0; i < 99; i++) {
        fprintf(memory, "block b%d(x) {\n    return ", i);
        for (int k = 0; k < 150; k++) fputs("1 * (", memory);
        fprintf(memory, "b%d(x) as \"\"", i + 1);
        for (int k = 0; k < 150; k++) fputs(")", memory);
        fputs("\n}\n", memory);
    }
    fputs("block b99(x) {\n    return x\n}\nnet n() {\n    input image: f32[3, 8, 8]\n    x = b0(image)\n}\n", memory);
    fclose(memory);
    compile_text(text, length);
    free(text);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("robust");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, formatting_twice_is_formatting_once);
    tcase_add_test(tests, our_own_files_are_canonical);
    tcase_add_test(tests, recipes_print_in_canonical_form);
    tcase_add_test(tests, text_cut_at_every_byte);
    tcase_add_test(tests, damaged_text);
    tcase_add_test(tests, damaged_nets_compile_or_are_refused);
    tcase_add_test(tests, hostile_sizes);
    tcase_add_test(tests, deep_calls);
    return run_cases("frontend: robustness", tests);
}
