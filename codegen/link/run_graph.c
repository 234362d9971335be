/* The test door: one graph compiled whole, every leaf given and every output returned in logical order. */
#include "codegen/link/jit.h"
#include "codegen/lower/lower.h"
#include "ir/stream.h"
#include "runtime/rt.h"
#include <stdlib.h>
#include <string.h>

/* To bf16, to the nearest, ties to even; what tests give is finite. */
static uint16_t round_bf16(float value) {
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    return (uint16_t)((word + 0x7fff + (word >> 16 & 1)) >> 16);
}

static float widen_bf16(uint16_t half) {
    uint32_t word = (uint32_t)half << 16;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

/* Feature maps [N,C,H,W] <-> [N][C/V][H][W][V] of f32 or bf16; the other layouts are the runtime's. */
static void move_feature(Type t, int64_t V, bool bf16, const float *logical, char *physical, float *to_logical) {
    int64_t N = t.dim[0], C = t.dim[1], pixels = t.dim[2] * t.dim[3], blocks = (C + V - 1) / V;
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++)
            for (int64_t p = 0; p < pixels; p++) {
                int64_t at = ((n * blocks + c / V) * pixels + p) * V + c % V, dense = (n * C + c) * pixels + p;
                uint16_t *half = (uint16_t *)(void *)physical + at;
                float *whole = (float *)(void *)physical + at;
                if (logical && bf16)
                    *half = round_bf16(logical[dense]);
                else if (logical)
                    *whole = logical[dense];
                else
                    to_logical[dense] = bf16 ? widen_bf16(*half) : *whole;
            }
}

static RtTensor describe_tensor(LayoutKind kind, Type type, uint64_t bytes) {
    RtTensor t = {.name = "output", .rank = (uint32_t)type.rank, .layout = program_layout(kind, type), .bytes = bytes};
    memcpy(t.dim, type.dim, sizeof t.dim);
    return t;
}

static void write_leaf(RtMachine *m, const Graph *g, bool bf16, Val v, const float *logical) {
    const RtProgram *p = rt_machine_program(m);
    const Value *value = &g->value[v];
    const TensorList list = {(RtTensor *)(uintptr_t)p->params, p->nparams, 0, 0};
    const RtTensor *t = program_find_tensor(&list, value->attrs.param.name);
    char *block = rt_machine_space(m, RT_PARAMS), *at = block + t->offset;
    switch (layout_of(g, v)) {
    case LAYOUT_FEATURE: move_feature(value->type, p->block, bf16, logical, at, NULL); break;
    case LAYOUT_LABELS:
        for (int64_t i = 0; i < type_elements(value->type); i++) ((int32_t *)(void *)at)[i] = (int32_t)logical[i];
        break;
    case LAYOUT_IMAGES: memcpy(at, logical, (size_t)type_elements(value->type) * sizeof(float)); break;
    case LAYOUT_ROWS:
    case LAYOUT_VECTOR:
    case LAYOUT_FILTERS: rt_tensor_pack(p, t, logical, block); break;
    }
}

static void read_output(RtMachine *m, const Graph *g, bool bf16, Val v, uint64_t offset, float *logical) {
    const RtProgram *p = rt_machine_program(m);
    Type type = g->value[v].type;
    LayoutKind kind = layout_of(g, v);
    char *at = (char *)rt_machine_space(m, RT_FOLDED) + offset;
    if (kind == LAYOUT_FEATURE) {
        move_feature(type, p->block, bf16 && !value_is_index(g, v), NULL, at, logical);
    } else {
        RtTensor t = describe_tensor(kind, type, 0);
        rt_tensor_unpack(p, &t, at, logical);
    }
}

/* The diagnostics as text, for `why`. */
static void explain(Diag *diag, char *why, size_t why_size) {
    TextStream out;
    text_open(&out);
    diag_print(diag, out.file, false);
    snprintf(why, why_size, "%s", text_close(&out));
    free(out.text);
}

struct CompiledGraph {
    const Graph *g;
    bool bf16;    /* feature maps */
    Place *place; /* of each output */
    Jit *jit;
};

/* What no kernel has written yet is NaN, not zero: whoever reads it, or adds to it, shows. In a training it is what was there. */
static void spoil(RtMachine *m, const RtProgram *program) {
    memset(rt_machine_space(m, RT_ARENA), 0xff, program->arena_bytes);
    memset(rt_machine_space(m, RT_FOLDED), 0xff, program->folded_bytes);
}

static bool run_on(const CompiledGraph *c, const GraphRun *how, RtPool *pool, float *const *out, char *why, size_t why_size) {
    const RtProgram *program = jit_program(c->jit);
    RtError error;
    RtMachine *m = rt_machine_new(program, pool, &error);
    if (!m) {
        snprintf(why, why_size, "%s", error.text);
        return false;
    }
    *rt_machine_env(m) = (RtStepEnv){.seed = how->seed, .step = how->step};
    spoil(m, program);
    bool found = true;
    for (Val v = 0; v < c->g->count && found; v++) {
        Op op = c->g->value[v].op;
        if (op != OP_INPUT && op != OP_PARAM && op != OP_STATE) continue;
        const float *logical = how->lookup(how->context, &c->g->value[v]);
        found = logical != NULL;
        if (found)
            write_leaf(m, c->g, c->bf16, v, logical);
        else
            snprintf(why, why_size, "no value for '%s'", c->g->value[v].attrs.param.name);
    }
    if (found) {
        rt_machine_run(m, &program->train_step);
        for (uint32_t i = 0; i < c->g->noutputs; i++)
            read_output(m, c->g, c->bf16, c->g->output[i].value, c->place[i].offset, out[i]);
    }
    rt_machine_free(m);
    return found;
}

CompiledGraph *codegen_graph(const Graph *g, const CodegenOptions *options, char *why, size_t why_size) {
    Diag *diag = diag_new();
    CompiledGraph *c = calloc(1, sizeof *c);
    Place *place = calloc(g->noutputs ? g->noutputs : 1, sizeof *place);
    Target target;
    ProgramBuilder p;
    Jit *jit = NULL;
    CodegenOptions whole = options ? *options : (CodegenOptions){0};
    whole.shards = 1; /* the graph is not cut (lower/graph.c): no plan may be a shard's, of which kernels' keys would not tell */
    if (!c || !place) {
        snprintf(why, why_size, "out of memory");
    } else if (jit_open(&target, &p, g->name ? g->name : "graph", &whole, diag)) {
        double started = jit_clock();
        program_add_leaves(&p, g);
        program_place_tensors(&p);
        lower_graph(&p, g, &p.train_step, NULL, place);
        RtProgram shape = {.model = g->name ? g->name : "graph", .batch = 1, .arena_bytes = p.arena_bytes};
        jit = jit_finish(&target, &p, &shape, started);
    }
    if (jit) {
        *c = (CompiledGraph){g, options && options->precision == PRECISION_BF16, place, jit};
    } else {
        if (c && place) explain(diag, why, why_size);
        free(place);
        free(c);
        c = NULL;
    }
    diag_free(diag);
    return c;
}

bool codegen_graph_run(const CompiledGraph *c, const GraphRun *how, float *const *out, char *why, size_t why_size) {
    RtPool *pool = rt_pool_new(how->threads);
    if (!pool) {
        snprintf(why, why_size, "out of memory, or of threads");
        return false;
    }
    bool done = run_on(c, how, pool, out, why, why_size);
    rt_pool_free(pool);
    return done;
}

void codegen_graph_free(CompiledGraph *c) {
    if (!c) return;
    jit_free(c->jit);
    free(c->place);
    free(c);
}

bool codegen_run_graph(const Graph *g, const CodegenOptions *options, const GraphRun *how, float *const *out, char *why,
                       size_t why_size) {
    CompiledGraph *c = codegen_graph(g, options, why, why_size);
    bool done = c && codegen_graph_run(c, how, out, why, why_size);
    codegen_graph_free(c);
    return done;
}
