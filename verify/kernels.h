/* Kernels held to the evaluator, each alone on recorded inputs: what the evaluator had where the kernel stands in its graph. */
#ifndef NETC_VERIFY_KERNELS_H
#define NETC_VERIFY_KERNELS_H
#include "verify/compiled.h"
#include "verify/fragment.h"

typedef struct KernelsOptions {
    HeldCode code;
    /* Told of each kernel, and how many values of the graph have its structure; NULL. */
    void (*say)(void *context, const Fragment *fragment, const Worst *worst, uint32_t values);
    void *context;
} KernelsOptions;

typedef struct KernelsHeld {
    uint32_t kernels, values, wrong; /* distinct structures; values that they compute; structures that are wrong */
    Fragment worst;                  /* g NULL: there are no kernels */
    double of_tolerance;
    char *text; /* of the worst: worst_text, or why it does not compile */
} KernelsHeld;
/* `g`: what passes left, on leaves of this seed or on given ones (borrowed; NULL). Structures are compiled once. False with a
 * sentence in why if the evaluator refuses. */
bool kernels_compare(const Graph *g, uint64_t seed, const Leaves *given, const KernelsOptions *options, KernelsHeld *held,
                     char *why, size_t why_size);
void kernels_held_free(KernelsHeld *held);
#endif
