/* Choosing how convolutions are computed: every candidate of every convolution of a small net, as compiled, against the reference
 * evaluator; tables as text; what pinned and measured tables do. */
#include "codegen/conv/choose.h"
#include "train_reference.h"

/* ---- texts and tables ---- */

START_TEST(choices_as_text) {
    static const char *const good[] = {"direct",        "direct tile 1x16x2", "direct sweep",      "direct tile 1x16x2 sweep",
                                       "gemm",          "winograd",           "winograd block 16", "winograd block 8 sweep",
                                       "winograd sweep"};
    static const char *const bad[] = {
        "",          "auto",      "direct tile 1x2",   "direct tile 0x1x1",  "direct block 8",
        "gemm tile", "winograds", "winograd block -8", "winograd block 8 x", "winograd block 99999"};
    Arena *arena = arena_new();
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ConvChoice choice;
        ck_assert_msg(choice_read(good[i], &choice), "%s", good[i]);
        ck_assert_str_eq(choice_text(arena, &choice), good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ConvChoice choice;
        ck_assert_msg(!choice_read(bad[i], &choice), "'%s' was taken for a choice", bad[i]);
    }
    arena_free(arena);
}
END_TEST

static char *written(const ChoiceTable *table) {
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    choices_write(table, out);
    fclose(out);
    return text;
}

START_TEST(tables_round_trip) {
    ChoiceTable *table = choices_new(), *again = choices_new();
    uint32_t bad;
    const ConvChoice pair = {.method = conv_method("winograd"), .pair = true, .sizes = {8}};
    const ConvChoice gemm = {.method = conv_method("gemm")};
    choices_put(table, "znver5/16", "data#1", &gemm, 0);
    choices_put(table, "znver4/16", "data#1", &gemm, 0.25e-3);
    choices_put(table, "znver5/16", "data#1", &pair, 1.5e-3); /* replaces the first */
    char *text = written(table), *copy;
    ck_assert_str_eq(text, "netc choices 1\nznver5/16 data#1 winograd block 8 sweep; 1.5 ms\nznver4/16 data#1 gemm; 0.25 ms\n");
    ck_assert(choices_read(again, text, &bad));
    ck_assert_uint_eq(bad, 0);
    copy = written(again);
    ck_assert_str_eq(copy, text);
    ck_assert_ptr_null(choices_find(again, "znver3/8", "data#1"));
    free(text);
    free(copy);
    choices_free(table);
    choices_free(again);
}
END_TEST

START_TEST(damaged_tables) {
    ChoiceTable *table = choices_new();
    uint32_t bad;
    ck_assert(!choices_read(table, "", &bad));
    ck_assert(!choices_read(table, "netc choices 2\n", &bad));
    ck_assert(choices_read(
        table, "netc choices 1\n# a comment\n\na b gemm\na c\nd\na e gemm; soon\na f tile 1\na g direct; 2 ms\n", &bad));
    ck_assert_uint_eq(bad, 4);
    ck_assert_uint_eq(table->count, 2);
    ck_assert_ptr_nonnull(choices_find(table, "a", "g"));
    choices_free(table);
}
END_TEST

/* ---- on a net ---- */

typedef struct Chosen {
    Net net;
    PassResult fused;
    Arena *arena;
    ConvSites sites[2];
    const char *cpu;
} Chosen;

static bool list(Chosen *c, const CodegenOptions *options, Diag *diag) {
    CodegenInput input = {.name = "small", .train = c->fused.graph};
    return codegen_convolutions(&input, options, c->arena, c->sites, &c->cpu, diag);
}

static Chosen chosen_open(Precision precision) {
    Chosen c = {.net = net_open(0, MODE_TRAIN), .arena = arena_new()};
    c.fused = optimise(c.net.model.graph, NULL, 0);
    Diag *diag = diag_new();
    must(list(&c, &(CodegenOptions){.precision = precision}, diag), diag);
    diag_free(diag);
    return c;
}

static void chosen_close(Chosen *c) {
    arena_free(c->arena);
    passes_result_free(&c->fused);
    passes_result_free(&c->net.reference);
    graph_free(c->net.model.graph);
}

/* Program k of the candidates: each convolution by its k-th, counted around. */
static ChoiceTable *table_of(const Chosen *c, uint32_t k) {
    ChoiceTable *table = choices_new();
    for (uint32_t i = 0; i < c->sites[0].count; i++) {
        const ConvSite *site = &c->sites[0].site[i];
        choices_put(table, c->cpu, site->key, &site->candidate[k % site->ncandidates], 0);
    }
    return table;
}

/* Of bf16, which turns some ReLUs' signs: an output as a whole is off by so much of its norm at most. */
static void check_distance(const Both *both, uint32_t i, double tolerance) {
    double off = 0, norm = 0;
    for (int64_t k = 0; k < output_elements(both->g, i); k++) {
        double want = both->want[i].data[k], difference = both->got[i][k] - want;
        off += difference * difference;
        norm += want * want;
    }
    ck_assert_msg(off <= tolerance * tolerance * norm, "a candidate in bf16, output %s is off by %g of its norm",
                  both->g->output[i].name, sqrt(off / norm));
}

/* In f32, and in bf16. */
START_TEST(every_candidate_agrees) {
    const Precision precision = _i ? PRECISION_BF16 : PRECISION_F32;
    Chosen c = chosen_open(precision);
    uint32_t most = 0, pairs = 0;
    for (uint32_t i = 0; i < c.sites[0].count; i++) {
        const ConvSite *site = &c.sites[0].site[i];
        if (site->ncandidates > most) most = site->ncandidates;
        pairs += site->candidate[0].pair;
    }
    ck_assert_uint_ge(most, 5);
    ck_assert_uint_ge(pairs, 1);
    Both both = {.bf16 = precision == PRECISION_BF16};
    both_run(&both, c.fused.graph, &(CodegenOptions){.precision = precision});
    for (uint32_t k = 0; k < most; k++) {
        ChoiceTable *table = table_of(&c, k);
        CodegenOptions options = {.measured = table, .precision = precision};
        both_compile(&both, &options, 1);
        for (uint32_t i = 0; i < both.g->noutputs; i++)
            _i ? check_distance(&both, i, 0.25) : both_check(&both, i, 1e-3, "a candidate");
        choices_free(table);
    }
    both_free(&both);
    chosen_close(&c);
}
END_TEST

/* A pinned table fixes all choices, and must have all of them. */
START_TEST(pinned) {
    Chosen c = chosen_open(PRECISION_F32);
    uint32_t n = c.sites[0].count;
    const ConvSite *before = c.sites[0].site;
    ChoiceTable *table = choices_new();
    for (uint32_t i = 0; i < n; i++) {
        const ConvChoice *choice = before[i].choice.pair ? &before[i].choice : &before[i].candidate[before[i].ncandidates - 1];
        choices_put(table, c.cpu, before[i].key, choice, 0);
    }
    CodegenOptions options = {.pinned = table};
    Diag *diag = diag_new();
    must(list(&c, &options, diag), diag);
    for (uint32_t i = 0; i < n; i++)
        ck_assert(choice_equal(&c.sites[0].site[i].choice, &choices_find(table, c.cpu, before[i].key)->choice));
    table->count--;
    ck_assert(!list(&c, &options, diag));
    table->count++;
    table->entry[0].choice = (ConvChoice){.method = conv_method("winograd"), .pair = true}; /* the stem forward */
    ck_assert(!list(&c, &options, diag));
    table->entry[0].choice = (ConvChoice){.method = conv_method("direct"), .sizes = {1, 4096, 1}}; /* wider than the image */
    ck_assert(!list(&c, &options, diag));
    ck_assert_int_eq(diag_error_count(diag), 3);
    diag_free(diag);
    choices_free(table);
    chosen_close(&c);
}
END_TEST

/* What a measured table does not have, or has wrong, is the cost model's. */
START_TEST(measured) {
    Chosen c = chosen_open(PRECISION_F32);
    const ConvSite *before = c.sites[0].site;
    ChoiceTable *table = choices_new();
    const ConvChoice impossible = {.method = conv_method("winograd"), .pair = true}, gemm = {.method = conv_method("gemm")};
    choices_put(table, c.cpu, before[0].key, &impossible, 0);
    choices_put(table, c.cpu, before[1].key, &gemm, 0);
    CodegenOptions options = {.measured = table};
    Diag *diag = diag_new();
    must(list(&c, &options, diag), diag);
    for (uint32_t i = 0; i < c.sites[0].count; i++) {
        bool changed = !strcmp(before[i].key, before[1].key);
        ck_assert(choice_equal(&c.sites[0].site[i].choice, changed ? &gemm : &before[i].choice));
        ck_assert(c.sites[0].site[i].passed_over == !strcmp(before[i].key, before[0].key));
    }
    choices_remove(table, c.cpu, before[0].key);
    ck_assert_uint_eq(table->count, 1);
    ck_assert_ptr_null(choices_find(table, c.cpu, before[0].key));
    diag_free(diag);
    choices_free(table);
    chosen_close(&c);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("choose");
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, choices_as_text);
    tcase_add_test(cases, tables_round_trip);
    tcase_add_test(cases, damaged_tables);
    tcase_add_loop_test(cases, every_candidate_agrees, 0, 2);
    tcase_add_test(cases, pinned);
    tcase_add_test(cases, measured);
    return run_cases("codegen choose", cases);
}
