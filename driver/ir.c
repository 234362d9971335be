/* netc ir: a model's graph as the frontend made it (source), differentiated (autodiff), or ready for codegen (final).
 *
 * A file that ends in .ir is read as textual IR; it then takes exactly the passes that --passes names. This is how the
 * tests hold single passes against their expected output. */
#include "driver/driver.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The passes up to and with autodiff, as a pipeline text: what --stage=autodiff runs. */
static char *pipeline_to_autodiff(void) {
    char *text = join("%s", "");
    for (uint32_t i = 0; i < pass_count(); i++) {
        const Pass *pass = pass_at(i);
        if (!pass_runs_in(pass, MODE_TRAIN)) continue;
        char *longer = join("%s%s%s", text, *text ? "," : "", pass->name);
        free(text);
        text = longer;
        if (!strcmp(pass->name, "autodiff")) break;
    }
    return text;
}

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

static int print_model(Session *session, Mode mode, const char *stage) {
    Options options = *session->options;
    char *pipeline = NULL;
    bool source = !strcmp(stage, "source");
    if (!strcmp(stage, "autodiff") && !options.passes) options.passes = pipeline = pipeline_to_autodiff();
    session->options = &options;
    int status = session_graph(session, mode, !source);
    const PassResult *passes = mode == MODE_TRAIN ? &session->train_passes : &session->infer_passes;
    const Model *model = mode == MODE_TRAIN ? &session->train : &session->infer;
    if (!status) status = write_graph(session, source ? model->graph : passes->graph);
    free(pipeline);
    return status;
}

static int print_textual(Session *session, const char *stage) {
    size_t length;
    int status = EXIT_OK;
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
    } else if (!strcmp(stage, "source")) {
        status = write_graph(session, graph);
    } else {
        status = session_passes(session, graph, &session->train_passes);
        if (!status) status = write_graph(session, session->train_passes.graph);
    }
    graph_free(graph);
    return status;
}

int command_ir(const Options *options) {
    Session session = {0};
    int status = session_find_model(&session, options, "ir");
    bool infer = options->mode && !strcmp(options->mode, "infer");
    const char *stage = options->stage ? options->stage : options->passes ? "final" : "source";
    size_t length = status ? 0 : strlen(session.path);
    bool textual = length > 3 && !strcmp(session.path + length - 3, ".ir");
    if (!status && infer && !strcmp(stage, "autodiff"))
        status = usage_error("ir", "'--stage=autodiff' needs '--mode=train'");
    else if (!status && options->memory_limit && (textual || infer || !strcmp(stage, "source")))
        status = usage_error("ir", "'--memory-limit' is about a .net model's graph of training, after the passes");
    else if (!status && textual)
        status = print_textual(&session, stage);
    else if (!status)
        status = print_model(&session, infer ? MODE_INFER : MODE_TRAIN, stage);
    session_close(&session);
    return status;
}
