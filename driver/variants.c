/* A variant is a session with options of its own; the threads are everybody's. */
#include "driver/variants.h"
#include "driver/compile.h"
#include "ir/text.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static Mode mode_of(const Variant *v) { return v->session.modes & PASS_TRAIN ? MODE_TRAIN : MODE_INFER; }

const PassResult *variant_passes(const Variant *v) {
    return mode_of(v) == MODE_TRAIN ? &v->session.train_passes : &v->session.infer_passes;
}

/* The command's options with further passes, or one rewrite, left out. */
static void leave_out(Variant *v, const Options *o, const char *const *disabled, uint32_t ndisabled) {
    uint32_t before = o->disable_pass.count;
    v->options = *o;
    v->options.disable_pass.item = calloc(before + ndisabled + 1, sizeof(char *));
    v->options.forbid = (TextList){calloc(1, sizeof(char *)), v->forbidden != NULL};
    if (!v->options.disable_pass.item || !v->options.forbid.item) out_of_memory("no room for a variant of a model");
    memcpy(v->options.disable_pass.item, o->disable_pass.item, before * sizeof(char *));
    v->disabled = v->options.disable_pass.item + before;
    v->ndisabled = ndisabled;
    if (ndisabled) memcpy(v->disabled, disabled, ndisabled * sizeof(char *));
    v->options.disable_pass.count = before + ndisabled;
    v->options.forbid.item[0] = v->forbidden;
}

int variant_new(const Options *options, Mode mode, const char *label, const char *const *disabled, uint32_t ndisabled,
                const char *forbidden, RtPool *pool, Variant **variant) {
    Variant *v = calloc(1, sizeof *v);
    if (!v) out_of_memory("no room for a variant of a model");
    *variant = v;
    v->label = join("%s", label);
    v->forbidden = forbidden;
    v->of_tolerance = -1;
    leave_out(v, options, disabled, ndisabled);
    v->session.pool = pool;
    int status = session_find_model(&v->session, &v->options, "ablate");
    return status ? status : compile_graphs(&v->session, mode == MODE_TRAIN, mode == MODE_INFER, "ablate");
}

/* ---- figures ---- */

static void add_entry(Figures *f, const RtEntry *entry) {
    f->calls += entry->ncalls;
    for (uint32_t i = 0; i < entry->ncalls; i++) f->flops += entry->calls[i].flops, f->bytes += entry->calls[i].bytes;
}

static void count_memory(Figures *f, const Graph *g, const StepMemory *m) {
    bool *map = calloc(g->count + 1, sizeof *map);
    if (!map) out_of_memory("no room for what is stored");
    for (uint32_t i = 0; i < m->count; i++) {
        if (!m->buffer[i].map) continue;
        map[m->buffer[i].value] = true;
        f->maps++;
        f->map_bytes += m->buffer[i].bytes;
    }
    for (Val v = 0; v < g->count; v++) map[v] |= g->value[v].op == OP_INPUT && g->value[v].type.rank == 4;
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        if (op_is_convolution(value->op) || value->op == OP_RESULT || value->op == OP_INPUT) continue;
        bool sweeps = map[v];
        for (uint32_t i = 0; i < value->nargs; i++) sweeps |= map[value->args[i]];
        f->sweeps += sweeps;
    }
    f->arena_bytes = m->arena_bytes;
    free(map);
}

static int take_figures(Variant *v) {
    const RtProgram *p = jit_program(v->session.jit);
    CodegenOptions code = session_code_for(&v->session, NULL, v->options.cpu);
    Arena *arena = arena_new();
    StepMemory memory;
    v->figures = (Figures){.kernels = jit_stats(v->session.jit)->kernels};
    if (mode_of(v) == MODE_TRAIN)
        add_entry(&v->figures, &p->train_step), add_entry(&v->figures, &p->apply_update);
    else
        add_entry(&v->figures, &p->eval_step);
    const Graph *g = variant_passes(v)->graph;
    bool known = codegen_step_memory(g, &code, arena, &memory, v->session.diag);
    if (known) count_memory(&v->figures, g, &memory);
    arena_free(arena);
    return known ? EXIT_OK : session_compile_failed(&v->session);
}

int variant_compile(Variant *v, Variant *const *earlier, uint32_t nearlier) {
    v->text = graph_to_string(variant_passes(v)->graph);
    for (uint32_t i = 0; i < nearlier; i++) {
        if (earlier[i]->refused || earlier[i]->same || strcmp(earlier[i]->text, v->text) != 0) continue;
        v->same = earlier[i];
        v->figures = earlier[i]->figures;
        return EXIT_OK;
    }
    int status = compile_machine(&v->session, mode_of(v) == MODE_TRAIN, mode_of(v) == MODE_INFER, "ablate");
    rt_machine_free(v->session.machine); /* one at a time has memory */
    v->session.machine = NULL;
    return status ? status : take_figures(v);
}

/* ---- the evaluator ---- */

static void take_worst(void *context, const PassRun *run, const Worst *worst, bool slopes) {
    Variant *v = context;
    if (!run && !slopes) v->of_tolerance = worst->of_tolerance;
}

void variant_hold(Variant *v, Stages *stages, const Graph *source) {
    StageFault fault = {0};
    StagesOptions o = {.passes = compile_pass_options(&v->session, source), .unnamed = true, .say = take_worst, .context = v};
    o.passes.recompute = v->session.recompute;
    StagesEnd end = stages_run(stages, &o, v->session.diag, &fault, NULL);
    if (end == STAGES_WRONG) v->of_tolerance = INFINITY;
    stage_fault_free(&fault);
}

void variant_free(Variant *v) {
    if (!v) return;
    v->session.pool = NULL; /* everybody's */
    session_close(&v->session);
    free(v->options.disable_pass.item);
    free(v->options.forbid.item);
    free(v->label);
    free(v->text);
    free(v);
}
