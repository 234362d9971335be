/* A Program as an object file: the kernels, which become local to it (or stand in objects of their own), and the tables of
 * runtime/abi.h as constant data with one exported symbol.
 *
 * A table is written as the bytes it has in netc's own memory, cut where pointers stand: the C compiler has laid the structs out,
 * so their layout is said once, in abi.h. It is the same on every target: 64 bits, little-endian, natural alignment. */
#include "codegen/link/object.h"
#include "codegen/lower/build.h"
#include "codegen/lower/lower.h"
#include "codegen/program/shards.h"
#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

/* A pointer in a table: where it stands, and what it points to. */
typedef struct Pointer {
    size_t offset;
    LLVMValueRef to;
} Pointer;

typedef struct Tables {
    ProgramBuilder *p;
    Emitter *e;
    LLVMValueRef *kernel; /* by Kernel.index */
} Tables;

static LLVMValueRef bytes_between(const Tables *t, const char *image, size_t from, size_t to) {
    return LLVMConstStringInContext2(t->e->context, image + from, to - from, true);
}

/* A constant global with the bytes of `image`; the pointers, in ascending order, replace what stands there. */
static LLVMValueRef add_image(const Tables *t, const char *name, const void *image, size_t size, unsigned alignment,
                              const Pointer *pointer, uint32_t npointers) {
    LLVMValueRef *part = arena_array(t->p->arena, 2 * (size_t)npointers + 1, sizeof *part);
    unsigned nparts = 0;
    size_t at = 0;
    for (uint32_t i = 0; i < npointers; i++) {
        if (pointer[i].offset > at) part[nparts++] = bytes_between(t, image, at, pointer[i].offset);
        part[nparts++] = pointer[i].to;
        at = pointer[i].offset + sizeof(void *);
    }
    if (size > at || !nparts) part[nparts++] = bytes_between(t, image, at, size);
    LLVMValueRef value = LLVMConstStructInContext(t->e->context, part, nparts, true);
    LLVMValueRef global = LLVMAddGlobal(t->e->module, LLVMTypeOf(value), name);
    LLVMSetInitializer(global, value);
    LLVMSetGlobalConstant(global, true);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    LLVMSetAlignment(global, alignment);
    return global;
}

/* In a section of texts, where the linker keeps one of each, whichever CPU's tables name it. */
static LLVMValueRef add_text(const Tables *t, const char *text) {
    LLVMValueRef value = LLVMConstStringInContext2(t->e->context, text, strlen(text), false);
    LLVMValueRef global = LLVMAddGlobal(t->e->module, LLVMTypeOf(value), "text");
    LLVMSetInitializer(global, value);
    LLVMSetGlobalConstant(global, true);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    LLVMSetUnnamedAddress(global, LLVMGlobalUnnamedAddr);
    LLVMSetAlignment(global, 1);
    return global;
}

static LLVMValueRef add_tensors(const Tables *t, const TensorList *list) {
    Pointer *pointer = ARENA_ARRAY(t->p->arena, Pointer, list->count);
    for (uint32_t i = 0; i < list->count; i++)
        pointer[i] = (Pointer){i * sizeof(RtTensor) + offsetof(RtTensor, name), add_text(t, list->tensor[i].name)};
    return add_image(t, "tensors", list->tensor, list->count * sizeof(RtTensor), alignof(RtTensor), pointer, list->count);
}

static LLVMValueRef add_calls(const Tables *t, const CallList *list) {
    RtCall *call = ARENA_ARRAY(t->p->arena, RtCall, list->count);
    Pointer *pointer = arena_array(t->p->arena, 4 * (size_t)list->count, sizeof *pointer), *next = pointer;
    for (uint32_t i = 0; i < list->count; i++) {
        const RtCall *c = &list->call[i].call;
        size_t at = i * sizeof *c;
        call[i] = *c;
        const Kernel *kernel = list->call[i].kernel;
        if (kernel) *next++ = (Pointer){at + offsetof(RtCall, kernel), t->kernel[kernel->index]};
        *next++ = (Pointer){at + offsetof(RtCall, name), add_text(t, c->name)};
        *next++ = (Pointer){at + offsetof(RtCall, label), add_text(t, c->label ? c->label : "")};
        *next++ = (Pointer){at + offsetof(RtCall, refs),
                            add_image(t, "refs", c->refs, c->nrefs * sizeof *c->refs, alignof(RtRef), NULL, 0)};
    }
    return add_image(t, "calls", call, list->count * sizeof *call, alignof(RtCall), pointer, (uint32_t)(next - pointer));
}

static void add_program(const Tables *t, const RtProgram *shape, const char *features, const char *symbol) {
    ProgramBuilder *p = t->p;
    RtProgram program;
    program_fill(p, shape, &program);
    program.train_step.ncalls = p->train_step.count;
    program.apply_update.ncalls = p->apply_update.count;
    program.prepare_eval.ncalls = p->prepare_eval.count;
    program.eval_step.ncalls = p->eval_step.count;
    const Pointer pointer[] = {
        {offsetof(RtProgram, model), add_text(t, program.model)},
        {offsetof(RtProgram, target), add_text(t, program.target)},
        {offsetof(RtProgram, features), add_text(t, features)},
        {offsetof(RtProgram, params), add_tensors(t, &p->params)},
        {offsetof(RtProgram, state), add_tensors(t, &p->state)},
        {offsetof(RtProgram, constant), add_image(t, "constant", p->constant, program.constant_bytes, RT_ALIGN, NULL, 0)},
        {offsetof(RtProgram, train_step.calls), add_calls(t, &p->train_step)},
        {offsetof(RtProgram, apply_update.calls), add_calls(t, &p->apply_update)},
        {offsetof(RtProgram, prepare_eval.calls), add_calls(t, &p->prepare_eval)},
        {offsetof(RtProgram, eval_step.calls), add_calls(t, &p->eval_step)},
        {offsetof(RtProgram, recipe_text), add_text(t, program.recipe_text)},
        {offsetof(RtProgram, choices), add_text(t, program.choices)},
        {offsetof(RtProgram, pipeline), add_text(t, program.pipeline)},
        {offsetof(RtProgram, pipeline_sha256), add_text(t, program.pipeline_sha256)},
        {offsetof(RtProgram, graphs), add_text(t, program.graphs)},
    };
    LLVMValueRef global =
        add_image(t, symbol, &program, sizeof program, alignof(RtProgram), pointer, sizeof pointer / sizeof pointer[0]);
    LLVMSetLinkage(global, LLVMExternalLinkage);
}

/* Kernels are reached through the tables alone. */
static LLVMValueRef kernel_function(ProgramBuilder *p, const Kernel *k) {
    if (p->separate) { /* in an object of its own */
        LLVMValueRef declared = LLVMAddFunction(p->emitter->module, k->symbol, p->emitter->kernel_type);
        LLVMSetVisibility(declared, LLVMHiddenVisibility);
        return declared;
    }
    LLVMValueRef fn = LLVMGetNamedFunction(p->emitter->module, k->symbol);
    LLVMSetLinkage(fn, LLVMInternalLinkage);
    return fn;
}

static void add_tables(ProgramBuilder *p, const RtProgram *shape, const char *symbol) {
    Tables t = {p, p->emitter, arena_array(p->arena, (size_t)p->nkernels + 1, sizeof(LLVMValueRef))};
    for (int b = 0; b < KERNEL_BUCKETS; b++)
        for (const Kernel *k = p->bucket[b]; k; k = k->next) t.kernel[k->index] = kernel_function(p, k);
    Target target = *p->target;
    target.amx = p->tiles;
    char *features = target_features(&target);
    if (!features) diag_error(p->diag, (Span){0}, "internal: LLVM does not tell what CPU '%s' can do", p->target->cpu);
    p->failed |= !features;
    if (features) add_program(&t, shape, features, symbol);
    free(features);
}

static bool write_object(ProgramBuilder *p, LLVMMemoryBufferRef object, const char *path) {
    return object_write(p, path, LLVMGetBufferStart(object), LLVMGetBufferSize(object));
}

/* A response file's words end at blanks; a backslash keeps the next character as it is. */
static void write_word(FILE *out, const char *word) {
    for (; *word; word++) {
        if (strchr(" \t\n\v\f\r'\"\\", *word)) putc('\\', out);
        putc(*word, out);
    }
    putc('\n', out);
}

static bool write_parts(ProgramBuilder *p, const char *directory) {
    const char *name = arena_printf(p->arena, "%s/objects", directory);
    FILE *list = fopen(name, "a");
    Kernel **kernel = program_kernels(p);
    bool listed = list != NULL, written = true;
    for (uint32_t i = 0; i < p->nkernels && listed && written; i++) {
        char *path = arena_printf(p->arena, "%s/%s.o", directory, kernel[i]->symbol);
        write_word(list, path);
        listed = !ferror(list);
        written = write_object(p, kernel[i]->object, path);
    }
    if (list && fclose(list)) listed = false;
    if (!listed && written) diag_cannot_write(p->diag, name, strerror(errno));
    return listed && written;
}

static bool open_builder(Target *target, ProgramBuilder *p, const char *name, const CodegenOptions *options, Diag *diag) {
    char why[512];
    if (!target_open(target, options->target, options->cpu, why, sizeof why)) {
        diag_error(diag, (Span){0}, "%s", why);
        return false;
    }
    target_set_options(target, options);
    if (program_open(p, target, options, name, diag)) return true;
    out_of_memory("no room for code");
}

/* Writes the object, if there is a path for it, and closes everything. */
static bool finish(Target *target, ProgramBuilder *p, const char *path) {
    LLVMMemoryBufferRef object = NULL;
    bool done = !p->failed && object_emit(p, &object) && (!path || write_object(p, object, path));
    if (object) LLVMDisposeMemoryBuffer(object);
    program_close(p);
    target_close(target);
    return done;
}

bool codegen_object(const CodegenInput *input, const CodegenOptions *options, const char *symbol, const char *path, GemmUse *gemm,
                    Diag *diag) {
    Target target;
    ProgramBuilder p;
    RtProgram shape;
    if (!open_builder(&target, &p, input->name, options, diag)) return false;
    p.separate = options->parts != NULL;
    program_build(&p, input, &shape);
    if (!p.failed && p.separate && !(kernels_compile(&p) && write_parts(&p, options->parts))) p.failed = true;
    if (!p.failed) add_tables(&p, &shape, symbol);
    *gemm = GEMM_NONE;
    Kernel **kernel = program_kernels(&p);
    for (uint32_t i = 0; i < p.nkernels; i++)
        if (kernel[i]->gemm) *gemm = kernel[i]->gemm;
    return finish(&target, &p, path);
}

bool codegen_step_memory(const Graph *g, const CodegenOptions *options, Arena *arena, StepMemory *memory, Diag *diag) {
    Target target;
    ProgramBuilder p;
    if (!open_builder(&target, &p, "plan", options, diag)) return false;
    program_add_tensors(&p, g);
    program_place_tensors(&p);
    bool placed = lower_memory(&p, g, arena, memory);
    program_close(&p);
    target_close(&target);
    return placed;
}

uint64_t codegen_step_bytes(const Graph *train, const CodegenOptions *options, Diag *diag) {
    Arena *arena = arena_new();
    StepMemory memory;
    bool placed = codegen_step_memory(train, options, arena, &memory, diag);
    arena_free(arena);
    return placed ? memory.arena_bytes * (uint64_t)shards_of(train, options) : 0;
}

bool codegen_data(const CodegenOptions *options, const char *symbol, const void *image, size_t size, const DataPointer *pointer,
                  uint32_t npointers, const char *path, Diag *diag) {
    Target target;
    ProgramBuilder p;
    if (!open_builder(&target, &p, symbol, options, diag)) return false;
    Tables t = {.p = &p, .e = p.emitter};
    Pointer *to = arena_array(p.arena, (size_t)npointers + 1, sizeof *to);
    LLVMTypeRef byte = LLVMInt8TypeInContext(p.emitter->context);
    for (uint32_t i = 0; i < npointers; i++)
        to[i] = (Pointer){pointer[i].offset, LLVMAddGlobal(p.emitter->module, byte, pointer[i].symbol)};
    LLVMSetLinkage(add_image(&t, symbol, image, size, RT_ALIGN, to, npointers), LLVMExternalLinkage);
    return finish(&target, &p, path);
}
