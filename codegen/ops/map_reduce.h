/* Maps with regions SUM_TO, MAX_TO or INDEX_TO: over channels, lines or columns. */
#ifndef NETC_CODEGEN_OPS_MAP_REDUCE_H
#define NETC_CODEGEN_OPS_MAP_REDUCE_H
#include "codegen/ops/map_kernel.h"

bool map_reduces(const Value *v);
/* Units of such a map, and bytes of scratch that one needs. */
int64_t map_reduce_units(const MapKernel *k);
uint64_t map_reduce_scratch(const MapKernel *k);
void emit_reduce_unit(MapKernel *k, LLVMValueRef unit);
#endif
