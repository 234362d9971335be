/* A Program in the making, inside codegen/: kernels found by structure, calls collected per entry, tensors given their
 * places. lower/ fills it, link/ turns it into memory or an object. */
#ifndef NETC_CODEGEN_PROGRAM_H
#define NETC_CODEGEN_PROGRAM_H
#include "codegen/emit/emit.h"
#include "codegen/program/cache.h"

/* Where a value lives. */
typedef struct Place {
    RtSpace space; /* RT_SPACE_COUNT: nowhere */
    uint64_t offset;
    bool bf16; /* its elements; else f32 */
    uint64_t bytes;
    bool shared; /* one for all shards (RtRef) */
} Place;

/* What is left of a place behind its first `bytes`. */
static inline Place place_behind(Place p, uint64_t bytes) {
    p.offset += bytes;
    p.bytes -= bytes;
    return p;
}

static inline double place_bytes(Place p, Type type) { return (double)type_elements(type) * (p.bf16 ? 2 : 4); }

typedef struct Kernel Kernel;
struct Kernel {
    Kernel *next; /* in its bucket */
    char *key, *name;
    bool *bf16;   /* of each buffer; NULL: found in the cache */
    char *symbol; /* of its function in the object */
    uint32_t nbuffers, index;
    RtKind kind;
    /* of a kernel with a module of its own: */
    char cache_name[CACHE_NAME];
    uint64_t scratch_bytes;
    GemmUse gemm;
    LLVMMemoryBufferRef bitcode; /* NULL: found in the cache */
    LLVMMemoryBufferRef object;  /* NULL: not compiled yet */
};

/* One call; its kernel's address is known only after linking. */
typedef struct Call {
    Kernel *kernel; /* NULL: shards are combined */
    RtCall call;
    uint32_t choice; /* of the convolution that it is part of, an index into the choices; NO_CHOICE */
    Val value;       /* of the graph that it computes; NO_VAL */
} Call;

typedef struct CallList {
    Call *call;
    uint32_t count, capacity;
} CallList;

typedef struct TensorList {
    RtTensor *tensor;
    uint32_t count, capacity;
    uint64_t bytes;
} TensorList;

/* Bytes [begin, end) of RT_PARAMS: tensors that the optimiser updates alike, of which `like` is one. */
typedef struct UpdateRange {
    uint64_t begin, end;
    RtTensor like;
} UpdateRange;

enum { KERNEL_BUCKETS = 256 };

typedef struct ProgramBuilder {
    Arena *arena; /* owns everything but LLVM's objects */
    const Target *target;
    const CodegenOptions *options;
    const RtRecipe *recipe; /* NULL in codegen_run_graph */
    Emitter *emitter;
    Diag *diag;
    bool tiles;    /* some kernel has AMX's: the code needs TARGET_AMX */
    bool failed;   /* an error was reported */
    bool separate; /* each kernel is a module of its own, cached and compiled by itself; else all are in the emitter's */
    bool caches;   /* kernels are looked up in options->cache, and kept there */
    char *build;   /* this netc and its LLVM */
    Kernel *open;  /* the kernel being emitted */
    Kernel *bucket[KERNEL_BUCKETS];
    uint32_t nkernels, nrequested, ncached;
    uint64_t scratch_bytes, arena_bytes, folded_bytes;
    int64_t shards;       /* of training; 0: not known yet */
    ChoiceTable *choices; /* of every convolution lowered so far */
    uint32_t choice;      /* of the convolution being lowered, or NO_CHOICE */
    Val value;            /* being lowered, or NO_VAL */
    TensorList params, state;
    UpdateRange *update; /* of params, whose tensors stand in the order of these; covers the block */
    uint32_t nupdates, update_capacity;
    float *constant;
    uint32_t nconstants, constant_capacity; /* in lines of RT_ALIGN bytes */
    CallList train_step, apply_update, prepare_eval, eval_step;
} ProgramBuilder;

enum { LINE_FLOATS = RT_ALIGN / 4 };

/* What options say of the machine: how wide feature maps are, what its last cache keeps; before program_open. */
void target_set_options(Target *target, const CodegenOptions *options);
bool program_open(ProgramBuilder *p, const Target *target, const CodegenOptions *options, const char *name, Diag *diag);
void program_close(ProgramBuilder *p);
/* The kernels by index, in p's arena. */
Kernel **program_kernels(ProgramBuilder *p);
/* Adds the graph's parameters and states that are not known yet. */
void program_add_tensors(ProgramBuilder *p, const Graph *g);
/* Every leaf of the graph, inputs too, as a tensor of RT_PARAMS: codegen_run_graph. */
void program_add_leaves(ProgramBuilder *p, const Graph *g);
/* Puts the tensors into the order of the source and gives them their offsets. */
void program_place_tensors(ProgramBuilder *p);
const RtTensor *program_find_tensor(const TensorList *list, const char *name);
Place program_constant(ProgramBuilder *p, double value); /* one line of RT_CONSTANT, the value in every lane */
RtLayout program_layout(LayoutKind kind, Type type);

/* As kernel_begin and kernel_call, without a graph. Where accesses are checked, the buffers' ends follow their beginnings. */
bool program_kernel(ProgramBuilder *p, RtKind kind, const char *base, const char *key, uint32_t nbuffers, Kernel **kernel);
void program_kernel_end(ProgramBuilder *p, uint64_t scratch_bytes);
void program_call(ProgramBuilder *p, CallList *list, Kernel *kernel, RtCall call);
/* A call without a kernel, RtCall.combine. */
void program_combine(ProgramBuilder *p, CallList *list, RtCall call);
#endif
