/* What emitters ask while a graph is turned into calls: where values live, how a kernel is begun, ended and called. The walk that
 * calls the emitters is above them (lower/graph.c). */
#ifndef NETC_CODEGEN_LOWERING_H
#define NETC_CODEGEN_LOWERING_H
#include "codegen/program/program.h"

typedef struct Lowering Lowering; /* one graph being turned into calls of one entry */
typedef struct ConvSite ConvSite; /* how a convolution is computed (conv/shared/sites.h) */

ProgramBuilder *lowering_program(Lowering *l);
Emitter *lowering_emitter(Lowering *l);
const Graph *lowering_graph(const Lowering *l);
const Target *lowering_target(const Lowering *l);
Arena *lowering_arena(const Lowering *l); /* the program's: for what emitters make */
const ConvSite *lowering_site(const Lowering *l, Val v);
/* Of a value id (RESULT values have their own). */
Place lowering_place(const Lowering *l, Val v);
/* Of result i of v; space RT_SPACE_COUNT if nobody reads it. */
Place lowering_result_place(const Lowering *l, Val v, uint32_t result);
Place lowering_workspace(const Lowering *l, Val v);
/* Is v known when prepare_eval runs? */
bool lowering_is_fixed(const Lowering *l, Val v);
/* A place for `bytes` that are made from v alone, by the calls up to lowering_resume: in RT_FOLDED, made once by prepare_eval, if
 * v is fixed; else `otherwise`, made at every run. */
Place lowering_make_once(Lowering *l, Val v, uint64_t bytes, Place otherwise);
void lowering_resume(Lowering *l);
/* Says that a kernel has AMX's tiles: also one that is known already. */
void lowering_uses_tiles(Lowering *l);
/* How many shards the batch is cut into; the graph is of one of them. */
int64_t lowering_shards(const Lowering *l);
/* Calls from here on are about nothing but what shards have in common: computed once. */
void lowering_set_once(Lowering *l, bool once);
/* Appends the sum over shards of what each has at a place, a call: `bytes` of f32 or f64. Returns the place of the sum. */
Place lowering_combine(Lowering *l, Val v, Place place, RtCombine how, uint64_t bytes);
#define NO_BUFFER UINT32_MAX /* where an emitter keeps the index of a buffer that nobody wants */
/* Reports that value v (NO_VAL: nothing in particular) cannot be compiled. */
void lowering_error(Lowering *l, Val v, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Begins the kernel named by a structural key (everything that shapes its code: op, types, attributes, Exprs, which results
 * are wanted; never a value id, a name or an offset). True: the function is new and open: emit its body, then kernel_end.
 * False: it exists already. Either way *kernel is what kernel_call takes. `base` is the readable part of its name, `kind` what
 * netc bench counts its time under. */
bool kernel_begin(Lowering *l, RtKind kind, const char *base, const char *key, uint32_t nbuffers, Kernel **kernel);
void kernel_end(Lowering *l, uint64_t scratch_bytes);
/* Which of the open kernel's buffers from `first` on hold bf16: every kernel on feature maps says so before it touches them, and
 * kernel_call checks it. */
void kernel_elements(Lowering *l, uint32_t first, const Place *places, uint32_t nplaces);
/* What a call does: floating-point operations, and bytes of buffers that it reads and writes. */
typedef struct KernelCost {
    double flops, bytes;
} KernelCost;
/* Appends a call. Label and span come from value v. */
void kernel_call(Lowering *l, Kernel *kernel, Val v, const Place *places, uint32_t nplaces, int64_t pieces, KernelCost cost);
/* The same of some of the kernel's pieces: what several kernels hand on through a small workspace, part after part. */
void kernel_call_part(Lowering *l, Kernel *kernel, Val v, const Place *places, uint32_t nplaces, int64_t first, int64_t pieces,
                      KernelCost cost);
/* The whole under a label of its own. */
void kernel_call_named(Lowering *l, Kernel *kernel, const char *label, const Place *places, uint32_t nplaces, int64_t pieces,
                       KernelCost cost);
/* A key for value v: op, attributes, argument types, regions, wanted results, in l's arena; emitters append what else matters. */
char *value_key(Lowering *l, Val v);

/* ---- emitters: one per op but those that `lower` takes away; each turns value v into kernels and calls (ops/, conv/) ---- */
#define EMITTER_SOURCE(ID)
#define EMITTER_NET(ID) void lower_##ID(Lowering *l, Val v);
#define EMITTER_BACKWARD(ID) EMITTER_NET(ID)
#define EMITTER_FUSED(ID) EMITTER_NET(ID)
#define OP(ID, text, lo, hi, attr, tier, results, type, grad) EMITTER_##tier(ID)
#include "ir/ops.def"
#undef OP
#undef EMITTER_SOURCE
#undef EMITTER_NET
#undef EMITTER_BACKWARD
#undef EMITTER_FUSED
#endif
