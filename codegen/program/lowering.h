/* A Program in the making, inside codegen/: kernels found by structure, calls collected per entry, tensors given their
 * places. program.c owns the tables, lowering.c walks graphs, jit.c turns the result into memory. */
#ifndef NETC_CODEGEN_LOWERING_H
#define NETC_CODEGEN_LOWERING_H
#include "codegen/emit/emit.h"
#include "codegen/program/cache.h"

struct Kernel {
    Kernel *next; /* in its bucket */
    char *key, *name;
    bool *bf16;   /* of each buffer; NULL: found in the cache */
    char *symbol; /* of its function in the object */
    uint32_t nbuffers, index;
    /* of a kernel with a module of its own: */
    char cache_name[CACHE_NAME];
    uint64_t scratch_bytes;
    GemmUse gemm;
    LLVMMemoryBufferRef bitcode; /* NULL: found in the cache */
    LLVMMemoryBufferRef object;  /* NULL: not compiled yet */
};

/* One call; its kernel's address is known only after linking. */
typedef struct Call {
    Kernel *kernel;
    RtCall call;
    uint32_t choice; /* of the convolution that it is part of, an index into the choices; NO_CHOICE */
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

enum { KERNEL_BUCKETS = 256 };

typedef struct ProgramBuilder {
    Arena *arena; /* owns everything but LLVM's objects */
    const Target *target;
    const CodegenOptions *options;
    const RtRecipe *recipe; /* NULL in codegen_run_graph */
    Emitter *emitter;
    Diag *diag;
    bool failed;   /* an error was reported */
    bool separate; /* each kernel is a module of its own, cached and compiled by itself; else all are in the emitter's */
    bool caches;   /* kernels are looked up in options->cache, and kept there */
    char *build;   /* this netc and its LLVM */
    Kernel *open;  /* the kernel being emitted */
    Kernel *bucket[KERNEL_BUCKETS];
    uint32_t nkernels, nrequested, ncached;
    uint64_t scratch_bytes, arena_bytes, folded_bytes;
    ChoiceTable *choices; /* of every convolution lowered so far */
    uint32_t choice;      /* of the convolution being lowered, or NO_CHOICE */
    TensorList params, state;
    uint64_t decayed_bytes; /* of params: the tensors with weight decay come first */
    float *constant;
    uint32_t nconstants, constant_capacity; /* in lines of RT_ALIGN bytes */
    CallList train_step, apply_update, prepare_eval, eval_step;
} ProgramBuilder;

enum { RT_ALIGN = 64, LINE_FLOATS = RT_ALIGN / 4 };

/* How wide feature maps are; before program_open. */
void target_set_precision(Target *target, const CodegenOptions *options);
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
bool program_kernel(ProgramBuilder *p, const char *base, const char *key, uint32_t nbuffers, Kernel **kernel);
void program_kernel_end(ProgramBuilder *p, uint64_t scratch_bytes);
void program_call(ProgramBuilder *p, CallList *list, Kernel *kernel, RtCall call);

/* Lowers a graph into entries: `dynamic` gets the calls; what depends on parameters and states alone goes to `prepare`
 * with results in RT_FOLDED, unless prepare is NULL. In whole mode (codegen_run_graph) leaves stand in RT_PARAMS and
 * output i at output_place[i] of RT_FOLDED. */
void lower_graph(ProgramBuilder *p, const Graph *g, CallList *dynamic, CallList *prepare, Place *output_place);

/* The size of RT_ARENA that lower_graph would ask for, in a program that has the graph's tensors; 0 after a diagnostic. */
uint64_t lower_arena_bytes(ProgramBuilder *p, const Graph *g);

/* Reports that value v (NO_VAL: nothing in particular) cannot be compiled. */
void lowering_error(Lowering *l, Val v, const char *format, ...) __attribute__((format(printf, 3, 4)));

ProgramBuilder *lowering_program(Lowering *l);
/* kernel_call under a label of its own. */
void kernel_call_named(Lowering *l, Kernel *kernel, const char *label, const Place *places, uint32_t nplaces, int64_t pieces,
                       double flops, double bytes);

/* ---- emitters behind emit.h's ---- */
/* copy.c */
void lower_pack_images(Lowering *l, Val input); /* RT_IMAGES -> blocked */
void lower_copy(Lowering *l, const char *label, Place from, Place to, uint64_t bytes);
void lower_unpad_rows(Lowering *l, const char *label, Place from, Place to, Type rows); /* padded rows -> dense rows */
/* optimizer.c: apply_update of the recipe's optimiser over the whole block of parameters */
void lower_optimizer(ProgramBuilder *p);

/* Work cut into pieces: `units` equal units, enough of them in a piece to be worth a thread's while (pieces.c). */
typedef struct Split {
    int64_t units, per_piece, pieces;
} Split;
Split split_units(int64_t units, double unit_bytes);
Loop split_begin(Emitter *e, const Split *split); /* over the units of this piece; ends with loop_end */
#endif
