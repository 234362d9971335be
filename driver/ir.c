/* netc ir: a model's graph as the frontend made it (source), differentiated (autodiff), or ready for codegen (final).
 *
 * A file that ends in .ir is read as textual IR: its mode, batch size and net are what it says. This is how the tests hold
 * single passes against their expected output. */
#include "driver/compile.h"
#include "driver/driver.h"
#include "ir/text.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int write_graph(const Session *session, const Graph *graph) {
    const Options *o = session->options;
    FILE *out = o->output ? fopen(o->output, "w") : stdout;
    if (!out) return fail(EXIT_IO, "cannot write '%s': %s", o->output, strerror(errno));
    if (o->format && !strcmp(o->format, "json"))
        graph_print_json(graph, session->diag, out);
    else
        graph_print(graph, out);
    if (out == stdout) return EXIT_OK;
    bool failed = ferror(out);
    if (fclose(out) || failed) return fail(EXIT_IO, "cannot write '%s': %s", o->output, strerror(errno));
    return EXIT_OK;
}

static int print_model(Session *session, Mode mode, bool source) {
    int status = session_compiles(session, mode == MODE_TRAIN ? PASS_TRAIN : PASS_INFER, "ir");
    if (!status) status = compile_graph(session, mode, !source);
    const PassResult *passes = mode == MODE_TRAIN ? &session->train_passes : &session->infer_passes;
    const Model *model = mode == MODE_TRAIN ? &session->train : &session->infer;
    return status ? status : write_graph(session, source ? model->graph : passes->graph);
}

/* Options that are about a .net file. */
static int check_textual(const Options *o) {
    const char *name = o->mode ? "mode" : o->batch ? "batch" : o->net ? "net" : o->sets.count ? "set" : NULL;
    if (name) return usage_error("ir", "'--%s' is about a .net model; a graph's text says it itself", name);
    if (o->memory_limit) return usage_error("ir", "'--memory-limit' is about a .net model's graph of training, after the passes");
    return EXIT_OK;
}

static int run_textual(Session *session, const Graph *graph, bool source) {
    bool train = graph->mode == MODE_TRAIN;
    if (session->stop_after && !train) return usage_error("ir", "'--stage=autodiff' needs a graph of training");
    int status = session_compiles(session, train ? PASS_TRAIN : PASS_INFER, "ir");
    if (status || source) return status ? status : write_graph(session, graph);
    status = session_passes(session, graph, &session->train_passes);
    return status ? status : write_graph(session, session->train_passes.graph);
}

static int print_textual(Session *session, bool source) {
    size_t length;
    int status = check_textual(session->options);
    if (status) return status;
    char *text = read_file(session->path, &length, &status);
    if (!text) return status;
    session->diag = diag_new();
    uint32_t file = diag_add_file(session->diag, session->path, text, length);
    Graph *graph = graph_read(text, length, file, session->diag);
    free(text);
    if (!graph) {
        session_print_diagnostics(session);
        return EXIT_INPUT;
    }
    char *wrong = graph_verify(graph, 0);
    if (wrong) {
        status = fail(EXIT_INPUT, "'%s' is not a sound graph: %s", session->path, wrong);
        free(wrong);
    } else {
        status = run_textual(session, graph, source);
    }
    graph_free(graph);
    return status;
}

/* Is anything asked of the passes? */
static bool has_pass_options(const Options *o) {
    return o->passes || o->disable_pass.count || o->load_pass.count || o->print_before.count || o->print_after.count ||
           o->bisect_limit >= 0 || o->print_before_all || o->print_after_all || o->time_passes || o->remarks || o->recompute ||
           o->memory_limit;
}

int command_ir(const Options *options) {
    Session session = {0};
    int status = session_find_model(&session, options, "ir");
    bool infer = options->mode && !strcmp(options->mode, "infer"), passes = has_pass_options(options);
    const char *stage = options->stage ? options->stage : passes ? "final" : "source";
    bool source = !strcmp(stage, "source");
    size_t length = status ? 0 : strlen(session.path);
    bool textual = length > 3 && !strcmp(session.path + length - 3, ".ir");
    if (!strcmp(stage, "autodiff")) session.stop_after = "autodiff";
    if (!status && infer && session.stop_after)
        status = usage_error("ir", "'--stage=autodiff' needs '--mode=train'");
    else if (!status && source && passes)
        status = usage_error("ir", "no pass runs before '--stage=source', so options of passes have no effect");
    else if (!status)
        status = textual ? print_textual(&session, source) : print_model(&session, infer ? MODE_INFER : MODE_TRAIN, source);
    session_close(&session);
    return status;
}
