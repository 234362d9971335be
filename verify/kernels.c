#include "verify/kernels.h"
#include "ir/stream.h"
#include "ir/text.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DRAW_STEP = 1000, WHY = 2000 };

/* A structure that has been met. */
typedef struct Known {
    char *text;
    uint32_t values;
    Val first; /* of the values that have it */
} Known;

typedef struct Kernels {
    const Graph *g;
    Leaves leaves;
    const KernelsOptions *o;
    Known *known;
    uint32_t nknown;
} Kernels;

static void *checked(void *memory) {
    if (memory) return memory;
    out_of_memory("no room to verify kernels");
}

/* ---- recording ---- */

static Tensor *record(const Graph *g, Leaves *leaves, char *why, size_t why_size) {
    Tensor *all = NULL;
    EvalOptions how = {.seed = HELD_DROPOUT_SEED, .step = HELD_DROPOUT_STEP};
    return graph_eval(g, leaves_tensor, leaves, &how, NULL, &all, why, why_size) ? all : NULL;
}

static void recording_free(const Graph *g, Tensor *all) {
    for (Val v = 0; all && v < g->count; v++) tensor_free(&all[v]);
    free(all);
}

/* ---- structures ---- */

/* First walk: which values have a kernel of which structure. Fragments are cut again when they are compared. */
static Known *find_known(Kernels *k, const Fragment *f, Val v) {
    char *text = graph_to_string(f->g);
    for (uint32_t i = 0; i < k->nknown; i++) {
        if (strcmp(k->known[i].text, text) != 0) continue;
        free(text);
        return &k->known[i];
    }
    k->known[k->nknown] = (Known){text, 0, v};
    return &k->known[k->nknown++];
}

static void find_structures(Kernels *k, const Tensor *all) {
    bool *done = checked(calloc(k->g->count + 1, sizeof *done));
    for (Val v = 0; v < k->g->count; v++) {
        if (!fragment_has_kernel(k->g, v, done)) continue;
        Fragment f = fragment_cut(k->g, v, all, k->o->code.arithmetic, done);
        if (f.g->noutputs) find_known(k, &f, v)->values++; /* sums in double are computed with who reads them */
        fragment_free(&f);
    }
    free(done);
}

/* ---- one kernel ---- */

/* Does not compile: infinitely far off, with the reason in why. */
static Worst compare_fragment(const Kernels *k, const Fragment *f, char *why, size_t why_size) {
    Worst worst;
    if (program_compare(f->g, 0, &f->leaves, &k->o->code, &worst, why, why_size)) return worst;
    return (Worst){.of_tolerance = INFINITY, .element = -1};
}

static Fragment cut_alone(const Kernels *k, Val v, const Tensor *all) {
    bool *done = checked(calloc(k->g->count + 1, sizeof *done));
    Fragment f = fragment_cut(k->g, v, all, k->o->code.arithmetic, done);
    free(done);
    return f;
}

/* On inputs of another draw. */
static bool shows_again(const Kernels *k, Val v, int draw) {
    Leaves others = {
        .seed = k->leaves.seed + (uint64_t)draw * DRAW_STEP, .arithmetic = k->o->code.arithmetic, .classes = k->leaves.classes};
    char why[WHY];
    Tensor *all = record(k->g, &others, why, sizeof why);
    if (!all) return true;
    Fragment f = cut_alone(k, v, all);
    bool shows = !(compare_fragment(k, &f, why, sizeof why).of_tolerance <= 1);
    fragment_free(&f);
    recording_free(k->g, all);
    leaves_free(&others);
    return shows;
}

static void keep_worst(KernelsHeld *held, Fragment *f, const Worst *worst, const char *why) {
    if (held->worst.g && !(worst->of_tolerance > held->of_tolerance)) {
        fragment_free(f);
        return;
    }
    char text[WORST_TEXT];
    fragment_free(&held->worst);
    free(held->text);
    held->worst = *f;
    held->of_tolerance = worst->of_tolerance;
    held->text = *why ? text_printf("it does not compile: %s", why) : text_printf("%s", worst_text(worst, text));
}

static void compare_kernel(const Kernels *k, const Known *known, const Tensor *all, bool given, KernelsHeld *held) {
    Fragment f = cut_alone(k, known->first, all);
    char why[WHY] = "";
    Worst worst = compare_fragment(k, &f, why, sizeof why);
    int shows = !(worst.of_tolerance <= 1);
    for (int draw = 1; shows && shows < HELD_FAULTS && draw < HELD_DRAWS; draw++)
        shows += given || *why || shows_again(k, known->first, draw);
    if (shows && shows < HELD_FAULTS) worst.of_tolerance = 1; /* a ReLU that fell on the other side */
    held->wrong += shows >= HELD_FAULTS;
    held->kernels++;
    held->values += known->values;
    if (k->o->say) k->o->say(k->o->context, &f, &worst, known->values);
    keep_worst(held, &f, &worst, why);
}

/* ---- all ---- */

bool kernels_compare(const Graph *g, uint64_t seed, const Leaves *given, const KernelsOptions *options, KernelsHeld *held,
                     char *why, size_t why_size) {
    Kernels k = {
        .g = g, .o = options, .leaves = {.seed = seed, .arithmetic = options->code.arithmetic, .classes = classes_of(g)}};
    *held = (KernelsHeld){.of_tolerance = -1};
    if (given) k.leaves = leaves_copy(given);
    Tensor *all = record(g, &k.leaves, why, why_size);
    if (all) {
        k.known = checked(calloc(g->count + 1, sizeof *k.known));
        find_structures(&k, all);
        for (uint32_t i = 0; i < k.nknown; i++) compare_kernel(&k, &k.known[i], all, given != NULL, held);
        for (uint32_t i = 0; i < k.nknown; i++) free(k.known[i].text);
        free(k.known);
        recording_free(g, all);
    }
    leaves_free(&k.leaves);
    return all != NULL;
}

void kernels_held_free(KernelsHeld *held) {
    fragment_free(&held->worst);
    free(held->text);
    *held = (KernelsHeld){0};
}
