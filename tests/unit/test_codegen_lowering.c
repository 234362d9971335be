/* What is planned can be lowered: every candidate of every convolution, of random shapes and on several machines, becomes kernels
 * that LLVM's verifier accepts. And what plans are: a table from shapes to what each method makes of them. */
#include "codegen/conv/choose.h"
#include "codegen/conv/direct/direct.h"
#include "codegen/conv/methods.h"
#include "codegen/conv/winograd/winograd.h"
#include "codegen/lower/lower.h"
#include "codegen_shapes.h"
#include "run_cases.h"
#include <llvm-c/Analysis.h>
#include <string.h>

/* ---- every candidate can be lowered ---- */

static void want_all(const Convolution *c) {
    const Val values[] = {c->forward, c->data, c->weights};
    for (int i = 0; i < 3; i++) {
        uint32_t results = value_results(c->g, values[i]);
        graph_output(c->g, OUT_GRAD, values[i], "result");
        for (uint32_t r = 1; r < results && values[i] != c->data; r++) /* its dY: only if the weights read it */
            graph_output(c->g, OUT_GRAD, graph_result(c->g, values[i], r), "stored");
    }
}

static void must(bool good, Diag *diag, const char *what) {
    if (!good) diag_print(diag, stderr, false);
    ck_assert_msg(good, "%s", what);
}

/* By the table's choices; every kernel is sound. */
static void lower(const Convolution *c, const CodegenOptions *options, const char *what) {
    Diag *diag = diag_new();
    Target target;
    ProgramBuilder p;
    char why[300];
    ck_assert_msg(target_open(&target, options->target, options->cpu, why, sizeof why), "%s", why);
    target_set_options(&target, options);
    must(program_open(&p, &target, options, "lowering", diag), diag, what);
    program_add_tensors(&p, c->g);
    program_place_tensors(&p);
    lower_graph(&p, c->g, &p.train_step, NULL, NULL);
    must(!p.failed, diag, what);
    char *message = NULL;
    bool broken = LLVMVerifyModule(p.emitter->module, LLVMReturnStatusAction, &message);
    ck_assert_msg(!broken, "%s: %s", what, message);
    LLVMDisposeMessage(message);
    program_close(&p);
    target_close(&target);
    diag_free(diag);
}

/* Seen, of each method: by itself; as a pair. */
typedef struct Seen {
    uint32_t alone[16], pair[16];
} Seen;

static void count(Seen *seen, const ConvChoice *choice) {
    uint32_t i = 0;
    while (conv_methods[i] != choice->method) i++;
    choice->pair ? seen->pair[i]++ : seen->alone[i]++;
}

/* The k-th candidates of all three, counted around, for every k. */
static void lower_candidates(const Convolution *c, CodegenOptions options, Seen *seen) {
    Arena *arena = arena_new();
    Diag *diag = diag_new();
    ConvSites sites[2];
    const char *cpu;
    uint32_t most = 1;
    CodegenInput input = {.name = "shapes", .train = c->g};
    must(codegen_convolutions(&input, &options, arena, sites, &cpu, diag), diag, c->text);
    ck_assert_uint_eq(sites[0].count, 3);
    for (uint32_t i = 0; i < 3; i++)
        if (sites[0].site[i].ncandidates > most) most = sites[0].site[i].ncandidates;
    for (uint32_t k = 0; k < most; k++) {
        ChoiceTable *table = choices_new();
        char what[400];
        int length = snprintf(what, sizeof what, "%s on %s", c->text, options.cpu);
        for (uint32_t i = 0; i < 3; i++) {
            const ConvSite *site = &sites[0].site[i];
            const ConvChoice *choice = &site->candidate[k % site->ncandidates];
            choices_put(table, cpu, site->key, choice, 0);
            count(seen, choice);
            length += snprintf(what + length, sizeof what - (size_t)length, ", %s", choice_text(arena, choice));
        }
        options.measured = table;
        lower(c, &options, what);
        choices_free(table);
    }
    diag_free(diag);
    arena_free(arena);
}

static void check_machine(const char *target, const char *cpu, Precision precision, uint32_t seed, int shapes) {
    Random r = {seed, 0};
    Seen seen = {{0}, {0}};
    for (int i = 0; i < shapes; i++) {
        Convolution c;
        while (!random_convolution(&r, &c)) {
        }
        if (i < 2) { /* by every method, and as every pair */
            graph_free(c.g);
            int kernel = i ? 1 : 3, pad = kernel / 2;
            Attrs a = {
                .window = {
                    .kernel = {kernel, kernel}, .stride = {1, 1}, .dilation = {1, 1}, .pad = {pad, pad, pad, pad}, .groups = 1}};
            c = convolution_of(&(ConvolutionShape){MODE_TRAIN, 32, 16, 16, {16, 16}, a, true, true});
        }
        want_all(&c);
        lower_candidates(&c, (CodegenOptions){.target = target, .cpu = cpu, .precision = precision, .openblas = i % 2}, &seen);
        graph_free(c.g);
    }
    bool amx = !strcmp(cpu, "sapphirerapids") && precision == PRECISION_BF16;
    for (uint32_t i = 0; conv_methods[i]; i++) {
        if (!amx && !strcmp(conv_methods[i]->name, "amx")) continue;
        ck_assert_msg(seen.alone[i] > 0, "no shape is computed by %s", conv_methods[i]->name);
        ck_assert_msg(seen.pair[i] > 0 || !conv_methods[i]->pair || precision == PRECISION_BF16, "no pair is computed by %s",
                      conv_methods[i]->name);
    }
}

START_TEST(every_candidate_can_be_lowered) {
    static const struct {
        const char *target, *cpu; /* a target: code that need not run here */
        Precision precision;
    } machines[] = {
#if defined(__x86_64__)
        {NULL, "x86-64-v4", PRECISION_F32},
        {NULL, "x86-64-v3", PRECISION_F32},
        {NULL, "x86-64", PRECISION_F32},
        {NULL, "znver4", PRECISION_BF16},
        {"x86_64-linux-gnu", "sapphirerapids", PRECISION_BF16},
#endif
        {NULL, "native", PRECISION_F32}};
    if (_i < (int)(sizeof machines / sizeof *machines))
        check_machine(machines[_i].target, machines[_i].cpu, machines[_i].precision, 7 + (uint32_t)_i, 24);
}
END_TEST

/* ---- what plans are ---- */

/* A 3x3 convolution of stride 1 and padding 1 in training. */
typedef struct Row {
    int64_t N, I, O, size;
    const char *plan;
} Row;

/* A staged image of 32x32 is 34 * 34 * 16 floats, 73984 bytes; a partial gradient 9 * 16 * 16 floats, of 16 groups 147456 bytes;
 * Winograd's filters 36 planes of 16 * 16 floats and a cache line, 39168 bytes. */
static const Row rows[] = {
    {128, 16, 16, 32,
     "direct tile 1x16x1, 1 bands, 16 pieces, stage 73984; dW 1 bands, 16 groups, 147456 bytes"
     " | winograd block 8, tile 2x8x1, 16 pieces, scratch 23936, workspace 39168"},
    {128, 64, 64, 8,
     "direct tile 2x8x1, 1 bands, 16 pieces, stage 25600; dW 1 bands, 8 groups, 1179648 bytes"
     " | winograd block 8, tile 1x8x2, 16 pieces, scratch 78656, workspace 592128"},
    {128, 3, 16, 32, "direct tile 1x16x1, 1 bands, 16 pieces, stage 73984; dW 1 bands, 16 groups, 147456 bytes"},
    {8, 256, 256, 14,
     "direct tile 1x14x1, 1 bands, 8 pieces, stage 262144; dW 1 bands, 8 groups, 18874368 bytes"
     " | winograd block 8, tile 1x8x2, 4 pieces, scratch 306368, workspace 9439488"},
    {1, 16, 16, 224,
     "direct tile 1x16x1, 9 bands, 9 pieces, stage 390528; dW 14 bands, 1 groups, 9216 bytes"
     " | winograd block 8, tile 2x8x1, 8 pieces, scratch 455808, workspace 39168"},
};

static Graph *row_graph(const Row *row, Val value[2]) {
    Graph *g = graph_new("row", MODE_TRAIN);
    Attrs a = {.window = {.kernel = {3, 3}, .stride = {1, 1}, .dilation = {1, 1}, .pad = {1, 1, 1, 1}, .groups = 1}};
    Type x_type = type_feature(row->N, row->I, row->size, row->size), y_type = type_feature(row->N, row->O, row->size, row->size);
    Type w_type = type_feature(row->O, row->I, 3, 3);
    Val x = leaf(g, OP_INPUT, "x", x_type), w = leaf(g, OP_PARAM, "w", w_type), dy = leaf(g, OP_INPUT, "dy", y_type);
    value[0] = graph_add(g, &(ValueSpec){.op = OP_CONV2D, .args = (Val[]){x, w}, .nargs = 2, .attrs = a});
    value[1] = graph_add(
        g, &(ValueSpec){.op = OP_CONV2D_BWD_WEIGHTS, .args = (Val[]){x, dy}, .nargs = 2, .attrs = a, .declared = w_type});
    return g;
}

static char *plans_of(Arena *arena, const Target *t, const Graph *g, const Val value[2]) {
    const ConvProblem forward = conv_problem(t, g, value[0]), weights = conv_problem(t, g, value[1]);
    ConvChoice own = {0};
    char *text = arena_strdup(arena, "");
    const DirectPlan *d = conv_direct.correlation.plan(arena, &forward, &own);
    const DirectWeights *dw = conv_direct.weights.plan(arena, &weights, &own);
    text = arena_printf(arena, "direct tile %dx%dx%d, %d bands, %d pieces, stage %d; dW %d bands, %d groups, %d bytes",
                        (int)d->tile.rows, (int)d->tile.columns, (int)d->tile.blocks, (int)d->frame.bands,
                        (int)correlation_pieces(&d->frame), (int)d->frame.stage.bytes, (int)dw->w.bands, (int)dw->w.image_groups,
                        (int)dw->w.partial_bytes);
    if (conv_applies(&conv_winograd, &forward)) {
        const WinoPlan *p = conv_winograd.correlation.plan(arena, &forward, &own);
        text = arena_printf(arena, "%s | winograd block %d, tile %dx%dx%d, %d pieces, scratch %d, workspace %d", text,
                            (int)p->tiles.block, p->tile.planes, p->tile.rows, p->tile.columns, (int)wino_pieces(p),
                            (int)p->scratch_bytes, (int)wino_workspace(p));
    }
    return text;
}

/* For AVX-512, whatever this machine is: plans follow from the target's description alone. */
START_TEST(plans_of_known_shapes) {
    Target t;
    char why[300];
    ck_assert_msg(target_open(&t, "x86_64-linux-gnu", "x86-64-v4", why, sizeof why), "%s", why);
    Arena *arena = arena_new();
    const Row *row = &rows[_i];
    Val value[2];
    Graph *g = row_graph(row, value);
    ck_assert_str_eq(plans_of(arena, &t, g, value), row->plan);
    graph_free(g);
    arena_free(arena);
    target_close(&t);
}
END_TEST

/* Register tiles of the direct method, forward and data. With 16 registers no tile is as large as 1x3x4 or 1x4x3, whose twelve
 * accumulators leave no room for taps in a row; filters that outgrow L1 (5x5, 64 channels: 25 KB of a block with 8 lanes, 100 KB
 * with 16) want many pixels a block; backward data of stride 2 meets a phase's taps, not the kernel's. */
typedef struct TileRow {
    const char *cpu;
    int64_t N, I, O, size;
    int kernel, stride;
    const char *tiles;
} TileRow;

static const TileRow tile_rows[] = {
    {"x86-64-v3", 32, 64, 192, 27, 5, 1, "1x4x2 1x4x2"},  {"x86-64-v3", 32, 96, 96, 32, 3, 1, "1x8x1 1x8x1"},
    {"x86-64-v3", 32, 96, 96, 32, 5, 2, "1x4x2 1x8x1"},   {"x86-64-v3", 32, 96, 96, 16, 1, 2, "1x4x3 1x4x3"},
    {"x86-64-v3", 32, 192, 384, 28, 2, 2, "1x5x2 1x5x2"}, {"x86-64-v4", 32, 64, 192, 27, 5, 1, "1x14x1 1x14x1"},
    {"x86-64-v4", 32, 192, 384, 28, 2, 2, "1x7x2 1x7x2"}, {"x86-64-v4", 32, 64, 256, 16, 1, 2, "1x8x2 1x8x2"},
};

START_TEST(tiles_of_known_shapes) {
    const TileRow *row = &tile_rows[_i];
    Target t;
    char why[300];
    ck_assert_msg(target_open(&t, "x86_64-linux-gnu", row->cpu, why, sizeof why), "%s", why);
    Arena *arena = arena_new();
    const int k = row->kernel, pad = (k - 1) / 2, stride = row->stride;
    Attrs a = {
        .window = {.kernel = {k, k}, .stride = {stride, stride}, .dilation = {1, 1}, .pad = {pad, pad, pad, pad}, .groups = 1}};
    Convolution c =
        convolution_of(&(ConvolutionShape){MODE_TRAIN, row->N, row->I, row->O, {row->size, row->size}, a, false, false});
    ConvChoice own = {0};
    TileShape tile[2];
    for (int i = 0; i < 2; i++) {
        const ConvProblem problem = conv_problem(&t, c.g, i ? c.data : c.forward);
        tile[i] = ((const DirectPlan *)conv_direct.correlation.plan(arena, &problem, &own))->tile;
    }
    ck_assert_str_eq(arena_printf(arena, "%dx%dx%d %dx%dx%d", (int)tile[0].rows, (int)tile[0].columns, (int)tile[0].blocks,
                                  (int)tile[1].rows, (int)tile[1].columns, (int)tile[1].blocks),
                     row->tiles);
    if (row->size % 3 == 0 && row->O % (4 * t.lanes) == 0) { /* a file of choices may say what is no longer chosen */
        const ConvChoice kept = {.method = &conv_direct, .sizes = {1, 3, 4}};
        const ConvProblem problem = conv_problem(&t, c.g, c.forward);
        const DirectPlan *d = conv_direct.correlation.plan(arena, &problem, &kept);
        ck_assert_msg(d && d->tile.columns == 3 && d->tile.blocks == 4, "%s refuses the tile 1x3x4", row->cpu);
    }
    graph_free(c.g);
    arena_free(arena);
    target_close(&t);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("lowering");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, every_candidate_can_be_lowered, 0, 5);
    tcase_add_loop_test(tests, plans_of_known_shapes, 0, (int)(sizeof rows / sizeof *rows));
    tcase_add_loop_test(tests, tiles_of_known_shapes, 0, (int)(sizeof tile_rows / sizeof *tile_rows));
    return run_cases("codegen_lowering", tests);
}
