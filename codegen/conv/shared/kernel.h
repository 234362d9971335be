/* A convolution kernel being emitted: its value and buffers. */
#ifndef NETC_CODEGEN_CONV_KERNEL_H
#define NETC_CODEGEN_CONV_KERNEL_H
#include "codegen/conv/shared/shape.h"
#include "codegen/program/lowering.h"

typedef struct ConvKernel {
    Lowering *l;
    Emitter *e;
    const Value *v;
    Val id;
    Place *places; /* buffer i of the kernel: arguments, wanted results, workspace */
    uint32_t nplaces;
    uint32_t *result_buffer; /* of result r; NO_BUFFER if nobody reads it */
    uint32_t workspace_buffer;
    uint32_t filters_buffer; /* of filters in the kernel's own order; NO_BUFFER: as they are stored */
    uint32_t first_buffer;   /* of the kernel: above 0 where two values share it */
    Type *arg_type;
    LLVMValueRef *arg_base;
    LLVMValueRef *preloaded;
} ConvKernel;

/* Lists the buffers of v; `bind` fetches them once the kernel is open. */
ConvKernel conv_kernel(Lowering *l, Val v, bool workspace);
void conv_kernel_bind(ConvKernel *k);
/* Adds the buffer of filters in another order. The calls up to lowering_resume make them: once where the filters are fixed, else
 * at every run into the workspace from `offset` on. */
void conv_kernel_filters(ConvKernel *k, uint64_t offset, uint64_t bytes);
/* The same value's buffers behind `first` others of a kernel that two values share: for emission only, places stay as they are.
 */
ConvKernel conv_kernel_behind(ConvKernel k, uint32_t first);
char *conv_key(const ConvKernel *k, const char *what); /* value_key and which of the value's kernels */
RtKind conv_kind(const ConvKernel *k);                 /* by the value's op */
char *conv_name(const ConvKernel *k, const ConvShape *s, const char *suffix);
double conv_flops(const ConvShape *s);
double conv_bytes(const ConvKernel *k);                     /* arguments and wanted results once */
ElementSite conv_elements(const ConvKernel *k, Type space); /* for the Exprs of the value's regions */

/* A vector of a whole feature map of type t to memory: past the caches if the map is larger than a core's share of them. */
void conv_store(ConvKernel *k, Type t, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element);
#endif
