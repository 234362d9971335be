/* Graph -> Program, through LLVM. Public face of codegen/: no llvm-c type leaks out of the folder. */
#ifndef NETC_CODEGEN_CODEGEN_H
#define NETC_CODEGEN_CODEGEN_H
#include "codegen/choice.h"
#include "ir/diag.h"
#include "ir/ir.h"
#include "runtime/abi.h"

/* A machine that code can be made for (target/architectures.def). */
typedef struct CodegenTarget {
    const char *name;           /* "x86_64-linux-gnu": what --target says */
    const char *levels;         /* CPUs that an executable gets code for unless it is told, least first: "x86-64-v3,x86-64-v4" */
    const char *least;          /* CPU that can do what all of them can: "generic" */
    const char *dynamic_linker; /* that its executables ask for */
    const char *debian;         /* its name in Debian's packages */
} CodegenTarget;
const CodegenTarget *codegen_target_at(uint32_t i);    /* NULL behind the last */
const CodegenTarget *codegen_target(const char *name); /* NULL: there is none */
void codegen_target_names(char *text, size_t size);    /* of all, for a sentence: "a, b and c" */

/* BF16: feature maps, and their gradients, are stored as bf16 and convolutions multiply bf16 where the CPU has instructions for
 * it. Weights, statistics, sums and everything of rank below 4 stay f32. */
typedef enum Precision { PRECISION_F32, PRECISION_BF16 } Precision;

/* Which of the names in runtime/cpu_features.def code for this CPU, and maps of this precision, may use, split by blanks.
 * malloc'd; NULL with a diagnostic. */
char *codegen_features(const char *target, const char *cpu, Precision precision, Diag *diag);

typedef struct CodegenOptions {
    const char *target;     /* of an object: the name of a CodegenTarget; NULL: this machine's */
    const char *cpu;        /* LLVM CPU name; NULL or "native": this machine; for another target, NULL: its least */
    const ConvMethod *conv; /* --conv=: where it applies; NULL: free */
    bool openblas;          /* --gemm=openblas: products of matrices by rt_sgemm; else by code of our own: other bits */
    Precision precision;    /* --precision= */
    int64_t last_cache;     /* Target.last_cache, and Target.kept; 0: as usual. Tests make it small */
    int64_t shards;         /* that a batch of training is cut into (RtProgram.shards); 0: 1 */
    bool check_bounds;      /* every load and store of a kernel is compared with its buffer's bounds: slow, for debugging */
    const char *cache;      /* directory in which compiled kernels are kept; NULL: none */
    const char *parts;      /* of an object: directory in which its kernels become objects of their own; NULL: all in one */
    const char *dump_llvm;  /* write optimised LLVM IR to this path; NULL */
    const char *dump_asm;   /* likewise assembly */

    /* choices of convolutions (conv/choose.h) */
    const ChoiceTable *pinned;                                  /* of every convolution; NULL: free */
    const ChoiceTable *measured;                                /* preferred to the cost model's, where there are any; NULL */
    void (*remark)(void *context, Span span, const char *text); /* told of every choice; NULL */
    void *remark_context;
} CodegenOptions;

/* Does code call rt_sgemm? */
typedef enum GemmUse { GEMM_NONE, GEMM_OPENBLAS } GemmUse;

enum { KERNEL_CACHE_BYTES = 256 << 20 }; /* the least recently used go when a cache grows larger */

/* What is compiled: fused graphs (after passes_run) and the recipe. */
typedef struct CodegenInput {
    const char *name;   /* model */
    const Graph *train; /* NULL: inference only */
    const Graph *infer; /* NULL: training only (tests) */
    int64_t batch;      /* of inference, if `infer` is for a group of its images (runtime/abi.h); 0: as the graphs say */
    const RtRecipe *recipe;
    const char *recipe_text;
    const char *graphs;                     /* both as text, before passes; NULL */
    const char *pipeline, *pipeline_sha256; /* of RtProgram; NULL: not known */
} CodegenInput;

typedef struct CodegenStats {
    double seconds, llvm_seconds;               /* whole, and LLVM's share (optimisation and machine code) */
    uint32_t kernels, calls, kernels_requested; /* distinct functions; calls in all entries; before deduplication */
    uint32_t kernels_cached;                    /* not compiled, but found in options->cache */
    uint64_t code_bytes;
    bool openblas; /* kernels call it */
} CodegenStats;

/* A Program compiled into memory. The input graphs may be freed afterwards. */
typedef struct Jit Jit;
/* NULL with a diagnostic if something cannot be compiled (unknown CPU, unsupported type). */
Jit *codegen_jit(const CodegenInput *input, const CodegenOptions *options, Diag *diag);
const RtProgram *jit_program(const Jit *jit);
const CodegenStats *jit_stats(const Jit *jit);
/* The choices that were made, each kernel's once; and for each call of train_step or eval_step which of them it belongs to
 * (NO_CHOICE: not to a convolution; a pair belongs to its backward data). */
enum { NO_CHOICE = UINT32_MAX };
const ChoiceTable *jit_choices(const Jit *jit);
const uint32_t *jit_call_choices(const Jit *jit, const RtEntry *entry);
/* For each call of train_step or eval_step the value of its graph that it computes, or is part of computing; NO_VAL: it copies an
 * output. Backward data that shares a kernel with its weights counts. */
const Val *jit_call_values(const Jit *jit, const RtEntry *entry);
void jit_free(Jit *jit);

/* The same Program as an object file at `path` (NULL: only the dumps), exported as `const RtProgram symbol`. With
 * options->parts the kernels' objects are added to the lines of the file "objects" there, for the linker. GEMM_OPENBLAS:
 * it calls rt_sgemm. False with a diagnostic. */
bool codegen_object(const CodegenInput *input, const CodegenOptions *options, const char *symbol, const char *path, GemmUse *gemm,
                    Diag *diag);

/* What a training step keeps in memory besides parameters, gradients of parameters and the optimiser's state:
 * RtProgram.arena_bytes of the Program that would be compiled from the graph (by default choices, if none are given). 0 with a
 * diagnostic. */
uint64_t codegen_step_bytes(const Graph *train, const CodegenOptions *options, Diag *diag);

/* One thing that stands in the arena while a step runs. */
typedef struct StepBuffer {
    Val value;              /* whose: a further result has its own id */
    bool workspace;         /* what its kernels need while they run, rather than what they make */
    bool map;               /* a feature map, or its gradient */
    uint64_t offset, bytes; /* multiples of RT_ALIGN */
    Val first, last;        /* the values between which it lives, both included; the graph's count: to the end */
} StepBuffer;
typedef struct StepMemory {
    StepBuffer *buffer; /* in the order of the values */
    uint32_t count;
    uint64_t arena_bytes;
    uint64_t total_bytes; /* of the plan: what they would need if none took another's place */
} StepMemory;
/* What stands in RT_ARENA in the Program that would be compiled from a graph of training or inference, into `arena`. Buffers of
 * no byte are left out. False with a diagnostic. */
bool codegen_step_memory(const Graph *g, const CodegenOptions *options, Arena *arena, StepMemory *memory, Diag *diag);

/* Constant data as an object file at `path`, exported as `symbol`: the bytes of `image`, in which addresses of other objects'
 * symbols, in ascending order of offset, replace what stands there. False with a diagnostic. */
typedef struct DataPointer {
    size_t offset;
    const char *symbol;
} DataPointer;
bool codegen_data(const CodegenOptions *options, const char *symbol, const void *image, size_t size, const DataPointer *pointer,
                  uint32_t npointers, const char *path, Diag *diag);

/* Test door: one graph compiled whole as the train_step entry, every output written out; it may be run any number of times, on as
 * many threads as each asks for, as long as the graph lives. Values are given and returned in logical row-major order (i32 as
 * float); out[i] has room for output i. NULL, or false, with a sentence in why. */
typedef struct CompiledGraph CompiledGraph;
CompiledGraph *codegen_graph(const Graph *g, const CodegenOptions *options, char *why, size_t why_size);
typedef struct GraphRun {
    const float *(*lookup)(void *context, const Value *leaf); /* of INPUT, PARAM and STATE */
    void *context;
    uint64_t seed, step;
    int threads;
} GraphRun;
bool codegen_graph_run(const CompiledGraph *compiled, const GraphRun *run, float *const *out, char *why, size_t why_size);
void codegen_graph_free(CompiledGraph *compiled);
/* Compiled for a single run. */
bool codegen_run_graph(const Graph *g, const CodegenOptions *options, const GraphRun *run, float *const *out, char *why,
                       size_t why_size);
#endif
