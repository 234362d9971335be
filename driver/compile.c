/* The driver's one road: compile.h says how far each function goes. */
#include "driver/compile.h"
#include "driver/memory.h"
#include "driver/textual.h"
#include "driver/tune.h"
#include "verify/small.h"
#include <string.h>

/* ---- graphs ---- */

int compile_modes(Session *session, unsigned modes, const char *command_name) {
    const Options *o = session->options;
    session->modes = modes;
    if (!(modes & PASS_TRAIN) && (o->memory_limit || o->recompute >= 0))
        return usage_error(command_name, "'--%s' is about training, which is not compiled here",
                           o->memory_limit ? "memory-limit" : "recompute");
    if (!session->diag) session->diag = diag_new();
    PassOptions options[] = {session_pass_options(session), session_pass_options(session)};
    if (session->stop_after) modes &= (unsigned)~PASS_INFER; /* no pass runs there (driver/ir.c) */
    int status = textual_is(session) ? textual_skip_all(session, modes, options) : EXIT_OK;
    if (status || passes_check(options, modes, session->diag)) return status;
    session_print_diagnostics(session);
    return EXIT_USAGE;
}

int compile_asked_modes(Session *session, const Options *options, const char *command_name, unsigned *modes) {
    unsigned held = PASS_TRAIN | PASS_INFER, asked = held;
    if (options->mode) asked = strcmp(options->mode, "infer") ? PASS_TRAIN : PASS_INFER;
    int status = session_find_model(session, options, command_name);
    if (!status && textual_is(session)) status = textual_modes(session, &held);
    if (!status && !(asked & held))
        status = fail(EXIT_INPUT, "'%s' has no graph of %s", session->path, asked == PASS_TRAIN ? "training" : "inference");
    *modes = asked & held;
    return status ? status : compile_modes(session, *modes, command_name);
}

int compile_source(Session *session, Mode mode, int64_t batch, Model *model) {
    const Options *o = session->options;
    if (textual_is(session)) return textual_model(session, mode, batch, model);
    FrontendOptions front = {
        .mode = mode, .batch = batch, .net = o->net, .sets = o->sets.item, .nsets = o->sets.count, .alike = o->compare != NULL};
    if (!session->diag) session->diag = diag_new();
    if (!frontend_compile(session->path, &front, session->diag, model)) {
        *model = (Model){0};
        return session_compile_failed(session);
    }
    session_print_diagnostics(session); /* warnings */
    return EXIT_OK;
}

int compile_small(Session *session, Mode mode, int64_t batch, Model *model, Graph **small) {
    bool text = textual_is(session), whole = batch || (text && session->options->inputs); /* whose shapes are the text's */
    int status = compile_source(session, mode, batch || text ? batch : SMALL_BATCH, model);
    *small = status || whole ? NULL : small_images(model->graph);
    return status;
}

PassOptions compile_pass_options(Session *session, const Graph *source) {
    PassOptions options = session_pass_options(session);
    if (textual_is(session)) textual_skip(source, &options);
    return options;
}

void compile_replace_list(PassOptions *options, const char *list) {
    options->pipeline = list;
    options->bare_modes = 0;
    options->disable = NULL, options->ndisable = 0;
}

int compile_watch_passes(Session *session, Mode mode, void (*watch)(void *, const PassRun *, const Graph *, const Graph *),
                         void *context) {
    const Graph *source = (mode == MODE_TRAIN ? &session->train : &session->infer)->graph;
    PassOptions options = compile_pass_options(session, source);
    PassResult again = {0};
    options.recompute = session->recompute;
    options.watch = watch;
    options.watch_context = context;
    if (!passes_run(source, &options, session->diag, &again)) return session_compile_failed(session);
    passes_result_free(&again);
    return EXIT_OK;
}

int compile_graph(Session *session, Mode mode, bool through_passes) {
    Model *model = mode == MODE_TRAIN ? &session->train : &session->infer;
    PassResult *result = mode == MODE_TRAIN ? &session->train_passes : &session->infer_passes;
    int status = compile_source(session, mode, session->options->batch, model);
    if (status || !through_passes) return status;
    PassOptions options = compile_pass_options(session, model->graph);
    if (mode == MODE_TRAIN) status = memory_fit(session, model->graph, &options);
    options.recompute = session->recompute;
    return status ? status : session_passes(session, model->graph, &options, result);
}

/* ---- groups of images in inference ---- */

/* A group's feature maps should stay in the caches from layer to layer, which wants few images; but each group reads all weights
 * again: ResNet-18 classifies 1.3 times as many images in groups of 16 as of 4, where DenseNet, of few weights and large maps,
 * loses a tenth. So the largest map of a group may have GROUP_BYTES, or a part of what the weights have. For the threads a batch
 * has several groups, twice as many where it is for the weights' sake. */
enum { GROUP_BYTES = 1024 * 1024, WEIGHTS_PART = 4, GROUP_IMAGES = 16, GROUPS = 4 };

static int64_t weight_bytes(const Graph *g) {
    int64_t bytes = 0;
    for (Val v = 0; v < g->count; v++)
        if (g->value[v].op == OP_PARAM) bytes += type_elements(g->value[v].type) * (int64_t)sizeof(float);
    return bytes;
}

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

/* A power of two. g: of inference, with the whole batch. */
static int64_t group_images(const Graph *g, int64_t batch) {
    int64_t images = 1, map = image_bytes(g), weights = weight_bytes(g);
    while (2 * images <= GROUP_IMAGES) {
        bool stays = 2 * images * map <= GROUP_BYTES && 2 * images * GROUPS <= batch;
        bool pays = 2 * images * map <= weights / WEIGHTS_PART && 2 * images * 2 * GROUPS <= batch;
        if (!stays && !pays) break;
        images *= 2;
    }
    return images;
}

int compile_infer(Session *session) {
    int status = compile_graph(session, MODE_INFER, false);
    if (status) return status;
    session->batch = graph_batch(session->train.graph ? session->train.graph : session->infer.graph);
    Options group = *session->options;
    group.batch = group_images(session->infer.graph, session->batch);
    graph_free(session->infer.graph);
    session->infer = (Model){0};
    const Options *options = session->options;
    session->options = &group;
    status = compile_graph(session, MODE_INFER, true);
    session->options = options;
    return status ? status : session_check_graph(session->infer_passes.graph);
}

/* ---- both modes, and a machine ---- */

int compile_graphs(Session *session, bool train, bool infer, const char *command_name) {
    train = train && !session->train_passes.graph;
    infer = infer && !session->infer_passes.graph;
    int status =
        train || infer ? compile_modes(session, (train ? PASS_TRAIN : 0) | (infer ? PASS_INFER : 0), command_name) : EXIT_OK;
    if (train && !status) status = compile_graph(session, MODE_TRAIN, true);
    if (train && !status) status = session_check_graph(session->train_passes.graph);
    if (!status && infer) status = compile_infer(session);
    if (!status && !session->pipeline) session_describe_passes(session);
    return status ? status : session_check_met(session);
}

static int jit(Session *session) {
    CodegenInput input = session_input(session);
    CodegenOptions code = session_code(session);
    int status = tuning_choose(session, &input, &code);
    if (status) return status;
    session->jit = codegen_jit(&input, &code, session->diag);
    const RtProgram *program = session->jit ? jit_program(session->jit) : NULL;
    if (program) return memory_check(session, rt_activation_bytes(program));
    return session_compile_failed(session);
}

int compile_code(Session *session, Mode mode) {
    if (session->jit) return EXIT_OK;
    CodegenInput input = session_input(session);
    CodegenOptions code = session_code(session);
    *(mode == MODE_TRAIN ? &input.infer : &input.train) = NULL;
    session->jit = codegen_jit(&input, &code, session->diag);
    return session->jit ? EXIT_OK : session_compile_failed(session);
}

int compile_machine(Session *session, bool train, bool infer, const char *command_name) {
    int status = compile_graphs(session, train, infer, command_name);
    if (!status) status = session_pool(session);
    if (!status) status = jit(session);
    if (status) return status;
    if (jit_stats(session->jit)->openblas) status = prepare_openblas(rt_gemm_reserve, rt_pool_threads(session->pool));
    if (status) return status;
    RtError error = {{0}};
    session->machine = rt_machine_new_ranked(jit_program(session->jit), session->pool, session->ranks, &error);
    return session->machine ? EXIT_OK : fail(EXIT_IO, "%s", error.text);
}
