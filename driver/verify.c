/* netc verify: passes, gradients, orders of passes and compiled code, each held to the reference evaluator (verify/). */
#include "driver/compile.h"
#include "driver/driver.h"
#include "driver/inputs.h"
#include "driver/textual.h"
#include "driver/verdict.h"
#include "driver/zoo.h"
#include "verify/kernels.h"
#include "verify/orders.h"
#include "verify/small.h"
#include "verify/stages.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { WHY = 2000 };

/* One graph that is verified. */
typedef struct Task {
    Session *session;
    const Options *o;
    Mode mode;
    Verdict verdict;
    Graph *small; /* NULL: the source as it is */
    const Graph *source;
    Leaves given; /* of --inputs */
    Stages *stages;
    StagesOptions run;
    PassResult passes;
    int64_t first_draw, draw_step; /* of --fuzz: its share */
} Task;

static const Leaves *given(const Task *t) { return t->o->inputs ? &t->given : NULL; }

/* ---- the graph ---- */

static int make_source(Task *t) {
    const Options *o = t->o;
    Model *model = t->mode == MODE_TRAIN ? &t->session->train : &t->session->infer;
    int status = compile_small(t->session, t->mode, o->batch, model, &t->small);
    if (status) return status;
    t->source = t->small ? t->small : model->graph;
    t->verdict = (Verdict){.model = model->name,
                           .mode = t->mode,
                           .images = images_type(t->source),
                           .declared = images_type(model->graph),
                           .seed = (uint64_t)o->seed};
    if (!o->batch && !textual_is(t->session)) t->verdict.declared.dim[0] = model->recipe.batch;
    return o->inputs ? inputs_read(o->inputs, t->source, &t->given) : EXIT_OK;
}

/* ---- passes ---- */

static void say_pass(void *context, const PassRun *run, const Worst *worst, bool slopes) {
    Task *t = context;
    char text[WORST_TEXT], output[OUTPUT_TEXT];
    bool wrong = !(worst->of_tolerance <= 1);
    const char *about = "";
    if (wrong)
        about = worst_text(worst, text);
    else if (worst->of_tolerance > 0)
        about = output_text(worst->kind, worst->name, output);
    if (slopes && wrong) return; /* the fault says it */
    if (slopes)
        verdict_add(&t->verdict, wrong, worst->of_tolerance, NULL, about, "gradients against differences of the loss");
    else if (run)
        verdict_add(&t->verdict, wrong, worst->of_tolerance, run->file, about, "the pass %s", run->name);
    else
        verdict_add(&t->verdict, wrong, worst->of_tolerance, NULL, about, "all passes together");
}

static int refused(const Task *t, const char *why) {
    return fail(EXIT_INPUT, "'%s' cannot be verified: %s", t->verdict.model, why);
}

static int wrong_pass(Task *t, const StageFault *fault) {
    bool said = false;
    for (uint32_t i = 0; i < t->verdict.count; i++) said |= t->verdict.item[i].wrong;
    if (!said) verdict_add(&t->verdict, true, fault->worst.of_tolerance, fault->file, fault->text, "the pass %s", fault->run);
    return fail(EXIT_INPUT, "%s, %s: the pass '%s'%s%s%s is wrong: %s", t->verdict.model,
                t->mode == MODE_TRAIN ? "training" : "inference", fault->run, fault->file ? " of '" : "",
                fault->file ? fault->file : "", fault->file ? "'" : "", fault->text);
}

static int verify_passes(Task *t) {
    char why[WHY];
    StageFault fault = {0};
    t->stages = stages_new(t->source, (uint64_t)t->o->seed, given(t), why, sizeof why);
    if (!t->stages) return refused(t, why);
    t->run =
        (StagesOptions){.passes = compile_pass_options(t->session, t->source), .each = t->o->each, .say = say_pass, .context = t};
    StagesEnd end = stages_run(t->stages, &t->run, t->session->diag, &fault, &t->passes);
    if (end == STAGES_REFUSED) return session_print_diagnostics(t->session), EXIT_USAGE;
    int status = end == STAGES_WRONG ? wrong_pass(t, &fault) : EXIT_OK;
    stage_fault_free(&fault);
    return status;
}

/* ---- orders ---- */

/* False: the driver of passes refuses the list. *fault says what is wrong with it, if anything. */
static bool try_list(Task *t, const char *list, uint32_t recompute, bool each, StageFault *fault) {
    StagesOptions o = t->run;
    o.say = NULL;
    o.each = each;
    compile_replace_list(&o.passes, list);
    o.passes.recompute = recompute;
    Diag *diag = diag_new();
    StagesEnd end = stages_run(t->stages, &o, diag, fault, NULL);
    diag_free(diag);
    return end != STAGES_REFUSED;
}

/* Takes runs out of a wrong list while it stays wrong. */
static char *shorten(Task *t, char *list, uint32_t recompute, StageFault *fault) {
    for (uint32_t i = 64; i-- > 0;) {
        StageFault other = {0};
        char *shorter = order_without(list, i);
        if (shorter && try_list(t, shorter, recompute, false, &other) && other.run) {
            free(list);
            stage_fault_free(fault);
            list = shorter;
            *fault = other;
            continue;
        }
        stage_fault_free(&other);
        free(shorter);
    }
    return list;
}

static int wrong_order(Task *t, char *list, uint32_t recompute, StageFault *fault) {
    list = shorten(t, list, recompute, fault);
    const char *mode = mode_text(t->mode);
    char *about = join("%s", fault->text),
         *option = strstr(list, "recompute") ? join(" --recompute=%u", recompute) : join("%s", "");
    verdict_add(&t->verdict, true, fault->worst.of_tolerance, fault->file, about, "the pass %s in --passes='%s:%s'%s", fault->run,
                mode, list, option);
    int status = fail(EXIT_INPUT, "%s: the pass '%s'%s%s%s is wrong in another order: %s", t->verdict.model, fault->run,
                      fault->file ? " of '" : "", fault->file ? fault->file : "", fault->file ? "'" : "", fault->text);
    fprintf(stderr, "netc: note: it shows again with: netc verify %s --each --mode=%s --seed=%lld --passes='%s:%s'%s",
            t->session->path, mode, (long long)t->o->seed, mode, list, option);
    for (uint32_t i = 0; i < t->o->load_pass.count; i++) fprintf(stderr, " --load-pass=%s", t->o->load_pass.item[i]);
    if (t->o->rules) fprintf(stderr, " --rules=%s", t->o->rules);
    fputc('\n', stderr);
    free(about);
    free(option);
    free(list);
    return status;
}

enum { TRIES = 10, RECOMPUTES = 4 }; /* of lists that are refused; every so many-th list of training computes something again */

static int verify_orders(Task *t) {
    int64_t lists = 0, tries = 0;
    uint32_t evaluated = stages_evaluated(t->stages);
    for (int64_t draw = t->first_draw; draw < t->o->fuzz; draw += t->draw_step) {
        for (int64_t attempt = 0; attempt < TRIES; attempt++) {
            StageFault fault = {0};
            char *list = order_draw(t->passes.pipeline, t->mode, (uint64_t)t->o->seed, (uint64_t)(draw * TRIES + attempt));
            uint32_t most = t->passes.recomputable, recompute = 0;
            if (most && strstr(list, "recompute") && draw % RECOMPUTES == 0) recompute = 1 + (uint32_t)(draw / RECOMPUTES) % most;
            bool legal = try_list(t, list, recompute, false, &fault);
            tries++;
            lists += legal;
            if (fault.run) {
                int status = wrong_order(t, list, recompute, &fault);
                stage_fault_free(&fault);
                return status;
            }
            free(list);
            if (legal) break;
        }
    }
    uint32_t different = stages_evaluated(t->stages) - evaluated;
    if (tries)
        verdict_add(&t->verdict, false, 0, NULL, "", "%" PRId64 " orders and subsets of passes, %u different graph%s", lists,
                    different, different == 1 ? "" : "s");
    return EXIT_OK;
}

/* ---- compiled code ---- */

static int verify_program(Task *t, const KernelsOptions *o) {
    char why[WHY], text[WORST_TEXT], output[OUTPUT_TEXT];
    Worst worst;
    if (!program_compare(t->passes.graph, (uint64_t)t->o->seed, given(t), &o->code, &worst, why, sizeof why))
        return refused(t, why);
    bool wrong = !(worst.of_tolerance <= 1);
    verdict_add(&t->verdict, wrong, worst.of_tolerance, NULL,
                wrong ? worst_text(&worst, text) : output_text(worst.kind, worst.name, output), "the compiled program");
    return wrong ? fail(EXIT_INPUT, "%s: compiled code is wrong: %s", t->verdict.model, text) : EXIT_OK;
}

static void say_kernel(void *context, const Fragment *f, const Worst *worst, uint32_t values) {
    Task *t = context;
    char text[WORST_TEXT], output[OUTPUT_TEXT];
    bool wrong = !(worst->of_tolerance <= 1);
    if (!wrong && !t->o->each) return;
    verdict_add(&t->verdict, wrong, worst->of_tolerance, NULL,
                wrong ? worst_text(worst, text) : output_text(worst->kind, worst->name, output), "the kernel %s (%u like it)",
                f->label, values);
}

static int keep_kernel(Task *t, const KernelsHeld *held) {
    const char *path = t->o->output ? t->o->output : held->wrong ? "netc-verify-kernel.ir" : NULL;
    if (!path || !held->worst.g) return EXIT_OK;
    char *remark = join("%s of %s: %s", held->worst.label, t->verdict.model, held->text);
    int status = inputs_write(path, remark, held->worst.g, t->session->diag, &held->worst.leaves);
    free(remark);
    if (!status)
        fprintf(stderr, "netc: note: the worst kernel, %s, is in '%s', with its inputs beside it\n", held->worst.label, path);
    return status;
}

static int verify_kernels(Task *t, const KernelsOptions *o) {
    char why[WHY];
    KernelsHeld held;
    if (!kernels_compare(t->passes.graph, (uint64_t)t->o->seed, given(t), o, &held, why, sizeof why)) return refused(t, why);
    int status = keep_kernel(t, &held);
    if (!held.wrong)
        verdict_add(&t->verdict, false, held.of_tolerance, NULL, held.worst.label ? held.worst.label : "",
                    "%u kernel%s, of %u value%s, on recorded inputs", held.kernels, held.kernels == 1 ? "" : "s", held.values,
                    held.values == 1 ? "" : "s");
    else if (!status)
        status = fail(EXIT_INPUT, "%s: the kernel of %s is wrong: %s", t->verdict.model, held.worst.label, held.text);
    kernels_held_free(&held);
    return status;
}

static int verify_compiled(Task *t) {
    KernelsOptions o = {.code.options = session_code(t->session), .say = say_kernel, .context = t};
    o.code.arithmetic = o.code.options.precision == PRECISION_BF16 ? IN_BF16 : IN_F32;
    int status = verify_program(t, &o), kernels = EXIT_OK;
    if (status == EXIT_OK || status == EXIT_INPUT) kernels = verify_kernels(t, &o); /* names the one that is wrong */
    return kernels ? kernels : status;
}

/* ---- a graph, a model, all of them ---- */

/* *held: there is a verdict. */
static int verify_graph(Session *session, Mode mode, int64_t first_draw, int64_t draw_step, bool *held) {
    Task t = {.session = session, .o = session->options, .mode = mode, .first_draw = first_draw, .draw_step = draw_step};
    int status = make_source(&t);
    if (!status) status = verify_passes(&t);
    if (!status) status = verify_orders(&t);
    if (!status && t.o->compiled) status = verify_compiled(&t);
    *held = t.verdict.count > 0;
    if (*held) verdict_print(&t.verdict, t.o->json);
    verdict_free(&t.verdict);
    leaves_free(&t.given);
    stages_free(t.stages);
    if (t.passes.graph) passes_result_free(&t.passes);
    graph_free(t.small);
    return status;
}

/* Model `index` of `count`, whose share of --fuzz it gets. A wrong graph of training does not hide one of inference. */
static int verify_model(const Options *options, int64_t index, int64_t count) {
    Session session = {0};
    unsigned asked;
    int status = compile_asked_modes(&session, options, "verify", &asked);
    bool held = !status;
    if (!status && asked & PASS_TRAIN) status = verify_graph(&session, MODE_TRAIN, index, count, &held);
    if (held && asked & PASS_INFER) {
        int infer = verify_graph(&session, MODE_INFER, index, count, &held);
        status = status ? status : infer;
    }
    if (!status) status = session_check_met(&session);
    session_close(&session);
    return status;
}

typedef struct Each {
    const Options *options;
    const Zoo *zoo;
} Each;

static int verify_one(void *context, uint32_t index) {
    const Each *each = context;
    Options one = *each->options;
    one.operand = (const char *[]){each->zoo->path[index]};
    one.noperands = 1;
    return verify_model(&one, index, each->zoo->count);
}

static int verify_zoo(const Options *options) {
    Zoo zoo;
    int status = zoo_open(&zoo);
    if (!status) status = zoo_each(&zoo, verify_one, &(Each){options, &zoo});
    zoo_close(&zoo);
    return status;
}

static int check_options(const Options *o) {
    bool code = o->cpu || o->conv || o->precision || o->gemm || o->check_bounds || o->no_cache || o->output;
    if (code && !o->compiled) return usage_error("verify", "options of compiled code have no effect without '--compiled'");
    if (o->zoo && o->noperands) return usage_error("verify", "'--zoo' is about all models, found '%s' too", o->operand[0]);
    if (o->zoo && (o->net || o->sets.count || o->inputs || o->output))
        return usage_error("verify", "'--net', '--set', '--inputs' and '--output' are about one model, not '--zoo'");
    if (o->noperands > 1) return usage_error("verify", "one model at a time, found '%s' too", o->operand[1]);
    if (o->output && (strlen(o->output) < 4 || strcmp(o->output + strlen(o->output) - 3, ".ir") != 0))
        return usage_error("verify", "'--output' is a file NAME.ir, found '%s'", o->output);
    return EXIT_OK;
}

int command_verify(const Options *options) {
    int status = check_options(options);
    if (status) return status;
    return options->zoo ? verify_zoo(options) : verify_model(options, 0, 1);
}
