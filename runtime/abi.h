/* The one contract between compiler and runtime: a Program.
 *
 * A Program is constant data and code, made by codegen (JIT) or linked from an object file (AOT). It is a list of calls of
 * kernels on buffers. The runtime walks that list: it owns memory, threads and time; it knows nothing of what kernels do.
 * (A table of calls instead of an emitted `step` function: the walk costs nothing beside a kernel, every kernel can be
 * timed in place, and JIT and executable share it.)
 *
 * Kernel contract. A call has `pieces` independent pieces, from `first` on, cut by the problem and never by the thread count; any
 * thread may run any piece in any order, and the bits do not depend on it. buf[i] is the address of refs[i]. scratch is private
 * to the running thread, RT_ALIGN aligned, Program.scratch_bytes long, its contents undefined.
 *
 * train_step is written for one shard of the batch, of which all go through it together, call by call: each has an arena,
 * images, gradients and metrics of its own. A call with `combine` adds up what they have, in a fixed order (shards.h). So the
 * bits depend on the number of shards, and not on how many of them a process has.
 *
 * eval_step is written for a group of eval_batch images, the first of the blocks that it is given. The runtime cuts a batch into
 * groups and gives each to one thread, which takes it through the whole list alone, in an arena of its own: the activations of a
 * group stay in the caches from one layer to the next, and threads meet only at the end. A single group, or a last one that would
 * have one thread and leave the others idle, is run as the other entries are, all threads on the pieces of one call after the
 * other.
 *
 * Parameters stand in one block RT_PARAMS in their physical layout (RtTensor.offset); gradients, and optimiser moments, in
 * blocks of the same size and layout, so that checkpoint and optimiser are flat loops. Padding elements are zero and stay zero.
 */
#ifndef NETC_RUNTIME_ABI_H
#define NETC_RUNTIME_ABI_H
#include "runtime/recipe.h"
#include <stddef.h>
#include <stdint.h>

enum { RT_ABI_VERSION = 10, RT_ALIGN = 64 }; /* RT_ALIGN: bytes; where buffers, blocks and scratch begin */

typedef enum RtSpace {
    RT_ARENA,    /* activations, planned offsets; contents survive between calls of one entry only; eval_step has its own */
    RT_PARAMS,   /* trainable weights, physical layout */
    RT_GRADS,    /* their gradients, same layout */
    RT_STATE,    /* running statistics, physical layout; updated in place by train_step */
    RT_MOMENT1,  /* optimiser: momentum or Adam's m, layout of RT_PARAMS */
    RT_MOMENT2,  /* Adam's v; of SGD, nothing */
    RT_FOLDED,   /* what prepare_eval makes and eval_step reads: folded, packed weights */
    RT_IMAGES,   /* input batch, f32[N,C,H,W] dense row-major, normalised */
    RT_LABELS,   /* i32[N], and behind them the second labels of mixed images, i32[N] */
    RT_LOGITS,   /* output of eval_step and train_step, f32[N,K] dense row-major */
    RT_METRICS,  /* train_step: f32 loss (mean over the batch), f32 number correct */
    RT_MIX,      /* f32: the first labels' share of the loss; then zeros up to RT_ALIGN */
    RT_CONSTANT, /* read-only data in the Program */
    RT_SPACE_COUNT
} RtSpace;

typedef struct RtRef {
    RtSpace space;
    uint32_t shared; /* 1: what all shards have in common; else each shard's own */
    uint64_t offset; /* bytes */
} RtRef;

/* What changes from step to step. Filled by the runtime before an entry runs. */
typedef struct RtStepEnv {
    uint64_t seed,
        step;           /* step counts batches from 0, which are optimiser steps unless gradients are accumulated; keys dropout */
    float lr;           /* this step's learning rate */
    float bias1, bias2; /* Adam: 1 - beta1^t, 1 - beta2^t, t = step + 1 */
    double epoch;       /* begun, of the training: calls whose `until` it has reached are left out */
    uint64_t image;     /* of the batch, the first one of the shard that is computed */
} RtStepEnv;

typedef void (*RtKernel)(char *const *buf, const RtStepEnv *env, int64_t piece, char *scratch);

/* What a kernel is for: netc bench adds up the time of each kind. */
typedef enum RtKind {
    RT_KIND_OTHER,
    RT_KIND_FORWARD, /* of convolutions, up to FILTERS */
    RT_KIND_BACKWARD,
    RT_KIND_BACKWARD_DATA,
    RT_KIND_BACKWARD_WEIGHTS,
    RT_KIND_FILTERS,
    RT_KIND_DENSE,
    RT_KIND_MAP,
    RT_KIND_STATISTICS,
    RT_KIND_LAYOUT,
    RT_KIND_REDUCTION,
    RT_KIND_OPTIMISER,
    RT_KIND_LOSS,
    RT_KIND_POOLING,
    RT_KINDS
} RtKind;

/* What is summed over the shards of a batch. */
typedef enum RtCombine {
    RT_COMBINE_NONE,
    RT_COMBINE_F32,
    RT_COMBINE_F64,
    RT_COMBINE_LATER /* f32, which no call of the entry reads: the sum need not be there before its end */
} RtCombine;

typedef struct RtCall {
    RtKernel kernel;   /* NULL: shards are combined */
    const char *name;  /* of the kernel: conv2d_3x3_c16_f1a2 (shared by calls of one structure) */
    const char *label; /* of this call: where in the model, "basic3.conv_bn1" */
    const RtRef *refs;
    uint32_t nrefs;
    RtKind kind;
    RtCombine combine; /* refs[0] of all shards becomes their sum, `elements` numbers, which all have in common from then on */
    uint32_t once;     /* 1: it is about nothing but what shards have in common, and so is computed for the first alone */
    int64_t first, pieces; /* of a shard: pieces first .. first + pieces - 1 of the kernel's */
    int64_t elements;
    double flops, bytes; /* useful work and least traffic, for the bench table */
    double until; /* left out from this epoch on, since what it computes serves parameters alone that are frozen then; 0: never */
} RtCall;

typedef struct RtEntry {
    const RtCall *calls;
    uint32_t ncalls;
} RtEntry;

// clang-format off
/* How a tensor lies in its block. V is RtProgram.block; elements are f32. Padding is zero.
 *   RT_LAYOUT_VECTOR  [C] padded to a multiple of V
 *   RT_LAYOUT_ROWS    [R, C]: rows of C padded to a multiple of V
 *   RT_LAYOUT_FILTERS [O, I, kh, kw] as [O/V][I/V][kh][kw][I in V][O in V], O and I padded up to V; with groups, I = input
 *                     channels per group
 *   RT_LAYOUT_DENSE   row-major without padding (the block's total is then padded to V) */
// clang-format on
typedef enum RtLayout { RT_LAYOUT_VECTOR, RT_LAYOUT_ROWS, RT_LAYOUT_FILTERS, RT_LAYOUT_DENSE } RtLayout;

/* DIRAC: of filters [O, I, kh, kw] the first I pass one channel each on, the rest is uniform (cifar10-airbench). WHITEN:
 * principal axes of the training images (whiten.h), which rt_whiten computes; uniform until then. */
typedef enum RtInitKind { RT_INIT_CONSTANT, RT_INIT_NORMAL, RT_INIT_UNIFORM, RT_INIT_DIRAC, RT_INIT_WHITEN } RtInitKind;
enum { RT_MAX_WHITENED = 256 }; /* weights of a filter of WHITEN */
typedef struct RtTensor {
    const char *name;
    uint32_t rank;
    int64_t dim[4]; /* logical */
    RtLayout layout;
    uint64_t offset;   /* bytes from the start of RT_PARAMS or RT_STATE */
    uint64_t bytes;    /* physical size, a multiple of RT_ALIGN */
    uint32_t position; /* in the source among parameters, or states, from 1: the stream of its initial values */
    RtInitKind init;
    double init_value; /* CONSTANT: value; NORMAL: standard deviation; UNIFORM: bound of U(-b, b); WHITEN: what is added to
                          variances. DIRAC, WHITEN: the uniform part has PyTorch's bound, 1 / sqrt(fan-in) */
    bool decay;        /* the optimiser's weight decay applies */
    double lr_factor, decay_factor; /* on the optimiser's, by the recipe's groups */
    double until;                   /* the epoch from which on it is frozen; 0: none, below: never updated */
} RtTensor;

/* Frozen parameters have no part in a step that begins in this epoch. */
static inline bool rt_is_frozen(const RtTensor *t, double epoch) { return t->until < 0 || (t->until > 0 && epoch >= t->until); }

typedef struct RtProgram {
    uint32_t abi_version;
    const char *model;    /* "se_resnet20" */
    const char *target;   /* "znver5, 16 lanes" */
    const char *features; /* of an object: what the CPU must have, names of cpu_features.def split by blanks; else "" */
    int64_t batch, channels, height, width, classes;
    int64_t block; /* V, the channel block in floats */
    const RtTensor *params, *state;
    uint32_t nparams, nstate;
    int64_t shards; /* that train_step is for one of; it has batch / shards images. 0 or 1: the batch is whole */
    uint64_t params_bytes, state_bytes, arena_bytes, folded_bytes, scratch_bytes, constant_bytes;
    int64_t eval_batch;        /* images of a group of eval_step; 0: the whole batch */
    uint64_t eval_arena_bytes; /* of eval_step, for one group; arena_bytes is of training */
    const char *constant;
    RtEntry train_step;   /* forward, backward: fills RT_GRADS, RT_METRICS, RT_LOGITS, updates RT_STATE. ncalls 0 if compiled for
                             inference only */
    RtEntry apply_update; /* optimiser: RT_PARAMS from RT_GRADS, env->lr and moments */
    RtEntry prepare_eval; /* RT_FOLDED from RT_PARAMS and RT_STATE; once per change of weights */
    RtEntry eval_step;    /* RT_LOGITS from RT_IMAGES, of one group */
    RtRecipe recipe;
    const char *recipe_text; /* the recipe as canonical .net text; stored in checkpoints */
    const char *choices;     /* how convolutions are computed, as text (codegen/choice.h); stored in checkpoints; may be NULL */
    /* The passes that made the graphs, as text, and a SHA-256 of that and of the shared objects among them; stored in
     * checkpoints.
     * "" or NULL: not known. */
    const char *pipeline, *pipeline_sha256;
    const char *graphs; /* the net as text, for a run's model.ir; "" or NULL: not kept */
} RtProgram;

static inline int64_t rt_shards(const RtProgram *p) { return p->shards > 1 ? p->shards : 1; }
/* Activations of training, of all shards. */
static inline uint64_t rt_activation_bytes(const RtProgram *p) { return (uint64_t)rt_shards(p) * p->arena_bytes; }

/* What kernels may call: resolved by name, by the JIT from the netc binary, in an executable by the linker.
 * All are declared here and nowhere else. */
/* Row-major C[m,n] = alpha*op(A)*op(B) + beta*C on one thread (OpenBLAS). */
void rt_sgemm(int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
              const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
/* Of netc's own, before rt_sgemm is called: loads OpenBLAS. False with a reason. On one thread only. */
bool rt_gemm_load(char *why, size_t why_size);
/* Before the first rt_sgemm, while no thread calls it: OpenBLAS takes the memory that it needs to be called by so many threads at
 * once, since it would ask for it forever where there is none. False: there is none. */
bool rt_gemm_reserve(int threads);
/* Code made with CodegenOptions.check_bounds calls it before every access: `bytes` from `at` on, in a buffer from `first` to
 * `end`. Outside of them it says so on stderr, with the kernel and the buffer's number (its scratch: -1), and ends with
 * status 70. */
void rt_check_access(const char *at, int64_t bytes, const char *first, const char *end, const char *kernel, int32_t buffer,
                     int32_t store);
#endif
