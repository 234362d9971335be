/* What the shape rules (shape.c, shape_window.c) and the region rules (region.c) share: the value under inspection and the
 * sentence that refuses it. Private to ir/. */
#ifndef NETC_IR_SHAPE_H
#define NETC_IR_SHAPE_H
#include "ir/ir.h"

typedef struct Infer {
    const Graph *g;
    const ValueSpec *spec;
    Type *type; /* of result 0, the rule's answer */
    char *why;
    size_t why_size;
} Infer;

/* The type of a value, as text that lives to the end of the enclosing block. */
#define TEXT(t) type_format((t), (char[TYPE_TEXT]){0})

/* Writes "conv2d: ..." into why; always false. */
bool infer_refuse(const Infer *in, const char *format, ...) __attribute__((format(printf, 2, 3)));
Type infer_arg(const Infer *in, uint32_t i);
/* Accepts the result type if it is within the limits. */
bool infer_accept(const Infer *in, Type type);
bool infer_need_rank(const Infer *in, uint32_t arg, int rank, const char *what);

/* Result 0 of a windowed op on feature map x. */
bool window_output(const Infer *in, Type x, int64_t *height, int64_t *width);

/* The regions of the spec; result 0's type (and so `space`) is known. */
bool infer_regions(const Infer *in, Type space);
/* Type of result i >= 0 of a value that has regions of its own (MAP and the convolutions). */
uint32_t region_results(Op op, const Region *regions, uint32_t n);
Type region_result_type(const Graph *g, const Value *v, uint32_t result);
/* Result type of one region over an iteration space. */
Type region_type(const Region *r, Type space);

/* One rule per op of the table. */
#define OP(ID, text, lo, hi, attr, tier, results, type, grad) bool shape_##ID(const Infer *in);
#include "ir/ops.def"
#undef OP
#endif
