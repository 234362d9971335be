/* What a graph computes, and how far from that something else may be.
 *
 * The tolerance is measured, not chosen. The evaluator runs again with every leaf moved by some units of rounding and every
 * elementwise sum by a unit of its operands, of compiled code also with every value rounded to float, which stands for the
 * rounding of what is held against it; a few such runs say how far rounding alone can move an output, and FACTOR times that is
 * allowed. (Of the operands, not of the result: a*x + (b - a*mean), as batch norm is computed here and in PyTorch, is off by that
 * where a channel is constant and x - mean is zero.) An ill-conditioned net (batch norm over two values, a ReLU at zero) so has a
 * wide tolerance of its own and a smooth one a narrow one. Where a ReLU or a maximum falls on the other side on one side only, an
 * output may be off by more for one set of inputs: so a fault is what shows for two of three (HELD_DRAWS). */
#ifndef NETC_VERIFY_WANTED_H
#define NETC_VERIFY_WANTED_H
#include "verify/leaves.h"

enum { HELD_DRAWS = 3, HELD_FAULTS = 2, HELD_DROPOUT_SEED = 11, HELD_DROPOUT_STEP = 3 };

typedef struct Wanted {
    const Graph *g; /* borrowed */
    Leaves leaves;
    Tensor *out;       /* of each output of g */
    double *tolerance; /* of the norm of the difference */
} Wanted;

/* Evaluates g on leaves of this seed, or on `given` ones (which become Wanted's own; NULL). False with a sentence in why;
 * wanted_free either way. */
bool wanted_new(const Graph *g, Arithmetic arithmetic, uint64_t seed, Leaves *given, Wanted *w, char *why, size_t why_size);
void wanted_free(Wanted *w);
/* The outputs of a graph on these leaves, malloc'd; NULL with a sentence in why. */
Tensor *outputs_eval(const Graph *g, Leaves *leaves, char *why, size_t why_size);
void outputs_free(const Graph *g, Tensor *out);

/* The output that is furthest off, in units of its tolerance, and its element that is. */
typedef struct Worst {
    double of_tolerance; /* above 1: wrong; infinite: it is not there, or not a number */
    double error, size;  /* norms, of the difference and of what is wanted */
    OutputKind kind;
    const char *name; /* the graph's that wants it; may be NULL */
    Type type;
    int64_t element;
    double wanted, found; /* that element's */
} Worst;
/* `out`: the outputs of `g`, which may stand in another order and be more. CORRECT is left out where `counts` is false: of
 * compiled code, whose ties and near ties fall either way. */
Worst wanted_compare(const Wanted *w, const Graph *g, const Tensor *out, bool counts);
/* Output i of `wanted`'s graph among those of another; UINT32_MAX: it is not there. */
uint32_t output_find(const Graph *g, const Output *wanted);
/* "gradient conv1.weight"; "loss". In `text`, which is returned. */
enum { OUTPUT_TEXT = 300 };
const char *output_text(OutputKind kind, const char *name, char text[OUTPUT_TEXT]);
/* "gradient conv1.weight is off by 0.3, of norm 2: element [0, 2, 1, 1] is 0.5, should be 0.7". */
enum { WORST_TEXT = 600 };
const char *worst_text(const Worst *worst, char text[WORST_TEXT]);
#endif
