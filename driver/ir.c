/* netc ir: a model's graph as the frontend made it, or as a file of text has it (source), differentiated (autodiff), or ready for
 * codegen (final). This is how the tests hold single passes against their expected output. */
#include "driver/compile.h"
#include "driver/driver.h"
#include "driver/textual.h"
#include "ir/diff.h"
#include "ir/stream.h"
#include "ir/text.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool wants_json(const Options *o) { return o->json || (o->format && !strcmp(o->format, "json")); }

static int write_graph(const Session *session, const Graph *graph, FILE *out) {
    if (wants_json(session->options))
        graph_print_json(graph, session->diag, out);
    else
        graph_print(graph, session->diag, out);
    return EXIT_OK;
}

/* To -o, or standard output. */
static int write_text(const Options *o, const char *text, size_t length) {
    FILE *out = o->output ? fopen(o->output, "w") : stdout;
    if (!out) return fail(EXIT_IO, "cannot write '%s': %s", o->output, strerror(errno));
    bool failed = fwrite(text, 1, length, out) != length || ferror(out);
    if (out == stdout) return EXIT_OK; /* main says what is wrong with it */
    if (fclose(out) || failed) return fail(EXIT_IO, "cannot write '%s': %s", o->output, strerror(errno));
    return EXIT_OK;
}

/* --mode, or what the file holds: of a .net model training. */
static int choose_modes(Session *session, unsigned *modes) {
    const char *asked = session->options->mode;
    unsigned held = PASS_TRAIN | PASS_INFER;
    int status = textual_is(session) ? textual_modes(session, &held) : EXIT_OK;
    bool train = asked ? strcmp(asked, "infer") != 0 : held & PASS_TRAIN, infer = asked && strcmp(asked, "train") != 0;
    *modes = (train ? PASS_TRAIN : 0) | (infer || !train ? PASS_INFER : 0);
    if (!status && textual_is(session) && session->options->sets.count && *modes != (PASS_TRAIN | PASS_INFER))
        return usage_error("ir", "'--set' changes the recipe of a graph's text, which '--mode=both' prints");
    return status;
}

/* One mode. A file of both is written with the recipe, so that every command can read it. */
static int print_mode(Session *session, Mode mode, bool source, bool recipe, FILE *out) {
    const PassResult *passes = mode == MODE_TRAIN ? &session->train_passes : &session->infer_passes;
    const Model *model = mode == MODE_TRAIN ? &session->train : &session->infer;
    source |= mode == MODE_INFER && session->stop_after; /* nothing is differentiated */
    int status = compile_graph(session, mode, !source);
    if (status) return status;
    if (recipe) fputs(model->recipe_text, out);
    return write_graph(session, source ? model->graph : passes->graph, out);
}

static int print_graphs(Session *session, unsigned modes, bool source) {
    const Options *o = session->options;
    bool both = modes == (PASS_TRAIN | PASS_INFER);
    if (both && wants_json(o)) return usage_error("ir", "JSON is of one mode: --mode=train or infer");
    int status = compile_modes(session, modes, "ir");
    TextStream text;
    text_open(&text);
    if (!status && modes & PASS_TRAIN) status = print_mode(session, MODE_TRAIN, source, both, text.file);
    if (!status && modes & PASS_INFER) status = print_mode(session, MODE_INFER, source, false, text.file);
    text_close(&text);
    if (!status && !source) status = session_check_met(session);
    if (!status) status = write_text(o, text.text, text.length);
    free(text.text);
    return status;
}

/* Is anything asked of the passes? */
static bool has_pass_options(const Options *o) {
    return o->passes || o->rules || o->disable_pass.count || o->load_pass.count || o->print_before.count ||
           o->print_after.count || o->bisect_limit >= 0 || o->forbid.count || o->permit.count || o->log || o->print_before_all ||
           o->print_after_all || o->print_changed || o->split_after || o->time_passes || o->remarks || o->recompute >= 0 ||
           o->memory_limit;
}

/* One mode of one model as far as it is to go; *graph is the session's. */
static int graph_of(Session *session, const Options *options, bool source, const Graph **graph) {
    unsigned modes = 0;
    int status = session_find_model(session, options, "ir");
    if (!status) status = choose_modes(session, &modes);
    if (!status && modes == (PASS_TRAIN | PASS_INFER))
        status = usage_error("ir", "'--diff' is of one mode: --mode=train or infer");
    if (options->stage && !strcmp(options->stage, "autodiff")) session->stop_after = "autodiff";
    if (!status && modes == PASS_INFER && session->stop_after)
        status = usage_error("ir", "'--stage=autodiff' needs a graph of training");
    Mode mode = modes == PASS_TRAIN ? MODE_TRAIN : MODE_INFER;
    if (!status) status = compile_modes(session, modes, "ir");
    if (!status) status = compile_graph(session, mode, !source);
    if (!status && !source) status = session_check_met(session);
    if (status) return status;
    const Model *model = mode == MODE_TRAIN ? &session->train : &session->infer;
    *graph = source ? model->graph : (mode == MODE_TRAIN ? &session->train_passes : &session->infer_passes)->graph;
    return EXIT_OK;
}

/* netc ir --diff A B: like diff(1), the status says whether there is a difference. */
static int diff(const Options *options, bool source) {
    if (options->noperands != 2) return usage_error("ir", "'--diff' needs two models, found %u", options->noperands);
    if (wants_json(options) || options->format)
        return usage_error("ir", "'--diff' prints lines, '%s' has no effect on it", options->json ? "--json" : "--format");
    Session session[2] = {{0}, {0}};
    Options one[2] = {*options, *options};
    const Graph *graph[2];
    int status = EXIT_OK;
    for (int i = 0; i < 2 && !status; i++) {
        one[i].operand = &options->operand[i];
        one[i].noperands = 1;
        status = graph_of(&session[i], &one[i], source, &graph[i]);
    }
    TextStream text;
    text_open(&text);
    bool differs = !status && graph_diff(graph[0], graph[1], text.file);
    text_close(&text);
    if (!status) status = write_text(options, text.text, text.length);
    free(text.text);
    for (int i = 0; i < 2; i++) session_close(&session[i]);
    return status ? status : differs ? EXIT_INPUT : EXIT_OK;
}

int command_ir(const Options *options) {
    bool asks = has_pass_options(options);
    if (options->json && options->format && strcmp(options->format, "json") != 0)
        return usage_error("ir", "'--json' means '--format=json', but '--format=%s' is given too", options->format);
    if (options->diff && options->stage && !strcmp(options->stage, "source") && asks)
        return usage_error("ir", "no pass runs before '--stage=source', so options of passes have no effect");
    if (options->diff) return diff(options, options->stage ? !strcmp(options->stage, "source") : !asks);
    if (options->noperands > 1) return usage_error("ir", "one model at a time, found '%s' too", options->operand[1]);
    Session session = {0};
    int status = session_find_model(&session, options, "ir");
    bool passes = asks;
    const char *stage = options->stage ? options->stage : passes ? "final" : "source";
    bool source = !strcmp(stage, "source");
    unsigned modes = 0;
    if (!status) status = choose_modes(&session, &modes);
    if (!strcmp(stage, "autodiff")) session.stop_after = "autodiff";
    if (!status && modes == PASS_INFER && session.stop_after)
        status = usage_error("ir", "'--stage=autodiff' needs a graph of training");
    else if (!status && source && passes)
        status = usage_error("ir", "no pass runs before '--stage=source', so options of passes have no effect");
    else if (!status)
        status = print_graphs(&session, modes, source);
    session_close(&session);
    return status;
}
