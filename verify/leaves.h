/* Numbers for a graph's leaves: drawn at random, or given. The evaluator and compiled code start from the same ones. */
#ifndef NETC_VERIFY_LEAVES_H
#define NETC_VERIFY_LEAVES_H
#include "ir/eval.h"

/* What is held against what: the evaluator in double against itself, or compiled code. */
typedef enum Arithmetic { IN_F64, IN_F32, IN_BF16 } Arithmetic;

typedef struct Leaf {
    char *name;
    Tensor tensor;
    float *f32; /* the same numbers; NULL until they are asked for */
} Leaf;

/* Zero-initialise but for what is said here; leaves_free in the end. Every number is a float, or of IN_BF16 a bf16, so that no
 * side has to round what it is given. */
typedef struct Leaves {
    uint64_t seed;
    Arithmetic arithmetic;
    int64_t classes; /* labels are below it */
    /* Leaves near others: the same, each number moved at random by up to `move` of its size, differently for each `draw`. */
    struct Leaves *near;
    double move;
    uint32_t draw;
    Leaf *leaf;
    uint32_t count, capacity;
} Leaves;

/* An EvalLookup: the leaf of this name, drawn when it is first asked for. Good until the next one is drawn. Images are within 2,
 * weights keep the size of what they multiply, vectors lie around where they start: numbers like those of a net that trains. */
const Tensor *leaves_tensor(void *leaves, const Value *leaf);
/* GraphRun.lookup: the same as floats; good until leaves_free. */
const float *leaves_floats(void *leaves, const Value *leaf);
/* One that has been asked for or given; NULL. */
const Tensor *leaves_find(const Leaves *leaves, const char *name);
/* What the leaf `name` is; rounded as said above. The tensor becomes the leaves' own. */
void leaves_give(Leaves *leaves, const char *name, Tensor tensor);
Leaves leaves_copy(const Leaves *leaves);
void leaves_free(Leaves *leaves);

/* How many classes a graph tells apart: by its logits; 1 if it has none. */
int64_t classes_of(const Graph *g);
#endif
