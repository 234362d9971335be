/* Textual graphs: exact round trip over every op and region, precise refusals, and no crash on damaged text. */
#include "ir/utf8.h"
#include "ir_helpers.h"

#define CONV "{kernel=[3,3], stride=[1,1], pad=[1,1,1,1], dilation=[1,1], groups=1}"
#define POOL "{kernel=[2,2], stride=[2,2], pad=[0,0,0,0], dilation=[1,1]}"

/* Every op, every region kind, every operation of an expression, every attribute and output kind, in canonical form. */
static const char every_op[] = {
    "graph \"every \\\"op\\\"\" train\n"
    "%0 = input {name=\"image\"} : f32[2,3,8,8]\n"
    "%1 = input {name=\"labels\"} : i32[2]\n"
    "%2 = param {name=\"w\", init=he_normal(1), decay=true} : f32[4,3,3,3] @\"block1.conv\"\n"
    "%3 = param {name=\"g\", init=constant(1), decay=false} : f32[4]\n"
    "%4 = param {name=\"b\", init=uniform(0.1), decay=false} : f32[4]\n"
    "%5 = state {name=\"mean\", init=constant(0)} : f32[4]\n"
    "%6 = state {name=\"var\", init=constant(1)} : f32[4]\n"
    "%7 = constant {value=-1.25e-07} : f32[]\n"
    "%8 = conv2d %0, %2, %7 " CONV " : f32[2,4,8,8] @\"block1.conv\\\\1\\x09\"\n"
    "  prologue 0 { t0 = mul a0, a2; t1 = max t0, 0; t1 }\n"
    "  store 0\n"
    "  epilogue { t0 = add acc, a2; t0 }\n"
    "  output { t0 = sub out, acc; t1 = div t0, 0.3; t2 = min t1, inf; t3 = neg t2; t4 = exp t3; t4 }\n"
    "  reduce { t0 = log acc; t1 = sqrt t0; t2 = rsqrt t1; t3 = tanh t2; t4 = sigmoid t3; t5 = select t4, -0, nan; t5 }\n"
    "%9 = result %8 {index=3} : f32[2,4]\n"
    "%10 = batch_norm %8, %3, %4, %5, %6 {eps=1e-05, momentum=0.1} : f32[2,4,8,8]\n"
    "%11 = result %10 {index=1} : f32[4]\n"
    "%12 = result %10 {index=2} : f32[4]\n"
    "%13 = relu %10 : f32[2,4,8,8]\n"
    "%14 = sigmoid %13 : f32[2,4,8,8]\n"
    "%15 = tanh %14 : f32[2,4,8,8]\n"
    "%16 = hard_sigmoid %15 : f32[2,4,8,8]\n"
    "%17 = hard_swish %16 : f32[2,4,8,8]\n"
    "%18 = silu %17 : f32[2,4,8,8]\n"
    "%19 = add %18, %9 : f32[2,4,8,8]\n"
    "%20 = sub %19, %3 : f32[2,4,8,8]\n"
    "%21 = mul %20, %7 : f32[2,4,8,8]\n"
    "%22 = div %21, %10 : f32[2,4,8,8]\n"
    "%23 = identity %22 : f32[2,4,8,8]\n"
    "%24 = max_pool %23 " POOL " : f32[2,4,4,4]\n"
    "%25 = avg_pool %24 " POOL " : f32[2,4,2,2]\n"
    "%26 = global_avg_pool %25 : f32[2,4]\n"
    "%27 = concat %25, %25 : f32[2,8,2,2]\n"
    "%28 = pad_channels %27 {count=9, stride=2} : f32[2,9,1,1]\n"
    "%29 = flatten %28 : f32[2,9]\n"
    "%30 = dropout %29 {rate=0.5, stream=3} : f32[2,9]\n"
    "%31 = param {name=\"d\", init=xavier_uniform(0), decay=true, position=7} : f32[5,9]\n"
    "%32 = dense %30, %31 : f32[2,5]\n"
    "%33 = softmax %32 : f32[2,5]\n"
    "%34 = cross_entropy %32, %1 {smoothing=0.1} : f32[]\n"
    "%35 = correct %32, %1 : f32[]\n"
    "%36 = map %8, %9 over f32[2,4,8,8] : f64[4,4]\n"
    "  moments { a1 }\n"
    "  output { t0 = mul a0, a1; t0 }\n"
    "  reduce { a1 }\n"
    "  output { t0 = abs a0; t1 = expm1 t0; t2 = log1p t1; t3 = erf t2; t4 = pow t3, 2; t5 = less t4, a1; t6 = less_equal t5, 1; "
    "t7 = equal t6, t5; t7 }\n"
    "%37 = image_sum %8 : f32[2,4]\n"
    "%38 = batch_sum %37 : f32[4]\n"
    "%39 = channel_sum %38 : f32[]\n"
    "%40 = moments %36 {count=128} : f32[4]\n"
    "%41 = dropout_mask {rate=0.25, stream=4} : f32[2,4,8,8]\n"
    "%42 = conv2d_bwd_data %41, %2 " CONV " : f32[2,3,8,8]\n"
    "%43 = conv2d_bwd_weights %0, %41 " CONV " : f32[4,3,3,3]\n"
    "  prologue 1 { a1 }\n"
    "  store 1\n"
    "%44 = dense_bwd_data %33, %31 : f32[2,9]\n"
    "%45 = dense_bwd_weights %44, %33 : f32[5,9]\n"
    "%46 = softmax_bwd %33, %32 : f32[2,5]\n"
    "%47 = max_pool_bwd %23, %24 " POOL " : f32[2,4,8,8]\n"
    "%48 = avg_pool_bwd %25 " POOL " : f32[2,4,4,4]\n"
    "%49 = slice_channels %47 {index=1} : f32[2,2,8,8]\n"
    "%50 = pad_channels_bwd %28 {count=9, stride=2} : f32[2,8,2,2]\n"
    "%51 = unflatten %44 : f32[2,9,1,1]\n"
    "%52 = cross_entropy_bwd %32, %1, %34 {smoothing=0.1} : f32[2,5]\n"
    "%53 = scale_filters %2, %3 : f32[4,3,3,3]\n"
    "%54 = place_channels %49 {index=1} : f32[2,4,8,8]\n"
    "%55 = channel_shuffle %54 {index=2} : f32[2,4,8,8]\n"
    "%56 = upsample %55 {index=2} : f32[2,4,16,16]\n"
    "%57 = sum_to %56 : f32[2,4,1,16]\n"
    "%58 = max_to %56 : f32[2,1,16,16]\n"
    "%59 = position {index=3} : f32[2,1,1,16]\n"
    "%60 = pad %56 {pad=[1,0,-2,-3]} : f32[2,4,15,13]\n"
    "%61 = image_moments %36, %37 {count=64} : f32[2,4]\n"
    "%62 = standardize %2 {eps=1e-06} : f32[4,3,3,3]\n"
    "%63 = standardize_bwd %2, %62 {eps=1e-06} : f32[4,3,3,3]\n"
    "%64 = map %56 over f32[2,4,16,16] : f32[2,1,16,16]\n"
    "  sum_to 1 { t0 = abs a0; t0 }\n"
    "  max_to 1 { a0 }\n"
    "  index_to 1 { a0 }\n"
    "return logits %32\n"
    "return loss %34\n"
    "return correct %35\n"
    "return state \"mean\" %11\n"
    "return grad \"w\" %43\n"
    "return grad \"image\" %42\n"};

/* libcheck cannot print texts of this size: shows the line that differs. */
static void assert_same_text(const char *found, const char *expected) {
    size_t at = 0, line = 0;
    for (; found[at] && found[at] == expected[at]; at++) {
        if (found[at] == '\n') line = at + 1;
    }
    ck_assert_msg(found[at] == expected[at], "found:    %.200s\nexpected: %.200s", found + line, expected + line);
}

static void assert_round_trip(const char *text) {
    Graph *g = must_read(text);
    char *printed = graph_to_string(g);
    assert_same_text(printed, text);
    free(printed);
    graph_free(g);
}

START_TEST(round_trip_is_exact) { assert_round_trip(every_op); }
END_TEST

START_TEST(every_op_is_in_the_round_trip) {
    Graph *g = must_read(every_op);
    bool op_seen[OP_COUNT] = {false}, expr_seen[EXPR_OP_COUNT] = {false}, role_seen[REGION_ROLES] = {false};
    for (Val v = 0; v < g->count; v++) {
        op_seen[g->value[v].op] = true;
        for (uint32_t i = 0; i < g->value[v].nregions; i++) {
            const Region *r = &g->value[v].regions[i];
            role_seen[r->role] = true;
            for (uint32_t k = 0; r->expr && k < r->expr->count; k++) expr_seen[r->expr->node[k].op] = true;
        }
    }
    for (int op = 0; op < OP_COUNT; op++) ck_assert_msg(op_seen[op], "op %s has no case", op_text((Op)op));
    for (int op = 0; op < EXPR_OP_COUNT; op++) ck_assert_msg(expr_seen[op], "operation %s has no case", expr_op_text((ExprOp)op));
    for (int role = 0; role < REGION_ROLES; role++) ck_assert_msg(role_seen[role], "region kind %d has no case", role);
    graph_free(g);
}
END_TEST

START_TEST(copying_value_by_value_keeps_the_text) {
    Graph *g = must_read(every_op), *copy = graph_new(g->name, g->mode);
    Val *map = malloc(g->count * sizeof *map);
    for (Val v = 0; v < g->count; v++) map[v] = graph_copy_value(copy, g, v, map);
    for (uint32_t i = 0; i < g->noutputs; i++) graph_output(copy, g->output[i].kind, map[g->output[i].value], g->output[i].name);
    free(map);
    graph_free(g); /* the copy owns everything it shows */
    char *printed = graph_to_string(copy);
    assert_same_text(printed, every_op);
    free(printed);
    graph_free(copy);
}
END_TEST

START_TEST(loose_text_becomes_canonical) {
    Graph *g = must_read("# run: netc ir\ngraph\"t\"infer %0=input{name=\"x\"}:f32[2,3] # a comment\n"
                         "%1=map %0 over f32[2,3]:f32[2,3]output{t0=mul a0,2.50;t1=add t0,1e-3;t0}return logits %1");
    char *printed = graph_to_string(g);
    ck_assert_str_eq(printed, "graph \"t\" infer\n"
                              "%0 = input {name=\"x\"} : f32[2,3]\n"
                              "%1 = map %0 : f32[2,3]\n"
                              "  output { t0 = mul a0, 2.5; t1 = add t0, 0.001; t2 = mul a0, 2.5; t2 }\n"
                              "return logits %1\n");
    assert_round_trip(printed);
    free(printed);
    graph_free(g);
}
END_TEST

/* Doubles of every magnitude come back bit for bit. */
/* What somebody writes or cuts out by hand is read, and printed with ids from 0. */
START_TEST(ids_are_any_words) {
    Graph *g = must_read("graph \"t\" infer\n%image = input {name=\"x\"} : f32[2,3]\n%40 = relu %image : f32[2,3]\n"
                         "%relu.2 = relu %40 : f32[2,3]\n%7 = add %40, %relu.2 : f32[2,3]\nreturn logits %7\n");
    char *printed = graph_to_string(g);
    ck_assert_str_eq(printed, "graph \"t\" infer\n%0 = input {name=\"x\"} : f32[2,3]\n%1 = relu %0 : f32[2,3]\n"
                              "%2 = relu %1 : f32[2,3]\n%3 = add %1, %2 : f32[2,3]\nreturn logits %3\n");
    free(printed);
    graph_free(g);
}
END_TEST

START_TEST(reals_are_exact) {
    for (uint32_t i = 0; i < 3000; i++) {
        uint32_t random[4];
        philox4x32((uint32_t[]){i, 0, 0, 0}, (uint32_t[]){1, 2}, random);
        uint64_t bits = (uint64_t)random[0] << 32 | random[1];
        double value;
        memcpy(&value, &bits, sizeof value);
        if (isnan(value)) continue;
        Graph *g = graph_new("t", MODE_INFER);
        graph_constant(g, value, (Span){0, 0, 0});
        char *text = graph_to_string(g);
        Graph *again = must_read(text);
        ck_assert_msg(memcmp(&again->value[0].attrs.constant, &value, sizeof value) == 0, "%a became:\n%s", value, text);
        free(text);
        graph_free(g);
        graph_free(again);
    }
}
END_TEST

#define HEAD "graph \"t\" train\n%0 = input {name=\"x\"} : f32[2,3]\n"

static const struct {
    const char *text, *message;
} refused[] = {
    {"", "test.ir:1:1: error: expected 'graph', found the end of the text"},
    {"grape", "test.ir:1:1: error: expected 'graph', found 'grape'"},
    {"graph t train", "test.ir:1:7: error: expected a string, found 't'"},
    {"graph \"t\" test", "test.ir:1:11: error: expected 'infer', found 'test'"},
    {"graph \"t\ntrain\"", "test.ir:1:7: error: this string does not end on its line"},
    {"graph \"\\q\" train", "expected \\\", \\\\ or \\x and two hexadecimal digits in a string"},
    {"graph \"\\x00\" train", "two hexadecimal digits"},
    {HEAD "%0 = relu %0 : f32[2,3]", "test.ir:3:1: error: %0 is defined already"},
    {HEAD "%a.b = relu %0 : f32[2,3]\n%a.b = relu %0 : f32[2,3]", "test.ir:4:1: error: %a.b is defined already"},
    {HEAD "% = relu %0 : f32[2,3]", "expected an id behind '%', found '='"},
    {HEAD "%1 = relu %one : f32[2,3]", "test.ir:3:11: error: %one is not defined here"},
    {HEAD "%1234567890123456789012345678901234567890123456789012345678901234 = relu %0 : f32[2,3]",
     "an id has at most 63 characters"},
    {HEAD "%1 = relu %1 : f32[2,3]", "test.ir:3:11: error: %1 is not defined here"},
    {HEAD "%1 = relu %-1 : f32[2,3]", "expected an id behind '%', found '-'"},
    {HEAD "%1 = reluu %0 : f32[2,3]", "test.ir:3:6: error: there is no op 'reluu'"},
    {HEAD "%1 = relu %0", "test.ir:3:13: error: expected ':', found the end of the text"},
    {HEAD "%1 = relu %0 : f32[2,4]", "test.ir:3:1: error: relu: the type is written f32[2,4], its shape rule gives f32[2,3]"},
    {HEAD "%1 = relu %0 : f16[2,3]", "test.ir:3:16: error: there is no element type 'f16'"},
    {HEAD "%1 = relu %0 : f32[2 3]", "expected ',', found '3'"},
    {HEAD "%1 = relu %0 : f32[1,1,1,1,1]", "a type has at most 4 dimensions"},
    {HEAD "%1 = relu %0 : f32[99999999999999999999]", "this number does not fit into 64 bits"},
    {HEAD "%1 = relu %99999999999 : f32[2]", "%99999999999 is not defined here"},
    {HEAD "%1 = param {name=\"w\", init=constant(0), decay=true, position=0} : f32[]", "a position counts from 1"},
    {HEAD "%1 = state {name=\"w\", init=constant(0), position=1.5} : f32[]", "expected '}', found '.'"},
    {HEAD "%1 = constant {value=1e999} : f32[]", "this number is too large for a double"},
    {HEAD "%1 = constant {value=0x10} : f32[]", "expected a number, found '0x10'"},
    {HEAD "%1 = constant {value=e5} : f32[]", "expected a number, found 'e5'"},
    {HEAD "%1 = constant {value=1.2.3} : f32[]", "expected a number, found '1'"},
    {HEAD "%1 = constant {val=1} : f32[]", "test.ir:3:16: error: expected 'value', found 'val'"},
    {HEAD "%1 = constant : f32[]", "expected '{', found ':'"},
    {HEAD "%1 = param {name=\"w\", init=zeros(0), decay=true} : f32[]", "expected an initialiser"},
    {HEAD "%1 = param {name=\"w\", init=constant(0), decay=maybe} : f32[]", "expected 'false', found 'maybe'"},
    {HEAD "%1 = map %0 : f32[2,3]\n output { t0 = mul a0; t0 }", "expected ',', found ';'"},
    {HEAD "%1 = map %0 : f32[2,3]\n output { t1 = neg a0; t1 }", "t1 is not defined here"},
    {HEAD "%1 = map %0 : f32[2,3]\n output { t0 = neg t0; t0 }", "test.ir:4:20: error: t0 is not defined here"},
    {HEAD "%1 = map %0 : f32[2,3]\n output { t0 = frob a0; t0 }", "test.ir:4:16: error: there is no operation 'frob'"},
    {HEAD "%1 = map %0 : f32[2,3]\n output { a1 }", "test.ir:3:1: error: map: the region 'output' reads argument 1 of 1"},
    {HEAD "%1 = map %0 : f32[2,3]\n output { a99999999999999999999 }", "reads argument 65535 of 1"},
    {HEAD "%1 = map %0 : f32[2,3]\n output { b }", "expected an operand (a0, acc, out, a number or t0), found 'b'"},
    {HEAD "%1 = map %0 : f32[2,3]\n output { }", "expected an operand, found '}'"},
    {HEAD "%1 = map %0 : f32[2,3]\n prologue -1 { a0 }", "the region's operand -1 is out of range"},
    {HEAD "return result %0", "expected an output (logits, loss, correct, state or grad)"},
    {HEAD "return loss %0", "the output 'loss' must be f32[], found f32[2,3]"},
    {HEAD "return logits %1", "test.ir:3:15: error: %1 is not defined here"},
    {HEAD "nonsense", "test.ir:3:1: error: expected a value (%1 = ...) or return"},
    {HEAD "%1 = input {name=\"x\"} : f32[]", "the name \"x\" is taken twice"},
    {HEAD "\x01", "expected a value"},
};

START_TEST(mistakes_are_named) {
    char *message;
    Graph *g = read_text(refused[_i].text, strlen(refused[_i].text), &message);
    ck_assert_msg(g == NULL, "accepted: %s", refused[_i].text);
    ck_assert_msg(strstr(message, refused[_i].message) != NULL, "expected '%s', found:\n%s", refused[_i].message, message);
    ck_assert_msg(strstr(strstr(message, "error:") + 1, "error:") == NULL, "several errors:\n%s", message);
    free(message);
}
END_TEST

/* Reads damaged text; whatever is still accepted must print and read again. */
static void survive(const char *text, size_t length) {
    char *message;
    Graph *g = read_text(text, length, &message);
    ck_assert_msg(g || strstr(message, "error:"), "refused without a message");
    if (g) {
        char *printed = graph_to_string(g);
        assert_round_trip(printed);
        free(printed);
    }
    graph_free(g);
    free(message);
}

START_TEST(every_prefix_is_survived) {
    for (size_t length = 0; length < sizeof every_op; length += 3) survive(every_op, length);
}
END_TEST

START_TEST(random_damage_is_survived) {
    static const char bytes[] = "0123456789%{}[]=,:;\"\\ \nat-.e#@x";
    for (uint32_t i = 0; i < 3000; i++) {
        char text[sizeof every_op];
        memcpy(text, every_op, sizeof text);
        uint32_t random[4];
        philox4x32((uint32_t[]){i, 0, 0, 0}, (uint32_t[]){3, 4}, random);
        for (int k = 0; k <= (int)(random[3] % 3); k++) {
            text[(random[k] >> 8) % (sizeof text - 1)] = bytes[(random[k] & 0xFF) % (sizeof bytes - 1)];
        }
        survive(text, sizeof text - 1);
    }
}
END_TEST

START_TEST(large_texts_are_bounded) {
    size_t size;
    char *text;
    FILE *out = open_memstream(&text, &size);
    fputs(HEAD "%1 = map %0 : f32[2,3]\n output { ", out);
    for (int i = 0; i < 2000; i++) fprintf(out, "t%d = neg %s%d; ", i, i ? "t" : "a", i ? i - 1 : 0);
    fputs("t1999 }\n", out);
    fclose(out);
    char *message;
    ck_assert(read_text(text, size, &message) == NULL);
    ck_assert(strstr(message, "an expression has at most 1024 operations") != NULL);
    free(message);
    free(text);
    out = open_memstream(&text, &size);
    fputs(HEAD "%1 = concat %0", out);
    for (int i = 0; i < 64; i++) fputs(", %0", out);
    fputs(" : f32[2,195]\n", out);
    fclose(out);
    ck_assert(read_text(text, size, &message) == NULL);
    ck_assert(strstr(message, "a value has at most 64 arguments") != NULL);
    free(message);
    free(text);
}
END_TEST

START_TEST(zero_bytes_are_refused) {
    const char text[] = "graph \"t\0\" train\n";
    char *message;
    ck_assert(read_text(text, sizeof text - 1, &message) == NULL);
    free(message);
}
END_TEST

START_TEST(json_names_everything) {
    const char *text = "graph \"t\" infer\n%0 = input {name=\"a\\\"b\"} : f32[2,3]\n%1 = map %0 : f32[2,3] @\"here\"\n"
                       "  output { t0 = mul a0, inf; t0 }\nreturn logits %1\n";
    Diag *diag = diag_new();
    Graph *g = graph_read(text, strlen(text), diag_add_file(diag, "t.ir", text, strlen(text)), diag);
    ck_assert_ptr_nonnull(g);
    char *json;
    size_t size;
    FILE *out = open_memstream(&json, &size);
    graph_print_json(g, diag, out);
    fclose(out);
    ck_assert_str_eq(json,
                     "{\"name\":\"t\",\"mode\":\"infer\",\"values\":[\n"
                     "{\"id\":0,\"op\":\"input\",\"args\":[],\"type\":{\"dtype\":\"f32\",\"shape\":[2,3]},"
                     "\"attrs\":{\"name\":\"a\\\"b\"},\"file\":\"t.ir\",\"line\":2,\"column\":1},\n"
                     "{\"id\":1,\"op\":\"map\",\"args\":[0],\"type\":{\"dtype\":\"f32\",\"shape\":[2,3]},"
                     "\"space\":{\"dtype\":\"f32\",\"shape\":[2,3]},\"regions\":[{\"role\":\"output\",\"expr\":["
                     "{\"op\":\"arg\",\"arg\":0},{\"op\":\"const\",\"value\":\"inf\"},{\"op\":\"mul\",\"operands\":[0,1]}]}],"
                     "\"name\":\"here\",\"file\":\"t.ir\",\"line\":3,\"column\":1}\n"
                     "],\"outputs\":[\n{\"kind\":\"logits\",\"value\":1}\n]}\n");
    free(json);
    graph_free(g);
    diag_free(diag);
}
END_TEST

START_TEST(texts_are_cut_between_characters) {
    const char *text = "a\xc3\xa4\xe2\x82\xac\xff\xf0\x9f\x98\x80";
    static const size_t within[] = {0, 1, 1, 3, 3, 3, 6, 7, 7, 7, 7, 11, 11};
    for (size_t most = 0; most < sizeof within / sizeof *within; most++)
        ck_assert_msg(utf8_within(text, most) == within[most], "%zu: %zu", most, utf8_within(text, most));
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("text");
    tcase_add_test(cases, round_trip_is_exact);
    tcase_add_test(cases, every_op_is_in_the_round_trip);
    tcase_add_test(cases, copying_value_by_value_keeps_the_text);
    tcase_add_test(cases, loose_text_becomes_canonical);
    tcase_add_test(cases, ids_are_any_words);
    tcase_add_test(cases, reals_are_exact);
    tcase_add_loop_test(cases, mistakes_are_named, 0, sizeof refused / sizeof *refused);
    tcase_add_test(cases, every_prefix_is_survived);
    tcase_add_test(cases, random_damage_is_survived);
    tcase_add_test(cases, large_texts_are_bounded);
    tcase_add_test(cases, zero_bytes_are_refused);
    tcase_add_test(cases, json_names_everything);
    tcase_add_test(cases, texts_are_cut_between_characters);
    return run_cases("ir text", cases);
}
