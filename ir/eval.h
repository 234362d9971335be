/* The reference evaluator: every op, computed naively in double precision on logical layouts. It is the oracle that
 * gradients, passes and compiled code are held against; it is meant to be read, not to be fast. */
#ifndef NETC_IR_EVAL_H
#define NETC_IR_EVAL_H
#include "ir/expr.h"
#include "ir/ir.h"

/* A dense tensor in logical row-major order. Integers are held as doubles. */
typedef struct Tensor {
    Type type;
    double *data;
} Tensor;

Tensor tensor_new(Type type); /* zeroed; free with tensor_free */
void tensor_free(Tensor *t);

/* Looks up the value of an INPUT, PARAM or STATE by name; must return a tensor of the declared type, kept alive by the caller. */
typedef const Tensor *(*EvalLookup)(void *context, const Value *leaf);

typedef struct EvalOptions {
    uint64_t seed, step;    /* for DROPOUT and DROPOUT_MASK */
    bool round_f32;         /* round every value to float after each op (to mimic storage) */
    const ExprNoise *noise; /* of the sums in Exprs (to mimic arithmetic); NULL: none */
} EvalOptions;

/* Evaluates the whole graph. out[i] is the value of output i (freshly allocated, caller frees). If `all` is not NULL it
 * receives an array, indexed by value id, of all result-0 tensors (free each, then the array). False with a sentence in
 * why if a lookup fails or shapes disagree. */
bool graph_eval(const Graph *g, EvalLookup lookup, void *context, const EvalOptions *options, Tensor *out, Tensor **all,
                char *why, size_t why_size);

/* Philox4x32-10 (Salmon et al., SC 2011), the counter-based generator of the whole project; the runtime and the emitted
 * kernels implement the same function and are checked against it. */
void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/* The dropout decision for logical element `index`: counter = {index low, index high, stream, step low}, key = seed;
 * kept iff out[0] * 2^-32 >= rate. */
bool dropout_keeps(uint64_t seed, uint64_t step, int64_t stream, int64_t index, double rate);
#endif
