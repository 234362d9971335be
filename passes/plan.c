/* The memory plan: when each buffer lives, and where in the arena it stands.
 *
 * Time is the value order. A buffer is made at its value's position and lives to its last use; the results of a value with
 * several are all made at the value itself; a workspace lives at one position only; a graph output lives to the end. Offsets are
 * chosen greedily by size, each buffer at the tightest gap between those already placed that live at the same time (Pisarchyk &
 * Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020). Activations kept for backward make nested lifetimes,
 * for which this is near the lower bound. */
#include "passes/occupancy.h"
#include "passes/passes.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

typedef struct Buffer {
    uint64_t bytes, *place; /* place: where the plan keeps the offset */
    Val first, last;
    uint32_t order; /* in the list of buffers */
} Buffer;

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (memory) return memory;
    out_of_memory("no room for a memory plan of %zu values", count);
}

static uint64_t aligned(uint64_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

Val *plan_last_uses(const Graph *g) {
    Val *last = allocate(g->count, sizeof *last);
    for (Val v = 0; v < g->count; v++) last[v] = v;
    for (Val v = 0; v < g->count; v++)
        for (uint32_t i = 0; g->value[v].op != OP_RESULT && i < g->value[v].nargs; i++) last[g->value[v].args[i]] = v;
    for (uint32_t i = 0; i < g->noutputs; i++) last[g->output[i].value] = g->count;
    return last;
}

static void add_buffer(Buffer *buffer, uint32_t *n, uint64_t bytes, uint64_t *place, Val first, Val last) {
    buffer[*n] = (Buffer){.bytes = bytes, .place = place, .first = first, .last = last, .order = *n};
    (*n)++;
}

static uint32_t list_buffers(const Graph *g, const PlanTarget *t, const Plan *plan, Buffer *buffer) {
    Val *last = plan_last_uses(g);
    uint32_t n = 0;
    for (Val v = 0; v < g->count; v++) {
        uint32_t result = 0;
        Val made = value_source(g, v, &result);
        uint64_t bytes = aligned(t->bytes(t->context, g, v));
        if (!t->external(t->context, g, made, result)) add_buffer(buffer, &n, bytes, &plan->offset[v], made, last[v]);
        uint64_t workspace = g->value[v].op == OP_RESULT ? 0 : aligned(t->workspace(t->context, g, v));
        if (workspace) add_buffer(buffer, &n, workspace, &plan->workspace[v], v, v);
    }
    free(last);
    return n;
}

static int by_size(const void *a, const void *b) {
    const Buffer *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1; /* a total order: the plan must depend on neither qsort nor malloc */
    return x->order < y->order ? -1 : x->order > y->order;
}

/* The largest sum of buffers that live at one position. */
static uint64_t peak_live(const Graph *g, const Buffer *buffer, uint32_t n) {
    int64_t *change = allocate((size_t)g->count + 2, sizeof *change);
    for (uint32_t i = 0; i < n; i++) {
        change[buffer[i].first] += (int64_t)buffer[i].bytes;
        change[buffer[i].last + 1] -= (int64_t)buffer[i].bytes;
    }
    int64_t live = 0, peak = 0;
    for (uint32_t v = 0; v <= g->count; v++) {
        live += change[v];
        peak = live > peak ? live : peak;
    }
    free(change);
    return (uint64_t)peak;
}

Plan plan_memory(const Graph *g, const PlanTarget *target) {
    size_t values = g->count;
    Plan plan = {.offset = allocate(values, sizeof(uint64_t)), .workspace = allocate(values, sizeof(uint64_t))};
    Buffer *buffer = allocate(2 * values, sizeof *buffer);
    Occupancy *taken = occupancy_new(g->count + 1);       /* outputs live one position longer than values are made */
    memset(plan.offset, 0xff, values * sizeof(uint64_t)); /* PLAN_NONE */
    memset(plan.workspace, 0xff, values * sizeof(uint64_t));
    uint32_t n = list_buffers(g, target, &plan, buffer);
    qsort(buffer, n, sizeof *buffer, by_size);
    for (uint32_t i = 0; i < n; i++) {
        Buffer *b = &buffer[i];
        uint64_t offset = occupancy_find(taken, b->first, b->last, b->bytes);
        if (b->bytes) occupancy_take(taken, b->first, b->last, offset, b->bytes);
        *b->place = offset;
        plan.total += b->bytes;
        if (offset + b->bytes > plan.bytes) plan.bytes = offset + b->bytes;
    }
    plan.peak_live = peak_live(g, buffer, n);
    plan.steps = occupancy_steps(taken);
    occupancy_free(taken);
    free(buffer);
    return plan;
}

void plan_free(Plan *plan) {
    free(plan->offset);
    free(plan->workspace);
    *plan = (Plan){0};
}
