#include "verify/stages.h"
#include "ir/stream.h"
#include "ir/text.h"
#include "verify/slopes.h"
#include <stdlib.h>
#include <string.h>

enum { DRAW_STEP = 1000, WHY = 600 }; /* between the seeds of draws */

struct Stages {
    const Graph *source;
    Wanted forward; /* of the source */
    Wanted all;     /* of `added`, the first graph with further outputs, gradients; its g NULL while there is none */
    Graph *added;
    uint64_t *known; /* hashes of graphs that are right */
    uint32_t nknown, known_capacity, evaluated;
};

/* One run of the passes. */
typedef struct Watch {
    Stages *s;
    const StagesOptions *o;
    Wanted now; /* what the next pass is held to; tolerances and graph are borrowed, leaves there are none */
    bool wrong; /* something is, in whichever pass */
    StageFault fault;
    char why[WHY]; /* not empty: the evaluator refuses */
} Watch;

static void *checked(void *memory) {
    if (memory) return memory;
    out_of_memory("no room to verify a net");
}

/* ---- graphs that are known to be right ---- */

static uint64_t hash_graph(const Graph *g) {
    char *text = graph_to_string(g);
    uint64_t hash = 14695981039346656037u;
    for (const char *c = text; *c; c++) hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    free(text);
    return hash;
}

static bool is_known(const Stages *s, uint64_t hash) {
    for (uint32_t i = 0; i < s->nknown; i++)
        if (s->known[i] == hash) return true;
    return false;
}

static void remember(Stages *s, uint64_t hash) {
    if (s->nknown == s->known_capacity) {
        s->known_capacity = s->known_capacity ? 2 * s->known_capacity : 64;
        s->known = checked(realloc(s->known, s->known_capacity * sizeof *s->known));
    }
    s->known[s->nknown++] = hash;
}

/* ---- what outputs are held to ---- */

static Tensor copy_tensor(const Tensor *t) {
    Tensor copy = tensor_new(t->type);
    memcpy(copy.data, t->data, (size_t)type_elements(t->type) * sizeof *t->data);
    return copy;
}

/* Begins at w's outputs. */
static void now_set(Watch *watch, const Wanted *w) {
    Wanted *now = &watch->now;
    if (now->g) outputs_free(now->g, now->out);
    *now = (Wanted){.g = w->g, .tolerance = w->tolerance, .out = checked(calloc(w->g->noutputs + 1, sizeof *now->out))};
    for (uint32_t i = 0; i < w->g->noutputs; i++) now->out[i] = copy_tensor(&w->out[i]);
}

/* The next pass is held to what this graph computes. */
static void now_move(Watch *watch, const Graph *g, const Tensor *out) {
    Wanted *now = &watch->now;
    for (uint32_t i = 0; i < now->g->noutputs; i++) {
        uint32_t at = output_find(g, &now->g->output[i]);
        if (at == UINT32_MAX || !type_equal(out[at].type, now->out[i].type)) continue;
        tensor_free(&now->out[i]);
        now->out[i] = copy_tensor(&out[at]);
    }
}

/* ---- faults ---- */

void stage_fault_free(StageFault *fault) {
    free(fault->run);
    free(fault->file);
    free(fault->text);
    *fault = (StageFault){0};
}

/* Keeps the first. */
static void record(Watch *watch, const PassRun *run, const Worst *worst, char *text) {
    watch->wrong = true;
    if (watch->fault.run) {
        free(text);
        return;
    }
    watch->fault = (StageFault){checked(strdup(run->name)), run->file ? checked(strdup(run->file)) : NULL, text, *worst};
    watch->fault.worst.name = NULL;
}

/* Does a fault that one draw of inputs has shown in these graphs show for another? */
static bool other_draw(const Watch *watch, const Graph *before, const Graph *after, int draw) {
    char why[WHY];
    Wanted w;
    bool shows = false;
    if (wanted_new(before, IN_F64, watch->s->forward.leaves.seed + (uint64_t)draw * DRAW_STEP, NULL, &w, why, sizeof why)) {
        Tensor *out = outputs_eval(after, &w.leaves, why, sizeof why);
        shows = !out || !(wanted_compare(&w, after, out, true).of_tolerance <= 1);
        outputs_free(after, out);
    }
    wanted_free(&w);
    return shows;
}

static bool is_fault(const Watch *watch, const Graph *before, const Graph *after) {
    int shows = 1;
    for (int draw = 1; draw < HELD_DRAWS && shows < HELD_FAULTS; draw++) shows += other_draw(watch, before, after, draw);
    return shows >= HELD_FAULTS;
}

/* ---- gradients ---- */

static bool slopes_agree(Watch *watch, const PassRun *run, const Graph *before, const Wanted *w) {
    Worst worst;
    if (!slopes_compare(before, w->g, w->out, (Leaves *)&w->leaves, &worst, watch->why, sizeof watch->why)) return false;
    if (!(worst.of_tolerance <= 1)) { /* on other numbers too? */
        Leaves others = {.seed = w->leaves.seed + DRAW_STEP, .arithmetic = IN_F64, .classes = w->leaves.classes};
        Tensor *again = outputs_eval(w->g, &others, watch->why, sizeof watch->why);
        bool ok = again && slopes_compare(before, w->g, again, &others, &worst, watch->why, sizeof watch->why);
        outputs_free(w->g, again);
        leaves_free(&others);
        if (!ok) return false;
    }
    if (!worst.name) return true;
    if (watch->o->say) watch->o->say(watch->o->context, run, &worst, true);
    if (worst.of_tolerance <= 1) return true;
    record(watch, run, &worst,
           text_printf("gradient %s is not the loss's: along a direction that moves it, it says a slope of %.9g, and differences "
                       "of the loss %.9g",
                       worst.name, worst.found, worst.wanted));
    return true;
}

/* ---- a run ---- */

static bool has_more(const Graph *g, const Graph *than) {
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (output_find(than, &g->output[i]) == UINT32_MAX) return true;
    return false;
}

/* Holds `after`, whose outputs may be known (NULL), to what is expected now: with `each` what `before` computes, and the pass is
 * to blame if it is wrong; otherwise what the source does, and any pass until then may be. run NULL: of all passes. False if it
 * is wrong or refused. */
static bool hold(Watch *watch, const PassRun *run, const Graph *before, const Graph *after, const Tensor *outputs) {
    Stages *s = watch->s;
    uint64_t hash = hash_graph(after);
    Worst worst = {0};
    bool right = is_known(s, hash), each = watch->o->each;
    Tensor *evaluated = NULL;
    const Tensor *out = outputs;
    if (!right) {
        if (!out) out = evaluated = outputs_eval(after, &s->forward.leaves, watch->why, sizeof watch->why);
        if (!out) return false;
        s->evaluated++;
        const Graph *reference = each ? before : s->source;
        if (has_more(watch->now.g, reference)) reference = s->added;
        worst = wanted_compare(&watch->now, after, out, true);
        right = worst.of_tolerance <= 1 || !is_fault(watch, reference, after);
        if (right && !watch->wrong) remember(s, hash);
    }
    if (watch->o->say && (right || each)) watch->o->say(watch->o->context, run, &worst, false);
    char text[WORST_TEXT];
    if (!right && each) record(watch, run, &worst, text_printf("%s", worst_text(&worst, text)));
    watch->wrong |= !right;
    if (out && each) now_move(watch, after, out);
    outputs_free(after, evaluated);
    return right;
}

/* A graph with further outputs, that others are held to from now on. False if the evaluator refuses. */
static bool take_added(Watch *watch, const PassRun *run, const Graph *before, const Graph *after) {
    Stages *s = watch->s;
    Wanted w;
    Graph *kept = graph_copy(after);
    Leaves leaves = leaves_copy(&s->forward.leaves);
    bool ok = wanted_new(kept, IN_F64, leaves.seed, &leaves, &w, watch->why, sizeof watch->why);
    if (ok && hold(watch, run, before, after, w.out)) ok = slopes_agree(watch, run, before, &w);
    if (!ok || watch->wrong) { /* nothing is held to what is wrong */
        if (ok) now_set(watch, &s->forward);
        wanted_free(&w);
        graph_free(kept);
        return ok;
    }
    wanted_free(&s->all);
    graph_free(s->added);
    s->added = kept;
    s->all = w;
    now_set(watch, &s->all);
    return true;
}

static void watch_pass(void *context, const PassRun *run, const Graph *before, const Graph *after) {
    Watch *watch = context;
    if (watch->why[0]) return;
    bool more = has_more(after, watch->now.g), known = more && watch->s->all.g && !has_more(after, watch->s->all.g);
    if (known && !watch->wrong) now_set(watch, &watch->s->all);
    if (more && !known && !watch->wrong)
        take_added(watch, run, before, after);
    else if (watch->o->each)
        hold(watch, run, before, after, NULL);
}

static bool run_once(Watch *watch, Diag *diag, PassResult *result) {
    PassOptions passes = watch->o->passes;
    passes.watch = watch_pass;
    passes.watch_context = watch;
    now_set(watch, &watch->s->forward);
    bool ok = passes_run(watch->s->source, &passes, diag, result);
    if (ok && !watch->why[0] && !watch->wrong && !watch->o->each) hold(watch, NULL, watch->s->source, result->graph, NULL);
    outputs_free(watch->now.g, watch->now.out);
    watch->now = (Wanted){0};
    if (watch->why[0]) diag_error(diag, (Span){0}, "the evaluator refuses: %s", watch->why);
    return ok;
}

StagesEnd stages_run(Stages *s, const StagesOptions *options, Diag *diag, StageFault *fault, PassResult *result) {
    Watch watch = {.s = s, .o = options};
    PassResult made = {0};
    bool ran = run_once(&watch, diag, &made) && !watch.why[0];
    PassRun all = {.name = "all passes together"};
    if (ran && watch.wrong && !watch.fault.run && options->unnamed) {
        record(&watch, &all, &(Worst){0}, text_printf("outputs are wrong"));
    } else if (ran && watch.wrong && !watch.fault.run) { /* which of them? */
        StagesOptions each = *options;
        each.each = true;
        each.say = NULL;
        watch.o = &each;
        watch.wrong = false;
        passes_result_free(&made);
        ran = run_once(&watch, diag, &made) && !watch.why[0];
        if (ran && !watch.fault.run)
            record(&watch, &all, &(Worst){0}, text_printf("no single one is, by more than rounding explains"));
    }
    *fault = watch.fault;
    if (ran && !fault->run && result)
        *result = made;
    else if (made.graph)
        passes_result_free(&made);
    return !ran ? STAGES_REFUSED : fault->run ? STAGES_WRONG : STAGES_RIGHT;
}

/* ---- all of it ---- */

Stages *stages_new(const Graph *source, uint64_t seed, const Leaves *given, char *why, size_t why_size) {
    Stages *s = checked(calloc(1, sizeof *s));
    Leaves leaves = {0};
    s->source = source;
    if (given) leaves = leaves_copy(given);
    if (wanted_new(source, IN_F64, seed, given ? &leaves : NULL, &s->forward, why, why_size)) return s;
    stages_free(s);
    return NULL;
}

void stages_free(Stages *s) {
    if (!s) return;
    wanted_free(&s->forward);
    wanted_free(&s->all);
    graph_free(s->added);
    free(s->known);
    free(s);
}

uint32_t stages_evaluated(const Stages *s) { return s->evaluated; }
