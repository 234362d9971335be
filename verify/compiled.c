/* A graph as compiled code computes it. */
#include "verify/compiled.h"
#include <stdlib.h>
#include <string.h>

enum { DRAW_STEP = 1000 };

static void *checked(void *memory) {
    if (memory) return memory;
    out_of_memory("no room for what kernels compute");
}

static Tensor widen(Type type, const float *from) {
    Tensor t = tensor_new(type);
    for (int64_t i = 0, n = type_elements(type); i < n; i++) t.data[i] = (double)from[i];
    return t;
}

Tensor *outputs_compiled(const Graph *g, Leaves *leaves, const CodegenOptions *code, int threads, char *why, size_t why_size) {
    float **floats = checked(calloc(g->noutputs + 1, sizeof *floats));
    for (uint32_t i = 0; i < g->noutputs; i++) {
        size_t bytes = (size_t)type_elements(g->value[g->output[i].value].type) * sizeof **floats;
        floats[i] = checked(malloc(bytes));
        memset(floats[i], 0xff, bytes);
    }
    GraphRun run = {leaves_floats, leaves, HELD_DROPOUT_SEED, HELD_DROPOUT_STEP, threads};
    Tensor *out = NULL;
    if (codegen_run_graph(g, code, &run, floats, why, why_size)) {
        out = checked(calloc(g->noutputs + 1, sizeof *out));
        for (uint32_t i = 0; i < g->noutputs; i++) out[i] = widen(g->value[g->output[i].value].type, floats[i]);
    }
    for (uint32_t i = 0; i < g->noutputs; i++) free(floats[i]);
    free(floats);
    return out;
}

static bool compare_draw(const Graph *g, uint64_t seed, const Leaves *given, const HeldCode *code, Worst *worst, char *why,
                         size_t why_size) {
    Wanted w;
    Leaves copy = {0};
    if (given) copy = leaves_copy(given);
    bool ok = wanted_new(g, code->arithmetic, seed, given ? &copy : NULL, &w, why, why_size);
    Tensor *out = ok ? outputs_compiled(g, &w.leaves, &code->options, 1, why, why_size) : NULL;
    if (out) *worst = wanted_compare(&w, g, out, false);
    outputs_free(g, out);
    wanted_free(&w);
    return out != NULL;
}

bool program_compare(const Graph *g, uint64_t seed, const Leaves *given, const HeldCode *code, Worst *worst, char *why,
                     size_t why_size) {
    if (!compare_draw(g, seed, given, code, worst, why, why_size)) return false;
    int shows = !(worst->of_tolerance <= 1);
    Worst right = *worst, other;
    for (int draw = 1; !given && shows > 0 && shows < HELD_FAULTS && draw < HELD_DRAWS; draw++) {
        if (!compare_draw(g, seed + (uint64_t)draw * DRAW_STEP, NULL, code, &other, why, why_size)) return false;
        if (other.of_tolerance <= 1)
            right = other;
        else
            shows++;
    }
    if (!given && shows > 0 && shows < HELD_FAULTS) *worst = right;
    return true;
}
