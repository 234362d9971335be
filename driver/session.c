/* A model on its way: .net file → graphs → passes → machine code → a machine in memory. One place that all subcommands
 * share; each stops where it needs to. Mistakes are printed where they are found and come back as exit statuses. */
#include "driver/cache.h"
#include "driver/tune.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_THREADS = 1024 };

/* ---- finding the model ---- */

char *session_shipped_file(const char *folder, const char *file) {
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length > 0) {
        self[length] = 0;
        char *slash = strrchr(self, '/');
        if (slash) *slash = 0;
        char *installed = join("%s/../share/netc/%s/%s", self, folder, file);
        if (!access(installed, R_OK)) return installed;
        free(installed);
    }
    char *source = join("%s/%s/%s", NETC_SOURCE, folder, file);
    if (!access(source, R_OK)) return source;
    free(source);
    return NULL;
}

static char *shipped_model(const char *name) {
    char *file = join("%s.net", name), *path = session_shipped_file("models", file);
    free(file);
    return path;
}

/* --conv names a method of codegen's, or auto. */
static int check_method(const Options *options, const char *command_name) {
    if (!options->conv || !strcmp(options->conv, "auto") || conv_method(options->conv)) return EXIT_OK;
    char *names = join("auto");
    for (uint32_t i = 0; conv_method_at(i); i++) {
        char *longer = join("%s|%s", names, conv_method_name(conv_method_at(i)));
        free(names);
        names = longer;
    }
    int status = usage_error(command_name, "'--conv' is one of %s, found '%s'", names, options->conv);
    free(names);
    return status;
}

int session_find_model(Session *session, const Options *options, const char *command_name) {
    session->options = options;
    int status = check_method(options, command_name);
    if (status) return status;
    if (options->noperands == 0) return usage_error(command_name, "no model given");
    if (options->threads > MAX_THREADS) return usage_error(command_name, "'--threads' is at most %d", MAX_THREADS);
    const char *name = options->operand[0];
    bool is_path = strchr(name, '/') || strchr(name, '.');
    if (access(name, F_OK) && !is_path) session->path = shipped_model(name);
    if (!session->path) session->path = join("%s", name);
    if (!access(session->path, R_OK)) return session_memory_options(session);
    if (errno != ENOENT && errno != ENOTDIR) return fail(EXIT_IO, "cannot open '%s': %s", name, strerror(errno));
    if (is_path) return fail(EXIT_INPUT, "there is no model file '%s'", name);
    return fail(EXIT_INPUT, "there is no model file '%s', and no '%s.net' among the models that come with netc", name, name);
}

/* ---- graphs ---- */

void session_print_diagnostics(const Session *session) {
    fflush(stdout);
    diag_print(session->diag, stderr, use_color(stderr));
}

int session_compile_failed(const Session *session) {
    session_print_diagnostics(session);
    return diag_system_failed(session->diag) ? EXIT_IO : EXIT_INPUT;
}

PassOptions session_pass_options(const Session *session) {
    const Options *o = session->options;
    return (PassOptions){.pipeline = o->passes,
                         .bare_modes = session->modes & PASS_TRAIN ? PASS_TRAIN : session->modes,
                         .disable = o->disable_pass.item,
                         .ndisable = o->disable_pass.count,
                         .load = o->load_pass.item,
                         .nload = o->load_pass.count,
                         .bisect_limit = o->bisect_limit,
                         .recompute = session->recompute,
                         .print_before_all = o->print_before_all,
                         .print_after_all = o->print_after_all,
                         .time_passes = o->time_passes,
                         .print_before = o->print_before.item,
                         .nprint_before = o->print_before.count,
                         .print_after = o->print_after.item,
                         .nprint_after = o->print_after.count,
                         .stop_after = session->stop_after};
}

int session_compiles(Session *session, unsigned modes, const char *command_name) {
    const Options *o = session->options;
    session->modes = modes;
    if (!(modes & PASS_TRAIN) && (o->memory_limit || o->recompute))
        return usage_error(command_name, "'--%s' is about training, which is not compiled here",
                           o->memory_limit ? "memory-limit" : "recompute");
    if (!session->diag) session->diag = diag_new();
    PassOptions options = session_pass_options(session);
    if (passes_check(&options, modes, session->diag)) return EXIT_OK;
    session_print_diagnostics(session);
    return EXIT_USAGE;
}

/* --recompute=N that no activation is left for. */
static int check_recompute(const Session *session, const PassResult *result) {
    int64_t asked = session->options->recompute;
    if (asked <= result->recomputable) return EXIT_OK;
    return fail(EXIT_USAGE, "'--recompute=%lld' is too many: at most %u activations of '%s' can be computed again here",
                (long long)asked, result->recomputable, result->graph->name);
}

int session_check_graph(const Graph *g) {
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        if (op_tier(value->op) == TIER_SOURCE)
            return fail(EXIT_USAGE,
                        "the passes leave '%s', for which there is no code: 'lower' and 'split_batch_norm' take such away",
                        op_text(value->op));
        if (g->mode == MODE_INFER || value->op != OP_PARAM) continue;
        if (graph_find_output(g, OUT_GRAD, value->attrs.param.name) == NO_VAL) /* it would only decay */
            return fail(EXIT_USAGE, "the passes leave no gradient of '%s', so it cannot be trained: 'autodiff' makes them",
                        value->attrs.param.name);
    }
    return EXIT_OK;
}

static void print_remarks(const Session *session, const PassResult *result) {
    for (uint32_t i = 0; i < result->nremarks; i++) {
        const Remark *r = &result->remarks[i];
        int line, column;
        diag_line_column(session->diag, r->span, &line, &column);
        if (line) fprintf(stderr, "%s:%d:%d: ", diag_file_path(session->diag, r->span.file), line, column);
        fprintf(stderr, "remark: %s%s: %s\n", r->pass, r->applied ? "" : " (not done)", r->text);
    }
}

int session_passes(Session *session, const Graph *graph, PassResult *result) {
    PassOptions options = session_pass_options(session);
    if (!passes_run(graph, &options, session->diag, result)) {
        *result = (PassResult){0};
        session_print_diagnostics(session);
        return EXIT_USAGE; /* only a mistake in the options of the passes can get here */
    }
    if (session->options->remarks) print_remarks(session, result);
    return graph->mode == MODE_TRAIN ? check_recompute(session, result) : EXIT_OK;
}

int session_graph(Session *session, Mode mode, bool through_passes) {
    const Options *o = session->options;
    Model *model = mode == MODE_TRAIN ? &session->train : &session->infer;
    PassResult *result = mode == MODE_TRAIN ? &session->train_passes : &session->infer_passes;
    FrontendOptions front = {.mode = mode, .batch = o->batch, .net = o->net, .sets = o->sets.item, .nsets = o->sets.count};
    if (!session->diag) session->diag = diag_new();
    if (!frontend_compile(session->path, &front, session->diag, model)) {
        *model = (Model){0};
        return session_compile_failed(session);
    }
    session_print_diagnostics(session); /* warnings */
    int status = through_passes && mode == MODE_TRAIN ? session_fit_memory(session, model->graph) : EXIT_OK;
    return status || !through_passes ? status : session_passes(session, model->graph, result);
}

/* ---- groups of images in inference ---- */

/* A group's feature maps should stay in the caches from layer to layer, which wants few images; but each group reads all weights
 * again, which in a deep net are more than its feature maps: ResNet-110 is a fifth slower in groups of 4 than of 16, where
 * ResNet-20 does not care. So the largest map of a group may have GROUP_BYTES, and a batch has several groups, for the threads.
 */
enum { GROUP_BYTES = 1024 * 1024, GROUP_IMAGES = 16, GROUPS = 4 };

static int64_t image_bytes(const Graph *g) {
    int64_t most = 1;
    for (Val v = 0; v < g->count; v++) {
        const Type *t = &g->value[v].type;
        bool feature = t->rank == 4 && g->value[v].op != OP_PARAM && t->dim[0] > 0;
        int64_t bytes = feature ? type_elements(*t) / t->dim[0] * (int64_t)sizeof(float) : 0;
        if (bytes > most) most = bytes;
    }
    return most;
}

static int64_t graph_batch(const Graph *g) {
    for (Val v = 0; v < g->count; v++)
        if (g->value[v].op == OP_INPUT && g->value[v].type.rank == 4) return g->value[v].type.dim[0];
    return 1;
}

/* A power of two. */
static int64_t group_images(const Graph *g, int64_t batch) {
    int64_t images = 1;
    while (2 * images <= GROUP_IMAGES && 2 * images * GROUPS <= batch && 2 * images * image_bytes(g) <= GROUP_BYTES) images *= 2;
    return images;
}

int session_infer(Session *session) {
    const Graph *whole = session->train.graph;
    int status = whole ? EXIT_OK : session_graph(session, MODE_INFER, false);
    if (status) return status;
    if (!whole) whole = session->infer.graph;
    session->batch = graph_batch(whole);
    Options group = *session->options;
    group.batch = group_images(whole, session->batch);
    graph_free(session->infer.graph);
    session->infer = (Model){0};
    const Options *options = session->options;
    session->options = &group;
    status = session_graph(session, MODE_INFER, true);
    session->options = options;
    return status ? status : session_check_graph(session->infer_passes.graph);
}

/* ---- machine ---- */

Precision session_precision(const Options *o) {
    return o->precision && !strcmp(o->precision, "bf16") ? PRECISION_BF16 : PRECISION_F32;
}

CodegenOptions session_code_for(const Session *session, const char *target, const char *cpu) {
    const Options *o = session->options;
    return (CodegenOptions){.target = target,
                            .cpu = cpu,
                            .conv = o->conv ? conv_method(o->conv) : NULL, /* auto is none */
                            .no_openblas = o->no_openblas,
                            .check_bounds = o->check_bounds,
                            .precision = session_precision(o)};
}

CodegenInput session_input(Session *session) {
    if (!session->pipeline) session_describe_passes(session);
    const Model *model = session->train.graph ? &session->train : &session->infer;
    return (CodegenInput){.name = model->name,
                          .train = session->train_passes.graph,
                          .infer = session->infer_passes.graph,
                          .batch = session->batch,
                          .recipe = &model->recipe,
                          .recipe_text = model->recipe_text,
                          .pipeline = session->pipeline,
                          .pipeline_sha256 = session->pipeline_sha256};
}

static void print_choice(void *context, Span span, const char *text) {
    const Session *session = context;
    int line, column;
    diag_line_column(session->diag, span, &line, &column);
    if (line) fprintf(stderr, "%s:%d:%d: ", diag_file_path(session->diag, span.file), line, column);
    fprintf(stderr, "remark: choose: %s\n", text);
}

void session_remarks(Session *session, CodegenOptions *code) {
    code->remark = session->options->remarks ? print_choice : NULL;
    code->remark_context = session;
}

CodegenOptions session_code(Session *session) {
    const Options *o = session->options;
    if (!session->cache) session->cache = cache_open(o);
    CodegenOptions code = session_code_for(session, NULL, o->cpu);
    code.cache = session->cache;
    code.dump_llvm = o->dump_llvm;
    code.dump_asm = o->dump_asm;
    session_remarks(session, &code);
    return code;
}

static int session_jit(Session *session) {
    CodegenInput input = session_input(session);
    CodegenOptions code = session_code(session);
    int status = tuning_choose(session, &input, &code);
    if (status) return status;
    session->jit = codegen_jit(&input, &code, session->diag);
    if (session->jit) return session_check_memory(session, jit_program(session->jit)->arena_bytes);
    return session_compile_failed(session);
}

int session_pool(Session *session) {
    if (!session->pool) session->pool = rt_pool_new((int)session->options->threads);
    return session->pool ? EXIT_OK : fail(EXIT_IO, "cannot start %lld threads", (long long)session->options->threads);
}

int session_graphs(Session *session, bool train, bool infer, const char *command_name) {
    train = train && !session->train_passes.graph;
    infer = infer && !session->infer_passes.graph;
    int status =
        train || infer ? session_compiles(session, (train ? PASS_TRAIN : 0) | (infer ? PASS_INFER : 0), command_name) : EXIT_OK;
    if (train && !status) status = session_graph(session, MODE_TRAIN, true);
    if (train && !status) status = session_check_graph(session->train_passes.graph);
    if (!status && infer) status = session_infer(session);
    if (!status && !session->pipeline) session_describe_passes(session);
    return status;
}

int session_machine(Session *session, bool train, bool infer, const char *command_name) {
    int status = session_graphs(session, train, infer, command_name);
    if (!status) status = session_pool(session);
    if (!status) status = session_jit(session);
    if (status) return status;
    if (jit_stats(session->jit)->openblas) status = prepare_openblas(rt_gemm_reserve, rt_pool_threads(session->pool));
    if (status) return status;
    RtError error = {{0}};
    session->machine = rt_machine_new(jit_program(session->jit), session->pool, &error);
    return session->machine ? EXIT_OK : fail(EXIT_IO, "%s", error.text);
}

void session_close(Session *session) {
    if (session->machine) rt_machine_free(session->machine);
    if (session->pool) rt_pool_free(session->pool);
    if (session->jit) jit_free(session->jit);
    choices_free(session->choices);
    choices_free(session->made);
    if (session->train_passes.graph) passes_result_free(&session->train_passes);
    if (session->infer_passes.graph) passes_result_free(&session->infer_passes);
    if (session->train.graph) graph_free(session->train.graph);
    if (session->infer.graph) graph_free(session->infer.graph);
    if (session->diag) diag_free(session->diag);
    free(session->cache);
    free(session->pipeline);
    free(session->path);
}
