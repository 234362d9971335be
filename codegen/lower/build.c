/* Lowering of a whole input, and the Program's members that do not depend on how it is linked. */
#include "codegen/lower/build.h"
#include "codegen/lower/lower.h"
#include "codegen/ops/ops.h"
#include "ir/stream.h"
#include <stdlib.h>

/* What the runtime must know of inputs and outputs. */
static void describe(const Graph *g, RtProgram *shape) {
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        if (value->op != OP_INPUT || value->type.rank != 4) continue;
        shape->batch = value->type.dim[0];
        shape->channels = value->type.dim[1];
        shape->height = value->type.dim[2];
        shape->width = value->type.dim[3];
    }
    Val logits = graph_find_output(g, OUT_LOGITS, NULL);
    if (logits != NO_VAL) shape->classes = g->value[logits].type.dim[1];
}

void program_build(ProgramBuilder *p, const CodegenInput *input, RtProgram *shape) {
    p->recipe = input->recipe;
    *shape = (RtProgram){.model = input->name,
                         .recipe_text = input->recipe_text,
                         .graphs = input->graphs,
                         .pipeline = input->pipeline,
                         .pipeline_sha256 = input->pipeline_sha256};
    if (input->recipe) shape->recipe = *input->recipe;
    const Graph *graphs[2] = {input->train, input->infer};
    for (int i = 0; i < 2; i++)
        if (graphs[i]) {
            program_add_tensors(p, graphs[i]);
            describe(graphs[i], shape);
        }
    if (input->infer) shape->eval_batch = shape->batch;
    if (input->batch) shape->batch = input->batch;
    program_place_tensors(p);
    if (input->train) lower_graph(p, input->train, &p->train_step, NULL, NULL);
    if (input->train && input->recipe && !p->failed) lower_optimizer(p);
    shape->arena_bytes = p->arena_bytes;
    p->arena_bytes = 0;
    if (input->infer && !p->failed) lower_graph(p, input->infer, &p->eval_step, &p->prepare_eval, NULL);
    shape->eval_arena_bytes = p->arena_bytes;
}

static char *choices_as_text(ProgramBuilder *p) {
    TextStream out;
    text_open(&out);
    choices_write(p->choices, out.file);
    char *copy = arena_strdup(p->arena, text_close(&out));
    free(out.text);
    return copy;
}

void program_fill(ProgramBuilder *p, const RtProgram *shape, RtProgram *program) {
    *program = *shape;
    program->abi_version = RT_ABI_VERSION;
    program->model = arena_strdup(p->arena, shape->model);
    program->target = arena_printf(p->arena, "%s, %d lanes", p->target->cpu, p->target->lanes);
    program->features = "";
    program->recipe_text = shape->recipe_text ? arena_strdup(p->arena, shape->recipe_text) : "";
    program->graphs = shape->graphs ? arena_strdup(p->arena, shape->graphs) : "";
    program->choices = choices_as_text(p);
    program->pipeline = shape->pipeline ? arena_strdup(p->arena, shape->pipeline) : "";
    program->pipeline_sha256 = shape->pipeline_sha256 ? arena_strdup(p->arena, shape->pipeline_sha256) : "";
    program->block = p->target->lanes;
    program->shards = p->shards;
    program->params = p->params.tensor;
    program->nparams = p->params.count;
    program->params_bytes = p->params.bytes;
    program->state = p->state.tensor;
    program->nstate = p->state.count;
    program->state_bytes = p->state.bytes;
    program->folded_bytes = p->folded_bytes;
    program->scratch_bytes = p->scratch_bytes;
    program->constant_bytes = (uint64_t)p->nconstants * RT_ALIGN;
}
