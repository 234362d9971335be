/* What graph_diff says: nothing of graphs that differ in ids alone, and of others only what differs. */
#include "ir/diff.h"
#include "ir/stream.h"
#include "ir/text.h"
#include "run_cases.h"
#include <string.h>

static Graph *read(const char *text) {
    Diag *diag = diag_new();
    uint32_t file = diag_add_file(diag, "test", text, strlen(text));
    Graph *g = graph_read(text, strlen(text), file, diag);
    if (!g) diag_print(diag, stderr, false);
    ck_assert_ptr_nonnull(g);
    diag_free(diag);
    return g;
}

#define HEAD                                                                                                                     \
    "graph \"g\" infer\n"                                                                                                        \
    "%0 = input {name=\"image\"} : f32[2,4,6,6] @\"image\"\n"                                                                    \
    "%1 = param {name=\"w\", init=constant(1), decay=true} : f32[4] @\"w\"\n"

#define STATE HEAD "%2 = state {name=\"s\", init=constant(1)} : f32[4] @\"s\"\n"

/* Two maps that look alike and one unnamed, in either order, with something dead in between. */
static const char one[] = HEAD "%2 = map %0, %1 : f32[2,4,6,6] @\"x\"\n"
                               "  output { t0 = mul a0, a1; t0 }\n"
                               "%3 = map %2 : f32[2,4,6,6] @\"x\"\n"
                               "  output { t0 = max 0, a0; t0 }\n"
                               "%4 = image_sum %3 : f32[2,4]\n"
                               "return logits %4\n";
static const char same[] = HEAD "%2 = map %0, %1 : f32[2,4,6,6] @\"x\"\n"
                                "  output { t0 = mul a0, a1; t0 }\n"
                                "%3 = constant {value=3} : f32[]\n"
                                "%4 = map %2 : f32[2,4,6,6] @\"x\"\n"
                                "  output { t0 = max 0, a0; t0 }\n"
                                "%5 = image_sum %4 : f32[2,4]\n"
                                "return logits %5\n";
static const char merged[] = HEAD "%2 = map %0, %1 : f32[2,4,6,6] @\"x\"\n"
                                  "  output { t0 = mul a0, a1; t1 = max 0, t0; t1 }\n"
                                  "%3 = image_sum %2 : f32[2,4]\n"
                                  "return logits %3\n";

static const struct {
    const char *before, *after, *diff;
} cases[] = {
    {one, one, ""},
    {one, same, "+ %+3 = constant {value=3} : f32[]\n"},
    {same, one, "- %3 = constant {value=3} : f32[]\n"},
    {one, merged,
     "- %2 = map %0, %1 : f32[2,4,6,6] @\"x\"\n"
     "-   output { t0 = mul a0, a1; t0 }\n"
     "+ %2 = map %0, %1 : f32[2,4,6,6] @\"x\"\n"
     "+   output { t0 = mul a0, a1; t1 = max 0, t0; t1 }\n"
     "- %3 = map %2 : f32[2,4,6,6] @\"x\"\n"
     "-   output { t0 = max 0, a0; t0 }\n"
     "- %4 = image_sum %3 : f32[2,4]\n"
     "+ %4 = image_sum %2 : f32[2,4]\n"},
    {HEAD "%2 = image_sum %0 : f32[2,4]\nreturn logits %2\n", HEAD "%2 = global_avg_pool %0 : f32[2,4]\nreturn logits %2\n",
     "- %2 = image_sum %0 : f32[2,4]\n"
     "+ %+2 = global_avg_pool %0 : f32[2,4]\n"
     "- return logits %2\n"
     "+ return logits %+2\n"},
    {STATE "return state \"s\" %2\n", STATE, "- return state \"s\" %2\n"},
    {STATE, STATE "%3 = map %2 : f32[4]\n  output { t0 = neg a0; t0 }\nreturn state \"s\" %3\n",
     "+ %+3 = map %2 : f32[4]\n+   output { t0 = neg a0; t0 }\n+ return state \"s\" %+3\n"},
};
enum { CASES = sizeof cases / sizeof *cases };

START_TEST(only_what_differs_is_said) {
    Graph *before = read(cases[_i].before), *after = read(cases[_i].after);
    TextStream text;
    text_open(&text);
    bool differs = graph_diff(before, after, text.file);
    text_close(&text);
    ck_assert_str_eq(text.text, cases[_i].diff);
    ck_assert_int_eq(differs, *cases[_i].diff != 0);
    ck_assert_int_eq(graph_diff(before, after, NULL), differs);
    free(text.text);
    graph_free(before);
    graph_free(after);
}
END_TEST

/* A value in the middle of many that look alike: one line, however many there are. */
START_TEST(alike_values_stay_apart) {
    TextStream text[2];
    for (int k = 0; k < 2; k++) {
        text_open(&text[k]);
        fputs(HEAD, text[k].file);
        uint32_t id = 2;
        for (int i = 0; i < 500; i++) {
            if (k && i == 250) fprintf(text[k].file, "%%%u = softmax %%%u : f32[2,4]\n", id, id - 1), id++;
            fprintf(text[k].file, i ? "%%%u = relu %%%u : f32[2,4]\n" : "%%%u = image_sum %%0 : f32[2,4]\n", id, id - 1), id++;
        }
        fprintf(text[k].file, "return logits %%%u\n", id - 1);
        text_close(&text[k]);
    }
    Graph *before = read(text[0].text), *after = read(text[1].text);
    TextStream diff;
    text_open(&diff);
    graph_diff(before, after, diff.file);
    text_close(&diff);
    ck_assert_str_eq(diff.text,
                     "+ %+252 = softmax %251 : f32[2,4]\n- %252 = relu %251 : f32[2,4]\n+ %252 = relu %+252 : f32[2,4]\n");
    free(diff.text);
    for (int k = 0; k < 2; k++) free(text[k].text);
    graph_free(before);
    graph_free(after);
}
END_TEST

int main(void) {
    TCase *t = tcase_create("diff");
    tcase_add_loop_test(t, only_what_differs_is_said, 0, CASES);
    tcase_add_test(t, alike_values_stay_apart);
    return run_cases("ir_diff", t);
}
