/* Shapes. See shape.h. */
#include "driver/shape.h"
#include <stdlib.h>
#include <string.h>

static int by_position(const void *a, const void *b) {
    const RtTensor *l = a, *r = b;
    if (l->position != r->position) return l->position < r->position ? -1 : 1;
    return strcmp(l->name, r->name);
}

/* The graph's tensors of one kind as codegen lists them, dense. */
static uint32_t list_tensors(const Graph *g, Op op, RtTensor *list, uint64_t *bytes) {
    uint32_t count = 0;
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        if (value->op != op) continue;
        RtTensor *t = &list[count++];
        *t = (RtTensor){.name = value->attrs.param.name, .rank = (uint32_t)value->type.rank, .layout = RT_LAYOUT_DENSE};
        memcpy(t->dim, value->type.dim, sizeof t->dim);
        t->position = (uint32_t)value->attrs.param.position;
        t->bytes = (uint64_t)type_elements(value->type) * sizeof(float);
    }
    qsort(list, count, sizeof *list, by_position);
    for (uint32_t i = 0; i < count; i++) {
        list[i].offset = *bytes;
        *bytes += list[i].bytes;
    }
    return count;
}

int shape_of(const Session *session, Shape *shape) {
    bool trains = session->train_passes.graph != NULL;
    const Graph *g = trains ? session->train_passes.graph : session->infer_passes.graph;
    const Model *model = trains ? &session->train : &session->infer;
    *shape = (Shape){.program = {.model = model->name, .recipe = model->recipe, .recipe_text = model->recipe_text, .block = 1}};
    shape->program.pipeline = session->pipeline;
    shape->program.pipeline_sha256 = session->pipeline ? session->pipeline_sha256 : NULL;
    RtProgram *p = &shape->program;
    shape->tensor = calloc(2 * (size_t)g->count, sizeof *shape->tensor);
    if (!shape->tensor) return fail(EXIT_IO, "out of memory");
    RtTensor *state = shape->tensor + g->count;
    p->nparams = list_tensors(g, OP_PARAM, shape->tensor, &p->params_bytes);
    p->nstate = list_tensors(g, OP_STATE, state, &p->state_bytes);
    p->params = shape->tensor;
    p->state = state;
    for (Val v = 0; v < g->count; v++) {
        const Type *type = &g->value[v].type;
        if (g->value[v].op != OP_INPUT || type->rank != 4) continue;
        p->batch = type->dim[0], p->channels = type->dim[1];
        p->height = type->dim[2], p->width = type->dim[3];
    }
    if (session->batch) p->batch = session->batch; /* a graph of inference is for a group of its images */
    p->classes = g->value[graph_find_output(g, OUT_LOGITS, NULL)].type.dim[1];
    return EXIT_OK;
}

void shape_free(Shape *shape) {
    free(shape->tensor);
    *shape = (Shape){0};
}
