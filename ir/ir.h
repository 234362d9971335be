/* The graph: a network's whole computation as values in topological order.
 *
 * A value is one op applied to earlier values; ids are dense and arguments have smaller ids, so the graph is acyclic by
 * construction and analyses are plain arrays indexed by id. Graphs are rebuilt, never mutated: a pass reads one graph and
 * appends to a new one. Everything belongs to the graph's arena. No control flow; training state is explicit outputs.
 *
 * Feature maps are f32[N,C,H,W], gates and squeezed maps f32[N,C], per-channel vectors f32[C], scalars f32[]. These are
 * logical types; how a target lays them out in memory (channel blocks) is codegen's business.
 *
 * Fusion. A value may carry regions, each an Expr (ir/expr.h) over the value's arguments:
 *     map              OUTPUT e: an element tensor of the iteration type; REDUCE e: sum of e over H, W, f32[N,C]
 *                      (iteration rank 4 only); MOMENTS e: sums of e and of e*e over H, W, both in double, f64[2N,C]: rows 2n
 *                      and 2n + 1 are image n's (iteration rank 4 only); SUM_TO m e, MAX_TO m e, INDEX_TO m e: the sum or the
 *                      maximum of e over the dimensions of the mask m, or where along them the first maximum is (the last NaN if
 *                      there is one), which are 1 in the result: 1 for C alone, or 2 for H, 4 for W, 6 for both, then counted
 *                      line by line (iteration rank 4 only; beside those over C no sums over pixels, beside either no MOMENTS).
 *                      Result i is region i. The iteration type is `space`.
 *     conv2d and its   PROLOGUE j e: operand j is computed as e while it is loaded, args[j] being one of e's rank-4
 *     two gradients    arguments of the operand's own shape; STORE j: the prologue value of operand j is also written out;
 *                      EPILOGUE e: result 0 is e (over X_ACC and args) instead of the raw accumulator;
 *                      OUTPUT e: a further element tensor of result 0's type, over X_ACC, X_OUT and args;
 *                      REDUCE e, MOMENTS e: per-image channel sums as above, of e over X_ACC, X_OUT and args.
 *                      Result 0 is the op's own; STORE, OUTPUT, REDUCE and MOMENTS regions are results 1, 2, … in region order.
 *                      (conv2d_bwd_weights has no EPILOGUE, OUTPUT, REDUCE or MOMENTS.)
 * args[0..1] are the op's own operands; arguments behind them exist for the regions.
 */
#ifndef NETC_IR_IR_H
#define NETC_IR_IR_H
#include "ir/arena.h"
#include "ir/diag.h"
#include "ir/expr.h"
#include <stdbool.h>
#include <stdint.h>

typedef uint32_t Val;
#define NO_VAL UINT32_MAX

typedef enum DType { DT_F32, DT_BF16, DT_I32, DT_U8, DT_F64, DTYPES } DType; /* f64: sums that `moments` combines */
enum { MAX_RANK = 4, MAX_ARGS = 64, MAX_REGIONS = 64 };                      /* of a type, of a value */

typedef struct Type {
    DType dtype;
    int rank; /* 0..MAX_RANK; a scalar has rank 0 */
    int64_t dim[MAX_RANK];
} Type;

typedef enum Op {
#define OP(ID, text, lo, hi, attr, tier, results, type, grad) OP_##ID,
#include "ir/ops.def"
#undef OP
    OP_COUNT
} Op;

typedef enum Tier { TIER_SOURCE = 1, TIER_NET = 2, TIER_BACKWARD = 4, TIER_FUSED = 8 } Tier;
typedef enum AttrKind {
    ATTR_NONE,
    ATTR_PARAM,
    ATTR_CONSTANT,
    ATTR_WINDOW,
    ATTR_NORM,
    ATTR_CHANNELS,
    ATTR_DROPOUT,
    ATTR_LOSS,
    ATTR_INDEX
} AttrKind;

/* How a parameter starts. Fan counts follow PyTorch: fan_in = I/groups*kh*kw or K, fan_out = O*kh*kw or O. */
typedef enum InitKind {
    INIT_CONSTANT,
    INIT_HE_NORMAL,
    INIT_XAVIER_UNIFORM,
    INIT_UNIFORM,
    INIT_DIRAC, /* of [O, I, kh, kw]: filter o below I passes channel o on, the others are U(-b, b), b = 1 / sqrt(fan_in) */
    INIT_WHITEN /* likewise: the principal axes of the training images' patches, and their negatives if O is twice as many */
} InitKind;
enum { MAX_WHITENED = 256 }; /* weights of a filter of INIT_WHITEN */
typedef struct Init {
    InitKind kind;
    double value; /* INIT_CONSTANT: the value. INIT_UNIFORM: the bound b of U(-b, b). INIT_HE_NORMAL: std = sqrt(2 / fan_out) if
                     1, sqrt(2 / fan_in) if 0. INIT_WHITEN: what is added to the variances of the axes */
} Init;

/* Names of the inputs that training has besides images and labels where its images are mixed: i32[N], f32[]. */
#define INPUT_LABELS_MIXED "labels_mixed"
#define INPUT_SHARE "labels_share"

typedef union Attrs {
    struct {
        int64_t kernel[2], stride[2], pad[4], dilation[2], groups; /* [height, width]; pad top, left, bottom, right */
    } window;
    struct {
        const char *name; /* stable and unique: basic3.conv_bn1.conv2d.weight */
        Init init;
        bool decay;       /* weight decay applies (weights yes; batch-norm and biases per the recipe's decay_bn) */
        bool frozen;      /* PARAM: it is not trained, so autodiff makes no gradient of it */
        int64_t position; /* PARAM, STATE: 1, 2, ... among those of the source, whatever order passes leave. Initial values are
                             drawn by it, and files hold tensors in its order. 0 in a ValueSpec: the next one of this graph */
    } param;
    double constant; /* CONSTANT: its value; MOMENTS: values per channel (N*H*W); STANDARDIZE: eps */
    struct {
        double eps, momentum; /* running = (1 - momentum) * running + momentum * batch, variance unbiased (PyTorch) */
    } norm;
    struct {
        int64_t count, stride; /* PAD_CHANNELS: channels afterwards, spatial subsampling */
    } channels;
    struct {
        double rate;
        int64_t stream; /* distinguishes the dropout sites of a model */
    } dropout;
    struct {
        double smoothing; /* label smoothing in [0, 1) */
    } loss;
    int64_t index;
} Attrs;

typedef enum RegionRole {
    REGION_PROLOGUE,
    REGION_STORE,
    REGION_EPILOGUE,
    REGION_OUTPUT,
    REGION_REDUCE,
    REGION_MOMENTS,
    REGION_SUM_TO,
    REGION_MAX_TO,
    REGION_INDEX_TO,
    REGION_ROLES
} RegionRole;
typedef struct Region {
    RegionRole role;
    int operand;      /* PROLOGUE, STORE: which operand; SUM_TO, MAX_TO, INDEX_TO: which dimensions go away, as a mask; else 0 */
    const Expr *expr; /* NULL for STORE */
} Region;

typedef struct Value {
    Op op;
    Type type; /* of result 0 */
    Span span; /* the .net text this came from */
    uint32_t nargs, nregions;
    Val *args;
    Region *regions;
    Attrs attrs;
    Type space;       /* MAP: the iteration type; otherwise unused */
    const char *name; /* debugging aid, may be NULL: the source path of the block, "basic3.conv_bn1" */
    Val results;      /* the builder's: the newest RESULT of this value, of a RESULT the one before it; 0 ends the list */
} Value;

typedef enum OutputKind {
    OUT_LOGITS,  /* f32[N,K] */
    OUT_LOSS,    /* f32[] */
    OUT_CORRECT, /* f32[] */
    OUT_STATE,   /* next value of the STATE named `name` */
    OUT_GRAD     /* gradient of the PARAM (or, for tests, INPUT) named `name` */
} OutputKind;
typedef struct Output {
    OutputKind kind;
    Val value;
    const char *name; /* OUT_STATE, OUT_GRAD; NULL otherwise */
} Output;

typedef enum Mode { MODE_TRAIN, MODE_INFER } Mode; /* of batch norm and dropout */

typedef struct Graph {
    Arena *arena;
    const char *name;
    Mode mode;
    Value *value;
    uint32_t count, capacity;
    Output *output;
    uint32_t noutputs, output_capacity;
    uint32_t nparams, nstates; /* PARAM and STATE values */
} Graph;

/* ---- op table ---- */
const char *op_text(Op op);
bool op_from_text(const char *text, Op *op);
AttrKind op_attr_kind(Op op);
Tier op_tier(Op op);
bool op_has_declared_type(Op op);
/* Fixed operand count of an op that may carry regions or varies in arity: 2 for conv2d*, else its minimum. */
uint32_t op_operands(Op op);
uint32_t op_max_args(Op op);
uint32_t op_results(Op op);    /* without regions */
bool op_is_convolution(Op op); /* conv2d and its two gradients */
/* Is its result 0 filters of a convolution, [O,I,kh,kw]? */
bool op_makes_filters(Op op);
/* Is this argument a feature map of a convolution, which it can compute while loading it (PROLOGUE)? Filters are not. */
bool op_loads(Op op, uint32_t arg);
bool op_takes_regions(Op op);
/* The body of an elementwise op of the language over the nodes x and y, of which one with a single operand ignores y; false if op
 * is none. */
bool op_elementwise(ExprBuilder *b, Op op, uint16_t x, uint16_t y, uint16_t *body);

/* ---- types ---- */
Type type_make(DType dtype, int rank, const int64_t *dim);
Type type_scalar(void);                 /* f32[] */
Type type_vector(int64_t c);            /* f32[c] */
Type type_matrix(int64_t n, int64_t c); /* f32[n,c] */
/* Of what a region makes over space: space itself, sums f32[N,C] or f64[2N,C], or space with 1 for the dimensions of the mask. */
Type type_of_region(RegionRole role, int operand, Type space);
enum { OVER_CHANNELS = 1, OVER_HEIGHT = 2, OVER_WIDTH = 4 }; /* in masks of SUM_TO, MAX_TO and INDEX_TO */
int type_mask(Type from, Type to);                           /* the dimensions C, H, W that are 1 in `to` only */
bool type_is_one(Type t, int mask);                          /* are all of these of t, of rank 4? */
Type type_feature(int64_t n, int64_t c, int64_t h, int64_t w);
bool type_equal(Type a, Type b);
int64_t type_elements(Type t);
char *type_text(Arena *arena, Type t); /* "f32[128,16,32,32]" */
enum { TYPE_TEXT = 112 };
const char *type_format(Type t, char buffer[TYPE_TEXT]); /* the same without an arena; returns buffer */
/* Rank, dtype and dimensions in range, at most MAX_ELEMENTS elements? Everything that the graph holds is. */
bool type_valid(Type t);
/* Can `arg` be read at each element of `space` (see expr.h)? Dimensions must agree. */
bool type_broadcasts(Type arg, Type space);

/* ---- building ---- */
Graph *graph_new(const char *name, Mode mode);
void graph_free(Graph *g);

/* A value about to be added. Unset members are zero. `declared` is read only where op_has_declared_type. */
typedef struct ValueSpec {
    Op op;
    const Val *args;
    uint32_t nargs;
    Attrs attrs;
    Type declared;
    Span span;
    const char *name;
    const Region *regions;
    uint32_t nregions;
} ValueSpec;

/* The result type, or false with a one-sentence reason ("needs 3 input channels, found 16") in why. */
bool graph_infer(const Graph *g, const ValueSpec *spec, Type *type, char *why, size_t why_size);
/* Appends; args, regions and names are copied into the graph's arena. A spec that graph_infer refuses is a compiler bug: aborts
 * with the reason. */
Val graph_add(Graph *g, const ValueSpec *spec);
/* What would make this value again, of these arguments. */
ValueSpec value_spec(const Value *v, const Val *args);
const char *mode_text(Mode mode);              /* "train", "infer" */
const char *output_kind_text(OutputKind kind); /* "logits", "loss", "correct", "state", "grad" */
void graph_output(Graph *g, OutputKind kind, Val value, const char *name);

/* Short forms used everywhere. */
Val graph_unary(Graph *g, Op op, Val a, Span span);
Val graph_binary(Graph *g, Op op, Val a, Val b, Span span);
Val graph_constant(Graph *g, double value, Span span);
/* Result i of v: v itself for 0, otherwise a RESULT value (an existing one is reused). */
Val graph_result(Graph *g, Val v, uint32_t i);
/* map with one OUTPUT. */
Val graph_map(Graph *g, Type space, const Val *args, uint32_t nargs, const Expr *body, Span span, const char *name);
/* Copies value `v` of `from` into g with arguments remapped through map[]; Exprs are copied too. */
Val graph_copy_value(Graph *g, const Graph *from, Val v, const Val *map);
/* The same graph once more. */
Graph *graph_copy(const Graph *from);

/* ---- reading a graph ---- */
/* Result count and types of a value, regions included. */
uint32_t value_results(const Graph *g, Val v);
/* By value id: does anybody read this very result? In the arena. */
bool *graph_reads(Arena *arena, const Graph *g);
Type value_result_type(const Graph *g, Val v, uint32_t result);
/* The value and result index that `v` denotes: RESULT values are looked through. */
Val value_source(const Graph *g, Val v, uint32_t *result);
/* Positions, and indices that regions INDEX_TO make: whole numbers, which bf16 holds up to 256 only, so that they are f32 in
 * memory in its programs too. */
bool value_is_index(const Graph *g, Val v);
const Region *value_region(const Value *v, RegionRole role, int operand); /* first match or NULL */
bool region_makes_result(RegionRole role); /* STORE, OUTPUT, REDUCE, MOMENTS, SUM_TO, MAX_TO, INDEX_TO */
bool region_sums(RegionRole role);         /* per-image channel sums: REDUCE, MOMENTS */
bool region_reduces(RegionRole role);      /* SUM_TO, MAX_TO, INDEX_TO */
bool region_greatest(RegionRole role);     /* MAX_TO, INDEX_TO */
bool region_has_operand(RegionRole role);  /* a number that says more: see Region */
/* What loops the regions of a map ask for, by what they reduce: roles and masks of all of them, in turn, into *loops (0 at the
 * start). False: one loop cannot do it. */
bool region_shares_loop(RegionRole role, int operand, unsigned *loops);
/* The result that region i of v makes; meaningless if it makes none. */
uint32_t region_result(const Value *v, uint32_t region);
/* users[v] = number of uses of value id v as argument or output. Caller frees with free(). */
uint32_t *graph_use_counts(const Graph *g);
/* Images in the input; 1 if there is none. */
int64_t graph_batch(const Graph *g);
/* A graph of inference for another number of images, every value with its id; NULL with a malloc'd sentence where it is not a net
 * that works for any. */
Graph *graph_with_batch(const Graph *g, int64_t batch, char **why);
/* A graph as the language says it (SOURCE) for images of another height and width; as above. Weights of a dense layer that reads
 * a flattened feature map follow its size. */
Graph *graph_with_size(const Graph *g, int64_t height, int64_t width, char **why);
Val graph_find_output(const Graph *g, OutputKind kind, const char *name); /* NO_VAL if absent; name may be NULL */

/* Largest shape arithmetic accepted anywhere: total elements of a tensor. */
#define MAX_ELEMENTS ((int64_t)1 << 40)
#endif
