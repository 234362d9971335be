/* Everything about a model but the way that it goes (compile.c): its file, the options of passes and of code, what was reached.
 * Mistakes are printed where they are found and come back as exit statuses. */
#include "driver/session.h"
#include "driver/cache.h"
#include "driver/remarks.h"
#include "driver/rules.h"
#include "ir/nearest.h"
#include "ir/stream.h"
#include "ir/text.h"
#include "runtime/sha256.h"
#include <errno.h>
#include <inttypes.h>
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

/* ---- graphs as text ---- */

static char *standard_input;
static size_t standard_input_length;

static int read_standard_input(void) {
    TextStream text;
    char part[1 << 16];
    if (standard_input) return EXIT_OK;
    text_open(&text);
    for (size_t n; (n = fread(part, 1, sizeof part, stdin)) > 0;) fwrite(part, 1, n, text.file);
    bool failed = ferror(stdin);
    standard_input = text_close(&text);
    standard_input_length = text.length;
    return failed ? fail(EXIT_IO, "cannot read standard input: %s", strerror(errno)) : EXIT_OK;
}

char *session_read_text(const Session *session, size_t *length, int *status) {
    if (strcmp(session->path, "-") != 0) return read_file(session->path, length, status);
    *status = read_standard_input();
    *length = standard_input_length;
    char *copy = *status ? NULL : malloc(*length + 1);
    if (!copy && !*status) out_of_memory("no room for a graph's text");
    return copy ? memcpy(copy, standard_input, *length + 1) : NULL;
}

/* A line of it begins as a graph does, and as nothing in the language. */
static bool holds_graph(const char *text) {
    static const char begin[] = "graph \"";
    const char *at = strstr(text, begin);
    while (at && at != text && at[-1] != '\n') at = strstr(at + 1, begin);
    return at != NULL;
}

/* By the ending of its name, .ir or .net; else by what is in it. */
static int find_textual(Session *session) {
    const char *path = session->path, *ending = strrchr(path, '.');
    size_t length;
    int status = EXIT_OK;
    session->textual = ending && ending[1] && !strcmp(ending, ".ir");
    if (session->textual || (ending && !strcmp(ending, ".net"))) return EXIT_OK;
    char *text = session_read_text(session, &length, &status);
    session->textual = text && holds_graph(text);
    free(text);
    if (!status && !session->textual && !strcmp(path, "-"))
        status = fail(EXIT_INPUT, "standard input holds no graph as text ('netc ir'); a model in the language is a file");
    return status;
}

int session_find_model(Session *session, const Options *options, const char *command_name) {
    session->options = options;
    int status = check_method(options, command_name);
    if (status) return status;
    if (options->noperands == 0) return usage_error(command_name, "no model given");
    if (options->threads > MAX_THREADS) return usage_error(command_name, "'--threads' is at most %d", MAX_THREADS);
    if (options->remarks_format && !options->remarks)
        return usage_error(command_name, "'--remarks-format' is about '--remarks', which is not given");
    session->remarks = (Remarks){.about = options->remarks,
                                 .json = options->remarks_format && !strcmp(options->remarks_format, "json"),
                                 .log = options->log};
    session->watch = (PassWatch){.changed = options->print_changed, .directory = options->split_after};
    if (options->memory_limit && options->recompute >= 0)
        return usage_error(command_name, "'--memory-limit' says how much '--recompute' must: give one of them");
    if (options->rules && !(session->rules = rules_load(options->rules, &status))) return status;
    session->recompute = options->recompute < 0 ? RECOMPUTE_CHEAP : options->recompute;
    const char *name = options->operand[0];
    if (!strcmp(name, "-")) return session->path = join("%s", name), find_textual(session);
    bool is_path = strchr(name, '/') || strchr(name, '.');
    if (access(name, F_OK) && !is_path) session->path = shipped_model(name);
    if (!session->path) session->path = join("%s", name);
    if (!access(session->path, R_OK)) return find_textual(session);
    if (errno != ENOENT && errno != ENOTDIR) return fail(EXIT_IO, "cannot open '%s': %s", name, strerror(errno));
    if (is_path) return fail(EXIT_INPUT, "there is no model file '%s'", name);
    return fail(EXIT_INPUT, "there is no model file '%s', and no '%s.net' among the models that come with netc", name, name);
}

/* ---- passes ---- */

void session_print_diagnostics(const Session *session) {
    fflush(stdout);
    diag_print(session->diag, stderr, use_color(stderr));
}

int session_compile_failed(const Session *session) {
    session_print_diagnostics(session);
    return diag_system_failed(session->diag) ? EXIT_IO : EXIT_INPUT;
}

static PassMask *masks(const TextList *list) {
    PassMask *mask = calloc(list->count + 1, sizeof *mask);
    if (!mask) out_of_memory("no room for %u names of rewrites", list->count);
    for (uint32_t i = 0; i < list->count; i++) mask[i].text = list->item[i];
    return mask;
}

PassOptions session_pass_options(Session *session) {
    const Options *o = session->options;
    session->watch.sources = session->diag;
    if (!session->forbid) session->forbid = masks(&o->forbid);
    if (!session->permit) session->permit = masks(&o->permit);
    return (PassOptions){.pipeline = o->passes,
                         .bare_modes = session->modes & PASS_TRAIN ? PASS_TRAIN : session->modes,
                         .disable = o->disable_pass.item,
                         .ndisable = o->disable_pass.count,
                         .load = o->load_pass.item,
                         .nload = o->load_pass.count,
                         .rules = session->rules,
                         .bisect_limit = o->bisect_limit,
                         .forbid = session->forbid,
                         .nforbid = o->forbid.count,
                         .permit = session->permit,
                         .npermit = o->permit.count,
                         .recompute = session->recompute,
                         .reproducer = true,
                         .print_before_all = o->print_before_all,
                         .print_after_all = o->print_after_all,
                         .time_passes = o->time_passes,
                         .print_before = o->print_before.item,
                         .nprint_before = o->print_before.count,
                         .print_after = o->print_after.item,
                         .nprint_after = o->print_after.count,
                         .watch = o->print_changed || o->split_after ? watch_pass : NULL,
                         .watch_context = &session->watch,
                         .stop_after = session->stop_after};
}

/* --recompute=N that no activation is left for. */
static int check_recompute(const Session *session, const PassResult *result) {
    int64_t asked = session->options->recompute;
    if (asked <= result->recomputable) return EXIT_OK;
    return fail(EXIT_USAGE, "'--recompute=%lld' is too many: at most %u activation%s of '%s' can be computed again here",
                (long long)asked, result->recomputable, result->recomputable == 1 ? "" : "s", result->graph->name);
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Of training: is a parameter trained, and has each of these a gradient? Without one it would only decay. */
static int check_gradients(const Graph *g) {
    const char **gradient = malloc((g->noutputs + 1) * sizeof *gradient), *without = NULL;
    uint32_t count = 0, params = 0, frozen = 0;
    if (!gradient) return fail(EXIT_IO, "out of memory");
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (g->output[i].kind == OUT_GRAD) gradient[count++] = g->output[i].name;
    qsort(gradient, count, sizeof *gradient, by_name);
    for (Val v = 0; v < g->count && !without; v++) {
        const char *name = g->value[v].attrs.param.name;
        if (g->value[v].op != OP_PARAM) continue;
        params++;
        frozen += g->value[v].attrs.param.frozen;
        if (!g->value[v].attrs.param.frozen && !bsearch(&name, gradient, count, sizeof *gradient, by_name)) without = name;
    }
    free(gradient);
    if (params && frozen == params)
        return fail(EXIT_INPUT, "all parameters of '%s' are frozen, so that nothing is left to train", g->name);
    if (!without) return EXIT_OK;
    return fail(EXIT_USAGE, "the passes leave no gradient of '%s', so it cannot be trained: 'autodiff' makes them", without);
}

/* The frontend's graphs have these; one that is written by hand may not. */
static int check_ends(const Graph *g) {
    static const OutputKind needed[] = {OUT_LOGITS, OUT_LOSS, OUT_CORRECT};
    bool train = g->mode == MODE_TRAIN;
    int images = 0, labels = 0, mixed = 0, shares = 0;
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        const char *name = value->attrs.param.name;
        if (value->op != OP_INPUT) continue;
        bool image = value->type.rank == 4 && value->type.dtype == DT_F32;
        bool label = train && value->type.rank == 1 && value->type.dtype == DT_I32,
             second = label && !strcmp(name, INPUT_LABELS_MIXED);
        bool share = train && value->type.rank == 0 && value->type.dtype == DT_F32 && !strcmp(name, INPUT_SHARE);
        if (!image && !label && !share)
            return fail(EXIT_INPUT, "the input '%s' is neither images f32[N,C,H,W] nor, in training, labels i32[N]", name);
        images += image, labels += label && !second, mixed += second, shares += share;
    }
    if (mixed != shares)
        return fail(EXIT_INPUT, "of the inputs '" INPUT_LABELS_MIXED "' and '" INPUT_SHARE "' of mixed images '%s' has one alone",
                    g->name);
    if (images != 1) return fail(EXIT_INPUT, "a net has one input of images f32[N,C,H,W]; '%s' has %d", g->name, images);
    if (labels != train) return fail(EXIT_INPUT, "training has one input of labels i32[N]; '%s' has %d", g->name, labels);
    for (int i = 0; i < (train ? 3 : 1); i++)
        if (graph_find_output(g, needed[i], NULL) == NO_VAL)
            return fail(EXIT_INPUT, "the graph of %s of '%s' has no output '%s'", train ? "training" : "inference", g->name,
                        output_kind_text(needed[i]));
    return EXIT_OK;
}

int session_check_graph(const Graph *g) {
    int status = check_ends(g);
    if (status) return status;
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        if (op_tier(value->op) == TIER_SOURCE)
            return fail(EXIT_USAGE,
                        "the passes leave '%s', for which there is no code: 'lower' and 'split_batch_norm' take such away",
                        op_text(value->op));
    }
    return g->mode == MODE_TRAIN ? check_gradients(g) : EXIT_OK;
}

int session_passes(Session *session, const Graph *graph, const PassOptions *options, PassResult *result) {
    if (!passes_run(graph, options, session->diag, result)) {
        *result = (PassResult){0};
        session_print_diagnostics(session);
        return EXIT_USAGE; /* only a mistake in the options of the passes can get here */
    }
    if (session->watch.status) return session->watch.status;
    session->remarks.diag = session->diag;
    int status = remarks_write(&session->remarks, graph->mode, result);
    return !status && graph->mode == MODE_TRAIN ? check_recompute(session, result) : status;
}

/* ---- what ran, as a checkpoint keeps it ---- */

/* Appends to a malloc'd text. */
static void append(char **text, const char *separator, const char *what) {
    char *longer = join("%s%s%s", *text, **text ? separator : "", what);
    free(*text);
    *text = longer;
}

static void append_list(char **text, const char *mode, const PassResult *result) {
    if (!result->graph) return;
    char *list = join("%s:%s", mode, result->pipeline);
    append(text, ";", list);
    free(list);
}

static void hash_file(RtSha256 *sum, const char *path) {
    char block[4096];
    FILE *file = fopen(path, "rb"); /* it was loaded, so it is there */
    for (size_t n; file && (n = fread(block, 1, sizeof block, file)) > 0;) rt_sha256_update(sum, block, n);
    if (file) fclose(file);
}

void session_describe_passes(Session *s) {
    const Options *o = s->options;
    RtSha256 sum;
    s->pipeline = join("%s", "");
    append_list(&s->pipeline, "train", &s->train_passes);
    append_list(&s->pipeline, "infer", &s->infer_passes);
    char *limit = join("opt-bisect-limit=%" PRId64, o->bisect_limit);
    if (o->bisect_limit >= 0) append(&s->pipeline, " ", limit);
    free(limit);
    for (uint32_t i = 0; i < o->forbid.count; i++) append(&s->pipeline, " forbid=", o->forbid.item[i]);
    for (uint32_t i = 0; i < o->permit.count; i++) append(&s->pipeline, " permit=", o->permit.item[i]);
    char *rules = s->rules ? rules_text(s->rules) : NULL;
    if (rules) append(&s->pipeline, " rules=", rules);
    free(rules);
    rt_sha256_init(&sum);
    rt_sha256_update(&sum, s->pipeline, strlen(s->pipeline) + 1);
    for (uint32_t i = 0; i < o->load_pass.count; i++) hash_file(&sum, o->load_pass.item[i]);
    rt_sha256_final(&sum, s->pipeline_sha256);
}

/* ---- options that nothing met ---- */

static const char *nearest_event(const PassResult *const *results, const char *text) {
    const char *near = NULL;
    for (int m = 0; m < 2 && !near; m++) {
        const char **names = malloc((results[m]->nevents + 1) * sizeof *names);
        uint32_t count = 0;
        for (uint32_t i = 0; names && i < results[m]->nevents; i++)
            if (results[m]->events[i].number) names[count++] = results[m]->events[i].name;
        if (names) near = nearest_name(text, names, count);
        free(names);
    }
    return near;
}

static int check_masks(const Session *s, const char *option, const PassMask *mask, uint32_t count) {
    const PassResult *const results[] = {&s->train_passes, &s->infer_passes};
    for (uint32_t i = 0; i < count && mask; i++) {
        if (mask[i].met) continue;
        const char *near = nearest_event(results, mask[i].text);
        return fail(EXIT_USAGE, "'--%s=%s' names no rewrite that the passes ask for%s%s%s; '--log=FILE' lists them", option,
                    mask[i].text, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return EXIT_OK;
}

int session_check_met(const Session *s) {
    const Options *o = s->options;
    int status = check_masks(s, "forbid", s->forbid, o->forbid.count);
    return status ? status : check_masks(s, "permit", s->permit, o->permit.count);
}

/* ---- code ---- */

Precision session_precision(const Options *o) {
    return o->precision && !strcmp(o->precision, "bf16") ? PRECISION_BF16 : PRECISION_F32;
}

CodegenOptions session_code_for(const Session *session, const char *target, const char *cpu) {
    const Options *o = session->options;
    return (CodegenOptions){.target = target,
                            .cpu = cpu,
                            .conv = o->conv ? conv_method(o->conv) : NULL, /* auto is none */
                            .openblas = o->gemm && !strcmp(o->gemm, "openblas"),
                            .check_bounds = o->check_bounds,
                            .precision = session_precision(o),
                            .shards = session->train.graph ? session->train.recipe.shards : 1};
}

/* The net as every command reads it: a run can be looked at when the .net file is another. The recipe stands beside. Where the
 * files lie is not said, so that an executable of the same net is the same. */
static void describe_graphs(Session *session) {
    TextStream text;
    text_open(&text);
    graph_print_portable(session->train.graph, session->diag, text.file);
    graph_print_portable(session->infer.graph, session->diag, text.file);
    session->graphs = text_close(&text);
}

CodegenInput session_input(Session *session) {
    if (!session->pipeline) session_describe_passes(session);
    if (session->keeps_graphs && !session->graphs) describe_graphs(session);
    const Model *model = session->train.graph ? &session->train : &session->infer;
    return (CodegenInput){.name = model->name,
                          .train = session->train_passes.graph,
                          .infer = session->infer_passes.graph,
                          .batch = session->batch,
                          .recipe = &model->recipe,
                          .recipe_text = model->recipe_text,
                          .graphs = session->graphs,
                          .pipeline = session->pipeline,
                          .pipeline_sha256 = session->pipeline_sha256};
}

void session_remarks(Session *session, CodegenOptions *code) {
    code->remark = session->remarks.about ? remarks_choice : NULL;
    code->remark_context = &session->remarks;
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

int session_pool(Session *session) {
    if (!session->pool) session->pool = rt_pool_new((int)session->options->threads);
    return session->pool ? EXIT_OK : fail(EXIT_IO, "cannot start %lld threads", (long long)session->options->threads);
}

void session_close(Session *session) {
    const Remarks *r = &session->remarks;
    if (r->about && *r->about && r->diag && !r->remarked) fprintf(stderr, "netc: warning: no remark is about '%s'\n", r->about);
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
    free(session->forbid);
    free(session->permit);
    free(session->cache);
    free(session->graphs);
    free(session->pipeline);
    free(session->path);
}
