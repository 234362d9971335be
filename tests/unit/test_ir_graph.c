/* Builder, readers, arena and diagnostics. */
#include "ir/pattern.h"
#include "ir_helpers.h"
#include <stdint.h>

static Val add_input(Graph *g, const char *name, Type type) {
    return graph_add(g, &(ValueSpec){.op = OP_INPUT, .declared = type, .attrs.param.name = name});
}

START_TEST(op_table_agrees) {
    for (int i = 0; i < OP_COUNT; i++) {
        Op op;
        ck_assert(op_from_text(op_text((Op)i), &op) && op == (Op)i);
        ck_assert_uint_le(op_operands(op), op_max_args(op));
    }
    Op op;
    ck_assert(!op_from_text("conv3d", &op) && !op_from_text("", &op));
    ck_assert(op_attr_kind(OP_CONV2D) == ATTR_WINDOW && op_tier(OP_SCALE_FILTERS) == TIER_FUSED);
    ck_assert(op_has_declared_type(OP_MAP) && !op_has_declared_type(OP_CONV2D));
}
END_TEST

START_TEST(builder_copies_what_it_is_given) {
    Graph *g = graph_new("t", MODE_TRAIN);
    char name[] = "image", path[] = "block1";
    Val x = add_input(g, name, type_matrix(2, 3)), args[] = {x};
    ExprNode node[] = {{.op = X_ARG}, {.op = X_NEG}};
    Expr e = {2, node};
    Val m = graph_map(g, type_matrix(2, 3), args, 1, &e, (Span){1, 2, 3}, path);
    name[0] = path[0] = '?';
    args[0] = 77;
    node[1].op = X_EXP;
    ck_assert_str_eq(g->value[x].attrs.param.name, "image");
    ck_assert_str_eq(g->value[m].name, "block1");
    ck_assert_uint_eq(g->value[m].args[0], x);
    ck_assert_uint_eq(g->value[m].regions[0].expr->node[1].op, X_NEG);
    ck_assert(type_equal(g->value[m].space, type_matrix(2, 3)) && g->value[m].span.begin == 2);
    graph_free(g);
}
END_TEST

START_TEST(results_are_reused) {
    Graph *g = graph_new("t", MODE_TRAIN);
    Val x = add_input(g, "x", type_make(DT_F64, 2, (int64_t[]){2, 3}));
    Val m = graph_add(g, &(ValueSpec){.op = OP_MOMENTS, .args = &x, .nargs = 1, .attrs.constant = 2});
    Val n = graph_add(g, &(ValueSpec){.op = OP_MOMENTS, .args = &x, .nargs = 1, .attrs.constant = 4});
    ck_assert_uint_eq(graph_result(g, m, 0), m);
    Val var = graph_result(g, m, 1), other = graph_result(g, n, 1);
    ck_assert_uint_ne(var, other);
    uint32_t count = g->count, index;
    ck_assert_uint_eq(graph_result(g, m, 1), var);
    ck_assert_uint_eq(graph_result(g, n, 1), other);
    ck_assert_uint_eq(g->count, count);
    ck_assert_uint_eq(value_source(g, var, &index), m);
    ck_assert_uint_eq(index, 1);
    ck_assert_uint_eq(value_source(g, m, &index), m);
    ck_assert_uint_eq(index, 0);
    graph_free(g);
}
END_TEST

START_TEST(uses_and_outputs) {
    Graph *g = graph_new("t", MODE_TRAIN);
    Val x = add_input(g, "x", type_matrix(2, 3)), y = graph_binary(g, OP_ADD, x, x, (Span){0, 0, 0});
    Val z = graph_unary(g, OP_RELU, y, (Span){0, 0, 0});
    graph_output(g, OUT_LOGITS, y, NULL);
    graph_output(g, OUT_GRAD, x, "x");
    uint32_t *uses = graph_use_counts(g);
    ck_assert(uses[x] == 3 && uses[y] == 2 && uses[z] == 0);
    free(uses);
    ck_assert_uint_eq(graph_find_output(g, OUT_LOGITS, NULL), y);
    ck_assert_uint_eq(graph_find_output(g, OUT_GRAD, "x"), x);
    ck_assert_uint_eq(graph_find_output(g, OUT_GRAD, "w"), NO_VAL);
    ck_assert_uint_eq(graph_find_output(g, OUT_LOSS, NULL), NO_VAL);
    graph_free(g);
}
END_TEST

START_TEST(many_values) {
    Graph *g = graph_new("t", MODE_TRAIN);
    Val v = add_input(g, "x", type_vector(3));
    for (int i = 0; i < 200000; i++) v = graph_unary(g, OP_RELU, v, (Span){0, 0, 0});
    ck_assert_uint_eq(g->count, 200001);
    ck_assert_uint_eq(g->value[200000].args[0], 199999);
    ck_assert_ptr_null(graph_verify(g, 0));
    graph_free(g);
}
END_TEST

/* ---- arena ---- */

START_TEST(arena_memory_is_zero_and_apart) {
    static const unsigned char zeros[5000];
    Arena *arena = arena_new();
    unsigned char *before = NULL;
    for (size_t i = 0; i < 3000; i++) {
        size_t bytes = i * 37 % 5000;
        unsigned char *memory = arena_alloc(arena, bytes);
        ck_assert_uint_eq((uintptr_t)memory % 16, 0);
        ck_assert_ptr_ne(memory, before);
        ck_assert(memcmp(memory, zeros, bytes) == 0);
        memset(memory, 0xA5, bytes);
        before = memory;
    }
    ck_assert_str_eq(arena_printf(arena, "%s-%d", "a", 5), "a-5");
    ck_assert_str_eq(arena_strndup(arena, "abcdef", 3), "abc");
    arena_free(arena);
    arena_free(NULL);
}
END_TEST

START_TEST(arena_refuses_overflow) {
    Arena *arena = arena_new();
    ARENA_ARRAY(arena, Value, SIZE_MAX / 2); /* exits with 3 */
    arena_free(arena);
}
END_TEST

/* ---- diagnostics ---- */

static char *printed(Diag *diag) {
    FILE *file = tmpfile();
    ck_assert_ptr_nonnull(file);
    diag_print(diag, file, false);
    long size = ftell(file);
    char *text = calloc((size_t)size + 1, 1);
    rewind(file);
    ck_assert_uint_eq(fread(text, 1, (size_t)size, file), (size_t)size);
    fclose(file);
    return text;
}

START_TEST(diagnostics_show_the_place) {
    const char *source = "first line\n\ty = x + z\nlast";
    Diag *diag = diag_new();
    uint32_t file = diag_add_file(diag, "models/x.net", source, strlen(source));
    diag_error(diag, ((Span){file, 16, 21}), "left is %s", "f32[2]");
    diag_note(diag, ((Span){file, 0, 5}), "in block '%s' called here", "basic");
    diag_report(diag, SEV_WARNING, (Span){file, 28, 400}, "at the end");
    diag_error(diag, ((Span){0, 0, 0}), "nowhere");
    diag_report(diag, SEV_REMARK, (Span){77, 0, 0}, "no such file");
    char *text = printed(diag);
    ck_assert_str_eq(text, "models/x.net:2:6: error: left is f32[2]\n"
                           "     2 | \ty = x + z\n"
                           "       | \t    ^^^^^\n"
                           "models/x.net:1:1: note: in block 'basic' called here\n"
                           "models/x.net:3:5: warning: at the end\n"
                           "     3 | last\n"
                           "       |     ^\n"
                           "error: nowhere\n"
                           "remark: no such file\n");
    ck_assert_int_eq(diag_error_count(diag), 2);
    free(text);
    diag_free(diag);
    diag_free(NULL);
}
END_TEST

START_TEST(diagnostics_clip_long_lines) {
    char source[1000];
    memset(source, 'a', sizeof source);
    memcpy(source + 500, "\xC3\xA9\x01", 3); /* e acute: two bytes, one column; and a control byte */
    Diag *diag = diag_new();
    uint32_t file = diag_add_file(diag, "long", source, sizeof source);
    diag_error(diag, ((Span){file, 500, 504}), "here");
    char *text = printed(diag), *line = strchr(text, '\n') + 1, *caret = strchr(line, '\n') + 1;
    ck_assert_uint_lt(strlen(text), 450);
    ck_assert(strstr(line, "...aaa") && strstr(line, "aaa...\n") && strstr(line, "\xC3\xA9?a"));
    ck_assert_str_eq(strchr(caret, '^'), "^^^\n");
    ck_assert_uint_eq((size_t)(strchr(caret, '^') - caret), (size_t)(strchr(line, '\xC3') - line));
    free(text);
    diag_free(diag);
}
END_TEST

START_TEST(diagnostics_stop_after_twenty_errors) {
    Diag *diag = diag_new();
    for (int i = 0; i < 25; i++) {
        diag_error(diag, ((Span){0, 0, 0}), "number %d", i);
        diag_note(diag, ((Span){0, 0, 0}), "note %d", i);
    }
    char *text = printed(diag);
    ck_assert(strstr(text, "number 19\nnote: note 19\n") && !strstr(text, "number 20") && !strstr(text, "note 20"));
    ck_assert(strstr(text, "error: 5 more errors are not shown\n"));
    ck_assert_int_eq(diag_error_count(diag), 25);
    free(text);
    diag_free(diag);
}
END_TEST

START_TEST(lines_and_columns) {
    Diag *diag = diag_new();
    uint32_t file = diag_add_file(diag, "f", "ab\n\ncd", 6);
    int line, column;
    static const int expected[][3] = {{0, 1, 1}, {2, 1, 3}, {3, 2, 1}, {4, 3, 1}, {5, 3, 2}, {6, 3, 3}, {999, 3, 3}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        diag_line_column(diag, (Span){file, (uint32_t)expected[i][0], 0}, &line, &column);
        ck_assert_msg(line == expected[i][1] && column == expected[i][2], "%d is %d:%d", expected[i][0], line, column);
    }
    diag_line_column(diag, (Span){0, 3, 3}, &line, &column);
    ck_assert(line == 0 && column == 0);
    ck_assert_str_eq(diag_file_path(diag, file), "f");
    ck_assert_ptr_null(diag_file_path(diag, file + 1));
    diag_free(diag);
}
END_TEST

START_TEST(arrays_grow) {
    Arena *arena = arena_new();
    const uint64_t *first = NULL;
    uint64_t *array = NULL;
    uint32_t capacity = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        ARENA_GROW(arena, array, i, &capacity);
        ck_assert_uint_gt(capacity, i);
        if (i == 0) first = array;
        array[i] = i;
    }
    for (uint32_t i = 0; i < 1000; i++) ck_assert_uint_eq(array[i], i);
    ck_assert_uint_eq(capacity, 1024);
    ck_assert(array != first && first[0] == 0); /* what it outgrew can be read */
    arena_free(arena);
}
END_TEST

START_TEST(patterns) {
    static const struct {
        const char *pattern, *name;
        bool matches;
    } table[] = {
        {"a.weight", "a.weight", true},
        {"a.weight", "a.weights", false},
        {"a.weight", "a.weigh", false},
        {"*", "", true},
        {"*", "a.b", true},
        {"", "", true},
        {"", "a", false},
        {"?", "", false},
        {"a?c", "a.c", true},
        {"a?c", "ac", false},
        {"*.bias", "x.y.bias", true},
        {"*.bias", "bias", false},
        {"a*b*c", "abc", true},
        {"a*b*c", "axbbxc", true},
        {"a*b*c", "acb", false},
        {"*a*a*a*b", "aaaaaaaaaa", false},
        {"a**", "a", true},
        {"*norm?.bias", "2.norm1.bias", true},
        {"*norm?.bias", "2.norm12.bias", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        ck_assert_msg(pattern_matches(table[i].pattern, table[i].name) == table[i].matches, "\"%s\" and \"%s\"", table[i].pattern,
                      table[i].name);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("graph");
    tcase_add_test(cases, op_table_agrees);
    tcase_add_test(cases, builder_copies_what_it_is_given);
    tcase_add_test(cases, results_are_reused);
    tcase_add_test(cases, uses_and_outputs);
    tcase_add_test(cases, many_values);
    tcase_add_test(cases, arena_memory_is_zero_and_apart);
    tcase_add_exit_test(cases, arena_refuses_overflow, 3);
    tcase_add_test(cases, diagnostics_show_the_place);
    tcase_add_test(cases, diagnostics_clip_long_lines);
    tcase_add_test(cases, diagnostics_stop_after_twenty_errors);
    tcase_add_test(cases, arrays_grow);
    tcase_add_test(cases, lines_and_columns);
    tcase_add_test(cases, patterns);
    return run_cases("ir graph", cases);
}
