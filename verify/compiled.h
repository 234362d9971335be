/* A graph as compiled code computes it, whole: memory plan and all. */
#ifndef NETC_VERIFY_COMPILED_H
#define NETC_VERIFY_COMPILED_H
#include "codegen/codegen.h"
#include "verify/wanted.h"

typedef struct HeldCode {
    CodegenOptions options;
    Arithmetic arithmetic; /* that of the code: what rounding is allowed for */
} HeldCode;

/* Outputs of compiled code on these leaves, malloc'd like outputs_eval's; what is not written is NaN. NULL with a sentence in
 * why. */
Tensor *outputs_compiled(const Graph *g, Leaves *leaves, const CodegenOptions *code, int threads, char *why, size_t why_size);
/* Against the evaluator, on leaves of this seed or on given ones (NULL). Of drawn leaves a fault shows for two draws of three;
 * *worst is of the last draw that decided. False with a sentence in why if it does not compile or the evaluator refuses. */
bool program_compare(const Graph *g, uint64_t seed, const Leaves *given, const HeldCode *code, Worst *worst, char *why,
                     size_t why_size);
#endif
